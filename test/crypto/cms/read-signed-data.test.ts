import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { SIGNATURES } from '../../../src/crypto/algorithms.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'
import { isAttributeSet } from '../../../src/crypto/cms/read-signed-data.ts'
import type { SignerReading } from '../../../src/crypto/smime/verify.ts'
import type { Certificate } from '../../../src/crypto/x509/certificate.ts'
import { type KeyPair, keyIdentifier, makeCertificate, makeKey, name } from '../make-certificate.ts'
import { noOpenssl, openssl, temporaryFolder } from '../openssl.ts'
import {
  attribute,
  clearMessage,
  ENTITY,
  opaqueMessage,
  outcome,
  read,
  SHA_256,
  type SignerPlan,
  signed,
  signedData,
  signerInfo,
  usualAttributes,
} from '../smime/signed-message.ts'

let authority: KeyPair
let key: KeyPair
let certificate: Certificate
let rsa: KeyPair
let rsaCertificate: Certificate

beforeAll(async () => {
  authority = makeKey('P-256')
  key = makeKey('P-256')
  certificate = await certify(key)
  rsa = makeKey('RSA')
  rsaCertificate = await certify(rsa)
})

function certify(pair: KeyPair, extensions: readonly Buffer[] = []): Promise<Certificate> {
  return makeCertificate({ key: pair, issuerKey: authority, extensions, issuer: name('CA') })
}

/** The DER of a SignedData by the P-256 key, where the plan says nothing else. */
async function made(plan: Partial<SignerPlan> = {}): Promise<Buffer> {
  const info = await signerInfo({ certificate, key: key.privateKey, ...plan })
  return signedData({ signers: [info], certificates: [(plan.certificate ?? certificate).der] })
}

async function result(plan: Partial<SignerPlan> = {}): Promise<string> {
  return outcome(clearMessage(await made(plan)))
}

async function reading(plan: Partial<SignerPlan> = {}): Promise<SignerReading> {
  return signed(await read(clearMessage(await made(plan)))).signers[0]!
}

describe('signed attributes', () => {
  const unsorted = () =>
    [...usualAttributes(ENTITY, 'sha256', attribute('1.2.3', integer(7)))].reverse()

  test('RFC 5652 §5.3: they stand in DER, or the signature is bad', async () => {
    const content = Buffer.concat(usualAttributes(ENTITY))
    const longLength = Buffer.concat([Buffer.from([0xa0, 0x81, content.length]), content])
    const noLength = Buffer.concat([Buffer.from([0xa0, 0x80]), content, Buffer.alloc(2)])
    for (const standing of [longLength, noLength]) {
      expect(await result({ standing })).toBe('bad: attributes-not-der')
      // A copy of what is signed does not stand in for it.
      const unsigned = tlv(0xa1, attribute('1.2.3', context(0, content)))
      expect(await result({ standing, unsigned })).toBe('bad: attributes-not-der')
    }
    expect(await result({ standing: context(0, content) })).toBe('good')
  })

  test('and the same in an opaque signature of indefinite lengths', async () => {
    const content = Buffer.concat(usualAttributes(ENTITY))
    const noLength = Buffer.concat([Buffer.from([0xa0, 0x80]), content, Buffer.alloc(2)])
    const of = async (plan: Partial<SignerPlan>) => {
      const info = await signerInfo({ certificate, key: key.privateKey, ...plan })
      return outcome(opaqueMessage(indefinite(info, certificate.der)))
    }
    expect(await of({})).toBe('good')
    expect(await of({ standing: noLength })).toBe('bad: attributes-not-der')
  })

  test('in another order than DER wants they are verified as they stand', async () => {
    expect(await result({ attributes: unsorted() })).toBe('good')
    const standing = context(0, ...unsorted())
    const attributes = usualAttributes(ENTITY, 'sha256', attribute('1.2.3', integer(7)))
    expect(await result({ attributes, standing })).toBe('bad: signature-mismatch')
  })

  test.skipIf(noOpenssl)(`OpenSSL agrees on what is good ${noOpenssl ?? ''}`, async () => {
    const content = Buffer.concat(usualAttributes(ENTITY))
    const standing = Buffer.concat([Buffer.from([0xa0, 0x81, content.length]), content])
    const info = await signerInfo({ certificate, key: key.privateKey })
    expect(opensslSays(await made())).toBe('good')
    expect(opensslSays(await made({ attributes: unsorted() }))).toBe('good')
    expect(opensslSays(await made({ standing: context(0, ...unsorted()) }))).toBe('bad')
    expect(opensslSays(await made({ standing }))).toBe('good')
    expect(opensslSays(signedData({ signers: [info], content: Buffer.from('x') }))).toBe('bad')
  })

  test('B16 what is a SET OF Attribute', () => {
    const [first, second] = usualAttributes(ENTITY) as [Buffer, Buffer]
    expect(isAttributeSet(tlv(0x31, first, second))).toBe(true)
    expect(isAttributeSet(tlv(0x31, first))).toBe(true)
    expect(isAttributeSet(tlv(0x31))).toBe(false)
    expect(isAttributeSet(Buffer.concat([tlv(0x31, first), Buffer.alloc(1)]))).toBe(false)
    expect(isAttributeSet(Buffer.from('1 line of text\r\n'))).toBe(false)
    expect(isAttributeSet(Buffer.alloc(0))).toBe(false)
  })
})

describe('B29 the certificate that the signature names', () => {
  const version2 = (...fields: readonly Buffer[]) =>
    attribute(OID.SIGNING_CERTIFICATE_V2, sequence(sequence(sequence(...fields))))
  const version1 = (...fields: readonly Buffer[]) =>
    attribute(OID.SIGNING_CERTIFICATE, sequence(sequence(sequence(...fields))))
  const hash = (digest: string, of = certificate) =>
    octetString(createHash(digest).update(of.der).digest())
  const issuerSerial = (serial: Buffer, issuer = certificate.issuer) =>
    sequence(sequence(context(4, issuer)), integer(serial))
  const SHA_512 = sequence(oid('2.16.840.1.101.3.4.2.3'))
  const bound = (...attributes: readonly Buffer[]) =>
    result({ attributes: usualAttributes(ENTITY, 'sha256', ...attributes) })

  test('is the one', async () => {
    expect(await bound(version2(hash('sha256')))).toBe('good')
    expect(await bound(version2(SHA_512, hash('sha512')))).toBe('good')
    expect(await bound(version1(hash('sha1')))).toBe('good')
    expect(await bound(version1(hash('sha1')), version2(hash('sha256')))).toBe('good')
    const serial = certificate.serialNumber
    expect(await bound(version2(hash('sha256'), issuerSerial(serial)))).toBe('good')
  })

  test('is another', async () => {
    const mismatch = 'bad: signing-certificate-mismatch'
    const other = rsaCertificate
    expect(await bound(version2(hash('sha256', other)))).toBe(mismatch)
    expect(await bound(version2(SHA_512, hash('sha256')))).toBe(mismatch)
    expect(await bound(version2(sequence(oid('1.2.3')), hash('sha256')))).toBe(mismatch)
    expect(await bound(version1(hash('sha1', other)))).toBe(mismatch)
    expect(await bound(version1(hash('sha1', other)), version2(hash('sha256')))).toBe(mismatch)
    const serial = issuerSerial(randomBytes(8))
    expect(await bound(version2(hash('sha256'), serial))).toBe(mismatch)
    const issuer = issuerSerial(certificate.serialNumber, name('Somebody else'))
    expect(await bound(version2(hash('sha256'), issuer))).toBe(mismatch)
    expect(await bound(version2(integer(1)))).toBe('bad: attributes-malformed')
  })

  test('chooses between two certificates for one key', async () => {
    const extensions = [keyIdentifier('k')]
    const [one, two] = [await certify(key, extensions), await certify(key, extensions)]
    const attributes = usualAttributes(ENTITY, 'sha256', version2(hash('sha256', two)))
    const identifier = tlv(0x80, Buffer.from('k'))
    const info = await signerInfo({ certificate: one, key: key.privateKey, identifier, attributes })
    const octets = signedData({ signers: [info], certificates: [one.der, two.der] })
    const [signer] = signed(await read(clearMessage(octets))).signers
    expect(signer!.certificate?.der).toEqual(two.der)
  })
})

describe('algorithms', () => {
  const identifierOf = (algorithm: string) =>
    SIGNATURES.find(row => row.name === algorithm)!.certificateIdentifier

  test('RFC 3370 §3.2, RFC 5754 §3.2: RSA named with and without its digest', async () => {
    const plan = { certificate: rsaCertificate, key: rsa.privateKey }
    for (const signatureAlgorithm of [
      identifierOf('rsa-pkcs1-sha-256'),
      sequence(oid('1.2.840.113549.1.1.11')),
      sequence(oid('1.2.840.113549.1.1.1')),
    ])
      expect(await result({ ...plan, signatureAlgorithm })).toBe('good')
    const signatureAlgorithm = identifierOf('rsa-pkcs1-sha-512')
    expect(await result({ ...plan, signatureAlgorithm })).toBe('unverifiable: algorithm-mismatch')
    const odd = sequence(oid('1.2.840.113549.1.1.1'), integer(1))
    expect(await result({ ...plan, signatureAlgorithm: odd })).toBe(
      'unverifiable: algorithm-parameters',
    )
  })

  test('a digest with NULL and without', async () => {
    const withNull = sequence(oid('2.16.840.1.101.3.4.2.1'), Buffer.from([5, 0]))
    for (const identifier of [withNull, SHA_256])
      expect(await result({ digestAlgorithm: { name: 'sha256', identifier } })).toBe('good')
    const identifier = sequence(oid('2.16.840.1.101.3.4.2.1'), integer(1))
    expect(await result({ digestAlgorithm: { name: 'sha256', identifier } })).toBe(
      'unverifiable: algorithm-parameters',
    )
  })

  const hashField = (digest: string) => context(0, sequence(oid(digest)))
  const maskField = (digest: string) =>
    context(1, sequence(oid('1.2.840.113549.1.1.8'), sequence(oid(digest))))
  const salt = (octets: number) => context(2, integer(octets))
  const SHA_256_OID = '2.16.840.1.101.3.4.2.1'
  const SHA_512_OID = '2.16.840.1.101.3.4.2.3'

  test.each([
    ['as they should be', [hashField(SHA_256_OID), maskField(SHA_256_OID), salt(20)], 'good'],
    [
      'another salt than is used',
      [hashField(SHA_256_OID), maskField(SHA_256_OID), salt(32)],
      'bad: signature-mismatch',
    ],
    [
      'another mask',
      [hashField(SHA_256_OID), maskField(SHA_512_OID), salt(20)],
      'unverifiable: algorithm-unknown',
    ],
    [
      'another digest',
      [hashField(SHA_512_OID), maskField(SHA_512_OID), salt(20)],
      'unverifiable: algorithm-mismatch',
    ],
    ['SHA-1 for want of others', [], 'unverifiable: algorithm-mismatch'],
    [
      'a trailer of its own',
      [hashField(SHA_256_OID), maskField(SHA_256_OID), salt(20), context(3, integer(2))],
      'unverifiable: algorithm-parameters',
    ],
    [
      'a salt without bounds',
      [hashField(SHA_256_OID), maskField(SHA_256_OID), salt(2_000_000)],
      'unverifiable: algorithm-parameters',
    ],
    ['none that can be read', [integer(1)], 'unverifiable: algorithm-parameters'],
  ])('RFC 4056 §3: RSASSA-PSS with parameters: %s', async (_name, fields, expected) => {
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.10'), sequence(...fields))
    expect(await result({ ...pss(), signatureAlgorithm })).toBe(expected)
  })

  test('RFC 4055 §3.1: RSASSA-PSS without parameters', async () => {
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.10'))
    expect(await result({ ...pss(), signatureAlgorithm })).toBe(
      'unverifiable: algorithm-parameters',
    )
  })

  function pss(): Partial<SignerPlan> {
    const { RSA_PKCS1_PSS_PADDING: padding } = constants
    const signWith = (octets: Buffer) =>
      sign('sha256', octets, { key: rsa.privateKey, padding, saltLength: 20 })
    return { certificate: rsaCertificate, signWith }
  }

  test('RFC 8419 §3.1: Ed25519 goes with SHA-512', async () => {
    const edwards = makeKey('Ed25519')
    const plan = { certificate: await certify(edwards), key: edwards.privateKey }
    expect(await result(plan)).toBe('unverifiable: algorithm-mismatch')
    const identifier = sequence(oid(SHA_512_OID))
    const digestAlgorithm = { name: 'sha512', identifier }
    expect(await result({ ...plan, digestAlgorithm })).toBe('good')
  })

  test('B30 ECDSA with SHA-1 is verified, and told to be weak', async () => {
    const identifier = sequence(oid('1.3.14.3.2.26'))
    const signWith = (octets: Buffer) => sign('sha1', octets, key.privateKey)
    const signatureAlgorithm = sequence(oid('1.2.840.10045.4.1'))
    const digestAlgorithm = { name: 'sha1', identifier }
    expect(await reading({ digestAlgorithm, signatureAlgorithm, signWith })).toMatchObject({
      result: { kind: 'good' },
      algorithm: 'ecdsa-sha-1',
      weak: ['sha-1'],
    })
  })

  test.each([
    ['1.2.840.113549.2.5', 'algorithm-refused'],
    ['1.2.840.113549.2.2', 'algorithm-refused'],
    ['2.16.840.1.101.3.4.2.8', 'algorithm-unknown'],
  ])('B30 the digest %s is not used', async (type, reason) => {
    const identifier = sequence(oid(type))
    const digestAlgorithm = { name: 'sha256', identifier }
    expect(await result({ digestAlgorithm })).toBe(`unverifiable: ${reason}`)
  })

  test('a key of another kind than the signature', async () => {
    const plan = { certificate: rsaCertificate, signWith: () => randomBytes(256) }
    const signatureAlgorithm = identifierOf('ecdsa-sha-256')
    expect(await result({ ...plan, signatureAlgorithm })).toBe('bad: key-mismatch')
  })
})

describe('B40 keys', () => {
  const RSA_SHA_256 = sequence(oid('1.2.840.113549.1.1.11'))

  test.each([
    [1024, { kind: 'good' }, ['rsa-1024']],
    [1536, { kind: 'good' }, ['rsa-1536']],
    [768, { kind: 'unverifiable', reason: 'key-unsound' }, []],
  ])('RSA of %i bits', async (modulusLength, expected, weak) => {
    const pair = generateKeyPairSync('rsa', { modulusLength })
    const signWith = (octets: Buffer) => sign('sha256', octets, pair.privateKey)
    const plan = { certificate: await certify(pair), signWith, signatureAlgorithm: RSA_SHA_256 }
    expect(await reading(plan)).toMatchObject({ result: expected, weak })
  })

  test.each([
    ['of 16384 bits', 2048, 'AQAB'],
    ['with an exponent over 2^32', 256, 'AQAAAAE'],
    ['with an exponent of 1', 256, 'AQ'],
  ])('RSA %s is not calculated with', async (_name, octets, e) => {
    const n = Buffer.concat([Buffer.from([0xc1]), randomBytes(octets - 2), Buffer.from([1])])
    const jwk = { kty: 'RSA', n: n.toString('base64url'), e }
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
    const unsound = await certify({ publicKey, privateKey: rsa.privateKey })
    const signWith = () => randomBytes(octets)
    const plan = { certificate: unsound, signWith, signatureAlgorithm: RSA_SHA_256 }
    expect(await result(plan)).toBe('unverifiable: key-unsound')
  })

  test.each(['brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1'])(
    'RFC 5639: %s is read',
    async namedCurve => {
      const pair = generateKeyPairSync('ec', { namedCurve })
      const signWith = (octets: Buffer) => sign('sha256', octets, pair.privateKey)
      const signatureAlgorithm = sequence(oid('1.2.840.10045.4.3.2'))
      const plan = { certificate: await certify(pair), signWith, signatureAlgorithm }
      expect(await reading(plan)).toMatchObject({ result: { kind: 'good' }, weak: [] })
    },
  )

  test('other curves are not', async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
    const signWith = (octets: Buffer) => sign('sha256', octets, pair.privateKey)
    const signatureAlgorithm = sequence(oid('1.2.840.10045.4.3.2'))
    const plan = { certificate: await certify(pair), signWith, signatureAlgorithm }
    expect(await result(plan)).toBe('unverifiable: key-unsound')
  })
})

describe('what the signer says of himself', () => {
  const aes = sequence(oid(OID.AES_256_GCM))
  const preference = (value: Buffer) => attribute(OID.ENCRYPTION_KEY_PREFERENCE, value)
  const saying = (...attributes: readonly Buffer[]) =>
    reading({ attributes: usualAttributes(ENTITY, 'sha256', ...attributes) })

  test('RFC 8551 §2.5.2: capabilities, in their order', async () => {
    const rc2 = sequence(oid('1.2.840.113549.3.2'), integer(128))
    const { capabilities } = await saying(attribute(OID.SMIME_CAPABILITIES, sequence(aes, rc2)))
    expect(capabilities).toEqual([
      { oid: OID.AES_256_GCM, parameters: undefined },
      { oid: '1.2.840.113549.3.2', parameters: integer(128) },
    ])
  })

  test('of very many the first 64', async () => {
    const many = Array.from({ length: 80 }, () => aes)
    const { capabilities } = await saying(attribute(OID.SMIME_CAPABILITIES, sequence(...many)))
    expect(capabilities).toHaveLength(64)
  })

  test('what cannot be read spoils no signature', async () => {
    for (const value of [integer(1), sequence(integer(1)), sequence(sequence())])
      expect(
        await saying(attribute(OID.SMIME_CAPABILITIES, value), preference(value)),
      ).toMatchObject({
        result: { kind: 'good' },
        capabilities: [],
        encryptionCertificate: undefined,
      })
  })

  test('RFC 8551 §2.5.3: the certificate to encrypt to, in three ways', async () => {
    const other = await certify(makeKey('P-256'), [keyIdentifier('for encryption')])
    const identifier = Buffer.from('for encryption')
    const named = sequence(other.issuer, integer(other.serialNumber)).subarray(2)
    for (const value of [
      context(0, named),
      context(1, octetString(identifier)),
      tlv(0x82, identifier),
    ]) {
      const attributes = usualAttributes(ENTITY, 'sha256', preference(value))
      const info = await signerInfo({ certificate, key: key.privateKey, attributes })
      const certificates = [certificate.der, other.der]
      const message = clearMessage(signedData({ signers: [info], certificates }))
      const [signer] = signed(await read(message)).signers
      expect(signer!.encryptionCertificate?.der).toEqual(other.der)
      const absent = clearMessage(signedData({ signers: [info], certificates: [certificate.der] }))
      expect(signed(await read(absent)).signers[0]!.encryptionCertificate).toBeUndefined()
    }
  })
})

/** A ContentInfo around the entity whose outer lengths are indefinite, as streaming writers do. */
function indefinite(info: Buffer, certificateDer: Buffer): Buffer {
  const open = (tag: number) => Buffer.from([tag, 0x80])
  return Buffer.concat([
    ...[open(0x30), oid(OID.SIGNED_DATA), open(0xa0), open(0x30), integer(1), tlv(0x31, SHA_256)],
    ...[open(0x30), oid(OID.DATA), open(0xa0), open(0x24), octetString(ENTITY), Buffer.alloc(6)],
    ...[context(0, certificateDer), open(0x31), info, Buffer.alloc(2), Buffer.alloc(6)],
  ])
}

/** Of the signature, whoever made it. */
function opensslSays(octets: Buffer): string {
  const folder = temporaryFolder()
  try {
    const file = folder.write('signature', octets)
    const content = folder.write('content', ENTITY)
    const args = ['-inform', 'DER', '-in', file, '-content', content, '-binary', '-noverify']
    openssl(['cms', '-verify', ...args])
    return 'good'
  } catch {
    return 'bad'
  } finally {
    folder.remove()
  }
}
