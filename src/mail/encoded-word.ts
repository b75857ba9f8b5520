/**
 * Encoded words: text beyond ASCII in header fields (RFC 2047).
 *
 * @module
 */

/**
 * Decodes all encoded words of an unfolded field body, once: what comes out is not looked at again,
 * so that a word inside a word stays visible as one.
 *
 * White space between two encoded words vanishes (RFC 2047 §6.2), and a character that was split
 * between two words of one charset is whole again. A word in a charset that nobody knows, or that is
 * damaged, stays as it is. Never throws; linear in time.
 */
export function decodeEncodedWords(text: string): string {
  if (!text.includes('=?')) return text
  const charsets = new Charsets()
  let decoded = ''
  let run: Word | undefined
  let at = 0
  let start = text.indexOf('=?')
  while (start >= 0) {
    const word = readWord(text, start, charsets)
    if (word) {
      const adjacent = run !== undefined && WHITE_SPACE_ONLY.test(text.slice(at, start))
      if (run && !(adjacent && run.decoder === word.decoder)) decoded += decodeWord(run)
      if (run && adjacent && run.decoder === word.decoder) word.octets = run.octets + word.octets
      else if (!adjacent) decoded += text.slice(at, start)
      run = word
      at = word.end
    }
    start = text.indexOf('=?', word ? at : start + 1)
  }
  if (run) decoded += decodeWord(run)
  return decoded + text.slice(at)
}

/** An encoded word, or several of one charset with nothing but white space between them. */
interface Word {
  readonly decoder: TextDecoder
  /** One character an octet. */
  octets: string
  /** Index in the text behind its `?=`. */
  readonly end: number
}

/** The encoded word that begins at `start`: `=?charset?Q?text?=`; `undefined` where there is none. */
function readWord(text: string, start: number, charsets: Charsets): Word | undefined {
  const charsetEnd = text.indexOf('?', start + 2)
  if (charsetEnd < 0 || text[charsetEnd + 2] !== '?') return undefined
  const encoding = text[charsetEnd + 1]!.toUpperCase()
  const end = text.indexOf('?', charsetEnd + 3)
  if (end < 0 || text[end + 1] !== '=') return undefined
  const encodedText = text.slice(charsetEnd + 3, end)
  if (!(encoding === 'Q' ? PRINTABLE : BASE64).test(encodedText)) return undefined
  if (encoding !== 'Q' && encoding !== 'B') return undefined
  const decoder = charsets.decoder(text.slice(start + 2, charsetEnd))
  if (decoder === undefined) return undefined
  const octets = encoding === 'Q' ? decodeQ(encodedText) : decodeBase64(encodedText)
  return { decoder, octets, end: end + 2 }
}

function decodeBase64(encodedText: string): string {
  return Buffer.from(encodedText, 'base64').toString('latin1')
}

/** RFC 2047 §4.2. */
function decodeQ(encodedText: string): string {
  const text = encodedText.includes('_') ? encodedText.replaceAll('_', ' ') : encodedText
  if (!text.includes('=')) return text
  return text.replace(/=([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

function decodeWord({ decoder, octets }: Word): string {
  if (ASCII.test(octets) && !ASCII_IS_OTHER.has(decoder.encoding)) return octets
  return decoder.decode(Buffer.from(octets, 'latin1'))
}

/** The charsets of one text. To ask for an unknown one is dear, so that is not done without end. */
class Charsets {
  readonly #decoders = new Map<string, TextDecoder | undefined>()

  /** A charset may bear a language: `utf-8*en` (RFC 2231 §5). */
  decoder(charset: string): TextDecoder | undefined {
    if (this.#decoders.has(charset)) return this.#decoders.get(charset)
    if (this.#decoders.size >= MAX_CHARSETS || charset.length > MAX_CHARSET_LENGTH) return undefined
    const label = charset.replace(/\*.*/, '').toLowerCase()
    const decoder = label === charset ? makeDecoder(label) : this.decoder(label)
    this.#decoders.set(charset, decoder)
    return decoder
  }
}

function makeDecoder(label: string): TextDecoder | undefined {
  try {
    return new TextDecoder(label, { ignoreBOM: true })
  } catch {
    return undefined
  }
}

const MAX_CHARSETS = 100
const MAX_CHARSET_LENGTH = 75
/** Senders break the rule that there is no space in a word; all readers bear with them. */
const PRINTABLE = /^[ -~]*$/
const BASE64 = /^[A-Za-z0-9+/]*={0,2} *$/
const ASCII = /^[\0-\x7f]*$/
/** Charsets in which octets below 128 may stand for something else. */
const ASCII_IS_OTHER: ReadonlySet<string> = new Set(['iso-2022-jp', 'utf-16le', 'utf-16be'])
const WHITE_SPACE_ONLY = /^[ \t\r\n]*$/
