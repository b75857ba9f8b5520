/**
 * Inbound policy: what follows from the verdict on a signature, and what a rule would do, in words.
 *
 *     wish (verify, onBadSignature) ──┐
 *     verdict ────────────────────────┴─ concludeInbound ──▶ deliver · route · reject · defer
 *
 * Pure, as the rest of this room.
 *
 * @module
 */
import { type InboundWish, NO_RULE_NAME, type RefusalCause, type Wish } from './treatment.ts'
import { isBad, type Verdict } from './verdict.ts'

/** What becomes of an inbound message, once there is a verdict on it. */
export type InboundConclusion =
  /** Handed on to the next hop of inbound mail, stamped as the wish says. */
  | { readonly kind: 'deliver' }
  | { readonly kind: 'reject' | 'defer'; readonly cause: InboundCause; readonly reason: string }
  /** Handed to another next hop, stamped as well. */
  | {
      readonly kind: 'route'
      readonly nextHop: string
      readonly cause: InboundCause
      readonly reason: string
    }

/** Why inbound mail is refused, or goes another way. */
export type InboundCause = Extract<RefusalCause, 'bad-signature' | 'signature-required'>

/** As much of a verdict as is concluded from. */
export type Judged = Pick<Verdict, 'result' | 'reason'>

/**
 * Joins what a rule wishes with the verdict.
 *
 * Whoever sends us a cipher text that he has tampered with must not learn from the reply what we saw in
 * it (RFC 8551 §6, and every padding oracle). What came encrypted is therefore never refused for what
 * is in it, but for one thing: under `require` all that is not good is refused, and all in one way,
 * whether it could be opened or not. A refusal for now tells nothing of that kind: it needs a signature
 * that is good, over a content that nobody has altered.
 *
 * @param cameEncrypted Whether there is a layer of encryption, opened or not.
 */
export function concludeInbound(
  { inbound }: Pick<Wish, 'inbound'>,
  { result, reason }: Judged,
  cameEncrypted: boolean,
): InboundConclusion {
  const { verify, onBadSignature } = inbound
  if (verify === 'never' || result === 'pass') return DELIVER
  if (verify === 'require') {
    if (result === 'temperror') return { kind: 'defer', cause: 'signature-required', reason }
    if (cameEncrypted)
      return { kind: 'reject', cause: 'signature-required', reason: NOT_SIGNED_WELL }
    const cause = isBad({ result }) ? 'bad-signature' : 'signature-required'
    return { kind: 'reject', cause, reason }
  }
  if (onBadSignature === 'deliver' || !isBad({ result })) return DELIVER
  if (typeof onBadSignature === 'object')
    return { kind: 'route', nextHop: onBadSignature.route, cause: 'bad-signature', reason }
  return cameEncrypted ? DELIVER : { kind: 'reject', cause: 'bad-signature', reason }
}

/** What is done, in short: `open where possible, verify, stamp`. */
export function inboundAction({ inbound }: Pick<Wish, 'inbound'>): string {
  const { decrypt, verify } = inbound
  return [
    ...(decrypt === 'never' ? [] : ['open where possible']),
    ...(verify === 'never' ? [] : ['verify']),
    ...(verify === 'require' ? ['refuse without a good signature'] : []),
    'stamp',
  ].join(', ')
}

/** What is wished for an inbound message, a sentence each; what cannot happen is not told. */
export function explainInbound({ inbound }: Pick<Wish, 'inbound'>): readonly string[] {
  return [
    VERIFY[inbound.verify],
    ...(inbound.verify === 'stamp' ? [badSignature(inbound)] : []),
    ...(inbound.strip === 'signature' ? ['a signature that was good is taken off'] : []),
    DECRYPT[inbound.decrypt],
    ...(inbound.decrypt === 'never' ? [] : [UNAUTHENTICATED[inbound.unauthenticated]]),
  ]
}

/** Why a message that arrived is delivered: what was seen in it. For a trace and for `explain`. */
export function inboundReason(
  { rule }: Pick<Wish, 'rule'>,
  { reason }: Judged,
  encryption: SeenEncryption,
): string {
  const who = rule === NO_RULE_NAME ? 'no rule matches, and it is delivered' : `rule ${rule}`
  const came = ENCRYPTION[encryption]
  return `${who}: ${came === undefined ? '' : `${came}; `}${reason}`
}

/** Why a message that arrived is refused, or goes another way; for the operator, not for a reply. */
export function inboundRefusal(
  { rule, inbound }: Pick<Wish, 'rule' | 'inbound'>,
  { reason }: Judged,
): string {
  return inbound.verify === 'require'
    ? `rule ${rule} wants a good signature (verify: require): ${reason}`
    : `rule ${rule} does not deliver what is signed badly (onBadSignature): ${reason}`
}

/** What became of the encryption of a message. */
export type SeenEncryption = keyof typeof ENCRYPTION

function badSignature({ onBadSignature }: InboundWish): string {
  if (typeof onBadSignature === 'object')
    return `one with a bad signature goes to next hop ${onBadSignature.route}`
  return onBadSignature === 'reject'
    ? 'one with a bad signature is refused (550), unless it came encrypted'
    : 'one with a bad signature is delivered all the same'
}

const DELIVER: InboundConclusion = { kind: 'deliver' }
const NOT_SIGNED_WELL = 'it bears no good signature'

const VERIFY = {
  never: 'signatures are not looked at',
  stamp: 'its signature is verified, and the verdict stamped on it',
  require: 'it is refused without a good signature (550, or 451 where that cannot be told now)',
} as const satisfies Record<InboundWish['verify'], string>

const DECRYPT = {
  never: 'what is encrypted stays so',
  'when-possible': 'it is opened, where one of our keys can',
} as const satisfies Record<InboundWish['decrypt'], string>

const UNAUTHENTICATED = {
  strict: 'cipher text that nothing vouches for is opened only if no octet in it is out of place',
  deliver: 'cipher text that nothing vouches for is opened all the same',
  defuse: 'cipher text that nothing vouches for is opened, with remote references made harmless',
} as const satisfies Record<InboundWish['unauthenticated'], string>

const ENCRYPTION = {
  none: undefined,
  'not-looked-at': undefined,
  left: 'it came encrypted, and nobody wishes it opened',
  opened: 'it came encrypted, and is opened',
  unauthenticated: 'it came encrypted, and is opened, although nothing vouches for its content',
  'no-key': 'it came encrypted, and its recipient has no key that opens it',
  failed: 'it came encrypted, and the key that it names does not open it',
  unreadable: 'it came encrypted in a way that is not read here',
  refused: 'it came encrypted, and stays so, for what is in it is not fit to leave',
} as const satisfies Readonly<Record<string, string | undefined>>
