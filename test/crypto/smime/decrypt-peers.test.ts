/**
 * What OpenSSL, GnuPG, NSS and Bouncy Castle have encrypted, and the messages of RFC 4134 and of
 * Thunderbird's own tests, opened.
 */
import { createHash, createPrivateKey } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inflate } from '../../../src/crypto/cms/compressed-data.ts'
import { type KeyUnwrapper, unwrapperFor } from '../../../src/crypto/key.ts'
import { openEnveloped } from '../../../src/crypto/smime/decrypt.ts'
import { parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { certificatePem } from '../../../src/crypto/x509/issue.ts'
import { ContentWriter, contentStore } from '../../../src/mail/content.ts'
import type { Content } from '../../../src/mail/mail-object.ts'
import { peers, run } from '../../support/peers.ts'
import {
  makeRecipients,
  type Recipient,
  type RecipientKind,
  type Recipients,
} from '../../support/recipients.ts'

const CORPORA = resolve(process.env['POSTERN_CORPORA'] ?? '../shared/corpora')
const ENTITY = Buffer.from(`Content-Type: text/plain\r\n\r\n${'Only for you. '.repeat(100)}\r\n`)
const STORE = contentStore()
const KINDS = [
  'rsa-2048',
  'p-256',
  'p-384',
  'p-521',
  'brainpool-p256r1',
  'brainpool-p384r1',
  'brainpool-p512r1',
] as const
const OAEP = '-keyopt rsa_padding_mode:oaep'
const MD = '-keyopt rsa_oaep_md:'
const MGF = '-keyopt rsa_mgf1_md:'

let people: Recipients
let folder: string

beforeAll(async () => {
  people = await makeRecipients(KINDS)
  folder = mkdtempSync(join(tmpdir(), 'postern-decrypt-'))
  writeFileSync(join(folder, 'entity'), ENTITY)
  writeFileSync(join(folder, 'root.pem'), certificatePem(people.root.der))
  for (const kind of KINDS) {
    const { der, privateKey } = people.of(kind)
    writeFileSync(join(folder, `${kind}.crt`), der)
    writeFileSync(join(folder, `${kind}.pem`), certificatePem(der))
    writeFileSync(join(folder, `${kind}.key`), privateKey.export({ format: 'pem', type: 'pkcs8' }))
  }
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('OpenSSL', () => {
  const { missing } = peer('openssl')
  const why = missing ? ` (skipped: ${missing})` : ''

  test.skipIf(missing).each<[RecipientKind, string, string]>([
    ['rsa-2048', '-aes128', 'aes-128-cbc rsa-pkcs1'],
    ['rsa-2048', '-aes192 -keyid', 'aes-192-cbc rsa-pkcs1'],
    ['rsa-2048', '-aes256 -stream', 'aes-256-cbc rsa-pkcs1'],
    ['rsa-2048', '-aes-128-gcm', 'aes-128-gcm rsa-pkcs1'],
    ['rsa-2048', '-aes-192-gcm -stream', 'aes-192-gcm rsa-pkcs1'],
    ['rsa-2048', '-aes-256-gcm', 'aes-256-gcm rsa-pkcs1'],
    ['rsa-2048', '-des3', 'des-ede3-cbc rsa-pkcs1'],
    ['rsa-2048', `-aes128 ${OAEP}`, 'aes-128-cbc rsa-oaep-sha-1'],
    ['rsa-2048', `-aes256 ${OAEP} ${MD}sha256`, 'aes-256-cbc rsa-oaep-sha-256'],
    ['rsa-2048', `-aes256 ${OAEP} ${MD}sha384`, 'aes-256-cbc rsa-oaep-sha-384'],
    ['rsa-2048', `-aes256 ${OAEP} ${MD}sha512`, 'aes-256-cbc rsa-oaep-sha-512'],
    [
      'rsa-2048',
      `-aes256 ${OAEP} ${MD}sha256 ${MGF}sha1`,
      'aes-256-cbc rsa-oaep-sha-256-mgf1-sha-1',
    ],
    [
      'rsa-2048',
      `-aes256 ${OAEP} ${MD}sha1 ${MGF}sha256`,
      'aes-256-cbc rsa-oaep-sha-1-mgf1-sha-256',
    ],
    ['rsa-2048', `-aes256 ${OAEP} -keyopt rsa_oaep_label:abcdef`, 'aes-256-cbc rsa-oaep-sha-1'],
    ['p-256', '-aes128', 'aes-128-cbc ecdh-sha-1'],
    ['p-256', '-aes256 -keyopt ecdh_kdf_md:sha224', 'aes-256-cbc ecdh-sha-224'],
    ['p-256', '-aes-256-gcm -keyopt ecdh_kdf_md:sha256', 'aes-256-gcm ecdh-sha-256'],
    ['p-256', '-aes256 -keyopt ecdh_cofactor_mode:1', 'aes-256-cbc ecdh-sha-1'],
    ['p-384', '-aes192 -keyopt ecdh_kdf_md:sha384 -keyid', 'aes-192-cbc ecdh-sha-384'],
    ['p-521', '-aes256 -keyopt ecdh_kdf_md:sha512 -stream', 'aes-256-cbc ecdh-sha-512'],
    ['brainpool-p256r1', '-aes256', 'aes-256-cbc ecdh-sha-1'],
    ['brainpool-p512r1', '-aes-128-gcm -keyopt ecdh_kdf_md:sha256', 'aes-128-gcm ecdh-sha-256'],
  ])(`%s %s${why}`, async (kind, options, expected) => {
    const [cipher, ...more] = options.split(' ')
    const made = await encryptedByOpenssl([cipher!], ['-recip', `${kind}.pem`, ...more])
    expect(await opened(made, [people.of(kind)])).toBe(`${expected}\n${ENTITY.toString()}`)
  })

  test.skipIf(missing)(`to several: each opens his own${why}`, async () => {
    const to = ['rsa-2048', 'p-256', 'p-521'] as const
    const recipients = to.flatMap(kind => ['-recip', `${kind}.pem`])
    const made = await encryptedByOpenssl(['-aes256'], recipients)
    for (const kind of to) expect(await opened(made, [people.of(kind)])).toContain('Only for you')
    expect(await opened(made, [people.of('p-384')])).toBe('no-key')
  })

  test.skipIf(missing).each([
    ['B11 a password', ['-pwri_password', 'secret'], 'unreadable recipients-refused'],
    [
      'B11 a symmetric key',
      ['-secretkey', '00'.repeat(32), '-secretkeyid', '01'],
      'unreadable recipients-refused',
    ],
  ])(`%s is refused${why}`, async (_name, args, outcome) => {
    const made = await encryptedByOpenssl(['-aes256'], args)
    expect(await opened(made, [people.of('rsa-2048')])).toBe(outcome)
  })

  test.skipIf(missing)(`B13 RC2 and DES are refused${why}`, async () => {
    for (const cipher of ['-rc2-128', '-rc2-40', '-des']) {
      const legacy = ['-provider', 'legacy', '-provider', 'default']
      const made = await encryptedByOpenssl([cipher, ...legacy], ['-recip', 'rsa-2048.pem'])
      expect(await opened(made, [people.of('rsa-2048')])).toBe('unreadable algorithm-refused')
    }
  })
})

describe('GnuPG', () => {
  const { missing } = peer('gpgsm')
  const why = missing ? ` (skipped: ${missing})` : ''

  test.skipIf(missing)(`gpgsm: AES and triple DES, by RSA${why}`, async () => {
    const home = join(folder, 'gnupg')
    await mkdir(home, { mode: 0o700 })
    const env = { GNUPGHOME: home }
    const configuration = 'disable-crl-checks\ndisable-dirmngr\nbatch\nno-tty\n'
    await writeFile(join(home, 'gpgsm.conf'), configuration)
    const sha1 = createHash('sha1').update(people.root.der).digest('hex').toUpperCase()
    await writeFile(join(home, 'trustlist.txt'), `${sha1} S relax\n`)
    await run(
      'gpgsm',
      ['-q', '--import', join(folder, 'root.pem'), join(folder, 'rsa-2048.pem')],
      env,
    )
    try {
      for (const [algorithm, cipher] of [
        ['AES', 'aes-128-cbc'],
        ['AES192', 'aes-192-cbc'],
        ['AES256', 'aes-256-cbc'],
        ['3DES', 'des-ede3-cbc'],
      ] as const) {
        const out = join(folder, `gpgsm-${algorithm}`)
        const to = ['--cipher-algo', algorithm, '-r', people.of('rsa-2048').address]
        const said = await run(
          'gpgsm',
          ['--encrypt', ...to, '-o', out, join(folder, 'entity')],
          env,
        )
        expect(said.code, `${said.said}`).toBe(0)
        const outcome = await opened(await readFile(out), [people.of('rsa-2048')])
        expect(outcome).toBe(`${cipher} rsa-pkcs1\n${ENTITY.toString()}`)
      }
    } finally {
      await run('gpgconf', ['--kill', 'all'], env)
    }
  })
})

describe('NSS', () => {
  const { missing } = peer('nss')
  const why = missing ? ` (skipped: ${missing})` : ''

  test.skipIf(missing)(`cmsutil: by RSA${why}`, async () => {
    await mkdir(join(folder, 'nss'))
    const database = ['-d', `sql:${join(folder, 'nss')}`]
    await run('certutil', ['-N', ...database, '--empty-password'])
    const add = (nick: string, trust: string) =>
      run('certutil', [
        '-A',
        ...database,
        '-n',
        nick,
        '-t',
        trust,
        '-i',
        join(folder, `${nick}.pem`),
      ])
    await add('root', 'CT,C,C')
    await add('rsa-2048', ',P,')
    const out = join(folder, 'nss.der')
    const args = ['-E', ...database, '-r', 'rsa-2048', '-i', join(folder, 'entity'), '-o', out]
    const { code, said } = await run('cmsutil', args)
    expect(code, `${said}`).toBe(0)
    const outcome = await opened(await readFile(out), [people.of('rsa-2048')])
    expect(outcome).toMatch(/^(?:aes-\d+-cbc|des-ede3-cbc) rsa-pkcs1\n/)
    expect(outcome.endsWith(ENTITY.toString())).toBe(true)
  })
})

describe('Bouncy Castle', () => {
  const { missing } = peer('bouncy-castle')
  const why = missing ? ` (skipped: ${missing})` : ''
  const CELLS: readonly [RecipientKind, string, string, string][] = [
    ['rsa-2048', 'pkcs1', 'AES128_CBC', 'aes-128-cbc rsa-pkcs1'],
    ['rsa-2048', 'pkcs1', 'AES256_GCM', 'aes-256-gcm rsa-pkcs1'],
    ['rsa-2048', 'pkcs1', 'AES128_CCM', 'aes-128-ccm rsa-pkcs1'],
    ['p-256', 'ECDH_SHA256KDF', 'AES256_CCM', 'aes-256-ccm ecdh-sha-256'],
    ['rsa-2048', 'oaep', 'AES192_GCM', 'aes-192-gcm rsa-oaep-sha-1'],
    ['rsa-2048', 'oaep-SHA-256', 'AES256_CBC', 'aes-256-cbc rsa-oaep-sha-256'],
    ['rsa-2048', 'oaep-SHA-512', 'AES256_GCM', 'aes-256-gcm rsa-oaep-sha-512'],
    ['p-256', 'ECDH_SHA1KDF', 'AES128_CBC', 'aes-128-cbc ecdh-sha-1'],
    ['p-256', 'ECDH_SHA256KDF+ukm', 'AES256_CBC', 'aes-256-cbc ecdh-sha-256'],
    ['p-384', 'ECCDH_SHA384KDF', 'AES256_CBC', 'aes-256-cbc ecdh-sha-384'],
    ['p-521', 'ECDH_SHA512KDF+ukm', 'AES192_CBC', 'aes-192-cbc ecdh-sha-512'],
    ['brainpool-p384r1', 'ECDH_SHA384KDF', 'AES256_CBC', 'aes-256-cbc ecdh-sha-384'],
    ['rsa-2048', 'pkcs1', 'DES_EDE3_CBC', 'des-ede3-cbc rsa-pkcs1'],
    ['rsa-2048', 'pkcs1', 'RC2_CBC', 'unreadable algorithm-refused'],
    ['rsa-2048', 'compress', '-', 'compressed'],
  ]

  test.skipIf(missing)(
    `RSA and curves, with and without keying material, and zlib${why}`,
    async () => {
      const lines = CELLS.map(([kind, way, cipher], index) =>
        [join(folder, 'entity'), join(folder, `${kind}.crt`), way, cipher, outOf(index)].join(' '),
      )
      await writeFile(join(folder, 'list'), lines.join('\n'))
      const jars = ['bcpkix', 'bcprov', 'bcutil'].map(name => `/usr/share/java/${name}.jar`)
      const source = resolve(import.meta.dirname, '../../support/BouncyCastleEnvelop.java')
      const options = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', jars.join(':')]
      const { said } = await run('java', [...options, source, join(folder, 'list')])
      expect(said.split('\n')).toEqual(CELLS.map(() => 'good'))
      for (const [index, [kind, way, , expected]] of CELLS.entries()) {
        const octets = await readFile(outOf(index))
        const outcome =
          way === 'compress' ? await inflated(octets) : await opened(octets, [people.of(kind)])
        const content = expected.startsWith('unreadable') ? '' : `\n${ENTITY.toString()}`
        expect(outcome).toBe(`${expected}${content}`)
      }
    },
  )

  const outOf = (index: number) => join(folder, `bc-${index}`)
})

describe('messages of others', () => {
  const absent = existsSync(join(CORPORA, 'INDEX.json')) ? undefined : `skipped: no ${CORPORA}`
  const why = absent ? ` (${absent})` : ''

  test.skipIf(absent).each([
    ['rfc4134/5.1.bin', 'des-ede3-cbc rsa-pkcs1\nThis is some sample content.'],
    ['rfc4134/5.2.bin', 'unreadable algorithm-refused'],
    ['rfc4134/5.3.eml', 'des-ede3-cbc rsa-pkcs1\nThis is some sample content.'],
    ['rfc4134/4.2.bin', 'unreadable not-enveloped'],
    ['rfc4134/7.1.bin', 'unreadable not-enveloped'],
    ['rfc4134/7.2.bin', 'unreadable not-enveloped'],
  ])(`%s: %s${why}`, async (file, outcome) => {
    const keys = [
      keyOf('rfc4134/BobRSASignByCarl.cer', 'rfc4134/BobPrivRSAEncrypt.pri'),
      keyOf('rfc4134/DianeRSASignByCarl.cer', 'rfc4134/DianePrivRSASignEncrypt.pri'),
    ]
    const text = await opened(cmsOf(file), keys)
    expect(text.replace(/\r\n\r\n.*? content/, ' content')).toContain(outcome)
  })

  test.skipIf(absent)(`all that Thunderbird’s tests encrypt${why}`, async () => {
    const index = JSON.parse(readFileSync(join(CORPORA, 'INDEX.json'), 'utf8')) as {
      cases: readonly { file?: string }[]
    }
    const files = index.cases.flatMap(({ file }) => (file?.endsWith('.env.eml') ? [file] : []))
    expect(files.length).toBeGreaterThan(10)
    const keys = ['Bob', 'Dave', 'Eve'].map(name =>
      keyOf(`thunderbird/keys/${name}.crt`, `thunderbird/keys/${name}.key`),
    )
    for (const file of files) {
      const text = await opened(cmsOf(file), keys)
      expect(text, `${file}`).toMatch(/^\S+-cbc rsa-pkcs1\nContent-Type: /i)
    }
  })
})

function peer(name: 'openssl' | 'gpgsm' | 'nss' | 'bouncy-castle') {
  return peers.find(one => one.name === name)!
}

async function encryptedByOpenssl(
  cipher: readonly string[],
  recipients: readonly string[],
): Promise<Buffer> {
  const out = join(folder, 'openssl.der')
  const files = recipients.map(word => (word.endsWith('.pem') ? join(folder, word) : word))
  const input = ['-in', join(folder, 'entity'), '-outform', 'DER', '-out', out]
  const args = ['cms', '-encrypt', '-binary', ...cipher, ...input, ...files]
  const { code, said } = await run('openssl', args)
  if (code !== 0) throw new Error(said)
  return await readFile(out)
}

/** What was opened: how, and its text; or why it was not. */
async function opened(
  octets: Buffer,
  keys: readonly (Recipient | KeyUnwrapper)[],
): Promise<string> {
  const unwrappers = keys.map(key =>
    'unwrap' in key ? key : unwrapperFor(key.certificate, key.privateKey),
  )
  const hold = () => new ContentWriter(STORE)
  const opening = await openEnveloped(() => each(octets), unwrappers, { hold, tripleDes: true })
  if (opening.kind === 'unreadable') return `unreadable ${opening.reason}`
  if (opening.kind !== 'opened') return opening.kind
  return `${opening.cipher} ${opening.management}\n${await textOf(opening.content)}`
}

async function inflated(octets: Buffer): Promise<string> {
  const hold = () => new ContentWriter(STORE)
  const inflation = await inflate(() => each(octets), hold, { sizeOctets: 1_000_000 })
  if (inflation.kind !== 'inflated') return inflation.kind
  return `compressed\n${await textOf(inflation.content)}`
}

async function textOf(content: Content): Promise<string> {
  const gathered: Buffer[] = []
  for await (const chunk of content.read()) gathered.push(chunk)
  content.dispose()
  return Buffer.concat(gathered).toString('latin1')
}

function keyOf(certificateFile: string, keyFile: string): KeyUnwrapper {
  const [certificate, key] = [certificateFile, keyFile].map(file =>
    readFileSync(join(CORPORA, file)),
  )
  const privateKey = key!.includes('-----')
    ? createPrivateKey(key!)
    : createPrivateKey({ key: key!, format: 'der', type: 'pkcs8' })
  return unwrapperFor(parseCertificate(derOf(certificate!)), privateKey)
}

function derOf(octets: Buffer): Buffer {
  const text = octets.toString('latin1')
  const [, base64] = /-----BEGIN CERTIFICATE-----([^-]*)-----/.exec(text) ?? []
  return base64 === undefined ? octets : Buffer.from(base64, 'base64')
}

/** The CMS octets of a file: as they stand, or the base64 body of a message. */
function cmsOf(file: string): Buffer {
  const octets = readFileSync(join(CORPORA, file))
  if (!file.endsWith('.eml')) return octets
  const [, ...body] = octets.toString('latin1').split(/\r?\n\r?\n/)
  return Buffer.from(body.join(''), 'base64')
}

async function* each(octets: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (let start = 0; start < octets.length; start += 500) {
    await setImmediate()
    yield octets.subarray(start, start + 500)
  }
}
