import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PosternError } from '../../src/errors.ts'
import { base64Lines, decodeBase64, encodeBase64Lines } from '../../src/mail/base64.ts'
import { cut, each, gather } from '../support/chunks.ts'

describe('base64 lines', () => {
  test('are 76 characters long and all end in CRLF (RFC 2045 §6.8)', () => {
    fc.assert(
      fc.property(octets(), content => {
        const lines = base64Lines(content).toString('latin1')
        const reference = content.toString('base64').match(/.{1,76}/g) ?? []
        expect(lines).toBe(reference.map(line => `${line}\r\n`).join(''))
      }),
    )
  })

  test('are the same when the octets come in pieces', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(octets()), async pieces => {
        const streamed = await gather(encodeBase64Lines(each(pieces)))
        expect(streamed).toEqual(base64Lines(Buffer.concat(pieces)))
      }),
    )
  })

  test('of more octets than one block are the same too', async () => {
    const content = Buffer.alloc(600_001, 'postern')
    const streamed = await gather(encodeBase64Lines(each([content, content])))
    expect(streamed.equals(base64Lines(Buffer.concat([content, content])))).toBe(true)
  })
})

describe('decoding base64', () => {
  test('gives back what was encoded, however the text is cut', async () => {
    await fc.assert(
      fc.asyncProperty(octets(), fc.integer({ min: 1, max: 90 }), async (content, size) => {
        const text = base64Lines(content)
        expect(await gather(decodeBase64(each(cut(text, size))))).toEqual(content)
      }),
    )
  })

  test('takes what a strict reading takes, and nothing else', async () => {
    const text = fc.string({ unit: fc.constantFrom(...CHARACTERS), maxLength: 14 })
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 1, max: 14 }), async (candidate, size) => {
        const bare = candidate.replace(/[\r\n\t ]/g, '')
        const isBase64 = /^([\w+/]{4})*([\w+/]{2}==|[\w+/]{3}=)?$/.test(bare) && !bare.includes('_')
        const expected = isBase64 ? Buffer.from(bare, 'base64') : 'ERR_BASE64_MALFORMED'
        const chunks = each(cut(Buffer.from(candidate, 'latin1'), size))
        expect(await gather(decodeBase64(chunks)).catch(error => error.code)).toEqual(expected)
      }),
      { numRuns: 3000 },
    )
  })

  test.each([
    ['octets behind the padding', 'QQ==\r\nQQ==\r\n'],
    ['too much padding', 'Q===\r\n'],
    ['missing padding', 'QQ\r\n'],
    ['one character alone', 'QUFBQ\r\n'],
    ['the URL alphabet', 'QUF-QUFB\r\n'],
    ['an octet of 8 bits', 'QUF\xe4\r\n'],
  ])('refuses %s', async (_, text) => {
    const decoded = gather(decodeBase64(each([Buffer.from(text, 'latin1')])))
    await expect(decoded).rejects.toMatchObject({ code: 'ERR_BASE64_MALFORMED' })
  })

  test('is the same in lines of any length, whole or altered, however the text is cut', async () => {
    const alteration = fc.constantFrom(...ODD)
    const where = fc.record({ at: fc.nat(250), drop: fc.constantFrom(0, 1, 1, 2), put: alteration })
    const sizes = fc.integer({ min: 30, max: 400 })
    const manyOctets = fc
      .uint8Array({ minLength: 100, maxLength: 400, size: 'max' })
      .map(array => Buffer.from(array))
    await fc.assert(
      fc.asyncProperty(
        manyOctets,
        fc.integer({ min: 1, max: 80 }),
        sizes,
        where,
        async (...all) => {
          const [content, lineLength, size, { at, drop, put }] = all
          const lines =
            content.toString('base64').match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? []
          const text = lines.join('\r\n')
          const altered = Buffer.from(text.slice(0, at) + put + text.slice(at + drop), 'latin1')
          // One octet at a time there is no line in sight.
          const slowly = await outcome(cut(altered, 1))
          expect(await outcome(cut(altered, size))).toEqual(slowly)
        },
      ),
      { numRuns: 1000 },
    )
  })
})

/** What comes out, or the code of the fault. */
async function outcome(pieces: Buffer[]): Promise<Buffer | string> {
  try {
    return await gather(decodeBase64(each(pieces)))
  } catch (error) {
    return (error as PosternError).code
  }
}

function octets(): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ maxLength: 400 }).map(array => Buffer.from(array))
}

const CHARACTERS = ['A', 'Q', 'w', '/', '+', '-', '_', '=', '\r', '\n', ' ', '\t', '!', 'é']

const ODD = ['A', '=', '-', '-', '_', '_', ' ', '\t', '\r', '\n', '\f', '!', '\r\n', '\xc1', '']
