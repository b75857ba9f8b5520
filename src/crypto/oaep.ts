/**
 * OAEP with two digests, one for the label and one for the mask (RFC 8017 §7.1.1), which OpenSSL can
 * and Node does not offer.
 *
 * @module
 */
import { createHash, randomBytes } from 'node:crypto'

/** The digests of OAEP, by their names in node:crypto. */
export interface OaepDigests {
  readonly label: 'sha1' | 'sha256'
  readonly mask: 'sha1' | 'sha256'
}

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

/** Exclusive or with MGF1 of a seed (RFC 8017 §B.2.1). */
function maskWith(octets: Buffer, seed: Buffer, digest: string): void {
  const counter = Buffer.alloc(4)
  for (let start = 0; start < octets.length; counter.writeUInt32BE(counter.readUInt32BE() + 1)) {
    const block = createHash(digest).update(seed).update(counter).digest()
    for (const octet of block.subarray(0, octets.length - start)) octets[start++]! ^= octet
  }
}
