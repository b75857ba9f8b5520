import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  readCertificateFile,
  readCertificateFileInTurns,
} from '../../src/certstore/certificate-file.ts'
import { tlv } from '../../src/crypto/asn1/der-writer.ts'
import { certificatePem, type Issued } from '../../src/crypto/x509/issue.ts'
import { ca, certsOnly, person, serializedStore, temporaryFolder } from './people.ts'

let ann: Issued
let bob: Issued
beforeAll(async () => {
  ann = await person('ann@partner.test')
  bob = await person('bob@partner.test')
})

const subjects = (octets: Buffer) =>
  readCertificateFile(octets).certificates.map(({ subjectText }) => subjectText)
const BOTH = ['CN=ann@partner.test', 'CN=bob@partner.test']

describe('formats', () => {
  test('PEM, with prose around the blocks and Windows line ends', () => {
    const pem = `Subject: Ann\r\n${certificatePem(ann.der).replaceAll('\n', '\r\n')}\r\nand\n${certificatePem(bob.der)}`
    expect(subjects(Buffer.from(pem))).toEqual(BOTH)
  })

  test('DER', () => {
    expect(subjects(ann.der)).toEqual(['CN=ann@partner.test'])
  })

  test('base64 without lines around it', () => {
    expect(subjects(Buffer.from(ann.der.toString('base64')))).toEqual(['CN=ann@partner.test'])
  })

  test('PKCS #7 in DER and in PEM', () => {
    const der = certsOnly(ann.der, bob.der)
    expect(subjects(der)).toEqual(BOTH)
    const pem = certificatePem(der).replaceAll('CERTIFICATE', 'PKCS7')
    expect(subjects(Buffer.from(pem))).toEqual(BOTH)
  })

  test('PKCS #7 with indefinite lengths', () => {
    expect(subjects(indefinite(certsOnly(ann.der, bob.der)))).toEqual(BOTH)
  })

  test('PKCS #7 and a revocation list as OpenSSL writes them', async () => {
    const folder = await temporaryFolder()
    const file = (name: string) => join(folder, name)
    const openssl = (...parameters: string[]) =>
      execFileSync('openssl', parameters, { cwd: folder })
    const authority = await ca()
    writeFileSync(file('ca.pem'), certificatePem(authority.der))
    writeFileSync(file('ann.pem'), certificatePem(ann.der))
    writeFileSync(file('ca.key'), authority.privateKey.export({ format: 'pem', type: 'pkcs8' }))
    writeFileSync(file('index'), '')
    writeFileSync(file('cnf'), '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\n')
    openssl(
      'ca',
      '-config',
      'cnf',
      '-gencrl',
      '-keyfile',
      'ca.key',
      '-cert',
      'ca.pem',
      '-crldays',
      '9',
      '-out',
      'crl.pem',
    )
    const bundle = openssl('crl2pkcs7', '-in', 'crl.pem', '-certfile', 'ann.pem', '-outform', 'DER')
    const read = readCertificateFile(bundle)
    expect(read).toMatchObject({ certificates: [{ addresses: ['ann@partner.test'] }], faults: [] })
    expect(read.revocationLists).toHaveLength(1)
    const list = openssl('crl', '-in', 'crl.pem', '-outform', 'DER')
    expect(readCertificateFile(list)).toMatchObject({
      certificates: [],
      revocationLists: [list],
      faults: [],
    })
  })

  test("Microsoft's serialized store", () => {
    expect(subjects(serializedStore(ann.der, bob.der))).toEqual(BOTH)
  })

  test("Exchange's tagged blob", () => {
    const element = (tag: number, content: Buffer) => {
      const header = Buffer.alloc(4)
      header.writeUInt16LE(tag, 0)
      header.writeUInt16LE(content.length + 4, 2)
      return Buffer.concat([header, content])
    }
    const blob = Buffer.concat([
      element(1, Buffer.from([1, 0, 0, 0])),
      element(2, Buffer.from('300b0609608648016503040102', 'hex')),
      element(3, certsOnly(ann.der)),
      element(0x20, bob.der),
    ])
    expect(subjects(blob)).toEqual(BOTH)
  })
})

describe('faults', () => {
  test('a damaged certificate spoils no other', () => {
    const damaged = Buffer.from(ann.der)
    damaged[6] = 0x99
    const { certificates, faults } = readCertificateFile(serializedStore(damaged, bob.der))
    expect(certificates.map(({ addresses }) => addresses)).toEqual([['bob@partner.test']])
    expect(faults).toEqual([expect.stringMatching(/^certificate 1: certificate cannot be read/)])
  })

  test('a store that ends too early keeps what was whole', () => {
    const octets = serializedStore(ann.der, bob.der).subarray(0, -40)
    const { certificates, faults } = readCertificateFile(octets)
    expect(certificates).toHaveLength(1)
    expect(faults).toEqual(['is a serialized store that ends too early'])
  })

  test.each([
    ['nothing', '', 'is of no known format'],
    ['prose', 'to whom it may concern', 'is of no known format'],
    [
      'a PEM block that is no base64',
      '-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----',
      'damaged',
    ],
    ['a PEM block without an end', '-----BEGIN CERTIFICATE-----\nMIIB', 'damaged'],
    [
      'a private key',
      '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----',
      'holds no certificate',
    ],
  ])('%s', (_, text, fault) => {
    const read = readCertificateFile(Buffer.from(text))
    expect(read.certificates).toEqual([])
    expect(read.faults).toEqual([expect.stringContaining(fault)])
  })

  test('never throws, whatever the octets', () => {
    const samples = () => [ann.der, certsOnly(ann.der), serializedStore(ann.der)]
    fc.assert(
      fc.property(
        fc.nat(2),
        fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        (which, changes) => {
          const octets = Buffer.from(samples()[which]!)
          for (const [at, octet] of changes) octets[at % octets.length] = octet
          const { certificates, revocationLists, faults } = readCertificateFile(octets)
          expect(certificates.length + revocationLists.length + faults.length).toBeGreaterThan(0)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('in turns', () => {
  test('the same comes of it', async () => {
    const samples = [
      ann.der,
      certsOnly(ann.der, bob.der),
      serializedStore(ann.der, Buffer.from('3003020100', 'hex'), bob.der),
      Buffer.from(certificatePem(ann.der) + certificatePem(bob.der).replace('M', '!')),
      Buffer.from('nothing at all'),
    ]
    for (const octets of samples) {
      const once = readCertificateFile(octets)
      const { certificates, faults } = await readCertificateFileInTurns(octets)
      expect(certificates.map(({ fingerprint }) => fingerprint)).toEqual(
        once.certificates.map(({ fingerprint }) => fingerprint),
      )
      expect(faults).toEqual(once.faults)
    }
  })

  test('others have theirs while very many are read', async () => {
    const octets = certsOnly(...Array.from({ length: 6_000 }, () => ann.der))
    let turns = 0
    let isDone = false
    const others = (async () => {
      for (; !isDone; turns++) await setImmediate()
    })()
    const { certificates } = await readCertificateFileInTurns(octets)
    isDone = true
    await others
    expect(certificates).toHaveLength(6_000)
    expect(turns).toBeGreaterThan(2)
  })

  test('what is too many is a fault, and soon', () => {
    const blocks = Buffer.from('-----BEGIN CERTIFICATE-----\n'.repeat(40_001))
    expect(readCertificateFile(blocks).faults).toContain('holds too many PEM blocks')
    const store = certsOnly(...Array.from({ length: 20_001 }, () => Buffer.from('3000', 'hex')))
    expect(readCertificateFile(store).faults).toContain('holds too many certificates')
  })
})

/** The same with indefinite lengths on the outside, as NSS writes it. */
function indefinite(pkcs7: Buffer): Buffer {
  const inner = (der: Buffer) => der.subarray(der[1]! < 0x80 ? 2 : 2 + (der[1]! & 0x7f))
  const open = (tag: number, ...contents: Buffer[]) =>
    Buffer.concat([Buffer.from([tag, 0x80]), ...contents, Buffer.from([0, 0])])
  const type = inner(pkcs7).subarray(0, 11)
  const signedData = inner(inner(inner(pkcs7).subarray(11)))
  expect(tlv(0x06, type.subarray(2))).toEqual(type)
  return open(0x30, type, open(0xa0, open(0x30, signedData)))
}
