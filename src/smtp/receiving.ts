/**
 * A message that is arriving, from the 354 to its end.
 *
 *     octets ─▶ StrictData ─▶ ContentSink      until the end of data
 *                  └─ refused: read on to the end, so that the client hears why; nothing is held
 *
 * @module
 */
import type { Content } from '../mail/mail-object.ts'
import type { Limits } from './limits.ts'
import type { ReplyName } from './reply.ts'
import { StrictData } from './strict-data.ts'

/** Where the content of a message goes while it arrives. */
export interface ContentSink {
  write(chunk: Buffer): void | Promise<void>
  finish(): Content | Promise<Content>
  discard(): void
}

/** One message on its way in. Its owner takes the sink away in the end, or discards it. */
export class Receiving {
  /** Absent once the message is refused. */
  sink: ContentSink | undefined
  refusal: ReplyName | undefined
  /** By when the client has to have sent more, on the monotonic clock. */
  deadline: number
  readonly #limits: Limits
  readonly #reader: StrictData
  #octets = 0

  constructor(sink: ContentSink, limits: Limits) {
    this.sink = sink
    this.#limits = limits
    this.#reader = new StrictData(limits.lineOctets)
    this.deadline = performance.now() + limits.dataStallMs
  }

  /** The end of data has been read. */
  get ended(): boolean {
    return this.#reader.ended
  }

  /** What is refused is read to its end; but not for ever. */
  get isEndless(): boolean {
    return this.sink === undefined && this.#octets > 2 * this.#limits.messageOctets + DRAIN_OCTETS
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
    if (fault) this.refuse(fault)
    if (this.#octets > this.#limits.messageOctets) this.refuse('message-too-large')
    return used
  }

  /**
   * Holds what the last `read` found.
   *
   * @returns A promise where the store is slower than the client.
   * @throws what the store throws, or a rejection with it: `refuse` with `content-store-full` then.
   */
  hold(): void | Promise<void> {
    const { content } = this.#reader
    if (this.sink && content.length > 0) return this.sink.write(content)
  }

  /** The first refusal stands, but for the one that must also end the session. */
  refuse(refusal: ReplyName): void {
    this.discard()
    if (this.refusal === undefined || refusal === 'bare-line-ending') this.refusal = refusal
  }

  discard(): void {
    this.sink?.discard()
    this.sink = undefined
  }

  /** Time that we needed is not the client's. */
  forgive(): void {
    this.deadline = Math.max(this.deadline, performance.now() + this.#limits.dataStallMs / 2)
  }

  /** Every octet buys time at the minimum rate, but nobody may save up more than one stall. */
  #pace(octets: number): void {
    const { dataOctetsPerSecond, dataStallMs } = this.#limits
    const earned = this.deadline + (octets * 1000) / dataOctetsPerSecond
    this.deadline = Math.min(earned, performance.now() + dataStallMs)
  }
}

/** What is read of a message that is too large, beyond twice the limit. */
const DRAIN_OCTETS = 1024 * 1024
