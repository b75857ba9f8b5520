/**
 * What layers that were taken off are for a recipient: a verdict, and what may leave.
 *
 *     layers ──▶ evidence ──▶ verdict ─────────────────────────────────────────────┐
 *        └──▶ what was opened ──▶ nothing hidden in it? ──▶ bared, defused ──▶ Delivery ──▶ Reading
 *
 * Nothing here throws for what a sender has written.
 *
 * @module
 */
import type { SignerTrust } from '../certstore/signer-trust.ts'
import type { Layers, Place } from '../crypto/smime/layers.ts'
import { defuse } from '../mail/defuse.ts'
import { exactnessOf, frameExactnessOf } from '../mail/exactness.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import { lineEndsOf } from '../mail/line-ends.ts'
import type { InboundWish } from '../policy/treatment.ts'
import { judge, type Verdict } from '../policy/verdict.ts'
import { type Encryption, encryptionOf } from './encryption-reading.ts'
import { type Examined, examine } from './evidence.ts'

/** What a message is for a recipient, and what of it may be delivered. */
export interface Reading {
  readonly verdict: Verdict
  readonly encryption: Encryption
  /** Undefined where nothing had to be looked at. */
  readonly examined: Examined | undefined
  readonly delivery: Delivery
}

/** The body that leaves: as it came, or an entity out of it. */
export type Delivery =
  | { readonly kind: 'as-it-came' }
  | { readonly kind: 'entity'; readonly place: Place }

/** Whose key opened a message. */
export type Owner = 'own' | 'domain'

/** What all readings of a message have in common. */
export interface ReadingContext {
  /** The header section of the message as it came. */
  readonly section: HeaderSection
  /** Its layers where nothing is opened. */
  readonly unopened: Layers
  readonly signerTrust: SignerTrust
  readonly now: Date
  /** Holds octets of our own making for as long as there are readings. */
  keep(octets: AsyncIterable<Buffer>): Promise<Place>
}

/**
 * Judges what was found, and says what of it may leave.
 *
 * @param owner Whose key opened it; `nobody` where none did, undefined where nobody wished it opened.
 * @throws {PosternError} Transient ones, where contents cannot be held.
 */
export async function readingOf(
  layers: Layers,
  owner: Owner | 'nobody' | undefined,
  wish: InboundWish,
  context: ReadingContext,
): Promise<Reading> {
  const examined = await examine(context.section, layers, context.signerTrust, context.now)
  const encryption = encryptionOf(layers, owner === 'nobody' ? undefined : owner)
  const opened = owner && deliverable(layers)
  const fault = opened && (await faultOf(opened, encryption, wish))
  if (fault !== undefined) return refused(encryption, fault, wish, context)

  const verdict = wish.verify === 'never' ? NOT_LOOKED_AT.verdict : judge(examined.evidence)
  const isBare = wish.strip === 'signature' && verdict.result === 'pass'
  const left = (isBare ? await bared(layers, context) : undefined) ?? opened
  const isSuspect = encryption.result === 'unauthenticated' && wish.unauthenticated === 'defuse'
  const delivered = left && isSuspect ? await defused(left, context) : left
  const delivery: Delivery = delivered ? { kind: 'entity', place: delivered } : AS_IT_CAME
  return { verdict, encryption, examined, delivery }
}

/** Cipher text that may have been tampered with stays cipher text, and nothing in it counts. */
async function refused(
  encryption: Encryption,
  reason: string,
  wish: InboundWish,
  context: ReadingContext,
): Promise<Reading> {
  const asItCame = { ...wish, decrypt: 'never' } as const
  const reading = await readingOf(context.unopened, undefined, asItCame, context)
  const notes = [...encryption.notes, `inexact-${reason}`]
  return { ...reading, encryption: { ...encryption, result: 'refused', notes } }
}

/**
 * What is in a plaintext that its header fields do not declare, where that matters: a tag vouches for
 * all of it, a signature for all but its frame, and else nothing does.
 */
async function faultOf(
  place: Place,
  { result, bySignature }: Encryption,
  { unauthenticated }: InboundWish,
): Promise<string | undefined> {
  const isWhole = result === 'unauthenticated' && unauthenticated === 'strict'
  if (!isWhole && !bySignature) return undefined
  const exactness = await (isWhole ? exactnessOf(place) : frameExactnessOf(place))
  return exactness.kind === 'exact' ? undefined : exactness.reason
}

/**
 * What is behind the last layer of encryption that was opened. A signature around that goes with it; one
 * inside stays. Compression goes where nothing else is around it.
 */
function deliverable({ layers, places }: Layers): Place | undefined {
  let cut = 0
  for (const [at, layer] of layers.entries()) {
    const opened = layer.kind === 'encrypted' && layer.opening.kind === 'opened'
    const inflated = layer.kind === 'compressed' && layer.outcome === 'inflated' && cut === at
    if (opened || inflated) cut = at + 1
  }
  return cut === 0 ? undefined : places[cut]
}

/** What is behind the signature that was judged, where that is the last layer. */
function unsigned({ layers, places }: Layers): Place | undefined {
  return layers.at(-1)?.kind === 'signed' ? places[layers.length] : undefined
}

/**
 * What is behind the signature, if it can leave without it. Nobody has looked at the lines of what is
 * signed opaquely: a CR or LF alone would be SMTP smuggling from the inside (CVE-2023-51764), and
 * mending it would change what was signed.
 */
async function bared(layers: Layers, context: ReadingContext): Promise<Place | undefined> {
  const place = unsigned(layers)
  if (place === undefined) return undefined
  const { content, entity } = place
  const isWhole = entity.start === 0 && entity.end === content.sizeOctets
  if (isWhole) return (await lineEndsOf(content)) === 'crlf' ? place : undefined
  if (!entity.shape.eightBit) return place
  // On its own, it can be made 7-bit for a next hop that takes nothing else (RFC 6152 §3).
  return context.keep(content.read(entity.start, entity.end))
}

/** The plaintext with nothing in it that a reader would fetch. */
async function defused(place: Place, context: ReadingContext): Promise<Place> {
  const harmless = await defuse(place.content)
  return harmless.kind === 'untouched' ? place : context.keep(harmless.octets())
}

function without(code: string, reason: string, encryption: Encryption['result'] = 'none'): Reading {
  return {
    verdict: { result: 'none', code, reason, signer: undefined, notes: [] },
    encryption: { result: encryption, notes: [] },
    examined: undefined,
    delivery: AS_IT_CAME,
  }
}

const AS_IT_CAME: Delivery = { kind: 'as-it-came' }
const UNWISHED = ['not-looked-at', 'signatures are not looked at here'] as const
/** Nobody wished a verdict, and there is nothing to decrypt. */
export const NOT_VERIFIED = without(...UNWISHED)
/** Nobody wished anything. */
export const NOT_LOOKED_AT = without(...UNWISHED, 'not-looked-at')
/** There is nothing but text. */
export const PLAIN = without('not-signed', 'the message is not signed')
/** Its parts were not counted to the end. */
export const UNREADABLE_STRUCTURE = without(
  'structure',
  'the message has too many or too deeply nested parts to look at',
  'not-looked-at',
)
