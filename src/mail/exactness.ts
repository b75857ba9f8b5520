/**
 * Whether a plaintext is, to the last octet, what its header fields declare.
 *
 * A ciphertext without a tag can be altered by whoever holds it (EFAIL, RFC 8551 §6): in CBC, pieces of
 * plaintext that he knows can be put in, but each leaves a block of 16 random octets beside it. Where
 * every octet has to be declared, such a block has no place to hide:
 *
 *     where it stands                       it passes, once in
 *     a line of ASCII, a header field       6,500,000     (96/256)^16
 *     quoted-printable                      7,700,000     (95/256)^16, no `=` without its two digits
 *     base64                                4,300,000,000 (64/256)^16
 *     UTF-8 without a transfer encoding     330,000
 *     ISO-8859-x without one                100           \  refused, therefore: nothing but
 *     windows-125x without one              10 to 12      /  UTF-8 may go unencoded
 *
 * and an attack needs two such blocks and more. What no such test can see: the first block, which the
 * initialisation vector alters at will, and a beginning that is cut off. So a Content-Type of a known
 * kind is required, which leaves three octets of that block; what is left then is an end of the message,
 * under a type that stands in it. A text in one leaf may also lose whole blocks, each loss for one block
 * that is random.
 *
 * @module
 */
import { isAscii } from 'node:buffer'
import { PosternError } from '../errors.ts'
import { repeatedFields } from './author.ts'
import { Base64Decoder } from './base64.ts'
import { charsetCheck, hasControl, type OctetCheck } from './charset.ts'
import { CrlfCheck } from './crlf.ts'
import type { Entity, MultipartFrame } from './entity.ts'
import type { HeaderField, HeaderSection } from './header-section.ts'
import type { Content } from './mail-object.ts'
import { isPrintableField } from './plain-field.ts'
import { decodeQuotedPrintable } from './quoted-printable.ts'

/** Whether a plaintext is what it declares. */
export type Exactness =
  | { readonly kind: 'exact' }
  | {
      readonly kind: 'inexact'
      readonly reason: InexactReason
      /** In words for the log; nothing in it is the stranger's. */
      readonly detail: string
    }

/** What a plaintext has that its header fields do not declare. */
export type InexactReason =
  /** A CR without LF, or a LF without CR. */
  | 'line-end'
  /** A control octet other than HTAB in a line. */
  | 'control-octet'
  /** No blank line behind the header section. */
  | 'header-section-open'
  /** The plaintext does not say what it is, or says that it is of a kind that does not exist. */
  | 'content-type-missing'
  /** A field that has no meaning in this place. */
  | 'field-unknown'
  | 'field-twice'
  /** Not the syntax of its field, or not printable ASCII. */
  | 'field-malformed'
  /** Read in more than one way, or too deep, or too many. */
  | 'structure-ambiguous'
  /** Not closed, or octets between the delimiters, in front or behind. */
  | 'multipart-inexact'
  /** A part of a message, a reference to one, or one that is encoded (RFC 2046 §5.2). */
  | 'message-elsewhere'
  | 'transfer-encoding-unknown'
  | 'base64-malformed'
  | 'quoted-printable-malformed'
  /** Octets over 127 where the transfer encoding allows none, or in what is no text in UTF-8. */
  | 'eight-bit'
  | 'charset-unknown'
  /** Octets that are none of the declared charset. */
  | 'charset-violated'

/** A plaintext, and the entity that all of it is. */
export interface Plaintext {
  readonly content: Content
  readonly entity: Entity
}

/**
 * Looks whether a plaintext is one exact MIME entity. Reads it twice at most; memory does not grow
 * with it.
 *
 * @throws What `content.read` throws.
 */
export async function exactnessOf({ content, entity }: Plaintext): Promise<Exactness> {
  const gauge = new LineGauge()
  for await (const chunk of content.read()) gauge.push(chunk)
  const fault =
    gauge.end() ?? (await entityFault({ content, escapes: gauge.escapes }, entity, 'root'))
  return fault ?? { kind: 'exact' }
}

/**
 * The same for a plaintext that is signed: looks at what stands around the signed octets, for nothing
 * else vouches for that. The header section of the root, and in a multipart/signed the delimiters, what
 * is in front of the first and behind the last, and the part that bears the signature.
 *
 * @throws What `content.read` throws.
 */
export async function frameExactnessOf(plaintext: Plaintext): Promise<Exactness> {
  return (await signedFault(plaintext)) ?? { kind: 'exact' }
}

async function signedFault({ content, entity }: Plaintext): Promise<Fault | undefined> {
  if (entity.ambiguous) return inexact('structure-ambiguous', at(entity))
  const inHeader = headerFault(entity, 'root')
  if (inHeader || entity.multipart === undefined) return inHeader
  const around = await frameFault(content, entity, entity.multipart)
  if (around) return around
  const [, signature, ...others] = entity.children
  if (signature === undefined || others.length > 0) {
    return inexact('multipart-inexact', `not two parts ${at(entity)}`)
  }
  return entityFault({ content, escapes: true }, signature, 'part')
}

type Fault = Extract<Exactness, { kind: 'inexact' }>
type Role = 'root' | 'part' | 'message'

interface Examination {
  readonly content: Content
  /** An ESC is somewhere: the only control that a charset of ours needs. */
  readonly escapes: boolean
}

/** Looks for what may stand nowhere: line ends that are not CRLF, controls. */
class LineGauge {
  fault: Fault | undefined
  escapes = false
  readonly #lineEnds = new CrlfCheck()

  push(chunk: Buffer): void {
    if (this.fault || chunk.length === 0) return
    if (!this.#lineEnds.push(chunk)) this.fault = inexact('line-end', 'a CR or LF alone')
    else if (hasControl(chunk)) this.fault = inexact('control-octet', 'a control octet')
    else if (chunk.includes(ESC)) this.escapes = true
  }

  end(): Fault | undefined {
    if (this.fault) return this.fault
    return this.#lineEnds.end() ? undefined : inexact('line-end', 'a CR alone at the end')
  }
}

async function entityFault(
  examination: Examination,
  entity: Entity,
  role: Role,
): Promise<Fault | undefined> {
  if (entity.ambiguous) return inexact('structure-ambiguous', at(entity))
  const inHeader = headerFault(entity, role)
  if (inHeader) return inHeader
  if (entity.multipart) {
    const around = await frameFault(examination.content, entity, entity.multipart)
    if (around) return around
  }
  if (entity.children.length === 0) return leafFault(examination, entity)
  for (const child of entity.children) {
    const fault = await entityFault(examination, child, entity.multipart ? 'part' : 'message')
    if (fault) return fault
  }
  return undefined
}

function headerFault(entity: Entity, role: Role): Fault | undefined {
  const { headerSection: section, bodyStart, end } = entity
  const where = at(entity)
  const { sizeOctets, bodyOffset } = section
  // An empty part may end ahead of its blank line, whose CRLF is the delimiter's then.
  if (sizeOctets === bodyOffset && !(role === 'part' && bodyStart === end)) {
    return inexact('header-section-open', where)
  }
  if (role === 'root' && (!section.first('content-type') || !TYPES.has(entity.mediaType.type))) {
    return inexact('content-type-missing', where)
  }
  if (hasRepeated(section)) return inexact('field-twice', where)
  const isWhole = role === 'message' || (role === 'root' && protectsFields(entity))
  for (const field of section.fields) {
    if (!isWhole && !isExpected(field, role)) return inexact('field-unknown', where)
    if (!isWellFormed(field)) return inexact('field-malformed', where)
  }
  return undefined
}

/** RFC 9788 §2.1, and the mark that some programs wrote before there was one. */
function protectsFields({ mediaType: { parameters } }: Entity): boolean {
  return parameters.has('hp') || parameters.has('protected-headers')
}

function hasRepeated(section: HeaderSection): boolean {
  const seen = new Set<string>()
  for (const { key } of section.fields) {
    if (!isStructural9787(key)) continue
    if (seen.has(key)) return true
    seen.add(key)
  }
  return repeatedFields(section).length > 0
}

/** The fields that describe a body (RFC 9787 §1.1.1). */
function isStructural9787(key: string): boolean {
  return key.startsWith('content-') || key === 'mime-version'
}

/** Parts bear numbers and marks of their program, which mean nothing (RFC 2045 §9). */
function isExpected({ key, body }: HeaderField, role: Role): boolean {
  return isStructural9787(key) || (role === 'part' && key.startsWith('x-') && MARK.test(body))
}

function isWellFormed(field: HeaderField): boolean {
  if (!isPrintableField(field)) return false
  return GRAMMARS.get(field.key)?.test(field.body) ?? true
}

/** Delimiter lines are exactly the boundary, and nothing is said around the parts. */
async function frameFault(
  content: Content,
  entity: Entity,
  { preamble, epilogue, closed }: MultipartFrame,
): Promise<Fault | undefined> {
  const fault = (what: string): Fault => inexact('multipart-inexact', `${what} ${at(entity)}`)
  const boundary = entity.mediaType.parameters.get('boundary') ?? ''
  if (!BOUNDARY.test(boundary)) return fault('a boundary of other characters')
  if (!closed || entity.children.length === 0) return fault('no closing delimiter, or no parts')
  if (!isDelimited(entity, boundary.length)) return fault('more than the boundary in a delimiter')
  if (!(await holdsOnly(content, preamble, SENTENCE))) return fault('a preamble')
  if (!(await holdsOnly(content, epilogue, BLANKS))) return fault('an epilogue')
  return undefined
}

/** Whether nothing but CRLF, two dashes, the boundary and CRLF stands between the parts. */
function isDelimited(entity: Entity, boundaryOctets: number): boolean {
  const { preamble, epilogue } = entity.multipart!
  const line = boundaryOctets + 6
  const [first, ...others] = entity.children
  // Where nothing stands ahead of it, the first CRLF may be that of the blank line.
  const opening = first!.start - preamble.end
  if (opening !== line && !(opening === line - 2 && preamble.end === entity.bodyStart)) return false
  let { end } = first!
  for (const part of others) {
    if (part.start - end !== line) return false
    end = part.end
  }
  const closing = epilogue.start - end
  return closing === line + 2 || (closing === line && epilogue.start === entity.end)
}

async function holdsOnly(
  content: Content,
  { start, end }: { start: number; end: number },
  allowed: RegExp,
): Promise<boolean> {
  if (end - start > MAX_AROUND_OCTETS) return false
  if (start >= end) return true
  const octets: Buffer[] = []
  for await (const chunk of content.read(start, end)) octets.push(chunk)
  return allowed.test(Buffer.concat(octets).toString('latin1'))
}

async function leafFault(examination: Examination, leaf: Entity): Promise<Fault | undefined> {
  const { mediaType, transferEncoding } = leaf
  if (mediaType.type === 'multipart') return inexact('multipart-inexact', at(leaf))
  if (ELSEWHERE.has(mediaType.essence)) return inexact('message-elsewhere', at(leaf))
  const check = textCheckOf(leaf)
  if (check === 'unknown') return inexact('charset-unknown', at(leaf))
  switch (transferEncoding) {
    case 'unknown':
      return inexact('transfer-encoding-unknown', at(leaf))
    case 'base64':
      return encodedFault(leaf, check, decodedBase64(examination.content, leaf))
    case 'quoted-printable':
      return encodedFault(leaf, check, decodedQuotedPrintable(examination.content, leaf))
    case '7bit':
    case '8bit':
    case 'binary':
      return unencodedFault(examination, leaf, check)
  }
}

/**
 * How the text of a leaf is looked at; `undefined` for what is no text, and for an encoded attachment,
 * whose charset is what the sending program thought of a file it did not look into.
 */
function textCheckOf({
  mediaType,
  headerSection,
  transferEncoding,
}: Entity): OctetCheck | 'unknown' | undefined {
  if (mediaType.type !== 'text') return undefined
  const disposition = headerSection.first('content-disposition')?.body ?? ''
  if (transferEncoding === 'base64' && /^attachment\b/i.test(disposition)) return undefined
  return charsetCheck(mediaType.parameters.get('charset') ?? 'us-ascii') ?? 'unknown'
}

/** Looks at an encoded leaf: first that it decodes, then that what comes out is text. */
async function encodedFault(
  leaf: Entity,
  check: OctetCheck | undefined,
  decoded: AsyncIterable<Buffer>,
): Promise<Fault | undefined> {
  try {
    for await (const chunk of decoded) {
      if (check && !check.push(chunk)) return inexact('charset-violated', at(leaf))
    }
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    const reason = MALFORMED.get(error.code)
    if (reason === undefined) throw error
    return inexact(reason, at(leaf))
  }
  return check && !check.end() ? inexact('charset-violated', at(leaf)) : undefined
}

/** Nothing but the alphabet in its lines: no white space, which a decoder would skip. */
async function* decodedBase64(
  content: Content,
  { bodyStart, end }: Entity,
): AsyncGenerator<Buffer, void, undefined> {
  const decoder = new Base64Decoder()
  for await (const chunk of content.read(bodyStart, end)) {
    if (chunk.includes(SPACE) || chunk.includes(TAB)) throw malformedBase64()
    yield decoder.push(chunk)
  }
  decoder.end()
}

function malformedBase64(): PosternError {
  return new PosternError('ERR_BASE64_MALFORMED', 'permanent', 'base64 has white space in a line')
}

function decodedQuotedPrintable(
  content: Content,
  { bodyStart, end }: Entity,
): AsyncIterable<Buffer> {
  return decodeQuotedPrintable(content.read(bodyStart, end))
}

/** Where nothing is encoded, the charset alone tells a random block from text: only UTF-8 does. */
async function unencodedFault(
  { content, escapes }: Examination,
  leaf: Entity,
  check: OctetCheck | undefined,
): Promise<Fault | undefined> {
  const { eightBit } = leaf.shape
  if (eightBit && (leaf.transferEncoding === '7bit' || check?.encoding !== 'utf-8')) {
    return inexact('eight-bit', at(leaf))
  }
  const isStateful = check?.encoding === 'iso-2022-jp'
  if (!eightBit && !isStateful && !escapes) return undefined
  for await (const chunk of content.read(leaf.bodyStart, leaf.end)) {
    if (!isStateful && chunk.includes(ESC)) return inexact('control-octet', at(leaf))
    if (check ? !check.push(chunk) : !isAscii(chunk)) return inexact('charset-violated', at(leaf))
  }
  return check && !check.end() ? inexact('charset-violated', at(leaf)) : undefined
}

function at({ start }: Entity): string {
  return `in the entity at octet ${start}`
}

function inexact(reason: InexactReason, detail: string): Fault {
  return { kind: 'inexact', reason, detail }
}

const MALFORMED: ReadonlyMap<string, InexactReason> = new Map([
  ['ERR_BASE64_MALFORMED', 'base64-malformed'],
  ['ERR_QUOTED_PRINTABLE_MALFORMED', 'quoted-printable-malformed'],
])

/** As leaves: a message in one that is not encoded is walked through. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  'message/rfc822',
  'message/global',
  'message/partial',
  'message/external-body',
])

/**
 * RFC 2045 §5.1, without comments: a token, another behind a slash, parameters. Each alternative begins
 * with an octet of its own, so that there is one way to read.
 */
const STRUCTURED =
  /^[!#-'*+\-.0-9A-Z^-~]+(?:\/[!#-'*+\-.0-9A-Z^-~]+)?(?:[ \t]*;[ \t]*[!#-'*+\-.0-9A-Z^-~]+=(?:[!#-'*+\-.0-9A-Z^-~]+|"(?:[^"\\]|\\.)*"))*(?:[ \t]*;)?$/
const GRAMMARS: ReadonlyMap<string, RegExp> = new Map([
  ['content-type', STRUCTURED],
  ['content-disposition', STRUCTURED],
  ['content-transfer-encoding', /^[a-z0-9-]+$/i],
  ['content-id', /^<[!-;=?-~]+>$/],
  ['mime-version', /^1\.0(?:[ \t]*\([ -~]*\))?$/],
])
/** RFC 6838 §4.2, and what was registered since. */
const TYPES: ReadonlySet<string> = new Set([
  'application',
  'audio',
  'font',
  'haptics',
  'image',
  'message',
  'model',
  'multipart',
  'text',
  'video',
])
const MARK = /^[\w.@<>+=-]{0,200}$/
/** RFC 2046 §5.1.1. */
const BOUNDARY = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/
/** What programs say to readers that know no MIME. No slash but that of OpenSSL: there are no links. */
const SENTENCE = /^(?:S\/MIME|[A-Za-z0-9 .,;:'!()\-\r\n])*$/
const BLANKS = /^[ \t\r\n]*$/
const MAX_AROUND_OCTETS = 400

const TAB = 0x09
const ESC = 0x1b
const SPACE = 0x20
