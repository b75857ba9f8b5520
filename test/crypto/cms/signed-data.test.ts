import { createHash, randomBytes } from 'node:crypto'
import { fromBER } from 'asn1js'
import fc from 'fast-check'
import { ContentInfo, SignedData as PkijsSignedData } from 'pkijs'
import { beforeAll, describe, expect, test } from 'vitest'
import { verifyOctets } from '../../../src/crypto/algorithms.ts'
import { DerReader, readOid } from '../../../src/crypto/asn1/der-reader.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import { readCapabilities } from '../../../src/crypto/cms/capabilities.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'
import { readSignedData } from '../../../src/crypto/cms/read-signed-data.ts'
import { signDetached, signedContent } from '../../../src/crypto/cms/signed-data.ts'
import { DECRYPTION_CIPHERS } from '../../../src/crypto/content-encryption.ts'
import type { Signer } from '../../../src/crypto/key.ts'
import { encryptionFor } from '../../../src/crypto/smime/encryption-choice.ts'
import { PosternError } from '../../../src/errors.ts'
import { cut, each, gather } from '../../support/chunks.ts'
import { requireDer } from '../../support/der.ts'
import { makeKey, makePki, type Pki } from '../make-certificate.ts'
import { ALLOWED, outcomeOf } from '../outcome.ts'

const SYNTAX = expect.objectContaining({ code: 'ERR_DER_SYNTAX' })
const CONTENT = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n')
const DIGEST = createHash('sha256').update(CONTENT).digest()
const TIME = new Date('2026-11-23T20:30:00Z')

let pki: Pki
let signer: Signer
let der: Buffer

beforeAll(async () => {
  pki = await makePki()
  signer = await pki.signer('alice', 'P-256')
  der = await signDetached(signer, DIGEST, TIME)
})

async function capabilitiesOf(who: Signer) {
  const octets = await signDetached(who, DIGEST, TIME)
  const { values } = readSignedData(octets).signers[0]!.signedAttributes!
  return [...readCapabilities(values.get(OID.SMIME_CAPABILITIES)![0]!)]
}

describe('what is signed', () => {
  test('says who, what and when', () => {
    const { version, contentType, content, certificates, signers } = readSignedData(der)
    const [info] = signers
    expect({ version, contentType, content }).toEqual({
      version: 1,
      contentType: OID.DATA,
      content: undefined,
    })
    expect(certificates).toEqual([signer.certificate.der])
    expect(signers.length).toBe(1)
    expect(info!.identifier).toEqual({
      kind: 'issuer-and-serial',
      issuer: signer.certificate.issuer,
      serialNumber: signer.certificate.serialNumber,
    })
    expect(info!.signedAttributes).toMatchObject({
      contentType: OID.DATA,
      messageDigest: DIGEST,
      signingTime: TIME,
    })
  })

  test('is DER to the last octet', () => {
    expect(() => requireDer(der)).not.toThrow()
    expect(fromBER(der).offset).toBe(der.length)
  })

  test('RFC 5652 §5.4: the signature is over a DER SET OF', async () => {
    const [info] = readSignedData(der).signers
    const { octets } = info!.signedAttributes!
    const { publicKey } = signer.certificate
    expect(octets[0]).toBe(0x31)
    expect(await verifyOctets(publicKey, signer.algorithm, octets, info!.signature)).toBe(true)
    const attributes: Buffer[] = []
    for (const set = new DerReader(octets).into(0x31); !set.done; )
      attributes.push(set.element().octets)
    const inOrder = attributes.toSorted((one, other) => Buffer.compare(one, other))
    expect(attributes).toEqual(inOrder)
    const types = attributes.map(attribute =>
      readOid(new DerReader(attribute).into(0x30).element(0x06)),
    )
    expect(types).toEqual([
      OID.CONTENT_TYPE,
      OID.SIGNING_TIME,
      OID.MESSAGE_DIGEST,
      OID.SIGNING_CERTIFICATE_V2,
      OID.ENCRYPTION_KEY_PREFERENCE,
      OID.SMIME_CAPABILITIES,
    ])
  })

  test('RFC 8551 §2.5.2: the capabilities are those of the golden file', () => {
    const [value] = readSignedData(der).signers[0]!.signedAttributes!.values.get(
      OID.SMIME_CAPABILITIES,
    )!
    const aes = [46, 26, 6, 42, 22, 2].map(arc => `300b0609608648016503040 1${hexOctet(arc)}`)
    expect(value!.toString('hex')).toBe(`304e${aes.join('').replaceAll(' ', '')}`)
  })

  test('RFC 8551 §2.5.2: who is encrypted to by RSA tells of OAEP too, behind the ciphers', async () => {
    const rsa = await pki.signer('rsa', 'RSA')
    const told = await capabilitiesOf(rsa)
    const [oaep] = told.splice(6)
    expect(told).toEqual(await capabilitiesOf(signer))
    expect(sequence(oid(oaep!.oid), oaep!.parameters!).toString('hex')).toBe(
      '303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500',
    )
    const elsewhere = { ...rsa, encryptionCertificate: signer.certificate }
    expect(await capabilitiesOf(elsewhere)).toEqual(told)
    const back = encryptionFor(rsa.certificate, 'compatible', await capabilitiesOf(rsa))
    expect([back.content.name, back.management.name]).toEqual(['aes-256-gcm', 'rsa-oaep-sha-256'])
  })

  test('RFC 8551 §2.5.2: nothing is advertised that is not read', async () => {
    const readable = new Set(DECRYPTION_CIPHERS.map(cipher => cipher.oid))
    for (const cipher of await capabilitiesOf(signer)) expect(readable).toContain(cipher.oid)
  })

  test('RFC 8551 §2.5.3: the key preference names the certificate to encrypt to', async () => {
    const preference = (octets: Buffer) =>
      readSignedData(octets).signers[0]!.signedAttributes!.values.get(OID.ENCRYPTION_KEY_PREFERENCE)
    const named = ({ issuer, serialNumber }: Signer['certificate']) => [
      context(0, issuer, integer(serialNumber)),
    ]
    expect(preference(der)).toEqual(named(signer.certificate))

    const encryptionCertificate = await pki.issue('alice', makeKey('P-256'))
    const octets = await signDetached({ ...signer, encryptionCertificate }, DIGEST, TIME)
    expect(preference(octets)).toEqual(named(encryptionCertificate))
    expect(readSignedData(octets).certificates).toContainEqual(encryptionCertificate.der)

    const edwards = await pki.signer('ed', 'Ed25519')
    const digest = createHash('sha512').update(CONTENT).digest()
    expect(preference(await signDetached(edwards, digest, TIME))).toBeUndefined()
  })

  test('RFC 8550 §2.3: the path is included, each certificate once', async () => {
    const withPath = { ...signer, path: [pki.authority, pki.authority, signer.certificate] }
    const { certificates } = readSignedData(await signDetached(withPath, DIGEST, TIME))
    expect(certificates.length).toBe(2)
    expect(certificates).toContainEqual(pki.authority.der)
  })

  test('no signing time where none is wished, GeneralizedTime from 2050 on', async () => {
    const timeOf = async (time: Date | undefined) =>
      readSignedData(await signDetached(signer, DIGEST, time)).signers[0]!.signedAttributes!
    expect((await timeOf(undefined)).values.has(OID.SIGNING_TIME)).toBe(false)
    const late = new Date('2051-01-01T00:00:00Z')
    expect((await timeOf(late)).signingTime).toEqual(late)
    expect((await timeOf(late)).values.get(OID.SIGNING_TIME)![0]![0]).toBe(0x18)
  })

  test('B16 signed attributes are always there, with one content type and one digest', async () => {
    const [info] = readSignedData(await signDetached(signer, DIGEST, undefined)).signers
    expect(info!.signedAttributes?.contentType).toBe(OID.DATA)
    expect(info!.signedAttributes?.messageDigest).toEqual(DIGEST)
  })

  test('B29 the signing certificate is bound by its SHA-256', () => {
    const { signingCertificate } = readSignedData(der).signers[0]!.signedAttributes!
    expect(signingCertificate?.digest).toBe('2.16.840.1.101.3.4.2.1')
    expect(signingCertificate?.certificateDigest.toString('hex')).toBe(
      signer.certificate.fingerprint,
    )
  })

  test('what the signer throws comes through', async () => {
    const fault = new PosternError('ERR_KEY_UNUSABLE', 'transient', 'token is gone')
    const broken = { ...signer, sign: () => Promise.reject(fault) }
    await expect(signDetached(broken, DIGEST, TIME)).rejects.toBe(fault)
  })
})

describe('a second opinion: pkijs', () => {
  test.each(['RSA', 'P-256', 'P-384', 'P-521'] as const)('%s, content elsewhere', async kind => {
    const one = await pki.signer('bob', kind)
    const digest = createHash(one.algorithm.digest.nodeName).update(CONTENT).digest()
    const signedData = asPkijs(await signDetached({ ...one, path: [pki.authority] }, digest, TIME))
    const data = new Uint8Array(CONTENT).buffer
    expect(await signedData.verify({ signer: 0, data })).toBe(true)
    await expect(signedData.verify({ signer: 0, data: new ArrayBuffer(9) })).rejects.toThrow(
      'Error',
    )
  })

  test.each(['RSA', 'P-256'] as const)('%s, content inside', async kind => {
    const one = await pki.signer('bob', kind)
    const signedData = asPkijs(await gather(signedContent(each(cut(CONTENT, 7)), one, TIME)))
    expect(await signedData.verify({ signer: 0 })).toBe(true)
    expect(Buffer.from(signedData.encapContentInfo.eContent!.getValue())).toEqual(CONTENT)
  })
})

describe('what is not read', () => {
  const attributes = (...more: Buffer[]) => {
    const digest = attribute(OID.MESSAGE_DIGEST, octetString(DIGEST))
    return context(0, attribute(OID.CONTENT_TYPE, oid(OID.DATA)), digest, ...more)
  }

  test('the frame of these tests is sound', () => {
    expect(readSignedData(signedDataOf(signerInfo(attributes()))).signers.length).toBe(1)
    const bare = readSignedData(signedDataOf(signerInfo(Buffer.alloc(0)))).signers[0]
    expect(bare!.signedAttributes).toBeUndefined()
  })

  test.each([
    ['no content type', context(0, attribute(OID.MESSAGE_DIGEST, octetString(DIGEST)))],
    ['no digest', context(0, attribute(OID.CONTENT_TYPE, oid(OID.DATA)))],
    ['two digests', attributes(attribute(OID.MESSAGE_DIGEST, octetString(DIGEST)))],
    ['two content types', attributes(attribute(OID.CONTENT_TYPE, oid(OID.DATA)))],
    ['a digest of two values', twoDigests()],
    [
      'an attribute twice',
      attributes(attribute('1.2.3', integer(1)), attribute('1.2.3', integer(1))),
    ],
    ['nothing', context(0)],
  ])('B16 signed attributes with %s', (_name, octets) => {
    const [info] = readSignedData(signedDataOf(signerInfo(octets))).signers
    expect(info!.signedAttributes).toBeUndefined()
    expect(info!.attributesFault).toContain('DER is malformed')
  })

  test('B57 signers are bounded at 10', () => {
    const many = (count: number) =>
      signedDataOf(...Array.from({ length: count }, () => signerInfo(attributes())))
    expect(readSignedData(many(10)).signers.length).toBe(10)
    expect(() => readSignedData(many(11))).toThrow(SYNTAX)
  })

  test('B57 attributes are bounded at 64', () => {
    const many = (count: number) =>
      signerInfo(
        attributes(
          ...Array.from({ length: count }, (_, arc) => attribute(`1.2.${arc}`, integer(1))),
        ),
      )
    const fault = (count: number) =>
      readSignedData(signedDataOf(many(count))).signers[0]!.attributesFault
    expect(fault(62)).toBeUndefined()
    expect(fault(63)).toContain('too many attributes')
  })

  test('B57 any part of it', () => {
    for (let size = 0; size < der.length; size++)
      expect(() => readSignedData(der.subarray(0, size))).toThrow(SYNTAX)
  })

  test('B57 whatever is altered, the only error is ours', () => {
    const change = fc.tuple(fc.nat({ max: der.length - 1 }), fc.integer({ min: 1, max: 255 }))
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), changes => {
        const octets = Buffer.from(der)
        for (const [at, bits] of changes) octets[at]! ^= bits
        expect(ALLOWED).toContain(outcomeOf(() => readSignedData(octets)))
      }),
      { numRuns: 2000 },
    )
  })

  function twoDigests(): Buffer {
    const values = setOf(octetString(DIGEST), octetString(randomBytes(32)))
    return context(
      0,
      attribute(OID.CONTENT_TYPE, oid(OID.DATA)),
      sequence(oid(OID.MESSAGE_DIGEST), values),
    )
  }
})

function attribute(type: string, value: Buffer): Buffer {
  return sequence(oid(type), setOf(value))
}

function signerInfo(signedAttributes: Buffer): Buffer {
  const sha256 = sequence(oid('2.16.840.1.101.3.4.2.1'))
  const ecdsa = sequence(oid('1.2.840.10045.4.3.2'))
  const identifier = tlv(0x80, Buffer.from('key'))
  return sequence(integer(3), identifier, sha256, signedAttributes, ecdsa, octetString(DIGEST))
}

function signedDataOf(...signerInfos: readonly Buffer[]): Buffer {
  const encapsulated = sequence(oid(OID.DATA))
  const signedData = sequence(integer(1), setOf(), encapsulated, tlv(0x31, ...signerInfos))
  return sequence(oid(OID.SIGNED_DATA), context(0, signedData))
}

function asPkijs(octets: Buffer): PkijsSignedData {
  const contentInfo = ContentInfo.fromBER(octets)
  const signedData = new PkijsSignedData({ schema: contentInfo.content })
  expect(signedData.certificates?.length).toBeGreaterThan(0)
  return signedData
}

function hexOctet(value: number): string {
  return value.toString(16).padStart(2, '0')
}
