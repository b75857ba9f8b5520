/**
 * Reads a SignedData as it streams by, with or without its content (RFC 5652 §5.1).
 *
 *     BER ──push──▶ SignedDataStream ──┬─ content octets ─▶ whoever digests and holds them
 *                                      └─ the rest ───────▶ SignedData
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import { BerReader } from '../asn1/ber-reader.ts'
import {
  readSignedData,
  SIGNED_CONTENT_PATH,
  type SignedAttributes,
  type SignedData,
} from './read-signed-data.ts'

/** One ContentInfo with a SignedData, chunk by chunk. Faults: `ERR_BER_SYNTAX`, `ERR_DER_SYNTAX`. */
export class SignedDataStream {
  readonly #reader: BerReader
  /** Content octets of the chunk in hand. */
  #pieces: Buffer[] = []
  /** What stands ahead of the content. */
  #head: Buffer = NOTHING
  /** What came since the last octet of the content, as it stands. */
  #behind: Buffer[] = []
  #behindOctets = 0
  #der: Buffer = NOTHING

  constructor() {
    const take = (piece: Buffer) => void this.#pieces.push(piece)
    this.#reader = new BerReader(SIGNED_CONTENT_PATH, take, OCTET_STRING, AHEAD_OF_CONTENT)
  }

  /** Whether there is content, be it empty. */
  get contentSeen(): boolean {
    return this.#reader.contentSeen
  }

  /** As it stands: version and digest algorithms. Complete as soon as there is content. */
  get head(): Buffer {
    return this.#head
  }

  /** @returns the content octets that are in this chunk. */
  push(chunk: Buffer): Buffer {
    this.#reader.push(chunk)
    const pieces = this.#pieces
    const last = pieces.at(-1)
    if (last === undefined) {
      this.#keep(chunk)
      return NOTHING
    }
    if (this.#head.length === 0) {
      this.#keep(chunk.subarray(0, pieces[0]!.byteOffset - chunk.byteOffset))
      this.#head = Buffer.concat(this.#behind)
    }
    this.#pieces = []
    this.#behind = []
    this.#behindOctets = 0
    this.#keep(chunk.subarray(last.byteOffset - chunk.byteOffset + last.length))
    return pieces.length === 1 ? last : Buffer.concat(pieces)
  }

  /** Nothing may be missing. */
  end(): SignedData {
    this.#der = this.#reader.end()
    return readSignedData(this.#der)
  }

  /**
   * Whether signed attributes stand in the message as the DER that is signed, apart from their tag.
   *
   * What was read from them is the same in BER; but what other readers digest is what stands there.
   * They stand behind the content, as often as in the DER of the whole: no copy elsewhere counts.
   */
  standsAsDer({ octets }: SignedAttributes): boolean {
    const standing = Buffer.from(octets)
    standing[0] = 0xa0
    const behind = Buffer.concat(this.#behind)
    const count = occurrences(behind, standing)
    return count <= MAXIMUM_COPIES && count === occurrences(this.#der, standing)
  }

  #keep(octets: Buffer): void {
    if (octets.length === 0) return
    this.#behind.push(octets)
    this.#behindOctets += octets.length
    if (this.#behindOctets > MAXIMUM_OCTETS) throw tooLarge()
  }
}

/** Counts no further than is of interest: overlapping copies would cost a square. */
function occurrences(octets: Buffer, sought: Buffer): number {
  let count = 0
  let at = octets.indexOf(sought)
  while (at >= 0 && count <= MAXIMUM_COPIES) {
    count++
    at = octets.indexOf(sought, at + 1)
  }
  return count
}

function tooLarge(): PosternError {
  const what = `more than ${MAXIMUM_OCTETS} octets beside the content`
  return new PosternError('ERR_BER_SYNTAX', 'permanent', `SignedData is malformed: ${what}`)
}

const NOTHING: Buffer = Buffer.alloc(0)
const OCTET_STRING = 0x04
/** The type of the content (RFC 5652 §5.2). */
const AHEAD_OF_CONTENT = 1
/** BerReader's own bound, and as much again for lengths that are longer than they need be. */
const MAXIMUM_OCTETS = 2_097_152
/** Ten signers could say the same. */
const MAXIMUM_COPIES = 10
