/**
 * One LDAP server, and the one connection to it that is kept and that all questions share.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { connect, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { domainToUnicode } from 'node:url'
import {
  Client,
  type Entry,
  EqualityFilter,
  OrFilter,
  ResultCodeError,
  SearchReference,
  SearchResponse,
} from 'ldapts'
import type { Mailbox } from '../mail/address.ts'
import { NoVerdict } from './breaker.ts'

/** How to reach a server, and how to ask. */
export interface LdapAccess {
  /** Distinguished name to search below. */
  readonly base: string
  /** To bind with; anonymous where there is none. */
  readonly bind?: { readonly user: string; readonly password: string } | undefined
  /** Upgrade of `ldap:` before anything else is said. */
  readonly startTls: boolean
  /** PEM file of the authorities to believe instead of the public ones. */
  readonly ca?: string | undefined
  /** What the server's certificate has to name, where it is not the host. */
  readonly tlsName?: string | undefined
  /** Attributes that hold a mailbox, each with what stands before the address: `smtp:`. */
  readonly match: readonly LdapMatch[]
  /** Attributes that hold certificates. */
  readonly attributes: readonly string[]
}

/** An attribute, and what it puts in front of an address. */
export interface LdapMatch {
  readonly attribute: string
  readonly prefix: string
}

/** What a server says to a question. */
export interface LdapAnswer {
  /** 20 at most. */
  readonly entries: readonly Entry[]
  /** Why there may be others, in words for the operator. */
  readonly incomplete: string | undefined
}

/** A server of a directory. */
export class LdapServer {
  readonly url: string
  readonly #access: LdapAccess
  #connection: Promise<Connection> | undefined

  /** @param url `ldap://HOST:PORT` or `ldaps://HOST:PORT`. */
  constructor(url: string, access: LdapAccess) {
    this.url = url
    this.#access = access
  }

  /**
   * Entries for a mailbox.
   *
   * @param timeoutMs For everything: name, connection, TLS, bind and search. A server that does not
   *   keep it loses its connection.
   * @throws {NoVerdict} where the server has answered, and not to any use.
   * @throws {Error} in words for the operator.
   */
  async search(mailbox: Mailbox, timeoutMs: number): Promise<LdapAnswer> {
    const reused = this.#connection !== undefined
    const end = performance.now() + timeoutMs
    try {
      return await this.#searchOnce(mailbox, timeoutMs)
    } catch (error) {
      // A kept connection may have been closed by the server a moment ago: that is no failure yet.
      if (!reused || this.#connection || performance.now() >= end) throw error
      return await this.#searchOnce(mailbox, end - performance.now())
    }
  }

  close(): void {
    this.#drop(this.#connection)
  }

  async #searchOnce(mailbox: Mailbox, timeoutMs: number): Promise<LdapAnswer> {
    const dialling = this.#connection ?? this.#dial(timeoutMs)
    this.#connection = dialling
    return await within(
      timeoutMs,
      dialling.then(connection => connection.search(mailbox)),
      () => this.#drop(dialling),
    )
  }

  #dial(timeoutMs: number): Promise<Connection> {
    const dialling: Promise<Connection> = Connection.open(this.url, this.#access, {
      timeoutMs,
      closed: () => this.#drop(dialling),
    })
    dialling.catch(() => this.#drop(dialling))
    return dialling
  }

  /** Closes a connection, and forgets it if it is still the one in use. */
  #drop(dialling: Promise<Connection> | undefined): void {
    if (this.#connection === dialling) this.#connection = undefined
    dialling?.then(
      connection => connection.close(),
      () => {},
    )
  }
}

type Query = NonNullable<Parameters<Client['search']>[1]>

interface Dialling {
  readonly timeoutMs: number
  readonly closed: () => void
}

/** A connection: encrypted and bound as it has to be, or not there at all. */
class Connection {
  readonly #client: Client
  readonly #access: LdapAccess
  readonly #socket: Socket
  /** Octets that came since an answer was complete. */
  #octets = 0
  #isFlooded = false

  private constructor(client: Client, access: LdapAccess, socket: Socket) {
    this.#client = client
    this.#access = access
    this.#socket = socket
    socket.on('data', (octets: Buffer) => {
      this.#octets += octets.length
      this.#isFlooded ||= this.#octets > MAX_OCTETS
      if (this.#isFlooded) socket.destroy()
    })
    tellOfLimits(client)
  }

  static async open(url: string, access: LdapAccess, dialling: Dialling): Promise<Connection> {
    const { bind, startTls } = access
    // An empty password would be no authentication at all, and look like one (RFC 4513 §5.1.2); and
    // who asks as nobody may be shown nothing, which would look like "none".
    if (bind?.password === '') throw new Error('no password to bind with')
    const tls = await tlsOptions(url, access)
    const socket = await connectTo(url, tls, dialling)
    let used = false
    // The library would connect again by itself, in clear and without bind: it gets one socket.
    const once = <S>(): S => {
      if (used) throw new Error('the connection was closed')
      used = true
      return socket as S
    }
    const secure = url.startsWith('ldaps:')
    const client = new Client({
      url,
      ...(secure ? { createSecureConnection: once } : { createConnection: once }),
    })
    const connection = new Connection(client, access, socket)
    try {
      if (startTls) await client.startTLS(tls)
      if (bind) await client.bind(bind.user, bind.password)
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  async search(mailbox: Mailbox): Promise<LdapAnswer> {
    const query = this.#query(mailbox)
    const { searchEntries, searchReferences } = await this.#client
      .search(this.#access.base, query)
      .catch((error: unknown) => {
        throw this.#verdictOn(error)
      })
    this.#octets = 0
    return { entries: searchEntries, incomplete: incompleteness(searchReferences) }
  }

  /** One entry that is too large, or may not be seen, says nothing of the server. */
  #verdictOn(error: unknown): unknown {
    if (this.#isFlooded) return new NoVerdict(`too long an answer, ${String(error)}`)
    return error instanceof ResultCodeError && !TROUBLED.has(error.code)
      ? new NoVerdict(String(error), { cause: error })
      : error
  }

  #query({ localPart, domain }: Mailbox): Query {
    const { match, attributes } = this.#access
    // A directory may hold a domain as people write it (RFC 5890 §2.3.2.1): U-labels.
    const domains = new Set([domain, domainToUnicode(domain)].filter(Boolean))
    // Filters are values, not text: nothing in an address can become syntax (RFC 4515 §3).
    const filters = match.flatMap(({ attribute, prefix }) =>
      [...domains].map(
        spelt => new EqualityFilter({ attribute, value: `${prefix}${localPart}@${spelt}` }),
      ),
    )
    return {
      scope: 'sub',
      filter: new OrFilter({ filters }),
      attributes: [...attributes, ...match.map(({ attribute }) => attribute)],
      explicitBufferAttributes: spellings(attributes),
      sizeLimit: SIZE_LIMIT,
      timeLimit: TIME_LIMIT_SECONDS,
    }
  }

  close(): void {
    this.#socket.destroy()
  }
}

/** Entries asked for. As many in an answer may mean that there are more. */
export const SIZE_LIMIT = 20

/**
 * Has the library tell of an answer that the server has cut off: where a limit was asked for, it takes
 * sizeLimitExceeded for success, and says nothing.
 */
function tellOfLimits(client: Client): void {
  const send = client['_send'].bind(client)
  client['_send'] = async (message: Parameters<typeof send>[0]) => {
    const result: unknown = await send(message)
    if (result instanceof SearchResponse && result.status === SIZE_LIMIT_EXCEEDED)
      result.searchReferences.push(new SearchReference({ messageId: 0, uris: [CUT_OFF] }))
    return result as never
  }
}

/** What is missing in an answer (RFC 4511 §4.5.3, §4.1.9). References are not followed. */
function incompleteness(references: readonly string[]): string | undefined {
  if (references.includes(CUT_OFF)) return 'the server has cut its answer off'
  const elsewhere = references.find(reference => !NOBODY_THERE.test(reference))
  return elsewhere === undefined ? undefined : `the server refers to ${elsewhere}`
}

/** A socket that is connected, under TLS where the URL says so, with the server's name verified. */
function connectTo(url: string, tls: ConnectionOptions, { closed, timeoutMs }: Dialling) {
  const { protocol, hostname, port } = new URL(url)
  const secure = protocol === 'ldaps:'
  const host = hostname.replace(/^\[|\]$/g, '')
  const at = { host, port: Number(port) || (secure ? 636 : 389), noDelay: true }
  const socket: Socket = secure ? connectTls({ ...tls, ...at }) : connect(at)
  // A kept connection is no reason for the process to stay; a question has a timer that is one.
  socket.unref()
  return new Promise<Socket>((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error('no connection in time')), timeoutMs)
    socket.once(secure ? 'secureConnect' : 'connect', () => resolve(socket))
    socket.once('error', reject)
    socket.once('close', () => {
      reject(new Error('the connection was closed'))
      closed()
    })
    socket.once('connect', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
  })
}

async function tlsOptions(url: string, { ca, tlsName }: LdapAccess): Promise<ConnectionOptions> {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '')
  const name = tlsName ?? host
  return {
    host,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    ...(isIP(name) ? {} : { servername: name }),
    ...(ca !== undefined && { ca: await readFile(ca) }),
  }
}

/** An attribute comes back as the server spells it, with or without its option. */
function spellings(attributes: readonly string[]): string[] {
  return attributes.flatMap(attribute => {
    const plain = attribute.replace(/;binary$/i, '')
    const all = [attribute, plain, `${plain};binary`]
    return [...all, ...all.map(spelling => spelling.toLowerCase())]
  })
}

async function within<T>(timeoutMs: number, promise: Promise<T>, late: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late()
      reject(new Error(`no answer in ${Math.round(timeoutMs)} ms`))
    }, timeoutMs)
  })
  try {
    return await Promise.race([promise, timeout])
  } finally {
    clearTimeout(timer)
  }
}

/** Twenty entries with a dozen certificates each have room in it. */
const MAX_OCTETS = 4 * 1024 * 1024
const TIME_LIMIT_SECONDS = 2
/** No URL. */
const CUT_OFF = ''
const SIZE_LIMIT_EXCEEDED = 4
/**
 * Result codes of a server that is in trouble (RFC 4511 Appendix A): operationsError, timeLimitExceeded,
 * busy, unavailable, unwillingToPerform, other.
 */
const TROUBLED: ReadonlySet<number> = new Set([1, 3, 51, 52, 53, 80])
/** Parts that Active Directory refers to from the root of every domain; there are no people in them. */
const NOBODY_THERE =
  /^ldaps?:\/\/[^/]*\/(?:CN=Configuration|CN=Schema|DC=DomainDnsZones|DC=ForestDnsZones),/i
