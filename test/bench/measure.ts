/** What work costs. @module */

/** Milliseconds of processor time that one of so many runs takes, on all threads. */
export async function cpuMs(count: number, work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  for (let done = 0; done < count; done++) await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / count
}

/** Reads a stream to its end. @returns Its size in octets. */
export async function drain(chunks: AsyncIterable<Buffer>): Promise<number> {
  let size = 0
  for await (const chunk of chunks) size += chunk.length
  return size
}
