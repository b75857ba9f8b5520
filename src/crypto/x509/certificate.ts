/**
 * An X.509 certificate, read and not yet believed (RFC 5280 §4.1).
 *
 * Whether it may be used for anything, by anyone, today, is settled elsewhere. What stands here is
 * what it says.
 *
 * @module
 */
import { createHash, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import { requireSoundKey } from '../algorithms.ts'
import {
  DerReader,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
  syntaxError,
} from '../asn1/der-reader.ts'
import {
  type BasicConstraints,
  type CertificateAddresses,
  type Extension,
  type KeyUsage,
  readAddresses,
  readAuthorityKeyIdentifier,
  readBasicConstraints,
  readExtendedKeyUsage,
  readExtensions,
  readKeyUsage,
  readSubjectKeyIdentifier,
  unknownCritical,
} from './extensions.ts'
import { nameText, readName } from './name.ts'
import { readSignedStructure } from './signed-structure.ts'

/** What a certificate says. Made by `parseCertificate` alone. */
export class Certificate {
  readonly der: Buffer
  /** DER of the TBSCertificate: what the signature is over. */
  readonly toBeSigned: Buffer
  /** DER of the AlgorithmIdentifier. */
  readonly signatureAlgorithm: Buffer
  readonly signature: Buffer
  /** 1 to 3, as people count (RFC 5280 §4.1.2.1). */
  readonly version: number
  /** Content octets of the INTEGER, big-endian. */
  readonly serialNumber: Buffer
  /** DER of the issuer's Name. */
  readonly issuer: Buffer
  /** DER of the subject's Name. */
  readonly subject: Buffer
  readonly notBefore: Date
  readonly notAfter: Date
  /** DER of the SubjectPublicKeyInfo. */
  readonly publicKeyInfo: Buffer
  /** By object identifier. */
  readonly extensions: ReadonlyMap<string, Extension>
  /** What the key may be used for; undefined where the certificate does not say, which is anything. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined
  /** Object identifiers of purposes; undefined where the certificate does not say. */
  readonly extendedKeyUsage: ReadonlySet<string> | undefined
  readonly basicConstraints: BasicConstraints | undefined
  readonly subjectKeyIdentifier: Buffer | undefined
  /** The keyIdentifier of the extension (RFC 5280 §4.2.1.1). */
  readonly authorityKeyIdentifier: Buffer | undefined
  /** Mail addresses that can be compared safely, as they are written. */
  readonly addresses: readonly string[]
  /** Whether the addresses are alternative names or, for want of those, stand in the subject. */
  readonly addressSource: CertificateAddresses['source']
  /** Object identifiers. Whoever relies on a certificate that has one must refuse it (§4.2). */
  readonly unknownCriticalExtensions: readonly string[]
  #fingerprint: string | undefined
  #publicKey: KeyObject | undefined
  #x509: X509Certificate | undefined

  /** @param der Exactly one certificate. Throws what the readers throw; see `parseCertificate`. */
  constructor(der: Buffer) {
    const outer = new DerReader(der)
    const certificate = outer.into(0x30)
    outer.finish()
    const { inside: tbs, ...signed } = readSignedStructure(certificate, der)
    certificate.finish()
    const version = tbs.optionalInto(0xa0)
    this.version = version ? readSmallInteger(version.element(0x02)) + 1 : 1
    this.der = der
    this.toBeSigned = signed.toBeSigned
    this.serialNumber = readInteger(tbs.element(0x02))
    const innerAlgorithm = tbs.element(0x30).octets
    this.issuer = tbs.element(0x30).octets
    const validity = tbs.into(0x30)
    this.notBefore = readTime(validity.element())
    this.notAfter = readTime(validity.element())
    this.subject = tbs.element(0x30).octets
    this.publicKeyInfo = tbs.element(0x30).octets
    tbs.optional(0x81) // issuerUniqueID
    tbs.optional(0x82) // subjectUniqueID
    const extensions = readExtensions(tbs.optionalInto(0xa3))
    tbs.finish()
    // RFC 5280 §4.1.1.2: the algorithm that is signed for must be the one that is used.
    if (!signed.signatureAlgorithm.equals(innerAlgorithm))
      throw syntaxError(certificate.offset, 'two signature algorithms')
    this.signatureAlgorithm = innerAlgorithm
    this.signature = signed.signature

    this.extensions = extensions
    this.keyUsage = readKeyUsage(extensions)
    this.extendedKeyUsage = readExtendedKeyUsage(extensions)
    this.basicConstraints = readBasicConstraints(extensions)
    this.subjectKeyIdentifier = readSubjectKeyIdentifier(extensions)
    this.authorityKeyIdentifier = readAuthorityKeyIdentifier(extensions)
    const { addresses, source } = readAddresses(extensions, this.subject)
    this.addresses = addresses
    this.addressSource = source
    this.unknownCriticalExtensions = unknownCritical(extensions)
    // Read now, so that what is shown later cannot throw.
    readName(this.issuer)
  }

  /** SHA-256 of the DER, in lower-case hexadecimal. */
  get fingerprint(): string {
    this.#fingerprint ??= createHash('sha256').update(this.der).digest('hex')
    return this.#fingerprint
  }

  get serialNumberHex(): string {
    return this.serialNumber.toString('hex')
  }

  /** The subject for people: `CN=Alice,O=Example`. Never to be compared. */
  get subjectText(): string {
    return nameText(this.subject)
  }

  get issuerText(): string {
    return nameText(this.issuer)
  }

  /** @throws {PosternError} `ERR_CERTIFICATE_KEY` where the key is of no known kind, or damaged. */
  get publicKey(): KeyObject {
    this.#publicKey ??= readPublicKey(this.publicKeyInfo)
    return this.#publicKey
  }

  /** Issuer and subject are the same name. Says nothing about the signature. */
  get isSelfIssued(): boolean {
    return this.issuer.equals(this.subject)
  }

  get isCertificateAuthority(): boolean {
    return this.basicConstraints?.certificateAuthority ?? false
  }

  /**
   * The same certificate for node:crypto, for signatures over certificates alone.
   * @throws {PosternError} `ERR_CERTIFICATE_SYNTAX` where OpenSSL does not like it.
   */
  get x509(): X509Certificate {
    try {
      this.#x509 ??= new X509Certificate(this.der)
      return this.#x509
    } catch (cause) {
      throw malformed(cause)
    }
  }
}

/**
 * Reads one certificate, to its last octet.
 *
 * @param der Kept, not copied.
 * @throws {PosternError} `ERR_CERTIFICATE_SYNTAX`.
 */
export function parseCertificate(der: Buffer): Certificate {
  if (der.length > MAXIMUM_OCTETS) throw malformed(syntaxError(0, 'too large'))
  try {
    return new Certificate(der)
  } catch (cause) {
    throw malformed(cause)
  }
}

/**
 * Whether one certificate was issued by the holder of another: the names chain, the key identifiers
 * do not speak against it, and the signature verifies (RFC 5280 §6.1.3 a.1, a.4).
 *
 * Says nothing of time, constraints or trust. False for keys that `requireSoundKey` refuses.
 */
export function issuedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (!certificate.issuer.equals(issuer.subject)) return false
  const { authorityKeyIdentifier } = certificate
  const { subjectKeyIdentifier } = issuer
  if (authorityKeyIdentifier && subjectKeyIdentifier)
    if (!authorityKeyIdentifier.equals(subjectKeyIdentifier)) return false
  try {
    requireSoundKey(issuer.publicKey)
    return certificate.x509.verify(issuer.publicKey)
  } catch {
    return false
  }
}

function readPublicKey(publicKeyInfo: Buffer): KeyObject {
  try {
    requirePlainKey(publicKeyInfo)
    return createPublicKey({ key: publicKeyInfo, format: 'der', type: 'spki' })
  } catch (cause) {
    const what = 'certificate has a public key that cannot be read'
    throw new PosternError('ERR_CERTIFICATE_KEY', 'permanent', what, { cause })
  }
}

/**
 * Keeps from OpenSSL what makes it calculate while it reads: curves that a stranger made up
 * (RFC 5480 §2.1.1 allows named ones alone), and keys of absurd length.
 */
function requirePlainKey(publicKeyInfo: Buffer): void {
  if (publicKeyInfo.length > MAXIMUM_KEY_OCTETS) throw syntaxError(0, 'key is too large')
  const algorithm = new DerReader(publicKeyInfo).into(0x30).into(0x30)
  if (readOid(algorithm.element(0x06)) !== EC_PUBLIC_KEY) return
  algorithm.element(0x06)
  algorithm.finish()
}

function malformed(cause: unknown): PosternError {
  const where = cause instanceof PosternError ? `: ${cause.message}` : ''
  const what = `certificate cannot be read${where}`
  return new PosternError('ERR_CERTIFICATE_SYNTAX', 'permanent', what, { cause })
}

/** A certificate with a thousand addresses and a post-quantum key has room in it. */
const MAXIMUM_OCTETS = 262_144
const MAXIMUM_KEY_OCTETS = 16_384
const EC_PUBLIC_KEY = '1.2.840.10045.2.1'
