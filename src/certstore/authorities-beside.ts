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
import { above, type BySubject, bySubject } from './authorities.ts'
import type { CertificateResolver } from './resolver.ts'

/** See `above`. */
export class AuthoritiesBeside {
  readonly #sources: readonly CertificateResolver[]
  #drawn: readonly (readonly Certificate[])[] = []
  #bySubject: BySubject = new Map()

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
    this.#bySubject = bySubject(held.flat())
    this.#drawn = held
    return true
  }

  /** Those whose names lead up from a certificate, each once. */
  above(certificate: Certificate): readonly Certificate[] {
    return above(certificate, this.#bySubject)
  }
}

const NONE: readonly Certificate[] = []
