/**
 * Other people's S/MIME, asked to open what Postern has encrypted: OpenSSL, GnuPG's gpgsm, NSS and
 * Bouncy Castle. Each is the real program with a key store of its own.
 *
 *     envelopes ── seal ──▶ files ── peer.open ──▶ good, or what the peer said
 *
 * OpenSSL and Bouncy Castle read the mail themselves; for gpgsm and NSS, which know CMS alone, the
 * base64 is taken off here.
 *
 * @module
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { certificatePem } from '../../src/crypto/x509/issue.ts'
import { bodyOf } from './open-envelope.ts'
import { peers, run } from './peers.ts'
import type { Recipient, Recipients } from './recipients.ts'

/** An encrypted message, and who is to open it. */
export interface Envelope {
  readonly id: string
  readonly message: Buffer
  readonly recipient: Recipient
}

/** By id of the envelope: the content octets, or what the peer has said instead. */
export type Openings = ReadonlyMap<string, Buffer | string>

export interface OpeningPeer {
  readonly name: 'openssl' | 'gpgsm' | 'nss' | 'bouncy-castle'
  /** Why it cannot be asked, if so. */
  readonly missing: string | undefined
  /** What the program says of itself. */
  version(): Promise<string>
  /** @param folder Its own, made here. */
  open(envelopes: readonly Envelope[], recipients: Recipients, folder: string): Promise<Openings>
}

const openssl: OpeningPeer = {
  name: 'openssl',
  missing: missing('openssl'),
  version: async () => (await run('openssl', ['version'])).said.split(' ').slice(0, 2).join(' '),
  async open(envelopes, _recipients, folder) {
    await writeKeys(envelopes, folder)
    return await each(envelopes, folder, async ({ recipient }, file) => {
      const { certificate, key } = filesOf(recipient, folder)
      const input = ['-in', `${file}.eml`, '-recip', certificate, '-inkey', key]
      const out = ['-out', `${file}.content`]
      return (await run('openssl', ['cms', '-decrypt', ...input, ...out])).said
    })
  },
}

const gpgsm: OpeningPeer = {
  name: 'gpgsm',
  missing: missing('gpgsm'),
  version: async () => (await run('gpgsm', ['--version'])).said.split('\n')[0]!,
  async open(envelopes, { root }, folder) {
    const home = join(folder, 'gnupg')
    await writeKeys(envelopes, folder)
    await mkdir(home, { mode: 0o700 })
    const env = { GNUPGHOME: home }
    const configuration = 'disable-crl-checks\ndisable-dirmngr\nbatch\nno-tty\nno-secmem-warning\n'
    await writeFile(join(home, 'gpgsm.conf'), configuration)
    await writeFile(join(folder, 'root.pem'), certificatePem(root.der))
    await run('gpgsm', ['-q', '--import', join(folder, 'root.pem')], env)
    await writeFile(join(folder, 'password'), `${PASSWORD}\n`)
    // The password comes by the standard input.
    const shell = ['-c', 'exec gpgsm "$@" <"$0"', join(folder, 'password')]
    const loopback = ['-q', '--yes', '--pinentry-mode', 'loopback', '--passphrase-fd', '0']
    const asked = (...args: string[]) => run('sh', [...shell, ...loopback, ...args], env)
    const keys = new Map<string, string>()
    for (const recipient of recipientsOf(envelopes)) {
      const file = await bundleOf(recipient, folder)
      const { code, said } = await asked('--import', file)
      if (code !== 0) keys.set(recipient.address, `does not import the key: ${said}`)
    }
    const openings = await each(envelopes, folder, async ({ recipient }, file) => {
      const noKey = keys.get(recipient.address)
      if (noKey !== undefined) return noKey
      return (await asked('-o', `${file}.content`, '--decrypt', `${file}.der`)).said
    })
    await run('gpgconf', ['--kill', 'all'], env)
    return openings
  },
}

const nss: OpeningPeer = {
  name: 'nss',
  missing: missing('nss'),
  version: async () => `NSS cmsutil ${await packageVersion('libnss3-tools')}`,
  async open(envelopes, { root }, folder) {
    await writeKeys(envelopes, folder)
    await mkdir(join(folder, 'nss'))
    const database = `sql:${join(folder, 'nss')}`
    await writeFile(join(folder, 'root.pem'), certificatePem(root.der))
    await run('certutil', ['-N', '-d', database, '--empty-password'])
    const trust = ['-n', 'root', '-t', 'CT,C,C', '-i', join(folder, 'root.pem')]
    await run('certutil', ['-A', '-d', database, ...trust])
    const keys = new Map<string, string>()
    for (const recipient of recipientsOf(envelopes)) {
      const file = await bundleOf(recipient, folder)
      const { code, said } = await run('pk12util', ['-i', file, '-d', database, '-W', PASSWORD])
      if (code !== 0) keys.set(recipient.address, `does not import the key: ${said}`)
    }
    return await each(envelopes, folder, async ({ recipient }, file) => {
      const noKey = keys.get(recipient.address)
      if (noKey !== undefined) return noKey
      const args = ['-D', '-d', database, '-i', `${file}.der`, '-o', `${file}.content`]
      return (await run('cmsutil', args)).said
    })
  },
}

const bouncyCastle: OpeningPeer = {
  name: 'bouncy-castle',
  missing: missing('bouncy-castle'),
  version: async () => `Bouncy Castle ${await packageVersion('libbcmail-java')}`,
  async open(envelopes, _recipients, folder) {
    await writeKeys(envelopes, folder)
    const lines: string[] = []
    for (const [index, { message, recipient }] of envelopes.entries()) {
      const file = join(folder, String(index))
      const { certificateDer, keyDer } = filesOf(recipient, folder)
      await writeFile(`${file}.eml`, message)
      lines.push(`${file}.eml ${certificateDer} ${keyDer} ${file}.content\n`)
    }
    await writeFile(join(folder, 'list'), lines.join(''))
    const jars = ['bcmail', 'bcpkix', 'bcprov', 'bcutil', 'javax.mail', 'javax.activation'].map(jar)
    const source = join(import.meta.dirname, 'BouncyCastleOpen.java')
    const options = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xmx1g']
    const args = [...options, '-cp', jars.join(':'), source, join(folder, 'list')]
    const said = (await run('java', args)).said.split('\n')
    return new Map(
      await Promise.all(
        envelopes.map(async ({ id }, index) => {
          const content = await readIfThere(join(folder, `${index}.content`))
          return [id, content ?? said[index] ?? 'nothing was said'] as const
        }),
      ),
    )
  },
}

export const openingPeers: readonly OpeningPeer[] = [openssl, gpgsm, nss, bouncyCastle]

/** Asks for each envelope in turn, two at a time. */
async function each(
  envelopes: readonly Envelope[],
  folder: string,
  ask: (envelope: Envelope, file: string) => Promise<string>,
): Promise<Openings> {
  const openings = new Map<string, Buffer | string>()
  const left = envelopes.entries()
  const worker = async (): Promise<void> => {
    for (const [index, envelope] of left) {
      const file = join(folder, String(index))
      await writeFile(`${file}.eml`, envelope.message)
      await writeFile(`${file}.der`, bodyOf(envelope.message))
      const said = await ask(envelope, file)
      openings.set(envelope.id, (await readIfThere(`${file}.content`)) ?? said)
    }
  }
  await Promise.all([worker(), worker()])
  return openings
}

/** What a program has written; an empty file is as good as none. */
async function readIfThere(file: string): Promise<Buffer | undefined> {
  const octets = await readFile(file).catch(() => undefined)
  return octets !== undefined && octets.length > 0 ? octets : undefined
}

interface KeyFiles {
  readonly certificate: string
  readonly key: string
  readonly certificateDer: string
  readonly keyDer: string
}

/** Certificates and keys of all recipients, in every form that a peer may want. */
async function writeKeys(envelopes: readonly Envelope[], folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const recipient of recipientsOf(envelopes)) {
    const { der, privateKey } = recipient
    const { certificate, key, certificateDer, keyDer } = filesOf(recipient, folder)
    await writeFile(certificate, certificatePem(der))
    await writeFile(key, privateKey.export({ format: 'pem', type: 'pkcs8' }))
    await writeFile(certificateDer, der)
    await writeFile(keyDer, privateKey.export({ format: 'der', type: 'pkcs8' }))
  }
}

function filesOf({ kind }: Recipient, folder: string): KeyFiles {
  const base = join(folder, kind)
  return {
    certificate: `${base}.pem`,
    key: `${base}.key`,
    certificateDer: `${base}.crt`,
    keyDer: `${base}.pk8`,
  }
}

/** Programs that do not tell their version: Debian does. */
async function packageVersion(name: string): Promise<string> {
  const { said } = await run('dpkg-query', ['-s', name])
  return /^Version: (?:\d+:)?([\d.]+)/m.exec(said)?.[1] ?? 'of unknown version'
}

/** PKCS #12 in the one form that an old gpgsm reads. */
async function bundleOf(recipient: Recipient, folder: string): Promise<string> {
  const { certificate, key } = filesOf(recipient, folder)
  const file = join(folder, `${recipient.kind}.p12`)
  const old = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1']
  const input = ['-in', certificate, '-inkey', key, '-passout', `pass:${PASSWORD}`]
  const { code, said } = await run('openssl', ['pkcs12', '-export', ...old, ...input, '-out', file])
  if (code !== 0) throw new Error(said)
  return file
}

function recipientsOf(envelopes: readonly Envelope[]): readonly Recipient[] {
  return [...new Map(envelopes.map(({ recipient }) => [recipient.address, recipient])).values()]
}

function missing(name: OpeningPeer['name']): string | undefined {
  return peers.find(peer => peer.name === name)!.missing
}

function jar(name: string): string {
  return `/usr/share/java/${name}.jar`
}

const PASSWORD = 'test'
