/**
 * The boundaries of the multiparts that are open, and which line is a delimiter of one of them.
 *
 * @module
 */

/** A longer line is no delimiter, whatever white space it ends with. */
export const MAX_DELIMITER_OCTETS = 2048

/** A delimiter line (RFC 2046 §5.1.1), and the multipart that it belongs to. */
export interface Delimiter<Multipart> {
  readonly multipart: Multipart
  /** `--` stood behind the boundary too. */
  readonly closing: boolean
}

/** All boundaries that count at one place in a message. Marks multiparts that others may see otherwise. */
export class OpenBoundaries<Multipart extends { ambiguous: boolean }> {
  readonly #multiparts = new Map<string, Multipart>()
  /** How many open boundaries begin with an octet: most lines with two dashes are told by it. */
  readonly #firstOctets = new Uint16Array(256)
  #comparisons = 0

  get size(): number {
    return this.#multiparts.size
  }

  /**
   * Opens a multipart.
   *
   * @param boundary Its octets in a string.
   * @returns The outer multipart with the same boundary, which cannot be seen from in here.
   */
  open(boundary: string, multipart: Multipart): Multipart | undefined {
    const hidden = this.#multiparts.get(boundary)
    if (hidden) {
      hidden.ambiguous = true
      multipart.ambiguous = true
    }
    if (this.#comparisons > MAX_COMPARISONS) multipart.ambiguous = true
    this.#multiparts.set(boundary, multipart)
    this.#firstOctets[boundary.charCodeAt(0)]!++
    return hidden
  }

  /** @param hidden As `open` gave it; can be seen again. */
  close({ boundary, hidden }: { boundary: string; hidden: Multipart | undefined }): void {
    this.#firstOctets[boundary.charCodeAt(0)]!--
    if (hidden) this.#multiparts.set(boundary, hidden)
    else this.#multiparts.delete(boundary)
  }

  /**
   * The delimiter that a line is, if it is one.
   *
   * @param line Where a line begins that has two dashes in front.
   * @param next Behind its line end, or the end of the window.
   */
  at(window: Buffer, line: number, next: number): Delimiter<Multipart> | undefined {
    if (this.#firstOctets[window[line + 2] ?? 0] === 0) return undefined
    if (next - line > MAX_DELIMITER_OCTETS) return undefined
    let end = next
    while (end > line + 2 && isBlank(window[end - 1]!)) end--
    const text = window.toString('latin1', line + 2, end)
    const opening = this.#multiparts.get(text)
    if (opening) return { multipart: opening, closing: false }
    const closing = text.endsWith('--') ? this.#multiparts.get(text.slice(0, -2)) : undefined
    if (closing) return { multipart: closing, closing: true }
    this.#lookForPrefix(text)
    return undefined
  }

  /**
   * RFC 2046 §5.1.1 lets a reader compare the beginning of a line only: such a reader sees another
   * structure. Looked for with a budget; who spends it writes for no human reader.
   */
  #lookForPrefix(text: string): void {
    if (this.#comparisons > MAX_COMPARISONS) return
    this.#comparisons += this.#multiparts.size
    const isSpent = this.#comparisons > MAX_COMPARISONS
    for (const [boundary, multipart] of this.#multiparts) {
      if (isSpent || text.startsWith(boundary)) multipart.ambiguous = true
    }
  }
}

function isBlank(octet: number): boolean {
  return octet === LF || octet === CR || octet === SPACE || octet === TAB
}

const MAX_COMPARISONS = 50_000
const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
