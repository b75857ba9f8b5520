import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import {
  contentTypeOf,
  contentTypesOf,
  parseMediaType,
  transferEncodingOf,
} from '../../src/mail/media-type.ts'
import { fastestMs } from './fastest.ts'

describe('parseMediaType', () => {
  test.each<[string, string, Record<string, string>]>([
    ['text/plain', 'text/plain', {}],
    ['Text/HTML;Charset="UTF-8"', 'text/html', { charset: 'UTF-8' }],
    ['a/b ; x = 1 ;y=2;', 'a/b', { x: '1', y: '2' }],
    ['a/b (c (d)) ; x=1 (e); (f) y="2" (g)', 'a/b', { x: '1', y: '2' }],
    ['a/b; x="a\\"b\\\\c; y=(d)"', 'a/b', { x: 'a"b\\c; y=(d)' }],
    ['a/b; x=""', 'a/b', { x: '' }],
    [
      'multipart/mixed; boundary=----=_Part_1/2:3',
      'multipart/mixed',
      { boundary: '----=_Part_1/2:3' },
    ],
    ["a/b; t*=utf-8'en'%C3%A4%20x", 'a/b', { t: 'ä x' }],
    ["a/b; t*=iso-8859-1''%E4", 'a/b', { t: 'ä' }],
    ['a/b; t*0*=utf-8\'\'%E2%82; t*1*=%AC; t*2=" %41"', 'a/b', { t: '€ %41' }],
    ['a/b; t*1=b; t*0=a; t*2="c d"', 'a/b', { t: 'abc d' }],
    ["a/b; t*=x-nobody''abc", 'a/b', { t: 'abc' }],
    ["a/b; name=x; name*=utf-8''x", 'a/b', { name: 'x' }],
    ['a/b; n="=?utf-8?Q?=C3=A4?="', 'a/b', { n: '=?utf-8?Q?=C3=A4?=' }],
    ['a/b; __proto__=x', 'a/b', { ['__proto__']: 'x' }],
  ])('%s', (body, essence, parameters) => {
    const mediaType = parseMediaType(body)!
    expect([mediaType.essence, mediaType.ambiguous]).toEqual([essence, false])
    expect([...mediaType.parameters]).toEqual(Object.entries(parameters))
  })

  test.each(['', 'text', 'text/', '/plain', 'text plain', 'text/;x=1', '"text"/plain', '(a/b)'])(
    'is undefined for %j',
    body => {
      expect(parseMediaType(body)).toBeUndefined()
    },
  )

  test.each<[string, string, string]>([
    ['a/b; x=1; x=2', 'x', '1'],
    ['a/b; x=1; X=1', 'x', '1'],
    ['a/b; x="1', 'x', '1'],
    ['a/b; x="1\\', 'x', '1'],
    ['a/b; x=1 2; y=3', 'y', '3'],
    ['a/b; x="1"2; y=3', 'y', '3'],
    ['a/b c; y=3', 'y', '3'],
    ['a/b; x; y=3', 'y', '3'],
    ['a/b; =2; y=3', 'y', '3'],
    ['a/b; y=3 (c', 'y', '3'],
    ["a/b; y=2; y*=utf-8''3", 'y', '3'],
    ["a/b; y*=utf-8''3; y*0=4", 'y', '3'],
    ['a/b; y*0=3; y*2=5', 'y', '3'],
    ['a/b; y*0=3; y*0=4', 'y', '3'],
    ['a/b; y*=3', 'y', '3'],
    ["a/b; y*=utf-8''%FF", 'y', 'ÿ'],
    ["a/b; y*=x-nobody''%FF", 'y', 'ÿ'],
  ])('B33 two readers may differ about %j', (body, name, value) => {
    const mediaType = parseMediaType(body)!
    expect(mediaType.ambiguous).toBe(true)
    expect(mediaType.parameters.get(name)).toBe(value)
  })

  test('a quoted value comes back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), value => {
        const mediaType = parseMediaType(`a/b; x="${value.replace(/["\\]/g, '\\$&')}"; y=1`)!
        expect([...mediaType.parameters.values(), mediaType.ambiguous]).toEqual([value, '1', false])
      }),
      { numRuns: 2000 },
    )
  })

  test('an extended value comes back as it was, in pieces too', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.integer({ min: 1, max: 9 }),
        (value, size) => {
          const encoded = [...Buffer.from(value)].map(
            octet => `%${octet.toString(16).padStart(2, '0')}`,
          )
          const pieces = [`x*0*=utf-8''`]
          for (let at = 0; at < encoded.length; at += size) {
            pieces.push(`x*${pieces.length}*=${encoded.slice(at, at + size).join('')}`)
          }
          const mediaType = parseMediaType(`a/b; ${pieces.reverse().join('; ')}`)!
          expect([mediaType.parameters.get('x'), mediaType.ambiguous]).toEqual([value, false])
        },
      ),
    )
  })

  test('B56 parameters without end are not read to the end', () => {
    const mediaType = parseMediaType(
      `a/b${Array.from({ length: 2000 }, (_, n) => `;x${n}=1`).join('')}`,
    )!
    expect([mediaType.parameters.size, mediaType.ambiguous]).toEqual([1000, true])
  })

  test('never throws', () => {
    const unit = fc.constantFrom(...Array.from('ab/;="\\()*%0\' \té'))
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 60 }), text => {
        expect(() => parseMediaType(text)).not.toThrow()
        expect(parseMediaType(`a/b;${text}`)!.essence).toBe('a/b')
      }),
      { numRuns: 5000 },
    )
  })

  test.each([';', '"', '\\', '(', '()', ' ', 'a', 'a=1;', 'a="1";', 'a*=', "a*=''", '=', '%', "'"])(
    'B59 1 MiB of %j takes at most 50 ms',
    unit => {
      const text = unit.repeat(2 ** 20 / unit.length)
      for (const body of [text, `a/b;${text}`, `a/b; x="${text}`, `a/b; x*=${text}`]) {
        expect(fastestMs(() => parseMediaType(body))).toBeLessThan(50)
      }
    },
  )

  test.each(['a*%=1;', 'a%*=1;', 'a%*0=1;', 'a*0=1;', "a*%*=x''%41;"])(
    'B59 a header section full of %j takes at most 50 ms',
    unit => {
      let body = 'a/b;'
      for (let n = 0; body.length < 100 * 1024; n++) body += unit.replace('%', `${n}`)
      expect(fastestMs(() => parseMediaType(body))).toBeLessThan(50)
    },
  )
})

describe('contentTypeOf', () => {
  test('is text/plain in US-ASCII where nothing is said, or nothing that parses (RFC 2045 §5.2)', () => {
    const none = contentTypeOf(section('Subject: x'))
    expect([none.essence, none.parameters.get('charset'), none.ambiguous]).toEqual([
      'text/plain',
      'us-ascii',
      false,
    ])
    const broken = contentTypeOf(section('Content-Type: text'))
    expect([broken.essence, broken.ambiguous]).toEqual(['text/plain', true])
  })

  test('B33 of two fields the first is read, and both can be', () => {
    const twice = section('Content-Type: a/b\r\nCONTENT-TYPE: c/d')
    expect([contentTypeOf(twice).essence, contentTypeOf(twice).ambiguous]).toEqual(['a/b', true])
    expect(contentTypesOf(twice).map(({ essence }) => essence)).toEqual(['a/b', 'c/d'])
  })
})

test.each([
  ['Subject: x', '7bit'],
  ['Content-Transfer-Encoding: 7bit', '7bit'],
  ['Content-Transfer-Encoding:\t(c) BASE64 (d)', 'base64'],
  ['content-transfer-encoding: Quoted-Printable;', 'quoted-printable'],
  ['Content-Transfer-Encoding: 8bit', '8bit'],
  ['Content-Transfer-Encoding: binary', 'binary'],
  ['Content-Transfer-Encoding: x-uuencode', 'unknown'],
  ['Content-Transfer-Encoding: 7bit base64', 'unknown'],
  ['Content-Transfer-Encoding:', 'unknown'],
  ['Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64', 'unknown'],
])('transferEncodingOf %j is %s', (fields, transferEncoding) => {
  expect(transferEncodingOf(section(fields))).toBe(transferEncoding)
})

function section(fields: string) {
  return parseHeaderSection(Buffer.from(`${fields}\r\n\r\n`))
}
