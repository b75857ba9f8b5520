import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeEncodedWords } from '../../src/mail/encoded-word.ts'
import { fastestMs } from './fastest.ts'

describe('decodeEncodedWords', () => {
  test.each([
    ['', ''],
    ['plain text', 'plain text'],
    ['=?utf-8?Q?M=C3=BCller?= x', 'Müller x'],
    ['=?UTF-8?b?w7w=?=', 'ü'],
    ['=?iso-8859-15?q?=A4_=a4?=', '€ €'],
    ['=?windows-1252?Q?=80?=', '€'],
    ['=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=', '日本'],
    ['=?utf-8*de?Q?=C3=BC?=', 'ü'],
    ['=?utf-8?Q?a b?=', 'a b'],
    // RFC 2047 §8.
    ['(=?ISO-8859-1?Q?a?=)', '(a)'],
    ['(=?ISO-8859-1?Q?a?= b)', '(a b)'],
    ['(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)', '(ab)'],
    ['(=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=)', '(ab)'],
    ['(=?ISO-8859-1?Q?a_b?=)', '(a b)'],
    ['(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)', '(a b)'],
    ['a =?utf-8?Q?b?= =?windows-1252?Q?=80?= c', 'a b€ c'],
    // One character in two words, in one charset under two spellings.
    ['=?utf-8?Q?=C3?= =?UTF-8?B?vA==?=', 'ü'],
    ['=?utf-8?Q?a?= x =?utf-8?Q?b?=', 'a x b'],
  ])('%s', (text, decoded) => {
    expect(decodeEncodedWords(text)).toBe(decoded)
  })

  test.each([
    '=?',
    '=??=',
    '=?utf-8?Q?a',
    '=?utf-8?Q?a?',
    '=?utf-8?X?a?=',
    '=?x-nobody?Q?a?=',
    '=?x-nobody?Q?a?= =?x-nobody?Q?b?=',
    '=?utf-8?B?a!b?=',
    '=?utf-8?Q?a?b?=',
    '=?utf-8?Q?a\0b?=',
    '=??Q?a?=',
  ])('leaves %j as it is', text => {
    expect(decodeEncodedWords(text)).toBe(text)
  })

  test('B22 decodes once: a word inside a word stays one', () => {
    expect(decodeEncodedWords('=?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?=')).toBe('=?utf-8?Q?x?=')
    expect(decodeEncodedWords('=?utf-8?Q?=3D?==?utf-8?Q?=3Futf-8?=')).toBe('=?utf-8')
  })

  test('B22 what a word hides is shown', () => {
    expect(decodeEncodedWords('=?utf-8?Q?a=40x.test=00?= <b@y.test>')).toBe('a@x.test\0 <b@y.test>')
  })

  test('any text comes back from its encoded words', () => {
    const pieces = fc.array(fc.string({ unit: 'grapheme', minLength: 1 }), { minLength: 1 })
    fc.assert(
      fc.property(pieces, fc.boolean(), (pieces, asBase64) => {
        const words = pieces.map(piece => encodedWord(piece, asBase64)).join(' ')
        expect(decodeEncodedWords(`a ${words} b`)).toBe(`a ${pieces.join('')} b`)
      }),
      { numRuns: 500 },
    )
  })

  test('leaves what is no word alone, whatever it is made of', () => {
    const unit = fc.constantFrom('=?', '?=', '?', 'utf-8', 'Q', 'b', ' ', '=', 'ä', '\ud800', '=E4')
    fc.assert(
      fc.property(fc.array(unit), pieces => {
        const text = pieces.join('')
        const decoded = decodeEncodedWords(text)
        expect(/=\?[^?]+\?[QBqb]\?[^?]*\?=/.test(text) || decoded === text).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })

  test.each([
    '=?',
    '=?utf-8?Q?',
    '=?a?',
    '=?utf-8?Q?a?=',
    ' =?utf-8?Q?=41_?= ',
    '=?utf-8?B?YQ==?=',
    '=?utf-8?Q?=C3?= =?latin1?q?=C3?= ',
    '=?%?Q?a?=',
    '=?utf-8?Q?%?= ',
    '=?utf-8?q?=?=',
  ])('B59 a header section full of %j takes at most 50 ms, and 1 MiB five times that', unit => {
    let text = ''
    for (let n = 0; text.length < 2 ** 20; n++) text += unit.replace('%', `${n}`)
    expect(fastestMs(() => decodeEncodedWords(text.slice(0, 100 * 1024)))).toBeLessThan(50)
    expect(fastestMs(() => decodeEncodedWords(text))).toBeLessThan(250)
  })
})

function encodedWord(text: string, asBase64: boolean): string {
  const octets = Buffer.from(text)
  if (asBase64) return `=?utf-8?B?${octets.toString('base64')}?=`
  const hex = octets.toString('hex').toUpperCase()
  return `=?utf-8?Q?${hex.replace(/../g, '=$&')}?=`
}
