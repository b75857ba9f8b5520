/**
 * Whether a message that calls itself signed or encrypted is built like one.
 *
 *     label ──▶ parts ──▶ CMS or armor: as the label says? ──▶ signed · encrypted · neither
 *
 * A label is written in a moment, by anybody. What is asked here can be asked without a key: whether
 * there is a signature or an encryption at all. Whose it is, and whether it is good, is not.
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import type { Entity } from '../../mail/entity.ts'
import type { Content } from '../../mail/mail-object.ts'
import { BerReader } from '../asn1/ber-reader.ts'
import { DerReader, readOid } from '../asn1/der-reader.ts'
import * as OID from '../cms/oids.ts'
import { SIGNED_CONTENT_PATH } from '../cms/read-signed-data.ts'
import { bodyOf, HEAD_OCTETS, typeOfHead } from './cms-body.ts'

/** How a message is protected. */
export interface Protection {
  readonly kind: 'signed' | 'encrypted'
  readonly by: 'smime' | 'pgp'
}

/**
 * Looks at the outermost layer of a message (RFC 1847, RFC 3156, RFC 8551 §3.3 to §3.5).
 *
 * @param root What `walk` found in the content.
 * @returns `undefined` also where two readers could read the Content-Type differently.
 * @throws {PosternError} What `content.read` throws.
 */
export async function protectionOf(
  content: Content,
  root: Entity,
): Promise<Protection | undefined> {
  if (root.mediaType.ambiguous) return undefined
  switch (root.mediaType.essence) {
    case 'multipart/signed':
      return signedBy(content, root)
    case 'multipart/encrypted':
      return encryptedBy(content, root)
    case 'application/pkcs7-mime':
    case 'application/x-pkcs7-mime':
    // RFC 8551 §3.2.1: what a gateway on the way has made of it.
    case 'application/octet-stream':
      return smime(await kindOfCms(bodyOf(content, root)))
    default:
      return undefined
  }
}

/** Two parts, the second of which is a signature of the kind that the first field names. */
async function signedBy(content: Content, root: Entity): Promise<Protection | undefined> {
  const [, signature, ...others] = root.children
  if (signature === undefined || others.length > 0) return undefined
  const { essence } = signature.mediaType
  const protocol = protocolOf(root)
  if (SMIME_SIGNATURE.has(protocol) && SMIME_SIGNATURE.has(essence)) {
    const kind = await kindOfCms(bodyOf(content, signature))
    return kind === 'signed' ? smime(kind) : undefined
  }
  if (protocol !== PGP_SIGNATURE || essence !== PGP_SIGNATURE) return undefined
  return (await isArmored(content, signature, 'SIGNATURE'))
    ? { kind: 'signed', by: 'pgp' }
    : undefined
}

/** RFC 3156 §4: a part that says which version, and a message in armor. */
async function encryptedBy(content: Content, root: Entity): Promise<Protection | undefined> {
  const [control, message, ...others] = root.children
  if (message === undefined || others.length > 0) return undefined
  if (protocolOf(root) !== PGP_ENCRYPTED || control!.mediaType.essence !== PGP_ENCRYPTED)
    return undefined
  return (await isArmored(content, message, 'MESSAGE'))
    ? { kind: 'encrypted', by: 'pgp' }
    : undefined
}

function protocolOf({ mediaType }: Entity): string {
  return (mediaType.parameters.get('protocol') ?? '').trim().toLowerCase()
}

function smime(kind: Protection['kind'] | undefined): Protection | undefined {
  return kind && { kind, by: 'smime' }
}

/** What a CMS structure is (RFC 5652 §3). A SignedData that nobody has signed bears certificates only. */
async function kindOfCms(octets: AsyncIterable<Buffer>): Promise<Protection['kind'] | undefined> {
  const reader = new BerReader(SIGNED_CONTENT_PATH, () => undefined)
  let head = NOTHING
  try {
    for await (const chunk of octets) {
      if (head.length < HEAD_OCTETS) {
        head = Buffer.concat([head, chunk.subarray(0, HEAD_OCTETS)])
        const type = typeOfHead(head)
        if (type === 'enveloped' || type === 'auth-enveloped') return 'encrypted'
      }
      reader.push(chunk)
    }
    return isSigned(reader.end()) ? 'signed' : undefined
  } catch (error) {
    if (error instanceof PosternError && NO_CMS.has(error.code)) return undefined
    throw error
  }
}

/** @param der A ContentInfo, without the content that is signed. */
function isSigned(der: Buffer): boolean {
  const contentInfo = new DerReader(der).into(0x30)
  if (readOid(contentInfo.element(0x06)) !== OID.SIGNED_DATA) return false
  const signedData = contentInfo.into(0xa0).into(0x30)
  let last = signedData.element()
  while (!signedData.done) last = signedData.element()
  // signerInfos (RFC 5652 §5.1).
  return last.tag === 0x31 && last.content.length > 0
}

/** RFC 9580 §6.2.1. White space and a few lines may stand in front. */
async function isArmored(content: Content, leaf: Entity, kind: string): Promise<boolean> {
  const end = Math.min(leaf.end, leaf.bodyStart + ARMOR_OCTETS)
  const chunks: Buffer[] = []
  for await (const chunk of content.read(leaf.bodyStart, end)) chunks.push(chunk)
  return Buffer.concat(chunks).includes(`-----BEGIN PGP ${kind}-----`)
}

const SMIME_SIGNATURE: ReadonlySet<string> = new Set([
  'application/pkcs7-signature',
  'application/x-pkcs7-signature',
])
const PGP_SIGNATURE = 'application/pgp-signature'
const PGP_ENCRYPTED = 'application/pgp-encrypted'
const NO_CMS: ReadonlySet<string> = new Set([
  'ERR_BASE64_MALFORMED',
  'ERR_BER_SYNTAX',
  'ERR_DER_SYNTAX',
])
const NOTHING: Buffer = Buffer.alloc(0)
const ARMOR_OCTETS = 1024
