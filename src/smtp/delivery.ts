/**
 * Final dots last: several transactions go out side by side, all stop in front of the final dot, and
 * only when every one stands there are the dots sent.
 *
 *     open ──▶ DATA ──▶ octets ──┐                 ┌──▶ "." ──▶ reply
 *     open ──▶ DATA ──▶ octets ──┴─ all stand here ┴──▶ "." ──▶ reply
 *
 * A transaction without its dot never was (RFC 5321 §4.1.1.4), so one that fails cancels all of them
 * cleanly. Only between the first dot and the last reply can some have it and others not.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import type { Conversation } from './next-hop.ts'
import { replyToFault } from './offer.ts'
import { type Reply, reply } from './reply.ts'

/** One transaction to be sent. */
export interface Shipment {
  /** Opens it up to the accepted RCPTs; rejects where that cannot be done. */
  open(signal: AbortSignal): Promise<Conversation>
  /** The octets of the content, dots not stuffed. What it throws cancels every shipment. */
  octets(conversation: Conversation): AsyncIterable<Buffer>
}

/** What became of the shipments: the replies to the dots in their order, or the one that cancelled all. */
export type Delivery =
  | { readonly kind: 'answered'; readonly replies: readonly Reply[] }
  | { readonly kind: 'cancelled'; readonly reply: Reply; readonly fault?: unknown }

/**
 * Sends all shipments, or none.
 *
 * @param signal The client's connection. Where it is lost before the first dot, nothing is sent,
 *   because nobody would hear the answer, and the client comes again.
 */
export async function deliver(
  shipments: readonly Shipment[],
  signal: AbortSignal,
): Promise<Delivery> {
  const cancel = new AbortController()
  const clientLost = (): void => cancel.abort(CLIENT_LOST)
  signal.addEventListener('abort', clientLost)
  try {
    const standing = await Promise.all(shipments.map(it => standBeforeDot(it, cancel.signal)))
    if (signal.aborted) throw CLIENT_LOST
    // From here on there is no way back: the answers are waited for, whoever still listens.
    signal.removeEventListener('abort', clientLost)
    return { kind: 'answered', replies: await Promise.all(standing.map(sendDot)) }
  } catch (error) {
    signal.removeEventListener('abort', clientLost)
    cancel.abort(error)
    return cancelled(error)
  }
}

/** A refusal of DATA, which cancels all shipments. */
class DataRefused extends PosternError {
  readonly reply: Reply

  constructor(answer: Reply) {
    super(
      'ERR_DATA_REFUSED',
      answer.code >= 500 ? 'permanent' : 'transient',
      'the next hop refused DATA',
    )
    this.reply = answer
  }
}

/**
 * Brings one shipment in front of its final dot. Where the delivery is over before, by the fault of
 * another or by the loss of the client, the conversation is dropped without a dot.
 */
async function standBeforeDot(shipment: Shipment, over: AbortSignal): Promise<Conversation> {
  const conversation = await shipment.open(over)
  const drop = (): void => conversation.destroy()
  over.addEventListener('abort', drop, { once: true })
  try {
    over.throwIfAborted()
    const answer = await conversation.data()
    if (answer.code !== 354) throw new DataRefused(answer)
    await conversation.send(shipment.octets(conversation))
    return conversation
  } catch (error) {
    drop()
    throw error
  }
}

async function sendDot(conversation: Conversation): Promise<Reply> {
  try {
    const answer = await conversation.end()
    conversation.release()
    return answer
  } catch (error) {
    conversation.destroy()
    return replyToFault(error)
  }
}

function cancelled(error: unknown): Delivery {
  if (error instanceof DataRefused) return { kind: 'cancelled', reply: error.reply }
  if (error instanceof PosternError)
    return { kind: 'cancelled', reply: replyToFault(error), fault: error }
  return { kind: 'cancelled', reply: reply('internal-error'), fault: error }
}

/** Nobody hears this reply; the client comes again. */
const CLIENT_LOST = new PosternError('ERR_CLIENT_LOST', 'transient', 'the client is gone')
