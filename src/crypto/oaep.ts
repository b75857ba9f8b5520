/**
 * OAEP with two digests, one for the label and one for the mask (RFC 8017 §7.1), which OpenSSL can and
 * Node does not offer.
 *
 * @module
 */
import { createHash, randomBytes } from 'node:crypto'

/** The digests of OAEP, by their names in node:crypto. */
export interface OaepDigests {
  readonly label: OaepDigest
  readonly mask: OaepDigest
}

export type OaepDigest = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512'

/**
 * Encodes a message with an empty label, ready for the bare RSA operation.
 *
 * @param sizeOctets Size of the modulus; it must hold message, two label digests and two octets.
 */
export function encodeOaep(
  message: Uint8Array,
  sizeOctets: number,
  { label, mask }: OaepDigests,
): Buffer {
  const labelDigest = createHash(label).digest()
  const digestOctets = labelDigest.length
  const encoded = Buffer.alloc(sizeOctets)
  const seed = encoded.subarray(1, 1 + digestOctets)
  const block = encoded.subarray(1 + digestOctets)
  const messageAt = block.length - message.length
  if (messageAt < digestOctets + 1) throw new RangeError('message is too long for OAEP')
  block.set(labelDigest)
  block[messageAt - 1] = 1
  block.set(message, messageAt)
  seed.set(randomBytes(digestOctets))
  maskWith(block, seed, mask)
  maskWith(seed, block, mask)
  return encoded
}

/**
 * Decodes what the bare RSA operation has yielded (RFC 8017 §7.1.2).
 *
 * All octets are looked at, whatever they are, and nothing branches on them: who could tell which check
 * has failed could decrypt by asking (Manger's attack). What is not well encoded is told at the end.
 *
 * @param encoded As long as the modulus; overwritten.
 * @returns `good` is 1 or 0; where it is 0, `message` means nothing.
 * @throws {RangeError} where the modulus is too small for the digests, which is no secret.
 */
export function decodeOaep(
  encoded: Buffer,
  { label, mask }: OaepDigests,
  labelOctets: Uint8Array,
): { readonly message: Buffer; readonly good: number } {
  const labelDigest = createHash(label).update(labelOctets).digest()
  const digestOctets = labelDigest.length
  if (encoded.length < 2 * digestOctets + 2) throw new RangeError('modulus is too small for OAEP')
  const seed = encoded.subarray(1, 1 + digestOctets)
  const block = encoded.subarray(1 + digestOctets)
  maskWith(seed, block, mask)
  maskWith(block, seed, mask)

  let wrong = encoded[0]!
  for (let index = 0; index < digestOctets; index++) wrong |= block[index]! ^ labelDigest[index]!
  // Noughts, then a one, then the message.
  let before = 1
  let noughts = 0
  for (let index = digestOctets; index < block.length; index++) {
    const octet = block[index]!
    const one = isZero(octet ^ 1)
    wrong |= before & (1 ^ (one | isZero(octet)))
    before &= 1 ^ one
    noughts += before
  }
  const message = block.subarray(digestOctets + noughts + 1)
  return { message, good: isZero(wrong | before) }
}

/** 1 for 0, and 0 for 1 to 255. */
function isZero(octet: number): number {
  return ((octet - 1) >>> 8) & 1
}

/** Exclusive or with MGF1 of a seed (RFC 8017 §B.2.1). */
function maskWith(octets: Buffer, seed: Buffer, digest: string): void {
  const counter = Buffer.alloc(4)
  for (let start = 0; start < octets.length; counter.writeUInt32BE(counter.readUInt32BE() + 1)) {
    const block = createHash(digest).update(seed).update(counter).digest()
    for (const octet of block.subarray(0, octets.length - start)) octets[start++]! ^= octet
  }
}
