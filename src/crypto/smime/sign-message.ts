/**
 * A message in, the same message signed out (RFC 8551 §3.1, §3.5).
 *
 *     header section ──┬─ Content-* ──▶ entity ──▶ 7-bit ──▶ clear or opaque ──▶ self-check ──┐
 *                      └─ the rest, octet for octet, MIME-Version ───────────────────────────┴──▶
 *
 * @module
 */
import { splitForProtection } from '../../mail/entity.ts'
import type { HeaderSection } from '../../mail/header-section.ts'
import type { Content } from '../../mail/mail-object.ts'
import { type Prepared, prepare } from '../../mail/seven-bit.ts'
import type { Signer } from '../key.ts'
import { clearSign } from './clear-sign.ts'
import { opaqueSign } from './opaque-sign.ts'
import { checked } from './self-check.ts'

/** How an entity is to be signed. */
export interface EntitySigning {
  readonly signature: 'clear' | 'opaque'
  /** When the signature is made; `undefined` leaves the attribute out (see `signingTimeFor`). */
  readonly signingTime: Date | undefined
}

/** How a message is to be signed. */
export interface MessageSigning extends EntitySigning {
  /** A whole Subject field to stand in the place of the message's own. */
  readonly subject?: Buffer | undefined
}

/**
 * Signs a message as its content is read.
 *
 * A clear signature becomes an opaque one where a part that may not be touched would not survive the
 * way as it is (RFC 8551 §3.1.3).
 *
 * @throws {PosternError} what `prepare`, the signer and the self-check throw; all that was yielded is
 *   then void, and the transaction must end without its final dot.
 */
export async function* signMessage(
  content: Content,
  section: HeaderSection,
  signer: Signer,
  signing: MessageSigning,
): AsyncGenerator<Buffer, void, undefined> {
  const prepared = await prepare(content, section)
  yield outerFields(section, signing.subject)
  yield* signPrepared(prepared, signer, signing)
}

/** Signs an entity, and reads its own signature back; opaque where a clear one would not survive. */
export function signPrepared(
  { kind, octets }: Pick<Prepared, 'kind' | 'octets'>,
  signer: Signer,
  { signature, signingTime }: EntitySigning,
): AsyncIterable<Buffer> {
  const sign = signature === 'clear' && kind !== 'unsafe' ? clearSign : opaqueSign
  return checked(sign(octets(), signer, { signingTime }), signer)
}

/**
 * The fields that stay outside a new root entity: all but Content-*, octet for octet, and one
 * MIME-Version (RFC 2045 §4).
 *
 * But for the names of hidden recipients, which a client may have left in (RFC 5322 §3.6.3): a
 * ciphertext of one's own hides nobody who is named above it.
 */
export function outerFields(section: HeaderSection, subject?: Buffer): Buffer {
  const { outer } = splitForProtection(section)
  const shown = outer.filter(({ key }) => !HIDDEN.has(key))
  const octets = shown.map(field =>
    subject !== undefined && field.key === 'subject' ? subject : field.octets,
  )
  if (!outer.some(({ key }) => key === 'mime-version')) octets.push(MIME_VERSION)
  return Buffer.concat(octets)
}

/**
 * The signing time to state for a message with this Date field.
 *
 * The true time, where the two are close. Where the message is older (it waited in a queue, or was
 * written to be sent later) or from the future, none: clients call a signature invalid whose time is
 * more than an hour off the Date, and a false time is not an answer. The attribute is a SHOULD
 * (RFC 8551 §2.5), so leaving it out keeps the signature valid for everybody.
 */
export function signingTimeFor(dateField: string | undefined, now: Date): Date | undefined {
  const written = dateField === undefined ? Number.NaN : Date.parse(dateField.replace(COMMENT, ''))
  const apartMs = Math.abs(now.getTime() - written)
  return apartMs > CLOSE_MS ? undefined : now
}

/** Five minutes less than an hour, for clocks that differ and ways that take time. */
const CLOSE_MS = 55 * 60_000

/** A comment such as `(CET)` behind the zone, one level deep, as RFC 5322 §3.3 examples show it. */
const COMMENT = /\([^()]{0,100}\)/g

const HIDDEN: ReadonlySet<string> = new Set(['bcc', 'resent-bcc'])
const MIME_VERSION = Buffer.from('MIME-Version: 1.0\r\n')
