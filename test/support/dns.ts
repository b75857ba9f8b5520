/**
 * Resolvers for tests: one of our own that says what it is told to, and a real validating one.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AUTHENTIC_DATA, decode, streamEncode } from 'dns-packet'
import { freePort } from './ports.ts'

/** What the resolver of our own says to a name. */
export interface Script {
  readonly records?: readonly Buffer[]
  readonly authentic?: boolean
  /** 2 is SERVFAIL, 3 NXDOMAIN. */
  readonly code?: number
  /** Changes the message on its way out. */
  readonly spoil?: (message: Buffer) => Buffer
}

/**
 * A resolver that speaks real messages over TCP.
 *
 * @param validates Whether it vouches for a name that is asked for its SOA, by which it is probed.
 */
export async function scriptedResolver(
  script: (name: string) => Script | undefined,
  validates: () => boolean = () => true,
) {
  const asked: string[] = []
  const probed: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (octets: Buffer) => {
      const query = decode(octets.subarray(2))
      const [question] = query.questions!
      const isProbe = question!.type === 'SOA'
      ;(isProbe ? probed : asked).push(question!.name)
      const said = isProbe ? { authentic: validates() } : script(question!.name)
      if (!said) return
      const { records = [], authentic = true, code = 0, spoil = (octets: Buffer) => octets } = said
      const message = streamEncode({
        type: 'response',
        id: query.id!,
        flags: (authentic ? AUTHENTIC_DATA : 0) | code,
        questions: query.questions!,
        answers: records.map(data => ({ ...question!, ttl: 60, class: 'IN', data }) as never),
      })
      socket.write(spoil(message))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    server: { address: '127.0.0.1', port },
    asked,
    probed,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** Why there is no real resolver with a signed zone, if so. */
export const unbound: { readonly missing: string | undefined } = {
  missing: ['/usr/sbin/unbound', '/usr/bin/dnssec-signzone', '/usr/bin/dnssec-keygen'].every(path =>
    existsSync(path),
  )
    ? undefined
    : 'no unbound or dnssec-signzone on this machine',
}

/**
 * Starts unbound with zones of its own: `signed.test` with an anchor, `plain.test` without, and
 * `forged.test`, whose records were changed after it was signed.
 *
 * @param modules Without the validator it answers all the same, and vouches for nothing.
 * @param records Owner name without the zone, and data in hexadecimal, for each of the zones.
 */
export async function validatingResolver(
  records: readonly (readonly [string, Buffer])[],
  modules: 'validator iterator' | 'iterator' = 'validator iterator',
) {
  const folder = await mkdtemp(join(tmpdir(), 'postern-unbound-'))
  const lines = records.map(
    ([name, data]) => `${name} 60 IN TYPE53 \\# ${data.length} ${data.toString('hex')}`,
  )
  const anchors = [
    await signedZone(folder, 'signed.test', lines),
    await signedZone(folder, 'forged.test', lines),
  ]
  await writeFile(join(folder, 'plain.test.signed'), zone('plain.test', lines))
  const forged = join(folder, 'forged.test.signed')
  const text = await readFile(forged, 'utf8')
  await writeFile(
    forged,
    text.replace(/(SMIMEA\s+)3 0 0/, (_, type: string) => `${type}1 0 0`),
  )
  await writeFile(join(folder, 'anchors'), anchors.join('\n'))
  const port = await freePort()
  await writeFile(join(folder, 'unbound.conf'), configuration(folder, port, modules))
  const child = spawn('/usr/sbin/unbound', ['-d', '-p', '-c', join(folder, 'unbound.conf')], {
    stdio: 'ignore',
  })
  await listens(child, port)
  return {
    server: { address: '127.0.0.1', port },
    async close() {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Signs a zone, and returns its key as anchor. */
async function signedZone(folder: string, name: string, lines: readonly string[]): Promise<string> {
  const run = (command: string, ...parameters: string[]) =>
    execFileSync(`/usr/bin/${command}`, parameters, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  const keyName = run('dnssec-keygen', '-a', 'ECDSAP256SHA256', '-f', 'KSK', name).toString().trim()
  const key = await readFile(join(folder, `${keyName}.key`), 'utf8')
  await writeFile(join(folder, name), `${zone(name, lines)}${key}`)
  run('dnssec-signzone', '-x', '-z', '-o', name, '-f', `${name}.signed`, name, keyName)
  return key
}

function zone(name: string, lines: readonly string[]): string {
  return [
    `$ORIGIN ${name}.`,
    '@ 60 IN SOA ns.invalid. root.invalid. 1 3600 600 86400 60',
    '@ 60 IN NS ns.invalid.',
    ...lines,
    '',
  ].join('\n')
}

function configuration(folder: string, port: number, modules: string): string {
  const zones = ['signed.test', 'plain.test', 'forged.test'].map(
    name => `auth-zone:
  name: "${name}"
  zonefile: "${folder}/${name}.signed"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no`,
  )
  return `server:
  interface: 127.0.0.1@${port}
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  directory: "${folder}"
  pidfile: ""
  module-config: "${modules}"
  trust-anchor-file: "${folder}/anchors"
  local-zone: "test." nodefault
  domain-insecure: "plain.test"
remote-control:
  control-enable: no
${zones.join('\n')}
`
}

async function listens(child: ChildProcess, port: number): Promise<void> {
  for (let turn = 0; turn < 300; turn++) {
    if (child.exitCode !== null) throw new Error('unbound has ended')
    try {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.destroy()
      return
    } catch {
      await sleep(10)
    }
  }
  throw new Error('unbound does not listen')
}
