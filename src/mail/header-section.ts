/**
 * Header sections: fields in their order, octet for octet (RFC 5322 §2.2).
 *
 *     field CRLF  field CRLF  …  CRLF  body
 *     └──── sizeOctets ──────┘        └─ bodyOffset
 *
 * Nothing here repairs: the octets of all fields, one after the other, are the octets that came.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { PosternError } from '../errors.ts'
import type { Content } from './mail-object.ts'

/** One field of a header section. */
export interface HeaderField {
  /** Field name as written, without white space ahead of the colon. */
  readonly name: string
  /** Field name in lower case. */
  readonly key: string
  /** The whole field with its folding and final line end, exactly as it came. Not to be altered. */
  readonly octets: Buffer
  /**
   * Field body, unfolded (RFC 5322 §2.2.3), without white space around it. UTF-8 (RFC 6532), or
   * ISO-8859-1 where the octets are not UTF-8.
   */
  readonly body: string
}

/** What a header section may cost. */
export interface HeaderLimits {
  /** All fields together, default 100 KiB. */
  readonly octets: number
  /** Default 1000. */
  readonly fields: number
}

/** All fields of a message or of a body part. */
export class HeaderSection {
  readonly fields: readonly HeaderField[]
  /** All fields, without the blank line. */
  readonly sizeOctets: number
  /**
   * First octet of the body, counted from the first of the header section: behind the blank line,
   * or `sizeOctets` where there is none.
   */
  readonly bodyOffset: number

  constructor(fields: readonly HeaderField[], sizeOctets: number, bodyOffset: number) {
    this.fields = fields
    this.sizeOctets = sizeOctets
    this.bodyOffset = bodyOffset
  }

  /** The topmost field of this name, which is compared without regard to case. */
  first(name: string): HeaderField | undefined {
    const key = name.toLowerCase()
    return this.fields.find(field => field.key === key)
  }

  /** All fields of this name, in their order. */
  all(name: string): HeaderField[] {
    const key = name.toLowerCase()
    return this.fields.filter(field => field.key === key)
  }
}

/**
 * Parses the header section at the beginning of `octets`.
 *
 * A section ends at its blank line or, as in other mail systems, in front of the first line that is
 * neither a field nor the continuation of one: there the body begins at once. Lines end with CRLF,
 * or with LF alone where the content came from elsewhere than SMTP.
 *
 * @param octets Holds the whole header section; may go on with the body. Is kept, not copied.
 * @throws {PosternError} `ERR_HEADER_SECTION_TOO_LARGE`.
 */
export function parseHeaderSection(
  octets: Buffer,
  limits: HeaderLimits = HEADER_LIMITS,
): HeaderSection {
  return scan(octets, limits, true)!
}

/**
 * Reads the header section of a content, or of an entity in it, and little more.
 *
 * @param start Offset of the first field in the content. Offsets of the result count from here.
 * @throws {PosternError} `ERR_HEADER_SECTION_TOO_LARGE`, and what `content.read` throws.
 */
export async function readHeaderSection(
  content: Content,
  start = 0,
  limits: HeaderLimits = HEADER_LIMITS,
): Promise<HeaderSection> {
  // Twice at most, so that a large section costs no more than its length.
  for (const window of [FIRST_WINDOW_OCTETS, limits.octets + LOOK_AHEAD_OCTETS]) {
    const end = Math.min(start + window, content.sizeOctets)
    const octets = await collect(content, start, end)
    const section = scan(octets, limits, end === content.sizeOctets)
    if (section) return section
  }
  throw tooLarge(limits)
}

/** A field as a place in a buffer: most fields are looked at by name only. */
class FieldInPlace implements HeaderField {
  readonly name: string
  readonly key: string
  readonly #source: Buffer
  readonly #start: number
  readonly #colon: number
  readonly #end: number
  #body: string | undefined

  constructor(source: Buffer, start: number, nameEnd: number, colon: number, end: number) {
    this.#source = source
    this.#start = start
    this.#colon = colon
    this.#end = end
    this.name = source.toString('latin1', start, nameEnd)
    this.key = this.name.toLowerCase()
  }

  get octets(): Buffer {
    return this.#source.subarray(this.#start, this.#end)
  }

  get body(): string {
    this.#body ??= unfolded(this.#source.subarray(this.#colon + 1, this.#end))
    return this.#body
  }
}

/** @returns `undefined` where more octets are needed, which never happens when they are `final`. */
function scan(octets: Buffer, limits: HeaderLimits, final: boolean): HeaderSection | undefined {
  const fields: HeaderField[] = []
  let at = 0
  while (at < octets.length) {
    const blank = blankLineAt(octets, at)
    if (blank > 0) return new HeaderSection(fields, at, at + blank)
    if (octets[at] === CR && at + 1 === octets.length && !final) return undefined
    const nameEnd = endOfName(octets, at)
    const colon = skipWhiteSpace(octets, nameEnd)
    if (colon === octets.length && !final) return undefined
    if (nameEnd === at || octets[colon] !== COLON) return new HeaderSection(fields, at, at)
    const end = endOfField(octets, colon, final)
    if (end === undefined) return undefined
    if (end > limits.octets || fields.length === limits.fields) throw tooLarge(limits)
    fields.push(new FieldInPlace(octets, at, nameEnd, colon, end))
    at = end
  }
  return final ? new HeaderSection(fields, at, at) : undefined
}

/** Length of the blank line at `at`, 0 where there is none. */
function blankLineAt(octets: Buffer, at: number): number {
  if (octets[at] === LF) return 1
  return octets[at] === CR && octets[at + 1] === LF ? 2 : 0
}

/** Field names are visible ASCII without the colon (RFC 5322 §2.2). */
function endOfName(octets: Buffer, start: number): number {
  const limit = Math.min(octets.length, start + MAX_NAME_OCTETS)
  let at = start
  while (at < limit) {
    const octet = octets[at]!
    if (octet <= SPACE || octet >= DEL || octet === COLON) break
    at++
  }
  return at
}

/** White space ahead of the colon is obsolete, and understood by all (RFC 5322 §4.5). */
function skipWhiteSpace(octets: Buffer, start: number): number {
  const limit = start + MAX_NAME_OCTETS
  let at = start
  while (at < limit && (octets[at] === SPACE || octets[at] === TAB)) at++
  return at
}

/** Behind the last line that continues the field; `undefined` where that is not known yet. */
function endOfField(octets: Buffer, colon: number, final: boolean): number | undefined {
  let at = colon
  for (;;) {
    const lineFeed = octets.indexOf(LF, at)
    if (lineFeed < 0) return final ? octets.length : undefined
    at = lineFeed + 1
    if (at === octets.length) return final ? at : undefined
    if (octets[at] !== SPACE && octets[at] !== TAB) return at
  }
}

function unfolded(octets: Buffer): string {
  let text = octets.toString('latin1')
  if (NON_ASCII.test(text) && isUtf8(octets)) text = octets.toString('utf8')
  return trimmed(text.includes('\n') ? text.replace(/\r?\n/g, '') : text)
}

/** Without SP and HTAB around it: no other character is white space to a header field. */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && (text[start] === ' ' || text[start] === '\t')) start++
  while (end > start && (text[end - 1] === ' ' || text[end - 1] === '\t')) end--
  return text.slice(start, end)
}

async function collect(content: Content, start: number, end: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of content.read(start, end)) chunks.push(chunk)
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}

function tooLarge({ octets, fields }: HeaderLimits): PosternError {
  return new PosternError(
    'ERR_HEADER_SECTION_TOO_LARGE',
    'permanent',
    `header section is larger than ${octets} octets or ${fields} fields`,
  )
}

const HEADER_LIMITS: HeaderLimits = { octets: 100 * 1024, fields: 1000 }
/** Most header sections fit, and the rest is read at the second trial. */
const FIRST_WINDOW_OCTETS = 16 * 1024
/** A longer word ahead of a colon is no field name; a line holds no more (RFC 5322 §2.1.1). */
const MAX_NAME_OCTETS = 998
/** Name, white space and colon: enough to see that a line is no field. */
const LOOK_AHEAD_OCTETS = 2 * MAX_NAME_OCTETS + 2
const NON_ASCII = /[\x80-\xff]/
const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const COLON = 0x3a
const DEL = 0x7f
