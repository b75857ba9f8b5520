/**
 * Whether octets are text of a charset, to the last one.
 *
 * A reader replaces what it cannot decode and goes on; here one such octet says that the text is not
 * what it was declared to be.
 *
 * @module
 */
import { isAscii } from 'node:buffer'

/** Looks at a text as it passes, in chunks of any size. */
export interface OctetCheck {
  /** Name in the Encoding Standard: `utf-8`, `windows-1252` (also for ISO-8859-1), `us-ascii`. */
  readonly encoding: string
  /** `false` where an octet is none of the charset, or a control other than HTAB, CR and LF. */
  push(chunk: Buffer): boolean
  /** `false` where the text ends within a character. */
  end(): boolean
}

/**
 * Makes the check for a charset.
 *
 * @param charset As a Content-Type names it, in any case.
 * @returns `undefined` for one that nobody knows, and for UTF-16, which no text in mail is.
 */
export function charsetCheck(charset: string): OctetCheck | undefined {
  const label = charset.trim().toLowerCase()
  if (ASCII.has(label)) return new AsciiCheck()
  const decoder = decoderFor(label)
  if (decoder === undefined) return undefined
  if (decoder.encoding === 'utf-8') return new DecoderCheck(decoder)
  if (MULTI_BYTE.has(decoder.encoding)) return new DecoderCheck(decoder)
  return SINGLE_BYTE.test(decoder.encoding) ? new TableCheck(decoder, label) : undefined
}

/** Whether octets hold a control other than HTAB, LF, CR and ESC. */
export function hasControl(chunk: Buffer): boolean {
  for (const control of CONTROLS) if (chunk.includes(control)) return true
  return false
}

class AsciiCheck implements OctetCheck {
  readonly encoding = 'us-ascii'

  push(chunk: Buffer): boolean {
    return isAscii(chunk) && !hasControl(chunk) && !chunk.includes(ESC)
  }

  end(): boolean {
    return true
  }
}

/** For charsets in which a character is several octets. */
class DecoderCheck implements OctetCheck {
  readonly encoding: string
  readonly #decoder: TextDecoder
  #endsWithC2 = false

  constructor(decoder: TextDecoder) {
    this.encoding = decoder.encoding
    this.#decoder = decoder
  }

  push(chunk: Buffer): boolean {
    if (hasControl(chunk)) return false
    if (this.encoding !== 'iso-2022-jp' && chunk.includes(ESC)) return false
    if (this.encoding === 'utf-8' && this.#holdsC1(chunk)) return false
    try {
      this.#decoder.decode(chunk, { stream: true })
      return true
    } catch {
      return false
    }
  }

  end(): boolean {
    try {
      this.#decoder.decode()
      return true
    } catch {
      return false
    }
  }

  /** U+0080 to U+009F, which no text holds, are C2 80 to C2 9F. */
  #holdsC1(chunk: Buffer): boolean {
    if (isAscii(chunk)) {
      this.#endsWithC2 = false
      return false
    }
    if (this.#endsWithC2 && isC1(chunk[0]!)) return true
    for (let at = chunk.indexOf(0xc2); at >= 0; at = chunk.indexOf(0xc2, at + 1)) {
      if (at + 1 < chunk.length && isC1(chunk[at + 1]!)) return true
    }
    this.#endsWithC2 = chunk[chunk.length - 1] === 0xc2
    return false
  }
}

/** For charsets of 256 characters. */
class TableCheck implements OctetCheck {
  readonly encoding: string
  readonly #refused: readonly number[]

  constructor(decoder: TextDecoder, label: string) {
    this.encoding = decoder.encoding
    // The Encoding Standard reads ISO-8859-1 as windows-1252, and others alike: a text that says ISO
    // and means it has no octets from 128 to 159.
    this.#refused = refusedOctets(decoder, /^(?:iso|latin|l[1-9]|cs)/.test(label))
  }

  push(chunk: Buffer): boolean {
    if (hasControl(chunk) || chunk.includes(ESC)) return false
    return isAscii(chunk) || !this.#refused.some(octet => chunk.includes(octet))
  }

  end(): boolean {
    return true
  }
}

function refusedOctets(decoder: TextDecoder, isIso: boolean): readonly number[] {
  const key = `${decoder.encoding} ${isIso}`
  const known = tables.get(key)
  if (known) return known
  const refused: number[] = []
  for (let octet = 0x80; octet <= 0xff; octet++) {
    if ((isIso && isC1(octet)) || !standsForCharacter(decoder, octet)) refused.push(octet)
  }
  tables.set(key, refused)
  return refused
}

function standsForCharacter(decoder: TextDecoder, octet: number): boolean {
  try {
    return !isC1(decoder.decode(Buffer.from([octet])).charCodeAt(0))
  } catch {
    return false
  }
}

function isC1(code: number): boolean {
  return code >= 0x80 && code <= 0x9f
}

function decoderFor(label: string): TextDecoder | undefined {
  if (label.length > MAX_LABEL) return undefined
  try {
    return new TextDecoder(label, { fatal: true, ignoreBOM: true })
  } catch {
    return undefined
  }
}

/** At most two a charset of the Encoding Standard. */
const tables = new Map<string, readonly number[]>()

const ESC = 0x1b
const CONTROLS = Array.from({ length: 0x20 }, (_, octet) => octet)
  .filter(octet => ![0x09, 0x0a, 0x0d, ESC].includes(octet))
  .concat(0x7f)
const ASCII: ReadonlySet<string> = new Set(['us-ascii', 'ascii', 'ansi_x3.4-1968', 'iso646-us'])
const MULTI_BYTE: ReadonlySet<string> = new Set([
  'big5',
  'euc-jp',
  'euc-kr',
  'gb18030',
  'gbk',
  'iso-2022-jp',
  'shift_jis',
])
const SINGLE_BYTE = /^(?:iso-8859-|windows-|koi8-|ibm866|macintosh|x-mac-)/
const MAX_LABEL = 40
