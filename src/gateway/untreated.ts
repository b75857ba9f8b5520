/**
 * A message that is not treated: as it came, or as a next hop without 8BITMIME can take it.
 *
 * @module
 */
import { outerFields } from '../crypto/smime/sign-message.ts'
import { PosternError } from '../errors.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import type { Content } from '../mail/mail-object.ts'
import { prepare } from '../mail/seven-bit.ts'
import { withLeavingFields } from './leaving-fields.ts'

/**
 * The octets of a message with the fields that leave.
 *
 * @param leaving The section of the message itself, where all of them do.
 * @param eightBitMime Whether the next hop takes 8-bit content (RFC 6152).
 */
export function untreatedOctets(
  { content, section }: { readonly content: Content; readonly section: HeaderSection },
  leaving: HeaderSection,
  eightBitMime: boolean,
): AsyncIterable<Buffer> {
  if (content.shape.eightBit && !eightBitMime) return sevenBitMessage(content, leaving)
  return leaving === section ? content.read() : withLeavingFields(content, section, leaving)
}

/**
 * An entity for a next hop without 8BITMIME (RFC 6152 §3): converted, or not sent at all.
 *
 * @throws {PosternError} `ERR_EIGHT_BIT_NOT_OFFERED` where that would break something.
 */
export async function* sevenBitEntity(
  content: Content,
  section: HeaderSection,
): AsyncGenerator<Buffer, void, undefined> {
  const prepared = await prepare(content, section)
  if (prepared.kind === 'unsafe')
    throw new PosternError(
      'ERR_EIGHT_BIT_NOT_OFFERED',
      'permanent',
      `8-bit content: ${prepared.reason}`,
    )
  yield* prepared.octets()
}

async function* sevenBitMessage(
  content: Content,
  section: HeaderSection,
): AsyncGenerator<Buffer, void, undefined> {
  yield outerFields(section)
  yield* sevenBitEntity(content, section)
}
