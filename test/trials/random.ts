/**
 * Chance that can be had again: the same seed gives the same trial.
 *
 * @module
 */
import { createHash, randomInt } from 'node:crypto'

export interface Random {
  /** From 0 on, below a bound. */
  below(bound: number): number
  /** From one number to another, both included. */
  between(least: number, most: number): number
  pick<T>(choices: readonly T[]): T
  /** True once in so many. */
  once(inSoMany: number): boolean
  octets(count: number): Buffer
}

/** The seed of this run: out of `SEED`, else a new one. */
export function seedOfRun(): number {
  return Number(process.env['SEED'] ?? randomInt(2 ** 31))
}

/** Chance for one thing of a trial, whatever was drawn for the others. */
export function chance(seed: number, nth: number): Random {
  const start = createHash('sha256').update(`${seed}/${nth}`).digest()
  const next = generator(start)
  const below = (bound: number): number => Math.floor((next() / 2 ** 32) * bound)
  return {
    below,
    between: (least, most) => least + below(most - least + 1),
    pick: choices => choices[below(choices.length)]!,
    once: inSoMany => below(inSoMany) === 0,
    octets: count => Buffer.from(Array.from({ length: count }, () => below(256))),
  }
}

/** sfc32: 32 bits at a time. */
function generator(start: Buffer): () => number {
  let [a, b, c, counter] = [0, 4, 8, 12].map(at => start.readInt32LE(at)) as Four
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return sum >>> 0
  }
  for (let round = 0; round < 12; round++) next()
  return next
}

type Four = [number, number, number, number]
