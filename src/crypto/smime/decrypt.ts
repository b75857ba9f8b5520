/**
 * Opens what is encrypted: CMS octets that can be read twice in, the content out, once all of it has
 * been checked (RFC 8551 §6).
 *
 *     octets ──first reading──▶ structure ──▶ one RecipientInfo, one key ──▶ content key
 *     octets ──second reading─▶ cipher ──▶ held, encrypted at rest ──final()──▶ content
 *
 * Everything that can be refused by what everybody sees is refused before a key is asked. After that
 * there is one outcome for all that may go wrong, reached by one path: the content is read and decrypted
 * to its end, whichever key it is.
 *
 * @module
 */
import { createHmac, randomBytes } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import type { ContentWriter } from '../../mail/content.ts'
import type { Content } from '../../mail/mail-object.ts'
import { BerReader } from '../asn1/ber-reader.ts'
import {
  ENCRYPTED_CONTENT_PATH,
  ENCRYPTED_CONTENT_TAG,
  type EnvelopedData,
  type EnvelopedRefusal,
  readEnvelopedData,
} from '../cms/read-enveloped-data.ts'
import type { Recipients } from '../cms/read-recipient-info.ts'
import { beginDecryption, type Decryption, isSizeOf } from '../content-encryption.ts'
import type { KeyUnwrapper, RecipientIdentifier, RecipientInfo } from '../key.ts'
import type { Certificate } from '../x509/certificate.ts'
import { isSameName } from '../x509/name-comparison.ts'

/** How the opening ended. */
export type Opening =
  | {
      readonly kind: 'opened'
      /** The caller's to dispose of. */
      readonly content: Content
      /** Object identifier of the content's type: id-data for a MIME entity, or another CMS type. */
      readonly contentType: string
      /** `aes-256-cbc`. */
      readonly cipher: string
      /** `rsa-oaep-sha-256`, `ecdh-sha-256`. */
      readonly management: string
      /** A tag was checked; otherwise anyone on the way could have altered the content. */
      readonly authenticated: boolean
      /** The cipher is one that is read by an operator's wish alone. */
      readonly weak: boolean
      /** Whose key it was. */
      readonly certificate: Certificate
      /** Stands for the content key, in this process; two that are alike are of one key. */
      readonly keyTag: string
    }
  /** With the same content key as before, for another recipient: what came out then is his as well. */
  | { readonly kind: 'as-before'; readonly keyTag: string; readonly certificate: Certificate }
  /** No RecipientInfo names one of the keys. */
  | { readonly kind: 'no-key' }
  /** By what everybody can see, before any key was asked. */
  | { readonly kind: 'unreadable'; readonly reason: UnreadableReason; readonly detail: string }
  /** Wrong key, wrong padding, wrong tag: it is not told which. */
  | { readonly kind: 'failed' }

export type UnreadableReason =
  | EnvelopedRefusal
  /** The octets are not what BER and CMS want, or break a bound. */
  | 'malformed'
  /** The transfer encoding around the octets is broken. */
  | 'base64'
  /** Another kind of CMS structure. */
  | 'not-enveloped'
  /** The encrypted content is elsewhere. */
  | 'detached'
  /** There are none but passwords, symmetric keys and the like. */
  | 'recipients-refused'
  /** Our key is named, and the content key encrypted in a way that we do not take. */
  | 'management-refused'

export interface OpeningOptions {
  /** Where the content goes until it has been checked, and stays afterwards. */
  readonly hold: () => ContentWriter
  /** Whether to open triple DES, which is then reported as weak. Default: not. */
  readonly tripleDes?: boolean | undefined
  /** What the same message has been opened with for others. */
  readonly before?: OpenedBefore | undefined
  /** What `structureOf` has found in the same octets; default: they are read for it. */
  readonly structure?: Promise<EnvelopeStructure> | undefined
  /** Sees the plaintext pass, of which nobody knows yet whether it is right. Must not throw. */
  readonly passing?: ((plain: Buffer) => void) | undefined
  /** Told when all cipher text has been deciphered, and nobody knows yet whether that was right. */
  readonly deciphered?: (() => void) | undefined
}

/** With which content keys a message has been opened before. It has one, whoever its recipients are. */
export interface OpenedBefore {
  readonly keyTags: ReadonlySet<string>
  /** Other keys fail at once: whoever gives each recipient another one wants us to decrypt without end. */
  readonly enough: boolean
}

/**
 * Opens an EnvelopedData or AuthEnvelopedData.
 *
 * The first RecipientInfo that names one of the keys is the one that is taken; if it leads nowhere, no
 * other is tried: a second one would tell how the first had ended.
 *
 * @param read BER octets of a ContentInfo; called twice, for the same octets.
 * @param keys Those of the forward-path that the message goes to, and no others.
 * @throws {PosternError} `ERR_UNWRAP_UNAVAILABLE` where a key cannot be asked now, what `hold` throws
 *   (`ERR_CONTENT_STORE_FULL`), what `read` throws except `ERR_BASE64_MALFORMED`. All of these are
 *   transient, and none depends on what is encrypted.
 */
export async function openEnveloped(
  read: () => AsyncIterable<Buffer>,
  keys: readonly KeyUnwrapper[],
  { hold, tripleDes = false, before, passing, deciphered, structure }: OpeningOptions,
): Promise<Opening> {
  const reading = await (structure ?? structureOf(read()))
  if (reading.kind === 'unreadable') return reading
  const { recipients, contentType, decryption } = reading.data
  const { cipher } = decryption
  if (cipher.weak && !tripleDes) return unreadable('algorithm-refused', `cipher ${cipher.name}`)
  const chosen = choose(recipients, keys)
  if ('kind' in chosen) return chosen

  const { key, info } = chosen
  const contentKey = await key.unwrap(info, cipher.keyOctets)
  const { certificate } = key
  const keyTag = createHmac('sha256', TAG_KEY).update(contentKey).digest('base64')
  if (before?.keyTags.has(keyTag)) return { kind: 'as-before', keyTag, certificate }
  if (before?.enough) return { kind: 'failed' }
  const { sizeOctets } = reading
  const given = { contentKey, sizeOctets, writer: hold(), passing, deciphered }
  const content = await decrypted(read(), decryption, given)
  if (!content) return { kind: 'failed' }
  return {
    kind: 'opened',
    content,
    contentType,
    cipher: cipher.name,
    management: info.scheme.name,
    authenticated: cipher.mode !== 'cbc',
    weak: cipher.weak,
    certificate,
    keyTag,
  }
}

type Unreadable = Extract<Opening, { kind: 'unreadable' }>

/** What everybody can see of an envelope, whichever key he has. */
export type EnvelopeStructure =
  | {
      readonly kind: 'enveloped'
      readonly data: EnvelopedData
      /** Of the cipher text. */
      readonly sizeOctets: number
    }
  | Unreadable

/**
 * The first reading.
 *
 * @throws {PosternError} What `octets` throw, except `ERR_BASE64_MALFORMED`.
 */
export async function structureOf(octets: AsyncIterable<Buffer>): Promise<EnvelopeStructure> {
  try {
    let sizeOctets = 0
    const reader = readerOf(piece => {
      sizeOctets += piece.length
    })
    for await (const chunk of octets) reader.push(chunk)
    const reading = readEnvelopedData(reader.end())
    switch (reading.kind) {
      case 'not-enveloped':
        return unreadable('not-enveloped', `content type ${reading.contentType}`)
      case 'refused':
        return unreadable(reading.reason, reading.detail)
      case 'enveloped':
        if (!reader.contentSeen) return unreadable('detached', 'there is no encrypted content')
        if (!isSizeOf(reading.data.decryption, sizeOctets))
          return unreadable('parameters-refused', `${sizeOctets} octets for a nonce of its length`)
        return { ...reading, sizeOctets }
    }
  } catch (error) {
    return malformed(error)
  }
}

function malformed(error: unknown): Unreadable {
  if (!(error instanceof PosternError)) throw error
  const reason = SYNTAX_ERRORS.get(error.code)
  if (!reason) throw error
  return unreadable(reason, error.message)
}

/** The first RecipientInfo, in their order, that names one of the keys and suits it. */
function choose(
  { infos, refused }: Recipients,
  keys: readonly KeyUnwrapper[],
): { readonly info: RecipientInfo; readonly key: KeyUnwrapper } | Opening {
  for (const info of infos) {
    const key = keys.find(one => names(info.recipient, one.certificate) && suits(info, one))
    if (key) return { info, key }
  }
  if (infos.length + refused.length === 0)
    return unreadable('recipients-refused', 'no recipient is named by a certificate')
  const named = refused.some(one => keys.some(({ certificate }) => names(one, certificate)))
  if (named) return unreadable('management-refused', 'content key is encrypted in no known way')
  return { kind: 'no-key' }
}

/** Whether a RecipientInfo is for the key of this certificate (RFC 5652 §6.2.1). */
export function names(recipient: RecipientIdentifier, certificate: Certificate): boolean {
  if (recipient.kind === 'key-identifier')
    return certificate.subjectKeyIdentifier?.equals(recipient.keyIdentifier) ?? false
  if (!certificate.serialNumber.equals(recipient.serialNumber)) return false
  try {
    return isSameName(recipient.issuer, certificate.issuer)
  } catch {
    // A name that cannot be read is nobody's.
    return false
  }
}

/** Whether the kinds of key fit, which the certificate tells everybody. */
function suits(info: RecipientInfo, { certificate }: KeyUnwrapper): boolean {
  const type = info.kind === 'key-transport' ? 'rsa' : info.originator.type
  try {
    return certificate.publicKey.asymmetricKeyType === type
  } catch {
    return false
  }
}

interface Deciphering extends Pick<OpeningOptions, 'passing' | 'deciphered'> {
  readonly contentKey: Buffer
  readonly sizeOctets: number
  readonly writer: ContentWriter
}

/** The second reading. Undefined where padding or tag are wrong; nothing is held then. */
async function decrypted(
  octets: AsyncIterable<Buffer>,
  decryption: Decryption,
  { contentKey, sizeOctets, writer, passing, deciphered }: Deciphering,
): Promise<Content | undefined> {
  const taken = (plain: Buffer): Promise<void> | undefined => {
    if (plain.length === 0) return undefined
    passing?.(plain)
    return writer.write(plain)
  }
  try {
    const cipher = beginDecryption(decryption, contentKey, sizeOctets)
    contentKey.fill(0)
    const pieces: Buffer[] = []
    const take = (piece: Buffer) => void pieces.push(piece)
    const reader = readerOf(take)
    for await (const chunk of octets) {
      reader.push(chunk)
      if (pieces.length === 0) continue
      // Together: segments of one octet would cost a call each.
      const waiting = taken(cipher.update(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)))
      pieces.length = 0
      if (waiting) await waiting
    }
    reader.end()
    deciphered?.()
    const last = finalOf(cipher)
    if (!last) return undefined
    const waiting = taken(last)
    if (waiting) await waiting
    return await writer.finish()
  } finally {
    // Does nothing where the content has been given away.
    writer.discard()
  }
}

function finalOf(cipher: { final(): Buffer }): Buffer | undefined {
  try {
    return cipher.final()
  } catch {
    return undefined
  }
}

function unreadable(reason: UnreadableReason, detail: string): Unreadable {
  return { kind: 'unreadable', reason, detail }
}

function readerOf(take: (piece: Buffer) => void): BerReader {
  return new BerReader(ENCRYPTED_CONTENT_PATH, take, ENCRYPTED_CONTENT_TAG, AHEAD_OF_CONTENT)
}

/** Nobody learns a content key from its tag. */
const TAG_KEY = randomBytes(32)
/** The type of the content (RFC 5652 §6.1); a SignedData has no more, and is to be told what it is. */
const AHEAD_OF_CONTENT = 1
const SYNTAX_ERRORS: ReadonlyMap<string, UnreadableReason> = new Map([
  ['ERR_BER_SYNTAX', 'malformed'],
  ['ERR_DER_SYNTAX', 'malformed'],
  ['ERR_BASE64_MALFORMED', 'base64'],
])
