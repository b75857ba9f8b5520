/**
 * Whether we may encrypt to a certificate, and if not, why: the one place where belief is made.
 *
 * @module
 */
import { requireEncryptionKey } from '../crypto/key-management.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { validatePath } from '../crypto/x509/path.ts'
import type { InvalidPath, RevokedPath } from '../crypto/x509/path-result.ts'
import type { RevocationAnswers } from '../crypto/x509/revocation.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import { PosternError } from '../errors.ts'

/** Whom the organisation believes, and how it asks for revocation. */
export interface Trust {
  readonly anchors: readonly Certificate[]
  /** Some may be missing, for they could not be read: then nobody is a stranger for certain. */
  readonly isIncomplete?: boolean
  /** Authorities that may stand between; nothing here is believed. */
  readonly intermediates: readonly Certificate[]
  /** Nobody is asked where it is left out: `revocation: off`. */
  readonly revocation?: RevocationAnswers | undefined
  /** `soft`: a status that cannot be told does not count; `hard`: it counts as no answer. */
  readonly revocationMode: 'off' | 'soft' | 'hard'
}

/** What came of the validation. */
export type Belief =
  | {
      readonly kind: 'valid'
      readonly certificate: ValidCertificate<'encrypt'>
      readonly note?: string
    }
  /** It may not be used, today or ever: counts as no certificate (RFC 8550 §4). */
  | { readonly kind: 'invalid'; readonly reason: string }
  /** It could not be told, and has to be: of its status, or of its path. Counts as no answer. */
  | { readonly kind: 'unknown'; readonly reason: string }

/**
 * Validates a certificate for encryption at a moment (RFC 8550 §4, RFC 5280 §6): its time, usages,
 * key, path to one of our anchors, and revocation.
 *
 * @param beside Authorities that came with it.
 */
export async function validateForEncryption(
  certificate: Certificate,
  trust: Trust,
  beside: readonly Certificate[],
  time: Date,
): Promise<Belief> {
  const fault = keyFault(certificate)
  if (fault !== undefined) return { kind: 'invalid', reason: fault }
  const result = await validatePath(certificate, {
    anchors: trust.anchors,
    intermediates: [...trust.intermediates, ...beside],
    time,
    purpose: 'emailProtection',
    // RFC 8550 §4.4.2: the usage that encrypting to this kind of key needs.
    keyUsage: [
      certificate.publicKey.asymmetricKeyType === 'rsa' ? 'keyEncipherment' : 'keyAgreement',
    ],
    revocation: trust.revocationMode === 'off' ? undefined : trust.revocation,
  })
  switch (result.kind) {
    case 'valid':
      return believed(certificate)
    case 'unknown':
      return trust.revocationMode === 'hard'
        ? { kind: 'unknown', reason: `revocation of ${result.at} cannot be told: ${result.detail}` }
        : believed(certificate, `revocation of ${result.at} could not be told: ${result.detail}`)
    case 'invalid':
      return disbelieved(result, trust)
  }
}

/** Where nothing was found out, nothing is said: what counts as none is sent in clear. */
function disbelieved(
  { reason, detail, at }: InvalidPath | RevokedPath,
  { isIncomplete }: Trust,
): Belief {
  const why = `${detail} (${reason}, ${at})`
  // Whoever lays out a maze of authorities must not switch encryption off by it.
  if (reason === 'budget-exceeded') return { kind: 'unknown', reason: why }
  if (isIncomplete && MISSING_ANCHOR.has(reason))
    return { kind: 'unknown', reason: `${why}, and not all trust anchors could be read` }
  return { kind: 'invalid', reason: why }
}

function believed(certificate: Certificate, note?: string): Belief {
  const valid = certificate as ValidCertificate<'encrypt'>
  return note === undefined
    ? { kind: 'valid', certificate: valid }
    : { kind: 'valid', certificate: valid, note }
}

/** Why nothing can be encrypted to the key, whoever vouches for it. */
function keyFault({ publicKey }: Certificate): string | undefined {
  try {
    requireEncryptionKey(publicKey)
    return undefined
  } catch (error) {
    if (error instanceof PosternError) return error.message
    throw error
  }
}

/** How a path ends whose anchor is not at hand, or is there with an older key alone. */
const MISSING_ANCHOR: ReadonlySet<string> = new Set(['issuer-not-found', 'signature-invalid'])
