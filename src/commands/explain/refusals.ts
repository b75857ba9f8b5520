/**
 * What is refused before any rule is asked.
 *
 * @module
 */
import { lineEndsOf } from '../../mail/line-ends.ts'
import { type Reply, reply } from '../../smtp/reply.ts'
import { hopCount } from '../../smtp/trace.ts'
import type { Scene } from './scene.ts'

/** A refusal that no rule makes. */
export interface Refusal {
  readonly reply: Reply
  readonly reason: string
  readonly change: string
}

/** What a message is refused for, whoever it is for. */
export async function wholeRefusal({
  message: { content, section },
  config: { limits },
}: Scene): Promise<Refusal | undefined> {
  if (content.sizeOctets > limits.message)
    return {
      reply: reply('message-too-large'),
      reason: `it has ${content.sizeOctets} octets, and limits.message is ${limits.message}`,
      change: 'with a greater limits.message it would be taken',
    }
  // What is not read from a file by its lines, but comes over SMTP, is refused (CVE-2023-51764).
  if ((await lineEndsOf(content)) === 'unsafe')
    return {
      reply: reply('bare-line-ending'),
      reason: 'a line of it has a CR alone, or a NUL',
      change: 'encoded (base64) by its sender it would be taken',
    }
  const hops = hopCount(section)
  if (hops < limits.hops) return undefined
  return {
    reply: reply('loop'),
    reason: `it has ${hops} Received fields, and limits.hops is ${limits.hops}`,
    change: 'with a greater limits.hops it would be taken; look for a loop first',
  }
}

/** A client that may not send outbound names a recipient elsewhere. */
export const RELAY_DENIED: Refusal = {
  reply: reply('relay-denied'),
  reason: 'its client is not in relayFrom, and has not authenticated',
  change: 'from a client in relayFrom, or with --user, the rules would decide',
}
