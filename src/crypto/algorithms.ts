/**
 * What we know of digest and signature algorithms: one table, a row an algorithm.
 *
 * Whatever differs from one algorithm to the next (identifiers, names in headers, key types, bounds,
 * paddings) stands in a row here, and nowhere else.
 *
 * @module
 */
import { constants, type KeyObject, sign, verify } from 'node:crypto'
import { PosternError } from '../errors.ts'

/** The digests by which we sign. */
export type DigestName = 'sha-256' | 'sha-384' | 'sha-512'

/** A digest algorithm of RFC 5754 §2; SHA-1 only in what came in. */
export interface DigestAlgorithm {
  /** Its name, which is its `micalg` value too (RFC 8551 §3.5.3.2). */
  readonly name: DigestName | 'sha-1'
  /** Its name in node:crypto. */
  readonly nodeName: 'sha256' | 'sha384' | 'sha512' | 'sha1'
  readonly oid: string
  /** DER of its AlgorithmIdentifier, parameters absent as RFC 5754 §2 wants them written. */
  readonly identifier: Buffer
  readonly sizeOctets: number
}

/** A signature algorithm: a kind of key, a padding and a digest. */
export interface SignatureAlgorithm {
  /** `rsa-pkcs1-sha-256`, `rsa-pss-sha-512`, `ecdsa-sha-384`, `ed25519`. */
  readonly name: string
  readonly keyType: 'rsa' | 'ec' | 'ed25519'
  /** Digest of the content, named in the SignerInfo and in `micalg`. */
  readonly digest: DigestAlgorithm
  readonly padding: 'pkcs1' | 'pss' | undefined
  readonly oid: string
  /** DER of the AlgorithmIdentifier in a SignerInfo. */
  readonly identifier: Buffer
  /** DER of the AlgorithmIdentifier in a certificate; differs for RSA PKCS #1 v1.5 alone. */
  readonly certificateIdentifier: Buffer
  readonly minimumBits: number
  readonly maximumBits: number
  readonly maySend: boolean
  readonly mayReceive: boolean
}

/** What is calculated to verify a signature. */
export interface Primitive extends Pick<SignatureAlgorithm, 'keyType' | 'padding'> {
  readonly digest: Pick<DigestAlgorithm, 'nodeName' | 'sizeOctets'>
  /** Of RSASSA-PSS alone; as long as the digest where it is not given. */
  readonly saltOctets?: number | undefined
}

/** What an organisation may wish of its signatures; what the key cannot do otherwise is not asked. */
export interface SignatureWish {
  readonly digest?: DigestName | undefined
  /** RSASSA-PSS instead of PKCS #1 v1.5. Only RSA keys are concerned. */
  readonly pss?: boolean | undefined
}

/**
 * The algorithm by which a key signs.
 *
 * ECDSA takes the digest that fits the curve (RFC 8551 §2.2 for P-256), Ed25519 always SHA-512
 * (RFC 8419 §3.1), RSA SHA-256. A key that is restricted to RSASSA-PSS, or to one digest, is obeyed.
 *
 * @throws {PosternError} `ERR_KEY_SIZE` for RSA outside 2048 to 8192 bits or with an exponent over
 *   2^32; `ERR_KEY_TYPE` for any other key that cannot sign mail.
 */
export function signatureAlgorithmFor(key: KeyObject, wish: SignatureWish): SignatureAlgorithm {
  requireSoundKey(key)
  switch (key.asymmetricKeyType as SigningKeyType) {
    case 'rsa':
      return row(`rsa-${wish.pss ? 'pss' : 'pkcs1'}-${wish.digest ?? 'sha-256'}`)
    case 'rsa-pss':
      return row(`rsa-pss-${restrictedDigest(key) ?? wish.digest ?? 'sha-256'}`)
    case 'ec':
      return row(`ecdsa-${wish.digest ?? curveDigest(key)}`)
    case 'ed25519':
      return row('ed25519')
  }
}

/**
 * Refuses keys that are too small to protect, or so large or odd that using them is an attack
 * (RFC 8551 §6). To be asked before any operation with a stranger's key.
 *
 * @throws {PosternError} `ERR_KEY_SIZE`, `ERR_KEY_TYPE`.
 */
export function requireSoundKey(key: KeyObject): void {
  const type = key.asymmetricKeyType
  if (type === 'rsa' || type === 'rsa-pss') requireSoundRsa(key)
  else if (type === 'ec') curveDigest(key)
  else if (type !== 'ed25519') throw unfit(`${type ?? key.type} keys cannot sign mail`)
}

/**
 * The digest that is as strong as the curve of a key (RFC 5753 §8).
 *
 * @throws {PosternError} `ERR_KEY_TYPE` for a curve that nothing is calculated on.
 */
export function curveDigest(key: KeyObject): DigestName {
  const curve = key.asymmetricKeyDetails?.namedCurve ?? 'unknown'
  const digest = CURVES.get(curve)
  if (digest === undefined) throw unfit(`curve ${curve} is not supported`)
  return digest
}

/**
 * What makes a stranger's key weak, `rsa-1024` or the like; undefined where nothing does.
 *
 * More is read than is written: RSA from 1024 bits. To be asked before any operation with the key
 * (RFC 8551 §6).
 *
 * @throws {PosternError} `ERR_KEY_SIZE`, `ERR_KEY_TYPE` where nothing may be calculated with it.
 */
export function weaknessOf(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType
  if (type === 'rsa' || type === 'rsa-pss') {
    requireSoundRsa(key, RECEIVED_RSA_BITS)
    const { modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
    return modulusLength < RSA_BITS.minimumBits ? `rsa-${modulusLength}` : undefined
  }
  requireSoundKey(key)
  return undefined
}

/**
 * Signs octets on the thread pool.
 *
 * @param key A private key.
 * @returns The signature as CMS carries it; ECDSA as DER (RFC 5753 §7.2, ECDSA-Sig-Value).
 * @throws {PosternError} `ERR_KEY_UNUSABLE`.
 */
export function signOctets(
  key: KeyObject,
  algorithm: SignatureAlgorithm,
  octets: Uint8Array,
): Promise<Buffer> {
  return new Promise<Buffer>((resolve, reject) => {
    const options = withPadding(key, algorithm)
    sign(primitiveDigest(algorithm), octets, options, (error, signature) => {
      if (error === null) resolve(signature)
      else reject(error)
    })
  }).catch((cause: unknown) => {
    throw unusable(cause)
  })
}

/**
 * Verifies a signature over octets. False also where the key is of another kind than the algorithm.
 * Bounds on keys are the caller's: see `requireSoundKey`.
 *
 * Runs on the thread pool, but for RSA up to 4096 bits over few octets: there the public operation
 * takes 30 to 70 µs, less than it costs to hand it over.
 */
export function verifyOctets(
  publicKey: KeyObject,
  algorithm: Primitive,
  octets: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (!fits(publicKey, algorithm)) return Promise.resolve(false)
  const digest = primitiveDigest(algorithm)
  const key = withPadding(publicKey, algorithm)
  return new Promise<boolean>((resolve, reject) => {
    if (isCheap(publicKey) && octets.length <= CHEAP_OCTETS)
      resolve(verify(digest, octets, key, signature))
    else
      verify(digest, octets, key, signature, (error, good) => {
        if (error === null) resolve(good)
        else reject(error)
      })
  }).catch(() => false)
}

/** The digest algorithm of an object identifier, if we know it; also those that we do not make any more. */
export function receivedDigestByOid(oid: string): DigestAlgorithm | undefined {
  return RECEIVED_DIGESTS.find(digest => digest.oid === oid)
}

type SigningKeyType = 'rsa' | 'rsa-pss' | 'ec' | 'ed25519'

function row(name: string): SignatureAlgorithm {
  const found = SIGNATURES.find(algorithm => algorithm.name === name && algorithm.maySend)
  if (!found) throw unfit(`no signature algorithm ${name}`)
  return found
}

/** The bounds of RSA keys, for signing and encryption alike. @throws {PosternError} `ERR_KEY_SIZE`. */
export function requireSoundRsa(key: KeyObject, bounds: typeof RSA_BITS = RSA_BITS): void {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  const { minimumBits, maximumBits } = bounds
  if (modulusLength < minimumBits || modulusLength > maximumBits)
    throw wrongSize(`RSA key of ${modulusLength} bits is not of ${minimumBits} to ${maximumBits}`)
  if (publicExponent > MAXIMUM_EXPONENT) throw wrongSize('RSA public exponent is over 2^32')
  if (publicExponent < 3n) throw wrongSize('RSA public exponent is below 3')
}

/** The digest that an id-RSASSA-PSS key insists on (RFC 4055 §3.1), if it does. */
function restrictedDigest(key: KeyObject): DigestAlgorithm['name'] | undefined {
  const { hashAlgorithm, mgf1HashAlgorithm, saltLength } = key.asymmetricKeyDetails ?? {}
  if (hashAlgorithm === undefined) return undefined
  const digest = DIGESTS.find(candidate => candidate.nodeName === hashAlgorithm)
  // RFC 4056 §3: mask generation with the same digest; the key's salt length is a lower bound.
  if (!digest || mgf1HashAlgorithm !== hashAlgorithm || (saltLength ?? 0) > digest.sizeOctets)
    throw unfit('RSASSA-PSS key asks for parameters that are not supported')
  return digest.name
}

/** Whether a key is of the kind that an algorithm needs. */
export function fits(key: KeyObject, { keyType, padding }: Primitive): boolean {
  const type = key.asymmetricKeyType
  return type === keyType || (type === 'rsa-pss' && padding === 'pss')
}

function isCheap(publicKey: KeyObject): boolean {
  const { modulusLength, publicExponent } = publicKey.asymmetricKeyDetails ?? {}
  if (modulusLength === undefined || publicExponent === undefined) return false
  return modulusLength <= CHEAP_BITS && publicExponent <= MAXIMUM_EXPONENT
}

function withPadding(key: KeyObject, algorithm: Primitive) {
  switch (algorithm.padding) {
    case 'pkcs1':
      return { key, padding: constants.RSA_PKCS1_PADDING }
    case 'pss':
      return {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: algorithm.saltOctets ?? algorithm.digest.sizeOctets,
      }
    case undefined:
      return { key, dsaEncoding: 'der' as const }
  }
}

/** PureEdDSA digests for itself (RFC 8419 §3.1: the SHA-512 is the content's, not the primitive's). */
function primitiveDigest({ keyType, digest }: Primitive): string | null {
  return keyType === 'ed25519' ? null : digest.nodeName
}

function unfit(message: string): PosternError {
  return new PosternError('ERR_KEY_TYPE', 'permanent', message)
}

function wrongSize(message: string): PosternError {
  return new PosternError('ERR_KEY_SIZE', 'permanent', message)
}

function unusable(cause: unknown): PosternError {
  return new PosternError('ERR_KEY_UNUSABLE', 'transient', 'signing key does not answer', { cause })
}

function hex(...octets: string[]): Buffer {
  return Buffer.from(octets.join(''), 'hex')
}

const DIGESTS: readonly DigestAlgorithm[] = [
  {
    name: 'sha-256',
    nodeName: 'sha256',
    oid: '2.16.840.1.101.3.4.2.1',
    identifier: hex('300b', '0609608648016503040201'),
    sizeOctets: 32,
  },
  {
    name: 'sha-384',
    nodeName: 'sha384',
    oid: '2.16.840.1.101.3.4.2.2',
    identifier: hex('300b', '0609608648016503040202'),
    sizeOctets: 48,
  },
  {
    name: 'sha-512',
    nodeName: 'sha512',
    oid: '2.16.840.1.101.3.4.2.3',
    identifier: hex('300b', '0609608648016503040203'),
    sizeOctets: 64,
  },
]

const SHA_1: DigestAlgorithm = {
  name: 'sha-1',
  nodeName: 'sha1',
  oid: '1.3.14.3.2.26',
  identifier: hex('3007', '06052b0e03021a'),
  sizeOctets: 20,
}
/** What a signature that came in may be made with. */
export const RECEIVED_DIGESTS: readonly DigestAlgorithm[] = [...DIGESTS, SHA_1]

/** By the names that OpenSSL gives them: those of NIST, and of RFC 5639 what BSI TR-03116 asks for. */
const CURVES: ReadonlyMap<string, DigestName> = new Map([
  ['prime256v1', 'sha-256'],
  ['secp384r1', 'sha-384'],
  ['secp521r1', 'sha-512'],
  ['brainpoolP256r1', 'sha-256'],
  ['brainpoolP384r1', 'sha-384'],
  ['brainpoolP512r1', 'sha-512'],
])
const RSA_BITS = { minimumBits: 2048, maximumBits: 8192 }
/** Keys of other times: what they signed is verified, and told to be weak (RFC 8551 §4.3, §B). */
const RECEIVED_RSA_BITS = { minimumBits: 1024, maximumBits: 8192 }
const CURVE_BITS = { minimumBits: 256, maximumBits: 521 }
const CHEAP_BITS = 4096
/** Digested in about 0.1 ms; a long revocation list takes 20 ms and more. */
const CHEAP_OCTETS = 65_536
const MAXIMUM_EXPONENT = 2n ** 32n
const BOTH_WAYS = { maySend: true, mayReceive: true }
const ONLY_IN = { maySend: false, mayReceive: true }

/**
 * RSA PKCS #1 v1.5 goes into a SignerInfo as rsaEncryption with NULL: what RFC 3370 §3.2 makes the
 * MUST, with sha…WithRSAEncryption only a SHOULD, and what OpenSSL, GnuPG and NSS write themselves.
 */
const RSA_ENCRYPTION = hex('300d', '06092a864886f70d010101', '0500')

function rsaPkcs1(digest: DigestAlgorithm, certificateOid: string): SignatureAlgorithm {
  return {
    name: `rsa-pkcs1-${digest.name}`,
    keyType: 'rsa',
    digest,
    padding: 'pkcs1',
    oid: '1.2.840.113549.1.1.1',
    identifier: RSA_ENCRYPTION,
    certificateIdentifier: hex('300d', '0609', certificateOid, '0500'),
    ...RSA_BITS,
    ...BOTH_WAYS,
  }
}

/**
 * RFC 4056 §3: mask generation by MGF1 with the same digest, salt as long as the digest. Inside the
 * parameters a digest identifier bears NULL (RFC 4055 §2.1), other than on its own (RFC 5754 §2).
 */
function rsaPss(digest: DigestAlgorithm, saltLength: string): SignatureAlgorithm {
  const hash = `300d${digest.identifier.toString('hex').slice(4)}0500`
  const mgf1 = `301a06092a864886f70d010108${hash}`
  const parameters = `3034a00f${hash}a11c${mgf1}a2030201${saltLength}`
  const identifier = hex('3041', '06092a864886f70d01010a', parameters)
  return {
    name: `rsa-pss-${digest.name}`,
    keyType: 'rsa',
    digest,
    padding: 'pss',
    oid: '1.2.840.113549.1.1.10',
    identifier,
    certificateIdentifier: identifier,
    ...RSA_BITS,
    ...BOTH_WAYS,
  }
}

/** RFC 5754 §3.3: the identifier names the digest, parameters absent. */
function ecdsa(digest: DigestAlgorithm, lastArc: number): SignatureAlgorithm {
  const identifier = hex('300a', '06082a8648ce3d0403', `0${lastArc}`)
  return {
    name: `ecdsa-${digest.name}`,
    keyType: 'ec',
    digest,
    padding: undefined,
    oid: `1.2.840.10045.4.3.${lastArc}`,
    identifier,
    certificateIdentifier: identifier,
    ...CURVE_BITS,
    ...BOTH_WAYS,
  }
}

const [SHA_256, SHA_384, SHA_512] = DIGESTS as [DigestAlgorithm, DigestAlgorithm, DigestAlgorithm]
const ED25519_IDENTIFIER = hex('3005', '06032b6570')

/** RFC 5758 §3.2: of another branch than its successors. */
const ECDSA_SHA_1 = {
  oid: '1.2.840.10045.4.1',
  identifier: hex('3009', '06072a8648ce3d0401'),
  certificateIdentifier: hex('3009', '06072a8648ce3d0401'),
}

/** Every signature algorithm that we make, or accept in certificates. */
export const SIGNATURES: readonly SignatureAlgorithm[] = [
  rsaPkcs1(SHA_256, '2a864886f70d01010b'),
  rsaPkcs1(SHA_384, '2a864886f70d01010c'),
  rsaPkcs1(SHA_512, '2a864886f70d01010d'),
  rsaPss(SHA_256, '20'),
  rsaPss(SHA_384, '30'),
  rsaPss(SHA_512, '40'),
  ecdsa(SHA_256, 2),
  ecdsa(SHA_384, 3),
  ecdsa(SHA_512, 4),
  {
    name: 'ed25519',
    keyType: 'ed25519',
    digest: SHA_512,
    padding: undefined,
    oid: '1.3.101.112',
    identifier: ED25519_IDENTIFIER,
    certificateIdentifier: ED25519_IDENTIFIER,
    minimumBits: 256,
    maximumBits: 256,
    ...BOTH_WAYS,
  },
]

/**
 * The same, and those that came in with mail of other times: verified, and told to be weak
 * (RFC 8551 §B). Never a certificate's.
 */
export const RECEIVED_SIGNATURES: readonly SignatureAlgorithm[] = [
  ...SIGNATURES,
  { ...rsaPkcs1(SHA_1, '2a864886f70d010105'), ...ONLY_IN },
  { ...rsaPss(SHA_1, '14'), ...ONLY_IN },
  { ...ecdsa(SHA_1, 1), ...ECDSA_SHA_1, ...ONLY_IN },
]
