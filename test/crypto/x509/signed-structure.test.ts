/**
 * Signatures over certificates: which algorithms are verified, however they are written.
 *
 * @module
 */
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { SIGNATURES } from '../../../src/crypto/algorithms.ts'
import { DerReader } from '../../../src/crypto/asn1/der-reader.ts'
import { context, integer, NULL, oid, sequence, tlv } from '../../../src/crypto/asn1/der-writer.ts'
import { readSignedStructure, verifySigned } from '../../../src/crypto/x509/signed-structure.ts'

const SHA_1 = '1.3.14.3.2.26'
const SHA_256 = '2.16.840.1.101.3.4.2.1'
const SHA_384 = '2.16.840.1.101.3.4.2.2'
const MGF1 = '1.2.840.113549.1.1.8'
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const toBeSigned = Buffer.from('to be signed')

describe('RSASSA-PSS', () => {
  const NULLS = [NULL]
  test.each([
    ['as RFC 4055 has it', pss(SHA_256, NULLS, 32), 'good'],
    ['digests without parameters', pss(SHA_256, [], 32), 'good'],
    ['the trailer written out', pss(SHA_256, NULLS, 32, [context(3, integer(1))]), 'good'],
    ['another trailer', pss(SHA_256, NULLS, 32, [context(3, integer(2))]), 'algorithm-refused'],
    ['a short salt', pss(SHA_256, NULLS, 20), 'algorithm-refused'],
    ['another mask', pss(SHA_256, NULLS, 32, [], SHA_384), 'algorithm-refused'],
    ['another mask generator', pss(SHA_256, NULLS, 32, [], SHA_256, '1.2.3'), 'algorithm-refused'],
    ['another digest', pss(SHA_384, NULLS, 48), 'bad'],
    ['SHA-1', pss(SHA_1, NULLS, 20), 'algorithm-refused'],
    [
      'defaults, which are SHA-1',
      sequence(oid('1.2.840.113549.1.1.10'), sequence()),
      'algorithm-refused',
    ],
    ['another name', renamed(pss(SHA_256, NULLS, 32)), 'algorithm-refused'],
    ['something behind', sequence(pss(SHA_256, NULLS, 32).subarray(2), NULL), 'algorithm-refused'],
    ['no parameters', sequence(oid('1.2.840.113549.1.1.10')), 'algorithm-refused'],
  ])('B30 %s', async (_, signatureAlgorithm, outcome) => {
    const padding = constants.RSA_PKCS1_PSS_PADDING
    const signature = sign('sha256', toBeSigned, { key: rsa.privateKey, padding, saltLength: 32 })
    expect(await verifySigned({ toBeSigned, signatureAlgorithm, signature }, rsa)).toBe(outcome)
  })
})

describe('PKCS #1 v1.5', () => {
  const signature = sign('sha256', toBeSigned, rsa.privateKey)
  const sha256WithRsa = '1.2.840.113549.1.1.11'

  test.each([
    ['NULL', sequence(oid(sha256WithRsa), NULL), 'good'],
    ['no NULL', sequence(oid(sha256WithRsa)), 'good'],
    ['something else than NULL', sequence(oid(sha256WithRsa), sequence()), 'algorithm-refused'],
    ['something behind NULL', sequence(oid(sha256WithRsa), NULL, NULL), 'algorithm-refused'],
    ['another digest', sequence(oid('1.2.840.113549.1.1.12'), NULL), 'bad'],
    ['MD5', sequence(oid('1.2.840.113549.1.1.4'), NULL), 'algorithm-refused'],
    ['nothing', Buffer.alloc(0), 'algorithm-refused'],
  ])('B30 %s', async (_, signatureAlgorithm, outcome) => {
    expect(await verifySigned({ toBeSigned, signatureAlgorithm, signature }, rsa)).toBe(outcome)
  })

  test('B30 SHA-1 only where it is asked for', async () => {
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.5'), NULL)
    const signed = {
      toBeSigned,
      signatureAlgorithm,
      signature: sign('sha1', toBeSigned, rsa.privateKey),
    }
    expect(await verifySigned(signed, rsa)).toBe('algorithm-refused')
    expect(await verifySigned(signed, rsa, true)).toBe('good')
    expect(await verifySigned({ ...signed, signature }, rsa, true)).toBe('bad')
  })
})

test.each([
  [0, 'good'],
  [1, 'bad'],
  [7, 'bad'],
  [255, 'bad'],
])('a signature with %i unused bits: %s', async (unused, outcome) => {
  const signature = sign('sha256', toBeSigned, rsa.privateKey)
  const identifier = sequence(oid('1.2.840.113549.1.1.11'), NULL)
  const bits = tlv(0x03, Buffer.from([unused]), signature)
  const whole = sequence(tlv(0x30, toBeSigned), identifier, bits)
  const { inside, ...read } = readSignedStructure(new DerReader(whole).into(0x30), whole)
  expect(read.toBeSigned).toEqual(tlv(0x30, toBeSigned))
  expect(inside.done).toBe(false)
  expect(await verifySigned({ ...read, toBeSigned }, rsa)).toBe(outcome)
})

test('B40 nothing is calculated with keys that are unfit', async () => {
  const { certificateIdentifier: signatureAlgorithm } = SIGNATURES[0]!
  const signed = { toBeSigned, signatureAlgorithm, signature: Buffer.alloc(128) }
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const dsa = generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 })
  const unreadable = {
    get publicKey(): KeyObject {
      throw new Error('no key')
    },
  }
  for (const holder of [small, dsa, unreadable])
    expect(await verifySigned(signed, holder)).toBe('key-refused')
})

/** ECDSA with SHA-256, and parameters that it does not have. */
function renamed(identifier: Buffer): Buffer {
  const parameters = identifier.subarray(2 + oid('1.2.840.113549.1.1.10').length)
  return sequence(oid('1.2.840.10045.4.3.2'), parameters)
}

function pss(
  digest: string,
  parameters: readonly Buffer[],
  saltLength: number,
  more: readonly Buffer[] = [],
  maskDigest = digest,
  mask = MGF1,
): Buffer {
  const hash = (type: string) => sequence(oid(type), ...parameters)
  return sequence(
    oid('1.2.840.113549.1.1.10'),
    sequence(
      context(0, hash(digest)),
      context(1, sequence(oid(mask), hash(maskDigest))),
      context(2, integer(saltLength)),
      ...more,
    ),
  )
}
