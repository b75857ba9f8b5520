/** Octets as a stream brings them, and back. @module */

/** All of a stream. */
export async function gather(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

/** One chunk. */
export function once(octets: Buffer): AsyncGenerator<Buffer, void, undefined> {
  return each([octets])
}

export async function* each(chunks: Iterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  yield* chunks
}

/** Chunks of one size, the last of what is left. */
export function cut(octets: Buffer, sizeOctets: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let start = 0; start < octets.length; start += sizeOctets)
    chunks.push(octets.subarray(start, start + sizeOctets))
  return chunks
}

/** A chunk of each size, and one of what is left. */
export function cutBy(octets: Buffer, sizes: readonly number[]): Buffer[] {
  let start = 0
  const chunks = sizes.map(size => {
    const chunk = octets.subarray(start, start + size)
    start += size
    return chunk
  })
  return [...chunks, octets.subarray(start)]
}
