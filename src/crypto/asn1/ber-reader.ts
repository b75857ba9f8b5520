/**
 * Reads a BER structure that has bulk content in it, as it streams by (X.690 §8).
 *
 *     octets ──push──▶ BerReader ──┬─ content octets ─▶ consumer, as they come
 *                                  └─ all the rest ───▶ DER of the same structure without the content
 *
 * Definite and indefinite lengths, primitive and constructed content, chunks of any size. Nothing of
 * the content is held; the rest is bounded in octets, elements and depth.
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import { hasWrongForm } from './der-reader.ts'
import { tlv } from './der-writer.ts'

/** Constructed elements that lead to the OCTET STRING that holds the bulk content, outermost first. */
export type ContentPath = readonly number[]

/** Tag of the bulk content, without the bit for constructed: OCTET STRING, or [0] IMPLICIT of it. */
export type ContentTag = 0x04 | 0x80

/** A constructed element that has begun and has not ended. */
interface Frame {
  readonly tag: number
  /** Offset in the stream where it ends; infinite where two zero octets will end it. */
  readonly end: number
  /** DER of its elements so far. */
  readonly parts: Buffer[]
  /** It is the OCTET STRING of the bulk content, or a part of that. */
  readonly content: boolean
}

/** One structure, read chunk by chunk. All faults are PosternErrors `ERR_BER_SYNTAX`. */
export class BerReader {
  readonly #path: ContentPath
  readonly #contentTag: ContentTag
  readonly #fewestAhead: number
  readonly #consume: (octets: Buffer) => void
  readonly #frames: Frame[] = []
  #offset = 0
  #elements = 0
  #heldOctets = 0
  /** Identifier and length octets of an element that a chunk has cut. */
  #head: Buffer = NOTHING
  /** What is left of the primitive element in hand; `held` is where it goes if it is not content. */
  #remaining = 0
  #held: { readonly tag: number; readonly octets: Buffer } | undefined
  #skeleton: Buffer | undefined
  #contentSeen = false
  /** What stands around it has ended, too. */
  #leftContent = false
  #segments = 0

  /**
   * @param consume Is given the content octets, as views on the chunks.
   * @param fewestAhead How many elements have to stand ahead of the content, at the same depth.
   */
  constructor(
    path: ContentPath,
    consume: (octets: Buffer) => void,
    contentTag: ContentTag = OCTET_STRING,
    fewestAhead = 0,
  ) {
    this.#path = path
    this.#fewestAhead = fewestAhead
    this.#consume = consume
    this.#contentTag = contentTag
  }

  /** Whether content was there, be it empty. */
  get contentSeen(): boolean {
    return this.#contentSeen
  }

  push(chunk: Buffer): void {
    let position = 0
    while (position < chunk.length) {
      if (this.#remaining > 0) position += this.#body(chunk.subarray(position))
      else position += this.#header(chunk, position)
    }
  }

  /** DER of the structure without its content, lengths definite. Nothing may be missing. */
  end(): Buffer {
    if (!this.#skeleton) throw this.#fault('ends too early')
    return this.#skeleton
  }

  /** Takes octets of a primitive element; returns how many. */
  #body(octets: Buffer): number {
    const taken = Math.min(octets.length, this.#remaining)
    const piece = octets.length === taken ? octets : octets.subarray(0, taken)
    const held = this.#held
    if (held) piece.copy(held.octets, held.octets.length - this.#remaining)
    else this.#consume(piece)
    this.#remaining -= taken
    this.#offset += taken
    if (this.#remaining === 0) this.#endPrimitive()
    return taken
  }

  /** Reads identifier and length octets, which a chunk may cut; returns how many it has taken. */
  #header(chunk: Buffer, position: number): number {
    if (this.#skeleton) throw this.#fault('more than one structure')
    const before = this.#head.length
    const head = before === 0 ? chunk.subarray(position, position + HEAD_OCTETS) : this.#join(chunk)
    const size = headSize(head)
    if (size === undefined) throw this.#fault('length of more than four octets')
    if (head.length < size) {
      this.#head = Buffer.from(head)
      return head.length - before
    }
    this.#head = NOTHING
    this.#offset += size
    this.#begin(head[0]!, lengthOf(head, size))
    return size - before
  }

  #join(chunk: Buffer): Buffer {
    return Buffer.concat([this.#head, chunk.subarray(0, HEAD_OCTETS - this.#head.length)])
  }

  #begin(tag: number, length: number): void {
    const parent = this.#frames.at(-1)
    const end = this.#offset + length
    if ((tag & 0x1f) === 0x1f) throw this.#fault('tag of more than one octet')
    if (hasWrongForm(tag)) throw this.#fault('primitive, or not, where it may not')
    if (tag === 0) {
      this.#endOfContents(parent, length)
      return
    }
    if (parent && end !== Infinity && end > parent.end)
      throw this.#fault('length is over the octets that are left')
    const content = parent?.content === true || this.#isContent(tag)
    if (content) this.#beginContent(tag, parent)
    else if (++this.#elements > MAXIMUM_ELEMENTS) throw this.#fault('too many elements')
    if (tag & 0x20) this.#enter({ tag, end, parts: [], content })
    else this.#beginPrimitive(tag, length, content)
  }

  #beginContent(tag: number, parent: Frame | undefined): void {
    if (++this.#segments > MAXIMUM_SEGMENTS) throw this.#fault('content is of too many segments')
    // X.690 §8.7.3.2: segments are OCTET STRINGs, whatever tag stands outside.
    if (parent?.content) {
      if ((tag & ~0x20) !== OCTET_STRING) throw this.#fault('content is not an octet string')
    } else {
      if (this.#contentSeen) throw this.#fault('content stands there twice')
      if (this.#elementsAhead() < this.#fewestAhead)
        throw this.#fault('content stands ahead of what it is')
    }
    this.#contentSeen = true
  }

  /** Of the content, where it begins: order is gone once it has been taken out. */
  #elementsAhead(): number {
    const isWrapped = this.#contentTag === OCTET_STRING
    return this.#frames.at(isWrapped ? -2 : -1)?.parts.length ?? 0
  }

  #enter(frame: Frame): void {
    if (this.#frames.length >= MAXIMUM_DEPTH) throw this.#fault(`deeper than ${MAXIMUM_DEPTH}`)
    this.#frames.push(frame)
    this.#leaveFull()
  }

  #beginPrimitive(tag: number, length: number, content: boolean): void {
    if (this.#frames.length === 0 || length === Infinity) throw this.#fault('not a structure')
    if (!content) this.#heldOctets += length
    if (this.#heldOctets > MAXIMUM_HELD_OCTETS)
      throw this.#fault('too many octets outside of the content')
    this.#held = content ? undefined : { tag, octets: Buffer.allocUnsafe(length) }
    this.#remaining = length
    if (length === 0) this.#endPrimitive()
  }

  #endPrimitive(): void {
    if (this.#held) this.#frames.at(-1)!.parts.push(tlv(this.#held.tag, this.#held.octets))
    this.#held = undefined
    this.#leaveFull()
  }

  #endOfContents(parent: Frame | undefined, length: number): void {
    if (parent?.end !== Infinity || length !== 0) throw this.#fault('end of contents out of place')
    this.#leave()
    this.#leaveFull()
  }

  /** Leaves every definite element that ends here. */
  #leaveFull(): void {
    for (let top = this.#frames.at(-1); top?.end === this.#offset; top = this.#frames.at(-1))
      this.#leave()
  }

  #leave(): void {
    const { tag, parts, content } = this.#frames.pop()!
    if (content) return
    // The element around the content goes with it: what stays is the structure without content.
    const around = this.#contentSeen && parts.length === 0 && this.#isAroundContent(tag)
    const parent = this.#frames.at(-1)
    if (around) {
      if (this.#leftContent) throw this.#fault('content stands there twice')
      this.#leftContent = true
      return
    }
    if (parent) parent.parts.push(tlv(tag, ...parts))
    else this.#skeleton = tlv(tag, ...parts)
  }

  #isContent(tag: number): boolean {
    return (tag & ~0x20) === this.#contentTag && this.#standsAt(this.#path)
  }

  #isAroundContent(tag: number): boolean {
    if (this.#contentTag !== OCTET_STRING) return false
    return tag === this.#path.at(-1) && this.#standsAt(this.#path.slice(0, -1))
  }

  #standsAt(path: ContentPath): boolean {
    const frames = this.#frames
    return frames.length === path.length && path.every((tag, depth) => frames[depth]!.tag === tag)
  }

  #fault(what: string): PosternError {
    const where = `BER is malformed near ${this.#offset}: ${what}`
    return new PosternError('ERR_BER_SYNTAX', 'permanent', where)
  }
}

/** How long identifier and length octets are, as far as the octets at hand tell; none over 6. */
function headSize(head: Buffer): number | undefined {
  const first = head[1]
  if (first === undefined || first <= 0x80) return 2
  const size = 2 + (first & 0x7f)
  return size <= HEAD_OCTETS ? size : undefined
}

function lengthOf(head: Buffer, size: number): number {
  const first = head[1]!
  if (first === 0x80) return Infinity
  return first < 0x80 ? first : head.readUIntBE(2, size - 2)
}

const NOTHING = Buffer.alloc(0)
const OCTET_STRING = 0x04
const HEAD_OCTETS = 6
const MAXIMUM_DEPTH = 64
const MAXIMUM_ELEMENTS = 100_000
/** Of one octet each they would cost a hundred times what the octets do. */
const MAXIMUM_SEGMENTS = 4_000_000
const MAXIMUM_HELD_OCTETS = 1_048_576
