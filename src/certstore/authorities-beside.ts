/**
 * Authorities that lie beside the certificates of people, found by the names above a certificate.
 *
 *     sources ──▶ authorities ──▶ by subject ──▶ those on the way up      drawn up anew where one changed
 *
 * Nothing here is believed: who really issued what is settled where paths are validated.
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import { nameKey } from '../crypto/x509/name-comparison.ts'
import type { CertificateResolver } from './resolver.ts'

/** See `above`. */
export class AuthoritiesBeside {
  readonly #sources: readonly CertificateResolver[]
  #drawn: readonly (readonly Certificate[])[] = []
  #bySubject: ReadonlyMap<string, readonly Certificate[]> = new Map()

  constructor(sources: readonly CertificateResolver[]) {
    this.#sources = sources
  }

  /**
   * Draws the index up anew where a source holds others by now.
   * @returns Whether one does.
   */
  refresh(): boolean {
    const held = this.#sources.map(source => source.intermediates?.() ?? NONE)
    if (held.every((authorities, at) => authorities === this.#drawn[at])) return false
    this.#bySubject = bySubject(held)
    this.#drawn = held
    return true
  }

  /** Those whose names lead up from a certificate, each once; of no others has a path any use. */
  above(certificate: Certificate): readonly Certificate[] {
    const found: Certificate[] = []
    const names = new Set([nameKey(certificate.issuer)])
    for (const name of names) {
      for (const authority of this.#bySubject.get(name) ?? []) {
        found.push(authority)
        names.add(nameKey(authority.issuer))
      }
    }
    return found
  }
}

function bySubject(
  held: readonly (readonly Certificate[])[],
): ReadonlyMap<string, readonly Certificate[]> {
  const map = new Map<string, Certificate[]>()
  for (const authorities of held)
    for (const authority of authorities) {
      const name = nameKey(authority.subject)
      const namesakes = map.get(name)
      if (namesakes) namesakes.push(authority)
      else map.set(name, [authority])
    }
  return map
}

const NONE: readonly Certificate[] = []
