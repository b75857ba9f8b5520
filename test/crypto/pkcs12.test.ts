import {
  createHmac,
  createPublicKey,
  hash,
  type KeyObject,
  pbkdf2Sync,
  X509Certificate,
} from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  tlv,
} from '../../src/crypto/asn1/der-writer.ts'
import { type BerNode, readBer } from '../../src/crypto/ber.ts'
import { readKeyFile } from '../../src/crypto/key-file.ts'
import { readPkcs12 } from '../../src/crypto/pkcs12.ts'
import { identityPem, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import { noOpenssl, openssl, temporaryFolder } from './openssl.ts'

const corpora =
  process.env['POSTERN_CORPORA'] ?? resolve(import.meta.dirname, '../../../shared/corpora')
const noCorpora = existsSync(corpora) ? undefined : `no corpora at ${corpora}`
const folder = temporaryFolder()
afterAll(() => folder.remove())

const PASSWORD = 'grüße & co'
const TIME = { notBefore: new Date('2026-01-01'), notAfter: new Date('2027-01-01') }

describe.skipIf(noOpenssl)(`PKCS #12 made by openssl${suffix(noOpenssl)}`, () => {
  const files = new Map<KeyKind, string>()
  beforeAll(async () => {
    const root = await issue({ commonName: 'Root', authority: true, ...TIME })
    const issuer = await issue({ commonName: 'Issuer', authority: true, issuer: root, ...TIME })
    for (const key of ['rsa-2048', 'p-256', 'p-521', 'ed25519'] as const) {
      const issued = await issue({ commonName: key, key, issuer, ...TIME })
      files.set(key, folder.write(`${key}.pem`, identityPem(issued)))
    }
  })

  const FORMS: readonly (readonly [string, readonly string[]])[] = [
    ['as OpenSSL 3 writes by default', []],
    ['as OpenSSL 1 wrote by default (RC2-40, 3DES)', ['-legacy']],
    ['3DES throughout', ['-certpbe', 'PBE-SHA1-3DES', '-keypbe', 'PBE-SHA1-3DES']],
    [
      'RC2-40 for the key too',
      ['-legacy', '-certpbe', 'PBE-SHA1-RC2-40', '-keypbe', 'PBE-SHA1-RC2-40'],
    ],
    [
      'RC2-128 and 3DES with two keys',
      ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128', '-keypbe', 'PBE-SHA1-2DES'],
    ],
    ['AES-128 with a SHA-512 MAC', ['-certpbe', 'AES-128-CBC', '-macalg', 'sha512']],
    ['3DES in PBES2, SHA-384 MAC', ['-keypbe', 'des-ede3-cbc', '-macalg', 'sha384']],
    ['without MAC', ['-nomac']],
    ['sealed but not encrypted', ['-certpbe', 'NONE', '-keypbe', 'NONE']],
    ['one iteration', ['-iter', '1', '-nomaciter']],
  ]
  for (const [form, options] of FORMS)
    test.each(['rsa-2048', 'p-256', 'p-521', 'ed25519'] as const)(`%s, ${form}`, async kind => {
      const octets = exportPkcs12(kind, options)
      const { privateKeys, certificates } = await readPkcs12(octets, PASSWORD)
      expect(certificates).toHaveLength(2)
      expect(privateKeys).toHaveLength(1)
      const [certificate] = certificates.map(der => new X509Certificate(der))
      expect(createPublicKey(privateKeys[0]!).equals(certificate!.publicKey)).toBe(true)
    })

  test.each([
    [[]],
    [['-legacy']],
    [['-nomac']],
    [['-nomac', '-legacy']],
    [['-certpbe', 'NONE', '-keypbe', 'NONE']],
  ])('a wrong or missing password is told, never a crash: %j', async options => {
    const octets = exportPkcs12('p-256', options)
    for (const wrong of ['', 'grüße', `${PASSWORD} `])
      await expect(readPkcs12(octets, wrong)).rejects.toMatchObject({
        code: 'ERR_KEY_FILE_PASSWORD',
      })
    expect((await readKeyFile(octets)).faults).toMatchObject([
      { code: 'ERR_KEY_FILE_PASSWORD_MISSING' },
    ])
  })

  test('an empty password and none are the same', async () => {
    const octets = exportPkcs12('p-256', [], '')
    expect((await readPkcs12(octets, '')).privateKeys).toHaveLength(1)
    expect((await readPkcs12(octets)).privateKeys).toHaveLength(1)
    expect((await readKeyFile(octets)).faults).toEqual([])
  })

  test('no password, sealed with no octets at all instead of a terminator', async () => {
    const options = ['-certpbe', 'NONE', '-keypbe', 'NONE', '-nomac']
    const [version, authSafe] = readBer(exportPkcs12('p-256', options)).children
    const safe = authSafe!.children[1]!.children[0]!.content
    // RFC 7292 §B.2 with an empty P, one iteration and SHA-1: a single digest.
    const salt = Buffer.alloc(8, 7)
    const key = hash('sha1', Buffer.concat([Buffer.alloc(64, 3), Buffer.alloc(64, salt)]), 'buffer')
    const mac = octetString(createHmac('sha1', key).update(safe).digest())
    const macData = sequence(sequence(sequence(oid('1.3.14.3.2.26'), NULL), mac), octetString(salt))
    const octets = sequence(version!.whole, authSafe!.whole, macData)
    expect((await readPkcs12(octets)).privateKeys).toHaveLength(1)
    expect((await readPkcs12(octets, '')).privateKeys).toHaveLength(1)
    await expect(readPkcs12(octets, 'x')).rejects.toMatchObject({ code: 'ERR_KEY_FILE_PASSWORD' })
  })

  test('PBMAC1 (RFC 9579) seals as well', async () => {
    const octets = withPbmac1(exportPkcs12('p-256', []), PASSWORD)
    expect((await readPkcs12(octets, PASSWORD)).privateKeys).toHaveLength(1)
    await expect(readPkcs12(octets, 'wrong')).rejects.toMatchObject({
      code: 'ERR_KEY_FILE_PASSWORD',
    })
  })

  test('indefinite lengths and octet strings in pieces (BER)', async () => {
    const [version, authSafe, macData] = readBer(exportPkcs12('p-256', [])).children
    const safe = authSafe!.children[1]!.children[0]!.content
    const pieces = [safe.subarray(0, 100), safe.subarray(100)].map(octetString)
    const loose = (tag: number, ...parts: Buffer[]) =>
      Buffer.concat([Buffer.from([tag, 0x80]), ...parts, Buffer.alloc(2)])
    const octets = loose(
      0x30,
      version!.whole,
      loose(0x30, authSafe!.children[0]!.whole, loose(0xa0, loose(0x24, ...pieces))),
      macData!.whole,
    )
    expect((await readPkcs12(octets, PASSWORD)).privateKeys).toHaveLength(1)
  })

  test('what is read does not hang on the octets of the file', async () => {
    const octets = exportPkcs12('p-256', ['-certpbe', 'NONE', '-keypbe', 'NONE'])
    const { certificates } = await readPkcs12(octets, PASSWORD)
    octets.fill(0)
    expect(new X509Certificate(certificates[0]!).subject).toBe('CN=p-256')
  })

  test('truncated at every octet: a fault each time', async () => {
    const octets = exportPkcs12('p-256', ['-iter', '1', '-nomaciter'])
    for (let length = 0; length < octets.length; length++)
      await expect(readPkcs12(octets.subarray(0, length), PASSWORD)).rejects.toMatchObject({
        name: 'PosternError',
      })
  })

  test('B73 any octet altered: a fault or the same key and certificates, never others, never a crash', async () => {
    const octets = exportPkcs12('p-256', ['-iter', '1', '-nomaciter'])
    const sound = await readPkcs12(octets, PASSWORD)
    const position = fc.integer({ min: 0, max: octets.length - 1 })
    await fc.assert(
      fc.asyncProperty(position, fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const altered = Buffer.from(octets)
        altered[at]! ^= change
        const { privateKeys, certificates, faults } = await readKeyFile(altered, PASSWORD)
        if (faults.length > 0) return
        expect(certificates).toEqual(sound.certificates)
        // `equals` looks at the public half alone.
        for (const key of privateKeys)
          expect(octetsOf(key)).toEqual(octetsOf(sound.privateKeys[0]!))
      }),
      { numRuns: 400 },
    )
  })

  function exportPkcs12(kind: KeyKind, options: readonly string[], password = PASSWORD): Buffer {
    const out = join(folder.path, 'out.p12')
    const file = files.get(kind)!
    openssl([
      ...['pkcs12', '-export', '-in', file, '-out', out, '-passout', `pass:${password}`],
      ...options,
    ])
    return readFileSync(out)
  }
})

describe('hostile PKCS #12', () => {
  test('random octets are faults', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async octets => {
        const { privateKeys, faults } = await readKeyFile(Buffer.from(octets), 'x')
        expect(privateKeys).toEqual([])
        expect(faults.length).toBeLessThanOrEqual(1)
      }),
    )
  })

  test.each([10_000_001, 0x7fff_ffff])(
    '%i iterations of the MAC are refused at once',
    async count => {
      expect(await refusal(pfx(sequence(), count))).toMatchObject(TOO_SLOW)
    },
  )

  test('what one file may ask for is counted over all that is in it', async () => {
    const bags = sequence(encryptedBags(10_000_001))
    expect(await refusal(pfx(bags, undefined))).toMatchObject(TOO_SLOW)
    const plain = sequence(oid('1.2.840.113549.1.7.1'), context(0, octetString(sequence())))
    const safe = sequence(plain, encryptedBags(10_000_000))
    expect(await refusal(sealed(safe, 'x'))).toMatchObject(TOO_SLOW)
  })

  test('an iteration count that no number holds', async () => {
    const huge = tlv(0x02, Buffer.concat([Buffer.from([0x7f]), Buffer.alloc(40)]))
    expect(await refusal(pfx(sequence(), huge))).toMatchObject(TOO_SLOW)
  })

  test('scrypt with more memory or work than a file may ask for', async () => {
    const scrypt = sequence(
      oid('1.3.6.1.4.1.11591.4.11'),
      sequence(octetString(Buffer.alloc(8)), integer(2 ** 30), integer(8), integer(1)),
    )
    expect(await refusal(pfx(sequence(pbes2Bags(scrypt)), undefined))).toMatchObject(TOO_SLOW)
  })

  test.each([0, 1])('an iteration count of %i below what can be', async count => {
    const refused = readPkcs12(pfx(sequence(), count), 'x')
    await expect(refused).rejects.toMatchObject({
      code: count === 0 ? 'ERR_KEY_FILE_MALFORMED' : 'ERR_KEY_FILE_PASSWORD',
    })
  })

  test('nested too deeply, too many structures, too large', async () => {
    let nested: Buffer = octetString(Buffer.alloc(0))
    for (let depth = 0; depth < 5000; depth++) nested = sequence(nested)
    const many = sequence(...Array.from({ length: 30_000 }, () => sequence()))
    expect(() => readBer(many)).toThrow('too many structures')
    for (const octets of [nested, many, octetString(Buffer.alloc(1024 * 1024))])
      await expect(readPkcs12(octets)).rejects.toMatchObject({ code: 'ERR_KEY_FILE_MALFORMED' })
  })

  test('under a signature, or with what nobody knows', async () => {
    const signed = sequence(
      integer(3),
      sequence(oid('1.2.840.113549.1.7.2'), context(0, sequence())),
    )
    const strange = sequence(oid('1.2.3.4'), sequence(octetString(Buffer.alloc(8)), integer(1)))
    const bags = sequence(encryptedData(strange))
    for (const octets of [signed, pfx(bags, undefined)])
      await expect(readPkcs12(octets)).rejects.toMatchObject({ code: 'ERR_KEY_FILE_UNSUPPORTED' })
  })

  /** How a file is refused, and that it does not take long. */
  async function refusal(octets: Buffer): Promise<unknown> {
    const start = performance.now()
    const error: unknown = await readPkcs12(octets, 'x').catch((error: unknown) => error)
    return { error, atOnce: performance.now() - start < 1000 }
  }
})

describe.skipIf(noCorpora)(`PKCS #12 of other programs${suffix(noCorpora)}`, () => {
  test.each([
    ['rfc9216/alice.p12', 'alice', ['rsa', 'rsa'], 3],
    ['rfc9216/bob.p12', 'bob', ['rsa', 'rsa'], 3],
    ['rfc9216/carlos.p12', 'carlos', ['x25519', 'ed25519'], 3],
    ['rfc9216/dana.p12', 'dana', ['x25519', 'ed25519'], 3],
    ['thunderbird/keys/Alice.p12', 'nss', ['rsa'], 2],
    ['thunderbird/keys/Eve.p12', 'nss', ['rsa'], 2],
  ])('%s', async (file, password, types, count) => {
    const found = await readPkcs12(readFileSync(join(corpora, file)), password)
    expect(found.privateKeys.map(key => key.asymmetricKeyType)).toEqual(types)
    expect(found.certificates).toHaveLength(count)
    const certified = found.certificates.map(der => spki(new X509Certificate(der).publicKey))
    for (const key of found.privateKeys) expect(certified).toContain(spki(createPublicKey(key)))
  })
})

function octetsOf(privateKey: KeyObject): Buffer {
  return privateKey.export({ format: 'der', type: 'pkcs8' })
}

function spki(publicKey: KeyObject): string {
  return publicKey.export({ format: 'der', type: 'spki' }).toString('hex')
}

/** Replaces the MAC by one of RFC 9579, computed here: PBKDF2 with HMAC-SHA-512, then HMAC-SHA-256. */
function withPbmac1(octets: Buffer, password: string): Buffer {
  const [version, authSafe] = readBer(octets).children as [BerNode, BerNode]
  const safe = authSafe.children[1]!.children[0]!.content
  const salt = Buffer.from('salted!!')
  const key = pbkdf2Sync(Buffer.from(password, 'utf8'), salt, 300, 32, 'sha512')
  const derivation = sequence(
    oid('1.2.840.113549.1.5.12'),
    sequence(
      octetString(salt),
      integer(300),
      integer(32),
      sequence(oid('1.2.840.113549.2.11'), NULL),
    ),
  )
  const scheme = sequence(
    oid('1.2.840.113549.1.5.14'),
    sequence(derivation, sequence(oid('1.2.840.113549.2.9'), NULL)),
  )
  const mac = octetString(createHmac('sha256', key).update(safe).digest())
  const macData = sequence(sequence(scheme, mac), octetString(Buffer.from('unused')), integer(1))
  return sequence(version.whole, authSafe.whole, macData)
}

function pfx(safe: Buffer, macIterations: number | Buffer | undefined): Buffer {
  const content = sequence(oid('1.2.840.113549.1.7.1'), context(0, octetString(safe)))
  if (macIterations === undefined) return sequence(integer(3), content)
  const digestInfo = sequence(
    sequence(oid('2.16.840.1.101.3.4.2.1'), NULL),
    octetString(Buffer.alloc(32)),
  )
  const count = typeof macIterations === 'number' ? integer(macIterations) : macIterations
  return sequence(integer(3), content, sequence(digestInfo, octetString(Buffer.alloc(8)), count))
}

/** With a good MAC, so that what is inside is reached; its own iterations count too. */
function sealed(safe: Buffer, password: string): Buffer {
  return withPbmac1(pfx(safe, 1), password)
}

function encryptedBags(iterations: number): Buffer {
  return pbes2Bags(
    sequence(
      oid('1.2.840.113549.1.5.12'),
      sequence(octetString(Buffer.alloc(8)), integer(iterations)),
    ),
  )
}

function pbes2Bags(derivation: Buffer): Buffer {
  const cipher = sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(Buffer.alloc(16)))
  return encryptedData(sequence(oid('1.2.840.113549.1.5.13'), sequence(derivation, cipher)))
}

function encryptedData(algorithm: Buffer): Buffer {
  const content = sequence(oid('1.2.840.113549.1.7.1'), algorithm, tlv(0x80, Buffer.alloc(32)))
  return sequence(oid('1.2.840.113549.1.7.6'), context(0, sequence(integer(0), content)))
}

function suffix(reason: string | undefined): string {
  return reason === undefined ? '' : ` (skipped: ${reason})`
}

const NULL = Buffer.from([5, 0])
const TOO_SLOW = { error: { code: 'ERR_KEY_FILE_TOO_SLOW' }, atOnce: true }
