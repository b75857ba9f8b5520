/**
 * Writes DER: small nested structures over Buffers (X.690 §10).
 *
 * Every function returns the octets of one whole element, so that calls nest as the structure does.
 *
 * @module
 */

/** An element of any tag, with the given octets, one after the other, as its content. */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  let size = 0
  for (const content of contents) size += content.length
  return Buffer.concat([header(tag, size), ...contents])
}

/** Identifier and length octets of an element: the length in its shortest form. */
export function header(tag: number, sizeOctets: number): Buffer {
  if (sizeOctets < 0x80) return Buffer.from([tag, sizeOctets])
  if (sizeOctets < 0x100) return Buffer.from([tag, 0x81, sizeOctets])
  if (sizeOctets < 0x10000) return Buffer.from([tag, 0x82, sizeOctets >> 8, sizeOctets & 0xff])
  const long = Buffer.from([tag, 0x84, 0, 0, 0, 0])
  long.writeUInt32BE(sizeOctets, 2)
  return long[2] === 0 ? Buffer.concat([Buffer.from([tag, 0x83]), long.subarray(3)]) : long
}

export function sequence(...elements: readonly Uint8Array[]): Buffer {
  return tlv(0x30, ...elements)
}

/** SET OF with its elements in the order that DER wants: by their octets (X.690 §11.6). */
export function setOf(...elements: readonly Uint8Array[]): Buffer {
  return tlv(0x31, ...sorted(elements))
}

/** Elements in DER's order for SET OF, for a set under another tag. */
export function sorted(elements: readonly Uint8Array[]): Uint8Array[] {
  return elements.toSorted((one, other) => Buffer.compare(one, other))
}

/** `[number]` with explicit tagging, or implicit tagging of a constructed type. */
export function context(number: number, ...contents: readonly Uint8Array[]): Buffer {
  return tlv(0xa0 | number, ...contents)
}

export function octetString(octets: Uint8Array): Buffer {
  return tlv(0x04, octets)
}

/** INTEGER of a number from 0 to 2^31 - 1, or of the content octets that it is to have. */
export function integer(value: number | Uint8Array): Buffer {
  if (typeof value !== 'number') return tlv(0x02, value)
  const octets = [value & 0xff]
  for (let rest = value >>> 8; rest > 0; rest >>>= 8) octets.unshift(rest & 0xff)
  if (octets[0]! > 0x7f) octets.unshift(0)
  return tlv(0x02, Buffer.from(octets))
}

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt)
  return tlv(0x06, Buffer.from([first * 40n + second, ...rest].flatMap(base128)))
}

/**
 * UTCTime up to 2049 and GeneralizedTime from then on, in seconds and with `Z` (RFC 5652 §11.3,
 * RFC 5280 §4.1.2.5). Fractions of a second are dropped.
 */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().replaceAll(/[-:T]|\.\d+/g, '')}`
  const year = date.getUTCFullYear()
  return year >= 1950 && year < 2050
    ? tlv(0x17, Buffer.from(digits.slice(2), 'latin1'))
    : tlv(0x18, Buffer.from(digits, 'latin1'))
}

function base128(arc: bigint): number[] {
  const octets = [Number(arc & 0x7fn)]
  for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) octets.unshift(Number(rest & 0x7fn) | 0x80)
  return octets
}

export const NULL = Buffer.from([0x05, 0x00])
