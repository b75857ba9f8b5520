/**
 * Accepts clients: as many as may come in, each with a session of its own, until it drains.
 *
 * smtp-server accepts the connections; the conversation is ours (`session.ts`, `dialogue.ts`), for it
 * has to be stricter about line ends and kinder to recipients' replies than that package can be.
 *
 * @module
 */
import type { AddressInfo, Socket } from 'node:net'
import { createSecureContext, type SecureContext } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import { PosternError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Authenticate } from './auth.ts'
import { clientAddress, networkOf } from './client-address.ts'
import { DEFAULT_LIMITS, type Limits } from './limits.ts'
import type { ContentSink } from './receiving.ts'
import { formatReply, type ReplyName, reply } from './reply.ts'
import { type Desk, type Security, Session } from './session.ts'
import type { House } from './transaction.ts'

export { DEFAULT_LIMITS } from './limits.ts'

/** One socket to listen on. */
export interface ListenAddress {
  readonly address: string
  /** 0 lets the system choose. */
  readonly port: number
  readonly tls: 'none' | 'starttls' | 'implicit'
}

/** What a listener needs to know. */
export interface ListenerSettings {
  /** Our name, in greetings. */
  readonly hostname: string
  readonly listen: readonly ListenAddress[]
  /** PEM. Needed where a socket offers TLS. */
  readonly tls?: { readonly certificate: string | Buffer; readonly key: string | Buffer }
  /** AUTH PLAIN and LOGIN are offered under TLS where this is given. */
  readonly authenticate?: Authenticate
  /** Whether the words of a refusal, which often quote an address, may stand in the log. Default true. */
  readonly tellsWords?: boolean
  /** What is left out has its default. */
  readonly limits?: Partial<Limits>
  /** Makes a place for the content of one message. */
  readonly hold: () => ContentSink
}

/** A listener that accepts. */
export interface Listener {
  /** Where it listens, with the ports that the system chose. */
  readonly addresses: readonly ListenAddress[]
  /** Sessions at this moment, those that are just closing included. */
  readonly sessions: number
  /** Transactions that begin from now on go to this house. */
  useHouse(house: House): void
  /** Stops accepting, and resolves once the last session has ended in its own time. */
  retire(): Promise<void>
  /**
   * Stops accepting, closes idle sessions with 421, lets running transactions finish, and after
   * `graceMs` cuts off what is left: whoever was not answered still has the message.
   */
  drain(graceMs: number): Promise<void>
}

/**
 * Listens on all addresses.
 *
 * @returns Once all of them accept.
 * @throws {PosternError} `ERR_LISTENER_TLS` (TLS without a usable certificate and key),
 *   `ERR_LISTENER_ADDRESS` (an address cannot be listened on); nothing listens then.
 */
export async function listen(
  settings: ListenerSettings,
  house: House,
  log: Log,
): Promise<Listener> {
  const context = secureContext(settings)
  const reception = new Reception(settings, house, log)
  const doors: Door[] = []
  const addresses: ListenAddress[] = []
  try {
    for (const where of settings.listen) {
      const door = new Door(reception, { mode: where.tls, context })
      doors.push(door)
      const port = await door.open(where)
      addresses.push({ ...where, port })
    }
  } catch (error) {
    for (const door of doors) door.shut()
    reception.close()
    throw error
  }
  return {
    addresses,
    get sessions() {
      return reception.sessions
    },
    useHouse: next => reception.useHouse(next),
    async retire() {
      for (const door of doors) door.shut()
      await reception.retire()
    },
    async drain(graceMs) {
      for (const door of doors) door.shut()
      await reception.drain(graceMs)
    },
  }
}

/** A listening socket. */
class Door extends SMTPServer {
  readonly #reception: Reception
  readonly #security: Security

  constructor(reception: Reception, security: Security) {
    // TLS is made by the session, for STARTTLS and implicit TLS alike.
    super({ logger: false, disabledCommands: ['STARTTLS'], noDelay: true } as object)
    this.#reception = reception
    this.#security = security
    this.on('error', error => {
      if (this.server.listening) reception.acceptFailed(error)
    })
  }

  /** smtp-server hands every accepted connection here. */
  override connect(socket: Socket, options?: { id?: string | undefined } | null): void {
    this.#reception.admit(socket, options?.id ?? '', this.#security)
  }

  open({ address, port }: ListenAddress): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const failed = (cause: Error): void =>
      reject(
        new PosternError(
          'ERR_LISTENER_ADDRESS',
          'permanent',
          `cannot listen on ${address} port ${port}: ${cause.message}`,
          { cause },
        ),
      )
    this.server.once('error', failed)
    this.server.listen({ host: address, port, backlog: BACKLOG }, () => {
      this.server.off('error', failed)
      resolve((this.server.address() as AddressInfo).port)
    })
    return promise
  }

  shut(): void {
    if (this.server.listening) this.server.close()
  }
}

/** Counts who is in, and looks after deadlines. */
class Reception implements Desk {
  readonly hostname: string
  readonly limits: Limits
  readonly log: Log
  readonly authenticate: Authenticate | undefined
  readonly tellsWords: boolean
  readonly hold: () => ContentSink
  house: House
  readonly #sessions = new Set<Session>()
  readonly #perAddress = new Map<string, number>()
  readonly #sweeper: NodeJS.Timeout
  #draining = false
  readonly #whenEmpty: (() => void)[] = []
  #lastAcceptFailure = Number.NEGATIVE_INFINITY

  constructor(settings: ListenerSettings, house: House, log: Log) {
    this.hostname = settings.hostname
    this.limits = { ...DEFAULT_LIMITS, ...settings.limits }
    this.log = log
    this.authenticate = settings.authenticate
    this.tellsWords = settings.tellsWords ?? true
    this.hold = settings.hold
    this.house = house
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs(this.limits)).unref()
  }

  get sessions(): number {
    return this.#sessions.size
  }

  useHouse(house: House): void {
    this.house = house
  }

  admit(socket: Socket, id: string, security: Security): void {
    const address = clientAddress(socket.remoteAddress)
    if (address === undefined || this.#draining) {
      socket.destroy()
      return
    }
    const refusal = this.#refusal(address)
    if (refusal) {
      this.#turnAway(socket, address, refusal, security)
      return
    }
    const network = networkOf(address)
    this.#perAddress.set(network, (this.#perAddress.get(network) ?? 0) + 1)
    this.#sessions.add(new Session(socket, id, address, this, security))
  }

  left(session: Session): void {
    if (!this.#sessions.delete(session)) return
    const network = networkOf(session.address)
    const others = (this.#perAddress.get(network) ?? 1) - 1
    if (others > 0) this.#perAddress.set(network, others)
    else this.#perAddress.delete(network)
    if (this.#sessions.size === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve()
  }

  /** Out of descriptors, most often. Told once a second, for it comes in crowds. */
  acceptFailed(error: Error): void {
    const now = performance.now()
    if (now - this.#lastAcceptFailure < 1000) return
    this.#lastAcceptFailure = now
    this.log.warn('accept-failed', { error })
  }

  async retire(): Promise<void> {
    // A connection that was accepted just before may still be on its way to us.
    await new Promise(resolve => setTimeout(resolve, HANDOVER_MS))
    await this.#emptied()
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true
    for (const session of this.#sessions) session.drain()
    const patience = setTimeout(() => this.#cutOff(), graceMs)
    await this.#emptied()
    clearTimeout(patience)
    this.close()
  }

  #emptied(): Promise<void> {
    if (this.#sessions.size === 0) return Promise.resolve()
    return new Promise(resolve => this.#whenEmpty.push(resolve))
  }

  close(): void {
    clearInterval(this.#sweeper)
  }

  #cutOff(): void {
    for (const session of this.#sessions) session.destroy()
  }

  #sweep(): void {
    const now = performance.now()
    const stressed = this.#sessions.size > this.limits.connections * STRESS
    for (const session of this.#sessions) session.sweep(now, stressed)
  }

  #refusal(address: string): ReplyName | undefined {
    if (this.#sessions.size >= this.limits.connections) return 'too-many-connections'
    const fromThere = this.#perAddress.get(networkOf(address)) ?? 0
    return fromThere >= this.limits.connectionsPerAddress
      ? 'too-many-connections-address'
      : undefined
  }

  /** Under implicit TLS nothing can be said before a handshake, which is what must be saved. */
  #turnAway(socket: Socket, client: string, refusal: ReplyName, { mode }: Security): void {
    this.log.info('connection-refused', { client, reason: refusal })
    socket.on('error', () => socket.destroy())
    if (mode === 'implicit') {
      socket.destroy()
      return
    }
    socket.resume()
    socket.end(formatReply(reply(refusal)), () => socket.destroySoon())
  }
}

function secureContext({ listen: addresses, tls }: ListenerSettings): SecureContext | undefined {
  if (addresses.every(({ tls: mode }) => mode === 'none')) return undefined
  if (!tls) {
    throw new PosternError('ERR_LISTENER_TLS', 'permanent', 'TLS needs a certificate and a key')
  }
  try {
    // RFC 8996: TLS 1.0 and 1.1 are not to be used.
    return createSecureContext({ cert: tls.certificate, key: tls.key, minVersion: 'TLSv1.2' })
  } catch (cause) {
    throw new PosternError(
      'ERR_LISTENER_TLS',
      'permanent',
      'the certificate and key for TLS cannot be used',
      { cause },
    )
  }
}

/** Often enough for the shortest of the deadlines. */
function sweepMs(limits: Limits): number {
  const { commandMs, stressCommandMs, handshakeMs, dataStallMs, sessionMs } = limits
  const shortest = Math.min(commandMs, stressCommandMs, handshakeMs, dataStallMs, sessionMs)
  return Math.min(1000, Math.max(20, shortest / 4))
}

/** How long a connection may be on its way from the process that accepts to the one that serves. */
const HANDOVER_MS = 500
/** Connections that may wait to be accepted. */
const BACKLOG = 1024
/** Share of `connections` above which patience ends early. */
const STRESS = 0.8
