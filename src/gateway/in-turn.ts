/**
 * Large messages are read a few at a time.
 *
 * Reading one is work for the processor, of which a worker has one: all at once they would end no
 * sooner, and hold the buffers of all of them. Small messages wait for nobody.
 *
 * @module
 */

/** Does something for a message of this size, when it is its turn. */
export async function inTurn<T>(sizeOctets: number, action: () => Promise<T>): Promise<T> {
  if (sizeOctets < LARGE_OCTETS) return action()
  if (reading >= AT_A_TIME) await new Promise<void>(resolve => waiting.push(resolve))
  else reading++
  try {
    return await action()
  } finally {
    const next = waiting.shift()
    // Whoever waited takes the place over.
    if (next) next()
    else reading--
  }
}

let reading = 0
const waiting: (() => void)[] = []
const AT_A_TIME = 3
const LARGE_OCTETS = 1_048_576
