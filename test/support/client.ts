/**
 * A mail server's client for tests: sends a message, says what it was answered, and never guesses.
 *
 * @module
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface, type Interface } from 'node:readline'

/** The last line of a reply. */
export interface Answer {
  readonly code: number
  readonly text: string
}

/** How a transaction went: the reply to each step that was reached. */
export interface Outcome {
  readonly mail: Answer
  readonly recipients: readonly Answer[]
  readonly data?: Answer
  /** The reply to the final dot; a 2yz means that the message is not ours any more. */
  readonly end?: Answer
}

/** One session. */
export class TestClient {
  readonly #socket: Socket
  readonly #lines: AsyncIterator<string>
  readonly #reader: Interface
  extensions: readonly string[] = []

  private constructor(socket: Socket) {
    this.#socket = socket
    this.#reader = createInterface({ input: socket })
    this.#lines = this.#reader[Symbol.asyncIterator]()
  }

  /** Connects, hears the greeting and says EHLO. */
  static async open(port: number, timeoutMs = 20_000): Promise<TestClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.on('error', () => undefined)
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('time-out')))
    await once(socket, 'connect')
    const client = new TestClient(socket)
    await client.reply()
    await client.say('EHLO client.test')
    return client
  }

  /** Sends a command and waits for its reply. */
  async say(command: string): Promise<Answer> {
    this.#socket.write(`${command}\r\n`)
    return this.reply()
  }

  /** Sends octets as they are. */
  write(octets: Buffer | string): void {
    this.#socket.write(octets)
  }

  /** @throws {Error} Where the connection is lost before a whole reply came. */
  async reply(): Promise<Answer> {
    const lines: string[] = []
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error('connection lost')
      lines.push(value)
      if (!/^\d{3}-/.test(value)) break
    }
    const last = lines.at(-1)!
    if (lines.length > 1) this.extensions = lines.map(line => line.slice(4))
    return { code: Number(last.slice(0, 3)), text: last.slice(4) }
  }

  /** A whole transaction; stops where it is refused. */
  async send(
    from: string,
    to: readonly string[],
    content: Buffer,
    parameters = '',
  ): Promise<Outcome> {
    const mail = await this.say(`MAIL FROM:<${from}>${parameters}`)
    const recipients: Answer[] = []
    if (mail.code !== 250) return { mail, recipients }
    for (const recipient of to) recipients.push(await this.say(`RCPT TO:<${recipient}>`))
    if (!recipients.some(({ code }) => code === 250)) return { mail, recipients }
    const data = await this.say('DATA')
    if (data.code !== 354) return { mail, recipients, data }
    this.#socket.write(stuffed(content))
    return { mail, recipients, data, end: await this.reply() }
  }

  close(): void {
    this.#reader.close()
    this.#socket.destroy()
  }
}

/** Dots stuffed, the final dot behind; the content must end with CRLF or be empty (RFC 5321 §4.5.2). */
function stuffed(content: Buffer): Buffer {
  const text = content.toString('latin1').replace(/^\./gm, '..')
  return Buffer.from(`${text}.\r\n`, 'latin1')
}
