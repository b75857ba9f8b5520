/**
 * The Subject field, written anew without a word that was meant for the gateway.
 *
 *     field ── unfold, decode ──▶ text ── withoutWord ──▶ text ── subjectField ──▶ field
 *
 * @module
 */

/**
 * Takes every occurrence of a word out of a text, in either case, and one of the two spaces that then
 * meet. What comes together by it is looked at again: `[enc[encrypt]rypt]` hides no word.
 *
 * Linear in the length of the text.
 */
export function withoutWord(text: string, word: string): string {
  const wanted = Array.from(word, lower).join('')
  const kept: string[] = []
  let end = ''
  let removed = false
  for (const character of text) {
    if (removed && character === ' ' && (kept.length === 0 || kept.at(-1) === ' ')) continue
    removed = false
    kept.push(character)
    end = (end + lower(character)).slice(-wanted.length)
    if (wanted === '' || end !== wanted) continue
    kept.length -= Array.from(word).length
    end = kept.slice(-wanted.length).map(lower).join('').slice(-wanted.length)
    removed = true
  }
  return removed ? kept.join('').trimEnd() : kept.join('')
}

/**
 * A Subject field with this text: as it is where it is printable ASCII, else in encoded words of UTF-8
 * (RFC 2047 §2, §5). Folded to lines of at most 76 characters where there is white space to fold at.
 *
 * @returns Octets with the final CRLF. No character of the text ends the field or begins another.
 */
export function subjectField(text: string): Buffer {
  if (!PRINTABLE.test(text) || text.includes('=?') || LONG_RUN.test(text))
    return field(encodedWords(text))
  return field(text.trim().split(/ (?=[^ ])/))
}

function field(words: readonly string[]): Buffer {
  let line = 'Subject:'
  const lines: string[] = []
  for (const word of words) {
    if (line.trim() !== '' && line.length + 1 + word.length > MAX_LINE) {
      lines.push(line)
      line = ''
    }
    line += ` ${word}`
  }
  return Buffer.from(`${[...lines, line].join('\r\n').trimEnd()}\r\n`, 'latin1')
}

/** Each word holds whole characters (RFC 2047 §5), and at most 75 of them. */
function encodedWords(text: string): string[] {
  const words: string[] = []
  let chunk = ''
  let octets = 0
  for (const character of text) {
    const more = Buffer.byteLength(character)
    if (octets + more > MAX_WORD_OCTETS) {
      words.push(encodedWord(chunk))
      chunk = ''
      octets = 0
    }
    chunk += character
    octets += more
  }
  return [...words, encodedWord(chunk)]
}

function encodedWord(text: string): string {
  return `=?utf-8?B?${Buffer.from(text).toString('base64')}?=`
}

function lower(character: string): string {
  return character.toLowerCase()
}

const PRINTABLE = /^[ -~]*$/
/** RFC 5322 §2.1.1 allows 998 characters in a line. */
const LONG_RUN = /[^ ]{900}/
const MAX_LINE = 76
/** 60 characters of Base64, and 12 around them. */
const MAX_WORD_OCTETS = 45
