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
 * Lets one delivery at a time open several transactions.
 *
 * Two that each hold some of a next hop's connections and wait for the rest would wait for each other;
 * one that holds some always gets the rest, because everybody else holds one and gives it back.
 */
export class Turnstile {
  #last: Promise<void> = Promise.resolve()

  /** Resolves when it is one's turn; call the result to let the next one in. */
  async enter(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const before = this.#last
    this.#last = before.then(() => promise)
    await before
    return resolve
  }
}

/**
 * Sends all shipments, or none.
 *
 * @param turnstile Shared by all deliveries to the same next hops.
 * @param signal The client's connection. Where it is lost before the first dot, nothing is sent,
 *   because nobody would hear the answer, and the client comes again.
 */
export async function deliver(
  shipments: readonly Shipment[],
  turnstile: Turnstile,
  signal: AbortSignal,
): Promise<Delivery> {
  const cancel = new AbortController()
  const clientLost = (): void => cancel.abort(CLIENT_LOST)
  signal.addEventListener('abort', clientLost)
  const leave = shipments.length > 1 ? await turnstile.enter() : undefined
  try {
    if (signal.aborted) throw CLIENT_LOST
    const opened = allOpen(shipments.length, leave)
    const standing = await Promise.all(
      shipments.map(it => standBeforeDot(it, opened, cancel.signal)),
    )
    if (signal.aborted) throw CLIENT_LOST
    // From here on there is no way back: the answers are waited for, whoever still listens.
    signal.removeEventListener('abort', clientLost)
    return { kind: 'answered', replies: await Promise.all(standing.map(sendDot)) }
  } catch (error) {
    signal.removeEventListener('abort', clientLost)
    cancel.abort(error)
    return cancelled(error)
  } finally {
    leave?.()
  }
}

/** Counts transactions that are open; leaves the turnstile with the last of them. */
function allOpen(wanted: number, leave: (() => void) | undefined): () => void {
  let open = 0
  return () => {
    if (++open === wanted) leave?.()
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
async function standBeforeDot(
  shipment: Shipment,
  opened: () => void,
  over: AbortSignal,
): Promise<Conversation> {
  const conversation = await shipment.open(over)
  opened()
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

/** Why what was begun for a client is given up where the client is gone: nobody hears the reply. */
export const CLIENT_LOST = new PosternError('ERR_CLIENT_LOST', 'transient', 'the client is gone')
