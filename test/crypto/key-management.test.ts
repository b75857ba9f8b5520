/**
 * The arithmetic of key management: against Wycheproof, against published vectors, against an attacker's
 * public keys.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { integer, octetString, oid, sequence, tlv } from '../../src/crypto/asn1/der-writer.ts'
import { requireNamedCurve } from '../../src/crypto/cms/recipient-info.ts'
import {
  agree,
  deriveKey,
  type KeyAgreement,
  keyManagement,
  keyManagementFor,
  requireEncryptionKey,
  sharedSecret,
  transportKey,
  wrapKey,
} from '../../src/crypto/key-management.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { PosternError } from '../../src/errors.ts'
import { makeCertificateDer, makeKey } from './make-certificate.ts'

const CORPUS = join(resolve(process.env['POSTERN_CORPORA'] ?? '../shared/corpora'), 'wycheproof')
const absent = existsSync(CORPUS) ? undefined : `skipped: no ${CORPUS}`
const why = absent ? ` (${absent})` : ''

interface Vector {
  readonly tcId: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly [field: string]: string | number | readonly string[]
}

describe('Wycheproof', () => {
  test.skipIf(absent)(`aes_wrap: what is wrapped is what it should be${why}`, () => {
    const vectors = read('aes_wrap_test.json').filter(({ result }) => result === 'valid')
    for (const vector of vectors)
      expect(wrapKey(hex(vector, 'key'), hex(vector, 'msg')), `${vector.tcId}`).toEqual(
        hex(vector, 'ct'),
      )
    expect(vectors.length).toBeGreaterThan(20)
  })

  test.skipIf(absent).each([
    ['ecdh_secp256r1_test.json', 'prime256v1', 32],
    ['ecdh_secp384r1_test.json', 'secp384r1', 48],
    ['ecdh_secp521r1_test.json', 'secp521r1', 66],
  ] as const)(`B12 %s: the right secret, or none at all${why}`, async (file, curve, size) => {
    // All that is doubtful; of what is valid a part, for time.
    const vectors = read(file).filter(({ tcId, result }) => result !== 'valid' || tcId % 24 === 0)
    const outcomes = new Set<string>()
    for (const vector of vectors) {
      const scalar = Buffer.concat([Buffer.alloc(size), unsigned(hex(vector, 'private'))])
      const privateKey = ecPrivateKey(curve, scalar.subarray(-size))
      outcomes.add(outcomeOf(vector, await secretOf(() => privateKey, hex(vector, 'public'))))
    }
    expect([...outcomes].toSorted()).toEqual(OUTCOMES_OF_CURVES)
  })

  test.skipIf(absent)(`B12 x25519_asn: the right secret, and never zero${why}`, async () => {
    const outcomes = new Set<string>()
    // One vector is about private keys that are not well formed: ours are made here.
    for (const vector of read('x25519_asn_test.json').filter(({ tcId }) => tcId !== 537)) {
      const pkcs8 = hex(vector, 'private')
      const key = () => createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
      const zero = /^0*$/.test(String(vector['shared'])) ? 'zero ' : ''
      outcomes.add(zero + outcomeOf(vector, await secretOf(key, hex(vector, 'public'))))
    }
    expect([...outcomes].toSorted()).toEqual(OUTCOMES_OF_X25519)
  })

  test.skipIf(absent)(`hkdf_sha256: without salt, as RFC 8418 §2 has it${why}`, () => {
    const x25519 = keyManagement('x25519-hkdf-sha-256') as KeyAgreement
    const vectors = read('hkdf_sha256_test.json').filter(
      ({ salt, result }) => salt === '' && result === 'valid',
    )
    for (const vector of vectors) {
      const okm = hex(vector, 'okm')
      const made = deriveKey(x25519, hex(vector, 'ikm'), hex(vector, 'info'), okm.length)
      expect(made, `${vector.tcId}`).toEqual(okm)
    }
    expect(vectors.length).toBeGreaterThan(5)
  })
})

describe('the derivation of X9.63', () => {
  const ecdh = keyManagement('ecdh-sha-256') as KeyAgreement

  test('NIST CAVP, SHA-256: 192 bits of secret, no shared info', () => {
    const secret = Buffer.from('96c05619d56c328ab95fe84b18264b08725b85e33fd34f08', 'hex')
    const key = '443024c3dae66b95e6f5670601558f71'
    expect(deriveKey(ecdh, secret, Buffer.alloc(0), 16).toString('hex')).toBe(key)
  })

  test('NIST CAVP, SHA-256: shared info, several blocks', () => {
    const secret = Buffer.from('22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d', 'hex')
    const info = Buffer.from('75eef81aa3041e33b80971203d2c0c52', 'hex')
    const key =
      'c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd874f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21'
    expect(deriveKey(ecdh, secret, info, 128).toString('hex')).toBe(key)
  })
})

describe('RFC 3394 §4: key wrap', () => {
  test.each([
    [
      '000102030405060708090A0B0C0D0E0F',
      '00112233445566778899AABBCCDDEEFF',
      '1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5',
    ],
    [
      '000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',
      '00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F',
      '28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21',
    ],
  ])('%s', (key, content, wrapped) => {
    const made = wrapKey(Buffer.from(key, 'hex'), Buffer.from(content, 'hex'))
    expect(made.toString('hex').toUpperCase()).toBe(wrapped)
  })
})

describe('which keys are encrypted to', () => {
  test.each([
    ['P-256', 'ecdh-sha-256'],
    ['P-384', 'ecdh-sha-384'],
    ['P-521', 'ecdh-sha-512'],
    ['brainpoolP256r1', 'ecdh-sha-256'],
    ['brainpoolP384r1', 'ecdh-sha-384'],
    ['brainpoolP512r1', 'ecdh-sha-512'],
  ])('RFC 5753 §8: on %s by %s', (namedCurve, name) => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve })
    expect(keyManagementFor(publicKey, 'rsa-pkcs1').name).toBe(name)
  })

  test('RFC 8418 for X25519, and for RSA what is asked for', () => {
    const x25519 = generateKeyPairSync('x25519').publicKey
    expect(keyManagementFor(x25519, 'rsa-pkcs1').name).toBe('x25519-hkdf-sha-256')
    const rsa = makeKey('RSA').publicKey
    for (const name of RSA_WAYS) expect(keyManagementFor(rsa, name).name).toBe(name)
  })

  test.each([
    ['a curve of 192 bits', () => generateKeyPairSync('ec', { namedCurve: 'prime192v1' })],
    ['a curve of Bitcoin', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' })],
    ['Ed25519', () => generateKeyPairSync('ed25519')],
    ['X448', () => generateKeyPairSync('x448')],
    ['RSA for PSS alone', () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 })],
  ])('not to %s', (_, make) => {
    expect(codeOf(() => requireEncryptionKey(make().publicKey))).toBe('ERR_KEY_TYPE')
  })

  test('not to RSA of 1024 bits, nor with an exponent that hides nothing', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
    expect(codeOf(() => requireEncryptionKey(small))).toBe('ERR_KEY_SIZE')
    for (const exponent of [1, 2, 65536])
      expect(codeOf(() => requireEncryptionKey(rsaKey(exponent)))).toBe('ERR_KEY_SIZE')
    expect(codeOf(() => requireEncryptionKey(rsaKey(65537)))).toBe('none')
  })

  test('B12 a point that is not on its curve is no public key', async () => {
    const { publicKey } = makeKey('P-256')
    const key = { ...makeKey('P-256'), publicKey }
    const der = await makeCertificateDer({ key, issuerKey: makeKey('P-256') })
    const point = publicKey.export({ format: 'der', type: 'spki' }).subarray(-64)
    const octets = Buffer.from(der)
    octets[octets.indexOf(point) + 63]! ^= 1
    expect(codeOf(() => parseCertificate(octets).publicKey)).toBe('ERR_CERTIFICATE_KEY')
  })

  test('a key of the wrong kind is told, not tried', async () => {
    const rsa = makeKey('RSA').publicKey
    const curve = makeKey('P-256').publicKey
    const pkcs1 = keyManagement('rsa-pkcs1')
    const ecdh = keyManagement('ecdh-sha-256')
    if (pkcs1.kind !== 'key-transport' || ecdh.kind !== 'key-agreement') throw new Error('rows')
    expect(codeOf(() => transportKey(curve, pkcs1, Buffer.alloc(16)))).toBe('ERR_KEY_TYPE')
    await expect(agree(rsa, ecdh)).rejects.toMatchObject({ code: 'ERR_KEY_TYPE' })
  })
})

function outcomeOf(vector: Vector, secret: Buffer | undefined): string {
  if (!secret) return `${vector.result}: refused`
  return `${vector.result}: ${secret.equals(hex(vector, 'shared')) ? 'right' : `wrong ${vector.tcId}`}`
}

test.each([
  ['P-384', true],
  ['brainpoolP256r1', true],
  ['P-256', false],
] as const)('%s goes to the thread pool: %s', async (namedCurve, isPooled) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve })
  const management = keyManagementFor(publicKey, 'rsa-pkcs1')
  let agreed = false
  const agreement = agree(publicKey, management as KeyAgreement).then(() => {
    agreed = true
  })
  await setImmediate()
  expect(agreed).toBe(!isPooled)
  await agreement
})

/** The secret, or undefined where anything on the way refuses; other errors are bugs. */
async function secretOf(privateKey: () => KeyObject, spki: Buffer): Promise<Buffer | undefined> {
  let publicKey: KeyObject
  try {
    publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    requireEncryptionKey(publicKey)
    if (publicKey.asymmetricKeyType === 'ec') requireNamedCurve(spki)
  } catch {
    return undefined
  }
  try {
    return await sharedSecret(privateKey(), publicKey)
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

/** PKCS #8 of a bare scalar. */
function ecPrivateKey(curve: keyof typeof CURVE_OIDS, scalar: Buffer): KeyObject {
  const inside = octetString(sequence(integer(1), octetString(scalar)))
  const algorithm = sequence(oid('1.2.840.10045.2.1'), oid(CURVE_OIDS[curve]))
  return createPrivateKey({
    key: sequence(integer(0), algorithm, inside),
    format: 'der',
    type: 'pkcs8',
  })
}

function rsaKey(exponent: number): KeyObject {
  const { n } = makeKey('RSA').publicKey.export({ format: 'jwk' })
  const modulus = Buffer.concat([Buffer.from([0]), Buffer.from(n!, 'base64url')])
  const key = sequence(integer(modulus), integer(exponent))
  const algorithm = sequence(oid('1.2.840.113549.1.1.1'), Buffer.from([5, 0]))
  const bits = tlv(0x03, Buffer.from([0]), key)
  return createPublicKey({ key: sequence(algorithm, bits), format: 'der', type: 'spki' })
}

function unsigned(integerOctets: Buffer): Buffer {
  return integerOctets[0] === 0 ? integerOctets.subarray(1) : integerOctets
}

function read(file: string): Vector[] {
  const { testGroups } = JSON.parse(readFileSync(join(CORPUS, file), 'utf8')) as {
    testGroups: readonly { readonly tests: readonly Vector[] }[]
  }
  return testGroups.flatMap(({ tests }) => tests)
}

function hex(vector: Vector, field: string): Buffer {
  return Buffer.from(String(vector[field]), 'hex')
}

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return error instanceof PosternError ? error.code : String(error)
  }
}

/** Compressed points are right, curves that are spelt out are refused. */
const OUTCOMES_OF_CURVES = [
  'acceptable: refused',
  'acceptable: right',
  'invalid: refused',
  'valid: right',
]
const OUTCOMES_OF_X25519 = [
  'acceptable: right',
  'valid: right',
  'zero acceptable: refused',
  'zero invalid: refused',
]
const RSA_WAYS = [
  'rsa-pkcs1',
  'rsa-oaep-sha-256',
  'rsa-oaep-sha-256-mgf1-sha-1',
  'rsa-oaep-sha-1',
] as const
const CURVE_OIDS = {
  prime256v1: '1.2.840.10045.3.1.7',
  secp384r1: '1.3.132.0.34',
  secp521r1: '1.3.132.0.35',
}
