/**
 * The partner of the demo: signs and encrypts as any mail client would, and hands it to the gateway.
 *
 * @module
 */
import { signatureAlgorithmFor, signOctets } from '../crypto/algorithms.ts'
import { contentCipher } from '../crypto/content-encryption.ts'
import { keyManagementFor } from '../crypto/key-management.ts'
import { envelopMessage } from '../crypto/smime/envelop-message.ts'
import { parseCertificate } from '../crypto/x509/certificate.ts'
import type { Issued } from '../crypto/x509/issue.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import { contentOf } from '../mail/content.ts'
import { readHeaderSection } from '../mail/header-section.ts'

/** Who is in the demo. */
export interface People {
  readonly alice: Issued
  readonly carol: Issued
  readonly issuing: Issued
}

/** A message from carol to alice: signed, then encrypted. */
export async function fromPartner(
  message: string,
  { alice, carol, issuing }: People,
): Promise<Buffer> {
  const content = contentOf(Buffer.from(message))
  const certificate = parseCertificate(carol.der)
  const algorithm = signatureAlgorithmFor(certificate.publicKey, {})
  const signer = {
    certificate,
    path: [parseCertificate(issuing.der)],
    algorithm,
    sign: (octets: Uint8Array) => signOctets(carol.privateKey, algorithm, octets),
  }
  // The demo has made this certificate a moment ago, for this.
  const recipient = parseCertificate(alice.der) as ValidCertificate<'encrypt'>
  const chunks: Buffer[] = []
  for await (const chunk of envelopMessage(content, await readHeaderSection(content), {
    recipients: [
      { certificate: recipient, management: keyManagementFor(recipient.publicKey, 'rsa-pkcs1') },
    ],
    content: contentCipher('aes-256-cbc'),
    sign: { signer, signature: 'clear', signingTime: new Date() },
  }))
    chunks.push(chunk)
  return Buffer.concat(chunks)
}
