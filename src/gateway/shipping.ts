/**
 * From decisions to shipments: who shares one message, and which octets leave.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { outerFields, signingTimeFor, signMessage } from '../crypto/smime/sign-message.ts'
import { PosternError } from '../errors.ts'
import type { ForwardPath } from '../mail/mail-object.ts'
import { prepare } from '../mail/seven-bit.ts'
import { subjectField, withoutWord } from '../mail/subject.ts'
import type { Conversation } from '../smtp/conversation.ts'
import type { Decision, Message } from './decision.ts'

/** Forward-paths of equal treatment at one next hop: they share one message. */
export interface Group {
  /** Name of the next hop in the configuration. */
  readonly nextHop: string
  readonly forwardPaths: readonly ForwardPath[]
  /** The decision that stands for all of them. */
  readonly decision: Decision
}

/** Groups recipients; the order of the first of each group is kept. */
export function group(decisions: readonly Decision[]): readonly Group[] {
  const groups = new Map<
    string,
    { decision: Decision; nextHop: string; forwardPaths: ForwardPath[] }
  >()
  for (const decision of decisions) {
    const nextHop = nextHopOf(decision)
    const key = JSON.stringify([nextHop, ...octetsDependOn(decision)])
    const known = groups.get(key)
    if (known) known.forwardPaths.push(decision.forwardPath)
    else groups.set(key, { decision, nextHop, forwardPaths: [decision.forwardPath] })
  }
  return [...groups.values()]
}

/** Whatever makes the octets of one recipient differ from another's; the words of a reason do not. */
function octetsDependOn({ treatment, wish }: Decision): readonly (string | undefined)[] {
  switch (treatment.kind) {
    case 'sign':
      return [treatment.kind, treatment.signature, wish.removeFromSubject]
    case 'route':
      return [treatment.kind, wish.rule]
    case 'relay':
    case 'reject':
    case 'defer':
      return [treatment.kind]
  }
}

/**
 * Groups that can stand before their dots side by side: at no next hop more of them than it has
 * connections. Nearly always all groups of a message are one wave.
 */
export function wavesOf(
  groups: readonly Group[],
  nextHops: ReadonlyMap<string, { readonly connections: number }>,
): readonly (readonly Group[])[] {
  const waves: Group[][] = []
  const counts = new Map<string, number>()
  for (const group of groups) {
    const before = counts.get(group.nextHop) ?? 0
    counts.set(group.nextHop, before + 1)
    const wave = Math.floor(before / (nextHops.get(group.nextHop)?.connections ?? 1))
    waves[wave] = [...(waves[wave] ?? []), group]
  }
  return waves
}

/** What the delivery ledger knows a message by: who sent it, and every octet of its content. */
export async function digestOf({ reversePath, content }: Message): Promise<Buffer> {
  const hash = createHash('sha256').update(`${reversePath?.toString() ?? ''}\0`)
  for await (const chunk of content.read()) hash.update(chunk)
  return hash.digest()
}

/** Name of the next hop that a decision leads to. */
export function nextHopOf({ treatment, direction }: Decision): string {
  return treatment.kind === 'route' ? treatment.nextHop : direction
}

/**
 * The octets that leave for one group: our Received field, then the message as it was or treated.
 *
 * @param now When the message is treated.
 */
export async function* octetsOf(
  message: Message,
  { decision }: Group,
  conversation: Pick<Conversation, 'extensions'>,
  received: Buffer,
  now: Date,
): AsyncGenerator<Buffer, void, undefined> {
  yield received
  if (decision.treatment.kind === 'sign') {
    yield* signed(message, decision, now)
    return
  }
  if (decision.treatment.kind === 'route') yield unmetField(decision)
  const asIs = conversation.extensions.eightBitMime || !message.content.shape.eightBit
  yield* asIs ? message.content.read() : sevenBit(message)
}

function signed(
  { content, section }: Message,
  decision: Decision,
  now: Date,
): AsyncIterable<Buffer> {
  const { signer, treatment, facts, wish } = decision
  if (signer === undefined || treatment.kind !== 'sign') throw new Error('nobody to sign')
  const word = wish.removeFromSubject
  return signMessage(content, section, signer, {
    signature: treatment.signature,
    signingTime: signingTimeFor(section.first('date')?.body, now),
    subject: word === undefined ? undefined : subjectField(withoutWord(facts.subject, word)),
  })
}

/** The message for a next hop without 8BITMIME (RFC 6152 §3): converted, or not sent at all. */
async function* sevenBit({ content, section }: Message): AsyncGenerator<Buffer, void, undefined> {
  const prepared = await prepare(content, section)
  if (prepared.kind === 'unsafe')
    throw new PosternError(
      'ERR_EIGHT_BIT_NOT_OFFERED',
      'permanent',
      `8-bit content: ${prepared.reason}`,
    )
  yield outerFields(section)
  yield* prepared.octets()
}

/** What a next hop that takes over an unmet wish can act on. */
function unmetField({ wish }: Decision): Buffer {
  return Buffer.from(`X-Postern-Unmet: sign; rule=${JSON.stringify(wish.rule)}\r\n`)
}
