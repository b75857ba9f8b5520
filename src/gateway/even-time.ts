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
  #from = performance.now()
  readonly #ends: Promise<void>[] = []

  /**
   * All cipher text of a layer has been read; what came of it is not known yet. Of layers within, each has
   * its own measure: whoever sends somebody's message again can wrap it so often that it is them that
   * take the time.
   *
   * The timer is set here: set later, it would be rounded by where the event loop is by then.
   */
  readonly measured = (): void => {
    const now = performance.now()
    const measuredMs = now - this.#from
    this.#from = now
    const waitMs =
      this.#ends.length === 0 ? FLOOR_MS + (FACTOR - 1) * measuredMs : LOOKING * measuredMs
    this.#ends.push(
      new Promise(resolve => {
        setTimeout(resolve, Math.min(waitMs, MOST_MS))
      }),
    )
  }

  /** Waits until all that can have been in it would have been looked at. */
  async over(): Promise<void> {
    await Promise.all(this.#ends)
  }
}

/** Of looking at a small message, with a signature and its path. */
const FLOOR_MS = 5
/** How many times as long as decrypting it looking at a large one takes at most. */
const LOOKING = 2
/** Of both together, with room for an honest layer within: nobody shall hear that there is one. */
const FACTOR = 4
/** Longer waits would be a burden on clients; and what takes so long is blurred by everything else. */
const MOST_MS = 2_000
