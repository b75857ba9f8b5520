/**
 * Certificates of other people in LDAP directories, Active Directory among them.
 *
 *     mailbox ─▶ breaker ─▶ server 1 ─▶ server 2 ─▶ entries ─▶ certificates that bear the address
 *
 * @module
 */
import type { Entry } from 'ldapts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Mailbox, matchKeyOf } from '../mail/address.ts'
import { Authorities, above, bySubject } from './authorities.ts'
import { mailboxKeys } from './bearing.ts'
import { type BreakerOptions, CircuitBreaker, NoVerdict } from './breaker.ts'
import { readCertificateFileInTurns } from './certificate-file.ts'
import {
  type LdapAccess,
  type LdapAnswer,
  type LdapMatch,
  LdapServer,
  SIZE_LIMIT,
} from './ldap-server.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'
import { Turns } from './turns.ts'

/** Settings of a directory. */
export interface LdapOptions {
  /** `ldap://HOST:PORT` or `ldaps://HOST:PORT`; several are the same directory. */
  readonly urls: readonly string[]
  /** Distinguished name to search below. */
  readonly base: string
  readonly user?: string | undefined
  readonly password?: string | undefined
  /** Default false: `ldap:` in clear, `ldaps:` under TLS. */
  readonly startTls?: boolean | undefined
  /** PEM file of the authorities to believe instead of the public ones. */
  readonly ca?: string | undefined
  readonly tlsName?: string | undefined
  /** `mail`, or `proxyAddresses=smtp:` where something stands before the address. Default both. */
  readonly match?: readonly string[] | undefined
  /** Default `userSMIMECertificate` and `userCertificate;binary`. */
  readonly attributes?: readonly string[] | undefined
  /** Milliseconds for an answer, whatever it takes. Default 2 s. */
  readonly timeoutMs?: number | undefined
  /** Default `ldap:` and the first host. */
  readonly name?: string | undefined
  readonly breaker?: BreakerOptions | undefined
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
}

/** Opens a directory; connects at the first question. */
export function openLdap(options: LdapOptions): CertificateResolver {
  return new LdapResolver(options)
}

class LdapResolver implements CertificateResolver {
  readonly name: string
  readonly #breaker: CircuitBreaker
  readonly #turns = new Turns(AT_ONCE)
  readonly #authorities = new Authorities()
  readonly #timeoutMs: number
  readonly #clock: () => number
  readonly #match: readonly LdapMatch[]
  readonly #attributes: readonly string[]
  /** The one that answered last comes first. */
  #servers: readonly LdapServer[]

  constructor(options: LdapOptions) {
    const access = accessOf(options)
    this.name = options.name ?? `ldap:${new URL(options.urls[0]!).host}`
    this.#breaker = new CircuitBreaker(options.breaker)
    this.#timeoutMs = options.timeoutMs ?? 2_000
    this.#clock = options.clock ?? Date.now
    this.#match = access.match
    this.#attributes = access.attributes
    this.#servers = options.urls.map(url => new LdapServer(url, access))
  }

  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    // `Postmaster` alone is nobody's certificate.
    if (mailbox.domain === '') return []
    // Waiting for one's turn is no failure of the server, and does not take from its time.
    const answer = this.#turns.take(() =>
      this.#breaker.run(
        () => this.#search(mailbox, signal),
        () => new Error('not asked: too many failures in a row'),
      ),
    )
    try {
      return await this.#certificatesFor(mailbox, await unlessAborted(answer, signal))
    } catch (cause) {
      throw cause instanceof CertificateSourceUnavailable ? cause : this.#silence(cause)
    }
  }

  intermediates(): readonly Certificate[] {
    return this.#authorities.all()
  }

  close(): void {
    for (const server of this.#servers) server.close()
  }

  /** One server after the other, each with its share of the time that is left. */
  async #search(mailbox: Mailbox, signal: AbortSignal): Promise<LdapAnswer> {
    if (signal.aborted) throw new NoVerdict('nobody waits any more')
    const end = performance.now() + this.#timeoutMs
    const errors: Error[] = []
    const servers = this.#servers
    for (const [index, server] of servers.entries()) {
      const shareMs = (end - performance.now()) / (servers.length - index)
      try {
        const answer = await server.search(mailbox, Math.max(1, shareMs))
        if (index > 0) this.#prefer(server)
        return answer
      } catch (cause) {
        errors.push(new Error(`${server.url}: ${String(cause)}`, { cause }))
      }
    }
    const error =
      errors.length === 1 ? errors[0]! : new AggregateError(errors, 'no server has answered')
    // One that has answered is there, whatever it said.
    const isHeard = errors.some(({ cause }) => cause instanceof NoVerdict)
    throw isHeard ? new NoVerdict(error.message, { cause: error }) : error
  }

  #prefer(server: LdapServer): void {
    this.#servers = [server, ...this.#servers.filter(other => other !== server)]
  }

  /**
   * What bears the address. An answer in which something is wrong is never taken for complete: what is
   * missing or cannot be read may be the one certificate that could be used.
   */
  async #certificatesFor(mailbox: Mailbox, answer: LdapAnswer): Promise<readonly Found[]> {
    const { entries, incomplete } = answer
    const found = new Map<string, Found>()
    let doubt = entries.length >= SIZE_LIMIT ? 'too many entries for one address' : incomplete
    for (const entry of entries) {
      const own = this.#addressesOf(entry)
      const { certificates, faults } = await readValues(valuesOf(entry, this.#attributes))
      if (faults.length > 0) doubt ??= faults[0]
      this.#authorities.add(certificates)
      const authorities = bySubject(certificates)
      for (const certificate of certificates) {
        const keys = mailboxKeys(certificate)
        if (keys.includes(mailbox.matchKey)) {
          if (found.has(certificate.fingerprint)) continue
          const beside = above(certificate, authorities)
          const one = { certificate, source: this.name, via: 'address' as const, beside }
          found.set(certificate.fingerprint, one)
        } else if (this.#isAlien(certificate, keys, own)) {
          doubt ??= "an entry holds somebody else's certificate"
        }
      }
    }
    if (doubt === undefined) return [...found.values()]
    throw this.#silence(new Error(doubt), [...found.values()])
  }

  /**
   * Somebody else's: it names addresses, and none that the entry claims for itself. One for an alias
   * of the same person, one that names no address, and one that is over are only of no use.
   */
  #isAlien(certificate: Certificate, keys: readonly string[], own: ReadonlySet<string>): boolean {
    if (certificate.isCertificateAuthority || certificate.notAfter.getTime() < this.#clock())
      return false
    return keys.length > 0 && !keys.some(key => own.has(key))
  }

  /** Match keys of the addresses that an entry gives as its own. */
  #addressesOf(entry: Entry): ReadonlySet<string> {
    const keys = this.#match.flatMap(({ attribute, prefix }) =>
      valuesOf(entry, [attribute]).flatMap(value => {
        const text = value.toString('utf8')
        if (!text.toLowerCase().startsWith(prefix.toLowerCase())) return []
        return matchKeyOf(text.slice(prefix.length)) ?? []
      }),
    )
    return new Set(keys)
  }

  #silence(cause: unknown, partial: readonly Found[] = []): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause, partial })
  }
}

function accessOf(options: LdapOptions): LdapAccess {
  const { base, user, password, startTls = false, ca, tlsName } = options
  return {
    base,
    bind: user === undefined ? undefined : { user, password: password ?? '' },
    startTls,
    ca,
    tlsName,
    match: (options.match ?? DEFAULT_MATCH).map(parseMatch),
    attributes: options.attributes ?? DEFAULT_ATTRIBUTES,
  }
}

function parseMatch(written: string): LdapMatch {
  const [attribute = '', prefix = ''] = written.split('=', 2)
  return { attribute, prefix }
}

/** Values of attributes, however the server spells their names, with options or without. */
function valuesOf(entry: Entry, attributes: readonly string[]): Buffer[] {
  const wanted = new Set(attributes.map(nameOf))
  return Object.entries(entry)
    .filter(([attribute]) => wanted.has(nameOf(attribute)))
    .flatMap(([, values]): (string | Buffer)[] => (Array.isArray(values) ? values : [values]))
    .map(value => (typeof value === 'string' ? Buffer.from(value) : value))
}

function nameOf(attribute: string): string {
  return attribute.toLowerCase().replace(/;.*$/, '')
}

async function readValues(values: readonly Buffer[]) {
  const read = values.filter(({ length }) => length > 0).map(readCertificateFileInTurns)
  const files = await Promise.all(read)
  return {
    certificates: files.flatMap(({ certificates }) => certificates),
    faults: files.flatMap(({ faults }) => faults),
  }
}

/** Whoever asks may stop waiting; the search goes on to its own end. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

/** On one connection: OpenLDAP closes those with more than 100 searches pending. */
const AT_ONCE = 50
const DEFAULT_MATCH = ['mail', 'proxyAddresses=smtp:']
const DEFAULT_ATTRIBUTES = ['userSMIMECertificate', 'userCertificate;binary']
