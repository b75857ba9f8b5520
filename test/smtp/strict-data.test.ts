/** The reader of data: exact content, one end, no time that grows faster than the octets. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StrictData } from '../../src/smtp/strict-data.ts'

interface Outcome {
  readonly content: string
  readonly fault: string | undefined
  /** Octets behind the end of data; undefined where there was none. */
  readonly rest: string | undefined
}

function read(chunks: readonly string[], lineOctets = 2000): Outcome {
  const reader = new StrictData(lineOctets)
  let content = ''
  let rest = ''
  for (const chunk of chunks) {
    const octets = Buffer.from(chunk, 'latin1')
    if (reader.ended) {
      rest += chunk
      continue
    }
    const used = reader.read(octets)
    content += reader.content.toString('latin1')
    rest += chunk.slice(used)
    expect(reader.ended || used === chunk.length).toBe(true)
  }
  return { content, fault: reader.fault, rest: reader.ended ? rest : undefined }
}

/** What RFC 5321 §4.5.2 says, in the simplest words that are right. */
function simple(data: string): Outcome {
  const text = `\r\n${data}`
  const end = text.indexOf('\r\n.\r\n')
  const inside = end < 0 ? text : text.slice(0, end + 2)
  // A CR that stands last may still get its LF.
  const fault = /\r(?!\n|$)|(?<!\r)\n|\0/.test(end < 0 ? text : text.slice(0, end + 5))
  const content = inside.replaceAll('\r\n.', '\r\n').slice(2)
  return {
    content,
    fault: fault ? 'bare-line-ending' : undefined,
    rest: end < 0 ? undefined : text.slice(end + 5),
  }
}

const wild = fc.array(
  fc.constantFrom(
    '\r\n',
    '.',
    '\r\n.\r\n',
    '\r',
    '\n',
    '\0',
    '..',
    'a',
    'text of a line',
    '\r\n..',
  ),
  { maxLength: 30 },
)
const cuts = fc.array(fc.nat(200), { maxLength: 12 })

function cut(text: string, at: readonly number[]): string[] {
  const edges = [...new Set(at.map(position => position % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...edges].map((edge, index) => text.slice(edge, edges[index] ?? text.length))
}

describe('StrictData', () => {
  test.each([
    ['.\r\n', ''],
    ['\r\n.\r\n', '\r\n'],
    ['a\r\n..b\r\n.c\r\n...\r\n.\r\n', 'a\r\n.b\r\nc\r\n..\r\n'],
    ['..\r\n.\r\n', '.\r\n'],
  ])('%j is %j', (data, content) => {
    expect(read([data])).toEqual({ content, fault: undefined, rest: '' })
  })

  test('what follows the end is left to be commands', () => {
    expect(read(['a\r\n.\r\nQUIT\r\n']).rest).toBe('QUIT\r\n')
  })

  test('however it is cut, the outcome is that of a reader which sees all at once', () => {
    fc.assert(
      fc.property(wild, cuts, (pieces, at) => {
        const data = pieces.join('')
        const expected = simple(data)
        const seen = read(cut(data, at))
        expect([seen.fault, seen.rest]).toEqual([expected.fault, expected.rest])
        if (expected.fault === undefined && expected.rest !== undefined) {
          // oxlint-disable-next-line vitest/no-conditional-expect
          expect(seen.content).toBe(expected.content)
        }
      }),
      { numRuns: 3000 },
    )
  })

  test('a content that was stuffed arrives exactly', () => {
    const line = fc.string({
      unit: fc.constantFrom('.', 'x', ' ', '\t', '=', '\u00ff'),
      maxLength: 8,
    })
    fc.assert(
      fc.property(fc.array(line, { maxLength: 20 }), cuts, (lines, at) => {
        const content = lines.map(text => `${text}\r\n`).join('')
        const stuffed = `${content.replace(/^\./gm, '..')}.\r\n`
        expect(read(cut(stuffed, at))).toEqual({ content, fault: undefined, rest: '' })
      }),
      { numRuns: 1000 },
    )
  })

  test('lines are measured across chunks', () => {
    const line = 'x'.repeat(50)
    expect(read([line, `${line}\r\n.\r\n`], 100).fault).toBeUndefined()
    expect(read([line, `${line}\r`, '\n.\r\n'], 100).fault).toBeUndefined()
    expect(read([line, `${line}x\r\n.\r\n`], 100).fault).toBe('line-too-long')
    expect(read([line, line, 'x'], 100).fault).toBe('line-too-long')
  })
})

describe('B59 time is linear', () => {
  const CHUNK = 64 * 1024
  test.each([
    ['dots', '..\r\n'],
    ['line feeds', '\n'],
    ['carriage returns', '\r'],
    ['CR LF CR', '\r\n\r'],
    ['NUL', '\0'],
    ['empty lines', '\r\n'],
  ])('20 MB of %s in less than 4 s', (_name, unit) => {
    const pattern = Buffer.from(
      unit.repeat(Math.ceil(CHUNK / unit.length)).slice(0, CHUNK),
      'latin1',
    )
    const reader = new StrictData(1024)
    const started = performance.now()
    for (let octets = 0; octets < 20e6; octets += CHUNK) reader.read(Buffer.from(pattern))
    expect(performance.now() - started).toBeLessThan(4000)
    expect(reader.ended).toBe(false)
  })
})
