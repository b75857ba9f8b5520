import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Authorship, authorOf } from '../../src/mail/author.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { fastestMs } from './fastest.ts'

const read = (...fields: string[]): Authorship =>
  authorOf(parseHeaderSection(Buffer.from(`${fields.join('\r\n')}\r\n\r\nbody`)))
const outcome = (from: string): string => {
  const { author } = read(from)
  return author.kind === 'one' ? author.mailbox.toString() : author.reason
}
const notesOf = (from: string): readonly string[] => read(from).notes

describe('B23 exactly one From with exactly one mailbox', () => {
  test.each([
    ['From: alice@example.com', 'alice@example.com'],
    ['From: Alice <alice@example.com>', 'alice@example.com'],
    ['from: "Doe, Alice" <alice@EXAMPLE.com> (at work)', 'alice@example.com'],
    ['From:\r\n Alice\r\n\t<alice@example.com>', 'alice@example.com'],
    ['From: alice@[IPv6:2001:db8::1]', 'alice@[IPv6:2001:db8::1]'],
    ['From: "a:b" <alice@example.com> (c:d)', 'alice@example.com'],
    ['Subject: none', 'from-missing'],
    ['From: alice@example.com\r\nFrom: alice@example.com', 'from-twice'],
    ['From: alice@example.com\r\nX: y\r\nFROM : eve@example.com', 'from-twice'],
    ['From: alice@example.com, eve@example.com', 'from-several-mailboxes'],
    ['From: A <alice@example.com>,\r\n E <eve@example.com>', 'from-several-mailboxes'],
    ['From: Team: alice@example.com, eve@example.com;', 'from-group'],
    ['From: Team: alice@example.com;', 'from-group'],
    ['From: undisclosed:;', 'from-group'],
    ['From:', 'from-unreadable'],
    ['From: alice', 'from-unreadable'],
    ['From: alice@example.com <eve@example.com>', 'from-unreadable'],
    ['From: <alice@example.com> <eve@example.com>', 'from-unreadable'],
    ['From: alice(@example.com)@evil.example', 'from-unreadable'],
    ['From: <alice@example.com(<eve@evil.example>)>', 'from-unreadable'],
    ['From: <@relay.example:alice@example.com>', 'from-unreadable'],
    ['From: alice @ example.com', 'from-unreadable'],
    ['From: alice@example.com\0@evil.example', 'from-unreadable'],
    ['From: alice@example.com\r <eve@evil.example>', 'from-unreadable'],
    ['From : alice@example.com', 'from-unreadable'],
    ['From: Alice\r\n \r\n <alice@example.com>', 'from-unreadable'],
    ['From: Alice\n <alice@example.com>', 'from-unreadable'],
    [
      'From: =?utf-8?b?cG90dXNAZXhhbXBsZS5nb3Y=?==?utf-8?Q?=00?=@evil.example',
      'from-encoded-address',
    ],
    ['From: x <=?utf-8?q?alice=40example.com?=@evil.example>', 'from-encoded-address'],
  ])('B23 %j is %s', (from, expected) => {
    expect(outcome(from)).toBe(expected)
  })

  test('B23 a From field of another size than its line says has no author', () => {
    const octets = Buffer.from('From: alice@example.com')
    expect(authorOf(parseHeaderSection(octets)).author).toMatchObject({ reason: 'from-unreadable' })
  })

  test('B23 duplicated singletons are named', () => {
    const read_ = read(
      'From: a@x.example',
      'Subject: one',
      'SUBJECT: two',
      'Date: Mon, 23 Nov 2026 10:00:00 +0000',
      'Date: Mon, 23 Nov 2026 11:00:00 +0000',
      'Received: x',
      'Received: y',
    )
    expect(read_.notes).toEqual(['field-twice'])
    expect(read_.repeated).toEqual(['date', 'subject'])
    expect(read_.date).toBeUndefined()
  })

  test('B23 Sender is a value of its own, never the author', () => {
    expect(read('From: a@x.example', 'Sender: S <s@x.example>').sender?.toString()).toBe(
      's@x.example',
    )
    const both = read('Sender: s@x.example')
    expect(both.author).toMatchObject({ kind: 'none', reason: 'from-missing' })
    for (const sender of [
      'Sender: a@x.example, b@x.example',
      'Sender: x',
      'Sender: g: a@x.example;',
    ]) {
      expect(read('From: a@x.example', sender)).toMatchObject({
        sender: undefined,
        notes: ['sender-unreadable'],
      })
    }
  })

  test('B23 an author is found only where a strict grammar finds one', () => {
    const piece = fc.constantFrom(
      ...[
        'a@x.example',
        '<a@x.example>',
        '<',
        '>',
        ',',
        ';',
        ':',
        '"',
        '(',
        ')',
        '\\',
        ' ',
        'n',
        '@',
      ],
      ...['\0', '\r\n ', '=?utf-8?q?=40?=', '[1.2.3.4]'],
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), pieces => {
        const { author } = read(`From: ${pieces.join('')}`)
        if (author.kind !== 'one') return
        const plain = pieces.join('').replaceAll('\r\n', '')
        expect(plain).toMatch(
          /^(?:[ \\]|"(?:\\.|[^"\\])*"|\((?:.)*\)|=\?utf-8\?q\?=40\?=|n)*(?:a@x\.example|<? *[^ ]+@[^ ]+ *>?)(?: |\(.*\))*$/s,
        )
      }),
      { numRuns: 3000 },
    )
  })
})

describe('B22 names that pretend', () => {
  const encoded = (text: string): string => `=?utf-8?B?${Buffer.from(text).toString('base64')}?=`

  test.each([
    ['From: "boss@example.com" <eve@evil.example>', ['display-mismatch']],
    [`From: ${encoded('boss@example.com')} <eve@evil.example>`, ['display-mismatch']],
    [`From: ${encoded('boss＠example．com')} <eve@evil.example>`, ['display-mismatch']],
    [`From: ${encoded('boss @ example.com')} <eve@evil.example>`, ['display-mismatch']],
    [`From: ${encoded('Boss <boss@example.com>')} <eve@evil.example>`, ['display-mismatch']],
    ['From: eve@evil.example (boss@example.com)', ['display-mismatch']],
    ['From: "bоss@example.com" <boss@example.com>', ['display-mismatch']],
    ['From: "BOSS@Example.com" <boss@example.com>', []],
    [`From: ${encoded('ｂｏｓｓ@example.com')} <boss@example.com>`, []],
    ['From: "boss@example.com via list" <boss@example.com>', []],
    ['From: "Alice @ Home" <alice@example.com>', []],
    ['From: Alice D. <alice@example.com>', []],
    [
      `From: ${encoded('boss@example.com\0')} <eve@evil.example>`,
      ['from-control-characters', 'display-mismatch'],
    ],
    [`From: ${encoded('Alice\n<boss>')} <alice@example.com>`, ['from-control-characters']],
    [
      `From: ${encoded('Alice \u202emoc.elpmaxe')} <alice@example.com>`,
      ['from-control-characters'],
    ],
    [
      `From: ${encoded('boss\u200b@exam\u2060ple.com')} <eve@evil.example>`,
      ['from-control-characters', 'display-mismatch'],
    ],
    ['From: Al\u200eice <alice@example.com>', ['from-control-characters']],
    ['From: יוסי\u200f כהן\u200e <yossi@example.com>', []],
    [`From: ${encoded('\u200fד"ר יוסי כהן (סמנכ"ל)\u200f')} <yossi@example.com>`, []],
    [`From: ${encoded('\u061cأحمد\u200f 2')} <ahmad@example.com>`, []],
    [`From: ahmad@example.com (${encoded('أحمد\u200f')})`, []],
    [`From: ${encoded('Ann\u200e Lee')} <ann@example.com>`, ['from-control-characters']],
    [`From: ${encoded('\u061cAnn')} <ann@example.com>`, ['from-control-characters']],
    [`From: ${encoded('אן\u200f')} <ann@xn--6dbbec0c.test>`, ['from-control-characters']],
    [`From: ${encoded('א\u202eב\u202c')} <ann@example.com>`, ['from-control-characters']],
    [`From: ${encoded('א\u2067ב\u2069')} <ann@example.com>`, ['from-control-characters']],
    [`From: ${encoded('א\u200b\u200fב')} <ann@example.com>`, ['from-control-characters']],
    ['From: אן\u200f <א@example.com>', ['from-control-characters']],
    // Seen from right to left: boss@example.com.
    [
      `From: ${encoded('אן com\u200f.\u200fexample\u200f@\u200fboss')} <eve@evil.example>`,
      ['from-control-characters'],
    ],
    [
      `From: ${encoded('אן com\u200f.\u200fexample\u200f＠\u200fboss')} <eve@evil.example>`,
      ['from-control-characters'],
    ],
    [
      `From: ${encoded('אן com\u200f.\u200fexample')} <eve@evil.example> (\u200f@\u200fboss)`,
      ['from-control-characters'],
    ],
    [
      `From: ${encoded('אן boss\u200f@example.com')} <eve@evil.example>`,
      ['from-control-characters', 'display-mismatch'],
    ],
    [`From: "Boss${' '.repeat(60)}" <eve@evil.example>`, ['display-padding']],
    [`From: ${encoded(`Boss${'\u3000'.repeat(20)}x`)} <eve@evil.example>`, ['display-padding']],
  ])('B22 %j is noted as %j', (from, expected) => {
    expect(notesOf(from)).toEqual(expected)
  })

  test('B22 encoded words are decoded once', () => {
    const inner = encoded('boss')
    expect(read(`From: ${encoded(inner)} <eve@evil.example>`).author).toMatchObject({
      displayName: inner,
    })
  })

  test('B22 control characters in a From that cannot be read are noted too', () => {
    expect(read('From: alice@example.com\0')).toMatchObject({
      author: { reason: 'from-unreadable' },
      notes: ['from-control-characters'],
    })
  })

  test('B22 time is linear in the length of a hostile field', () => {
    const hostile = ['@', 'a@', '=?utf-8?q?', '"', '(', ' ', 'a@b.c ', '(a@b.c)', 'א\u200f']
    for (const piece of hostile) {
      const field = `From: ${piece.repeat(90_000 / Buffer.byteLength(piece))} <a@x.example>`
      const section = parseHeaderSection(Buffer.from(`${field}\r\n\r\n`))
      expect(fastestMs(() => authorOf(section), 3)).toBeLessThan(300)
    }
    const name = `From: "${'a@b.c '.repeat(15_000)}" <a@x.example>`
    const section = parseHeaderSection(Buffer.from(`${name}\r\n\r\n`))
    expect(fastestMs(() => authorOf(section), 3)).toBeLessThan(300)
  })
})

test('RFC 5322 §3.6.1 the Date is read once, and what is none is noted', () => {
  const date = read('From: a@x.example', 'Date: Mon, 23 Nov 2026 10:00:00 +0100').date
  expect(date?.toISOString()).toBe('2026-11-23T09:00:00.000Z')
  expect(read('From: a@x.example', 'Date: soon').notes).toEqual(['date-unreadable'])
})
