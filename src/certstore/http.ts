/**
 * Certificates of other people from the portals of their organisations, by HTTPS.
 *
 *     mailbox ─▶ https://keys.partner.test/{hash} ─▶ 200: certificates · 404: none · else silence
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Agent, type AgentOptions, get } from 'node:https'
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { Mailbox } from '../mail/address.ts'
import { Authorities, above, bySubject } from './authorities.ts'
import { bears } from './bearing.ts'
import { type BreakerOptions, CircuitBreaker, NoVerdict } from './breaker.ts'
import { readCertificateFile } from './certificate-file.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'
import { Turns } from './turns.ts'

/** Settings of a portal. */
export interface HttpOptions {
  /**
   * `https://HOST/PATH` with `{hash}` (SHA-256 of the address in lower case, hexadecimal),
   * `{address}`, `{localPart}` or `{domain}` in path or query; never in the host.
   */
  readonly url: string
  /** PEM file of the authorities to believe instead of the public ones. */
  readonly ca?: string | undefined
  /** Milliseconds for an answer. Default 2 s. */
  readonly timeoutMs?: number | undefined
  /** Default `http:` and the host. */
  readonly name?: string | undefined
  readonly breaker?: BreakerOptions | undefined
}

/** Opens a portal as a source. */
export function openHttp(options: HttpOptions): CertificateResolver {
  return new HttpResolver(options)
}

class HttpResolver implements CertificateResolver {
  readonly name: string
  readonly #options: HttpOptions
  readonly #breaker: CircuitBreaker
  readonly #turns = new Turns(AT_ONCE)
  readonly #authorities = new Authorities()
  #agent: Agent | undefined

  constructor(options: HttpOptions) {
    this.name = options.name ?? `http:${new URL(options.url).host}`
    this.#options = options
    this.#breaker = new CircuitBreaker(options.breaker)
  }

  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    // Dots alone would be a way out of the folder, and are nobody's name.
    if (mailbox.domain === '' || /^\.+$/.test(mailbox.localPart)) return []
    if (signal.aborted) throw this.#silence(signal.reason)
    try {
      const octets = await this.#turns.take(() =>
        this.#breaker.run(
          () => this.#fetch(urlFor(this.#options.url, mailbox), signal),
          () => new Error('not asked: too many failures in a row'),
        ),
      )
      return octets ? this.#certificatesFor(mailbox, octets) : []
    } catch (cause) {
      throw this.#silence(cause)
    }
  }

  intermediates(): readonly Certificate[] {
    return this.#authorities.all()
  }

  close(): void {
    this.#agent?.destroy()
  }

  #certificatesFor(mailbox: Mailbox, octets: Buffer): Found[] {
    const { certificates, faults } = readCertificateFile(octets)
    this.#authorities.add(certificates)
    const own = certificates.filter(certificate => bears(certificate, mailbox))
    if (own.length === 0)
      throw new Error(faults[0] ?? "the portal gives somebody else's certificate")
    const authorities = bySubject(certificates)
    return own.map(certificate => ({
      certificate,
      source: this.name,
      via: 'address',
      beside: above(certificate, authorities),
    }))
  }

  async #fetch(url: string, signal: AbortSignal): Promise<Buffer | undefined> {
    const { ca, timeoutMs = 2_000 } = this.#options
    this.#agent ??= new Agent({
      keepAlive: true,
      maxSockets: AT_ONCE,
      minVersion: 'TLSv1.2',
      ...(ca !== undefined && { ca: await readFile(ca) }),
    } satisfies AgentOptions)
    const untilLate = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    try {
      return await fetchOnce(url, this.#agent, untilLate)
    } catch (error) {
      // Whoever asked has gone: the portal may be as well as ever.
      if (signal.aborted) throw new NoVerdict('nobody waits any more', { cause: error })
      throw error
    }
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

/** What stands for a mailbox in a template; nothing of it can leave its place in path or query. */
export function urlFor(template: string, mailbox: Mailbox): string {
  const address = mailbox.matchKey
  const values: Readonly<Record<string, string>> = {
    hash: createHash('sha256').update(address).digest('hex'),
    address,
    localPart: address.slice(0, address.lastIndexOf('@')),
    domain: mailbox.domain,
  }
  return template.replace(/\{(hash|address|localPart|domain)\}/g, (_, name: string) =>
    encodeURIComponent(values[name]!),
  )
}

/** The body of a 200; undefined for 404 and 410. Redirects are not followed. */
function fetchOnce(url: string, agent: Agent, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent, signal, headers: { accept: ACCEPT } }, response => {
      const { statusCode } = response
      if (statusCode !== 200) {
        response.resume()
        if (statusCode === 404 || statusCode === 410) resolve(undefined)
        else reject(refusal(statusCode ?? 0))
        return
      }
      const chunks: Buffer[] = []
      let octets = 0
      response.on('data', (chunk: Buffer) => {
        octets += chunk.length
        if (octets > MAX_OCTETS) request.destroy(new NoVerdict('too long an answer'))
        else chunks.push(chunk)
      })
      response.on('end', () => resolve(Buffer.concat(chunks)))
      response.on('error', reject)
    })
    request.on('error', reject)
  })
}

/** 4xx but 429 is about the one address; 5xx and the others are about the portal. */
function refusal(statusCode: number): Error {
  const words = `the portal answers ${statusCode}`
  const isOfAddress = statusCode >= 400 && statusCode < 500 && statusCode !== 429
  return isOfAddress ? new NoVerdict(words) : new Error(words)
}

const ACCEPT = 'application/pkix-cert, application/pkcs7-mime, application/x-pem-file'
const MAX_OCTETS = 256 * 1024
const AT_ONCE = 10
