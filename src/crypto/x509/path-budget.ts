/**
 * What the validation of certification paths may cost: whoever sends certificates decides how many
 * paths there are, but not how long we look.
 *
 * @module
 */

/** What one validation may cost; what is left of it while it runs. */
export interface PathBudget {
  /** Intermediate certificates in a path; self-issued ones are not counted. */
  readonly depth: number
  /** Certificates that are looked at, and their octets together. */
  readonly certificates: number
  readonly octets: number
  signatures: number
  nameComparisons: number
  /** Certificates tried in a place of a path. */
  steps: number
}

/**
 * A full budget. One is enough for a message, whatever stands in it: hand the same object to all
 * validations that a message causes.
 */
export function pathBudget(limits: Partial<PathBudget> = {}): PathBudget {
  return {
    depth: 8,
    certificates: 100,
    octets: 1_048_576,
    signatures: 100,
    nameComparisons: 250_000,
    steps: 2_000,
    ...limits,
  }
}
