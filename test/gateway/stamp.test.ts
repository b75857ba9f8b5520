/** What we say of a message, in octets that nobody can break out of, and the seal over it. @module */
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkSeal, type SealCheck } from '../../src/gateway/seal.ts'
import { type Stamp, type StampedSigner, stampFields } from '../../src/gateway/stamp.ts'
import { cleansed, joined } from '../../src/mail/header-cleansing.ts'
import { type HeaderField, parseHeaderSection } from '../../src/mail/header-section.ts'
import { forgeries } from '../support/forgeries.ts'
import { claims } from '../support/lenient-reader.ts'

const HOST = 'gw.example.test'
const KEY = Buffer.alloc(32, 7)
const SEALING = { key: KEY, time: new Date('2026-03-01T12:00:00Z') }
const NONE: Stamp = {
  authservId: HOST,
  result: 'none',
  code: 'unsigned',
  reason: '',
  encryption: 'none',
  notes: [],
}
const GOOD: Stamp = {
  authservId: HOST,
  result: 'pass',
  code: 'good-signature',
  reason: 'the signature of the author is good',
  signer: {
    identifier: 'ann@partner.test',
    serialHex: '0AFF01',
    issuer: 'CN=Test CA,O=Partner\\, Inc.',
    part: '2',
    fingerprint: 'ab'.repeat(32),
    algorithm: 'rsa-pss-sha256',
    signingTime: new Date('2026-03-01T11:59:00Z'),
  },
  encryption: 'opened',
  cipher: 'aes-256-gcm',
  management: 'rsa-oaep',
  key: 'own',
  notes: ['weak', 'display-mismatch'],
}
const MESSAGE =
  'From: Ann <ann@partner.test>\r\nTo: bob@example.test\r\nDate: Sun, 1 Mar 2026 12:00:00 +0000\r\n' +
  'Message-ID: <1@partner.test>\r\nSubject: plan\r\n\r\nbody\r\n'

function stamped(stamp: Stamp, message: Buffer | string = MESSAGE): Buffer {
  const octets = Buffer.from(message)
  const section = parseHeaderSection(octets)
  const { kept } = cleansed(section, HOST)
  const onTop = stampFields(stamp, kept, SEALING)
  return Buffer.concat([joined(section, kept, onTop), octets.subarray(section.sizeOctets)])
}

function fieldsOf(octets: Buffer): readonly HeaderField[] {
  return parseHeaderSection(octets).fields
}

function checked(octets: Buffer | string, key = KEY): SealCheck {
  return checkSeal(fieldsOf(Buffer.from(octets)), HOST, key)
}

describe('what is written', () => {
  test('B66 of a message without a signature, too', () => {
    expect(stampFields(NONE, [], SEALING).toString().split('X-Postern-Seal')[0]).toBe(
      `Authentication-Results: ${HOST}; smime=none\r\n` +
        'X-Postern-Signature: none; code=unsigned\r\nX-Postern-Encryption: none\r\n',
    )
  })

  test('of a message that is signed and was encrypted', () => {
    const [results, signature, encryption, notes, seal, ...more] = fieldsOf(stamped(GOOD))
    expect(results!.octets.toString()).toBe(
      `Authentication-Results: ${HOST}; smime=pass reason="the signature of\r\n` +
        '\tthe author is good" body.smime-identifier=ann@partner.test\r\n' +
        '\tbody.smime-part=2 body.smime-serial=0aff01 body.smime-issuer="CN=Test\r\n' +
        '\tCA,O=Partner\\\\, Inc."\r\n',
    )
    expect(signature!.body.replace(/\t/g, ' ')).toBe(
      'pass; code=good-signature; reason="the signature of the author is good";' +
        ' signer=ann@partner.test; part=2; serial=0aff01; issuer="CN=Test CA,O=Partner\\\\, Inc.";' +
        ` fingerprint=${'ab'.repeat(32)}; algorithm=rsa-pss-sha256;` +
        ' signing-time="2026-03-01T11:59:00.000Z"',
    )
    expect(encryption!.body.replace(/\t/g, ' ')).toBe(
      'opened; cipher=aes-256-gcm; management=rsa-oaep; key=own',
    )
    expect(notes!.body).toBe('weak, display-mismatch')
    expect(seal!.body).toMatch(/^v=1; t=1772366400;\th=[\w-]{43}$/)
    expect(more.map(({ name }) => name)).toEqual(['From', 'To', 'Date', 'Message-ID', 'Subject'])
  })

  test.each([
    [{ issuer: 'CN=x' }],
    [{ serialHex: '01' }],
    [{ serialHex: 'no number', issuer: 'CN=x' }],
    [{ serialHex: '0'.repeat(65), issuer: 'CN=x' }],
  ])(
    'B64 RFC 7281 §3.2 names no serial number without an issuer, and no issuer alone: %j',
    signer => {
      const [results] = fieldsOf(stamped({ ...GOOD, signer }))
      expect(results!.body).not.toMatch(/serial|issuer/)
    },
  )

  test.each<[StampedSigner, string]>([
    [{ identifier: 'jürgen@partner.test' }, 'body.smime-identifier=j{U+00FC}rgen@partner.test'],
    [
      { identifier: '"a b"@partner.test' },
      'body.smime-identifier="{U+0022}a b{U+0022}@partner.test"',
    ],
    [{ identifier: 'a\r\nX: y' }, 'body.smime-identifier="a{U+000D}{U+000A}X: y"'],
    [{ identifier: 'a{b@c' }, 'body.smime-identifier=a{U+007B}b@c'],
    [{ identifier: 'a; smime=pass' }, 'body.smime-identifier="a{U+003B} smime{U+003D}pass"'],
    [{ identifier: '=?utf-8?q?a?=@b' }, 'body.smime-identifier="={U+003F}utf-8?q?a?=@b"'],
    [
      { identifier: 'a (b) "c" \\' },
      'body.smime-identifier="a {U+0028}b{U+0029} {U+0022}c{U+0022} \\\\"',
    ],
    [{ identifier: 'a  b' }, 'body.smime-identifier="a {U+0020}b"'],
    [{ identifier: '\u202eevil@partner.test' }, 'body.smime-identifier={U+202E}evil@partner.test'],
    [{ part: '2; smime=pass' }, 'good"'],
    [{ part: '1.2.3' }, 'body.smime-part=1.2.3'],
  ])('B64 %j is written so that it cannot be misread', (signer, expected) => {
    const [results] = fieldsOf(stamped({ ...GOOD, signer }))
    expect(results!.body.replace(/\t/g, ' ')).toMatch(new RegExp(`${escaped(expected)}$`))
  })
})

test('B64 a note is a word, or is not written', () => {
  const notes = ['weak', 'a\r\nX: y', 'a; b', 'a, b', '', 'A', 'a'.repeat(100)]
  const fields = fieldsOf(stampFields({ ...NONE, notes }, [], SEALING))
  expect(fields.find(({ key }) => key === 'x-postern-notes')?.body).toBe('weak')
  const none = fieldsOf(stampFields({ ...NONE, notes: notes.slice(1) }, [], SEALING))
  expect(none.map(({ key }) => key)).not.toContain('x-postern-notes')
})

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

describe('property: whatever a certificate says', () => {
  const words = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 2000 }),
    fc
      .array(
        fc.constantFrom(
          '"',
          '\\',
          ';',
          '(',
          ')',
          '\r\n',
          ' ',
          'smime=pass',
          '=?utf-8?q?',
          '?=',
          'a',
          '\0',
        ),
        { maxLength: 500 },
      )
      .map(pieces => pieces.join('')),
  )
  const signer = fc.record({
    identifier: words,
    serialHex: fc.oneof(words, fc.stringMatching(/^[\da-f]{0,80}$/)),
    issuer: words,
    part: words,
    fingerprint: words,
    algorithm: words,
    signingTime: fc.date(),
  })

  test('there are the same five fields, short, printable and folded, and a good seal', () => {
    fc.assert(
      fc.property(signer, words, (signerOf, reason) => {
        const out = stamped({ ...GOOD, reason, result: 'fail', signer: signerOf })
        const fields = fieldsOf(out)
        expect(
          fields
            .map(({ name }) => name)
            .slice(0, 6)
            .join(' '),
        ).toBe(
          'Authentication-Results X-Postern-Signature X-Postern-Encryption X-Postern-Notes X-Postern-Seal From',
        )
        for (const { octets } of fields.slice(0, 5)) {
          expect(octets.length).toBeLessThanOrEqual(2048)
          for (const line of octets.toString('latin1').slice(0, -2).split('\r\n'))
            expect(line).toMatch(/^[\t!-~][ -~]{0,996}$/)
        }
        expect(checked(out).kind).toBe('good')
        const [claim, ...others] = claims(out, HOST)
        expect(others.every(({ name }) => name.startsWith('x-postern-'))).toBe(true)
        expect(claim!.body.match(/smime\s*=/g)).toHaveLength(1)
        expect(claim!.body.split(/; ?/)).toHaveLength(2)
      }),
      { numRuns: 300 },
    )
  })
})

test('a certificate of any length makes no field longer than 2 KiB', () => {
  const long = {
    identifier: 'a',
    serialHex: '1',
    issuer: 'x"',
    part: '1',
    fingerprint: ';',
    algorithm: '\\',
  }
  const signer = Object.fromEntries(
    Object.entries(long).map(([name, text]) => [name, text.repeat(10_000)]),
  )
  const out = stamped({
    ...GOOD,
    signer: { ...signer, serialHex: 'f'.repeat(64) },
    code: 'c'.repeat(500),
  })
  for (const { octets } of fieldsOf(out)) expect(octets.length).toBeLessThan(2048)
  expect(checked(out).kind).toBe('good')
})

describe('B64 the seal', () => {
  const out = stamped(GOOD)
  const text = out.toString('latin1')

  test('is good, and tells when it was made', () => {
    expect(checked(out)).toEqual({ kind: 'good', time: SEALING.time })
  })

  test('holds where a server behind us expands an alias, and wraps the lines of the body', () => {
    const delivered = `Delivered-To: carol@example.test\r\nX-Original-To: team@example.test\r\n${text}`
    const elsewhere = delivered
      .replace('To: bob@example.test', 'To: team@example.test')
      .replace('\r\n\r\nbody', '\r\n\r\nbo\r\ndy')
    expect(elsewhere).toContain('To: team@example.test\r\nDate')
    expect(checked(elsewhere).kind).toBe('good')
  })

  test('is what docs/stamps.md says', () => {
    const relaxed = text
      .slice(0, text.indexOf('\r\n\r\n'))
      .replace(/\r\n[ \t]/g, ' ')
      .split('\r\n')
      .map(line =>
        line
          .replace(/[ \t]+/g, ' ')
          .replace(/^([^:]+) ?: ?/, (_, name) => `${name.toLowerCase()}:`),
      )
    const named = (name: string): string => relaxed.find(line => line.startsWith(`${name}:`))!
    const lines = [
      'v=1',
      't=1772366400',
      named('authentication-results'),
      named('x-postern-signature'),
      named('x-postern-encryption'),
      named('x-postern-notes'),
      named('from'),
      named('date'),
      named('message-id'),
    ]
    const hash = createHmac('sha256', KEY)
      .update(`${lines.join('\n')}\n`)
      .digest('base64url')
    expect(named('x-postern-seal')).toContain(`h=${hash}`)
  })

  test('holds where a server behind us folds anew, adds fields on top and tags the subject', () => {
    const refolded = text
      .replace(/\r\n\t/g, '\r\n   ')
      .replace('code=good-signature; ', 'code=good-signature;\r\n  ')
      .replace('Subject: ', 'Subject: [EXTERNAL] ')
    expect(checked(`Received: by mx.example.test\r\nX-Spam: no\r\n${refolded}`).kind).toBe('good')
  })

  test.each([
    ['result', 'smime=pass', 'smime=fail'],
    ['signature', 'Signature: pass', 'Signature: fail'],
    ['signer', 'signer=ann@', 'signer=eve@'],
    ['encryption', 'Encryption: opened', 'Encryption: none'],
    ['notes', 'Notes: weak', 'Notes: none'],
    ['a field more', 'X-Postern-Notes', 'X-Postern-More: x\r\nX-Postern-Notes'],
    ['a field less', 'X-Postern-Notes: weak, display-mismatch\r\n', ''],
    ['author', 'Ann <ann@', 'Eve <ann@'],
    ['second author', 'To: bob', 'From: eve@partner.test\r\nTo: bob'],
    ['no author', 'From: Ann <ann@partner.test>\r\n', ''],
    ['date', 'Date: Sun, 1', 'Date: Mon, 2'],
    ['identifier', '<1@partner', '<2@partner'],
    ['time', 't=1772366400', 't=1772366401'],
    ['recipient it is for', 't=1772366400;', 't=1772366400; to=0;'],
    ['hash', 'h=', 'h=AAAA'],
    ['version', 'v=1;', 'v=2;'],
    ['word in the seal', 't=1772366400;', 't=1772366400; x=1;'],
  ])('B64 breaks with another %s', (_, from, to) => {
    expect(text).toContain(from)
    expect(checked(text.replace(from, to)).kind).toMatch(/^(?:bad|ambiguous)$/)
  })

  test('B64 does not hold on another message, nor with another key', () => {
    const stamp = text.slice(0, text.indexOf('From:'))
    expect(checked(`${stamp}${MESSAGE.replace('<1@', '<3@')}`).kind).toBe('bad')
    expect(checked(out, Buffer.alloc(32, 8)).kind).toBe('bad')
    expect(checked(MESSAGE).kind).toBe('missing')
    expect(checked(text.replace(/X-Postern-Seal:[^\n]*\n[^\n]*\n/, '')).kind).toBe('missing')
  })

  test('B64 base64 that decodes alike is not ours', () => {
    const last = /h=[\w-]{42}([\w-])/.exec(text)![1]!
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const alike = alphabet[alphabet.indexOf(last) ^ 1]!
    expect(checked(text.replace(/(h=[\w-]{42})[\w-]/, `$1${alike}`)).kind).toBe('bad')
  })

  test.each([
    ['Authentication-Results', `Authentication-Results: ${HOST}; smime=pass`],
    ['a look-alike of it', `Authentication-Results: ${HOST.replaceAll('e', 'е')}; smime=pass`],
    ['X-Postern-Signature', 'X-Postern-Signature: pass'],
    ['a look-alike of it', 'X_Postern_Signature: pass'],
    ['X-Postern-Seal', 'X-Postern-Seal: v=1'],
  ])('B64 is ambiguous with another %s below it', (_, field) => {
    const doubled = text.replace('To: bob', `${field}\r\nTo: bob`)
    expect(checked(Buffer.from(doubled, 'utf8')).kind).toBe('ambiguous')
  })

  test.each([
    'smime=pass',
    'SMIME=pass',
    'smime = pass',
    'smime/1=pass',
    'smime(a)=pass',
    'spf=none; smime=pass',
    '\u0455mime=pass',
    's\u00admime=pass',
    '=?utf-8?Q?smime=3Dpass?=',
  ])('B64 is ambiguous below another result in our name: %s', result => {
    const another = Buffer.from(`Authentication-Results: ${HOST}; ${result}\r\n`)
    expect(checked(Buffer.concat([another, out])).kind).toBe('ambiguous')
  })

  test('holds below the results of servers behind us', () => {
    const behind = `Authentication-Results: mx.example.test; spf=none\r\n${text}`
    expect(checked(behind).kind).toBe('good')
    const unnamed = `Authentication-Results: spf=none (sender IP is 192.0.2.1); dkim=none\r\n${text}`
    expect(checked(unnamed).kind).toBe('good')
    const claiming = `Authentication-Results: smime=pass\r\n${text}`
    expect(checked(claiming).kind).toBe('ambiguous')
  })

  test.each(forgeries(HOST))('B64 is not good with $name above it', ({ fields }) => {
    expect(checked(Buffer.concat([fields, out])).kind).not.toBe('good')
  })

  test('B64 a forged message that is stamped has one stamp, and it is ours', () => {
    for (const { fields } of forgeries(HOST)) {
      const whole = stamped(NONE, Buffer.concat([fields, Buffer.from(MESSAGE)]))
      const [first, ...more] = claims(whole, HOST)
      expect(first!.body).toBe(`${HOST}; smime=none`)
      expect(more.map(({ name }) => name)).toEqual([
        'x-postern-signature',
        'x-postern-encryption',
        'x-postern-seal',
      ])
    }
  })
})
