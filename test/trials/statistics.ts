/**
 * Whether two samples can come from one distribution.
 *
 * @module
 */
import type { Random } from './random.ts'

export function median(sample: readonly number[]): number {
  return quantile(sample, 0.5)
}

export function quantile(sample: readonly number[], share: number): number {
  const sorted = sample.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

/** Kolmogorov and Smirnov: the widest gap between two samples, and how likely one as wide is by chance. */
export function kolmogorovSmirnov(
  one: readonly number[],
  other: readonly number[],
): { readonly gap: number; readonly probability: number } {
  const all = [...one.map(value => [value, 0]), ...other.map(value => [value, 1])] as Labelled[]
  all.sort(([a], [b]) => a - b)
  const seen = [0, 0]
  let gap = 0
  for (const [at, [value, which]] of all.entries()) {
    seen[which]!++
    // Equal values belong together.
    if (all[at + 1]?.[0] === value) continue
    gap = Math.max(gap, Math.abs(seen[0]! / one.length - seen[1]! / other.length))
  }
  const size = Math.sqrt((one.length * other.length) / (one.length + other.length))
  return { gap, probability: tail((size + 0.12 + 0.11 / size) * gap) }
}

type Labelled = [value: number, which: 0 | 1]

/** The limit of Kolmogorov's distribution. */
function tail(lambda: number): number {
  if (lambda < 0.2) return 1
  let sum = 0
  for (let k = 1; k <= 100; k++) sum += (k % 2 ? 2 : -2) * Math.exp(-2 * (k * lambda) ** 2)
  return Math.min(1, Math.max(0, sum))
}

/**
 * How far apart the medians of two samples are, and how often chance parts them as far: the same values,
 * dealt anew to two samples of the same sizes.
 */
export function medianShift(
  one: readonly number[],
  other: readonly number[],
  random: Random,
  rounds = 1_000,
): { readonly shift: number; readonly probability: number } {
  const shift = median(one) - median(other)
  const all = Float64Array.from([...one, ...other])
  let asFar = 0
  for (let round = 0; round < rounds; round++) {
    for (let left = all.length - 1; left > 0; left--) {
      const at = random.below(left + 1)
      const value = all[left]!
      all[left] = all[at]!
      all[at] = value
    }
    const dealt = medianOf(all.slice(0, one.length)) - medianOf(all.slice(one.length))
    if (Math.abs(dealt) >= Math.abs(shift)) asFar++
  }
  return { shift, probability: (asFar + 1) / (rounds + 1) }
}

function medianOf(sample: Float64Array): number {
  return sample.sort()[Math.floor(sample.length / 2)]!
}
