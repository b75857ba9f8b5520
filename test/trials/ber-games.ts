/**
 * Games with BER: the same structure written otherwise, or pieces of it swapped, doubled and taken out.
 *
 * @module
 */
import type { Random } from './random.ts'

/** A value, and how it is written. */
interface Piece {
  tag: number
  /** Undefined for a primitive one. */
  children: Piece[] | undefined
  value: Buffer
  form: 'shortest' | 'longer' | 'indefinite'
}

/**
 * Plays one to three games with a BER encoding.
 *
 * @throws {Error} Where it is none that can be read here.
 */
export function played(octets: Buffer, random: Random): Buffer {
  const reader = { octets, at: 0 }
  const root = readPiece(reader)
  for (let games = random.between(1, 3); games > 0; games--) {
    const all = allOf(root)
    random.pick(GAMES)(random.pick(all), random, all)
  }
  return Buffer.concat([written(root), octets.subarray(reader.at)])
}

/**
 * A SignedData with other certificates beside the signature (RFC 5652 §5.1), and none but known digests
 * announced.
 *
 * @param certificates DER.
 * @throws {Error} Where it cannot be read here, or has none.
 */
export function withCertificates(octets: Buffer, certificates: readonly Buffer[]): Buffer {
  const root = readPiece({ octets, at: 0 })
  const signedData = root.children?.[1]?.children?.[0]?.children
  const bag = signedData?.find(({ tag }) => tag === 0xa0)
  const digests = signedData?.find(({ tag }) => tag === 0x31)
  if (!bag || !digests?.children) throw new Error('no SignedData with certificates')
  bag.children = certificates.map(value => readPiece({ octets: value, at: 0 }))
  digests.children = digests.children.filter(({ children }) =>
    children?.[0]?.value.subarray(0, -1).equals(SHA_2),
  )
  return written(root)
}

type Game = (piece: Piece, random: Random, all: readonly Piece[]) => void

const GAMES: readonly Game[] = [
  // Another length of the same meaning, which only BER allows.
  piece => {
    piece.form = 'longer'
  },
  piece => {
    piece.form = piece.children ? 'indefinite' : 'longer'
  },
  piece => {
    piece.form = 'shortest'
  },
  // An octet string in pieces (X.690 §8.7.3), any string for want of one.
  (piece, random) => {
    if (piece.children) return
    const cut = random.below(piece.value.length + 1)
    const part = (value: Buffer): Piece => ({ ...piece, tag: 0x04, value, form: 'shortest' })
    piece.children = [part(piece.value.subarray(0, cut)), part(piece.value.subarray(cut))]
    piece.tag |= 0x20
  },
  // Attributes, certificates, signers and whatever else has an order.
  ({ children }, random) => {
    if (!children || children.length < 2) return
    const one = random.below(children.length)
    const other = random.below(children.length)
    ;[children[one], children[other]] = [children[other]!, children[one]!]
  },
  ({ children }, random) => {
    if (children?.length) children.splice(random.below(children.length), 1)
  },
  ({ children }, random) => {
    if (children?.length) children.splice(random.below(children.length), 0, random.pick(children))
  },
  // Something from elsewhere in its place, or beside it.
  (piece, random, all) => {
    Object.assign(piece, copyOf(random.pick(all)))
  },
  ({ children }, random, all) => {
    children?.splice(random.below(children.length + 1), 0, copyOf(random.pick(all)))
  },
  (piece, random) => {
    if (piece.children || piece.value.length === 0) return
    piece.value = Buffer.from(piece.value)
    piece.value[random.below(piece.value.length)]! ^= 1 << random.below(8)
  },
  (piece, random) => {
    if (!piece.children) piece.value = Buffer.concat([piece.value, random.octets(1)])
  },
  (piece, random) => {
    piece.tag ^= 1 << random.below(8)
  },
]

function allOf(piece: Piece): Piece[] {
  return [piece, ...(piece.children ?? []).flatMap(allOf)]
}

function copyOf(piece: Piece): Piece {
  return { ...piece, children: piece.children?.map(copyOf) }
}

interface Reader {
  readonly octets: Buffer
  at: number
}

function readPiece(reader: Reader): Piece {
  const { octets } = reader
  const tag = octets[reader.at++]!
  const first = octets[reader.at++]
  if (first === undefined || (tag & 0x1f) === 0x1f) throw new Error('no BER')
  const constructed = (tag & 0x20) !== 0
  if (first === 0x80) {
    const children: Piece[] = []
    while (octets.readUInt16BE(reader.at) !== 0) children.push(readPiece(reader))
    reader.at += 2
    return { tag, children, value: NOTHING, form: 'indefinite' }
  }
  let length = first
  if (first > 0x80) {
    length = octets.readUIntBE(reader.at, first - 0x80)
    reader.at += first - 0x80
  }
  const end = reader.at + length
  if (end > octets.length) throw new Error('no BER')
  if (!constructed) {
    const value = octets.subarray(reader.at, end)
    reader.at = end
    return { tag, children: undefined, value, form: 'shortest' }
  }
  const children: Piece[] = []
  while (reader.at < end) children.push(readPiece(reader))
  return { tag, children, value: NOTHING, form: 'shortest' }
}

function written({ tag, children, value, form }: Piece): Buffer {
  const octets = children ? Buffer.concat(children.map(written)) : value
  const end = form === 'indefinite' ? Buffer.alloc(2) : NOTHING
  return Buffer.concat([Buffer.from([tag]), lengthOf(octets.length, form), octets, end])
}

function lengthOf(length: number, form: Piece['form']): Buffer {
  if (form === 'indefinite') return Buffer.from([0x80])
  if (form === 'longer') return Buffer.from([0x84, 0, 0, length >> 8, length & 0xff])
  if (length < 0x80) return Buffer.from([length])
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3
  const octets = Buffer.alloc(size + 1, 0x80 + size)
  octets.writeUIntBE(length, 1, size)
  return octets
}

const NOTHING = Buffer.alloc(0)
/** What the object identifiers of SHA-2 begin with. */
const SHA_2 = Buffer.from('6086480165030402', 'hex')
