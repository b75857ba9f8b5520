import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentOf } from '../../src/mail/content.ts'
import { lineEndsOf, withCrlf } from '../../src/mail/line-ends.ts'
import type { Content } from '../../src/mail/mail-object.ts'

describe('line ends of what no listener has looked at', () => {
  test.each([
    ['', 'crlf'],
    ['a\r\nb\r\n', 'crlf'],
    ['a\nb\r\n', 'lf'],
    ['\n', 'lf'],
    ['a\rb', 'unsafe'],
    ['a\r', 'unsafe'],
    ['a\r\r\n', 'unsafe'],
    ['a\0b\r\n', 'unsafe'],
  ])('%j: %s', async (text, expected) => {
    expect(await lineEndsOf(contentOf(Buffer.from(text)))).toBe(expected)
  })

  test('B34 whatever the chunks are: mended text is the text with CRLF, or is refused', async () => {
    const piece = fc.constantFrom('a', '\r\n', '\n', '\r', 'bc', '\0', '.')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(piece, { maxLength: 6 }), { maxLength: 6 }),
        async parts => {
          const chunks = parts.map(part => Buffer.from(part.join('')))
          const text = Buffer.concat(chunks).toString()
          const safe = !/\0|\r(?!\n)/.test(text)
          const kind = safe ? (/(?<!\r)\n/.test(text) ? 'lf' : 'crlf') : 'unsafe'
          expect(await lineEndsOf(inChunks(chunks))).toBe(kind)
          const mended = await collect(withCrlf(from(chunks))).catch(({ code }) => code)
          expect(mended).toBe(safe ? text.replaceAll(/\r?\n/g, '\r\n') : 'ERR_CONTENT_LINE_END')
        },
      ),
      { numRuns: 400 },
    )
  })
})

async function* from(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks
}

function inChunks(chunks: readonly Buffer[]): Content {
  const whole = contentOf(Buffer.concat(chunks))
  return {
    ...whole,
    sizeOctets: whole.sizeOctets,
    shape: whole.shape,
    read: () => from(chunks),
    dispose() {},
  }
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<string> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all).toString()
}
