/** Conditions: each key of `when`, what it takes and what it does not. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decide } from '../../src/policy/decide.ts'
import type { Facts } from '../../src/policy/facts.ts'
import { compileMailboxPattern, compileWildcard } from '../../src/policy/pattern.ts'
import { type ConditionSpec, compileRules, type RuleSpec } from '../../src/policy/rule.ts'
import type { Degree } from '../../src/policy/treatment.ts'
import { facts, rule } from './samples.ts'

const matches = (when: ConditionSpec, what: Partial<Facts>): boolean =>
  compileRules([rule('r', when)]).inOrder[0]!.matches(facts(what))

const header = new Map([
  ['sensitivity', ['Company-Confidential']],
  ['x-tag', ['one', 'two; level=3']],
])

test.each<[ConditionSpec, Partial<Facts>, boolean]>([
  [{}, {}, true],
  [{ direction: ['outbound'] }, { direction: 'outbound' }, true],
  [{ direction: ['outbound'] }, { direction: 'inbound' }, false],
  [{ direction: ['outbound', 'inbound'] }, { direction: 'inbound' }, true],
  [{ sender: ['ann@example.test'] }, { sender: 'ann@example.test' }, true],
  [{ sender: ['Ann@EXAMPLE.test'] }, { sender: 'aNN@example.test' }, true],
  [{ sender: ['ann@example.test'] }, { sender: 'joann@example.test' }, false],
  [{ sender: ['<>'] }, { sender: '' }, true],
  [{ sender: ['<>'] }, { sender: 'ann@example.test' }, false],
  [{ sender: ['*@example.test'] }, { sender: '' }, false],
  [{ recipient: ['*@partner.test'] }, { recipient: 'bob@partner.test' }, true],
  [{ recipient: ['*@partner.test'] }, { recipient: 'bob@sub.partner.test' }, false],
  [{ recipient: ['*@partner.test'] }, { recipient: 'bob@notpartner.test' }, false],
  [{ recipient: ['*@*.partner.test'] }, { recipient: 'bob@partner.test' }, false],
  [{ recipient: ['*@*.partner.test'] }, { recipient: 'bob@a.partner.test' }, true],
  [{ recipient: ['*@*.partner.test'] }, { recipient: 'bob@a.b.partner.test' }, true],
  [{ recipient: ['*@*.partner.test'] }, { recipient: 'bob@apartner.test' }, false],
  [{ recipient: ['*@*.partner.test'] }, { recipient: '"x.partner.test"@evil.test' }, false],
  [{ recipient: ['*@*.partner.test'] }, { recipient: 'x.partner.test' }, false],
  [{ recipient: ['*@bücher.test'] }, { recipient: 'bob@xn--bcher-kva.test' }, true],
  [{ recipient: ['a@b.test', '*@c.test'] }, { recipient: 'x@c.test' }, true],
  [{ subject: ['[encrypt]'] }, { subject: 'Re: [Encrypt] plan' }, true],
  [{ subject: ['[encrypt]'] }, { subject: 'encrypt this' }, false],
  [{ header: { Sensitivity: ['company-confidential'] } }, { header }, true],
  [{ header: { SENSITIVITY: ['company-*'] } }, { header }, true],
  [{ header: { Sensitivity: ['company'] } }, { header }, false],
  [{ header: { 'X-Tag': ['*level=3'] } }, { header }, true],
  [{ header: { 'X-Tag': ['*'] } }, { header }, true],
  [{ header: { 'X-Other': ['*'] } }, { header }, false],
  [{ header: { 'X-Tag': ['one'], Sensitivity: ['private'] } }, { header }, false],
  [{ authenticated: true }, { authenticated: true }, true],
  [{ authenticated: true }, { authenticated: false }, false],
  [{ authenticated: false }, { authenticated: false }, true],
  [{ client: ['192.0.2.0/24'] }, { client: '192.0.2.77' }, true],
  [{ client: ['192.0.2.0/24'] }, { client: '192.0.3.1' }, false],
  [{ client: ['192.0.2.0/24', '2001:db8::/32'] }, { client: '2001:db8::1' }, true],
  [{ client: ['192.0.2.7'] }, { client: '192.0.2.7' }, true],
  [{ client: ['192.0.2.7'] }, { client: 'unknown' }, false],
  [{ size: [{ relation: '>', octets: 4096 }] }, {}, false],
  [{ size: [{ relation: '>=', octets: 4096 }] }, {}, true],
  [{ size: [{ relation: '<', octets: 4096 }] }, {}, false],
  [{ size: [{ relation: '<=', octets: 4096 }] }, {}, true],
  [
    {
      size: [
        { relation: '<', octets: 10 },
        { relation: '>', octets: 4000 },
      ],
    },
    {},
    true,
  ],
  [{ class: ['calendar', 'report'] }, { classes: new Set(['report']) }, true],
  [{ class: ['calendar', 'report'] }, { classes: new Set(['list']) }, false],
  [{ direction: ['outbound'], subject: ['x'] }, { subject: 'x' }, true],
  [{ direction: ['inbound'], subject: ['x'] }, { subject: 'x' }, false],
])('%j and %j: %s', (when, what, expected) => {
  expect(matches(when, what)).toBe(expected)
})

test.each([
  'ann',
  '@example.test',
  '*',
  'a*@example.test',
  'ann@*.example.test',
  '*@*',
  '*@[192.0.2.1]',
  'ann@exa mple.test',
  '*@example..test',
  '*@127.1',
  '',
])('%j is no mailbox pattern', pattern => {
  expect(compileMailboxPattern(pattern)).toBeUndefined()
})

describe('wildcards', () => {
  test('property: the same as the regular expression that nobody should run on a stranger', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 })
    fc.assert(
      fc.property(pattern, text, (wild, what) => {
        const pieces = wild.split('*').map(piece => piece.replaceAll('.', '\\.'))
        const expected = new RegExp(`^${pieces.join('.*')}$`).test(what)
        expect(compileWildcard(wild)(what)).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })

  test.each([
    ['a*a', 'a', false],
    ['ab*ba', 'aba', false],
    ['**', '', true],
    ['', '', true],
    ['', 'a', false],
  ])('%j on %j: %s', (pattern, what, expected) => {
    expect(compileWildcard(pattern)(what)).toBe(expected)
  })
})

test('what only some rules need is told', () => {
  const rules = compileRules([rule('a', { header: { 'X-A': ['*'], Sensitivity: ['*'] } })])
  expect(rules.needsStructure).toBe(false)
  expect([...rules.fieldNames]).toEqual(['x-a', 'sensitivity'])
  expect(compileRules([rule('c', { class: ['calendar'] })]).needsStructure).toBe(true)
})

describe('B59 time grows with the length of what a stranger writes, and no faster', () => {
  const hostile = (octets: number): readonly Facts[] => {
    const text = 'a'.repeat(octets)
    const shared = { subject: text, header: new Map([['x-tag', [text, `${text}b`]]]) }
    return Array.from({ length: 1000 }, (_, index) =>
      facts({ ...shared, recipient: `r${index}@partner.test` }),
    )
  }
  const rules = compileRules(
    Array.from({ length: 20 }, (_, index) =>
      rule(`r${index}`, {
        subject: [`${'a'.repeat(40)}b${index}`],
        header: { 'X-Tag': [`*${'a*'.repeat(60)}c`, `*${'a'.repeat(40)}c*`] },
      }),
    ),
  )

  test('B59 1 MiB of hostile fields, 20 rules, 1000 recipients: within half a second', () => {
    const start = process.cpuUsage()
    for (const what of hostile(1024 * 1024)) expect(decide(what, rules).rule).toBe('(no rule)')
    const { user, system } = process.cpuUsage(start)
    expect((user + system) / 1000).toBeLessThan(500)
  })
})

test('a certificate is asked for early where a rule may encrypt to that recipient, and not else', () => {
  const spec = (when: ConditionSpec, encrypt: Degree): RuleSpec => {
    const plain = rule('e', when)
    return { ...plain, wish: { ...plain.wish, encrypt } }
  }
  const partner = { direction: ['outbound'], recipient: ['*@partner.test'] } as const
  const rules = compileRules([
    spec({ ...partner, subject: ['[encrypt]'], size: [{ relation: '<', octets: 9 }] }, 'always'),
    spec({}, 'never'),
  ])
  const asks = (direction: 'inbound' | 'outbound', recipient: string) =>
    rules.mayEncrypt({ direction, recipient })
  expect(asks('outbound', 'ann@partner.test')).toBe(true)
  expect(asks('outbound', 'ann@other.test')).toBe(false)
  expect(asks('inbound', 'ann@partner.test')).toBe(false)
  const all = compileRules([spec({}, 'when-possible')])
  expect(all.mayEncrypt({ direction: 'inbound', recipient: 'ann@partner.test' })).toBe(true)
})
