import { fromBER } from 'asn1js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  BerReader,
  type ContentPath,
  type ContentTag,
} from '../../../src/crypto/asn1/ber-reader.ts'
import { close, octetStringSegments, open } from '../../../src/crypto/asn1/ber-stream.ts'
import {
  context,
  integer,
  octetString,
  sequence,
  setOf,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import { each } from '../../support/chunks.ts'
import { ALLOWED, outcomeOf } from '../outcome.ts'

const SYNTAX = expect.objectContaining({ code: 'ERR_BER_SYNTAX' })
/** SEQUENCE { INTEGER, [0] { OCTET STRING } OPTIONAL, SET }. */
const PATH = [0x30, 0xa0]
const SKELETON = sequence(integer(7), setOf(integer(1), integer(2)))
const CONTENT = Buffer.from('some content that is in several pieces')

const definite = sequence(
  integer(7),
  context(0, octetString(CONTENT)),
  setOf(integer(1), integer(2)),
)
const constructed = Buffer.concat([
  open(0x30),
  integer(7),
  open(0xa0),
  open(0x24),
  octetString(CONTENT.subarray(0, 9)),
  octetString(Buffer.alloc(0)),
  open(0x24),
  octetString(CONTENT.subarray(9)),
  close(3),
  open(0x31),
  integer(1),
  integer(2),
  close(2),
])

describe('writing', () => {
  test('segments hold the chunks, and asn1js reads them', async () => {
    const sizes = [1, 8191, 1, 0, 20_000, 5]
    const chunks = sizes.map((size, index) => Buffer.alloc(size, index))
    const written: Buffer[] = []
    for await (const octets of octetStringSegments(each(chunks))) written.push(octets)
    const der = Buffer.concat([open(0x24), ...written, close(1)])
    const { result, offset } = fromBER(der)
    expect(offset).toBe(der.length)
    const { content } = readAll([sequence(context(0, der))])
    expect(content).toEqual(Buffer.concat(chunks))
    expect(result.valueBlock.toJSON()).toMatchObject({ isConstructed: true })
  })

  test('no content is no segment', async () => {
    for await (const octets of octetStringSegments(each([]))) expect(octets).toBeUndefined()
  })
})

describe('reading', () => {
  test.each([
    ['definite', definite],
    ['indefinite and constructed', constructed],
  ])('%s lengths, cut at every octet', (_name, octets) => {
    for (let cut = 0; cut <= octets.length; cut++) {
      const { skeleton, content } = readAll([octets.subarray(0, cut), octets.subarray(cut)])
      expect(skeleton).toEqual(SKELETON)
      expect(content).toEqual(CONTENT)
    }
  })

  test.each([
    ['definite', definite],
    ['indefinite and constructed', constructed],
  ])('%s lengths, in chunks of any size', (_name, octets) => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 60 }), sizes => {
        let start = 0
        const chunks = sizes.map(size => {
          const chunk = octets.subarray(start, start + size)
          start += size
          return chunk
        })
        const { skeleton, content } = readAll([...chunks, octets.subarray(start)])
        expect(skeleton).toEqual(SKELETON)
        expect(content).toEqual(CONTENT)
      }),
    )
  })

  test('content that is absent is told from content that is empty', () => {
    expect(readAll([SKELETON]).contentSeen).toBe(false)
    expect(readAll([sequence(context(0, octetString(Buffer.alloc(0))))]).contentSeen).toBe(true)
    expect(readAll([sequence(context(0))]).skeleton).toEqual(sequence(context(0)))
  })

  test('content has to stand behind what it is, where that is asked for', () => {
    const inOrder = sequence(integer(7), context(0, octetString(CONTENT)))
    const ahead = sequence(context(0, octetString(CONTENT)), integer(7))
    const both = [inOrder, ahead].map(der => () => {
      const reader = new BerReader(PATH, () => undefined, 0x04, 1)
      reader.push(der)
      return reader.end()
    })
    expect(both[0]!()).toEqual(sequence(integer(7)))
    expect(both[1]!).toThrow(SYNTAX)
  })

  test('what stands around content stands there once', () => {
    const twice = sequence(integer(7), context(0, octetString(CONTENT)), context(0))
    expect(() => readAll([twice])).toThrow(SYNTAX)
  })

  test('an octet string elsewhere is no content', () => {
    const octets = sequence(octetString(CONTENT), context(1, octetString(CONTENT)))
    expect(readAll([octets])).toMatchObject({ skeleton: octets, contentSeen: false })
  })

  test.each([
    ['primitive', tlv(0x80, CONTENT)],
    [
      'constructed',
      tlv(0xa0, octetString(CONTENT.subarray(0, 7)), octetString(CONTENT.subarray(7))),
    ],
    ['indefinite', Buffer.concat([open(0xa0), open(0x24), octetString(CONTENT), close(2)])],
    ['empty', tlv(0x80)],
  ])('[0] IMPLICIT content, %s, cut at every octet', (kind, implicit) => {
    const rest = [integer(7), setOf(integer(1))]
    const octets = sequence(sequence(integer(7), implicit), ...rest)
    for (let cut = 0; cut <= octets.length; cut++) {
      const chunks = [octets.subarray(0, cut), octets.subarray(cut)]
      const { skeleton, content, contentSeen } = readAll(chunks, [0x30, 0x30], 0x80)
      expect(skeleton).toEqual(sequence(sequence(integer(7)), ...rest))
      expect(content).toEqual(kind === 'empty' ? Buffer.alloc(0) : CONTENT)
      expect(contentSeen).toBe(true)
    }
  })

  test.each([
    ['a segment of another type', [0x30], 0x80, '3004a0020500'],
    ['content that stands there twice', [0x30], 0x80, '300480008000'],
    ['content that stands there twice, explicit', PATH, 0x04, '3006a00404000400'],
  ] as const)('%s is refused', (_name, path, tag, hex) => {
    expect(() => readAll([Buffer.from(hex, 'hex')], path, tag)).toThrow(SYNTAX)
  })

  test.each([
    ['nothing', ''],
    ['B57 a child over its parent', '3003040500'],
    ['B57 length of 2^63', '30887fffffffffffffff'],
    ['B57 a primitive of 4 GB', '30800484ffffffff'],
    ['end of contents in a definite element', '30020000'],
    ['end of contents with a length', '30800001'],
    ['end of contents alone', '0000'],
    ['a primitive alone', '020101'],
    ['a primitive of indefinite length', '308004800000'],
    ['content of another type', '3080a08024800201010000'],
    ['a second structure', '30003000'],
    ['a missing end', '308002010100'],
    ['tag of more than one octet', '30801f8100'],
  ])('%s is refused', (_name, hex) => {
    expect(() => readAll([Buffer.from(hex, 'hex')])).toThrow(SYNTAX)
  })

  test('B57 depth, elements and held octets are bounded', () => {
    expect(() => readAll([Buffer.alloc(200, Buffer.from('3080', 'hex'))])).toThrow('deeper than 64')
    const flood = Buffer.alloc(400_000, Buffer.from('0500', 'hex'))
    expect(() => readAll([open(0x30), flood])).toThrow('too many elements')
    const heavy = octetString(Buffer.alloc(600_000))
    expect(() => readAll([open(0x30), heavy, heavy])).toThrow('too many octets')
  })

  test('B57 content in segments of one octet is read in one go', () => {
    const segments = Buffer.alloc(3_000_000, Buffer.from('040161', 'hex'))
    const before = process.cpuUsage()
    const head = [open(0x30), open(0xa0), open(0x24)]
    const { content } = readAll([...head, segments, close(3)])
    expect(content.length).toBe(1_000_000)
    expect(process.cpuUsage(before).user).toBeLessThan(3_000_000)
  })

  test('B57 whatever the octets, the only error is ours', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 255 }), fc.nat(), (at, octet, cut) => {
        const octets = Buffer.from(constructed)
        octets[at % octets.length] = octet
        const middle = cut % octets.length
        expect(ALLOWED).toContain(
          outcomeOf(() => readAll([octets.subarray(0, middle), octets.subarray(middle)])),
        )
      }),
      { numRuns: 3000 },
    )
  })
})

function readAll(chunks: readonly Buffer[], path: ContentPath = PATH, tag: ContentTag = 0x04) {
  const pieces: Buffer[] = []
  const reader = new BerReader(path, octets => pieces.push(Buffer.from(octets)), tag)
  for (const chunk of chunks) reader.push(chunk)
  const skeleton = reader.end()
  return { skeleton, content: Buffer.concat(pieces), contentSeen: reader.contentSeen }
}
