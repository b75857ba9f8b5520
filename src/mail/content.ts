/**
 * Octets that can be read twice: held in memory, beyond a bound in an encrypted, nameless file.
 *
 *     write ──┬─▶ shape (8-bit octets, longest line)
 *             ├─▶ memory, as far as the message's and everybody's share goes ──┐
 *             └─▶ AES-256-CTR ──▶ unlinked temporary file ─────────────────────┴─▶ read, read, …
 *
 * The file's key lives in memory alone: a crash, a stolen disk or a full backup holds nothing that
 * could be read. A counter mode lets a reading begin anywhere.
 *
 * @module
 */
import { isAscii } from 'node:buffer'
import { type Cipheriv, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { close, open, read, unlink, write } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PosternError } from '../errors.ts'
import type { Content, ContentShape } from './mail-object.ts'
import { sweepAfter } from './sweep.ts'

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
   * Holds a chunk as far as there is room for it. A small one is copied, for a slice of a socket's
   * buffer would keep the whole of it alive.
   *
   * @returns How many octets are held now.
   */
  append(chunk: Buffer): number {
    if (chunk.length >= KEEP_OCTETS && chunk.length * 2 >= chunk.buffer.byteLength) {
      if (!this.#reserve(chunk.length)) return 0
      this.pieces.push(chunk)
      this.#pieceStart = -1
      this.sizeOctets += chunk.length
      return chunk.length
    }
    let held = 0
    while (held < chunk.length) {
      if (this.#slabUsed === this.#slab.length && !this.#newSlab(chunk.length - held)) break
      held += this.#copy(chunk, held)
    }
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

  #copy(chunk: Buffer, from: number): number {
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

/**
 * The rest of a content, in a file without a name.
 *
 * One operation writes at a time; what comes meanwhile waits in a queue and goes with the next. The
 * descriptor is closed only when no operation uses it: its number could be another file's by then.
 */
class FilePart {
  sizeOctets = 0
  readonly #key = randomBytes(32)
  // The key is used for this file alone, so the counter may begin at nought.
  #cipher: Cipheriv | undefined = createCipheriv(CIPHER, this.#key, counterAt(0))
  #descriptor = -1
  #operations = 0
  #queue: Buffer[] = []
  #queuedOctets = 0
  #writtenOctets = 0
  #failure: PosternError | undefined
  #drained: PromiseWithResolvers<void> | undefined
  #flushed: PromiseWithResolvers<void> | undefined
  #closed = false

  constructor(folder: string) {
    const path = join(folder, `postern-${randomBytes(12).toString('hex')}`)
    this.#operations++
    // Nothing is written before the name is gone: a crash leaves an empty file at most.
    open(path, 'wx+', 0o600, (error, descriptor) => {
      if (error) return this.#done(error)
      this.#descriptor = descriptor
      unlink(path, unlinkError => this.#done(unlinkError))
    })
  }

  /** @returns A promise where the queue is long enough. */
  append(chunk: Buffer): Promise<void> | undefined {
    if (this.#failure) return Promise.reject(this.#failure)
    this.sizeOctets += chunk.length
    this.#queue.push(this.#cipher!.update(chunk))
    sweepAfter(2 * chunk.length)
    this.#queuedOctets += chunk.length
    if (this.#operations === 0) this.#writeQueue()
    if (this.#queuedOctets < MAX_QUEUE_OCTETS) return undefined
    this.#drained ??= Promise.withResolvers()
    return this.#drained.promise
  }

  /** Resolves when everything is written. */
  flushed(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure)
    if (this.#operations === 0) return Promise.resolve()
    this.#flushed ??= Promise.withResolvers()
    return this.#flushed.promise
  }

  async *read(start: number, end: number): AsyncGenerator<Buffer, void, undefined> {
    if (start >= end) return
    const decipher = createDecipheriv(CIPHER, this.#key, counterAt(start))
    decipher.update(Buffer.alloc(start % BLOCK_OCTETS))
    const block = Buffer.allocUnsafeSlow(Math.min(READ_OCTETS, end - start))
    for (let position = start; position < end; ) {
      const octets = await this.#readAt(block.subarray(0, end - position), position)
      position += octets
      sweepAfter(2 * octets)
      yield decipher.update(block.subarray(0, octets))
    }
  }

  close(): void {
    this.#closed = true
    this.#key.fill(0)
    this.#cipher = undefined
    this.#queue = []
    this.#settle()
    this.#closeWhenIdle()
  }

  #writeQueue(): void {
    const [first, ...others] = this.#queue
    this.#write(others.length === 0 ? first! : Buffer.concat(this.#queue))
    this.#queue = []
    this.#queuedOctets = 0
    this.#drained?.resolve()
    this.#drained = undefined
  }

  #write(octets: Buffer): void {
    this.#operations++
    write(this.#descriptor, octets, 0, octets.length, this.#writtenOctets, (error, written) => {
      if (error) return this.#done(error)
      if (written === 0) return this.#done(new Error('disk takes no more octets'))
      this.#writtenOctets += written
      // A disk that fills up takes a part, and gives its reason at the next trial.
      if (written === octets.length || this.#closed) return this.#done(null)
      this.#write(octets.subarray(written))
      this.#operations--
    })
  }

  /** An operation of the writing half has ended. */
  #done(error: NodeJS.ErrnoException | null): void {
    this.#operations--
    if (error) this.#failure = full(error)
    if (this.#closed) this.#closeWhenIdle()
    else if (this.#failure === undefined && this.#queue.length > 0) this.#writeQueue()
    else this.#settle()
  }

  #settle(): void {
    for (const waiting of [this.#drained, this.#flushed]) {
      if (this.#failure) waiting?.reject(this.#failure)
      else waiting?.resolve()
    }
    this.#drained = undefined
    this.#flushed = undefined
  }

  #readAt(block: Buffer, position: number): Promise<number> {
    if (this.#closed) throw new Error('content was read after it was disposed of')
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    this.#operations++
    read(this.#descriptor, block, 0, block.length, position, (error, octets) => {
      this.#operations--
      if (this.#closed) {
        this.#closeWhenIdle()
        reject(new Error('content was disposed of while it was read'))
      } else if (error || octets === 0) reject(lost(error))
      else resolve(octets)
    })
    return promise
  }

  #closeWhenIdle(): void {
    if (this.#operations > 0 || this.#descriptor < 0) return
    close(this.#descriptor, () => {})
    this.#descriptor = -1
  }
}

/** Learns the shape of a content while its octets pass. */
class ShapeGauge {
  #eightBit = false
  #longest = 0
  /** Of the line that is not ended yet, a CR at its end included. */
  #lineOctets = 0
  #endsWithCR = false

  update(chunk: Buffer): void {
    if (!this.#eightBit && !isAscii(chunk)) this.#eightBit = true
    // Beyond the limit it does not matter how far.
    if (this.#longest > MAX_LINE_OCTETS || chunk.length === 0) return
    const first = chunk.indexOf(LF)
    if (first < 0) {
      this.#lineOctets += chunk.length
      if (this.#lineOctets > MAX_LINE_OCTETS + 1) this.#longest = this.#lineOctets - 1
    } else {
      const cr = first === 0 ? this.#endsWithCR : chunk[first - 1] === CR
      this.#longest = Math.max(this.#longest, this.#lineOctets + first - (cr ? 1 : 0))
      this.#lineOctets = chunk.length - this.#scanLines(chunk, first + 1)
    }
    this.#endsWithCR = chunk[chunk.length - 1] === CR
  }

  shape(): ContentShape {
    return {
      eightBit: this.#eightBit,
      longestLineOctets: Math.max(this.#longest, this.#lineOctets),
    }
  }

  /**
   * Looks for lines that are longer than the longest yet, and jumps over as many others as fit into
   * one of that length.
   *
   * @returns Where the last, unended line begins.
   */
  #scanLines(chunk: Buffer, firstLine: number): number {
    let start = firstLine
    while (start + this.#longest + 1 < chunk.length) {
      const furthest = start + this.#longest + 1
      const jump = chunk.lastIndexOf(LF, furthest)
      if (jump >= start && (jump < furthest || chunk[jump - 1] === CR)) {
        start = jump + 1
        continue
      }
      const end = chunk.indexOf(LF, start)
      if (end < 0) return start
      this.#longest = Math.max(this.#longest, end - start - (chunk[end - 1] === CR ? 1 : 0))
      start = end + 1
    }
    return chunk.lastIndexOf(LF) + 1
  }
}

function slice(piece: Buffer, start: number, end: number): Buffer {
  return start <= 0 && end >= piece.length ? piece : piece.subarray(Math.max(start, 0), end)
}

/** The counter block for an offset in the file. */
function counterAt(offset: number): Buffer {
  const counter = Buffer.alloc(BLOCK_OCTETS)
  counter.writeUIntBE(Math.floor(offset / BLOCK_OCTETS), BLOCK_OCTETS - 6, 6)
  return counter
}

function full(cause: Error): PosternError {
  return new PosternError('ERR_CONTENT_STORE_FULL', 'transient', 'no room to hold the message', {
    cause,
  })
}

function lost(cause: Error | null): PosternError {
  return new PosternError('ERR_CONTENT_HELD', 'transient', 'held message cannot be read back', {
    cause: cause ?? new Error('file of the content is shorter than was written'),
  })
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
/** A chunk of this size is kept as it is, unless it is the smaller half of a buffer. */
const KEEP_OCTETS = 16 * 1024
const MIN_SLAB = 8 * 1024
const MAX_SLAB = 64 * 1024
/** Encrypted octets that wait for the disk before the writer has to wait. */
const MAX_QUEUE_OCTETS = 64 * 1024
/** A message of many megabytes has several buffers of this size in flight, and so has every other. */
const READ_OCTETS = 32 * 1024
const CIPHER = 'aes-256-ctr'
const BLOCK_OCTETS = 16
/** RFC 5321 §4.5.3.1.6, without CRLF. */
const MAX_LINE_OCTETS = 998
const LF = 0x0a
const CR = 0x0d
