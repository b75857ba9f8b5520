/**
 * The octets of an inbound message as they leave: our stamp, our Received field, what the sender may
 * say, and the body as it came or as it was opened.
 *
 *     stamp          Authentication-Results, X-Postern-*: what we say
 *     Received       ours
 *     fields         the sender's, but those in our name
 *     Content-*      of the body that follows
 *
 * @module
 */
import { outerFields } from '../crypto/smime/sign-message.ts'
import { cleansed, cleansedInner } from '../mail/header-cleansing.ts'
import { protectedFields, restored } from '../mail/header-protection.ts'
import { type HeaderField, HeaderSection, parseHeaderSection } from '../mail/header-section.ts'
import { prepare } from '../mail/seven-bit.ts'
import { taggedSubject } from '../mail/subject-tag.ts'
import { isBad, type Verdict } from '../policy/verdict.ts'
import type { Message } from './decision.ts'
import type { Delivery, Reading } from './inbound.ts'
import { type Stamp, stampFields } from './stamp.ts'
import { sevenBitEntity, untreatedOctets } from './untreated.ts'

/** How stamps are made in this house. */
export interface Stamping {
  readonly hostname: string
  /** Key of the seal. */
  readonly key: Buffer
  /** Tags of the subject; undefined where it is not touched. */
  readonly tags: SubjectTags | undefined
}

/** What the subject begins with: `[…]`, or empty for nothing. */
export interface SubjectTags {
  readonly pass: string
  readonly fail: string
  readonly none: string
  readonly decrypted: string
}

/** The header section that leaves, and the stamp on top of it. */
export interface Stamped {
  /** Stamp and Received field. */
  readonly head: Buffer
  /** Fields of the sender; offsets are those of the message as it is held. */
  readonly section: HeaderSection
}

/** Makes the stamp, and takes away what only we may say (RFC 8601 §5). */
export function stamped(
  { section }: Pick<Message, 'section'>,
  reading: Reading,
  stamping: Stamping,
  { received, now }: { readonly received: Buffer; readonly now: Date },
): Stamped {
  const kept = cleansed(section, stamping.hostname).kept
  const shown = withTags(protectedAgain(kept, reading), reading, stamping.tags)
  const leaving = new HeaderSection(shown, section.sizeOctets, section.bodyOffset)
  const sealing = { key: stamping.key, time: now }
  const stamp = stampFields(stampOf(reading, stamping.hostname), shown, sealing)
  return { head: Buffer.concat([stamp, received]), section: leaving }
}

/**
 * What follows below the stamp: the fields that leave, and the body as it came or as it was opened.
 *
 * @param leaving Of `stamped`.
 * @param eightBitMime Whether the next hop takes 8-bit content (RFC 6152).
 */
export function deliveredOctets(
  message: Pick<Message, 'content' | 'section'>,
  { delivery }: Reading,
  leaving: HeaderSection,
  eightBitMime: boolean,
): AsyncIterable<Buffer> {
  return delivery.kind === 'as-it-came'
    ? untreatedOctets(message, leaving, eightBitMime)
    : entityOctets(delivery, leaving, eightBitMime)
}

/**
 * What is delivered to a next hop: cipher text as it came, where what was opened cannot be said in 7 bits
 * and the next hop takes nothing else (RFC 6152 §3). A refusal would tell whoever has altered somebody's
 * message, and sends it again, whether it could be opened.
 */
export async function readingFor(reading: Reading, eightBitMime: boolean): Promise<Reading> {
  const { delivery, encryption } = reading
  if (eightBitMime || delivery.kind !== 'entity' || !OPENED.has(encryption.result)) return reading
  const { content, entity } = delivery.place
  if (!content.shape.eightBit) return reading
  const { kind } = await prepare(content, entity.headerSection)
  if (kind !== 'unsafe') return reading
  const notes = [...encryption.notes, 'eight-bit-not-offered']
  return closed({ ...encryption, result: 'refused', notes }, NARROW)
}

/**
 * What is told of a message that a rule signs or encrypts on its way in: that is done to what came, and
 * what was found inside does not leave.
 */
export function treatedReading(reading: Reading): Reading {
  const { delivery, encryption } = reading
  if (delivery.kind !== 'entity') return reading
  const result = encryption.result === 'none' ? 'none' : 'left'
  return closed({ result, notes: encryption.notes }, TREATED)
}

function closed(encryption: Reading['encryption'], reason: string): Reading {
  const verdict: Verdict = {
    result: 'none',
    code: 'not-delivered-open',
    reason,
    signer: undefined,
    notes: [],
  }
  return { verdict, encryption, examined: undefined, delivery: { kind: 'as-it-came' } }
}

/** The sender's fields around another body (RFC 8551 §3.1). */
async function* entityOctets(
  { place }: Extract<Delivery, { kind: 'entity' }>,
  outer: HeaderSection,
  eightBitMime: boolean,
): AsyncGenerator<Buffer, void, undefined> {
  const { content, entity } = place
  yield outerFields(outer)
  const isWhole = entity.start === 0 && entity.end === content.sizeOctets
  if (content.shape.eightBit && !eightBitMime && isWhole) {
    yield* sevenBitEntity(content, entity.headerSection)
    return
  }
  const described = cleansedInner(entity.headerSection).kept.filter(isOfBody)
  yield Buffer.concat([...described.map(({ octets }) => octets), CRLF])
  yield* content.read(entity.bodyStart, entity.end)
}

/** RFC 9788 §4: a subject that was hidden is shown again, where a signature vouches for it. */
function protectedAgain(kept: readonly HeaderField[], reading: Reading): readonly HeaderField[] {
  const { verdict, delivery, examined } = reading
  if (verdict.result !== 'pass' || delivery.kind !== 'entity') return kept
  const protection = examined?.inside && protectedFields(examined.inside)
  return protection ? restored(kept, protection) : kept
}

function withTags(
  kept: readonly HeaderField[],
  { verdict, encryption }: Reading,
  tags: SubjectTags | undefined,
): readonly HeaderField[] {
  if (tags === undefined) return kept
  const opened = encryption.result === 'opened' || encryption.result === 'unauthenticated'
  const told = verdict.result === 'pass' ? tags.pass : isBad(verdict) ? tags.fail : tags.none
  const which = [opened ? tags.decrypted : '', told].filter(tag => tag !== '')
  const all = Object.values(tags).filter((tag: string) => tag !== '')
  // RFC 5322 §3.6: one subject. Of others some readers would show the last, and each costs time.
  const first = kept.find(({ key }) => key === 'subject')
  const retagged = kept.flatMap(field => {
    if (field.key !== 'subject') return [field]
    if (field !== first) return []
    const octets = taggedSubject(field.body, all, which)
    return octets ? parseHeaderSection(octets).fields[0]! : [field]
  })
  if (which.length === 0 || first) return retagged
  return [...retagged, ...parseHeaderSection(taggedSubject('', all, which)!).fields]
}

function stampOf({ verdict, encryption, examined }: Reading, authservId: string): Stamp {
  const signer = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  const notes = [...(examined?.notes ?? []), ...verdict.notes, ...encryption.notes]
  return {
    authservId,
    result: verdict.result,
    code: verdict.code,
    reason: verdict.reason,
    signer: signer && {
      identifier: examined?.identifiers[verdict.signer!],
      serialHex: signer.certificate?.serialNumberHex,
      issuer: signer.certificate?.issuerText,
      part: examined?.signature?.kind === 'signed' ? PART[examined.signature.format] : undefined,
      fingerprint: signer.certificate?.fingerprint,
      algorithm: signer.algorithm,
      signingTime: signer.signingTime,
    },
    encryption: encryption.result,
    cipher: encryption.cipher,
    management: encryption.management,
    key: encryption.key,
    notes: [...new Set(notes)],
  }
}

function isOfBody({ key }: HeaderField): boolean {
  return key.startsWith('content-')
}

const CRLF = Buffer.from('\r\n')
const OPENED: ReadonlySet<string> = new Set(['opened', 'unauthenticated'])
const NARROW = 'the next hop takes no 8-bit content, so the message stays encrypted'
const TREATED = 'a rule signs or encrypts the message as it came, and nothing in it was delivered'
/** RFC 7281 §3.2.4: where the signature stands in the entity that was verified, as IMAP counts. */
const PART = { clear: '2', opaque: '1' } as const
