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
  let decoded = ''
  let run: Run | undefined
  let at = 0
  for (const match of text.matchAll(ENCODED_WORD)) {
    const between = text.slice(at, match.index)
    const word = parseWord(match)
    if (run && (word === undefined || !WHITE_SPACE_ONLY.test(between))) {
      decoded += decodeRun(run)
      run = undefined
    }
    if (run === undefined) decoded += between
    at = match.index + match[0].length
    if (word === undefined) decoded += match[0]
    else if (run?.decoder === word.decoder) run.octets.push(word.octets)
    else {
      if (run) decoded += decodeRun(run)
      run = { decoder: word.decoder, octets: [word.octets] }
    }
  }
  if (run) decoded += decodeRun(run)
  return decoded + text.slice(at)
}

/** Encoded words of one charset, with nothing but white space between them. */
interface Run {
  readonly decoder: TextDecoder
  readonly octets: Buffer[]
}

function parseWord(match: RegExpExecArray): { decoder: TextDecoder; octets: Buffer } | undefined {
  const [, charset, encoding, encodedText] = match
  const decoder = decoderOf(charset!)
  if (decoder === undefined) return undefined
  if (encoding === 'Q' || encoding === 'q') return { decoder, octets: decodeQ(encodedText!) }
  if (!BASE64.test(encodedText!)) return undefined
  return { decoder, octets: Buffer.from(encodedText!, 'base64') }
}

/** RFC 2047 §4.2. */
function decodeQ(encodedText: string): Buffer {
  const octets = encodedText
    .replaceAll('_', ' ')
    .replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(octets, 'latin1')
}

function decodeRun({ decoder, octets }: Run): string {
  return decoder.decode(octets.length === 1 ? octets[0] : Buffer.concat(octets))
}

/** The decoder of a charset, which may bear a language (RFC 2231 §5); `undefined` where unknown. */
function decoderOf(charset: string): TextDecoder | undefined {
  const label = charset.replace(/\*.*/, '').toLowerCase()
  const known = DECODERS.get(label)
  if (known || label.length > LONGEST_LABEL) return known
  try {
    const decoder = new TextDecoder(label, { ignoreBOM: true })
    DECODERS.set(label, decoder)
    return decoder
  } catch {
    return undefined
  }
}

/** Holds no more than the labels that TextDecoder knows. */
const DECODERS = new Map<string, TextDecoder>()
const LONGEST_LABEL = 40

/** Senders break the rule that there is no space in a word; all readers bear with them. */
const ENCODED_WORD = /=\?([!-~]{1,75}?)\?([BQbq])\?([ !->@-~]*)\?=/g
const BASE64 = /^[A-Za-z0-9+/]*={0,2} *$/
const WHITE_SPACE_ONLY = /^[ \t\r\n]*$/
