/**
 * A message in, the same message encrypted out: bare, signed first, or signed on both sides.
 *
 *     header section ──┬─ Content-* ──▶ entity ─▶ sign? ─▶ self-check? ─▶ envelop ─▶ sign? ─▶ self-check? ──┐
 *                      └─ the rest, octet for octet, MIME-Version ────────────────────────────────────────┴──▶
 *
 * @module
 */
import type { HeaderSection } from '../../mail/header-section.ts'
import type { Content } from '../../mail/mail-object.ts'
import { prepare } from '../../mail/seven-bit.ts'
import type { RecipientKey } from '../cms/recipient-info.ts'
import type { ContentCipher } from '../content-encryption.ts'
import type { Signer } from '../key.ts'
import { envelop } from './envelop.ts'
import { type EntitySigning, outerFields, signPrepared } from './sign-message.ts'

/** Who signs an entity, and how. */
export type SigningBy = EntitySigning & { readonly signer: Signer }

/** How a message is to be encrypted. */
export interface MessageEnveloping {
  readonly recipients: readonly RecipientKey[]
  readonly content: ContentCipher
  /** Inside of the encryption: sign, then encrypt. */
  readonly sign?: SigningBy | undefined
  /** Around the encryption; with `sign` a triple wrap (RFC 2634 §1.1). */
  readonly signOutside?: SigningBy | undefined
  /** A whole Subject field to stand in the place of the message's own. */
  readonly subject?: Buffer | undefined
}

/**
 * Encrypts a message as its content is read.
 *
 * The entity inside is 7-bit, as for signing: not that the encryption needed it, but many a client
 * hands on what it has decrypted (RFC 8551 §3.1.3).
 *
 * @throws {PosternError} what `prepare`, `envelop`, the signers and the self-check throw; all that was
 *   yielded is then void, and the transaction must end without its final dot.
 */
export async function* envelopMessage(
  content: Content,
  section: HeaderSection,
  { recipients, content: cipher, sign, signOutside, subject }: MessageEnveloping,
): AsyncGenerator<Buffer, void, undefined> {
  const prepared = await prepare(content, section)
  const inner = sign ? signPrepared(prepared, sign.signer, sign) : prepared.octets()
  const enveloped = envelop(inner, recipients, { content: cipher })
  yield outerFields(section, subject)
  if (!signOutside) yield* enveloped
  else
    yield* signPrepared({ kind: 'as-is', octets: () => enveloped }, signOutside.signer, signOutside)
}
