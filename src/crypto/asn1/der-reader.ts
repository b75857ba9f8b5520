/**
 * Reads DER: a strict cursor over octets that a stranger may have made (X.690 §10).
 *
 * Nothing is copied, nothing is looked at that was not asked for, and every length is held against
 * the octets that are left before it is believed.
 *
 * @module
 */
import { PosternError } from '../../errors.ts'

/** One element: identifier, length, content. What it hands out are views, made when asked for. */
export class Element {
  /** Identifier octet: `0x30` for SEQUENCE. */
  readonly tag: number
  readonly #source: Buffer
  readonly #start: number
  readonly #contentStart: number
  readonly #end: number

  constructor(source: Buffer, start: number, contentStart: number, end: number) {
    this.tag = source[start]!
    this.#source = source
    this.#start = start
    this.#contentStart = contentStart
    this.#end = end
  }

  /** The whole element. */
  get octets(): Buffer {
    return this.#source.subarray(this.#start, this.#end)
  }

  get content(): Buffer {
    return this.#source.subarray(this.#contentStart, this.#end)
  }
}

/** Where a window of octets begins and ends, and what is left of the bounds that all windows share. */
interface Window {
  readonly offset: number
  readonly end: number
  readonly depth: number
  readonly budget: { elements: number }
}

/**
 * A cursor over the elements that stand side by side at one depth.
 *
 * Every method throws a PosternError `ERR_DER_SYNTAX` where the octets are not what was asked for,
 * not DER, deeper than 64 or of more than 100,000 elements.
 */
export class DerReader {
  readonly #octets: Buffer
  readonly #window: Window
  #offset: number

  /** Reads `octets` from beginning to end; `window` is how a reader makes the one below it. */
  constructor(octets: Buffer, window: Window = wholeOf(octets)) {
    this.#octets = octets
    this.#window = window
    this.#offset = window.offset
  }

  /** Tag of the next element; -1 where there is none. */
  get nextTag(): number {
    return this.#offset < this.#window.end ? this.#octets[this.#offset]! : -1
  }

  get done(): boolean {
    return this.#offset >= this.#window.end
  }

  /** Reads the next element, which must bear this tag; any, where none is given. */
  element(tag?: number): Element {
    const start = this.#offset
    const contentStart = this.#header(tag)
    return new Element(this.#octets, start, contentStart, this.#offset)
  }

  /** Reads the next element if it bears this tag. */
  optional(tag: number): Element | undefined {
    return this.nextTag === tag ? this.element(tag) : undefined
  }

  /** Goes into the next element, which must bear this tag, and past it here. */
  into(tag: number): DerReader {
    const offset = this.#header(tag)
    const { depth, budget } = this.#window
    if (depth >= MAXIMUM_DEPTH) throw syntaxError(offset, `nested deeper than ${MAXIMUM_DEPTH}`)
    return new DerReader(this.#octets, { offset, end: this.#offset, depth: depth + 1, budget })
  }

  optionalInto(tag: number): DerReader | undefined {
    return this.nextTag === tag ? this.into(tag) : undefined
  }

  /** Nothing may follow at this depth. */
  finish(): void {
    if (!this.done) throw syntaxError(this.#offset, 'more than was expected')
  }

  /** The offset of what comes next, for error messages. */
  get offset(): number {
    return this.#offset
  }

  /** Reads identifier and length, moves behind the element, and returns where its content begins. */
  #header(tag: number | undefined): number {
    const octets = this.#octets
    const start = this.#offset
    const { end, budget } = this.#window
    if (end - start < 2) throw syntaxError(start, 'ends too early')
    if (tag !== undefined && octets[start] !== tag)
      throw syntaxError(start, `tag ${name(octets[start]!)} where ${name(tag)} was expected`)
    // No structure of X.509, CMS or S/MIME has a tag number over 30.
    if ((octets[start]! & 0x1f) === 0x1f) throw syntaxError(start, 'tag of more than one octet')
    if (hasWrongForm(octets[start]!))
      throw syntaxError(start, 'primitive, or not, where it may not')
    if (budget.elements-- <= 0) throw syntaxError(start, 'too many elements')

    let content = start + 2
    let length = octets[start + 1]!
    if (length >= 0x80) {
      const count = length & 0x7f
      if (count === 0 || count > 4 || count > end - content)
        throw syntaxError(start, 'length is indefinite or too long')
      length = octets.readUIntBE(content, count)
      if (length < 0x80 || length < 2 ** (8 * (count - 1)))
        throw syntaxError(start, 'length is not in its shortest form')
      content += count
    }
    if (length > end - content) throw syntaxError(start, 'length is over the octets that are left')
    // X.690 §8.8.2. Others do not read past it, and would not agree on what it stands in.
    if (octets[start] === NULL_TAG && length > 0) throw syntaxError(start, 'NULL with content')
    this.#offset = content + length
    return content
  }
}

/**
 * A BOOLEAN or the like that is constructed, a SEQUENCE or SET that is not: no encoding at all
 * (X.690 §8.2.1, §8.3.1, §8.8.1, §8.9.1), and other readers see nothing behind it.
 */
export function hasWrongForm(tag: number): boolean {
  return tag <= 0x3f && WRONG_FORMS.has(tag)
}

/** The dotted form of an OBJECT IDENTIFIER. */
export function readOid(element: Element): string {
  const { content } = element
  const key = content.toString('latin1')
  let dotted = DOTTED.get(key)
  if (dotted === undefined) {
    dotted = dottedOf(content)
    if (DOTTED.size < MAXIMUM_REMEMBERED_OIDS && key.length < 32) DOTTED.set(key, dotted)
  }
  return dotted
}

function dottedOf(content: Buffer): string {
  if (content.length === 0 || content.length > MAXIMUM_OID_OCTETS || content.at(-1)! > 0x7f)
    throw syntaxError(0, 'object identifier is malformed')
  const arcs: (number | bigint)[] = []
  let start = 0
  for (let index = 0; index < content.length; index++) {
    if (content[index]! > 0x7f) continue
    arcs.push(readArc(content.subarray(start, index + 1)))
    start = index + 1
  }
  const first = arcs[0]!
  const root = first < 40 ? 0 : first < 80 ? 1 : 2
  return [root, BigInt(first) - BigInt(root * 40), ...arcs.slice(1)].join('.')
}

/** One arc in base 128. Those made of UUIDs (X.667) are over 2^53. */
function readArc(octets: Buffer): number | bigint {
  if (octets[0] === 0x80) throw syntaxError(0, 'object identifier is malformed')
  if (octets.length > 7)
    return octets.reduce((arc, octet) => (arc << 7n) | BigInt(octet & 0x7f), 0n)
  let arc = 0
  for (const octet of octets) arc = arc * 128 + (octet & 0x7f)
  return arc
}

/** INTEGER content in its shortest form, as it stands: big-endian, two's complement. */
export function readInteger(element: Element): Buffer {
  const { content } = element
  const [first = 0, second = 0] = content
  const padded =
    content.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
  if (content.length === 0 || padded) throw syntaxError(0, 'integer is not in its shortest form')
  return content
}

/** INTEGER from 0 to 2^31 - 1. */
export function readSmallInteger(element: Element): number {
  const content = readInteger(element)
  if (content.length > 4 || content[0]! > 0x7f) throw syntaxError(0, 'integer is out of bounds')
  return content.readUIntBE(0, content.length)
}

/** Any octet but 0 is true: certificates with BER's freedom here are in use. */
export function readBoolean(element: Element): boolean {
  if (element.content.length !== 1) throw syntaxError(0, 'boolean is not one octet')
  return element.content[0] !== 0
}

/** BIT STRING of whole octets. */
export function readBitString(element: Element): Buffer {
  const unused = element.content[0]
  if (unused !== 0) throw syntaxError(0, 'bit string is not of whole octets')
  return element.content.subarray(1)
}

/** BIT STRING as a list of flags, the numbers of the bits that are set (X.680 §22.2 NamedBitList). */
export function readFlags(element: Element): number[] {
  const [unused, ...octets] = element.content.subarray(0, 5)
  if (unused === undefined || unused > 7 || element.content.length > 5)
    throw syntaxError(0, 'flags are malformed')
  const flags: number[] = []
  for (let bit = 0; bit < octets.length * 8 - unused; bit++)
    if (octets[bit >> 3]! & (0x80 >> (bit & 7))) flags.push(bit)
  return flags
}

/** UTCTime or GeneralizedTime in the one form that RFC 5280 §4.1.2.5 leaves: seconds, `Z`. */
export function readTime(element: Element): Date {
  const { tag, content } = element
  const size = tag === 0x17 ? 13 : tag === 0x18 ? 15 : 0
  if (content.length !== size || content[size - 1] !== 0x5a) throw badTime()
  const rest = size - 11
  const year = tag === 0x17 ? century(digits(content, 0, 2)) : digits(content, 0, 4)
  const month = digits(content, rest, 2)
  const day = digits(content, rest + 2, 2)
  const hour = digits(content, rest + 4, 2)
  const minute = digits(content, rest + 6, 2)
  const second = digits(content, rest + 8, 2)
  if (month === 0 || month > 12 || hour > 23 || minute > 59 || second > 59) throw badTime()
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  // Date carries the 31st of February over to March; what reads back otherwise was no date.
  if (date.getUTCDate() !== day) throw badTime()
  date.setUTCHours(hour, minute, second)
  return date
}

/** RFC 5280 §4.1.2.5.1: 50 and over is of the twentieth century. */
function century(year: number): number {
  return year < 50 ? 2000 + year : 1900 + year
}

function digits(octets: Buffer, start: number, count: number): number {
  let value = 0
  for (let index = start; index < start + count; index++) {
    const digit = octets[index]! - 0x30
    if (digit < 0 || digit > 9) throw badTime()
    value = value * 10 + digit
  }
  return value
}

function badTime(): PosternError {
  return syntaxError(0, 'time is malformed')
}

/** The error of this file, for those that read a structure on top of it. */
export function syntaxError(offset: number, what: string): PosternError {
  return new PosternError('ERR_DER_SYNTAX', 'permanent', `DER is malformed near ${offset}: ${what}`)
}

/** What is read, or undefined where octets are not what was asked for; any other error is thrown. */
export function ifWellFormed<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_DER_SYNTAX') return undefined
    throw error
  }
}

function wholeOf(octets: Buffer): Window {
  const budget = { elements: MAXIMUM_ELEMENTS }
  return { offset: 0, end: octets.length, depth: 0, budget }
}

function name(tag: number): string {
  return `0x${tag.toString(16).padStart(2, '0')}`
}

const NULL_TAG = 0x05
const WRONG_FORMS: ReadonlySet<number> = new Set([0x10, 0x11, 0x21, 0x22, 0x25, 0x26, 0x29, 0x2a])
const MAXIMUM_DEPTH = 64
const MAXIMUM_ELEMENTS = 100_000
const MAXIMUM_OID_OCTETS = 128
/** A few dozen make up nearly all structures; strangers can fill this, and not more. */
const MAXIMUM_REMEMBERED_OIDS = 1000
const DOTTED = new Map<string, string>()
