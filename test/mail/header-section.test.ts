import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contentOf } from '../../src/mail/content.ts'
import {
  type HeaderSection,
  parseHeaderSection,
  readHeaderSection,
} from '../../src/mail/header-section.ts'
import type { Content } from '../../src/mail/mail-object.ts'
import { fastestMs } from './fastest.ts'

const TOO_LARGE = expect.objectContaining({
  code: 'ERR_HEADER_SECTION_TOO_LARGE',
  persistence: 'permanent',
})

describe('parseHeaderSection', () => {
  test('fields keep their octets, names their case', () => {
    const section = parse('From: a@x.test\r\nSUBJECT:  one\r\n\t two \r\nX:\r\n\r\nbody: none\r\n')
    expect(section.fields.map(({ name, key, body }) => [name, key, body])).toEqual([
      ['From', 'from', 'a@x.test'],
      ['SUBJECT', 'subject', 'one\t two'],
      ['X', 'x', ''],
    ])
    expect(String(section.fields[1]!.octets)).toBe('SUBJECT:  one\r\n\t two \r\n')
    expect([section.sizeOctets, section.bodyOffset]).toEqual([43, 45])
  })

  test('first and all compare names without case', () => {
    const section = parse('To: 1\r\nto: 2\r\nCc: 3\r\n\r\n')
    expect(section.first('TO')!.body).toBe('1')
    expect(section.all('tO').map(({ body }) => body)).toEqual(['1', '2'])
    expect(section.first('Bcc')).toBeUndefined()
  })

  test('a body is UTF-8, or ISO-8859-1 where it is not', () => {
    const [utf8, latin1] = parseHeaderSection(
      Buffer.concat([Buffer.from('A: ä\r\nB: '), Buffer.from([0xe4]), Buffer.from('\r\n')]),
    ).fields
    expect([utf8!.body, latin1!.body]).toEqual(['ä', 'ä'])
  })

  test.each([
    ['no blank line, no body', 'A: 1\r\n', 1, 6, 6],
    ['no line end', 'A: 1', 1, 4, 4],
    ['nothing', '', 0, 0, 0],
    ['a body alone', '\r\nbody', 0, 0, 2],
    ['bare LF', 'A: 1\n b\nB: 2\n\nbody', 2, 13, 14],
    ['a body without blank line', 'A: 1\r\nhello world\r\n\r\n', 1, 6, 6],
    ['an mbox line in front', 'From a@x Mon Nov 23 10:00:00 2026\r\nA: 1\r\n\r\n', 0, 0, 0],
    ['a continuation in front', ' A: 1\r\nB: 2\r\n\r\n', 0, 0, 0],
    ['a colon in front', ': 1\r\n\r\n', 0, 0, 0],
    ['white space ahead of the colon', 'A \t: 1\r\n\r\n', 1, 8, 10],
    ['a name beyond ASCII', 'Ä: 1\r\n\r\n', 0, 0, 0],
    ['a name with a control character', 'A\0B: 1\r\n\r\n', 0, 0, 0],
    ['a line of white space continues', 'A: 1\r\n \r\nB: 2\r\n\r\n', 2, 15, 17],
    ['a bare CR', 'A: 1\r\n\rB: 2\r\n\r\n', 1, 6, 6],
    ['a bare CR at the end', 'A: 1\r\n\r', 1, 6, 6],
    ['a word at the end', 'A: 1\r\nBcc', 1, 6, 6],
  ])('%s', (_, text, fields, sizeOctets, bodyOffset) => {
    const section = parse(text)
    expect([section.fields.length, section.sizeOctets, section.bodyOffset]).toEqual([
      fields,
      sizeOctets,
      bodyOffset,
    ])
    expectReproduced(section, Buffer.from(text))
  })

  test('arbitrary octets are reproduced', () => {
    fc.assert(
      fc.property(hostile, octets => {
        const section = parseHeaderSection(octets)
        expectReproduced(section, octets)
        expect(section.bodyOffset - section.sizeOctets).toBeLessThanOrEqual(2)
      }),
      { numRuns: 3000 },
    )
  })

  test('B56 a header flood is refused: 100 KiB, 1000 fields', () => {
    expect(parse('A:1\r\n'.repeat(1000)).fields).toHaveLength(1000)
    expect(() => parse('A:1\r\n'.repeat(1001))).toThrow(TOO_LARGE)
    const long = `A:${'x'.repeat(100 * 1024 - 4)}\r\n`
    expect(parse(`${long}\r\nbody`).sizeOctets).toBe(100 * 1024)
    expect(() => parse(`x${long}\r\nbody`)).toThrow(TOO_LARGE)
    expect(() => parse(`A: 1\r\n${' x\r\n'.repeat(30_000)}`)).toThrow(TOO_LARGE)
    expect(() => parseHeaderSection(Buffer.from('A: 1\r\n'), { octets: 5, fields: 9 })).toThrow(
      TOO_LARGE,
    )
  })

  test.each([
    'A:',
    'A: 1\r\n',
    'A',
    ' ',
    'A ',
    'A\r\n',
    '\r\n ',
    '\n',
    '\r',
    ':',
    'A:\n ',
    'A:\r\n\t\r\n',
    'ä',
  ])('B59 1 MiB of %j takes at most 50 ms', unit => {
    const octets = Buffer.from(unit.repeat(2 ** 20 / unit.length))
    const first = Buffer.concat([Buffer.from('A: '), octets])
    for (const hostile of [octets, first]) {
      expect(fastestMs(() => bodiesOf(hostile))).toBeLessThan(50)
    }
  })
})

describe('readHeaderSection', () => {
  test('reads no more than it needs', async () => {
    const content = recorded(Buffer.from(`A: 1\r\n\r\n${'x'.repeat(10 ** 6)}`))
    expect((await readHeaderSection(content)).bodyOffset).toBe(8)
    expect(content.readOctets).toBeLessThan(64 * 1024)
  })

  test('reads a section that is longer than the first window', async () => {
    const text = `A: ${'x'.repeat(50_000)}\r\nB: 2\r\n\r\nbody`
    const section = await readHeaderSection(contentOf(Buffer.from(text)))
    expect(section.bodyOffset).toBe(text.length - 4)
    expectReproduced(section, Buffer.from(text))
  })

  test('reads from the middle, and counts from there', async () => {
    const section = await readHeaderSection(contentOf(Buffer.from('--b\r\nA: 1\r\n\r\nx')), 5)
    expect([section.fields[0]!.body, section.sizeOctets, section.bodyOffset]).toEqual(['1', 6, 8])
  })

  test('finds the end wherever the first window ends', async () => {
    for (let padding = 16 * 1024 - 20; padding < 16 * 1024 + 4; padding++) {
      const octets = Buffer.from(`P: ${'x'.repeat(padding)}\r\nA: 1\r\n\r\nbody`)
      const section = await readHeaderSection(contentOf(octets))
      expect(String(octets.subarray(section.bodyOffset))).toBe('body')
    }
  })

  test('B56 gives up at the limit, not at the end of the content', async () => {
    const content = recorded(Buffer.from(`A: ${'x'.repeat(10 ** 7)}\r\n\r\n`))
    await expect(readHeaderSection(content)).rejects.toThrow(TOO_LARGE)
    expect(content.readOctets).toBeLessThan(200 * 1024)
  })

  test('says of any octets what parseHeaderSection says', async () => {
    const padding = fc.constantFrom(0, 16 * 1024 - 9, 16 * 1024 - 5, 102_370, 102_389, 102_396)
    await fc.assert(
      fc.asyncProperty(hostile, padding, async (octets, padding) => {
        const padded = Buffer.concat([
          Buffer.from(padding ? `P: ${'x'.repeat(padding)}\r\n` : ''),
          octets,
        ])
        const read = await outcome(() => readHeaderSection(contentOf(padded)))
        expect(read).toEqual(await outcome(async () => parseHeaderSection(padded)))
      }),
      { numRuns: 500 },
    )
  })
})

/** Octets of which header sections are made, and of which they are broken. */
const hostile: fc.Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'A: 1\r\n',
        'Subject',
        ':',
        '\r\n',
        '\n',
        '\r',
        ' ',
        '\t',
        'b',
        '\0',
        'ä',
        ' c\r\n',
      ),
      fc.string(),
    ),
    { maxLength: 40 },
  )
  .map(pieces => Buffer.from(pieces.join('')))

function parse(text: string): HeaderSection {
  return parseHeaderSection(Buffer.from(text))
}

function expectReproduced(section: HeaderSection, octets: Buffer): void {
  const fields = Buffer.concat(section.fields.map(field => field.octets))
  expect(fields.equals(octets.subarray(0, section.sizeOctets))).toBe(true)
  const blank = octets.subarray(section.sizeOctets, section.bodyOffset)
  expect(['', '\n', '\r\n']).toContain(blank.toString('latin1'))
}

/** Field bodies, or the code of the refusal. */
function bodiesOf(octets: Buffer): unknown {
  try {
    return parseHeaderSection(octets).fields.map(({ body }) => body)
  } catch (error) {
    return (error as { code?: string }).code
  }
}

async function outcome(section: () => Promise<HeaderSection>): Promise<unknown> {
  try {
    const { fields, sizeOctets, bodyOffset } = await section()
    return [fields.map(({ octets }) => octets.toString('latin1')), sizeOctets, bodyOffset]
  } catch (error) {
    return (error as { code?: string }).code
  }
}

function recorded(octets: Buffer): Content & { readonly readOctets: number } {
  const content = contentOf(octets)
  let readOctets = 0
  return {
    sizeOctets: content.sizeOctets,
    shape: content.shape,
    get readOctets() {
      return readOctets
    },
    async *read(start?: number, end?: number) {
      for await (const chunk of content.read(start, end)) {
        readOctets += chunk.length
        yield chunk
      }
    },
    dispose() {},
  }
}
