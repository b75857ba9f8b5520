/**
 * What travels: an envelope, path by path, and a content (RFC 5321 §2.3.1).
 *
 * @module
 */
import type { Mailbox } from './address.ts'

/** `null` is the null reverse-path `<>` (RFC 5321 §4.5.5). */
export type ReversePath = Mailbox | null

/** One destination of the envelope, with the DSN parameters that came with it (RFC 3461 §4.1, §4.2). */
export interface ForwardPath {
  readonly mailbox: Mailbox
  /** ESMTP parameters of RCPT as they came, upper-case keyword to value: `NOTIFY`, `ORCPT`. */
  readonly parameters: EsmtpParameters
}

/** Upper-case keyword to value; `''` where the keyword stood alone (`SMTPUTF8`). Still in xtext. */
export type EsmtpParameters = ReadonlyMap<string, string>

/**
 * Octets of a mail object's content: header section and body, lines ended by CRLF, dots un-stuffed.
 * Held in bounded memory, and can be read as often as is wanted, from anywhere.
 */
export interface Content {
  readonly sizeOctets: number
  readonly shape: ContentShape
  /**
   * Reads octets `start` (inclusive) to `end` (exclusive), in chunks that must not be altered.
   * @throws {PosternError} `ERR_CONTENT_HELD` where the held octets cannot be read back.
   */
  read(start?: number, end?: number): AsyncIterable<Buffer>
  /** Frees memory and file. To be called exactly once, when nobody reads any more. */
  dispose(): void
}

/** What a relay could alter on the way; learnt while the octets pass, so that nobody has to look twice. */
export interface ContentShape {
  /** An octet over 127 is somewhere. */
  readonly eightBit: boolean
  /** Longest line in octets, without its CRLF (RFC 5321 §4.5.3.1.6 allows 998). */
  readonly longestLineOctets: number
}
