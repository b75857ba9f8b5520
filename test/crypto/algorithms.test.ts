import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { fromBER, type ObjectIdentifier, type Sequence } from 'asn1js'
import { RSASSAPSSParams } from 'pkijs'
import { describe, expect, test } from 'vitest'
import {
  RECEIVED_DIGESTS,
  receivedDigestByOid,
  requireSoundKey,
  SIGNATURES,
  signatureAlgorithmFor,
  signOctets,
  verifyOctets,
} from '../../src/crypto/algorithms.ts'
import { NULL, oid, sequence } from '../../src/crypto/asn1/der-writer.ts'
import { makeKey } from './make-certificate.ts'

const RSA = makeKey('RSA')

describe('the table', () => {
  test.each(SIGNATURES)('$name: its identifier says its object identifier', algorithm => {
    const { result, offset } = fromBER(algorithm.identifier)
    expect(offset).toBe(algorithm.identifier.length)
    expect(((result as Sequence).valueBlock.value[0] as ObjectIdentifier).getValue()).toBe(
      algorithm.oid,
    )
  })

  test.each(RECEIVED_DIGESTS)('RFC 5754 §2: $name has no parameters', digest => {
    expect(digest.identifier).toEqual(sequence(oid(digest.oid)))
    expect(receivedDigestByOid(digest.oid)).toBe(digest)
  })

  test('RFC 3370 §3.2: RSA PKCS #1 v1.5 signs as rsaEncryption with NULL', () => {
    const { identifier, certificateIdentifier } = signatureAlgorithmFor(RSA.publicKey, {})
    expect(identifier).toEqual(sequence(oid('1.2.840.113549.1.1.1'), NULL))
    expect(certificateIdentifier).toEqual(sequence(oid('1.2.840.113549.1.1.11'), NULL))
  })

  test.each(SIGNATURES.filter(({ padding }) => padding === 'pss'))(
    'RFC 4056 §3: $name masks with its digest and salts with its length',
    ({ identifier, digest }) => {
      const [, schema] = (fromBER(identifier).result as Sequence).valueBlock.value
      const parameters = new RSASSAPSSParams({ schema })
      expect(parameters.hashAlgorithm.algorithmId).toBe(digest.oid)
      expect(parameters.maskGenAlgorithm.algorithmId).toBe('1.2.840.113549.1.1.8')
      const [hash] = (parameters.maskGenAlgorithm.algorithmParams as Sequence).valueBlock.value
      expect((hash as ObjectIdentifier).getValue()).toBe(digest.oid)
      expect(parameters.saltLength).toBe(digest.sizeOctets)
    },
  )
})

describe('the choice', () => {
  test.each([
    ['RSA', {}, 'rsa-pkcs1-sha-256'],
    ['RSA', { digest: 'sha-512' }, 'rsa-pkcs1-sha-512'],
    ['RSA', { pss: true }, 'rsa-pss-sha-256'],
    ['RSA-PSS', {}, 'rsa-pss-sha-256'],
    ['P-256', {}, 'ecdsa-sha-256'],
    ['P-384', {}, 'ecdsa-sha-384'],
    ['P-521', { pss: true }, 'ecdsa-sha-512'],
    ['P-256', { digest: 'sha-384' }, 'ecdsa-sha-384'],
    ['brainpoolP256r1', {}, 'ecdsa-sha-256'],
    ['brainpoolP384r1', {}, 'ecdsa-sha-384'],
    ['brainpoolP512r1', {}, 'ecdsa-sha-512'],
    ['Ed25519', { digest: 'sha-256' }, 'ed25519'],
  ] as const)('%s with %j signs as %s, and verifies', async (kind, wish, expected) => {
    const key = makeKey(kind)
    const algorithm = signatureAlgorithmFor(key.publicKey, wish)
    const octets = randomBytes(100)
    const signature = await signOctets(key.privateKey, algorithm, octets)
    expect(algorithm.name).toBe(expected)
    expect(await verifyOctets(key.publicKey, algorithm, octets, signature)).toBe(true)
    octets[50]! ^= 1
    expect(await verifyOctets(key.publicKey, algorithm, octets, signature)).toBe(false)
  })

  test('RFC 4055 §3.1: a key restricted to one digest is obeyed', () => {
    const key = generateKeyPairSync('rsa-pss', {
      modulusLength: 2048,
      hashAlgorithm: 'sha384',
      mgf1HashAlgorithm: 'sha384',
      // The declared type wants a string, node a number.
      saltLength: 48 as unknown as string,
    })
    const algorithm = signatureAlgorithmFor(key.publicKey, { digest: 'sha-256' })
    expect(algorithm.name).toBe('rsa-pss-sha-384')
  })

  test('a signature of another kind of key is no good', async () => {
    const algorithm = signatureAlgorithmFor(makeKey('P-256').publicKey, {})
    expect(await verifyOctets(RSA.publicKey, algorithm, randomBytes(9), randomBytes(9))).toBe(false)
  })

  test('a key that cannot sign says so, and blames nobody else', async () => {
    const algorithm = signatureAlgorithmFor(RSA.publicKey, {})
    await expect(signOctets(RSA.publicKey, algorithm, randomBytes(9))).rejects.toMatchObject({
      code: 'ERR_KEY_UNUSABLE',
      persistence: 'transient',
    })
  })
})

describe('refused keys', () => {
  test('B30 RSA under 2048 bits', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    expect(() => signatureAlgorithmFor(publicKey, {})).toThrow(code('ERR_KEY_SIZE'))
  })

  test('B40 RSA over 8192 bits', () => {
    expect(() => requireSoundKey(rsaPublicKey(2048, 3))).toThrow(code('ERR_KEY_SIZE'))
    expect(() => requireSoundKey(rsaPublicKey(1024, 3))).not.toThrow()
  })

  test('B40 RSA with an exponent over 2^32', () => {
    expect(() => requireSoundKey(rsaPublicKey(256, 5))).toThrow(code('ERR_KEY_SIZE'))
    expect(() => requireSoundKey(rsaPublicKey(256, 4))).not.toThrow()
  })

  test.each([
    ['X25519', () => generateKeyPairSync('x25519').publicKey],
    ['Ed448', () => generateKeyPairSync('ed448').publicKey],
    [
      'brainpoolP256t1',
      () => generateKeyPairSync('ec', { namedCurve: 'brainpoolP256t1' }).publicKey,
    ],
    ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey],
    ['DSA', () => generateKeyPairSync('dsa', { modulusLength: 1024 }).publicKey],
  ])('%s', (_name, make: () => KeyObject) => {
    expect(() => signatureAlgorithmFor(make(), {})).toThrow(code('ERR_KEY_TYPE'))
  })
})

function rsaPublicKey(modulusOctets: number, exponentOctets: number): KeyObject {
  const n = randomBytes(modulusOctets)
  n[0]! |= 0x80
  const e = Buffer.alloc(exponentOctets, 0xff)
  const key = { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') }
  return createPublicKey({ key, format: 'jwk' })
}

function code(expected: string): unknown {
  return expect.objectContaining({ code: expected })
}
