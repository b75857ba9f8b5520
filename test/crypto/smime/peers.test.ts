/**
 * What we sign, judged by those who will read it: OpenSSL, GnuPG, NSS and Bouncy Castle.
 *
 * Debian 12's openssl, gpgsm and NSS cannot Ed25519, its gpgsm not P-521: those pairs are left out.
 * Bouncy Castle, slow to start, is asked for what nobody else can.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SignatureWish } from '../../../src/crypto/algorithms.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import type { Certificate } from '../../../src/crypto/x509/certificate.ts'
import { cut, each, gather } from '../../support/chunks.ts'
import { type KeyKind, makePki } from '../make-certificate.ts'

interface Case {
  readonly kind: KeyKind
  readonly wish: SignatureWish
  readonly peers: readonly Peer[]
}

type Peer = 'openssl' | 'gpgsm' | 'nss' | 'bouncy castle'

const ALL: readonly Peer[] = ['openssl', 'gpgsm', 'nss']
const CASES: readonly Case[] = [
  { kind: 'RSA', wish: {}, peers: ALL },
  { kind: 'RSA', wish: { pss: true, digest: 'sha-512' }, peers: ALL },
  { kind: 'P-256', wish: {}, peers: ALL },
  { kind: 'P-384', wish: {}, peers: ALL },
  { kind: 'P-521', wish: {}, peers: ['openssl', 'nss'] },
  { kind: 'Ed25519', wish: {}, peers: ['bouncy castle'] },
]
const INTEROP = process.env['POSTERN_INTEROP'] ?? resolve('../shared/interop')
const JARS = ['bcmail', 'bcpkix', 'bcprov', 'bcutil', 'javax.mail', 'javax.activation'].map(
  jar => `/usr/share/java/${jar}.jar`,
)
const MISSING: Record<Peer, string | undefined> = {
  openssl: missing('openssl', 'version'),
  gpgsm: missing('gpgsm', '--version') ?? missing('gpgconf', '--version'),
  nss: missing('certutil', '-H') ?? missing('cmsutil', '-H'),
  'bouncy castle': missingBouncyCastle(),
}
const MIME_VERSION = Buffer.from('MIME-Version: 1.0\r\n')
const ENTITY = Buffer.from(
  `Content-Type: text/plain\r\n\r\n.\r\nFrom here to there \r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(900)}`,
)

let folder: string
let authority: Certificate

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-peers-'))
})

afterAll(() => {
  if (!MISSING.gpgsm) spawnSync('gpgconf', ['--kill', 'all'], { env: gnupg() })
  rmSync(folder, { recursive: true, force: true })
})

describe.each(CASES)('$kind, wish $wish', ({ kind, wish, peers }) => {
  const files = { clear: '', opaque: '', signature: '', inside: '', entity: '' }

  beforeAll(async () => {
    const pki = await pkiOnce()
    const signer = await pki.signer('alice', kind, wish)
    const name = (ending: string) => join(folder, `${signer.certificate.fingerprint}.${ending}`)
    const options = { signingTime: new Date() }
    const clear = await gather(
      clearSign(each(cut(ENTITY, 20_000)), signer, { ...options, boundary: 'b-b' }),
    )
    const opaque = await gather(opaqueSign(each(cut(ENTITY, 20_000)), signer, options))
    const write = (ending: string, octets: Buffer) => {
      writeFileSync(name(ending), octets)
      return name(ending)
    }
    files.clear = write('clear.eml', Buffer.concat([MIME_VERSION, clear]))
    files.opaque = write('opaque.eml', Buffer.concat([MIME_VERSION, opaque]))
    files.signature = write('p7s', bodyOf(clear.subarray(clear.lastIndexOf('\r\n--b-b\r\n'))))
    files.inside = write('p7m', bodyOf(opaque))
    files.entity = write('entity', ENTITY)
  })

  for (const peer of peers) {
    const reason = MISSING[peer]
    test.skipIf(reason)(`${peer} accepts both forms${reason ? `: ${reason}` : ''}`, () => {
      expect(PEERS[peer](files)).toEqual({ clear: 'good', opaque: 'good' })
    })

    test.skipIf(reason)(
      `${peer} refuses both forms once altered${reason ? `: ${reason}` : ''}`,
      () => {
        const { clear, opaque } = PEERS[peer](alteredCopies(files))
        expect(clear).not.toBe('good')
        expect(opaque).not.toBe('good')
      },
    )
  }
})

type Files = Readonly<Record<'clear' | 'opaque' | 'signature' | 'inside' | 'entity', string>>
type Verdicts = Readonly<Record<'clear' | 'opaque', string>>

const PEERS: Record<Peer, (files: Files) => Verdicts> = {
  openssl({ clear, opaque }) {
    const verify = (file: string) => {
      const out = `${file}.out`
      const arguments_ = ['cms', '-verify', '-in', file, '-CAfile', authorityFile(), '-out', out]
      const said = run('openssl', arguments_)
      return said.status === 0 && readFileSync(out).equals(ENTITY) ? 'good' : said.words
    }
    return { clear: verify(clear), opaque: verify(opaque) }
  },

  gpgsm({ signature, inside, entity }) {
    const home = gnupg()
    const verify = (...arguments_: string[]) => {
      const said = run('gpgsm', ['-q', '--batch', '--status-fd', '1', ...arguments_], home)
      return /GOODSIG[\s\S]*TRUST_(FULLY|ULTIMATE)/.test(said.words) ? 'good' : said.words
    }
    const out = `${inside}.out`
    const opaque = verify('--yes', '-o', out, '--verify', inside)
    const same = existsSync(out) && readFileSync(out).equals(ENTITY)
    return {
      clear: verify('--verify', signature, entity),
      opaque: same ? opaque : `other content: ${opaque}`,
    }
  },

  nss({ signature, inside, entity }) {
    const database = nss()
    const verify = (...more: string[]) => {
      const arguments_ = ['-D', '-d', database, '-u', '4', '-h', '0', ...more]
      const said = run('cmsutil', arguments_)
      return /status=GoodSignature/.test(said.words) ? 'good' : said.words
    }
    return { clear: verify('-i', signature, '-c', entity), opaque: verify('-i', inside) }
  },

  'bouncy castle'({ clear, opaque }) {
    const verify = (file: string) => {
      const classes = [bouncyCastle(), ...JARS].join(':')
      const options = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', classes, 'BcPeer']
      const out = `${file}.out`
      const peer = ['verify', '-ca', authorityFile(), '-in', file, '-out', out]
      const said = run('java', [...options, ...peer])
      return said.status === 0 && readFileSync(out).equals(ENTITY) ? 'good' : said.words
    }
    return { clear: verify(clear), opaque: verify(opaque) }
  },
}

/** The same files, each with one octet of the content changed. */
function alteredCopies(files: Files): Files {
  const altered = (file: string, from: string, to: string) => {
    const octets = readFileSync(file)
    const at = octets.indexOf(from)
    expect(at).toBeGreaterThan(0)
    octets.write(to, at, 'latin1')
    writeFileSync(`${file}.altered`, octets)
    return `${file}.altered`
  }
  return {
    clear: altered(files.clear, 'From here', 'From hell'),
    opaque: altered(files.opaque, 'eHh4eHh4', 'eHh5eHh4'),
    signature: files.signature,
    inside: altered(files.inside, 'From here', 'From hell'),
    entity: altered(files.entity, 'From here', 'From hell'),
  }
}

const pkiOnce = once(async () => {
  const pki = await makePki()
  authority = pki.authority
  return pki
})

const authorityFile = once(() => {
  const file = join(folder, 'authority.pem')
  writeFileSync(file, authority.x509.toString())
  return file
})

const gnupg = once(() => {
  const home = join(folder, 'gnupg')
  mkdirSync(home, { mode: 0o700 })
  const environment = { ...process.env, GNUPGHOME: home, LC_ALL: 'C' }
  writeFileSync(join(home, 'gpgsm.conf'), 'disable-crl-checks\ndisable-dirmngr\n')
  const fingerprint = authority.x509.fingerprint
  writeFileSync(join(home, 'trustlist.txt'), `${fingerprint} S relax\n`)
  run('gpgsm', ['-q', '--batch', '--import', authorityFile()], environment)
  return environment
})

const nss = once(() => {
  const path = join(folder, 'nss')
  mkdirSync(path)
  const database = `sql:${path}`
  execFileSync('certutil', ['-N', '-d', database, '--empty-password'])
  const trust = ['-A', '-d', database, '-n', 'authority', '-t', 'CT,C,C', '-i', authorityFile()]
  execFileSync('certutil', trust)
  return database
})

const bouncyCastle = once(() => {
  const classes = join(folder, 'classes')
  const source = join(INTEROP, 'BcPeer.java')
  execFileSync('javac', ['-nowarn', '-cp', JARS.join(':'), '-d', classes, source], {
    stdio: 'pipe',
  })
  return classes
})

function run(program: string, arguments_: readonly string[], environment = process.env) {
  const options = { env: environment, encoding: 'latin1', timeout: 30_000 } as const
  const { status, stdout, stderr } = spawnSync(program, arguments_, options)
  return { status, words: `${stdout}${stderr}` }
}

function missing(program: string, option: string): string | undefined {
  const absent = spawnSync(program, [option], { stdio: 'ignore' }).error !== undefined
  return absent ? `skipped: no ${program} in PATH` : undefined
}

function missingBouncyCastle(): string | undefined {
  const absent = [...JARS, join(INTEROP, 'BcPeer.java')].find(file => !existsSync(file))
  return missing('javac', '-version') ?? (absent && `skipped: no ${absent}`)
}

function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function bodyOf(entity: Buffer): Buffer {
  const text = entity.toString('latin1')
  return Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4).split('--')[0]!, 'base64')
}
