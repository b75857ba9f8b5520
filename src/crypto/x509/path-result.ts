/**
 * How the validation of a certification path can end.
 *
 * @module
 */
import type { Certificate } from './certificate.ts'
import type { RevocationReason, UnknownStatus } from './revocation.ts'

/** One variant for each outcome. */
export type PathResult = ValidPath | InvalidPath | RevokedPath | UnknownPath

export interface ValidPath {
  readonly kind: 'valid'
  /** End entity first, trust anchor last. */
  readonly path: readonly Certificate[]
  readonly policies: PathPolicies
}

/** No path holds. Of the reasons of several candidates, that which came closest to a valid path. */
export interface InvalidPath {
  readonly kind: 'invalid'
  readonly reason: PathReason
  /** Subject of the certificate where it failed, for people. */
  readonly at: string
  /** Lower case, in words that may be shown to a stranger. */
  readonly detail: string
}

export interface RevokedPath extends Omit<InvalidPath, 'reason'> {
  readonly reason: 'revoked'
  readonly revokedAt: Date
  readonly revocationReason: RevocationReason
}

/** A path holds but for revocation, which could not be told. */
export interface UnknownPath {
  readonly kind: 'unknown'
  readonly why: UnknownStatus['why']
  /** Subject of the certificate whose status is not known. */
  readonly at: string
  readonly detail: string
  /** What would be the valid path. */
  readonly path: readonly Certificate[]
  readonly policies: PathPolicies
}

/** Object identifiers that the path is good for (RFC 9618 §5.6). `2.5.29.32.0` is any policy. */
export interface PathPolicies {
  readonly authorityConstrained: readonly string[]
  readonly userConstrained: readonly string[]
  /** Somebody above asked that there be a policy. */
  readonly explicitPolicy: boolean
}

export type PathReason =
  /** No certificate at hand bears the name of the issuer, or none leads to a trust anchor. */
  | 'issuer-not-found'
  | 'signature-invalid'
  | 'algorithm-refused'
  /** The key of an issuer is too small, too large or of a kind that is not supported. */
  | 'key-refused'
  | 'not-yet-valid'
  | 'expired'
  /** An extension cannot be read, or contradicts RFC 5280. */
  | 'malformed'
  | 'unknown-critical-extension'
  | 'not-an-authority'
  | 'path-too-long'
  | 'key-usage'
  | 'extended-key-usage'
  | 'name-constraints'
  | 'policy'
  | 'budget-exceeded'

/** A reason before it is known whether another path does better. */
export interface PathFault {
  readonly reason: PathReason
  readonly certificate: Certificate
  readonly detail: string
}
