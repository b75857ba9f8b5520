/**
 * What is to be said of rules beyond each option: whether their words go together, whether what they
 * promise can be had, and whether they are ever reached.
 *
 * @module
 */
import type { ConfigPath } from './fault.ts'
import type { Finding, Findings, PartialConfig } from './findings.ts'

/** @param wholeRules Whether all rules are as they were written; else nothing is said of their order. */
export function* checkRules(
  config: PartialConfig,
  wholeRules: boolean,
  at: Findings,
): Generator<Finding> {
  for (const [index, rule] of (config.rules ?? []).entries())
    if (rule) yield* checkRule(rule, ['rules', index], config, at)
  yield* checkNames(config, at)
  if (wholeRules) yield* checkOrder(config, at)
  yield* checkEncryption(config, at)
  yield* checkInbound(config, at)
}

type Rule = NonNullable<NonNullable<PartialConfig['rules']>[number]>
type Then = NonNullable<Rule['then']>

function* checkRule(
  rule: Rule,
  path: ConfigPath,
  config: PartialConfig,
  at: Findings,
): Generator<Finding> {
  const { sign, encrypt, otherwise, onBadSignature, encryptToAuthor } = rule.then ?? {}
  if (encryptToAuthor && encrypt === 'never')
    yield at.fault(
      [...path, 'then', 'encryptToAuthor'],
      'has no effect: nothing is encrypted here',
      'set encrypt to when-possible or always, or take encryptToAuthor out',
    )
  if (otherwise !== undefined && sign !== undefined && encrypt !== undefined)
    if (sign !== 'always' && encrypt !== 'always')
      yield at.fault(
        [...path, 'then', 'otherwise'],
        'has no effect: nothing here is asked for always',
        'set sign or encrypt to always, or take otherwise out',
      )
  for (const [key, target] of [
    ['otherwise', otherwise],
    ['onBadSignature', onBadSignature],
  ] as const)
    if (typeof target === 'object' && target.route !== undefined)
      yield* checkRoute(target.route, [...path, 'then', key, 'route'], config, at)
  if (config.identities?.length !== 0) return
  if (sign === 'always')
    yield at.fault(
      [...path, 'then', 'sign'],
      'cannot be met: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
  if (sign === 'when-possible')
    yield at.warning(
      [...path, 'then', 'sign'],
      'is never possible: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
}

function* checkRoute(
  name: string,
  path: ConfigPath,
  { nextHop }: PartialConfig,
  at: Findings,
): Generator<Finding> {
  if (nextHop === undefined || Object.hasOwn(nextHop, name)) return
  yield at.fault(
    path,
    'is no next hop',
    `add it under nextHop, or name one of ${Object.keys(nextHop).join(', ')}`,
  )
}

function* checkNames({ rules = [] }: PartialConfig, at: Findings): Generator<Finding> {
  const names = new Map<string, number>()
  for (const [index, rule] of rules.entries()) {
    if (rule?.name === undefined) continue
    const first = names.get(rule.name)
    if (first !== undefined)
      yield at.fault(
        ['rules', index, 'name'],
        `is the name of rules[${first}] already`,
        'give each rule a name of its own: traces tell them apart by it',
      )
    else names.set(rule.name, index)
  }
}

/**
 * YAML takes brackets for a list: `subject: [encrypt]` waits for the bare word, anywhere in a subject, and
 * takes it out of every sentence that holds it.
 *
 * @param written The configuration as YAML has it.
 */
export function* checkBrackets(written: unknown, at: Findings): Generator<Finding> {
  const { rules } = (written ?? {}) as { readonly rules?: unknown }
  if (!Array.isArray(rules)) return
  for (const [index, rule] of rules.entries()) {
    const subject: unknown = rule?.when?.subject
    if (!Array.isArray(subject) || subject.length !== 1 || !isBareWord(subject[0])) continue
    yield at.warning(
      ['rules', index, 'when', 'subject'],
      'waits for the word without brackets, which YAML takes for a list',
      'write "[word]" in quotes where the brackets stand in the subject, else the word alone',
    )
  }
}

function isBareWord(word: unknown): boolean {
  return typeof word === 'string' && !word.startsWith('[')
}

/** A rule that an earlier one always decides for is a mistake in the order. */
function* checkOrder({ rules = [] }: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of rules.entries()) {
    const earlier = rules.slice(0, index)
    const covers = ['inbound', 'outbound'].map(direction =>
      isForDirection(rule, direction)
        ? earlier.findIndex(other => isForDirection(other, direction) && covered(rule, other))
        : undefined,
    )
    if (covers.includes(-1)) continue
    const names = new Set(covers.flatMap(other => (other === undefined ? [] : [`rules[${other}]`])))
    const verb = names.size === 1 ? 'matches' : 'match'
    yield at.warning(
      ['rules', index],
      `is never reached: ${[...names].join(' and ')} always ${verb} first`,
      'move it up, or take it out',
      'nothing',
    )
  }
}

function isForDirection(rule: Rule | undefined, direction: string): boolean {
  const directions: readonly (string | undefined)[] | undefined = rule?.when?.direction
  return directions?.includes(direction) ?? true
}

/** Whether all that a rule takes, its direction aside, is taken by the other one too. */
function covered(rule: Rule | undefined, other: Rule | undefined): boolean {
  const when: Readonly<Record<string, unknown>> = rule?.when ?? {}
  return Object.entries(other?.when ?? {}).every(
    ([key, wanted]) =>
      key === 'direction' ||
      wanted === undefined ||
      (when[key] !== undefined && isWithin(when[key], wanted)),
  )
}

function isWithin(value: unknown, wanted: unknown): boolean {
  if (!Array.isArray(value) || !Array.isArray(wanted))
    return JSON.stringify(value) === JSON.stringify(wanted)
  const all = new Set(wanted.map(item => JSON.stringify(item)))
  return value.every(item => all.has(JSON.stringify(item)))
}

/** Encryption that is wished and can never be had. */
function* checkEncryption(config: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of (config.rules ?? []).entries()) {
    const path = ['rules', index, 'then', 'encrypt']
    if (rule?.then?.encrypt === undefined || rule.then.encrypt === 'never') continue
    if ((config.certificates?.length ?? 0) === 0)
      yield at.warning(path, 'has no source of certificates', 'add certificates: [{ files: … }]')
    if ((config.trust?.anchors?.length ?? 0) === 0)
      yield at.warning(
        path,
        'has nobody to believe: no certificate of a recipient will be usable',
        'add trust: { anchors: [trust/] } with the authorities of your partners',
      )
  }
}

/** What rules say of inbound mail. */
function* checkInbound(config: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of (config.rules ?? []).entries()) {
    const path = ['rules', index, 'then']
    const { then } = rule ?? {}
    if (!then) continue
    if (isForDirection(rule, 'inbound')) {
      yield* checkContradictions(then, path, at)
      yield* checkMeans(then, path, config, at)
    } else yield* checkInVain(then, path, at)
  }
}

/** Words beside each other of which one takes the sense from the other. */
function* checkContradictions(then: Then, path: ConfigPath, at: Findings): Generator<Finding> {
  const { verify, decrypt, onBadSignature, strip, unauthenticated } = then
  const badSignature = [...path, 'onBadSignature']
  if (verify === 'never' && onBadSignature !== undefined)
    yield at.fault(
      badSignature,
      'has no effect: with verify: never no signature is looked at',
      'set verify: stamp, or take onBadSignature out',
    )
  if (verify === 'require' && onBadSignature !== undefined && onBadSignature !== 'reject')
    yield at.fault(
      badSignature,
      'has no effect: with verify: require all is refused that has no good signature',
      'set verify: stamp, or take onBadSignature out',
    )
  if (verify === 'never' && strip === 'signature')
    yield at.fault(
      [...path, 'strip'],
      'has no effect: only a signature that was found good is taken off',
      'set verify: stamp or require, or take strip out',
    )
  if ((decrypt ?? 'never') === 'never' && unauthenticated !== undefined)
    yield at.fault(
      [...path, 'unauthenticated'],
      'has no effect: nothing is opened here',
      'set decrypt: when-possible, or take unauthenticated out',
    )
}

/** Whether there is what the words ask for. */
function* checkMeans(
  { verify, decrypt }: Then,
  path: ConfigPath,
  { identities, trust }: PartialConfig,
  at: Findings,
): Generator<Finding> {
  if (decrypt === 'when-possible' && identities?.length === 0)
    yield at.warning(
      [...path, 'decrypt'],
      'is never possible: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
  if ((verify === 'stamp' || verify === 'require') && (trust?.anchors?.length ?? 0) === 0)
    yield at.warning(
      [...path, 'verify'],
      'has nobody to believe: no signature will be good',
      'add trust: { anchors: [trust/] } with the authorities of your partners',
    )
}

function* checkInVain(then: Then, path: ConfigPath, at: Findings): Generator<Finding> {
  for (const key of ['decrypt', 'verify', 'onBadSignature', 'strip'] as const)
    if (then[key] !== undefined && !HARMLESS.has(then[key]))
      yield at.warning(
        [...path, key],
        'is about inbound mail, and this rule is for outbound mail alone',
        'put it into a rule with direction: inbound',
      )
}

/** Words that promise nothing, and so lead nobody astray where they have no effect. */
const HARMLESS: ReadonlySet<unknown> = new Set(['never', 'stamp', 'deliver', 'keep'])
