/**
 * Line ends of octets that have not come over SMTP: out of an encryption, or out of a signature.
 *
 * What is handed on has CRLF and nothing else. A CR, an LF or a NUL of its own in what leaves would be
 * SMTP smuggling from the inside (CVE-2023-51764), where no listener has looked.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import type { Content } from './mail-object.ts'

/**
 * How lines end: as they should; by LF alone somewhere, which is how some programs encrypt text and can
 * be mended; or with a CR alone or a NUL, which cannot.
 */
export type LineEnds = 'crlf' | 'lf' | 'unsafe'

/** Learns how the lines of a content end while its octets pass. */
export class LineEndsGauge {
  #unsafe = false
  #bareLf = false
  #afterCr = false

  update(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (!isSafe(chunk, this.#afterCr)) this.#unsafe = true
    if (!this.#bareLf) this.#bareLf = hasBareLf(chunk, this.#afterCr)
    this.#afterCr = chunk[chunk.length - 1] === CR
  }

  lineEnds(): LineEnds {
    if (this.#unsafe || this.#afterCr) return 'unsafe'
    return this.#bareLf ? 'lf' : 'crlf'
  }
}

/**
 * How the lines of a content end.
 *
 * @throws {PosternError} What `content.read` throws.
 */
export async function lineEndsOf(content: Content): Promise<LineEnds> {
  const gauge = new LineEndsGauge()
  for await (const chunk of content.read()) gauge.update(chunk)
  return gauge.lineEnds()
}

/**
 * Octets with every LF brought to CRLF (RFC 8551 §3.1.1).
 *
 * @throws {PosternError} `ERR_CONTENT_LINE_END` for a CR alone or a NUL.
 */
export async function* withCrlf(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let afterCr = false
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue
    if (!isSafe(chunk, afterCr)) throw unsafe()
    const pieces: Buffer[] = []
    let start = 0
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) {
      if (at === 0 ? afterCr : chunk[at - 1] === CR) continue
      pieces.push(chunk.subarray(start, at), CRLF)
      start = at + 1
    }
    pieces.push(chunk.subarray(start))
    afterCr = chunk[chunk.length - 1] === CR
    yield pieces.length === 1 ? chunk : Buffer.concat(pieces)
  }
  if (afterCr) throw unsafe()
}

/** No NUL, and no CR that an LF does not follow, as far as the chunk tells. */
function isSafe(chunk: Buffer, afterCr: boolean): boolean {
  if (chunk.includes(NUL) || (afterCr && chunk[0] !== LF)) return false
  for (let at = chunk.indexOf(CR); at >= 0; at = chunk.indexOf(CR, at + 1))
    if (at + 1 < chunk.length && chunk[at + 1] !== LF) return false
  return true
}

/** An LF that no CR stands in front of, as far as the chunk tells. */
function hasBareLf(chunk: Buffer, afterCr: boolean): boolean {
  for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1))
    if (at === 0 ? !afterCr : chunk[at - 1] !== CR) return true
  return false
}

function unsafe(): PosternError {
  const what = 'content has a CR alone or a NUL'
  return new PosternError('ERR_CONTENT_LINE_END', 'permanent', what)
}

const NUL = 0x00
const LF = 0x0a
const CR = 0x0d
const CRLF = Buffer.from('\r\n')
