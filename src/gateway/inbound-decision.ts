/**
 * What becomes of the inbound recipients of a message, once it has been read for each of them.
 *
 * @module
 */
import { concludeInbound, inboundReason } from '../policy/inbound.ts'
import type { Treatment } from '../policy/treatment.ts'
import type { Decision } from './decision.ts'
import { cameEncrypted } from './encryption-reading.ts'
import type { InboundReader, Reading } from './inbound.ts'

/**
 * Adds to each inbound decision what the message is for its recipient, and what follows from that.
 *
 * @throws {PosternError} What `InboundReader.read` throws.
 */
export async function withReadings(
  decisions: readonly Decision[],
  reader: InboundReader,
): Promise<readonly Decision[]> {
  const all: Decision[] = []
  // One after the other: together they hold no more than one needs.
  for (const decision of decisions) {
    if (decision.direction === 'outbound') all.push(decision)
    else {
      const reading = await reader.read(decision.forwardPath.mailbox, decision.wish.inbound)
      all.push({ ...decision, reading, treatment: treatmentOf(decision, reading) })
    }
  }
  return all
}

/** A verdict does not undo a refusal, nor what is to be done to a message on its way in. */
function treatmentOf({ treatment, wish }: Decision, reading: Reading): Treatment {
  if (treatment.kind === 'reject' || treatment.kind === 'defer') return treatment
  const conclusion = concludeInbound(wish, reading.verdict, cameEncrypted(reading.encryption))
  if (conclusion.kind !== 'deliver') return conclusion
  if (treatment.kind !== 'relay') return treatment
  return {
    kind: 'relay',
    reason: inboundReason(wish, reading.verdict, reading.encryption.result),
  }
}
