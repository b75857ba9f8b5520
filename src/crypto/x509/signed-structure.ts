/**
 * Signatures over certificates, revocation lists and OCSP answers: one shape, one way to verify.
 *
 * @module
 */
import { type KeyObject, verify } from 'node:crypto'
import {
  type DigestAlgorithm,
  digestByOid,
  requireSoundKey,
  SIGNATURES,
  type SignatureAlgorithm,
  verifyOctets,
} from '../algorithms.ts'
import { DerReader, readOid, readSmallInteger } from '../asn1/der-reader.ts'

/** SIGNED{} of RFC 5280 §4.1.1: octets, how they were signed, and the signature. */
export interface SignedStructure {
  readonly toBeSigned: Buffer
  /** DER of the AlgorithmIdentifier. */
  readonly signatureAlgorithm: Buffer
  readonly signature: Buffer
}

/** `refused`: nothing was calculated, because algorithm or key are too weak, too large or unknown. */
export type SignatureOutcome = 'good' | 'bad' | 'algorithm-refused' | 'key-refused'

/**
 * Verifies a signature by the key of a certificate, which is held against its bounds first.
 *
 * @param holder Whose key it should be: a Certificate. Its key is read when it is needed.
 * @param allowSha1 For archives and old test vectors alone.
 */
export async function verifySigned(
  signed: SignedStructure,
  holder: { readonly publicKey: KeyObject },
  allowSha1 = false,
): Promise<SignatureOutcome> {
  const sha1 = allowSha1 && SHA1.has(signed.signatureAlgorithm.toString('hex'))
  const algorithm = algorithmOf(signed.signatureAlgorithm)
  if (!algorithm && !sha1) return 'algorithm-refused'
  const key = soundKey(holder)
  if (!key) return 'key-refused'
  const { toBeSigned, signature } = signed
  const good = algorithm
    ? await verifyOctets(key, algorithm, toBeSigned, signature)
    : verifySha1(key, toBeSigned, signature)
  return good ? 'good' : 'bad'
}

/** The row of an AlgorithmIdentifier, as it should be written or as others write it. */
function algorithmOf(identifier: Buffer): SignatureAlgorithm | undefined {
  const exact = SIGNATURES.find(({ certificateIdentifier }) =>
    certificateIdentifier.equals(identifier),
  )
  if (exact) return exact
  try {
    return loosely(identifier)
  } catch {
    return undefined
  }
}

/**
 * RFC 4055 §5: NULL should stand behind sha…WithRSAEncryption, and its absence must be accepted; the
 * same goes for digests inside of RSASSA-PSS (§2.1), where defaults may stand written out besides.
 */
function loosely(identifier: Buffer): SignatureAlgorithm | undefined {
  const outer = new DerReader(identifier).into(0x30)
  const oid = outer.element(0x06).octets
  if (!outer.done) return pss(outer.into(0x30))
  return SIGNATURES.find(
    ({ padding, certificateIdentifier }) =>
      padding === 'pkcs1' && certificateIdentifier.subarray(2, -2).equals(oid),
  )
}

/** Only what signs alike: mask generation by the same digest, and a salt as long as it. */
function pss(parameters: DerReader): SignatureAlgorithm | undefined {
  const digest = digestOf(parameters.into(0xa0).into(0x30))
  const mask = parameters.into(0xa1).into(0x30)
  const isMgf1 = readOid(mask.element(0x06)) === MGF1
  const maskDigest = digestOf(mask.into(0x30))
  const saltLength = readSmallInteger(parameters.into(0xa2).element(0x02))
  const trailer = parameters.optionalInto(0xa3)?.element(0x02)
  parameters.finish()
  if (!digest || !isMgf1 || maskDigest !== digest || saltLength !== digest.sizeOctets)
    return undefined
  if (trailer && readSmallInteger(trailer) !== 1) return undefined
  return SIGNATURES.find(row => row.padding === 'pss' && row.digest === digest)
}

function digestOf(identifier: DerReader): DigestAlgorithm | undefined {
  const oid = readOid(identifier.element(0x06))
  identifier.optional(0x05)
  identifier.finish()
  return digestByOid(oid)
}

function soundKey(holder: { readonly publicKey: KeyObject }): KeyObject | undefined {
  try {
    requireSoundKey(holder.publicKey)
    return holder.publicKey
  } catch {
    return undefined
  }
}

function verifySha1(key: KeyObject, octets: Buffer, signature: Buffer): boolean {
  if (key.asymmetricKeyType !== 'rsa' && key.asymmetricKeyType !== 'ec') return false
  try {
    return verify('sha1', octets, key, signature)
  } catch {
    return false
  }
}

const MGF1 = '1.2.840.113549.1.1.8'
/** sha1WithRSAEncryption, with and without NULL, and ecdsa-with-SHA1. */
const SHA1: ReadonlySet<string> = new Set([
  '300d06092a864886f70d0101050500',
  '300b06092a864886f70d010105',
  '300906072a8648ce3d0401',
])
