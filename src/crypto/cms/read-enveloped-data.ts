/**
 * Reads EnvelopedData (RFC 5652 §6) and AuthEnvelopedData (RFC 5083), without their content, into typed
 * results. All that stands here was in the clear: no key has been asked.
 *
 * @module
 */
import { DerReader, readOid, readSmallInteger, syntaxError } from '../asn1/der-reader.ts'
import {
  type Decryption,
  type DecryptionCipher,
  decryptionCipherByOid,
  isIvOf,
} from '../content-encryption.ts'
import { type AlgorithmIdentifier, readAlgorithm, readOctets } from './algorithm-identifier.ts'
import * as OID from './oids.ts'
import { type Recipients, readRecipients } from './read-recipient-info.ts'

/** What a ContentInfo turned out to be. */
export type EnvelopedReading =
  | { readonly kind: 'enveloped'; readonly data: EnvelopedData }
  /** Another content type, by its object identifier. */
  | { readonly kind: 'not-enveloped'; readonly contentType: string }
  /** Well-formed, and not to be decrypted. */
  | { readonly kind: 'refused'; readonly reason: EnvelopedRefusal; readonly detail: string }

export type EnvelopedRefusal =
  /** A cipher that we do not know or do not take. */
  | 'algorithm-refused'
  /** A cipher in the wrong structure: with tag in EnvelopedData, or without in AuthEnvelopedData. */
  | 'algorithm-misplaced'
  /** Size of nonce or tag, or the declared size is not that of the tag. */
  | 'parameters-refused'
  /** Authenticated attributes do not name the type of the content. */
  | 'content-type-unprotected'

export interface EnvelopedData {
  readonly recipients: Recipients
  /** Object identifier of what is inside: id-data for a MIME entity. */
  readonly contentType: string
  readonly decryption: Decryption
}

/**
 * Reads the skeleton of a ContentInfo: what `BerReader` leaves when the content is taken out.
 *
 * @throws {PosternError} `ERR_DER_SYNTAX`, also where a bound is broken.
 */
export function readEnvelopedData(skeleton: Buffer): EnvelopedReading {
  const contentInfo = new DerReader(skeleton).into(0x30)
  const type = readOid(contentInfo.element(0x06))
  if (type !== OID.ENVELOPED_DATA && type !== OID.AUTH_ENVELOPED_DATA)
    return { kind: 'not-enveloped', contentType: type }
  const wrapped = contentInfo.into(0xa0)
  contentInfo.finish()
  const reader = wrapped.into(0x30)
  wrapped.finish()
  readSmallInteger(reader.element(0x02)) // version: tells nothing that does not stand there
  reader.optional(0xa0) // originatorInfo
  const recipients = readRecipients(reader.into(0x31))
  const { contentType, algorithm } = readEncryptedContentInfo(reader.into(0x30))
  const authentication =
    type === OID.AUTH_ENVELOPED_DATA ? readAuthentication(reader, contentType) : undefined
  if (!authentication) reader.optional(0xa1) // unprotectedAttrs
  reader.finish()
  const decryption = decryptionOf(algorithm, authentication)
  if ('reason' in decryption) return { kind: 'refused', ...decryption }
  return { kind: 'enveloped', data: { recipients, contentType, decryption } }
}

interface Refusal {
  readonly reason: EnvelopedRefusal
  readonly detail: string
}

function readEncryptedContentInfo(info: DerReader): {
  contentType: string
  algorithm: AlgorithmIdentifier
} {
  const contentType = readOid(info.element(0x06))
  const algorithm = readAlgorithm(info.element(0x30))
  info.finish()
  return { contentType, algorithm }
}

/** What follows the content of an AuthEnvelopedData. */
interface Authentication {
  readonly mac: Buffer
  /** The attributes as they are authenticated: DER with the tag of a SET OF (RFC 5083 §2.2). */
  readonly attributes: Buffer | undefined
  /** The attributes are there if they must be, and name the content's type. */
  readonly namesContentType: boolean
}

function readAuthentication(reader: DerReader, contentType: string): Authentication {
  const attributes = reader.optional(0xa1)
  const mac = readOctets(reader)
  reader.optional(0xa2) // unauthAttrs
  return {
    mac,
    attributes: attributes && Buffer.concat([SET_OF, attributes.octets.subarray(1)]),
    // RFC 5083 §2.1: there must be attributes where the content is not id-data, this one among them.
    namesContentType: attributes
      ? contentTypeAmong(new DerReader(attributes.content)) === contentType
      : contentType === OID.DATA,
  }
}

/** The one value of the one contentType attribute. */
function contentTypeAmong(set: DerReader): string | undefined {
  let contentType: string | undefined
  for (let count = 0; !set.done; count++) {
    if (count >= MAXIMUM_ATTRIBUTES) throw syntaxError(set.offset, 'too many attributes')
    const attribute = set.into(0x30)
    const type = readOid(attribute.element(0x06))
    const values = attribute.into(0x31)
    attribute.finish()
    if (type !== OID.CONTENT_TYPE) continue
    if (contentType !== undefined) throw syntaxError(set.offset, 'content type stands there twice')
    contentType = readOid(values.element(0x06))
    values.finish()
  }
  return contentType
}

function decryptionOf(
  algorithm: AlgorithmIdentifier,
  authentication: Authentication | undefined,
): Decryption | Refusal {
  const derived = algorithm.oid === CEK_HKDF_SHA256
  const inner = derived ? parametersOf(algorithm) : algorithm
  const cipher = decryptionCipherByOid(inner.oid)
  if (!cipher) return { reason: 'algorithm-refused', detail: `cipher ${inner.oid}` }
  const derivedFor = derived ? inner.octets : undefined
  if ((cipher.mode !== 'cbc') !== (authentication !== undefined)) {
    // RFC 5084 §1 and the downgrade that RFC 9709 is about: an AEAD's ciphertext read as CBC yields
    // octets that the attacker chose, decrypted with the key of the AEAD.
    const where = authentication ? 'AuthEnvelopedData' : 'EnvelopedData'
    return { reason: 'algorithm-misplaced', detail: `${cipher.name} in ${where}` }
  }
  const { iv, tagOctets } = parametersFor(cipher, inner)
  if (!isIvOf(cipher, iv))
    return { reason: 'parameters-refused', detail: `nonce of ${iv.length} octets` }
  if (!authentication) return { cipher, iv, tag: undefined, additionalData: undefined, derivedFor }
  const { mac, attributes, namesContentType } = authentication
  if (!isTagOf(cipher, tagOctets) || mac.length !== tagOctets)
    return { reason: 'parameters-refused', detail: `tag of ${mac.length} octets for ${tagOctets}` }
  if (!namesContentType) {
    const detail = 'authenticated attributes do not name the content type'
    return { reason: 'content-type-unprotected', detail }
  }
  return { cipher, iv, tag: mac, additionalData: attributes, derivedFor }
}

/**
 * RFC 5084 §3.2: 12 to 16 octets. §3.1 lets tags of CCM be shorter, down to one that is guessed with a
 * few thousand messages; and of an even number of octets alone.
 */
function isTagOf({ mode }: DecryptionCipher, octets: number): boolean {
  if (octets < MINIMUM_TAG_OCTETS || octets > 16) return false
  return mode !== 'ccm' || octets % 2 === 0
}

/** RFC 9709 §3: the parameters are the identifier of the cipher. */
function parametersOf({ parameters }: AlgorithmIdentifier): AlgorithmIdentifier {
  return readAlgorithm(new DerReader(parameters ?? NOTHING).element(0x30))
}

/** IV or nonce, and the declared size of the tag. */
function parametersFor(
  { mode }: DecryptionCipher,
  { parameters }: AlgorithmIdentifier,
): { readonly iv: Buffer; readonly tagOctets: number } {
  const reader = new DerReader(parameters ?? NOTHING)
  // RFC 3565 §2.1, RFC 8103 §3: the octets alone. A tag of Poly1305 has one size.
  if (mode !== 'gcm' && mode !== 'ccm') return { iv: readOctets(reader), tagOctets: 16 }
  const both = reader.into(0x30)
  const iv = readOctets(both)
  // RFC 5084 §3.1, §3.2: DEFAULT 12.
  const tagOctets = both.done ? DEFAULT_TAG_OCTETS : readSmallInteger(both.element(0x02))
  both.finish()
  return { iv, tagOctets }
}

/**
 * Where the content of an EnvelopedData or AuthEnvelopedData stands: ContentInfo, [0], the data,
 * EncryptedContentInfo; there under the tag `ENCRYPTED_CONTENT_TAG`.
 */
export const ENCRYPTED_CONTENT_PATH = [0x30, 0xa0, 0x30, 0x30] as const
export const ENCRYPTED_CONTENT_TAG = 0x80

const NOTHING = Buffer.alloc(0)
const SET_OF = Buffer.from([0x31])
const CEK_HKDF_SHA256 = '1.2.840.113549.1.9.16.3.31'
const DEFAULT_TAG_OCTETS = 12
const MINIMUM_TAG_OCTETS = 12
const MAXIMUM_ATTRIBUTES = 64
