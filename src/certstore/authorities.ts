/**
 * Certificates of authorities that came beside those of people: for building paths, never believed.
 *
 * @module
 */
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { nameKey } from '../crypto/x509/name-comparison.ts'

/** Authorities by the name that they bear. */
export type BySubject = ReadonlyMap<string, readonly Certificate[]>

/** Draws up an index of the authorities among certificates. */
export function bySubject(certificates: Iterable<Certificate>): BySubject {
  const map = new Map<string, Certificate[]>()
  for (const certificate of certificates) {
    if (!certificate.isCertificateAuthority) continue
    const name = nameKey(certificate.subject)
    const namesakes = map.get(name)
    if (namesakes) namesakes.push(certificate)
    else map.set(name, [certificate])
  }
  return map
}

/** Those whose names lead up from a certificate, each once; of no others has a path any use. */
export function above(certificate: Certificate, index: BySubject): readonly Certificate[] {
  if (index.size === 0) return NONE
  const found: Certificate[] = []
  const names = new Set([nameKey(certificate.issuer)])
  for (const name of names) {
    for (const authority of index.get(name) ?? NONE) {
      found.push(authority)
      names.add(nameKey(authority.issuer))
    }
  }
  return found
}

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
const NONE: readonly Certificate[] = []
