/**
 * A real LDAP server of its own for a test: OpenLDAP's slapd in a temporary folder.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './ports.ts'

/** Why there is none, if so. */
export const slapd: { readonly missing: string | undefined } = {
  missing:
    existsSync('/usr/sbin/slapd') && existsSync('/etc/ldap/schema/inetorgperson.schema')
      ? undefined
      : 'no slapd on this machine',
}

/** One person of a directory. */
export interface DirectoryEntry {
  readonly mail: readonly string[]
  /** As in Active Directory: `SMTP:first@…`, `smtp:other@…`. */
  readonly proxyAddresses?: readonly string[]
  readonly userCertificate?: readonly Buffer[]
  readonly userSMIMECertificate?: readonly Buffer[]
}

export interface DirectoryOptions {
  /** PEM texts; with them the server speaks StartTLS and `ldaps:`. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string }
  /** Anonymous clients may not read. */
  readonly bindOnly?: boolean
  /** What clear connections may not do. */
  readonly requireTls?: boolean
  /** Entries of an answer at most, whatever a client asks for. */
  readonly sizeLimit?: number
  /** URLs that the directory refers to, each for a part of its own. */
  readonly references?: readonly string[]
}

/** A directory that runs. */
export interface Directory {
  readonly url: string
  readonly secureUrl: string
  readonly base: string
  readonly user: string
  readonly password: string
  /** Freezes the server: it accepts, and says nothing. */
  pause(): void
  resume(): void
  stop(): Promise<void>
  start(): Promise<void>
  remove(): Promise<void>
}

/** Fills a directory with slapadd, and starts it on ports of its own. */
export async function startDirectory(
  entries: Iterable<DirectoryEntry>,
  options: DirectoryOptions = {},
): Promise<Directory> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-slapd-'))
  await mkdir(join(folder, 'db'))
  const config = join(folder, 'slapd.conf')
  await writeFile(config, configuration(folder, options))
  if (options.tls)
    for (const [name, pem] of Object.entries(options.tls))
      await writeFile(join(folder, `${name}.pem`), pem)
  await writeFile(join(folder, 'entries.ldif'), ldif(entries, options.references))
  execFileSync(SLAPD, ['-Ta', '-q', '-f', config, '-l', join(folder, 'entries.ldif')])

  const [port, securePort] = [await freePort(), await freePort()]
  const url = `ldap://127.0.0.1:${port}`
  const secureUrl = `ldaps://127.0.0.1:${securePort}`
  let child: ChildProcess | undefined
  const start = async () => {
    const urls = options.tls ? `${url} ${secureUrl}` : url
    child = spawn(SLAPD, ['-f', config, '-h', urls, '-d', '0'], { stdio: 'ignore' })
    await accepts(port)
  }
  const stop = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await exited
  }
  await start()
  return {
    url,
    secureUrl,
    base: BASE,
    user: `cn=admin,${BASE}`,
    password: 'hunter2',
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    start,
    stop,
    async remove() {
      await stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function configuration(folder: string, options: DirectoryOptions): string {
  const { tls, bindOnly, requireTls, sizeLimit = 500 } = options
  return `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.99999.1 NAME 'mailRecipient' SUP top AUXILIARY MAY proxyAddresses )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${folder}/slapd.pid
sizelimit ${sizeLimit}
threads 2
${tls ? ['CACertificate', 'Certificate', 'CertificateKey'].map((name, index) => `TLS${name}File ${folder}/${['ca', 'cert', 'key'][index]}.pem`).join('\n') : ''}
${requireTls ? 'security tls=1' : ''}
${bindOnly ? 'disallow bind_anon\nrequire authc' : ''}
database mdb
suffix "${BASE}"
rootdn "cn=admin,${BASE}"
rootpw hunter2
directory ${folder}/db
maxsize 1073741824
dbnosync
index objectClass,mail,proxyAddresses eq
`
}

function ldif(entries: Iterable<DirectoryEntry>, references: readonly string[] = []): string {
  const blocks = [`dn: ${BASE}\nobjectClass: domain\ndc: partner\n`]
  for (const [at, url] of references.entries())
    blocks.push(
      `dn: cn=r${at},${BASE}\nobjectClass: referral\nobjectClass: extensibleObject\ncn: r${at}\nref: ${url}\n`,
    )
  let number = 0
  for (const entry of entries) {
    const values = (name: string, list: readonly Buffer[] = []) =>
      list.map(octets => `${name}:: ${octets.toString('base64')}`)
    blocks.push(
      [
        `dn: uid=u${number},${BASE}`,
        'objectClass: inetOrgPerson',
        'objectClass: mailRecipient',
        `uid: u${number}`,
        `cn: User ${number}`,
        'sn: User',
        ...entry.mail.map(mail => `mail: ${mail}`),
        ...(entry.proxyAddresses ?? []).map(address => `proxyAddresses: ${address}`),
        ...values('userCertificate;binary', entry.userCertificate),
        ...values('userSMIMECertificate', entry.userSMIMECertificate),
        '',
      ].join('\n'),
    )
    number++
  }
  return blocks.join('\n')
}

async function accepts(port: number): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    const socket = connect(port, '127.0.0.1')
    const [event] = await Promise.race([
      once(socket, 'connect').then(() => ['connect']),
      once(socket, 'error').then(
        () => ['error'],
        () => ['error'],
      ),
    ]).catch(() => ['error'])
    socket.destroy()
    if (event === 'connect') return
    await sleep(10)
  }
  throw new Error('slapd does not accept connections')
}

const SLAPD = '/usr/sbin/slapd'
const BASE = 'dc=partner,dc=test'
