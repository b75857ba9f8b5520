/**
 * A plaintext that nobody has authenticated, so that no reader fetches anything for it (EFAIL).
 *
 *     text/html, image/svg+xml, …       ──▶ text/plain, an attachment with a name of ours
 *     message/external-body, winmail, … ──▶ application/octet-stream
 *     multipart/alternative around them ──▶ multipart/mixed, so that the plain text is shown
 *     structure that reads in two ways  ──▶ the whole as one application/octet-stream
 *
 * The types are changed, not the octets. To take references out of HTML is to guess how each reader
 * reads it (src, srcset, style, @import, meta, svg, a quote that an attacker left open …); what is plain
 * text to all of them is rendered by none, and nothing of it is lost. What a person opens by hand (a PDF,
 * an office document) may fetch what it likes then.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import { encodeBase64Lines } from './base64.ts'
import { CrlfCheck } from './crlf.ts'
import { decodeEncodedWords } from './encoded-word.ts'
import { type Entity, EntityWalker } from './entity.ts'
import type { HeaderField } from './header-section.ts'
import type { Content } from './mail-object.ts'
import { parseMediaType } from './media-type.ts'
import { isPlainField } from './plain-field.ts'

/** A plaintext that fetches nothing. */
export interface Defused {
  /**
   * `untouched`: nothing in it would have fetched anything; `retyped`: some parts are of another type
   * now; `wrapped`: nobody can say what its parts are, so that the whole is one file.
   */
  readonly kind: 'untouched' | 'retyped' | 'wrapped'
  /** How many leaves are of another type now. */
  readonly retyped: number
  /** Reads the entity; as often as is wanted, while the content is held. */
  octets(): AsyncIterable<Buffer>
}

/**
 * Makes an entity harmless. Linear in its size; no body is in memory.
 *
 * @param content The plaintext: one MIME entity. Fields of its header section that do not describe its
 *   body stay where they are.
 * @throws What `content.read` throws.
 */
export async function defuse(content: Content): Promise<Defused> {
  const root = await walkStrictly(content)
  const plan: Plan = { edits: [], retyped: 0, hopeless: root === undefined }
  if (root) planEntity(plan, root, 'root')
  if (plan.hopeless) return { kind: 'wrapped', retyped: 0, octets: () => wrapped(content) }
  if (plan.edits.length === 0) {
    return { kind: 'untouched', retyped: 0, octets: () => content.read() }
  }
  const edits = plan.edits.sort((one, other) => one.start - other.start)
  return { kind: 'retyped', retyped: plan.retyped, octets: () => edited(content, edits) }
}

interface Plan {
  readonly edits: HeaderEdit[]
  retyped: number
  /** A reader may see other parts than we do. */
  hopeless: boolean
}

/** A header section with its blank line, and what takes its place. */
interface HeaderEdit {
  readonly start: number
  readonly end: number
  readonly by: Buffer
}

type Role = 'root' | 'message' | 'part'

/**
 * Walks where all readers would walk alike: a CR or LF alone, and NUL, end a line to some of them.
 *
 * @returns `undefined` where they would not.
 */
async function walkStrictly(content: Content): Promise<Entity | undefined> {
  const lineEnds = new CrlfCheck()
  const walker = new EntityWalker()
  try {
    for await (const chunk of content.read()) {
      if (!lineEnds.push(chunk) || chunk.includes(0)) return undefined
      walker.push(chunk)
    }
    return lineEnds.end() ? walker.end() : undefined
  } catch (error) {
    if (error instanceof PosternError && /^ERR_(?:MIME|HEADER)_/.test(error.code)) return undefined
    throw error
  }
}

/** @returns whether the entity, or one in it, is of another type now. */
function planEntity(plan: Plan, entity: Entity, role: Role): boolean {
  if (isUnclear(entity)) plan.hopeless = true
  if (entity.multipart === undefined && entity.children.length === 0) {
    return planLeaf(plan, entity, role)
  }
  const childRole = entity.multipart ? 'part' : 'message'
  let isTouched = false
  for (const child of entity.children) {
    if (planEntity(plan, child, childRole)) isTouched = true
  }
  if (isTouched && entity.multipart && !KEPT_MULTIPARTS.has(entity.mediaType.essence)) {
    planMultipart(plan, entity)
  }
  return isTouched
}

function isUnclear({ ambiguous, headerSection, bodyStart, end }: Entity): boolean {
  const { sizeOctets, bodyOffset, fields } = headerSection
  // A body that begins without its blank line is more header section to another reader.
  const isOpen = sizeOctets === bodyOffset && bodyStart < end
  if (ambiguous || isOpen) return true
  const describing = fields.filter(({ key }) => key.startsWith('content-'))
  const once = new Set(describing.map(({ key }) => key))
  return once.size < describing.length || (bodyStart < end && !describing.every(isPlainField))
}

function planLeaf(plan: Plan, leaf: Entity, role: Role): boolean {
  // Nothing to render; and its blank line may be the delimiter's.
  if (leaf.bodyStart === leaf.end) return false
  const essence = harmlessEssence(leaf)
  if (essence === undefined) return false
  plan.retyped++
  const name = `part-${plan.retyped}.${essence === TEXT ? 'txt' : 'bin'}`
  const fields = [`Content-Type: ${essence}${charsetOf(leaf, essence)}; name="${name}"`]
  // What is the message itself is shown at once, by readers that know no message that is a file.
  if (role === 'part' || essence !== TEXT) {
    fields.push(`Content-Disposition: attachment; filename="${name}"`)
  }
  plan.edits.push(headerEdit(leaf, fields, STAYS_WITH_LEAF))
  return true
}

/** Only one of several alternatives is shown: a reader would choose the source of the HTML. */
function planMultipart(plan: Plan, entity: Entity): void {
  const boundary = entity.mediaType.parameters.get('boundary') ?? ''
  if (!QUOTABLE.test(boundary)) plan.hopeless = true
  const field = `Content-Type: multipart/mixed; boundary="${boundary}"`
  plan.edits.push(headerEdit(entity, [field], STAYS_WITH_MULTIPART))
}

function headerEdit(
  { start, bodyStart, headerSection }: Entity,
  fields: readonly string[],
  stays: ReadonlySet<string>,
): HeaderEdit {
  const isKept = ({ key }: HeaderField): boolean => !key.startsWith('content-') || stays.has(key)
  const kept = headerSection.fields.filter(isKept).map(({ octets }) => octets)
  const described = Buffer.from(`${fields.join('\r\n')}\r\n\r\n`, 'latin1')
  return { start, end: bodyStart, by: Buffer.concat([...kept, described]) }
}

/** The type that a leaf gets, or `undefined` where its own is harmless. */
function harmlessEssence(leaf: Entity): string | undefined {
  const { type, essence } = leaf.mediaType
  const isText = type === 'text' || MARKUP.test(essence)
  if (isHarmless(leaf) && !hasRiskyName(leaf)) return undefined
  return isText ? TEXT : OCTETS
}

/** What no reader renders, or renders without fetching anything. */
function isHarmless({ mediaType: { type, essence } }: Entity): boolean {
  if (MARKUP.test(essence)) return false
  if (type === 'application') return !RISKY_APPLICATION.test(essence)
  return HARMLESS.has(essence)
}

/** Some readers believe the name more than the type. */
function hasRiskyName({ mediaType, headerSection }: Entity): boolean {
  const disposition = headerSection.first('content-disposition')
  const parameters = disposition && parseMediaType(`disposition/${disposition.body}`)
  if (disposition && (parameters === undefined || parameters.ambiguous)) return true
  const names = [mediaType.parameters.get('name'), parameters?.parameters.get('filename')]
  return names.some(
    name => name !== undefined && RISKY_NAME.test(decodeEncodedWords(name).slice(-MAX_ENDING)),
  )
}

function charsetOf({ mediaType }: Entity, essence: string): string {
  if (essence !== TEXT) return ''
  const charset = mediaType.parameters.get('charset') ?? (mediaType.type === 'text' ? '' : 'utf-8')
  return CHARSET.test(charset) ? `; charset=${charset}` : ''
}

async function* edited(
  content: Content,
  edits: readonly HeaderEdit[],
): AsyncGenerator<Buffer, void, undefined> {
  let at = 0
  for (const { start, end, by } of edits) {
    if (start > at) yield* content.read(at, start)
    yield by
    at = end
  }
  if (at < content.sizeOctets) yield* content.read(at)
}

async function* wrapped(content: Content): AsyncGenerator<Buffer, void, undefined> {
  const fields = [
    `Content-Type: ${OCTETS}; name="message.bin"`,
    'Content-Transfer-Encoding: base64',
    'Content-Disposition: attachment; filename="message.bin"',
  ]
  yield Buffer.from(`${fields.join('\r\n')}\r\n\r\n`, 'latin1')
  yield* encodeBase64Lines(content.read())
}

const TEXT = 'text/plain'
const OCTETS = 'application/octet-stream'

/** Fields that go on describing a leaf: all others could name a place to fetch from (RFC 2557 §4). */
const STAYS_WITH_LEAF: ReadonlySet<string> = new Set(['content-transfer-encoding', 'content-id'])
const STAYS_WITH_MULTIPART: ReadonlySet<string> = new Set(['content-transfer-encoding'])

/** All their parts are shown, or each is of a type by default that it would lose. */
const KEPT_MULTIPARTS: ReadonlySet<string> = new Set([
  'multipart/mixed',
  'multipart/digest',
  'multipart/report',
  'multipart/form-data',
])

const HARMLESS: ReadonlySet<string> = new Set([
  'text/plain',
  ...['avif', 'bmp', 'gif', 'heic', 'jpeg', 'jpg', 'pjpeg', 'png', 'tiff', 'webp', 'x-icon'].map(
    subtype => `image/${subtype}`,
  ),
  ...['aac', 'amr', 'flac', 'mp3', 'mp4', 'mpeg', 'ogg', 'wav', 'webm', 'x-wav'].map(
    subtype => `audio/${subtype}`,
  ),
  ...['mp4', 'mpeg', 'ogg', 'webm'].map(subtype => `video/${subtype}`),
  'message/delivery-status',
  'message/disposition-notification',
  'message/feedback-report',
  'message/global-delivery-status',
])

/** XML of any kind can refer to a style sheet, an entity or a picture elsewhere. */
const MARKUP = /\/(?:.*\+xml|xml|xml-.*|xhtml|html|svg)$/
/**
 * Applications that a reader runs or opens by itself: markup, scripts, play lists, TNEF (which holds
 * HTML of its own), and further layers of encryption or signature, which are opened to HTML again.
 */
const RISKY_APPLICATION =
  /^application\/(?:smil|rtf|hta|(?:x-)?(?:java|ecma)script|x-shockwave-flash|(?:vnd\.)?(?:ms-)?tnef|ms-tnef|vnd\.ms-tnef|(?:x-)?pkcs7-mime|pgp-encrypted|ics|(?:x-|vnd\.apple\.)?mpegurl|x-mimearchive|mbox)$/
const RISKY_NAME =
  /\.(?:dat|eml|hta|html?|ics|lnk|m3u8?|mht|mhtml|msg|p7m|p7s|pls|rtf|shtml?|smil?|svgz?|url|vcf|vcs|webarchive|webloc|xht|xhtml?|xml|xslt?)[\s."']*$/i
const MAX_ENDING = 200
const CHARSET = /^[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}$/
const QUOTABLE = /^[ !#-[\]-~]{1,200}$/
