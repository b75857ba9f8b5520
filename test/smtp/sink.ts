/**
 * A programmable next hop: a raw SMTP server on loopback that does as a test tells it, and records
 * every octet that it was given.
 *
 *     const sink = await startSink({ on: ({ verb }) => (verb === 'RCPT' ? '550 5.1.1 who?' : undefined) })
 *     … sink.port … sink.messages …
 *     await sink.close()
 *
 * @module
 */
import { createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, type SecureContextOptions, TLSSocket } from 'node:tls'

/** What a sink is, and what it does out of the ordinary. */
export interface SinkOptions {
  /** EHLO lines without code; default: every extension that Postern makes use of. */
  readonly extensions?: readonly string[]
  /** Keywords taken out of `extensions`. */
  readonly without?: readonly string[]
  /** Key, certificate and versions; STARTTLS is offered where they are given (unless `startTls` says else). */
  readonly tls?: SecureContextOptions
  /** TLS from the first octet. */
  readonly implicit?: boolean
  /**
   * - `stripped`: not offered, and 502 where it is asked for
   * - `454`: offered and refused; `501` the same, permanently
   * - `garbage`: offered, answered 220, and then no TLS follows
   * - `inject`: offered and good, with plaintext replies behind the 220 in the same segment
   * - `drop`: offered, answered 220, and then the connection is closed
   */
  readonly startTls?: 'good' | 'stripped' | '454' | '501' | 'garbage' | 'inject' | 'drop'
  /** AUTH PLAIN is offered, and MAIL is refused before it. */
  readonly auth?: { readonly user: string; readonly password: string }
  /** Port to listen on, for a sink that comes back; default: any. */
  readonly port?: number
  /** Asked before each reply; `undefined` is the ordinary one. */
  readonly on?: (moment: Moment) => Action | undefined
}

/** Where in the conversation a reply is due. */
export interface Moment {
  /** Which connection since the start of the sink, from 0. */
  readonly connection: number
  /** `CONNECT` before the greeting, `DOT` after the final dot, else the verb of the command. */
  readonly verb: string
  /** The command as it came, without CRLF. */
  readonly line: string
  /** How often this verb has been heard on this connection before. */
  readonly nth: number
}

/** A reply, verbatim and without the last CRLF; or something worse. */
export type Action =
  | string
  | {
      readonly reply?: string
      /** Waits before the reply. */
      readonly delayMs?: number
      /** Writes the reply octet for octet, with this pause between them. */
      readonly dripMs?: number
      /** Never replies. */
      readonly stall?: boolean
      /** Closes the connection, after the reply where there is one. */
      readonly close?: boolean
      /** As `close`, without farewell: RST. */
      readonly reset?: boolean
      /** At `DOT`: whether the message counts as taken; default: where the reply is 2yz. */
      readonly take?: boolean
    }

/** A message that the sink has taken. */
export interface SinkMessage {
  readonly connection: number
  /** MAIL and RCPT as they came, of accepted recipients only. */
  readonly mail: string
  readonly recipients: readonly string[]
  /** Between the angle brackets of `mail` and of `recipients`. */
  readonly reversePath: string
  readonly forwardPaths: readonly string[]
  /** Content as the sink understands it, dots un-stuffed. */
  readonly octets: Buffer
  /** Content as it stood on the wire, final dot included. */
  readonly wire: Buffer
  readonly tls: boolean
}

/** All that is remembered of a connection. */
export interface SinkConnection {
  readonly commands: string[]
  /** Octets that came before TLS. */
  clear: string
  tls: boolean
  open: boolean
  /** How many pieces the octets came in. */
  segments: number
  /** How often octets came before the reply to the last command was said. */
  early: number
  /** Octets of content whose final dot has not come. */
  unfinishedOctets: number
}

export interface Sink {
  readonly port: number
  readonly messages: SinkMessage[]
  readonly connections: SinkConnection[]
  /** Says something that nobody asked for, on every open connection, and closes where told. */
  say(text: string, close?: boolean): void
  /** Drops every open connection; the sink goes on listening. */
  drop(): void
  /** Reads no more from the connections that are open. */
  deafen(): void
  /** Takes no more connections; those that are open stay. */
  stopListening(): Promise<void>
  close(): Promise<void>
}

/** Starts a sink on 127.0.0.1. */
export async function startSink(options: SinkOptions = {}): Promise<Sink> {
  const sockets = new Map<Socket, Session>()
  const messages: SinkMessage[] = []
  const connections: SinkConnection[] = []
  const server = createServer({ noDelay: true }, socket => {
    const session = new Session(socket, options, connections.length, messages)
    connections.push(session.record)
    sockets.set(socket, session)
    socket.on('close', () => {
      session.record.open = false
      sockets.delete(socket)
    })
  })
  await listen(server, options.port ?? 0)
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    messages,
    connections,
    say: (text, close) => {
      for (const session of sockets.values()) session.say(text, close)
    },
    drop: () => {
      for (const socket of sockets.keys()) socket.destroy()
    },
    deafen: () => {
      for (const session of sockets.values()) session.socket.pause()
    },
    stopListening: () => {
      const stopped = new Promise<void>(resolve => {
        setImmediate(resolve)
      })
      server.close()
      return stopped
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets.keys()) socket.destroy()
      }),
  }
}

/** Un-stuffs dots (RFC 5321 §4.5.2), the plain way: line by line. */
export function unstuff(wire: Buffer): Buffer {
  const text = wire.toString('latin1')
  if (!text.startsWith('.') && !text.includes('\r\n.')) return wire
  const lines = text.split('\r\n').map(line => (line.startsWith('.') ? line.slice(1) : line))
  return Buffer.from(lines.join('\r\n'), 'latin1')
}

class Session {
  readonly record: SinkConnection = {
    commands: [],
    clear: '',
    tls: false,
    open: true,
    segments: 0,
    early: 0,
    unfinishedOctets: 0,
  }
  socket: Socket
  readonly options: SinkOptions
  readonly index: number
  readonly messages: SinkMessage[]
  readonly heard = new Map<string, number>()
  input: Buffer = Buffer.alloc(0)
  data: Buffer[] | undefined
  authenticated = false
  mail = ''
  recipients: string[] = []
  busy = false
  mute = false

  constructor(socket: Socket, options: SinkOptions, index: number, messages: SinkMessage[]) {
    this.socket = socket
    this.options = options
    this.index = index
    this.messages = messages
    socket.on('error', () => {})
    if (options.implicit) this.secure()
    else this.listen()
    void this.answer('CONNECT', '', '220 sink.test ESMTP')
  }

  say(text: string, close = false): void {
    this.socket.write(`${text}\r\n`)
    if (close) this.socket.end()
  }

  listen(): void {
    this.socket.on('data', (chunk: Buffer) => {
      this.record.segments++
      if (this.busy) this.record.early++
      if (!this.record.tls) this.record.clear += chunk.toString('latin1')
      if (this.data) this.content(chunk)
      else this.input = this.input.length === 0 ? chunk : Buffer.concat([this.input, chunk])
      void this.pump()
    })
    this.socket.on('error', () => {})
    this.socket.on('end', () => this.socket.end())
  }

  secure(): void {
    this.socket.removeAllListeners('data')
    this.input = Buffer.alloc(0)
    this.socket = new TLSSocket(this.socket, {
      isServer: true,
      secureContext: createSecureContext(this.options.tls),
    })
    this.record.tls = true
    this.listen()
  }

  /** One command at a time, in order, as they were written. */
  async pump(): Promise<void> {
    if (this.busy) return
    this.busy = true
    while (!this.data && !this.mute) {
      const end = this.input.indexOf('\r\n')
      if (end < 0) break
      const line = this.input.toString('utf8', 0, end)
      this.input = this.input.subarray(end + 2)
      await this.command(line)
      if (this.input.length > 0) this.record.early++
    }
    this.busy = false
  }

  async command(line: string): Promise<void> {
    this.record.commands.push(line)
    const verb = (/^[a-z]+/i.exec(line)?.[0] ?? '').toUpperCase()
    if (verb === 'STARTTLS') return this.startTls(line)
    const code = await this.answer(verb, line, this.ordinary(verb, line))
    if (verb === 'MAIL' && code === 2) [this.mail, this.recipients] = [line, []]
    if (verb === 'RCPT' && code === 2) this.recipients.push(line)
    if (verb === 'RSET' && code === 2) [this.mail, this.recipients] = ['', []]
    if (verb === 'QUIT') this.socket.end()
    if (verb === 'DATA' && code === 3) this.beginData()
  }

  ordinary(verb: string, line: string): string {
    switch (verb) {
      case 'EHLO':
        return this.ehlo()
      case 'AUTH':
        return this.authenticate(line)
      case 'MAIL':
        if (this.options.auth && !this.authenticated) return '530 5.7.0 authenticate first'
        return '250 2.1.0 ok'
      case 'RCPT':
        return this.mail === '' ? '503 5.5.1 MAIL first' : '250 2.1.5 ok'
      case 'DATA':
        return this.recipients.length === 0 ? '554 5.5.1 no valid recipients' : '354 go on'
      case 'RSET':
      case 'NOOP':
      case 'HELO':
        return '250 2.0.0 ok'
      case 'QUIT':
        return '221 2.0.0 bye'
      default:
        return '502 5.5.2 what?'
    }
  }

  ehlo(): string {
    const without = this.options.without ?? []
    const lines = (this.options.extensions ?? EXTENSIONS).filter(
      line => !without.includes(line.split(' ')[0]!),
    )
    const offered = this.options.startTls ?? (this.options.tls ? 'good' : 'stripped')
    if (!this.record.tls && offered !== 'stripped') lines.push('STARTTLS')
    if (this.options.auth) lines.push('AUTH PLAIN')
    const all = ['sink.test', ...lines]
    return all.map((text, i) => `250${i < all.length - 1 ? '-' : ' '}${text}`).join('\r\n')
  }

  authenticate(line: string): string {
    const { user, password } = this.options.auth ?? { user: '', password: '' }
    const wanted = Buffer.from(`\0${user}\0${password}`).toString('base64')
    this.authenticated = this.options.auth !== undefined && line === `AUTH PLAIN ${wanted}`
    return this.authenticated ? '235 2.7.0 ok' : '535 5.7.8 no'
  }

  async startTls(line: string): Promise<void> {
    const mode = this.options.startTls ?? (this.options.tls ? 'good' : 'stripped')
    if (mode === 'stripped') return void (await this.answer('STARTTLS', line, '502 5.5.1 no'))
    if (mode === '454') return void (await this.answer('STARTTLS', line, '454 4.7.0 not now'))
    if (mode === '501') return void (await this.answer('STARTTLS', line, '501 5.5.4 never'))
    const injected = mode === 'inject' ? '\r\n250-injected.test\r\n250 INJECTED' : ''
    await this.answer('STARTTLS', line, `220 2.0.0 go on${injected}`)
    if (mode === 'drop') return void this.socket.end()
    if (mode === 'garbage') return void this.socket.write('this is no TLS, is it?\r\n'.repeat(10))
    this.secure()
  }

  beginData(): void {
    this.data = [Buffer.from('\r\n')]
    const rest = this.input
    this.input = Buffer.alloc(0)
    if (rest.length > 0) this.content(rest)
  }

  /** Collects content; only CRLF.CRLF ends it (RFC 5321 §4.1.1.4). */
  content(chunk: Buffer): void {
    const data = this.data!
    this.record.unfinishedOctets += chunk.length
    const before = Buffer.concat(data.slice(-5)).subarray(-4)
    const at = Buffer.concat([before, chunk]).indexOf('\r\n.\r\n')
    if (at < 0) {
      data.push(chunk)
      return
    }
    const end = at - before.length + 5
    data.push(chunk.subarray(0, end))
    this.data = undefined
    this.input = chunk.subarray(end)
    this.record.unfinishedOctets = 0
    void this.endOfData(Buffer.concat(data).subarray(2))
  }

  async endOfData(wire: Buffer): Promise<void> {
    this.busy = true
    const { mail, recipients } = this
    const action = this.ask('DOT', '.') ?? '250 2.0.0 taken'
    const taken =
      (typeof action === 'object' ? action.take : undefined) ??
      (typeof action === 'string' ? action : (action.reply ?? '')).startsWith('2')
    if (taken)
      this.messages.push({
        connection: this.index,
        mail,
        recipients,
        reversePath: bracketed(mail),
        forwardPaths: recipients.map(bracketed),
        octets: unstuff(wire.subarray(0, -3)),
        wire,
        tls: this.record.tls,
      })
    ;[this.mail, this.recipients] = ['', []]
    await this.act(action)
    this.busy = false
    await this.pump()
  }

  async answer(verb: string, line: string, ordinary: string): Promise<number> {
    const action = this.ask(verb, line) ?? ordinary
    await this.act(action)
    return Number((typeof action === 'string' ? action : (action.reply ?? ''))[0] ?? 0)
  }

  ask(verb: string, line: string): Action | undefined {
    const nth = this.heard.get(verb) ?? 0
    this.heard.set(verb, nth + 1)
    return this.options.on?.({ connection: this.index, verb, line, nth })
  }

  async act(action: Action): Promise<void> {
    if (typeof action === 'string') return void this.socket.write(`${action}\r\n`)
    if (action.delayMs) await pause(action.delayMs)
    if (action.stall) this.mute = true
    else if (action.reply !== undefined) await this.write(`${action.reply}\r\n`, action.dripMs)
    if (action.close) this.socket.end()
    if (action.reset) this.socket.resetAndDestroy()
    if (action.close || action.reset) this.mute = true
  }

  async write(text: string, dripMs: number | undefined): Promise<void> {
    if (dripMs === undefined) return void this.socket.write(text)
    for (const octet of text) {
      if (this.socket.destroyed) return
      this.socket.write(octet)
      await pause(dripMs)
    }
  }
}

function bracketed(line: string): string {
  return line.slice(line.indexOf('<') + 1, line.lastIndexOf('>'))
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve())
  })
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms)
  })
}

const EXTENSIONS = [
  'PIPELINING',
  'SIZE 52428800',
  '8BITMIME',
  'SMTPUTF8',
  'DSN',
  'ENHANCEDSTATUSCODES',
]
