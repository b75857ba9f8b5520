/**
 * What a client may say, and what it is answered: one command after the other (RFC 5321 §4.1.1).
 *
 *     EHLO ──▶ STARTTLS, AUTH ──▶ MAIL ──▶ RCPT … ──▶ DATA ──▶ Receiving ──▶ the reply to its end
 *                                  └─ House.begin ─▶ Transaction
 *
 * It knows nothing of sockets: octets come in whole lines, and replies leave through a Connection.
 *
 * @module
 */
import type { Log } from '../log.ts'
import { visible } from '../log.ts'
import {
  AuthExchange,
  type Authenticate,
  type AuthStep,
  type Credentials,
  challengeLine,
  MECHANISMS,
} from './auth.ts'
import { type Command, isRefusal, parseCommand, parseMail, parseRcpt } from './command.ts'
import { LINE_OCTETS } from './command-line.ts'
import type { Limits } from './limits.ts'
import { type ContentSink, Receiving } from './receiving.ts'
import { formatReply, isPositive, type Reply, type ReplyName, reply } from './reply.ts'
import type { Client, House, Transaction } from './transaction.ts'

/** What clients are served with, the same for all of a listener. */
export interface Service {
  readonly hostname: string
  readonly limits: Limits
  readonly log: Log
  readonly house: House
  readonly authenticate: Authenticate | undefined
  /** Whether the words of a refusal, which often quote an address, may stand in the log. */
  readonly tellsWords: boolean
  hold(): ContentSink
}

/** The connection that a dialogue is held over. */
export interface Connection {
  /** Identifier of the session. */
  readonly id: string
  /** Address of the client. */
  readonly address: string
  /** Whether TLS is offered on a connection that begins without it. */
  readonly offersStartTls: boolean
  /** Nothing new is begun. */
  readonly isDraining: boolean
  /** Whether octets have come behind the command in hand. */
  readonly hasMore: boolean
  /** Sends lines, together with those of the commands that came with this one. */
  say(lines: string): void
  /** Waits for a reply of the house, and reads on after `then`; once the session is over, neither. */
  wait(promise: Promise<Reply>, then: (given: Reply) => void): undefined
  /** Says that a handshake may begin, and forgets what was begun or has come already. */
  startTls(): undefined
  /** Says why, and closes. */
  end(name: ReplyName): undefined
  /** Sends what was said, and closes. */
  close(): undefined
  /** The reply to what must not happen, which is logged. */
  bug(error: unknown): Reply
  /** Logs an event of the session. */
  tell(event: string, fields: Readonly<Record<string, unknown>>): void
}

/**
 * One client's dialogue. Handlers of commands return the reply, or nothing where they wait for it or
 * have ended the session.
 */
export class Dialogue {
  readonly #connection: Connection
  readonly #service: Service

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

  constructor(connection: Connection, service: Service) {
    this.#connection = connection
    this.#service = service
  }

  /** Messages that were answered. */
  get messages(): number {
    return this.#messages
  }

  /** The message whose data is what comes next; without one, a command line is. */
  get data(): Receiving | undefined {
    return this.#data
  }

  /** No transaction is open. */
  get isIdle(): boolean {
    return this.#transaction === undefined && this.#data === undefined
  }

  /** How long the line may be that begins like this. */
  lineLimit(beginning: Buffer): number {
    if (this.#auth) return LINE_OCTETS.auth
    const mayAuth = this.#service.authenticate !== undefined
    const isAuth = mayAuth && beginning.toString('latin1', 0, 5).toUpperCase() === 'AUTH '
    return isAuth ? LINE_OCTETS.auth : LINE_OCTETS.command
  }

  /** Takes a line without its CRLF: a command, or what AUTH has asked for. */
  take(line: Buffer): void {
    if (this.#auth) this.#continueAuth(this.#auth, line)
    else this.#obey(parseCommand(line))
  }

  /** Answers the end of data, all of which is held. */
  endData(data: Receiving): void {
    this.#data = undefined
    const { refusal } = data
    if (refusal) {
      data.abandon()
      this.#answer('DATA', reply(refusal))
      // Another server might have seen the end elsewhere, and commands behind it (CVE-2023-51764).
      if (refusal === 'bare-line-ending') this.#connection.close()
      return
    }
    this.#delivering = data
    this.#connection.wait(data.deliver(), given => {
      this.#delivering = undefined
      this.#messages++
      if (isPositive(given)) this.#junk = this.#errors = 0
      this.#connection.say(formatReply(given))
    })
  }

  /** Gives up what is not finished; a content that the transaction owns is its own business. */
  forsake(): void {
    const unfinished = this.#data ?? this.#transaction
    this.#data = undefined
    this.#transaction = undefined
    unfinished?.abandon()
  }

  /** Tells what is being delivered that the client is lost. */
  abort(): void {
    this.#delivering?.abort()
  }

  /** RFC 3207 §4.2: all that was learnt before TLS is forgotten. */
  secured(tls: string): void {
    this.#tls = tls
    this.#helo = undefined
    this.#client = undefined
    this.#user = undefined
  }

  // ── commands ────────────────────────────────────────────────────────────────────────────────

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
        this.forsake()
        return this.#junkCommand('ok')
      case 'NOOP':
        return this.#junkCommand('ok')
      case 'HELP':
        return this.#junkCommand('help')
      case 'VRFY':
        return this.#junkCommand('cannot-verify')
      case 'QUIT':
        return this.#connection.end('bye')
      case 'STARTTLS':
        return this.#startTls(command)
      case 'AUTH':
        return this.#beginAuth(command)
      default:
        if (HTTP.has(command.verb)) return this.#connection.end('http-refused')
        return this.#fault(NOT_HERE.has(command.verb) ? 'not-implemented' : 'unknown-command')
    }
  }

  #hello({ verb, argument, ascii }: Command): Reply | undefined {
    if (!ascii || !HELO_ARGUMENT.test(argument)) return this.#fault('syntax', 'a name is expected')
    if (this.#helo !== undefined && ++this.#junk > this.#service.limits.junkCommands) {
      return this.#connection.end('too-many-junk-commands')
    }
    this.forsake()
    this.#helo = argument
    this.#esmtp = verb === 'EHLO'
    this.#client = undefined
    const text = this.#esmtp ? this.#extensions() : this.#service.hostname
    return { code: 250, enhanced: '', text }
  }

  #extensions(): string[] {
    const { hostname, limits, authenticate } = this.#service
    const lines = [hostname, 'PIPELINING', '8BITMIME', `SIZE ${limits.messageOctets}`]
    lines.push('ENHANCEDSTATUSCODES', 'SMTPUTF8', 'DSN')
    if (this.#connection.offersStartTls && this.#tls === undefined) lines.push('STARTTLS')
    if (authenticate && this.#tls !== undefined && this.#user === undefined) {
      lines.push(`AUTH ${MECHANISMS.join(' ')}`)
    }
    return lines
  }

  #mail(command: Command): Reply | undefined {
    const client = this.#whoIsThere()
    if (!client || this.#transaction) return this.#fault('bad-sequence')
    if (this.#connection.isDraining) return this.#connection.end('shutting-down')
    const mail = parseMail(command, client.esmtp)
    if (isRefusal(mail)) return this.#atFault(mail)
    const { messageOctets } = this.#service.limits
    if (Number(mail.parameters.get('SIZE') ?? 0) > messageOctets) {
      return reply('message-too-large', `limit is ${messageOctets} octets`)
    }
    const begun = this.#begin(() =>
      this.#service.house.begin(client, mail.reversePath, mail.parameters),
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
    if (this.#offered >= this.#service.limits.recipients) return reply('too-many-recipients')
    this.#offered++
    const asked = this.#begin(() => transaction.recipient(forwardPath))
    if (isRefusal(asked)) return asked
    return this.#connection.wait(asked, given => {
      if (isPositive(given)) this.#accepted++
      this.#answer('RCPT', given)
    })
  }

  #beginData({ argument }: Command): Reply | undefined {
    if (argument !== '') return this.#fault('syntax', 'DATA has no parameters')
    const transaction = this.#transaction
    if (!transaction) return this.#refuseData('bad-sequence')
    if (this.#accepted === 0) return this.#refuseData('no-valid-recipients')
    const sink = this.#begin(() => this.#service.hold())
    if (isRefusal(sink)) return this.#refuseData('content-store-full')
    const { limits, log } = this.#service
    this.#data = new Receiving(sink, transaction, { session: this.#connection.id, limits, log })
    this.#transaction = undefined
    return reply('send-data')
  }

  /**
   * DATA must be the last command of a group (RFC 2920 §3.1): what follows a refused one at once is
   * a message, and would be read as commands.
   */
  #refuseData(name: ReplyName): Reply | undefined {
    if (!this.#connection.hasMore) return this.#fault(name)
    this.#answer('DATA', reply(name))
    return this.#connection.close()
  }

  #startTls({ argument }: Command): Reply | undefined {
    if (argument !== '') return this.#fault('syntax', 'STARTTLS has no parameters')
    if (this.#tls !== undefined) return this.#fault('bad-sequence')
    if (!this.#connection.offersStartTls) return this.#fault('not-implemented')
    return this.#connection.startTls()
  }

  // ── authentication ──────────────────────────────────────────────────────────────────────────

  #beginAuth({ argument }: Command): Reply | undefined {
    if (!this.#service.authenticate) return this.#fault('not-implemented')
    if (this.#tls === undefined) return this.#fault('auth-needs-tls')
    if (!this.#whoIsThere() || this.#user !== undefined || this.#transaction) {
      return this.#fault('bad-sequence')
    }
    const begun = AuthExchange.begin(argument)
    if (typeof begun === 'string') return this.#fault(begun)
    this.#auth = begun.exchange
    return this.#authenticate(begun.step)
  }

  #continueAuth(exchange: AuthExchange, line: Buffer): void {
    const given = this.#authenticate(exchange.take(line.toString('latin1')))
    if (given) this.#answer('AUTH', given)
  }

  #authenticate(step: AuthStep): Reply | undefined {
    if ('challenge' in step) {
      this.#connection.say(challengeLine(step.challenge))
      return undefined
    }
    this.#auth = undefined
    if ('refusal' in step) return this.#authFault(step.refusal)
    return this.#connection.wait(this.#ask(step.credentials), given => {
      if (isPositive(given)) {
        this.#user = step.credentials.user
        this.#client = undefined
      }
      const answer = given.code === 535 ? this.#authFault('auth-failed') : given
      if (answer) this.#answer('AUTH', answer)
    })
  }

  async #ask({ user, password }: Credentials): Promise<Reply> {
    try {
      const known = await this.#service.authenticate!(user, password)
      return reply(known ? 'authenticated' : 'auth-failed')
    } catch (error) {
      this.#service.log.error('authentication-unavailable', {
        session: this.#connection.id,
        error,
      })
      return reply('auth-unavailable')
    }
  }

  #authFault(name: ReplyName): Reply | undefined {
    if (++this.#authFailures >= this.#service.limits.authFailures) {
      return this.#connection.end('too-many-errors')
    }
    return this.#fault(name)
  }

  // ── replies ─────────────────────────────────────────────────────────────────────────────────

  /** Runs what should not throw. */
  #begin<T>(step: () => T): T | Reply {
    try {
      return step()
    } catch (error) {
      return this.#connection.bug(error)
    }
  }

  #answer(verb: string, given: Reply): void {
    if (given.code >= 400) this.#tellRefusal(verb, given)
    this.#connection.say(formatReply(given))
  }

  #tellRefusal(command: string, { code, enhanced, text }: Reply): void {
    const words = visible(typeof text === 'string' ? text : text.join(' '), 200)
    const told = this.#service.tellsWords ? { text: words } : {}
    this.#connection.tell('command-refused', { command, code, enhanced, ...told })
  }

  #junkCommand(name: ReplyName): Reply | undefined {
    if (++this.#junk > this.#service.limits.junkCommands) {
      return this.#connection.end('too-many-junk-commands')
    }
    return reply(name)
  }

  #fault(name: ReplyName, detail?: string): Reply | undefined {
    return this.#atFault(reply(name, detail))
  }

  /** Counts what is the client's own fault. */
  #atFault(given: Reply): Reply | undefined {
    const isTooMuch = ++this.#errors > this.#service.limits.errors
    return isTooMuch ? this.#connection.end('too-many-errors') : given
  }

  #whoIsThere(): Client | undefined {
    if (this.#helo === undefined) return undefined
    this.#client ??= {
      session: this.#connection.id,
      address: this.#connection.address,
      helo: this.#helo,
      esmtp: this.#esmtp,
      tls: this.#tls,
      user: this.#user,
    }
    return this.#client
  }
}

/** Verbs of SMTP that are not ours. */
const NOT_HERE = new Set(['EXPN', 'TURN', 'ETRN', 'ATRN', 'BDAT', 'SEND', 'SOML', 'SAML'])
const HELO_ARGUMENT = /^[!-~]{1,255}$/
/** Web pages can make a browser speak to us, but not in words that are SMTP's (ALPACA). */
const HTTP = new Set('GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PRI'.split(' '))
