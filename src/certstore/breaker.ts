/**
 * A circuit breaker: spares those who ask, and a source that is down, what would only time out.
 *
 *     closed ──(5 failures in a row)──▶ open ──(30 s)──▶ one may try ──▶ closed, or open again
 *
 * @module
 */

/** When to stop asking, and for how long. */
export interface BreakerOptions {
  /** Failures in a row, default 5. */
  readonly failures?: number
  /** Milliseconds until one may try, default 30 s. */
  readonly pauseMs?: number
  /** Milliseconds since anything, default the monotonic clock. */
  readonly clock?: () => number
}

/**
 * Says nothing of how the source is: whoever asked has gone, or the one thing that was asked for cannot
 * be read. The breaker neither opens nor closes by it.
 */
export class NoVerdict extends Error {}

/** Counts failures of one source. */
export class CircuitBreaker {
  readonly #limit: number
  readonly #pauseMs: number
  readonly #clock: () => number
  #failures = 0
  #openUntil = Number.NEGATIVE_INFINITY

  constructor({ failures = 5, pauseMs = 30_000, clock }: BreakerOptions = {}) {
    this.#limit = failures
    this.#pauseMs = pauseMs
    this.#clock = clock ?? (() => performance.now())
  }

  /** Whether the source is not to be asked now. */
  get isOpen(): boolean {
    return this.#failures >= this.#limit && this.#clock() < this.#openUntil
  }

  /**
   * Does something with the source, unless the breaker is open.
   *
   * @throws what `refusal` makes where it is open, and what `action` throws.
   */
  async run<T>(action: () => Promise<T>, refusal: () => Error): Promise<T> {
    if (this.isOpen) throw refusal()
    const isTrial = this.#failures >= this.#limit
    // After the pause one tries; for the others it stays open until that one knows more.
    if (isTrial) this.#openUntil = this.#clock() + this.#pauseMs
    try {
      const result = await action()
      this.#failures = 0
      return result
    } catch (error) {
      if (!(error instanceof NoVerdict)) this.#fail()
      // Nothing was learnt: the next one may try.
      else if (isTrial) this.#openUntil = Number.NEGATIVE_INFINITY
      throw error
    }
  }

  #fail(): void {
    this.#failures++
    if (this.#failures >= this.#limit) this.#openUntil = this.#clock() + this.#pauseMs
  }
}
