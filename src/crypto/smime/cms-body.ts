/**
 * The CMS structure that a MIME leaf bears: its octets, and what it is.
 *
 * What it is says its object identifier. Labels (media type, smime-type, file name) are written by
 * whoever likes to, and changed by gateways on the way (RFC 8551 §3.2.1).
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import { decodeBase64 } from '../../mail/base64.ts'
import type { Entity } from '../../mail/entity.ts'
import type { Content } from '../../mail/mail-object.ts'
import { oid } from '../asn1/der-writer.ts'
import * as OID from '../cms/oids.ts'

/** What a ContentInfo holds (RFC 5652 §3), as far as mail bears it. */
export type CmsType = 'signed' | 'enveloped' | 'auth-enveloped' | 'compressed'

/**
 * The octets that the transfer encoding of a leaf stands for.
 *
 * @throws {PosternError} while it is read: `ERR_BASE64_MALFORMED`, and what `content.read` throws.
 */
export function bodyOf(content: Content, leaf: Entity): AsyncIterable<Buffer> {
  const octets = content.read(leaf.bodyStart, leaf.end)
  return leaf.transferEncoding === 'base64' ? decodeBase64(octets) : octets
}

/** What a leaf bears; `undefined` where it is no CMS. Reads no more than its beginning. */
export async function cmsTypeOf(content: Content, leaf: Entity): Promise<CmsType | undefined> {
  let head = NOTHING
  try {
    for await (const chunk of bodyOf(content, leaf)) {
      head = Buffer.concat([head, chunk.subarray(0, HEAD_OCTETS)])
      if (head.length >= HEAD_OCTETS) break
    }
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_BASE64_MALFORMED') return undefined
    throw error
  }
  return typeOfHead(head)
}

/** What begins with these octets; the length of a ContentInfo may be of any form. */
export function typeOfHead(head: Buffer): CmsType | undefined {
  if (head[0] !== 0x30) return undefined
  const length = head[1] ?? 0
  const start = length > 0x80 ? 2 + (length & 0x7f) : 2
  return TYPES.find(({ octets }) => head.subarray(start, start + octets.length).equals(octets))
    ?.type
}

/** Tag, length and type of a ContentInfo fit in so many. */
export const HEAD_OCTETS = 32
const NOTHING: Buffer = Buffer.alloc(0)
const TYPES: readonly { readonly type: CmsType; readonly octets: Buffer }[] = [
  { type: 'signed', octets: oid(OID.SIGNED_DATA) },
  { type: 'enveloped', octets: oid(OID.ENVELOPED_DATA) },
  { type: 'auth-enveloped', octets: oid(OID.AUTH_ENVELOPED_DATA) },
  { type: 'compressed', octets: oid(OID.COMPRESSED_DATA) },
]
