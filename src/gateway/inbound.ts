/**
 * Reads an inbound message for each of its recipients, and no more often than their keys ask for.
 *
 *     recipient ──▶ keys ──▶ layers ──▶ readingOf ──▶ Reading
 *                    │         └─ shared by all whose keys lead to the same content key
 *                    └─ shared by all who have the same, and wish the same
 *
 * Nothing here throws for what a sender has written, and nothing depends on it whether the message is
 * taken (attacks on padding).
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
import { type Entity, walk } from '../mail/entity.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import type { Content } from '../mail/mail-object.ts'
import { contentTypesOf } from '../mail/media-type.ts'
import type { InboundWish } from '../policy/treatment.ts'
import { EvenTime } from './even-time.ts'
import { inTurn } from './in-turn.ts'
import {
  NOT_LOOKED_AT,
  NOT_VERIFIED,
  type Owner,
  PLAIN,
  type Reading,
  readingOf,
  UNREADABLE_STRUCTURE,
} from './reading.ts'

export type { Delivery, Reading } from './reading.ts'

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

/** Reads one message, for all of its inbound recipients. */
export class InboundReader {
  readonly #content: Content
  readonly #section: HeaderSection
  readonly #parts: InboundParts
  readonly #now: Date
  /** The message's structure. */
  #root: Promise<Entity | undefined> | undefined
  /** Its layers with nothing opened. */
  #unopened: Promise<Layers | undefined> | undefined
  readonly #structures = new WeakMap<Entity, Promise<EnvelopeStructure>>()
  /** Its layers by the tag of the content key that opened them. */
  readonly #opened = new Map<string, Layers>()
  /** Its layers by why they could not be opened. */
  readonly #closed = new Map<string, Layers>()
  /** Content keys that cipher text has been deciphered with. */
  #keysTried = 0
  /** By whose keys, and what is wished. */
  readonly #readings = new Map<string, Promise<Reading>>()
  /** By what was opened or was not, whose key did it, and what is wished. */
  readonly #shared = new Map<Layers, Map<string, Promise<Reading>>>()
  readonly #held: { dispose(): void }[] = []

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
    if (keys === undefined) return this.#readingOf(unopened, undefined, wish)
    // Begun when it is its turn: how long others took tells nothing of this one.
    const [reading, time] = await inTurn(this.#content.sizeOctets, async () => {
      const begun = new EvenTime()
      return [await this.#open(keys, wish, begun), begun] as const
    })
    await time.over()
    return reading
  }

  async #open(keys: RecipientKeys, wish: InboundWish, time: EvenTime): Promise<Reading> {
    const layers = await this.#layersWith(keys, time)
    const last = layers?.layers.at(-1)
    const opening = last?.kind === 'encrypted' ? last.opening : undefined
    if (opening?.kind !== 'as-before') return this.#remember(layers, keys, wish)
    const owner = keys.ownerOf(opening.certificate.fingerprint)
    return this.#share(this.#opened.get(opening.keyTag)!, owner, wish)
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
    if (first?.kind !== 'opened') return this.#share(this.#alike(layers, first), 'nobody', wish)
    // Layers within may be for other keys than the one around them.
    if (others.length === 0) this.#opened.set(first.keyTag, layers)
    return this.#share(layers, keys.ownerOf(first.certificate.fingerprint), wish)
  }

  /** What could not be opened, in one way, is one message for all to whom that happened. */
  #alike(layers: Layers, opening: { readonly kind: string; readonly reason?: string } | undefined) {
    const how = JSON.stringify([opening?.kind, opening?.reason])
    const known = this.#closed.get(how) ?? layers
    this.#closed.set(how, known)
    return known
  }

  #share(layers: Layers, owner: Owner | 'nobody', wish: InboundWish): Promise<Reading> {
    const { verify, strip, unauthenticated } = wish
    const name = JSON.stringify([owner, verify, strip, unauthenticated])
    const ofLayers = this.#shared.get(layers) ?? new Map<string, Promise<Reading>>()
    this.#shared.set(layers, ofLayers)
    const reading = ofLayers.get(name) ?? this.#readingOf(layers, owner, wish)
    ofLayers.set(name, reading)
    return reading
  }

  async #readingOf(
    layers: Layers,
    owner: Owner | 'nobody' | undefined,
    wish: InboundWish,
  ): Promise<Reading> {
    const unopened = (await this.#unopened)!
    return readingOf(layers, owner, wish, {
      section: this.#section,
      unopened,
      signerTrust: this.#parts.signerTrust,
      now: this.#now,
      keep: octets => this.#keep(octets),
    })
  }

  async #keep(octets: AsyncIterable<Buffer>): Promise<Place> {
    const content = await heldOf(octets, this.#parts.hold)
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
        keyTags: new Set(this.#opened.keys()),
        enough: this.#keysTried >= MAXIMUM_CONTENT_KEYS,
      },
      structures: this.#structures,
    }
    const entity = await this.#structure()
    if (entity === undefined) return undefined
    const unopened = keys && (await this.#unopened)
    if (unopened && unopened.layers.at(-1)?.kind !== 'encrypted') return unopened
    const layers = await readLayers({ content: this.#content, entity }, options, unopened)
    this.#held.push(layers)
    return layers
  }

  #structure(): Promise<Entity | undefined> {
    this.#root ??= walk(this.#content).catch((error: unknown) => {
      if (error instanceof PosternError && error.persistence === 'permanent') return undefined
      throw error
    })
    return this.#root
  }
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

/** A message has one; each more costs as much as the message is large. */
const MAXIMUM_CONTENT_KEYS = 3
const TRIED: ReadonlySet<string> = new Set(['opened', 'failed', 'unfit'])
