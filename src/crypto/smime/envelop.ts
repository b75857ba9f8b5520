/**
 * Enveloping: a MIME entity in, an application/pkcs7-mime entity that only its recipients can open out
 * (RFC 8551 §3.3, §3.4).
 *
 *     entity ──▶ EnvelopedData or AuthEnvelopedData around it ──▶ base64 ──▶ body
 *
 * @module
 */
import { encodeBase64Lines } from '../../mail/base64.ts'
import { type Enveloping, envelopedContent } from '../cms/enveloped-data.ts'
import type { RecipientKey } from '../cms/recipient-info.ts'

/**
 * Encrypts an entity as it streams by, holding no more of it than the chunk in hand.
 *
 * @param entity Header section and body of a canonical MIME entity (RFC 8551 §3.1.1).
 * @param recipients At least one; a certificate that stands there twice is served once.
 * @returns The new entity, from its Content-Type on. MIME-Version stays with the message.
 * @throws {PosternError} what `recipientInfos` throws. All that was yielded is then void: the
 *   transaction must end without its final dot.
 */
export async function* envelop(
  entity: AsyncIterable<Buffer>,
  recipients: readonly RecipientKey[],
  enveloping: Enveloping,
): AsyncGenerator<Buffer, void, undefined> {
  yield enveloping.content.authenticated ? AUTH_ENVELOPED : ENVELOPED
  yield* encodeBase64Lines(envelopedContent(entity, recipients, enveloping))
}

function header(smimeType: string): Buffer {
  return Buffer.from(
    `Content-Type: application/pkcs7-mime; smime-type=${smimeType};\r\n` +
      ' name=smime.p7m\r\n' +
      'Content-Transfer-Encoding: base64\r\n' +
      'Content-Disposition: attachment; filename=smime.p7m\r\n\r\n',
  )
}

const ENVELOPED = header('enveloped-data')
const AUTH_ENVELOPED = header('authEnveloped-data')
