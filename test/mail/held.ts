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
