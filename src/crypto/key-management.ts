/**
 * How a content-encryption key reaches a recipient: one table, a row a way, and the arithmetic of each.
 *
 *     key transport   content key ──RSA──▶ encrypted key
 *     key agreement   ephemeral key ──ECDH──▶ secret ──KDF──▶ key-encryption key ──AES wrap──▶ encrypted key
 *
 * @module
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  diffieHellman,
  generateKeyPair,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  publicEncrypt,
} from 'node:crypto'
import { promisify } from 'node:util'
import { PosternError } from '../errors.ts'
import { curveDigest, requireSoundRsa } from './algorithms.ts'
import { encodeOaep, type OaepDigests } from './oaep.ts'

/** RSA: the recipient's public key encrypts the content key (RFC 5652 §6.2.1). */
export interface KeyTransport {
  readonly kind: 'key-transport'
  readonly name: 'rsa-pkcs1' | 'rsa-oaep-sha-256' | 'rsa-oaep-sha-256-mgf1-sha-1' | 'rsa-oaep-sha-1'
  /** DER of the KeyEncryptionAlgorithmIdentifier. */
  readonly identifier: Buffer
  /** Undefined for PKCS #1 v1.5. */
  readonly oaep: OaepDigests | undefined
}

/** Elliptic curves: an ephemeral key of ours meets the recipient's (RFC 5753 §3.1, RFC 8418). */
export interface KeyAgreement {
  readonly kind: 'key-agreement'
  readonly name: 'ecdh-sha-256' | 'ecdh-sha-384' | 'ecdh-sha-512' | 'x25519-hkdf-sha-256'
  readonly keyType: 'ec' | 'x25519'
  /** DER of the object identifier. */
  readonly oid: Buffer
  readonly digest: 'sha256' | 'sha384' | 'sha512'
}

export type KeyManagement = KeyTransport | KeyAgreement

/** The row of a way. */
export function keyManagement(name: KeyManagement['name']): KeyManagement {
  return KEY_MANAGEMENTS.find(management => management.name === name)!
}

/**
 * The way that suits a public key.
 *
 * On a curve the digest of the derivation is as strong as the curve (RFC 5753 §8); RSA is the caller's
 * choice.
 *
 * @throws {PosternError} `ERR_KEY_SIZE`, `ERR_KEY_TYPE` for keys that nothing may be encrypted to.
 */
export function keyManagementFor(publicKey: KeyObject, rsa: KeyTransport['name']): KeyManagement {
  requireEncryptionKey(publicKey)
  switch (publicKey.asymmetricKeyType as EncryptionKeyType) {
    case 'rsa':
      return keyManagement(rsa)
    case 'ec':
      return keyManagement(`ecdh-${curveDigest(publicKey)}`)
    case 'x25519':
      return keyManagement('x25519-hkdf-sha-256')
  }
}

/**
 * Refuses public keys that would not keep a secret, or that cost too much.
 *
 * @throws {PosternError} `ERR_KEY_SIZE` for RSA outside 2048 to 8192 bits or with a public exponent that
 *   does nothing or too much; `ERR_KEY_TYPE` for any other key that cannot be encrypted to.
 */
export function requireEncryptionKey(publicKey: KeyObject): void {
  const type = publicKey.asymmetricKeyType
  if (type === 'rsa') {
    requireSoundRsa(publicKey)
    const exponent = publicKey.asymmetricKeyDetails?.publicExponent ?? 0n
    // To the power of one, the padded content key would stand there in clear.
    if (exponent < 3n || exponent % 2n === 0n)
      throw new PosternError('ERR_KEY_SIZE', 'permanent', 'RSA public exponent is 1 or even')
  } else if (type === 'ec') curveDigest(publicKey)
  else if (type !== 'x25519') throw unfit(`nothing can be encrypted to ${type ?? 'such'} keys`)
}

/**
 * Encrypts a content key to an RSA key: 20 to 100 µs up to 4096 bits, less than it costs to hand over.
 *
 * @throws {PosternError} `ERR_KEY_TYPE` where the key is no RSA key; `ERR_KEY_UNUSABLE`.
 */
export function transportKey(
  publicKey: KeyObject,
  { oaep }: KeyTransport,
  contentKey: Uint8Array,
): Buffer {
  if (publicKey.asymmetricKeyType !== 'rsa') throw unfit('key transport needs an RSA key')
  try {
    if (!oaep) return publicEncrypt({ key: publicKey, padding: RSA_PKCS1_PADDING }, contentKey)
    if (oaep.mask !== oaep.label) return withTwoDigests(publicKey, oaep, contentKey)
    const padding = RSA_PKCS1_OAEP_PADDING
    return publicEncrypt({ key: publicKey, padding, oaepHash: oaep.label }, contentKey)
  } catch (cause) {
    throw unusable(cause)
  }
}

/** What both sides of a key agreement come to know, and what the recipient needs for that. */
export interface Agreement {
  readonly ephemeralPublicKey: KeyObject
  readonly secret: Buffer
}

/**
 * Agrees on a secret with the holder of a key, by an ephemeral key that is used once (RFC 5753 §3.1.1).
 * P-256 and X25519 take 0.1 to 0.2 ms, half of what it would cost to hand them over; the larger curves
 * take up to 4 ms, on the thread pool.
 *
 * OpenSSL refuses points that are not on the curve, and the secret of a point of small order, which is
 * all zeros (RFC 7748 §6.1).
 *
 * @throws {PosternError} `ERR_KEY_TYPE`, `ERR_KEY_UNUSABLE`.
 */
export async function agree(publicKey: KeyObject, { keyType }: KeyAgreement): Promise<Agreement> {
  if (publicKey.asymmetricKeyType !== keyType) throw unfit(`key agreement needs an ${keyType} key`)
  const generateKey = isQuick(publicKey) ? generateAtOnce : generate
  const ephemeral = await generateKey(keyType, { namedCurve: curveOf(publicKey) })
  return {
    ephemeralPublicKey: ephemeral.publicKey,
    secret: await sharedSecret(ephemeral.privateKey, publicKey),
  }
}

/** The bare secret of two keys of one kind. */
export async function sharedSecret(privateKey: KeyObject, publicKey: KeyObject): Promise<Buffer> {
  const keys = { privateKey, publicKey }
  try {
    return isQuick(publicKey) ? diffieHellman(keys) : await deriveSecret(keys)
  } catch (cause) {
    throw unusable(cause)
  }
}

/**
 * Derives the key-encryption key from a secret.
 *
 * @param sharedInfo DER of ECC-CMS-SharedInfo (RFC 5753 §7.2).
 * @param sizeOctets At most 255 times the digest's size.
 */
export function deriveKey(
  { keyType, digest }: KeyAgreement,
  secret: Uint8Array,
  sharedInfo: Uint8Array,
  sizeOctets: number,
): Buffer {
  // RFC 8418 §2: HKDF without salt, the shared info as its info.
  if (keyType === 'x25519')
    return Buffer.from(hkdfSync(digest, secret, NOTHING, sharedInfo, sizeOctets))
  return x963(digest, secret, sharedInfo, sizeOctets)
}

/** Wraps a content key (RFC 3394 §2.2.1). */
export function wrapKey(keyEncryptionKey: Uint8Array, contentKey: Uint8Array): Buffer {
  const name = `id-aes${keyEncryptionKey.length * 8}-wrap`
  const cipher = createCipheriv(name, keyEncryptionKey, WRAP_IV)
  return Buffer.concat([cipher.update(contentKey), cipher.final()])
}

/** Unwraps a content key (RFC 3394 §2.2.2). Throws where it was not wrapped with this key. */
export function unwrapKey(keyEncryptionKey: Uint8Array, wrappedKey: Uint8Array): Buffer {
  // OpenSSL takes no octets at all for a wrapped key of no octets, without looking.
  if (wrappedKey.length < MINIMUM_WRAPPED_OCTETS) throw new RangeError('wrapped key is too short')
  const name = `id-aes${keyEncryptionKey.length * 8}-wrap`
  const decipher = createDecipheriv(name, keyEncryptionKey, WRAP_IV)
  return Buffer.concat([decipher.update(wrappedKey), decipher.final()])
}

/** DER of the AlgorithmIdentifier of AES key wrap, parameters absent (RFC 3565 §2.3.2). */
export function wrapIdentifier(keyOctets: number): Buffer {
  const identifier = Buffer.from('300b0609608648016503040105', 'hex')
  identifier[12]! += ((keyOctets - 16) / 8) * 20
  return identifier
}

type EncryptionKeyType = 'rsa' | 'ec' | 'x25519'

function withTwoDigests(key: KeyObject, oaep: OaepDigests, contentKey: Uint8Array): Buffer {
  const sizeOctets = Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8)
  const encoded = encodeOaep(contentKey, sizeOctets, oaep)
  const encrypted = publicEncrypt({ key, padding: RSA_NO_PADDING }, encoded)
  encoded.fill(0)
  return encrypted
}

/** The key derivation of X9.63 (SEC 1 §3.6.1): digests over secret, counter and shared info. */
export function x963(
  digest: string,
  secret: Uint8Array,
  sharedInfo: Uint8Array,
  sizeOctets: number,
): Buffer {
  const blocks: Buffer[] = []
  for (let size = 0, counter = 1; size < sizeOctets; counter++) {
    const hash = createHash(digest)
      .update(secret)
      .update(Buffer.from([0, 0, 0, counter]))
    const block = hash.update(sharedInfo).digest()
    blocks.push(block)
    size += block.length
  }
  return Buffer.concat(blocks, sizeOctets)
}

function isQuick(publicKey: KeyObject): boolean {
  return publicKey.asymmetricKeyType === 'x25519' || curveOf(publicKey) === 'prime256v1'
}

function curveOf(key: KeyObject): string {
  return key.asymmetricKeyDetails?.namedCurve ?? 'unknown'
}

function unfit(message: string): PosternError {
  return new PosternError('ERR_KEY_TYPE', 'permanent', message)
}

function unusable(cause: unknown): PosternError {
  const what = "recipient's public key cannot be used"
  return new PosternError('ERR_KEY_UNUSABLE', 'permanent', what, { cause })
}

interface Keys {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

const generateAtOnce = generateKeyPairSync as (type: string, options: object) => Keys
const generate = promisify(generateKeyPair) as (type: string, options: object) => Promise<Keys>
const deriveSecret = promisify<Keys, Buffer>(diffieHellman)

function hex(...octets: string[]): Buffer {
  return Buffer.from(octets.join(''), 'hex')
}

const { RSA_NO_PADDING, RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING } = constants
const NOTHING = Buffer.alloc(0)
/** RFC 3394 §2: two blocks of a key, and one of its check. */
const MINIMUM_WRAPPED_OCTETS = 24
/** RFC 3394 §2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6)
const RSAES_OAEP = '06092a864886f70d010107'
const SHA_256 = '300d06096086480165030402010500'

/** Every way that we send. */
export const KEY_MANAGEMENTS: readonly KeyManagement[] = [
  {
    kind: 'key-transport',
    name: 'rsa-pkcs1',
    identifier: hex('300d', '06092a864886f70d010101', '0500'),
    oaep: undefined,
  },
  {
    kind: 'key-transport',
    name: 'rsa-oaep-sha-256',
    // RFC 4055 §4.1: hash [0] and mask generation [1] by SHA-256; the empty label is the default.
    identifier: hex(
      `303c${RSAES_OAEP}302f`,
      `a00f${SHA_256}`,
      `a11c301a06092a864886f70d010108${SHA_256}`,
    ),
    oaep: { label: 'sha256', mask: 'sha256' },
  },
  {
    kind: 'key-transport',
    name: 'rsa-oaep-sha-256-mgf1-sha-1',
    // What Java calls OAEPWithSHA-256AndMGF1Padding; the mask by SHA-1 is the default, and left out.
    identifier: hex(`301e${RSAES_OAEP}3011`, `a00f${SHA_256}`),
    oaep: { label: 'sha256', mask: 'sha1' },
  },
  {
    kind: 'key-transport',
    name: 'rsa-oaep-sha-1',
    // All defaults: an empty SEQUENCE, which must not be left out (RFC 4055 §4.1).
    identifier: hex(`300d${RSAES_OAEP}3000`),
    oaep: { label: 'sha1', mask: 'sha1' },
  },
  {
    kind: 'key-agreement',
    name: 'ecdh-sha-256',
    keyType: 'ec',
    oid: hex('06062b8104010b01'),
    digest: 'sha256',
  },
  {
    kind: 'key-agreement',
    name: 'ecdh-sha-384',
    keyType: 'ec',
    oid: hex('06062b8104010b02'),
    digest: 'sha384',
  },
  {
    kind: 'key-agreement',
    name: 'ecdh-sha-512',
    keyType: 'ec',
    oid: hex('06062b8104010b03'),
    digest: 'sha512',
  },
  {
    kind: 'key-agreement',
    name: 'x25519-hkdf-sha-256',
    keyType: 'x25519',
    oid: hex('060b2a864886f70d0109100313'),
    digest: 'sha256',
  },
]
