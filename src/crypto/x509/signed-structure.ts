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

/** RFC 4055 §5: NULL should stand behind sha…WithRSAEncryption, and its absence must be accepted. */
function algorithmOf(identifier: Buffer): SignatureAlgorithm | undefined {
  return SIGNATURES.find(({ padding, certificateIdentifier }) => {
    if (certificateIdentifier.equals(identifier)) return true
    if (padding !== 'pkcs1' || identifier[1] !== identifier.length - 2) return false
    return certificateIdentifier.subarray(2, -2).equals(identifier.subarray(2))
  })
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

/** sha1WithRSAEncryption, with and without NULL, and ecdsa-with-SHA1. */
const SHA1: ReadonlySet<string> = new Set([
  '300d06092a864886f70d0101050500',
  '300b06092a864886f70d010105',
  '300906072a8648ce3d0401',
])
