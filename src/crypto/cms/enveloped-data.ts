/**
 * Makes EnvelopedData (RFC 5652 §6) and AuthEnvelopedData (RFC 5083) around content that streams by.
 *
 *     content key ──▶ RecipientInfos ─┐
 *     content ──▶ cipher ─────────────┴──▶ ContentInfo, chunk by chunk
 *
 * The content never enters an ASN.1 structure in memory: it is encrypted between a prefix and a suffix.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { close, octetStringSegments, open } from '../asn1/ber-stream.ts'
import { header, integer, octetString, oid } from '../asn1/der-writer.ts'
import {
  beginEncryption,
  type ContentCipher,
  type ContentEncryption,
  encryptedSizeOf,
} from '../content-encryption.ts'
import * as OID from './oids.ts'
import { type RecipientInfos, type RecipientKey, recipientInfos } from './recipient-info.ts'

/** How content is encrypted. */
export interface Enveloping {
  readonly content: ContentCipher
  /**
   * Exact size of the content, where it is known: all lengths are then definite (DER), which a few
   * old readers need. Undefined: BER of indefinite length.
   */
  readonly sizeOctets?: number | undefined
}

/**
 * Encrypts content as it streams by, holding nothing of it.
 *
 * The tag of an authenticated cipher covers the content alone: content of type id-data needs no
 * authenticated attributes (RFC 5083 §2.1).
 *
 * @throws {PosternError} what `recipientInfos` throws, before anything is yielded.
 */
export async function* envelopedContent(
  content: AsyncIterable<Buffer>,
  recipients: readonly RecipientKey[],
  { content: cipher, sizeOctets }: Enveloping,
): AsyncGenerator<Buffer, void, undefined> {
  const contentKey = randomBytes(cipher.keyOctets)
  const infos = await recipientInfos(recipients, contentKey)
  const encryption = beginEncryption(cipher, contentKey)
  contentKey.fill(0)

  const head = headOf(cipher, infos, encryption)
  if (sizeOctets === undefined) yield* indefinite(content, cipher, encryption, head)
  else yield* definite(sized(content, sizeOctets), cipher, encryption, head, sizeOctets)
}

/** The elements ahead of the encrypted content. */
interface Head {
  /** `version` and `recipientInfos`. */
  readonly beforeContentInfo: Buffer
  /** `contentType` and `contentEncryptionAlgorithm` of the EncryptedContentInfo. */
  readonly beforeContent: Buffer
}

function headOf(
  { authenticated }: ContentCipher,
  { set, envelopedDataVersion }: RecipientInfos,
  { identifier }: ContentEncryption,
): Head {
  // RFC 5083 §2.1: the version of AuthEnvelopedData is always 0.
  const version = integer(authenticated ? 0 : envelopedDataVersion)
  return {
    beforeContentInfo: Buffer.concat([version, set]),
    beforeContent: Buffer.concat([DATA, identifier]),
  }
}

async function* indefinite(
  content: AsyncIterable<Buffer>,
  { authenticated }: ContentCipher,
  encryption: ContentEncryption,
  { beforeContentInfo, beforeContent }: Head,
): AsyncGenerator<Buffer, void, undefined> {
  yield Buffer.concat([
    ...[open(0x30), authenticated ? AUTH_ENVELOPED_DATA : ENVELOPED_DATA, open(0xa0), open(0x30)],
    ...[beforeContentInfo, open(0x30), beforeContent, open(0xa0)],
  ])
  yield* octetStringSegments(encrypted(content, encryption))
  // Ends encryptedContent and EncryptedContentInfo; then the data, [0] and ContentInfo.
  yield Buffer.concat([close(2), ...tagOf(authenticated, encryption), close(3)])
}

async function* definite(
  content: AsyncIterable<Buffer>,
  cipher: ContentCipher,
  encryption: ContentEncryption,
  { beforeContentInfo, beforeContent }: Head,
  sizeOctets: number,
): AsyncGenerator<Buffer, void, undefined> {
  const { authenticated } = cipher
  const encryptedSize = encryptedSizeOf(cipher, sizeOctets)
  const type = authenticated ? AUTH_ENVELOPED_DATA : ENVELOPED_DATA
  // From the inside out, as every length counts what is inside of it.
  let prefix = Buffer.concat([beforeContent, header(0x80, encryptedSize)])
  let size = prefix.length + encryptedSize
  const around = (tag: number, before: Buffer, after: number): void => {
    size += before.length + after
    const start = header(tag, size)
    prefix = Buffer.concat([start, before, prefix])
    size += start.length
  }
  around(0x30, NOTHING, 0)
  around(0x30, beforeContentInfo, authenticated ? TAG_ELEMENT_OCTETS : 0)
  around(0xa0, NOTHING, 0)
  around(0x30, type, 0)
  yield prefix
  yield* encrypted(content, encryption)
  if (authenticated) yield* tagOf(authenticated, encryption)
}

async function* encrypted(
  content: AsyncIterable<Buffer>,
  encryption: ContentEncryption,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of content) {
    const octets = encryption.update(chunk)
    if (octets.length > 0) yield octets
  }
  const last = encryption.final()
  if (last.length > 0) yield last
}

/** Content of another size than was said would make a structure that nobody can read. */
async function* sized(
  content: AsyncIterable<Buffer>,
  sizeOctets: number,
): AsyncGenerator<Buffer, void, undefined> {
  let size = 0
  for await (const chunk of content) {
    size += chunk.length
    yield chunk
  }
  if (size !== sizeOctets) throw new Error('content is not of the size that was said')
}

function tagOf(authenticated: boolean, encryption: ContentEncryption): Buffer[] {
  return authenticated ? [octetString(encryption.tag())] : []
}

const NOTHING = Buffer.alloc(0)
const TAG_ELEMENT_OCTETS = 18
const DATA = oid(OID.DATA)
const ENVELOPED_DATA = oid(OID.ENVELOPED_DATA)
const AUTH_ENVELOPED_DATA = oid(OID.AUTH_ENVELOPED_DATA)
