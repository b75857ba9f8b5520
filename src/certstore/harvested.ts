/**
 * Certificates that signed mail has brought, and the rules by which they are kept.
 *
 *     verified signature ──▶ offer ──▶ stored · waiting · known · refused
 *     find ──▶ those that may be used now
 *
 * Whoever can put a certificate in here can read what is encrypted to it: so one is taken from its
 * signer alone, the first is used, and another one waits.
 *
 * @module
 */
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import { type Log, silentLog } from '../log.ts'
import { type Mailbox, mailboxInDomains } from '../mail/address.ts'
import { bears } from './bearing.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'
import type { Store, StoreChange, StoredCertificate, StoreEvent, StoreRecord } from './store.ts'

/** Settings of what is harvested. */
export interface HarvestedOptions {
  readonly store: Store
  /** Our domains, from which nothing is harvested; lower-case A-labels. */
  readonly ownDomains: ReadonlySet<string>
  /** Milliseconds that another certificate of a known mailbox waits; `null`: for approval. Default 24 h. */
  readonly waitMs?: number | null | undefined
  /** New certificates of a mailbox in a day. Default 3. */
  readonly perDay?: number | undefined
  readonly name?: string | undefined
  readonly log?: Log | undefined
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
}

/**
 * A certificate with which a signature was verified, to the end: content, path and revocation. It is
 * the signer's own, or the one that his signed encryption-key preference names (RFC 8551 §2.5.3).
 */
export interface Offer {
  /** From whom the message came. */
  readonly mailbox: Mailbox
  readonly certificate: Certificate
  /** Signing time out of the signed attributes. */
  readonly signedAt: Date
}

/** What became of an offer; a refusal says why. */
export type Outcome =
  | { readonly kind: 'stored' | 'waiting' | 'known' }
  | { readonly kind: 'refused'; readonly reason: string }

/** See `openHarvested`. */
export interface Harvested extends CertificateResolver {
  offer(offer: Offer): Promise<Outcome>
  /** Lets one that waits, or was removed, be used from now on. False where there is no such one. */
  approve(mailbox: Mailbox, fingerprint: string): Promise<boolean>
  /** Takes one out, for good: it is not harvested again. False where there is no such one. */
  remove(mailbox: Pick<Mailbox, 'matchKey'>, fingerprint: string): Promise<boolean>
  /** Every certificate that nobody has taken out, with the match key of its mailbox. */
  everything(): Promise<readonly HarvestedCertificate[]>
  /** Everything that is known of a mailbox, history included. */
  record(mailbox: Mailbox): Promise<StoreRecord>
}

/** One that lies in the harvest. */
export interface HarvestedCertificate {
  readonly matchKey: string
  readonly certificate: Certificate
  /** Milliseconds since 1970; `null`: waits for approval. */
  readonly usableFrom: number | null
}

/** Opens the harvest. Closing it closes the store. */
export function openHarvested(options: HarvestedOptions): Harvested {
  return new HarvestedResolver(options)
}

class HarvestedResolver implements Harvested {
  readonly name: string
  readonly #store: Store
  readonly #rules: Rules
  readonly #log: Log
  readonly #clock: () => number

  constructor(options: HarvestedOptions) {
    this.name = options.name ?? 'harvested'
    this.#store = options.store
    this.#log = options.log ?? silentLog
    this.#clock = options.clock ?? Date.now
    this.#rules = {
      ownDomains: options.ownDomains,
      waitMs: options.waitMs === undefined ? DAY_MS : options.waitMs,
      perDay: options.perDay ?? 3,
    }
  }

  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    if (signal.aborted) throw this.#silence(signal.reason)
    const now = this.#clock()
    try {
      const { certificates } = await this.#store.read(mailbox.matchKey)
      return certificates
        .filter(stored => isUsable(stored, now))
        .map(({ der }) => ({
          certificate: parseCertificate(der),
          source: this.name,
          via: 'address' as const,
        }))
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      throw this.#silence(error)
    }
  }

  async offer(offer: Offer): Promise<Outcome> {
    const { mailbox, certificate } = offer
    const now = this.#clock()
    const outcome = await this.#store.update(mailbox.matchKey, record =>
      judge(offer, record, { ...this.#rules, now }),
    )
    const fields = { source: this.name, fingerprint: certificate.fingerprint }
    if (outcome.kind === 'waiting') this.#log.warn('harvested-certificate-changed', fields)
    if (outcome.kind === 'stored') this.#log.info('certificate-harvested', fields)
    return outcome
  }

  approve(mailbox: Mailbox, fingerprint: string): Promise<boolean> {
    const now = this.#clock()
    return this.#change(mailbox, fingerprint, 'approved', { usableFrom: now, removedAt: null })
  }

  remove(mailbox: Pick<Mailbox, 'matchKey'>, fingerprint: string): Promise<boolean> {
    return this.#change(mailbox, fingerprint, 'removed', { removedAt: this.#clock() })
  }

  async everything(): Promise<readonly HarvestedCertificate[]> {
    const all: HarvestedCertificate[] = []
    for (const matchKey of await this.#store.mailboxes()) {
      const { certificates } = await this.#store.read(matchKey)
      for (const { der, usableFrom, removedAt } of certificates)
        if (removedAt === null)
          all.push({ matchKey, certificate: parseCertificate(der), usableFrom })
    }
    return all
  }

  record(mailbox: Mailbox): Promise<StoreRecord> {
    return this.#store.read(mailbox.matchKey)
  }

  close(): void {
    this.#store.close()
  }

  #change(
    { matchKey }: Pick<Mailbox, 'matchKey'>,
    fingerprint: string,
    event: string,
    values: Partial<StoredCertificate>,
  ): Promise<boolean> {
    const at = this.#clock()
    return this.#store.update<boolean>(matchKey, ({ certificates }) => {
      const stored = certificates.find(one => one.fingerprint === fingerprint)
      if (!stored) return [{}, false]
      const history = [{ at, fingerprint, event }]
      return [{ certificates: [{ ...stored, ...values }], history }, true]
    })
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

interface Rules {
  readonly ownDomains: ReadonlySet<string>
  readonly waitMs: number | null
  readonly perDay: number
}

/** What becomes of an offer, given what is known of its mailbox. */
function judge(
  offer: Offer,
  record: StoreRecord,
  rules: Rules & { readonly now: number },
): [StoreChange, Outcome] {
  const known = record.certificates.find(
    ({ fingerprint }) => fingerprint === offer.certificate.fingerprint,
  )
  const reason =
    whyNot(offer, record, rules) ?? (known ? undefined : whyNotNew(offer, record, rules))
  if (reason !== undefined) return [{}, { kind: 'refused', reason }]
  const signedAt = offer.signedAt.getTime()
  if (known) {
    const later = signedAt > known.signedAt
    return [later ? { certificates: [{ ...known, signedAt }] } : {}, { kind: 'known' }]
  }
  const kind = mayBeUsedAtOnce(offer.certificate, record, rules.now) ? 'stored' : 'waiting'
  return [additionOf(offer, kind, rules), { kind }]
}

function whyNot(
  { mailbox, certificate, signedAt }: Offer,
  { certificates }: StoreRecord,
  { ownDomains, now }: Rules & { readonly now: number },
): string | undefined {
  if (mailboxInDomains(mailbox, ownDomains)) return 'the mailbox is one of ours'
  if (!bears(certificate, mailbox)) return 'the certificate bears another address'
  // A signing time ahead of us would keep every later certificate out.
  if (signedAt.getTime() > now + CLOCK_SKEW_MS) return 'the signing time lies in the future'
  const removed = certificates.some(
    ({ fingerprint, removedAt }) => fingerprint === certificate.fingerprint && removedAt !== null,
  )
  return removed ? 'the certificate was taken out' : undefined
}

function whyNotNew(
  { signedAt }: Offer,
  { certificates, history }: StoreRecord,
  { perDay, now }: Rules & { readonly now: number },
): string | undefined {
  // RFC 8551 §2.7.1: what was signed before is not what the signer uses now.
  if (certificates.some(stored => stored.signedAt >= signedAt.getTime()))
    return 'a newer certificate is known'
  if (certificates.length >= MAX_CERTIFICATES) return 'too many certificates of one mailbox'
  const today = history.filter(({ at, event }) => ADDED.has(event) && at > now - DAY_MS)
  return today.length >= perDay ? 'too many new certificates in a day' : undefined
}

/** The first of a mailbox; or one with a key that is in use already, which is a renewal. */
function mayBeUsedAtOnce(
  { publicKeyInfo }: Certificate,
  { certificates }: StoreRecord,
  now: number,
): boolean {
  return (
    certificates.length === 0 ||
    certificates.some(
      stored =>
        isUsable(stored, now) && parseCertificate(stored.der).publicKeyInfo.equals(publicKeyInfo),
    )
  )
}

function additionOf(
  { certificate, signedAt }: Offer,
  kind: 'stored' | 'waiting',
  { waitMs, now }: Rules & { readonly now: number },
): StoreChange {
  const { fingerprint, der } = certificate
  const waiting = waitMs === null ? null : now + waitMs
  const stored: StoredCertificate = {
    fingerprint,
    der,
    firstSeen: now,
    signedAt: signedAt.getTime(),
    usableFrom: kind === 'stored' ? now : waiting,
    removedAt: null,
  }
  const event: StoreEvent = { at: now, fingerprint, event: kind }
  return { certificates: [stored], history: [event] }
}

function isUsable({ usableFrom, removedAt }: StoredCertificate, now: number): boolean {
  return removedAt === null && usableFrom !== null && usableFrom <= now
}

const DAY_MS = 24 * 3_600_000
const CLOCK_SKEW_MS = 5 * 60_000
const MAX_CERTIFICATES = 20
const ADDED: ReadonlySet<string> = new Set(['stored', 'waiting'])
