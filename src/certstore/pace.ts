/**
 * Long work in short turns: whoever has much to do leaves the event loop to others in between.
 *
 * @module
 */
import { setImmediate } from 'node:timers/promises'

/** Begins with a turn. */
export class Pace {
  #end = performance.now() + TURN_MS

  /** Whether it is the turn of others: then `rest`. */
  get isOver(): boolean {
    return performance.now() >= this.#end
  }

  async rest(): Promise<void> {
    await setImmediate()
    this.#end = performance.now() + TURN_MS
  }
}

/** Milliseconds. */
const TURN_MS = 10
