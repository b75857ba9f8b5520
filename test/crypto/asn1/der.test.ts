import { fromBER, type Integer, type ObjectIdentifier } from 'asn1js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BerReader } from '../../../src/crypto/asn1/ber-reader.ts'
import {
  DerReader,
  readFlags,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
} from '../../../src/crypto/asn1/der-reader.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import { requireDer } from '../../support/der.ts'
import { ALLOWED, outcomeOf } from '../outcome.ts'

const SYNTAX = expect.objectContaining({ code: 'ERR_DER_SYNTAX' })

test.each([0x10, 0x11, 0x21, 0x22, 0x25, 0x26, 0x29, 0x2a])(
  'B33 tag %i is constructed where it may not be, or is not where it has to be, for every reader',
  tag => {
    const inside = [tlv(0x04, Buffer.alloc(0))]
    for (const content of [[], inside]) {
      const element = tlv(tag, ...content)
      expect(() => new DerReader(element).element()).toThrow(SYNTAX)
      const reader = new BerReader([0x30, 0xa0, 0x04], () => {})
      expect(() => reader.push(sequence(element))).toThrow(
        expect.objectContaining({ code: 'ERR_BER_SYNTAX' }),
      )
    }
  },
)

describe('writing', () => {
  test('integers are the ones that asn1js reads', () => {
    fc.assert(
      fc.property(fc.nat(), value => {
        expect((fromBER(integer(value)).result as Integer).toBigInt()).toBe(BigInt(value))
        expect(readSmallInteger(new DerReader(integer(value)).element(0x02))).toBe(value)
      }),
    )
  })

  test('object identifiers are the ones that asn1js reads, and read back', () => {
    const arc = fc.nat({ max: 2 ** 31 - 1 })
    const first = fc.constantFrom('0.9', '1.2', '1.39', '2.5', '2.100')
    fc.assert(
      fc.property(first, fc.array(arc, { maxLength: 10 }), (start, arcs) => {
        const dotted = [start, ...arcs].join('.')
        const der = oid(dotted)
        expect((fromBER(der).result as ObjectIdentifier).getValue()).toBe(dotted)
        expect(readOid(new DerReader(der).element(0x06))).toBe(dotted)
      }),
    )
  })

  test('X.667: an object identifier made of a UUID', () => {
    const dotted = '2.25.329800735698586629295641978511506172918'
    expect(readOid(new DerReader(oid(dotted)).element(0x06))).toBe(dotted)
  })

  test.each([0, 1, 127, 128, 255, 256, 65_535, 65_536, 16_777_216])('%d octets', size => {
    const der = octetString(Buffer.alloc(size))
    expect(fromBER(der).offset).toBe(der.length)
    expect(new DerReader(der).element(0x04).content.length).toBe(size)
  })

  test('X.690 §11.6: a set stands in the order of its octets', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), contents => {
        const elements = contents.map(content => octetString(content))
        const set = new DerReader(setOf(...elements)).into(0x31)
        const read: Buffer[] = []
        while (!set.done) read.push(set.element().octets)
        expect(read).toEqual(elements.toSorted((one, other) => Buffer.compare(one, other)))
      }),
    )
  })

  test.each([
    ['1949-12-31T23:59:59Z', '180f31393439'],
    ['1950-01-01T00:00:00Z', '170d3530'],
    ['2049-12-31T23:59:59Z', '170d3439'],
    ['2050-01-01T00:00:00Z', '180f32303530'],
  ])('RFC 5652 §11.3: %s', (text, beginning) => {
    const der = time(new Date(text))
    expect(der.toString('hex').startsWith(beginning)).toBe(true)
    expect(readTime(new DerReader(der).element()).toISOString()).toBe(text.replace('Z', '.000Z'))
  })
})

describe('reading', () => {
  test.each([
    ['nothing', ''],
    ['half a header', '30'],
    ['indefinite length', '30800000'],
    ['B57 length over what is left', '30820100'],
    ['B57 length of 2^63', '30887fffffffffffffff'],
    ['B57 length of 2^32 - 1', '3084ffffffff'],
    ['length not in its shortest form', '3081020500'],
    ['length with leading zero', `30820080${'00'.repeat(128)}`],
    ['tag of more than one octet', '1f8100'],
    ['trailing octets', '300000'],
  ])('%s is refused', (_name, hex) => {
    const read = () => {
      const reader = new DerReader(Buffer.from(hex, 'hex'))
      reader.element()
      reader.finish()
    }
    expect(read).toThrow(SYNTAX)
  })

  test('B57 a child may not reach over its parent', () => {
    expect(() => requireDer(Buffer.from('3003040200ff', 'hex'))).toThrow(SYNTAX)
  })

  test('B57 depth is bounded at 64', () => {
    const nested = (depth: number) => {
      let der: Buffer = Buffer.alloc(0)
      for (let level = 0; level < depth; level++) der = sequence(der)
      return der
    }
    expect(() => requireDer(nested(64))).not.toThrow()
    expect(() => requireDer(nested(66))).toThrow('deeper than 64')
    expect(() => requireDer(nested(20_000))).toThrow(SYNTAX)
  })

  test('B57 elements are bounded at 100,000, and the bound comes quickly', () => {
    const flood = tlv(0x31, Buffer.alloc(8_000_000, Buffer.from('0500', 'hex')))
    expect(() => requireDer(flood)).toThrow('too many elements')
    expect(() =>
      requireDer(tlv(0x31, Buffer.alloc(99_000 * 2, Buffer.from('0500', 'hex')))),
    ).not.toThrow()
  })

  test.each(['', '80', '8001', '2a80', `2a${'ff'.repeat(200)}01`])(
    'object identifier %s is refused',
    hex => {
      const element = new DerReader(tlv(0x06, Buffer.from(hex, 'hex'))).element()
      expect(() => readOid(element)).toThrow(SYNTAX)
    },
  )

  test.each(['', '0001', 'ff80'])('integer %s is refused', hex => {
    const element = new DerReader(tlv(0x02, Buffer.from(hex, 'hex'))).element()
    expect(() => readInteger(element)).toThrow(SYNTAX)
  })

  test.each([
    [0x17, '2602300000Z'],
    [0x17, '260230000000Z'],
    [0x17, '261301000000Z'],
    [0x17, '260101240000Z'],
    [0x17, '260101000000+0000'],
    [0x17, '26010100000xZ'],
    [0x17, '260100000000Z'],
    [0x18, '260101000000Z'],
    [0x18, '20260101000000.5Z'],
    [0x18, '20260101000000'],
    [0x04, '20260101000000Z'],
  ])('time %i %s is refused', (tag, text) => {
    const element = new DerReader(tlv(tag, Buffer.from(text))).element()
    expect(() => readTime(element)).toThrow(SYNTAX)
  })

  test('flags count from the highest bit', () => {
    expect(readFlags(new DerReader(Buffer.from('030205a0', 'hex')).element())).toEqual([0, 2])
    expect(readFlags(new DerReader(Buffer.from('0303070080', 'hex')).element())).toEqual([8])
    expect(() => readFlags(new DerReader(Buffer.from('030208a0', 'hex')).element())).toThrow(SYNTAX)
  })

  test('B57 whatever the octets, the only error is ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), octets => {
        expect(ALLOWED).toContain(outcomeOf(() => requireDer(Buffer.from(octets))))
      }),
      { numRuns: 2000 },
    )
  })

  test('X.690 §8.8.2: NULL has no content', () => {
    expect(new DerReader(Buffer.from('0500', 'hex')).element(0x05).content.length).toBe(0)
    expect(() => new DerReader(Buffer.from('050101', 'hex')).element(0x05)).toThrow(
      expect.objectContaining({ code: 'ERR_DER_SYNTAX' }),
    )
  })

  test('optional elements are passed over where they are not', () => {
    const reader = new DerReader(sequence(context(1), integer(5))).into(0x30)
    expect(reader.optional(0xa0)).toBeUndefined()
    expect(reader.optionalInto(0xa1)?.done).toBe(true)
    expect(reader.nextTag).toBe(0x02)
    reader.element(0x02)
    expect(reader.nextTag).toBe(-1)
  })
})
