/** Every cell of the tables of decide.ts, written as a manual would show them. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { asksForSigner, conclude, decide, explainTreatment } from '../../src/policy/decide.ts'
import { MESSAGE_CLASSES, type MessageClass } from '../../src/policy/facts.ts'
import { compileRules, type RuleSpec } from '../../src/policy/rule.ts'
import type { Degree, Otherwise, SignerFinding, Wish } from '../../src/policy/treatment.ts'
import { facts, rule } from './samples.ts'

const DEGREES: readonly Degree[] = ['never', 'when-possible', 'always']
const SIGNERS: readonly SignerFinding[] = [
  { kind: 'found', identity: 'ann@example.test' },
  { kind: 'none', reason: 'no identity bears ann@example.test' },
  { kind: 'unusable', reason: 'the certificate of ann@example.test has expired' },
]
const wish = (part: Partial<Wish>): Wish => ({
  rule: 'r',
  sign: 'never',
  encrypt: 'never',
  signature: 'clear',
  otherwise: 'reject',
  ...part,
})
const none: ReadonlySet<MessageClass> = new Set()

describe('conclude: signing', () => {
  test.each([
    ['never', 'found', 'relay'],
    ['never', 'none', 'relay'],
    ['never', 'unusable', 'relay'],
    ['when-possible', 'found', 'sign'],
    ['when-possible', 'none', 'relay'],
    ['when-possible', 'unusable', 'relay'],
    ['always', 'found', 'sign'],
    ['always', 'none', 'reject'],
    ['always', 'unusable', 'reject'],
  ] as const)('sign %s, identity %s: %s', (sign, kind, outcome) => {
    const signer = SIGNERS.find(finding => finding.kind === kind)!
    expect(conclude(wish({ sign }), none, signer).kind).toBe(outcome)
  })

  test.each(['clear', 'opaque'] as const)(
    'the signature is %s where the rule says so',
    signature => {
      const treatment = conclude(wish({ sign: 'always', signature }), none, SIGNERS[0]!)
      expect(treatment).toEqual({ kind: 'sign', signature })
    },
  )

  test.each([
    ['reject', { kind: 'reject', cause: 'no-signing-key' }],
    ['defer', { kind: 'defer', cause: 'no-signing-key' }],
    [{ route: 'portal' }, { kind: 'route', nextHop: 'portal' }],
  ] as const)('always that cannot be met, otherwise %j', (otherwise, expected) => {
    const treatment = conclude(wish({ sign: 'always', otherwise }), none, SIGNERS[2]!)
    expect(treatment).toEqual({ ...expected, reason: expect.stringContaining('has expired') })
  })
})

describe('conclude: what must not be touched', () => {
  const untouchable = ['signed', 'encrypted', 'smime', 'pgp', 'report'] as const
  test.each(untouchable.flatMap(name => DEGREES.map(sign => [name, sign] as const)))(
    '%s passes byte for byte, sign %s',
    (name, sign) => {
      for (const signer of SIGNERS)
        expect(conclude(wish({ sign }), new Set([name]), signer)).toEqual({
          kind: 'relay',
          reason: expect.stringMatching(/^it is /),
        })
    },
  )

  test.each(['calendar', 'auto-reply', 'list'] as const)('%s is signed as any other', name => {
    const treatment = conclude(wish({ sign: 'always' }), new Set([name]), SIGNERS[0]!)
    expect(treatment.kind).toBe('sign')
  })
})

describe('conclude: encryption, as long as there is none', () => {
  test.each([
    ['never', 'clear', 'sign'],
    ['never', 'encrypted', 'relay'],
    ['when-possible', 'clear', 'sign'],
    ['when-possible', 'encrypted', 'relay'],
    ['always', 'clear', 'reject'],
    ['always', 'encrypted', 'relay'],
  ] as const)('encrypt %s, the message %s: %s', (encrypt, state, outcome) => {
    const classes = new Set<MessageClass>(state === 'encrypted' ? ['encrypted'] : [])
    const treatment = conclude(wish({ sign: 'always', encrypt }), classes, SIGNERS[0]!)
    expect(treatment.kind).toBe(outcome)
  })

  test('B69 encrypt always never leads to a message in clear, whatever else is so', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...DEGREES),
        fc.constantFrom<Otherwise>('reject', 'defer', { route: 'portal' }),
        fc.constantFrom(...SIGNERS),
        fc.uniqueArray(fc.constantFrom(...MESSAGE_CLASSES)),
        (sign, otherwise, signer, names) => {
          const classes = new Set(names)
          const { kind } = conclude(wish({ sign, encrypt: 'always', otherwise }), classes, signer)
          const allowed = classes.has('encrypted') ? ['relay'] : ['reject', 'defer', 'route']
          expect(allowed).toContain(kind)
        },
      ),
    )
  })

  test('a refusal for want of encryption has its own cause', () => {
    expect(conclude(wish({ encrypt: 'always', otherwise: 'defer' }), none, SIGNERS[0]!)).toEqual({
      kind: 'defer',
      cause: 'encryption-not-available',
      reason: expect.stringContaining('encryption'),
    })
  })
})

test('asksForSigner is true exactly where the finding makes a difference', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...DEGREES),
      fc.constantFrom(...DEGREES),
      fc.uniqueArray(fc.constantFrom(...MESSAGE_CLASSES)),
      (sign, encrypt, names) => {
        const classes = new Set(names)
        const kinds = SIGNERS.map(signer => conclude(wish({ sign, encrypt }), classes, signer).kind)
        expect(asksForSigner(wish({ sign, encrypt }), classes)).toBe(new Set(kinds).size > 1)
      },
    ),
  )
})

describe('explainTreatment', () => {
  test('a signature names rule and identity, and what would change it', () => {
    expect(explainTreatment(wish({ sign: 'always' }), none, SIGNERS[0]!)).toEqual({
      action: 'sign (clear)',
      reason: 'rule r signs always, with identity ann@example.test',
      change: ['with sign: never in rule r it would pass unsigned'],
    })
  })

  test('a refusal names what is missing', () => {
    expect(explainTreatment(wish({ sign: 'always' }), none, SIGNERS[1]!)).toEqual({
      action: 'refuse for good (550)',
      reason: 'no identity bears ann@example.test',
      change: [
        'with a usable identity for its author it would be signed',
        'with sign: when-possible in rule r it would pass unsigned',
      ],
    })
  })

  test('no rule at all', () => {
    const explanation = explainTreatment(wish({ rule: '(no rule)' }), none, SIGNERS[1]!)
    expect(explanation.reason).toBe('no rule matches')
    expect(explanation.change).toEqual(['a rule whose conditions hold would decide instead'])
  })

  test('every treatment has a reason, and only the untouchable nothing that would change it', () => {
    for (const sign of DEGREES)
      for (const encrypt of DEGREES)
        for (const signer of SIGNERS)
          for (const name of [undefined, ...MESSAGE_CLASSES]) {
            const classes = new Set(name ? [name] : [])
            const explanation = explainTreatment(wish({ sign, encrypt }), classes, signer)
            expect(explanation.reason).not.toBe('')
            const relayed = /^it is /.test(explanation.reason)
            expect(explanation.change.length > 0).toBe(!relayed)
          }
  })
})

describe('decide', () => {
  test('the first rule that matches decides', () => {
    const rules = compileRules([
      rule('far', { recipient: ['*@far.test'] }),
      rule('out', { direction: ['outbound'] }),
      rule('all', {}),
    ])
    expect(decide(facts({ recipient: 'bob@far.test' }), rules).rule).toBe('far')
    expect(decide(facts({ recipient: 'bob@near.test' }), rules).rule).toBe('out')
    expect(decide(facts({ direction: 'inbound' }), rules).rule).toBe('all')
  })

  test('where none matches, nothing is wished', () => {
    expect(decide(facts({}), compileRules([]))).toEqual({
      rule: '(no rule)',
      sign: 'never',
      encrypt: 'never',
      signature: 'clear',
      otherwise: 'reject',
    })
  })

  test('the word that matched is to be removed, as the configuration spells it', () => {
    const rules = compileRules([rule('k', { subject: ['[Encrypt]', '[sign]'] })])
    expect(decide(facts({ subject: 'Re: [SIGN] plan' }), rules).removeFromSubject).toBe('[sign]')
    expect(decide(facts({ subject: 'plan' }), rules).rule).toBe('(no rule)')
    expect(decide(facts({}), compileRules([rule('a', {})]))).not.toHaveProperty('removeFromSubject')
  })

  const specs: fc.Arbitrary<RuleSpec[]> = fc
    .array(
      fc.record({
        direction: fc.option(fc.constantFrom('inbound' as const, 'outbound' as const)),
        subject: fc.option(fc.constantFrom('a', 'b', 'c')),
        octets: fc.option(fc.nat(100)),
      }),
      { maxLength: 8 },
    )
    .map(list =>
      list.map(({ direction, subject, octets }, index) =>
        rule(`r${index}`, {
          ...(direction && { direction: [direction] }),
          ...(subject && { subject: [subject] }),
          ...(octets !== null && { size: [{ relation: '>' as const, octets }] }),
        }),
      ),
    )
  const someFacts = fc
    .record({
      direction: fc.constantFrom('inbound' as const, 'outbound' as const),
      subject: fc.constantFrom('', 'a', 'ab', 'abc', 'c'),
      sizeOctets: fc.nat(120),
    })
    .map(facts)

  test('property: of all rules that match alone, the first decides', () => {
    fc.assert(
      fc.property(specs, someFacts, (list, what) => {
        const alone = list.find(spec => compileRules([spec]).inOrder[0]!.matches(what))
        expect(decide(what, compileRules(list)).rule).toBe(alone?.name ?? '(no rule)')
      }),
    )
  })

  test('property: what was asked before changes nothing', () => {
    fc.assert(
      fc.property(specs, fc.array(someFacts, { minLength: 1 }), (list, history) => {
        const rules = compileRules(list)
        const answers = history.map(what => decide(what, rules))
        history.reverse().forEach((what, index) => {
          expect(decide(what, rules)).toEqual(answers.at(-1 - index))
          expect(decide(what, compileRules(list))).toEqual(answers.at(-1 - index))
        })
      }),
    )
  })
})
