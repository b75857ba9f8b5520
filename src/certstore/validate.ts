/**
 * Whether we may encrypt to a certificate, or believe what its holder has signed, and if not, why: the
 * one place where belief is made.
 *
 * @module
 */
import { weaknessOf } from '../crypto/algorithms.ts'
import { requireEncryptionKey } from '../crypto/key-management.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { KeyUsage } from '../crypto/x509/extensions.ts'
import { validatePath } from '../crypto/x509/path.ts'
import type { PathBudget } from '../crypto/x509/path-budget.ts'
import type {
  InvalidPath,
  PathReason,
  PathResult,
  RevokedPath,
} from '../crypto/x509/path-result.ts'
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

/** Whether the holder of a certificate may have signed mail, and how well that is known. */
export type Standing =
  | {
      readonly kind: 'good'
      readonly certificate: ValidCertificate<'sign'>
      /** What has not been found out, and did not have to be. */
      readonly notes: readonly 'revocation-unknown'[]
      /** The same in words; undefined where there are no notes. */
      readonly detail?: string
      /** The signer first, the anchor last. */
      readonly path: readonly Certificate[]
    }
  /** Nobody whom we trust vouches for it: no verdict on the certificate itself. */
  | { readonly kind: 'untrusted'; readonly reason: NoAnchor; readonly detail: string }
  /** Somebody may vouch for it, but it may not be used for this, today or ever. */
  | { readonly kind: 'invalid'; readonly reason: StandingFault; readonly detail: string }
  /** It could not be told, and has to be. The same may be told another time. */
  | { readonly kind: 'unknown'; readonly reason: NotTold; readonly detail: string }

export type NoAnchor = 'no-anchor' | 'self-signed' | 'issuer-signature-invalid'
export type StandingFault =
  | 'revoked'
  | 'wrong-usage'
  | Exclude<
      PathReason,
      | 'issuer-not-found'
      | 'signature-invalid'
      | 'key-usage'
      | 'extended-key-usage'
      | 'budget-exceeded'
    >
export type NotTold = 'revocation-unknown' | 'budget-exceeded' | 'anchors-incomplete'

/**
 * Validates a certificate for encryption at a moment (RFC 8550 §4, RFC 5280 §6): its time, usages,
 * key, path to one of our anchors, and revocation.
 *
 * @param beside Authorities that came with it.
 * @param budget Default a new one. Share one for all candidates of a search.
 */
export async function validateForEncryption(
  certificate: Certificate,
  trust: Trust,
  beside: readonly Certificate[],
  time: Date,
  budget?: PathBudget,
): Promise<Belief> {
  const fault = keyFault(certificate, requireEncryptionKey)
  if (fault !== undefined) return { kind: 'invalid', reason: fault }
  const keyUsage = [encryptionUsageOf(certificate)]
  const result = await pathOf(certificate, trust, { beside, time, budget, keyUsage })
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

/**
 * Validates the certificate of a signer at a moment, by the same paths as for encryption (RFC 8550
 * §4, RFC 5280 §6).
 *
 * A gateway verifies when mail arrives, and there is no witness to when it was signed but the signer:
 * so a certificate that has expired since, or that was revoked since, does not count, whatever time
 * the signature states.
 *
 * @param beside Certificates that came with the message; never anchors.
 * @param budget Default a new one. Share one for all that a message causes.
 */
export async function validateForVerification(
  certificate: Certificate,
  trust: Trust,
  beside: readonly Certificate[],
  time: Date,
  budget?: PathBudget,
): Promise<Standing> {
  const fault = keyFault(certificate, requireStrongKey)
  if (fault !== undefined) return { kind: 'invalid', reason: 'key-refused', detail: fault }
  const result = await pathOf(certificate, trust, { beside, time, budget, keyUsage: SIGNING })
  switch (result.kind) {
    case 'valid':
      return goodStanding(certificate, result.path, [])
    case 'unknown': {
      const detail = `revocation of ${result.at} cannot be told: ${result.detail}`
      if (trust.revocationMode === 'hard')
        return { kind: 'unknown', reason: 'revocation-unknown', detail }
      return { ...goodStanding(certificate, result.path, ['revocation-unknown']), detail }
    }
    case 'invalid':
      return withoutStanding(certificate, result, trust)
  }
}

/** What both purposes ask of a path. */
interface PathWish {
  readonly beside: readonly Certificate[]
  readonly time: Date
  readonly budget: PathBudget | undefined
  readonly keyUsage: readonly KeyUsage[]
}

function pathOf(
  certificate: Certificate,
  trust: Trust,
  { beside, ...wish }: PathWish,
): Promise<PathResult> {
  return validatePath(certificate, {
    ...wish,
    anchors: trust.anchors,
    // Ours first: strangers must not use up what we look at.
    intermediates: [...trust.intermediates, ...beside],
    purpose: 'emailProtection',
    revocation: trust.revocationMode === 'off' ? undefined : trust.revocation,
  })
}

function goodStanding(
  certificate: Certificate,
  path: readonly Certificate[],
  notes: readonly 'revocation-unknown'[],
): Standing {
  return { kind: 'good', certificate: certificate as ValidCertificate<'sign'>, notes, path }
}

function withoutStanding(
  { isSelfIssued }: Certificate,
  { reason, detail: what, at }: InvalidPath | RevokedPath,
  { isIncomplete }: Trust,
): Standing {
  const detail = `${what} (${at})`
  if (reason === 'budget-exceeded') return { kind: 'unknown', reason, detail }
  if (reason === 'issuer-not-found' || reason === 'signature-invalid') {
    if (isIncomplete) return { kind: 'unknown', reason: 'anchors-incomplete', detail }
    if (reason === 'signature-invalid')
      return { kind: 'untrusted', reason: 'issuer-signature-invalid', detail }
    return { kind: 'untrusted', reason: isSelfIssued ? 'self-signed' : 'no-anchor', detail }
  }
  if (reason === 'key-usage' || reason === 'extended-key-usage')
    return { kind: 'invalid', reason: 'wrong-usage', detail }
  return { kind: 'invalid', reason, detail }
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

/**
 * Whether a certificate can be encrypted to by its key and its key usage, whoever vouches for it; whether
 * it is to be believed is settled when it is used.
 */
export function mayBeEncryptedTo(certificate: Certificate): boolean {
  if (keyFault(certificate, requireEncryptionKey) !== undefined) return false
  return certificate.keyUsage?.has(encryptionUsageOf(certificate)) ?? true
}

/** RFC 8550 §4.4.2: the usage that encrypting to this kind of key needs. */
function encryptionUsageOf({ publicKey }: Certificate): KeyUsage {
  return publicKey.asymmetricKeyType === 'rsa' ? 'keyEncipherment' : 'keyAgreement'
}

/** What may be read, weak keys aside: whom nobody can be sure of, nobody vouches for. */
function requireStrongKey(publicKey: Certificate['publicKey']): void {
  const weakness = weaknessOf(publicKey)
  if (weakness !== undefined)
    throw new PosternError('ERR_KEY_SIZE', 'permanent', `key is too weak: ${weakness}`)
}

/** Why the key may not be used, whoever vouches for it. */
function keyFault(
  certificate: Certificate,
  requireFit: (publicKey: Certificate['publicKey']) => void,
): string | undefined {
  try {
    // One that cannot be read is read here for the first time.
    requireFit(certificate.publicKey)
    return undefined
  } catch (error) {
    if (error instanceof PosternError) return error.message
    throw error
  }
}

/** How a path ends whose anchor is not at hand, or is there with an older key alone. */
const MISSING_ANCHOR: ReadonlySet<string> = new Set(['issuer-not-found', 'signature-invalid'])
/** RFC 8550 §4.4.2: either is enough. */
const SIGNING: readonly KeyUsage[] = ['digitalSignature', 'nonRepudiation']
