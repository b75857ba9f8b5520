/**
 * The words of the decision: what the organisation wishes, what was found, what is to be done.
 *
 * @module
 */

/** `sign:` and `encrypt:` of a rule. */
export type Degree = 'never' | 'when-possible' | 'always'

/** How a signature is carried: as multipart/signed or as one opaque body (RFC 8551 §3.5). */
export type SignatureFormat = 'clear' | 'opaque'

/** What to do where an `always` cannot be met. */
export type Otherwise = 'reject' | 'defer' | { readonly route: string }

/** What a rule wishes for one forward-path. */
export interface Wish {
  /** Name of the rule that wished it; `(no rule)` where none matched. */
  readonly rule: string
  readonly sign: Degree
  readonly encrypt: Degree
  readonly signature: SignatureFormat
  readonly otherwise: Otherwise
  /**
   * The word of the rule's `subject` condition that matched, as it stands in the configuration. It is
   * a trigger, and is taken out of the Subject field of a message that we treat; never of one that
   * passes byte for byte.
   */
  readonly removeFromSubject?: string
}

/** How the search for a signing identity of the author ended. */
export type SignerFinding =
  | { readonly kind: 'found'; readonly identity: string }
  /** No identity bears the author's address, or there is no one author. */
  | { readonly kind: 'none'; readonly reason: string }
  /** There is one, but it may not sign: expired, not yet valid, wrong usage. */
  | { readonly kind: 'unusable'; readonly reason: string }

/** What becomes of the mail object for one forward-path. */
export type Treatment =
  /** Passes byte for byte. `reason` in words for the trace. */
  | { readonly kind: 'relay'; readonly reason: string }
  | { readonly kind: 'sign'; readonly signature: SignatureFormat }
  | { readonly kind: 'reject' | 'defer'; readonly cause: RefusalCause; readonly reason: string }
  | { readonly kind: 'route'; readonly nextHop: string; readonly reason: string }

/** Why a wish could not be met; each has its reply in the table of replies. */
export type RefusalCause = 'no-signing-key' | 'encryption-not-available'
