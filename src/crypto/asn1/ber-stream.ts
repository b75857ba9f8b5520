/**
 * Writes BER of indefinite length, for content whose size is not known before it has gone by
 * (X.690 §8.1.3.6, §8.7.3).
 *
 * @module
 */
import { header } from './der-writer.ts'

/** Begins constructed elements of indefinite length, or puts whole elements inside. */
export function open(tag: number): Buffer {
  return Buffer.from([tag, 0x80])
}

/** Ends as many elements of indefinite length. */
export function close(count: number): Buffer {
  return Buffer.alloc(2 * count)
}

/**
 * The content of a constructed OCTET STRING: every chunk as a segment of its own. Small chunks are
 * gathered first, so that a dripping source does not grow threefold.
 */
export async function* octetStringSegments(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let gathered: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    gathered.push(chunk)
    size += chunk.length
    if (size < SEGMENT_OCTETS) continue
    yield header(0x04, size)
    yield* gathered
    gathered = []
    size = 0
  }
  if (size === 0) return
  yield header(0x04, size)
  yield* gathered
}

const SEGMENT_OCTETS = 8192
