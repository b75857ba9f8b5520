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
   * The certificate that others shall encrypt to (RFC 8551 §2.5.3), where it is not the signer's
   * own. Undefined: the signer's own, if its key usage allows that.
   */
  readonly encryptionCertificate?: Certificate | undefined
  /**
   * Signs octets: the DER of the signed attributes (RFC 5652 §5.4). Never blocks the event loop.
   * @throws {PosternError} `ERR_KEY_UNUSABLE` where the key does not answer.
   */
  sign(octets: Uint8Array): Promise<Buffer>
}
