/**
 * The layers of S/MIME around a message, read from the outside in.
 *
 *     message ──▶ signed · encrypted · compressed ──▶ … ──▶ the entity that people read
 *
 * Only what stands at the root is a layer (RFC 8551 §6): a part beside others has its own origin, and
 * is never opened (EFAIL). At most six, so that nobody can have us unpack without end.
 *
 * Nothing is decided here; nothing that a sender has written makes it throw.
 *
 * @module
 */
import { PosternError } from '../../errors.ts'
import type { ContentWriter } from '../../mail/content.ts'
import { type Entity, EntityWalker, walk } from '../../mail/entity.ts'
import { type LineEnds, LineEndsGauge, lineEndsOf, withCrlf } from '../../mail/line-ends.ts'
import type { Content } from '../../mail/mail-object.ts'
import { inflate } from '../cms/compressed-data.ts'
import * as OID from '../cms/oids.ts'
import type { KeyUnwrapper } from '../key.ts'
import { bodyOf, cmsTypeOf } from './cms-body.ts'
import {
  type EnvelopeStructure,
  type OpenedBefore,
  type Opening,
  openEnveloped,
  structureOf,
} from './decrypt.ts'
import { readSignature, type Signature } from './verify.ts'

/** An entity, and the content that its offsets count in. */
export interface Place {
  readonly content: Content
  readonly entity: Entity
}

/** What one layer turned out to be. */
export type Layer =
  | { readonly kind: 'signed'; readonly signature: Signature }
  | { readonly kind: 'encrypted'; readonly opening: Opening | NotOpened }
  | { readonly kind: 'compressed'; readonly outcome: 'inflated' | 'not-read' }

/** Why cipher text was left alone although it could have been opened, or not even tried. */
export type NotOpened =
  | { readonly kind: 'left' }
  /** It could be read in two ways, or what came out is no mail that a relay could be given. */
  | { readonly kind: 'unfit'; readonly reason: 'line-ends' | 'no-mime' | 'structure' }

/** All layers of a message. */
export interface Layers {
  /** Outermost first. */
  readonly layers: readonly Layer[]
  /** What each layer stands on, and last the innermost entity that could be reached. */
  readonly places: readonly Place[]
  /** Why reading ended with a layer still to come. */
  readonly stopped: 'too-many-layers' | undefined
  /** Frees what was held; of the message itself nothing. */
  dispose(): void
}

/** What layers are read with. */
export interface LayerOptions {
  /** Those of one recipient: what is meant for another stays closed. */
  readonly keys: readonly KeyUnwrapper[]
  readonly decrypt: boolean
  readonly tripleDes: boolean
  readonly hold: () => ContentWriter
  /** What may come out of a compressed layer at most. */
  readonly inflatedOctets: number
  /** What the same message has been opened with for others. */
  readonly before?: OpenedBefore | undefined
  /** What is known of the cipher texts of the same message, which everybody sees alike; is added to. */
  readonly structures?: WeakMap<Entity, Promise<EnvelopeStructure>> | undefined
  /** Told when all cipher text of a layer has been deciphered, and nobody knows yet whether that was right. */
  readonly deciphered?: (() => void) | undefined
}

/**
 * Takes off every layer that can be taken off.
 *
 * @param message The message and its root entity, which stay the caller's.
 * @param unopened The same message as read with `decrypt: false`, which stays the caller's too: what
 *   stands around the cipher text is the same for every recipient, and is not read again.
 * @throws {PosternError} What `content.read` and `hold` throw.
 */
export async function readLayers(
  message: Place,
  options: LayerOptions,
  unopened?: Layers,
): Promise<Layers> {
  const layers: Layer[] = unopened ? unopened.layers.slice(0, -1) : []
  const places: Place[] = unopened ? unopened.places.slice(0, layers.length + 1) : [message]
  const held: Content[] = []
  const dispose = (): void => {
    for (const content of held.splice(0)) content.dispose()
  }
  try {
    for (;;) {
      const step = await peel(places.at(-1)!, options, layers.length)
      if (step === 'too-many-layers') return { layers, places, stopped: step, dispose }
      if (step === undefined) break
      layers.push(step.layer)
      if (step.held) held.push(step.held)
      if (step.inside === undefined) break
      places.push(step.inside)
    }
    return { layers, places, stopped: undefined, dispose }
  } catch (error) {
    dispose()
    throw error
  }
}

/** A layer taken off, and what is in it if it could be reached. */
interface Step {
  readonly layer: Layer
  readonly inside?: Place | undefined
  /** A content that was made for it. */
  readonly held?: Content | undefined
}

async function peel(
  place: Place,
  options: LayerOptions,
  depth: number,
): Promise<Step | 'too-many-layers' | undefined> {
  const kind = await kindOf(place)
  if (kind === undefined) return undefined
  if (depth === MAXIMUM_LAYERS) return 'too-many-layers'
  switch (kind) {
    case 'signed':
      return signed(place, options)
    case 'encrypted':
      return encrypted(place, options)
    case 'compressed':
      return compressed(place, options)
  }
}

/** What an entity calls itself, or is, whatever it calls itself. */
async function kindOf({ content, entity }: Place): Promise<Layer['kind'] | undefined> {
  const { mediaType } = entity
  if (mediaType.essence === 'multipart/signed') return isOfPgp(entity) ? undefined : 'signed'
  if (!mayBearCms(entity)) return undefined
  switch (await cmsTypeOf(content, entity)) {
    case 'signed':
      return 'signed'
    case 'enveloped':
    case 'auth-enveloped':
      return 'encrypted'
    case 'compressed':
      return 'compressed'
    case undefined:
      // It says that it is signed and cannot be read: that is no message without a signature.
      return saysSigned(entity) ? 'signed' : undefined
  }
}

/** RFC 8551 §3.2, §3.2.1, §3.10: by its media type, or by the name of its file. */
function mayBearCms({ mediaType, headerSection }: Entity): boolean {
  if (CMS_TYPES.has(mediaType.essence)) return true
  if (mediaType.type !== 'application') return false
  if (CMS_FILE.test(mediaType.parameters.get('name') ?? '')) return true
  return CMS_FILE.test(headerSection.first('content-disposition')?.body ?? '')
}

function saysSigned({ mediaType }: Entity): boolean {
  const smimeType = mediaType.parameters.get('smime-type')?.trim().toLowerCase() ?? ''
  return CMS_TYPES.has(mediaType.essence) && smimeType.startsWith('signed-')
}

/** RFC 3156 §5: somebody else's signature. */
function isOfPgp({ mediaType }: Entity): boolean {
  const protocol = mediaType.parameters.get('protocol')?.trim().toLowerCase()
  return protocol === 'application/pgp-signature' && !mediaType.ambiguous
}

async function signed({ content, entity }: Place, { hold }: LayerOptions): Promise<Step> {
  const signature = await readSignature(content, entity, hold)
  const layer: Layer = { kind: 'signed', signature }
  if (signature.kind !== 'signed') return { layer }
  const { inside } = signature
  if (inside.kind === 'part') return { layer, inside: { content, entity: entity.children[0]! } }
  const place = await placeOf(inside.content)
  return { layer, held: place?.content, inside: place }
}

async function encrypted({ content, entity }: Place, options: LayerOptions): Promise<Step> {
  const { keys, decrypt, hold } = options
  if (!decrypt) return { layer: { kind: 'encrypted', opening: { kind: 'left' } } }
  if (entity.ambiguous) return unfit('structure')
  const read = () => bodyOf(content, entity)
  const structure = options.structures?.get(entity) ?? structureOf(read())
  options.structures?.set(entity, structure)
  const look = new FirstLook()
  const opening = await openEnveloped(read, keys, { ...options, structure, passing: look.take })
  if (opening.kind !== 'opened') return { layer: { kind: 'encrypted', opening } }
  if (opening.contentType !== OID.DATA) {
    opening.content.dispose()
    return unfit('no-mime')
  }
  const mended = await mendLines(opening.content, look.lineEnds, hold)
  if (mended === undefined) return unfit('line-ends')
  const isAsSeen = mended === opening.content
  const inside = await placeOf(mended, isAsSeen ? look.entity : undefined)
  if (inside === undefined) return unfit('structure')
  return {
    layer: { kind: 'encrypted', opening: { ...opening, content: mended } },
    held: mended,
    inside,
  }
}

/** What a plaintext is, learnt while it passes; of no meaning before it is known to be right. */
class FirstLook {
  readonly #gauge = new LineEndsGauge()
  readonly #walker = new EntityWalker()
  #fault: { readonly error: unknown } | undefined

  readonly take = (plain: Buffer): void => {
    this.#gauge.update(plain)
    if (this.#fault) return
    try {
      this.#walker.push(plain)
    } catch (error) {
      this.#fault = { error }
    }
  }

  get lineEnds(): LineEnds {
    return this.#gauge.lineEnds()
  }

  /** @throws {PosternError} What the walk throws. */
  readonly entity = (): Entity => {
    if (this.#fault) throw this.#fault.error
    return this.#walker.end()
  }
}

function unfit(reason: 'line-ends' | 'no-mime' | 'structure'): Step {
  return { layer: { kind: 'encrypted', opening: { kind: 'unfit', reason } } }
}

async function compressed({ content, entity }: Place, options: LayerOptions): Promise<Step> {
  const notRead: Step = { layer: { kind: 'compressed', outcome: 'not-read' } }
  const { hold, inflatedOctets } = options
  if (entity.ambiguous) return notRead
  const limits = { sizeOctets: inflatedOctets }
  const inflated = await inflate(() => bodyOf(content, entity), hold, limits)
  if (inflated.kind !== 'inflated') return notRead
  if (inflated.contentType !== OID.DATA) {
    inflated.content.dispose()
    return notRead
  }
  const mended = await mendLines(inflated.content, await lineEndsOf(inflated.content), hold)
  if (mended === undefined) return notRead
  const inside = await placeOf(mended)
  if (inside === undefined) return notRead
  return { layer: { kind: 'compressed', outcome: 'inflated' }, held: mended, inside }
}

/** @returns The content itself, or another in its place; `undefined` where it cannot be mended. */
async function mendLines(
  content: Content,
  ends: LineEnds,
  hold: () => ContentWriter,
): Promise<Content | undefined> {
  if (ends === 'crlf') return content
  try {
    return ends === 'unsafe' ? undefined : await heldOf(withCrlf(content.read()), hold)
  } finally {
    content.dispose()
  }
}

/** Holds octets; nothing is held where they cannot be read to their end. */
export async function heldOf(
  chunks: AsyncIterable<Buffer>,
  hold: () => ContentWriter,
): Promise<Content> {
  const writer = hold()
  try {
    for await (const chunk of chunks) await writer.write(chunk)
    return await writer.finish()
  } catch (error) {
    writer.discard()
    throw error
  }
}

/**
 * @param rootOf What is known of it already, if anything is.
 * @returns `undefined` where there are more parts than anybody has to look at; it is free then.
 */
async function placeOf(
  content: Content,
  rootOf: () => Promise<Entity> | Entity = () => walk(content),
): Promise<Place | undefined> {
  try {
    return { content, entity: await rootOf() }
  } catch (error) {
    content.dispose()
    if (error instanceof PosternError && STRUCTURE.has(error.code)) return undefined
    throw error
  }
}

/** RFC 8551 §3.7 lets anybody nest as he likes; attacks do, people do not. */
const MAXIMUM_LAYERS = 6
const CMS_TYPES: ReadonlySet<string> = new Set([
  'application/pkcs7-mime',
  'application/x-pkcs7-mime',
])
const CMS_FILE = /\.p7[mz]\b/i
const STRUCTURE: ReadonlySet<string> = new Set([
  'ERR_MIME_TOO_DEEP',
  'ERR_MIME_TOO_MANY_PARTS',
  'ERR_MIME_HEADERS_TOO_LARGE',
  'ERR_HEADER_SECTION_TOO_LARGE',
])
