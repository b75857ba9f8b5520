/**
 * Whether all readers see the same structure in an entity: its type, its parts, and nothing beside.
 *
 * The walk (`entity.ts`) sees one structure, as most readers would. Where a decision is told to people,
 * as a signature is, that is not enough: a reader who fails at a comment, an escape, a field or a
 * boundary that others understand shows its user something else. What is written so that some reader
 * could fail at it is not plain. Those who sign write plainly; those who want two messages in one do not.
 *
 * @module
 */
import type { Entity, MultipartFrame, Region } from './entity.ts'
import type { HeaderSection } from './header-section.ts'
import type { Content } from './mail-object.ts'
import { isPlainField } from './plain-field.ts'

/**
 * Whether all readers see the same fields that describe a body, and see the section end where it ends:
 * behind its blank line, and not at a line of white space (which continues a field by RFC 5322 §4.2, and
 * ends the section for some).
 */
export function isPlainSection(section: HeaderSection): boolean {
  if (section.bodyOffset === section.sizeOctets) return false
  return section.fields.every(
    field => !hasBlankLine(field.octets) && (!DESCRIBES.has(field.key) || isPlainField(field)),
  )
}

/** Whether a field holds a line of white space alone. */
export function hasBlankLine(fieldOctets: Buffer): boolean {
  return fieldOctets.includes('\n') && BLANK_LINE.test(fieldOctets.toString('latin1'))
}

/**
 * Whether all readers read the same type and boundary: no comments, no escapes, no boundary in the forms of
 * RFC 2231, none that is not quoted and ought to be, none that a reader could cut or decode.
 */
export function isPlainType({ headerSection, mediaType }: Entity): boolean {
  if (mediaType.ambiguous) return false
  const body = headerSection.first('content-type')?.body ?? ''
  if (body.length > MAXIMUM_TYPE_CHARACTERS) return false
  const open = body.replace(QUOTED, '""')
  if (open.includes('(')) return false
  if (mediaType.type !== 'multipart') return true
  const boundary = mediaType.parameters.get('boundary') ?? ''
  return !body.includes('\\') && PLAIN_PARAMETER.test(open) && PLAIN_BOUNDARY.test(boundary)
}

/**
 * Whether a boundary within begins like that of the multipart itself: a reader who compares beginnings
 * (RFC 2046 §5.1.1) finds the parts of another there.
 */
export function isBoundaryRepeated({ mediaType, children }: Entity): boolean {
  const boundary = mediaType.parameters.get('boundary')
  return boundary !== undefined && children.some(child => holdsBoundary(child, boundary))
}

/** Whether what stands around the parts could be read as parts, or is too long to tell. */
export async function isDelimitedAround(
  content: Content,
  { preamble, epilogue }: MultipartFrame,
): Promise<boolean> {
  return (await isDelimited(content, preamble)) || isDelimited(content, epilogue)
}

/**
 * Whether readers agree on what an entity shows: on the types, encodings and parts of all that is not a
 * message of its own, such as one that is attached.
 */
export function isPlainlyShown(entity: Entity): boolean {
  return isAgreedUpon(entity) && entity.children.every(isPartPlain)
}

function isPartPlain(entity: Entity): boolean {
  return (
    isAgreedUpon(entity) &&
    (entity.mediaType.type === 'message' || entity.children.every(isPartPlain))
  )
}

/** A parameter in two forms, such as the name of a file, does not matter where there are no parts. */
function isAgreedUpon(entity: Entity): boolean {
  const { headerSection, mediaType, transferEncoding } = entity
  if (headerSection.all('content-type').length > 1 || transferEncoding === 'unknown') return false
  if (ELSEWHERE.has(mediaType.essence)) return false
  return mediaType.type !== 'multipart' || (!entity.ambiguous && !isBoundaryRepeated(entity))
}

function holdsBoundary({ mediaType, children }: Entity, beginning: string): boolean {
  if (mediaType.parameters.get('boundary')?.startsWith(beginning)) return true
  return children.some(child => holdsBoundary(child, beginning))
}

async function isDelimited(content: Content, { start, end }: Region): Promise<boolean> {
  if (start === end) return false
  if (end - start > MAXIMUM_AROUND_OCTETS) return true
  const chunks: Buffer[] = []
  for await (const chunk of content.read(start, end)) chunks.push(chunk)
  return DELIMITER.test(Buffer.concat(chunks).toString('latin1'))
}

/** RFC 2046 §5.2.2, §5.2.3: what is shown is not what stands there. */
const ELSEWHERE: ReadonlySet<string> = new Set(['message/partial', 'message/external-body'])
const DESCRIBES: ReadonlySet<string> = new Set([
  'content-type',
  'content-transfer-encoding',
  'mime-version',
])
const BLANK_LINE = /\n[ \t]+\r?\n/
const QUOTED = /"(?:[^"\\]|\\.)*"/g
/** With a token of RFC 2045 §5.1, or quoted; and without blanks around the equals sign. */
const PLAIN_PARAMETER = /;[ \t]*boundary=(?:""|[!#-'*+\-.0-9A-Z^-~]+)[ \t]*(?:;|$)/i
/** RFC 2046 §5.1.1: up to 70 characters, no blank at either end. Braces and the like are common. */
const PLAIN_BOUNDARY = /^(?!.*=\?)[!#-[\]-~](?:[ !#-[\]-~]{0,68}[!#-[\]-~])?$/
/** The dashes in front of what closes a letter have a blank behind them. */
const DELIMITER = /(?:^|\n)--[^ \t\r\n]/
const MAXIMUM_TYPE_CHARACTERS = 2000
/** What people write there is a sentence. */
const MAXIMUM_AROUND_OCTETS = 65_536
