/**
 * The one error that Postern throws on purpose.
 *
 * Any other error that reaches the gateway is a bug, and is answered as one: transient, in words that
 * tell the stranger nothing.
 *
 * @module
 */

/** Whether trying again may help: 4yz against 5yz (RFC 5321 §4.2.1). */
export type Persistence = 'transient' | 'permanent'

/** A fault with a stable code, for tests, metrics and the search engine of an operator. */
export class PosternError extends Error {
  /** Stable, upper case: `ERR_ENTITY_NOT_7BIT`. */
  readonly code: string
  readonly persistence: Persistence

  /**
   * @param message Lower case, what was wrong and where, in words that may be shown to the stranger;
   *   the reason for the operator goes to `options.cause` and the log.
   */
  constructor(code: string, persistence: Persistence, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PosternError'
    this.code = code
    this.persistence = persistence
  }
}
