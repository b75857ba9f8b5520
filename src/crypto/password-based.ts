/**
 * What a password opens: the decryption and the integrity check of key files.
 *
 * PKCS #5 (RFC 8018: PBES2 with PBKDF2 or scrypt) and the older schemes of PKCS #12 (RFC 7292
 * Appendix B and C), among them RC2, which OpenSSL 3 does not offer any more and which comes from
 * node-forge. Keys are derived on the thread pool, or in slices that let the event loop breathe.
 *
 * @module
 */
import { createDecipheriv, createHmac, hash, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { PosternError } from '../errors.ts'
import {
  type BerNode,
  INTEGER,
  integerOf,
  isTagged,
  malformed,
  objectIdentifierOf,
  octetStringOf,
  partsOf,
  SEQUENCE,
} from './ber.ts'

/** A password, and how much work may still be spent on one file. */
export class Password {
  /** For PKCS #5: UTF-8. */
  readonly utf8: Buffer
  /** For PKCS #12: UTF-16BE with a terminator (RFC 7292 §B.1). */
  readonly bmpString: Buffer
  #iterationsLeft = MAX_ITERATIONS

  /** @param form `nothing` is the empty password of programs that leave out even its terminator. */
  constructor(text: string, form: 'terminated' | 'nothing' = 'terminated') {
    this.utf8 = Buffer.from(text, 'utf8')
    this.bmpString =
      form === 'nothing' ? Buffer.alloc(0) : Buffer.from(`${text}\0`, 'utf16le').swap16()
  }

  /**
   * Takes iterations from what one file may cost: ten million in all.
   * @throws {PosternError} `ERR_KEY_FILE_TOO_SLOW`.
   */
  spend(iterations: number): number {
    if (iterations < 1) throw malformed('an iteration count below 1')
    this.#iterationsLeft -= iterations
    if (this.#iterationsLeft >= 0) return iterations
    throw new PosternError(
      'ERR_KEY_FILE_TOO_SLOW',
      'permanent',
      `key file asks for more than ${MAX_ITERATIONS} iterations of its password`,
    )
  }
}

/**
 * Decrypts octets by the scheme that an AlgorithmIdentifier names.
 *
 * @throws {PosternError} `ERR_KEY_FILE_PASSWORD` (wrong, or the octets are damaged: nobody can tell),
 *   `ERR_KEY_FILE_UNSUPPORTED`, `ERR_KEY_FILE_TOO_SLOW`, `ERR_KEY_FILE_MALFORMED`.
 */
export async function decryptWithPassword(
  algorithm: BerNode | undefined,
  encrypted: Buffer,
  password: Password,
): Promise<Buffer> {
  const [scheme, parameters] = partsOf(algorithm, 2)
  const oid = objectIdentifierOf(scheme)
  if (oid === PBES2) return decryptPbes2(parameters!, encrypted, password)

  const cipher = PKCS12_SCHEMES[oid]
  if (!cipher) throw unsupported(`encryption scheme ${oid}`)
  const [salt, count] = partsOf(parameters, 2)
  const derivation = { digest: 'sha1', salt: octetStringOf(salt), iterations: integerOf(count) }
  const key = await derivePkcs12(password, { ...derivation, purpose: 1, octets: cipher.keyOctets })
  const iv = await derivePkcs12(password, { ...derivation, purpose: 2, octets: 8 })
  return decipher(cipher, key, iv, encrypted)
}

/**
 * Checks the integrity of octets against a MacData (RFC 7292 §4) of either kind: the old one, and
 * PBMAC1 (RFC 9579).
 */
export async function verifyMac(
  macData: BerNode,
  octets: Buffer,
  password: Password,
): Promise<boolean> {
  const [digestInfo, salt, count] = partsOf(macData, 2)
  const [algorithm, expected] = partsOf(digestInfo, 2)
  const [scheme, parameters] = partsOf(algorithm, 1)
  const oid = objectIdentifierOf(scheme)
  if (oid === PBMAC1) return verifyPbmac1(parameters, octets, octetStringOf(expected), password)

  const digest = DIGESTS[oid]
  if (!digest) throw unsupported(`integrity check ${oid}`)
  const key = await derivePkcs12(password, {
    digest: digest.name,
    salt: octetStringOf(salt),
    iterations: count ? integerOf(count) : 1,
    purpose: 3,
    octets: digest.octets,
  })
  return equal(createHmac(digest.name, key).update(octets).digest(), octetStringOf(expected))
}

async function verifyPbmac1(
  parameters: BerNode | undefined,
  octets: Buffer,
  expected: Buffer,
  password: Password,
): Promise<boolean> {
  const [derivation, mac] = partsOf(parameters, 2)
  const oid = objectIdentifierOf(partsOf(mac, 1)[0])
  const digest = HMACS[oid]
  if (!digest) throw unsupported(`integrity check ${oid}`)
  const key = await derivePkcs5(derivation!, undefined, password)
  return equal(createHmac(digest, key).update(octets).digest(), expected)
}

async function decryptPbes2(
  parameters: BerNode,
  encrypted: Buffer,
  password: Password,
): Promise<Buffer> {
  const [derivation, encryption] = partsOf(parameters, 2)
  const [scheme, iv] = partsOf(encryption, 2)
  const oid = objectIdentifierOf(scheme)
  const cipher = PBES2_CIPHERS[oid]
  if (!cipher) throw unsupported(`cipher ${oid}`)
  const key = await derivePkcs5(derivation!, cipher.keyOctets, password)
  return decipher(cipher, key, octetStringOf(iv), encrypted)
}

/** PBKDF2 (RFC 8018 §5.2) or scrypt (RFC 7914 §7). */
async function derivePkcs5(
  derivation: BerNode,
  keyOctets: number | undefined,
  password: Password,
): Promise<Buffer> {
  const [scheme, parameters] = partsOf(derivation, 2)
  const oid = objectIdentifierOf(scheme)
  const [salt, ...rest] = partsOf(parameters, 2)
  if (oid === SCRYPT) return deriveScrypt(octetStringOf(salt), rest, keyOctets, password)
  if (oid !== PBKDF2) throw unsupported(`key derivation ${oid}`)

  const iterations = password.spend(integerOf(rest[0]))
  const stated = rest.find((node, index) => index > 0 && isTagged(node, INTEGER))
  const prf = rest.find(node => isTagged(node, SEQUENCE))
  // RFC 8018 §A.2: hmacWithSHA1 where nothing is said.
  const digest = prf ? HMACS[objectIdentifierOf(partsOf(prf, 1)[0])] : 'sha1'
  if (!digest) throw unsupported('pseudorandom function of PBKDF2')
  const length = keyOctets ?? integerOf(stated)
  if (length < 1 || length > 64) throw malformed('a key length that cannot be')
  return derivePbkdf2(password.utf8, octetStringOf(salt), iterations, length, digest)
}

async function deriveScrypt(
  salt: Buffer,
  parameters: readonly BerNode[],
  keyOctets: number | undefined,
  password: Password,
): Promise<Buffer> {
  const [cost = 0, blockSize = 0, parallelization = 0] = parameters.slice(0, 3).map(integerOf)
  // About what as many iterations of PBKDF2 would cost.
  password.spend(cost * blockSize * parallelization)
  try {
    return await deriveByScrypt(password.utf8, salt, keyOctets ?? 32, {
      cost,
      blockSize,
      parallelization,
      maxmem: MAX_SCRYPT_OCTETS,
    })
  } catch (error) {
    throw malformed('parameters of scrypt', error)
  }
}

interface Pkcs12Derivation {
  readonly digest: string
  readonly salt: Buffer
  readonly iterations: number
  /** 1 a key, 2 an initialisation vector, 3 the key of a MAC (RFC 7292 §B.3). */
  readonly purpose: 1 | 2 | 3
  readonly octets: number
}

/** RFC 7292 §B.2, with the names used there. */
async function derivePkcs12(password: Password, wanted: Pkcs12Derivation): Promise<Buffer> {
  const { digest, salt, purpose, octets } = wanted
  const v = digest === 'sha384' || digest === 'sha512' ? 128 : 64
  const I = Buffer.concat([stretch(salt, v), stretch(password.bmpString, v)])
  const D = Buffer.alloc(v, purpose)
  const blocks: Buffer[] = []
  for (let length = 0; length < octets; length += blocks.at(-1)!.length) {
    const iterations = password.spend(wanted.iterations)
    let A = hash(digest, Buffer.concat([D, I]), 'buffer')
    for (let round = 1; round < iterations; round++) {
      A = hash(digest, A, 'buffer')
      if (round % ROUNDS_AT_A_TIME === 0) await setImmediate()
    }
    blocks.push(A)
    addToEach(I, Buffer.alloc(v, A))
  }
  return Buffer.concat(blocks).subarray(0, octets)
}

/** Repeats octets up to the next multiple of `v`; nothing stays nothing. */
function stretch(octets: Buffer, v: number): Buffer {
  return octets.length === 0 ? octets : Buffer.alloc(v * Math.ceil(octets.length / v), octets)
}

/** Adds B + 1 to each block of `I`, as numbers, highest octet first. */
function addToEach(I: Buffer, B: Buffer): void {
  for (let start = 0; start < I.length; start += B.length) {
    let carry = 1
    for (let at = B.length - 1; at >= 0; at--) {
      carry += I[start + at]! + B[at]!
      I[start + at] = carry & 0xff
      carry >>= 8
    }
  }
}

interface Cipher {
  /** As OpenSSL calls it, or `rc2`. */
  readonly name: string
  readonly keyOctets: number
}

async function decipher(cipher: Cipher, key: Buffer, iv: Buffer, encrypted: Buffer) {
  try {
    if (cipher.name === 'rc2') return await decipherRc2(key, iv, encrypted)
    // 3DES with two keys uses the first one again (RFC 7292 §C).
    const whole = cipher.keyOctets === 16 && cipher.name === TRIPLE_DES ? firstAgain(key) : key
    const decryption = createDecipheriv(cipher.name, whole, iv)
    return Buffer.concat([decryption.update(encrypted), decryption.final()])
  } catch (error) {
    throw wrongPassword(error)
  }
}

async function decipherRc2(key: Buffer, iv: Buffer, encrypted: Buffer): Promise<Buffer> {
  const { default: forge } = await import('node-forge')
  const toForge = (octets: Buffer) => forge.util.createBuffer(octets.toString('latin1'))
  const decryption = forge.rc2.createDecryptionCipher(toForge(key), key.length * 8)
  decryption.start(toForge(iv))
  decryption.update(toForge(encrypted))
  if (!decryption.finish()) throw wrongPassword()
  return Buffer.from(decryption.output.getBytes(), 'latin1')
}

function firstAgain(key: Buffer): Buffer {
  return Buffer.concat([key, key.subarray(0, 8)])
}

function equal(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}

export function wrongPassword(cause?: unknown): PosternError {
  return new PosternError(
    'ERR_KEY_FILE_PASSWORD',
    'permanent',
    'the password does not open the key file, or the file is damaged',
    { cause },
  )
}

export function unsupported(what: string): PosternError {
  return new PosternError(
    'ERR_KEY_FILE_UNSUPPORTED',
    'permanent',
    `key file uses what is not supported: ${what}`,
  )
}

const derivePbkdf2 = promisify(pbkdf2)
const deriveByScrypt: (
  password: Buffer,
  salt: Buffer,
  octets: number,
  options: { cost: number; blockSize: number; parallelization: number; maxmem: number },
) => Promise<Buffer> = promisify(scrypt)

const MAX_ITERATIONS = 10_000_000
const MAX_SCRYPT_OCTETS = 256 * 1024 * 1024
/** A millisecond or two of work. */
const ROUNDS_AT_A_TIME = 1000

const PBKDF2 = '1.2.840.113549.1.5.12'
const PBES2 = '1.2.840.113549.1.5.13'
const PBMAC1 = '1.2.840.113549.1.5.14'
const SCRYPT = '1.3.6.1.4.1.11591.4.11'
const TRIPLE_DES = 'des-ede3-cbc'

/** RFC 7292 §C; the two with RC4 are left out. */
const PKCS12_SCHEMES: Readonly<Record<string, Cipher>> = {
  '1.2.840.113549.1.12.1.3': { name: TRIPLE_DES, keyOctets: 24 },
  '1.2.840.113549.1.12.1.4': { name: TRIPLE_DES, keyOctets: 16 },
  '1.2.840.113549.1.12.1.5': { name: 'rc2', keyOctets: 16 },
  '1.2.840.113549.1.12.1.6': { name: 'rc2', keyOctets: 5 },
}

const PBES2_CIPHERS: Readonly<Record<string, Cipher>> = {
  '2.16.840.1.101.3.4.1.2': { name: 'aes-128-cbc', keyOctets: 16 },
  '2.16.840.1.101.3.4.1.22': { name: 'aes-192-cbc', keyOctets: 24 },
  '2.16.840.1.101.3.4.1.42': { name: 'aes-256-cbc', keyOctets: 32 },
  '1.2.840.113549.3.7': { name: TRIPLE_DES, keyOctets: 24 },
}

const HMACS: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.8': 'sha224',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
}

const DIGESTS: Readonly<Record<string, { name: string; octets: number }>> = {
  '1.2.840.113549.2.5': { name: 'md5', octets: 16 },
  '1.3.14.3.2.26': { name: 'sha1', octets: 20 },
  '2.16.840.1.101.3.4.2.4': { name: 'sha224', octets: 28 },
  '2.16.840.1.101.3.4.2.1': { name: 'sha256', octets: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'sha384', octets: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'sha512', octets: 64 },
}
