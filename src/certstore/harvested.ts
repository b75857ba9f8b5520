/**
 * Certificates that signed mail has brought, and the rules by which they are kept.
 *
 *     verified signature ──▶ offer ──▶ stored · waiting · known · refused
 *     find ──▶ those that may be used now
 *
 * Whoever can put a certificate in here can read what is encrypted to it: so one is taken from its
 * signer alone, the first is used, another one waits, and none comes before what another source holds.
 *
 * @module
 */
import { readCapabilities } from '../crypto/cms/capabilities.ts'
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import { type Log, silentLog, visible } from '../log.ts'
import type { Mailbox } from '../mail/address.ts'
import {
  type HarvestRules,
  inUseOf,
  isOfNewIssuer,
  isUsable,
  judge,
  type Offer,
  type Outcome,
  undoLast,
} from './harvest-rules.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'
import type { Store, StoredCertificate, StoreEvent, StoreRecord } from './store.ts'

export { certificateToOffer, type Offer } from './harvest-rules.ts'

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

/** See `openHarvested`. */
export interface Harvested extends CertificateResolver {
  offer(offer: Offer): Promise<Outcome>
  /** Lets one that waits, or was removed, be used from now on. False where there is no such one. */
  approve(mailbox: Addressee, fingerprint: string): Promise<boolean>
  /** Takes one out, for good: it is not harvested again. False where there is no such one. */
  remove(mailbox: Addressee, fingerprint: string): Promise<boolean>
  /**
   * Undoes what was done last and is not undone yet: what was added goes, what was removed comes
   * back, what was approved waits for approval again.
   *
   * @returns What was undone; undefined where there is nothing.
   */
  undo(mailbox: Addressee): Promise<StoreEvent | undefined>
  /** Every certificate that nobody has taken out, with the match key of its mailbox. */
  everything(): Promise<readonly HarvestedCertificate[]>
  /** Those that wait, mailbox by mailbox, and what they would take the place of. */
  pending(): Promise<readonly PendingCertificate[]>
  /** Everything that is known of a mailbox, history included. */
  record(mailbox: Addressee): Promise<StoreRecord>
}

/** Whose certificates are meant. */
export type Addressee = Pick<Mailbox, 'matchKey'>

/** One that lies in the harvest. Times in milliseconds since 1970. */
export interface HarvestedCertificate {
  readonly matchKey: string
  readonly certificate: Certificate
  /** `null`: waits for approval. */
  readonly usableFrom: number | null
}

/** One that may not be used yet. */
export interface PendingCertificate extends HarvestedCertificate {
  /** When it first came. */
  readonly since: number
  /** The newest of the mailbox that is in use and in time; undefined where nothing is. */
  readonly inUse: Certificate | undefined
  /** Nobody of this issuer was known of the mailbox before. */
  readonly isOfNewIssuer: boolean
}

/** Opens the harvest. Closing it closes the store. */
export function openHarvested(options: HarvestedOptions): Harvested {
  return new HarvestedResolver(options)
}

class HarvestedResolver implements Harvested {
  readonly name: string
  readonly isLastResort = true
  readonly #store: Store
  readonly #rules: Omit<HarvestRules, 'now'>
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
        .map(stored => foundOf(stored, this.name))
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      throw this.#silence(error)
    }
  }

  async offer(offer: Offer): Promise<Outcome> {
    const { mailbox, certificate } = offer
    const rules = { ...this.#rules, now: this.#clock() }
    const [outcome, isNewIssuer] = await this.#store.update(mailbox.matchKey, record => {
      const [change, judgement] = judge(offer, record, rules)
      return [change, [judgement, isOfNewIssuer(certificate, record)] as const]
    })
    if (outcome.kind === 'stored' || outcome.kind === 'waiting')
      this.#tell(outcome.kind, certificate, isNewIssuer)
    return outcome
  }

  approve({ matchKey }: Addressee, fingerprint: string): Promise<boolean> {
    const now = this.#clock()
    return this.#store.update(matchKey, record => {
      const stored = record.certificates.find(one => one.fingerprint === fingerprint)
      if (!stored || isUsable(stored, now)) return [{}, stored !== undefined]
      const approved = { ...stored, usableFrom: now, removedAt: null }
      return [changeTo(approved, 'approved', now), true]
    })
  }

  remove({ matchKey }: Addressee, fingerprint: string): Promise<boolean> {
    const now = this.#clock()
    return this.#store.update(matchKey, record => {
      const stored = record.certificates.find(one => one.fingerprint === fingerprint)
      if (!stored || stored.removedAt !== null) return [{}, stored !== undefined]
      return [changeTo({ ...stored, removedAt: now }, 'removed', now), true]
    })
  }

  undo({ matchKey }: Addressee): Promise<StoreEvent | undefined> {
    const now = this.#clock()
    return this.#store.update(matchKey, record => {
      const { change = {}, undone } = undoLast(record, now) ?? {}
      return [change, undone]
    })
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

  async pending(): Promise<readonly PendingCertificate[]> {
    const all: PendingCertificate[] = []
    for (const matchKey of await this.#store.mailboxes())
      all.push(...pendingOf(matchKey, await this.#store.read(matchKey), this.#clock()))
    return all
  }

  record({ matchKey }: Addressee): Promise<StoreRecord> {
    return this.#store.read(matchKey)
  }

  close(): void {
    this.#store.close()
  }

  /** Somebody has to see another key, or another authority, of a known mailbox (`cert pending`). */
  #tell(kind: 'stored' | 'waiting', certificate: Certificate, isNewIssuer: boolean): void {
    const { fingerprint, issuerText } = certificate
    const fields = { source: this.name, fingerprint }
    if (kind === 'waiting') this.#log.warn('harvested-certificate-changed', fields)
    else this.#log.info('certificate-harvested', fields)
    if (!isNewIssuer) return
    this.#log.warn('harvested-issuer-changed', { ...fields, issuer: visible(issuerText) })
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

function foundOf({ der, capabilities }: StoredCertificate, source: string): Found {
  const found = { certificate: parseCertificate(der), source, via: 'address' as const }
  return capabilities === null ? found : { ...found, capabilities: readCapabilities(capabilities) }
}

function changeTo(stored: StoredCertificate, event: string, at: number) {
  return {
    certificates: [stored],
    history: [{ at, fingerprint: stored.fingerprint, event }],
  }
}

function pendingOf(matchKey: string, record: StoreRecord, now: number): PendingCertificate[] {
  const inUse = inUseOf(record, now)
  return record.certificates
    .filter(stored => stored.removedAt === null && !isUsable(stored, now))
    .map(({ der, firstSeen, usableFrom, fingerprint }) => {
      const certificate = parseCertificate(der)
      const others = record.certificates.filter(
        one => one.fingerprint !== fingerprint && one.firstSeen <= firstSeen,
      )
      return {
        ...{ matchKey, certificate, usableFrom, since: firstSeen, inUse },
        isOfNewIssuer: isOfNewIssuer(certificate, { ...record, certificates: others }),
      }
    })
}

const DAY_MS = 24 * 3_600_000
