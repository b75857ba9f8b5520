/**
 * EnvelopedData and AuthEnvelopedData made piece by piece, so that any piece can be wrong.
 *
 * @module
 */
import {
  type CipherGCM,
  constants,
  createCipheriv,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import {
  context,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../../src/crypto/asn1/der-writer.ts'
import type { Certificate } from '../../src/crypto/x509/certificate.ts'

export const DATA = '1.2.840.113549.1.7.1'
export const SIGNED_DATA = '1.2.840.113549.1.7.2'
export const ENVELOPED_DATA = '1.2.840.113549.1.7.3'
export const AUTH_ENVELOPED_DATA = '1.2.840.113549.1.9.16.1.23'

export interface Pieces {
  /** DER of RecipientInfos, in the order in which they shall stand. */
  readonly infos: readonly Buffer[]
  /** DER of the ContentEncryptionAlgorithmIdentifier. */
  readonly algorithm: Buffer
  /** Undefined: detached. */
  readonly content: Buffer | undefined
  readonly contentType?: string
  /** Given, it is an AuthEnvelopedData. */
  readonly mac?: Buffer
  /** DER of Attributes. */
  readonly authAttributes?: readonly Buffer[]
  readonly type?: string
}

export function craft(pieces: Pieces): Buffer {
  const { infos, algorithm, content, contentType = DATA, mac, authAttributes } = pieces
  const type = pieces.type ?? (mac ? AUTH_ENVELOPED_DATA : ENVELOPED_DATA)
  const encrypted = content ? [tlv(0x80, content)] : []
  const data = sequence(
    integer(0),
    tlv(0x31, ...infos),
    sequence(oid(contentType), algorithm, ...encrypted),
    ...(authAttributes ? [context(1, ...authAttributes)] : []),
    ...(mac ? [octetString(mac)] : []),
  )
  return sequence(oid(type), context(0, data))
}

export function issuerAndSerial({ issuer, serialNumber }: Certificate): Buffer {
  return sequence(issuer, integer(serialNumber))
}

/** KeyTransRecipientInfo by PKCS #1 v1.5, around the octets given. */
export function keyTransport(certificate: Certificate, contentKey: Buffer): Buffer {
  const padding = constants.RSA_PKCS1_PADDING
  const encryptedKey = publicEncrypt({ key: certificate.publicKey, padding }, contentKey)
  return keyTransportOf(certificate, encryptedKey)
}

export function keyTransportOf(
  certificate: Certificate,
  encryptedKey: Buffer,
  algorithm: Buffer = sequence(oid('1.2.840.113549.1.1.1'), NULL),
): Buffer {
  return sequence(integer(0), issuerAndSerial(certificate), algorithm, octetString(encryptedKey))
}

/** KeyAgreeRecipientInfo with a public key of the caller's choice; what it wraps is rubbish. */
export function keyAgreement(
  certificate: Certificate,
  originatorAlgorithm: Buffer,
  point: Buffer,
  scheme = '1.3.132.1.11.1',
): Buffer {
  const wrap = sequence(oid('2.16.840.1.101.3.4.1.5'))
  const key = sequence(issuerAndSerial(certificate), octetString(randomBytes(24)))
  return context(
    1,
    integer(3),
    context(0, context(1, originatorAlgorithm, tlv(0x03, Buffer.from([0]), point))),
    sequence(oid(scheme), wrap),
    sequence(key),
  )
}

export interface Encrypted {
  readonly algorithm: Buffer
  readonly content: Buffer
  readonly mac?: Buffer
}

export function cbc(key: Buffer, plain: Buffer, identifier?: (iv: Buffer) => Buffer): Encrypted {
  const iv = randomBytes(16)
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv)
  const algorithm = identifier?.(iv) ?? cbcIdentifier(key.length, iv)
  return { algorithm, content: Buffer.concat([cipher.update(plain), cipher.final()]) }
}

export function cbcIdentifier(keyOctets: number, iv: Buffer): Buffer {
  return sequence(oid(`2.16.840.1.101.3.4.1.${2 + ((keyOctets - 16) / 8) * 20}`), octetString(iv))
}

export interface GcmOptions {
  readonly nonceOctets?: number
  readonly macOctets?: number
  /** ICVlen as it is written; `null`: not at all. Default the size of the tag. */
  readonly declaredOctets?: number | null
  readonly additionalData?: Buffer
  /** What the key encrypts with is made of it, given the cipher's identifier. */
  readonly derive?: (key: Buffer, identifier: Buffer) => Buffer
}

export function gcm(key: Buffer, plain: Buffer, options: GcmOptions = {}): Required<Encrypted> {
  const { nonceOctets = 12, macOctets = 16, declaredOctets = macOctets } = options
  const nonce = randomBytes(nonceOctets)
  const declared = declaredOctets === null ? [] : [integer(declaredOctets)]
  const arc = 6 + ((key.length - 16) / 8) * 20
  const parameters = sequence(octetString(nonce), ...declared)
  const algorithm = sequence(oid(`2.16.840.1.101.3.4.1.${arc}`), parameters)
  const used = options.derive?.(key, algorithm) ?? key
  const name = `aes-${key.length * 8}-gcm` as 'aes-256-gcm'
  const cipher: CipherGCM = createCipheriv(name, used, nonce, { authTagLength: 16 })
  if (options.additionalData) cipher.setAAD(options.additionalData)
  const content = Buffer.concat([cipher.update(plain), cipher.final()])
  return { algorithm, content, mac: cipher.getAuthTag().subarray(0, macOctets) }
}

/** AES-CCM (RFC 5084 §3.1). `derive` is not asked. */
export function ccm(key: Buffer, plain: Buffer, options: GcmOptions = {}): Required<Encrypted> {
  const { nonceOctets = 12, macOctets = 16, declaredOctets = macOctets } = options
  const nonce = randomBytes(nonceOctets)
  const name = `aes-${key.length * 8}-ccm` as 'aes-256-ccm'
  const cipher = createCipheriv(name, key, nonce, { authTagLength: macOctets })
  cipher.setAAD(options.additionalData ?? Buffer.alloc(0), { plaintextLength: plain.length })
  const content = Buffer.concat([cipher.update(plain), cipher.final()])
  const algorithm = ccmIdentifier(key.length, nonce, declaredOctets)
  return { algorithm, content, mac: cipher.getAuthTag() }
}

export function ccmIdentifier(
  keyOctets: number,
  nonce: Buffer,
  declaredOctets: number | null,
): Buffer {
  const declared = declaredOctets === null ? [] : [integer(declaredOctets)]
  const arc = 7 + ((keyOctets - 16) / 8) * 20
  const parameters = sequence(octetString(nonce), ...declared)
  return sequence(oid(`2.16.840.1.101.3.4.1.${arc}`), parameters)
}

/** The attribute that names the content's type. */
export function contentTypeAttribute(type: string): Buffer {
  return sequence(oid('1.2.840.113549.1.9.3'), setOf(oid(type)))
}

/** The modulus of an RSA key and more: a number that cannot be a ciphertext. */
export function overTheModulus(publicKey: KeyObject): Buffer {
  return Buffer.alloc((publicKey.asymmetricKeyDetails?.modulusLength ?? 2048) / 8, 0xff)
}
