/** Nothing that a stranger says in our name is left, and nothing else is taken away. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  cleansed,
  cleansedInner,
  isBlankLineMissing,
  joined,
} from '../../src/mail/header-cleansing.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { forgeries } from '../support/forgeries.ts'
import { claims } from '../support/lenient-reader.ts'

const HOST = 'gw.example.test'
const OURS = Buffer.from(`Authentication-Results: ${HOST}; smime=none\r\nReceived: x\r\n`)

/** What leaves, as a whole. */
function passed(message: Buffer): Buffer {
  const section = parseHeaderSection(message)
  const { kept } = cleansed(section, HOST)
  return Buffer.concat([joined(section, kept, OURS), message.subarray(section.sizeOctets)])
}

function message(fields: Buffer | string): Buffer {
  return Buffer.concat([
    Buffer.from('From: ann@partner.test\r\n'),
    Buffer.from(fields),
    Buffer.from('Subject: x\r\n\r\nbody\r\n'),
  ])
}

function headOf(octets: Buffer): string {
  return octets.subarray(0, octets.indexOf('\r\n\r\n')).toString('latin1')
}

describe('B64 forged fields', () => {
  const all = forgeries(HOST)

  test('are more than a hundred', () => {
    expect(all.length).toBeGreaterThan(100)
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
  })

  test.each(all)('B64 $name: does not survive', ({ fields }) => {
    const out = passed(message(fields))
    expect(headOf(out)).not.toContain('forged')
    expect(claims(out, HOST)).toHaveLength(1)
  })

  test('B64 with any character that Unicode folds to one of ours', () => {
    const survivors: string[] = []
    for (let code = 0x80; code < 0x20000; code++) {
      const character = String.fromCodePoint(code)
      const folded = character.normalize('NFKC').toLowerCase()
      if (folded.length !== 1 || !HOST.includes(folded)) continue
      const id = HOST.replaceAll(folded, character)
      const field = Buffer.from(`Authentication-Results: ${id}; smime=pass\r\n\r\n`)
      if (cleansed(parseHeaderSection(field), HOST).kept.length > 0) survivors.push(id)
    }
    expect(survivors).toEqual([])
  })

  test('B64 on the first line of the message, as the fold of what we put on top', () => {
    const out = passed(Buffer.from(' X-Postern-Signature: forged\r\n\r\nbody'))
    expect(headOf(out)).not.toContain('forged')
  })

  test('B64 several at once', () => {
    const out = passed(message(Buffer.concat(all.map(({ fields }) => fields))))
    expect(headOf(out)).not.toContain('forged')
  })
})

describe('what is certainly not ours', () => {
  test.each([
    'Authentication-Results: mx.partner.test; spf=pass smtp.mailfrom=ann@partner.test',
    'Authentication-Results: sub.gw.example.test; smime=pass',
    'Authentication-Results: example.test; smime=pass',
    'Authentication-Results: gw.example.test.partner.test; dkim=pass',
    'Authentication-Results: mail.partner.test 1; none',
    'Authentication-Results: mx.partner.test (amavisd-new); dkim=pass (2048-bit key) reason="ok"',
    'Authentication-Results: "mx.partner.test" (comment (nested)) 1 ; none',
    'Authentication-Results:\r\n\tmx.partner.test;\r\n\tspf=pass',
    'Authentication-Results: bücher.partner.test; spf=pass',
    'Authentication-Results: xn--bcher-kva.partner.test; spf=pass',
    'Authentication-Results: mx.partner.test',
    'ARC-Authentication-Results: i=1; gw.example.test; smime=pass',
    'Authentication-Results-Original: gw.example.test; smime=pass',
    'X-Original-Authentication-Results: gw.example.test; spf=pass',
    'X-Posterity-Signature: pass',
    'X-Poster: a',
    'Postern-Signature: a',
    'Subject: [signed OK]',
    'DKIM-Signature: v=1; d=gw.example.test',
  ])('%s stays', field => {
    const whole = message(`${field}\r\n`)
    expect(passed(whole)).toEqual(Buffer.concat([OURS, whole]))
  })

  test('property: whatever else a message holds stays octet for octet', () => {
    const name = fc.stringMatching(/^[A-Wa-wY-Zy-z][!-9;-~]{0,20}$/)
    const body = fc.string({ unit: 'binary' }).map(text => text.replace(/[\r\n\0]/g, ''))
    fc.assert(
      fc.property(fc.array(fc.tuple(name, body)), pairs => {
        fc.pre(pairs.every(([key]) => !/^auth|=\?/i.test(key)))
        const whole = message(pairs.map(([key, text]) => `${key}: ${text}\r\n`).join(''))
        expect(passed(whole)).toEqual(Buffer.concat([OURS, whole]))
      }),
    )
  })
})

test('property: B64 a lenient reader never finds another result of ours', () => {
  const piece = fc.oneof(
    fc.constantFrom(HOST, HOST.toUpperCase(), 'gw', '.example', '.test', 'Authentication-Results'),
    fc.constantFrom('X-Postern-', 'Signature', 'other.invalid', 'smime=pass', '1', ' ', '\r\n '),
    fc.constantFrom(
      ...Array.from(':;()"\\=?.<>@,[]'),
      '\t',
      '\r\n',
      '\u200b',
      '\u00ad',
      'е',
      'ｇ',
      '。',
      '=?utf-8?Q?',
    ),
    fc.constantFrom('=?utf-8?Q?gw.example.test?=', '?=', '\ufeff', '\u0001', '\u00a0', 'ö', '_'),
  )
  const field = fc
    .tuple(
      fc.constantFrom('Authentication-Results:', 'authentication-results :', 'X-Postern-A:', ''),
      fc.array(piece, { maxLength: 12 }),
    )
    .map(([name, pieces]) => `${name}${pieces.join('')}\r\n`)
  fc.assert(
    fc.property(fc.array(field, { maxLength: 4 }), fields => {
      const out = passed(Buffer.from(`${fields.join('')}Subject: x\r\n\r\nbody`))
      expect(claims(out, HOST)).toHaveLength(1)
    }),
    { numRuns: 5000 },
  )
})

describe('B64 the blank line', () => {
  test('stays as it is where there is one', () => {
    const section = parseHeaderSection(message(''))
    expect(isBlankLineMissing(section)).toBe(false)
  })

  test.each([
    ['A: 1\r\nno field\r\nB: 2\r\n', 'A: 1\r\n', 'no field\r\nB: 2\r\n'],
    ['A: 1\r\n', 'A: 1\r\n', ''],
    ['A: 1', 'A: 1\r\n', ''],
    [' folded: nothing\r\n\r\nbody', '', ' folded: nothing\r\n\r\nbody'],
  ])('is put into %j, so that nobody finds fields behind it', (text, head, body) => {
    expect(passed(Buffer.from(text)).toString()).toBe(`${OURS.toString()}${head}\r\n${body}`)
  })
})

describe('B14 of an inner header section', () => {
  const inner = (text: string): string =>
    cleansedInner(parseHeaderSection(Buffer.from(text)))
      .kept.map(({ octets }) => octets.toString('latin1'))
      .join('')

  test('only what describes the entity is kept', () => {
    const describing =
      'MIME-Version: 1.0\r\ncontent-type: text/plain;\r\n charset=utf-8\r\nContent-Foo: x\r\n'
    const all = forgeries(HOST).slice(0, 90)
    const others = [
      'From: ceo@example.test\r\nSubject: forged\r\nReceived: forged\r\nBcc: forged@x.test\r\n',
      'DKIM-Signature: forged\r\nARC-Seal: forged\r\nReturn-Path: <forged>\r\nSender: forged\r\n',
      ...all.map(({ fields }) => fields.toString('latin1')),
    ].join('')
    expect(inner(`${others}${describing}${others}\r\nbody`)).toBe(describing)
  })

  test.each(['\r', '\0'])('a field with %j inside is none', octet => {
    expect(inner(`Content-Type: text/plain;${octet}X-Postern-Signature: forged\r\n\r\n`)).toBe('')
  })

  test('lines may end with LF alone, as elsewhere than in SMTP', () => {
    expect(inner('Content-Type: text/plain;\n charset=utf-8\nFrom: x\n\nbody')).toBe(
      'Content-Type: text/plain;\n charset=utf-8\n',
    )
  })
})

describe('B59 100 KiB of hostile octets', () => {
  const many = 100 * 1024 - 100
  const filled = (unit: string): string => unit.repeat(Math.floor(many / Buffer.byteLength(unit)))
  test.each([
    ['opened comments', `Authentication-Results: ${filled('(')}`],
    ['comments', `Authentication-Results: ${filled('()')}${HOST}`],
    ['quoted pairs', `Authentication-Results: (${filled('\\(')}`],
    ['quotes', `Authentication-Results: ${filled('"')}`],
    ['encoded words', `Authentication-Results: ${filled('=?utf-8?Q?a?= ')}`],
    ['ends of encoded words', `Authentication-Results: ${filled('=?')}`],
    ['a long token', `Authentication-Results: ${filled('a')}`],
    ['digits', `Authentication-Results: a ${filled('1 ')}`],
    ['dots', `Authentication-Results: ${filled('.')}`],
    ['A-labels', `Authentication-Results: ${filled('xn--a.')}`],
    ['letters that decompose into many', `Authentication-Results: a; ${filled('\ufdfa')}`],
    ['marks', `Authentication-Results: a; e${filled('\u0301\u0323')}`],
    ['marks that decompose', `Authentication-Results: a; e${filled('\uff9e\u0344')}`],
    ['comment of marks', `Authentication-Results: a (e${filled('\u0301\u0323')})`],
    ['pairs of letters', `Authentication-Results: a; ${filled('rn')}`],
    ['fields', filled('Authentication-Results: (a\r\n').slice(0, -2)],
  ])('%s', (_, field) => {
    const limits = { octets: 200 * 1024, fields: 10_000 }
    const section = parseHeaderSection(Buffer.from(`${field}\r\n\r\n`), limits)
    const start = performance.now()
    cleansed(section, HOST)
    expect(performance.now() - start).toBeLessThan(200)
  })
})
