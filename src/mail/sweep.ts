/**
 * Sweeps up behind large messages.
 *
 * @module
 */

/**
 * Counts octets of buffers that will be of no more use, and sweeps the young generation when they have
 * become many. They lie outside the heap, where the collector hardly sees them: left to itself it lets
 * a hundred megabytes of them stand. Does nothing where the process was not given `--expose-gc`.
 */
export function sweepAfter(octets: number): void {
  unswept += octets
  if (unswept < SWEEP_OCTETS) return
  unswept = 0
  const { gc } = globalThis as { gc?: (how: { type: 'minor' }) => void }
  gc?.({ type: 'minor' })
}

let unswept = 0

const SWEEP_OCTETS = 16 * 1024 * 1024
