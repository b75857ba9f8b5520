/**
 * Rules: conditions, and the wish that they lead to.
 *
 *     text ── configuration ──▶ RuleSpec ── compileRules ──▶ Rule: facts → does it match?
 *
 * @module
 */
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { Direction, Facts, MessageClass } from './facts.ts'
import {
  compileMailboxPattern,
  compileWildcard,
  compileWords,
  rememberLast,
  type TextTest,
} from './pattern.ts'
import {
  type FieldPlace,
  INBOUND_BY_DEFAULT,
  NO_RULE_NAME,
  type Wish,
  type WishSpec,
} from './treatment.ts'

/** A rule as it stands in the configuration, checked and with its defaults filled in. */
export interface RuleSpec {
  readonly name: string
  readonly when: ConditionSpec
  /** `then` of the rule. */
  readonly wish: WishSpec
}

/** `when`: all keys must hold; of a list one is enough. Absent means: whatever it is. */
export interface ConditionSpec {
  readonly direction?: readonly Direction[] | undefined
  /** Patterns for the reverse-path: `compileMailboxPattern`. */
  readonly sender?: readonly string[] | undefined
  /** Patterns for the forward-path. */
  readonly recipient?: readonly string[] | undefined
  /** Words; one that is found is taken out of the subject of what is treated. */
  readonly subject?: readonly string[] | undefined
  /** Field name to patterns in which `*` is any text; all fields must be there and match. */
  readonly header?: Readonly<Record<string, readonly string[]>> | undefined
  readonly authenticated?: boolean | undefined
  /** Addresses and networks, `192.0.2.0/24`. */
  readonly client?: readonly string[] | undefined
  readonly size?: readonly SizeBound[] | undefined
  readonly class?: readonly MessageClass[] | undefined
}

/** `>10MiB`. */
export interface SizeBound {
  readonly relation: '<' | '<=' | '>' | '>='
  readonly octets: number
}

/** A rule, ready to be asked. */
export interface Rule {
  readonly name: string
  matches(facts: Facts): boolean
  readonly wish: Wish
  /** The word of the `subject` condition that the facts bear. */
  keyword(facts: Facts): string | undefined
  /** The X- fields by which the `header` condition holds. */
  triggerFields(facts: Facts): readonly FieldPlace[]
}

/** The facts of a recipient that are known when the envelope names it. */
export type KnownAtRcpt = Pick<Facts, 'direction' | 'recipient'>

/** All rules, in the order of the file. */
export interface Ruleset {
  readonly inOrder: readonly Rule[]
  /** The wish where no rule matches: the message passes as it is. */
  readonly otherwise: Wish
  /** Whether a rule asks for a class that shows only in the parts of a message. */
  readonly needsStructure: boolean
  /**
   * Whether a rule may wish encryption to this recipient, so that its certificate may be asked for
   * before the message is there. Whoever runs a source learns to whom we write, and nobody else's
   * business is theirs.
   */
  mayEncrypt(recipient: KnownAtRcpt): boolean
  /** Lower-case names of the fields that rules ask for. */
  readonly fieldNames: ReadonlySet<string>
}

/** Compiles rules once, so that asking them for each recipient costs next to nothing. */
export function compileRules(specs: readonly RuleSpec[]): Ruleset {
  return {
    inOrder: specs.map(compileRule),
    otherwise: NO_RULE,
    mayEncrypt: anyOf(specs.filter(({ wish }) => wish.encrypt !== 'never')),
    needsStructure: specs.some(spec => spec.when.class?.includes('calendar')),
    fieldNames: new Set(
      specs.flatMap(spec => Object.keys(spec.when.header ?? {}).map(name => name.toLowerCase())),
    ),
  }
}

/** Whether one of these rules may match, going by the recipient alone. */
function anyOf(specs: readonly RuleSpec[]): (recipient: KnownAtRcpt) => boolean {
  const rules = specs.map(({ when }) => [...recipientConditions(when)])
  return recipient => rules.some(conditions => conditions.every(holds => holds(recipient)))
}

function compileRule({ name, when, wish }: RuleSpec): Rule {
  const wordOf = when.subject && rememberLast(compileWords(when.subject))
  const fields = Object.entries(when.header ?? {}).map(entry => fieldTest(...entry))
  const triggers = fields.filter(({ name }) => name.startsWith('x-'))
  const triggersIn = rememberLast((header: Facts['header']) =>
    triggers.flatMap(({ placesIn }) => placesIn(header)),
  )
  const conditions = [...conditionsOf(when)]
  for (const { placesIn } of fields) conditions.push(facts => placesIn(facts.header).length > 0)
  if (wordOf) conditions.push(facts => wordOf(facts.subject) !== undefined)
  return {
    name,
    matches: facts => conditions.every(holds => holds(facts)),
    wish: { rule: name, ...wish },
    keyword: facts => wordOf?.(facts.subject),
    triggerFields: facts => triggersIn(facts.header),
  }
}

type Condition = (facts: Facts) => boolean

function* conditionsOf(when: ConditionSpec): Generator<Condition> {
  const { sender, authenticated, client, size } = when
  yield* recipientConditions(when)
  if (authenticated !== undefined) yield facts => facts.authenticated === authenticated
  if (size) yield facts => size.some(bound => isWithin(facts.sizeOctets, bound))
  if (when.class) yield facts => when.class!.some(name => facts.classes.has(name))
  if (client) yield clientCondition(client)
  if (sender) yield mailboxCondition<Facts>(sender, facts => facts.sender)
}

function* recipientConditions({
  direction,
  recipient,
}: ConditionSpec): Generator<(facts: KnownAtRcpt) => boolean> {
  if (direction) yield facts => direction.includes(facts.direction)
  if (recipient) yield mailboxCondition<KnownAtRcpt>(recipient, facts => facts.recipient)
}

function isWithin(octets: number, bound: SizeBound): boolean {
  switch (bound.relation) {
    case '<':
      return octets < bound.octets
    case '<=':
      return octets <= bound.octets
    case '>':
      return octets > bound.octets
    case '>=':
      return octets >= bound.octets
  }
}

function clientCondition(networks: readonly string[]): Condition {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', prefix] = network.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return ({ client }) => isIP(client) !== 0 && list.check(client, isIPv6(client) ? 'ipv6' : 'ipv4')
}

function mailboxCondition<T>(
  patterns: readonly string[],
  textOf: (facts: T) => string,
): (facts: T) => boolean {
  const tests = patterns.map(mailboxTest)
  return facts => tests.some(test => test(textOf(facts)))
}

/** @throws {TypeError} Where the pattern is none; the configuration has asked before. */
function mailboxTest(pattern: string): TextTest {
  const test = compileMailboxPattern(pattern)
  if (test === undefined) throw new TypeError(`${JSON.stringify(pattern)} is no mailbox pattern`)
  return test
}

/** Finds the fields of a name that match one of the patterns. */
interface FieldTest {
  readonly name: string
  readonly placesIn: (header: Facts['header']) => readonly FieldPlace[]
}

function fieldTest(written: string, patterns: readonly string[]): FieldTest {
  const name = written.toLowerCase()
  const tests = patterns.map(compileWildcard)
  return {
    name,
    placesIn: rememberLast(header =>
      (header.get(name) ?? []).flatMap((body, at) =>
        tests.some(test => test(body)) ? [{ name, at }] : [],
      ),
    ),
  }
}

const NO_RULE: Wish = {
  rule: NO_RULE_NAME,
  sign: 'never',
  encrypt: 'never',
  signature: 'clear',
  profile: 'compatible',
  otherwise: 'reject',
  encryptToAuthor: false,
  inbound: INBOUND_BY_DEFAULT,
}
