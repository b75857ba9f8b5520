/** Facts and rules to vary. @module */
import type { Facts } from '../../src/policy/facts.ts'
import type { ConditionSpec, RuleSpec } from '../../src/policy/rule.ts'
import { INBOUND_BY_DEFAULT, type WishSpec } from '../../src/policy/treatment.ts'

/** Facts of an outbound message of 4 KiB from Ann to Bob. */
export function facts(part: Partial<Facts>): Facts {
  return {
    direction: 'outbound',
    sender: 'ann@example.test',
    author: 'ann@example.test',
    recipient: 'bob@partner.test',
    subject: '',
    header: new Map(),
    authenticated: false,
    client: '127.0.0.1',
    sizeOctets: 4096,
    classes: new Set(),
    ...part,
  }
}

/** A rule that signs when possible. */
export function rule(name: string, when: ConditionSpec, wish: Partial<WishSpec> = {}): RuleSpec {
  return {
    name,
    when,
    wish: {
      sign: 'when-possible',
      encrypt: 'never',
      signature: 'clear',
      profile: 'compatible',
      otherwise: 'reject',
      encryptToAuthor: false,
      inbound: INBOUND_BY_DEFAULT,
      ...wish,
    },
  }
}
