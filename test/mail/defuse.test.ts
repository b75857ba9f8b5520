import fc from 'fast-check'
import { simpleParser } from 'mailparser'
import { describe, expect, test } from 'vitest'
import { defuse } from '../../src/mail/defuse.ts'
import { type Entity, leaves, walk } from '../../src/mail/entity.ts'
import { gather } from '../support/chunks.ts'
import { held } from './held.ts'

const lines = (...all: string[]): string => `${all.join('\r\n')}\r\n`
const defusedText = async (text: string, chunkOctets?: number): Promise<string> =>
  (await gather((await defuse(held(text, chunkOctets))).octets())).toString('latin1')
const kindOf = async (text: string): Promise<string> => (await defuse(held(text))).kind
const typesOf = async (text: string): Promise<string[]> => {
  const root: Entity = await walk(held(text))
  const full = [...leaves(root)].filter(({ bodyStart, end }) => bodyStart < end)
  return full.map(leaf => leaf.mediaType.essence)
}

const BODY = '<img src="http://evil.example/x"><p>private</p>'
const part = (type: string, ...more: string[]): string[] => [
  `Content-Type: ${type}`,
  ...more,
  '',
  BODY,
]
const multipart = (subtype: string, ...parts: string[][]): string[] => [
  `Content-Type: multipart/${subtype}; boundary="b-${subtype}"`,
  '',
  ...parts.flatMap(each => [`--b-${subtype}`, ...each]),
  `--b-${subtype}--`,
]

describe('B3 nothing is fetched for what nobody has authenticated', () => {
  test('B3 HTML becomes plain text, with all of its octets', async () => {
    const text = lines(
      'MIME-Version: 1.0',
      'Content-Type: text/html; charset="iso-8859-1"',
      'Content-Transfer-Encoding: quoted-printable',
      'Content-Location: http://evil.example/',
      'Content-Base: http://evil.example/',
      '',
      BODY.replaceAll('=', '=3D'),
    )
    expect(await defusedText(text)).toBe(
      lines(
        'MIME-Version: 1.0',
        'Content-Transfer-Encoding: quoted-printable',
        'Content-Type: text/plain; charset=iso-8859-1; name="part-1.txt"',
        '',
        BODY.replaceAll('=', '=3D'),
      ),
    )
    expect(await defusedText(text, 5)).toBe(await defusedText(text))
  })

  test('B2, B3 of several alternatives the plain text is shown, the HTML is a file', async () => {
    const text = lines(
      ...multipart(
        'mixed',
        multipart(
          'alternative',
          ['Content-Type: text/plain', '', 'plain'],
          multipart('related', part('text/html; charset=utf-8'), part('image/png')),
        ),
        part('application/pdf; name=a.pdf'),
      ),
    )
    const out = await defusedText(text)
    expect(out.split(BODY).length).toBe(text.split(BODY).length)
    expect(await typesOf(out)).toEqual([
      ...['text/plain', 'text/plain', 'image/png', 'application/pdf'],
    ])
    expect(out).not.toMatch(/alternative;|related;/)
    expect(out).toContain('Content-Disposition: attachment; filename="part-1.txt"')
    const read = await simpleParser(out)
    expect(read.html).toBe(false)
    expect(read.text?.trim()).toBe('plain')
    expect(read.attachments.map(({ filename }) => filename)).toContain('part-1.txt')
  })

  test.each([
    ['text/html', 'text/plain'],
    ['TEXT/HTML', 'text/plain'],
    ['text/xml', 'text/plain'],
    ['text/calendar; method=REQUEST', 'text/plain'],
    ['text/enriched', 'text/plain'],
    ['text/x-moz-deleted', 'text/plain'],
    ['image/svg+xml', 'text/plain'],
    ['application/xhtml+xml', 'text/plain'],
    ['application/xml', 'text/plain'],
    ['application/mathml+xml', 'text/plain'],
    ['application/ms-tnef', 'application/octet-stream'],
    ['application/vnd.ms-tnef', 'application/octet-stream'],
    ['application/pkcs7-mime; smime-type=signed-data', 'application/octet-stream'],
    ['application/x-pkcs7-mime', 'application/octet-stream'],
    ['application/smil', 'application/octet-stream'],
    ['application/rtf', 'application/octet-stream'],
    ['application/x-javascript', 'application/octet-stream'],
    [
      'message/external-body; access-type=URL; URL="http://evil.example/"',
      'application/octet-stream',
    ],
    ['message/partial; id=a; number=1', 'application/octet-stream'],
    ['model/vrml', 'application/octet-stream'],
    ['audio/x-mpegurl', 'application/octet-stream'],
    ['video/quicktime', 'application/octet-stream'],
    ['image/x-unknown', 'application/octet-stream'],
    ['x-world/x-vrml', 'application/octet-stream'],
    ['text/plain; name=a.html', 'text/plain'],
    ['text/plain; name="=?utf-8?q?a=2Ehtml?="', 'text/plain'],
    ['application/octet-stream; name="winmail.dat"', 'application/octet-stream'],
    ['application/pdf; name="a.HTML "', 'application/octet-stream'],
    ['image/png; name=a.svg', 'application/octet-stream'],
  ])('B3 %s becomes %s', async (type, expected) => {
    const out = await defusedText(lines(...multipart('mixed', part(type))))
    expect(await typesOf(out)).toEqual([expected])
    expect(out).toContain(`Content-Type: ${expected}`)
    expect(out).not.toContain(type)
    expect(out).toContain(BODY)
  })

  test.each([
    'inline; filename=a.html',
    "attachment; filename*=utf-8''a%2Ehtml",
    'attachment; filename="a.html',
  ])('B3 an attachment with %j is a file of ours', async disposition => {
    const out = await defusedText(
      lines(...multipart('mixed', part('image/png', `Content-Disposition: ${disposition}`))),
    )
    expect(await typesOf(out)).toEqual(['application/octet-stream'])
    expect(out).not.toContain(disposition)
  })

  test.each([
    ...['text/plain; charset=utf-8', 'image/jpeg; name=a.jpg', 'application/pdf; name="a.pdf"'],
    ...['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'audio/mpeg'],
    ...['application/pkcs7-signature; name=a.sig', 'application/octet-stream; name=a.bin'],
  ])('B3 %s is left as it is', async type => {
    const text = lines(...multipart('alternative', part(type)))
    expect(await kindOf(text)).toBe('untouched')
    expect(await defusedText(text)).toBe(text)
  })

  test('B3 what is in an attached message is defused too', async () => {
    const text = lines(
      ...multipart('mixed', [
        'Content-Type: message/rfc822',
        '',
        'From: a@x.example',
        'Subject: x',
        'Content-Type: text/html',
        '',
        BODY,
      ]),
    )
    const out = await defusedText(text)
    expect(out).toContain('From: a@x.example\r\nSubject: x\r\nContent-Type: text/plain; name=')
    expect(await defuse(held(text))).toMatchObject({ kind: 'retyped', retyped: 1 })
  })
})

describe('B33 what reads in two ways is one file', () => {
  test.each<[string, string]>([
    ['two types', lines('Content-Type: text/plain', 'Content-Type: text/html', '', BODY)],
    [
      'two encodings',
      lines('Content-Transfer-Encoding: 7bit', 'Content-Transfer-Encoding: base64', '', BODY),
    ],
    ['no blank line', lines('Content-Type: text/plain', BODY)],
    ['NUL', lines('Content-Type: text/plain', '', `a\0${BODY}`)],
    ['a bare CR', lines('Content-Type: text/plain', '', `a\r${BODY}`)],
    ['a bare LF', lines('Content-Type: text/plain', '', `a\n${BODY}`)],
    ['a CR at the end', `${lines('Content-Type: text/plain', '', BODY)}\r`],
    ['no boundary', lines('Content-Type: multipart/mixed', '', BODY)],
    [
      'the same boundary twice',
      lines(
        'Content-Type: multipart/mixed; boundary=a',
        '',
        '--a',
        ...part('multipart/mixed; boundary=a'),
        '--a--',
      ),
    ],
    [
      'a quote in the boundary',
      lines(
        'Content-Type: multipart/related; boundary="a\\"b"',
        '',
        '--a"b',
        ...part('text/html'),
        '--a"b--',
      ),
    ],
    [
      'too many parts',
      lines(...multipart('mixed', ...Array.from({ length: 1001 }, () => part('text/html')))),
    ],
  ])('B33 %s', async (_, text) => {
    expect(await kindOf(text)).toBe('wrapped')
    const out = await defusedText(text)
    expect(out).toMatch(/^Content-Type: application\/octet-stream;/)
    const encoded = out.slice(out.indexOf('\r\n\r\n'))
    expect(Buffer.from(encoded, 'base64').toString('latin1')).toBe(text)
  })

  test.each(['\r<img>', '\n<img>', '\0', '\r'])(
    'B33 a line end far down that is none to some: %j',
    async octets => {
      const text = `Content-Type: text/plain\r\n\r\n${'far down\r\n'.repeat(10_000)}`
      const parts = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\r\n--b--\r\n${text}`
      for (const whole of [text, parts]) {
        expect((await defuse(held(whole, 32_768))).kind).toBe('untouched')
        expect((await defuse(held(whole + octets, 32_768))).kind).toBe('wrapped')
      }
    },
  )

  test('B3 another reader finds no HTML either, whatever the parts', async () => {
    const leaf = fc.constantFrom(
      part('text/html'),
      part('text/plain'),
      part('image/svg+xml', 'Content-Disposition: inline'),
      part('application/xhtml+xml', 'Content-ID: <a@b>'),
      part('text/html; charset="x y"'),
      ['', BODY],
      ['Content-Type: text/html', ''],
      ['Content-Type: text/html'],
      ['Content-Type: message/rfc822', '', 'Subject: x', 'Content-Type: text/html', '', BODY],
    )
    const subtype = fc.constantFrom('mixed', 'alternative', 'related', 'digest', 'signed')
    const inner = fc.tuple(subtype, fc.array(leaf, { minLength: 1, maxLength: 3 }))
    await fc.assert(
      fc.asyncProperty(
        subtype,
        fc.array(inner, { minLength: 1, maxLength: 3 }),
        async (outer, all) => {
          const nested = all.map(([sub, parts], index) =>
            multipart(`${sub}`, ...parts)
              .join('\r\n')
              .replaceAll(`b-${sub}`, `n-${index}`)
              .split('\r\n'),
          )
          const text = lines(...multipart(outer, ...nested))
          const out = await defusedText(text)
          for (const name of await typesOf(out)) expect(name).not.toMatch(/html|xml/)
          const read = await simpleParser(out, { skipHtmlToText: true, skipTextToHtml: true })
          expect(read.html || '').not.toContain('evil')
          const full = read.attachments.filter(({ size }) => size > 0)
          expect(full.filter(({ contentType }) => /html|xml/.test(contentType))).toEqual([])
        },
      ),
      { numRuns: 150 },
    )
  })
})
