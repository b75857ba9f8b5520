/**
 * AES-CCM, decrypted as it comes (RFC 3610, RFC 5084 §3.1).
 *
 *     cipher text ──CTR──▶ content ──CBC──▶ last block ──xor first block of CTR──▶ tag
 *
 * Put together of AES-CTR and AES-CBC, because node:crypto wants all of a CCM at once: a message would
 * have to be held in memory. What it wants ahead, and we do too, is the length of the content.
 *
 * @module
 */
import { createCipheriv, timingSafeEqual } from 'node:crypto'

/** What is known of a CCM beside the key. */
export interface CcmParameters {
  /** 7 to 13 octets. */
  readonly nonce: Buffer
  /** 4 to 16 octets, an even number of them. */
  readonly tag: Buffer
  /** At most 65,279 octets. */
  readonly additionalData?: Buffer | undefined
  /** Of the content, and of the cipher text. */
  readonly sizeOctets: number
}

/** A decryption under way. */
export interface CcmDecryption {
  /** Not to be believed before `final` has returned. */
  update(octets: Buffer): Buffer
  /** Returns no octets. Throws where tag or length are not right. */
  final(): Buffer
}

/** Whether the nonce leaves room for the length of the content, and lengths are ones that we write. */
export function isWithinCcm({
  nonce,
  additionalData = NOTHING,
  sizeOctets,
}: Omit<CcmParameters, 'tag'>): boolean {
  // RFC 3610 §2: the length takes what the nonce leaves of a block.
  const isShort = sizeOctets < 2 ** (8 * (15 - nonce.length))
  return isShort && additionalData.length <= MAXIMUM_ADDITIONAL_OCTETS
}

/**
 * Begins to decrypt.
 *
 * @param key 16, 24 or 32 octets.
 * @throws {RangeError} for parameters out of their bounds: to be looked at before, by what everybody sees.
 */
export function beginCcm(key: Buffer, parameters: CcmParameters): CcmDecryption {
  if (!isWithinCcm(parameters)) throw new RangeError('CCM is out of its bounds')
  const { nonce, tag, sizeOctets } = parameters
  const stream = createCipheriv(
    `aes-${key.length * 8}-ctr`,
    key,
    block(14 - nonce.length, nonce, 0),
  )
  const mask = stream.update(ZEROS)
  const sum = createCipheriv(`aes-${key.length * 8}-cbc`, key, ZEROS).setAutoPadding(false)
  const head = firstBlocks(parameters)
  let last = sum.update(head)
  let seen = 0
  const add = (octets: Buffer): void => {
    const sums = sum.update(octets)
    if (sums.length > 0) last = sums.subarray(-BLOCK_OCTETS)
  }
  return {
    update(octets) {
      const content = stream.update(octets)
      add(content)
      seen += octets.length
      return content
    },
    final() {
      add(ZEROS.subarray(0, -seen & (BLOCK_OCTETS - 1)))
      const expected = last.subarray(-BLOCK_OCTETS).map((octet, at) => octet ^ mask[at]!)
      if (seen !== sizeOctets || !timingSafeEqual(expected.subarray(0, tag.length), tag))
        throw new Error('tag is wrong')
      return NOTHING
    },
  }
}

/** What is summed ahead of the content (RFC 3610 §2.2): all lengths, the nonce, and additional data. */
function firstBlocks({ nonce, tag, additionalData = NOTHING, sizeOctets }: CcmParameters): Buffer {
  const flags = ((tag.length - 2) / 2) * 8 + 14 - nonce.length
  if (additionalData.length === 0) return block(flags, nonce, sizeOctets)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(additionalData.length)
  const padding = ZEROS.subarray(0, -(2 + additionalData.length) & (BLOCK_OCTETS - 1))
  const first = block(flags | WITH_ADDITIONAL_DATA, nonce, sizeOctets)
  return Buffer.concat([first, length, additionalData, padding])
}

/** Flags, the nonce, and a number in what is left of the block. */
function block(flags: number, nonce: Buffer, number: number): Buffer {
  const octets = Buffer.alloc(BLOCK_OCTETS)
  octets[0] = flags
  nonce.copy(octets, 1)
  const numberOctets = Math.min(NUMBER_OCTETS, BLOCK_OCTETS - 1 - nonce.length)
  octets.writeUIntBE(number, BLOCK_OCTETS - numberOctets, numberOctets)
  return octets
}

const BLOCK_OCTETS = 16
const WITH_ADDITIONAL_DATA = 0x40
/** As much as `writeUIntBE` writes; no message is of 2^48 octets. */
const NUMBER_OCTETS = 6
/** RFC 3610 §2.2: beyond, the length would be written in another form. Attributes are shorter by far. */
const MAXIMUM_ADDITIONAL_OCTETS = 0xfeff
const ZEROS = Buffer.alloc(BLOCK_OCTETS)
const NOTHING = Buffer.alloc(0)
