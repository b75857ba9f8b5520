/**
 * The trip of one mail object through the house.
 *
 *     MAIL ──▶ Trip ── RCPT ──▶ offered live to the next hop of its direction
 *                   └─ end of data ──▶ decide ──▶ group ──▶ protect ──▶ all dots, or none ──▶ reply
 *
 * This room knows policy, identities, cryptography and SMTP; none of those knows another. We keep no
 * mail: our 250 is the next hop's (RFC 5321 §6.1).
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import type { Search } from '../certstore/directory.ts'
import type { Harvested } from '../certstore/harvested.ts'
import { PosternError } from '../errors.ts'
import type { Log } from '../log.ts'
import { mailboxInDomains } from '../mail/address.ts'
import { type HeaderLimits, readHeaderSection } from '../mail/header-section.ts'
import type { Content, EsmtpParameters, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import { networkOf } from '../smtp/client-address.ts'
import { CLIENT_LOST, deliver, Turnstile } from '../smtp/delivery.ts'
import type { Ledger } from '../smtp/ledger.ts'
import type { NextHop } from '../smtp/next-hop.ts'
import { Offer, type Opening, replyToFault } from '../smtp/offer.ts'
import { isPositive, type Reply, reply, worst } from '../smtp/reply.ts'
import { hopCount, receivedField } from '../smtp/trace.ts'
import type { Client, House, Transaction } from '../smtp/transaction.ts'
import {
  type Decision,
  type DecisionParts,
  decideAll,
  type Message,
  type Recipient,
} from './decision.ts'
import { harvest } from './harvest.ts'
import { type InboundParts, InboundReader, type Reading } from './inbound.ts'
import { withReadings } from './inbound-decision.ts'
import type { Stamping } from './inbound-octets.ts'
import { recipientForLog } from './message-log.ts'
import { refusalOf } from './refusal.ts'
import { digestOf, type Group, group, octetsOf, visibleIn, wavesOf } from './shipping.ts'

/** The rooms of the house, handed in by the commands and by tests. */
export interface Parts extends DecisionParts {
  /** Our name in trace fields. */
  readonly hostname: string
  /** Our domains, A-labels: a forward-path in one of them is inbound. */
  readonly domains: ReadonlySet<string>
  /** By name in the configuration; `inbound` and `outbound` are always there. */
  readonly nextHops: ReadonlyMap<string, NextHop>
  /** Whether a client may send outbound through us. */
  mayRelay(client: Client): boolean
  readonly ledger: Ledger
  readonly limits: MessageLimits
  readonly inbound: InboundParts
  /** Undefined where nothing is harvested. */
  readonly harvested?: Harvested | undefined
  readonly stamping: Stamping
  /** How an address is told in the log; undefined where it is not. */
  addressForLog(address: string): string | undefined
  readonly now: () => Date
  readonly log: Log
}

/** What a message may be. */
export interface MessageLimits {
  /** Received fields beyond which it is in a loop (RFC 5321 §6.3). */
  readonly hops: number
  readonly headerSection: HeaderLimits
}

/** The house behind the listener. */
export function createGateway(parts: Parts): House {
  const turnstile = new Turnstile()
  return {
    begin: (client, reversePath, parameters) =>
      new Trip(parts, turnstile, client, openingOf(reversePath, parameters)),
  }
}

/** One transaction of one client. */
class Trip implements Transaction {
  readonly #parts: Parts
  readonly #turnstile: Turnstile
  readonly #client: Client
  readonly #opening: Opening
  /** By the direction, and the name of the next hop. */
  readonly #offers = new Map<string, Offer>()
  readonly #recipients: Recipient[] = []
  /** What inbound messages left as. */
  readonly #leftAs = new Map<Decision, Reading>()
  readonly #gone = new AbortController()
  readonly #id: string

  constructor(parts: Parts, turnstile: Turnstile, client: Client, opening: Opening) {
    this.#parts = parts
    this.#turnstile = turnstile
    this.#client = client
    this.#opening = opening
    this.#id = nextIdentifier()
  }

  async recipient(forwardPath: ForwardPath): Promise<Reply> {
    const direction = directionOf(forwardPath, this.#parts.domains)
    if (direction === 'outbound' && !this.#parts.mayRelay(this.#client))
      return reply('relay-denied')
    const said = await this.#offer(direction, direction).recipient(forwardPath, this.#gone.signal)
    if (isPositive(said))
      this.#recipients.push({
        forwardPath,
        direction,
        search: this.#search(forwardPath, direction),
      })
    return said
  }

  /** Asks for the certificate while the client still talks, so that the answer is there with the data. */
  #search(
    { mailbox }: ForwardPath,
    direction: Recipient['direction'],
  ): Promise<Search> | undefined {
    const { rules, directory } = this.#parts
    if (!rules.mayEncrypt({ direction, recipient: mailbox.toString() })) return undefined
    const search = directory.search(mailbox, this.#gone.signal)
    // Where no rule wants to know in the end, nobody waits for it.
    search.catch(() => undefined)
    return search
  }

  async content(content: Content, signal: AbortSignal): Promise<Reply> {
    try {
      return await this.#carry(content, signal)
    } catch (error) {
      return this.#answerFault(error)
    } finally {
      this.#release()
      content.dispose()
    }
  }

  abandon(): void {
    this.#gone.abort(CLIENT_LOST)
    this.#release()
  }

  /** Nothing is sent before it is known what each recipient gets. */
  async #carry(content: Content, signal: AbortSignal): Promise<Reply> {
    const { limits } = this.#parts
    const section = await readHeaderSection(content, 0, limits.headerSection)
    if (hopCount(section) >= limits.hops) return reply('loop')
    const { reversePath } = this.#opening
    const message: Message = { client: this.#client, reversePath, content, section }
    const now = this.#parts.now()
    const decided = await decideAll(message, this.#recipients, this.#parts, { now, signal })
    const reader = new InboundReader(message, this.#parts.inbound, now)
    try {
      return await this.#conclude(message, await withReadings(decided, reader), signal)
    } finally {
      reader.dispose()
    }
  }

  async #conclude(
    message: Message,
    decisions: readonly Decision[],
    signal: AbortSignal,
  ): Promise<Reply> {
    const refusals = decisions.flatMap(it => refusalOf(it) ?? [])
    const answer =
      refusals.length > 0 ? worst(refusals) : await this.#send(message, decisions, signal)
    if (isPositive(answer)) await this.#harvest(decisions)
    this.#tell(message, decisions, answer)
    return answer
  }

  /** A store that cannot be written to keeps nobody from getting mail. */
  async #harvest(decisions: readonly Decision[]): Promise<void> {
    const { harvested, inbound, log } = this.#parts
    try {
      if (harvested) await harvest(decisions, harvested, inbound.signerTrust)
    } catch (error) {
      log.warn('harvest-failed', { ...this.#names(), error })
    }
  }

  /** Sends to all who have not had it, or to none. */
  async #send(
    message: Message,
    decisions: readonly Decision[],
    signal: AbortSignal,
  ): Promise<Reply> {
    const { ledger, nextHops } = this.#parts
    const had = ledger.isEmpty() ? NOBODY : ledger.delivered(await this.#digest(message))
    const others = decisions.filter(it => !had.has(it.forwardPath.mailbox.toString()))
    const groups = group(others, visibleIn(message.section))
    if (groups.length === 0) return reply('delivered')

    const taken: Group[] = []
    let answer = reply('delivered')
    for (const wave of wavesOf(groups, nextHops)) {
      const delivery = await this.#deliver(message, wave, signal)
      taken.push(...delivery.taken)
      answer = delivery.reply
      if (delivery.taken.length < wave.length) break
    }
    return this.#settle(message, { wanted: groups.length, taken, answer }, signal)
  }

  /** Sends one wave, side by side: all of it or nothing, but for the moment between two dots. */
  async #deliver(
    message: Message,
    wave: readonly Group[],
    signal: AbortSignal,
  ): Promise<{ taken: readonly Group[]; reply: Reply }> {
    this.#releaseAllBut(wave)
    const shipments = wave.map(it => this.#shipment(message, it))
    const delivery = await deliver(shipments, this.#turnstile, signal)
    if (delivery.kind === 'answered') {
      const { replies } = delivery
      return {
        taken: wave.filter((_, index) => isPositive(replies[index]!)),
        reply: worst(replies),
      }
    }
    const { fault } = delivery
    return { taken: [], reply: fault === undefined ? delivery.reply : this.#answerFault(fault) }
  }

  /**
   * Who has had it must not get it again when the client retries: because others failed, or because
   * the client never heard our answer.
   */
  async #settle(
    message: Message,
    { wanted, taken, answer }: { wanted: number; taken: readonly Group[]; answer: Reply },
    signal: AbortSignal,
  ): Promise<Reply> {
    const { ledger } = this.#parts
    const all = taken.length === wanted
    if (taken.length > 0 && (!all || signal.aborted))
      ledger.record(await this.#digest(message), taken.flatMap(addressesOf))
    else if (all && !ledger.isEmpty()) ledger.forgetMessage(await this.#digest(message))
    return taken.length > 0 && !all ? reply('partly-delivered') : answer
  }

  /** Our own servers share their retries; a stranger's come from his network. */
  #digest(message: Message): Promise<Buffer> {
    const isOurs = this.#parts.mayRelay(this.#client)
    return digestOf(message, isOurs ? 'ours' : networkOf(this.#client.address))
  }

  #shipment(message: Message, group: Group) {
    const { hostname, now, stamping } = this.#parts
    const date = now()
    const received = receivedField({
      client: this.#client,
      hostname,
      id: this.#id,
      date,
      utf8: this.#opening.options.utf8,
    })
    const leaving = (reading: Reading): void => {
      for (const decision of group.decisions) this.#leftAs.set(decision, reading)
    }
    const { nextHop, forwardPaths, decisions } = group
    const [{ direction }] = decisions
    return {
      open: (signal: AbortSignal) => this.#offer(nextHop, direction).take(forwardPaths, signal),
      octets: (conversation: Parameters<typeof octetsOf>[2]) =>
        octetsOf(message, group, conversation, { received, stamping, now: date, leaving }),
    }
  }

  /** Inbound and outbound mail may go by one next hop, and not in one conversation. */
  #offer(name: string, direction: Recipient['direction']): Offer {
    const key = keyOf(name, direction)
    const known = this.#offers.get(key)
    if (known) return known
    const nextHop = this.#parts.nextHops.get(name)
    if (!nextHop) throw new Error(`no next hop ${name}`)
    const opening = direction === 'outbound' ? this.#opening : veiled(this.#opening)
    const offer = new Offer(nextHop, opening)
    this.#offers.set(key, offer)
    return offer
  }

  /** Whoever waits for connections must not hold one that is of no use. */
  #releaseAllBut(wave: readonly Group[]): void {
    const isWanted = (key: string, offer: Offer): boolean =>
      wave.some(
        ({ nextHop, forwardPaths, decisions: [{ direction }] }) =>
          keyOf(nextHop, direction) === key && offer.isFor(forwardPaths),
      )
    for (const [key, offer] of this.#offers) if (!isWanted(key, offer)) offer.abandon()
  }

  #release(): void {
    for (const offer of this.#offers.values()) offer.abandon()
  }

  #answerFault(error: unknown): Reply {
    const answer = replyToError(error)
    const code = error instanceof PosternError ? error.code : 'ERR_INTERNAL'
    const fields = { ...this.#names(), code, error, reply: answer.code }
    this.#parts.log[error instanceof PosternError ? 'warn' : 'error']('message-failed', fields)
    return answer
  }

  #names() {
    return { session: this.#client.session, transaction: this.#id }
  }

  /** One line a message: who, what, which rule, which identity, why; never content. */
  #tell({ content, section }: Message, decisions: readonly Decision[], answer: Reply): void {
    this.#parts.log.info('message', {
      ...this.#names(),
      client: this.#client.address,
      sender: this.#parts.addressForLog(decisions[0]?.facts.sender ?? ''),
      sizeOctets: content.sizeOctets,
      hops: hopCount(section),
      recipients: decisions.map(it =>
        recipientForLog(it, this.#parts.addressForLog(it.facts.recipient), this.#leftAs.get(it)),
      ),
      reply: answer.code,
      enhanced: answer.enhanced,
    })
  }
}

/** Of a transaction: unique as long as a log is kept, and cheap to make. */
function nextIdentifier(): string {
  return PROCESS + (counter++).toString(36).padStart(4, '0')
}

/** A forward-path in one of our domains is inbound, any other is outbound. */
export function directionOf(
  { mailbox }: ForwardPath,
  domains: ReadonlySet<string>,
): Recipient['direction'] {
  // RFC 5321 §4.5.1: <Postmaster> without a domain is ours.
  return mailbox.domain === '' || mailboxInDomains(mailbox, domains) ? 'inbound' : 'outbound'
}

function keyOf(nextHop: string, direction: Recipient['direction']): string {
  return `${direction} ${nextHop}`
}

function openingOf(reversePath: ReversePath, parameters: EsmtpParameters): Opening {
  const declared = Number(parameters.get('SIZE'))
  const options = {
    eightBit: parameters.get('BODY')?.toUpperCase() === '8BITMIME',
    utf8: parameters.has('SMTPUTF8'),
    // RFC 1870 §6: a message that is signed has grown by the time it is sent.
    ...(declared > 0 && { sizeOctets: declared + GROWTH_OCTETS }),
  }
  return { reversePath, parameters, options }
}

/**
 * What was opened must not come back in a report to whoever had sent it: he may be somebody who has
 * got hold of another's cipher text. Header fields are returned then, whatever was asked for, or
 * nothing was (RFC 3461 §4.3).
 */
function veiled(opening: Opening): Opening {
  return { ...opening, parameters: new Map(opening.parameters).set('RET', 'HDRS') }
}

function replyToError(error: unknown): Reply {
  if (!(error instanceof PosternError)) return reply('internal-error')
  const name = FAULTS[error.code]
  return name === undefined ? replyToFault(error) : reply(name, error.message)
}

function addressesOf({ forwardPaths }: Group): string[] {
  return forwardPaths.map(({ mailbox }) => mailbox.toString())
}

/** Tells the transactions of this process from those of others. */
const PROCESS = randomBytes(6).toString('hex')
let counter = 0

/** Received, Content-Type, the signature with its certificates. */
const GROWTH_OCTETS = 12_288

const NOBODY: ReadonlySet<string> = new Set()

/** Faults of a message or of ours; those of a next hop are answered in `smtp/`. */
const FAULTS: Readonly<Record<string, Parameters<typeof reply>[0]>> = {
  ERR_HEADER_SECTION_TOO_LARGE: 'header-section-too-large',
  ERR_MIME_TOO_DEEP: 'too-many-parts',
  ERR_MIME_TOO_MANY_PARTS: 'too-many-parts',
  ERR_EIGHT_BIT_NOT_OFFERED: 'eight-bit-not-offered',
  ERR_CONTENT_LINE_END: 'bare-line-ending',
  ERR_CONTENT_STORE_FULL: 'content-store-full',
  ERR_UNWRAP_UNAVAILABLE: 'keys-busy',
  ERR_KEY_UNUSABLE: 'signing-failed',
  ERR_SELF_CHECK: 'signing-failed',
}
