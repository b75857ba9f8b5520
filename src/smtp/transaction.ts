/**
 * What the listener asks of the house while a client talks.
 *
 *     MAIL ──▶ begin ──▶ Transaction ── RCPT ──▶ recipient ── DATA ──▶ content ──▶ Reply
 *                                    └─ RSET, QUIT, lost connection, next MAIL ──▶ abandon
 *
 * @module
 */
import type { Content, EsmtpParameters, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import type { Reply } from './reply.ts'

/** What is known of the client of a session. */
export interface Client {
  /** Identifier of the session, for logs and Received: letters and digits. */
  readonly session: string
  /** Address of the client, IPv4-mapped IPv6 brought to IPv4. */
  readonly address: string
  /** What the client calls itself in EHLO or HELO; checked for control characters, not for truth. */
  readonly helo: string
  readonly esmtp: boolean
  /** TLS version and cipher where the session is secured: `TLSv1.3 TLS_AES_256_GCM_SHA384`. */
  readonly tls: string | undefined
  /** User name where the client has authenticated. */
  readonly user: string | undefined
}

/** The house behind the listener. */
export interface House {
  /** Begins a transaction, or refuses MAIL. */
  begin(client: Client, reversePath: ReversePath, parameters: EsmtpParameters): Transaction | Reply
}

/** From an accepted MAIL to the reply to its end of data (RFC 5321 §3.3). */
export interface Transaction {
  /** Answers RCPT. A 2yz reply means that the forward-path belongs to the transaction from now on. */
  recipient(forwardPath: ForwardPath): Promise<Reply>
  /**
   * Answers the end of data. The transaction owns the content from now on and disposes of it.
   * @param signal Aborted when the client's connection is lost.
   */
  content(content: Content, signal: AbortSignal): Promise<Reply>
  /** The client has given the transaction up. Never called once `content` was. */
  abandon(): void
}
