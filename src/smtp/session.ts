/**
 * One client's conversation, from the greeting to the end (RFC 5321 §3).
 *
 *     octets ─▶ lines ─▶ commands ─▶ House ─▶ replies, in the order of the commands
 *                 └─ after DATA ─▶ Receiving ─▶ Transaction.content
 *
 * One thing is done at a time. While the house or the content store is busy, octets wait in a small
 * buffer and then in the client: that is the back-pressure, and it is why PIPELINING needs no queue.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import type { Log } from '../log.ts'
import { visible } from '../log.ts'
import { AuthExchange, type AuthStep, type Credentials, challengeLine, MECHANISMS } from './auth.ts'
import { type Command, isRefusal, parseCommand, parseMail, parseRcpt } from './command.ts'
import { judgeLine, LINE_OCTETS } from './command-line.ts'
import type { Limits } from './limits.ts'
import { type ContentSink, Receiving } from './receiving.ts'
import { formatReply, isPositive, type Reply, type ReplyName, reply } from './reply.ts'
import type { Client, House, Transaction } from './transaction.ts'

/** Asks whether a user may send. */
export type Authenticate = (user: string, password: string) => boolean | Promise<boolean>

/** What all sessions of a listener share. */
export interface Desk {
  readonly hostname: string
  readonly limits: Limits
  readonly log: Log
  readonly house: House
  readonly authenticate: Authenticate | undefined
  /** Whether the words of a refusal, which often quote an address, may stand in the log. */
  readonly tellsWords: boolean
  hold(): ContentSink
  /** The session is over; called once. */
  left(session: Session): void
}

/** How a session is secured. */
export interface Security {
  readonly mode: 'none' | 'starttls' | 'implicit'
  readonly context: SecureContext | undefined
}

/** One connection. The listener sweeps it now and then for deadlines, see `sweep`. */
export class Session {
  readonly id: string
  readonly address: string
  readonly #desk: Desk
  readonly #security: Security
  readonly #startedAt = performance.now()
  #socket: Socket
  #state: State = 'greeting'
  /** Whom we wait for with a command in hand; nothing else is begun meanwhile. */
  #busy: 'house' | 'store' | 'client' | undefined
  #pending: Buffer = NOTHING
  #replies = ''
  /** Since when the client owes us something. */
  #waitingSince = this.#startedAt

  #helo: string | undefined
  #esmtp = false
  #tls: string | undefined
  #user: string | undefined
  #client: Client | undefined
  #auth: AuthExchange | undefined

  #transaction: Transaction | undefined
  #utf8 = false
  #offered = 0
  #accepted = 0
  /** Has the transaction from DATA on. */
  #data: Receiving | undefined
  #delivering: Receiving | undefined

  #junk = 0
  #errors = 0
  #authFailures = 0
  #messages = 0
  #draining = false

  constructor(socket: Socket, id: string, address: string, desk: Desk, security: Security) {
    this.id = id
    this.address = address
    this.#desk = desk
    this.#security = security
    this.#socket = socket
    if (security.mode === 'implicit') this.#handshake()
    else this.#greetSoon()
  }

  /** Ends what has outlived its deadline. */
  sweep(now: number, stressed: boolean): void {
    if (this.#state === 'closed') return
    if (this.#busy === 'house' || this.#busy === 'store') {
      this.#flush()
      return
    }
    const { limits } = this.#desk
    if (this.#state === 'closing' || this.#state === 'handshake' || this.#state === 'greeting') {
      const lingerMs = this.#draining ? LINGER_MS / 5 : LINGER_MS
      const patience = this.#state === 'closing' ? lingerMs : limits.handshakeMs
      if (now - this.#waitingSince > patience) this.#socket.destroy()
    } else if (now - this.#startedAt > limits.sessionMs) {
      this.end('session-too-long')
    } else if (this.#state === 'data' && this.#busy === undefined) {
      if (this.#data && now > this.#data.deadline) this.end('data-too-slow')
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

  /** Says why, and closes. What still arrives is thrown away. */
  end(name: ReplyName): undefined {
    if (this.#state === 'closing' || this.#state === 'closed') return
    const given = reply(name)
    const told = name === 'shutting-down' || name === 'bye'
    if (!told) this.#tell('session-dropped', { reason: name, code: given.code })
    this.#replies += formatReply(given)
    this.#close()
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
    this.#state = 'command'
    this.#replies += `220 ${this.#desk.hostname} ESMTP\r\n`
    this.#waitingSince = performance.now()
    this.#flush()
    if (this.#draining) this.#endIfDrained()
  }

  #receive(chunk: Buffer): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
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
    while (this.#busy === undefined && this.#pending.length > 0) {
      if (this.#state === 'data') this.#readData()
      else if (this.#state !== 'command' && this.#state !== 'auth') break
      else if (!this.#readCommand()) break
      if (this.#replies.length > FLUSH_CHARACTERS) this.#flush()
    }
    if (this.#busy === undefined) {
      this.#flush()
      this.#endIfDrained()
    }
    if (this.#busy === undefined) this.#socket.resume()
    else if (this.#pending.length > PENDING_OCTETS) this.#socket.pause()
  }

  /** Goes on after something that was waited for. Nothing happens once the session is over. */
  #resume(): void {
    this.#busy = undefined
    if (this.#state === 'closing' || this.#state === 'closed') return
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

  #close(): undefined {
    this.#forsake()
    this.#state = 'closing'
    this.#pending = NOTHING
    this.#waitingSince = performance.now()
    this.#socket.end(this.#replies)
    this.#replies = ''
    // Unread octets would turn our FIN into a reset, and the reply would be lost with it.
    this.#socket.resume()
  }

  #lost(): void {
    if (this.#state === 'closed') return
    this.#forsake()
    this.#state = 'closed'
    this.#pending = NOTHING
    this.#delivering?.abort()
    this.#desk.left(this)
    this.#desk.log.debug('session-end', {
      session: this.id,
      client: this.address,
      messages: this.#messages,
      ms: Math.round(performance.now() - this.#startedAt),
    })
  }

  /** Gives up what is not finished; a content that the transaction owns is its own business. */
  #forsake(): void {
    const unfinished = this.#data ?? this.#transaction
    this.#data = undefined
    this.#transaction = undefined
    unfinished?.abandon()
  }

  #endIfDrained(): void {
    if (!this.#draining || this.#transaction) return
    if (this.#state === 'command' || this.#state === 'auth') this.end('shutting-down')
  }

  // ── commands ────────────────────────────────────────────────────────────────────────────────

  /** @returns Whether there was a whole line. */
  #readCommand(): boolean {
    const pending = this.#pending
    const lf = pending.indexOf(LF)
    const refusal = judgeLine(pending, lf, this.#lineLimit())
    if (refusal) {
      this.#tell('command-refused', { reason: refusal })
      this.#replies += formatReply(reply(refusal))
      // Where lines are doubtful, so is what follows: nothing of it may be taken for a command.
      this.#close()
      return false
    }
    if (lf < 0) return false
    this.#pending = lf + 1 === pending.length ? NOTHING : pending.subarray(lf + 1)
    this.#waitingSince = performance.now()
    const line = pending.subarray(0, lf - 1)
    if (this.#auth) this.#continueAuth(this.#auth, line)
    else this.#obey(parseCommand(line))
    return true
  }

  #lineLimit(): number {
    if (this.#auth) return LINE_OCTETS.auth
    const auth =
      this.#desk.authenticate && this.#pending.toString('latin1', 0, 5).toUpperCase() === 'AUTH '
    return auth ? LINE_OCTETS.auth : LINE_OCTETS.command
  }

  /** Handlers return the reply, or nothing where they wait for it or have ended the session. */
  #obey(command: Command | undefined): void {
    const given = command ? this.#handle(command) : this.#fault('syntax-command')
    if (given) this.#answer(command?.verb ?? '', given)
  }

  #handle(command: Command): Reply | undefined {
    switch (command.verb) {
      case 'EHLO':
      case 'HELO':
        return this.#hello(command)
      case 'MAIL':
        return this.#mail(command)
      case 'RCPT':
        return this.#rcpt(command)
      case 'DATA':
        return this.#beginData(command)
      case 'RSET':
        this.#forsake()
        return this.#junkCommand('ok')
      case 'NOOP':
        return this.#junkCommand('ok')
      case 'HELP':
        return this.#junkCommand('help')
      case 'VRFY':
        return this.#junkCommand('cannot-verify')
      case 'QUIT':
        return this.end('bye')
      case 'STARTTLS':
        return this.#startTls(command)
      case 'AUTH':
        return this.#beginAuth(command)
      default:
        if (HTTP.has(command.verb)) return this.end('http-refused')
        return this.#fault(NOT_HERE.has(command.verb) ? 'not-implemented' : 'unknown-command')
    }
  }

  #hello({ verb, argument, ascii }: Command): Reply | undefined {
    if (!ascii || !HELO_ARGUMENT.test(argument)) return this.#fault('syntax', 'a name is expected')
    if (this.#helo !== undefined && ++this.#junk > this.#desk.limits.junkCommands) {
      return this.end('too-many-junk-commands')
    }
    this.#forsake()
    this.#helo = argument
    this.#esmtp = verb === 'EHLO'
    this.#client = undefined
    const text = this.#esmtp ? this.#extensions() : this.#desk.hostname
    return { code: 250, enhanced: '', text }
  }

  #extensions(): string[] {
    const { hostname, limits, authenticate } = this.#desk
    const lines = [hostname, 'PIPELINING', '8BITMIME', `SIZE ${limits.messageOctets}`]
    lines.push('ENHANCEDSTATUSCODES', 'SMTPUTF8', 'DSN')
    if (this.#mayStartTls()) lines.push('STARTTLS')
    if (authenticate && this.#tls !== undefined && this.#user === undefined) {
      lines.push(`AUTH ${MECHANISMS.join(' ')}`)
    }
    return lines
  }

  #mail(command: Command): Reply | undefined {
    const client = this.#whoIsThere()
    if (!client || this.#transaction) return this.#fault('bad-sequence')
    if (this.#draining) return this.end('shutting-down')
    const mail = parseMail(command, client.esmtp)
    if (isRefusal(mail)) return this.#atFault(mail)
    const { messageOctets } = this.#desk.limits
    if (Number(mail.parameters.get('SIZE') ?? 0) > messageOctets) {
      return reply('message-too-large', `limit is ${messageOctets} octets`)
    }
    const begun = this.#begin(() =>
      this.#desk.house.begin(client, mail.reversePath, mail.parameters),
    )
    if (isRefusal(begun)) return begun
    this.#transaction = begun
    this.#utf8 = mail.parameters.has('SMTPUTF8')
    this.#offered = 0
    this.#accepted = 0
    return reply('sender-ok')
  }

  #rcpt(command: Command): Reply | undefined {
    const transaction = this.#transaction
    if (!transaction) return this.#fault('bad-sequence')
    const forwardPath = parseRcpt(command, this.#esmtp, this.#utf8)
    if (isRefusal(forwardPath)) return this.#atFault(forwardPath)
    // Refused ones count too, or a session could try names without end.
    if (this.#offered >= this.#desk.limits.recipients) return reply('too-many-recipients')
    this.#offered++
    const asked = this.#begin(() => transaction.recipient(forwardPath))
    if (isRefusal(asked)) return asked
    return this.#await(asked, given => {
      if (isPositive(given)) this.#accepted++
      this.#answer('RCPT', given)
    })
  }

  // ── the message ─────────────────────────────────────────────────────────────────────────────

  #beginData({ argument }: Command): Reply | undefined {
    if (argument !== '') return this.#fault('syntax', 'DATA has no parameters')
    const transaction = this.#transaction
    if (!transaction) return this.#refuseData('bad-sequence')
    if (this.#accepted === 0) return this.#refuseData('no-valid-recipients')
    const sink = this.#begin(() => this.#desk.hold())
    if (isRefusal(sink)) return this.#refuseData('content-store-full')
    const { limits, log } = this.#desk
    this.#data = new Receiving(sink, transaction, { session: this.id, limits, log })
    this.#transaction = undefined
    this.#state = 'data'
    return reply('send-data')
  }

  /**
   * DATA must be the last command of a group (RFC 2920 §3.1): what follows a refused one at once is
   * a message, and would be read as commands.
   */
  #refuseData(name: ReplyName): Reply | undefined {
    if (this.#pending.length === 0) return this.#fault(name)
    this.#answer('DATA', reply(name))
    return this.#close()
  }

  #readData(): void {
    const data = this.#data!
    const chunk = this.#pending
    const used = data.read(chunk)
    this.#pending = used === chunk.length ? NOTHING : chunk.subarray(used)
    if (data.isEndless) {
      this.end('message-too-large')
      return
    }
    const held = data.hold()
    if (held) this.#awaitStore(data, held)
    else if (data.ended) this.#endData(data)
  }

  #awaitStore(data: Receiving, held: Promise<void>): void {
    this.#busy = 'store'
    this.#socket.pause()
    const goOn = (): void => {
      if (this.#data !== data) return
      data.forgive()
      this.#busy = undefined
      if (data.ended) this.#endData(data)
      if (this.#busy === undefined) this.#resume()
    }
    held.then(goOn, (error: unknown) => {
      if (this.#data === data) data.storeFailed(error)
      goOn()
    })
  }

  #endData(data: Receiving): void {
    this.#state = 'command'
    this.#data = undefined
    const { refusal } = data
    if (refusal) {
      data.abandon()
      this.#answer('DATA', reply(refusal))
      // Another server might have seen the end elsewhere, and commands behind it (CVE-2023-51764).
      if (refusal === 'bare-line-ending') this.#close()
      return
    }
    this.#delivering = data
    this.#await(data.deliver(), given => {
      this.#delivering = undefined
      this.#messages++
      if (isPositive(given)) this.#junk = this.#errors = 0
      this.#replies += formatReply(given)
    })
  }

  // ── TLS and authentication ──────────────────────────────────────────────────────────────────

  #mayStartTls(): boolean {
    return this.#security.mode === 'starttls' && this.#tls === undefined
  }

  #startTls({ argument }: Command): Reply | undefined {
    if (argument !== '') return this.#fault('syntax', 'STARTTLS has no parameters')
    if (this.#security.mode === 'none') return this.#fault('not-implemented')
    if (!this.#mayStartTls()) return this.#fault('bad-sequence')
    // RFC 3207 §4.2, and NO STARTTLS (2021): whatever came with the command was said by anybody.
    if (this.#pending.length > 0) this.#tell('starttls-injection', { octets: this.#pending.length })
    this.#forsake()
    this.#pending = NOTHING
    this.#replies += formatReply(reply('start-tls'))
    this.#flush()
    this.#handshake()
    return undefined
  }

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
    this.#tls = `${socket.getProtocol() ?? 'TLS'} ${socket.getCipher().name}`
    // RFC 3207 §4.2: all that was learnt before is forgotten.
    this.#helo = undefined
    this.#client = undefined
    this.#user = undefined
    this.#waitingSince = performance.now()
    if (this.#security.mode === 'implicit') {
      this.#state = 'greeting'
      setImmediate(() => this.#greet())
    } else {
      this.#state = 'command'
      this.#proceed()
    }
  }

  #handshakeFailed(error: Error): void {
    this.#tell('tls-failed', { error: visible(error.message, 200) })
    this.#socket.destroy()
  }

  #beginAuth({ argument }: Command): Reply | undefined {
    if (!this.#desk.authenticate) return this.#fault('not-implemented')
    if (this.#tls === undefined) return this.#fault('auth-needs-tls')
    if (!this.#whoIsThere() || this.#user !== undefined || this.#transaction) {
      return this.#fault('bad-sequence')
    }
    const begun = AuthExchange.begin(argument)
    if (typeof begun === 'string') return this.#fault(begun)
    this.#auth = begun.exchange
    this.#state = 'auth'
    return this.#authenticate(begun.step)
  }

  #continueAuth(exchange: AuthExchange, line: Buffer): void {
    const given = this.#authenticate(exchange.take(line.toString('latin1')))
    if (given) this.#answer('AUTH', given)
  }

  #authenticate(step: AuthStep): Reply | undefined {
    if ('challenge' in step) {
      this.#replies += challengeLine(step.challenge)
      return undefined
    }
    this.#auth = undefined
    this.#state = 'command'
    if ('refusal' in step) return this.#authFault(step.refusal)
    return this.#await(this.#ask(step.credentials), given => {
      if (isPositive(given)) {
        this.#user = step.credentials.user
        this.#client = undefined
      }
      const answer = given.code === 535 ? this.#authFault('auth-failed') : given
      if (answer) this.#answer('AUTH', answer)
    })
  }

  #authFault(name: ReplyName): Reply | undefined {
    if (++this.#authFailures >= this.#desk.limits.authFailures) return this.end('too-many-errors')
    return this.#fault(name)
  }

  async #ask({ user, password }: Credentials): Promise<Reply> {
    try {
      const known = await this.#desk.authenticate!(user, password)
      return reply(known ? 'authenticated' : 'auth-failed')
    } catch (error) {
      this.#desk.log.error('authentication-unavailable', { session: this.id, error })
      return reply('auth-unavailable')
    }
  }

  // ── replies ─────────────────────────────────────────────────────────────────────────────────

  /** Waits for a reply of the house, or a bug of it, and goes on. */
  #await(promise: Promise<Reply>, then: (given: Reply) => void): undefined {
    this.#busy = 'house'
    const settle = (given: Reply): void => {
      if (this.#state === 'closing' || this.#state === 'closed') return
      then(given)
      this.#resume()
    }
    promise.then(settle, (error: unknown) => settle(this.#bug(error)))
  }

  /** Runs what should not throw. */
  #begin<T>(step: () => T): T | Reply {
    try {
      return step()
    } catch (error) {
      return this.#bug(error)
    }
  }

  #bug(error: unknown): Reply {
    this.#desk.log.error('internal-error', { session: this.id, error })
    return reply('internal-error')
  }

  #answer(verb: string, given: Reply): void {
    if (given.code >= 400) this.#tellRefusal(verb, given)
    this.#replies += formatReply(given)
  }

  #junkCommand(name: ReplyName): Reply | undefined {
    if (++this.#junk > this.#desk.limits.junkCommands) return this.end('too-many-junk-commands')
    return reply(name)
  }

  #fault(name: ReplyName, detail?: string): Reply | undefined {
    return this.#atFault(reply(name, detail))
  }

  /** Counts what is the client's own fault. */
  #atFault(given: Reply): Reply | undefined {
    return ++this.#errors > this.#desk.limits.errors ? this.end('too-many-errors') : given
  }

  #tellRefusal(command: string, { code, enhanced, text }: Reply): void {
    const words = visible(typeof text === 'string' ? text : text.join(' '), 200)
    const told = this.#desk.tellsWords ? { text: words } : {}
    this.#tell('command-refused', { command, code, enhanced, ...told })
  }

  #tell(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.#desk.log.info(event, { session: this.id, client: this.address, ...fields })
  }

  #whoIsThere(): Client | undefined {
    if (this.#helo === undefined) return undefined
    this.#client ??= {
      session: this.id,
      address: this.address,
      helo: this.#helo,
      esmtp: this.#esmtp,
      tls: this.#tls,
      user: this.#user,
    }
    return this.#client
  }
}

type State = 'greeting' | 'command' | 'auth' | 'data' | 'handshake' | 'closing' | 'closed'

const NOTHING = Buffer.alloc(0)
const LF = 0x0a
/** How much may wait while a command is in hand. */
const PENDING_OCTETS = 16 * 1024
const FLUSH_CHARACTERS = 8 * 1024
/** How long the client may take to close after us. */
const LINGER_MS = 5000
/** Verbs of SMTP that are not ours. */
const NOT_HERE = new Set(['EXPN', 'TURN', 'ETRN', 'ATRN', 'BDAT', 'SEND', 'SOML', 'SAML'])
const HELO_ARGUMENT = /^[!-~]{1,255}$/
/** Web pages can make a browser speak to us, but not in words that are SMTP's (ALPACA). */
const HTTP = new Set('GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PRI'.split(' '))
