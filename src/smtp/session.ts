/**
 * One client's connection, from the greeting to the end (RFC 5321 §3): who speaks when, and how long.
 *
 *     octets ─▶ lines ─▶ Dialogue ─▶ replies, in the order of the commands
 *        └─ after DATA ─▶ Receiving ─▶ the reply to the end of data
 *
 * One thing is done at a time. While the house or the content store is busy, octets wait in a small
 * buffer and then in the client: that is the back-pressure, and it is why PIPELINING needs no queue.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import { visible } from '../log.ts'
import { judgeLine } from './command-line.ts'
import { type Connection, Dialogue, type Service } from './dialogue.ts'
import type { Receiving } from './receiving.ts'
import { formatReply, type Reply, type ReplyName, reply } from './reply.ts'

/** Where the sessions of a listener meet. */
export interface Desk extends Service {
  /** The session is over; called once. */
  left(session: Session): void
}

/** How a session is secured. */
export interface Security {
  readonly mode: 'none' | 'starttls' | 'implicit'
  readonly context: SecureContext | undefined
}

/** One connection. The listener sweeps it now and then for deadlines, see `sweep`. */
export class Session implements Connection {
  readonly id: string
  readonly address: string
  readonly #desk: Desk
  readonly #security: Security
  readonly #dialogue: Dialogue
  readonly #startedAt = performance.now()
  #socket: Socket
  #state: State = 'greeting'
  /** Whom we wait for with a command in hand; nothing else is begun meanwhile. */
  #busy: 'house' | 'store' | 'client' | undefined
  #pending: Buffer = NOTHING
  #replies = ''
  /** Since when the client owes us something. */
  #waitingSince = this.#startedAt
  #draining = false

  constructor(socket: Socket, id: string, address: string, desk: Desk, security: Security) {
    this.id = id
    this.address = address
    this.#desk = desk
    this.#security = security
    this.#socket = socket
    this.#dialogue = new Dialogue(this, desk)
    if (security.mode === 'implicit') this.#handshake()
    else this.#greetSoon()
  }

  // ── for the listener ────────────────────────────────────────────────────────────────────────

  /** Ends what has outlived its deadline. */
  sweep(now: number, stressed: boolean): void {
    if (this.#state === 'closed') return
    if (this.#busy === 'house' || this.#busy === 'store') {
      this.#flush()
      return
    }
    const { limits } = this.#desk
    const { data } = this.#dialogue
    if (this.#state === 'closing' || this.#state === 'handshake' || this.#state === 'greeting') {
      const lingerMs = this.#draining ? LINGER_MS / 5 : LINGER_MS
      const patience = this.#state === 'closing' ? lingerMs : limits.handshakeMs
      if (now - this.#waitingSince > patience) this.#socket.destroy()
    } else if (now - this.#startedAt > limits.sessionMs) {
      this.end('session-too-long')
    } else if (data && this.#busy === undefined) {
      if (now > data.deadline) this.end('data-too-slow')
    } else if (now - this.#waitingSince > (stressed ? limits.stressCommandMs : limits.commandMs)) {
      // Who does not read replies will not read the last one either.
      if (this.#busy === 'client') this.#socket.destroy()
      else this.end('command-too-slow')
    }
  }

  /** Lets a running transaction finish, and closes with 421. */
  drain(): void {
    this.#draining = true
    if (this.#state === 'handshake') this.#socket.destroy()
    else if (this.#busy === undefined) this.#endIfDrained()
  }

  /** Ends without a word. A message in hand is aborted. */
  destroy(): void {
    this.#socket.destroy()
  }

  // ── for the dialogue ────────────────────────────────────────────────────────────────────────

  get offersStartTls(): boolean {
    return this.#security.mode === 'starttls'
  }

  get isDraining(): boolean {
    return this.#draining
  }

  get hasMore(): boolean {
    return this.#pending.length > 0
  }

  say(lines: string): void {
    this.#replies += lines
  }

  wait(promise: Promise<Reply>, then: (given: Reply) => void): undefined {
    this.#busy = 'house'
    const settle = (given: Reply): void => {
      if (this.#isOver) return
      then(given)
      this.#resume()
    }
    promise.then(settle, (error: unknown) => settle(this.bug(error)))
  }

  startTls(): undefined {
    // RFC 3207 §4.2, and NO STARTTLS (2021): whatever came with the command was said by anybody.
    if (this.hasMore) this.tell('starttls-injection', { octets: this.#pending.length })
    this.#dialogue.forsake()
    this.#pending = NOTHING
    this.say(formatReply(reply('start-tls')))
    this.#flush()
    this.#handshake()
  }

  /** Says why, and closes. What still arrives is thrown away. */
  end(name: ReplyName): undefined {
    if (this.#isOver) return
    const given = reply(name)
    const told = name === 'shutting-down' || name === 'bye'
    if (!told) this.tell('session-dropped', { reason: name, code: given.code })
    this.say(formatReply(given))
    this.close()
  }

  close(): undefined {
    this.#dialogue.forsake()
    this.#state = 'closing'
    this.#pending = NOTHING
    this.#waitingSince = performance.now()
    this.#socket.end(this.#replies)
    this.#replies = ''
    // Unread octets would turn our FIN into a reset, and the reply would be lost with it.
    this.#socket.resume()
  }

  bug(error: unknown): Reply {
    this.#desk.log.error('internal-error', { session: this.id, error })
    return reply('internal-error')
  }

  tell(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#desk.log.info(event, { session: this.id, client: this.address, ...fields })
  }

  // ── octets ──────────────────────────────────────────────────────────────────────────────────

  #listen(): void {
    const socket = this.#socket
    socket.on('data', chunk => this.#receive(chunk as Buffer))
    socket.on('drain', () => this.#drained())
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#lost())
  }

  /**
   * Greets one turn of the event loop after the connection was made. Who has sent something by then
   * did not wait for the greeting; everybody else does not notice.
   */
  #greetSoon(): void {
    this.#state = 'greeting'
    this.#listen()
    setImmediate(() => setImmediate(() => this.#greet()))
  }

  #greet(): void {
    if (this.#state !== 'greeting') return
    this.#state = 'open'
    this.#replies += `220 ${this.#desk.hostname} ESMTP\r\n`
    this.#waitingSince = performance.now()
    this.#flush()
    if (this.#draining) this.#endIfDrained()
  }

  #receive(chunk: Buffer): void {
    if (this.#isOver) return
    if (this.#state === 'greeting') {
      this.end('talks-too-soon')
      return
    }
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (this.#busy === undefined) this.#proceed()
    else if (this.#pending.length > PENDING_OCTETS) this.#socket.pause()
  }

  /** Works off what has arrived, as far as it goes. */
  #proceed(): void {
    while (this.#state === 'open' && this.#busy === undefined && this.#pending.length > 0) {
      const { data } = this.#dialogue
      if (data) this.#readData(data)
      else if (!this.#readLine()) break
      if (this.#replies.length > FLUSH_CHARACTERS) this.#flush()
    }
    if (this.#busy === undefined) {
      this.#flush()
      this.#endIfDrained()
    }
    if (this.#busy === undefined) this.#socket.resume()
    else if (this.#pending.length > PENDING_OCTETS) this.#socket.pause()
  }

  /** @returns Whether there was a whole line. */
  #readLine(): boolean {
    const pending = this.#pending
    const lf = pending.indexOf(LF)
    const refusal = judgeLine(pending, lf, this.#dialogue.lineLimit(pending))
    if (refusal) {
      this.tell('command-refused', { reason: refusal })
      this.say(formatReply(reply(refusal)))
      // Where lines are doubtful, so is what follows: nothing of it may be taken for a command.
      this.close()
      return false
    }
    if (lf < 0) return false
    this.#pending = lf + 1 === pending.length ? NOTHING : pending.subarray(lf + 1)
    this.#waitingSince = performance.now()
    this.#dialogue.take(pending.subarray(0, lf - 1))
    return true
  }

  #readData(data: Receiving): void {
    const chunk = this.#pending
    const used = data.read(chunk)
    this.#pending = used === chunk.length ? NOTHING : chunk.subarray(used)
    if (data.isEndless) {
      this.end('message-too-large')
      return
    }
    const held = data.hold()
    if (held) this.#awaitStore(data, held)
    else if (data.ended) this.#dialogue.endData(data)
  }

  #awaitStore(data: Receiving, held: Promise<void>): void {
    this.#busy = 'store'
    this.#socket.pause()
    const goOn = (): void => {
      if (this.#dialogue.data !== data) return
      data.forgive()
      this.#busy = undefined
      if (data.ended) this.#dialogue.endData(data)
      if (this.#busy === undefined) this.#resume()
    }
    held.then(goOn, (error: unknown) => {
      if (this.#dialogue.data === data) data.storeFailed(error)
      goOn()
    })
  }

  /** Goes on after something that was waited for. Nothing happens once the session is over. */
  #resume(): void {
    this.#busy = undefined
    if (this.#isOver) return
    this.#waitingSince = performance.now()
    this.#proceed()
  }

  #flush(): void {
    if (this.#replies === '') return
    const replies = this.#replies
    this.#replies = ''
    // A client that sends commands and does not read the replies waits for itself.
    if (!this.#socket.write(replies) && this.#busy === undefined) this.#busy = 'client'
  }

  #drained(): void {
    if (this.#busy === 'client') this.#resume()
  }

  #lost(): void {
    if (this.#state === 'closed') return
    this.#dialogue.forsake()
    this.#state = 'closed'
    this.#pending = NOTHING
    this.#dialogue.abort()
    this.#desk.left(this)
    this.#desk.log.debug('session-end', {
      session: this.id,
      client: this.address,
      messages: this.#dialogue.messages,
      ms: Math.round(performance.now() - this.#startedAt),
    })
  }

  get #isOver(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  #endIfDrained(): void {
    if (this.#draining && this.#state === 'open' && this.#dialogue.isIdle) this.end('shutting-down')
  }

  // ── TLS ─────────────────────────────────────────────────────────────────────────────────────

  #handshake(): void {
    const plain = this.#socket
    plain.removeAllListeners('data')
    plain.removeAllListeners('drain')
    plain.removeAllListeners('close')
    plain.removeAllListeners('error')
    this.#state = 'handshake'
    this.#busy = undefined
    this.#waitingSince = performance.now()
    const secured = new TLSSocket(plain, {
      isServer: true,
      secureContext: this.#security.context!,
      // Who asks for another protocol is not an SMTP client, but a victim of ALPACA (RFC 7301 §3.2).
      ALPNProtocols: ['smtp'],
    })
    this.#socket = secured
    plain.on('error', () => secured.destroy())
    secured.once('secure', () => this.#secured(secured))
    secured.once('_tlsError', (error: Error) => this.#handshakeFailed(error))
    this.#listen()
  }

  #secured(socket: TLSSocket): void {
    if (this.#state !== 'handshake') return
    this.#dialogue.secured(`${socket.getProtocol() ?? 'TLS'} ${socket.getCipher().name}`)
    this.#waitingSince = performance.now()
    if (this.#security.mode === 'implicit') {
      this.#state = 'greeting'
      setImmediate(() => this.#greet())
    } else {
      this.#state = 'open'
      this.#proceed()
    }
  }

  #handshakeFailed(error: Error): void {
    this.tell('tls-failed', { error: visible(error.message, 200) })
    this.#socket.destroy()
  }
}

type State = 'handshake' | 'greeting' | 'open' | 'closing' | 'closed'

const NOTHING = Buffer.alloc(0)
const LF = 0x0a
/** How much may wait while a command is in hand. */
const PENDING_OCTETS = 16 * 1024
const FLUSH_CHARACTERS = 8 * 1024
/** How long the client may take to close after us. */
const LINGER_MS = 5000
