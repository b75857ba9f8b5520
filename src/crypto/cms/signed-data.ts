/**
 * Makes SignedData with one signer (RFC 5652 §5), by hand over a digest and a question to the key.
 *
 *     content ─▶ digest ─┐
 *                        ├─▶ signed attributes ─▶ Signer ─▶ SignerInfo ─▶ ContentInfo
 *     signer ──▶ frame ──┘
 *
 * What is the same for all messages of a signer is made once, and kept as long as the signer is. The
 * content itself never enters an ASN.1 structure in memory: it is digested, and written between a
 * prefix and a suffix.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { close, octetStringSegments, open } from '../asn1/ber-stream.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  sorted,
  time,
  tlv,
} from '../asn1/der-writer.ts'
import type { Signer } from '../key.ts'
import { type KeyTransport, keyManagement } from '../key-management.ts'
import type { Certificate } from '../x509/certificate.ts'
import * as OID from './oids.ts'

/**
 * DER of a ContentInfo with a SignedData whose content is elsewhere (RFC 5652 §5.2, "external
 * signature"): the second part of a multipart/signed.
 *
 * @param contentDigest Digest of the content by `signer.algorithm.digest`.
 * @param signingTime Stated as signed attribute; undefined leaves that out.
 * @throws {PosternError} what the signer throws.
 */
export async function signDetached(
  signer: Signer,
  contentDigest: Uint8Array,
  signingTime: Date | undefined,
): Promise<Buffer> {
  const frame = frameOf(signer)
  const signerInfos = await signerInfosFor(signer, contentDigest, signingTime)
  const signedData = sequence(frame.versionAndDigests, NO_CONTENT, frame.certificates, signerInfos)
  return sequence(SIGNED_DATA, context(0, signedData))
}

/**
 * Wraps content into a SignedData as it streams by, holding nothing of it.
 *
 * The lengths around the content are indefinite (BER): the size of what a stream brings, and of an
 * ECDSA signature, is known only behind it. Everything else is DER.
 *
 * @throws {PosternError} what the signer throws. All that was yielded is then void.
 */
export async function* signedContent(
  content: AsyncIterable<Buffer>,
  signer: Signer,
  signingTime: Date | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  const frame = frameOf(signer)
  const digest = createHash(signer.algorithm.digest.nodeName)

  yield frame.contentPrefix
  yield* octetStringSegments(digested(content, digest))
  const signerInfos = await signerInfosFor(signer, digest.digest(), signingTime)
  // Ends the OCTET STRING, [0] and EncapsulatedContentInfo; then SignedData, [0] and ContentInfo.
  yield Buffer.concat([close(3), frame.certificates, signerInfos, close(3)])
}

/** What is constant in all SignedData of a signer. */
interface Frame {
  /** `version` and `digestAlgorithms`. */
  readonly versionAndDigests: Buffer
  /** From the first octet of a ContentInfo to where the content begins, lengths indefinite. */
  readonly contentPrefix: Buffer
  /** `certificates [0]`. */
  readonly certificates: Buffer
  /** `version`, `sid` and `digestAlgorithm` of the SignerInfo. */
  readonly signerInfoHead: Buffer
  /** Signed attributes that no message changes. */
  readonly attributes: readonly Buffer[]
}

const FRAMES = new WeakMap<Signer, Frame>()

function frameOf(signer: Signer): Frame {
  let frame = FRAMES.get(signer)
  if (!frame) {
    frame = prepareFrame(signer)
    FRAMES.set(signer, frame)
  }
  return frame
}

function prepareFrame(signer: Signer): Frame {
  const { algorithm, certificate, path, encryptionCertificate } = signer
  // Version 1: content type id-data, X.509 certificates alone, and a signer named by issuer and
  // serial number (RFC 5652 §5.1, §5.3), which is the one name that every peer understands.
  const versionAndDigests = Buffer.concat([integer(1), setOf(algorithm.digest.identifier)])
  const head = [open(0x30), SIGNED_DATA, open(0xa0), open(0x30), versionAndDigests]
  return {
    versionAndDigests,
    contentPrefix: Buffer.concat([...head, open(0x30), oid(OID.DATA), open(0xa0), open(0x24)]),
    certificates: certificateSet([certificate, ...path, encryptionCertificate ?? certificate]),
    signerInfoHead: Buffer.concat([
      integer(1),
      sequence(...issuerAndSerialNumber(certificate)),
      algorithm.digest.identifier,
    ]),
    attributes: [
      attribute(OID.CONTENT_TYPE, oid(OID.DATA)),
      attribute(OID.SMIME_CAPABILITIES, capabilities(encryptionCertificate ?? certificate)),
      attribute(OID.SIGNING_CERTIFICATE_V2, signingCertificate(certificate)),
      ...encryptionKeyPreference(encryptionCertificate ?? certificate),
    ],
  }
}

/** The SET OF one SignerInfo (RFC 5652 §5.3). */
async function signerInfosFor(
  signer: Signer,
  contentDigest: Uint8Array,
  signingTime: Date | undefined,
): Promise<Buffer> {
  const frame = frameOf(signer)
  const attributes = [
    ...frame.attributes,
    sequence(MESSAGE_DIGEST, setOf(octetString(contentDigest))),
  ]
  if (signingTime) attributes.push(sequence(SIGNING_TIME, setOf(time(signingTime))))

  // RFC 5652 §5.4: what is signed is the DER of a SET OF, though it stands there as [0].
  const signedAttributes = tlv(0x31, ...sorted(attributes))
  const signature = await signer.sign(signedAttributes)
  signedAttributes[0] = 0xa0
  return setOf(
    sequence(
      frame.signerInfoHead,
      signedAttributes,
      signer.algorithm.identifier,
      octetString(signature),
    ),
  )
}

async function* digested(
  chunks: AsyncIterable<Buffer>,
  digest: { update(octets: Buffer): unknown },
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    digest.update(chunk)
    yield chunk
  }
}

/** CertificateSet (RFC 5652 §10.2.3), each certificate once. */
function certificateSet(certificates: readonly Certificate[]): Buffer {
  const once = new Map(certificates.map(certificate => [certificate.fingerprint, certificate.der]))
  return context(0, ...sorted([...once.values()]))
}

function issuerAndSerialNumber({ issuer, serialNumber }: Certificate): [Buffer, Buffer] {
  return [issuer, integer(serialNumber)]
}

function attribute(type: string, value: Buffer): Buffer {
  return sequence(oid(type), setOf(value))
}

/**
 * SigningCertificateV2 (RFC 5035 §3): binds the signature to one certificate, so that another one
 * for the same key cannot be put in its place. SHA-256 is the default, and so is not written.
 */
function signingCertificate({ der }: Certificate): Buffer {
  const hash = createHash('sha256').update(der).digest()
  return sequence(sequence(sequence(octetString(hash))))
}

/** RFC 8551 §2.5.3: which certificate to encrypt to; none where this one is not for that. */
function encryptionKeyPreference(certificate: Certificate): Buffer[] {
  if (!mayEncryptTo(certificate)) return []
  const preference = context(0, ...issuerAndSerialNumber(certificate))
  return [attribute(OID.ENCRYPTION_KEY_PREFERENCE, preference)]
}

function mayEncryptTo({ keyUsage, publicKey }: Certificate): boolean {
  const type = publicKey.asymmetricKeyType
  if (type === 'rsa') return keyUsage?.has('keyEncipherment') ?? true
  return (type === 'ec' || type === 'x25519') && (keyUsage?.has('keyAgreement') ?? true)
}

/**
 * What may be sent to us, the best first (RFC 8551 §2.5.2): what we can open, whoever may write it.
 * A sender takes the first that it knows, so the authenticated ciphers stand in front, and CBC
 * stays for the many that know nothing else. Parameters are absent (RFC 3565 §4.1).
 */
function capabilities(certificate: Certificate): Buffer {
  const isRsa = certificate.publicKey.asymmetricKeyType === 'rsa'
  // Behind the ciphers, which are what older readers look for.
  const transport = isRsa && mayEncryptTo(certificate) ? [RSAES_OAEP_SHA_256] : []
  return sequence(...CIPHERS.map(cipher => sequence(oid(cipher))), ...transport)
}

const CIPHERS = [
  OID.AES_256_GCM,
  OID.AES_192_GCM,
  OID.AES_128_GCM,
  OID.AES_256_CBC,
  OID.AES_192_CBC,
  OID.AES_128_CBC,
]
/** RSAES-OAEP, its mask by SHA-256 too (RFC 4055 §4.1): what those who know it need not guess. */
const RSAES_OAEP_SHA_256 = (keyManagement('rsa-oaep-sha-256') as KeyTransport).identifier
const SIGNED_DATA = oid(OID.SIGNED_DATA)
const MESSAGE_DIGEST = oid(OID.MESSAGE_DIGEST)
const SIGNING_TIME = oid(OID.SIGNING_TIME)
const NO_CONTENT = sequence(oid(OID.DATA))
