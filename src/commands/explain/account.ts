/**
 * What is told of each recipient of a message: what was decided and why, what leaves, and what would
 * change it.
 *
 * Asks the same questions as the gateway, in the same order, with the same code; only RCPT is not
 * offered to a next hop, so what the next hop would say is not known.
 *
 * @module
 */
import { type Decision, decideAll, type Recipient } from '../../gateway/decision.ts'
import { cameEncrypted } from '../../gateway/encryption-reading.ts'
import { directionOf } from '../../gateway/gateway.ts'
import { issuerOf, offerOf } from '../../gateway/harvest.ts'
import { withReadings } from '../../gateway/inbound-decision.ts'
import { refusalOf } from '../../gateway/refusal.ts'
import { nextHopOf } from '../../gateway/shipping.ts'
import type { Mailbox } from '../../mail/address.ts'
import { type Explanation, explainTreatment } from '../../policy/decide.ts'
import type { Direction } from '../../policy/facts.ts'
import { explainInbound, inboundAction, inboundRefusal } from '../../policy/inbound.ts'
import type { Treatment } from '../../policy/treatment.ts'
import { type Reply, worst } from '../../smtp/reply.ts'
import { inboundChanges } from './inbound-changes.ts'
import { type Leaving, leavingOf } from './leaving.ts'
import {
  considered,
  copyForAuthor,
  type Encryption,
  encryption,
  type Signing,
  signing,
  trustAdvice,
} from './outbound.ts'
import { type PassedOver, passedOver } from './passed-over.ts'
import { RELAY_DENIED, type Refusal, wholeRefusal } from './refusals.ts'
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
  /** Rules ahead of that one, and why they do not apply. */
  readonly passedOver?: readonly PassedOver[] | undefined
  readonly action: string
  readonly refused: boolean
  readonly reason: string
  /** What the client hears, where this recipient or another one is refused: of several the worst. */
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
  /** The certificate that is offered to the harvest, and for whom. */
  readonly harvest?: string | undefined
  /** What happened to a source of certificates that did not answer. */
  readonly silence?: string | undefined
  /** Every certificate of the recipient that was looked at. */
  readonly considered: readonly string[]
  readonly change: readonly string[]
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
  const whole = await wholeRefusal(scene)
  if (whole) return paths.map(path => refusedAccount(path, whole))
  const isTaken = (path: (typeof paths)[0]) => mayRelay || path.direction === 'inbound'
  const told = await decidedAccounts(paths.filter(isTaken), scene)
  return paths.map(path => (isTaken(path) ? told.shift()! : refusedAccount(path, RELAY_DENIED)))
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
    action: `refuse for good (${said.code})`,
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
    const isRefused = (it: Decision): boolean => refusalOf(it) !== undefined
    const refused = decisions.filter(isRefused).map(({ facts }) => facts.recipient)
    const isHeldUp = refused.length > 0
    const replies = decisions.flatMap(it => refusalOf(it) ?? [])
    const leaving = isHeldUp ? undefined : await leavingOf(decisions, scene)
    const envelope = decisions.some(isEncrypted) ? await envelopeOf(scene) : []
    const known: Known = { scene, envelope, changes: new Map() }
    const accounts: Account[] = []
    // One after the other: each reads the message several times.
    for (const [at, decision] of decisions.entries())
      accounts.push({
        ...basics(decision),
        passedOver: passedOver(scene.config.rules, decision.wish.rule, decision.facts),
        ...(await explanation(decided[at]!, decision, known)),
        certificate: await signing(decision, scene),
        reply: isHeldUp ? worst(replies) : undefined,
        leaving: leaving?.get(decision),
        heldUpBy: isHeldUp && !isRefused(decision) ? refused : undefined,
        harvest: isHeldUp ? undefined : await harvested(decision, scene),
      })
    return accounts
  } finally {
    reader.dispose()
  }
}

/** What is the same for several recipients. */
interface Known {
  readonly scene: Scene
  readonly envelope: Parameters<typeof seenIn>[2]
  /** By rule and keys: to find out costs several readings. */
  readonly changes: Map<string, readonly string[]>
}

/** What a message that passes brings for the next one to its author. */
async function harvested(
  { reading }: Decision,
  { config, others }: Scene,
): Promise<string | undefined> {
  if (!reading || !config.certificates.some(({ kind }) => kind === 'harvested')) return undefined
  const offer = offerOf(reading, await issuerOf(reading, others.signerTrust))
  return offer && `${label(offer.certificate)} for ${offer.mailbox.toString()}`
}

function isEncrypted({ reading }: Decision): boolean {
  return reading !== undefined && cameEncrypted(reading.encryption)
}

function basics(decision: Decision) {
  const { facts, wish, found, direction } = decision
  return {
    recipient: facts.recipient,
    direction,
    nextHop: nextHopOf(decision),
    classes: [...facts.classes],
    author: facts.author,
    rule: wish.rule,
    refused: refusalOf(decision) !== undefined,
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
  { scene, envelope, changes }: Known,
): Promise<Explanation & Pick<Account, 'seen'>> {
  const { facts, wish, findings, treatment, reading } = decision
  const outbound = explainTreatment(wish, facts.classes, findings, treatment)
  if (reading === undefined)
    return { ...outbound, change: [...outbound.change, ...(await trustAdvice(decision, scene))] }
  const seen = await seenIn(reading, decision, envelope, scene)
  // Rules may sign and encrypt inbound mail too, or refuse it for want of a certificate.
  if (!isByReading(treatment)) return { ...outbound, seen }
  const keys = scene.inbound.keyring.keysFor(decision.forwardPath.mailbox).name
  const alike = JSON.stringify([wish.rule, keys])
  const change = changes.get(alike) ?? (await inboundChanges(decided, decision, seen, scene))
  changes.set(alike, change)
  return {
    action: treatment.kind === 'relay' ? inboundAction(wish) : outbound.action,
    reason: treatment.kind === 'relay' ? treatment.reason : inboundRefusal(wish, reading.verdict),
    change,
    seen,
  }
}

function isByReading(treatment: Treatment): boolean {
  if (!('cause' in treatment)) return treatment.kind === 'relay'
  return treatment.cause === 'bad-signature' || treatment.cause === 'signature-required'
}

const NOT_ASKED = '(not asked)'
