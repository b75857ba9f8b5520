/** Line ends, wherever chunks end. @module */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CrlfCheck } from '../../src/mail/crlf.ts'

const isAllCrlf = (chunks: readonly string[]): boolean => {
  const check = new CrlfCheck()
  return chunks.every(chunk => check.push(Buffer.from(chunk))) && check.end()
}

test.each([[['']], [['a\r', '\nb']], [['\r\n', '\r', '', '\n']], [['a', 'b\r\n']]])(
  '%j is all CRLF',
  chunks => {
    expect(isAllCrlf(chunks)).toBe(true)
  },
)

test.each([[['\n']], [['a', '\nb']], [['a\r\n', '\n']], [['a\r', 'b']], [['a\r']], [['\r\r\n']]])(
  'B34 %j is not',
  chunks => {
    expect(isAllCrlf(chunks)).toBe(false)
  },
)

test('B34 the chunks make no difference', () => {
  const octets = fc.constantFrom('\r\n', '\r\n', '\r', '\n', 'a', '')
  fc.assert(
    fc.property(fc.array(octets, { maxLength: 8 }), chunks => {
      expect(isAllCrlf(chunks)).toBe(!/\r(?!\n)|(?<!\r)\n/.test(chunks.join('')))
    }),
    { numRuns: 2_000 },
  )
})
