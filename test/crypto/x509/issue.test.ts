import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { issuedBy, parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import {
  certificatePem,
  type Issued,
  identityPem,
  issue,
  pathOf,
} from '../../../src/crypto/x509/issue.ts'
import { noOpenssl, openssl, temporaryFolder } from '../openssl.ts'

const folder = temporaryFolder()
afterAll(() => folder.remove())
const NOW = Date.now()
const TIME = { notBefore: new Date(NOW - 60_000), notAfter: new Date(NOW + 86_400_000) }
const KINDS = ['rsa-2048', 'rsa-3072', 'p-256', 'p-384', 'p-521', 'ed25519'] as const
let root: Issued
let issuer: Issued

beforeAll(async () => {
  root = await issue({ commonName: 'Test Root', key: 'rsa-2048', authority: true, ...TIME })
  issuer = await issue({
    ...{ commonName: 'Test Issuer', key: 'p-384', issuer: root, authority: true, pathLength: 0 },
    ...TIME,
  })
})

test.each(KINDS)('%s: what it is asked to say is what it says', async key => {
  const addresses = ['ann@example.test', 'Ann.Other@example.test', 'änne@example.test']
  const ann = await issue({ commonName: 'Änne', key, issuer, addresses, ...TIME })
  const certificate = parseCertificate(ann.der)
  expect(certificate.addresses).toEqual(addresses)
  expect(certificate.subjectText).toBe('CN=Änne')
  expect(certificate.issuerText).toBe('CN=Test Issuer')
  expect(certificate.keyUsage).toContain('digitalSignature')
  expect([...certificate.extendedKeyUsage!]).toEqual(['1.3.6.1.5.5.7.3.4'])
  expect(certificate.isCertificateAuthority).toBe(false)
  expect(certificate.authorityKeyIdentifier).toEqual(issuer.subjectKeyIdentifier)
  expect(certificate.publicKey.equals(ann.publicKey)).toBe(true)
  expect(issuedBy(certificate, parseCertificate(issuer.der))).toBe(true)
  expect(new X509Certificate(ann.der).checkPrivateKey(ann.privateKey)).toBe(true)
})

test('an authority says so, and how deep', () => {
  const certificate = parseCertificate(issuer.der)
  expect(certificate.basicConstraints).toEqual({ certificateAuthority: true, pathLength: 0 })
  expect(parseCertificate(root.der).isSelfIssued).toBe(true)
})

test('what is left out on purpose is not there', async () => {
  const bare = await issue({ commonName: 'Bare', keyUsage: [], extendedKeyUsage: [], ...TIME })
  const certificate = parseCertificate(bare.der)
  expect(certificate.keyUsage).toBeUndefined()
  expect(certificate.extendedKeyUsage).toBeUndefined()
  expect(certificate.addresses).toEqual([])
})

test('key usage is DER: no zeros behind the last bit (X.690 §11.2.2)', async () => {
  for (const [keyUsage, hex] of [
    [['digitalSignature', 'keyEncipherment'], '030205a0'],
    [['decipherOnly', 'keyAgreement'], '0303070880'],
    [['encipherOnly'], '03020001'],
  ] as const) {
    const { der } = await issue({ commonName: 'Usage', keyUsage, ...TIME })
    const extension = parseCertificate(der).extensions.get('2.5.29.15')
    expect(extension?.value.toString('hex')).toBe(hex)
    expect(extension?.critical).toBe(true)
  }
})

test('a serial number is as asked for, positive and in its shortest form', async () => {
  for (const [asked, hex] of [
    ['00', '01'],
    ['0080', '0080'],
    ['ff', '00ff'],
    ['00007f', '7f'],
  ] as const) {
    const serialNumber = Buffer.from(asked, 'hex')
    const { der } = await issue({ commonName: 'Serial', serialNumber, ...TIME })
    expect(parseCertificate(der).serialNumber.toString('hex')).toBe(hex)
  }
})

test('an identity file holds the path without the root', async () => {
  const ann = await issue({ commonName: 'Ann', issuer, ...TIME })
  expect(pathOf(ann)).toEqual([issuer])
  const pem = identityPem(ann)
  expect(pem.match(/BEGIN [A-Z ]+/g)).toEqual([
    'BEGIN PRIVATE KEY',
    'BEGIN CERTIFICATE',
    'BEGIN CERTIFICATE',
  ])
})

describe.skipIf(noOpenssl)(`openssl agrees${noOpenssl ? ` (skipped: ${noOpenssl})` : ''}`, () => {
  test.each(KINDS.flatMap(key => [[key, false] as const, [key, true] as const]))(
    '%s, issued with RSASSA-PSS: %s',
    async (key, pss) => {
      const direct = await issue({
        commonName: 'Direct',
        issuer: root,
        pss,
        authority: true,
        key,
        ...TIME,
      })
      const ann = await issue({
        commonName: 'Ann',
        issuer: direct,
        key,
        addresses: ['ann@example.test'],
        ...TIME,
      })
      const anchor = folder.write('root.pem', certificatePem(root.der))
      const untrusted = folder.write('untrusted.pem', certificatePem(direct.der))
      const file = folder.write('ann.pem', certificatePem(ann.der))
      const verified = openssl([
        ...['verify', '-x509_strict', '-purpose', 'smimesign'],
        ...['-CAfile', anchor, '-untrusted', untrusted, file],
      ])
      expect(verified.toString()).toContain('OK')
      const text = openssl(['x509', '-in', file, '-noout', '-email', '-text']).toString()
      expect(text).toContain('ann@example.test')
      expect(text).toContain('E-mail Protection')
    },
  )
})
