/**
 * Whose result an Authentication-Results field tells (RFC 8601 §2.2).
 *
 *     Authentication-Results: gw.example.test 1; smime=pass …
 *                             └ authserv-id ┘ └ version
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { domainToUnicode } from 'node:url'
import { decodeEncodedWords } from './encoded-word.ts'
import type { HeaderField } from './header-section.ts'
import { skeleton } from './look-alike.ts'

/**
 * Whether a field may be taken for an Authentication-Results field of a server: by its name and the
 * authserv-id, as strict readers, lenient ones and people see them.
 *
 * RFC 8601 §5 has a border remove every such field. So whatever is not certain to speak for somebody
 * else is ours to remove: a field that is not written by the grammar, and also one without any
 * authserv-id, which some readers take for their own server's. A subdomain is somebody else.
 */
export function speaksFor(field: HeaderField, authservId: string): boolean {
  if (!isNamedAuthenticationResults(field)) return false
  const head = readHead(field)
  if (head === undefined) return true
  const ours = serverSkeleton(authservId)
  if (serverSkeleton(head.authservId) === ours) return true
  // Somebody's search for our name would find it in a comment too.
  if (skeleton(head.comments).includes(skeleton(authservId))) return true
  return looksLikeAnotherField(field.body)
}

/** What the name of a field looks like, also where somebody reads encoded words in it. */
export function nameSkeleton(name: string): string {
  return skeleton(name.includes('=?') ? decodeEncodedWords(name) : name)
}

interface Head {
  readonly authservId: string
  /** What the comments around it say. */
  readonly comments: string
}

/** Whether a field is named Authentication-Results, or what is easily taken for it. */
function isNamedAuthenticationResults({ key, name }: HeaderField): boolean {
  return key === NAME || (LIKELY.test(name) && nameSkeleton(name) === NAME_SKELETON)
}

/** What stands ahead of the results; `undefined` where that is not certain. */
function readHead(field: HeaderField): Head | undefined {
  const { body } = field
  const before = skipComments(body, 0)
  if (before === undefined) return undefined
  const id = readValue(body, before)
  if (id === undefined) return undefined
  let at = skipComments(body, id.end)
  if (at === undefined) return undefined
  VERSION.lastIndex = at
  if (VERSION.test(body)) at = skipComments(body, VERSION.lastIndex)
  if (at === undefined || (at < body.length && body[at] !== ';')) return undefined
  const head = body.slice(0, at)
  // Encoded words are no part of the grammar, and octets without a charset no letters.
  if (head.includes('=?') || UNSEEN.test(head)) return undefined
  if (BEYOND_ASCII.test(head) && !isUtf8(field.octets)) return undefined
  if (NO_NAME.test(id.value)) return undefined
  return { authservId: id.value, comments: head.replace(id.written, '') }
}

/**
 * Index behind white space and comments (CFWS, RFC 5322 §3.2.2), which may be nested; `undefined` where
 * one does not end.
 */
function skipComments(text: string, start: number): number | undefined {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    const character = text[at]!
    if (character === '(') depth++
    else if (character === ')' && depth > 0) depth--
    else if (character === '\\' && depth > 0) at++
    else if (depth === 0 && character !== ' ' && character !== '\t') return at
  }
  return depth === 0 ? text.length : undefined
}

/** A token, or a quoted string with nothing but a token in it (RFC 2045 §5.1). */
function readValue(
  text: string,
  start: number,
): { value: string; written: string; end: number } | undefined {
  VALUE.lastIndex = start
  const found = VALUE.exec(text)
  if (!found) return undefined
  const [written, quoted, token] = found
  return { value: (quoted ?? token)!, written, end: VALUE.lastIndex }
}

/** A name of a server without its case, what is around it, and the way its labels are written. */
function serverSkeleton(name: string): string {
  const readable = A_LABEL.test(name) && name.length <= MAX_DOMAIN ? domainToUnicode(name) : name
  return skeleton(readable || name)
    .replace(WHITE_SPACE, '')
    .replace(AROUND, '')
}

/** A reader who does not know of folding would see a field in a line of this one. */
function looksLikeAnotherField(body: string): boolean {
  const seen = skeleton(body)
  return seen.includes(NAME_SKELETON) || seen.includes(OURS_SKELETON)
}

const NAME = 'authentication-results'
/** Nearly all names are told by their first character. */
const LIKELY = /^[a4@=]/i
const NAME_SKELETON = skeleton(NAME)
const OURS_SKELETON = skeleton('x-postern-')
/** Without tspecials (RFC 2045 §5.1). Letters beyond ASCII are allowed by RFC 8601 §2.2. */
const VALUE =
  /"([^\0-\x20\x7f()<>@,;:\\"/[\]?=]{1,1024})"|([^\0-\x20\x7f()<>@,;:\\"/[\]?=]{1,1024})(?=[ \t;(]|$)/y
const VERSION = /\d{1,9}(?=[ \t;(]|$)/y
/** Controls (beside HTAB), and what nobody sees. */
const UNSEEN = /[\0-\x08\x0a-\x1f\x7f-\x9f]|\p{Default_Ignorable_Code_Point}|\p{Cf}|\u2800/u
const BEYOND_ASCII = /[^\0-\x7f]/
const A_LABEL = /xn--/i
const MAX_DOMAIN = 255
/** Beyond ASCII, a name of a server is made of letters. */
const NO_NAME = /[^\0-\x7f\p{L}\p{M}\p{N}]/u
/** Some characters are decomposed into a space and a mark. */
const WHITE_SPACE = /\s+/g
const AROUND = /^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu
