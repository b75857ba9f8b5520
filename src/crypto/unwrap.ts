/**
 * The arithmetic of getting a content-encryption key back, and what is done where that fails: nothing
 * that could be seen.
 *
 *     encrypted key ──▶ candidate, good or not ──▶ a key of the right size, or a random one of that size
 *
 * Who sends ciphertexts and learns whether, or why, one could not be unwrapped, decrypts other people's
 * mail by asking often enough (Bleichenbacher; RFC 3218). So there is one path for all outcomes, and the
 * content fails to decrypt later, as it does with any wrong key.
 *
 * @module
 */
import { constants, hkdfSync, type KeyObject, privateDecrypt, randomBytes } from 'node:crypto'
import { sharedSecret, unwrapKey, x963 } from './key-management.ts'
import { decodeOaep, type OaepDigest } from './oaep.ts'

/** How RSA has encrypted a content key. */
export interface TransportScheme {
  /** `rsa-pkcs1`, `rsa-oaep-sha-256`, `rsa-oaep-sha-256-mgf1-sha-1`. */
  readonly name: string
  /** Undefined for PKCS #1 v1.5. */
  readonly oaep: OaepParameters | undefined
}

/** RSAES-OAEP-params (RFC 4055 §4.1). */
export interface OaepParameters {
  readonly label: OaepDigest
  readonly mask: OaepDigest
  /** The label itself, which is nearly always empty. */
  readonly labelOctets: Uint8Array
}

/** How a secret that was agreed on becomes the key that wraps. */
export interface AgreementScheme {
  /** `ecdh-sha-256`, `x25519-hkdf-sha-256`. */
  readonly name: string
  readonly derivation: 'x963' | 'hkdf'
  /** In node:crypto. */
  readonly digest: OaepDigest
  /** Size of the key that wraps: 16, 24 or 32. */
  readonly keyEncryptionKeyOctets: number
  /** DER of ECC-CMS-SharedInfo (RFC 5753 §7.2). */
  readonly sharedInfo: Buffer
}

/** An RSA decryption, asked of another thread. */
export interface TransportQuestion {
  readonly privateKey: KeyObject
  readonly scheme: TransportScheme
  readonly encryptedKey: Uint8Array
  readonly contentKeyOctets: number
}

/**
 * The content key that RSA has encrypted; a random one where there is none of that size.
 *
 * Blocks: 0.3 to 1 ms with 2048 bits, seven times that with 4096. PKCS #1 v1.5 is decrypted with
 * implicit rejection: wrong padding yields octets of random size, which is why the size is compared here.
 */
export function transportedKey(question: TransportQuestion): Buffer {
  let candidate: Candidate = NOTHING_GOOD
  try {
    candidate = decryptRsa(question)
  } catch {
    // A ciphertext over the modulus, or a key of another kind: all of it is known to the sender.
  }
  return keyOrRandom(candidate, question.contentKeyOctets)
}

/**
 * The content key that was wrapped for a secret of two keys; a random one where there is none of that
 * size. Runs on the thread pool where the curve is slow.
 *
 * @param originatorKey Makes the sender's public key; may throw, which is one more way to fail.
 */
export async function agreedKey(
  privateKey: KeyObject,
  originatorKey: () => KeyObject,
  scheme: AgreementScheme,
  wrapped: { readonly encryptedKey: Uint8Array; readonly contentKeyOctets: number },
): Promise<Buffer> {
  let candidate: Candidate = NOTHING_GOOD
  try {
    // OpenSSL refuses points off the curve, and the all-zero secret of X25519 (RFC 7748 §6.1).
    const secret = await sharedSecret(privateKey, originatorKey())
    const keyEncryptionKey = deriveKeyEncryptionKey(secret, scheme)
    candidate = { octets: unwrapKey(keyEncryptionKey, wrapped.encryptedKey), good: 1 }
    secret.fill(0)
    keyEncryptionKey.fill(0)
  } catch {
    // As above: one outcome for all.
  }
  return keyOrRandom(candidate, wrapped.contentKeyOctets)
}

interface Candidate {
  readonly octets: Buffer
  /** 1 or 0. */
  readonly good: number
}

function decryptRsa({ privateKey, scheme, encryptedKey }: TransportQuestion): Candidate {
  const { oaep } = scheme
  if (!oaep) {
    const padding = constants.RSA_PKCS1_PADDING
    return { octets: privateDecrypt({ key: privateKey, padding }, encryptedKey), good: 1 }
  }
  // Also where Node could do it: what it throws for bad padding would be a path of its own.
  const padding = constants.RSA_NO_PADDING
  const encoded = privateDecrypt({ key: privateKey, padding }, encryptedKey)
  const { message, good } = decodeOaep(encoded, oaep, oaep.labelOctets)
  return { octets: message, good }
}

function deriveKeyEncryptionKey(secret: Buffer, scheme: AgreementScheme): Buffer {
  const { derivation, digest, sharedInfo, keyEncryptionKeyOctets } = scheme
  if (derivation === 'x963') return x963(digest, secret, sharedInfo, keyEncryptionKeyOctets)
  // RFC 8418 §2: HKDF without salt, the shared info as its info.
  return Buffer.from(hkdfSync(digest, secret, NOTHING, sharedInfo, keyEncryptionKeyOctets))
}

/** Chooses octet by octet and without a branch; the random key is drawn in any case. */
function keyOrRandom({ octets, good }: Candidate, sizeOctets: number): Buffer {
  const key = randomBytes(sizeOctets)
  const candidate = Buffer.alloc(sizeOctets)
  octets.copy(candidate)
  const take = -(good & Number(octets.length === sizeOctets)) & 0xff
  for (let index = 0; index < sizeOctets; index++)
    key[index] = (candidate[index]! & take) | (key[index]! & ~take)
  candidate.fill(0)
  octets.fill(0)
  return key
}

const NOTHING = Buffer.alloc(0)
const NOTHING_GOOD: Candidate = { octets: NOTHING, good: 0 }
