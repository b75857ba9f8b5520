import { createPublicKey, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { integer, octetString, oid, sequence } from '../../src/crypto/asn1/der-writer.ts'
import { readKeyFile } from '../../src/crypto/key-file.ts'
import {
  certificatePem,
  type Issued,
  identityPem,
  issue,
  type KeyKind,
} from '../../src/crypto/x509/issue.ts'
import { noOpenssl, openssl } from './openssl.ts'

const TIME = { notBefore: new Date('2026-01-01'), notAfter: new Date('2027-01-01') }
const PASSWORD = 'grüße & co'
let root: Issued
let issuer: Issued
let alice: Issued

beforeAll(async () => {
  root = await issue({ commonName: 'Root', authority: true, ...TIME })
  issuer = await issue({ commonName: 'Issuer', authority: true, issuer: root, ...TIME })
  alice = await issue({ commonName: 'Alice', issuer, ...TIME })
})

describe('PEM', () => {
  test('key, certificate and chain, in any order and with anything between', async () => {
    const key = alice.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    const blocks = [alice, issuer].map(({ der }) => certificatePem(der))
    for (const parts of [
      [key, ...blocks],
      [...blocks, key],
      [blocks[0]!, key, blocks[1]!],
    ]) {
      const text = parts.join('Bag Attributes\r\n    friendlyName: -----\n')
      for (const octets of [text, text.replaceAll('\n', '\r\n'), `\ufeff${text}`]) {
        const found = await readKeyFile(Buffer.from(octets))
        expect(found.faults).toEqual([])
        expect(found.privateKeys).toHaveLength(1)
        expect(found.privateKeys[0]!.equals(alice.privateKey)).toBe(true)
        expect(found.certificates).toEqual([alice.der, issuer.der])
      }
    }
  })

  test.each(['rsa-2048', 'p-384', 'ed25519'] as const)('%s as PKCS #8', async key => {
    const issued = await issue({ commonName: key, key, ...TIME })
    const { privateKeys, faults } = await readKeyFile(Buffer.from(identityPem(issued)))
    expect(faults).toEqual([])
    expect(privateKeys[0]!.equals(issued.privateKey)).toBe(true)
  })

  test('traditional RSA and EC, parameters passed over', async () => {
    const rsa = await issue({ commonName: 'rsa', key: 'rsa-2048', ...TIME })
    const parameters =
      '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n'
    for (const [issued, type] of [
      [rsa, 'pkcs1'],
      [alice, 'sec1'],
    ] as const) {
      const pem = issued.privateKey.export({ format: 'pem', type })
      const { privateKeys, faults } = await readKeyFile(Buffer.from(parameters + pem))
      expect(faults).toEqual([])
      expect(privateKeys[0]!.equals(issued.privateKey)).toBe(true)
    }
  })

  test('every fault of a file is told, and what is whole is read', async () => {
    const whole = certificatePem(alice.der)
    const noEnd = '-----BEGIN CERTIFICATE-----\nMIIB\n'
    const noBase64 = '-----BEGIN CERTIFICATE-----\nMI*B\n-----END CERTIFICATE-----\n'
    const noKey = '-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n'
    const found = await readKeyFile(Buffer.from(noEnd + noBase64 + noKey + whole))
    expect(found.certificates).toEqual([alice.der])
    expect(found.faults.map(({ code }) => code)).toEqual(
      Array.from({ length: 3 }, () => 'ERR_KEY_FILE_MALFORMED'),
    )
  })

  test('faults never quote what stands in a key', async () => {
    const secret = 'MFECAQEwBQYDK2VwBCIEIAAAAAAAAAA'
    const text = `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`
    const { faults } = await readKeyFile(Buffer.from(text))
    expect(faults).toHaveLength(1)
    expect(JSON.stringify([faults, faults.map(String)])).not.toContain(secret.slice(0, 8))
    expect(faults[0]!.cause).toBeUndefined()
  })

  test('hostile text takes linear time', async () => {
    const begins = '-----BEGIN CERTIFICATE-----\n'.repeat(30_000)
    const start = performance.now()
    const { faults } = await readKeyFile(Buffer.from(begins))
    expect(faults).toHaveLength(30_000)
    expect(performance.now() - start).toBeLessThan(2000)
  })
})

test('one certificate in DER', async () => {
  const octets = Buffer.from(alice.der)
  const { certificates, faults } = await readKeyFile(octets)
  octets.fill(0)
  expect(faults).toEqual([])
  expect(certificates).toEqual([alice.der])
})

test('what is none of it: a fault', async () => {
  for (const text of ['', 'hello', '-----BEGIN ', '0\x03\x02\x01\x00']) {
    const { faults, privateKeys } = await readKeyFile(Buffer.from(text), 'x')
    expect(privateKeys).toEqual([])
    expect(faults.length).toBeLessThanOrEqual(1)
  }
})

test('B73 any octet of a PEM altered: a fault or what was there, never a crash', async () => {
  const text = Buffer.from(identityPem(alice))
  const position = fc.integer({ min: 0, max: text.length - 1 })
  await fc.assert(
    fc.asyncProperty(position, fc.integer({ min: 0, max: 255 }), async (at, octet) => {
      const altered = Buffer.from(text)
      altered[at] = octet
      const { privateKeys, certificates } = await readKeyFile(altered)
      expect(privateKeys.length).toBeLessThanOrEqual(1)
      expect(certificates.length).toBeLessThanOrEqual(2)
    }),
    { numRuns: 300 },
  )
})

test('an encrypted PEM that asks for too much work is refused at once', async () => {
  const derivation = sequence(
    oid('1.2.840.113549.1.5.12'),
    sequence(octetString(Buffer.alloc(8)), integer(0x7fff_ffff)),
  )
  const cipher = sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(Buffer.alloc(16)))
  const der = sequence(
    sequence(oid('1.2.840.113549.1.5.13'), sequence(derivation, cipher)),
    octetString(Buffer.alloc(32)),
  )
  const body = `${der.toString('base64')}\n`
  const pem = `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${body}-----END ENCRYPTED PRIVATE KEY-----\n`
  const { faults } = await readKeyFile(Buffer.from(pem), 'x')
  expect(faults).toMatchObject([{ code: 'ERR_KEY_FILE_TOO_SLOW' }])
})

describe.skipIf(noOpenssl)(
  `encrypted PEM made by openssl${noOpenssl ? ` (${noOpenssl})` : ''}`,
  () => {
    const FORMS: readonly (readonly [string, readonly string[]])[] = [
      ['PBES2 as by default', ['pkcs8', '-topk8']],
      ['PBES2 with SHA-512', ['pkcs8', '-topk8', '-v2', 'aes-128-cbc', '-v2prf', 'hmacWithSHA512']],
      [
        'PBES2 with SHA-1 left unsaid',
        ['pkcs8', '-topk8', '-v2', 'des3', '-v2prf', 'hmacWithSHA1'],
      ],
      ['scrypt', ['pkcs8', '-topk8', '-scrypt']],
      ['PKCS #12 3DES', ['pkcs8', '-topk8', '-v1', 'PBE-SHA1-3DES']],
      [
        'PKCS #12 RC2-40',
        [
          'pkcs8',
          '-topk8',
          '-v1',
          'PBE-SHA1-RC2-40',
          '-provider',
          'legacy',
          '-provider',
          'default',
        ],
      ],
      ['traditional', ['pkey', '-traditional', '-aes256']],
    ]
    const issued = new Map<KeyKind, Issued>()
    beforeAll(async () => {
      for (const key of ['rsa-2048', 'p-256'] as const)
        issued.set(key, await issue({ commonName: key, key, ...TIME }))
    })

    for (const [form, options] of FORMS)
      test.each(['rsa-2048', 'p-256'] as const)(`%s, ${form}`, async kind => {
        const { privateKey, der } = issued.get(kind)!
        const plain = Buffer.from(privateKey.export({ format: 'pem', type: 'pkcs8' }))
        const key = openssl([...options, '-passout', `pass:${PASSWORD}`], plain)
        const octets = Buffer.concat([key, Buffer.from(certificatePem(der))])

        const opened = await readKeyFile(octets, PASSWORD)
        expect(opened.faults).toEqual([])
        expect(opened.privateKeys[0]!.equals(privateKey)).toBe(true)
        const certified = new X509Certificate(opened.certificates[0]!).publicKey
        expect(createPublicKey(opened.privateKeys[0]!).equals(certified)).toBe(true)

        const wrong = await readKeyFile(octets, 'wrong')
        expect(wrong.faults).toMatchObject([{ code: 'ERR_KEY_FILE_PASSWORD' }])
        expect(wrong.certificates).toHaveLength(1)
        const without = await readKeyFile(octets)
        expect(without.faults).toMatchObject([{ code: 'ERR_KEY_FILE_PASSWORD_MISSING' }])
      })
  },
)
