/**
 * Opaque signing: a MIME entity in, an application/pkcs7-mime entity with signed-data out (RFC 8551
 * §3.5.2). For what would not survive the way in the clear.
 *
 *     entity ──▶ SignedData around it ──▶ base64 ──▶ body
 *
 * @module
 */
import { encodeBase64Lines } from '../../mail/base64.ts'
import { signedContent } from '../cms/signed-data.ts'
import type { Signer } from '../key.ts'
import type { SignOptions } from './clear-sign.ts'

/**
 * Signs an entity as it streams by, holding no more of it than the chunk in hand.
 *
 * @param entity Header section and body of a canonical MIME entity (RFC 8551 §3.1.1).
 * @returns The new entity, from its Content-Type on. MIME-Version stays with the message.
 * @throws {PosternError} what the signer throws. All that was yielded is then void: the transaction
 *   must end without its final dot.
 */
export async function* opaqueSign(
  entity: AsyncIterable<Buffer>,
  signer: Signer,
  { signingTime }: SignOptions,
): AsyncGenerator<Buffer, void, undefined> {
  yield HEADER
  yield* encodeBase64Lines(signedContent(entity, signer, signingTime))
}

const HEADER = Buffer.from(
  'Content-Type: application/pkcs7-mime; smime-type=signed-data;\r\n' +
    ' name=smime.p7m\r\n' +
    'Content-Transfer-Encoding: base64\r\n' +
    'Content-Disposition: attachment; filename=smime.p7m\r\n\r\n',
)
