/**
 * The next hop: kept-alive connections, handed out one conversation at a time.
 *
 *     converse ──▶ idle one? ──▶ take it
 *                └ room for one more? ──▶ connect ─┐
 *                └ wait in line, 30 s at most ◀────┴── given back by another
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type ConnectSettings, connect } from './connect.ts'
import { type Conversation, type ConversationLimits, converseOn } from './conversation.ts'
import type { Wire } from './wire.ts'

export type { Conversation, MailOptions } from './conversation.ts'

/** What is told of a next hop. Times in ms; each has a default. */
export interface NextHopSettings
  extends Omit<ConnectSettings, 'connectMs'>,
    Partial<ConversationLimits> {
  /** For logs and metrics: `outbound`. */
  readonly name: string
  /** Most connections at the same time, of this process. Default 20. */
  readonly connections?: number | undefined
  /** How long a connection is kept without use. Default 60 s. */
  readonly idleMs?: number | undefined
  /** After so many transactions a connection is closed. Default 100. */
  readonly messagesPerConnection?: number | undefined
  /** From the look-up of the host to the end of AUTH. Default 30 s. */
  readonly connectMs?: number | undefined
  /** How long one may wait for a free connection. Default 30 s. */
  readonly waitMs?: number | undefined
  /** How long nobody tries again after connecting has failed. Default 1 s. */
  readonly failFastMs?: number | undefined
  /** How long `close` waits for conversations that go on. Default 30 s. */
  readonly graceMs?: number | undefined
}

/** A mail server that takes our mail. */
export interface NextHop {
  readonly name: string
  /** Most connections at the same time. */
  readonly connections: number
  /** Connections that stand or are being made. */
  readonly open: number
  /** Those of them that nobody uses. */
  readonly idle: number
  /** Who stands in line. */
  readonly waiting: number
  /**
   * A conversation of one's own, first come, first served.
   *
   * @param signal Ends the waiting with its reason.
   * @throws {PosternError} `ERR_NEXT_HOP_BUSY` where none came free in time, `ERR_NEXT_HOP_UNAVAILABLE`
   *   where no connection can be made; both transient.
   */
  converse(signal: AbortSignal): Promise<Conversation>
  /** Says QUIT on every connection, on those in use once they are given back. */
  close(): Promise<void>
}

/** Makes a next hop. It connects when it is first needed. */
export function createNextHop(settings: NextHopSettings, log: Log): NextHop {
  return new Pool(withDefaults(settings), log.with({ nextHop: settings.name }))
}

type Settings = typeof DEFAULTS & Omit<NextHopSettings, keyof typeof DEFAULTS>

interface Waiter {
  resolve(conversation: Conversation): void
  reject(error: unknown): void
  /** Takes it out of the line. */
  leave(): void
}

class Pool implements NextHop {
  readonly name: string
  readonly limits: ConversationLimits
  readonly #settings: Settings
  readonly #log: Log
  /** The one that was used last stands last, and is used first. */
  readonly #idle: Wire[] = []
  readonly #wires = new Set<Wire>()
  readonly #waiters = new Set<Waiter>()
  readonly #closing = new AbortController()
  #connecting = 0
  #failed: { readonly error: PosternError; readonly until: number } | undefined
  #sweeper: NodeJS.Timeout | undefined
  #plain: string | undefined
  #closed: (() => void) | undefined

  constructor(settings: Settings, log: Log) {
    this.name = settings.name
    this.limits = settings
    this.#settings = settings
    this.#log = log
  }

  get connections(): number {
    return this.#settings.connections
  }

  get open(): number {
    return this.#wires.size + this.#connecting
  }

  get idle(): number {
    return this.#idle.length
  }

  get waiting(): number {
    return this.#waiters.size
  }

  async converse(signal: AbortSignal): Promise<Conversation> {
    signal.throwIfAborted()
    if (this.#closing.signal.aborted) throw CLOSED
    const wire = this.#idle.pop()
    if (wire) return converseOn(wire, this)
    const failure = this.#recentFailure()
    if (failure && this.#wires.size === 0) throw failure
    return this.#standInLine(signal)
  }

  /** Takes back a connection that stands between two transactions. */
  put(wire: Wire): void {
    const [waiter] = this.#waiters
    if (wire.lost) return
    if (this.#closing.signal.aborted || wire.transactions >= this.#settings.messagesPerConnection)
      void wire.quit(QUIT_MS)
    else if (waiter) this.#serve(waiter, wire)
    else this.#keep(wire)
  }

  /** A new connection in the place of one that has died, even if there is a line. */
  fresh(): Promise<Wire> {
    const failure = this.#recentFailure()
    return failure ? Promise.reject(failure) : this.#connect()
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(CLOSED)
    clearTimeout(this.#sweeper)
    for (const waiter of this.#waiters) this.#refuse(waiter, CLOSED)
    for (const wire of this.#idle.splice(0)) void wire.quit(QUIT_MS)
    if (this.open === 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#closed = resolve
    const grace = setTimeout(() => {
      for (const wire of this.#wires) wire.lose(CLOSED, false)
    }, this.#settings.graceMs)
    await promise
    clearTimeout(grace)
  }

  #standInLine(signal: AbortSignal): Promise<Conversation> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#refuse(waiter, BUSY), this.#settings.waitMs)
      const aborted = (): void => this.#refuse(waiter, signal.reason)
      signal.addEventListener('abort', aborted, { once: true })
      const leave = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', aborted)
        this.#waiters.delete(waiter)
      }
      const waiter: Waiter = { resolve, reject, leave }
      this.#waiters.add(waiter)
      this.#connectForLine()
    })
  }

  #serve(waiter: Waiter, wire: Wire): void {
    waiter.leave()
    waiter.resolve(converseOn(wire, this))
  }

  #refuse(waiter: Waiter, reason: unknown): void {
    waiter.leave()
    waiter.reject(reason)
  }

  #keep(wire: Wire): void {
    wire.idleSince = performance.now()
    this.#idle.push(wire)
    this.#sweeper ??= setTimeout(() => this.#sweep(), this.#settings.idleMs).unref()
  }

  /** As many connections are being made as people stand in line, as far as there is room. */
  #connectForLine(): void {
    if (this.#closing.signal.aborted || this.#recentFailure()) return
    while (this.#connecting < this.#waiters.size && this.open < this.#settings.connections)
      this.#connect().then(
        wire => this.put(wire),
        error => this.#lineFailed(error),
      )
  }

  /**
   * Where connections stand, the line goes on waiting for them: many next hops limit how many they
   * accept from one client. Where none stands, nothing is to be waited for.
   */
  #lineFailed(error: unknown): void {
    if (this.#wires.size === 0) for (const waiter of this.#waiters) this.#refuse(waiter, error)
    else setTimeout(() => this.#connectForLine(), this.#settings.failFastMs).unref()
  }

  async #connect(): Promise<Wire> {
    this.#connecting++
    try {
      const { wire, plain } = await connect(this.#settings, this.#closing.signal)
      this.#failed = undefined
      this.#tellPlain(plain)
      this.#wires.add(wire)
      wire.onLost = error => this.#gone(wire, error)
      return wire
    } catch (error) {
      this.#fail(error)
      throw error
    } finally {
      this.#connecting--
      this.#tellClosed()
    }
  }

  #fail(error: unknown): void {
    if (!(error instanceof PosternError) || this.#closing.signal.aborted) return
    this.#failed = { error, until: performance.now() + this.#settings.failFastMs }
    const cause = error.cause instanceof Error ? error.cause.message : undefined
    this.#log.warn('next-hop-unavailable', { code: error.code, cause })
  }

  #recentFailure(): PosternError | undefined {
    if (this.#failed && this.#failed.until <= performance.now()) this.#failed = undefined
    return this.#failed?.error
  }

  /** Said when it begins, not for each connection. */
  #tellPlain(plain: string | undefined): void {
    if (plain !== undefined && plain !== this.#plain)
      this.#log.warn('next-hop-without-tls', { reason: plain })
    this.#plain = plain
  }

  #gone(wire: Wire, error: PosternError): void {
    this.#wires.delete(wire)
    const at = this.#idle.indexOf(wire)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#log.debug('next-hop-connection-ended', {
      reason: error.message,
      transactions: wire.transactions,
      open: this.open,
    })
    const failure = this.#recentFailure()
    if (failure && this.open === 0)
      for (const waiter of this.#waiters) this.#refuse(waiter, failure)
    this.#connectForLine()
    this.#tellClosed()
  }

  #sweep(): void {
    const now = performance.now()
    const old = (wire: Wire): boolean => now - wire.idleSince >= this.#settings.idleMs - 1
    while (this.#idle[0] && old(this.#idle[0])) void this.#idle.shift()!.quit(QUIT_MS)
    const [oldest] = this.#idle
    this.#sweeper =
      oldest &&
      setTimeout(() => this.#sweep(), oldest.idleSince + this.#settings.idleMs - now).unref()
  }

  #tellClosed(): void {
    if (this.open === 0) this.#closed?.()
  }
}

/** What was given as `undefined` is not given. */
function withDefaults(settings: NextHopSettings): Settings {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined)
  return { ...DEFAULTS, ...Object.fromEntries(given) } as Settings
}

// RFC 5321 §4.5.3.2 for the conversation; connecting is shorter, because a client waits behind us.
const DEFAULTS = {
  connections: 20,
  idleMs: 60_000,
  messagesPerConnection: 100,
  connectMs: 30_000,
  waitMs: 30_000,
  failFastMs: 1_000,
  graceMs: 30_000,
  commandMs: 300_000,
  dataMs: 120_000,
  blockMs: 180_000,
  endMs: 600_000,
}
const QUIT_MS = 5_000
const BUSY = new PosternError(
  'ERR_NEXT_HOP_BUSY',
  'transient',
  'all connections to the next hop are busy',
)
const CLOSED = new PosternError(
  'ERR_NEXT_HOP_UNAVAILABLE',
  'transient',
  'the gateway is shutting down',
)
