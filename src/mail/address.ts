/**
 * Mailboxes: parsed once, then compared and printed, never looked into again.
 *
 *     MAIL, RCPT ──▶ parsePath ─────┐
 *     one address ─▶ parseMailbox ──┼──▶ Mailbox ──▶ equals · matchKey · toString
 *     From, Sender ▶ parseMailboxList ┘
 *
 * There is one parser of `local-part@domain` behind all three, so that no decision of ours can see
 * another address than the next.
 *
 * @module
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'
import { PosternError } from '../errors.ts'

let mailbox: (localPart: string, domain: string) => Mailbox

/** `local-part@domain` (RFC 5321 §2.3.11). Only the parsers of this module make one. */
export class Mailbox {
  /** Without quotes and backslashes, in its own case; never empty, no control characters. */
  readonly localPart: string
  /** Lower case A-labels, or an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. */
  readonly domain: string

  private constructor(localPart: string, domain: string) {
    this.localPart = localPart
    this.domain = domain
  }

  static {
    mailbox = (localPart, domain) => new Mailbox(localPart, domain)
  }

  /** Whether the local part needs SMTPUTF8 on the way (RFC 6531). */
  get utf8(): boolean {
    return !isAscii(this.localPart)
  }

  /**
   * What certificates and policy compare: the local part without regard to ASCII case
   * (RFC 8550 §3), other characters as they are. Never NFKC: look-alikes stay apart.
   */
  get matchKey(): string {
    return `${this.localPart.replace(/[A-Z]+/g, upper => upper.toLowerCase())}@${this.domain}`
  }

  /** SMTP's comparison: the local part keeps its case, the domain has none (RFC 5321 §2.4). */
  equals(other: Mailbox): boolean {
    return this.localPart === other.localPart && this.domain === other.domain
  }

  /** The addr-spec, its local part quoted again where it is no dot-string. */
  toString(): string {
    const localPart = DOT_STRING.test(this.localPart)
      ? this.localPart
      : `"${this.localPart.replace(/["\\]/g, '\\$&')}"`
    return this.domain === '' ? localPart : `${localPart}@${this.domain}`
  }
}

/**
 * Parses `local-part@domain` as SMTP writes it (RFC 5321 §4.1.2, RFC 6531 §3.3), without angle
 * brackets, white space or comments.
 *
 * @throws {PosternError} `ERR_ADDRESS_SYNTAX`.
 */
export function parseMailbox(text: string): Mailbox {
  const at = text.startsWith('"') ? endOfQuotedString(text, 0) : text.indexOf('@')
  if (at < 0 || text[at] !== '@') throw fault('has no "@" after its local part')
  const localPart = parseLocalPart(text.slice(0, at))
  return mailbox(localPart, parseDomain(text.slice(at + 1)))
}

/** The match key of an address as somebody wrote it; undefined where it is none. */
export function matchKeyOf(text: string): string | undefined {
  try {
    return parseMailbox(text).matchKey
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

/**
 * Parses the path of MAIL or RCPT, in angle brackets (RFC 5321 §4.1.2). A source route is dropped,
 * as RFC 5321 Appendix C allows.
 *
 * @returns `null` for `<>`.
 * @param options.postmaster Whether `<Postmaster>` is taken (RFC 5321 §4.5.1): RCPT alone may say
 *   so. Its domain is empty.
 * @throws {PosternError} `ERR_ADDRESS_SYNTAX`.
 */
export function parsePath(text: string, options?: { postmaster?: boolean }): Mailbox | null {
  if (!text.startsWith('<') || !text.endsWith('>') || text.length < 2) {
    throw fault('is not in angle brackets')
  }
  const path = text.slice(1, -1)
  if (path === '') return null
  if (options?.postmaster && /^postmaster$/i.test(path)) return mailbox(path, '')
  return parseMailbox(path.startsWith('@') ? withoutSourceRoute(path) : path)
}

/**
 * Parses the body of a From or Sender field (RFC 5322 §3.4, groups as RFC 6854 allows them there).
 *
 * Strict, for decisions hang on it: what two readers could understand in two ways (an unquoted
 * comma or `@` in a display name, white space around `@`, a route, a control character) is refused.
 *
 * @param fieldBody Unfolded.
 * @returns All mailboxes, those of groups too, in their order; none where there are empty groups only.
 * @throws {PosternError} `ERR_ADDRESS_SYNTAX`.
 */
export function parseMailboxList(fieldBody: string): Mailbox[] {
  if (fieldBody.length > MAX_LIST_OCTETS) throw fault('list is too long')
  if (CONTROL.test(fieldBody)) throw fault('list has a control character')
  const list: ListReader = { text: fieldBody, at: 0, mailboxes: [] }
  for (;;) {
    readAddress(list, true)
    if (list.at === fieldBody.length) return list.mailboxes
    if (fieldBody[list.at] !== ',') throw malformedList(list)
    list.at++
  }
}

/** Whether the mailbox belongs to one of the domains, which are lower case A-labels. */
export function mailboxInDomains(
  { domain }: Pick<Mailbox, 'domain'>,
  domains: ReadonlySet<string>,
): boolean {
  return domains.has(domain)
}

/**
 * Parses a domain or an address literal (RFC 5321 §4.1.2, §4.1.3), U-labels to A-labels (RFC 5890).
 *
 * @returns Lower case.
 * @throws {PosternError} `ERR_ADDRESS_SYNTAX`.
 */
export function parseDomain(text: string): string {
  if (text.length > MAX_DOMAIN_OCTETS) throw fault('has a domain longer than 255 octets')
  if (text.startsWith('[')) return parseAddressLiteral(text)
  const domain = isAscii(text) ? text.toLowerCase() : toALabels(text)
  if (domain.length > MAX_DOMAIN_OCTETS) throw fault('has a domain longer than 255 octets')
  if (!DOMAIN.test(domain)) throw fault('has a malformed domain')
  if (domain.includes('xn--') && !hasValidALabels(domain)) {
    throw fault('has a domain with an invalid A-label')
  }
  // A number at the end is an address written without brackets: 127.1, 0x7f.1 (RFC 5321 §4.1.3).
  if (NUMERIC_END.test(domain)) throw fault('has a number for a domain')
  return domain
}

/**
 * Maps case and nothing else. What the URL standard would also do (full-width letters and dots,
 * characters that vanish, percent-decoding) would make one mailbox out of two.
 */
function toALabels(text: string): string {
  const lower = Array.from(text, character => character.toLowerCase()).join('')
  if (!U_LABELS.test(lower)) throw fault('has a malformed domain')
  const ascii = domainToASCII(lower)
  if (ascii === '') throw fault('has a domain that is no internationalised domain name')
  if (domainToUnicode(ascii) !== lower.normalize('NFC')) {
    throw fault('has a domain with characters that stand for others')
  }
  return ascii
}

/** An A-label that stands for no U-label could be read as anything (RFC 5891 §5.4). */
function hasValidALabels(domain: string): boolean {
  const unicode = domainToUnicode(domain)
  return !/(?:^|\.)xn--/.test(unicode) && domainToASCII(unicode) === domain
}

function parseAddressLiteral(text: string): string {
  const literal = text.endsWith(']') ? text.slice(1, -1) : ''
  if (isIPv4(literal)) return `[${literal}]`
  const address = /^ipv6:/i.test(literal) ? literal.slice(5) : ''
  if (!isIPv6(address) || address.includes('%')) throw fault('has a malformed address literal')
  return `[IPv6:${new SocketAddress({ address, family: 'ipv6' }).address}]`
}

function parseLocalPart(text: string): string {
  const quoted = text.startsWith('"')
  const localPart = quoted ? text.slice(1, -1).replace(/\\(.)/gsu, '$1') : text
  if (localPart === '') throw fault('has an empty local part')
  if (
    localPart.length > MAX_LOCAL_PART_OCTETS ||
    Buffer.byteLength(localPart) > MAX_LOCAL_PART_OCTETS
  ) {
    throw fault('has a local part longer than 255 octets')
  }
  if (!quoted && !DOT_STRING.test(localPart)) throw fault('has a malformed local part')
  if (UNSEEN.test(localPart)) throw fault('has a character in its local part that cannot be seen')
  return localPart
}

function withoutSourceRoute(path: string): string {
  const colon = path.indexOf(':')
  if (colon < 0) throw fault('has a source route without end')
  for (const hop of path.slice(0, colon).split(',')) {
    if (!hop.startsWith('@')) throw fault('has a malformed source route')
    parseDomain(hop.slice(1))
  }
  return path.slice(colon + 1)
}

interface ListReader {
  readonly text: string
  at: number
  readonly mailboxes: Mailbox[]
}

/** Reads a mailbox or, where it is allowed, a group; `at` then stands behind it and its comments. */
function readAddress(list: ListReader, groupAllowed: boolean): void {
  skipCFWS(list)
  const start = list.at
  for (;;) {
    skipWord(list)
    const character = list.text[list.at]
    if (character === '<') break
    // What stands in front of `@` is taken whole: with white space in it, it is no mailbox.
    if (list.at > start && (character === '@' || (character === ':' && groupAllowed))) break
    const spaceAt = list.at
    skipCFWS(list)
    if (list.at === spaceAt) throw malformedList(list)
  }
  if (list.text[list.at] === '<') readAngleAddr(list)
  else if (list.text[list.at] === '@') readAddrSpec(list, start)
  else readGroup(list)
}

/** At `:`. */
function readGroup(list: ListReader): void {
  list.at++
  skipCFWS(list)
  if (list.text[list.at] !== ';') readAddress(list, false)
  while (list.text[list.at] === ',') {
    list.at++
    readAddress(list, false)
  }
  if (list.text[list.at] !== ';') throw malformedList(list)
  list.at++
  skipCFWS(list)
}

/** At `@`, the local part from `start` on. RFC 5322 §3.4.1 advises against white space around `@`. */
function readAddrSpec(list: ListReader, start: number): void {
  list.at++
  if (list.text[list.at] === '[') list.at = endOfLiteral(list)
  else skipWord(list)
  list.mailboxes.push(parseMailbox(list.text.slice(start, list.at)))
  skipCFWS(list)
}

/** At `<`. White space just inside the brackets is no part of the address; a comment is refused. */
function readAngleAddr(list: ListReader): void {
  list.at++
  skipSpace(list)
  const start = list.at
  skipWord(list)
  if (list.text[list.at] !== '@') throw malformedList(list)
  list.at++
  if (list.text[list.at] === '[') list.at = endOfLiteral(list)
  else skipWord(list)
  const end = list.at
  skipSpace(list)
  if (list.text[list.at] !== '>') throw malformedList(list)
  list.at++
  list.mailboxes.push(parseMailbox(list.text.slice(start, end)))
  skipCFWS(list)
}

/** Skips atoms, dots and quoted strings that touch each other. */
function skipWord(list: ListReader): void {
  for (;;) {
    if (list.text[list.at] === '"') {
      list.at = endOfQuotedString(list.text, list.at)
      if (list.at < 0) throw fault('list has a quoted string without end')
      continue
    }
    ATOM_RUN.lastIndex = list.at
    if (!ATOM_RUN.test(list.text)) return
    list.at = ATOM_RUN.lastIndex
  }
}

function skipSpace(list: ListReader): void {
  while (list.text[list.at] === ' ' || list.text[list.at] === '\t') list.at++
}

/** Skips white space and comments, which nest (RFC 5322 §3.2.2). */
function skipCFWS(list: ListReader): void {
  let depth = 0
  for (; list.at < list.text.length; list.at++) {
    const character = list.text[list.at]
    if (character === '(') {
      if (++depth > MAX_COMMENT_DEPTH) throw fault('list has comments nested too deep')
    } else if (depth === 0) {
      if (character !== ' ' && character !== '\t') return
    } else if (character === ')') depth--
    else if (character === '\\') list.at++
  }
  if (depth > 0) throw fault('list has a comment without end')
}

/** Index behind the quoted string that begins at `start`, -1 where it does not end. */
function endOfQuotedString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const character = text[at]
    if (character === '"') return at + 1
    if (character === '\\') at++
  }
  return -1
}

function endOfLiteral(list: ListReader): number {
  const end = list.text.indexOf(']', list.at)
  if (end < 0) throw malformedList(list)
  return end + 1
}

function isAscii(text: string): boolean {
  return !/[^\0-\x7f]/.test(text)
}

function malformedList(list: ListReader): PosternError {
  return fault(`list is malformed at character ${list.at + 1}`)
}

function fault(what: string): PosternError {
  return new PosternError('ERR_ADDRESS_SYNTAX', 'permanent', `address ${what}`)
}

/**
 * RFC 5321 §4.5.3.1.1 asks for 64 at least, and for no limit where that can be helped: bounce addresses
 * that carry a recipient (VERP, SRS, BATV) are longer, and their mail must not be lost here.
 */
const MAX_LOCAL_PART_OCTETS = 255
/** RFC 5321 §4.5.3.1.2. */
const MAX_DOMAIN_OCTETS = 255
const MAX_COMMENT_DEPTH = 50
/** No header section is longer. */
const MAX_LIST_OCTETS = 100 * 1024

/** RFC 5322 §3.2.3 with RFC 6532 §3.2. */
const DOT_STRING =
  /^[!#-'*+\-/-9=?A-Z^-~\u0080-\u{10ffff}]+(?:\.[!#-'*+\-/-9=?A-Z^-~\u0080-\u{10ffff}]+)*$/u
const ATOM_RUN = /[!#-'*+\--9=?A-Z^-~\u0080-\u{10ffff}]+/uy
/**
 * Letters, digits and hyphens (RFC 5321 §4.1.2), and the underscore that hosts of old networks bear
 * in their names; labels of 63 octets (RFC 1035 §2.3.4).
 */
const DOMAIN = /^(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*$/
const NUMERIC_END = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/
const U_LABELS = /^[a-z0-9_.\-\u0080-\u{10ffff}]+$/u
const CONTROL = /[\0-\x08\x0a-\x1f\x7f-\x9f]/
/**
 * Controls, lone surrogates, the mark of a failed decoding; white space other than U+0020;
 * characters without a shape of their own. Joiners stay: Persian and Indic words need them.
 */
const UNSEEN =
  /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u202a-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffd]/u
