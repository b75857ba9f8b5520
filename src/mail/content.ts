/**
 * Octets that can be read twice: held in memory, beyond a bound in an encrypted, nameless file.
 *
 *     write ──┬─▶ shape (8-bit octets, longest line)
 *             ├─▶ memory, as far as the message's and everybody's share goes ──┐
 *             └─▶ AES-256-CTR ──▶ unlinked temporary file ─────────────────────┴─▶ read, read, …
 *
 * @module
 */
import { tmpdir } from 'node:os'
import { FilePart } from './content-file.ts'
import { ShapeGauge } from './content-shape.ts'
import type { Content, ContentShape } from './mail-object.ts'

/** Where contents are held: one for a process, so that its bound is the process's bound. */
export interface ContentStore {
  /** What one message may have in memory, default 256 KiB. */
  readonly memoryPerMessageOctets: number
  /** What all messages together may have in memory, default 64 MiB. */
  readonly memoryOctets: number
  /** Where the files are made, default the system's temporary folder. */
  readonly folder: string
  /** What all messages have in memory now. */
  readonly heldOctets: number
  /** Takes memory out of the budget; `false` where there is too little left. */
  reserve(octets: number): boolean
  /** Gives back what was reserved. */
  release(octets: number): void
}

/** Makes a store; see {@link ContentStore} for the defaults. */
export function contentStore(
  options: Partial<Pick<ContentStore, 'memoryPerMessageOctets' | 'memoryOctets' | 'folder'>> = {},
): ContentStore {
  return new Store(options)
}

/**
 * Takes a content in as it arrives.
 *
 * One call at a time: where `write` returns a promise, it is to be awaited before the next call.
 */
export class ContentWriter {
  readonly #store: ContentStore
  readonly #shape = new ShapeGauge()
  readonly #memory: MemoryPart
  #file: FilePart | undefined
  #sizeOctets = 0
  #ended = false

  constructor(store: ContentStore) {
    this.#store = store
    this.#memory = new MemoryPart(store)
  }

  /** Octets written until now. */
  get sizeOctets(): number {
    return this.#sizeOctets
  }

  /**
   * Writes a chunk, which belongs to the writer from now on and must not be altered.
   *
   * @returns A promise where the disk is slower than the writing.
   * @throws {PosternError} `ERR_CONTENT_STORE_FULL` (or a rejection with it) where the octets cannot
   *   be held: disk full, no descriptors. All that was held is then free already.
   */
  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#ended) throw new Error('content was written to after its end')
    this.#shape.update(chunk)
    this.#sizeOctets += chunk.length
    const held = this.#file ? 0 : this.#memory.append(chunk)
    if (held === chunk.length) return undefined
    this.#file ??= new FilePart(this.#store.folder)
    const waiting = this.#file.append(held === 0 ? chunk : chunk.subarray(held))
    return waiting && this.#freeOnFailure(waiting)
  }

  /**
   * Ends the writing.
   *
   * @returns The content, whose owner is to dispose of it; as a promise where the disk is waited for.
   * @throws {PosternError} `ERR_CONTENT_STORE_FULL`, as `write`.
   */
  finish(): Promise<Content> | Content {
    if (this.#ended) throw new Error('content was ended twice')
    const content = new HeldContent(this.#memory, this.#file, this.#shape.shape())
    if (this.#file === undefined) {
      this.#ended = true
      return content
    }
    return this.#freeOnFailure(this.#file.flushed()).then(() => {
      if (this.#ended) throw new Error('content was discarded before its end')
      this.#ended = true
      return content
    })
  }

  /** Frees all that was written. Does nothing once `finish` has given the content away. */
  discard(): void {
    if (this.#ended) return
    this.#ended = true
    this.#memory.free()
    this.#file?.close()
  }

  async #freeOnFailure(waiting: Promise<void>): Promise<void> {
    try {
      await waiting
    } catch (error) {
      this.discard()
      throw error
    }
  }
}

/** A content out of octets that are in memory anyway, for tests and tools. */
export function contentOf(octets: Buffer): Content {
  const writer = new ContentWriter(UNBOUNDED)
  void writer.write(octets)
  return writer.finish() as Content
}

class Store implements ContentStore {
  readonly memoryPerMessageOctets: number
  readonly memoryOctets: number
  readonly folder: string
  #heldOctets = 0

  constructor(
    options: Partial<Pick<ContentStore, 'memoryPerMessageOctets' | 'memoryOctets' | 'folder'>>,
  ) {
    this.memoryPerMessageOctets = options.memoryPerMessageOctets ?? 256 * 1024
    this.memoryOctets = options.memoryOctets ?? 64 * 1024 * 1024
    this.folder = options.folder ?? tmpdir()
  }

  get heldOctets(): number {
    return this.#heldOctets
  }

  reserve(octets: number): boolean {
    if (this.#heldOctets + octets > this.memoryOctets) return false
    this.#heldOctets += octets
    return true
  }

  release(octets: number): void {
    this.#heldOctets -= octets
  }
}

class HeldContent implements Content {
  readonly sizeOctets: number
  readonly shape: ContentShape
  readonly #memory: MemoryPart
  readonly #file: FilePart | undefined
  #disposed = false

  constructor(memory: MemoryPart, file: FilePart | undefined, shape: ContentShape) {
    this.sizeOctets = memory.sizeOctets + (file?.sizeOctets ?? 0)
    this.shape = shape
    this.#memory = memory
    this.#file = file
  }

  async *read(start = 0, end = this.sizeOctets): AsyncGenerator<Buffer, void, undefined> {
    let offset = 0
    for (const piece of this.#memory.pieces) {
      if (this.#disposed) break
      if (offset >= end) return
      if (offset + piece.length > start) yield slice(piece, start - offset, end - offset)
      offset += piece.length
    }
    if (this.#disposed) throw new Error('content was read after it was disposed of')
    if (this.#file === undefined || end <= offset) return
    yield* this.#file.read(Math.max(start - offset, 0), Math.min(end, this.sizeOctets) - offset)
  }

  dispose(): void {
    if (this.#disposed) throw new Error('content was disposed of twice')
    this.#disposed = true
    this.#memory.free()
    this.#file?.close()
  }
}

/** The beginning of a content, in memory. */
class MemoryPart {
  /** In their order; emptied when freed. */
  pieces: Buffer[] = []
  sizeOctets = 0
  readonly #store: ContentStore
  #reservedOctets = 0
  #slab = NOTHING
  #slabUsed = 0
  /** Where the last piece begins in the slab, -1 where it does not lie there. */
  #pieceStart = -1

  constructor(store: ContentStore) {
    this.#store = store
  }

  /**
   * Holds a chunk as far as there is room for it.
   *
   * @returns How many of its octets are held.
   */
  append(chunk: Buffer): number {
    const held = isWorthKeeping(chunk) ? this.#keep(chunk) : this.#copy(chunk)
    this.sizeOctets += held
    return held
  }

  free(): void {
    this.#store.release(this.#reservedOctets)
    this.#reservedOctets = 0
    this.pieces = []
    this.#slab = NOTHING
    this.#slabUsed = 0
  }

  #keep(chunk: Buffer): number {
    if (!this.#reserve(chunk.length)) return 0
    this.pieces.push(chunk)
    this.#pieceStart = -1
    return chunk.length
  }

  #copy(chunk: Buffer): number {
    let copied = 0
    while (copied < chunk.length) {
      if (this.#slabUsed === this.#slab.length && !this.#newSlab(chunk.length - copied)) break
      copied += this.#fillSlab(chunk, copied)
    }
    return copied
  }

  /** What lies side by side in a slab is one piece, which grows. */
  #fillSlab(chunk: Buffer, from: number): number {
    const copied = chunk.copy(this.#slab, this.#slabUsed, from)
    if (this.#pieceStart < 0) this.#pieceStart = this.#slabUsed
    else this.pieces.pop()
    this.#slabUsed += copied
    this.pieces.push(this.#slab.subarray(this.#pieceStart, this.#slabUsed))
    return copied
  }

  #newSlab(wanted: number): boolean {
    const room = this.#store.memoryPerMessageOctets - this.#reservedOctets
    const octets = Math.min(Math.max(wanted, this.#slab.length * 2, MIN_SLAB), MAX_SLAB, room)
    if (octets <= 0 || !this.#reserve(octets)) return false
    this.#slab = Buffer.allocUnsafeSlow(octets)
    this.#slabUsed = 0
    this.#pieceStart = -1
    return true
  }

  #reserve(octets: number): boolean {
    if (this.#reservedOctets + octets > this.#store.memoryPerMessageOctets) return false
    if (!this.#store.reserve(octets)) return false
    this.#reservedOctets += octets
    return true
  }
}

/** The small part of a buffer, such as a socket's, would keep the whole of it alive. */
function isWorthKeeping({ length, buffer }: Buffer): boolean {
  return length >= KEEP_OCTETS && length * 2 >= buffer.byteLength
}

function slice(piece: Buffer, start: number, end: number): Buffer {
  return start <= 0 && end >= piece.length ? piece : piece.subarray(Math.max(start, 0), end)
}

const NOTHING = Buffer.alloc(0)
const UNBOUNDED: ContentStore = {
  memoryPerMessageOctets: Number.POSITIVE_INFINITY,
  memoryOctets: Number.POSITIVE_INFINITY,
  folder: '',
  heldOctets: 0,
  reserve: () => true,
  release() {},
}
const KEEP_OCTETS = 16 * 1024
const MIN_SLAB = 8 * 1024
const MAX_SLAB = 64 * 1024
