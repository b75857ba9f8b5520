/**
 * So many at a time, and the others wait for their turn.
 *
 * @module
 */

/** Counts who is at it. */
export class Turns {
  readonly #atOnce: number
  #busy = 0
  readonly #waiting: (() => void)[] = []

  constructor(atOnce: number) {
    this.#atOnce = atOnce
  }

  /** Does something when it is its turn, first come, first served. */
  async take<T>(action: () => Promise<T>): Promise<T> {
    if (this.#busy < this.#atOnce) this.#busy++
    else await new Promise<void>(resolve => void this.#waiting.push(resolve))
    try {
      return await action()
    } finally {
      const next = this.#waiting.shift()
      // A turn that is handed on stays taken all the time.
      if (next) next()
      else this.#busy--
    }
  }
}
