/**
 * What a relay could alter on the way is said in another way before it is signed (RFC 8551 §3.1.3).
 *
 *     content ──walk──▶ entities ──▶ edits ──▶ octets(): what came, but for the edits
 *
 * An edit replaces a header section, or the body of one leaf. All other octets stay as they are, and
 * no body is in memory: leaves are encoded while they are read.
 *
 * @module
 */
import { isAscii } from 'node:buffer'
import { PosternError } from '../errors.ts'
import { decodeBase64, encodeBase64Lines } from './base64.ts'
import { isSafe } from './content-shape.ts'
import { type Entity, type MultipartFrame, splitForProtection, walk } from './entity.ts'
import type { HeaderSection } from './header-section.ts'
import type { Content } from './mail-object.ts'
import {
  encodeQuotedPrintable,
  quotedPrintableOctets,
  repairQuotedPrintable,
} from './quoted-printable.ts'
import { isSafeField, sevenBitField } from './seven-bit-field.ts'

/** A MIME entity that is to be signed: Content-* fields, blank line, body (RFC 8551 §3.1). */
export type Prepared =
  | {
      /** `as-is`: nothing had to be altered. Both are 7-bit, in lines of at most 998 octets. */
      readonly kind: 'as-is' | 're-encoded'
      /** Reads the entity; as often as is wanted, while the content is held. */
      octets(): AsyncIterable<Buffer>
    }
  | {
      /** A relay could break a clear signature, and nobody may prevent it: sign opaque. */
      readonly kind: 'unsafe'
      /** Which part, and why, in words for the log. */
      readonly reason: string
      /** The entity as it came: where it is signed opaque, nothing has to be altered at all. */
      octets(): AsyncIterable<Buffer>
    }

/**
 * Prepares a message to be signed.
 *
 * Leaves with 8-bit octets or lines over 998 octets become quoted-printable or base64, also in nested
 * multiparts and in attached messages. Never touched are parts whose octets are signed or encrypted
 * already, and messages that are not all here (RFC 2046 §5.2.2, §5.2.3).
 *
 * @param section The header section of `content`.
 * @throws {PosternError} what `walk` and `content.read` throw, where a walk is needed.
 */
export async function prepare(content: Content, section: HeaderSection): Promise<Prepared> {
  // Most mail. The listener has looked at the octets as they came: nobody has to look again.
  if (isSafe(content.shape)) return { kind: 'as-is', octets: () => asItCame(content, section) }
  try {
    const edits = await new Planner(content).plan(await walk(content))
    return edits.length === 0
      ? { kind: 'as-is', octets: () => asItCame(content, section) }
      : { kind: 're-encoded', octets: () => edited(content, edits) }
  } catch (error) {
    if (!(error instanceof PosternError) || error.code !== NOT_7BIT) throw error
    return { kind: 'unsafe', reason: error.message, octets: () => asItCame(content, section) }
  }
}

/** Octets `start` to `end` of the content are replaced, or go through an encoder. */
interface Edit {
  readonly start: number
  readonly end: number
  readonly by: Buffer | ((chunks: AsyncIterable<Buffer>) => AsyncIterable<Buffer>)
}

/** Whether an entity is what is prepared, a message attached to it, or a part of a multipart. */
type Role = 'root' | 'message' | 'part'

async function* asItCame(
  content: Content,
  section: HeaderSection,
): AsyncGenerator<Buffer, void, undefined> {
  const inner = splitForProtection(section).inner.map(field => field.octets)
  // A message without any such field is text in US-ASCII (RFC 2045 §5.2), and as a part it says so:
  // an entity that begins with its blank line is right too, but takes some readers by surprise.
  yield Buffer.concat([...(inner.length === 0 ? [textPlain('us-ascii')] : inner), CRLF])
  yield* content.read(section.bodyOffset)
}

async function* edited(
  content: Content,
  edits: readonly Edit[],
): AsyncGenerator<Buffer, void, undefined> {
  let at = 0
  for (const { start, end, by } of edits) {
    if (start > at) yield* content.read(at, start)
    if (Buffer.isBuffer(by)) yield by
    else yield* by(content.read(start, end))
    at = end
  }
  if (at < content.sizeOctets) yield* content.read(at)
}

/** Collects the edits of a message, or throws `NOT_7BIT` where one of them is not ours to make. */
class Planner {
  readonly #content: Content
  readonly #edits: Edit[] = []

  constructor(content: Content) {
    this.#content = content
  }

  /** @returns the edits in the order of the content; none where all is safe. */
  async plan(root: Entity): Promise<readonly Edit[]> {
    await this.#planEntity(root, 'root')
    // A header section may be empty, and begin where its body does: it goes first, and that of an outer
    // entity, which was planned later, ahead of that of an inner one.
    return this.#edits
      .reverse()
      .sort((one, other) => one.start - other.start || one.end - other.end)
  }

  async #planEntity(entity: Entity, role: Role): Promise<void> {
    const label = isSafe(entity.shape) ? undefined : await this.#planBody(entity)
    const { headerSection } = entity
    const fields = role === 'root' ? splitForProtection(headerSection).inner : headerSection.fields
    // The root loses its outer fields, whatever else is altered: but only if something is.
    const isRootOfEdits = role === 'root' && this.#edits.length > 0
    const isToStay = label === undefined && !isRootOfEdits && !lacksBlankLine(entity)
    if (isToStay && fields.every(isSafeField)) return

    const octets: Buffer[] = []
    let missing = label
    for (const field of fields) {
      if (field.key !== 'content-transfer-encoding' || label === undefined) {
        octets.push(sevenBitField(field) ?? notSafe(entity, `its ${field.name} is not 7-bit`))
      } else if (missing !== undefined) {
        octets.push(transferEncoding(missing))
        missing = undefined
      }
    }
    if (role !== 'part') octets.push(...(await this.#missingFields(entity, role, label)))
    if (missing !== undefined) octets.push(transferEncoding(missing))
    this.#edits.push(headerEdit(entity, role, octets))
  }

  /** Without these a reader of a message takes no note of its transfer encoding (RFC 2045 §4, §5.2). */
  async #missingFields(entity: Entity, role: Role, label: string | undefined): Promise<Buffer[]> {
    if (label === undefined || label === '7bit') return []
    const { headerSection } = entity
    const octets: Buffer[] = []
    if (role === 'message' && !headerSection.first('mime-version')) octets.push(MIME_VERSION)
    if (!headerSection.first('content-type')) octets.push(textPlain(await this.#charsetOf(entity)))
    return octets
  }

  /** @returns the new transfer encoding, or `undefined` where the old one stays. */
  async #planBody(entity: Entity): Promise<string | undefined> {
    const { mediaType, multipart, transferEncoding } = entity
    if (UNTOUCHABLE.has(mediaType.essence))
      notSafe(entity, 'it is not 7-bit, and not to be altered')
    if (multipart) await this.#planMultipart(entity, multipart)
    else if (entity.children.length > 0) await this.#planEntity(entity.children[0]!, 'message')
    else return this.#planLeaf(entity)
    // What is left in it is 7-bit, and a label that says more invites a relay to convert.
    return transferEncoding === '7bit' ? undefined : '7bit'
  }

  async #planMultipart(entity: Entity, frame: MultipartFrame): Promise<void> {
    if (!isIdentity(entity)) notSafe(entity, 'a multipart cannot be encoded')
    if (entity.headerSection.all('content-type').length > 1) notSafe(entity, 'it has two types')
    // Some readers show the text of a multipart without parts: then it is no preamble.
    if (entity.children.length === 0) notSafe(entity, 'it has no parts')
    if (!isSafe(frame.delimiters)) notSafe(entity, 'its delimiter lines are not 7-bit')
    for (const { start, end, shape } of [frame.preamble, frame.epilogue]) {
      if (!isSafe(shape)) this.#edits.push({ start, end, by: withoutOffence })
    }
    for (const child of entity.children) await this.#planEntity(child, 'part')
  }

  async #planLeaf(entity: Entity): Promise<string | undefined> {
    const { bodyStart: start, end, mediaType } = entity
    const isLast = end === this.#content.sizeOctets
    const encoding = entity.transferEncoding
    // RFC 2045 §6.4: neither may be encoded, and where one is, some readers decode it and some do not.
    if (mediaType.type === 'multipart') notSafe(entity, 'it has no boundary')
    if (mediaType.type === 'message') notSafe(entity, 'its type cannot be encoded')
    if (encoding === 'quoted-printable') {
      this.#edits.push({ start, end, by: repairQuotedPrintable })
      return undefined
    }
    if (encoding === 'base64') {
      await this.#checkBase64(entity)
      this.#edits.push({ start, end, by: chunks => base64Body(decodeBase64(chunks), isLast) })
      return undefined
    }
    if (!isIdentity(entity)) notSafe(entity, 'its transfer encoding is unknown')
    const isReadable = await this.#isReadable(entity)
    const by = isReadable
      ? encodeQuotedPrintable
      : (chunks: AsyncIterable<Buffer>) => base64Body(chunks, isLast)
    this.#edits.push({ start, end, by })
    return isReadable ? 'quoted-printable' : 'base64'
  }

  /** Other lines or other padding are no other content; another alphabet might be. */
  async #checkBase64(entity: Entity): Promise<void> {
    try {
      for await (const _ of decodeBase64(this.#content.read(entity.bodyStart, entity.end)));
    } catch (error) {
      if (!(error instanceof PosternError) || error.code !== 'ERR_BASE64_MALFORMED') throw error
      notSafe(entity, error.message)
    }
  }

  /**
   * Whether quoted-printable suits a leaf: text, as long as base64 would not be shorter. Never for
   * other types: some readers turn the line breaks of quoted-printable into those of their system.
   */
  async #isReadable({ mediaType, bodyStart, end }: Entity): Promise<boolean> {
    if (mediaType.type !== 'text') return false
    let read = 0
    let encoded = 0
    for await (const chunk of this.#content.read(
      bodyStart,
      Math.min(end, bodyStart + SAMPLE_OCTETS),
    )) {
      read += chunk.length
      encoded += quotedPrintableOctets(chunk)
    }
    return encoded <= read * BASE64_GROWTH + SHORT_OCTETS
  }

  /** The charset of a text that names none. */
  async #charsetOf({ shape, bodyStart, end }: Entity): Promise<string> {
    if (!shape.eightBit) return 'us-ascii'
    const decoder = new TextDecoder('utf-8', { fatal: true })
    try {
      for await (const chunk of this.#content.read(bodyStart, end)) {
        decoder.decode(chunk, { stream: true })
      }
      decoder.decode()
      return 'utf-8'
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      // RFC 1428 §3.
      return 'unknown-8bit'
    }
  }
}

function headerEdit(entity: Entity, role: Role, fields: Buffer[]): Edit {
  const { start, headerSection, bodyStart, end } = entity
  if (role === 'root') {
    return { start: 0, end: headerSection.bodyOffset, by: Buffer.concat([...fields, CRLF]) }
  }
  // Without a body the blank line may be missing, or be the CRLF of the delimiter line behind.
  if (bodyStart === end) {
    return { start, end: start + headerSection.sizeOctets, by: Buffer.concat(fields) }
  }
  return { start, end: bodyStart, by: Buffer.concat([...fields, CRLF]) }
}

async function* base64Body(
  chunks: AsyncIterable<Buffer>,
  isLast: boolean,
): AsyncGenerator<Buffer, void, undefined> {
  let previous: Buffer | undefined
  for await (const lines of encodeBase64Lines(chunks)) {
    if (previous) yield previous
    previous = lines
  }
  // The delimiter line behind brings its own CRLF.
  if (previous) yield isLast ? previous : previous.subarray(0, -2)
}

/**
 * A preamble or an epilogue in 7 bits. It says nothing to anybody (RFC 2046 §5.1.1), so only what
 * offends is altered: an octet of 8 bits becomes a question mark, a line that is too long or could
 * come to read as a delimiter line is left empty.
 */
async function* withoutOffence(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  let isTooLong = false
  for await (const chunk of chunks) {
    const text = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const lines: Buffer[] = []
    let line = 0
    for (let end = text.indexOf(LF); end >= 0; end = text.indexOf(LF, line)) {
      lines.push(isTooLong ? CRLF : inoffensive(text.subarray(line, end + 1)))
      isTooLong = false
      line = end + 1
    }
    rest = text.subarray(line)
    if (rest.length > MAX_LINE_OCTETS + 1) {
      isTooLong = true
      rest = rest.subarray(rest.length)
    }
    yield Buffer.concat(lines)
  }
  if (!isTooLong) yield inoffensive(rest)
}

/** @param line With its line end, where it has one. */
function inoffensive(line: Buffer): Buffer {
  if (line.length > MAX_LINE_OCTETS + 2) return CRLF
  if (isAscii(line)) return line
  if (line[0] === DASH) return line.at(-1) === LF ? CRLF : line.subarray(line.length)
  return Buffer.from(line.toString('latin1').replace(/[^\x00-\x7f]/g, '?'), 'latin1')
}

/** Whether a body that has to be altered begins at once: altered, it could read as more of the header section. */
function lacksBlankLine({ headerSection, bodyStart, end, shape }: Entity): boolean {
  const { sizeOctets, bodyOffset } = headerSection
  return sizeOctets === bodyOffset && bodyStart < end && !isSafe(shape)
}

function isIdentity({ transferEncoding }: Entity): boolean {
  return ['7bit', '8bit', 'binary'].includes(transferEncoding)
}

function notSafe({ mediaType, start }: Entity, why: string): never {
  const part = `${mediaType.essence} at octet ${start}`
  throw new PosternError(NOT_7BIT, 'permanent', `${part} could be altered on the way: ${why}`)
}

function textPlain(charset: string): Buffer {
  return Buffer.from(`Content-Type: text/plain; charset=${charset}\r\n`)
}

function transferEncoding(label: string): Buffer {
  return Buffer.from(`Content-Transfer-Encoding: ${label}\r\n`)
}

const NOT_7BIT = 'ERR_ENTITY_NOT_7BIT'

/** Another octet in one of these breaks a signature or hides a message (RFC 1847 §2, RFC 8551 §3). */
const UNTOUCHABLE = new Set([
  'multipart/signed',
  'multipart/encrypted',
  'application/pkcs7-mime',
  'application/x-pkcs7-mime',
  'application/pkcs7-signature',
  'application/x-pkcs7-signature',
  'message/partial',
  'message/external-body',
  'message/global',
])

/** RFC 5321 §4.5.3.1.6, RFC 2045 §2.7. */
const MAX_LINE_OCTETS = 998
/** Enough to see which encoding suits a text. */
const SAMPLE_OCTETS = 256 * 1024
/** Four characters for three octets, 78 for 76 with the line ends. */
const BASE64_GROWTH = (4 / 3) * (78 / 76)
/** For so little more a text stays readable: a short one that is mostly letters with accents. */
const SHORT_OCTETS = 200
const MIME_VERSION = Buffer.from('MIME-Version: 1.0\r\n')
const CRLF = Buffer.from('\r\n')
const LF = 0x0a
const DASH = 0x2d
