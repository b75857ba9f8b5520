/**
 * Certificates of other people in the DNS, where DNSSEC vouches for them (RFC 8162).
 *
 *     local part ─▶ SHA-256, 28 octets ─▶ <hash>._smimecert.<domain> SMIMEA ─▶ AD? ─▶ certificates
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Mailbox } from '../mail/address.ts'
import { bears } from './bearing.ts'
import { type BreakerOptions, CircuitBreaker, NoVerdict } from './breaker.ts'
import { askDns, type DnsServer, validates } from './dns.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'
import { Turns } from './turns.ts'

/** Settings of a look into the DNS. */
export interface SmimeaOptions {
  /** A validating resolver. */
  readonly server: DnsServer
  /** Milliseconds for an answer. Default 2 s. */
  readonly timeoutMs?: number | undefined
  /**
   * A name that is known to be signed, by which it shows whether the resolver validates at all. Default
   * `.`, the root of the DNS; a network without it has one of its own.
   */
  readonly probe?: string | undefined
  readonly name?: string | undefined
  readonly log?: Log | undefined
  readonly breaker?: BreakerOptions | undefined
  /** Milliseconds since anything, default the monotonic clock. */
  readonly clock?: (() => number) | undefined
}

/** Opens the DNS as a source. */
export function openSmimea(options: SmimeaOptions): CertificateResolver {
  return new SmimeaResolver(options)
}

class SmimeaResolver implements CertificateResolver {
  readonly name: string
  readonly #server: DnsServer
  readonly #timeoutMs: number
  readonly #breaker: CircuitBreaker
  readonly #turns = new Turns(AT_ONCE)
  readonly #probe: string
  readonly #log: Log | undefined
  readonly #clock: () => number
  #probing: Promise<boolean> | undefined
  /** What the last probe has shown, and until when it holds. */
  #isValidating: boolean | undefined
  #probedUntil = Number.NEGATIVE_INFINITY

  constructor({ server, timeoutMs = 2_000, name = 'smimea', probe = '.', ...rest }: SmimeaOptions) {
    this.name = name
    this.#server = server
    this.#timeoutMs = timeoutMs
    this.#probe = probe
    this.#log = rest.log
    this.#clock = rest.clock ?? (() => performance.now())
    this.#breaker = new CircuitBreaker(rest.breaker)
  }

  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    if (mailbox.domain === '' || mailbox.domain.startsWith('[')) return []
    for (const localPart of new Set([mailbox.localPart, mailbox.localPart.toLowerCase()])) {
      const certificates = await this.#ask(ownerName(localPart, mailbox.domain), signal)
      const own = certificates.filter(certificate => bears(certificate, mailbox))
      if (own.length === 0 && certificates.length > 0)
        throw this.#silence(new Error("the DNS holds somebody else's certificate"))
      if (own.length > 0)
        return own.map(certificate => ({ certificate, source: this.name, via: 'address' }))
    }
    return []
  }

  async #ask(name: string, signal: AbortSignal): Promise<readonly Certificate[]> {
    if (signal.aborted) throw this.#silence(signal.reason)
    try {
      await this.#requireValidation()
      const { authentic, records } = await this.#whenHeard(() => {
        if (signal.aborted) throw new NoVerdict('nobody waits any more')
        return askDns(this.#server, name, SMIMEA, this.#timeoutMs)
      })
      // Anybody could have put there what nobody has signed: as if it were not there.
      return authentic ? records.flatMap(certificateOf) : []
    } catch (cause) {
      throw this.#silence(cause)
    }
  }

  /** A resolver that validates nothing would say of everybody that there is none. */
  async #requireValidation(): Promise<void> {
    if (this.#clock() >= this.#probedUntil)
      this.#probing ??= this.#look().finally(() => {
        this.#probing = undefined
      })
    const validates = this.#probing ? await this.#probing : this.#isValidating
    if (!validates) throw new Error(`the resolver does not vouch for ${this.#probe}`)
  }

  /** Said once, and again when it has changed. */
  async #look(): Promise<boolean> {
    const isValidating = await this.#whenHeard(() =>
      validates(this.#server, this.#probe, this.#timeoutMs),
    )
    if (isValidating !== (this.#isValidating ?? true)) {
      const { address, port } = this.#server
      const fields = { source: this.name, resolver: `${address} ${port}`, probe: this.#probe }
      if (isValidating) this.#log?.info('resolver-validates', fields)
      else this.#log?.error('resolver-does-not-validate', fields)
    }
    this.#isValidating = isValidating
    this.#probedUntil = this.#clock() + (isValidating ? VALIDATING_MS : NOT_VALIDATING_MS)
    return isValidating
  }

  #whenHeard<T>(action: () => Promise<T>): Promise<T> {
    return this.#turns.take(() =>
      this.#breaker.run(action, () => new Error('not asked: too many failures in a row')),
    )
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

/** RFC 8162 §3. */
export function ownerName(localPart: string, domain: string): string {
  const hash = createHash('sha256').update(localPart.normalize('NFC')).digest('hex').slice(0, 56)
  return `${hash}._smimecert.${domain}`
}

/**
 * The certificate of a record that holds one for a user in full: usage PKIX-EE or DANE-EE, selector
 * 0, matching type 0 (RFC 6698 §2.1). Digests and authorities give nothing to encrypt to.
 */
function certificateOf(record: Buffer): Certificate[] {
  const [usage, selector, matching] = record
  if ((usage !== PKIX_EE && usage !== DANE_EE) || selector !== 0 || matching !== 0) return []
  try {
    return [parseCertificate(record.subarray(3))]
  } catch (error) {
    if (error instanceof PosternError) throw new Error(error.message, { cause: error })
    throw error
  }
}

const SMIMEA = 53
const PKIX_EE = 1
const DANE_EE = 3
const AT_ONCE = 20
/** How long it is believed of a resolver that it validates, and that it does not. */
const VALIDATING_MS = 600_000
const NOT_VALIDATING_MS = 30_000
