/**
 * `postern demo`: the main job on real messages, with nothing to install or configure.
 *
 *     a client ──▶ Postern on 127.0.0.1:2525 ──▶ an embedded mail server that shows what arrives
 *
 * A private CA, identities and a configuration are made in a temporary folder, which is gone at the end.
 *
 * @module
 */
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { createTransport } from 'nodemailer'
import { loadConfig } from '../config/load.ts'
import { certificatePem, identityPem, issue } from '../crypto/x509/issue.ts'
import { type Log, type LogFields, silentLog, visible } from '../log.ts'
import { type HeaderSection, parseHeaderSection } from '../mail/header-section.ts'
import { listen } from '../smtp/listener.ts'
import { assemble } from './assembly.ts'
import { type Arrival, startMailbox } from './demo-mailbox.ts'
import { fromPartner, type People } from './demo-partner.ts'
import { type Verdict, verdictOn } from './demo-verdict.ts'

/** Runs until Ctrl-C, or once with `--once`; 0, or 1 where a message did not come out as promised. */
export async function demo(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    console.error(`postern demo: ${JSON.stringify(values.port)} is no port\n\n${HELP}`)
    return 2
  }
  const folder = await mkdtemp(join(tmpdir(), 'postern-demo-'))
  try {
    return await run(folder, port, values.once)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function run(folder: string, port: number, single: boolean): Promise<number> {
  say('Postern demo', '')
  const people = await makeIdentities(folder)
  const arrivals: Arrival[] = []
  const happenings: LogFields[] = []
  const log = listeningLog(happenings)
  /** What keeps the process alive, to be ended in reverse. */
  const ends: (() => Promise<unknown>)[] = []
  try {
    const mailbox = await startMailbox(arrival => arrivals.push(arrival))
    ends.push(() => mailbox.close())
    await writeFile(join(folder, 'postern.yaml'), configuration(port, mailbox.port))
    const { config } = await loadConfig(join(folder, 'postern.yaml'), process.env)
    const assembly = await assemble(config, log)
    ends.push(() => assembly.close())
    const listener = await listen(assembly.listener, assembly.house, log)
    ends.push(() => listener.drain(2_000))
    const address = listener.addresses[0]!
    say('gateway', `listens on ${address.address}:${address.port}, the next hop is embedded`)
    const failures = await tellScenes(address.port, arrivals, happenings, { folder, people })
    if (single) return failures > 0 ? 1 : 0
    await stayUp(address.port, arrivals, happenings, folder)
    return failures > 0 ? 1 : 0
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** What is sent, and what each recipient has to get. */
interface Scene {
  readonly title: string
  /** What is to be seen in it. */
  readonly about: string
  readonly from: string
  readonly to: readonly string[]
  readonly subject: string
  readonly text: string
  /** Signed and encrypted by its sender. */
  readonly isProtected?: boolean
  /** Fields in our name that its sender has written, and that must not arrive. */
  readonly forged?: Readonly<Record<string, string>>
  /** What our Authentication-Results has to say. */
  readonly stamp?: string
  /** Recipient to what has to arrive. */
  readonly expected: Readonly<Record<string, Verdict['state']>>
}

async function tellScenes(
  port: number,
  arrivals: Arrival[],
  happenings: LogFields[],
  { folder, people }: { readonly folder: string; readonly people: People },
): Promise<number> {
  let failures = 0
  for (const scene of SCENES) {
    say('', '')
    say(scene.title, scene.about)
    say('  sent', `${scene.from} to ${scene.to.join(' and ')}, "${scene.subject}"`)
    for (const [name, body] of Object.entries(scene.forged ?? {}))
      say('  its sender claims', `${name}: ${body}`)
    await send(port, scene, people)
    tellDecisions(happenings.splice(0))
    for (const arrival of arrivals.splice(0))
      failures += (await tellArrival(arrival, scene, folder)) ? 0 : 1
  }
  say('', '')
  say(
    'result',
    failures === 0
      ? 'every message came out as promised'
      : `${failures} did not come out as promised`,
  )
  return failures
}

async function send(port: number, scene: Scene, people: People): Promise<void> {
  const { from, to, subject, text, isProtected, forged = {} } = scene
  const transport = createTransport({
    host: '127.0.0.1',
    port,
    ignoreTLS: true,
    name: 'mail.example.test',
  })
  if (isProtected) {
    const message = [
      `From: Carol <${from}>`,
      `To: ${to.join(', ')}`,
      `Subject: ${subject}`,
      `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
      `Message-ID: <${Date.now()}@partner.test>`,
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=us-ascii',
      '',
      text.replaceAll('\n', '\r\n'),
    ].join('\r\n')
    const raw = await fromPartner(message, people)
    await transport.sendMail({ envelope: { from, to: [...to] }, raw })
  } else await transport.sendMail({ from, to: [...to], subject, text, headers: forged })
  transport.close()
}

function tellDecisions(happenings: readonly LogFields[]): void {
  for (const { recipients } of happenings)
    for (const it of (recipients ?? []) as readonly Record<string, string>[])
      say(`  decided for ${it['recipient']}`, decision(it))
}

function decision({
  rule,
  treatment,
  identity,
  source,
  notEncrypted,
  reason,
  signature,
  signatureCode,
  encryption,
}: Record<string, string>): string {
  const words = [
    `rule ${rule}: ${signature ? 'open where possible, verify, stamp' : (WORDS[treatment!] ?? treatment)}`,
  ]
  if (signature)
    return [...words, `encryption ${encryption}`, `signature ${signature} (${signatureCode})`].join(
      ', ',
    )
  if (identity) words.push(`signed by ${identity}`)
  if (source) words.push(`certificate from ${basename(source)}`)
  if (notEncrypted) words.push(`not encrypted: ${notEncrypted}`)
  if (reason) words.push(reason)
  return words.join(', ')
}

async function tellArrival(
  arrival: Arrival,
  scene: Scene | undefined,
  folder: string,
): Promise<boolean> {
  const verdict = await verdictOn(arrival.octets, {
    rootFile: join(folder, 'trust', 'root.pem'),
    keyFile: join(folder, 'carol.pem'),
  })
  const wanted = arrival.recipients.map(recipient => scene?.expected[recipient])
  const asWanted = wanted.every(it => it === undefined || it === verdict.state)
  const section = parseHeaderSection(arrival.octets)
  const stamp = section.first('authentication-results')?.body
  const state = stamp && verdict.state === 'as it was' ? 'as it was below the stamp' : verdict.state
  say(`  arrived for ${arrival.recipients.join(', ')}`, `${state}: ${verdict.words}`)
  if (stamp) say('  stamped', visible(stamp.replaceAll(/\s+/g, ' ')))
  const isStamped = scene?.stamp === undefined || stamp?.includes(scene.stamp) === true
  return asWanted && isStamped && tellForged(section, scene?.forged)
}

/** Tells what became of claims in our name; whether all of them are gone. */
function tellForged({ fields }: HeaderSection, forged: Scene['forged'] = {}): boolean {
  const claims = Object.entries(forged)
  if (claims.length === 0) return true
  const left = claims.filter(([name, claim]) =>
    fields.some(({ key, body }) => key === name.toLowerCase() && body.includes(claim)),
  )
  const words = left.length === 0 ? 'every claim of its sender' : 'NOT ALL claims of its sender'
  say('  taken off', words)
  return left.length === 0
}

async function stayUp(
  port: number,
  arrivals: Arrival[],
  happenings: LogFields[],
  folder: string,
): Promise<void> {
  say('', '')
  say(
    'try it',
    `any client may send to 127.0.0.1:${port}; mail from alice@example.test is signed, to carol@partner.test encrypted`,
  )
  say('', `swaks --server 127.0.0.1:${port} --from alice@example.test --to you@elsewhere.test`)
  say('', 'Ctrl-C ends the demo and leaves nothing behind.')
  const timer = setInterval(() => {
    tellDecisions(happenings.splice(0))
    for (const arrival of arrivals.splice(0)) void tellArrival(arrival, undefined, folder)
  }, 200)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  clearInterval(timer)
}

async function makeIdentities(folder: string): Promise<People> {
  for (const name of ['identities', 'certificates', 'trust'])
    await mkdir(join(folder, name), { mode: 0o700 })
  const life = {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 30 * 86_400_000),
  }
  const root = await issue({ ...life, commonName: 'Postern demo root', authority: true })
  const issuing = await issue({
    ...life,
    commonName: 'Postern demo CA',
    authority: true,
    issuer: root,
  })
  const alice = await issue({
    ...life,
    commonName: 'Alice',
    addresses: ['alice@example.test'],
    issuer: issuing,
    key: 'rsa-2048',
  })
  const carol = await issue({
    ...life,
    commonName: 'Carol',
    addresses: ['carol@partner.test'],
    issuer: issuing,
    key: 'rsa-2048',
  })
  await writeFile(join(folder, 'trust', 'root.pem'), certificatePem(root.der))
  await writeFile(join(folder, 'identities', 'alice.pem'), identityPem(alice), { mode: 0o600 })
  const known = [carol, issuing].map(({ der }) => certificatePem(der)).join('')
  await writeFile(join(folder, 'certificates', 'carol.pem'), known)
  await writeFile(join(folder, 'carol.pem'), identityPem(carol), { mode: 0o600 })
  say('certificates', 'a private CA; alice@example.test is ours, carol@partner.test is known')
  return { alice, carol, issuing }
}

function configuration(port: number, nextHopPort: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen:
  - { address: 127.0.0.1, port: ${port}, tls: none }
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${nextHopPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${nextHopPort}, tls: none }
identities:
  - { files: identities/ }
certificates:
  - { files: certificates/ }
trust: { anchors: [trust/], revocation: off }
rules:
  - name: machines-that-cannot-read-signatures
    when: { direction: outbound, recipient: "*@machines.test" }
    then: { sign: never }
  - name: outbound
    when: { direction: outbound }
    then: { sign: always, encrypt: when-possible }
  - name: inbound
    when: { direction: inbound }
    then: { decrypt: when-possible, verify: stamp }
state: data/
`
}

/** A log that keeps what was decided, for people. */
function listeningLog(happenings: LogFields[]): Log {
  return {
    ...silentLog,
    info: (event, fields) => {
      if (event === 'message' && fields) happenings.push(fields)
    },
    error: (event, fields) => console.error('postern demo:', event, fields),
    with: () => listeningLog(happenings),
  }
}

function say(what: string, words: string): void {
  console.log(
    what === ''
      ? `${' '.repeat(WIDTH)}${words}`.trimEnd()
      : `${what.padEnd(WIDTH)} ${words}`.trimEnd(),
  )
}

const WIDTH = 36
/** For people; what is not here says enough as it is. */
const WORDS: Readonly<Record<string, string>> = { relay: 'pass as it is' }

const SCENES: readonly Scene[] = [
  {
    title: 'outbound',
    about: 'each recipient gets what the rules say: signed, encrypted too where his key is known',
    from: 'alice@example.test',
    to: ['bob@partner.test', 'carol@partner.test', 'robot@machines.test'],
    subject: 'Quarterly figures',
    text: 'Dear Bob,\n\nthe figures are as discussed: 1,000 € more.\n\nAlice\n',
    expected: {
      'bob@partner.test': 'signed',
      'carol@partner.test': 'signed and encrypted',
      'robot@machines.test': 'as it was',
    },
  },
  {
    title: 'inbound, signed and encrypted',
    about: 'opened with the key of its recipient, verified, and the verdict put on top',
    from: 'carol@partner.test',
    to: ['alice@example.test'],
    subject: 'Re: Quarterly figures',
    text: 'Dear Alice,\n\nthank you.\n\nCarol\n',
    isProtected: true,
    stamp: 'smime=pass',
    // Opened: what is left is the signature.
    expected: { 'alice@example.test': 'signed' },
  },
  {
    title: 'inbound, forged',
    about: 'nobody has signed it; its sender has written a verdict of ours on it himself',
    from: 'carol@partner.test',
    to: ['alice@example.test'],
    subject: 'Please pay at once',
    text: 'Dear Alice,\n\nthe account has changed.\n\nCarol\n',
    forged: {
      'Authentication-Results': 'gw.example.test; smime=pass',
      'X-Postern-Signature': 'pass; code=good',
    },
    stamp: 'smime=none',
    expected: { 'alice@example.test': 'as it was' },
  },
]

const OPTIONS = {
  once: { type: 'boolean', default: false },
  port: { type: 'string', default: '2525' },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern demo [--once] [--port PORT]

Makes a private CA and an identity in a temporary folder, starts the gateway on 127.0.0.1:2525 with an
embedded next hop, sends messages through it, tells what was decided and what came out, and stays up.

  --once        ends by itself: 0 where every message came out as promised, else 1
  --port PORT   another port; 0 for any that is free`
