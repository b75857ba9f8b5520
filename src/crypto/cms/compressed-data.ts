/**
 * Opens CompressedData (RFC 3274): zlib, as it streams by, into bounded room.
 *
 *     octets ──first reading──▶ structure, size of what is compressed ──▶ bound
 *     octets ──second reading─▶ inflate ──▶ held, and handed out when it has ended well
 *
 * @module
 */
import { pipeline } from 'node:stream/promises'
import { createInflate } from 'node:zlib'
import { PosternError } from '../../errors.ts'
import type { ContentWriter } from '../../mail/content.ts'
import type { Content } from '../../mail/mail-object.ts'
import { BerReader } from '../asn1/ber-reader.ts'
import { DerReader, readOid } from '../asn1/der-reader.ts'
import { readAlgorithm } from './algorithm-identifier.ts'
import * as OID from './oids.ts'
import { SIGNED_CONTENT_PATH } from './read-signed-data.ts'

/** How the inflating ended. */
export type Inflation =
  | {
      readonly kind: 'inflated'
      /** The caller's to dispose of. */
      readonly content: Content
      /** Object identifier of the content's type: id-data for a MIME entity. */
      readonly contentType: string
    }
  /** More came out than may; a bomb, as a rule. */
  | { readonly kind: 'too-large'; readonly limitOctets: number }
  | { readonly kind: 'unreadable'; readonly reason: InflationReason; readonly detail: string }

export type InflationReason =
  | 'malformed'
  | 'base64'
  | 'not-compressed'
  | 'detached'
  /** Something else than zlib, which is all that there is (RFC 3274 §2). */
  | 'algorithm-refused'

export interface InflationLimits {
  /** What may come out at most. Never more than ten times what goes in, and 64 KiB. */
  readonly sizeOctets: number
}

/**
 * Inflates a CompressedData.
 *
 * @param read BER octets of a ContentInfo; called twice, for the same octets.
 * @throws {PosternError} what `hold` throws, and what `read` throws except `ERR_BASE64_MALFORMED`.
 */
export async function inflate(
  read: () => AsyncIterable<Buffer>,
  hold: () => ContentWriter,
  { sizeOctets }: InflationLimits,
): Promise<Inflation> {
  const structure = await structureOf(read())
  if (structure.kind !== 'compressed') return structure
  const { compressedOctets, contentType } = structure
  const limitOctets = Math.min(RATIO * compressedOctets + ALLOWANCE_OCTETS, sizeOctets)
  const room = { writer: hold(), limitOctets, compressedOctets }
  try {
    const wrong = await inflated(read(), room)
    if (wrong) return wrong
    return { kind: 'inflated', content: await room.writer.finish(), contentType }
  } finally {
    // Does nothing where the content has been given away.
    room.writer.discard()
  }
}

type Unreadable = Extract<Inflation, { kind: 'unreadable' }>

interface Structure {
  readonly kind: 'compressed'
  readonly compressedOctets: number
  readonly contentType: string
}

async function structureOf(octets: AsyncIterable<Buffer>): Promise<Structure | Unreadable> {
  try {
    let compressedOctets = 0
    const reader = new BerReader(SIGNED_CONTENT_PATH, piece => {
      compressedOctets += piece.length
    })
    for await (const chunk of octets) reader.push(chunk)
    const skeleton = readSkeleton(reader.end())
    if ('kind' in skeleton) return skeleton
    if (!reader.contentSeen) return unreadable('detached', 'there is no compressed content')
    return { kind: 'compressed', compressedOctets, ...skeleton }
  } catch (error) {
    const reason = error instanceof PosternError ? SYNTAX_ERRORS.get(error.code) : undefined
    if (!reason) throw error
    return unreadable(reason, (error as PosternError).message)
  }
}

function readSkeleton(der: Buffer): { readonly contentType: string } | Unreadable {
  const contentInfo = new DerReader(der).into(0x30)
  const type = readOid(contentInfo.element(0x06))
  if (type !== OID.COMPRESSED_DATA) return unreadable('not-compressed', `content type ${type}`)
  const wrapped = contentInfo.into(0xa0)
  contentInfo.finish()
  const data = wrapped.into(0x30)
  wrapped.finish()
  data.element(0x02) // version
  const { oid } = readAlgorithm(data.element(0x30))
  const encapsulated = data.into(0x30)
  data.finish()
  const contentType = readOid(encapsulated.element(0x06))
  encapsulated.finish()
  if (oid !== ZLIB) return unreadable('algorithm-refused', `compression ${oid}`)
  return { contentType }
}

interface Room {
  readonly writer: ContentWriter
  readonly limitOctets: number
  readonly compressedOctets: number
}

async function inflated(
  octets: AsyncIterable<Buffer>,
  { writer, limitOctets, compressedOctets }: Room,
): Promise<Inflation | undefined> {
  const inflater = createInflate({ chunkSize: CHUNK_OCTETS })
  const into = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of chunks) {
      if (writer.sizeOctets + chunk.length > limitOctets) throw new TooLarge()
      const waiting = writer.write(chunk)
      if (waiting) await waiting
    }
  }
  try {
    await pipeline(compressed(octets), inflater, into)
  } catch (error) {
    if (error instanceof TooLarge) return { kind: 'too-large', limitOctets }
    if (isZlibError(error)) return unreadable('malformed', 'compressed octets are damaged')
    throw error
  }
  // What stands behind the end of the stream would be seen by some readers, and not by others.
  if (inflater.bytesWritten !== compressedOctets)
    return unreadable('malformed', 'octets stand behind the compressed ones')
  return undefined
}

async function* compressed(octets: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  const pieces: Buffer[] = []
  const reader = new BerReader(SIGNED_CONTENT_PATH, piece => void pieces.push(piece))
  for await (const chunk of octets) {
    reader.push(chunk)
    if (pieces.length > 0) yield Buffer.concat(pieces)
    pieces.length = 0
  }
}

class TooLarge extends Error {}

function isZlibError(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code.startsWith('Z_')
}

function unreadable(reason: InflationReason, detail: string): Unreadable {
  return { kind: 'unreadable', reason, detail }
}

/** RFC 3274 §2. */
const ZLIB = '1.2.840.113549.1.9.16.3.8'
/** Mail that is text shrinks to a third, a table to a tenth at best; a bomb to a thousandth. */
const RATIO = 10
const ALLOWANCE_OCTETS = 65_536
const CHUNK_OCTETS = 65_536
const SYNTAX_ERRORS: ReadonlyMap<string, InflationReason> = new Map([
  ['ERR_BER_SYNTAX', 'malformed'],
  ['ERR_DER_SYNTAX', 'malformed'],
  ['ERR_BASE64_MALFORMED', 'base64'],
])
