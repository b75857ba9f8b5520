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
import {
  askInOrder,
  type CertificateResolver,
  CertificateSourceUnavailable,
  type Found,
} from './resolver.ts'
import { type Belief, type Trust, validateForEncryption } from './validate.ts'

/** How a search ended. */
export type Search =
  | {
      readonly kind: 'valid'
      readonly certificate: ValidCertificate<'encrypt'>
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

/** Joins sources, in the order in which they are to be asked, with what the organisation trusts. */
export function createDirectory(
  sources: readonly CertificateResolver[],
  trust: Trust,
  now: () => Date,
): Directory {
  return new SearchedDirectory(sources, trust, now)
}

class SearchedDirectory implements Directory {
  readonly #resolver: CertificateResolver
  readonly #trust: Trust
  readonly #now: () => Date
  readonly #beside: AuthoritiesBeside
  readonly #beliefs: LRUCache<string, Promise<Belief>>

  constructor(sources: readonly CertificateResolver[], trust: Trust, now: () => Date) {
    const enough = async (found: readonly Found[]): Promise<boolean> =>
      (await this.#judge(found)).some(({ belief }) => belief.kind === 'valid')
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
  }

  async search(mailbox: Mailbox, signal: AbortSignal): Promise<Search> {
    try {
      const found = await this.#resolver.find(mailbox, signal)
      return conclude(await this.#judge(found), found.length)
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
  #judge(found: readonly Found[]): Promise<readonly Considered[]> {
    const looked =
      found.length > CANDIDATES ? found.toSorted(byPreference).slice(0, CANDIDATES) : found
    return Promise.all(
      looked.map(async it => ({ ...it, belief: await this.#believe(it.certificate) })),
    )
  }

  /** Validates once in a while: a message must not pay for what the one before it has paid for. */
  #believe(certificate: Certificate): Promise<Belief> {
    const now = this.#now()
    // With another authority at hand, a path may hold that did not.
    if (this.#beside.refresh()) this.#beliefs.clear()
    const known = this.#beliefs.get(certificate.fingerprint)
    // Its own time is looked at again each time, so that nobody is believed beyond it.
    if (known && now >= certificate.notBefore && now <= certificate.notAfter) return known
    const beside = this.#beside.above(certificate)
    const belief = validateForEncryption(certificate, this.#trust, beside, now)
    this.#beliefs.set(certificate.fingerprint, belief)
    void this.#keepBriefly(certificate.fingerprint, belief)
    return belief
  }

  /** What could not be told may be told soon: mail waits for it. A defect is not kept at all. */
  async #keepBriefly(key: string, belief: Promise<Belief>): Promise<void> {
    const ttl = await belief.then(
      ({ kind }) => (kind === 'unknown' ? UNKNOWN_MS : BELIEF_MS),
      () => 0,
    )
    if (ttl === BELIEF_MS || this.#beliefs.peek(key) !== belief) return
    if (ttl > 0) this.#beliefs.set(key, belief, { ttl })
    else this.#beliefs.delete(key)
  }
}

/**
 * Chooses: the mailbox's own before the domain's, then the newest (notBefore), ties broken by
 * fingerprint. An expired, revoked or wrongly used one never.
 */
function conclude(candidates: readonly Considered[], count: number): Search {
  const considered = candidates.toSorted(byChoice)
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

/** Each costs up to a millisecond the first time. */
const CANDIDATES = 100
const BELIEFS = 10_000
/** How long a revocation that has become known meanwhile goes unnoticed. */
const BELIEF_MS = 5 * 60_000
const UNKNOWN_MS = 60_000
