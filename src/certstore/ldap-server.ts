/**
 * One LDAP server, and the one connection to it that is kept and that all questions share.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { connect, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { Client, type Entry, EqualityFilter, OrFilter } from 'ldapts'
import type { Mailbox } from '../mail/address.ts'

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
   * Entries for a mailbox, 20 at most.
   *
   * @param timeoutMs For everything: name, connection, TLS, bind and search. A server that does not
   *   keep it loses its connection.
   * @throws {Error} in words for the operator.
   */
  async search(mailbox: Mailbox, timeoutMs: number): Promise<readonly Entry[]> {
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

  async #searchOnce(mailbox: Mailbox, timeoutMs: number): Promise<readonly Entry[]> {
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

  private constructor(client: Client, access: LdapAccess, socket: Socket) {
    this.#client = client
    this.#access = access
    this.#socket = socket
    socket.on('data', (octets: Buffer) => {
      this.#octets += octets.length
      if (this.#octets > MAX_OCTETS) socket.destroy()
    })
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

  async search(mailbox: Mailbox): Promise<readonly Entry[]> {
    const { searchEntries } = await this.#client.search(this.#access.base, this.#query(mailbox))
    this.#octets = 0
    return searchEntries
  }

  #query({ localPart, domain }: Mailbox): Query {
    const { match, attributes } = this.#access
    const address = `${localPart}@${domain}`
    // Filters are values, not text: nothing in an address can become syntax (RFC 4515 §3).
    const filters = match.map(
      ({ attribute, prefix }) => new EqualityFilter({ attribute, value: prefix + address }),
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
