/**
 * Whether all lines of an octet stream end with CRLF (RFC 5322 §2.3).
 *
 * @module
 */

/** Looks at octets as they pass, in chunks of any size. */
export class CrlfCheck {
  #endsWithCR = false

  /** `false` where a CR or a LF stands alone. */
  push(chunk: Buffer): boolean {
    if (chunk.length === 0) return true
    if (this.#endsWithCR && chunk[0] !== LF) return false
    let at = this.#endsWithCR ? 1 : 0
    this.#endsWithCR = false
    for (;;) {
      const cr = chunk.indexOf(CR, at)
      const lf = chunk.indexOf(LF, at)
      if (lf < 0) {
        this.#endsWithCR = cr === chunk.length - 1
        return cr < 0 || this.#endsWithCR
      }
      if (cr < 0 || cr !== lf - 1) return false
      at = lf + 1
    }
  }

  /** `false` where the last octet was a CR. */
  end(): boolean {
    return !this.#endsWithCR
  }
}

const LF = 0x0a
const CR = 0x0d
