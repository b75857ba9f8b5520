/**
 * What leaves for a recipient, found by making it: the fields that are put in, those that are left out
 * and why, who shares the message, and what a next hop without 8BITMIME gets.
 *
 *     decisions ── group ──▶ octetsOf ──▶ header section that leaves ── compared with the one that came
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import type { Decision } from '../../gateway/decision.ts'
import { readingFor, type Stamping } from '../../gateway/inbound-octets.ts'
import { type Group, group, octetsOf, visibleIn } from '../../gateway/shipping.ts'
import { speaksFor } from '../../mail/authentication-results.ts'
import { cleansedInner, isPosternName } from '../../mail/header-cleansing.ts'
import { type HeaderField, parseHeaderSection } from '../../mail/header-section.ts'
import type { Scene } from './scene.ts'

/** What leaves for one recipient. */
export interface Leaving {
  /** Others who get the same message, in one transaction. */
  readonly sharedWith: readonly string[]
  readonly sizeOctets: number
  /** Fields of our stamp, unfolded, without the seal. */
  readonly stamp: readonly string[]
  /** Other fields that did not come with the message; unfolded. */
  readonly added: readonly string[]
  readonly removed: readonly Removed[]
  /** What becomes of it where the next hop takes no 8-bit content; undefined where that is the same. */
  readonly withoutEightBit: string | undefined
  /** Why it cannot be made, where it cannot: a key that does not answer, and the like. */
  readonly fault?: string | undefined
}

/** A field that came, and does not leave. */
export interface Removed {
  /** Unfolded. */
  readonly field: string
  readonly why: string
}

/** What leaves for each recipient who is not refused. */
export async function leavingOf(
  decisions: readonly Decision[],
  scene: Scene,
): Promise<ReadonlyMap<Decision, Leaving>> {
  const all = new Map<Decision, Leaving>()
  const taken = decisions.filter(({ treatment }) => !REFUSALS.has(treatment.kind))
  for (const one of group(taken, visibleIn(scene.message.section))) {
    const leaving = await ofGroup(one, scene).catch(ifOurs)
    const names = one.forwardPaths.map(({ mailbox }) => mailbox.toString())
    for (const [at, decision] of one.decisions.entries())
      all.set(decision, { ...leaving, sharedWith: names.toSpliced(at, 1) })
  }
  return all
}

async function ofGroup(one: Group, scene: Scene): Promise<Omit<Leaving, 'sharedWith'>> {
  const made = await makeFor(one, scene, true)
  const [decision] = one.decisions
  const came = scene.message.section.fields
  const left = made.fields
  const isStamp = ({ key }: HeaderField) =>
    decision.reading !== undefined && (key === RESULTS || key.startsWith(OURS))
  const added = without(left, came).filter(field => !isOfBody(field))
  return {
    sizeOctets: made.sizeOctets,
    stamp: added.filter(it => isStamp(it) && it.key !== SEAL).map(textOf),
    added: added.filter(it => !isStamp(it)).map(textOf),
    removed: [
      ...without(came, left).flatMap(field => removedFrom(field, decision, added, scene)),
      ...removedInside(decision, left),
    ],
    withoutEightBit: await narrow(one, scene),
  }
}

/** What is thrown where a message cannot be made is told; anything else is an error of ours. */
function ifOurs(error: unknown): Omit<Leaving, 'sharedWith'> {
  if (!(error instanceof PosternError)) throw error
  return {
    sizeOctets: 0,
    stamp: [],
    added: [],
    removed: [],
    withoutEightBit: undefined,
    fault: error.message,
  }
}

/** Octets that leave, of which the header section is kept. */
interface Made {
  readonly fields: readonly HeaderField[]
  readonly sizeOctets: number
}

async function makeFor(one: Group, scene: Scene, eightBitMime: boolean): Promise<Made> {
  const { message, stamping, now } = scene
  const onTop = { received: NOTHING, stamping, now }
  const head: Buffer[] = []
  let headOctets = 0
  let sizeOctets = 0
  const extensions = { ...EVERYTHING, eightBitMime }
  for await (const chunk of octetsOf(message, one, { extensions }, onTop)) {
    sizeOctets += chunk.length
    if (headOctets < MOST_HEAD) head.push(chunk)
    headOctets += chunk.length
  }
  const limits = { octets: MOST_HEAD, fields: MOST_FIELDS }
  const { fields } = parseHeaderSection(Buffer.concat(head), limits)
  return { fields, sizeOctets }
}

/** What a next hop gets that takes no 8-bit content (RFC 6152 §3), where that matters. */
async function narrow(one: Group, scene: Scene): Promise<string | undefined> {
  const [{ reading, treatment }] = one.decisions
  // What is signed or encrypted is 7-bit, whoever takes it.
  if (treatment.kind === 'sign' || treatment.kind === 'encrypt') return undefined
  const delivered =
    reading?.delivery.kind === 'entity' ? reading.delivery.place.content : scene.message.content
  if (!delivered.shape.eightBit) return undefined
  if (reading && (await readingFor(reading, false)) !== reading) return STAYS_ENCRYPTED
  try {
    await makeFor(one, scene, false)
    return CONVERTED
  } catch (error) {
    if (error instanceof PosternError) return `it would be refused: ${error.message}`
    throw error
  }
}

/** Those of the first that are not among the second, octet for octet, as often as they stand there. */
function without(
  fields: readonly HeaderField[],
  others: readonly HeaderField[],
): readonly HeaderField[] {
  const counts = new Map<string, number>()
  for (const it of others) counts.set(keyOf(it), (counts.get(keyOf(it)) ?? 0) + 1)
  return fields.filter(field => {
    const left = counts.get(keyOf(field)) ?? 0
    counts.set(keyOf(field), left - 1)
    return left <= 0
  })
}

/** Nothing is told of what describes a body: with another body come other fields. */
function removedFrom(
  field: HeaderField,
  decision: Decision,
  added: readonly HeaderField[],
  { stamping }: Scene,
): Removed[] {
  if (isOfBody(field)) return []
  const why = whyRemoved(field, decision, stamping)
  const isReplaced = added.some(({ key }) => key === field.key)
  return [{ field: textOf(field), why: isReplaced && why === NOT_SIGNED ? REPLACED : why }]
}

function whyRemoved(
  field: HeaderField,
  { reading, wish }: Decision,
  { hostname, tags }: Stamping,
): string {
  const { key } = field
  if (reading && (isPosternName(field.name) || speaksFor(field, hostname))) return IN_OUR_NAME
  if (key === 'bcc' || key === 'resent-bcc') return HIDDEN
  if (wish.removeFields?.some(({ name }) => name === key)) return `it had rule ${wish.rule} apply`
  if (isPosternName(field.name)) return OURS_ALONE
  if (key !== 'subject') return NOT_SIGNED
  if (!reading) return `it bears the word that had rule ${wish.rule} apply`
  return tags ? TAGGED : NOT_SIGNED
}

/** Of an entity that was taken out of an encrypted or compressed layer, few fields count. */
function removedInside({ reading }: Decision, left: readonly HeaderField[]): Removed[] {
  if (reading?.delivery.kind !== 'entity') return []
  const { removed } = cleansedInner(reading.delivery.place.entity.headerSection)
  const shown = new Set(left.map(({ key, body }) => `${key}:${body}`))
  return removed
    .filter(({ key, body }) => !shown.has(`${key}:${body}`))
    .map(field => ({ field: textOf(field), why: INSIDE }))
}

function isOfBody({ key }: HeaderField): boolean {
  return key === 'mime-version' || key.startsWith('content-')
}

function keyOf({ octets }: HeaderField): string {
  return octets.toString('latin1')
}

/** On one line: of white space between words, folded or not, a space is left. */
function textOf({ name, body }: HeaderField): string {
  return `${name}: ${body.replace(/\t/g, ' ')}`
}

const NOTHING = Buffer.alloc(0)
const RESULTS = 'authentication-results'
const OURS = 'x-postern-'
const SEAL = 'x-postern-seal'
const REFUSALS: ReadonlySet<string> = new Set(['reject', 'defer'])
/** Twice what may come, and our own on top of it. */
const MOST_HEAD = 4 * 1024 * 1024
const MOST_FIELDS = 20_000
const EVERYTHING = {
  pipelining: true,
  eightBitMime: true,
  size: 0,
  smtpUtf8: true,
  dsn: true,
  enhancedStatusCodes: true,
}

const IN_OUR_NAME = 'it says what only we may say'
const OURS_ALONE = 'it speaks for us, or is for our own alone'
const HIDDEN = 'it names hidden recipients'
const INSIDE = 'it stood inside, where it does not count'
const TAGGED = 'tags of the subject are ours alone, and there is one subject'
const NOT_SIGNED = 'its author has signed another, or none'
const REPLACED = 'its author has signed another, which stands in its place'
const STAYS_ENCRYPTED = 'it would stay encrypted, for what is in it cannot be said in 7 bits'
const CONVERTED = 'it would be converted to 7 bits'
