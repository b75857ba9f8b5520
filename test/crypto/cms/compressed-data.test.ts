/**
 * CompressedData: what OpenSSL or zlib has made comes out, and a bomb does not go off.
 */
import { execFileSync } from 'node:child_process'
import { setImmediate } from 'node:timers/promises'
import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { close, open } from '../../../src/crypto/asn1/ber-stream.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
} from '../../../src/crypto/asn1/der-writer.ts'
import { inflate } from '../../../src/crypto/cms/compressed-data.ts'
import { PosternError } from '../../../src/errors.ts'
import { ContentWriter, contentStore } from '../../../src/mail/content.ts'
import { cutBy } from '../../support/chunks.ts'
import { noOpenssl } from '../openssl.ts'

const ENTITY = Buffer.from(`Content-Type: text/plain\r\n\r\n${'Once more. '.repeat(50)}\r\n`)
const ZLIB = '1.2.840.113549.1.9.16.3.8'
const COMPRESSED_DATA = '1.2.840.113549.1.9.16.1.9'
const DATA = '1.2.840.113549.1.7.1'
const LIMIT = 10_000_000
const STORE = contentStore({ memoryPerMessageOctets: 100_000 })

describe('opening', () => {
  test('in chunks of any size', async () => {
    const der = compressedData(octetString(deflateSync(ENTITY)))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 90 })), async sizes => {
        const chunks = cutBy(der, sizes)
        expect(await inflated(chunks)).toEqual({
          kind: 'inflated',
          contentType: DATA,
          text: text(),
        })
      }),
      { numRuns: 15 },
    )
  })

  test('in segments, of indefinite length', async () => {
    const octets = deflateSync(ENTITY)
    const segments = [octets.subarray(0, 9), octets.subarray(9)].map(octetString)
    const der = compressedData(Buffer.concat([open(0x24), ...segments, close(1)]))
    expect(await inflated([der])).toMatchObject({ kind: 'inflated', text: text() })
  })

  test('nothing at all', async () => {
    const der = compressedData(octetString(deflateSync(Buffer.alloc(0))))
    expect(await inflated([der])).toMatchObject({ kind: 'inflated', text: '' })
  })

  const why = noOpenssl ? ` (skipped: ${noOpenssl})` : ''
  test.skipIf(noOpenssl)(`what openssl has compressed${why}`, async context => {
    const made = compressedByOpenssl()
    if (!made) return context.skip('openssl was built without zlib')
    expect(await inflated([made])).toMatchObject({ kind: 'inflated', text: text() })
  })
})

describe('B58', () => {
  test('a bomb is stopped at ten times its size', async () => {
    const bomb = deflateSync(Buffer.alloc(50_000_000))
    const limitOctets = bomb.length * 10 + 65_536
    expect(await inflated([compressedData(octetString(bomb))])).toEqual({
      kind: 'too-large',
      limitOctets,
    })
    expect(STORE.heldOctets).toBe(0)
  })

  test('what is in bounds of its size is still in those of a message', async () => {
    const der = compressedData(octetString(deflateSync(Buffer.alloc(5000, 'abcdefg'))))
    expect(await inflated([der], 4999)).toEqual({ kind: 'too-large', limitOctets: 4999 })
    expect(await inflated([der], 5000)).toMatchObject({ kind: 'inflated' })
  })
})

describe('refusing', () => {
  test.each([
    ['damaged', Buffer.from('this is no stream of zlib')],
    ['cut off', deflateSync(ENTITY).subarray(0, -5)],
    ['with octets behind', Buffer.concat([deflateSync(ENTITY), Buffer.from('more')])],
    ['with another stream behind', Buffer.concat([deflateSync(ENTITY), deflateSync(ENTITY)])],
    ['of no octets', Buffer.alloc(0)],
  ])('octets that are %s', async (_name, octets) => {
    expect(await inflated([compressedData(octetString(octets))])).toMatchObject({
      kind: 'unreadable',
      reason: 'malformed',
    })
    expect(STORE.heldOctets).toBe(0)
  })

  test.each([
    ['malformed', Buffer.from('3003', 'hex')],
    ['malformed', compressedData(Buffer.concat([octetString(ENTITY), octetString(ENTITY)]))],
    ['not-compressed', sequence(oid(DATA), context(0, octetString(ENTITY)))],
    ['detached', compressedData(undefined)],
    ['algorithm-refused', compressedData(octetString(ENTITY), '1.2.3')],
  ])('%s', async (reason, octets) => {
    expect(await inflated([octets])).toMatchObject({ kind: 'unreadable', reason })
  })

  test('what the reading throws: base64 is an answer, the rest comes through', async () => {
    const failing = (code: string) =>
      inflate(
        async function* () {
          yield await Promise.reject<Buffer>(new PosternError(code, 'transient', 'broken'))
        },
        () => new ContentWriter(STORE),
        { sizeOctets: LIMIT },
      )
    expect(await failing('ERR_BASE64_MALFORMED')).toMatchObject({ reason: 'base64' })
    await expect(failing('ERR_CONTENT_HELD')).rejects.toThrow('broken')
  })
})

function compressedData(content: Buffer | undefined, algorithm = ZLIB): Buffer {
  const encapsulated = sequence(oid(DATA), ...(content ? [context(0, content)] : []))
  const data = sequence(integer(0), sequence(oid(algorithm)), encapsulated)
  return sequence(oid(COMPRESSED_DATA), context(0, data))
}

async function inflated(chunks: readonly Buffer[], sizeOctets = LIMIT) {
  const hold = () => new ContentWriter(STORE)
  const inflation = await inflate(() => each(chunks), hold, { sizeOctets })
  if (inflation.kind !== 'inflated') return inflation
  const { content, ...rest } = inflation
  const gathered: Buffer[] = []
  for await (const chunk of content.read()) gathered.push(chunk)
  content.dispose()
  return { ...rest, text: Buffer.concat(gathered).toString() }
}

function compressedByOpenssl(): Buffer | undefined {
  try {
    const args = ['cms', '-compress', '-binary', '-outform', 'DER']
    return execFileSync('openssl', args, { input: ENTITY, stdio: ['pipe', 'pipe', 'pipe'] })
  } catch {
    return undefined
  }
}

function text(): string {
  return ENTITY.toString()
}

async function* each(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void, undefined> {
  for (const chunk of chunks) {
    await setImmediate()
    yield chunk
  }
}
