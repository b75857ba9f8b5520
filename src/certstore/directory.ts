/**
 * Whether we can encrypt to a mailbox, and with which certificate: finding, believing and choosing
 * joined.
 *
 *     mailbox ──▶ sources ──▶ candidates ──▶ validate each ──▶ choose ──▶ valid · none · invalid · unknown
 *
 * @module
 */
import { LRUCache } from 'lru-cache'
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import type { Mailbox } from '../mail/address.ts'
import { AuthoritiesBeside } from './authorities-beside.ts'
import { meets, type Pin, Pins, pinnedTo } from './pins.ts'
import {
  askInOrder,
  type CertificateResolver,
  CertificateSourceUnavailable,
  type Enough,
  type Found,
} from './resolver.ts'
import { type Belief, type Trust, validateForEncryption } from './validate.ts'

/** How a search ended. */
export type Search =
  | {
      readonly kind: 'valid'
      readonly certificate: ValidCertificate<'encrypt'>
      /** Of the recipient's other devices, newest first; none unless `devices` says all. */
      readonly others?: readonly ValidCertificate<'encrypt'>[]
      /** What is pinned for the mailbox, in words. */
      readonly pinned?: string
      readonly source: string
      readonly via: Found['via']
      readonly considered: readonly Considered[]
    }
  /** Every source answered, and none knows of any. */
  | { readonly kind: 'none'; readonly reason: string; readonly considered: readonly Considered[] }
  /** There are some, and none may be used. Counts as `none` (RFC 8550 §4). */
  | {
      readonly kind: 'invalid'
      readonly reason: string
      readonly considered: readonly Considered[]
    }
  /** A source, or a revocation service that has to be heard, did not answer. Never counts as `none`. */
  | {
      readonly kind: 'unknown'
      readonly reason: string
      /** What happened to a source that did not answer, for the operator alone. */
      readonly silence?: string
      readonly considered: readonly Considered[]
    }

/** A candidate, and what was thought of it; the chosen one first. */
export interface Considered extends Found {
  readonly belief: Belief
}

/** Where certificates for encryption come from. */
export interface Directory {
  /** @param signal Ends the search; its outcome is `unknown` then. */
  search(mailbox: Mailbox, signal: AbortSignal): Promise<Search>
  close(): void
}

/** How certificates are chosen. */
export interface Choosing {
  /** `all`: every valid certificate of a recipient's own address is encrypted to. Default `newest`. */
  readonly devices?: 'newest' | 'all'
  readonly pins?: readonly Pin[]
}

/** Joins sources, in the order in which they are to be asked, with what the organisation trusts. */
export function createDirectory(
  sources: readonly CertificateResolver[],
  trust: Trust,
  now: () => Date,
  choosing: Choosing = {},
): Directory {
  return new SearchedDirectory(sources, trust, now, choosing)
}

class SearchedDirectory implements Directory {
  readonly #resolver: CertificateResolver
  readonly #trust: Trust
  readonly #now: () => Date
  readonly #devices: Choosing['devices']
  readonly #pins: Pins
  readonly #beside: AuthoritiesBeside
  /** What was thought of a certificate, by what it was thought from: without the certificate itself. */
  readonly #beliefs: LRUCache<string, Verdict>
  readonly #inFlight = new Map<string, Promise<Verdict>>()

  constructor(
    sources: readonly CertificateResolver[],
    trust: Trust,
    now: () => Date,
    { devices, pins = [] }: Choosing,
  ) {
    const enough: Enough = async (found, mailbox) =>
      (await this.#judge(found, mailbox)).some(({ belief }) => belief.kind === 'valid')
    this.#resolver = askInOrder(sources, enough)
    this.#beside = new AuthoritiesBeside(sources)
    this.#beliefs = new LRUCache({
      max: BELIEFS,
      ttl: BELIEF_MS,
      perf: { now: () => now().getTime() },
      ttlResolution: 0,
    })
    this.#trust = trust
    this.#now = now
    this.#devices = devices
    this.#pins = new Pins(pins)
  }

  async search(mailbox: Mailbox, signal: AbortSignal): Promise<Search> {
    const pins = this.#pins.of(mailbox)
    const pinned = pins.length > 0 ? pinnedTo(pins) : undefined
    try {
      const found = await this.#resolver.find(mailbox, signal)
      const considered = (await this.#judge(found, mailbox)).toSorted(byChoice)
      const search = conclude(considered, found.length)
      const chosen = this.#devices === 'all' ? withOthers(search) : search
      return pinned === undefined ? chosen : withPin(chosen, pinned)
    } catch (error) {
      if (!(error instanceof CertificateSourceUnavailable)) throw error
      const reason = `${error.source} did not answer`
      return { kind: 'unknown', reason, silence: wordsOf(error.cause), considered: [] }
    }
  }

  close(): void {
    this.#resolver.close?.()
  }

  /** Looks at so many as a message may cost, those first that would be chosen. */
  #judge(found: readonly Found[], mailbox: Mailbox): Promise<readonly Considered[]> {
    const pins = this.#pins.of(mailbox)
    const looked =
      found.length > CANDIDATES ? found.toSorted(preferring(pins)).slice(0, CANDIDATES) : found
    return Promise.all(looked.map(async it => ({ ...it, belief: await this.#believe(it, pins) })))
  }

  /** Validates once in a while: a message must not pay for what the one before it has paid for. */
  async #believe(found: Found, pins: readonly Pin[]): Promise<Belief> {
    const { certificate, beside = NO_AUTHORITIES } = found
    const now = this.#now()
    // With another authority at hand, a path may hold that did not.
    if (this.#beside.refresh()) {
      this.#beliefs.clear()
      this.#inFlight.clear()
    }
    const key = keyOf(certificate, beside, pins)
    // Its own time is looked at again each time, so that nobody is believed beyond it.
    const isInTime = now >= certificate.notBefore && now <= certificate.notAfter
    const known = isInTime ? (this.#beliefs.get(key) ?? this.#inFlight.get(key)) : undefined
    const verdict = await (known ?? this.#ask(key, { found, pins, now }))
    // The key holds the fingerprint: these are the octets that were found valid.
    return verdict.kind === 'valid'
      ? { ...verdict, certificate: certificate as ValidCertificate<'encrypt'> }
      : verdict
  }

  /** Once at a time. What could not be told may be told soon: mail waits for it. A defect is not kept. */
  #ask(key: string, question: Question): Promise<Verdict> {
    const asking = this.#validate(question)
      .then(verdict => {
        const ttl = verdict.kind === 'unknown' ? UNKNOWN_MS : BELIEF_MS
        if (this.#inFlight.get(key) === asking) this.#beliefs.set(key, verdict, { ttl })
        return verdict
      })
      .finally(() => {
        if (this.#inFlight.get(key) === asking) this.#inFlight.delete(key)
      })
    this.#inFlight.set(key, asking)
    return asking
  }

  async #validate({ found, pins, now: time }: Question): Promise<Verdict> {
    const { certificate, beside: own = NO_AUTHORITIES } = found
    const named = pins.flatMap(({ authorities }) => authorities ?? NO_AUTHORITIES)
    const beside = [...own, ...this.#beside.above(certificate), ...named]
    const belief = await validateForEncryption(certificate, this.#trust, beside, time)
    if (belief.kind !== 'valid') return belief
    const { note } = belief
    if (pins.length > 0 && !(await meets(certificate, pins, { trust: this.#trust, beside, time })))
      return { kind: 'invalid', reason: `${pinnedTo(pins)}, and this is another` }
    return note === undefined ? { kind: 'valid' } : { kind: 'valid', note }
  }
}

/** A belief without the certificate that it is about. */
type Verdict =
  | { readonly kind: 'valid'; readonly note?: string }
  | Exclude<Belief, { readonly kind: 'valid' }>

interface Question {
  readonly found: Found
  readonly pins: readonly Pin[]
  readonly now: Date
}

/** What a belief depends on besides the trust and the authorities of all sources. */
function keyOf(
  { fingerprint }: Certificate,
  beside: readonly Certificate[],
  [pin]: readonly Pin[],
): string {
  if (beside.length === 0 && pin === undefined) return fingerprint
  const above = beside.map(authority => authority.fingerprint.slice(0, 32))
  return [fingerprint, pin?.address, ...above].join(' ')
}

/** Whoever pins a certificate wishes encryption: what does not meet the pin never counts as none. */
function withPin(search: Search, pinned: string): Search {
  if (search.kind === 'valid') return { ...search, pinned }
  if (search.kind === 'unknown') return search
  return { ...search, kind: 'unknown', reason: `${pinned}; ${search.reason}` }
}

/** Every device of the recipient; the certificate of a domain is nobody's device. */
function withOthers(search: Search): Search {
  if (search.kind !== 'valid' || search.via !== 'address') return search
  const seen = new Set([search.certificate.fingerprint])
  const others = search.considered.flatMap(({ belief, via, certificate: { fingerprint } }) => {
    if (belief.kind !== 'valid' || via !== 'address' || seen.has(fingerprint)) return []
    seen.add(fingerprint)
    return [belief.certificate]
  })
  return { ...search, others: others.slice(0, DEVICES - 1) }
}

/**
 * Chooses: the mailbox's own before the domain's, then the newest (notBefore), ties broken by
 * fingerprint. An expired, revoked or wrongly used one never.
 *
 * @param considered In the order of choice.
 */
function conclude(considered: readonly Considered[], count: number): Search {
  const [first] = considered
  if (first === undefined)
    return {
      kind: 'none',
      // Without the address, which a log may not tell; the reply names it.
      reason: 'no source knows a certificate of this recipient',
      considered,
    }
  const { belief, source, via } = first
  if (belief.kind === 'valid')
    return { kind: 'valid', certificate: belief.certificate, source, via, considered }
  const told =
    considered.length === 1
      ? 'its certificate'
      : `the best of its ${considered.length} certificates`
  if (count > considered.length)
    return {
      kind: 'unknown',
      reason: `${told} cannot be used: ${belief.reason}; it has too many to look at all ${count}`,
      considered,
    }
  return { kind: belief.kind, reason: `${told} cannot be used: ${belief.reason}`, considered }
}

function wordsOf(cause: unknown): string {
  if (cause instanceof AggregateError) return cause.errors.map(wordsOf).join('; ')
  return cause instanceof Error ? cause.message || cause.name : 'it gave no reason'
}

function byChoice(one: Considered, other: Considered): number {
  return RANK[one.belief.kind] - RANK[other.belief.kind] || byPreference(one, other)
}

/** What is pinned itself comes before all others: a flood must not keep it out. */
function preferring(pins: readonly Pin[]): (one: Found, other: Found) => number {
  const pinned = new Set(pins.map(({ fingerprint }) => fingerprint))
  const rank = ({ certificate }: Found): number => (pinned.has(certificate.fingerprint) ? 0 : 1)
  return (one, other) => rank(one) - rank(other) || byPreference(one, other)
}

function byPreference(one: Found, other: Found): number {
  return (
    VIA[one.via] - VIA[other.via] ||
    other.certificate.notBefore.getTime() - one.certificate.notBefore.getTime() ||
    (one.certificate.fingerprint < other.certificate.fingerprint ? -1 : 1)
  )
}

/** One whose status could not be told comes before one that is known to be bad: it may be good. */
const RANK = { valid: 0, unknown: 1, invalid: 2 } as const
const VIA = { address: 0, domain: 1 } as const

/** Recipient infos of one recipient at most. */
const DEVICES = 10
/** Each costs up to a millisecond the first time. */
const CANDIDATES = 100
/** 300 octets each. Whoever asks for more mailboxes in turn than that pays eight times as much. */
const BELIEFS = 100_000
/** How long a revocation that has become known meanwhile goes unnoticed. */
const BELIEF_MS = 5 * 60_000
const UNKNOWN_MS = 60_000
const NO_AUTHORITIES: readonly Certificate[] = []
