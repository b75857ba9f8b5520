/**
 * Every reply that Postern gives, in one table; nobody invents a code in the middle of a function.
 *
 * @module
 */

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463). */
export interface Reply {
  readonly code: number
  /** `5.7.1`; empty where the peer that spoke gave none. */
  readonly enhanced: string
  /** One line or several, without codes; never contains a control character. */
  readonly text: string | readonly string[]
}
