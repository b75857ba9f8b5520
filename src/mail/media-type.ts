/**
 * Media types and transfer encodings: what a Content-Type and a Content-Transfer-Encoding field say
 * (RFC 2045 §5, §6), with the parameters of RFC 2231.
 *
 * Read as mail programs read it, and `ambiguous` wherever two of them could read it differently: a
 * decision that hangs on the type can then be declined.
 *
 * @module
 */
import { isAscii } from 'node:buffer'
import type { HeaderSection } from './header-section.ts'

/** A parsed Content-Type. */
export interface MediaType {
  /** Lower case. */
  readonly type: string
  /** Lower case. */
  readonly subtype: string
  /** `text/plain`: type and subtype, lower case. */
  readonly essence: string
  /**
   * Lower-case name to value, unquoted; continuations joined and charsets decoded (RFC 2231).
   * Encoded words (RFC 2047 §5 forbids them here) stay as they are.
   */
  readonly parameters: ReadonlyMap<string, string>
  /**
   * Another reader may understand another thing: a parameter twice, a conflict of RFC 2231 forms, a
   * broken quoted string, rubbish behind a value, several Content-Type fields, or none that parses.
   */
  readonly ambiguous: boolean
}

/** RFC 2045 §6.1; `unknown` where there is another word, or more than one. */
export type TransferEncoding =
  | '7bit'
  | '8bit'
  | 'binary'
  | 'quoted-printable'
  | 'base64'
  | 'unknown'

/** Parses the body of a Content-Type field; `undefined` where it names no type and subtype. */
export function parseMediaType(fieldBody: string): MediaType | undefined {
  const reader: Reader = { text: fieldBody, at: 0, ambiguous: false }
  const type = readToken(reader).toLowerCase()
  if (!skip(reader, '/')) return undefined
  const subtype = readToken(reader).toLowerCase()
  if (type === '' || subtype === '') return undefined
  const raw = readParameters(reader)
  const parameters = joinParameters(raw, reader)
  return {
    type,
    subtype,
    essence: `${type}/${subtype}`,
    parameters,
    ambiguous: reader.ambiguous,
  }
}

/**
 * The media type of an entity: `text/plain; charset=us-ascii` where there is no Content-Type, or
 * none that parses (RFC 2045 §5.2). Of several fields the first is read.
 */
export function contentTypeOf(section: HeaderSection): MediaType {
  const [first, ...others] = contentTypesOf(section)
  return others.length === 0 ? first : { ...first, ambiguous: true }
}

/** What each Content-Type field of an entity says; the default of RFC 2045 §5.2 where there is none. */
export function contentTypesOf(section: HeaderSection): [MediaType, ...MediaType[]] {
  const [first, ...others] = section
    .all('content-type')
    .map(({ body }) => parseMediaType(body) ?? { ...DEFAULT_TYPE, ambiguous: true })
  return [first ?? DEFAULT_TYPE, ...others]
}

/** The transfer encoding of an entity, `7bit` where none is given (RFC 2045 §6.1). */
export function transferEncodingOf(section: HeaderSection): TransferEncoding {
  const fields = section.all('content-transfer-encoding')
  if (fields.length === 0) return '7bit'
  if (fields.length > 1) return 'unknown'
  const reader: Reader = { text: fields[0]!.body, at: 0, ambiguous: false }
  const word = readToken(reader).toLowerCase()
  // Some write `7bit;`, and all readers take it.
  while (skip(reader, ';'));
  if (reader.at < reader.text.length) return 'unknown'
  return TRANSFER_ENCODINGS.find(encoding => encoding === word) ?? 'unknown'
}

interface Reader {
  readonly text: string
  at: number
  ambiguous: boolean
}

type RawParameter = readonly [name: string, value: string]

/** All `; name=value`, in their order, as they stand. */
function readParameters(reader: Reader): RawParameter[] {
  const raw: RawParameter[] = []
  for (let count = 0; reader.at < reader.text.length; count++) {
    if (count === MAX_PARAMETERS) {
      reader.ambiguous = true
      break
    }
    if (!skip(reader, ';')) {
      reader.ambiguous = true
      skipToSemicolon(reader)
      continue
    }
    const name = readToken(reader).toLowerCase()
    if (skip(reader, '=')) raw.push([name, readValue(reader)])
    else if (name !== '') reader.ambiguous = true
  }
  return raw
}

/** A token between white space and comments; `''` where there is none. */
function readToken(reader: Reader): string {
  skipCFWS(reader)
  const token = match(reader, TOKEN)
  skipCFWS(reader)
  return token
}

/** Readers are kind to values that ought to be quoted: `boundary=a=b`, `name=a/b`. */
function readValue(reader: Reader): string {
  skipCFWS(reader)
  const value = reader.text[reader.at] === '"' ? readQuotedString(reader) : match(reader, LOOSE)
  skipCFWS(reader)
  return value
}

function readQuotedString(reader: Reader): string {
  const start = reader.at + 1
  const { text } = reader
  let end = start
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1
  if (end >= text.length) reader.ambiguous = true
  reader.at = Math.min(end + 1, text.length)
  return unescaped(text.slice(start, end))
}

/** Without the backslashes of quoted pairs (RFC 5322 §3.2.1); one at the end escapes nothing. */
function unescaped(text: string): string {
  let value = ''
  let from = 0
  for (;;) {
    const backslash = text.indexOf('\\', from)
    if (backslash < 0) return value + text.slice(from)
    value += text.slice(from, backslash) + text.slice(backslash + 1, backslash + 2)
    from = backslash + 2
  }
}

function skip(reader: Reader, character: string): boolean {
  if (reader.text[reader.at] !== character) return false
  reader.at++
  skipCFWS(reader)
  return true
}

/** Skips white space and comments, which nest (RFC 5322 §3.2.2). */
function skipCFWS(reader: Reader): void {
  let depth = 0
  for (; reader.at < reader.text.length; reader.at++) {
    const character = reader.text[reader.at]!
    if (character === '(') depth++
    else if (depth === 0) {
      if (!WHITE_SPACE.includes(character)) return
    } else if (character === ')') depth--
    else if (character === '\\') reader.at++
  }
  if (depth > 0) reader.ambiguous = true
}

function skipToSemicolon(reader: Reader): void {
  const semicolon = reader.text.indexOf(';', reader.at)
  reader.at = semicolon < 0 ? reader.text.length : semicolon
}

function match(reader: Reader, sticky: RegExp): string {
  sticky.lastIndex = reader.at
  const found = sticky.exec(reader.text)?.[0] ?? ''
  reader.at += found.length
  return found
}

/** One value a name, from plain parameters and those of RFC 2231. The first of two equals counts. */
function joinParameters(raw: readonly RawParameter[], reader: Reader): Map<string, string> {
  const parameters = new Map<string, string>()
  const pieces = new Map<string, Piece[]>()
  for (const [name, value] of raw) {
    const extended = EXTENDED_NAME.exec(name)
    if (extended) remember(pieces, extended[1]!, pieceOf(extended, value))
    else if (name === '' || parameters.has(name)) reader.ambiguous = true
    else parameters.set(name, value)
  }
  for (const [name, ofName] of pieces) {
    const value = joinPieces(ofName, reader)
    if (value === undefined) continue
    // A plain one beside it is meant for readers that do not know RFC 2231.
    if (parameters.has(name) && parameters.get(name) !== value) reader.ambiguous = true
    parameters.set(name, value)
  }
  return parameters
}

/** A part of a value: `title*1*=%e2%82`. */
interface Piece {
  /** 0 for the first and for one that stands alone. */
  readonly index: number
  /** Stands alone: `title*=`. */
  readonly alone: boolean
  readonly encoded: boolean
  readonly value: string
}

function pieceOf([, , index, star]: RegExpExecArray, value: string): Piece {
  const alone = index === undefined
  return { index: alone ? 0 : Number(index), alone, encoded: alone || star === '*', value }
}

function remember(pieces: Map<string, Piece[]>, name: string, piece: Piece): void {
  const ofName = pieces.get(name)
  if (ofName) ofName.push(piece)
  else pieces.set(name, [piece])
}

/** Joins `name*0`, `name*1` … in the order of their numbers (RFC 2231 §3, §4.1). */
function joinPieces(pieces: Piece[], reader: Reader): string | undefined {
  pieces.sort((a, b) => a.index - b.index)
  const inSequence = pieces.findIndex((piece, index) => piece.index !== index)
  const usable = inSequence < 0 ? pieces : pieces.slice(0, inSequence)
  if (usable.length < pieces.length || (pieces.length > 1 && pieces.some(piece => piece.alone))) {
    reader.ambiguous = true
  }
  if (usable.length === 0) return undefined
  const charset = usable[0]!.encoded ? CHARSET.exec(usable[0]!.value) : null
  if (usable[0]!.encoded && !charset) reader.ambiguous = true
  const octets = usable.map(({ encoded, value }, index) => {
    const text = index === 0 && charset ? value.slice(charset[0].length) : value
    return encoded ? percentDecoded(text) : Buffer.from(text)
  })
  return decoded(Buffer.concat(octets), charset?.[1] || 'utf-8', reader)
}

function percentDecoded(text: string): Buffer {
  if (!text.includes('%')) return Buffer.from(text)
  const octets = Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(octets, 'latin1')
}

function decoded(octets: Buffer, charset: string, reader: Reader): string {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(octets)
  } catch {
    // No such charset, or octets that are none of it. ASCII is ASCII under most names.
    if (!isAscii(octets)) reader.ambiguous = true
    return octets.toString('latin1')
  }
}

const DEFAULT_TYPE: MediaType = {
  type: 'text',
  subtype: 'plain',
  essence: 'text/plain',
  parameters: new Map([['charset', 'us-ascii']]),
  ambiguous: false,
}

const TRANSFER_ENCODINGS = ['7bit', '8bit', 'binary', 'quoted-printable', 'base64'] as const

/** What stands behind so many is not read. */
const MAX_PARAMETERS = 1000

const WHITE_SPACE = ' \t\r\n'
/** RFC 2045 §5.1. */
const TOKEN = /[!#-'*+\-.0-9A-Z^-~]+/y
const LOOSE = /[^;\s"(\\]+/y
/** `name*`, `name*3`, `name*3*`. */
const EXTENDED_NAME = /^([^*]+)\*(?:(0|[1-9][0-9]{0,4})(\*)?)?$/
/** `charset'language'`. */
const CHARSET = /^([^']*)'[^']*'/
