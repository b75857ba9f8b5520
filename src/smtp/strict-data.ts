/**
 * Reads what follows DATA: finds its end, takes the stuffed dots out, and tells what must be refused.
 *
 *     chunk ── read ──▶ content (a part of the chunk)        until CRLF.CRLF, and nothing else, ends it
 *                └────▶ fault: a CR, LF or NUL of its own; a line beyond the limit
 *
 * SMTP smuggling (CVE-2023-51764) lives on servers that disagree about the end of data. Here only
 * CRLF.CRLF is one, however the octets were cut into chunks, and content that another server could
 * see another end in is marked, to be refused as a whole (RFC 5321 §2.3.8, §4.1.1.4).
 *
 * @module
 */

/** Why the content must not be accepted; a name in the table of replies. */
export type DataFault = 'bare-line-ending' | 'line-too-long'

/** The content of one transaction, from 354 to its end. Time is linear in octets, memory constant. */
export class StrictData {
  /** The end has been read. */
  ended = false
  /** The first fault seen. Reading goes on to the end all the same. */
  fault: DataFault | undefined
  /** Octets of content that the last `read` found: a part of its chunk, dots un-stuffed. */
  content: Buffer = NOTHING

  readonly #lineOctets: number
  /** What stands before the next octet: an edge of a chunk may fall anywhere. */
  #before: Before = 'line-start'
  /** Octets of the current line that earlier chunks held. */
  #carriedOctets = 0

  /** @param lineOctets Longest line that is accepted, without its CRLF. */
  constructor(lineOctets: number) {
    this.#lineOctets = lineOctets
  }

  /**
   * Reads a chunk, which belongs to the reader from now on: its octets are moved.
   *
   * @returns How many of its octets belong to the data, the end included; what follows them are
   *   commands.
   */
  read(chunk: Buffer): number {
    const nul = chunk.indexOf(0)
    const used = this.#scan(chunk)
    if (nul >= 0 && nul < used) this.fault ??= 'bare-line-ending'
    return used
  }

  /** The one subtle loop: a round is a line, and between lines stands the question of the dot. */
  #scan(chunk: Buffer): number {
    const kept = new Kept(chunk)
    let at = this.#resume(chunk, kept)
    let lineStart = at
    let cr = -1 // next CR at or after the line, or chunk.length
    while (!this.ended && at < chunk.length) {
      if (this.#before === 'line-start' && chunk[at] === DOT) {
        at = this.#dot(chunk, at, kept)
        lineStart = at
        continue
      }
      const lf = chunk.indexOf(LF, at)
      if (cr < at) cr = positionOf(CR, chunk, at)
      if (lf < 0) {
        this.#unfinishedLine(chunk, lineStart, cr)
        at = chunk.length
        break
      }
      // The CR of the CRLF must be the only one of the line, and there must be one.
      if (cr !== lf - 1 || lf === at) this.fault ??= 'bare-line-ending'
      const complete = lf > at && chunk[lf - 1] === CR
      this.#measure(this.#carriedOctets + lf - (complete ? 1 : 0) - lineStart)
      at = lf + 1
      if (complete) {
        this.#before = 'line-start'
        this.#carriedOctets = 0
        lineStart = at
      } else {
        // A bare LF ends no line. The content is refused; what matters is that no dot ends it here.
        this.#before = 'in-line'
      }
    }
    this.content = kept.octets(this.ended || this.#holdsBack() ? kept.end : at)
    return at
  }

  /** Decides what the last octets of the chunk before were. */
  #resume(chunk: Buffer, kept: Kept): number {
    if (chunk.length === 0) return 0
    switch (this.#before) {
      case 'after-cr':
        return this.#afterCR(chunk)
      case 'after-dot':
        return this.#afterDot(chunk, 0, kept)
      case 'after-dot-cr':
        return this.#afterDotCR(chunk, 0, kept)
      case 'line-start':
      case 'in-line':
        return 0
    }
  }

  #afterCR(chunk: Buffer): number {
    if (chunk[0] !== LF) {
      this.fault ??= 'bare-line-ending'
      this.#before = 'in-line'
      return 0
    }
    this.#before = 'line-start'
    this.#carriedOctets = 0
    return 1
  }

  #dot(chunk: Buffer, at: number, kept: Kept): number {
    kept.upTo(at)
    return this.#afterDot(chunk, at + 1, kept)
  }

  /** A dot at the start of a line is never content: it ends the data, or it was stuffed. */
  #afterDot(chunk: Buffer, at: number, kept: Kept): number {
    kept.from(at)
    if (at === chunk.length) {
      this.#before = 'after-dot'
      return at
    }
    if (chunk[at] === CR) return this.#afterDotCR(chunk, at + 1, kept)
    this.#before = 'in-line'
    return at
  }

  #afterDotCR(chunk: Buffer, at: number, kept: Kept): number {
    kept.from(at)
    if (at === chunk.length) {
      this.#before = 'after-dot-cr'
      return at
    }
    if (chunk[at] === LF) {
      this.ended = true
      return at + 1
    }
    this.fault ??= 'bare-line-ending'
    this.#before = 'in-line'
    return at
  }

  #unfinishedLine(chunk: Buffer, lineStart: number, cr: number): void {
    const end = chunk.length
    if (cr < end - 1) this.fault ??= 'bare-line-ending'
    this.#before = chunk[end - 1] === CR ? 'after-cr' : 'in-line'
    this.#carriedOctets += end - lineStart
    this.#measure(this.#carriedOctets - (this.#before === 'after-cr' ? 1 : 0))
  }

  #measure(lineOctets: number): void {
    if (lineOctets > this.#lineOctets) this.fault ??= 'line-too-long'
  }

  #holdsBack(): boolean {
    return this.#before === 'after-dot' || this.#before === 'after-dot-cr'
  }
}

type Before = 'line-start' | 'in-line' | 'after-cr' | 'after-dot' | 'after-dot-cr'

/**
 * The octets of a chunk that are content, moved together over the dots taken out: a chunk full of
 * dots costs one pass, and neither a copy nor a chunk of its own for each of them.
 */
class Kept {
  readonly #chunk: Buffer
  #from = 0
  /** Where the octets moved so far end. */
  end = 0

  constructor(chunk: Buffer) {
    this.#chunk = chunk
  }

  /** Keeps what stands before `at`. */
  upTo(at: number): void {
    if (this.end !== this.#from) this.#chunk.copyWithin(this.end, this.#from, at)
    this.end += at - this.#from
    this.#from = at
  }

  /** Drops what stands before `at` and was not kept. */
  from(at: number): void {
    this.#from = at
  }

  /** All that was kept, and the rest up to `at`. */
  octets(at: number): Buffer {
    if (at > this.#from) this.upTo(at)
    return this.end === this.#chunk.length ? this.#chunk : this.#chunk.subarray(0, this.end)
  }
}

function positionOf(octet: number, chunk: Buffer, from: number): number {
  const position = chunk.indexOf(octet, from)
  return position < 0 ? chunk.length : position
}

const NOTHING = Buffer.alloc(0)
const LF = 0x0a
const CR = 0x0d
const DOT = 0x2e
