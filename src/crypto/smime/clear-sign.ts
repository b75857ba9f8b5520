/**
 * Clear-signing: a MIME entity in, a multipart/signed entity out (RFC 8551 §3.5.3, RFC 1847 §2.1).
 *
 *     entity ──┬──────────────────────────────▶ first body part, octet for octet
 *              └──▶ digest ──▶ signDetached ──▶ second body part, application/pkcs7-signature
 *
 * @module
 */
import { createHash, randomUUID } from 'node:crypto'
import { base64Lines } from '../../mail/base64.ts'
import { signDetached } from '../cms/signed-data.ts'
import type { Signer } from '../key.ts'

/** What a signature states besides who made it, and how it is put into the mail. */
export interface SignOptions {
  /** Stated in the signature; undefined states none. */
  readonly signingTime: Date | undefined
}

export interface ClearSignOptions extends SignOptions {
  /** At most 70 characters (RFC 2046 §5.1.1), no line of the entity. Default: random. */
  readonly boundary?: string
}

/**
 * Signs an entity as it streams by, holding no more of it than the chunk in hand.
 *
 * @param entity Header section and body of a canonical MIME entity that a relay will not alter: lines
 *   of at most 998 octets ended by CRLF, 7-bit (RFC 8551 §3.1). Signed to its last octet.
 * @returns The new entity, from its Content-Type on. MIME-Version stays with the message.
 * @throws {PosternError} what the signer throws. All that was yielded is then void: the transaction
 *   must end without its final dot.
 */
export async function* clearSign(
  entity: AsyncIterable<Buffer>,
  signer: Signer,
  { signingTime, boundary = randomBoundary() }: ClearSignOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { name, nodeName } = signer.algorithm.digest
  const digest = createHash(nodeName)

  yield ascii(
    'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n' +
      ` micalg=${name}; boundary="${boundary}"\r\n\r\n--${boundary}\r\n`,
  )
  for await (const chunk of entity) {
    digest.update(chunk)
    yield chunk
  }
  const signature = await signDetached(signer, digest.digest(), signingTime)
  // The CRLF in front of a delimiter belongs to the delimiter (RFC 2046 §5.1.1): it is not signed.
  yield Buffer.concat([
    ascii(`\r\n--${boundary}\r\n${SIGNATURE_HEADER}`),
    base64Lines(signature),
    ascii(`--${boundary}--\r\n`),
  ])
}

/** Nobody can have written a line that holds these 122 random bits. */
function randomBoundary(): string {
  return `signed-${randomUUID()}`
}

function ascii(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

/** Names and disposition as RFC 8551 §3.2.1 advises: gateways in between may go by the file name. */
const SIGNATURE_HEADER =
  'Content-Type: application/pkcs7-signature; name=smime.p7s\r\n' +
  'Content-Transfer-Encoding: base64\r\n' +
  'Content-Disposition: attachment; filename=smime.p7s\r\n\r\n'
