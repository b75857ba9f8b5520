/**
 * Looks at a command line before anybody believes it.
 *
 * @module
 */
import type { ReplyName } from './reply.ts'

/**
 * Judges the first of the octets that wait: it is not too long, ends with CRLF, and has no CR, LF or
 * NUL of its own (RFC 5321 §2.3.8).
 *
 * @param lf Where its LF is, or -1 where it has not arrived.
 * @param limit Octets of the longest line, its end included.
 * @returns Why it must not be obeyed; where lines are doubtful, so is what follows.
 */
export function judgeLine(pending: Buffer, lf: number, limit: number): ReplyName | undefined {
  const end = lf < 0 ? pending.length : lf
  if (end + 1 > limit) return 'command-too-long'
  const cr = pending.indexOf(CR)
  const isStray = lf < 0 ? cr >= 0 && cr < end - 1 : lf === 0 || cr !== lf - 1
  if (isStray) return 'command-line-ending'
  const nul = pending.indexOf(0)
  return nul >= 0 && nul < end ? 'command-line-ending' : undefined
}

/** How long a command line may be, which depends on whether it bears credentials. */
export const LINE_OCTETS = {
  /** RFC 5321 §4.5.3.1.4 asks for 512, and extensions add to it. */
  command: 2048,
  /** RFC 4954 §4. */
  auth: 12_288,
} as const

const CR = 0x0d
