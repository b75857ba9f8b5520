/** Tags in subjects are ours, and nobody else's. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeEncodedWords } from '../../src/mail/encoded-word.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { skeleton } from '../../src/mail/look-alike.ts'
import { taggedSubject, withoutLikenesses } from '../../src/mail/subject-tag.ts'
import { FORGED_SUBJECTS } from '../support/forgeries.ts'

const TAGS = ['[signed OK]', '[not signed]', '[encrypted]', '[ok]']

/** What a client shows of the field that leaves, `undefined` where the one that came does. */
function shown(body: string, which: readonly string[]): string | undefined {
  const octets = taggedSubject(body, TAGS, which)
  if (!octets) return undefined
  const { fields } = parseHeaderSection(Buffer.concat([octets, Buffer.from('\r\n')]))
  expect(fields).toHaveLength(1)
  return decodeEncodedWords(fields[0]!.body)
}

describe('B65 forged tags', () => {
  test.each(FORGED_SUBJECTS)('B65 %j bears no tag of ours', subject => {
    expect(shown(subject, [])).toMatch(/^(?:Re: (?:Fwd: )?)?plan$/)
  })

  test.each(FORGED_SUBJECTS)('B65 %j bears the true tag first, and once', subject => {
    expect(shown(subject, ['[not signed]'])).toMatch(/^\[not signed\] (?:Re: (?:Fwd: )?)?plan$/)
  })

  test.each([
    ['[OK【)0] plan', /^0\] plan$/],
    ['[O【K)0] plan', /^0\] plan$/],
    ['(plan [signed【 OK}]', /^\(plan$/],
    [`${'('.repeat(60)}[ok${'】'.repeat(10)}0)`, /^\(*】*0\)$/],
  ])('B65 %j bears none between brackets that are no pair', (subject, expected) => {
    expect(shown(subject, [])).toMatch(expected)
  })

  test('B65 of tags without end no bracket stays', () => {
    const nested = '['.repeat(150) + 'ok]'.repeat(150)
    expect(shown(nested, [])).not.toMatch(/[[\]]/)
  })

  test('B65 what only other readers can decode is text for all of them', () => {
    const field = taggedSubject('=?utf-7?Q?+AFs-signed OK+AF0?= =?utf-8?B?W3Np!Z25lZA?=', TAGS, [])
    expect(field?.toString()).not.toMatch(/utf-7|W3Np!/)
  })

  test('B65 a long subject does not push the tag out of sight', () => {
    const long = shown('x'.repeat(5000), ['[signed OK]', '[encrypted]'])!
    expect(long).toMatch(/^\[signed OK\] \[encrypted\] x{199}…$/)
  })
})

test.each([
  'plan',
  'Re: [draft] plan (for Ann)',
  '[signed] plan',
  'signed OK plan',
  '[encrypt] plan',
  '[oh] plan',
  'int[] x',
  '[...]',
  '[ signed documents OK',
  'Pläne für 😀 (2024)',
  'می‌خواهم',
  '',
])('%j stays as it is', subject => {
  expect(taggedSubject(subject, TAGS, [])).toBeUndefined()
})

test.each([
  ['plan', ['[signed OK]'], 'Subject: [signed OK] plan\r\n'],
  ['', ['[signed OK]'], 'Subject: [signed OK]\r\n'],
  ['[encrypted] [signed OK]', [], 'Subject:\r\n'],
  [
    'Re: [draft] plan',
    ['[encrypted]', '[signed OK]'],
    'Subject: [encrypted] [signed OK] Re: [draft] plan\r\n',
  ],
])('%j with %j', (subject, which, expected) => {
  expect(taggedSubject(subject, TAGS, which)?.toString()).toBe(expected)
})

test('property: B65 nothing that is left resembles a tag, and doing it again changes nothing', () => {
  const piece = fc.constantFrom(
    ...[
      '[',
      ']',
      '(',
      ')',
      '【',
      '］',
      'signed',
      'signed OK',
      'sig',
      'ned',
      'OK',
      ' ',
      'o',
      'k',
      '0',
    ],
    ...['ѕ', 'і', 'Κ', '\u200b', '\u200d', '\u00ad', '\u202e', '-', 'encrypted', 'x', '\t', 'Re: '],
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
      const once = withoutLikenesses(pieces.join(''), TAGS)
      expect(withoutLikenesses(once, TAGS)).toBe(once)
      const seen = skeleton(once.normalize('NFKC')).replace(/[^a-z[\](){}]/g, '')
      expect(seen).not.toMatch(/[[({](?:slgnedok|encrypted|ok)[\])}]/)
    }),
    { numRuns: Number(process.env['RUNS'] ?? 2000) },
  )
})

test.each([
  '[',
  ']',
  '[]',
  '[signed OK',
  'signed OK]',
  '[signed OK]',
  '=?utf-8?Q?[?= ',
  '\u0301',
  'ﷺ',
])('B59 a hostile subject of %j over and over costs no more than its length', unit => {
  const text = unit.repeat(1_000_000 / unit.length)
  const start = performance.now()
  taggedSubject(text, TAGS, ['[encrypted]'])
  expect(performance.now() - start).toBeLessThan(1000)
})

test('B59 brackets around pieces of tags are looked at within bounds', () => {
  const text = `${'[sig'.repeat(100)}${'ned OK]'.repeat(80)}`
  expect(withoutLikenesses(text, TAGS)).not.toContain('[signed OK]')
})
