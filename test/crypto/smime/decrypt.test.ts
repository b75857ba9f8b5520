/**
 * Opening what is encrypted: everything that Postern makes, and everything that an attacker makes of it.
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { open as begin, close } from '../../../src/crypto/asn1/ber-stream.ts'
import {
  context,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import { envelopedContent } from '../../../src/crypto/cms/enveloped-data.ts'
import {
  CONTENT_CIPHERS,
  contentCipher,
  derivedKey,
} from '../../../src/crypto/content-encryption.ts'
import { type KeyUnwrapper, unwrapperFor } from '../../../src/crypto/key.ts'
import { type KeyTransport, keyManagementFor } from '../../../src/crypto/key-management.ts'
import { openEnveloped } from '../../../src/crypto/smime/decrypt.ts'
import type { Certificate } from '../../../src/crypto/x509/certificate.ts'
import { PosternError } from '../../../src/errors.ts'
import { ContentWriter, contentStore } from '../../../src/mail/content.ts'
import { cutBy, gather } from '../../support/chunks.ts'
import {
  AUTH_ENVELOPED_DATA,
  cbc,
  ccm,
  ccmIdentifier,
  contentTypeAttribute,
  craft,
  DATA,
  ENVELOPED_DATA,
  gcm,
  issuerAndSerial,
  keyAgreement,
  keyTransport,
  keyTransportOf,
  overTheModulus,
  SIGNED_DATA,
} from '../../support/crafted-envelope.ts'
import {
  makeRecipients,
  RECIPIENT_KINDS,
  type Recipient,
  type Recipients,
} from '../../support/recipients.ts'

const ENTITY = Buffer.from('Content-Type: text/plain\r\n\r\nOnly for you.\r\n')
const RSA_WAYS = [
  'rsa-pkcs1',
  'rsa-oaep-sha-256',
  'rsa-oaep-sha-256-mgf1-sha-1',
  'rsa-oaep-sha-1',
] as const
const STORE = contentStore()
const KEY = randomBytes(32)
const LONG = Buffer.alloc(1000, 'A content of some blocks. ')
const OAEP = '1.2.840.113549.1.1.7'
const EC = '1.2.840.10045.2.1'
const EC_KEY = sequence(oid(EC))
const X25519 = '1.3.101.110'
const CEK_HKDF = '1.2.840.113549.1.9.16.3.31'
/** The generator of P-256 (SEC 2 §2.4.2). */
const POINT = Buffer.from(
  '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296' +
    '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  'hex',
)
const KINDS: readonly string[] = ['no-key', 'unreadable', 'failed']
const FAILED = { kind: 'failed' }

let people: Recipients

beforeAll(async () => {
  people = await makeRecipients(RECIPIENT_KINDS)
})

describe('what Postern makes, it opens', () => {
  test.each(
    RECIPIENT_KINDS.flatMap(kind =>
      kind.startsWith('rsa')
        ? RSA_WAYS.map(way => [kind, way] as const)
        : [[kind, 'rsa-pkcs1'] as const],
    ),
  )('%s %s, with every cipher', async (kind, way) => {
    const one = people.of(kind)
    for (const cipher of CONTENT_CIPHERS) {
      const made = await enveloped(ENTITY, [keyOf(one, way)], cipher.name)
      const opening = await open(made, [one])
      expect(opening).toEqual({
        kind: 'opened',
        keyTag: expect.any(String),
        text: ENTITY.toString(),
        contentType: DATA,
        cipher: cipher.name,
        management: keyOf(one, way).management.name,
        authenticated: cipher.authenticated,
        weak: false,
        certificate: one.certificate,
      })
    }
  })

  test('in chunks of any size, of definite and indefinite length', async () => {
    const one = people.of('p-256')
    const long = Buffer.alloc(3000, 'All of it, and nothing else. ')
    for (const cipher of ['aes-128-cbc', 'aes-256-gcm'] as const)
      for (const size of [undefined, long.length]) {
        const made = await enveloped(long, [keyOf(one)], cipher, size)
        const property = fc.asyncProperty(
          fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 60 }),
          async sizes => {
            const opening = await open(cutBy(made, sizes), [one])
            expect(opening).toMatchObject({ kind: 'opened', text: long.toString() })
          },
        )
        await fc.assert(property, { numRuns: 8 })
      }
  })

  test('cut anywhere', async () => {
    const one = people.of('p-256')
    const made = await enveloped(ENTITY, [keyOf(one)], 'aes-256-gcm')
    for (let at = 1; at < made.length; at += 7)
      expect(await open(cutBy(made, [at]), [one])).toMatchObject({ text: ENTITY.toString() })
  })

  test('of all sizes around blocks and segments, of none too', async () => {
    const one = people.of('x25519')
    for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const)
      for (const size of [0, 1, 15, 16, 17, 8191, 8192, 65_536, 300_000]) {
        const made = await enveloped(Buffer.alloc(size, 'x'), [keyOf(one)], cipher)
        const opening = await open(made, [one])
        expect(opening).toMatchObject({ kind: 'opened', text: 'x'.repeat(size) })
      }
    expect(STORE.heldOctets).toBe(0)
  })

  test('to many: each opens with the key that is his, by whichever name', async () => {
    const all = RECIPIENT_KINDS.map(kind => people.of(kind))
    for (const keyIdentification of ['issuer-and-serial', 'subject-key-identifier'] as const) {
      const keys = all.map(one => ({ ...keyOf(one), keyIdentification }))
      const made = await enveloped(ENTITY, keys, 'aes-256-gcm')
      for (const one of all)
        expect(await open(made, [one])).toMatchObject({ certificate: one.certificate })
    }
  })

  test('25 MB are not held in memory', async () => {
    const one = people.of('p-256')
    const half = Buffer.alloc(1_000_000, 'y')
    const store = contentStore({ memoryPerMessageOctets: 100_000 })
    const content = contentCipher('aes-256-gcm')
    const octets = () =>
      envelopedContent(each(Array.from({ length: 25 }, () => half)), [keyOf(one)], {
        content,
        sizeOctets: undefined,
      })
    const made: Buffer[] = []
    for await (const chunk of octets()) made.push(chunk)
    let most = 0
    const watched = async function* () {
      for (const chunk of made) {
        most = Math.max(most, store.heldOctets)
        yield chunk
        await setImmediate()
      }
    }
    const hold = () => new ContentWriter(store)
    const opening = await openEnveloped(watched, [unwrapperOf(one)], { hold })
    expect(opening).toMatchObject({ kind: 'opened', content: { sizeOctets: 25_000_000 } })
    if (opening.kind === 'opened') opening.content.dispose()
    expect(most).toBeLessThanOrEqual(100_000)
    expect(store.heldOctets).toBe(0)
  })
})

describe('B5: one outcome for all that fails after a key was asked', () => {
  /** A message whose encrypted key or content has been spoilt in one way. */
  const SPOILT: Record<string, (certificate: Certificate) => Buffer> = {
    'another key': certificate => rsaMessage(keyTransport(certificate, randomBytes(32))),
    'a key that is too short': certificate =>
      rsaMessage(keyTransport(certificate, randomBytes(16))),
    'a key that is too long': certificate => rsaMessage(keyTransport(certificate, randomBytes(33))),
    'an empty key': certificate => rsaMessage(keyTransport(certificate, Buffer.alloc(0))),
    'wrong padding': certificate => rsaMessage(keyTransportOf(certificate, randomBelow())),
    'a number over the modulus': certificate =>
      rsaMessage(keyTransportOf(certificate, overTheModulus(certificate.publicKey))),
    'a ciphertext of another size': certificate =>
      rsaMessage(keyTransportOf(certificate, randomBytes(100))),
    'wrong OAEP': certificate =>
      rsaMessage(keyTransportOf(certificate, randomBelow(), sequence(oid(OAEP), sequence()))),
    'another tag': certificate => {
      const { mac, ...rest } = gcm(KEY, LONG)
      mac[0]! ^= 1
      return craft({ infos: [keyTransport(certificate, KEY)], ...rest, mac })
    },
    'another octet of the content': certificate => {
      const encrypted = gcm(KEY, LONG)
      encrypted.content[0]! ^= 1
      return craft({ infos: [keyTransport(certificate, KEY)], ...encrypted })
    },
  }

  test.each(Object.keys(SPOILT))('B5 %s', async name => {
    const one = people.of('rsa-2048')
    const { opening, ...effort } = await watched(SPOILT[name]!(one.certificate), one)
    expect(opening).toStrictEqual(FAILED)
    // All of it was read and decrypted, as if it had been right.
    expect(effort).toStrictEqual({ readings: 2, writtenOctets: LONG.length, heldOctets: 0 })
  })

  test('B5 wrong padding of the content is found at its end', async () => {
    const one = people.of('rsa-2048')
    const encrypted = cbc(KEY, LONG)
    // The last octet of the block before turns the last octet of the padding.
    encrypted.content[encrypted.content.length - 17]! ^= 0x80
    const infos = [keyTransport(one.certificate, KEY)]
    const { opening, ...effort } = await watched(craft({ infos, ...encrypted }), one)
    expect(opening).toStrictEqual(FAILED)
    expect(effort).toStrictEqual({
      readings: 2,
      writtenOctets: encrypted.content.length - 16,
      heldOctets: 0,
    })
  })

  test.each([0, 15, 17])('B5 a content of %i octets in blocks of sixteen', async size => {
    const one = people.of('rsa-2048')
    const { algorithm } = cbc(KEY, LONG)
    const infos = [keyTransport(one.certificate, KEY)]
    const message = craft({ infos, algorithm, content: randomBytes(size) })
    expect(await open(message, [one])).toStrictEqual(FAILED)
  })

  test('B5 the rest is right: what was spoilt above was all that was wrong', async () => {
    const one = people.of('rsa-2048')
    const message = rsaMessage(keyTransport(one.certificate, KEY))
    expect(await open(message, [one])).toMatchObject({ kind: 'opened', text: LONG.toString() })
  })

  test('a private key that is not the certificate’s', async () => {
    const [one, other] = [people.of('p-256'), people.of('p-384')]
    for (const kind of ['rsa-2048', 'p-256', 'x25519'] as const) {
      const { certificate } = people.of(kind)
      const message = await enveloped(LONG, [keyOf(people.of(kind))], 'aes-256-gcm')
      for (const { privateKey } of [one, other, people.of('rsa-2048')].filter(
        wrong => wrong.kind !== kind,
      ))
        expect(await open(message, [{ ...one, certificate, privateKey }])).toStrictEqual(FAILED)
    }
  })
})

describe('which key', () => {
  test('B6 the first RecipientInfo of a key is taken, and no second is tried', async () => {
    const one = people.of('rsa-2048')
    const [right, wrong] = [KEY, randomBytes(32)].map(key => keyTransport(one.certificate, key))
    const encrypted = gcm(KEY, ENTITY)
    const message = (...infos: Buffer[]) => craft({ infos, ...encrypted })
    expect(await open(message(right!, wrong!), [one])).toMatchObject({ kind: 'opened' })
    expect(await open(message(wrong!, right!), [one])).toStrictEqual(FAILED)
  })

  test('B6 of several keys the one whose RecipientInfo comes first', async () => {
    const [one, other] = [people.of('rsa-2048'), people.of('p-256')]
    const wrong = keyTransport(one.certificate, randomBytes(32))
    const encrypted = gcm(KEY, ENTITY)
    const byOther = keyAgreement(other.certificate, sequence(oid(EC)), Buffer.alloc(65, 4))
    for (const infos of [
      [wrong, byOther],
      [byOther, wrong],
    ])
      expect(await open(craft({ infos, ...encrypted }), [other, one])).toStrictEqual(FAILED)
    const right = keyTransport(one.certificate, KEY)
    const message = craft({ infos: [right, byOther], ...encrypted })
    expect(await open(message, [other, one])).toMatchObject({ certificate: one.certificate })
  })

  test('B1 no key of another is ever asked', async () => {
    const [one, other] = [people.of('p-256'), people.of('rsa-2048')]
    const message = await enveloped(ENTITY, [keyOf(one)], 'aes-256-cbc')
    expect(await open(message, [other])).toStrictEqual({ kind: 'no-key' })
    expect(await open(message, [])).toStrictEqual({ kind: 'no-key' })
  })

  test('a RecipientInfo that does not suit the kind of the key is none of his', async () => {
    const one = people.of('p-256')
    const infos = [keyTransportOf(one.certificate, randomBytes(256))]
    expect(await open(craft({ infos, ...gcm(KEY, ENTITY) }), [one])).toEqual({ kind: 'no-key' })
  })

  test('an issuer that is written in other string types is the same one', async () => {
    const one = people.of('rsa-2048')
    // PrintableString instead of UTF8String.
    const issuer = Buffer.from(one.certificate.issuer)
    issuer[issuer.indexOf('Recipients') - 2] = 0x13
    expect(issuer).not.toEqual(one.certificate.issuer)
    const certificate = Object.assign(Object.create(one.certificate) as Certificate, { issuer })
    const infos = [keyTransportOf(certificate, encryptedKeyOf(one.certificate))]
    const message = craft({ infos, ...gcm(KEY, ENTITY) })
    expect(await open(message, [one])).toMatchObject({ kind: 'opened' })
  })

  test.each([
    ['password', context(3, integer(0), sequence(oid('1.2.3')), octetString(KEY))],
    ['symmetric key', context(2, integer(4), sequence(octetString(KEY)), octetString(KEY))],
    ['other', context(4, oid('1.2.3'), NULL)],
  ])('B11 a recipient by %s is refused, and in the way of no one else', async (_kind, info) => {
    const one = people.of('rsa-2048')
    const encrypted = gcm(KEY, ENTITY)
    expect(await open(craft({ infos: [info], ...encrypted }), [one])).toMatchObject({
      kind: 'unreadable',
      reason: 'recipients-refused',
    })
    const infos = [info, keyTransport(one.certificate, KEY)]
    expect(await open(craft({ infos, ...encrypted }), [one])).toMatchObject({ kind: 'opened' })
  })

  test.each([
    ['of a static sender', (one: Certificate) => staticAgreement(one)],
    ['by MQV', (one: Certificate) => keyAgreement(one, sequence(oid(EC)), POINT, '1.3.132.1.15.1')],
    [
      'B12 on a curve that is spelt out',
      (one: Certificate) => keyAgreement(one, sequence(oid(EC), sequence(integer(1))), POINT),
    ],
    ['with a point of absurd size', (one: Certificate) => keyAgreement(one, EC_KEY, LONG)],
    ['of another kind', (one: Certificate) => keyAgreement(one, sequence(oid('1.2.3')), POINT)],
  ])('a key agreement %s is refused', async (_name, info) => {
    const one = people.of('p-256')
    const message = craft({ infos: [info(one.certificate)], ...gcm(KEY, ENTITY) })
    expect(await open(message, [one])).toMatchObject({ reason: 'management-refused' })
    expect(await open(message, [people.of('rsa-2048')])).toEqual({ kind: 'no-key' })
  })

  test.each([
    ['no point at all', 'p-256', EC_KEY, Buffer.alloc(0)],
    ['a point that is not on the curve', 'p-256', EC_KEY, Buffer.alloc(65, 4)],
    ['the point at infinity', 'p-256', EC_KEY, Buffer.alloc(1)],
    ['a point of another curve', 'p-384', EC_KEY, POINT],
    ['a curve that is not ours', 'p-256', sequence(oid(EC), oid('1.3.132.0.34')), POINT],
    ['the all-zero value', 'x25519', sequence(oid(X25519)), Buffer.alloc(32)],
    [
      'a value of small order',
      'x25519',
      sequence(oid(X25519)),
      Buffer.from([1, ...Buffer.alloc(31)]),
    ],
  ] as const)('B12 %s fails like all the rest', async (_name, kind, algorithm, point) => {
    const one = people.of(kind)
    const info = keyAgreement(one.certificate, algorithm, point)
    const { opening, ...effort } = await watched(rsaMessage(info), one)
    expect(opening).toStrictEqual(FAILED)
    expect(effort).toStrictEqual({ readings: 2, writtenOctets: LONG.length, heldOctets: 0 })
  })
})

describe('ciphers', () => {
  test('B7 an AEAD in EnvelopedData, and a mere cipher in AuthEnvelopedData', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const { mac: _, ...aead } = gcm(KEY, ENTITY)
    const misplaced = { kind: 'unreadable', reason: 'algorithm-misplaced' }
    expect(await open(craft({ infos, ...aead }), [one])).toMatchObject(misplaced)
    const { mac: __, ...other } = ccm(KEY, ENTITY)
    expect(await open(craft({ infos, ...other }), [one])).toMatchObject(misplaced)
    const mere = { infos, ...cbc(KEY, ENTITY), mac: Buffer.alloc(16) }
    expect(await open(craft(mere), [one])).toMatchObject(misplaced)
  })

  test('B7 RFC 9709: a derived key opens, and for another cipher it is another key', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const { algorithm, ...rest } = gcm(KEY, ENTITY, { derive: derivedKey })
    const derived = sequence(oid(CEK_HKDF), algorithm)
    const message = craft({ infos, algorithm: derived, ...rest })
    expect(await open(message, [one])).toMatchObject({ kind: 'opened', text: ENTITY.toString() })
    expect(await open(craft({ infos, algorithm, ...rest }), [one])).toStrictEqual(FAILED)
    const twice = sequence(oid(CEK_HKDF), derived)
    const nested = craft({ infos, algorithm: twice, ...rest })
    expect(await open(nested, [one])).toMatchObject({ reason: 'algorithm-refused' })
  })

  test('RFC 9709 §B.1: the key of the example', () => {
    const key = Buffer.from('c702e7d0a9e064b09ba55245fb733cf3', 'hex')
    const info = Buffer.from('301b0609608648016503040106300e040c5c79058ba2f43447639d29e2', 'hex')
    expect(derivedKey(key, info).toString('hex')).toBe('2124ffb29fac4e0fbbc7d5d87492bff3')
  })

  test.each([
    [4, 4, 'parameters-refused'],
    [8, 8, 'parameters-refused'],
    [11, 11, 'parameters-refused'],
    [12, 16, 'parameters-refused'],
    [16, 12, 'parameters-refused'],
    [16, null, 'parameters-refused'],
    [12, null, 'opened'],
    [12, 12, 'opened'],
    [13, 13, 'opened'],
    [15, 15, 'opened'],
  ])('B8 a tag of %i octets, declared as %s: %s', async (macOctets, declaredOctets, outcome) => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const message = craft({ infos, ...gcm(KEY, ENTITY, { macOctets, declaredOctets }) })
    const opening = await open(message, [one])
    expect('reason' in opening ? opening.reason : opening.kind).toBe(outcome)
  })

  test.each([0, 1, 8, 11, 13, 16])('B8 a nonce of %i octets is refused', async nonceOctets => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const { algorithm, ...rest } = gcm(KEY, ENTITY)
    const parameters = sequence(octetString(Buffer.alloc(nonceOctets)), integer(16))
    const [type] = [algorithm.subarray(2, 13)]
    const message = craft({ infos, ...rest, algorithm: sequence(type, parameters) })
    expect(await open(message, [one])).toMatchObject({ reason: 'parameters-refused' })
  })

  test.each([
    ['RC2', '1.2.840.113549.3.2', 8],
    ['DES', '1.3.14.3.2.7', 8],
    ['AES-CFB', '2.16.840.1.101.3.4.1.4', 16],
    ['none that is known', '1.2.3.4', 16],
  ])('B13 %s is refused, whatever the operator wishes', async (_name, cipher, ivOctets) => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const algorithm = sequence(oid(cipher), octetString(Buffer.alloc(ivOctets)))
    const message = craft({ infos, algorithm, content: LONG })
    for (const tripleDes of [false, true])
      expect(await open(message, [one], { tripleDes })).toMatchObject({
        kind: 'unreadable',
        reason: 'algorithm-refused',
      })
  })

  test('B13 triple DES is opened by choice, and called weak', async () => {
    const one = people.of('rsa-2048')
    const key = randomBytes(24)
    const iv = randomBytes(8)
    const cipher = createCipheriv('des-ede3-cbc', key, iv)
    const content = Buffer.concat([cipher.update(ENTITY), cipher.final()])
    const algorithm = sequence(oid('1.2.840.113549.3.7'), octetString(iv))
    const message = craft({ infos: [keyTransport(one.certificate, key)], algorithm, content })
    expect(await open(message, [one])).toMatchObject({ reason: 'algorithm-refused' })
    expect(await open(message, [one], { tripleDes: true })).toMatchObject({
      kind: 'opened',
      text: ENTITY.toString(),
      cipher: 'des-ede3-cbc',
      weak: true,
    })
  })

  test.each([16, 24, 32])('RFC 5084 §3.1: AES-CCM with a key of %i octets', async keyOctets => {
    const one = people.of('rsa-2048')
    const key = randomBytes(keyOctets)
    const infos = [keyTransport(one.certificate, key)]
    const authAttributes = [contentTypeAttribute(DATA)]
    const additionalData = tlv(0x31, ...authAttributes)
    for (const plain of [ENTITY, LONG, Buffer.alloc(0)]) {
      const bare = craft({ infos, ...ccm(key, plain, { nonceOctets: 7 }) })
      expect(await open(bare, [one])).toMatchObject({
        kind: 'opened',
        text: plain.toString(),
        cipher: `aes-${keyOctets * 8}-ccm`,
        authenticated: true,
      })
      const sealed = { infos, ...ccm(key, plain, { additionalData }) }
      const attributed = craft({ ...sealed, authAttributes })
      expect(await open(attributed, [one])).toMatchObject({ kind: 'opened' })
      expect(await open(craft(sealed), [one])).toStrictEqual(FAILED)
    }
  })

  test.each([
    [4, 4, 'parameters-refused'],
    [10, 10, 'parameters-refused'],
    [12, null, 'opened'],
    [12, 12, 'opened'],
    [14, 14, 'opened'],
    [16, null, 'parameters-refused'],
    [16, 14, 'parameters-refused'],
    [16, 13, 'parameters-refused'],
  ])('B8 a tag of CCM of %i octets, declared as %s: %s', async (macOctets, declared, outcome) => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const sealed = ccm(KEY, ENTITY, { macOctets, declaredOctets: declared })
    const opening = await open(craft({ infos, ...sealed }), [one])
    expect('reason' in opening ? opening.reason : opening.kind).toBe(outcome)
  })

  test('B8 a tag of CCM of an odd number of octets', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const { mac, ...sealed } = ccm(KEY, ENTITY, { macOctets: 14, declaredOctets: 13 })
    const message = craft({ infos, ...sealed, mac: mac.subarray(0, 13) })
    expect(await open(message, [one])).toMatchObject({ reason: 'parameters-refused' })
  })

  test.each([
    [6, 100, 'parameters-refused'],
    [14, 100, 'parameters-refused'],
    [13, 65_536, 'parameters-refused'],
    [13, 65_535, 'failed'],
    [12, 65_536, 'failed'],
  ])('B8 a nonce of CCM of %i octets for %i octets: %s', async (nonceOctets, size, outcome) => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const algorithm = ccmIdentifier(KEY.length, Buffer.alloc(nonceOctets), 16)
    const content = Buffer.alloc(size)
    const message = craft({ infos, algorithm, content, mac: Buffer.alloc(16) })
    const opening = await open(message, [one])
    expect('reason' in opening ? opening.reason : opening.kind).toBe(outcome)
  })

  test('B8 authenticated attributes longer than CCM has room for', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const long = sequence(oid('1.2.3'), setOf(octetString(Buffer.alloc(65_536))))
    const authAttributes = [contentTypeAttribute(DATA), long]
    const message = craft({ infos, ...ccm(KEY, ENTITY), authAttributes })
    expect(await open(message, [one])).toMatchObject({ reason: 'parameters-refused' })
  })

  test('B9 CCM of which one bit is otherwise is read to its end, and nothing of it is held', async () => {
    const one = people.of('rsa-2048')
    const sealed = ccm(KEY, LONG)
    for (const piece of [sealed.content, sealed.mac]) {
      piece[0]! ^= 1
      const message = craft({ infos: [keyTransport(one.certificate, KEY)], ...sealed })
      const { opening, ...effort } = await watched(message, one)
      expect(opening).toStrictEqual(FAILED)
      expect(effort).toStrictEqual({ readings: 2, writtenOctets: LONG.length, heldOctets: 0 })
      piece[0]! ^= 1
    }
  })

  test('RFC 8103: ChaCha20 with Poly1305', async () => {
    const one = people.of('rsa-2048')
    const nonce = randomBytes(12)
    const cipher = createCipheriv('chacha20-poly1305', KEY, nonce, { authTagLength: 16 })
    const content = Buffer.concat([cipher.update(ENTITY), cipher.final()])
    const algorithm = sequence(oid('1.2.840.113549.1.9.16.3.18'), octetString(nonce))
    const infos = [keyTransport(one.certificate, KEY)]
    const message = craft({ infos, algorithm, content, mac: cipher.getAuthTag() })
    expect(await open(message, [one])).toMatchObject({ kind: 'opened', authenticated: true })
    const short = craft({ infos, algorithm, content, mac: cipher.getAuthTag().subarray(0, 12) })
    expect(await open(short, [one])).toMatchObject({ reason: 'parameters-refused' })
  })
})

describe('authenticated attributes (RFC 5083 §2)', () => {
  test('are covered by the tag', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const authAttributes = [contentTypeAttribute(SIGNED_DATA)]
    const additionalData = tlv(0x31, ...authAttributes)
    const encrypted = gcm(KEY, ENTITY, { additionalData })
    const pieces = { infos, ...encrypted, authAttributes, contentType: SIGNED_DATA }
    expect(await open(craft(pieces), [one])).toMatchObject({
      kind: 'opened',
      contentType: SIGNED_DATA,
    })
    const more = sequence(oid('1.2.3'), tlv(0x31, NULL))
    const altered = { ...pieces, authAttributes: [...authAttributes, more] }
    expect(await open(craft(altered), [one])).toStrictEqual(FAILED)
  })

  test.each([
    ['name another type', DATA, [contentTypeAttribute(SIGNED_DATA)]],
    ['name none', DATA, [sequence(oid('1.2.3'), tlv(0x31, NULL))]],
    ['are none', DATA, []],
    ['are absent where the content is not data', SIGNED_DATA, undefined],
  ])('that %s', async (_name, contentType, authAttributes) => {
    const one = people.of('rsa-2048')
    const pieces = { infos: [keyTransport(one.certificate, KEY)], ...gcm(KEY, ENTITY), contentType }
    const message = craft({ ...pieces, ...(authAttributes && { authAttributes }) })
    expect(await open(message, [one])).toMatchObject({ reason: 'content-type-unprotected' })
  })

  test('with two types of content are malformed', async () => {
    const one = people.of('rsa-2048')
    const authAttributes = [contentTypeAttribute(DATA), contentTypeAttribute(SIGNED_DATA)]
    const infos = [keyTransport(one.certificate, KEY)]
    const message = craft({ infos, ...gcm(KEY, ENTITY), authAttributes })
    expect(await open(message, [one])).toMatchObject({ reason: 'malformed' })
  })
})

describe('B9', () => {
  test('B9 nothing is handed out, nor held any longer, when the last octet was wrong', async () => {
    const one = people.of('rsa-2048')
    const store = contentStore({ memoryPerMessageOctets: 10_000 })
    const writers: ContentWriter[] = []
    const hold = () => {
      writers.push(new ContentWriter(store))
      return writers[0]!
    }
    const { mac, ...rest } = gcm(KEY, Buffer.alloc(500_000, 'z'))
    mac[15]! ^= 1
    const message = craft({ infos: [keyTransport(one.certificate, KEY)], ...rest, mac })
    const chunks = cutBy(
      message,
      Array.from({ length: 50 }, () => 10_000),
    )
    const opening = await openEnveloped(() => each(chunks), [unwrapperOf(one)], { hold })
    expect(opening).toStrictEqual(FAILED)
    expect(writers.map(writer => writer.sizeOctets)).toEqual([500_000])
    expect(store.heldOctets).toBe(0)
    expect(() => writers[0]!.finish()).toThrow('twice')
  })
})

describe('what is no EnvelopedData', () => {
  test.each([
    ['nothing', Buffer.alloc(0), 'malformed'],
    ['text', Buffer.from('this is no CMS'), 'malformed'],
    ['data', sequence(oid(DATA), context(0, octetString(ENTITY))), 'not-enveloped'],
    ['signed data', sequence(oid(SIGNED_DATA), context(0, sequence())), 'not-enveloped'],
    ['an empty one', sequence(oid(ENVELOPED_DATA), context(0, sequence())), 'malformed'],
    ['no recipients', craft({ infos: [], ...cbc(KEY, ENTITY) }), 'recipients-refused'],
    ['an authenticated one without tag', untagged(), 'malformed'],
    ['B57 depth', Buffer.alloc(300, Buffer.from('3080', 'hex')), 'malformed'],
  ])('%s', async (_name, octets, reason) => {
    const opening = await open(octets, [people.of('rsa-2048')])
    expect(opening).toMatchObject({ kind: 'unreadable', reason })
  })

  test('content that is elsewhere, and content that stands there twice', async () => {
    const one = people.of('rsa-2048')
    const infos = [keyTransport(one.certificate, KEY)]
    const { algorithm, content } = cbc(KEY, ENTITY)
    expect(await open(craft({ infos, algorithm, content: undefined }), [one])).toMatchObject({
      reason: 'detached',
    })
    const twice = sequence(oid(DATA), algorithm, tlv(0x80, content), tlv(0x80, content))
    const data = sequence(integer(0), tlv(0x31, ...infos), twice)
    const message = sequence(oid(ENVELOPED_DATA), context(0, data))
    expect(await open(message, [one])).toMatchObject({ reason: 'malformed' })
  })

  test('what may stand there beside, and octet strings in segments', async () => {
    const one = people.of('rsa-2048')
    const { algorithm, content, mac } = gcm(KEY, ENTITY)
    const encryptedKey = encryptedKeyOf(one.certificate)
    const segments = [encryptedKey.subarray(0, 100), encryptedKey.subarray(100)].map(octetString)
    const info = sequence(
      integer(0),
      issuerAndSerial(one.certificate),
      sequence(oid('1.2.840.113549.1.1.1')),
      tlv(0x24, ...segments),
    )
    const attribute = sequence(oid('1.2.3'), tlv(0x31, NULL))
    const data = sequence(
      integer(0),
      context(0, context(0)), // originatorInfo
      tlv(0x31, info),
      sequence(oid(DATA), algorithm, tlv(0xa0, octetString(content))),
      tlv(0x24, octetString(mac)),
      context(2, attribute), // unauthAttrs
    )
    const message = sequence(oid(AUTH_ENVELOPED_DATA), context(0, data))
    expect(await open(message, [one])).toMatchObject({ kind: 'opened', text: ENTITY.toString() })

    const mere = cbc(KEY, ENTITY)
    const encrypted = sequence(oid(DATA), mere.algorithm, tlv(0x80, mere.content))
    const inside = sequence(integer(2), tlv(0x31, info), encrypted, context(1, attribute))
    const unprotected = sequence(oid(ENVELOPED_DATA), context(0, inside))
    expect(await open(unprotected, [one])).toMatchObject({ kind: 'opened', authenticated: false })
  })

  test('OAEP without parameters, and with such as we do not know', async () => {
    const one = people.of('rsa-2048')
    const mask = (...parts: Buffer[]) => context(1, sequence(oid('1.2.840.113549.1.1.8'), ...parts))
    for (const parameters of [
      [],
      [sequence(context(0, sequence(oid('1.2.3'))))],
      [sequence(mask())],
      [sequence(mask(sequence(oid('1.2.3'))))],
      [sequence(context(1, sequence(oid('1.2.3'))))],
      [sequence(context(2, sequence(oid('1.2.3'), octetString(KEY))))],
    ]) {
      const algorithm = sequence(oid(OAEP), ...parameters)
      const info = keyTransportOf(one.certificate, randomBelow(), algorithm)
      expect(await open(rsaMessage(info), [one])).toMatchObject({ reason: 'management-refused' })
    }
  })

  test('B57 a thousand recipients are read, one more is not', async () => {
    const one = people.of('rsa-2048')
    const stranger = keyTransportOf(people.of('p-256').certificate, randomBytes(256))
    const flood = (count: number) => Array.from({ length: count }, () => stranger)
    const right = keyTransport(one.certificate, KEY)
    const encrypted = gcm(KEY, ENTITY)
    const most = craft({ infos: [...flood(999), right], ...encrypted })
    expect(await open(most, [one])).toMatchObject({ kind: 'opened' })
    const tooMany = craft({ infos: [...flood(1000), right], ...encrypted })
    expect(await open(tooMany, [one])).toMatchObject({ reason: 'malformed' })
  })

  test('B57 nor are more within one key agreement', async () => {
    const { certificate } = people.of('p-256')
    const key = sequence(issuerAndSerial(certificate), octetString(randomBytes(24)))
    const many = (count: number) =>
      context(
        1,
        integer(3),
        context(0, context(1, EC_KEY, tlv(0x03, Buffer.from([0]), POINT))),
        sequence(oid('1.3.132.1.11.1'), sequence(oid('2.16.840.1.101.3.4.1.5'))),
        sequence(...Array.from({ length: count }, () => key)),
      )
    const message = craft({ infos: [many(1001)], ...gcm(KEY, ENTITY) })
    expect(await open(message, [])).toMatchObject({ reason: 'malformed' })
    const two = craft({ infos: [many(501), many(500)], ...gcm(KEY, ENTITY) })
    expect(await open(two, [])).toMatchObject({ reason: 'malformed' })
  })

  test('B57 a content in segments of one octet costs little', async () => {
    const one = people.of('rsa-2048')
    const { algorithm, content } = cbc(KEY, Buffer.alloc(200_000, 'a'))
    const segments = Buffer.alloc(3 * content.length)
    for (const [index, octet] of content.entries()) segments.set([4, 1, octet], index * 3)
    const info = Buffer.concat([begin(0xa0), segments, close(1)])
    const infos = tlv(0x31, keyTransport(one.certificate, KEY))
    const data = sequence(integer(0), infos, sequence(oid(DATA), algorithm, info))
    const message = sequence(oid(ENVELOPED_DATA), context(0, data))
    const before = process.cpuUsage()
    const opening = await open(
      cutBy(
        message,
        Array.from({ length: 10 }, () => 65_536),
      ),
      [one],
    )
    expect(opening).toMatchObject({ kind: 'opened', text: 'a'.repeat(200_000) })
    expect(process.cpuUsage(before).user).toBeLessThan(2_000_000)
  })

  test('B57 whatever octets are altered, it is opened or has a reason', async () => {
    const one = people.of('p-256')
    const made = await enveloped(ENTITY, [keyOf(one)], 'aes-256-gcm')
    const property = fc.asyncProperty(fc.nat(), fc.nat({ max: 255 }), async (at, octet) => {
      const octets = Buffer.from(made)
      octets[at % octets.length] = octet
      const opening = await open(octets, [one])
      const outcome = opening.kind === 'opened' ? opening.text : opening.kind
      expect([ENTITY.toString(), ...KINDS]).toContain(outcome)
    })
    await expect(fc.assert(property, { numRuns: 400 })).resolves.toBeUndefined()
  })

  test('what the reading throws: base64 is an answer, the rest comes through', async () => {
    const failing = (code: string) => {
      const read = async function* () {
        yield await Promise.reject<Buffer>(new PosternError(code, 'transient', 'broken'))
      }
      return openEnveloped(read, [], { hold: () => new ContentWriter(STORE) })
    }
    expect(await failing('ERR_BASE64_MALFORMED')).toMatchObject({ reason: 'base64' })
    await expect(failing('ERR_CONTENT_HELD')).rejects.toThrow('broken')
  })
})

/** RSA and AES-GCM, around a content of some blocks. */
function rsaMessage(info: Buffer): Buffer {
  return craft({ infos: [info], ...gcm(KEY, LONG) })
}

/** A number below any modulus of 2048 bits. */
function randomBelow(): Buffer {
  return Buffer.concat([Buffer.from([1]), randomBytes(255)])
}

function encryptedKeyOf(certificate: Certificate): Buffer {
  return keyTransport(certificate, KEY).subarray(-256)
}

/** The originator is named by his certificate. */
function staticAgreement(certificate: Certificate): Buffer {
  const wrap = sequence(oid('2.16.840.1.101.3.4.1.5'))
  const name = issuerAndSerial(certificate)
  const key = sequence(name, octetString(randomBytes(24)))
  const scheme = sequence(oid('1.3.132.1.11.1'), wrap)
  return context(1, integer(3), context(0, name), scheme, sequence(key))
}

function untagged(): Buffer {
  const { algorithm, content } = gcm(KEY, ENTITY)
  const type = AUTH_ENVELOPED_DATA
  return craft({ infos: [context(4, oid('1.2.3'), NULL)], algorithm, content, type })
}

/** Opens, and tells how much was done for it. */
async function watched(message: Buffer, one: Recipient) {
  let readings = 0
  let writer: ContentWriter | undefined
  const read = () => {
    readings++
    return each([message])
  }
  const hold = () => {
    writer = new ContentWriter(STORE)
    return writer
  }
  const opening = await openEnveloped(read, [unwrapperOf(one)], { hold })
  return { opening, readings, writtenOctets: writer?.sizeOctets, heldOctets: STORE.heldOctets }
}

function keyOf({ certificate }: Recipient, way: KeyTransport['name'] = 'rsa-pkcs1') {
  return { certificate, management: keyManagementFor(certificate.publicKey, way) }
}

function enveloped(
  content: Buffer,
  recipients: Parameters<typeof envelopedContent>[1],
  cipher: Parameters<typeof contentCipher>[0],
  sizeOctets?: number,
): Promise<Buffer> {
  const enveloping = { content: contentCipher(cipher), sizeOctets }
  return gather(envelopedContent(each([content]), recipients, enveloping))
}

/** Opens, and reads what was opened to its end. */
async function open(
  octets: Buffer | readonly Buffer[],
  people: readonly Recipient[],
  options: { tripleDes?: boolean } = {},
) {
  const chunks = Buffer.isBuffer(octets) ? [octets] : octets
  const hold = () => new ContentWriter(STORE)
  const opening = await openEnveloped(() => each(chunks), people.map(unwrapperOf), {
    hold,
    ...options,
  })
  if (opening.kind !== 'opened') return opening
  const { content, ...rest } = opening
  const text = (await gather(content.read())).toString('latin1')
  content.dispose()
  return { ...rest, text }
}

function unwrapperOf({ certificate, privateKey }: Recipient): KeyUnwrapper {
  return unwrapperFor(certificate, privateKey)
}

async function* each(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void, undefined> {
  for (const chunk of chunks) {
    await setImmediate()
    yield chunk
  }
}
