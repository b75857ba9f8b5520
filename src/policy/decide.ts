/**
 * Policy: what is to be done with a mail object for one forward-path.
 *
 * Two pure steps, with the only slow things, the searches, between them:
 *
 *     facts ── decide ──▶ wish ── (identities, directory) ──▶ findings ── conclude ──▶ treatment
 *
 * No clock, no network, no log: the same arguments give the same treatment, today and in an audit.
 *
 * @module
 */
import type { Facts, MessageClass } from './facts.ts'
import type { Ruleset } from './rule.ts'
import {
  type CertificateFinding,
  type Degree,
  type Findings,
  NO_RULE_NAME,
  type RefusalCause,
  type SignerFinding,
  type Treatment,
  type Wish,
} from './treatment.ts'

/**
 * The wish of the first rule whose conditions all hold, or `rules.otherwise` where none does.
 * Rules are tried in the order of the file, as an operator reads it: top down, first match wins.
 */
export function decide(facts: Facts, rules: Ruleset): Wish {
  const rule = rules.inOrder.find(candidate => candidate.matches(facts))
  if (rule === undefined) return rules.otherwise
  const keyword = rule.keyword(facts)
  const fields = rule.triggerFields(facts)
  if (keyword === undefined && fields.length === 0) return rule.wish
  return {
    ...rule.wish,
    ...(keyword !== undefined && { removeFromSubject: keyword }),
    ...(fields.length > 0 && { removeFields: fields }),
  }
}

/**
 * Joins what the organisation wishes with what the message is and how the searches ended.
 *
 * Never throws: a wish that cannot be met is a treatment too, and names the cause of the refusal.
 */
export function conclude(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  { signer, certificate }: Findings,
): Treatment {
  if (classes.has('encrypted')) return { kind: 'relay', reason: ENCRYPTED_ALREADY }
  const step = asksForCertificate(wish, classes)
    ? ENCRYPTION[wish.encrypt][certificate.kind]
    : 'clear'
  if (step === 'defer')
    return { kind: 'defer', cause: 'certificate-search-failed', reason: whyNot(certificate) }
  if (step === 'otherwise') return refusal(wish, 'no-certificate', whyNot(certificate))

  const untouchable = UNTOUCHABLE.find(({ name }) => classes.has(name))
  const signing = untouchable ? 'relay' : SIGNING[wish.sign][signer.kind]
  if (signing === 'otherwise') return refusal(wish, 'no-signing-key', reasonOf(signer))
  const { signature, profile } = wish
  if (step === 'encrypt') return { kind: 'encrypt', sign: signing === 'sign', signature, profile }
  if (signing === 'sign') return { kind: 'sign', signature }
  const reason = untouchable?.reason ?? plainReason(wish, { signer, certificate })
  return { kind: 'relay', reason }
}

/** Whether `conclude` will look at the finding of a signer, whatever that of a certificate is. */
export function asksForSigner(wish: Wish, classes: ReadonlySet<MessageClass>): boolean {
  if (wish.sign === 'never' || classes.has('encrypted')) return false
  return !UNTOUCHABLE.some(({ name }) => classes.has(name))
}

/**
 * Whether `conclude` will look at the finding of a certificate. What machines or OpenPGP have to read
 * is encrypted only where a rule promises it.
 */
export function asksForCertificate(wish: Wish, classes: ReadonlySet<MessageClass>): boolean {
  if (wish.encrypt === 'never' || classes.has('encrypted')) return false
  return wish.encrypt === 'always' || !LEFT_ALONE.some(name => classes.has(name))
}

/**
 * Whether a wish is a promise, which a message cannot get out of by its labels: its classes have to be
 * proven then.
 */
export function asksForProof({ sign, encrypt }: Wish): boolean {
  return sign === 'always' || encrypt === 'always'
}

/** Why a treatment is what it is, in words for a trace and for `explain`. */
export interface Explanation {
  /** What is done: `sign (clear)`, `pass byte for byte`, `refuse with 550`. */
  readonly action: string
  readonly reason: string
  /** What would have to be otherwise for another treatment; each a sentence. */
  readonly change: readonly string[]
}

/** Explains a treatment that `conclude` made of the same wish and the same findings. */
export function explainTreatment(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  findings: Findings,
  treatment: Treatment = conclude(wish, classes, findings),
): Explanation {
  return {
    action: actionOf(treatment),
    reason:
      'reason' in treatment
        ? treatment.reason
        : `rule ${wish.rule} ${[...doneReasons(wish, classes, findings, treatment)].join('; ')}`,
    change: [...changesOf(wish, classes, treatment)],
  }
}

/**
 * The whole rule of encryption on one screen. Two columns bear a reason:
 *
 * - `unknown` never becomes `clear` where encryption was wished. Whoever can silence a directory must
 *   not switch encryption off by it.
 * - `invalid` (expired, revoked, wrong key usage) counts as no certificate at all (RFC 8550 §4).
 */
const ENCRYPTION = {
  never: { valid: 'clear', none: 'clear', invalid: 'clear', unknown: 'clear' },
  'when-possible': { valid: 'encrypt', none: 'clear', invalid: 'clear', unknown: 'defer' },
  always: { valid: 'encrypt', none: 'otherwise', invalid: 'otherwise', unknown: 'defer' },
} as const satisfies Record<
  Degree,
  Record<CertificateFinding['kind'], 'clear' | 'encrypt' | 'otherwise' | 'defer'>
>

/** The whole rule of signing on one screen; `always` fails closed (the rule is a promise). */
const SIGNING = {
  never: { found: 'relay', none: 'relay', unusable: 'relay' },
  'when-possible': { found: 'sign', none: 'relay', unusable: 'relay' },
  always: { found: 'sign', none: 'otherwise', unusable: 'otherwise' },
} as const satisfies Record<Degree, Record<SignerFinding['kind'], 'sign' | 'relay' | 'otherwise'>>

/** What a signature around it would break, whatever a rule says; the first that fits gives the reason. */
const UNTOUCHABLE: readonly { readonly name: MessageClass; readonly reason: string }[] = [
  { name: 'pgp', reason: 'it is an OpenPGP message already' },
  { name: 'signed', reason: 'it is signed already' },
  { name: 'smime', reason: 'it is an S/MIME message already' },
  { name: 'report', reason: 'it is a report, and machines have to read it' },
]

/** What `encrypt: when-possible` passes over. */
const LEFT_ALONE: readonly MessageClass[] = ['pgp', 'report']
const ENCRYPTED_ALREADY = 'it is encrypted already'

function refusal(wish: Wish, cause: RefusalCause, reason: string): Treatment {
  const { otherwise } = wish
  return typeof otherwise === 'object'
    ? { kind: 'route', nextHop: otherwise.route, cause, reason }
    : { kind: otherwise, cause, reason }
}

function reasonOf(signer: SignerFinding): string {
  return signer.kind === 'found' ? `identity ${signer.identity}` : signer.reason
}

function whyNot(certificate: CertificateFinding): string {
  return certificate.kind === 'valid'
    ? `certificate ${certificate.certificate}`
    : certificate.reason
}

/** Why a message that could have been treated passes as it came. */
function plainReason(wish: Wish, { signer, certificate }: Findings): string {
  if (wish.rule === NO_RULE_NAME) return 'no rule matches'
  const reasons = []
  if (wish.encrypt === 'when-possible' && certificate.kind !== 'valid')
    reasons.push(`encrypts when possible, and ${certificate.reason}`)
  if (wish.sign === 'when-possible') reasons.push(`signs when possible, and ${reasonOf(signer)}`)
  return `rule ${wish.rule} ${reasons.join('; ') || 'asks for no signature'}`
}

/** Why a message was treated as it was, and why not as it was wished besides. */
function* doneReasons(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  { signer, certificate }: Findings,
  treatment: Treatment,
): Generator<string> {
  const isEncrypted = treatment.kind === 'encrypt'
  if (isEncrypted) yield `encrypts ${DEGREE[wish.encrypt]}, with ${whyNot(certificate)}`
  else if (asksForCertificate(wish, classes))
    yield `encrypts ${DEGREE[wish.encrypt]}, and ${whyNot(certificate)}`
  if (treatment.kind === 'sign' || (isEncrypted && treatment.sign))
    yield `signs ${DEGREE[wish.sign]}, with ${reasonOf(signer)}`
  else if (asksForSigner(wish, classes)) yield `signs ${DEGREE[wish.sign]}, and ${reasonOf(signer)}`
}

function actionOf(treatment: Treatment): string {
  switch (treatment.kind) {
    case 'relay':
      return 'pass byte for byte'
    case 'sign':
      return `sign (${treatment.signature})`
    case 'encrypt':
      return treatment.sign
        ? `sign, then encrypt (${treatment.profile})`
        : `encrypt (${treatment.profile})`
    case 'reject':
      return 'refuse for good (550)'
    case 'defer':
      return 'refuse for now (451)'
    case 'route':
      return `hand to next hop ${treatment.nextHop}`
  }
}

function* changesOf(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  treatment: Treatment,
): Generator<string> {
  if (wish.rule === NO_RULE_NAME) yield 'a rule whose conditions hold would decide instead'
  if (classes.has('encrypted')) return
  yield* encryptionChanges(wish, classes, treatment)
  if (!UNTOUCHABLE.some(({ name }) => classes.has(name))) yield* signingChanges(wish, treatment)
  yield* otherwiseChanges(wish, treatment)
}

/** What else could be done where a promise cannot be kept. */
function* otherwiseChanges({ rule, otherwise }: Wish, treatment: Treatment): Generator<string> {
  if (!('cause' in treatment) || treatment.cause === 'certificate-search-failed') return
  for (const other of ['reject', 'defer'] as const)
    if (other !== otherwise) yield `with otherwise: ${other} in rule ${rule} ${OTHERWISE[other]}`
}

function* encryptionChanges(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  treatment: Treatment,
): Generator<string> {
  if (!asksForCertificate(wish, classes)) return
  if (treatment.kind === 'encrypt') {
    yield `with encrypt: never in rule ${wish.rule} it would go out in clear`
    return
  }
  if (treatment.kind === 'defer' && treatment.cause === 'certificate-search-failed')
    yield 'once everybody who has to be heard answers, what they know would decide'
  else yield 'with a certificate of the recipient that can be used it would be encrypted'
  if (wish.encrypt === 'always')
    yield `with encrypt: never in rule ${wish.rule} it would go out in clear`
}

function* signingChanges(wish: Wish, treatment: Treatment): Generator<string> {
  const signed = treatment.kind === 'sign' || (treatment.kind === 'encrypt' && treatment.sign)
  if (signed) yield `with sign: never in rule ${wish.rule} it would not be signed`
  else if (wish.sign !== 'never') yield 'with a usable identity for its author it would be signed'
  else if (wish.rule !== NO_RULE_NAME)
    yield `with sign: when-possible or always in rule ${wish.rule} it could be signed`
  if (wish.sign === 'always' && !signed)
    yield `with sign: when-possible in rule ${wish.rule} it would pass unsigned`
}

const OTHERWISE = {
  reject: 'it would be refused for good (550)',
  defer: 'its client would be asked to try again (451)',
} as const
const DEGREE = { never: 'never', 'when-possible': 'when possible', always: 'always' } as const
