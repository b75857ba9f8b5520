/**
 * Policy: what is to be done with a mail object for one forward-path.
 *
 * Two pure steps, with the only slow thing, the search for a key, between them:
 *
 *     facts ── decide ──▶ wish ── (identities) ──▶ finding ── conclude ──▶ treatment
 *
 * No clock, no network, no log: the same arguments give the same treatment, today and in an audit.
 *
 * @module
 */
import type { Facts, MessageClass } from './facts.ts'
import type { Ruleset } from './rule.ts'
import type { Degree, RefusalCause, SignerFinding, Treatment, Wish } from './treatment.ts'

/**
 * The wish of the first rule whose conditions all hold, or `rules.otherwise` where none does.
 * Rules are tried in the order of the file, as an operator reads it: top down, first match wins.
 */
export function decide(facts: Facts, rules: Ruleset): Wish {
  const rule = rules.inOrder.find(candidate => candidate.matches(facts))
  if (rule === undefined) return rules.otherwise
  const keyword = rule.keyword(facts)
  return keyword === undefined ? rule.wish : { ...rule.wish, removeFromSubject: keyword }
}

/**
 * Joins what the organisation wishes with what the message is and how the search for its author's
 * identity ended.
 *
 * Never throws: a wish that cannot be met is a treatment too, and names the cause of the refusal.
 *
 * @param signer Asked for only where `asksForSigner` says so.
 */
export function conclude(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  signer: SignerFinding,
): Treatment {
  if (ENCRYPTION[wish.encrypt][isEncrypted(classes)] === 'otherwise')
    return refusal(wish, 'encryption-not-available', NO_ENCRYPTION)
  const untouchable = UNTOUCHABLE.find(({ name }) => classes.has(name))
  if (untouchable) return { kind: 'relay', reason: untouchable.reason }

  switch (SIGNING[wish.sign][signer.kind]) {
    case 'sign':
      return { kind: 'sign', signature: wish.signature }
    case 'otherwise':
      return refusal(wish, 'no-signing-key', reasonOf(signer))
    case 'relay':
      return { kind: 'relay', reason: unsignedReason(wish, signer) }
  }
}

/**
 * Whether `conclude` will look at the finding at all. Where it will not, nobody has to search, and any
 * finding may be handed in.
 */
export function asksForSigner(wish: Wish, classes: ReadonlySet<MessageClass>): boolean {
  return conclude(wish, classes, FOUND).kind === 'sign'
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

/** Explains a treatment that `conclude` made of the same wish and the same finding. */
export function explainTreatment(
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  signer: SignerFinding,
  treatment: Treatment = conclude(wish, classes, signer),
): Explanation {
  return {
    action: actionOf(treatment),
    reason: treatment.kind === 'sign' ? signedReason(wish, signer) : treatment.reason,
    change: [...changesOf(wish, classes, treatment)],
  }
}

/**
 * Encryption, as long as Postern cannot encrypt. What a rule wants encrypted always must never go out
 * in clear: it is refused, unless it bears an encryption already.
 */
const ENCRYPTION = {
  never: { yes: 'go on', no: 'go on' },
  'when-possible': { yes: 'go on', no: 'go on' },
  always: { yes: 'go on', no: 'otherwise' },
} as const satisfies Record<Degree, Record<'yes' | 'no', 'go on' | 'otherwise'>>

/** The whole rule of signing on one screen; `always` fails closed (the rule is a promise). */
const SIGNING = {
  never: { found: 'relay', none: 'relay', unusable: 'relay' },
  'when-possible': { found: 'sign', none: 'relay', unusable: 'relay' },
  always: { found: 'sign', none: 'otherwise', unusable: 'otherwise' },
} as const satisfies Record<Degree, Record<SignerFinding['kind'], 'sign' | 'relay' | 'otherwise'>>

/** What a signature around it would break, whatever a rule says; the first that fits gives the reason. */
const UNTOUCHABLE: readonly { readonly name: MessageClass; readonly reason: string }[] = [
  { name: 'pgp', reason: 'it is an OpenPGP message already' },
  { name: 'encrypted', reason: 'it is encrypted already' },
  { name: 'signed', reason: 'it is signed already' },
  { name: 'smime', reason: 'it is an S/MIME message already' },
  { name: 'report', reason: 'it is a report, and machines have to read it' },
]

function isEncrypted(classes: ReadonlySet<MessageClass>): 'yes' | 'no' {
  return classes.has('encrypted') ? 'yes' : 'no'
}

function refusal(wish: Wish, cause: RefusalCause, reason: string): Treatment {
  const { otherwise } = wish
  return typeof otherwise === 'object'
    ? { kind: 'route', nextHop: otherwise.route, reason }
    : { kind: otherwise, cause, reason }
}

function reasonOf(signer: SignerFinding): string {
  return signer.kind === 'found' ? `identity ${signer.identity}` : signer.reason
}

function unsignedReason(wish: Wish, signer: SignerFinding): string {
  if (wish.sign === 'never')
    return wish.rule === NO_RULE_NAME
      ? 'no rule matches'
      : `rule ${wish.rule} asks for no signature`
  return `rule ${wish.rule} signs when possible, and ${reasonOf(signer)}`
}

function signedReason(wish: Wish, signer: SignerFinding): string {
  const degree = wish.sign === 'always' ? 'signs always' : 'signs when possible'
  return `rule ${wish.rule} ${degree}, with ${reasonOf(signer)}`
}

function actionOf(treatment: Treatment): string {
  switch (treatment.kind) {
    case 'relay':
      return 'pass byte for byte'
    case 'sign':
      return `sign (${treatment.signature})`
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
  if (wish.encrypt === 'always' && isEncrypted(classes) === 'no') {
    yield `with encrypt: never in rule ${wish.rule} it would go out in clear`
    yield 'encrypted by its author, it would pass byte for byte'
    return
  }
  if (UNTOUCHABLE.some(({ name }) => classes.has(name))) return
  if (treatment.kind === 'sign')
    yield `with sign: never in rule ${wish.rule} it would pass unsigned`
  else if (wish.sign !== 'never') yield 'with a usable identity for its author it would be signed'
  else if (wish.rule !== NO_RULE_NAME)
    yield `with sign: when-possible or always in rule ${wish.rule} it could be signed`
  if (wish.sign === 'always' && treatment.kind !== 'sign')
    yield `with sign: when-possible in rule ${wish.rule} it would pass unsigned`
}

const NO_ENCRYPTION = 'the rule asks for encryption, which this release does not offer'
const NO_RULE_NAME = '(no rule)'
const FOUND: SignerFinding = { kind: 'found', identity: '' }
