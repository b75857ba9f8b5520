/**
 * The part of a content that does not fit into memory: an encrypted file without a name.
 *
 *     append ──▶ AES-256-CTR ──▶ queue ──▶ one write at a time ──▶ file ──▶ read, read, …
 *
 * The file's key lives in memory alone: a crash, a stolen disk or a full backup holds nothing that
 * could be read. A counter mode lets a reading begin anywhere.
 *
 * @module
 */
import { type Cipheriv, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { close, open, read, unlink, write } from 'node:fs'
import { join } from 'node:path'
import { PosternError } from '../errors.ts'
import { sweepAfter } from './sweep.ts'

/**
 * The rest of a content, in a file without a name.
 *
 * One operation writes at a time; what comes meanwhile waits in a queue and goes with the next. The
 * descriptor is closed only when no operation uses it: its number could be another file's by then.
 */
export class FilePart {
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

/** Encrypted octets that wait for the disk before the writer has to wait. */
const MAX_QUEUE_OCTETS = 64 * 1024
/** A message of many megabytes has several buffers of this size in flight, and so has every other. */
const READ_OCTETS = 32 * 1024
const CIPHER = 'aes-256-ctr'
const BLOCK_OCTETS = 16
