/**
 * The one author of a message, and what is odd about how it is written (RFC 5322 §3.6.2).
 *
 *     header section ──▶ exactly one From ──▶ exactly one mailbox ──▶ author
 *                  └───▶ Sender, Date, fields that are there twice, a name that pretends ──▶ notes
 *
 * A verdict says whose message it is. Where two readers could name two authors, there is none here.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import { type Mailbox, matchKeyOf, parseMailboxList } from './address.ts'
import { parseDate } from './date.ts'
import { decodeEncodedWords } from './encoded-word.ts'
import type { HeaderField, HeaderSection } from './header-section.ts'
import { isPlainField } from './plain-field.ts'

/** Who wrote a message, as its header section says. */
export interface Authorship {
  readonly author: Author
  /** The one mailbox of the one Sender field (RFC 5322 §3.6.2). */
  readonly sender: Mailbox | undefined
  /** What the one Date field says. */
  readonly date: Date | undefined
  /** What is odd, each once. */
  readonly notes: readonly AuthorNote[]
  /** Lower-case names of the fields that stand more than once, and may not (RFC 5322 §3.6). */
  readonly repeated: readonly string[]
}

/** The mailbox of From, or why there is none to hold on to. */
export type Author =
  | {
      readonly kind: 'one'
      readonly mailbox: Mailbox
      /** Encoded words decoded, once; as the stranger wrote it, not to be logged raw. May be empty. */
      readonly displayName: string
    }
  | { readonly kind: 'none'; readonly reason: AuthorFault; readonly detail: string }

/** Why a message has no one author. */
export type AuthorFault =
  | 'from-missing'
  | 'from-twice'
  /** Two and more, or none in groups that are empty. */
  | 'from-several-mailboxes'
  /** RFC 6854 allows a group; who of it has written, it does not say. */
  | 'from-group'
  /** The address itself is an encoded word, which RFC 2047 §5 forbids and some readers decode. */
  | 'from-encoded-address'
  /** Not the syntax of RFC 5322 §3.4, or one that is read in more than one way. */
  | 'from-unreadable'

/** What is odd about how the author is written, or the fields beside it. */
export type AuthorNote =
  /**
   * Control, bidirectional or invisible characters in From or in its display name, decoded. Marks of
   * direction count where no name needs them.
   */
  | 'from-control-characters'
  /** An encoded word that is left over in the display name: another reader may decode it, and see a name. */
  | 'from-undecodable'
  /** The display name holds another address than the one behind it. */
  | 'display-mismatch'
  /** The display name holds so much white space that what follows is out of sight. */
  | 'display-padding'
  /** See `repeated`. */
  | 'field-twice'
  /** A Sender field that does not name exactly one mailbox. */
  | 'sender-unreadable'
  | 'date-unreadable'

/** Reads the author and what stands beside it. Never throws; linear in the size of the section. */
export function authorOf(section: HeaderSection): Authorship {
  const notes = new Set<AuthorNote>()
  const repeated = repeatedFields(section)
  if (repeated.length > 0) notes.add('field-twice')
  const author = readAuthor(section.all('from'), notes)
  const sender = readSender(section.all('sender'))
  if (sender === 'unreadable') notes.add('sender-unreadable')
  const dates = section.all('date')
  const date = dates.length === 1 ? parseDate(dates[0]!.body) : undefined
  if (dates.length === 1 && date === undefined) notes.add('date-unreadable')
  return {
    author,
    sender: sender === 'unreadable' ? undefined : sender,
    date,
    notes: [...notes],
    repeated,
  }
}

/** Lower-case names of the fields that stand more than once, and may not (RFC 5322 §3.6). */
export function repeatedFields(section: HeaderSection): readonly string[] {
  return SINGLETONS.filter(name => section.all(name).length > 1)
}

function readAuthor(fields: readonly HeaderField[], notes: Set<AuthorNote>): Author {
  for (const { body } of fields) if (HIDDEN.test(body)) notes.add('from-control-characters')
  const [field, other] = fields
  if (field === undefined) return none('from-missing', 'there is no From field')
  if (other !== undefined) return none('from-twice', `there are ${fields.length} From fields`)
  if (!isPlainField(field)) {
    return none('from-unreadable', 'the From field is written in a form that readers disagree on')
  }
  const mailboxes = mailboxesOf(field)
  if (!Array.isArray(mailboxes)) return mailboxes
  const parts = partsOf(field.body)
  if (parts.isGroup) return none('from-group', 'the From field names a group')
  const [mailbox] = mailboxes
  if (mailbox === undefined || mailboxes.length > 1) {
    return none('from-several-mailboxes', `the From field has ${mailboxes.length} mailboxes`)
  }
  if (ENCODED_WORD.test(mailbox.localPart)) {
    return none('from-encoded-address', 'the address in the From field is an encoded word')
  }
  const displayName = lookAt(parts, mailbox, notes)
  return { kind: 'one', mailbox, displayName }
}

function mailboxesOf({ body }: HeaderField): Mailbox[] | Extract<Author, { kind: 'none' }> {
  try {
    return parseMailboxList(body)
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return none('from-unreadable', error.message)
  }
}

function none(reason: AuthorFault, detail: string): Extract<Author, { kind: 'none' }> {
  return { kind: 'none', reason, detail }
}

function readSender(fields: readonly HeaderField[]): Mailbox | 'unreadable' | undefined {
  if (fields.length === 0) return undefined
  if (fields.length > 1 || !isPlainField(fields[0]!)) return 'unreadable'
  const mailboxes = mailboxesOf(fields[0]!)
  if (!Array.isArray(mailboxes) || mailboxes.length !== 1) return 'unreadable'
  const isOdd = partsOf(fields[0]!.body).isGroup || ENCODED_WORD.test(mailboxes[0]!.localPart)
  return isOdd ? 'unreadable' : mailboxes[0]!
}

/** What stands around the address in a From field whose syntax is right. */
interface FieldParts {
  readonly isGroup: boolean
  /** In front of the angle bracket, quoted pairs and quotes resolved; else empty. */
  readonly phrase: string
  readonly comments: readonly string[]
}

function partsOf(body: string): FieldParts {
  const comments: string[] = []
  let isGroup = false
  let phrase: string | undefined
  let text = ''
  for (let at = 0; at < body.length; at++) {
    const character = body[at]!
    if (character === '"' || character === '(' || character === '[') {
      const end = behind(body, at)
      const inside = body.slice(at + 1, end - 1).replace(/\\(.)/gsu, '$1')
      if (character === '(') comments.push(inside)
      else text += character === '"' ? inside : body.slice(at, end)
      at = end - 1
    } else if (character === '<') {
      phrase ??= text
      text = ''
    } else {
      if (character === ':') isGroup = true
      text += character
    }
  }
  return { isGroup, phrase: phrase ?? '', comments }
}

/** Index behind the quoted string, comment or domain literal that begins at `start`. */
function behind(body: string, start: number): number {
  const opening = body[start]!
  const closing = CLOSING[opening as keyof typeof CLOSING]
  let depth = 0
  for (let at = start; at < body.length; at++) {
    const character = body[at]!
    if (character === '\\') at++
    else if (character === closing && (closing !== '"' || at > start)) {
      if (--depth <= 0) return at + 1
    } else if (character === opening && opening === '(') depth++
  }
  return body.length
}

/** Decodes the display name, and notes what it pretends. An obsolete comment is shown as a name too. */
function lookAt(parts: FieldParts, mailbox: Mailbox, notes: Set<AuthorNote>): string {
  const displayName = decodeEncodedWords(parts.phrase.trim() || (parts.comments[0] ?? ''))
  const shown = [parts.phrase, ...parts.comments].map(decodeEncodedWords)
  if (bearsOddMarks(shown.join(' '), mailbox)) notes.add('from-control-characters')
  for (const text of shown) {
    if (HIDDEN.test(text)) notes.add('from-control-characters')
    if (ENCODED_WORD.test(text)) notes.add('from-undecodable')
    if (PADDING.test(text)) notes.add('display-padding')
    if (holdsOtherAddress(text, mailbox)) notes.add('display-mismatch')
  }
  return displayName
}

/**
 * Whether a text has directional marks (UAX #9 §2.6) that are not there for a name's sake.
 *
 * Arabic and Hebrew names honestly bear them. But a mark is a letter without a shape: between the words
 * of an address that is written backwards they make a reader see it forwards, where no search for
 * addresses finds one. So they are taken among letters that run from right to left, where no at sign
 * stands and the author's own address has no direction but one.
 */
function bearsOddMarks(text: string, { domain, utf8 }: Mailbox): boolean {
  if (!MARKS.test(text)) return false
  const isPlain = !utf8 && !A_LABEL.test(domain)
  return !isPlain || !RIGHT_TO_LEFT.test(text) || asSeen(text).includes('@')
}

/** As an eye sees it: with letters of full width, look-alike at signs and dots, nothing invisible. */
function asSeen(text: string): string {
  return text.normalize('NFKC').replace(INVISIBLE, '').replace(AT_SIGNS, '@').replace(DOTS, '.')
}

/** Whether a text holds an address that is not the mailbox's, also with white space around the sign. */
function holdsOtherAddress(text: string, mailbox: Mailbox): boolean {
  const seen = asSeen(text.slice(0, MAX_NAME))
  let last = -1
  for (let at = seen.indexOf('@'); at >= 0; at = seen.indexOf('@', at + 1)) {
    const address = addressAround(seen, at, last)
    last = at
    // What is no address at all equals none.
    if (address !== undefined && matchKeyOf(address) !== mailbox.matchKey) return true
  }
  return false
}

/** `local@domain.tld` around an at sign; `undefined` where there is nothing of the kind. */
function addressAround(text: string, at: number, last: number): string | undefined {
  const left = text.slice(Math.max(last + 1, at - MAX_ADDRESS), at).trimEnd()
  const right = text.slice(at + 1, at + 1 + MAX_ADDRESS).trimStart()
  const localPart = left.slice(Math.max(...ADDRESS_ENDS.map(end => left.lastIndexOf(end))) + 1)
  const ends = ADDRESS_ENDS.map(end => right.indexOf(end)).filter(index => index >= 0)
  const domain = right.slice(0, Math.min(right.length, ...ends)).replace(/[.!?]+$/, '')
  return localPart !== '' && domain.slice(1).includes('.') ? `${localPart}@${domain}` : undefined
}

/** RFC 5322 §3.6: at most one of each. */
const SINGLETONS = [
  'date',
  'from',
  'sender',
  'reply-to',
  'to',
  'cc',
  'bcc',
  'message-id',
  'in-reply-to',
  'references',
  'subject',
]

const CLOSING = { '"': '"', '(': ')', '[': ']' } as const
const ENCODED_WORD = /=\?[^?]{1,75}\?[bq]\?/i

/**
 * What no name needs and what makes one look like another: controls but for HTAB, lone surrogates,
 * line and paragraph separators, bidirectional embeddings, overrides and isolates, characters of no
 * width, tags, and the mark of a failed decoding. Joiners stay: Persian and Indic names need them.
 */
const HIDDEN =
  /[\0-\x08\x0a-\x1f\x7f-\x9f\p{Cs}\u00ad\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\u{e0000}-\u{e007f}]/u
/** Left-to-right, right-to-left and Arabic letter mark. */
const MARKS = /[\u061c\u200e\u200f]/
/** Of the scripts that people write their names in; the Arabic letter mark is none, for all its name. */
const RIGHT_TO_LEFT =
  /(?=\p{L})[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u
const A_LABEL = /(?:^|\.)xn--/
const INVISIBLE =
  /[\0-\x08\x0a-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]|\u034f|\p{Variation_Selector}/gu
const AT_SIGNS = /[\uff20\ufe6b]/g
const DOTS = /[\u3002\uff0e\uff61\u2024\ufe52]/g
/** Nobody writes so much; two tabs and a full-width blank count as they look. */
const PADDING = /[\s\u2800\u3164\uffa0\u115f\u1160]{12}/u
const ADDRESS_ENDS = [
  ' ',
  '\t',
  '\u00a0',
  '<',
  '>',
  '(',
  ')',
  '[',
  ']',
  '"',
  "'",
  ',',
  ';',
  ':',
  '|',
]
/** What stands behind so many characters, no reader shows. */
const MAX_NAME = 10_000
const MAX_ADDRESS = 320
