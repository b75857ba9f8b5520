/**
 * Reads the signature of an entity: clear (RFC 8551 §3.5.3) or opaque (§3.5.2).
 *
 *     multipart/signed ──┬─ second part ─▶ SignedData ─▶ which digests ─┐
 *                        └─ first part, octet for octet ────────────────┴─▶ signers
 *     pkcs7-mime ─▶ SignedData ──┬─ eContent ─▶ held, digested ─┐
 *                                └─ the rest ───────────────────┴─▶ signers
 *
 * What is said here is mathematics: whether somebody's key made a signature over these very octets.
 * Who that is, and whether he is the author, is asked elsewhere.
 *
 * @module
 */
import { createHash, type Hash } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import { decodeBase64 } from '../../mail/base64.ts'
import type { ContentWriter } from '../../mail/content.ts'
import type { Entity } from '../../mail/entity.ts'
import type { Content } from '../../mail/mail-object.ts'
import { type DigestAlgorithm, RECEIVED_DIGESTS, receivedDigestByOid } from '../algorithms.ts'
import { oid } from '../asn1/der-writer.ts'
import * as OID from '../cms/oids.ts'
import { isAttributeSet, type SignedData } from '../cms/read-signed-data.ts'
import { SignedDataStream } from '../cms/signed-data-stream.ts'
import { readSigner, type SignerReading } from '../cms/verify-signer.ts'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import {
  faultOfClear,
  faultOfOpaque,
  type LayerFault,
  labelsOfClear,
  labelsOfOpaque,
} from './signature-labels.ts'

export type { SignerReading } from '../cms/verify-signer.ts'

/** What an entity that calls itself signed turns out to be. */
export type Signature =
  /** Two readers could see two things in it, or it is none at all. `reason` is a stable code. */
  | { readonly kind: 'malformed'; readonly reason: string; readonly detail: string }
  /** It bears certificates, and nobody has signed it. */
  | { readonly kind: 'unsigned' }
  | SignedEntity

export interface SignedEntity {
  readonly kind: 'signed'
  readonly format: 'clear' | 'opaque'
  /** At least one, at most ten. */
  readonly signers: readonly SignerReading[]
  /** All that can be read of those that the signature brings along, in their order. */
  readonly certificates: readonly Certificate[]
  /** Codes for what is written on it and is not so: `micalg-lies`. See `signature-labels.ts`. */
  readonly labels: readonly string[]
  readonly inside: SignedOctets
}

/** The octets that are signed: a part of the content that was read, or one that the caller owns. */
export type SignedOctets =
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  /** To be disposed of by the caller. */
  | { readonly kind: 'content'; readonly content: Content }

/**
 * Reads the signature of an entity, clear where it is multipart/signed, else opaque.
 *
 * @param entity What `walk` found in `content`; the offsets of a clear signature are its offsets.
 * @param hold Holds what comes out of an opaque signature; discarded where nothing does.
 * @throws {PosternError} what `content.read` and the writer throw. Never for what a sender wrote.
 */
export async function readSignature(
  content: Content,
  entity: Entity,
  hold: () => ContentWriter,
): Promise<Signature> {
  try {
    return entity.mediaType.essence === 'multipart/signed'
      ? await readClear(content, entity)
      : await readOpaque(content, entity, hold)
  } catch (error) {
    const reason = error instanceof PosternError ? MALFORMED.get(error.code) : undefined
    if (reason === undefined) throw error
    return { kind: 'malformed', reason, detail: (error as PosternError).message }
  }
}

/** The signature stands behind the content, and is read first: it says which digests are needed. */
async function readClear(content: Content, entity: Entity): Promise<Signature> {
  const fault = await faultOfClear(content, entity)
  if (fault) return { kind: 'malformed', ...fault }
  const [part, signature] = entity.children as [Entity, Entity]
  const stream = new SignedDataStream()
  for await (const chunk of bodyOf(content, signature)) stream.push(chunk)
  const signedData = stream.end()
  // Two contents: a reader who takes the other one would see what was not verified.
  if (stream.contentSeen) return malformed('content-twice', 'the signature brings another content')
  const other = otherThanSigned(signedData)
  if (other) return other

  const { start, end } = part
  const octets: Octets = { sizeOctets: end - start, read: () => content.read(start, end) }
  const digests = await digestsOf(octets, digestsNeeded(signedData), new Map())
  const read = await readSigners(signedData, stream, digests, octets)
  const labels = await labelsOfClear(content, entity, read.signers)
  return { kind: 'signed', format: 'clear', ...read, labels, inside: { kind: 'part', start, end } }
}

async function readOpaque(
  content: Content,
  entity: Entity,
  hold: () => ContentWriter,
): Promise<Signature> {
  const fault = faultOfOpaque(entity)
  if (fault) return { kind: 'malformed', ...fault }
  const writer = hold()
  try {
    const stream = new SignedDataStream()
    const digests = await holdContent(bodyOf(content, entity), stream, writer)
    const signedData = stream.end()
    const other = otherThanSigned(signedData)
    if (other) return other
    if (!stream.contentSeen) return malformed('content-missing', 'there is no content to be signed')
    return await readHeld(entity, await writer.finish(), { stream, signedData, digests })
  } finally {
    // Does nothing where the content has been given away.
    writer.discard()
  }
}

interface HeldReading {
  readonly stream: SignedDataStream
  readonly signedData: SignedData
  readonly digests: ReadonlyMap<string, Buffer>
}

async function readHeld(
  entity: Entity,
  inner: Content,
  { stream, signedData, digests }: HeldReading,
): Promise<Signature> {
  try {
    const all = await digestsOf(inner, digestsNeeded(signedData), digests)
    const read = await readSigners(signedData, stream, all, inner)
    const inside: SignedOctets = { kind: 'content', content: inner }
    return { kind: 'signed', format: 'opaque', ...read, labels: labelsOfOpaque(entity), inside }
  } catch (error) {
    inner.dispose()
    throw error
  }
}

/** Holds the content, and digests it by what is announced ahead of it (RFC 5652 §5.1). */
async function holdContent(
  octets: AsyncIterable<Buffer>,
  stream: SignedDataStream,
  writer: ContentWriter,
): Promise<ReadonlyMap<string, Buffer>> {
  let hashes: ReadonlyMap<string, Hash> | undefined
  for await (const chunk of octets) {
    const piece = stream.push(chunk)
    if (piece.length === 0) continue
    hashes ??= hashesFor(RECEIVED_DIGESTS.filter(digest => stream.head.includes(oid(digest.oid))))
    for (const hash of hashes.values()) hash.update(piece)
    const waiting = writer.write(piece)
    if (waiting) await waiting
  }
  return digested(hashes ?? new Map())
}

/** SignedData that is read no further, and what it is. */
function otherThanSigned({ contentType, signers }: SignedData): Signature | undefined {
  if (signers.length === 0) return { kind: 'unsigned' }
  return contentType === OID.DATA
    ? undefined
    : malformed('content-type-unsupported', 'what is signed is no MIME entity')
}

/** Octets that are signed. */
interface Octets {
  readonly sizeOctets: number
  read(): AsyncIterable<Buffer>
}

async function readSigners(
  { contentType, digestAlgorithms, certificates: octets, signers: infos }: SignedData,
  stream: SignedDataStream,
  digests: ReadonlyMap<string, Buffer>,
  signed: Octets,
): Promise<Pick<SignedEntity, 'signers' | 'certificates'>> {
  const certificates = octets.flatMap(der => readable(der))
  let asked: Promise<boolean> | undefined
  const matter = {
    contentType,
    digestAlgorithms,
    digests,
    certificates,
    standsAsDer: stream.standsAsDer.bind(stream),
    isAttributes: () => (asked ??= isAttributes(signed)),
  }
  const signers: SignerReading[] = []
  for (const info of infos) signers.push(await readSigner(info, matter))
  return { signers, certificates }
}

/** What a signer needs who has signed attributes; the others sign the content itself. */
function digestsNeeded({ signers }: SignedData): DigestAlgorithm[] {
  const digests = signers.flatMap(({ signedAttributes, digestAlgorithm }) =>
    signedAttributes ? (receivedDigestByOid(digestAlgorithm.oid) ?? []) : [],
  )
  return [...new Set(digests)]
}

/** Reads the octets only if a digest is not known yet. */
async function digestsOf(
  octets: Octets,
  needed: readonly DigestAlgorithm[],
  known: ReadonlyMap<string, Buffer>,
): Promise<ReadonlyMap<string, Buffer>> {
  const hashes = hashesFor(needed.filter(({ name }) => !known.has(name)))
  if (hashes.size === 0) return known
  for await (const chunk of octets.read()) for (const hash of hashes.values()) hash.update(chunk)
  return new Map([...known, ...digested(hashes)])
}

function hashesFor(digests: readonly DigestAlgorithm[]): ReadonlyMap<string, Hash> {
  return new Map(digests.map(({ name, nodeName }) => [name, createHash(nodeName)]))
}

function digested(hashes: ReadonlyMap<string, Hash>): ReadonlyMap<string, Buffer> {
  return new Map([...hashes].map(([name, hash]) => [name, hash.digest()]))
}

/** Asked where a signature has no signed attributes: it may have been made over such (RFC 5652 §5.3). */
async function isAttributes(octets: Octets): Promise<boolean> {
  if (octets.sizeOctets > MAXIMUM_ATTRIBUTES_OCTETS) return false
  const chunks: Buffer[] = []
  for await (const chunk of octets.read()) chunks.push(chunk)
  return isAttributeSet(Buffer.concat(chunks))
}

/** One that cannot be read is not the signer's, and says nothing about the others. */
function readable(der: Buffer): Certificate[] {
  try {
    return [parseCertificate(der)]
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_CERTIFICATE_SYNTAX') return []
    throw error
  }
}

function bodyOf(content: Content, leaf: Entity): AsyncIterable<Buffer> {
  const octets = content.read(leaf.bodyStart, leaf.end)
  return leaf.transferEncoding === 'base64' ? decodeBase64(octets) : octets
}

function malformed(reason: string, detail: string): { kind: 'malformed' } & LayerFault {
  return { kind: 'malformed', reason, detail }
}

const MALFORMED: ReadonlyMap<string, string> = new Map([
  ['ERR_BASE64_MALFORMED', 'base64'],
  ['ERR_BER_SYNTAX', 'cms'],
  ['ERR_DER_SYNTAX', 'cms'],
])
/** As much as signed attributes can be: what stands beside a content is bounded alike. */
const MAXIMUM_ATTRIBUTES_OCTETS = 1_048_576
