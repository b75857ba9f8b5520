/**
 * Whether to believe the signers of mail that arrives, remembered for a while.
 *
 *     certificate ──▶ believed lately? ──▶ standing
 *                          └─▶ path to an anchor, revocation ──▶ standing; good ones are remembered
 *
 * @module
 */
import { LRUCache } from 'lru-cache'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type PathBudget, pathBudget } from '../crypto/x509/path-budget.ts'
import { AuthoritiesBeside } from './authorities-beside.ts'
import type { CertificateResolver } from './resolver.ts'
import { type Standing, type Trust, validateForVerification } from './validate.ts'

/** See `createSignerTrust`. */
export interface SignerTrust {
  /**
   * What is to be thought of a signer, now.
   *
   * @param beside Certificates that came with the message; the first hundred are looked at.
   * @param budget One for the whole message, by `pathBudget()`; default a new one. What is remembered
   *   costs nothing of it.
   */
  standing(
    certificate: Certificate,
    beside: readonly Certificate[],
    budget?: PathBudget,
  ): Promise<Standing>
}

/**
 * Joins what the organisation trusts with a memory.
 *
 * Only good standing is remembered: whatever else is found depends on what came beside, and the next
 * message may bring an authority that this one lacked. What a message brings makes nobody better: a
 * path that holds, holds whoever has shown it.
 *
 * @param sources Whose authorities may stand between as well; default none.
 */
export function createSignerTrust(
  trust: Trust,
  now: () => Date,
  sources: readonly CertificateResolver[] = [],
): SignerTrust {
  return new RememberedTrust(trust, now, sources)
}

class RememberedTrust implements SignerTrust {
  readonly #trust: Trust
  readonly #now: () => Date
  readonly #authorities: AuthoritiesBeside
  readonly #good: LRUCache<string, Extract<Standing, { kind: 'good' }>>

  constructor(trust: Trust, now: () => Date, sources: readonly CertificateResolver[]) {
    this.#trust = trust
    this.#now = now
    this.#authorities = new AuthoritiesBeside(sources)
    this.#good = new LRUCache({
      max: STANDINGS,
      perf: { now: () => now().getTime() },
      ttl: GOOD_MS,
      ttlResolution: 0,
    })
  }

  async standing(
    certificate: Certificate,
    beside: readonly Certificate[],
    budget: PathBudget = pathBudget(),
  ): Promise<Standing> {
    const now = this.#now()
    const known = this.#good.get(certificate.fingerprint)
    if (known?.path.every(({ notBefore, notAfter }) => now >= notBefore && now <= notAfter))
      return known
    this.#authorities.refresh()
    const all = [...this.#authorities.above(certificate), ...beside.slice(0, BESIDE)]
    const standing = await validateForVerification(certificate, this.#trust, all, now, budget)
    if (standing.kind === 'good') {
      const ttl = standing.notes.length > 0 ? UNCERTAIN_MS : GOOD_MS
      this.#good.set(certificate.fingerprint, standing, { ttl })
    }
    return standing
  }
}

const BESIDE = 100
const STANDINGS = 10_000
/** How long a revocation that has become known meanwhile goes unnoticed. */
const GOOD_MS = 5 * 60_000
/** Revocation could not be told: it may be told soon. */
const UNCERTAIN_MS = 60_000
