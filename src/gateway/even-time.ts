/**
 * How long the reading of cipher text takes for whoever waits for the reply: as long whatever was in it.
 *
 *     begun ──▶ all of it has gone through the cipher ──▶ looked at, or not ──▶ waited ──▶ over
 *       └────────── measured ──────────┘                                          │
 *       └────────── so many times what was measured, and a little more ───────────┘
 *
 * What is opened is looked at: lines, structure, charsets, signatures. What is not opened is not, and
 * its reply would come sooner. Whoever alters somebody's message and sends it again could tell by that
 * whether its padding is right, which is all that it takes to open it (Vaudenay 2002). The share that is
 * the same for both gives the measure: on a slow or busy machine the wait is longer, too.
 *
 * @module
 */

/** One reading, from its beginning on. */
export class EvenTime {
  readonly #begun = performance.now()
  #end: Promise<void> | undefined

  /**
   * All cipher text has been read; what came of it is not known yet. The first time counts.
   *
   * The timer is set here: set later, it would be rounded by where the event loop is by then.
   */
  readonly measured = (): void => {
    const measuredMs = performance.now() - this.#begun
    this.#end ??= new Promise(resolve => {
      setTimeout(resolve, Math.min(FLOOR_MS + (FACTOR - 1) * measuredMs, MOST_MS))
    })
  }

  /** Waits until all that can have been in it would have been looked at. */
  async over(): Promise<void> {
    await this.#end
  }
}

/** Of looking at a small message, with a signature and its path. */
const FLOOR_MS = 5
/** Looking at a large one takes up to twice as long as decrypting it. */
const FACTOR = 4
/** Longer waits would be a burden on clients; and what takes so long is blurred by everything else. */
const MOST_MS = 2_000
