/**
 * Base64 as mail bears it: lines of 76 characters that end in CRLF (RFC 2045 §6.8).
 *
 *     octets ──encodeBase64Lines──▶ lines ──decodeBase64──▶ the same octets, or a fault
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import { sweepAfter } from './sweep.ts'

/** Encodes octets that are at hand as lines of 76 characters, the last one ended by CRLF too. */
export function base64Lines(octets: Buffer): Buffer {
  const text = octets.toString('base64')
  const count = Math.ceil(text.length / LINE_CHARACTERS)
  const lines = Buffer.allocUnsafe(text.length + 2 * count)
  // The text goes to the end, and its lines move forward one by one to where they belong: so it is
  // never in memory a third time. A line and its CRLF end in front of the next one's characters.
  let start = 2 * count
  lines.write(text, start, 'latin1')
  for (let written = 0; start < lines.length; start += LINE_CHARACTERS) {
    written += lines.copy(lines, written, start, start + LINE_CHARACTERS)
    lines[written++] = CR
    lines[written++] = LF
  }
  return lines
}

/**
 * Encodes octets as they stream by; the same lines as {@link base64Lines} gives for the whole.
 * Nothing at all comes out where nothing went in.
 */
export async function* encodeBase64Lines(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = NOTHING
  for await (const chunk of chunks) {
    // Blocks of a bounded size, whatever the chunks are: the text of a block is a string of its own.
    for (let start = 0; start < chunk.length; start += BLOCK_OCTETS) {
      const block = chunk.subarray(start, start + BLOCK_OCTETS)
      const octets = rest.length === 0 ? block : Buffer.concat([rest, block])
      const whole = octets.length - (octets.length % LINE_OCTETS)
      if (whole > 0) {
        // What was encoded, and what it has become.
        sweepAfter(whole * 2.4)
        yield base64Lines(octets.subarray(0, whole))
      }
      rest = octets.subarray(whole)
    }
  }
  if (rest.length > 0) yield base64Lines(rest)
}

/**
 * Decodes base64 as it streams by.
 *
 * Only white space may stand between the 64 characters; padding must be there where it is due, and
 * nothing may follow it. RFC 2045 §6.8 lets a reader skip other characters, but two readers that
 * skip differently see two contents, and a signature is about one.
 *
 * @throws {PosternError} `ERR_BASE64_MALFORMED`, permanent. What was yielded before is then void.
 */
export async function* decodeBase64(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  const decoder = new Base64Decoder()
  for await (const chunk of chunks) {
    const octets = decoder.push(chunk)
    if (octets.length > 0) yield octets
  }
  decoder.end()
}

/** The same decoder for those who hold the chunks themselves. */
export class Base64Decoder {
  /** Fewer than four characters that wait for the rest of their group. */
  #rest: Buffer = NOTHING
  #padded = false

  /** @throws {PosternError} `ERR_BASE64_MALFORMED` */
  push(chunk: Buffer): Buffer {
    const fast = this.#decodeLines(chunk)
    if (fast !== undefined) return fast
    const text = withoutLineEnds(this.#rest, chunk)
    const octets = this.#decode(text)
    if (octets !== undefined) return octets
    // Blanks inside of lines are rare enough for a second, slower look.
    const retried = this.#decode(Buffer.from(text.toString('latin1').replace(BLANKS, ''), 'latin1'))
    return retried ?? malformed('a character that is not of base64')
  }

  /** @throws {PosternError} `ERR_BASE64_MALFORMED` where the last group is not whole. */
  end(): void {
    const rest = this.#rest.toString('latin1').replace(BLANKS, '')
    if (rest.length > 0) malformed('the last group is not whole')
  }

  /**
   * Where all lines are of one length, which is how programs write them, Node may skip their ends itself:
   * it is known how many characters are left.
   */
  #decodeLines(chunk: Buffer): Buffer | undefined {
    const lines = regularLines(chunk)
    if (lines === 0 || this.#padded) return undefined
    const characters = this.#rest.length + chunk.length - 2 * lines
    const cut = chunk.length - (characters & 3)
    // A line end among the last ones is none of the characters that wait for the rest of their group.
    if (chunk.includes(LF, cut)) return undefined
    const missing = (4 - this.#rest.length) & 3
    if (missing > cut) return undefined
    const octets = Buffer.allocUnsafeSlow((characters >> 2) * 3)
    const group = this.#rest.toString('latin1') + chunk.toString('latin1', 0, missing)
    const start = octets.write(group, 'base64')
    const written = start + octets.write(chunk.toString('latin1', missing, cut), start, 'base64')
    // Node skips what it does not know, and takes the URL alphabet too: count, and look for it.
    if (start !== (missing && 3) || written !== octets.length) return undefined
    if (chunk.includes(MINUS) || chunk.includes(UNDERSCORE)) return undefined
    this.#rest = chunk.subarray(cut)
    return octets
  }

  #decode(text: Buffer): Buffer | undefined {
    if (this.#padded) return text.length === 0 ? NOTHING : undefined
    const whole = text.length & ~3
    const octets = Buffer.from(text.toString('latin1', 0, whole), 'base64')
    const padding = paddingOf(text, whole)
    // Node skips what it does not know, and takes the URL alphabet too: count, and look for it.
    if (octets.length !== (whole >> 2) * 3 - padding || text.includes(MINUS)) return undefined
    if (text.includes(UNDERSCORE)) return undefined
    if (padding > 0 && text.length > whole) return undefined
    this.#padded = padding > 0
    this.#rest = text.subarray(whole)
    return octets
  }
}

/** How many `=` end the text; 3 and more are never right, and leave a wrong count of octets. */
function paddingOf(text: Buffer, whole: number): number {
  if (whole === 0 || text[whole - 1] !== EQUALS) return 0
  return text[whole - 2] === EQUALS ? 2 : 1
}

/** How many line ends a chunk has, where they stand at equal distances; else 0. */
function regularLines(chunk: Buffer): number {
  const first = chunk.indexOf(LF)
  if (first < 1) return 0
  const second = chunk.indexOf(LF, first + 1)
  if (second < 0) return 0
  let lines = 0
  for (let at = first; at < chunk.length; at += second - first) {
    if (chunk[at] !== LF || chunk[at - 1] !== CR) return 0
    lines++
  }
  return lines
}

function withoutLineEnds(rest: Buffer, chunk: Buffer): Buffer {
  const text = Buffer.allocUnsafe(rest.length + chunk.length)
  let written = rest.copy(text)
  for (let start = 0; start < chunk.length; ) {
    const lineFeed = chunk.indexOf(LF, start)
    const end = lineFeed < 0 ? chunk.length : lineFeed
    written += chunk.copy(text, written, start, end)
    if (written > 0 && text[written - 1] === CR) written--
    start = end + 1
  }
  return text.subarray(0, written)
}

function malformed(what: string): never {
  throw new PosternError('ERR_BASE64_MALFORMED', 'permanent', `base64 is malformed: ${what}`)
}

const LINE_CHARACTERS = 76
const LINE_OCTETS = 57
const BLOCK_OCTETS = LINE_OCTETS * 4096
const BLANKS = /[\t\r ]+/g
const NOTHING = Buffer.alloc(0)
const LF = 0x0a
const CR = 0x0d
const MINUS = 0x2d
const EQUALS = 0x3d
const UNDERSCORE = 0x5f
