/**
 * Signatures over certificates, revocation lists and OCSP answers: one shape, one way to verify.
 *
 * @module
 */
import { type KeyObject, verify } from 'node:crypto'
import {
  requireSoundKey,
  SIGNATURES,
  type SignatureAlgorithm,
  verifyOctets,
} from '../algorithms.ts'
import { DerReader, ifWellFormed, readOid } from '../asn1/der-reader.ts'
import { readPssParameters } from './pss-parameters.ts'

/** SIGNED{} of RFC 5280 §4.1.1: octets, how they were signed, and the signature. */
export interface SignedStructure {
  readonly toBeSigned: Buffer
  /** DER of the AlgorithmIdentifier. */
  readonly signatureAlgorithm: Buffer
  readonly signature: Buffer
}

/**
 * Reads what SIGNED{} begins with. What stands behind the signature is left to the caller, and so is the
 * structure that is signed.
 *
 * @param sequence Of octets that are read as a whole.
 */
export function readSignedStructure(
  sequence: DerReader,
  octets: Buffer,
): SignedStructure & { readonly inside: DerReader } {
  const start = sequence.offset
  const inside = sequence.into(0x30)
  const toBeSigned = octets.subarray(start, sequence.offset)
  const signatureAlgorithm = sequence.element(0x30).octets
  const { content } = sequence.element(0x03)
  // No signature is of anything but whole octets: such a one never verifies, but can be looked at.
  const signature = content[0] === 0 ? content.subarray(1) : Buffer.alloc(0)
  return { inside, toBeSigned, signatureAlgorithm, signature }
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
  return exact ?? ifWellFormed(() => loosely(identifier))
}

/**
 * RFC 4055 §5: NULL should stand behind sha…WithRSAEncryption, and its absence must be accepted; the
 * same goes for digests inside of RSASSA-PSS (§2.1), where defaults may stand written out besides.
 */
function loosely(identifier: Buffer): SignatureAlgorithm | undefined {
  const outer = new DerReader(identifier).into(0x30)
  const oid = outer.element(0x06)
  const parameters = outer.done ? undefined : outer.element(0x30).octets
  outer.finish()
  if (parameters) return readOid(oid) === RSASSA_PSS ? pss(parameters) : undefined
  return SIGNATURES.find(
    ({ padding, certificateIdentifier }) =>
      padding === 'pkcs1' && certificateIdentifier.subarray(2, -2).equals(oid.octets),
  )
}

/** Only what signs alike: mask generation by the same digest, and a salt as long as it. */
function pss(parameters: Buffer): SignatureAlgorithm | undefined {
  const { hash, mask, saltOctets } = readPssParameters(parameters) ?? {}
  return SIGNATURES.find(
    ({ padding, digest }) =>
      padding === 'pss' &&
      digest.oid === hash &&
      digest.oid === mask &&
      digest.sizeOctets === saltOctets,
  )
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

const RSASSA_PSS = '1.2.840.113549.1.1.10'
/** sha1WithRSAEncryption, with and without NULL, and ecdsa-with-SHA1. */
const SHA1: ReadonlySet<string> = new Set([
  '300d06092a864886f70d0101050500',
  '300b06092a864886f70d010105',
  '300906072a8648ce3d0401',
])
