/**
 * Messages that are hard to sign well: each has one thing that relays, parsers or signers get wrong.
 *
 * @module
 */
import { createHash } from 'node:crypto'

/** Name of the hard thing to the message that has it. */
export type Shapes = Readonly<Record<string, Buffer>>

/** All shapes but the large one, by this author. */
export function shapesBy(author: string): Shapes {
  const simple = (type: string, body: string) => message(author, [...MIME, ...typed(type)], body)
  return {
    'UTF-8 8-bit body': simple('text/plain; charset=utf-8|8bit', UTF8),
    'nested multiparts': message(author, [...MIME, ...NESTED_TYPE], nested()),
    'lines of 5,000 characters': simple('text/plain; charset=us-ascii|7bit', LONG_LINES),
    'lines of 5,000 characters in UTF-8': simple('text/html; charset=utf-8|8bit', LONG_UTF8),
    'dot-lines': simple('text/plain; charset=us-ascii|7bit', DOTS),
    'From lines': simple('text/plain; charset=us-ascii|7bit', FROM),
    'trailing white space': simple('text/plain; charset=us-ascii|7bit', TRAILING),
    'empty body': simple('text/plain; charset=us-ascii|7bit', ''),
    'no MIME header fields': message(author, [], 'Plain as in 1982.\r\n\r\nBye\r\n'),
    'no MIME header fields, 8-bit': message(author, [], UTF8),
    'no MIME header fields, no body': message(author, [], ''),
    'no MIME header fields, no blank line': message(author, [], '').subarray(0, -2),
    'no end of line at its end': simple('text/plain; charset=utf-8|quoted-printable', 'soft=\r\n'),
  }
}

/** An attachment of 25 MB behind a text. */
export function largeBy(author: string): Buffer {
  const lines: string[] = []
  for (let index = 0; index < LARGE_OCTETS / 57; index++) {
    const block = createHash('sha512').update(String(index)).digest()
    lines.push(block.subarray(0, 57).toString('base64'))
  }
  const type = ['Content-Type: multipart/mixed; boundary=large']
  return message(
    author,
    [...MIME, ...type],
    '--large\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' +
      'Größe: viel\r\n--large\r\nContent-Type: application/octet-stream; name=large.bin\r\n' +
      'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=large.bin\r\n' +
      `\r\n${lines.join('\r\n')}\r\n--large--\r\n`,
  )
}

function message(author: string, fields: readonly string[], body: string): Buffer {
  const header = [
    `From: ${author}`,
    'To: Clear <clear@partner.test>, Opaque <opaque@partner.test>',
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'Subject: =?utf-8?Q?sch=C3=B6n?= folded',
    ' over two lines ',
    ...fields,
  ]
  return Buffer.from(`${header.join('\r\n')}\r\n\r\n${body}`)
}

/** `type|encoding` as two fields, folded as mail programs fold. */
function typed(both: string): string[] {
  const [type, encoding] = both.split('|') as [string, string]
  return [
    `Content-Type: ${type.replace('; ', ';\r\n\t')}`,
    `Content-Transfer-Encoding: ${encoding}`,
  ]
}

/** Alternatives in related in mixed, an attached message with 8 bits, a preamble and an epilogue. */
function nested(): string {
  const png = Buffer.from(Array.from({ length: 300 }, (_, index) => (index * 7) % 256))
  return [
    'This is the preamble, and it is trouble: --outer is no delimiter line',
    '--outer',
    'Content-Type: multipart/related; boundary="outer/in ner"',
    '',
    '--outer/in ner',
    'Content-Type: multipart/alternative; boundary="=alt="',
    '',
    '--=alt=',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    'Grüße aus Köln  ',
    '.',
    '--=alt=  ',
    'Content-Type: text/html; charset=us-ascii',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    '<p>caf=C3=A9 =',
    'au lait</p>',
    '--=alt=--',
    '--outer/in ner',
    'Content-Type: image/png; name="=?utf-8?Q?b=C3=A4r?=.png"',
    'Content-Transfer-Encoding: base64',
    'Content-ID: <bear@example.test>',
    '',
    ...png.toString('base64').match(/.{1,76}/g)!,
    '--outer/in ner--',
    'an epilogue within',
    '--outer',
    'Content-Type: message/rfc822',
    '',
    'From: bob@example.test',
    'Subject: inner',
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary=deep',
    '',
    '--deep',
    '',
    'a part without a header section',
    '--deep',
    'Content-Type: text/plain; charset=iso-8859-1',
    'Content-Transfer-Encoding: 8bit',
    '',
    `na\u00c3\u00afve in some charset`,
    '--deep--',
    '',
    '--outer',
    'Content-Type: text/plain',
    '',
    '',
    '--outer--',
    'the epilogue',
    '',
  ].join('\r\n')
}

const MIME = ['MIME-Version: 1.0']
const NESTED_TYPE = ['Content-Type: multipart/mixed;', '\tboundary="outer"']
const UTF8 = 'Grüße, здравствуйте, 你好, 🐻\r\n\r\n.Ünten\r\nFrom München\r\n\tende \t \r\n'
const LONG_LINES = `${'x'.repeat(5_000)}\r\nshort\r\n${'word '.repeat(1_000)}\r\n.${'y'.repeat(4_999)}\r\n`
const LONG_UTF8 = `<p>${'ä'.repeat(5_000)}</p>\r\n<p>${'wörter '.repeat(714)}</p>\r\n`
const DOTS = '.\r\n..\r\n...\r\n.leading\r\nmiddle . dot\r\n. \r\n\r\n.\r\n..\r\n.\r\n'
const FROM =
  'From me to you\r\n>From quoted\r\n\r\nFrom bob@example.test Mon Nov 23 21:00:00 2026\r\nFrom \r\n'
const TRAILING = 'one \r\ntabs\t\t\r\n   \r\n\t\r\nmany      \r\n-- \r\n\r\n\r\n \r\n\r\n'
const LARGE_OCTETS = 25 * 1024 * 1024
