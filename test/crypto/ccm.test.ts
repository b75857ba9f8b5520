/** AES-CCM as it comes, beside OpenSSL's of the whole, and the vectors of RFC 3610. @module */
import { createCipheriv, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { beginCcm, isWithinCcm } from '../../src/crypto/ccm.ts'

interface Sealed {
  readonly key: Buffer
  readonly nonce: Buffer
  readonly tag: Buffer
  readonly additionalData: Buffer
  readonly cipherText: Buffer
}

describe('RFC 3610 §8', () => {
  const key = Buffer.from('c0c1c2c3c4c5c6c7c8c9cacbcccdcecf', 'hex')

  test.each([
    [
      1,
      '00000003020100a0a1a2a3a4a5',
      8,
      31,
      '588c979a61c663d2f066d0c2c0f989806d5f6b61dac384',
      '17e8d12cfdf926e0',
    ],
    [
      2,
      '00000004030201a0a1a2a3a4a5',
      8,
      32,
      '72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3b',
      'a091d56e10400916',
    ],
    [
      4,
      '00000006050403a0a1a2a3a4a5',
      12,
      31,
      'a28c6865939a9a79faaa5c4c2a9d4a91cdac8c',
      '96c861b9c9e61ef1',
    ],
    [
      7,
      '00000009080706a0a1a2a3a4a5',
      8,
      31,
      '0135d1b2c95f41d5d1d4fec185d166b8094e999dfed96c',
      '048c56602c97acbb7490',
    ],
  ] as const)('packet vector %i', (_, nonce, additionalOctets, octets, cipherText, tag) => {
    const packet = Buffer.from(Array.from({ length: octets }, (__, at) => at))
    const sealed = {
      key,
      nonce: Buffer.from(nonce, 'hex'),
      tag: Buffer.from(tag, 'hex'),
      additionalData: packet.subarray(0, additionalOctets),
      cipherText: Buffer.from(cipherText, 'hex'),
    }
    expect(open(sealed)).toEqual(packet.subarray(additionalOctets))
  })
})

describe('beside OpenSSL', () => {
  const sizes = fc.record({
    keyOctets: fc.constantFrom(16, 24, 32),
    nonceOctets: fc.integer({ min: 7, max: 13 }),
    tagOctets: fc.constantFrom(4, 6, 8, 10, 12, 14, 16),
    additionalOctets: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.constantFrom(65_278, 65_279)),
    octets: fc.oneof(fc.integer({ min: 0, max: 70 }), fc.integer({ min: 0, max: 65_535 })),
    pieceOctets: fc.integer({ min: 1, max: 5000 }),
  })

  test('the same content, in pieces of any size', () => {
    fc.assert(
      fc.property(sizes, size => {
        const content = randomBytes(size.octets)
        expect(open(seal(size, content), size.pieceOctets)?.equals(content)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('B9 not one octet or bit can be otherwise', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.integer({ min: 0, max: 7 }), (size, at, bit) => {
        const sealed = seal({ ...size, tagOctets: 16 }, randomBytes(size.octets % 100))
        for (const field of ['tag', 'nonce', 'additionalData', 'cipherText', 'key'] as const) {
          const altered = Buffer.from(sealed[field])
          if (altered.length === 0) continue
          altered[at % altered.length]! ^= 1 << bit
          expect(open({ ...sealed, [field]: altered })).toBeUndefined()
        }
        const longer = Buffer.concat([sealed.cipherText, Buffer.alloc(1)])
        expect(open({ ...sealed, cipherText: longer })).toBeUndefined()
        expect(open(sealed, 1000, sealed.cipherText.length + 1)).toBeUndefined()
        expect(open({ ...sealed, additionalData: Buffer.alloc(0) }) === undefined).toBe(
          sealed.additionalData.length > 0,
        )
      }),
      { numRuns: 60 },
    )
  })
})

test('B9 what is longer than was said has no right tag, though its end be padding', () => {
  const [key, nonce, content] = [randomBytes(32), randomBytes(12), randomBytes(20)]
  const sizes = { keyOctets: 32, nonceOctets: 12, tagOctets: 16, additionalOctets: 0 }
  const sealed = seal(sizes, content, [key, nonce])
  const { cipherText } = seal(sizes, Buffer.concat([content, Buffer.alloc(3)]), [key, nonce])
  expect(open({ ...sealed, cipherText }, 7, content.length)).toBeUndefined()
  expect(open(sealed)).toEqual(content)
})

test('a length that the nonce leaves no room for is none', () => {
  const [short, long] = [Buffer.alloc(7), Buffer.alloc(13)]
  expect(isWithinCcm({ nonce: long, sizeOctets: 65_535 })).toBe(true)
  expect(isWithinCcm({ nonce: long, sizeOctets: 65_536 })).toBe(false)
  expect(isWithinCcm({ nonce: short, sizeOctets: 2 ** 47 })).toBe(true)
  const tag = Buffer.alloc(16)
  const begin = (sizeOctets: number, additionalData: Buffer) =>
    beginCcm(Buffer.alloc(16), { nonce: long, tag, additionalData, sizeOctets })
  expect(() => begin(65_536, Buffer.alloc(0))).toThrow(RangeError)
  expect(() => begin(1, Buffer.alloc(65_280))).toThrow(RangeError)
})

function seal(
  size: Readonly<Record<'keyOctets' | 'nonceOctets' | 'tagOctets' | 'additionalOctets', number>>,
  content: Buffer,
  [key, nonce] = [randomBytes(size.keyOctets), randomBytes(size.nonceOctets)] as const,
): Sealed {
  const additionalData = randomBytes(size.additionalOctets)
  const name = `aes-${size.keyOctets * 8}-ccm` as 'aes-128-ccm'
  const cipher = createCipheriv(name, key, nonce, { authTagLength: size.tagOctets })
  cipher.setAAD(additionalData, { plaintextLength: content.length })
  const cipherText = Buffer.concat([cipher.update(content), cipher.final()])
  return { key, nonce, tag: cipher.getAuthTag(), additionalData, cipherText }
}

function open(
  { key, nonce, tag, additionalData, cipherText }: Sealed,
  pieceOctets = 7,
  sizeOctets = cipherText.length,
): Buffer | undefined {
  try {
    const running = beginCcm(key, { nonce, tag, additionalData, sizeOctets })
    const pieces: Buffer[] = []
    for (let at = 0; at < cipherText.length; at += pieceOctets)
      pieces.push(running.update(cipherText.subarray(at, at + pieceOctets)))
    pieces.push(running.final())
    return Buffer.concat(pieces)
  } catch {
    return undefined
  }
}
