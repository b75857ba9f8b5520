/**
 * A transaction offered to one next hop while the client still talks.
 *
 *     RCPT ──▶ offered live, its reply handed back ──▶ kept open a moment ──▶ taken at the end of data
 *                                                          └─ client slow: let go, offered again then
 *
 * A conversation is scarce. It is kept for a client who goes on at once, and given back where the
 * client pauses or uploads for long, so that slow strangers cannot hold the next hop for themselves:
 * all pauses of a transaction together have the time that one may have.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import type { EsmtpParameters, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import type { Conversation, MailOptions, NextHop } from './next-hop.ts'
import { isPositive, type Reply, reply } from './reply.ts'

/** What MAIL tells each next hop. */
export interface Opening {
  readonly reversePath: ReversePath
  readonly parameters: EsmtpParameters
  readonly options: MailOptions
}

/** The live half of a transaction: what one next hop has said to it so far. */
export class Offer {
  readonly #nextHop: NextHop
  readonly #opening: Opening
  readonly #accepted: ForwardPath[] = []
  #open: Promise<Opened> | undefined
  /** How many of the accepted the open conversation has heard of. */
  #acceptedInOpen = 0
  #letGo: NodeJS.Timeout | undefined
  /** What the client's pauses may still cost, and since when it pauses. */
  #patienceMs: number
  #pausedAt = 0
  #pending = 0

  constructor(nextHop: NextHop, opening: Opening, keepMs: number = KEEP_MS) {
    this.#nextHop = nextHop
    this.#opening = opening
    this.#patienceMs = keepMs
  }

  /** Whether these are the forward-paths that the next hop has accepted, in the order of RCPT. */
  isFor(forwardPaths: readonly ForwardPath[]): boolean {
    // As many others may come here by a route: what is for them must not go to these.
    return (
      forwardPaths.length === this.#accepted.length &&
      forwardPaths.every((path, index) => path === this.#accepted[index])
    )
  }

  /** Offers one forward-path and hands the reply back; where MAIL was refused, that refusal. */
  async recipient(forwardPath: ForwardPath, signal: AbortSignal): Promise<Reply> {
    this.#pending++
    this.#endPause()
    try {
      return await this.#ask(forwardPath, signal)
    } finally {
      this.#pending--
      this.#keepAWhile()
    }
  }

  /**
   * The conversation that stands before DATA with exactly these forward-paths accepted: the open one
   * where it fits, else a new one to which they are offered again.
   *
   * @throws {PosternError} `ERR_OFFER_REFUSED` where the next hop now refuses what it had accepted;
   *   `ERR_NEXT_HOP_…` where it cannot be reached.
   */
  async take(forwardPaths: readonly ForwardPath[], signal: AbortSignal): Promise<Conversation> {
    clearTimeout(this.#letGo)
    const open = this.#open
    const isWhole = this.#acceptedInOpen === this.#accepted.length
    if (open && isWhole && this.isFor(forwardPaths)) {
      this.#open = undefined
      const { conversation } = await open
      if (conversation.alive) return conversation
      conversation.destroy()
    }
    this.abandon()
    return offerAgain(this.#nextHop, this.#opening, forwardPaths, signal)
  }

  /** Gives the conversation back, whatever stands open in it. */
  abandon(): void {
    clearTimeout(this.#letGo)
    const open = this.#open
    this.#open = undefined
    open?.then(
      ({ conversation }) => conversation.release(),
      () => undefined,
    )
  }

  async #ask(forwardPath: ForwardPath, signal: AbortSignal): Promise<Reply> {
    try {
      this.#open ??= this.#begin(signal)
      const { conversation, mail } = await this.#open
      // MAIL and the first RCPT leave in one segment where the next hop offers PIPELINING.
      const answer = conversation.recipient(forwardPath)
      // Where MAIL fails nobody waits for it, and a rejection that nobody hears ends the process.
      answer.catch(() => undefined)
      const opened = await mail
      if (!isPositive(opened)) {
        this.abandon()
        return opened
      }
      const said = await answer
      if (isPositive(said)) {
        this.#accepted.push(forwardPath)
        this.#acceptedInOpen++
      }
      if (said.code === 421) this.abandon()
      return said
    } catch (error) {
      this.abandon()
      return replyToFault(error)
    }
  }

  /**
   * A conversation that takes the place of one that was let go hears only of what comes next: the
   * forward-paths before are offered again when the content is there, all together, and once.
   */
  async #begin(signal: AbortSignal): Promise<Opened> {
    this.#acceptedInOpen = 0
    const conversation = await this.#nextHop.converse(signal)
    const mail = sayMail(conversation, this.#opening)
    mail.catch(() => undefined)
    return { conversation, mail }
  }

  #keepAWhile(): void {
    if (this.#pending > 0 || this.#open === undefined) return
    this.#pausedAt = performance.now()
    clearTimeout(this.#letGo)
    this.#letGo = setTimeout(() => this.abandon(), this.#patienceMs).unref()
  }

  #endPause(): void {
    clearTimeout(this.#letGo)
    if (this.#open === undefined) return
    this.#patienceMs = Math.max(0, this.#patienceMs - (performance.now() - this.#pausedAt))
  }
}

/**
 * The reply to a fault on the way to a next hop. The next hop's troubles are the client's to wait for.
 */
export function replyToFault(error: unknown): Reply {
  if (!(error instanceof PosternError)) throw error
  return OFFERED_REPLY.has(error)
    ? OFFERED_REPLY.get(error)!
    : (FAULTS[error.code] ?? reply('internal-error'))
}

async function offerAgain(
  nextHop: NextHop,
  opening: Opening,
  forwardPaths: readonly ForwardPath[],
  signal: AbortSignal,
): Promise<Conversation> {
  const conversation = await nextHop.converse(signal)
  try {
    const mail = sayMail(conversation, opening)
    const recipients = forwardPaths.map(forwardPath => conversation.recipient(forwardPath))
    for (const answer of await Promise.all([mail, ...recipients]))
      if (!isPositive(answer)) throw offerRefused(answer)
    return conversation
  } catch (error) {
    conversation.release()
    throw error
  }
}

const sayMail = (conversation: Conversation, { reversePath, parameters, options }: Opening) =>
  conversation.mail(reversePath, parameters, options)

function offerRefused(answer: Reply): PosternError {
  const persistence = answer.code >= 500 ? 'permanent' : 'transient'
  const error = new PosternError(
    'ERR_OFFER_REFUSED',
    persistence,
    'the next hop refused the transaction',
  )
  OFFERED_REPLY.set(error, answer)
  return error
}

interface Opened {
  readonly conversation: Conversation
  readonly mail: Promise<Reply>
}

/** How long an open transaction waits for a client, in all, before its conversation serves others. */
const KEEP_MS = 5_000

const OFFERED_REPLY = new WeakMap<PosternError, Reply>()

const FAULTS: Readonly<Record<string, Reply>> = {
  ERR_NEXT_HOP_UNAVAILABLE: reply('next-hop-unavailable'),
  ERR_NEXT_HOP_BUSY: reply('next-hop-busy'),
  ERR_NEXT_HOP_LOST: reply('next-hop-lost'),
}
