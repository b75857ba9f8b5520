/**
 * Real Postfix instances in temporary folders: each with a configuration, a queue and a master of its
 * own, on a loopback port, without chroot.
 *
 * @module
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './ports.ts'

/** Where Debian puts the daemons. */
const DAEMONS = '/usr/lib/postfix/sbin'

/** Why there can be no Postfix here, if so. */
export const postfix: { readonly missing: string | undefined } = { missing: missing() }

/** What an instance is for. */
export interface PostfixSettings {
  readonly name: string
  /** Lines of main.cf. */
  readonly main: Readonly<Record<string, string>>
  /** Addresses that have a Maildir; any other is unknown. */
  readonly mailboxes?: readonly string[]
}

/** A running instance. */
export interface Postfix {
  readonly port: number
  /** Starts the master; it accepts when this resolves. */
  start(): Promise<void>
  /** Stops the master and waits for its end. */
  stop(): Promise<void>
  /** Has the queue tried again now. */
  flush(): Promise<void>
  /** How many messages stand in the queue. */
  queued(): Promise<number>
  /** Every message in the Maildir of an address, line ends as on the wire. */
  delivered(address: string): Promise<readonly Buffer[]>
  /** What it has logged. */
  log(): Promise<string>
  /** Stops it and removes its folder. */
  remove(): Promise<void>
}

/** Makes an instance; it does not run yet. */
export async function makePostfix(settings: PostfixSettings): Promise<Postfix> {
  const folder = await mkdtemp(join(tmpdir(), `postern-postfix-${settings.name}-`))
  const port = await freePort()
  await layOut(folder, port, settings)
  let master: ChildProcess | undefined
  const config = join(folder, 'etc')
  const instance: Postfix = {
    port,
    async start() {
      await run('postfix', ['-c', config, 'check'])
      // Not by `postfix start`: the master's end has to be the end of a child that we know.
      master = spawn(join(DAEMONS, 'master'), ['-c', config], { stdio: 'ignore' })
      await accepts(port)
    },
    async stop() {
      if (!master || master.exitCode !== null || master.signalCode !== null) return
      const ended = once(master, 'exit')
      master.kill('SIGTERM')
      await ended
    },
    async flush() {
      await run('postqueue', ['-c', config, '-f'])
    },
    async queued() {
      const listed = await run('postqueue', ['-c', config, '-j'])
      return listed.split('\n').filter(line => line !== '').length
    },
    async delivered(address) {
      const box = join(folder, 'mail', address, 'new')
      const names = await readdir(box).catch(() => [])
      return Promise.all(names.map(async name => asOnTheWire(await readFile(join(box, name)))))
    },
    log: () => readFile(join(folder, 'log'), 'utf8').catch(() => ''),
    async remove() {
      await instance.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return instance
}

async function layOut(
  folder: string,
  port: number,
  { main, mailboxes = [] }: PostfixSettings,
): Promise<void> {
  const [uid, gid] = idsOf('postfix')
  // The daemons leave root behind, and must get through to the queue all the same.
  await chmod(folder, 0o755)
  for (const name of ['etc', 'queue', 'data', 'mail']) await mkdir(join(folder, name))
  await chown(join(folder, 'data'), uid, gid)
  await chown(join(folder, 'mail'), uid, gid)
  await writeFile(
    join(folder, 'etc', 'mailboxes'),
    mailboxes.map(address => `${address} ${address}/\n`).join(''),
  )
  await writeFile(join(folder, 'etc', 'main.cf'), mainCf(folder, uid, gid, main))
  await writeFile(join(folder, 'etc', 'master.cf'), masterCf(port))
}

function mainCf(folder: string, uid: number, gid: number, main: PostfixSettings['main']): string {
  const settings = {
    compatibility_level: '3.6',
    queue_directory: join(folder, 'queue'),
    data_directory: join(folder, 'data'),
    maillog_file: join(folder, 'log'),
    maillog_file_prefixes: folder,
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    mynetworks: '127.0.0.0/8',
    alias_maps: '',
    alias_database: '',
    mydestination: '',
    local_transport: 'error:no local delivery here',
    local_recipient_maps: '',
    biff: 'no',
    smtp_dns_support_level: 'disabled',
    smtp_tls_security_level: 'none',
    smtpd_tls_security_level: 'none',
    minimal_backoff_time: '300s',
    smtpd_peername_lookup: 'no',
    virtual_mailbox_base: join(folder, 'mail'),
    virtual_mailbox_maps: `texthash:${join(folder, 'etc', 'mailboxes')}`,
    virtual_minimum_uid: '1',
    virtual_uid_maps: `static:${uid}`,
    virtual_gid_maps: `static:${gid}`,
    ...main,
  }
  return Object.entries(settings)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('')
}

/** Every service that mail can need on its way, none of them in a chroot. */
function masterCf(port: number): string {
  return `127.0.0.1:${port} inet n - n - - smtpd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`
}

async function accepts(port: number): Promise<void> {
  const end = performance.now() + 20_000
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const made = await new Promise<boolean>(resolve => {
      socket.once('data', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
    })
    socket.destroy()
    if (made) return
    if (performance.now() > end) throw new Error('Postfix does not accept')
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

function idsOf(user: string): [uid: number, gid: number] {
  const id = (flag: string): number => Number(execFileSync('id', [flag, user]).toString())
  return [id('-u'), id('-g')]
}

/** Postfix keeps lines with LF alone. */
function asOnTheWire(octets: Buffer): Buffer {
  return Buffer.from(octets.toString('latin1').replaceAll('\n', '\r\n'), 'latin1')
}

async function run(command: string, args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(command, args, { timeout: 30_000 })).stdout
}

function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'Postfix can be started by root only'
  try {
    accessSync(join(DAEMONS, 'master'))
    execFileSync('postconf', ['-h', 'mail_version'], { stdio: 'pipe' })
    idsOf('postfix')
    return undefined
  } catch {
    return 'no Postfix is installed'
  }
}
