/**
 * What is told of each recipient of a message: what was decided and why, what leaves, and what would
 * change it.
 *
 * Asks the same questions as the gateway, in the same order, with the same code; only RCPT is not
 * offered to a next hop, so what the next hop would say is not known.
 *
 * @module
 */
import type { Considered } from '../../certstore/directory.ts'
import { signingTimeFor } from '../../crypto/smime/sign-message.ts'
import { NO_ROOM_FOR_COPY } from '../../gateway/author-copy.ts'
import { type Decision, decideAll, type Recipient } from '../../gateway/decision.ts'
import { directionOf } from '../../gateway/gateway.ts'
import { withReadings } from '../../gateway/inbound-decision.ts'
import { refusalOf } from '../../gateway/refusal.ts'
import { authorKeysOf, choiceFor, nextHopOf } from '../../gateway/shipping.ts'
import type { Mailbox } from '../../mail/address.ts'
import { prepare } from '../../mail/seven-bit.ts'
import { type Explanation, explainTreatment } from '../../policy/decide.ts'
import type { Direction } from '../../policy/facts.ts'
import { explainInbound, inboundAction, inboundRefusal } from '../../policy/inbound.ts'
import type { Treatment } from '../../policy/treatment.ts'
import { type Reply, reply } from '../../smtp/reply.ts'
import { hopCount } from '../../smtp/trace.ts'
import { inboundChanges } from './inbound-changes.ts'
import { type Leaving, leavingOf } from './leaving.ts'
import { readerOf, type Scene } from './scene.ts'
import { envelopeOf, label, type Seen, seenIn } from './seen.ts'

/** What is told of one recipient. */
export interface Account {
  readonly recipient: string
  readonly direction: Direction
  readonly nextHop: string
  readonly classes: readonly string[]
  readonly author: string | undefined
  readonly rule: string
  readonly action: string
  readonly refused: boolean
  readonly reason: string
  /** What the client hears, where it is refused. */
  readonly reply?: Reply | undefined
  /** Who is refused, where this one would not be: nobody gets a message that somebody is refused. */
  readonly heldUpBy?: readonly string[] | undefined
  /** Our own, where it signs. */
  readonly certificate?: Signing | undefined
  /** The recipient's, where it is encrypted to. */
  readonly encryption?: Encryption | undefined
  /** Where a rule wishes a copy for the author: what it is encrypted to, or why there is none. */
  readonly copy?: readonly string[] | undefined
  /** What is wished for an inbound message, whatever will be found in it; a sentence each. */
  readonly inbound?: readonly string[] | undefined
  readonly seen?: Seen | undefined
  /** What leaves; undefined where it is refused. */
  readonly leaving?: Leaving | undefined
  /** What happened to a source of certificates that did not answer. */
  readonly silence?: string | undefined
  /** Every certificate of the recipient that was looked at. */
  readonly considered: readonly string[]
  readonly change: readonly string[]
}

/** By which of our certificates it is signed. */
export interface Signing {
  readonly identity: string
  readonly algorithm: string
  readonly source: string | undefined
  readonly fingerprint: string
  readonly notAfter: string
  readonly signingTime: string
  readonly preparation: string
}

/** To which certificate it is encrypted. */
export interface Encryption {
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

/**
 * Tells of each recipient, in their order.
 *
 * @param mayRelay Whether its client may send outbound through us.
 */
export async function accountsOf(
  recipients: readonly Mailbox[],
  scene: Scene,
  mayRelay: boolean,
): Promise<readonly Account[]> {
  const paths = recipients.map(mailbox => {
    const forwardPath = { mailbox, parameters: new Map<string, string>() }
    return { forwardPath, direction: directionOf(forwardPath, scene.parts.domains) }
  })
  const whole = wholeRefusal(scene)
  if (whole) return paths.map(path => refusedAccount(path, whole))
  const isTaken = (path: (typeof paths)[0]) => mayRelay || path.direction === 'inbound'
  const told = await decidedAccounts(paths.filter(isTaken), scene)
  return paths.map(path => (isTaken(path) ? told.shift()! : refusedAccount(path, RELAY_DENIED)))
}

/** A refusal that no rule makes. */
interface Refusal {
  readonly reply: Reply
  readonly reason: string
  readonly change: string
}

/** What a message is refused for, whoever it is for. */
function wholeRefusal({ message: { content, section }, config: { limits } }: Scene) {
  if (content.sizeOctets > limits.message)
    return {
      reply: reply('message-too-large'),
      reason: `it has ${content.sizeOctets} octets, and limits.message is ${limits.message}`,
      change: 'with a greater limits.message it would be taken',
    }
  const hops = hopCount(section)
  if (hops < limits.hops) return undefined
  return {
    reply: reply('loop'),
    reason: `it has ${hops} Received fields, and limits.hops is ${limits.hops}`,
    change: 'with a greater limits.hops it would be taken; look for a loop first',
  }
}

function refusedAccount(
  { forwardPath, direction }: Recipient,
  { reply: said, reason, change }: Refusal,
): Account {
  return {
    recipient: forwardPath.mailbox.toString(),
    direction,
    nextHop: direction,
    classes: [],
    author: undefined,
    rule: NOT_ASKED,
    action: 'refuse for good (550)',
    refused: true,
    reason,
    reply: said,
    considered: [],
    change: [change],
  }
}

async function decidedAccounts(recipients: readonly Recipient[], scene: Scene): Promise<Account[]> {
  const { message, parts, now, signal } = scene
  const reader = readerOf(scene)
  try {
    const decided = await decideAll(message, recipients, parts, { now, signal })
    const decisions = await withReadings(decided, reader)
    const leaving = await leavingOf(decisions, scene)
    const envelope = decisions.some(isEncrypted) ? await envelopeOf(scene) : []
    const isRefused = (it: Decision): boolean => refusalOf(it) !== undefined
    const refused = decisions.filter(isRefused).map(({ facts }) => facts.recipient)
    const accounts: Account[] = []
    // One after the other: each reads the message several times.
    for (const [at, decision] of decisions.entries()) {
      const account = {
        ...basics(decision),
        ...(await explanation(decided[at]!, decision, envelope, scene)),
        certificate: await signing(decision, scene),
        leaving: refused.length > 0 ? undefined : leaving.get(decision),
        heldUpBy: refused.length > 0 && !isRefused(decision) ? refused : undefined,
      }
      accounts.push(account)
    }
    return accounts
  } finally {
    reader.dispose()
  }
}

function isEncrypted({ reading }: Decision): boolean {
  return reading !== undefined && reading.encryption.result !== 'none'
}

function basics(decision: Decision) {
  const { facts, wish, found, treatment, direction } = decision
  return {
    recipient: facts.recipient,
    direction,
    nextHop: nextHopOf(decision),
    classes: [...facts.classes],
    author: facts.author,
    rule: wish.rule,
    refused: treatment.kind === 'reject' || treatment.kind === 'defer',
    reply: refusalOf(decision),
    encryption: encryption(decision),
    copy: copyForAuthor(decision),
    inbound: direction === 'inbound' ? explainInbound(wish) : undefined,
    silence: found?.kind === 'unknown' ? found.silence : undefined,
    considered: found?.considered.map(considered) ?? [],
  }
}

/** Why, and what would change it: by what was seen in the message, where that decides. */
async function explanation(
  decided: Decision,
  decision: Decision,
  envelope: Parameters<typeof seenIn>[2],
  scene: Scene,
): Promise<Explanation & Pick<Account, 'seen'>> {
  const { facts, wish, findings, treatment, reading } = decision
  const outbound = explainTreatment(wish, facts.classes, findings, treatment)
  if (reading === undefined) return outbound
  const seen = await seenIn(reading, decision, envelope, scene)
  // Rules may sign and encrypt inbound mail too, or refuse it for want of a certificate.
  if (!isByReading(treatment)) return { ...outbound, seen }
  return {
    action: treatment.kind === 'relay' ? inboundAction(wish) : outbound.action,
    reason: treatment.kind === 'relay' ? treatment.reason : inboundRefusal(wish, reading.verdict),
    change: await inboundChanges(decided, decision, seen, scene),
    seen,
  }
}

function isByReading(treatment: Treatment): boolean {
  if (!('cause' in treatment)) return treatment.kind === 'relay'
  return treatment.cause === 'bad-signature' || treatment.cause === 'signature-required'
}

async function signing(
  { signer, findings, treatment }: Decision,
  { message: { content, section }, parts, now }: Scene,
): Promise<Signing | undefined> {
  const signs = treatment.kind === 'sign' || (treatment.kind === 'encrypt' && treatment.sign)
  if (!signer || findings.signer.kind !== 'found' || !signs) return undefined
  const prepared = await prepare(content, section)
  const time = signingTimeFor(section.first('date')?.body, now)
  return {
    identity: findings.signer.identity,
    algorithm: signer.algorithm.name,
    source: parts.identities.all.find(it => it.signer === signer)?.file,
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

const NOT_ASKED = '(not asked)'
const RELAY_DENIED: Refusal = {
  reply: reply('relay-denied'),
  reason: 'its client is not in relayFrom, and has not authenticated',
  change: 'from a client in relayFrom, or with --user, the rules would decide',
}
const NO_COPY_BESIDE = `none: ${NO_ROOM_FOR_COPY}; profile: modern has room for it`

const PREPARATION = {
  'as-is': () => 'signed octet for octet',
  're-encoded': () => 'parts with 8-bit octets or long lines are re-encoded first',
  unsafe: (reason: string) => `signed opaque: ${reason}`,
} as const
