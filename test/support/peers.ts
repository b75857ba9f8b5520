/**
 * Other people's S/MIME, asked for their opinion of what left us: OpenSSL, GnuPG's gpgsm, NSS and
 * Bouncy Castle. Each is the real program; a missing one says so, and is never played.
 *
 *     messages ── unpack ──▶ exhibits ── peer.verify ──▶ verdicts
 *
 * OpenSSL and Bouncy Castle read the mail themselves. gpgsm and NSS know CMS alone: for them the mail
 * is taken apart here, by code that shares nothing with Postern's.
 *
 * @module
 */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A signed message, in files as programs want them. */
export interface Exhibit {
  readonly id: string
  /** The whole message. */
  readonly message: string
  /** DER of the ContentInfo. */
  readonly signature: string
  /** The signed octets of a clear-signed message; undefined for an opaque one. */
  readonly content: string | undefined
  /** Where a peer leaves what it holds for signed. */
  output(this: void, peer: string): string
}

/** `good`, or what the peer has against it. */
export type Verdicts = ReadonlyMap<string, string>

export interface Peer {
  readonly name: 'openssl' | 'gpgsm' | 'nss' | 'bouncy-castle'
  /** Why it cannot be asked, if so. */
  readonly missing: string | undefined
  /** @param rootFile PEM of the only trust anchor. */
  verify(exhibits: readonly Exhibit[], rootFile: string, folder: string): Promise<Verdicts>
}

/** Writes messages, and what they consist of, into files below a folder. */
export async function unpack(
  messages: ReadonlyMap<string, Buffer>,
  folder: string,
): Promise<readonly Exhibit[]> {
  await mkdir(folder, { recursive: true })
  const exhibits: Exhibit[] = []
  for (const [id, octets] of messages) {
    const base = join(folder, String(exhibits.length))
    const { signature, content } = takeApart(octets)
    await writeFile(`${base}.eml`, octets)
    await writeFile(`${base}.der`, signature)
    if (content) await writeFile(`${base}.content`, content)
    exhibits.push({
      id,
      message: `${base}.eml`,
      signature: `${base}.der`,
      content: content && `${base}.content`,
      output: peer => `${base}.${peer}`,
    })
  }
  return exhibits
}

/** A signed message as its signature and, where it is clear-signed, the octets that are signed. */
export function takeApart(message: Buffer): { signature: Buffer; content: Buffer | undefined } {
  const bodyAt = message.indexOf('\r\n\r\n') + 4
  const header = message.toString('latin1', 0, bodyAt).replace(/\r\n[ \t]+/g, ' ')
  const type = /^content-type:\s*([^;\s]+)/im.exec(header)?.[1]?.toLowerCase()
  if (type === 'application/pkcs7-mime')
    return { signature: decoded(message, bodyAt, message.length), content: undefined }
  if (type !== 'multipart/signed') throw new Error(`${type ?? 'nothing'} is no signed message`)
  const boundary = /^content-type:[^\r]*boundary="([^"]+)"/im.exec(header)![1]!
  const first = message.indexOf(`--${boundary}\r\n`, bodyAt) + boundary.length + 4
  const second = message.indexOf(`\r\n--${boundary}\r\n`, first)
  const signatureAt = message.indexOf('\r\n\r\n', second + boundary.length + 6) + 4
  const end = message.indexOf(`\r\n--${boundary}--`, signatureAt)
  return {
    signature: decoded(message, signatureAt, end),
    content: message.subarray(first, second),
  }
}

const decoded = (message: Buffer, start: number, end: number): Buffer =>
  Buffer.from(message.toString('latin1', start, end), 'base64')

const openssl: Peer = {
  name: 'openssl',
  missing: missing('openssl', 'version'),
  async verify(exhibits, rootFile) {
    return byTwos(exhibits, async ({ message, output }) => {
      const args = [
        'cms',
        '-verify',
        '-in',
        message,
        '-CAfile',
        rootFile,
        '-out',
        output('openssl'),
      ]
      const { code, said } = await run('openssl', args)
      return code === 0 ? 'good' : said
    })
  },
}

/** A key ring of its own, with the root as its only trust; revocation is nobody's to ask here. */
const gpgsm: Peer = {
  name: 'gpgsm',
  missing: missing('gpgsm', '--version') ?? missing('gpg-agent', '--version'),
  async verify(exhibits, rootFile, folder) {
    const home = join(folder, 'gnupg')
    await mkdir(home, { mode: 0o700 })
    const env = { GNUPGHOME: home }
    await writeFile(
      join(home, 'gpgsm.conf'),
      'disable-crl-checks\ndisable-dirmngr\nbatch\nno-tty\nno-secmem-warning\n',
    )
    const print = await run('openssl', ['x509', '-in', rootFile, '-noout', '-fingerprint', '-sha1'])
    await appendFile(join(home, 'trustlist.txt'), `${print.said.split('=')[1]!.trim()} S relax\n`)
    await run('gpgsm', ['-q', '--import', rootFile], env)
    const verdicts = new Map<string, string>()
    for (const { id, signature, content, output } of exhibits) {
      const out = content ? [] : ['-o', output('gpgsm')]
      const what = content ? [signature, content] : [signature]
      const args = ['-q', '--status-fd', '1', ...out, '--verify', ...what]
      const { code, said } = await run('gpgsm', args, env)
      const good = code === 0 && /GOODSIG/.test(said) && /TRUST_FULLY|TRUST_ULTIMATE/.test(said)
      verdicts.set(id, good ? 'good' : said)
    }
    await run('gpgconf', ['--kill', 'all'], env)
    return verdicts
  },
}

/** Thunderbird's library, with a database of its own. */
const nss: Peer = {
  name: 'nss',
  missing: missing('cmsutil', '-H') ?? missing('certutil', '-H'),
  async verify(exhibits, rootFile, folder) {
    const database = `sql:${join(folder, 'nss')}`
    await mkdir(join(folder, 'nss'))
    await run('certutil', ['-N', '-d', database, '--empty-password'])
    await run('certutil', ['-A', '-d', database, '-n', 'root', '-t', 'CT,C,C', '-i', rootFile])
    return byTwos(exhibits, async ({ signature, content, output }) => {
      const base = ['-D', '-d', database, '-i', signature, '-u', '4']
      const detached = content ? ['-c', content] : []
      // With -h the signers are told, without it the content.
      const { said } = await run('cmsutil', [...base, ...detached, '-h', '0'])
      const states = [...said.matchAll(/status=(\w+)/g)].map(match => match[1]!)
      const good = states.length > 0 && states.every(state => state === 'GoodSignature')
      if (!content) await run('cmsutil', [...base, '-o', output('nss')])
      return good ? 'good' : said
    })
  },
}

const bouncyCastle: Peer = {
  name: 'bouncy-castle',
  missing:
    missing('javac', '-version') ??
    ['bcmail', 'bcpkix', 'bcprov', 'bcutil', 'javax.mail', 'javax.activation']
      .filter(name => !existsSync(jar(name)))
      .map(name => `no ${jar(name)}`)[0],
  async verify(exhibits, rootFile, folder) {
    const list = join(folder, 'bouncy-castle.txt')
    const lines = exhibits.map(({ message, output }) => `${message} ${output('bouncy-castle')}\n`)
    await writeFile(list, lines.join(''))
    const jars = ['bcmail', 'bcpkix', 'bcprov', 'bcutil', 'javax.mail', 'javax.activation'].map(jar)
    const source = join(import.meta.dirname, 'BouncyCastleVerify.java')
    const options = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xmx1g']
    const args = [...options, '-cp', jars.join(':'), source, rootFile, list]
    const { said } = await run('java', args)
    const said2 = said.split('\n')
    return new Map(exhibits.map(({ id }, index) => [id, said2[index] ?? 'nothing was said']))
  },
}

export const peers: readonly Peer[] = [openssl, gpgsm, nss, bouncyCastle]

/** What a peer holds for the signed content, where it gives it back. */
export async function contentOf(exhibit: Exhibit, peer: Peer['name']): Promise<Buffer> {
  return readFile(exhibit.output(peer))
}

function jar(name: string): string {
  return `/usr/share/java/${name}.jar`
}

function missing(command: string, argument: string): string | undefined {
  try {
    execFileSync(command, [argument], { stdio: 'ignore' })
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? `no ${command} in PATH` : undefined
  }
}

/** Two at a time, so that a small machine is neither idle nor drowned. */
async function byTwos(
  exhibits: readonly Exhibit[],
  verdictOf: (exhibit: Exhibit) => Promise<string>,
): Promise<Verdicts> {
  const verdicts = new Map<string, string>()
  const left = exhibits.values()
  const worker = async (): Promise<void> => {
    for (const exhibit of left) verdicts.set(exhibit.id, await verdictOf(exhibit))
  }
  await Promise.all([worker(), worker()])
  return verdicts
}

/** Runs a program; what it said is both of its outputs. */
export function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; said: string }> {
  const options = {
    timeout: 120_000,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, LC_ALL: 'C', ...env },
  }
  return new Promise(resolve => {
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      const said = `${stdout}${stderr}`.trim()
      resolve({ code: child.exitCode ?? 1, said: said || (error?.message ?? '') })
    })
  })
}
