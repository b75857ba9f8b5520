/**
 * Whether a relay could alter a content: octets of 8 bits, and the longest line (RFC 5321 §4.5.3.1.6).
 *
 * @module
 */
import { isAscii } from 'node:buffer'
import type { ContentShape } from './mail-object.ts'

/** Learns the shape of a content while its octets pass. */
export class ShapeGauge {
  #eightBit = false
  #longest = 0
  /** Of the line that is not ended yet, a CR at its end included. */
  #lineOctets = 0
  #endsWithCR = false

  update(chunk: Buffer): void {
    if (!this.#eightBit && !isAscii(chunk)) this.#eightBit = true
    // Beyond the limit it does not matter how far.
    if (this.#longest > MAX_LINE_OCTETS || chunk.length === 0) return
    const first = chunk.indexOf(LF)
    if (first < 0) {
      this.#lineOctets += chunk.length
      if (this.#lineOctets > MAX_LINE_OCTETS + 1) this.#longest = this.#lineOctets - 1
    } else {
      const cr = first === 0 ? this.#endsWithCR : chunk[first - 1] === CR
      this.#longest = Math.max(this.#longest, this.#lineOctets + first - (cr ? 1 : 0))
      this.#lineOctets = chunk.length - this.#scanLines(chunk, first + 1)
    }
    this.#endsWithCR = chunk[chunk.length - 1] === CR
  }

  shape(): ContentShape {
    return {
      eightBit: this.#eightBit,
      longestLineOctets: Math.max(this.#longest, this.#lineOctets),
    }
  }

  /**
   * Looks for lines that are longer than the longest yet, and jumps over as many others as fit into
   * one of that length.
   *
   * @returns Where the last, unended line begins.
   */
  #scanLines(chunk: Buffer, firstLine: number): number {
    let start = firstLine
    while (start + this.#longest + 1 < chunk.length) {
      const furthest = start + this.#longest + 1
      const jump = chunk.lastIndexOf(LF, furthest)
      if (jump >= start && (jump < furthest || chunk[jump - 1] === CR)) {
        start = jump + 1
        continue
      }
      const end = chunk.indexOf(LF, start)
      if (end < 0) return start
      this.#longest = Math.max(this.#longest, end - start - (chunk[end - 1] === CR ? 1 : 0))
      start = end + 1
    }
    return chunk.lastIndexOf(LF) + 1
  }
}

/** A shape that grows as octets are looked at. */
export interface OpenShape extends ContentShape {
  eightBit: boolean
  longestLineOctets: number
}

/** Of no octets at all. */
export function emptyShape(): OpenShape {
  return { eightBit: false, longestLineOctets: 0 }
}

/** Of the first `size` octets, of lines that end with LF or CRLF. */
export function shapeOf(octets: Buffer, size: number): OpenShape {
  const shape = emptyShape()
  for (let line = 0; line < size; ) {
    const lineFeed = octets.indexOf(LF, line)
    const end = lineFeed < 0 ? size : lineFeed
    const length = end - line - (end > line && octets[end - 1] === CR ? 1 : 0)
    if (length > shape.longestLineOctets) shape.longestLineOctets = length
    line = end + 1
  }
  count8Bit(shape, octets, 0, size)
  return shape
}

/** Whether every relay has to leave it as it is: 7-bit, with no line over 998 octets. */
export function isSafe({ eightBit, longestLineOctets }: ContentShape): boolean {
  return !eightBit && longestLineOctets <= MAX_LINE_OCTETS
}

/** Looks for octets of 8 bits from `start` to `end`. */
export function count8Bit(shape: OpenShape, octets: Buffer, start: number, end: number): void {
  if (shape.eightBit || start >= end) return
  shape.eightBit = !isAscii(octets.subarray(start, end))
}

/** What is true of both together. */
export function addShape(sum: OpenShape, { eightBit, longestLineOctets }: ContentShape): void {
  if (eightBit) sum.eightBit = true
  if (longestLineOctets > sum.longestLineOctets) sum.longestLineOctets = longestLineOctets
}

/** RFC 5321 §4.5.3.1.6, without CRLF. */
const MAX_LINE_OCTETS = 998
const LF = 0x0a
const CR = 0x0d
