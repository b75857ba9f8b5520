/**
 * The data phase of a transaction: a message that arrives, from the 354 to the reply to its end.
 *
 *     octets ─▶ StrictData ─▶ ContentSink ─ end of data ─▶ Transaction.content ─▶ Reply
 *                  └─ refused: read on to the end, so that the client hears why; nothing is held
 *
 * @module
 */
import type { Log } from '../log.ts'
import type { Content } from '../mail/mail-object.ts'
import type { Limits } from './limits.ts'
import { type Reply, type ReplyName, reply } from './reply.ts'
import { StrictData } from './strict-data.ts'
import type { Transaction } from './transaction.ts'

/** Where the content of a message goes while it arrives. */
export interface ContentSink {
  write(chunk: Buffer): void | Promise<void>
  finish(): Content | Promise<Content>
  discard(): void
}

/** What a message on its way in needs to know of its session. */
export interface ReceivingContext {
  /** Identifier of the session, for the log. */
  readonly session: string
  readonly limits: Limits
  readonly log: Log
}

/** One message on its way in, and the transaction that it belongs to: in the end they are answered. */
export class Receiving {
  refusal: ReplyName | undefined
  /** By when the client has to have sent more, on the monotonic clock. */
  deadline: number
  /** Absent once the message is refused, or handed over. */
  #sink: ContentSink | undefined
  readonly #transaction: Transaction
  readonly #context: ReceivingContext
  readonly #reader: StrictData
  #octets = 0
  /** While the message is being delivered. */
  #delivery: AbortController | undefined

  constructor(sink: ContentSink, transaction: Transaction, context: ReceivingContext) {
    this.#sink = sink
    this.#transaction = transaction
    this.#context = context
    this.#reader = new StrictData(context.limits.lineOctets)
    this.deadline = performance.now() + context.limits.dataStallMs
  }

  /** The end of data has been read. */
  get ended(): boolean {
    return this.#reader.ended
  }

  /** What is refused is read to its end; but not for ever. */
  get isEndless(): boolean {
    const most = 2 * this.#context.limits.messageOctets + DRAIN_OCTETS
    return this.refusal !== undefined && this.#octets > most
  }

  /**
   * Reads a chunk, which belongs to the message from now on: its octets are moved. `hold` is to follow.
   *
   * @returns How many of its octets belong to the data; what follows them are commands.
   */
  read(chunk: Buffer): number {
    const used = this.#reader.read(chunk)
    this.#pace(used)
    const { fault, content } = this.#reader
    this.#octets += content.length
    if (fault) this.#refuse(fault)
    if (this.#octets > this.#context.limits.messageOctets) this.#refuse('message-too-large')
    return used
  }

  /**
   * Holds what the last `read` found.
   *
   * @returns A promise where the store is slower than the client: it resolves once there is room again,
   *   and rejects where there never will be, which is what `storeFailed` is to be told then.
   */
  hold(): void | Promise<void> {
    const { content } = this.#reader
    if (this.#sink === undefined || content.length === 0) return
    try {
      return this.#sink.write(content)
    } catch (error) {
      this.storeFailed(error)
    }
  }

  /** Refuses what cannot be held. */
  storeFailed(error: unknown): void {
    this.#tellFault(error)
    this.#refuse('content-store-full')
  }

  /** Time that we needed is not the client's. */
  forgive(): void {
    const { dataStallMs } = this.#context.limits
    this.deadline = Math.max(this.deadline, performance.now() + dataStallMs / 2)
  }

  /** Gives up a message that has not been delivered, and its transaction. */
  abandon(): void {
    this.#discard()
    this.#transaction.abandon()
  }

  /** Hands over what has arrived to its end and is not refused, and answers for it. */
  async deliver(): Promise<Reply> {
    const delivery = new AbortController()
    this.#delivery = delivery
    const sink = this.#sink!
    this.#sink = undefined
    let content: Content
    try {
      content = await sink.finish()
    } catch (error) {
      this.#tellFault(error)
      sink.discard()
      this.#transaction.abandon()
      return reply('content-store-full')
    }
    if (delivery.signal.aborted) {
      content.dispose()
      this.#transaction.abandon()
      return reply('internal-error')
    }
    try {
      return await this.#transaction.content(content, delivery.signal)
    } finally {
      this.#delivery = undefined
    }
  }

  /** Nobody will hear what `deliver` answers. Does nothing before and after it. */
  abort(): void {
    this.#delivery?.abort()
  }

  /** The first refusal stands, but for the one that must also end the session. */
  #refuse(refusal: ReplyName): void {
    this.#discard()
    if (this.refusal === undefined || refusal === 'bare-line-ending') this.refusal = refusal
  }

  #discard(): void {
    this.#sink?.discard()
    this.#sink = undefined
  }

  /** Every octet buys time at the minimum rate, but nobody may save up more than one stall. */
  #pace(octets: number): void {
    const { dataOctetsPerSecond, dataStallMs } = this.#context.limits
    const earned = this.deadline + (octets * 1000) / dataOctetsPerSecond
    this.deadline = Math.min(earned, performance.now() + dataStallMs)
  }

  #tellFault(error: unknown): void {
    const { log, session } = this.#context
    log.error('content-store-failed', { session, error })
  }
}

/** What is read of a message that is too large, beyond twice the limit. */
const DRAIN_OCTETS = 1024 * 1024
