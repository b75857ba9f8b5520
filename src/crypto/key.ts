/**
 * Private keys as questions, not values: a file, a PKCS #12, a PKCS #11 token, a key process and a
 * test all fit.
 *
 * @module
 */
import type { SignatureAlgorithm } from './algorithms.ts'
import type { Certificate } from './x509/certificate.ts'

/** Who signs. */
export interface Signer {
  readonly certificate: Certificate
  /** Certificates above the signer's own, nearest first, without the root (RFC 8550 §2.3). */
  readonly path: readonly Certificate[]
  readonly algorithm: SignatureAlgorithm
  /**
   * Signs octets: the DER of the signed attributes (RFC 5652 §5.4). Never blocks the event loop.
   * @throws {PosternError} `ERR_KEY_UNUSABLE` where the key does not answer.
   */
  sign(octets: Uint8Array): Promise<Buffer>
}
