/**
 * `postern explain`: decides about a message without sending it, and says why.
 *
 * Asks the same questions as the gateway, in the same order, with the same code; only RCPT is not
 * offered to a next hop, so what the next hop would say is not known.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { Considered } from '../certstore/directory.ts'
import { type Identities, loadIdentities } from '../certstore/identities.ts'
import type { Config } from '../config/config.ts'
import { ConfigFaults } from '../config/fault.ts'
import { loadConfig } from '../config/load.ts'
import { signingTimeFor } from '../crypto/smime/sign-message.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import { NO_ROOM_FOR_COPY } from '../gateway/author-copy.ts'
import { type Decision, decideAll, type Message } from '../gateway/decision.ts'
import { directionOf } from '../gateway/gateway.ts'
import { InboundReader, type Reading } from '../gateway/inbound.ts'
import { withReadings } from '../gateway/inbound-decision.ts'
import { authorKeysOf, choiceFor, nextHopOf } from '../gateway/shipping.ts'
import { visible } from '../log.ts'
import { type Mailbox, parseMailbox } from '../mail/address.ts'
import { contentOf } from '../mail/content.ts'
import { readHeaderSection } from '../mail/header-section.ts'
import { prepare } from '../mail/seven-bit.ts'
import { explainTreatment } from '../policy/decide.ts'
import { explainInbound, inboundAction, inboundChanges } from '../policy/inbound.ts'
import { compileRules } from '../policy/rule.ts'

import { directoryOf, holdFor, inboundParts } from './assembly.ts'

/** Prints what would become of the message; 0, or 1 where somebody would be refused, 2 for usage. */
export async function explain(argv: readonly string[]): Promise<number> {
  try {
    return await answer(argv)
  } catch (error) {
    if (error instanceof ConfigFaults) {
      console.error(error.message)
      return 1
    }
    if (!isUsageError(error)) throw error
    console.error(`postern explain: ${error.message}\n\n${HELP}`)
    return 2
  }
}

async function answer(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const [file] = positionals
  if (file === undefined || positionals.length > 1) throw new Usage('name one message')
  if (values.to.length === 0) throw new Usage('name at least one recipient with --to')
  const { config } = await loadConfig(values.config, process.env)
  const { identities } = await loadIdentities(config.identities, new Date())
  const message = await readMessage(file, values)
  const accounts = await explainAll(message, values.to.map(mailboxOf), config, identities)
  console.log(
    values.json ? JSON.stringify(accounts, undefined, 2) : accounts.map(inWords).join('\n\n'),
  )
  return accounts.some(({ refused }) => refused) ? 1 : 0
}

/** What is told of one recipient. */
interface Account {
  readonly recipient: string
  readonly direction: string
  readonly nextHop: string
  readonly classes: readonly string[]
  readonly author: string | undefined
  readonly rule: string
  readonly action: string
  readonly refused: boolean
  readonly reason: string
  /** Our own, where it signs. */
  readonly certificate?: Signing | undefined
  /** The recipient's, where it is encrypted to. */
  readonly encryption?: Encryption | undefined
  /** Where a rule wishes a copy for the author: what it is encrypted to, or why there is none. */
  readonly copy?: readonly string[] | undefined
  /** What is wished for an inbound message, whatever will be found in it; a sentence each. */
  readonly inbound?: readonly string[] | undefined
  readonly seen?: Seen | undefined
  /** What happened to a source of certificates that did not answer. */
  readonly silence?: string | undefined
  /** Every certificate of the recipient that was looked at. */
  readonly considered: readonly string[]
  readonly change: readonly string[]
}

interface Signing {
  readonly identity: string
  readonly algorithm: string
  readonly source: string | undefined
  readonly fingerprint: string
  readonly notAfter: string
  readonly signingTime: string
  readonly preparation: string
}

interface Encryption {
  readonly certificate: string
  readonly source: string
  readonly via: 'address' | 'domain'
  readonly fingerprint: string
  readonly notAfter: string
  readonly algorithms: string
  /** The recipient's other devices. */
  readonly others: readonly string[]
  readonly pinned: string | undefined
}

/** What was seen in an inbound message. */
interface Seen {
  readonly signature: string
  readonly code: string
  readonly reason: string
  readonly signer: string | undefined
  readonly fingerprint: string | undefined
  readonly encryption: string
  readonly key: string | undefined
  readonly algorithms: string | undefined
  readonly notes: readonly string[]
  readonly leaves: string
}

async function explainAll(
  message: Message,
  recipients: readonly Mailbox[],
  config: Config,
  identities: Identities,
): Promise<readonly Account[]> {
  const domains = new Set(config.domains)
  const paths = recipients.map(mailbox => {
    const forwardPath = { mailbox, parameters: new Map<string, string>() }
    return { forwardPath, direction: directionOf(forwardPath, domains) }
  })
  const { directory, signerTrust } = await directoryOf(config)
  const inbound = inboundParts(config, identities, signerTrust, holdFor(config))
  const parts = { rules: compileRules(config.rules), identities, directory, domains }
  const now = new Date()
  const signal = AbortSignal.timeout(SEARCH_MS)
  const reader = new InboundReader(message, inbound, now)
  try {
    const decided = await decideAll(message, paths, parts, { now, signal })
    const decisions = await withReadings(decided, reader)
    return await Promise.all(
      decisions.map(async it => account(it, await signing(message, it, identities, now))),
    )
  } finally {
    reader.dispose()
    directory.close()
  }
}

/** What was seen in an inbound message, as the stamp would say it. */
function seen(reading: Reading): Seen {
  const { verdict, encryption, examined, delivery } = reading
  const signer = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  const { result, cipher, management, key } = encryption
  return {
    signature: verdict.result,
    code: verdict.code,
    reason: verdict.reason,
    signer: signer?.certificate && label(signer.certificate),
    fingerprint: signer?.certificate?.fingerprint,
    encryption: result,
    key,
    algorithms: cipher && management && `${cipher}, ${management}`,
    notes: [...(examined?.notes ?? []), ...verdict.notes, ...encryption.notes],
    leaves: delivery.kind === 'entity' ? 'what was inside' : 'the body as it came',
  }
}

function account(decision: Decision, certificate: Signing | undefined): Account {
  const { facts, wish, findings, treatment, direction } = decision
  const outbound = explainTreatment(wish, facts.classes, findings, treatment)
  // Rules may sign and encrypt inbound mail too; what passes is looked at on its way in.
  const isLookedAt = direction === 'inbound' && treatment.kind === 'relay'
  const { action, reason, change } = isLookedAt
    ? { ...outbound, action: inboundAction(wish), change: [...inboundChanges(wish)] }
    : outbound
  return {
    recipient: facts.recipient,
    direction,
    nextHop: nextHopOf(decision),
    classes: [...facts.classes],
    author: facts.author,
    rule: wish.rule,
    action,
    refused: treatment.kind === 'reject' || treatment.kind === 'defer',
    reason,
    certificate,
    encryption: encryption(decision),
    copy: copyForAuthor(decision),
    inbound: direction === 'inbound' ? explainInbound(wish) : undefined,
    seen: decision.reading && seen(decision.reading),
    silence: decision.found?.kind === 'unknown' ? decision.found.silence : undefined,
    considered: decision.found?.considered.map(considered) ?? [],
    change,
  }
}

async function signing(
  { content, section }: Message,
  { signer, findings, treatment }: Decision,
  identities: Identities,
  now: Date,
): Promise<Signing | undefined> {
  const signs = treatment.kind === 'sign' || (treatment.kind === 'encrypt' && treatment.sign)
  if (!signer || findings.signer.kind !== 'found' || !signs) return undefined
  const prepared = await prepare(content, section)
  const time = signingTimeFor(section.first('date')?.body, now)
  return {
    identity: findings.signer.identity,
    algorithm: signer.algorithm.name,
    source: identities.all.find(it => it.signer === signer)?.file,
    fingerprint: signer.certificate.fingerprint,
    notAfter: signer.certificate.notAfter.toISOString(),
    signingTime: time ? 'stated' : 'left out: the Date field is more than 55 minutes off',
    preparation: PREPARATION[prepared.kind](prepared.kind === 'unsafe' ? prepared.reason : ''),
  }
}

function encryption(decision: Decision): Encryption | undefined {
  const { found, treatment } = decision
  if (treatment.kind !== 'encrypt' || found?.kind !== 'valid') return undefined
  const { content, management } = choiceFor(decision)
  return {
    certificate: label(found.certificate),
    source: found.source,
    via: found.via,
    fingerprint: found.certificate.fingerprint,
    notAfter: found.certificate.notAfter.toISOString(),
    algorithms: `${content.name}, ${management.name}`,
    others: (found.others ?? []).map(label),
    pinned: found.pinned,
  }
}

function copyForAuthor(decision: Decision): readonly string[] | undefined {
  const { copy } = decision
  if (copy === undefined) return undefined
  if (copy.kind === 'none') return [`none: ${copy.reason}`]
  const keys = authorKeysOf(decision)
  if (keys.length === 0) return [NO_COPY_BESIDE]
  return keys.map(
    ({ certificate, management }) =>
      `${label(certificate)} from ${copy.source}, ${management.name}`,
  )
}

/** A certificate that was looked at, and what was thought of it. */
function considered({ certificate, source, belief }: Considered): string {
  const why = belief.kind === 'valid' ? (belief.note ?? 'may be used') : belief.reason
  return `${label(certificate)} from ${source}: ${why}`
}

function label({ subjectText, serialNumberHex }: Certificate): string {
  return `${subjectText}, serial ${serialNumberHex}`
}

function inWords(account: Account): string {
  const { certificate, encryption } = account
  const rows: [string, string | undefined][] = [
    ['direction', `${account.direction}, by next hop ${account.nextHop}`],
    ['author', account.author ?? 'no one author'],
    ['classes', account.classes.join(', ') || 'none'],
    ['rule', account.rule],
    ['action', account.action],
    ['why', account.reason],
    ['  silent', account.silence],
    ['certificate', certificate?.identity],
    ['  from', certificate?.source],
    ['  algorithm', certificate?.algorithm],
    ['  until', certificate?.notAfter],
    ['  signing time', certificate?.signingTime],
    ['  content', certificate?.preparation],
    ['encrypted to', encryption?.certificate],
    ['  from', encryption && `${encryption.source} (by ${encryption.via})`],
    ['  algorithms', encryption?.algorithms],
    ['  pinned', encryption?.pinned],
    ...(encryption?.others ?? []).map((text): [string, string] => ['  also to', text]),
    ['  until', encryption?.notAfter],
    ...(account.copy ?? []).map((text): [string, string] => ['author copy', text]),
    ...(account.inbound ?? []).map((text): [string, string] => ['inbound', text]),
    ...(account.seen ? seenInWords(account.seen) : []),
    ...account.considered.map((text): [string, string] => ['considered', text]),
    ...account.change.map((text): [string, string] => ['otherwise', text]),
  ]
  const lines = rows.flatMap(([name, value]) =>
    value === undefined ? [] : [`  ${name.padEnd(16)}${visible(value)}`],
  )
  return [visible(account.recipient), ...lines].join('\n')
}

function seenInWords(seen: Seen): [string, string | undefined][] {
  return [
    ['signature', `${seen.signature} (${seen.code}): ${seen.reason}`],
    ['  signer', seen.signer],
    ['encryption', seen.key ? `${seen.encryption}, by a key: ${seen.key}` : seen.encryption],
    ['  algorithms', seen.algorithms],
    ['notes', seen.notes.join(', ') || undefined],
    ['leaves', seen.leaves],
  ]
}

async function readMessage(
  file: string,
  { from, client, user }: { from: string; client: string; user?: string | undefined },
): Promise<Message> {
  const octets = await readFile(file === '-' ? '/dev/stdin' : file).catch((error: unknown) => {
    throw new Usage(`cannot read ${file}: ${(error as Error).message}`)
  })
  const content = contentOf(withLineEnds(octets))
  return {
    client: { address: client, user },
    reversePath: from === '' || from === '<>' ? null : mailboxOf(from),
    content,
    section: await readHeaderSection(content),
  }
}

/** Message files commonly end lines with LF alone; on the wire it is CRLF. */
function withLineEnds(octets: Buffer): Buffer {
  return Buffer.from(octets.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')
}

function mailboxOf(text: string): Mailbox {
  try {
    return parseMailbox(text)
  } catch (error) {
    if (error instanceof PosternError) throw new Usage(`${visible(text)}: ${error.message}`)
    throw error
  }
}

class Usage extends Error {}

function isUsageError(error: unknown): error is Error {
  const code = (error as { code?: unknown }).code
  return error instanceof Usage || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))
}

const NO_COPY_BESIDE = `none: ${NO_ROOM_FOR_COPY}; profile: modern has room for it`
/** How long sources of certificates are waited for. */
const SEARCH_MS = 30_000

const PREPARATION = {
  'as-is': () => 'signed octet for octet',
  're-encoded': () => 'parts with 8-bit octets or long lines are re-encoded first',
  unsafe: (reason: string) => `signed opaque: ${reason}`,
} as const

const OPTIONS = {
  from: { type: 'string', default: '' },
  to: { type: 'string', multiple: true, default: [] as string[] },
  client: { type: 'string', default: '127.0.0.1' },
  user: { type: 'string' },
  config: { type: 'string', default: 'config/postern.yaml' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern explain MESSAGE.eml --from A --to B [--to C …] [--config FILE] [--json]

Decides about a message without sending it: per recipient the rule, the certificate and where it
comes from, the algorithm, the action, and what would change it. MESSAGE.eml may be - for stdin.

  --from A        reverse-path; <> or left out: the null reverse-path
  --to B          recipient; may be given several times
  --client IP     address that the message comes from, default 127.0.0.1
  --user NAME     the client has authenticated as NAME
  --config FILE   default config/postern.yaml
  --json          the same for programs

Exit code 1 where a recipient would be refused.`
