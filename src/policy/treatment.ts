/**
 * The words of the decision: what the organisation wishes, what was found, what is to be done.
 *
 * @module
 */

/** `sign:` and `encrypt:` of a rule. */
export type Degree = 'never' | 'when-possible' | 'always'

/** How a signature is carried: as multipart/signed or as one opaque body (RFC 8551 §3.5). */
export type SignatureFormat = 'clear' | 'opaque'

/**
 * Which algorithms a rule encrypts with: what nearly every client opens, what is best today, or what
 * the German energy market asks for.
 */
export type EncryptionProfile = 'compatible' | 'modern' | 'edi-energy'

/** What to do where an `always` cannot be met. */
export type Otherwise = 'reject' | 'defer' | { readonly route: string }

/** `decrypt:`, `verify:` and what belongs to them: what a rule wishes for inbound mail. */
export interface InboundWish {
  readonly decrypt: 'never' | 'when-possible'
  /** Not at all, said in a stamp, or a condition of being let in. */
  readonly verify: 'never' | 'stamp' | 'require'
  /** What becomes of a message whose signature is bad, where `verify` is `stamp`. */
  readonly onBadSignature: 'deliver' | 'reject' | { readonly route: string }
  /**
   * What becomes of plaintext that neither a signature nor authenticated encryption vouches for:
   * opened only if it is to the last octet what it says it is, opened whatever it is, or opened with
   * remote references made harmless.
   */
  readonly unauthenticated: 'strict' | 'deliver' | 'defuse'
  /** Whether a signature that was good stays on what is delivered. */
  readonly strip: 'keep' | 'signature'
}

/** Where no rule matches, and where the rule that does says nothing of inbound mail. */
export const INBOUND_BY_DEFAULT: InboundWish = {
  decrypt: 'never',
  verify: 'stamp',
  onBadSignature: 'deliver',
  unauthenticated: 'strict',
  strip: 'keep',
}

/** In the place of a rule's name, where no rule matches. */
export const NO_RULE_NAME = '(no rule)'

/** `then` of a rule. */
export interface WishSpec {
  readonly sign: Degree
  readonly encrypt: Degree
  readonly signature: SignatureFormat
  readonly profile: EncryptionProfile
  readonly otherwise: Otherwise
  /** A copy for the originator (RFC 8551 §3.3): what is encrypted, its author can open too. */
  readonly encryptToAuthor: boolean
  /** Of account where the forward-path is inbound. */
  readonly inbound: InboundWish
}

/** What a rule wishes for one forward-path. */
export interface Wish extends WishSpec {
  /** Name of the rule that wished it; {@link NO_RULE_NAME} where none matched. */
  readonly rule: string
  /**
   * The word of the rule's `subject` condition that matched, as it stands in the configuration. It is
   * a trigger, and is taken out of the Subject field of a message that we treat; never of one that
   * passes byte for byte.
   */
  readonly removeFromSubject?: string
  /**
   * The X- fields that made the rule match. They are triggers too, and go where the word in the Subject
   * goes. Fields of other names mean something to everybody, and stay.
   */
  readonly removeFields?: readonly FieldPlace[]
}

/** One field of a header section. */
export interface FieldPlace {
  /** In lower case. */
  readonly name: string
  /** Counted among the fields of this name, from the top, from 0. */
  readonly at: number
}

/** How the search for a signing identity of the author ended. */
export type SignerFinding =
  | { readonly kind: 'found'; readonly identity: string }
  /** No identity bears the author's address, or there is no one author. */
  | { readonly kind: 'none'; readonly reason: string }
  /** There is one, but it may not sign: expired, not yet valid, wrong usage. */
  | { readonly kind: 'unusable'; readonly reason: string }

/** How the search for a certificate of the recipient ended. */
export type CertificateFinding =
  | { readonly kind: 'valid'; readonly certificate: string; readonly source: string }
  /** Every source answered, and none knows of any. */
  | { readonly kind: 'none'; readonly reason: string }
  /** There is one, but it may not be used: counts as none (RFC 8550 §4). */
  | { readonly kind: 'invalid'; readonly reason: string }
  /** Somebody who has to be heard did not answer. Never counts as none. */
  | { readonly kind: 'unknown'; readonly reason: string }

/** How both searches ended. What `conclude` does not ask for may be anything. */
export interface Findings {
  readonly signer: SignerFinding
  readonly certificate: CertificateFinding
}

/** What becomes of the mail object for one forward-path. */
export type Treatment =
  /** Passes byte for byte. `reason` in words for the trace. */
  | { readonly kind: 'relay'; readonly reason: string }
  | { readonly kind: 'sign'; readonly signature: SignatureFormat }
  /** Encrypted to the recipient alone; signed first where `sign` says so. */
  | {
      readonly kind: 'encrypt'
      readonly sign: boolean
      readonly signature: SignatureFormat
      readonly profile: EncryptionProfile
    }
  | { readonly kind: 'reject' | 'defer'; readonly cause: RefusalCause; readonly reason: string }
  | {
      readonly kind: 'route'
      readonly nextHop: string
      readonly cause: RefusalCause
      readonly reason: string
    }

/** Why a wish could not be met; each has its reply in the table of replies. */
export type RefusalCause =
  | 'no-signing-key'
  | 'no-certificate'
  | 'certificate-search-failed'
  | 'bad-signature'
  | 'signature-required'
