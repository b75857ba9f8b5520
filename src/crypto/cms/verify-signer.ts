/**
 * Whether a SignerInfo is a signature over a content: the mathematics, and nothing of trust
 * (RFC 5652 §5.4, §5.6).
 *
 *     attributes ─▶ digest of the content ─▶ certificate ─▶ key ─▶ signature
 *
 * Everything that can be refused without a calculation is refused before it.
 *
 * @module
 */
import { createHash, type KeyObject } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import {
  type DigestAlgorithm,
  fits,
  receivedDigestByOid,
  verifyOctets,
  weaknessOf,
} from '../algorithms.ts'
import type { Certificate } from '../x509/certificate.ts'
import { isSameName } from '../x509/name-comparison.ts'
import type { AlgorithmIdentifier } from './algorithm-identifier.ts'
import type { Capabilities } from './capabilities.ts'
import type { SignedAttributes, SignerInfo, SigningCertificate } from './read-signed-data.ts'
import { type ReceivedAlgorithm, receivedAlgorithm, receivedDigest } from './received-algorithm.ts'
import { capabilitiesOf, preferredCertificate } from './smime-attributes.ts'

/** What came of a signature. Reasons are stable codes in kebab-case. */
export type SignerResult =
  | { readonly kind: 'good' }
  | { readonly kind: 'bad'; readonly reason: string; readonly detail: string }
  | { readonly kind: 'unverifiable'; readonly reason: string; readonly detail: string }

/** A signer, and what he says. To be believed where the result is good, and the certificate is. */
export interface SignerReading {
  /** Whose key verified, or would have to; undefined where it is not in the message. */
  readonly certificate: Certificate | undefined
  readonly result: SignerResult
  /** Name of the row: `rsa-pkcs1-sha-256`. */
  readonly algorithm: string | undefined
  /** `sha-256` */
  readonly digest: string | undefined
  /** What does not protect any more: `sha-1`, `rsa-1024`. */
  readonly weak: readonly string[]
  readonly signingTime: Date | undefined
  readonly capabilities: Capabilities
  /** Which one the signer wants to be encrypted to, where it stands in the message. */
  readonly encryptionCertificate: Certificate | undefined
}

/** What signatures are held against. */
export interface SignedMatter {
  /** Of EncapsulatedContentInfo. */
  readonly contentType: string
  /** `digestAlgorithms` of SignedData. */
  readonly digestAlgorithms: readonly AlgorithmIdentifier[]
  /** Of the content, by name of the algorithm. */
  readonly digests: ReadonlyMap<string, Buffer>
  readonly certificates: readonly Certificate[]
  /** Whether signed attributes stand in the message as the DER that is signed. */
  standsAsDer(attributes: SignedAttributes): boolean
  /** Whether the content is itself a SET OF Attribute. */
  isAttributes(): Promise<boolean>
}

/** Reads one signer. Never throws for what a sender wrote. */
export async function readSigner(info: SignerInfo, matter: SignedMatter): Promise<SignerReading> {
  const { signedAttributes: attributes } = info
  const verified = await verifySigner(info, matter)
  const { certificate, algorithm, result, weak = [] } = verified
  return {
    certificate: certificate ?? certificatesFor(info, matter.certificates)[0],
    result,
    algorithm: algorithm?.name,
    digest: receivedDigestByOid(info.digestAlgorithm.oid)?.name,
    weak,
    signingTime: attributes?.signingTime,
    capabilities: attributes ? capabilitiesOf(attributes) : [],
    encryptionCertificate: attributes && preferredCertificate(attributes, matter.certificates),
  }
}

interface Verified {
  readonly result: SignerResult
  readonly certificate?: Certificate
  readonly algorithm?: ReceivedAlgorithm
  readonly weak?: readonly string[]
}

async function verifySigner(info: SignerInfo, matter: SignedMatter): Promise<Verified> {
  const { signedAttributes } = info
  if (info.attributesFault !== undefined)
    return { result: bad('attributes-malformed', info.attributesFault) }
  if (!signedAttributes) return { result: await withoutAttributes(matter) }
  const digest = receivedDigest(info.digestAlgorithm)
  if ('kind' in digest) return { result: { ...digest, kind: 'unverifiable' } }
  if (!matter.digestAlgorithms.some(({ oid }) => oid === digest.oid)) return NOT_ANNOUNCED
  const algorithm = receivedAlgorithm(info.signatureAlgorithm, digest)
  const fault = faultOfAttributes(signedAttributes, digest, matter)
  if (algorithm.kind === 'refused')
    return { result: fault ?? { ...algorithm, kind: 'unverifiable' } }
  if (fault) return { algorithm, result: fault }
  return verifyByAny(info, signedAttributes, algorithm, matter)
}

/**
 * Signed attributes are a SHOULD of CMS alone, and a MUST of ours: a signature over a content can be
 * passed off as one over attributes, and the other way round (RFC 5652 §5.3 asks for them wherever
 * the content is not id-data; RFC 8551 §2.5 for S/MIME).
 */
async function withoutAttributes(matter: SignedMatter): Promise<SignerResult> {
  return (await matter.isAttributes())
    ? bad('forged-attributes', 'what is signed are the attributes of another signature')
    : unverifiable('no-signed-attributes', 'there are no signed attributes')
}

function faultOfAttributes(
  attributes: SignedAttributes,
  digest: DigestAlgorithm,
  matter: SignedMatter,
): SignerResult | undefined {
  if (attributes.contentType !== matter.contentType)
    return bad('content-type-mismatch', 'signed attributes name another type of content')
  if (!matter.digests.get(digest.name)?.equals(attributes.messageDigest))
    return bad('digest-mismatch', 'the content is not what was signed')
  // RFC 5652 §5.3: "MUST be DER encoded, even if the rest of the structure is BER encoded".
  if (!matter.standsAsDer(attributes))
    return bad('attributes-not-der', 'signed attributes are not in DER')
  return undefined
}

/** Tries the certificates that the signer can mean: several where a key identifier says no more. */
async function verifyByAny(
  info: SignerInfo,
  attributes: SignedAttributes,
  algorithm: ReceivedAlgorithm,
  { certificates }: SignedMatter,
): Promise<Verified> {
  const named = certificatesFor(info, certificates)
  if (named.length === 0)
    return { algorithm, result: unverifiable('no-certificate', 'the certificate is missing') }
  const candidates = named.filter(certificate => isBound(certificate, attributes))
  if (candidates.length === 0) {
    const what = 'signed attributes name another certificate'
    return { algorithm, result: bad('signing-certificate-mismatch', what) }
  }
  let outcome: Verified | undefined
  for (const certificate of candidates.slice(0, MAXIMUM_CANDIDATES)) {
    const verified = await verifyBy(certificate, info, attributes, algorithm)
    if (verified.result.kind === 'good') return verified
    outcome ??= verified
  }
  return outcome!
}

async function verifyBy(
  certificate: Certificate,
  { signature }: SignerInfo,
  attributes: SignedAttributes,
  algorithm: ReceivedAlgorithm,
): Promise<Verified> {
  const weak = algorithm.maySend ? [] : [algorithm.digest.name as string]
  const sound = soundKey(certificate)
  if (typeof sound === 'string')
    return { certificate, algorithm, weak, result: unverifiable('key-unsound', sound) }
  if (sound.weakness !== undefined) weak.push(sound.weakness)
  if (!fits(sound.key, algorithm)) {
    const result = bad('key-mismatch', 'the key is of another kind than the signature')
    return { certificate, algorithm, weak, result }
  }
  const good = await verifyOctets(sound.key, algorithm, attributes.octets, signature)
  const result: SignerResult = good
    ? { kind: 'good' }
    : bad('signature-mismatch', 'the signature is not one by this key')
  return { certificate, algorithm, weak, result }
}

/** @returns why nothing may be calculated with it, where that is so. */
function soundKey(certificate: Certificate): { key: KeyObject; weakness?: string } | string {
  try {
    const key = certificate.publicKey
    const weakness = weaknessOf(key)
    return weakness === undefined ? { key } : { key, weakness }
  } catch (error) {
    if (error instanceof PosternError) return error.message
    throw error
  }
}

/** Those that a SignerIdentifier names, in the order of the message (RFC 8551 §2.6). */
function certificatesFor(
  { identifier }: SignerInfo,
  certificates: readonly Certificate[],
): Certificate[] {
  if (identifier.kind === 'key-identifier')
    return certificates.filter(certificate =>
      certificate.subjectKeyIdentifier?.equals(identifier.keyIdentifier),
    )
  return certificates.filter(
    ({ serialNumber, issuer }) =>
      serialNumber.equals(identifier.serialNumber) && namesAgree(issuer, identifier.issuer),
  )
}

/** RFC 5035 §5.4: every attribute that names the signer's certificate must name this one. */
function isBound(
  certificate: Certificate,
  { signingCertificate, olderSigningCertificate }: SignedAttributes,
): boolean {
  return [signingCertificate, olderSigningCertificate].every(
    bound => bound === undefined || isNamed(certificate, bound),
  )
}

function isNamed(
  certificate: Certificate,
  { digest, certificateDigest, issuerAndSerial }: SigningCertificate,
): boolean {
  const known = receivedDigestByOid(digest)
  if (!known) return false
  if (!createHash(known.nodeName).update(certificate.der).digest().equals(certificateDigest))
    return false
  if (!issuerAndSerial) return true
  const { issuers, serialNumber } = issuerAndSerial
  return (
    certificate.serialNumber.equals(serialNumber) &&
    issuers.some(issuer => namesAgree(certificate.issuer, issuer))
  )
}

/** RFC 5280 §7.1; a Name that cannot be read is nobody's. */
function namesAgree(one: Buffer, other: Buffer): boolean {
  try {
    return isSameName(one, other)
  } catch (error) {
    if (error instanceof PosternError) return false
    throw error
  }
}

function bad(reason: string, detail: string): SignerResult {
  return { kind: 'bad', reason, detail }
}

function unverifiable(reason: string, detail: string): SignerResult {
  return { kind: 'unverifiable', reason, detail }
}

/** RFC 5652 §5.1 lets such a signature be refused, and those who read in one pass cannot verify it. */
const NOT_ANNOUNCED: Verified = {
  result: unverifiable('digest-not-announced', 'the digest is not among those of the message'),
}
/** With ten signers, no more than forty operations with public keys. */
const MAXIMUM_CANDIDATES = 4
