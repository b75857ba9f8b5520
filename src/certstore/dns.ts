/**
 * One question to a validating DNS resolver that we trust, and whether it vouches for the answer.
 *
 * Over TCP (RFC 7766): certificates are larger than datagrams, and nobody off the path can answer in
 * the resolver's place.
 *
 * @module
 */
import { randomInt } from 'node:crypto'
import { connect } from 'node:net'
import {
  AUTHENTIC_DATA,
  type DecodedPacket,
  decode,
  RECURSION_DESIRED,
  streamEncode,
} from 'dns-packet'
import { NoVerdict } from './breaker.ts'

/** A resolver. */
export interface DnsServer {
  /** IP address. On this machine, or reached over a way on which nobody can change the AD bit. */
  readonly address: string
  readonly port: number
}

/** What a resolver says. */
export interface DnsAnswer {
  /** The AD bit: signatures were checked up to an anchor (RFC 4035 §3.2.3). */
  readonly authentic: boolean
  /** Data of the records of the type that was asked for; none where there is no such name. */
  readonly records: readonly Buffer[]
}

/**
 * Asks for records of a type that has no name in the library.
 *
 * @throws {Error} in words for the operator: no connection, no time, SERVFAIL (which is also how a
 *   resolver tells of forged answers), or what does not read as an answer to this question.
 */
export async function askDns(
  server: DnsServer,
  name: string,
  type: number,
  timeoutMs: number,
): Promise<DnsAnswer> {
  const typeName = `UNKNOWN_${type}`
  const answer = await ask(server, name, typeName, timeoutMs)
  const records = (answer.answers ?? []).filter(record => record.type === typeName)
  return { authentic: answer.flag_ad, records: records.map(({ data }) => data) }
}

/**
 * Whether a resolver vouches for a name that is known to be signed: one that does not, validates nothing.
 *
 * @throws {Error} as `askDns` does.
 */
export async function validates(
  server: DnsServer,
  name: string,
  timeoutMs: number,
): Promise<boolean> {
  return (await ask(server, name, 'SOA', timeoutMs)).flag_ad
}

async function ask(
  server: DnsServer,
  name: string,
  typeName: string,
  timeoutMs: number,
): Promise<DecodedAnswer> {
  const id = randomInt(0x10000)
  const query = streamEncode({
    type: 'query',
    id,
    // AD in a question asks for AD in the answer (RFC 6840 §5.7).
    flags: RECURSION_DESIRED | AUTHENTIC_DATA,
    questions: [{ type: typeName as 'TLSA', name }],
  })
  const answer = decode(await exchange(server, query, timeoutMs)) as unknown as DecodedAnswer
  const [question] = answer.questions ?? []
  if (
    answer.id !== id ||
    answer.type !== 'response' ||
    question?.type !== typeName ||
    question.name.toLowerCase() !== name.toLowerCase()
  )
    throw new Error('the answer is to another question')
  if (answer.flag_tc) throw new Error('the answer is cut off')
  // Of this name; the resolver itself is there.
  if (!ANSWERS.has(answer.rcode)) throw new NoVerdict(`the resolver says ${answer.rcode}`)
  return answer
}

type DecodedAnswer = Omit<DecodedPacket, 'answers' | 'questions'> & {
  readonly rcode: string
  readonly questions?: readonly { readonly type: string; readonly name: string }[]
  readonly answers?: readonly { readonly type: string; readonly data: Buffer }[]
}

/** Sends a message with its length in front, and reads one (RFC 1035 §4.2.2). */
function exchange(server: DnsServer, query: Buffer, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.address, port: server.port, noDelay: true })
    const timer = setTimeout(
      () => socket.destroy(new Error(`no answer in ${Math.round(timeoutMs)} ms`)),
      timeoutMs,
    )
    let received: Buffer = Buffer.alloc(0)
    socket.on('connect', () => socket.write(query))
    socket.on('data', (octets: Buffer) => {
      received = Buffer.concat([received, octets])
      const size = received.length < 2 ? 0x10000 : received.readUInt16BE(0)
      if (received.length < size + 2) return
      resolve(received.subarray(2, size + 2))
      socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      clearTimeout(timer)
      reject(new Error('the connection was closed'))
    })
  })
}

/** Both say what there is; the other codes say that it cannot be known. */
const ANSWERS: ReadonlySet<string> = new Set(['NOERROR', 'NXDOMAIN'])
