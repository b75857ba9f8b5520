/**
 * One connection to a next hop, after it was greeted and secured: commands out, replies in, in order.
 *
 *     command ──▶ waits for the end of the tick ──▶ one write for all ──┐
 *                                                                       ├──▶ each reply to its command
 *     octets of the peer ──▶ lines ──▶ replies, bounded and checked ────┘
 *
 * Whatever goes wrong ends in one place, `lose`: the connection is gone, and whoever waits is told.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { PosternError } from '../errors.ts'
import type { Reply } from './reply.ts'

/** What a next hop offers (RFC 5321 §4.1.1.1), as far as Postern makes use of it. */
export interface Extensions {
  readonly pipelining: boolean
  readonly eightBitMime: boolean
  /** Octets of the largest message (RFC 1870); 0 = no limit, `undefined` = not offered. */
  readonly size: number | undefined
  readonly smtpUtf8: boolean
  readonly dsn: boolean
  readonly enhancedStatusCodes: boolean
}

/** A command whose reply is awaited. */
export interface Command {
  /** With its CRLF; `''` where the octets were written already. */
  readonly line: string
  /** Reply classes that make sense: `'245'`; any other breaks the protocol. */
  readonly expected: string
  /** How long the reply may take, in ms. */
  readonly limitMs: number
  resolve(reply: Reply): void
  reject(error: PosternError): void
}

/** Reads the lines of an EHLO reply, codes and greeting taken off. */
export function parseExtensions(lines: readonly string[]): Extensions {
  const offered = new Map<string, string>()
  for (const line of lines) {
    const [keyword = '', parameter = ''] = line.split(' ', 2)
    offered.set(keyword.toUpperCase(), parameter)
  }
  const size = offered.get('SIZE')
  return {
    pipelining: offered.has('PIPELINING'),
    eightBitMime: offered.has('8BITMIME'),
    size: size === undefined ? undefined : /^\d{1,15}$/.test(size) ? Number(size) : 0,
    smtpUtf8: offered.has('SMTPUTF8'),
    dsn: offered.has('DSN'),
    enhancedStatusCodes: offered.has('ENHANCEDSTATUSCODES'),
  }
}

/** A connection. It closes itself where the peer breaks the protocol or a deadline. */
export class Wire {
  readonly extensions: Extensions
  /** How often it was handed out. */
  conversations = 0
  /** Transactions that ended on this connection. */
  transactions = 0
  /** Since when nobody uses it, or last did not, on the monotonic clock; 0 = it was never idle. */
  idleSince = 0
  /** Why the connection is gone; `undefined` while it stands. */
  lost: PosternError | undefined
  /** Told once, when the connection is gone. */
  onLost: (error: PosternError) => void = () => {}
  /**
   * Takes over the commands of a kept-alive connection that died, or said 421, before it answered any
   * of them. Dropped with the first reply.
   */
  rescue: ((commands: Command[], error: PosternError) => void) | undefined
  /** A 4yz or 5yz that came in the middle of the content, before the final dot. */
  refusal: Reply | undefined
  /** Content is going out: no reply is due. */
  inData = false

  readonly #socket: Socket
  /** Sent and not answered, in order. */
  readonly #awaited: Command[] = []
  /** Not yet sent, because the next hop takes one at a time. */
  readonly #unsent: Command[] = []
  #out = ''
  #rest: Buffer = NOTHING
  #lines: string[] = []
  #replyOctets = 0
  #deadline = Number.POSITIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #timerAt = 0
  #drained: (() => void) | undefined

  /** @param socket Connected, greeted, secured; nobody else listens to it any more. */
  constructor(socket: Socket, extensions: Extensions) {
    this.#socket = socket
    this.extensions = extensions
    socket.setTimeout(0)
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('drain', () => this.#drained?.())
    socket.on('error', error => this.lose(lostError('connection to the next hop failed', error)))
    socket.on('end', () => this.lose(lostError('the next hop closed the connection')))
    socket.on('close', () => this.lose(lostError('the next hop closed the connection')))
    if (socket.destroyed || socket.readableEnded) {
      queueMicrotask(() => this.lose(lostError('the next hop closed the connection')))
    }
  }

  /** Whether replies are due. */
  get busy(): boolean {
    return this.#awaited.length > 0 || this.#unsent.length > 0
  }

  /** Sends a command at the end of this tick, or once its turn has come. */
  submit(command: Command): void {
    if (this.lost) command.reject(this.lost)
    else if (this.extensions.pipelining || !this.busy) this.#send(command)
    else this.#unsent.push(command)
  }

  /** As `submit`, with a promise. */
  command(line: string, expected: string, limitMs: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.submit({ line, expected, limitMs, resolve, reject })
    })
  }

  /**
   * Writes octets of content.
   *
   * @returns `undefined` where more may follow at once, else a promise that waits until it may.
   */
  write(octets: Buffer, limitMs: number): Promise<void> | undefined {
    if (this.lost) throw this.lost
    this.#flush()
    if (this.#socket.write(octets)) return undefined
    return this.#drain(limitMs)
  }

  /** Writes the last octets of a content, whose reply is awaited already. */
  writeLast(octets: Buffer): void {
    if (!this.lost) this.#socket.write(octets)
  }

  /** Ends the connection for good; every command that waits is rejected. Later calls do nothing. */
  lose(error: PosternError, mayRescue = true): void {
    if (this.lost) return
    this.lost = error
    clearTimeout(this.#timer)
    this.#socket.destroy()
    const commands = this.#awaited.splice(0).concat(this.#unsent.splice(0))
    const { rescue } = this
    this.rescue = undefined
    if (rescue && mayRescue && commands.length > 0) rescue(commands, error)
    else for (const command of commands) command.reject(error)
    this.#drained?.()
    this.onLost(error)
  }

  /** Says QUIT and waits for the answer, or for `limitMs` (RFC 5321 §4.1.1.10). */
  async quit(limitMs: number): Promise<void> {
    await this.command('QUIT\r\n', '245', limitMs).catch(() => undefined)
    this.lose(lostError('connection to the next hop was closed'))
  }

  #send(command: Command): void {
    this.#awaited.push(command)
    if (this.#awaited.length === 1) this.#arm(command.limitMs)
    if (command.line === '') return
    if (this.#out === '') process.nextTick(Wire.#flushTick, this)
    this.#out += command.line
  }

  static #flushTick(this: void, wire: Wire): void {
    wire.#flush()
  }

  #flush(): void {
    const out = this.#out
    if (out === '') return
    this.#out = ''
    if (!this.lost) this.#socket.write(out)
  }

  async #drain(limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#drained = resolve
    this.#arm(limitMs)
    await promise
    this.#drained = undefined
    this.#deadline = Number.POSITIVE_INFINITY
    if (this.lost) throw this.lost
  }

  #read(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let start = 0
    for (let end = data.indexOf(LF); end >= 0; end = data.indexOf(LF, start)) {
      const line = data.toString('utf8', start, data[end - 1] === CR ? end - 1 : end)
      this.#replyOctets += end + 1 - start
      start = end + 1
      this.#line(line)
      if (this.lost) return
    }
    this.#rest = start === data.length ? NOTHING : data.subarray(start)
    if (this.#rest.length > MAX_LINE_OCTETS) this.#broken('a reply line without end')
  }

  #line(line: string): void {
    const fault = this.#faultOf(line)
    if (fault) this.#broken(fault)
    else this.#lines.push(line)
    if (fault || line[3] === '-') return
    const lines = this.#lines
    this.#lines = []
    this.#replyOctets = 0
    this.#answer(parseReply(lines))
  }

  #faultOf(line: string): string | undefined {
    if (!REPLY_LINE.test(line)) return 'a malformed reply'
    if (this.#lines.length > 0 && !line.startsWith(this.#lines[0]!.slice(0, 3)))
      return 'a reply with two codes'
    if (this.#lines.length >= MAX_LINES || this.#replyOctets > MAX_REPLY_OCTETS)
      return 'an over-long reply'
    return undefined
  }

  #answer(reply: Reply): void {
    const command = this.#awaited[0]
    if (!command) this.#unasked(reply)
    // Said because the connection was idle for too long: a fresh one tells how things stand.
    else if (reply.code === 421 && this.rescue) this.lose(closingError())
    else if (!command.expected.includes(String(reply.code)[0]!))
      this.#broken(`a reply ${reply.code} that makes no sense`)
    else this.#settle(command, reply)
  }

  #settle(command: Command, reply: Reply): void {
    this.rescue = undefined
    this.#awaited.shift()
    this.#next()
    command.resolve(reply)
    // RFC 5321 §3.8: after 421 the next hop closes the connection, whatever it answered.
    if (reply.code === 421) this.lose(closingError(), false)
  }

  #next(): void {
    const unsent = this.#awaited.length === 0 ? this.#unsent.shift() : undefined
    if (unsent) this.#send(unsent)
    else if (this.#awaited.length > 0) this.#arm(this.#awaited[0]!.limitMs)
    else this.#deadline = Number.POSITIVE_INFINITY
  }

  #unasked(reply: Reply): void {
    // In the middle of content a refusal may come early. A positive reply would be no acceptance.
    if (this.inData && reply.code >= 400) this.refusal = reply
    this.#broken(`an unsolicited reply ${reply.code}`)
  }

  #broken(what: string): void {
    this.lose(lostError(`the next hop sent ${what}`))
  }

  /** One timer for all deadlines: it is set anew only where it would come too late. */
  #arm(limitMs: number): void {
    this.#deadline = performance.now() + limitMs
    if (this.#timer && this.#timerAt <= this.#deadline) return
    clearTimeout(this.#timer)
    this.#timerAt = this.#deadline
    this.#timer = setTimeout(Wire.#expire, limitMs, this).unref()
  }

  static #expire(this: void, wire: Wire): void {
    wire.#timer = undefined
    const left = wire.#deadline - performance.now()
    if (left <= 0) wire.lose(lostError('the next hop did not answer in time'), false)
    else if (left < Number.POSITIVE_INFINITY) wire.#arm(left)
  }
}

/** `ERR_NEXT_HOP_LOST`. */
export function lostError(why: string, cause?: unknown): PosternError {
  const options = cause === undefined ? undefined : { cause }
  return new PosternError('ERR_NEXT_HOP_LOST', 'transient', why, options)
}

function closingError(): PosternError {
  return lostError('the next hop is closing the connection')
}

function parseReply(lines: readonly string[]): Reply {
  const code = Number(lines[0]!.slice(0, 3))
  const enhanced = ENHANCED.exec(lines[0]!.slice(4))?.[1] ?? ''
  const known = enhanced !== '' && enhanced[0] === lines[0]![0] ? enhanced : ''
  const texts = lines.map(line => harmless(withoutCode(line, known)))
  return { code, enhanced: known, text: texts.length === 1 ? texts[0]! : texts }
}

function withoutCode(line: string, enhanced: string): string {
  const text = line.slice(4)
  return enhanced !== '' && text.startsWith(enhanced) ? text.slice(enhanced.length + 1) : text
}

/** A reply is ASCII text (RFC 5321 §4.2); the client that it is handed to may take nothing else. */
function harmless(text: string): string {
  const line = text.length > MAX_TEXT_OCTETS ? text.slice(0, MAX_TEXT_OCTETS) : text
  return UNPRINTABLE.test(line) ? line.replace(EVERY_UNPRINTABLE, '?') : line
}

const REPLY_LINE = /^[2-5][0-9][0-9](?:[ -]|$)/
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/
const UNPRINTABLE = /[^ -~]/
const EVERY_UNPRINTABLE = /[^ -~]/gu
/** RFC 5321 §4.5.3.1.5 allows 512 octets; we are more patient, but not without end. */
const MAX_LINE_OCTETS = 4096
const MAX_LINES = 100
const MAX_REPLY_OCTETS = 65_536
/** So that the line still fits into 512 octets when we hand it on. */
const MAX_TEXT_OCTETS = 480
const NOTHING: Buffer = Buffer.alloc(0)
const CR = 0x0d
const LF = 0x0a
