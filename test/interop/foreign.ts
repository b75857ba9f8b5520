/**
 * What other people's programs sign and encrypt, sent through the gateway as it runs.
 *
 *     PKI ── OpenSSL · gpgsm · NSS · Bouncy Castle · python-cryptography ──▶ messages
 *     messages ── SMTP ──▶ bin/postern start ── SMTP ──▶ sink ──▶ outcomes
 *
 * The programs are asked by the scripts in the interop folder that stands beside the corpora
 * (`POSTERN_INTEROP` overrides the place). The gateway has the keys of that PKI as its identities, and
 * its root as the only anchor; a signature that was good is taken off, so that what comes out is the
 * entity that went in.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { startSink } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { startGateway } from '../support/gateway-process.ts'
import { takeApart } from '../support/peers.ts'

export const INTEROP = resolve(process.env['POSTERN_INTEROP'] ?? '../shared/interop')
export const noInterop = existsSync(join(INTEROP, 'make-matrix.sh'))
  ? undefined
  : `no scripts at ${INTEROP}`

/** A message of one of the programs. */
export interface ForeignCase {
  readonly id: string
  readonly producer: Producer
  /** Names of the PKI: `rsa` is `rsa@interop.test`. */
  readonly signers: readonly string[]
  readonly recipients: readonly string[]
  /** As it is sent. */
  readonly message: Buffer
  /** The MIME entity that went in. */
  readonly entity: Buffer
}

export type Producer = (typeof PRODUCERS)[number]

export const PRODUCERS = ['openssl', 'gpgsm', 'nss', 'bc', 'py'] as const

/** All that the programs made, and what they could not. */
export interface ForeignMail {
  readonly pki: string
  readonly cases: readonly ForeignCase[]
  /** Identifiers of cases that a program was asked for, and its own words. */
  readonly refusals: ReadonlyMap<string, string>
}

/** Makes a PKI and the messages, in half a minute. */
export async function makeForeignMail(folder: string): Promise<ForeignMail> {
  const [pki, out] = [join(folder, 'pki'), join(folder, 'matrix')]
  await script('mkpki.sh', [pki])
  await script('make-matrix.sh', [pki, out])
  return readForeignMail(pki, out)
}

/** Reads what is made already. */
export async function readForeignMail(pki: string, out: string): Promise<ForeignMail> {
  const lines = (await readFile(join(out, 'manifest.jsonl'), 'utf8')).trim().split('\n')
  const refused = (await readFile(join(out, 'cannot.tsv'), 'utf8')).trim().split('\n')
  return {
    pki,
    cases: await Promise.all(lines.map(line => readCase(out, JSON.parse(line) as ManifestLine))),
    refusals: new Map(
      refused.map(line => {
        const [, id, words] = line.split('\t')
        return [id!, words!]
      }),
    ),
  }
}

/** How a message came out of the gateway. */
export interface Outcome {
  /** Of Authentication-Results, and the code of X-Postern-Signature: `pass good`. */
  readonly verdict: string
  /** X-Postern-Encryption: `opened; cipher=aes-256-gcm; …`. */
  readonly encryption: string
  readonly notes: string
  /** Whether the entity that left is the one that went in, octet for octet. */
  readonly isWhole: boolean
  /** Refused by default, and whole where a rule has `unauthenticated: deliver`. */
  readonly isOpenedAnyway: boolean
}

/**
 * Sends each message to each of its recipients, through a gateway of its own.
 *
 * @returns By case; of several recipients, the first whose outcome is not that of the first one.
 */
export async function readByGateway(
  { pki, cases }: Pick<ForeignMail, 'pki' | 'cases'>,
  folder: string,
): Promise<ReadonlyMap<string, Outcome>> {
  await makeHouse(pki, folder)
  const sink = await startSink()
  const gateway = await startGateway(folder, configuration(sink.port))
  const client = await TestClient.open(gateway.port, SESSION_MS)
  const send = async (from: string, to: string, one: ForeignCase): Promise<Outcome> => {
    const { end } = await client.send(from, [to], one.message)
    if (end?.code !== 250) throw new Error(`${one.id}: ${JSON.stringify(end)}`)
    return outcomeOf(one, sink.messages.at(-1)!.octets)
  }
  try {
    const outcomes = new Map<string, Outcome>()
    for (const one of cases) {
      const each: Outcome[] = []
      const to = one.recipients.length > 0 ? one.recipients : ['somebody']
      for (const name of to) {
        const first = await send('sender@partner.test', `${name}@interop.test`, one)
        const again = first.encryption.startsWith('refused')
          ? await send(BY_OTHER_RULE, `${name}@interop.test`, one)
          : undefined
        each.push({ ...first, isOpenedAnyway: again?.isWhole ?? false })
      }
      outcomes.set(one.id, each.find(it => told(it) !== told(each[0]!)) ?? each[0]!)
    }
    return outcomes
  } finally {
    client.close()
    await gateway.stop()
    await sink.close()
  }
}

interface ManifestLine {
  readonly id: string
  readonly file: string
  readonly producer: Producer
  readonly signers: string
  readonly recipients: string
  readonly entity: string
}

async function readCase(folder: string, line: ManifestLine): Promise<ForeignCase> {
  const made = await readFile(join(folder, line.file), 'latin1')
  const entity = await readFile(join(folder, line.entity))
  const signers = line.signers.split(' ').filter(name => name !== '')
  const message = addressed(made.replaceAll(/\r?\n/g, '\r\n'), signers[0] ?? 'sender')
  return {
    id: line.id,
    producer: line.producer,
    signers,
    recipients: line.recipients.split(' ').filter(name => name !== ''),
    message,
    entity: line.id === REWRITTEN ? takeApart(message).content! : entity,
  }
}

/** JavaMail leaves out preamble and epilogue when it signs: what it has signed is what counts. */
const REWRITTEN = 'bc-clear-rsa-complex'

/** The same entity in a message of its signer's, from today. */
function addressed(made: string, author: string): Buffer {
  const end = made.indexOf('\r\n\r\n') + 2
  const fields = made.slice(0, end).split(/\r\n(?![ \t])/)
  const kept = fields.filter(field => !/^(?:From|To|Date|Message-ID):/i.test(field))
  const ours = [
    `From: ${author}@interop.test`,
    'To: recipient@interop.test',
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
  ]
  const message = `${ours.join('\r\n')}\r\n${kept.join('\r\n')}${made.slice(end)}`
  return Buffer.from(message.replace(/(?<!\r\n)$/, '\r\n'), 'latin1')
}

async function makeHouse(pki: string, folder: string): Promise<void> {
  await mkdir(join(folder, 'identities'), { recursive: true, mode: 0o700 })
  await mkdir(join(folder, 'trust'), { recursive: true })
  for (const name of ['ca.crt', 'ca.crl']) {
    // The folder's lists may be PEM.
    await copyFile(join(pki, name), join(folder, 'trust', name))
  }
  for (const name of IDENTITIES) {
    const pair = [`${name}.key`, `${name}.crt`].map(file => readFile(join(pki, file)))
    await writeFile(join(folder, 'identities', `${name}.pem`), await Promise.all(pair), {
      mode: 0o600,
    })
  }
}

const IDENTITIES = ['rsa', 'rsa2', 'rsa4k', 'ec', 'ec384', 'ec521', 'x'] as const

function configuration(sinkPort: number): string {
  return `hostname: gw.interop.test
domains: [interop.test]
listen: [{ address: 127.0.0.1, port: 0, tls: none }]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities: [{ files: identities/ }]
trust: { anchors: [trust/], revocation: soft }
rules:
  - name: anyway
    when: { direction: inbound, sender: ${BY_OTHER_RULE} }
    then: { verify: stamp, decrypt: when-possible, unauthenticated: deliver }
  - name: inbound
    when: { direction: inbound }
    then: { verify: stamp, decrypt: when-possible, strip: signature }
decryption: { tripleDes: true }
workers: 1
`
}

function outcomeOf({ entity }: ForeignCase, octets: Buffer): Outcome {
  const section = parseHeaderSection(octets)
  const bodyOf = (name: string) => (section.first(name)?.body ?? '').replaceAll(/\s+/g, ' ').trim()
  const [result] = /(?<=smime=)\w+/.exec(bodyOf('authentication-results')) ?? ['none']
  const [code] = /(?<=code=)[\w-]+/.exec(bodyOf('x-postern-signature')) ?? ['']
  return {
    verdict: `${result} ${code}`,
    encryption: bodyOf('x-postern-encryption'),
    notes: bodyOf('x-postern-notes'),
    isWhole: entityOf(octets).equals(entity),
    isOpenedAnyway: false,
  }
}

/** The entity that a message is: its fields of that kind as they stand, and all behind them. */
function entityOf(octets: Buffer): Buffer {
  const end = octets.indexOf('\r\n\r\n') + 2
  const fields = octets.toString('latin1', 0, end).split(/(?<=\r\n)(?![ \t])/)
  const own = fields.filter(field => /^Content-/i.test(field)).join('')
  return Buffer.concat([Buffer.from(own, 'latin1'), octets.subarray(end)])
}

function told({ verdict, encryption, isWhole }: Outcome): string {
  const [what] = encryption.split(';')
  return `${verdict} ${what} ${isWhole}`
}

async function script(name: string, args: readonly string[]): Promise<void> {
  // The python3 of the path knows more than the system's, where there are two.
  const env = { PYTHON: 'python3', ...process.env }
  const options = { env, timeout: SCRIPT_MS, maxBuffer: 16 * 1024 * 1024 }
  await promisify(execFile)('bash', [join(INTEROP, name), ...args], options)
}

const BY_OTHER_RULE = 'anyway@partner.test'
const SCRIPT_MS = 600_000
const SESSION_MS = 120_000
