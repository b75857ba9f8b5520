/**
 * What an inbound message is for one of its recipients: its layers taken off, its signature judged.
 *
 *     recipient ──▶ keys ──▶ layers ──▶ evidence ──▶ verdict ─┐
 *                                └──▶ what may be delivered ──┴──▶ Reading
 *
 * Recipients with the same keys and the same wish share one reading. Nothing here throws for what a
 * sender has written, and nothing depends on it whether the message is taken (attacks on padding).
 *
 * @module
 */
import type { Keyring, RecipientKeys } from '../certstore/keyring.ts'
import type { SignerTrust } from '../certstore/signer-trust.ts'
import type { EnvelopeStructure } from '../crypto/smime/decrypt.ts'
import { heldOf, type Layers, type Place, readLayers } from '../crypto/smime/layers.ts'
import { PosternError } from '../errors.ts'
import type { Mailbox } from '../mail/address.ts'
import type { ContentWriter } from '../mail/content.ts'
import { defuse } from '../mail/defuse.ts'
import { type Entity, walk } from '../mail/entity.ts'
import { exactnessOf, frameExactnessOf } from '../mail/exactness.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import { lineEndsOf } from '../mail/line-ends.ts'
import type { Content } from '../mail/mail-object.ts'
import { contentTypesOf } from '../mail/media-type.ts'
import type { InboundWish } from '../policy/treatment.ts'
import { judge, type Verdict } from '../policy/verdict.ts'
import { type Encryption, encryptionOf } from './encryption-reading.ts'
import { EvenTime } from './even-time.ts'
import { type Examined, examine } from './evidence.ts'
import { inTurn } from './in-turn.ts'

/** What reading inbound mail needs of the house. */
export interface InboundParts {
  readonly keyring: Keyring
  readonly signerTrust: SignerTrust
  /** Where what is taken out of a layer is held. */
  readonly hold: () => ContentWriter
  readonly tripleDes: boolean
  /** What may come out of a compressed layer at most. */
  readonly inflatedOctets: number
}

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

/** Reads one message, for all of its inbound recipients. */
export class InboundReader {
  readonly #content: Content
  readonly #section: HeaderSection
  readonly #parts: InboundParts
  readonly #now: Date
  readonly #readings = new Map<string, Promise<Reading>>()
  readonly #held: { dispose(): void }[] = []
  readonly #opened: { readonly keyTag: string; readonly layers: Layers }[] = []
  readonly #shares = new Map<Layers, Map<string, Promise<Reading>>>()
  readonly #closed = new Map<string, Layers>()
  readonly #structures = new WeakMap<Entity, Promise<EnvelopeStructure>>()
  #keysTried = 0
  #unopened: Promise<Layers | undefined> | undefined
  #entity: Promise<Entity | undefined> | undefined

  constructor(
    { content, section }: { readonly content: Content; readonly section: HeaderSection },
    parts: InboundParts,
    now: Date,
  ) {
    this.#content = content
    this.#section = section
    this.#parts = parts
    this.#now = now
  }

  /**
   * Reads the message for a recipient.
   *
   * @throws {PosternError} Transient ones, where contents cannot be held or keys cannot be asked.
   */
  async read(mailbox: Mailbox, wish: InboundWish): Promise<Reading> {
    if (wish.verify === 'never' && wish.decrypt === 'never') return NOT_LOOKED_AT
    if (!mayBeProtected(this.#section)) return wish.verify === 'never' ? NOT_VERIFIED : PLAIN
    this.#unopened ??= inTurn(this.#content.sizeOctets, () => this.#layersWith(undefined))
    const unopened = await this.#unopened
    const opens = wish.decrypt !== 'never' && unopened !== undefined && isClosed(unopened)
    const keys = opens ? this.#parts.keyring.keysFor(mailbox) : undefined
    const { verify, unauthenticated, strip, decrypt } = wish
    const name = JSON.stringify([verify, decrypt, strip, keys && [keys.name, unauthenticated]])
    const known = this.#readings.get(name)
    if (known) return known
    const reading = this.#read(unopened, keys, wish)
    this.#readings.set(name, reading)
    return reading
  }

  /** Frees what was taken out of the message. Nobody may read any more. */
  dispose(): void {
    for (const held of this.#held.splice(0)) held.dispose()
  }

  async #read(
    unopened: Layers | undefined,
    keys: RecipientKeys | undefined,
    wish: InboundWish,
  ): Promise<Reading> {
    if (unopened === undefined) return UNREADABLE_STRUCTURE
    if (keys === undefined) return this.#reading(unopened, undefined, wish)
    // Begun when it is its turn: how long others took tells nothing of this one.
    const [reading, time] = await inTurn(this.#content.sizeOctets, async () => {
      const begun = new EvenTime()
      return [await this.#readWith(keys, wish, begun), begun] as const
    })
    await time.over()
    return reading
  }

  async #readWith(keys: RecipientKeys, wish: InboundWish, time: EvenTime): Promise<Reading> {
    const layers = await this.#layersWith(keys, time)
    const last = layers?.layers.at(-1)
    const opening = last?.kind === 'encrypted' ? last.opening : undefined
    if (opening?.kind !== 'as-before') return this.#remember(layers, keys, wish)
    const before = this.#opened.find(({ keyTag }) => keyTag === opening.keyTag)!
    const owner = keys.ownerOf(opening.certificate.fingerprint)
    return this.#shared(before.layers, owner, wish)
  }

  /** What one recipient has had opened is there for the next one whose key leads to it. */
  #remember(
    layers: Layers | undefined,
    keys: RecipientKeys,
    wish: InboundWish,
  ): Promise<Reading> | Reading {
    if (layers === undefined) return UNREADABLE_STRUCTURE
    const openings = layers.layers.flatMap(it => (it.kind === 'encrypted' ? [it.opening] : []))
    const [first, ...others] = openings
    if (first && TRIED.has(first.kind)) this.#keysTried++
    if (first?.kind !== 'opened') return this.#shared(this.#alike(layers, first), undefined, wish)
    // Layers within may be for other keys than the one around them.
    if (others.length === 0) this.#opened.push({ keyTag: first.keyTag, layers })
    return this.#shared(layers, keys.ownerOf(first.certificate.fingerprint), wish)
  }

  /** What could not be opened, in one way, is one message for all to whom that happened. */
  #alike(layers: Layers, opening: { readonly kind: string; readonly reason?: string } | undefined) {
    const how = JSON.stringify([opening?.kind, opening?.reason])
    const known = this.#closed.get(how) ?? layers
    this.#closed.set(how, known)
    return known
  }

  #shared(layers: Layers, owner: Owner | undefined, wish: InboundWish): Promise<Reading> {
    const { verify, strip, unauthenticated } = wish
    const name = JSON.stringify([owner, verify, strip, unauthenticated])
    const ofLayers = this.#shares.get(layers) ?? new Map<string, Promise<Reading>>()
    this.#shares.set(layers, ofLayers)
    const known = ofLayers.get(name) ?? this.#reading(layers, owner ?? 'nobody', wish)
    ofLayers.set(name, known)
    return known
  }

  /** @param owner Whose key opened it; undefined where nobody wished it opened. */
  async #reading(
    layers: Layers,
    owner: Owner | 'nobody' | undefined,
    wish: InboundWish,
  ): Promise<Reading> {
    const examined = await examine(this.#section, layers, this.#parts.signerTrust, this.#now)
    const encryption = encryptionOf(layers, owner === 'nobody' ? undefined : owner)
    const place = owner && deliverable(layers)
    const fault = place && (await faultOf(place, encryption, wish))
    if (fault !== undefined) return this.#refused(encryption, fault, wish)

    const verdict = wish.verify === 'never' ? NOT_LOOKED_AT.verdict : judge(examined.evidence)
    const isBare = wish.strip === 'signature' && verdict.result === 'pass'
    const left = (isBare ? await this.#bare(layers) : undefined) ?? place
    const isSuspect = encryption.result === 'unauthenticated' && wish.unauthenticated === 'defuse'
    const delivered = left && isSuspect ? await this.#defused(left) : left
    return {
      verdict,
      encryption,
      examined,
      delivery: delivered ? { kind: 'entity', place: delivered } : AS_IT_CAME,
    }
  }

  /** Cipher text that may have been tampered with stays cipher text, and nothing in it counts. */
  async #refused(encryption: Encryption, reason: string, wish: InboundWish): Promise<Reading> {
    const unopened = await this.#unopened
    const reading = await this.#reading(unopened!, undefined, { ...wish, decrypt: 'never' })
    const notes = [...encryption.notes, `inexact-${reason}`]
    return { ...reading, encryption: { ...encryption, result: 'refused', notes } }
  }

  /**
   * What is behind the signature, if it can leave without it. Nobody has looked at the lines of what is
   * signed opaquely: a CR or LF alone would be SMTP smuggling from the inside (CVE-2023-51764), and
   * mending it would change what was signed.
   */
  async #bare(layers: Layers): Promise<Place | undefined> {
    const place = unsigned(layers)
    if (place === undefined) return undefined
    const { content, entity } = place
    const isWhole = entity.start === 0 && entity.end === content.sizeOctets
    if (isWhole) return (await lineEndsOf(content)) === 'crlf' ? place : undefined
    if (!entity.shape.eightBit) return place
    // On its own, it can be made 7-bit for a next hop that takes nothing else (RFC 6152 §3).
    const own = await heldOf(content.read(entity.start, entity.end), this.#parts.hold)
    this.#held.push(own)
    return { content: own, entity: await walk(own) }
  }

  /** The plaintext with nothing in it that a reader would fetch. */
  async #defused(place: Place): Promise<Place> {
    const harmless = await defuse(place.content)
    if (harmless.kind === 'untouched') return place
    const content = await heldOf(harmless.octets(), this.#parts.hold)
    this.#held.push(content)
    return { content, entity: await walk(content) }
  }

  /** @returns `undefined` where the message has more parts than anybody has to look at. */
  async #layersWith(keys: RecipientKeys | undefined, time?: EvenTime): Promise<Layers | undefined> {
    const { hold, tripleDes, inflatedOctets } = this.#parts
    const options = {
      keys: keys?.keys ?? [],
      decrypt: keys !== undefined,
      hold,
      tripleDes,
      inflatedOctets,
      deciphered: time?.measured,
      before: {
        keyTags: new Set(this.#opened.map(({ keyTag }) => keyTag)),
        enough: this.#keysTried >= MAXIMUM_CONTENT_KEYS,
      },
      structures: this.#structures,
    }
    const entity = await this.#root()
    if (entity === undefined) return undefined
    const unopened = keys && (await this.#unopened)
    if (unopened && unopened.layers.at(-1)?.kind !== 'encrypted') return unopened
    const layers = await readLayers({ content: this.#content, entity }, options, unopened)
    this.#held.push(layers)
    return layers
  }

  /** The message's structure, which is looked at once. */
  #root(): Promise<Entity | undefined> {
    this.#entity ??= walk(this.#content).catch((error: unknown) => {
      if (error instanceof PosternError && error.persistence === 'permanent') return undefined
      throw error
    })
    return this.#entity
  }
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

/** Whether anything in a header section says that there is more to the body than text. */
function mayBeProtected(section: HeaderSection): boolean {
  return contentTypesOf(section).some(
    ({ type, ambiguous }) => ambiguous || type === 'multipart' || type === 'application',
  )
}

/** Whether a key could take off more. */
function isClosed({ layers }: Layers): boolean {
  const last = layers.at(-1)
  return last?.kind === 'encrypted' || layers.some(({ kind }) => kind === 'compressed')
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

type Owner = 'own' | 'domain'

/** A message has one; each more costs as much as the message is large. */
const MAXIMUM_CONTENT_KEYS = 3
const TRIED: ReadonlySet<string> = new Set(['opened', 'failed', 'unfit'])
const AS_IT_CAME: Delivery = { kind: 'as-it-came' }

function without(code: string, reason: string, encryption: Encryption['result'] = 'none'): Reading {
  return {
    verdict: { result: 'none', code, reason, signer: undefined, notes: [] },
    encryption: { result: encryption, notes: [] },
    examined: undefined,
    delivery: AS_IT_CAME,
  }
}

const UNWISHED = ['not-looked-at', 'signatures are not looked at here'] as const
const NOT_VERIFIED = without(...UNWISHED)
const NOT_LOOKED_AT = without(...UNWISHED, 'not-looked-at')
const PLAIN = without('not-signed', 'the message is not signed')
const UNREADABLE_STRUCTURE = without(
  'structure',
  'the message has too many or too deeply nested parts to look at',
  'not-looked-at',
)
