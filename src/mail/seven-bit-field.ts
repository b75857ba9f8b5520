/**
 * Fields of body parts that a relay could alter, said in another way (RFC 2231, RFC 2047, RFC 5322 §2.2.3).
 *
 * @module
 */
import { isAscii, isUtf8 } from 'node:buffer'
import type { HeaderField } from './header-section.ts'

/**
 * The octets of a field, 7-bit and in lines of at most 998 octets.
 *
 * Only where the new octets say the same to every reader: a parameter of Content-Type and
 * Content-Disposition becomes an extended one (RFC 2231 §4), a Content-Description encoded words
 * (RFC 2047), and a long line is folded at white space that it has.
 *
 * @returns the octets as they came where they are safe, and `undefined` where there is no such way:
 *   in the header section of an attached message the words are somebody else's.
 */
export function sevenBitField(field: HeaderField): Buffer | undefined {
  const octets = encoded(field)
  return octets && (hasLongLine(octets) ? folded(octets) : octets)
}

/** Whether no relay could alter a field. */
export function isSafeField({ octets }: HeaderField): boolean {
  return isAscii(octets) && !hasLongLine(octets)
}

function encoded(field: HeaderField): Buffer | undefined {
  const { octets, key, name, body } = field
  if (isAscii(octets)) return octets
  // Without a charset there is nothing to say: who knows which letters these are.
  if (!isUtf8(octets)) return undefined
  if (key === 'content-description') {
    return Buffer.from(`${name}: ${encodedWords(body)}\r\n`, 'latin1')
  }
  if (key !== 'content-type' && key !== 'content-disposition') return undefined
  const value = withExtendedParameters(body)
  return value === undefined ? undefined : Buffer.from(`${name}: ${value}\r\n`, 'latin1')
}

/** Words of at most 75 characters, none with half a character (RFC 2047 §2, §5). */
function encodedWords(text: string): string {
  const words: string[] = []
  let word = ''
  for (const character of text) {
    if (Buffer.byteLength(word + character) > ENCODED_WORD_OCTETS) {
      words.push(word)
      word = ''
    }
    word += character
  }
  words.push(word)
  return words.map(each => `=?utf-8?B?${Buffer.from(each).toString('base64')}?=`).join('\r\n ')
}

function withExtendedParameters(body: string): string | undefined {
  const [head = '', ...parameters] = splitParameters(body)
  // In comments and in broken strings a semicolon is another thing to each reader.
  if (NON_ASCII.test(head) || head.includes('(')) return undefined
  const names = new Set(parameters.map(parameter => nameOf(parameter)))
  const values: string[] = [head.trimEnd()]
  for (const parameter of parameters) {
    if (!NON_ASCII.test(parameter)) values.push(parameter)
    // The extended form beside it says the same, and better.
    else if (!names.has(`${nameOf(parameter)}*`)) {
      const extended = extendedParameter(parameter)
      if (extended === undefined) return undefined
      values.push(extended)
    }
  }
  return values.map(value => value.trim()).join(';\r\n\t')
}

/** Cuts at the semicolons that are outside of quoted strings. */
function splitParameters(body: string): string[] {
  const pieces: string[] = []
  let start = 0
  let isQuoted = false
  for (let at = 0; at < body.length; at++) {
    const character = body[at]
    if (isQuoted && character === '\\') at++
    else if (character === '"') isQuoted = !isQuoted
    else if (character === ';' && !isQuoted) {
      pieces.push(body.slice(start, at))
      start = at + 1
    }
  }
  pieces.push(body.slice(start))
  return pieces
}

function nameOf(parameter: string): string {
  return parameter.split('=', 1)[0]!.trim().toLowerCase()
}

/** `name="für"` as `name*=utf-8''f%C3%BCr` (RFC 2231 §4). */
function extendedParameter(parameter: string): string | undefined {
  const name = nameOf(parameter)
  if (!EXTENSIBLE.has(name)) return undefined
  const raw = parameter.slice(parameter.indexOf('=') + 1).trim()
  const quoted = QUOTED_STRING.exec(raw)
  if (!quoted && NO_TOKEN.test(raw)) return undefined
  const value = quoted ? quoted[1]!.replace(/\\(.)/gs, '$1') : raw
  const characters = encodeURIComponent(value).replace(/['()*]/g, percent)
  return characters.length > MAX_VALUE_CHARACTERS ? undefined : `${name}*=utf-8''${characters}`
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

function hasLongLine(octets: Buffer): boolean {
  if (octets.length <= MAX_LINE_OCTETS) return false
  return octets
    .toString('latin1')
    .split('\n')
    .some(line => line.length > MAX_LINE_OCTETS + 1)
}

/** A line may be broken ahead of white space, and means the same (RFC 5322 §2.2.3). */
function folded(octets: Buffer): Buffer | undefined {
  const lines = octets.toString('latin1').split('\r\n')
  const safe = lines.flatMap(line => foldedLine(line))
  if (safe.some(line => line.length > MAX_LINE_OCTETS)) return undefined
  return Buffer.from(safe.join('\r\n'), 'latin1')
}

function foldedLine(line: string): string[] {
  const pieces: string[] = []
  let rest = line
  while (rest.length > MAX_LINE_OCTETS) {
    const blank = Math.max(
      rest.lastIndexOf(' ', MAX_LINE_OCTETS - 1),
      rest.lastIndexOf('\t', MAX_LINE_OCTETS - 1),
    )
    // A line of white space alone would end the header section for some (RFC 5322 §4.2).
    if (blank <= 0 || rest.slice(0, blank).trim() === '' || rest.slice(blank).trim() === '') break
    pieces.push(rest.slice(0, blank))
    rest = rest.slice(blank)
  }
  return [...pieces, rest]
}

const MAX_LINE_OCTETS = 998
/** 45 octets are 60 characters of base64; with the frame of a word 72. */
const ENCODED_WORD_OCTETS = 45
/** One line; longer ones would need continuations, which fewer readers join. */
const MAX_VALUE_CHARACTERS = 900
/** Parameters that name something for people. In others an octet of 8 bits is a riddle. */
const EXTENSIBLE = new Set(['name', 'filename'])
const NON_ASCII = /[^\x00-\x7f]/
const QUOTED_STRING = /^"((?:[^"\\]|\\.)*)"$/s
const NO_TOKEN = /["\\(),;<>@[\]]/
