/**
 * The transaction, spoken live: MAIL, RCPT, DATA, the octets and, as a step of its own, the final dot.
 *
 *     mail ─▶ recipient … ─▶ data ─▶ send ─▶ (everybody stands before the dot) ─▶ end ─▶ release
 *                                     └─ destroy: no dot, no message (RFC 5321 §4.1.1.4)
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import type { EsmtpParameters, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import { DotStuffer } from './dot-stuffing.ts'
import { type Reply, reply } from './reply.ts'
import { type Command, type Extensions, lostError, type Wire } from './wire.ts'

/** What MAIL has to know about the content that is to come. */
export interface MailOptions {
  /** Octets of the content as it will be sent, as far as known (RFC 1870). */
  readonly sizeOctets?: number | undefined
  /** The content has octets over 127 (RFC 6152). */
  readonly eightBit: boolean
  /** A header field or an address of the transaction is not ASCII (RFC 6531 §3.4). */
  readonly utf8: boolean
}

/**
 * A connection to a next hop, for one transaction after the other.
 *
 * Every method rejects with `ERR_NEXT_HOP_LOST` (transient) where the connection is lost, a reply does
 * not come in time, or the next hop breaks the protocol. What the next hop refuses is no error but a
 * `Reply`. A 421 is handed back like any other reply; the connection is gone then.
 */
export interface Conversation {
  readonly extensions: Extensions
  /** Whether the connection stands, as far as one can know. */
  readonly alive: boolean
  /**
   * Begins a transaction. Parameters go out only where their extension is offered: SIZE and BODY by
   * `options`, RET and ENVID from `parameters` (RFC 3461 §4.3, §4.4).
   *
   * @returns The reply of the next hop; `utf8-not-offered` and `message-too-large` are ours, and then
   *   nothing was sent.
   */
  mail(reversePath: ReversePath, parameters: EsmtpParameters, options: MailOptions): Promise<Reply>
  /**
   * Offers a forward-path, NOTIFY and ORCPT with it where DSN is offered. May be called while earlier
   * replies are outstanding: with PIPELINING all leave at once (RFC 2920), else each in its turn.
   */
  recipient(forwardPath: ForwardPath): Promise<Reply>
  /** Says DATA. Anything but 354 means that no content may follow. */
  data(): Promise<Reply>
  /**
   * Sends the content and stops before the final dot. The last octets of it, up to 32 KiB, are held
   * back and leave with the dot, so that a small message is one write.
   *
   * @param octets Dots not stuffed. Chunks must stay as they are until `end` was answered. What it
   *   throws is thrown on, after the connection was dropped without a dot.
   * @throws {PosternError} `ERR_CONTENT_LINE_END`, see `DotStuffer`.
   */
  send(octets: AsyncIterable<Buffer>): Promise<void>
  /**
   * Sends the final dot. A 2yz reply means that the message is the next hop's. Where the content was
   * refused in the middle, that refusal is the reply, and no dot is sent.
   */
  end(): Promise<Reply>
  /** Gives up the transaction; the conversation can begin another (RFC 5321 §4.1.1.5). */
  reset(): Promise<void>
  /**
   * Gives the connection back for others, after RSET where a transaction is open. A connection that
   * stands in the middle of content is dropped instead. Nothing may be called afterwards.
   */
  release(): void
  /** Drops the connection at once. */
  destroy(): void
}

/** How long each step may take, in ms (RFC 5321 §4.5.3.2). */
export interface ConversationLimits {
  /** MAIL, RCPT, RSET. */
  readonly commandMs: number
  /** DATA. */
  readonly dataMs: number
  /** For each block of content, until the next hop has taken it. */
  readonly blockMs: number
  /** The final dot. */
  readonly endMs: number
}

/** Where connections come from and go to. */
export interface WireSource {
  readonly limits: ConversationLimits
  /** A connection that nobody has used before. */
  fresh(): Promise<Wire>
  /** Takes a connection back that stands between two transactions. */
  put(wire: Wire): void
}

/** Begins a conversation on a connection. */
export function converseOn(wire: Wire, source: WireSource): Conversation {
  return new WireConversation(wire, source)
}

/**
 * `free`: between transactions. `open`: after MAIL. `content`: after 354. `standing`: before the dot.
 * `over`: given back or dropped.
 */
type State = 'free' | 'open' | 'content' | 'standing' | 'over'

class WireConversation implements Conversation {
  readonly #source: WireSource
  #wire: Wire
  #state: State = 'free'
  /** MAIL was sent with SMTPUTF8. */
  #utf8 = false
  /** Commands that wait for a fresh connection. */
  #waiting: Command[] | undefined
  #stuffer = new DotStuffer()
  #held: Buffer[] = []
  #heldOctets = 0

  constructor(wire: Wire, source: WireSource) {
    this.#wire = wire
    this.#source = source
    if (wire.conversations++ > 0 || wire.idleSince > 0)
      wire.rescue = commands => void this.#startAfresh(commands)
  }

  get extensions(): Extensions {
    return this.#wire.extensions
  }

  get alive(): boolean {
    return this.#state !== 'over' && (this.#wire.lost === undefined || this.#waiting !== undefined)
  }

  async mail(
    reversePath: ReversePath,
    parameters: EsmtpParameters,
    options: MailOptions,
  ): Promise<Reply> {
    this.#require('free')
    const { size, smtpUtf8 } = this.extensions
    const utf8 = options.utf8 || reversePath?.utf8 === true
    if (utf8 && !smtpUtf8) return reply('utf8-not-offered')
    // RFC 1870 §6.1: what is larger than the next hop takes need not be offered.
    if (size && options.sizeOctets !== undefined && options.sizeOctets > size)
      return reply('message-too-large')
    this.#state = 'open'
    this.#utf8 = utf8
    return this.#say(
      `MAIL FROM:<${String(reversePath ?? '')}>${this.#mailParameters(parameters, options)}\r\n`,
    )
  }

  async recipient({ mailbox, parameters }: ForwardPath): Promise<Reply> {
    this.#require('open')
    // RFC 6531 §3.5: without SMTPUTF8 at MAIL no such address may follow.
    if (mailbox.utf8 && !this.#utf8) return reply('utf8-not-offered')
    const dsn = this.extensions.dsn ? handedOn(parameters, 'NOTIFY', 'ORCPT') : ''
    return this.#say(`RCPT TO:<${mailbox.toString()}>${dsn}\r\n`)
  }

  async data(): Promise<Reply> {
    this.#require('open')
    const answer = await this.#say('DATA\r\n', '345', this.#source.limits.dataMs)
    if (answer.code >= 400) return answer
    if (answer.code !== 354) {
      this.#wire.lose(lostError('the next hop gave an answer to DATA that makes no sense'))
      throw this.#wire.lost
    }
    this.#wire.inData = true
    this.#stuffer = new DotStuffer()
    if (this.#state === 'open') this.#state = 'content'
    return answer
  }

  async send(octets: AsyncIterable<Buffer>): Promise<void> {
    this.#require('content')
    try {
      for await (const chunk of octets) {
        if (this.#wire.lost) break
        const full = this.#hold(this.#stuffer.stuff(chunk))
        if (full) await full
      }
      if (this.#wire.lost && !this.#wire.refusal) throw this.#wire.lost
      if (this.#state === 'content') this.#state = 'standing'
    } catch (error) {
      if (!this.#wire.refusal) {
        this.destroy()
        throw error
      }
      this.#state = 'standing'
    }
  }

  async end(): Promise<Reply> {
    this.#require('standing')
    this.#state = 'free'
    const { refusal } = this.#wire
    if (refusal) return refusal
    const last = Buffer.concat([...this.#held, this.#stuffer.finish()])
    this.#letGo()
    this.#wire.inData = false
    // What the write has to wait for, the reply has to wait for too.
    const answer = this.#say('', '245', this.#source.limits.endMs)
    this.#wire.writeLast(last)
    const given = await answer
    this.#wire.transactions++
    return given
  }

  async reset(): Promise<void> {
    if (this.#state === 'free') return
    this.#require('open')
    this.#state = 'free'
    const answer = await this.#say('RSET\r\n')
    if (answer.code < 300) return
    this.#wire.lose(lostError('the next hop refused RSET'))
    throw this.#wire.lost
  }

  release(): void {
    const state = this.#state
    if (state === 'content' || state === 'standing') this.destroy()
    this.#state = 'over'
    if (state === 'over' || this.#waiting || this.#wire.lost) return
    this.#wire.rescue = undefined
    if (state === 'free' && !this.#wire.busy) this.#source.put(this.#wire)
    else void this.#resetBehind(this.#wire)
  }

  destroy(): void {
    const givenUp = lostError('the conversation was given up')
    this.#state = 'over'
    this.#letGo()
    this.#wire.lose(givenUp, false)
    for (const command of this.#waiting?.splice(0) ?? []) command.reject(givenUp)
  }

  /** Nobody waits for it. */
  async #resetBehind(wire: Wire): Promise<void> {
    const answer = await wire
      .command('RSET\r\n', '245', this.#source.limits.commandMs)
      .catch(() => undefined)
    if (answer && answer.code < 300) this.#source.put(wire)
    else wire.lose(lostError('the next hop refused RSET'))
  }

  #require(state: State): void {
    if (this.#state === state) return
    if (this.#wire.lost && !this.#waiting) throw this.#wire.lost
    throw new Error(`conversation is ${this.#state}, not ${state}`)
  }

  #say(line: string, expected = '245', limitMs = this.#source.limits.commandMs): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const command: Command = { line, expected, limitMs, resolve, reject }
      if (this.#waiting) this.#waiting.push(command)
      else this.#wire.submit(command)
    })
  }

  #mailParameters(parameters: EsmtpParameters, options: MailOptions): string {
    const { size, eightBitMime, dsn } = this.extensions
    let text = ''
    if (size !== undefined && options.sizeOctets !== undefined)
      text += ` SIZE=${options.sizeOctets}`
    if (eightBitMime && options.eightBit) text += ' BODY=8BITMIME'
    if (this.#utf8) text += ' SMTPUTF8'
    return dsn ? text + handedOn(parameters, 'RET', 'ENVID') : text
  }

  /** Holds octets back for the last write; writes what was held where it becomes too much. */
  #hold(octets: Buffer): Promise<void> | undefined {
    this.#held.push(octets)
    this.#heldOctets += octets.length
    if (this.#heldOctets < HELD_OCTETS) return undefined
    const held = this.#held.length === 1 ? octets : Buffer.concat(this.#held, this.#heldOctets)
    this.#letGo()
    return this.#wire.write(held, this.#source.limits.blockMs)
  }

  #letGo(): void {
    this.#held = []
    this.#heldOctets = 0
  }

  /**
   * Says everything again on a fresh connection, once: a kept-alive one may have died unnoticed, and
   * then nobody has heard it. Without a final dot nothing can arrive twice.
   */
  async #startAfresh(commands: Command[]): Promise<void> {
    this.#waiting = commands
    const before = this.#wire.extensions
    try {
      const wire = await this.#source.fresh()
      if ((this.#state as State) === 'over') return this.#source.put(wire)
      wire.conversations++
      this.#wire = wire
      if (!sameExtensions(before, wire.extensions))
        wire.lose(lostError('the next hop offers other extensions than before'), false)
      for (const command of this.#waiting) wire.submit(command)
    } catch (error) {
      for (const command of this.#waiting) command.reject(asPosternError(error))
    } finally {
      this.#waiting = undefined
    }
  }
}

/** Parameters as they came, in xtext, which the listener has checked. */
function handedOn(parameters: EsmtpParameters, ...keywords: string[]): string {
  let text = ''
  for (const keyword of keywords) {
    const value = parameters.get(keyword)
    if (value !== undefined && PARAMETER.test(value)) text += ` ${keyword}=${value}`
  }
  return text
}

function sameExtensions(one: Extensions, other: Extensions): boolean {
  return (Object.keys(one) as (keyof Extensions)[]).every(key => one[key] === other[key])
}

function asPosternError(error: unknown): PosternError {
  return error instanceof PosternError ? error : lostError('no fresh connection', error)
}

/** esmtp-value (RFC 5321 §4.1.2): nothing that could end the parameter or the line. */
const PARAMETER = /^[!-<>-~]+$/
const HELD_OCTETS = 32_768
