/**
 * Private keys as questions, not values: a file, a PKCS #12, a PKCS #11 token, a key process and a
 * test all fit.
 *
 * @module
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { SignatureAlgorithm } from './algorithms.ts'
import { DerReader, readOid } from './asn1/der-reader.ts'
import { sequence, tlv } from './asn1/der-writer.ts'
import { type AgreementScheme, agreedKey, type TransportScheme } from './unwrap.ts'
import { transportedKeyOnThread } from './unwrap-threads.ts'
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

/** Who decrypts. */
export interface KeyUnwrapper {
  readonly certificate: Certificate
  /**
   * The content-encryption key: always of the size asked for, a random one on any failure, and in one
   * way for all failures. Never blocks the event loop.
   *
   * @param info Of this key by its name, and of a kind that suits the certificate's public key.
   * @throws {PosternError} `ERR_UNWRAP_UNAVAILABLE`, transient, where the key cannot be asked now; that
   *   never depends on what was encrypted.
   */
  unwrap(info: RecipientInfo, contentKeyOctets: number): Promise<Buffer>
}

/** A content key for one certificate, encrypted in a way that we know. */
export type RecipientInfo = KeyTransportInfo | KeyAgreementInfo

/** KeyTransRecipientInfo (RFC 5652 §6.2.1). */
export interface KeyTransportInfo {
  readonly kind: 'key-transport'
  readonly recipient: RecipientIdentifier
  readonly scheme: TransportScheme
  readonly encryptedKey: Buffer
}

/** KeyAgreeRecipientInfo (RFC 5652 §6.2.2) and one of its RecipientEncryptedKeys. */
export interface KeyAgreementInfo {
  readonly kind: 'key-agreement'
  readonly recipient: RecipientIdentifier
  readonly scheme: AgreementScheme
  readonly originator: OriginatorKey
  readonly encryptedKey: Buffer
}

/** The sender's ephemeral public key (RFC 5753 §3.1.1). */
export interface OriginatorKey {
  readonly type: 'ec' | 'x25519'
  /** Object identifier; undefined where only the recipient's certificate names the curve. */
  readonly curve: string | undefined
  /** The point of the curve, or the octets of X25519. */
  readonly point: Buffer
}

/** Which certificate a RecipientInfo means (RFC 5652 §6.2). */
export type RecipientIdentifier =
  | { readonly kind: 'issuer-and-serial'; readonly issuer: Buffer; readonly serialNumber: Buffer }
  | { readonly kind: 'key-identifier'; readonly keyIdentifier: Buffer }

/**
 * An unwrapper for a private key that is in memory.
 *
 * RSA runs on a thread of its own, curves on the thread pool or, where that is quicker than handing
 * them over, at once.
 */
export function unwrapperFor(certificate: Certificate, privateKey: KeyObject): KeyUnwrapper {
  return {
    certificate,
    unwrap(info, contentKeyOctets) {
      const { encryptedKey } = info
      if (info.kind === 'key-transport') {
        const { scheme } = info
        return transportedKeyOnThread({ privateKey, scheme, encryptedKey, contentKeyOctets })
      }
      const originatorKey = () => publicKeyOf(info.originator, certificate.publicKeyInfo)
      return agreedKey(privateKey, originatorKey, info.scheme, { encryptedKey, contentKeyOctets })
    },
  }
}

/**
 * The sender's public key: its point, on the curve of the recipient's own. Another curve than that is
 * no curve for us, and OpenSSL refuses points that do not lie on it.
 */
function publicKeyOf({ type, curve, point }: OriginatorKey, publicKeyInfo: Buffer): KeyObject {
  const algorithm = new DerReader(publicKeyInfo).into(0x30).element(0x30)
  const inside = new DerReader(algorithm.content)
  const ourType = readOid(inside.element(0x06))
  const ourCurve = inside.done ? undefined : readOid(inside.element(0x06))
  if (ourType !== KEY_TYPES[type] || (curve !== undefined && curve !== ourCurve))
    throw new Error('keys are not of one curve')
  const key = sequence(algorithm.octets, tlv(0x03, NO_UNUSED_BITS, point))
  return createPublicKey({ key, format: 'der', type: 'spki' })
}

const NO_UNUSED_BITS = Buffer.from([0])
const KEY_TYPES = { ec: '1.2.840.10045.2.1', x25519: '1.3.101.110' }
