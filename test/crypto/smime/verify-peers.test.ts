/**
 * Signatures that others made: OpenSSL, GnuPG's gpgsm and NSS; and messages of other projects' tests.
 *
 * @module
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificatePem, type Issued, identityPem, issue } from '../../../src/crypto/x509/issue.ts'
import { lifetime } from '../../support/identity-folder.ts'
import { noOpenssl, openssl, temporaryFolder } from '../openssl.ts'
import {
  binaryMessage,
  clearMessage,
  ENTITY,
  insideOf,
  outcome,
  read,
  signed,
  store,
} from './signed-message.ts'

const skip = noOpenssl ?? ''

describe.skipIf(noOpenssl)(`made by OpenSSL ${skip}`, () => {
  const folder = temporaryFolder()
  let root: Issued
  const pems = new Map<string, string>()

  beforeAll(async () => {
    root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
    for (const kind of ['rsa-2048', 'p-256', 'p-384', 'p-521'] as const) {
      const issued = await issue({ ...lifetime(), commonName: kind, issuer: root, key: kind })
      pems.set(kind, folder.write(`${kind}.pem`, identityPem(issued)))
    }
    folder.write('entity', ENTITY)
    folder.write('root.pem', certificatePem(root.der))
  })
  afterAll(() => folder.remove())

  /** `-binary`: OpenSSL signs what it is given; the lines that it writes around that end in LF. */
  function made(kind: string, ...options: readonly string[]): Buffer {
    const args = [
      '-signer',
      pems.get(kind)!,
      '-in',
      join(folder.path, 'entity'),
      '-binary',
      '-crlfeol',
    ]
    return openssl(['cms', '-sign', ...args, ...options])
  }

  test.each([
    ['rsa-2048', [], 'rsa-pkcs1-sha-256'],
    ['rsa-2048', ['-md', 'sha384'], 'rsa-pkcs1-sha-384'],
    ['rsa-2048', ['-md', 'sha512'], 'rsa-pkcs1-sha-512'],
    ['rsa-2048', ['-keyopt', 'rsa_padding_mode:pss'], 'rsa-pss-sha-256'],
    [
      'rsa-2048',
      ['-keyopt', 'rsa_padding_mode:pss', '-keyopt', 'rsa_pss_saltlen:20', '-md', 'sha512'],
      'rsa-pss-sha-512',
    ],
    ['p-256', [], 'ecdsa-sha-256'],
    ['p-384', ['-md', 'sha384'], 'ecdsa-sha-384'],
    ['p-384', ['-md', 'sha256'], 'ecdsa-sha-256'],
    ['p-521', ['-md', 'sha512'], 'ecdsa-sha-512'],
    ['rsa-2048', ['-keyid'], 'rsa-pkcs1-sha-256'],
    ['rsa-2048', ['-cades'], 'rsa-pkcs1-sha-256'],
  ])('%s %j', async (kind, options, algorithm) => {
    const formats = [[], ['-nodetach'], ['-nodetach', '-stream']]
    // OpenSSL 3.0 cannot stream with RSASSA-PSS.
    for (const format of algorithm.includes('pss') ? formats.slice(0, 2) : formats) {
      const message = made(kind, ...options, ...format)
      const signature = signed(await read(message))
      const [signer] = signature.signers
      expect(signer).toMatchObject({ result: { kind: 'good' }, algorithm, weak: [] })
      expect(signer!.certificate?.subjectText).toContain(kind)
      expect(await insideOf(signature, message)).toEqual(ENTITY)
    }
  })

  test('B30 SHA-1 is verified, and told to be weak', async () => {
    for (const options of [[], ['-keyopt', 'rsa_padding_mode:pss']])
      expect(signed(await read(made('rsa-2048', '-md', 'sha1', ...options))).signers).toMatchObject(
        [{ result: { kind: 'good' }, digest: 'sha-1', weak: ['sha-1'] }],
      )
  })

  test('B30 MD5, SHA-3 and SHA-224 are not verified', async () => {
    expect(await outcome(made('rsa-2048', '-md', 'md5'))).toBe('unverifiable: algorithm-refused')
    for (const digest of ['sha3-256', 'sha224'])
      expect(await outcome(made('rsa-2048', '-md', digest))).toBe('unverifiable: algorithm-unknown')
  })

  test('B16 without signed attributes, B18 without signers, and without certificates', async () => {
    for (const format of [[], ['-nodetach']]) {
      expect(await outcome(made('p-256', '-noattr', ...format))).toBe(
        'unverifiable: no-signed-attributes',
      )
      expect(await outcome(made('p-256', '-nocerts', ...format))).toBe(
        'unverifiable: no-certificate',
      )
    }
    const certificates = openssl([
      'crl2pkcs7',
      '-nocrl',
      '-certfile',
      pems.get('p-256')!,
      '-outform',
      'DER',
    ])
    expect(await outcome(binaryMessage(certificates))).toBe('unsigned')
  })

  test('B17 several signers', async () => {
    const message = made('p-256', '-signer', pems.get('rsa-2048')!, '-signer', pems.get('p-384')!)
    expect(await outcome(message)).toBe('good, good, good')
  })

  test('B15 content in the signature of a multipart/signed is refused there too', async () => {
    const inside = made('p-256', '-nodetach', '-outform', 'DER')
    const outside = made('p-256').toString('latin1')
    const base64 = inside.toString('base64').replaceAll(/.{64}/g, '$&\r\n')
    const twice = outside.replace(
      /(name="smime\.p7s"\r\n(?:.+\r\n)*\r\n)[^-]+/,
      `$1${base64}\r\n\r\n`,
    )
    expect(twice.length).toBeGreaterThan(outside.length)
    expect(await outcome(Buffer.from(twice, 'latin1'))).toBe('malformed: content-twice')
  })
})

const noGpgsm = missing('gpgsm') ?? missing('gpg-agent')

describe.skipIf(noGpgsm ?? noOpenssl)(`made by gpgsm ${noGpgsm ?? skip}`, () => {
  const folder = temporaryFolder()
  const env = { ...process.env, GNUPGHOME: folder.path, LC_ALL: 'C' }
  const gpgsm = (...args: readonly string[]) =>
    execFileSync('gpgsm', ['--batch', '-q', '--disable-crl-checks', '--disable-dirmngr', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
    })

  beforeAll(async () => {
    const root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
    const key = 'rsa-2048'
    const issued = await issue({
      ...lifetime(),
      commonName: 'gina',
      addresses: ['gina@example.test'],
      issuer: root,
      key,
    })
    const pem = folder.write('gina.pem', identityPem(issued))
    const p12 = join(folder.path, 'gina.p12')
    openssl(['pkcs12', '-export', '-legacy', '-in', pem, '-out', p12, '-passout', 'pass:'])
    const rootFile = folder.write('root.pem', certificatePem(root.der))
    const print = openssl(['x509', '-in', rootFile, '-noout', '-fingerprint', '-sha1']).toString()
    folder.write('trustlist.txt', `${print.split('=')[1]!.trim()} S relax\n`)
    folder.write('gpg-agent.conf', 'allow-preset-passphrase\n')
    gpgsm('--import', rootFile)
    gpgsm('--pinentry-mode', 'loopback', '--passphrase', '', '--import', p12)
    folder.write('entity', ENTITY)
  })
  afterAll(() => {
    execFileSync('gpgconf', ['--kill', 'all'], { env, stdio: 'ignore' })
    folder.remove()
  })

  test('opaque', async () => {
    const options = ['--pinentry-mode', 'loopback', '--passphrase', '', '-u', 'gina@example.test']
    const octets = gpgsm(...options, '--sign', join(folder.path, 'entity'))
    const message = binaryMessage(octets)
    const signature = signed(await read(message))
    expect(signature.signers).toMatchObject([{ result: { kind: 'good' }, weak: [] }])
    expect(await insideOf(signature, message)).toEqual(ENTITY)
  })
})

const noNss = missing('cmsutil', '-H') ?? missing('pk12util', '-H') ?? missing('certutil', '-H')

describe.skipIf(noNss ?? noOpenssl)(`made by NSS ${noNss ?? skip}`, () => {
  const folder = temporaryFolder()
  const database = `sql:${folder.path}`
  const nss = (command: string, ...args: readonly string[]) =>
    execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 })

  beforeAll(async () => {
    const root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
    const addresses = ['nina@example.test']
    const key = 'rsa-2048'
    const options = { ...lifetime(), commonName: 'nina', addresses, issuer: root, key } as const
    const pem = folder.write('nina.pem', identityPem(await issue(options)))
    const rootFile = folder.write('root.pem', certificatePem(root.der))
    const p12 = join(folder.path, 'nina.p12')
    const name = ['-name', 'nina', '-passout', 'pass:secret']
    openssl(['pkcs12', '-export', '-in', pem, '-out', p12, ...name])
    nss('certutil', '-N', '-d', database, '--empty-password')
    nss('certutil', '-A', '-d', database, '-n', 'root', '-t', 'CT,C,C', '-i', rootFile)
    nss('pk12util', '-i', p12, '-d', database, '-W', 'secret')
    folder.write('entity', ENTITY)
  })
  afterAll(() => folder.remove())

  test.each(['SHA256', 'SHA384', 'SHA512'])('clear and opaque, %s', async digest => {
    const base = ['-S', '-d', database, '-N', 'nina', '-G', '-P', '-H', digest]
    const entity = join(folder.path, 'entity')
    const inside = binaryMessage(nss('cmsutil', ...base, '-i', entity))
    const outside = clearMessage(nss('cmsutil', ...base, '-T', '-i', entity))
    for (const message of [inside, outside]) {
      const signature = signed(await read(message))
      expect(signature.signers).toMatchObject([{ result: { kind: 'good' }, weak: [] }])
      expect(signature.signers[0]!.encryptionCertificate?.subjectText).toContain('nina')
      expect(await insideOf(signature, message)).toEqual(ENTITY)
    }
  })
})

const corpora = resolve(process.env['POSTERN_CORPORA'] ?? '../shared/corpora')
const noCorpora = existsSync(join(corpora, 'INDEX.json')) ? undefined : `no corpora at ${corpora}`

describe.skipIf(noCorpora)(`of other projects ${noCorpora ?? ''}`, () => {
  const thunderbird = noCorpora
    ? []
    : readdirSync(join(corpora, 'thunderbird')).filter(
        name => name.endsWith('.eml') && !name.includes('.env'),
      )

  test.each(thunderbird)('Thunderbird: %s', async name => {
    const signature = await read(asMail(readFileSync(join(corpora, 'thunderbird', name))))
    const [signer] = signed(signature).signers
    expect(signer!.weak).toEqual(!name.includes('.bad') && name.includes('SHA1') ? ['sha-1'] : [])
    const inside = await insideOf(signed(signature), Buffer.alloc(0))
    expect(inside.length > 0).toBe(name.includes('.opaque'))
    expect(signer!.result).toMatchObject(
      name.includes('.bad') ? { kind: 'bad', reason: 'digest-mismatch' } : { kind: 'good' },
    )
  })

  test('NIST PKITS: all that is not DSA is good mathematics, whatever the path', async () => {
    const files = readdirSync(join(corpora, 'pkits/smime'))
    expect(files.length).toBeGreaterThan(200)
    for (const name of files) {
      const result = await outcome(asMail(readFileSync(join(corpora, 'pkits/smime', name))))
      expect([name, result]).toEqual([
        name,
        name.includes('DSA') ? 'unverifiable: algorithm-refused' : 'good',
      ])
    }
  })

  test.each([
    ['4.1', 'unverifiable: no-signed-attributes'],
    ['4.2', 'unverifiable: no-signed-attributes'],
    ['4.3', 'malformed: content-missing'],
    ['4.4', 'unverifiable: algorithm-refused'],
    ['4.5', 'unverifiable: no-signed-attributes'],
    ['4.6', 'unverifiable: no-signed-attributes, unverifiable: no-signed-attributes'],
    ['4.7', 'unverifiable: no-signed-attributes'],
    ['4.10', 'unverifiable: algorithm-refused'],
    ['4.11', 'unsigned'],
    ['5.1', 'malformed: cms'],
    ['6.0', 'malformed: cms'],
  ])('RFC 4134 §%s', async (section, expected) => {
    const octets = readFileSync(join(corpora, 'rfc4134', `${section}.bin`))
    expect(await outcome(binaryMessage(octets))).toBe(expected)
  })

  test.each(['4.8', '4.9'])('RFC 4134 §%s', async section => {
    const message = asMail(readFileSync(join(corpora, 'rfc4134', `${section}.eml`)))
    expect(await outcome(message)).toBe('unverifiable: no-signed-attributes')
    expect(store.heldOctets).toBe(0)
  })

  test.each(['44', '65', '87'])('ML-DSA-%s is not known yet', async size => {
    const pem = readFileSync(join(corpora, 'pqc', `mldsa${size}-signed-attrs.pem`), 'latin1')
    const octets = Buffer.from(pem.split('-----')[2]!, 'base64')
    expect(await outcome(binaryMessage(octets))).toBe('unverifiable: algorithm-unknown')
  })
})

/** Files have the line ends of their system. */
function asMail(octets: Buffer): Buffer {
  return Buffer.from(octets.toString('latin1').replaceAll(/\r?\n/g, '\r\n'), 'latin1')
}

function missing(command: string, argument = '--version'): string | undefined {
  const { error } = spawnSync(command, [argument], { stdio: 'ignore' })
  return error ? `no ${command} in PATH` : undefined
}
