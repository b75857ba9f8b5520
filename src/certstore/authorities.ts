/**
 * Certificates of authorities that came beside those of people: for building paths, never believed.
 *
 * @module
 */
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'

/** The first 200 that a remote source has shown: it cannot keep us busy with ever new ones. */
export class Authorities {
  readonly #fingerprints = new Set<string>()
  #all: readonly Certificate[] = []

  /** Keeps the authorities among certificates. */
  add(certificates: Iterable<Certificate>): void {
    for (const { isCertificateAuthority, fingerprint, der } of certificates) {
      if (!isCertificateAuthority || this.#fingerprints.has(fingerprint)) continue
      if (this.#all.length >= MAX_AUTHORITIES) return
      this.#fingerprints.add(fingerprint)
      // A copy: the octets that came may be a small part of something large.
      this.#all = [...this.#all, parseCertificate(Buffer.from(der))]
    }
  }

  /** The same array as long as nothing has changed. */
  all(): readonly Certificate[] {
    return this.#all
  }
}

const MAX_AUTHORITIES = 200
