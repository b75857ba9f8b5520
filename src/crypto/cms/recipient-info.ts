/**
 * RecipientInfos: the content-encryption key, once for each certificate (RFC 5652 §6.2).
 *
 * @module
 */
import { setImmediate } from 'node:timers/promises'
import { PosternError } from '../../errors.ts'
import { DerReader, readBitString, readOid } from '../asn1/der-reader.ts'
import { context, integer, octetString, oid, sequence, setOf, tlv } from '../asn1/der-writer.ts'
import {
  agree,
  deriveKey,
  type KeyAgreement,
  type KeyManagement,
  type KeyTransport,
  requireEncryptionKey,
  transportKey,
  wrapIdentifier,
  wrapKey,
} from '../key-management.ts'
import type { Certificate } from '../x509/certificate.ts'
import type { ValidCertificate } from '../x509/valid-certificate.ts'
import * as OID from './oids.ts'

/** How a recipient's certificate is named in the message. */
export type KeyIdentification = 'issuer-and-serial' | 'subject-key-identifier'

/** A certificate to encrypt to, and how the content key gets there. */
export interface RecipientKey {
  readonly certificate: ValidCertificate<'encrypt'>
  readonly management: KeyManagement
  /**
   * Default issuer and serial number, the one name that every peer understands; also used where the
   * certificate has no subject key identifier.
   */
  readonly keyIdentification?: KeyIdentification | undefined
}

/** RecipientInfos, and what follows from them for the structure around. */
export interface RecipientInfos {
  /** DER of the SET OF RecipientInfo; its order tells nothing. */
  readonly set: Buffer
  /** Version of an EnvelopedData that holds them: 0 or 2 (RFC 5652 §6.1). */
  readonly envelopedDataVersion: 0 | 2
}

/**
 * Encrypts a content key to recipients, to each certificate once.
 *
 * A thousand recipients do not hold up the event loop: the costly part runs on the thread pool, and
 * between the rest others get their turn.
 *
 * @throws {PosternError} `ERR_NO_RECIPIENT`; `ERR_KEY_SIZE`, `ERR_KEY_TYPE`, `ERR_KEY_UNUSABLE` for keys
 *   that cannot be encrypted to in the way wished.
 */
export async function recipientInfos(
  recipients: readonly RecipientKey[],
  contentKey: Uint8Array,
): Promise<RecipientInfos> {
  const once = [...new Map(recipients.map(one => [one.certificate.fingerprint, one])).values()]
  if (once.length === 0)
    throw new PosternError('ERR_NO_RECIPIENT', 'permanent', 'there is nobody to encrypt to')
  const infos: Buffer[] = []
  for (let start = 0; start < once.length; start += AT_A_TIME) {
    if (start > 0) await setImmediate()
    const some = once.slice(start, start + AT_A_TIME)
    infos.push(...(await Promise.all(some.map(one => recipientInfo(one, contentKey)))))
  }
  const allOfVersion0 = once.every(
    one => one.management.kind === 'key-transport' && !byKeyIdentifier(one),
  )
  return { set: setOf(...infos), envelopedDataVersion: allOfVersion0 ? 0 : 2 }
}

async function recipientInfo(recipient: RecipientKey, contentKey: Uint8Array): Promise<Buffer> {
  const { certificate, management } = recipient
  requireEncryptionKey(certificate.publicKey)
  return management.kind === 'key-transport'
    ? keyTransport(recipient, management, contentKey)
    : await keyAgreement(recipient, management, contentKey)
}

/** KeyTransRecipientInfo (RFC 5652 §6.2.1). */
function keyTransport(
  recipient: RecipientKey,
  transport: KeyTransport,
  contentKey: Uint8Array,
): Buffer {
  const { publicKey, subjectKeyIdentifier } = recipient.certificate
  const named = byKeyIdentifier(recipient)
    ? [integer(2), tlv(0x80, subjectKeyIdentifier!)]
    : [integer(0), issuerAndSerialNumber(recipient.certificate)]
  const encryptedKey = transportKey(publicKey, transport, contentKey)
  return sequence(...named, transport.identifier, octetString(encryptedKey))
}

/** KeyAgreeRecipientInfo (RFC 5652 §6.2.2) with an ephemeral key of its own (RFC 5753 §3.1.1). */
async function keyAgreement(
  recipient: RecipientKey,
  agreement: KeyAgreement,
  contentKey: Uint8Array,
): Promise<Buffer> {
  const { certificate } = recipient
  if (agreement.keyType === 'ec') requireNamedCurve(certificate.publicKeyInfo)
  const { ephemeralPublicKey, secret } = await agree(certificate.publicKey, agreement)
  // RFC 8551 §2.3: the key that wraps is as long as the key that is wrapped.
  const wrap = wrapIdentifier(contentKey.length)
  const info = sharedInfo(wrap, contentKey.length)
  const keyEncryptionKey = deriveKey(agreement, secret, info, contentKey.length)
  const encryptedKey = wrapKey(keyEncryptionKey, contentKey)
  secret.fill(0)
  keyEncryptionKey.fill(0)

  const named = byKeyIdentifier(recipient)
    ? context(0, octetString(certificate.subjectKeyIdentifier!))
    : issuerAndSerialNumber(certificate)
  const point = pointOf(ephemeralPublicKey.export({ format: 'der', type: 'spki' }))
  return context(
    1,
    integer(3),
    context(0, context(1, ORIGINATOR_KEY[agreement.keyType], tlv(0x03, NO_UNUSED_BITS, point))),
    sequence(agreement.oid, wrap),
    sequence(sequence(named, octetString(encryptedKey))),
  )
}

/**
 * ECC-CMS-SharedInfo (RFC 5753 §7.2): the algorithm and the size in bits of the key that wraps. There
 * is no user keying material, so there is no entityUInfo: an empty one would make another key.
 */
function sharedInfo(wrap: Buffer, keyOctets: number): Buffer {
  const sizeBits = Buffer.alloc(4)
  sizeBits.writeUInt32BE(keyOctets * 8)
  return sequence(wrap, context(2, octetString(sizeBits)))
}

/**
 * RFC 5480 §2.1.1: a curve is named. Parameters that are spelt out can be those of a curve that looks
 * like a known one and is not.
 *
 * @param publicKeyInfo DER of a SubjectPublicKeyInfo with a key of an elliptic curve.
 * @throws {PosternError} `ERR_KEY_TYPE`.
 */
export function requireNamedCurve(publicKeyInfo: Buffer): void {
  const algorithm = new DerReader(publicKeyInfo).into(0x30).into(0x30)
  readOid(algorithm.element(0x06))
  if (algorithm.nextTag !== 0x06)
    throw new PosternError('ERR_KEY_TYPE', 'permanent', 'curve of the key is not named')
}

function byKeyIdentifier({ certificate, keyIdentification }: RecipientKey): boolean {
  return (
    keyIdentification === 'subject-key-identifier' && certificate.subjectKeyIdentifier !== undefined
  )
}

function issuerAndSerialNumber({ issuer, serialNumber }: Certificate): Buffer {
  return sequence(issuer, integer(serialNumber))
}

/** The public value in a SubjectPublicKeyInfo: an uncompressed point, or the octets of X25519. */
function pointOf(publicKeyInfo: Buffer): Buffer {
  const info = new DerReader(publicKeyInfo).into(0x30)
  info.element(0x30)
  return readBitString(info.element(0x03))
}

/** What does not run on the thread pool takes up to half a millisecond for so many. */
const AT_A_TIME = 2
const NO_UNUSED_BITS = Buffer.from([0])
/** Parameters absent: the curve is the recipient's (RFC 5753 §3.1.1, RFC 8410 §3). */
const ORIGINATOR_KEY = {
  ec: sequence(oid(OID.EC_PUBLIC_KEY)),
  x25519: sequence(oid(OID.X25519)),
}
