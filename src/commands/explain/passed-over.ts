/**
 * Which rules were tried before the one that decided, and which of their conditions do not hold.
 *
 * @module
 */
import type { Facts } from '../../policy/facts.ts'
import { type ConditionSpec, compileRules, type RuleSpec } from '../../policy/rule.ts'

/** A rule that does not apply. */
export interface PassedOver {
  readonly rule: string
  /** Those of its conditions that do not hold, as they are written: `subject`, `header X-Wish`. */
  readonly conditions: readonly string[]
}

/**
 * Tells of every rule ahead of the one that decided; of all where none did.
 *
 * @param rule Name of the one that decided.
 */
export function passedOver(
  rules: readonly RuleSpec[],
  rule: string,
  facts: Facts,
): readonly PassedOver[] {
  const at = rules.findIndex(({ name }) => name === rule)
  const ahead = at < 0 ? rules : rules.slice(0, at)
  return ahead.map(({ name, when, wish }) => {
    const failing = eachOf(when).filter(
      ([, one]) => !compileRules([{ name, when: one, wish }]).inOrder[0]!.matches(facts),
    )
    return { rule: name, conditions: failing.map(([condition]) => condition) }
  })
}

/** Each condition of a rule on its own, by its name. */
function eachOf({ header = {}, ...others }: ConditionSpec): readonly [string, ConditionSpec][] {
  return [
    ...Object.entries(others)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]): [string, ConditionSpec] => [key, { [key]: value }]),
    ...Object.entries(header).map(([name, patterns]): [string, ConditionSpec] => [
      `header ${name}`,
      { header: { [name]: patterns } },
    ]),
  ]
}
