/**
 * Who issued what, among the certificates that lie at hand.
 *
 * @module
 */
import { type Certificate, issuedBy } from '../crypto/x509/certificate.ts'

/** The certificates above one. */
export interface Ascent {
  /** Nearest first, without the root (RFC 8550 §2.3). */
  readonly path: readonly Certificate[]
  /** No issuer was found for the certificate itself, and it is no root. */
  readonly issuerMissing: boolean
}

/** Certificates that may have issued others, by subject. */
export class Issuers {
  readonly #bySubject = new Map<string, Certificate[]>()
  readonly #found = new Map<string, Certificate | undefined>()

  constructor(certificates: Iterable<Certificate>) {
    for (const certificate of certificates) this.#add(certificate)
    for (const namesakes of this.#bySubject.values()) namesakes.sort(rootsThenLongestValid)
  }

  /** Climbs by issuer and subject, every step verified, up to the root or as far as certificates go. */
  above(certificate: Certificate): Ascent {
    const path: Certificate[] = []
    let current = certificate
    while (!current.isSelfIssued && path.length < MAX_PATH) {
      const issuer = this.#issuerOf(current)
      if (!issuer || issuer.isSelfIssued || path.includes(issuer)) break
      path.push(issuer)
      current = issuer
    }
    const issuerMissing = !certificate.isSelfIssued && this.#issuerOf(certificate) === undefined
    return { path, issuerMissing }
  }

  #add(certificate: Certificate): void {
    if (certificate.basicConstraints && !certificate.isCertificateAuthority) return
    const name = keyOf(certificate.subject)
    const namesakes = this.#bySubject.get(name) ?? []
    if (namesakes.some(({ der }) => der.equals(certificate.der))) return
    this.#bySubject.set(name, [...namesakes, certificate])
  }

  #issuerOf(certificate: Certificate): Certificate | undefined {
    const { fingerprint } = certificate
    if (this.#found.has(fingerprint)) return this.#found.get(fingerprint)
    const issuer = this.#bySubject
      .get(keyOf(certificate.issuer))
      ?.find(candidate => issuedBy(certificate, candidate))
    this.#found.set(fingerprint, issuer)
    return issuer
  }
}

function keyOf(name: Buffer): string {
  return name.toString('latin1')
}

function rootsThenLongestValid(one: Certificate, other: Certificate): number {
  return (
    Number(other.isSelfIssued) - Number(one.isSelfIssued) ||
    other.notAfter.getTime() - one.notAfter.getTime()
  )
}

/** Longer than any path in use, shorter than a circle of cross certificates. */
const MAX_PATH = 8
