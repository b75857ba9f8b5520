/**
 * What a client may cost us. Every limit stands in the configuration's reference.
 *
 * @module
 */

/** Limits of the listener. Times are measured on the monotonic clock and are absolute. */
export interface Limits {
  /** Content of a message in octets, dots un-stuffed; also the SIZE that is offered (RFC 1870). */
  readonly messageOctets: number
  /** Longest line of a message, without CRLF. RFC 5321 says 998; the field says more. */
  readonly lineOctets: number
  /** Forward-paths of a transaction, accepted or refused (RFC 5321 §4.5.3.1.8: at least 100). */
  readonly recipients: number
  /** Sessions of this process. */
  readonly connections: number
  /** Sessions of one client address; for IPv6 of one /64, which is what one customer has. */
  readonly connectionsPerAddress: number
  /** Commands that lead to no message (NOOP, RSET, VRFY, HELP, EHLO again) since the last one. */
  readonly junkCommands: number
  /** Faults of syntax, sequence or authentication since the last message. */
  readonly errors: number
  /** Failed authentications of a session. */
  readonly authFailures: number
  /** Until a command is complete; octets that trickle in do not extend it. */
  readonly commandMs: number
  /** The same when more than four fifths of `connections` are in use. */
  readonly stressCommandMs: number
  /** Until a TLS handshake is complete. */
  readonly handshakeMs: number
  /** Rate below which DATA is given up, once `dataStallMs` have been used up. */
  readonly dataOctetsPerSecond: number
  /** How far DATA may fall behind its rate, silences included. */
  readonly dataStallMs: number
  /** Whole session. A message that the house has in hand is answered first. */
  readonly sessionMs: number
}

/** The defaults. */
export const DEFAULT_LIMITS: Limits = {
  messageOctets: 50 * 1024 * 1024,
  lineOctets: 1024 * 1024,
  recipients: 1000,
  connections: 2000,
  connectionsPerAddress: 50,
  junkCommands: 100,
  errors: 20,
  authFailures: 3,
  commandMs: 300_000,
  stressCommandMs: 10_000,
  handshakeMs: 30_000,
  dataOctetsPerSecond: 500,
  dataStallMs: 60_000,
  sessionMs: 1_800_000,
}
