/** What follows from a verdict, cell by cell, and what a reply may tell of what came encrypted. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  concludeInbound,
  explainInbound,
  type InboundConclusion,
  inboundReason,
  inboundRefusal,
} from '../../src/policy/inbound.ts'
import { INBOUND_BY_DEFAULT, type InboundWish, NO_RULE_NAME } from '../../src/policy/treatment.ts'
import type { VerdictResult } from '../../src/policy/verdict.ts'

const RESULTS: readonly VerdictResult[] = [
  'none',
  'pass',
  'fail',
  'neutral',
  'policy',
  'temperror',
  'permerror',
]
const CONSEQUENCES = ['deliver', 'reject', { route: 'review' }] as const
const wish = (part: Partial<InboundWish>) => ({
  rule: 'r',
  inbound: { ...INBOUND_BY_DEFAULT, ...part },
})
const conclude = (
  part: Partial<InboundWish>,
  result: VerdictResult,
  cameEncrypted = false,
): InboundConclusion => concludeInbound(wish(part), { result, reason: 'why' }, cameEncrypted)

describe('verify: never and verify: stamp deliver', () => {
  test.each(RESULTS)('%s', result => {
    expect(conclude({ verify: 'never', onBadSignature: 'reject' }, result)).toEqual(DELIVERED)
    expect(conclude({ verify: 'stamp' }, result)).toEqual(DELIVERED)
    expect(conclude({}, result)).toEqual(DELIVERED)
  })
})

describe('verify: stamp, onBadSignature', () => {
  test.each([
    ['none', false],
    ['pass', false],
    ['neutral', false],
    ['temperror', false],
    ['fail', true],
    ['policy', true],
    ['permerror', true],
  ] as const)('%s is bad: %s', (result, isBad) => {
    expect(conclude({ onBadSignature: 'reject' }, result)).toEqual(
      isBad ? { kind: 'reject', cause: 'bad-signature', reason: 'why' } : DELIVERED,
    )
    expect(conclude({ onBadSignature: { route: 'review' } }, result)).toEqual(
      isBad
        ? { kind: 'route', nextHop: 'review', cause: 'bad-signature', reason: 'why' }
        : DELIVERED,
    )
  })
})

describe('verify: require', () => {
  test.each([
    ['none', 'reject', 'signature-required'],
    ['neutral', 'reject', 'signature-required'],
    ['temperror', 'defer', 'signature-required'],
    ['fail', 'reject', 'bad-signature'],
    ['policy', 'reject', 'bad-signature'],
    ['permerror', 'reject', 'bad-signature'],
  ] as const)('%s: %s, %s', (result, kind, cause) => {
    for (const onBadSignature of CONSEQUENCES)
      expect(conclude({ verify: 'require', onBadSignature }, result)).toEqual({
        kind,
        cause,
        reason: 'why',
      })
  })

  test('pass, and nothing else, is delivered', () => {
    for (const cameEncrypted of [false, true])
      for (const result of RESULTS)
        expect(conclude({ verify: 'require' }, result, cameEncrypted).kind === 'deliver').toBe(
          result === 'pass',
        )
  })
})

describe('B5 what came encrypted', () => {
  test('B5 whatever was seen in it that is not good, by whatever reason: the same refusal', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('none', 'fail', 'neutral', 'policy', 'permerror'),
        fc.string(),
        (result, reason) => {
          const judged = { result, reason }
          expect(concludeInbound(wish({ verify: 'require' }), judged, true)).toEqual({
            kind: 'reject',
            cause: 'signature-required',
            reason: 'it bears no good signature',
          })
        },
      ),
    )
  })

  test('B5 a bad signature in it is refused no more than what could not be opened', () => {
    for (const result of RESULTS)
      expect(conclude({ onBadSignature: 'reject' }, result, true)).toEqual(DELIVERED)
  })
})

describe('in words', () => {
  test('the defaults', () => {
    expect(explainInbound(wish({}))).toEqual([
      'its signature is verified, and the verdict stamped on it',
      'one with a bad signature is delivered all the same',
      'what is encrypted stays so',
    ])
  })

  test('everything else', () => {
    const everything: Partial<InboundWish> = {
      decrypt: 'when-possible',
      onBadSignature: { route: 'review' },
      unauthenticated: 'defuse',
      strip: 'signature',
    }
    expect(explainInbound(wish(everything))).toEqual([
      'its signature is verified, and the verdict stamped on it',
      'one with a bad signature goes to next hop review',
      'a signature that was good is taken off',
      'it is opened, where one of our keys can',
      'cipher text that nothing vouches for is opened, with remote references made harmless',
    ])
  })
})

describe('why', () => {
  const good = { result: 'pass', reason: 'signed by the author' } as const

  test('a message is delivered: what was seen in it', () => {
    expect(inboundReason(wish({}), good, 'none')).toBe('rule r: signed by the author')
    expect(inboundReason(wish({}), good, 'opened')).toBe(
      'rule r: it came encrypted, and is opened; signed by the author',
    )
    expect(inboundReason({ rule: NO_RULE_NAME }, good, 'none')).toBe(
      'no rule matches, and it is delivered: signed by the author',
    )
  })

  test('it is not: which option of the rule has it so', () => {
    const bad = { result: 'fail', reason: 'altered' } as const
    expect(inboundRefusal(wish({ verify: 'require' }), bad)).toBe(
      'rule r wants a good signature (verify: require): altered',
    )
    expect(inboundRefusal(wish({ onBadSignature: 'reject' }), bad)).toMatch(
      /^rule r .*\(onBadSignature\): altered$/,
    )
  })
})

const DELIVERED = { kind: 'deliver' }
