import { describe, expect, test } from 'vitest'
import { walk } from '../../src/mail/entity.ts'
import {
  compare,
  type Protection,
  protectedFields,
  restored,
  wrappedFields,
} from '../../src/mail/header-protection.ts'
import { type HeaderSection, parseHeaderSection } from '../../src/mail/header-section.ts'
import { held } from './held.ts'

const section = (...fields: string[]): HeaderSection =>
  parseHeaderSection(Buffer.from(`${fields.join('\r\n')}\r\n\r\n`))
const protection = (...fields: string[]): Protection => {
  const found = protectedFields(section(...fields))
  if (found === undefined) throw new Error('no protected fields')
  return found
}
const restoredText = (outer: HeaderSection, inner: Protection): string =>
  Buffer.concat(restored(outer.fields, inner).map(field => field.octets)).toString()

const OUTER = [
  'Received: from a.example',
  'From: Alice <alice@example.com>',
  'To: Bob <bob@example.net>',
  'Subject: [...]',
  'Date: Mon, 23 Nov 2026 10:00:00 +0000',
  'Message-ID: <1@example.com>',
]
const INNER = [
  'From: Alice <alice@example.com>',
  'To: Bob <bob@example.net>',
  'Subject: the contract',
  'Date: Mon, 23 Nov 2026 10:00:00 +0000',
  'Message-ID: <1@example.com>',
  'Keywords: secret',
  'HP-Outer: From: Alice <alice@example.com>',
  'HP-Outer: To: Bob <bob@example.net>',
  'HP-Outer: Subject: [...]',
  'HP-Outer: Date: Mon, 23 Nov 2026 10:00:00 +0000',
  'HP-Outer: Message-ID: <1@example.com>',
  'Content-Type: text/plain; hp="cipher"',
]

describe('RFC 9788 §2.1 which fields are protected', () => {
  test('those of a root whose Content-Type says so, and what was left outside', () => {
    const found = protection(...INNER)
    expect(found.fields.map(({ name }) => name)).toEqual([
      ...['From', 'To', 'Subject', 'Date', 'Message-ID', 'Keywords'],
    ])
    expect(found).toMatchObject({ kind: 'protected', mode: 'cipher' })
    expect(found.kind === 'protected' && found.outer[2]).toEqual({ key: 'subject', body: '[...]' })
  })

  test.each([
    'Content-Type: text/plain',
    'Content-Type: text/plain; hp="other"',
    'Content-Type: text/plain; hp="clear"; hp="cipher"',
    'Content-Type: text/plain; hp="clear\r\nContent-Type: text/html',
    'Content-Type: text/plain; protected-headers="v1"',
  ])('B14 none are by %j', contentType => {
    expect(protectedFields(section('Subject: x', contentType))).toBeUndefined()
  })

  test('B14 trace, verdicts and blind copies never are', () => {
    const names = [
      ...['Authentication-Results', 'Received', 'X-Postern-Verdict', 'Bcc', 'DKIM-Signature'],
      ...['ARC-Seal', 'Return-Path', 'Resent-From', 'Received-SPF', 'AUTHENTICATION-RESULTS'],
      ...['Content-Language', 'MIME-Version', 'HP-Outer', 'Delivered-To'],
    ]
    const fields = names.flatMap(name => [`${name}: x`, `HP-Outer: ${name}: x`])
    const found = protection('Content-Type: text/plain; hp="cipher"', ...fields)
    expect(found.fields).toEqual([])
    expect(found.kind === 'protected' && found.outer).toEqual([])
    expect(
      restoredText(section(...OUTER), protection('Content-Type: a/b; hp="clear"', ...fields)),
    ).toBe(`${OUTER.filter(field => !field.startsWith('Subject')).join('\r\n')}\r\n`)
  })

  test('RFC 8551 §3.1 a wrapped message is a kind of its own, a forwarded one is none', async () => {
    const wrapper = (parameter: string): string =>
      `Content-Type: message/rfc822${parameter}\r\n\r\nSubject: x\r\nReceived: y\r\n\r\nbody`
    const found = async (parameter: string): Promise<Protection | undefined> =>
      wrappedFields(await walk(held(wrapper(parameter))))
    const wrapped = await found('; forwarded=no')
    expect(wrapped?.kind).toBe('wrapped')
    expect(wrapped?.fields.map(({ name }) => name)).toEqual(['Subject'])
    for (const other of ['', '; forwarded=yes', '; forwarded=no; forwarded=yes']) {
      expect(await found(other)).toBeUndefined()
    }
  })
})

describe('RFC 9788 §4 how inner and outer fields stand to each other', () => {
  test('nothing was altered, and what was hidden is told', () => {
    expect(compare(section(...OUTER), protection(...INNER))).toEqual({
      from: 'same',
      differing: [],
      hidden: ['subject', 'keywords'],
    })
  })

  test('what was altered on the way is named', () => {
    const outer = OUTER.map(field => (field.startsWith('To') ? 'To: eve@evil.example' : field))
    expect(compare(section(...outer, 'Keywords: urgent'), protection(...INNER)).differing).toEqual([
      'to',
      'keywords',
    ])
  })

  test('for a message that is only signed, the same fields must stand outside', () => {
    const inner = protection('From: a@x.example', 'Subject: one', 'Content-Type: a/b; hp=clear')
    const outer = section('From: a@x.example', 'Subject:\r\n =?utf-8?q?one?=')
    expect(compare(outer, inner)).toEqual({ from: 'same', differing: [], hidden: [] })
    expect(compare(section('From: a@x.example', 'Subject: two'), inner).differing).toEqual([
      'subject',
    ])
  })

  test.each([
    ['From: alice@example.com', 'From: "A." <ALICE@example.com>', 'same'],
    ['From: alice@example.com', 'From: eve@evil.example', 'differs'],
    ['From: alice@example.com', 'From: alice@example.com, eve@evil.example', 'differs'],
    ['From: alice@example.com\r\nFrom: alice@example.com', 'From: alice@example.com', 'differs'],
    ['From: alice@example.com', 'From: "ceo@example.org" <alice@example.com>', 'differs'],
    ['From: alice@example.com', 'From: =?utf-8?q?a=E2=80=AEb?= <alice@example.com>', 'differs'],
    ['From: "a@b.example" <alice@example.com>', 'From: "a@b.example" <alice@example.com>', 'same'],
    ['From: alice@example.com', 'Subject: x', 'absent'],
  ])('B14 %j outside, %j inside: %s', (outer, inner, from) => {
    const found = protection(inner, 'Content-Type: a/b; hp=clear')
    expect(compare(section(outer), found).from).toBe(from)
  })
})

describe('RFC 9788 restored', () => {
  test('Subject takes the place of what stood for it, and what was hidden is added', () => {
    expect(restoredText(section(...OUTER), protection(...INNER))).toBe(
      [
        ...OUTER.map(field => (field.startsWith('Subject') ? 'Subject: the contract' : field)),
        'Keywords: secret\r\n',
      ].join('\r\n'),
    )
  })

  test('B14 From only where it names the same author', () => {
    const outer = section('From: alice@example.com')
    const same = protection('From: Alice <alice@example.com>', 'Content-Type: a/b; hp=clear')
    const other = protection('From: Boss <boss@example.com>', 'Content-Type: a/b; hp=clear')
    expect(restoredText(outer, same)).toBe('From: Alice <alice@example.com>\r\n')
    expect(restoredText(outer, other)).toBe('From: alice@example.com\r\n')
  })

  test('what was added on the way does not speak for the author, but may carry the message', () => {
    const outer = section(...OUTER, 'Reply-To: eve@evil.example', 'List-Id: <l.example>')
    const text = restoredText(outer, protection(...INNER))
    expect(text).not.toContain('eve@evil')
    expect(text).toContain('List-Id')
  })

  test.each([
    ['twice', ['Subject: one', 'Subject: two']],
    ['with a bare LF', ['Subject: one\nBcc: x']],
    ['with a bare CR', ['Subject: one\rBcc: x']],
    ['with NUL', ['Subject: one\0']],
    ['with space ahead of the colon', ['Subject : one']],
    ['with a blank line in it', ['Subject: one\r\n \r\n two']],
  ])('B14 a field %s stays as it is outside', (_, fields) => {
    const inner = protection(...fields, 'Content-Type: a/b; hp=clear')
    expect(restoredText(section('Subject: outer'), inner)).toBe('Subject: outer\r\n')
  })

  test('a Subject of other letters is said in encoded words, other fields stay outside', () => {
    const inner = protection(
      'Subject: Grüße',
      'To: Jürgen <j@x.example>',
      'Content-Type: a/b; hp=clear',
    )
    expect(restoredText(section('Subject: [...]', 'To: j@x.example'), inner)).toBe(
      'Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\nTo: j@x.example\r\n',
    )
  })

  test('an outer field that is there twice is there once then', () => {
    const inner = protection('Subject: one', 'Content-Type: a/b; hp=clear')
    expect(restoredText(section('Subject: x', 'Subject: y'), inner)).toBe('Subject: one\r\n')
  })
})
