/**
 * Quoted-printable (RFC 2045 §6.7): text that stays readable, and survives every relay.
 *
 *     octets ──encodeQuotedPrintable──▶ lines of at most 76 ──decodeQuotedPrintable──▶ the same octets
 *
 * @module
 */
import { PosternError } from '../errors.ts'

/**
 * Encodes octets as they stream by. CRLF is a hard line break and stays one; CR and LF alone are
 * encoded, so that what is decoded is what went in, octet for octet.
 *
 * More is encoded than must be: a dot, `From ` and `--` at the beginning of a line. Some relay doubles
 * the first, quotes the second (RFC 2049 §3), and the third could read as a delimiter line.
 */
export async function* encodeQuotedPrintable(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  const encoder = new Encoder()
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += BLOCK_OCTETS) {
      const encoded = encoder.push(chunk.subarray(start, start + BLOCK_OCTETS))
      if (encoded.length > 0) yield encoded
    }
  }
  const encoded = encoder.end()
  if (encoded.length > 0) yield encoded
}

/** How many octets a block takes when it is encoded, about: line breaks are not counted to the octet. */
export function quotedPrintableOctets(block: Buffer): number {
  let escaped = 0
  for (let index = 0; index < block.length; index++) {
    const octet = block[index]!
    if (KINDS[octet] === ESCAPED && octet !== LF) escaped++
  }
  return Math.ceil((block.length + 2 * escaped) * (78 / 75))
}

/**
 * Decodes quoted-printable as it streams by, white space at the ends of lines left out
 * (RFC 2045 §6.7, rule 3). Lower-case digits and lines of any length are taken, as all readers do.
 *
 * @throws {PosternError} `ERR_QUOTED_PRINTABLE_MALFORMED`, permanent: an octet that may not stand
 *   there, or `=` with neither two digits nor a line end behind. What was yielded before is then void.
 */
export async function* decodeQuotedPrintable(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = NOTHING
  for await (const chunk of chunks) {
    const text = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const whole = wholeOctets(text)
    if (text.length - whole > MAX_REST_OCTETS) malformed('white space without end')
    if (whole > 0) yield decodeWhole(text.subarray(0, whole))
    rest = text.subarray(whole)
  }
  // Nothing follows: white space at the end, and a soft line break without its line, mean nothing.
  const end = rest.toString('latin1').replace(/(=?)[\t \r]*$/, '')
  if (end.length > 0) yield decodeWhole(Buffer.from(end, 'latin1'))
}

/**
 * Makes a quoted-printable body safe that is not (8-bit octets, long lines), such that a lenient
 * reader decodes the same octets from it: 8-bit octets are encoded, long lines broken softly. All
 * other octets stay.
 */
export async function* repairQuotedPrintable(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let column = 0
  let sinceEquals = 3
  for await (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += BLOCK_OCTETS) {
      const block = chunk.subarray(start, start + BLOCK_OCTETS)
      const out = Buffer.allocUnsafe(4 * block.length + 8)
      let written = 0
      for (let index = 0; index < block.length; index++) {
        const octet = block[index]!
        const breaks =
          column >= REPAIRED_COLUMNS && sinceEquals > 2 && mayFollowBreak(octet, column)
        if (breaks) {
          written += SOFT_BREAK.copy(out, written)
          column = 0
        }
        // A stray `=` stands for itself, but with another `=` behind it some readers see one octet.
        if (octet > 0x7e && sinceEquals === 1) {
          out[written++] = DIGITS[EQUALS >> 4]!
          out[written++] = DIGITS[EQUALS & 15]!
          column += 2
        }
        sinceEquals = octet === EQUALS ? 1 : sinceEquals + 1
        // What begins a line now did not before: it must not read as a delimiter or as a dot.
        if (octet > 0x7e || (breaks && KINDS[octet] === AT_START)) {
          written = writeEscaped(out, written, octet)
          column += 3
        } else {
          out[written++] = octet
          column = octet === LF ? 0 : column + 1
        }
      }
      yield out.subarray(0, written)
    }
  }
}

/**
 * White space that may be the end of a line stays with it: a reader drops it there (rule 3). A line
 * that would become too long all the same is broken in it.
 */
function mayFollowBreak(octet: number, column: number): boolean {
  return !isBlank(octet) ? octet !== LF : octet !== CR && column >= MAX_REPAIRED_COLUMNS
}

class Encoder {
  /** Octets that wait for what comes behind them. */
  #rest: Buffer = NOTHING
  #column = 0
  /** Room for the worst case, used again and again: what is yielded is as long as it must be. */
  #scratch: Buffer = NOTHING

  push(block: Buffer): Buffer {
    const octets = this.#rest.length === 0 ? block : Buffer.concat([this.#rest, block])
    const end = Math.max(0, octets.length - LOOK_AHEAD_OCTETS)
    const { encoded, at } = this.#encode(octets, end)
    this.#rest = Buffer.from(octets.subarray(at))
    return encoded
  }

  end(): Buffer {
    return this.#encode(this.#rest, this.#rest.length).encoded
  }

  /** A table of four kinds and one pass, without a call per octet: this is the slowest of our loops. */
  #encode(octets: Buffer, end: number): { encoded: Buffer; at: number } {
    const room = 4 * octets.length + 8
    if (this.#scratch.length < room) this.#scratch = Buffer.allocUnsafe(room)
    const out = this.#scratch
    let written = 0
    let column = this.#column
    let at = 0
    while (at < end) {
      const octet = octets[at]!
      let kind = KINDS[octet]!
      if (kind === LINE_END) {
        if (octets[at + 1] === LF) {
          out[written++] = CR
          out[written++] = LF
          column = 0
          at += 2
          continue
        }
        kind = ESCAPED
      } else if (kind === BLANK) kind = endsLine(octets, at + 1) ? ESCAPED : PLAIN
      if (column + (kind === ESCAPED ? 3 : 1) > MAX_COLUMNS) {
        out[written++] = EQUALS
        out[written++] = CR
        out[written++] = LF
        column = 0
      }
      if (kind === AT_START) kind = column === 0 && isDanger(octets, at) ? ESCAPED : PLAIN
      if (kind === ESCAPED) {
        written = writeEscaped(out, written, octet)
        column += 3
      } else {
        out[written++] = octet
        column++
      }
      at++
    }
    this.#column = column
    return { encoded: Buffer.from(out.subarray(0, written)), at }
  }
}

function endsLine(octets: Buffer, next: number): boolean {
  return next >= octets.length || (octets[next] === CR && octets[next + 1] === LF)
}

function isDanger(octets: Buffer, at: number): boolean {
  const octet = octets[at]
  if (octet === DOT) return true
  if (octet === DASH) return octets[at + 1] === DASH
  for (let index = 1; index < FROM.length; index++) {
    if (octets[at + index] !== FROM[index]) return false
  }
  return true
}

function writeEscaped(out: Buffer, at: number, octet: number): number {
  out[at] = EQUALS
  out[at + 1] = DIGITS[octet >> 4]!
  out[at + 2] = DIGITS[octet & 15]!
  return at + 3
}

/** How much of the text does not end in the middle of something. */
function wholeOctets(text: Buffer): number {
  let end = text.length
  while (end > 0 && isBlank(text[end - 1]!)) end--
  if (text[end - 1] === EQUALS) return end - 1
  return text[end - 2] === EQUALS ? end - 2 : end
}

function decodeWhole(text: Buffer): Buffer {
  const out = Buffer.allocUnsafe(text.length)
  let written = 0
  for (let at = 0; at < text.length; ) {
    const octet = text[at]!
    if (octet === EQUALS) {
      const value = (VALUES[text[at + 1]!] ?? NO_DIGIT) * 16 + (VALUES[text[at + 2]!] ?? NO_DIGIT)
      if (value >= 0) {
        out[written++] = value
        at += 3
      } else at = behindLineEnd(text, at + 1)
    } else if (octet === SPACE || octet === TAB) {
      const end = behindBlanks(text, at)
      const isTrailing = text[end] === LF || (text[end] === CR && text[end + 1] === LF)
      if (!isTrailing) written += text.copy(out, written, at, end)
      at = end
    } else {
      if ((octet < SPACE && octet !== CR && octet !== LF) || octet > 0x7e) {
        malformed('an octet that may not stand there')
      }
      out[written++] = octet
      at++
    }
  }
  return out.subarray(0, written)
}

/** Behind the rest of a soft line break. */
function behindLineEnd(text: Buffer, start: number): number {
  const end = behindBlanks(text, start)
  if (text[end] === LF) return end + 1
  if (text[end] === CR && text[end + 1] === LF) return end + 2
  return malformed('= with neither two digits nor a line end behind')
}

function behindBlanks(text: Buffer, start: number): number {
  let end = start
  while (text[end] === SPACE || text[end] === TAB) end++
  return end
}

function isBlank(octet: number): boolean {
  return octet === SPACE || octet === TAB || octet === CR
}

function malformed(what: string): never {
  throw new PosternError(
    'ERR_QUOTED_PRINTABLE_MALFORMED',
    'permanent',
    `quoted-printable is malformed: ${what}`,
  )
}

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const DASH = 0x2d
const DOT = 0x2e
const EQUALS = 0x3d
const FROM = Buffer.from('From ')
const SOFT_BREAK = Buffer.from('=\r\n')
const DIGITS = Buffer.from('0123456789ABCDEF')
const NOTHING = Buffer.alloc(0)

/** What is written has four times the room, whatever it is. */
const BLOCK_OCTETS = 32 * 1024
/** To see CRLF, `--` and `From `. */
const LOOK_AHEAD_OCTETS = FROM.length
/** 76 with the `=` of a soft line break (RFC 2045 §6.7, rule 5). */
const MAX_COLUMNS = 75
/** Lines that were whole before stay, as long as a relay takes them. */
const REPAIRED_COLUMNS = 900
const MAX_REPAIRED_COLUMNS = 990
/** White space at the end of a chunk waits for what follows it. */
const MAX_REST_OCTETS = 4096

const PLAIN = 0
const ESCAPED = 1
const BLANK = 2
const LINE_END = 3
const AT_START = 4

const KINDS = Uint8Array.from({ length: 256 }, (_, octet) => {
  if (octet === CR) return LINE_END
  if (octet === SPACE || octet === TAB) return BLANK
  if (octet === DOT || octet === DASH || octet === FROM[0]) return AT_START
  return octet < SPACE || octet > 0x7e || octet === EQUALS ? ESCAPED : PLAIN
})

/** Negative, whatever the other digit is. */
const NO_DIGIT = -1000

/** Value of a hexadecimal digit. */
const VALUES = Int16Array.from({ length: 256 }, (_, octet) => {
  const value = '0123456789abcdef'.indexOf(String.fromCharCode(octet).toLowerCase())
  return value < 0 ? NO_DIGIT : value
})
