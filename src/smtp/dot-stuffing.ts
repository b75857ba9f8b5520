/**
 * Dot-stuffing: makes content fit to stand between DATA and the final dot (RFC 5321 §4.5.2).
 *
 *     content ── stuff ──▶ octets without CRLF.CRLF ── finish ──▶ CRLF.CRLF, exactly once
 *
 * All content goes through here on its way out, whoever made it: what stands behind a dot of ours can
 * never be taken for a command of ours (SMTP smuggling).
 *
 * @module
 */
import { PosternError } from '../errors.ts'

/** Stuffs the dots of one content, chunk by chunk, however it is cut. */
export class DotStuffer {
  // A content begins at the start of a line.
  #before: number = LF
  #beforeThat: number = CR

  /**
   * Stuffs the next chunk.
   *
   * @returns The chunk itself where no dot was to be stuffed, which is nearly always.
   * @throws {PosternError} `ERR_CONTENT_LINE_END` where a dot follows a CR or an LF that stands alone.
   *   A lenient next hop could take that for the end of data, and a stuffed dot there would change
   *   the content for a strict one.
   */
  stuff(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk
    const first = this.#firstLine(chunk)
    if (chunk.includes(CR_DOT)) throw loneLineEnd()
    const at = first < 0 ? this.#nextLine(chunk, 0) : first
    const stuffed = at < 0 ? chunk : this.#stuffFrom(chunk, at)
    this.#beforeThat = chunk.length > 1 ? chunk[chunk.length - 2]! : this.#before
    this.#before = chunk[chunk.length - 1]!
    return stuffed
  }

  /** What ends the data: the dot alone where the content ended its last line, or was empty. */
  finish(): Buffer {
    return this.#before === LF && this.#beforeThat === CR ? DOT_CRLF : CRLF_DOT_CRLF
  }

  /** 0 where the chunk begins with a dot that begins a line, else -1. */
  #firstLine(chunk: Buffer): number {
    if (chunk[0] !== DOT || (this.#before !== LF && this.#before !== CR)) return -1
    if (this.#before === CR || this.#beforeThat !== CR) throw loneLineEnd()
    return 0
  }

  /** Where the next line that begins with a dot begins, or -1. */
  #nextLine(chunk: Buffer, from: number): number {
    const at = indexOfLfDot(chunk, from)
    if (at < 0) return -1
    const before = at > 0 ? chunk[at - 1] : this.#before
    if (before !== CR) throw loneLineEnd()
    return at + 1
  }

  #stuffFrom(chunk: Buffer, first: number): Buffer {
    // No two stuffed dots are closer than CRLF and the dot itself.
    const stuffed = Buffer.allocUnsafe(chunk.length + Math.ceil(chunk.length / 3) + 1)
    let from = 0
    let length = 0
    for (let at = first; at >= 0; at = this.#nextLine(chunk, at)) {
      length = copy(chunk, from, at, stuffed, length)
      stuffed[length++] = DOT
      from = at
    }
    length += chunk.copy(stuffed, length, from)
    return stuffed.subarray(0, length)
  }
}

/** Looks near by octet for octet before it asks the machine: else lines of dots alone cost tenfold. */
function indexOfLfDot(chunk: Buffer, from: number): number {
  const far = Math.min(from + NEAR_OCTETS, chunk.length - 1)
  for (let at = from; at < far; at++) if (chunk[at] === LF && chunk[at + 1] === DOT) return at
  return chunk.indexOf(LF_DOT, far)
}

/** @returns Where the copy ends. */
function copy(source: Buffer, from: number, to: number, target: Buffer, at: number): number {
  if (to - from > NEAR_OCTETS) return at + source.copy(target, at, from, to)
  let end = at
  for (let next = from; next < to; next++) target[end++] = source[next]!
  return end
}

function loneLineEnd(): PosternError {
  return new PosternError(
    'ERR_CONTENT_LINE_END',
    'permanent',
    'content has a dot after a CR or LF that stands alone',
  )
}

/** Up to here an octet at a time is faster than a call into the machine. */
const NEAR_OCTETS = 24
const CR = 0x0d
const LF = 0x0a
const DOT = 0x2e
const CR_DOT = Buffer.from('\r.')
const LF_DOT = Buffer.from('\n.')
const DOT_CRLF = Buffer.from('.\r\n')
const CRLF_DOT_CRLF = Buffer.from('\r\n.\r\n')
