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

/** From a worker: it cannot serve, and why. */
export interface Failed {
  readonly failed: string
}

/**
 * To a worker: others listen now. Serve the sessions that you have for as long as they last, by this
 * configuration, then go.
 */
export interface Replaced {
  readonly replaced: Config
}

/** From a worker: whatever begins from now on is done by the configuration that replaced mine. */
export interface Retired {
  readonly retired: true
}

/** To a worker: finish what you have, then go. */
export const DRAIN = 'drain'

/** How long a worker may take for that. A supervisor commonly waits 30 s before it kills. */
export const DRAIN_MS = 25_000
