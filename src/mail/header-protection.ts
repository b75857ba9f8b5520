/**
 * Header fields that are protected together with the body (RFC 9788).
 *
 *     outer header section ── compare ──▶ what was altered on the way
 *              │
 *     Content-Type: …; hp="cipher"        the root of what was signed or encrypted
 *     Subject, From, To, …    ── restored ──▶ outer header section, with the author's own words
 *     HP-Outer: Subject: […]              what the author left outside instead
 *
 * Nothing here knows whether a layer is verified: whoever asks does, and takes no word from one that
 * is not. Encryption alone verifies nothing (RFC 8551 §6).
 *
 * @module
 */
import { authorOf, repeatedFields } from './author.ts'
import { decodeEncodedWords } from './encoded-word.ts'
import type { Entity } from './entity.ts'
import { type HeaderField, HeaderSection, parseHeaderSection } from './header-section.ts'
import { contentTypeOf } from './media-type.ts'
import { isPlainField, isPrintableField } from './plain-field.ts'
import { isSafeField } from './seven-bit-field.ts'
import { subjectField } from './subject.ts'

/** The fields of a message that stand within its protected entity. */
export type Protection =
  | {
      /** RFC 9788 §2.1. */
      readonly kind: 'protected'
      /** What the author did: signed only, or encrypted too. Not what was found. */
      readonly mode: 'clear' | 'cipher'
      readonly fields: readonly HeaderField[]
      /** What the author left outside (RFC 9788 §2.2); empty for `clear`, where all is outside. */
      readonly outer: readonly OuterField[]
    }
  | {
      /** The older form of RFC 8551 §3.1: a whole message as message/rfc822; forwarded=no. */
      readonly kind: 'wrapped'
      readonly fields: readonly HeaderField[]
    }

/** A field as HP-Outer repeats it. */
export interface OuterField {
  /** Lower case. */
  readonly key: string
  readonly body: string
}

/** How the outer fields stand to the protected ones. */
export interface Comparison {
  /**
   * Whether both name the same one author; `absent` where no From is protected. Where it `differs`, the
   * protected one is another claim, not a better one: RFC 9788 §4.4 has a reader warn. A name that
   * pretends to be another author's is such a claim, too.
   */
  readonly from: 'same' | 'differs' | 'absent'
  /** Lower-case names of the outer fields that are not as the author left them. */
  readonly differing: readonly string[]
  /** Lower-case names of the fields that were kept from the outside: encrypted, or said otherwise there. */
  readonly hidden: readonly string[]
}

/**
 * The protected fields that a header section bears.
 *
 * @param section Of the innermost entity that is protected: of what is signed, where a layer is.
 * @returns `undefined` where its Content-Type says nothing of them, or can be read in two ways. Fields
 *   that nobody may protect are left out: those that describe the body (RFC 9787 §1.1.1), and those that
 *   are written on the way: trace, verdicts, blind copies.
 */
export function protectedFields(
  section: HeaderSection,
): Extract<Protection, { kind: 'protected' }> | undefined {
  const mediaType = contentTypeOf(section)
  const mode = mediaType.parameters.get('hp')?.toLowerCase()
  if (mediaType.ambiguous || (mode !== 'clear' && mode !== 'cipher')) return undefined
  const outer = mode === 'cipher' ? section.all(HP_OUTER).flatMap(outerField) : []
  return { kind: 'protected', mode, fields: section.fields.filter(isProtectable), outer }
}

/**
 * The fields of a message that is wrapped for their protection (RFC 8551 §3.1).
 *
 * @returns `undefined` for any other entity, a forwarded message too.
 */
export function wrappedFields({
  mediaType,
  children,
}: Pick<Entity, 'mediaType' | 'children'>): Extract<Protection, { kind: 'wrapped' }> | undefined {
  const [message] = children
  const isWrapper =
    mediaType.essence === 'message/rfc822' &&
    mediaType.parameters.get('forwarded')?.toLowerCase() === 'no'
  if (!isWrapper || mediaType.ambiguous || message === undefined) return undefined
  return { kind: 'wrapped', fields: message.headerSection.fields.filter(isProtectable) }
}

/** Compares what stands outside with what the author put there, white space and encoded words apart. */
export function compare(outer: HeaderSection, protection: Protection): Comparison {
  const left = leftOutside(protection)
  const inside = protection.fields.map(({ key, body }) => ({ key, body }))
  const keys = new Set([...inside, ...left].map(({ key }) => key))
  const differing = [...keys].filter(
    key => !isDeepEqual(wordsOf(outer.fields, key), wordsOf(left, key)),
  )
  const hidden = [...new Set(inside.map(({ key }) => key))].filter(
    key => !isDeepEqual(wordsOf(inside, key), wordsOf(left, key)),
  )
  return { from: compareAuthors(outer, protection), differing, hidden }
}

/**
 * The outer fields, with the author's own in the place of those that a reader is shown.
 *
 * From is taken only where it names the same author. What the author did not write stays, but for the
 * fields that would speak for him: a Subject, or an address to reply to, that was added on the way.
 *
 * @param protection Of a verified layer.
 * @returns All in 7 bits; what cannot be said so, or is there twice, stays as it is outside.
 */
export function restored(
  outer: readonly HeaderField[],
  protection: Protection,
): readonly HeaderField[] {
  const inside = sectionOf(protection.fields)
  const own = ownFields(sectionOf(outer), inside, protection)
  const written = new Set<string>()
  const fields = outer.flatMap(field => {
    const replacement = own.get(field.key)
    if (replacement === undefined) {
      return SPEAKS_FOR_AUTHOR.has(field.key) && !inside.first(field.key) ? [] : [field]
    }
    if (written.has(field.key)) return []
    written.add(field.key)
    return replacement
  })
  const missing = [...own].filter(([key]) => !written.has(key)).flatMap(([, added]) => added)
  return [...fields, ...missing]
}

/** Name to fields, of those that are to be put in. */
function ownFields(
  outer: HeaderSection,
  inside: HeaderSection,
  protection: Protection,
): ReadonlyMap<string, readonly HeaderField[]> {
  const repeated = new Set(repeatedFields(inside))
  const own = new Map<string, readonly HeaderField[]>()
  for (const key of RESTORED) {
    if (key === 'from' && compareAuthors(outer, protection) !== 'same') continue
    const fields = inside.all(key).map(sayable)
    if (fields.length === 0 || repeated.has(key)) continue
    if (fields.every(field => field !== undefined)) own.set(key, fields)
  }
  return own
}

/** A field that may go on: well formed, in 7 bits and in lines that are short enough. */
function sayable(field: HeaderField): HeaderField | undefined {
  if (isPrintableField(field) && isSafeField(field)) return field
  if (field.key !== 'subject' || !isPlainField(field) || CONTROL.test(field.body)) return undefined
  return parseHeaderSection(subjectField(field.body)).fields[0]
}

function compareAuthors(outer: HeaderSection, { fields }: Protection): Comparison['from'] {
  const inside = sectionOf(fields)
  if (!inside.first('from')) return 'absent'
  const [shown, own] = [authorOf(outer), authorOf(inside)]
  const [one, other] = [shown.author, own.author]
  const isSame =
    one.kind === 'one' && other.kind === 'one' && one.mailbox.matchKey === other.mailbox.matchKey
  // Whoever shows the protected field shows what nobody has looked for in the one outside.
  const pretends = own.notes.some(note => OF_AUTHOR.test(note) && !shown.notes.includes(note))
  return isSame && !pretends ? 'same' : 'differs'
}

function leftOutside(protection: Protection): readonly OuterField[] {
  return protection.kind === 'protected' && protection.mode === 'cipher'
    ? protection.outer
    : protection.fields
}

/** `HP-Outer: Subject: [...]`. */
function outerField({ body }: HeaderField): OuterField[] {
  const colon = body.indexOf(':')
  const key = body.slice(0, Math.max(colon, 0)).trimEnd().toLowerCase()
  if (!NAME.test(key) || !isProtectableName(key)) return []
  return [{ key, body: body.slice(colon + 1).trim() }]
}

function isProtectable({ key }: HeaderField): boolean {
  return isProtectableName(key)
}

function isProtectableName(key: string): boolean {
  return key !== HP_OUTER && !STRUCTURAL.test(key) && !ON_THE_WAY.test(key)
}

function sectionOf(fields: readonly HeaderField[]): HeaderSection {
  return new HeaderSection(fields, 0, 0)
}

/** What the fields of a name say. */
function wordsOf(fields: readonly OuterField[], key: string): string[] {
  return fields
    .filter(field => field.key === key)
    .map(({ body }) => decodeEncodedWords(body).replace(/[ \t]+/g, ' '))
}

function isDeepEqual(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, index) => text === other[index])
}

const HP_OUTER = 'hp-outer'
const NAME = /^[!-9;-~]+$/
const CONTROL = /[\0-\x08\x0a-\x1f\x7f-\x9f]/
const STRUCTURAL = /^(?:content-.*|mime-version)$/
/** Written by those who carry a message, or gone before it is carried: nothing of it is an author's. */
const ON_THE_WAY =
  /^(?:authentication-results.*|arc-.*|bcc|delivered-to|dkim-.*|domainkey-.*|envelope-.*|received.*|resent-.*|return-path|x-original-to|x-postern-.*|x-spam-.*)$/

/** What readers show of a message, and answer to (RFC 9787 §1.1.2). Message-ID names what was sent. */
const RESTORED = [
  'subject',
  'from',
  'to',
  'cc',
  'date',
  'keywords',
  'comments',
  'reply-to',
  'in-reply-to',
  'references',
]
/** Notes about how the author is written. */
const OF_AUTHOR = /^(?:display|from)-/
const SPEAKS_FOR_AUTHOR: ReadonlySet<string> = new Set([
  'subject',
  'keywords',
  'comments',
  'reply-to',
])
