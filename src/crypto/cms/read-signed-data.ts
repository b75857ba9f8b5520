/**
 * Reads SignedData (RFC 5652 §5) into typed results. What it means is decided elsewhere.
 *
 * Strict and bounded: at most 10 signers, 64 attributes a signer and 100 certificates, of which only
 * the octets are handed out. A signer whose attributes are not what they should be is told apart, so
 * that the others can still be looked at.
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import {
  DerReader,
  type Element,
  ifWellFormed,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
  syntaxError,
} from '../asn1/der-reader.ts'
import { readGeneralNames } from '../x509/general-name.ts'
import { type AlgorithmIdentifier, readAlgorithm } from './algorithm-identifier.ts'
import * as OID from './oids.ts'

/** A SignedData, whose content may be elsewhere. */
export interface SignedData {
  readonly version: number
  /** A hint for those who read in one pass; what counts is what each signer names. */
  readonly digestAlgorithms: readonly AlgorithmIdentifier[]
  /** Object identifier of the content's type. */
  readonly contentType: string
  readonly content: Buffer | undefined
  /** DER of the X.509 certificates, in the order in which they stand. */
  readonly certificates: readonly Buffer[]
  readonly signers: readonly SignerInfo[]
}

/** Which certificate a signer means (RFC 5652 §5.3). */
export type SignerIdentifier =
  | { readonly kind: 'issuer-and-serial'; readonly issuer: Buffer; readonly serialNumber: Buffer }
  | { readonly kind: 'key-identifier'; readonly keyIdentifier: Buffer }

export interface SignerInfo {
  readonly version: number
  readonly identifier: SignerIdentifier
  readonly digestAlgorithm: AlgorithmIdentifier
  /** Undefined where the content is signed directly, and where `attributesFault` is not. */
  readonly signedAttributes: SignedAttributes | undefined
  /** What is wrong with the signed attributes that stand there. */
  readonly attributesFault: string | undefined
  readonly signatureAlgorithm: AlgorithmIdentifier
  readonly signature: Buffer
}

/** Signed attributes (RFC 5652 §11): what must stand there once does, the rest at most once. */
export interface SignedAttributes {
  /** What the signature is over: the SET OF with its own tag (RFC 5652 §5.4). */
  readonly octets: Buffer
  readonly contentType: string
  readonly messageDigest: Buffer
  readonly signingTime: Date | undefined
  /** Of signingCertificateV2. */
  readonly signingCertificate: SigningCertificate | undefined
  /** Of signingCertificate, whose digest is SHA-1 (RFC 2634 §5.4). */
  readonly olderSigningCertificate: SigningCertificate | undefined
  /** All attributes: type to DER of the one value or of the many, as they stand. */
  readonly values: ReadonlyMap<string, readonly Buffer[]>
}

/** The first ESSCertIDv2 or ESSCertID, which names the signer's own certificate (RFC 5035 §4). */
export interface SigningCertificate {
  /** Object identifier of a digest algorithm. */
  readonly digest: string
  readonly certificateDigest: Buffer
  readonly issuerAndSerial: IssuerSerial | undefined
}

/** IssuerSerial of RFC 5035 §4. */
export interface IssuerSerial {
  /** DER of the Names among the GeneralNames. */
  readonly issuers: readonly Buffer[]
  readonly serialNumber: Buffer
}

/**
 * Reads the DER of a ContentInfo that holds a SignedData.
 * @throws {PosternError} `ERR_DER_SYNTAX`, also where a bound or a rule of number is broken.
 */
export function readSignedData(der: Buffer): SignedData {
  const outer = new DerReader(der)
  const contentInfo = outer.into(0x30)
  outer.finish()
  if (readOid(contentInfo.element(0x06)) !== OID.SIGNED_DATA)
    throw syntaxError(contentInfo.offset, 'content is not SignedData')
  const wrapped = contentInfo.into(0xa0)
  contentInfo.finish()
  const signedData = wrapped.into(0x30)
  wrapped.finish()

  const version = readSmallInteger(signedData.element(0x02))
  const digestAlgorithms = readDigestAlgorithms(signedData.into(0x31))
  const { contentType, content } = readEncapsulated(signedData.into(0x30))
  const certificates = readCertificates(signedData.optionalInto(0xa0))
  signedData.optional(0xa1) // crls
  const signers = readSigners(signedData.into(0x31))
  signedData.finish()
  return { version, digestAlgorithms, contentType, content, certificates, signers }
}

function readDigestAlgorithms(set: DerReader): AlgorithmIdentifier[] {
  const algorithms: AlgorithmIdentifier[] = []
  while (!set.done) {
    if (algorithms.length >= MAXIMUM_SIGNERS) throw syntaxError(set.offset, 'too many digests')
    algorithms.push(readAlgorithm(set.element(0x30)))
  }
  return algorithms
}

function readEncapsulated(encapsulated: DerReader): Pick<SignedData, 'contentType' | 'content'> {
  const contentType = readOid(encapsulated.element(0x06))
  const wrapped = encapsulated.optionalInto(0xa0)
  const content = wrapped?.element(0x04).content
  wrapped?.finish()
  encapsulated.finish()
  return { contentType, content }
}

/** X.509 certificates; attribute certificates and other formats (§10.2.2) are passed over. */
function readCertificates(set: DerReader | undefined): Buffer[] {
  const certificates: Buffer[] = []
  for (let count = 0; set && !set.done; count++) {
    if (count >= MAXIMUM_CERTIFICATES) throw syntaxError(set.offset, 'too many certificates')
    const { tag, octets } = set.element()
    if (tag === 0x30) certificates.push(octets)
  }
  return certificates
}

function readSigners(set: DerReader): SignerInfo[] {
  const signers: SignerInfo[] = []
  while (!set.done) {
    if (signers.length >= MAXIMUM_SIGNERS) throw syntaxError(set.offset, 'too many signers')
    signers.push(readSignerInfo(set.into(0x30)))
  }
  return signers
}

function readSignerInfo(signer: DerReader): SignerInfo {
  const version = readSmallInteger(signer.element(0x02))
  const identifier = readSignerIdentifier(signer)
  const digestAlgorithm = readAlgorithm(signer.element(0x30))
  const attributes = signer.optional(0xa0)
  const read = attributes && readSignedAttributes(attributes)
  const signatureAlgorithm = readAlgorithm(signer.element(0x30))
  const signature = signer.element(0x04).content
  signer.optional(0xa1) // unsignedAttrs
  signer.finish()
  const [signedAttributes, attributesFault] =
    typeof read === 'string' ? [undefined, read] : [read, undefined]
  return {
    version,
    identifier,
    digestAlgorithm,
    signedAttributes,
    attributesFault,
    signatureAlgorithm,
    signature,
  }
}

function readSignerIdentifier(signer: DerReader): SignerIdentifier {
  const byKey = signer.optional(0x80)
  if (byKey) return { kind: 'key-identifier', keyIdentifier: byKey.content }
  return { kind: 'issuer-and-serial', ...readIssuerAndSerial(signer.into(0x30)) }
}

/** What IssuerAndSerialNumber holds (RFC 5652 §10.2.4). */
export function readIssuerAndSerial(sequence: DerReader): {
  readonly issuer: Buffer
  readonly serialNumber: Buffer
} {
  const issuer = sequence.element(0x30).octets
  const serialNumber = readInteger(sequence.element(0x02))
  sequence.finish()
  return { issuer, serialNumber }
}

/** @returns what is wrong with them, where something is. */
function readSignedAttributes(element: Element): SignedAttributes | string {
  try {
    return signedAttributesOf(element)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_DER_SYNTAX') return error.message
    throw error
  }
}

function signedAttributesOf({ octets, content }: Element): SignedAttributes {
  const values = readAttributes(new DerReader(content))
  const signingTime = atMostOne(values, OID.SIGNING_TIME)
  const signingCertificate = atMostOne(values, OID.SIGNING_CERTIFICATE_V2)
  const olderCertificate = atMostOne(values, OID.SIGNING_CERTIFICATE)
  return {
    octets: Buffer.concat([SET_OF, octets.subarray(1)]),
    contentType: readOid(exactlyOne(values, OID.CONTENT_TYPE).element(0x06)),
    messageDigest: exactlyOne(values, OID.MESSAGE_DIGEST).element(0x04).content,
    signingTime: signingTime && readTime(signingTime.element()),
    signingCertificate: signingCertificate && readSigningCertificate(signingCertificate, SHA_256),
    olderSigningCertificate: olderCertificate && readSigningCertificate(olderCertificate, SHA_1),
    values,
  }
}

/** A type that stands twice is refused: two readers would believe two different ones (§5.3). */
function readAttributes(set: DerReader): ReadonlyMap<string, readonly Buffer[]> {
  const attributes = new Map<string, readonly Buffer[]>()
  while (!set.done) {
    if (attributes.size >= MAXIMUM_ATTRIBUTES) throw syntaxError(set.offset, 'too many attributes')
    const attribute = set.into(0x30)
    const type = readOid(attribute.element(0x06))
    const values: Buffer[] = []
    for (const list = attribute.into(0x31); !list.done; ) values.push(list.element().octets)
    attribute.finish()
    if (attributes.has(type)) throw syntaxError(set.offset, `attribute ${type} stands twice`)
    attributes.set(type, values)
  }
  return attributes
}

/** Whether octets are, as a whole, signed attributes as they are signed: a SET OF Attribute. */
export function isAttributeSet(octets: Buffer): boolean {
  const read = ifWellFormed(() => {
    const outer = new DerReader(octets)
    const attributes = readAttributes(outer.into(0x31))
    return outer.done && attributes.size > 0
  })
  return read ?? false
}

/** RFC 5652 §11: of these attributes there is one value, or the whole is not to be believed. */
function atMostOne(values: SignedAttributes['values'], type: string): DerReader | undefined {
  const [value, ...more] = values.get(type) ?? []
  if (more.length > 0) throw syntaxError(0, `attribute ${type} has several values`)
  return value && new DerReader(value)
}

function exactlyOne(values: SignedAttributes['values'], type: string): DerReader {
  const value = atMostOne(values, type)
  if (!value) throw syntaxError(0, `attribute ${type} is missing`)
  return value
}

/** RFC 5035 §3, §4: the digest is that of the version where none is named. */
function readSigningCertificate(value: DerReader, usualDigest: string): SigningCertificate {
  const first = value.into(0x30).into(0x30).into(0x30)
  const named = first.optional(0x30)
  const digest = named ? readAlgorithm(named).oid : usualDigest
  const certificateDigest = first.element(0x04).content
  const issuerSerial = first.optionalInto(0x30)
  return {
    digest,
    certificateDigest,
    issuerAndSerial: issuerSerial && readIssuerSerial(issuerSerial),
  }
}

function readIssuerSerial(issuerSerial: DerReader): IssuerSerial {
  const names = readGeneralNames(issuerSerial.into(0x30))
  const serialNumber = readInteger(issuerSerial.element(0x02))
  return {
    issuers: names.flatMap(name => (name.form === 'directoryName' ? [name.value] : [])),
    serialNumber,
  }
}

/** Where the content of a SignedData stands: ContentInfo, [0], SignedData, EncapsulatedContentInfo, [0]. */
export const SIGNED_CONTENT_PATH = [0x30, 0xa0, 0x30, 0x30, 0xa0] as const

const SET_OF = Buffer.from([0x31])
const SHA_256 = '2.16.840.1.101.3.4.2.1'
const SHA_1 = '1.3.14.3.2.26'
const MAXIMUM_SIGNERS = 10
const MAXIMUM_ATTRIBUTES = 64
const MAXIMUM_CERTIFICATES = 100
