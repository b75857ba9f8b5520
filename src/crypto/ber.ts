/**
 * Reads the BER of key files into a tree: small, whole in memory, and bounded.
 *
 * Key files come in BER with indefinite lengths and octet strings in pieces (RFC 7292 §4 allows it,
 * older programs write it). The octets stay Buffers all the way, so that a private key never
 * becomes a string, which nobody could wipe.
 *
 * @module
 */
import { PosternError } from '../errors.ts'

/** One value: identifier octet, content, and for constructed encodings its parts. */
export interface BerNode {
  /** Identifier octet: class, constructed bit and tag number (X.690 §8.1.2). */
  readonly identifier: number
  /** Content octets; for indefinite lengths without the end-of-contents octets. */
  readonly content: Buffer
  /** Identifier, length and content, as they stand in the file. */
  readonly whole: Buffer
  readonly children: readonly BerNode[]
}

/**
 * Reads exactly one value.
 *
 * @param octets At most 1 MiB; octets behind the value are refused.
 * @throws {PosternError} `ERR_KEY_FILE_MALFORMED`.
 */
export function readBer(octets: Buffer): BerNode {
  if (octets.length > MAX_OCTETS) throw malformed('more than 1 MiB')
  const reading = { octets, nodes: 0 }
  const node = readNode(reading, 0, octets.length, 0)
  if (node.whole.length !== octets.length) throw malformed('octets behind the end')
  return node
}

/** The parts of a SEQUENCE or SET, or of an explicit tag; at least `least` of them. */
export function partsOf(node: BerNode | undefined, least = 0): readonly BerNode[] {
  if (!node || (node.identifier & CONSTRUCTED) === 0) throw malformed('a structure is missing')
  if (node.children.length < least) throw malformed('a structure is too short')
  return node.children
}

/** The value of an OCTET STRING or of an implicitly tagged one, its pieces joined (X.690 §8.7.3). */
export function octetStringOf(node: BerNode | undefined): Buffer {
  if (!node) throw malformed('an octet string is missing')
  if ((node.identifier & CONSTRUCTED) === 0) return node.content
  return Buffer.concat(node.children.map(octetStringOf))
}

/** The dotted form of an OBJECT IDENTIFIER. */
export function objectIdentifierOf(node: BerNode | undefined): string {
  if (node?.identifier !== OBJECT_IDENTIFIER || node.content.length > 64)
    throw malformed('an object identifier is missing')
  const arcs: number[] = []
  let arc = 0
  for (const octet of node.content) {
    arc = arc * 128 + (octet & 0x7f)
    if (octet & 0x80) continue
    arcs.push(arc)
    arc = 0
  }
  const first = arcs.shift() ?? 0
  const root = Math.min(2, Math.floor(first / 40))
  return [root, first - root * 40, ...arcs].join('.')
}

/** A small INTEGER that is not negative; `Infinity` for one that no number holds. */
export function integerOf(node: BerNode | undefined): number {
  if (node?.identifier !== INTEGER || node.content.length === 0)
    throw malformed('an integer is missing')
  if (node.content[0]! & 0x80) throw malformed('an integer is negative')
  return node.content.length > 6
    ? Number.POSITIVE_INFINITY
    : node.content.readUIntBE(0, node.content.length)
}

/** Whether a value bears this identifier octet. */
export function isTagged(node: BerNode | undefined, identifier: number): node is BerNode {
  return node?.identifier === identifier
}

export function malformed(what: string, cause?: unknown): PosternError {
  return new PosternError(
    'ERR_KEY_FILE_MALFORMED',
    'permanent',
    `key file is not well formed: ${what}`,
    { cause },
  )
}

interface Reading {
  readonly octets: Buffer
  nodes: number
}

function readNode(reading: Reading, start: number, end: number, depth: number): BerNode {
  const { octets } = reading
  if (depth > MAX_DEPTH || ++reading.nodes > MAX_NODES) throw malformed('too many structures')
  const identifier = octets[start]
  if (identifier === undefined || start + 2 > end) throw malformed('it ends early')
  if ((identifier & 0x1f) === 0x1f) throw malformed('a tag number over 30')

  const { length, from } = readLength(octets, start + 1, end)
  const constructed = (identifier & CONSTRUCTED) !== 0
  if (length === undefined && !constructed) throw malformed('a primitive without length')
  const to = length === undefined ? end : from + length
  if (to > end) throw malformed('it ends early')

  const children: BerNode[] = []
  let at = from
  while (constructed && at < to) {
    if (length === undefined && octets[at] === 0 && octets[at + 1] === 0) break
    const child = readNode(reading, at, to, depth + 1)
    children.push(child)
    at += child.whole.length
  }
  if (length === undefined && at + 2 > end) throw malformed('it ends early')
  const contentEnd = length === undefined ? at : to
  return {
    identifier,
    content: octets.subarray(from, contentEnd),
    whole: octets.subarray(start, length === undefined ? at + 2 : to),
    children,
  }
}

/** `length` is undefined for the indefinite form; `from` is where the content begins. */
function readLength(
  octets: Buffer,
  at: number,
  end: number,
): { length: number | undefined; from: number } {
  const first = octets[at]!
  if (first < 0x80) return { length: first, from: at + 1 }
  if (first === 0x80) return { length: undefined, from: at + 1 }
  const count = first & 0x7f
  if (count > 4 || at + 1 + count > end) throw malformed('a length that cannot be')
  return { length: octets.readUIntBE(at + 1, count), from: at + 1 + count }
}

export const INTEGER = 0x02
const OBJECT_IDENTIFIER = 0x06
export const SEQUENCE = 0x30
export const CONTEXT_0 = 0xa0
const CONSTRUCTED = 0x20

const MAX_OCTETS = 1024 * 1024
const MAX_DEPTH = 32
const MAX_NODES = 20_000
