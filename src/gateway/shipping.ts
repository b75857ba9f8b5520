/**
 * From decisions to shipments: who shares one message, and which octets leave.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import type { RecipientKey } from '../crypto/cms/recipient-info.ts'
import {
  contentForAll,
  type EncryptionChoice,
  encryptionFor,
  strengthKey,
} from '../crypto/smime/encryption-choice.ts'
import { envelopMessage } from '../crypto/smime/envelop-message.ts'
import { signingTimeFor, signMessage } from '../crypto/smime/sign-message.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import { PosternError } from '../errors.ts'
import { type Mailbox, parseMailboxList } from '../mail/address.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import type { ForwardPath } from '../mail/mail-object.ts'
import { subjectField, withoutWord } from '../mail/subject.ts'
import type { RefusalCause, Wish } from '../policy/treatment.ts'
import type { Conversation } from '../smtp/conversation.ts'
import { copyKeys } from './author-copy.ts'
import type { Decision, Message } from './decision.ts'
import type { Reading } from './inbound.ts'
import {
  deliveredOctets,
  readingFor,
  type Stamping,
  stamped,
  treatedReading,
} from './inbound-octets.ts'
import { routedSection, treatedSection } from './leaving-fields.ts'
import { untreatedOctets } from './untreated.ts'

/** Forward-paths of equal treatment at one next hop: they share one message. */
export interface Group {
  /** Name of the next hop in the configuration. */
  readonly nextHop: string
  readonly forwardPaths: readonly ForwardPath[]
  /** One for each forward-path; the first stands for all in what they have in common. */
  readonly decisions: readonly [Decision, ...Decision[]]
}

/**
 * Groups recipients; the order of the first of each group is kept.
 *
 * @param isVisible Whether the others may learn of a recipient: a RecipientInfo names its certificate.
 */
export function group(
  decisions: readonly Decision[],
  isVisible: (mailbox: Mailbox) => boolean,
): readonly Group[] {
  const groups = new Map<string, [Decision, ...Decision[]]>()
  const readings = [...new Set(decisions.map(({ reading }) => reading))]
  for (const decision of decisions) {
    const reading = readings.indexOf(decision.reading)
    const key = JSON.stringify([
      nextHopOf(decision),
      reading,
      ...octetsDependOn(decision, isVisible),
    ])
    const known = groups.get(key)
    if (known) known.push(decision)
    else groups.set(key, [decision])
  }
  return [...groups.values()].map(members => ({
    nextHop: nextHopOf(members[0]),
    forwardPaths: members.map(({ forwardPath }) => forwardPath),
    decisions: members,
  }))
}

/**
 * Who stands in a destination field, for everybody to see (RFC 5322 §3.6.3). Where such a field cannot
 * be read, nobody does: a copy too many harms less than a hidden recipient shown.
 */
export function visibleIn(section: HeaderSection): (mailbox: Mailbox) => boolean {
  let named: ReadonlySet<string> | undefined
  return mailbox => {
    named ??= namedIn(section)
    return named.has(mailbox.matchKey)
  }
}

function namedIn(section: HeaderSection): ReadonlySet<string> {
  const fields = DESTINATIONS.flatMap(name => section.all(name))
  try {
    return new Set(fields.flatMap(({ body }) => parseMailboxList(body).map(it => it.matchKey)))
  } catch (error) {
    if (error instanceof PosternError) return new Set()
    throw error
  }
}

/** Whatever makes the octets of one recipient differ from another's; the words of a reason do not. */
function octetsDependOn(
  decision: Decision,
  isVisible: (mailbox: Mailbox) => boolean,
): readonly (string | boolean | undefined)[] {
  const { treatment, wish, forwardPath } = decision
  switch (treatment.kind) {
    case 'sign':
      return [treatment.kind, treatment.signature, ...triggersOf(wish)]
    case 'encrypt': {
      const { sign, signature } = treatment
      const strength = strengthOf(decision)
      const alone = isVisible(forwardPath.mailbox) ? undefined : forwardPath.mailbox.toString()
      const shared = [sign, sign && signature, strength, wish.encryptToAuthor]
      return [treatment.kind, ...shared, ...triggersOf(wish), alone]
    }
    case 'route':
      return [treatment.kind, treatment.cause, wish.rule]
    case 'relay':
    case 'reject':
    case 'defer':
      return [treatment.kind]
  }
}

/** What is taken out of a message because it triggered the rule. */
function triggersOf({
  removeFromSubject,
  removeFields = [],
}: Wish): readonly (string | undefined)[] {
  return [removeFromSubject, removeFields.map(({ name, at }) => `${name} ${at}`).join()]
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

/**
 * What the delivery ledger knows a message by: who handed it in, who sent it, and every octet of its
 * content.
 *
 * @param party Whom the client belongs to. Without it a stranger who has got hold of a message could
 *   hand it in before its sender does, and have the genuine one taken for a retry.
 */
export async function digestOf({ reversePath, content }: Message, party: string): Promise<Buffer> {
  const hash = createHash('sha256').update(`${party}\0${reversePath?.toString() ?? ''}\0`)
  for await (const chunk of content.read()) hash.update(chunk)
  return hash.digest()
}

/** Name of the next hop that a decision leads to. */
export function nextHopOf({ treatment, direction }: Decision): string {
  return treatment.kind === 'route' ? treatment.nextHop : direction
}

/** What leaves above the fields of the sender. */
export interface OnTop {
  /** Our Received field. */
  readonly received: Buffer
  readonly stamping: Stamping
  /** When the message is treated. */
  readonly now: Date
  /** Told what an inbound message leaves as, for a log that says what left. */
  readonly leaving?: (reading: Reading) => void
}

/** The octets that leave for one group: our fields, then the message as it was or treated. */
export async function* octetsOf(
  message: Message,
  group: Group,
  { extensions }: Pick<Conversation, 'extensions'>,
  onTop: OnTop,
): AsyncGenerator<Buffer, void, undefined> {
  const [{ reading: read, treatment }] = group.decisions
  const { eightBitMime } = extensions
  if (read === undefined) {
    yield onTop.received
    yield* treated(message, group, onTop.now, leaving =>
      untreatedOctets(message, leaving, eightBitMime),
    )
    return
  }
  const isTreated = treatment.kind === 'sign' || treatment.kind === 'encrypt'
  const reading = isTreated ? treatedReading(read) : await readingFor(read, eightBitMime)
  onTop.leaving?.(reading)
  const { head, section } = stamped(message, reading, onTop.stamping, onTop)
  yield head
  yield* treated({ ...message, section }, group, onTop.now, () =>
    deliveredOctets(message, reading, section, eightBitMime),
  )
}

/** @param untreated Of the fields that leave, where nothing is signed or encrypted. */
async function* treated(
  message: Message,
  group: Group,
  now: Date,
  untreated: (leaving: HeaderSection) => AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  const [decision] = group.decisions
  switch (decision.treatment.kind) {
    case 'sign':
      yield* signed(message, decision, now)
      return
    case 'encrypt':
      yield* encrypted(message, group, now)
      return
    case 'route':
      // Of a verdict the stamp tells, and its seal suffers no other field in our name.
      if (UNMET[decision.treatment.cause] !== 'verify')
        yield unmetField(decision.wish, decision.treatment.cause)
      yield* untreated(routedSection(message.section))
      return
    case 'relay':
    case 'reject':
    case 'defer':
      yield* untreated(message.section)
  }
}

function signed(message: Message, decision: Decision, now: Date): AsyncIterable<Buffer> {
  const { signer, ...signing } = signingOf(message, decision, now)
  const subject = subjectOf(decision)
  const section = treatedSection(message.section, decision.wish)
  return signMessage(message.content, section, signer, { ...signing, subject })
}

function encrypted(message: Message, { decisions }: Group, now: Date): AsyncIterable<Buffer> {
  const [first] = decisions
  const { treatment } = first
  const sign = treatment.kind === 'encrypt' && treatment.sign
  return envelopMessage(message.content, treatedSection(message.section, first.wish), {
    recipients: [...decisions.flatMap(recipientKeysOf), ...authorKeysOf(first)],
    content: choiceFor(first).content,
    sign: sign ? signingOf(message, first, now) : undefined,
    subject: subjectOf(first),
  })
}

function signingOf({ section }: Message, { signer, wish }: Decision, now: Date) {
  if (signer === undefined) throw new Error('nobody to sign')
  const signingTime = signingTimeFor(section.first('date')?.body, now)
  return { signer, signature: wish.signature, signingTime }
}

/** A Subject without the word that triggered the rule. */
function subjectOf({ wish, facts }: Decision): Buffer | undefined {
  const word = wish.removeFromSubject
  return word === undefined ? undefined : subjectField(withoutWord(facts.subject, word))
}

/** Which algorithms a recipient gets: a cipher that all its devices read, and how the newest gets its key. */
export function choiceFor(decision: Decision): EncryptionChoice {
  const devices = devicesOf(decision)
  const content = contentForAll(devices.map(({ choice }) => choice))
  return { ...devices[0].choice, content }
}

/** Of a copy for the author, as far as recipients of this strength can have one beside them. */
export function authorKeysOf(decision: Decision): readonly RecipientKey[] {
  const { copy, wish } = decision
  return copy ? copyKeys(copy, choiceFor(decision), wish.profile) : []
}

/** Of each device of the recipient. */
function recipientKeysOf(decision: Decision): RecipientKey[] {
  return devicesOf(decision).map(({ certificate, choice }) => {
    const { management, keyIdentification } = choice
    return { certificate, management, keyIdentification }
  })
}

interface Device {
  readonly certificate: ValidCertificate<'encrypt'>
  /** What it would get alone, by what its holder's own mail has told of it (RFC 8551 §2.7.1). */
  readonly choice: EncryptionChoice
}

function devicesOf({ found, wish }: Decision): [Device, ...Device[]] {
  if (found?.kind !== 'valid') throw new Error('nothing to encrypt to')
  const { certificate, others = [], considered } = found
  const device = (one: ValidCertificate<'encrypt'>): Device => {
    const told = considered.find(
      it => it.capabilities && it.certificate.fingerprint === one.fingerprint,
    )
    return { certificate: one, choice: encryptionFor(one, wish.profile, told?.capabilities) }
  }
  return [device(certificate), ...others.map(device)]
}

/** Those of all devices: what one of them makes of a message, it makes of no one else's. */
function strengthOf(decision: Decision): string {
  const { content } = choiceFor(decision)
  const strengths = devicesOf(decision).map(({ choice }) => strengthKey({ ...choice, content }))
  return [...new Set(strengths)].toSorted().join()
}

/**
 * What a next hop that takes over an unmet wish can act on. A rule may have any name, a field only ASCII
 * (RFC 5322 §2.2): the rest is written as JSON can write it too, `\u00e4`.
 */
function unmetField({ rule }: Wish, cause: RefusalCause): Buffer {
  const name = JSON.stringify(rule).replace(/[^ -~]/g, unit => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
  return Buffer.from(`X-Postern-Unmet: ${UNMET[cause]}; rule=${name}\r\n`)
}

const UNMET = {
  'no-signing-key': 'sign',
  'no-certificate': 'encrypt',
  'certificate-search-failed': 'encrypt',
  'bad-signature': 'verify',
  'signature-required': 'verify',
} as const satisfies Record<RefusalCause, string>
const DESTINATIONS = ['to', 'cc', 'resent-to', 'resent-cc'] as const
