/**
 * A listener on loopback with a house that takes everything, remembers it, and can be told otherwise.
 *
 * @module
 */
import { type Log, silentLog } from '../../src/log.ts'
import type {
  Content,
  EsmtpParameters,
  ForwardPath,
  ReversePath,
} from '../../src/mail/mail-object.ts'
import { type Listener, type ListenerSettings, listen } from '../../src/smtp/listener.ts'
import type { ContentSink } from '../../src/smtp/receiving.ts'
import { type Reply, reply } from '../../src/smtp/reply.ts'
import type { Client, House, Transaction } from '../../src/smtp/transaction.ts'

/** One message as the house got it. */
export interface Taken {
  readonly client: Client
  readonly reversePath: string
  readonly parameters: EsmtpParameters
  readonly forwardPaths: readonly ForwardPath[]
  readonly content: Buffer
}

/** A house that writes down what it was asked. */
export class RecordingHouse implements House {
  readonly taken: Taken[] = []
  begun = 0
  abandoned = 0
  aborted = 0
  /** What to answer; each may be replaced by a test. */
  onBegin: (client: Client, reversePath: ReversePath) => Reply | undefined = () => undefined
  onRecipient: (path: ForwardPath) => Promise<Reply> = () => Promise.resolve(RECIPIENT_OK)
  onContent: (signal: AbortSignal) => Promise<Reply> = () => Promise.resolve(reply('delivered'))

  begin(
    client: Client,
    reversePath: ReversePath,
    parameters: EsmtpParameters,
  ): Transaction | Reply {
    const refusal = this.onBegin(client, reversePath)
    if (refusal) return refusal
    this.begun++
    const forwardPaths: ForwardPath[] = []
    return {
      recipient: async path => {
        const given = await this.onRecipient(path)
        if (given.code < 300) forwardPaths.push(path)
        return given
      },
      content: async (content, signal) => {
        signal.addEventListener('abort', () => this.aborted++)
        const octets: Buffer[] = []
        for await (const chunk of content.read()) octets.push(chunk)
        content.dispose()
        const given = await this.onContent(signal)
        if (given.code < 300) {
          const whole = Buffer.concat(octets)
          const from = reversePath?.toString() ?? ''
          this.taken.push({ client, reversePath: from, parameters, forwardPaths, content: whole })
        }
        return given
      },
      abandon: () => void this.abandoned++,
    }
  }
}

/** Content in memory, counted. */
export class MemorySink implements ContentSink {
  static held = 0
  readonly #chunks: Buffer[] = []
  #over = false

  constructor() {
    MemorySink.held++
  }

  write(chunk: Buffer): void | Promise<void> {
    this.#chunks.push(chunk)
  }

  finish(): Content {
    const whole = Buffer.concat(this.#chunks)
    return {
      sizeOctets: whole.length,
      shape: { eightBit: false, longestLineOctets: 0 },
      async *read(start = 0, end = whole.length) {
        yield whole.subarray(start, end)
      },
      dispose: () => this.#release(),
    }
  }

  discard(): void {
    this.#release()
  }

  #release(): void {
    if (this.#over) throw new Error('released twice')
    this.#over = true
    MemorySink.held--
  }
}

/** A listener under test, and what it needs to be taken down. */
export interface Reception extends AsyncDisposable {
  readonly house: RecordingHouse
  readonly listener: Listener
  readonly port: number
}

/** Listens on a port of 127.0.0.1 that the system chooses. */
export async function receive(
  settings: Partial<ListenerSettings> & { mode?: 'none' | 'starttls' | 'implicit' } = {},
  log: Log = silentLog,
): Promise<Reception> {
  const house = new RecordingHouse()
  const { mode = 'none', ...rest } = settings
  const listener = await listen(
    {
      hostname: 'gw.example.test',
      listen: [{ address: '127.0.0.1', port: 0, tls: mode }],
      hold: () => new MemorySink(),
      ...rest,
    },
    house,
    log,
  )
  return {
    house,
    listener,
    port: listener.addresses[0]!.port,
    [Symbol.asyncDispose]: () => listener.drain(0),
  }
}

/** What a next hop says of a recipient. */
export const RECIPIENT_OK: Reply = { code: 250, enhanced: '2.1.5', text: 'recipient OK' }
export const RECIPIENT_UNKNOWN: Reply = { code: 550, enhanced: '5.1.1', text: 'recipient unknown' }
