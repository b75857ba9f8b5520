import { createCipheriv, createDecipheriv } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { walk } from '../../src/mail/entity.ts'
import * as exactness from '../../src/mail/exactness.ts'
import type { Content } from '../../src/mail/mail-object.ts'
import { held } from './held.ts'

const exactnessOf = async (content: Content): Promise<exactness.Exactness> =>
  exactness.exactnessOf({ content, entity: await walk(content) })
const frameExactnessOf = async (content: Content): Promise<exactness.Exactness> =>
  exactness.frameExactnessOf({ content, entity: await walk(content) })

const lines = (...all: string[]): string => `${all.join('\r\n')}\r\n`
const reasonOf = async (plaintext: Buffer | string, chunkOctets?: number): Promise<string> => {
  const found = await exactnessOf(held(plaintext, chunkOctets))
  return found.kind === 'exact' ? 'exact' : found.reason
}
const utf8 = (text: string): string => Buffer.from(text).toString('latin1')

const text = (header: string[], ...body: string[]): string => lines(...header, '', ...body)
const ASCII = ['Content-Type: text/plain; charset=us-ascii', 'Content-Transfer-Encoding: 7bit']
const QP = ['Content-Type: text/html; charset=utf-8', 'Content-Transfer-Encoding: quoted-printable']
const BASE64 = [
  'Content-Type: application/pdf; name="a b.pdf"',
  'Content-Transfer-Encoding: base64',
]
const EIGHT = ['Content-Type: text/plain; charset=UTF-8', 'Content-Transfer-Encoding: 8bit']
const base64Body = Buffer.alloc(700, 'Some octets of a file. ')
  .toString('base64')
  .replace(/.{76}/g, '$&\r\n')
const sentence = 'A sentence of a letter that is long enough to hold some blocks.'

const mixed = (...parts: string[]): string =>
  lines(
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary="=_one"',
    '',
    ...parts.flatMap(part => ['--=_one', part.replace(/\r\n$/, '')]),
    '--=_one--',
  )
const alternative = lines(
  'Content-Type: multipart/alternative;',
  '\tboundary="----=_NextPart_000"',
  '',
  '------=_NextPart_000',
  ...text(ASCII, sentence).split('\r\n'),
  '------=_NextPart_000',
  ...text(QP, '<p>gr=C3=BC=C3=9Fe =', sentence, '</p>').split('\r\n'),
  '------=_NextPart_000--',
)
const forwarded = lines(
  'Content-Type: message/rfc822',
  '',
  'Received: from a.example by b.example; Mon, 23 Nov 2026 10:00:00 +0000',
  'From: Alice <alice@example.com>',
  'Subject: forwarded',
  'Content-Type: text/plain',
  '',
  sentence,
)

const EXACT: Record<string, string> = {
  'text in ASCII': text(ASCII, sentence, '', '\tand a tab', sentence),
  'text in UTF-8, 8bit': text(EIGHT, utf8('Grüße, 你好, 👋'), sentence),
  'HTML in quoted-printable': text(QP, '<p>gr=C3=BC=C3=9Fe =', 'and more</p>', sentence, sentence),
  'HTML in base64': text(
    ['Content-Type: text/html; charset="iso-8859-1"', 'Content-Transfer-Encoding: base64'],
    Buffer.from(`<p>gr\xfc\xdfe</p>${sentence.repeat(9)}`, 'latin1').toString('base64'),
  ),
  'a file': text(BASE64, base64Body),
  'a text and a file': mixed(text(ASCII, sentence), text(BASE64, base64Body)),
  alternative,
  nested: mixed(alternative, text(BASE64, base64Body), forwarded),
  forwarded,
  'a part without header fields': mixed(`\r\n${sentence}`, text(BASE64, base64Body)),
  'a mark of a program on a part': mixed(
    text([...BASE64, 'X-Attachment-Id: f_lx0', 'Content-ID: <f_lx0>'], base64Body),
  ),
  'a sentence in the preamble': mixed(text(ASCII, sentence)).replace(
    '\r\n\r\n',
    '\r\n\r\nThis is a multi-part message in MIME format.\r\n',
  ),
  'an empty line in the preamble': mixed(text(ASCII, sentence)).replace('\r\n\r\n', '\r\n\r\n\r\n'),
  'fields that are protected': lines(
    'MIME-Version: 1.0 (Mac OS X Mail 16.0 \\(3731.700.6\\))',
    'From: Alice <alice@example.com>',
    'Subject: protected',
    'HP-Outer: Subject: [...]',
    'HP-Outer: From: Alice <alice@example.com>',
    'Content-Type: text/plain; hp="cipher"',
    '',
    sentence,
  ),
  'text in ISO-2022-JP': text(
    ['Content-Type: text/plain; charset=ISO-2022-JP', 'Content-Transfer-Encoding: 7bit'],
    '\x1b$B$3$s\x1b(B',
  ),
  'windows-1252, quoted-printable': text(
    [
      'Content-Type: text/plain; charset=windows-1252',
      'Content-Transfer-Encoding: quoted-printable',
    ],
    '=93quoted=94 =80',
  ),
  'a signature over it': lines(
    'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=s',
    '',
    'This is a cryptographically signed message in MIME format.',
    '',
    '--s',
    ...text(ASCII, sentence).split('\r\n'),
    '--s',
    'Content-Type: application/pkcs7-signature; name=smime.p7s',
    'Content-Transfer-Encoding: base64',
    '',
    'MIIB',
    '--s--',
  ),
  'no end of line at the end': text(ASCII, sentence).slice(0, -2),
  'no end of line behind the last delimiter': mixed(text(ASCII, sentence)).slice(0, -2),
}

describe('B3 what a mail program writes is exact', () => {
  test.each(Object.entries(EXACT))('B3 %s', async (_, plaintext) => {
    expect(await reasonOf(plaintext)).toBe('exact')
    expect(await reasonOf(plaintext, 7)).toBe('exact')
  })
})

const CHARSET = (name: string, encoding: string): string[] => [
  `Content-Type: text/plain; charset=${name}`,
  `Content-Transfer-Encoding: ${encoding}`,
]

describe('B3, B33 what is not declared is not exact', () => {
  test.each<[string, string, string]>([
    ['nothing', '', 'header-section-open'],
    ['a bare LF', text(ASCII, 'a\nb'), 'line-end'],
    ['a bare CR', text(ASCII, 'a\rb'), 'line-end'],
    ['a CR at the end', `${text(ASCII, 'a')}\r`, 'line-end'],
    ['NUL', text(ASCII, 'a\0b'), 'control-octet'],
    ['DEL', text(ASCII, 'a\x7fb'), 'control-octet'],
    ['ESC', text(ASCII, 'a\x1b[2Jb'), 'control-octet'],
    ['no blank line', lines(...ASCII), 'header-section-open'],
    ['a body at once', lines(...ASCII, 'body'), 'header-section-open'],
    ['no Content-Type', text([], sentence), 'content-type-missing'],
    ['a type of no kind', text(['Content-Type: a/b'], sentence), 'content-type-missing'],
    ['another field', text([...ASCII, 'Subject: mine'], sentence), 'field-unknown'],
    ['another field, of a program', text([...ASCII, 'X-A: b'], sentence), 'field-unknown'],
    ['words in a mark', mixed(text([...ASCII, 'X-A: b c'], sentence)), 'field-unknown'],
    ['Content-Type twice', text([...ASCII, ASCII[0]!], sentence), 'structure-ambiguous'],
    ['Content-ID twice', text([...ASCII, 'Content-ID: <a>', 'content-id: <b>'], ''), 'field-twice'],
    ['a comment', text(['Content-Type: text/plain (x)'], sentence), 'field-malformed'],
    ['no value', text(['Content-Type: text/plain; charset'], ''), 'structure-ambiguous'],
    ['space ahead of a colon', text(['Content-Type : text/plain'], ''), 'field-malformed'],
    ['a blank continuation', text(['Content-Type: text/plain', ' ', ' '], ''), 'field-malformed'],
    ['8 bits in a field', text([...ASCII, 'Content-Description: \xfc'], ''), 'field-malformed'],
    ['a version of MIME', text([...ASCII, 'MIME-Version: 2.0'], ''), 'field-malformed'],
    ['From twice in a message', forwarded.replace('Subject:', 'From:'), 'field-twice'],
    ['no closing delimiter', mixed(text(ASCII, sentence)).slice(0, -4), 'multipart-inexact'],
    ['an epilogue', `${mixed(text(ASCII, sentence))}<img>\r\n`, 'multipart-inexact'],
    [
      'space behind a delimiter between parts',
      mixed(text(ASCII, 'a'), text(ASCII, 'b')).replace('a\r\n--=_one\r\n', 'a\r\n--=_one  \r\n'),
      'multipart-inexact',
    ],
    [
      'space behind the closing delimiter',
      mixed(text(ASCII, 'a')).replace('--=_one--', '--=_one-- '),
      'multipart-inexact',
    ],
    [
      'space behind a delimiter',
      mixed(text(ASCII, '')).replace('_one\r\nC', '_one \r\nC'),
      'multipart-inexact',
    ],
    [
      'a preamble',
      mixed(text(ASCII, '')).replace('\r\n\r\n', '\r\n\r\n<img src="x">\r\n'),
      'multipart-inexact',
    ],
    [
      'a long preamble',
      mixed(text(ASCII, '')).replace('\r\n\r\n', `\r\n\r\n${'x'.repeat(500)}\r\n`),
      'multipart-inexact',
    ],
    [
      'no parts',
      lines('Content-Type: multipart/mixed; boundary=b', '', '--b--'),
      'multipart-inexact',
    ],
    ['no boundary', text(['Content-Type: multipart/mixed'], sentence), 'structure-ambiguous'],
    [
      'an encoded multipart',
      text(['Content-Type: multipart/mixed; boundary=b', 'Content-Transfer-Encoding: base64'], ''),
      'structure-ambiguous',
    ],
    ['a part of a message', text(['Content-Type: message/partial; id=a'], ''), 'message-elsewhere'],
    [
      'a message elsewhere',
      text(['Content-Type: message/external-body; access-type=URL'], ''),
      'message-elsewhere',
    ],
    [
      'an encoded message',
      text(['Content-Type: message/rfc822', 'Content-Transfer-Encoding: base64'], 'QUJD'),
      'message-elsewhere',
    ],
    [
      'another encoding',
      text(['Content-Type: text/plain', 'Content-Transfer-Encoding: x-uuencode'], ''),
      'transfer-encoding-unknown',
    ],
    ['base64 with a dash', text(BASE64, 'QUJ-'), 'base64-malformed'],
    ['base64 with a space', text(BASE64, 'QUJD QUJD'), 'base64-malformed'],
    ['base64 without padding', text(BASE64, 'QUI'), 'base64-malformed'],
    ['base64 behind padding', text(BASE64, 'QQ==', 'QUJD'), 'base64-malformed'],
    ['= without digits', text(QP, 'a=zz'), 'quoted-printable-malformed'],
    ['8 bits in quoted-printable', text(QP, '\xfc'), 'quoted-printable-malformed'],
    ['other octets than UTF-8, encoded', text(QP, 'a=FCb'), 'charset-violated'],
    ['half a character of UTF-8', text(QP, 'a=C3'), 'charset-violated'],
    ['C1 in UTF-8, encoded', text(QP, 'a=C2=85b'), 'charset-violated'],
    ['NUL, encoded', text(QP, 'a=00b'), 'charset-violated'],
    [
      'C1 in ISO-8859-1',
      text(CHARSET('iso-8859-1', 'quoted-printable'), 'a=93b'),
      'charset-violated',
    ],
    [
      'nothing of windows-1252',
      text(CHARSET('windows-1252', 'quoted-printable'), 'a=81b'),
      'charset-violated',
    ],
    [
      '8 bits in ASCII, encoded',
      text(CHARSET('us-ascii', 'quoted-printable'), 'a=FCb'),
      'charset-violated',
    ],
    ['8 bits in 7bit', text(CHARSET('utf-8', '7bit'), utf8('ü')), 'eight-bit'],
    [
      '8 bits in a charset that tells nothing',
      text(CHARSET('iso-8859-1', '8bit'), '\xfc'),
      'eight-bit',
    ],
    [
      '8 bits of a file',
      text(['Content-Type: image/png', 'Content-Transfer-Encoding: binary'], '\xfc'),
      'eight-bit',
    ],
    ['other octets than UTF-8', text(EIGHT, 'a\xfcb'), 'charset-violated'],
    ['an unknown charset', text(CHARSET('x-mine', '7bit'), 'a'), 'charset-unknown'],
    ['UTF-7', text(CHARSET('utf-7', '7bit'), '+ADw-img+AD4-'), 'charset-unknown'],
    ['UTF-16', text(CHARSET('utf-16', 'base64'), 'AGE='), 'charset-unknown'],
    [
      'rubbish in ISO-2022-JP',
      text(CHARSET('iso-2022-jp', '7bit'), '\x1b$Ba\x1b(B'),
      'charset-violated',
    ],
  ])('B3 %s', async (_, plaintext, reason) => {
    expect(await reasonOf(plaintext)).toBe(reason)
    expect(await reasonOf(plaintext, 3)).toBe(reason)
  })

  test.each([
    ['a control octet', '\x07', 'control-octet'],
    ['a NUL', '\0', 'control-octet'],
    ['an escape', '\x1b', 'control-octet'],
    ['an LF alone', 'a\nb', 'line-end'],
    ['a CR alone', 'a\rb', 'line-end'],
    ['an octet of 8 bits', '\xe4', 'eight-bit'],
  ])('B3 %s far down in a text of a megabyte', async (_, octets, expected) => {
    const long = [...Array(16_000).fill(sentence), octets, sentence]
    expect(await reasonOf(text(ASCII, ...long))).toBe(expected)
    expect(await reasonOf(text(ASCII, ...Array(16_000).fill(sentence)))).toBe('exact')
  })

  test('what the disk says is no finding', async () => {
    const whole = held(text(ASCII, sentence))
    const failing = {
      ...whole,
      async *read(): AsyncGenerator<Buffer> {
        yield await Promise.reject(new Error('disk'))
      },
    }
    const entity = await walk(whole)
    await expect(exactness.exactnessOf({ content: failing, entity })).rejects.toThrow('disk')
  })
})

describe('B3 what stands around a signature is exact, whatever is signed', () => {
  const signed = (body: string[], preamble = ''): string =>
    lines(
      'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=s',
      '',
      ...(preamble === '' ? [] : [preamble, '']),
      '--s',
      ...body,
      '--s',
      'Content-Type: application/pkcs7-signature; name=smime.p7s',
      'Content-Transfer-Encoding: base64',
      '',
      'MIIB',
      '--s--',
    )
  const letter = ['Content-Type: text/plain; charset=iso-8859-1', '', 'gr\xfc\xdfe \f', '']
  const reason = async (plaintext: string): Promise<string> => {
    const found = await frameExactnessOf(held(plaintext))
    return found.kind === 'exact' ? 'exact' : found.reason
  }

  test.each<[string, string, string]>([
    ['a letter in 8 bits', signed(letter), 'exact'],
    ['a sentence ahead', signed(letter, 'This is a signed message.'), 'exact'],
    ['that of OpenSSL', signed(letter, 'This is an S/MIME signed message'), 'exact'],
    ['a link ahead', signed(letter, 'see S/MIME, and http://example.com/'), 'multipart-inexact'],
    ['an S with another slash', signed(letter, 'S/MIM S/S/MIME'), 'multipart-inexact'],
    ['an opaque one', text(['Content-Type: application/pkcs7-mime'], '\x80\0'), 'exact'],
    ['a picture ahead', signed(letter, '<img src="x">'), 'multipart-inexact'],
    ['a picture behind', `${signed(letter)}<img src="x">\r\n`, 'multipart-inexact'],
    ['a third part', signed([...letter, '--s', ...letter]), 'multipart-inexact'],
    ['another field', `X-A: <img\r\n${signed(letter)}`, 'field-unknown'],
    ['rubbish in a field', `Content-ID: <a>\x80\r\n${signed(letter)}`, 'field-malformed'],
    ['rubbish in the signature', signed(letter).replace('MIIB', 'MI B'), 'base64-malformed'],
  ])('B3 %s', async (_, plaintext, expected) => {
    expect(await reason(plaintext)).toBe(expected)
  })
})

/** Octets that look random and are the same in each run: a test of chance must not fail by chance. */
function* randomBlocks(seed: number): Generator<Buffer, never, undefined> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16))
  for (;;) yield cipher.update(Buffer.alloc(16))
}

describe('B3 a random block has no place to hide', () => {
  test.each(Object.entries(EXACT))('B3 in place of any 16 octets: %s', async (_, plaintext) => {
    const octets = Buffer.from(plaintext, 'latin1')
    const random = randomBlocks(1)
    const unseen: number[] = []
    // A last block that is cut off by the end is no whole block: padding stands in it.
    for (let block = 0; block + 16 <= octets.length; block++) {
      const altered = Buffer.from(octets)
      random.next().value.copy(altered, block)
      if ((await reasonOf(altered)) === 'exact') unseen.push(block)
    }
    expect(unseen).toEqual([])
  })

  test.each(Object.entries(EXACT))('B3 put in at any block: %s', async (_, plaintext) => {
    const octets = Buffer.from(plaintext, 'latin1')
    const random = randomBlocks(2)
    const chosen = Buffer.from('<img src=//a.bc/')
    const unseen: number[] = []
    for (let block = 1; block <= octets.length; block++) {
      const parts = [octets.subarray(0, block), random.next().value, chosen, octets.subarray(block)]
      if ((await reasonOf(Buffer.concat(parts))) === 'exact') unseen.push(block)
    }
    expect(unseen).toEqual([])
  })

  test('B3 gadgets in a real ciphertext: chosen text behind a random block, anywhere', async () => {
    const [key, iv] = [Buffer.alloc(16, 7), Buffer.alloc(16, 8)]
    const plaintext = Buffer.from(EXACT['HTML in quoted-printable']!, 'latin1')
    const cipher = createCipheriv('aes-128-cbc', key, iv)
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
    const first = ciphertext.subarray(0, 16)
    const chosen = Buffer.from('<img src=//a.bc/')
    const before = Buffer.from(iv.map((octet, at) => octet ^ plaintext[at]! ^ chosen[at]!))
    for (let block = 16; block < ciphertext.length; block += 16) {
      const altered = Buffer.concat([
        ciphertext.subarray(0, block),
        before,
        first,
        ciphertext.subarray(block - 16),
      ])
      const decipher = createDecipheriv('aes-128-cbc', key, iv)
      const opened = Buffer.concat([decipher.update(altered), decipher.final()])
      expect(opened.includes(chosen)).toBe(true)
      expect(await reasonOf(opened)).not.toBe('exact')
    }
  })

  test('B3 a beginning that is cut off, with 16 octets of one’s own in front', async () => {
    const octets = Buffer.from(EXACT['a text and a file']!, 'latin1')
    const fronts = ['\r\n<img src=//a.b/', 'A:\r\n\r\n<img src=/', 'Content-Type:a/b']
    const exact: string[] = []
    for (let block = 32; block < octets.length; block += 1) {
      for (const front of [...fronts, 'Content-Type:\r\n ']) {
        const cut = Buffer.concat([Buffer.from(front.padEnd(16)), octets.subarray(block)])
        if ((await reasonOf(cut)) === 'exact') exact.push(cut.toString('latin1').slice(13, 45))
      }
    }
    // Where a part says its own type: an end of the message, with nothing in it that is not its own.
    expect(exact.map(head => head.trimStart().slice(0, 15))).toEqual([
      'multipart/mixed',
      'multipart/mixed',
      'text/plain; cha',
      'text/plain; cha',
    ])
  })

  test('B3 how often a random block is not seen: as often as is written, no more', () => {
    const once = (one: number, two = 1, three = 0, four = 0): number => {
      const ways = [0, 0, 0, 1]
      for (let octets = 1; octets <= 16; octets++) {
        const [a, b, c, d] = ways.slice(-4) as [number, number, number, number]
        ways.push(one * d + two * c + three * b + four * a)
      }
      return 256 ** 16 / ways.at(-1)!
    }
    const c1 = 32
    const [twoOctets, threeOctets, fourOctets] = [30 * 64 - c1 + 1, 61_440, 1_048_576]
    expect(once(96)).toBeGreaterThan(6_000_000)
    expect(once(64)).toBeGreaterThan(4_000_000_000)
    expect(once(96, twoOctets, threeOctets, fourOctets)).toBeGreaterThan(320_000)
    expect(once(96 + 96)).toBeLessThan(101)
    expect(once(96 + 123)).toBeLessThan(13)
  })
})

test('B3 time is linear in the size', async () => {
  const large = held(text(BASE64, base64Body.repeat(2000).replaceAll('=', '')))
  const ways: Record<string, () => Promise<unknown>> = {
    base64: () => exactnessOf(large),
    equals: () => exactnessOf(held(text(QP, '=\r\n'.repeat(300_000)))),
    spaces: () => exactnessOf(held(text(QP, `${' '.repeat(70)}\r\n`.repeat(15_000)))),
    parameters: () => exactnessOf(held(text([`Content-Type: a/b${';a="\\"'.repeat(15_000)}`], ''))),
    semicolons: () => exactnessOf(held(text([`Content-Type: a/b${'; '.repeat(45_000)}`], ''))),
    dashes: () => exactnessOf(held(mixed(text(ASCII, '--=_on\r\n'.repeat(100_000))))),
    octets: () => exactnessOf(held(text(EIGHT, utf8('é\r\n').repeat(200_000)))),
  }
  for (const [way, work] of Object.entries(ways)) {
    const start = process.threadCpuUsage()
    await work()
    const { user } = process.threadCpuUsage(start)
    expect({ way, isSlow: user > 1_500_000 }).toEqual({ way, isSlow: false })
  }
}, 30_000)
