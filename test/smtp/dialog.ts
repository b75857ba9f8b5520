/**
 * Plays dialogs: what a client sends, and what it must hear.
 *
 *     # a comment
 *     % {"mode": "starttls", "limits": {"errors": 3}}     settings of the listener, first line
 *     C: EHLO client.example.test                         a line, CRLF is added
 *     C~ "dots\r\n.\r\n"                                  octets, escaped as in JSON
 *     C* tls                                              the client begins TLS
 *     S: 250                                              the next reply's last line begins so
 *     S+ SIZE                                             the reply before has a line with this
 *     S- STARTTLS                                         the reply before has none
 *     S* closed                                           the server closes
 *     = messages 1                                        what the house has taken by now
 *
 * @module
 */
import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'

/** A raw client. */
export class Wire {
  #socket: Socket
  #received = ''
  #closed = false
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    this.#listen()
  }

  static async connect(port: number, host = '127.0.0.1', localAddress?: string): Promise<Wire> {
    const socket = connectTcp({ port, host, ...(localAddress ? { localAddress } : {}) })
    const wire = new Wire(socket)
    await new Promise<void>(resolve => {
      socket.once('connect', resolve)
      socket.once('close', resolve)
    })
    socket.setNoDelay(true)
    return wire
  }

  static async connectTls(port: number, options: ConnectionOptions = {}): Promise<Wire> {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
    await secured(socket)
    return new Wire(socket)
  }

  get socket(): Socket {
    return this.#socket
  }

  get closed(): boolean {
    return this.#closed
  }

  /** What has come and was not read. */
  get unread(): string {
    return this.#received
  }

  send(octets: string | Buffer): void {
    this.#socket.write(typeof octets === 'string' ? Buffer.from(octets, 'utf8') : octets)
  }

  /** Sends a command and reads its reply. */
  async ask(line: string): Promise<string> {
    this.send(`${line}\r\n`)
    return await this.reply()
  }

  /** The next reply with all its lines; `''` where the server closed without one. */
  async reply(timeoutMs = 4000): Promise<string> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const whole = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(this.#received)?.[0]
      if (whole !== undefined) {
        this.#received = this.#received.slice(whole.length)
        return whole.slice(0, -2)
      }
      if (this.#closed) return ''
      await this.#news(deadline)
    }
  }

  /** Waits for the end of the connection. */
  async end(timeoutMs = 4000): Promise<void> {
    const deadline = Date.now() + timeoutMs
    while (!this.#closed) await this.#news(deadline)
  }

  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.#socket.removeAllListeners()
    const plain = this.#socket
    const socket = connectTls({ socket: plain, rejectUnauthorized: false, ...options })
    await secured(socket)
    this.#socket = socket
    this.#listen()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #listen(): void {
    const socket = this.#socket
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.on('error', () => {})
    const over = (): void => {
      this.#closed = true
      this.#wake?.()
    }
    socket.on('end', over)
    socket.on('close', over)
  }

  async #news(deadline: number): Promise<void> {
    const left = deadline - Date.now()
    if (left <= 0) throw new Error(`nothing came; so far ${JSON.stringify(this.#received)}`)
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, left)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** One step of a dialog. */
export interface Step {
  readonly line: number
  readonly kind: string
  readonly text: string
}

/** Reads a dialog. */
export function parseDialog(text: string): { settings: Record<string, unknown>; steps: Step[] } {
  let settings: Record<string, unknown> = {}
  const steps: Step[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('% ')) {
      settings = JSON.parse(line.slice(2)) as Record<string, unknown>
      continue
    }
    const step = /^(C:|C~|C\*|S:|S\+|S-|S\*|=) ?(.*)$/.exec(line)
    if (!step) throw new Error(`line ${index + 1} is no step: ${line}`)
    steps.push({ line: index + 1, kind: step[1]!, text: step[2]! })
  }
  return { settings, steps }
}

/**
 * Plays a dialog to its end.
 *
 * @param count What `= NAME N` compares.
 * @throws {Error} At the first line that does not hold.
 */
export async function play(
  wire: Wire,
  steps: readonly Step[],
  count: (name: string) => number,
): Promise<void> {
  let last = ''
  const hold = (holds: boolean, { line, kind, text }: Step): void => {
    if (!holds) throw new Error(`line ${line}: ${kind} ${text}; heard ${JSON.stringify(last)}`)
  }
  for (const step of steps) {
    const { kind, text } = step
    if (kind === 'C:') wire.send(`${text}\r\n`)
    else if (kind === 'C~') wire.send(Buffer.from(JSON.parse(text) as string, 'latin1'))
    else if (kind === 'C*') await wire.startTls()
    else if (kind === 'S:') {
      last = await wire.reply()
      hold(last.split('\r\n').at(-1)!.startsWith(text) && last !== '', step)
    } else if (kind === 'S+') hold(last.includes(text), step)
    else if (kind === 'S-') hold(!last.includes(text), step)
    else if (kind === 'S*') await wire.end()
    else {
      const [name = '', number] = text.split(' ')
      last = `${count(name)}`
      hold(last === number, step)
    }
  }
}

function secured(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed in the handshake')))
  })
}
