/**
 * Remembers what a source has answered, the empty answers too.
 *
 *     find ─▶ fresh? ──▶ answer                    positive and negative lifetimes
 *               └─▶ one question in flight per mailbox ──▶ source ──▶ answer, remembered
 *                                                            └─ silent ─▶ a stale answer, else silence
 *
 * @module
 */
import { LRUCache } from 'lru-cache'
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import type { Mailbox } from '../mail/address.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'

/** How long answers live, and how many. Times in milliseconds. */
export interface CacheOptions {
  /** Of certificates, default 10 min. */
  readonly positiveMs?: number
  /** Of "none", default 10 min. */
  readonly negativeMs?: number
  /** How long after its lifetime certificates still serve while the source is silent. Default 24 h. */
  readonly staleMs?: number
  /** Mailboxes, default 100,000; those not asked for longest go first. */
  readonly mailboxes?: number
  /** Octets of all answers, default 256 MiB. */
  readonly octets?: number
  /** Questions in flight, beyond which the answer is silence. Default 1,000. */
  readonly questions?: number
  /** Longest life of one question, whoever waits. Default 10 s. */
  readonly questionMs?: number
  /** Milliseconds since anything, default the monotonic clock. */
  readonly clock?: () => number
}

/** What a cache has done so far. */
export interface CacheCounters {
  /** Answered from memory, of which `negative` with "none". */
  readonly hits: number
  readonly negative: number
  /** The source was asked. */
  readonly misses: number
  /** Waited for the question of somebody else. */
  readonly shared: number
  /** The source was silent, and an old answer served. */
  readonly stale: number
  /** The source was silent, and nothing else could serve. */
  readonly silent: number
  readonly entries: number
}

/** A source with a memory. */
export interface CachedResolver extends CertificateResolver {
  readonly counters: CacheCounters
  /** Forgets a mailbox, so that it is asked for anew; all, where none is given. */
  forget(mailbox?: Mailbox): void
}

/**
 * Gives a source a memory.
 *
 * Only certificates outlive their time: a stale "none" would switch encryption off on the word of a
 * source that cannot be asked.
 */
export function cached(source: CertificateResolver, options: CacheOptions = {}): CachedResolver {
  return new Cache(source, options)
}

class Cache implements CachedResolver {
  readonly name: string
  readonly #source: CertificateResolver
  readonly #options: Required<CacheOptions>
  readonly #answers: LRUCache<string, Answer>
  /** What was asked for lately, read: a certificate that is read takes ten times its octets. */
  readonly #read = new LRUCache<string, readonly Found[]>({ max: MAX_READ })
  /** Those above what is kept, by fingerprint. */
  readonly #authorities = new LRUCache<string, Certificate>({ max: MAX_AUTHORITIES })
  readonly #questions = new Map<string, Promise<readonly Found[]>>()
  readonly #counts = { hits: 0, negative: 0, misses: 0, shared: 0, stale: 0, silent: 0 }

  constructor(source: CertificateResolver, options: CacheOptions) {
    this.name = source.name
    this.#source = source
    this.#options = { ...DEFAULTS, ...options }
    this.#answers = new LRUCache({
      max: this.#options.mailboxes,
      maxSize: this.#options.octets,
      sizeCalculation: sizeOf,
    })
  }

  get counters(): CacheCounters {
    return { ...this.#counts, entries: this.#answers.size }
  }

  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    const key = mailbox.matchKey
    const answer = this.#answers.get(key)
    const now = this.#options.clock()
    if (answer && now < answer.freshUntil) {
      this.#counts.hits++
      if (answer.kept.length === 0) this.#counts.negative++
      return this.#recall(key, answer)
    }
    try {
      return await this.#whileTime(this.#ask(key, mailbox), signal)
    } catch (error) {
      if (!(error instanceof CertificateSourceUnavailable)) throw error
      // It has answered, if not to the end.
      if (error.partial.length > 0) throw error
      if (!answer || !this.#maySpeakUp(answer)) {
        this.#counts.silent++
        throw error
      }
      this.#counts.stale++
      return this.#recall(key, answer)
    }
  }

  intermediates(): readonly Certificate[] {
    return this.#source.intermediates?.() ?? NO_AUTHORITIES
  }

  forget(mailbox?: Mailbox): void {
    if (mailbox) this.#answers.delete(mailbox.matchKey)
    else this.#answers.clear()
    this.#read.clear()
  }

  close(): void {
    this.#source.close?.()
  }

  /** One question per mailbox; it lives as long as it needs, whoever stops waiting for it. */
  #ask(key: string, mailbox: Mailbox): Promise<readonly Found[]> {
    const inFlight = this.#questions.get(key)
    if (inFlight) {
      this.#counts.shared++
      return inFlight
    }
    if (this.#questions.size >= this.#options.questions)
      return Promise.reject(this.#silence(new Error('too many questions in flight')))
    this.#counts.misses++
    const question = this.#question(key, mailbox).finally(() => this.#questions.delete(key))
    this.#questions.set(key, question)
    // Where nobody waits any more, silence is nobody's error.
    question.catch(() => {})
    return question
  }

  async #question(key: string, mailbox: Mailbox): Promise<readonly Found[]> {
    try {
      const found = await this.#source.find(mailbox, AbortSignal.timeout(this.#options.questionMs))
      this.#remember(key, found, undefined)
      return found
    } catch (error) {
      // An answer that may be incomplete is remembered as one: it would be so again.
      if (error instanceof CertificateSourceUnavailable && error.partial.length > 0)
        this.#remember(key, error.partial, error)
      throw error
    }
  }

  #remember(
    key: string,
    found: readonly Found[],
    doubt: CertificateSourceUnavailable | undefined,
  ): void {
    const { positiveMs, negativeMs, clock } = this.#options
    const lifetimeMs = found.length > 0 ? positiveMs : negativeMs
    const kept = found.length > 0 ? found.map(it => this.#keep(it)) : NONE
    this.#answers.set(key, { kept, freshUntil: clock() + lifetimeMs, doubt: doubt?.cause })
    this.#read.delete(key)
  }

  /** @throws {CertificateSourceUnavailable} with what is remembered, where that may be incomplete. */
  #recall(key: string, { kept, doubt }: Answer): readonly Found[] {
    if (kept.length === 0) return []
    const found = this.#read.get(key) ?? kept.map(foundOf)
    this.#read.set(key, found)
    if (doubt !== undefined)
      throw new CertificateSourceUnavailable(this.name, { cause: doubt, partial: found })
    return found
  }

  /** A copy: the octets that came may be a small part of something large. */
  #keep({ certificate, source, via, beside }: Found): Kept {
    const kept = { der: Buffer.from(certificate.der), source, via }
    const octets = kept.der.length + KEPT_OCTETS
    if (beside === undefined || beside.length === 0) return { ...kept, octets }
    const before = this.#authorities.size
    const shared = beside.map(authority => this.#share(authority))
    const added = Math.max(0, this.#authorities.size - before)
    return { ...kept, beside: shared, octets: octets + added * AUTHORITY_OCTETS }
  }

  /** Many people have the same authorities above them: they are kept once. */
  #share(authority: Certificate): Certificate {
    const { fingerprint, der } = authority
    const known = this.#authorities.get(fingerprint)
    if (known) return known
    const own = parseCertificate(Buffer.from(der))
    this.#authorities.set(fingerprint, own)
    return own
  }

  /** Whether a certificate whose time is over may be used while the source is silent. */
  #maySpeakUp({ kept, freshUntil }: Answer): boolean {
    return kept.length > 0 && this.#options.clock() < freshUntil + this.#options.staleMs
  }

  #whileTime<T>(question: Promise<T>, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = () => reject(this.#silence(signal.reason))
      if (signal.aborted) return stop()
      signal.addEventListener('abort', stop, { once: true })
      question.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
    })
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

interface Answer {
  readonly kept: readonly Kept[]
  readonly freshUntil: number
  /** Why there may be more than what is kept. */
  readonly doubt: unknown
}

/** What was found, in as little memory as may be. */
interface Kept {
  readonly der: Buffer
  readonly source: string
  readonly via: Found['via']
  /** They stay as long as the one that they stand above: without them it would be nobody's. */
  readonly beside?: readonly Certificate[]
  /** Its share of memory, roughly. */
  readonly octets: number
}

function foundOf({ der, source, via, beside }: Kept): Found {
  const found = { certificate: parseCertificate(der), source, via }
  return beside === undefined ? found : { ...found, beside }
}

/** An answer's share of memory in octets, roughly. */
function sizeOf({ kept }: Answer): number {
  return kept.reduce((sum, { octets }) => sum + octets, ANSWER_OCTETS)
}

const NO_AUTHORITIES: readonly Certificate[] = []
const NONE: readonly Kept[] = []
const KEPT_OCTETS = 200
const ANSWER_OCTETS = 256
/** Read, and with its keys. */
const AUTHORITY_OCTETS = 8_192
/** More than a directory has; an answer holds on to its own beyond that. */
const MAX_AUTHORITIES = 1_000
/** Mailboxes, some 5 KB each. */
const MAX_READ = 4_000
const DEFAULTS: Required<CacheOptions> = {
  positiveMs: 600_000,
  negativeMs: 600_000,
  staleMs: 86_400_000,
  mailboxes: 100_000,
  octets: 256 * 1024 * 1024,
  questions: 1_000,
  questionMs: 10_000,
  clock: () => performance.now(),
}
