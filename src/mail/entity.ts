/**
 * MIME entities: the walk through a message and its parts (RFC 2045 §2.4, RFC 2046 §5.1).
 *
 *     start            bodyStart                                                        end
 *     │ header section │ preamble │ --b │ part │ --b │ part │ --b-- │ epilogue            │
 *
 * Once over the octets, a window at a time: what is kept are header sections and offsets, no bodies.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { PosternError } from '../errors.ts'
import {
  addShape,
  count8Bit,
  emptyShape,
  isSafe,
  type OpenShape,
  shapeOf,
} from './content-shape.ts'
import { type HeaderField, type HeaderSection, parseHeaderSection } from './header-section.ts'
import type { Content, ContentShape } from './mail-object.ts'
import {
  contentTypeOf,
  type MediaType,
  type TransferEncoding,
  transferEncodingOf,
} from './media-type.ts'
import { type Delimiter, MAX_DELIMITER_OCTETS, OpenBoundaries } from './open-boundaries.ts'

/** A message or a body part. All offsets count from the first octet of the content. */
export interface Entity {
  /** First octet of the header section. */
  readonly start: number
  readonly headerSection: HeaderSection
  /** What a relay could alter in the header section. */
  readonly headerShape: ContentShape
  readonly bodyStart: number
  /** Exclusive, and without the CRLF that belongs to the delimiter line behind (RFC 2046 §5.1.1). */
  readonly end: number
  /** `message/rfc822` for a part of a multipart/digest that says nothing (RFC 2046 §5.1.5). */
  readonly mediaType: MediaType
  readonly transferEncoding: TransferEncoding
  /** Body of the entity, with all that is in it; of a safe message without parts, perhaps of all of it. */
  readonly shape: ContentShape
  /** Parts of a multipart; the one message in message/rfc822 and message/global; else nothing. */
  readonly children: readonly Entity[]
  /** Only of a multipart that names a boundary. */
  readonly multipart?: MultipartFrame
  /** Another reader may see other parts, or none: do not build a decision on what was seen here. */
  readonly ambiguous: boolean
}

/** What a multipart has around its parts. */
export interface MultipartFrame {
  readonly preamble: Region
  readonly epilogue: Region
  /** All delimiter lines together. */
  readonly delimiters: ContentShape
  /** The closing delimiter line was there. */
  readonly closed: boolean
}

/** Octets `start` (inclusive) to `end` (exclusive) of the content. */
export interface Region {
  readonly start: number
  readonly end: number
  readonly shape: ContentShape
}

/** What the structure of a message may cost. */
export interface WalkLimits {
  /** Entities inside of each other, default 50. */
  readonly depth: number
  /** Entities in all, default 1000. */
  readonly parts: number
  /** Header sections of all entities together, default 4 MiB: they are kept in memory. */
  readonly headerOctets: number
}

/**
 * Walks through a content once, and finds its entities.
 *
 * A delimiter line is `--`, a boundary of any open multipart, and nothing but white space behind it.
 * One of an outer multipart ends all that is open within. Linear in the size of the content, of which
 * no more is read than the header section where it has no parts, and its shape says all of its body.
 *
 * @throws {PosternError} `ERR_MIME_TOO_DEEP`, `ERR_MIME_TOO_MANY_PARTS`, `ERR_MIME_HEADERS_TOO_LARGE`,
 *   `ERR_HEADER_SECTION_TOO_LARGE`, all permanent; and what `content.read` throws.
 */
export async function walk(content: Content, limits: WalkLimits = LIMITS): Promise<Entity> {
  const walker = new EntityWalker(limits)
  const isSafeLeaf = isSafe(content.shape) ? () => walker.inLeaf : never
  for await (const chunk of content.read()) {
    walker.push(chunk)
    if (isSafeLeaf()) return walker.leafOf(content)
  }
  return walker.end()
}

/** The entities without entities in them, in the order of the message. */
export function* leaves(entity: Entity): Generator<Entity, void, undefined> {
  if (entity.children.length === 0) yield entity
  for (const child of entity.children) yield* leaves(child)
}

/** Whether one leaf is such a one. */
export function hasLeaf(entity: Entity, predicate: (leaf: Entity) => boolean): boolean {
  return entity.children.length === 0
    ? predicate(entity)
    : entity.children.some(child => hasLeaf(child, predicate))
}

/**
 * Parts the fields of a message that is to be protected (RFC 8551 §3.1): those that describe the
 * body go into the protected entity, the rest stays with the message.
 *
 * @returns `outer` keeps a MIME-Version only where there is exactly one; else whoever puts the
 *   message together writes one.
 */
export function splitForProtection(section: HeaderSection): {
  outer: readonly HeaderField[]
  inner: readonly HeaderField[]
} {
  const isOneVersion = section.all('mime-version').length === 1
  const isInner = ({ key }: HeaderField): boolean => key.startsWith('content-')
  return {
    inner: section.fields.filter(isInner),
    outer: section.fields.filter(
      field => !isInner(field) && (isOneVersion || field.key !== 'mime-version'),
    ),
  }
}

/** An entity whose end is not known yet. */
interface OpenEntity extends Entity {
  start: number
  bodyStart: number
  end: number
  shape: OpenShape
  children: OpenEntity[]
  multipart?: OpenFrame
  ambiguous: boolean
}

interface OpenFrame extends MultipartFrame {
  preamble: OpenRegion
  epilogue: OpenRegion
  delimiters: OpenShape
  closed: boolean
  delimited: boolean
  readonly boundary: string
  /** The outer multipart with the same boundary, which cannot be seen from in here. */
  readonly hidden: OpenEntity | undefined
}

interface OpenRegion extends Region {
  start: number
  end: number
  shape: OpenShape
}

/** The walk, for octets that pass by: {@link walk} says what it throws, here while octets are pushed. */
export class EntityWalker {
  readonly #limits: WalkLimits
  /** Octets that wait to be looked at, and where the first one stands in the content. */
  #window: Buffer[] = []
  #newOctets = 0
  #offset = 0

  /** Outermost first. The last one takes the lines. */
  readonly #open: OpenEntity[] = []
  readonly #boundaries = new OpenBoundaries<OpenEntity>()
  #parts = 0
  #headerOctets = 0

  /** The next octet belongs to a header section that begins where this says; -1 in a body. */
  #headerStart = 0
  /** Where the octets of the body in hand are counted. */
  #shape: OpenShape = emptyShape()
  /** Octets of the line in hand that have been passed over already. */
  #lineOctets = 0
  /** Length of the last line end. */
  #lineEnd = 0

  constructor(limits: WalkLimits = LIMITS) {
    this.#limits = limits
  }

  /** What comes is the body of a message that has no parts. */
  get inLeaf(): boolean {
    return !this.#inHeader && this.#open.length === 1 && this.#boundaries.size === 0
  }

  push(chunk: Buffer): void {
    this.#window.push(chunk)
    this.#newOctets += chunk.length
    // Small chunks are gathered: what waits is looked at again with each new window.
    if (this.#newOctets >= WINDOW_OCTETS) this.#scan(false)
  }

  end(): Entity {
    this.#scan(true)
    const root = this.#open[0]!
    this.#closeDownTo(0, this.#offset)
    return root
  }

  /** Ends the walk in the leaf that a content is, whose shape is known. */
  leafOf({ sizeOctets, shape }: Content): Entity {
    const root = this.#open[0]!
    this.#closeDownTo(0, sizeOctets)
    return Object.assign(root, { shape })
  }

  get #inHeader(): boolean {
    return this.#headerStart >= 0
  }

  #scan(final: boolean): void {
    const window = this.#window.length === 1 ? this.#window[0]! : Buffer.concat(this.#window)
    let at = 0
    for (;;) {
      if (this.#inHeader) {
        const bodyStart = this.#scanHeader(window, at, final)
        if (bodyStart < 0) break
        at = bodyStart
      } else {
        at = this.#scanBody(window, at, final)
        if (!this.#inHeader) break
      }
    }
    this.#offset += at
    this.#window = [window.subarray(at)]
    this.#newOctets = 0
  }

  /** @returns where the body begins, or -1 where the end of the header section is not in sight. */
  #scanHeader(window: Buffer, at: number, final: boolean): number {
    const end = this.#headerEnd(window, at, final)
    if (end < 0) return -1
    // Copied: a section must not keep the whole window in memory.
    const octets = Buffer.from(window.subarray(at, end))
    const section = parseHeaderSection(octets)
    const { bodyOffset } = section
    if (bodyOffset > 0) this.#lineEnd = octets[bodyOffset - 2] === CR ? 2 : 1
    this.#openEntity(section, shapeOf(octets, section.sizeOctets))
    return at + bodyOffset
  }

  /** Behind the blank line, or in front of a delimiter line; perhaps more than the section. */
  #headerEnd(window: Buffer, at: number, final: boolean): number {
    for (let line = at; line < window.length; ) {
      if (line - at > MAX_HEADER_OCTETS) return line
      const lineFeed = window.indexOf(LF, line)
      if (lineFeed < 0) break
      if (lineFeed === line || (lineFeed === line + 1 && window[line] === CR)) return lineFeed + 1
      if (isDashed(window, line) && this.#boundaries.at(window, line, lineFeed + 1)) return line
      line = lineFeed + 1
    }
    return final || window.length - at > 2 * MAX_HEADER_OCTETS ? window.length : -1
  }

  /** Passes over lines of a body until a part begins, or the window ends. */
  #scanBody(window: Buffer, at: number, final: boolean): number {
    let shape = this.#shape
    let counted = at
    let line = at
    while (line < window.length) {
      const lineFeed = window.indexOf(LF, line)
      if (lineFeed < 0 && !final && window.length - line <= MAX_DELIMITER_OCTETS) break
      const next = lineFeed < 0 ? endOfPiece(window, final) : lineFeed + 1
      const delimiter = this.#delimiterAt(window, line, next)
      if (delimiter) {
        count8Bit(shape, window, counted, line)
        this.#passDelimiter(delimiter, window, line, next)
        if (this.#inHeader) return next
        shape = this.#shape
        counted = next
      } else {
        const lineEnd = lineFeed < 0 ? 0 : lineFeed > line && window[lineFeed - 1] === CR ? 2 : 1
        const octets = this.#lineOctets + next - line - lineEnd
        if (octets > shape.longestLineOctets) shape.longestLineOctets = octets
        this.#lineOctets = lineFeed < 0 ? octets : 0
        this.#lineEnd = lineEnd
      }
      line = next
    }
    count8Bit(shape, window, counted, line)
    return line
  }

  /** The delimiter that a line is, if all of it is in the window and it is one. */
  #delimiterAt(window: Buffer, line: number, next: number): Delimiter<OpenEntity> | undefined {
    if (this.#lineOctets > 0 || this.#boundaries.size === 0) return undefined
    return isDashed(window, line) ? this.#boundaries.at(window, line, next) : undefined
  }

  #passDelimiter(
    { multipart, closing }: Delimiter<OpenEntity>,
    window: Buffer,
    line: number,
    next: number,
  ): void {
    const end = this.#offset + line - this.#lineEnd
    const frame = multipart.multipart!
    this.#closeDownTo(this.#open.indexOf(multipart) + 1, end)
    if (!frame.delimited) frame.preamble.end = end
    frame.delimited = true
    addShape(frame.delimiters, shapeOf(window.subarray(line, next), next - line))
    this.#lineEnd = window[next - 2] === CR ? 2 : 1
    if (closing) {
      frame.closed = true
      frame.epilogue.start = this.#offset + next
      this.#shape = frame.epilogue.shape
      this.#boundaries.close(frame)
    } else {
      this.#headerStart = this.#offset + next
    }
  }

  #openEntity(headerSection: HeaderSection, headerShape: OpenShape): void {
    const parent = this.#open.at(-1)
    this.#count(headerSection)
    const mediaType = mediaTypeOf(headerSection, parent)
    const bodyStart = this.#headerStart + headerSection.bodyOffset
    const entity: OpenEntity = {
      start: this.#headerStart,
      headerSection,
      headerShape,
      bodyStart,
      end: bodyStart,
      mediaType,
      transferEncoding: transferEncodingOf(headerSection),
      shape: emptyShape(),
      children: [],
      ambiguous: mediaType.ambiguous,
    }
    parent?.children.push(entity)
    this.#open.push(entity)
    this.#shape = entity.shape
    this.#lineOctets = 0
    this.#headerStart = holdsMessage(entity) ? bodyStart : -1
    if (mediaType.type === 'multipart') this.#openMultipart(entity)
  }

  #openMultipart(entity: OpenEntity): void {
    const boundary = boundaryOf(entity)
    // A multipart has no transfer encoding of its own (RFC 2045 §6.4); some readers decode all the same.
    if (boundary === undefined || !isIdentity(entity.transferEncoding)) entity.ambiguous = true
    if (boundary === undefined) return
    const hidden = this.#boundaries.open(boundary, entity)
    const { bodyStart: start } = entity
    entity.multipart = {
      preamble: { start, end: start, shape: emptyShape() },
      epilogue: { start, end: start, shape: emptyShape() },
      delimiters: emptyShape(),
      closed: false,
      delimited: false,
      boundary,
      hidden,
    }
    this.#shape = entity.multipart.preamble.shape
  }

  #count({ sizeOctets }: HeaderSection): void {
    this.#headerOctets += sizeOctets
    if (this.#open.length >= this.#limits.depth) {
      refuse('ERR_MIME_TOO_DEEP', `MIME parts are nested deeper than ${this.#limits.depth}`)
    }
    if (++this.#parts > this.#limits.parts) {
      refuse('ERR_MIME_TOO_MANY_PARTS', `message has more than ${this.#limits.parts} MIME parts`)
    }
    if (this.#headerOctets > this.#limits.headerOctets) {
      const limit = `${this.#limits.headerOctets} octets`
      refuse('ERR_MIME_HEADERS_TOO_LARGE', `header sections of MIME parts are larger than ${limit}`)
    }
  }

  /** Closes the innermost entities until `depth` are open. */
  #closeDownTo(depth: number, end: number): void {
    while (this.#open.length > depth) {
      const entity = this.#open.pop()!
      entity.end = Math.max(end, entity.start)
      // A part may end ahead of its blank line, whose CRLF is the delimiter's then.
      entity.bodyStart = Math.min(entity.bodyStart, entity.end)
      if (entity.multipart) this.#closeMultipart(entity, entity.multipart)
      for (const child of entity.children) {
        clamp(child, entity.end)
        addShape(entity.shape, child.headerShape)
        addShape(entity.shape, child.shape)
      }
    }
  }

  #closeMultipart(entity: OpenEntity, frame: OpenFrame): void {
    const { preamble, epilogue } = frame
    if (!frame.closed) this.#boundaries.close(frame)
    preamble.start = Math.min(preamble.start, entity.end)
    preamble.end = frame.delimited ? Math.max(preamble.start, preamble.end) : entity.end
    // The CRLF of the closing delimiter line may be that of an outer delimiter too.
    epilogue.start = frame.closed ? Math.min(epilogue.start, entity.end) : entity.end
    epilogue.end = entity.end
    for (const shape of [preamble.shape, frame.delimiters, epilogue.shape]) {
      addShape(entity.shape, shape)
    }
  }
}

/** Where the piece of a long line ends that is passed over: a CR waits for its LF. */
function endOfPiece(window: Buffer, final: boolean): number {
  return !final && window.at(-1) === CR ? window.length - 1 : window.length
}

function never(): boolean {
  return false
}

function mediaTypeOf(section: HeaderSection, parent: Entity | undefined): MediaType {
  const inDigest = parent?.mediaType.essence === 'multipart/digest'
  return inDigest && !section.first('content-type') ? DIGEST_DEFAULT : contentTypeOf(section)
}

/** RFC 2046 §5.2.1, RFC 6532 §3.7: an encoded message is one leaf. */
function holdsMessage({ mediaType, transferEncoding }: Entity): boolean {
  const { essence } = mediaType
  return (
    (essence === 'message/rfc822' || essence === 'message/global') && isIdentity(transferEncoding)
  )
}

function isIdentity(encoding: TransferEncoding): boolean {
  return encoding === '7bit' || encoding === '8bit' || encoding === 'binary'
}

/** The boundary as octets in a string; `undefined` where there is none that could delimit. */
function boundaryOf({ mediaType, headerSection }: Entity): string | undefined {
  const value = mediaType.parameters.get('boundary')?.trimEnd() ?? ''
  if (value === '' || value.length > MAX_BOUNDARY_CHARACTERS) return undefined
  const octets = headerSection.first('content-type')!.octets
  return isUtf8(octets) ? Buffer.from(value, 'utf8').toString('latin1') : value
}

function isDashed(window: Buffer, line: number): boolean {
  return window[line] === DASH && window[line + 1] === DASH
}

/** An empty entity begins behind a CRLF that turns out to be the delimiter's: it is moved ahead of it. */
function clamp(entity: OpenEntity, end: number): void {
  if (entity.end <= end) return
  entity.start = end
  entity.bodyStart = end
  entity.end = end
  for (const child of entity.children) clamp(child, end)
}

function refuse(code: string, message: string): never {
  throw new PosternError(code, 'permanent', message)
}

const LIMITS: WalkLimits = { depth: 50, parts: 1000, headerOctets: 4 * 1024 * 1024 }

const DIGEST_DEFAULT: MediaType = {
  type: 'message',
  subtype: 'rfc822',
  essence: 'message/rfc822',
  parameters: new Map(),
  ambiguous: false,
}

const WINDOW_OCTETS = 16 * 1024
/** More than a header section may have: the parser says where it ends, or that it is too large. */
const MAX_HEADER_OCTETS = 128 * 1024
/** RFC 2046 §5.1.1 allows 70; readers take more. */
const MAX_BOUNDARY_CHARACTERS = 1000
const LF = 0x0a
const CR = 0x0d
const DASH = 0x2d
