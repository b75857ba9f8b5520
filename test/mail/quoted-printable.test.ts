import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decodeQuotedPrintable,
  encodeQuotedPrintable,
  quotedPrintableOctets,
  repairQuotedPrintable,
} from '../../src/mail/quoted-printable.ts'
import { cut, each, gather } from '../support/chunks.ts'

describe('quoted-printable', () => {
  test('gives back what was encoded, however it is cut (RFC 2045 §6.7)', async () => {
    await fc.assert(
      fc.asyncProperty(text(), chunkSize(), chunkSize(), async (octets, one, other) => {
        const encoded = await gather(encodeQuotedPrintable(each(cut(octets, one))))
        expect(await gather(decodeQuotedPrintable(each(cut(encoded, other))))).toEqual(octets)
      }),
      { numRuns: 500 },
    )
  })

  test('is 7-bit, in lines of at most 76 characters without white space at their end', async () => {
    await fc.assert(
      fc.asyncProperty(text(), async octets => {
        const encoded = await gather(encodeQuotedPrintable(each([octets])))
        for (const line of encoded.toString('latin1').split('\r\n')) {
          expect(line).toMatch(/^(?:[!-<>-~\t ]|=[0-9A-F]{2})*=?$/)
          expect(line).not.toMatch(/^\.|^From |^--|[\t ]$/)
          expect(line.length).toBeLessThanOrEqual(76)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('is the same, however the octets are cut', async () => {
    await fc.assert(
      fc.asyncProperty(text(), chunkSize(), async (octets, size) => {
        const whole = await gather(encodeQuotedPrintable(each([octets])))
        expect(await gather(encodeQuotedPrintable(each(cut(octets, size))))).toEqual(whole)
      }),
    )
  })

  test.each([
    ['tr\xe4g', 'tr=E4g'],
    ['a \r\nb\t', 'a=20\r\nb=09'],
    [
      '.\r\n..\r\nFrom me\r\nFrost\r\n--b\r\n-b',
      '=2E\r\n=2E.\r\n=46rom me\r\nFrost\r\n=2D-b\r\n-b',
    ],
    ['a\rb\nc\0', 'a=0Db=0Ac=00'],
    ['1+1=2', '1+1=3D2'],
  ])('of %j is %j', async (plain, encoded) => {
    const octets = Buffer.from(plain, 'latin1')
    const result = await gather(encodeQuotedPrintable(each([octets])))
    expect(result.toString('latin1')).toBe(encoded)
  })

  test('takes about the room that was told before', async () => {
    for (const plain of ['Grüße aus Köln\r\n'.repeat(99), 'plain text '.repeat(500)]) {
      const octets = Buffer.from(plain)
      const encoded = await gather(encodeQuotedPrintable(each([octets])))
      expect(encoded.length / quotedPrintableOctets(octets)).toBeCloseTo(1, 1)
    }
  })
})

describe('decoding quoted-printable', () => {
  test.each([
    ['a=3Db', 'a=b'],
    ['a=3db', 'a=b'],
    ['a  \r\nb=20\r\n', 'a\r\nb \r\n'],
    ['a=\r\nb= \t\r\nc=', 'abc'],
    ['end = \r\n', 'end '],
    ['end \t', 'end'],
  ])('%j gives %j, cut anywhere', async (encoded, plain) => {
    for (let size = 1; size <= encoded.length; size++) {
      const pieces = cut(Buffer.from(encoded, 'latin1'), size)
      expect((await gather(decodeQuotedPrintable(each(pieces)))).toString('latin1')).toBe(plain)
    }
  })

  test.each(['=4', 'a=\rb', '=XY', '=4G', '= x', '\xe4', 'a\0b', '=3'])(
    '%j is malformed',
    async encoded => {
      const decoded = gather(
        decodeQuotedPrintable(each([Buffer.from(encoded, 'latin1'), Buffer.from('x')])),
      )
      await expect(decoded).rejects.toMatchObject({ code: 'ERR_QUOTED_PRINTABLE_MALFORMED' })
    },
  )
})

test('white space without end is malformed: nobody may fill the memory with it', async () => {
  const decoded = gather(decodeQuotedPrintable(each([Buffer.alloc(9000, ' ')])))
  await expect(decoded).rejects.toMatchObject({ code: 'ERR_QUOTED_PRINTABLE_MALFORMED' })
})

describe('repairing quoted-printable', () => {
  test('makes it safe, and a lenient reader decodes the same', async () => {
    const pieces = fc.constantFrom(
      '=E4',
      '=3D',
      'word ',
      '--b',
      '.',
      '\xfc',
      '=\r\n',
      '\r\n',
      ' \t',
    )
    const broken = fc
      .array(fc.tuple(pieces, fc.integer({ min: 1, max: 600 })), { maxLength: 12 })
      .map(runs => runs.map(([piece, n]) => piece.repeat(piece === ' \t' ? n % 9 : n)).join('_'))
      .map(joined => Buffer.from(joined, 'latin1'))
    await fc.assert(
      fc.asyncProperty(broken, chunkSize(), async (octets, size) => {
        const repaired = await gather(repairQuotedPrintable(each(cut(octets, size))))
        expect(lenient(repaired)).toBe(lenient(octets))
        for (const line of repaired.toString('latin1').split('\r\n')) {
          expect(line.length).toBeLessThanOrEqual(998)
          expect(line).toMatch(/^[\x00-\x7f]*$/)
        }
      }),
    )
  })

  test('repaired, keeps a stray = apart from what is encoded behind it', async () => {
    for (const size of [1, 2, 100]) {
      const octets = Buffer.from('1=\xe4 2=4\xe4 3==\xe4', 'latin1')
      const repaired = await gather(repairQuotedPrintable(each(cut(octets, size))))
      expect(repaired.toString('latin1')).toBe('1=3D=E4 2=4=E4 3==3D=E4')
    }
  })
})

/** Line ends, octets that need care, and long runs, rather than noise alone. */
function text(): fc.Arbitrary<Buffer> {
  const piece = fc.oneof(
    fc.constantFrom(
      '\r\n',
      ' ',
      '\t',
      '.',
      'From ',
      '--',
      '=',
      '\r',
      '\n',
      '\xe4',
      'F',
      'Fro',
      '-',
      'x'.repeat(200),
    ),
    fc.string({ maxLength: 90 }),
  )
  return fc.array(piece, { maxLength: 30 }).map(pieces => Buffer.from(pieces.join(''), 'latin1'))
}

function chunkSize(): fc.Arbitrary<number> {
  return fc.integer({ min: 1, max: 100 })
}

function lenient(octets: Buffer): string {
  return octets
    .toString('latin1')
    .replace(/[\t ]+(?=\r\n|$)/g, '')
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
