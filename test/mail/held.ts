/** Contents for tests: octets at hand, read in chunks of a chosen size. @module */
import type { Content } from '../../src/mail/mail-object.ts'

export function held(octets: Buffer | string, chunkOctets = 65_536): Content {
  const all = Buffer.isBuffer(octets) ? octets : Buffer.from(octets, 'latin1')
  const lines = all.toString('latin1').split('\n')
  return {
    sizeOctets: all.length,
    shape: {
      eightBit: all.some(octet => octet > 127),
      longestLineOctets: lines.reduce(
        (max, line) => Math.max(max, line.replace(/\r$/, '').length),
        0,
      ),
    },
    async *read(start = 0, end = all.length) {
      for (let at = start; at < end; at += chunkOctets) {
        yield all.subarray(at, Math.min(end, at + chunkOctets))
      }
    },
    dispose() {},
  }
}

export async function* stream(pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* pieces
}

export async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

export function cut(octets: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = []
  for (let start = 0; start < octets.length; start += size) {
    pieces.push(octets.subarray(start, start + size))
  }
  return pieces
}
