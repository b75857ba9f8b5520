/**
 * The question whether a certificate has been revoked, and the three answers.
 *
 * `unknown` is never `good`: what follows from it (off, soft, hard) is decided above.
 *
 * @module
 */
import type { Certificate } from './certificate.ts'
import type { PathBudget } from './path-budget.ts'

/** Whoever can tell: revocation lists, OCSP answers, several of them one after the other. */
export interface RevocationAnswers {
  statusOf(question: RevocationQuestion): Promise<RevocationStatus>
}

export interface RevocationQuestion {
  readonly certificate: Certificate
  /** The certificate above it in a path that holds. */
  readonly issuer: Certificate
  /** The end of that path: whoever signs a status must lead to the same one (RFC 5280 §6.3.3 f). */
  readonly anchor: Certificate
  readonly time: Date
  readonly budget: PathBudget
  readonly allowSha1: boolean
}

export type RevocationStatus = GoodStatus | RevokedStatus | UnknownStatus

export interface GoodStatus {
  readonly kind: 'good'
  /** When a newer answer is to be expected. */
  readonly until: Date | undefined
}

export interface RevokedStatus {
  readonly kind: 'revoked'
  readonly at: Date
  readonly reason: RevocationReason
}

export interface UnknownStatus {
  readonly kind: 'unknown'
  readonly why:
    | 'no-answer'
    | 'stale'
    | 'not-for-this-certificate'
    | 'signer-not-authorised'
    | 'signature-invalid'
    | 'unknown-critical-extension'
    | 'responder-does-not-know'
    | 'malformed'
    | 'nonce-mismatch'
  readonly detail: string
}

/** CRLReason of RFC 5280 §5.3.1. */
export type RevocationReason = (typeof REASONS)[number]

/** The reason of a number; `unspecified` where RFC 5280 knows none. */
export function revocationReason(code: number): RevocationReason {
  return REASONS[code] ?? 'unspecified'
}

/**
 * Asks one after the other, and stops at the first that knows. Revoked by any that was reached is
 * revoked; where none knows, the first ignorance is told.
 */
export function askForStatus(sources: readonly RevocationAnswers[]): RevocationAnswers {
  return {
    async statusOf(question) {
      let ignorance: UnknownStatus | undefined
      for (const source of sources) {
        const status = await source.statusOf(question)
        if (status.kind !== 'unknown') return status
        if (!ignorance || ignorance.why === 'no-answer') ignorance = status
      }
      return ignorance ?? { kind: 'unknown', why: 'no-answer', detail: 'nobody was asked' }
    },
  }
}

/** The whole second that a moment is in: validity has no fractions (RFC 5280 §4.1.2.5). */
export function wholeSecond(time: Date): number {
  return Math.floor(time.getTime() / 1000) * 1000
}

const REASONS = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'unspecified',
  'removeFromCRL',
  'privilegeWithdrawn',
  'aACompromise',
] as const
