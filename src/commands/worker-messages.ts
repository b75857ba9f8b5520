/**
 * What the primary and its workers tell each other.
 *
 * @module
 */
import type { Config } from '../config/config.ts'

/** To a worker: begin with this. */
export interface Begin {
  readonly config: Config
}

/** From a worker: every listener accepts. */
export interface Ready {
  readonly ready: readonly { readonly address: string; readonly port: number }[]
}

/** To a worker: finish what you have, then go. */
export const DRAIN = 'drain'

/** How long a worker may take for that. A supervisor commonly waits 30 s before it kills. */
export const DRAIN_MS = 25_000
