/**
 * The verdict on the signature of a message: one rule, in one place.
 *
 *     evidence (structure, author, signers, standing, times) ── judge ──▶ pass · or why not
 *
 * Pure: the same evidence gives the same verdict, today and in an audit. `pass` has to be earned by
 * everything at once; whatever is not known to be good has its own result and its own code.
 *
 * @module
 */

/** Results of RFC 7281 §3.2, which are those of Authentication-Results (RFC 8601 §2.7). */
export type VerdictResult =
  | 'none'
  | 'pass'
  | 'fail'
  | 'neutral'
  | 'policy'
  | 'temperror'
  | 'permerror'

/** What is said of a message. */
export interface Verdict {
  readonly result: VerdictResult
  /** Stable, kebab-case: what a rule can be built on. */
  readonly code: string
  /** In words, for people. Holds nothing that a sender wrote. */
  readonly reason: string
  /** Which signer it is about, as an index into the evidence. */
  readonly signer: number | undefined
  /** What is to be said beside the result; kebab-case codes. */
  readonly notes: readonly string[]
}

/** A code, and the same in words. */
export interface Finding {
  readonly code: string
  readonly words: string
}

/** What is known of one signer. */
export interface SignerEvidence {
  /** What the mathematics says, whoever it is. */
  readonly cryptography:
    | { readonly kind: 'good' }
    | ({ readonly kind: 'bad' | 'unverifiable' } & Finding)
  /** Whether the organisation believes the certificate; not asked where the signature is not good. */
  readonly standing:
    | { readonly kind: 'good'; readonly notes: readonly string[] }
    | ({ readonly kind: 'untrusted' | 'invalid' | 'unknown' } & Finding)
    | undefined
  /** Match keys of the addresses that the certificate bears, and where they stand in it. */
  readonly addresses: readonly string[]
  readonly addressesFrom: 'san' | 'dn' | 'none'
  /** Codes such as `sha-1`: algorithms or keys that do not protect any more. */
  readonly weak: readonly string[]
  readonly signingTime: Date | undefined
  readonly validity: { readonly notBefore: Date; readonly notAfter: Date } | undefined
}

/** A signature layer. */
export type SignatureEvidence =
  | ({ readonly kind: 'malformed' } & Finding)
  | { readonly kind: 'unsigned' }
  | { readonly kind: 'signed'; readonly signers: readonly SignerEvidence[] }

/** Who the message says has written it. */
export type AuthorEvidence =
  | {
      readonly kind: 'one'
      readonly mailbox: string
      readonly sender: string | undefined
      /** The name beside the address looks like another address. */
      readonly pretends: boolean
    }
  | ({ readonly kind: 'unclear' } & Finding)

/** Everything that a verdict is made of. */
export interface Evidence {
  /** The signature nearest to the content; the author's. Undefined where there is none at the root. */
  readonly signature: SignatureEvidence | undefined
  /** Signatures around it, outermost first (RFC 2634 §1.1). */
  readonly outer: readonly SignatureEvidence[]
  /** What stands between the signature and the content: a signature over cipher text says nothing of it. */
  readonly aroundEncryption: boolean
  /** Signed parts stand somewhere below the root. */
  readonly partial: boolean
  /** Two readers could read the message differently, or not to its end. */
  readonly ambiguity: Finding | undefined
  /** Two readers could see different types or parts within what is signed. */
  readonly unclearInside: boolean
  readonly author: AuthorEvidence
  /** Fields under the signature that contradict the ones outside (RFC 9788 §4). */
  readonly contradiction: Finding | undefined
  readonly date: Date | undefined
  readonly now: Date
}

/** Judges a message. */
export function judge(evidence: Evidence): Verdict {
  const { signature } = evidence
  if (signature === undefined) return unsigned(evidence)
  if (evidence.ambiguity) return verdict('permerror', evidence.ambiguity)
  for (const layer of evidence.outer) {
    const broken = brokenOuter(layer)
    if (broken) return broken
  }
  switch (signature.kind) {
    case 'malformed':
      return verdict(FORGERIES.has(signature.code) ? 'fail' : 'permerror', signature)
    case 'unsigned':
      return verdict('none', NOT_A_SIGNATURE)
    case 'signed':
      return judgeSigned(evidence, signature.signers)
  }
}

/** Results that a rule may refuse a message for: signed, and not as it should be. */
export function isBad({ result }: Pick<Verdict, 'result'>): boolean {
  return result === 'fail' || result === 'permerror' || result === 'policy'
}

function unsigned({ partial, ambiguity }: Evidence): Verdict {
  if (partial) return verdict('none', PARTIAL)
  return ambiguity ? verdict('none', ambiguity) : verdict('none', NOT_SIGNED)
}

/** A signature around the author's is told apart; but nobody may have altered what it is about. */
function brokenOuter(layer: SignatureEvidence): Verdict | undefined {
  if (layer.kind === 'malformed') return verdict('permerror', OUTER_MALFORMED)
  if (layer.kind === 'unsigned') return undefined
  const bad = layer.signers.some(({ cryptography }) => cryptography.kind === 'bad')
  return bad ? verdict('fail', OUTER_BAD) : undefined
}

/** All have to be good, and the one that counts is the author (RFC 8550 §3). */
function judgeSigned(evidence: Evidence, signers: readonly SignerEvidence[]): Verdict {
  for (const kind of ['bad', 'unverifiable'] as const) {
    const at = signers.findIndex(({ cryptography }) => cryptography.kind === kind)
    const { cryptography } = signers[at] ?? {}
    if (cryptography && cryptography.kind !== 'good')
      return verdict(kind === 'bad' ? 'fail' : 'neutral', cryptography, at)
  }
  const { author } = evidence
  if (author.kind === 'unclear') return verdict('permerror', author)
  const at = signers.findIndex(({ addresses }) => addresses.includes(author.mailbox))
  if (at < 0) return ofAnother(signers, author.sender)
  const doubt = signers.length > 1 ? doubtOfOthers(signers, at) : undefined
  return doubt ?? judgeSigner(evidence, signers[at]!, at)
}

/** Signed, but not by whom the message says has written it. */
function ofAnother(signers: readonly SignerEvidence[], sender: string | undefined): Verdict {
  const [first] = signers
  const { standing } = first!
  if (standing && standing.kind !== 'good') return disbelief(standing, 0)
  if (sender !== undefined && first!.addresses.includes(sender))
    return verdict('neutral', OF_SENDER, 0)
  return first!.addressesFrom === 'none'
    ? verdict('policy', NO_ADDRESS, 0)
    : verdict('fail', FROM_MISMATCH, 0)
}

/** Whoever signs beside the author has to be believed too: else anybody could add himself. */
function doubtOfOthers(signers: readonly SignerEvidence[], author: number): Verdict | undefined {
  const at = signers.findIndex(
    ({ standing, weak }, index) =>
      index !== author && (standing?.kind !== 'good' || weak.length > 0),
  )
  return at < 0 ? undefined : verdict('fail', OTHER_SIGNER, author)
}

function judgeSigner(evidence: Evidence, signer: SignerEvidence, at: number): Verdict {
  const { standing, weak } = signer
  if (standing === undefined) return verdict('neutral', NO_CERTIFICATE, at)
  if (standing.kind !== 'good') return disbelief(standing, at)
  if (weak.length > 0) return verdict('policy', { ...WEAK, code: `weak-${weak[0]!}` }, at)
  if (signer.addressesFrom === 'dn') return verdict('policy', ADDRESS_IN_NAME, at)
  if (evidence.contradiction) return verdict('fail', evidence.contradiction, at)
  if (evidence.unclearInside) return verdict('permerror', UNCLEAR_INSIDE, at)
  if (evidence.author.kind === 'one' && evidence.author.pretends)
    return verdict('policy', PRETENDS, at)
  if (evidence.aroundEncryption) return verdict('neutral', AROUND_ENCRYPTION, at)
  const untimely = judgeTimes(evidence, signer)
  if (untimely) return verdict(untimely.result, untimely, at)
  const notes = [...standing.notes]
  if (signer.signingTime === undefined) notes.push('signing-time-absent')
  if (evidence.outer.some(({ kind }) => kind === 'signed')) notes.push('outer-signature')
  return { ...verdict('pass', PASS, at), notes }
}

function disbelief(
  standing: { readonly kind: 'untrusted' | 'invalid' | 'unknown' } & Finding,
  at: number,
): Verdict {
  return verdict(DISBELIEF[standing.kind], standing, at)
}

/** An old signature under a new date is a replay, whoever made it (CVE-2023-50761). */
function judgeTimes(
  { date, now }: Evidence,
  { signingTime, validity }: SignerEvidence,
): ({ readonly result: 'fail' | 'policy' } & Finding) | undefined {
  if (signingTime === undefined) return undefined
  const signed = signingTime.getTime()
  if (signed > now.getTime() + CLOCK_SKEW_MS) return { result: 'fail', ...IN_FUTURE }
  if (
    validity &&
    (signed < validity.notBefore.getTime() || signed > validity.notAfter.getTime() + CLOCK_SKEW_MS)
  )
    return { result: 'fail', ...OUTSIDE_VALIDITY }
  if (date === undefined) return { result: 'policy', ...NO_DATE }
  return Math.abs(signed - date.getTime()) > FAR_MS ? { result: 'policy', ...FAR } : undefined
}

function verdict(result: VerdictResult, { code, words }: Finding, signer?: number): Verdict {
  return { result, code, reason: words, signer, notes: [] }
}

const DISBELIEF = { untrusted: 'policy', invalid: 'fail', unknown: 'temperror' } as const

const CLOCK_SKEW_MS = 5 * 60_000
const FAR_MS = 3_600_000

/** Malformed in a way that nobody comes to by accident. */
const FORGERIES: ReadonlySet<string> = new Set(['content-twice'])

const PASS: Finding = { code: 'good', words: 'signed by the author, and nothing is wrong with it' }
const NOT_SIGNED: Finding = { code: 'not-signed', words: 'the message is not signed' }
const PARTIAL: Finding = {
  code: 'partial',
  words: 'only a part of the message is signed, which says nothing of the rest',
}
const NOT_A_SIGNATURE: Finding = {
  code: 'certificates-only',
  words: 'it carries certificates and is signed by nobody',
}
const OUTER_MALFORMED: Finding = {
  code: 'outer-signature-malformed',
  words: 'the signature around the message cannot be read',
}
const OUTER_BAD: Finding = {
  code: 'outer-signature-bad',
  words: 'the signature around the message is not good',
}
const OF_SENDER: Finding = {
  code: 'sender-matches',
  words: 'signed by whom the Sender field names, not by the author',
}
const NO_ADDRESS: Finding = {
  code: 'certificate-without-address',
  words: 'the certificate of the signer bears no address',
}
const FROM_MISMATCH: Finding = {
  code: 'from-mismatch',
  words: 'signed by somebody else than the author',
}
const OTHER_SIGNER: Finding = {
  code: 'other-signer',
  words: 'somebody signed beside the author who is not believed',
}
const NO_CERTIFICATE: Finding = {
  code: 'certificate-missing',
  words: 'the certificate of the signer is not in the message',
}
const WEAK: Finding = { code: 'weak', words: 'signed with an algorithm that does not protect' }
const UNCLEAR_INSIDE: Finding = {
  code: 'ambiguous-inside',
  words: 'what is signed can be read in more than one way',
}
const ADDRESS_IN_NAME: Finding = {
  code: 'address-in-name-only',
  words: 'the certificate bears the address in its subject name only',
}
const PRETENDS: Finding = {
  code: 'display-mismatch',
  words: 'beside the address of the author stands another address as a name',
}
const AROUND_ENCRYPTION: Finding = {
  code: 'signature-around-encryption',
  words: 'what is signed is cipher text, and its signer need not know what is in it',
}
const IN_FUTURE: Finding = {
  code: 'signing-time-in-future',
  words: 'the signing time lies in the future',
}
const OUTSIDE_VALIDITY: Finding = {
  code: 'signing-time-outside-validity',
  words: 'it was signed when the certificate was not valid',
}
const NO_DATE: Finding = {
  code: 'date-missing',
  words: 'there is no date to compare the signing time with',
}
const FAR: Finding = {
  code: 'signing-time-far',
  words: 'it was signed more than an hour from the date of the message',
}
