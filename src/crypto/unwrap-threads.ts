/**
 * RSA decryption beside the event loop.
 *
 *     question ──▶ queue ──▶ one of a few threads ──▶ content key, or a random one
 *
 * Node has no asynchronous RSA decryption, and 7 ms for a key of 4096 bits is too long for a loop on
 * which a thousand sessions wait. The threads start with the first question, hold no process alive that
 * has nothing else to do, and are replaced where they die.
 *
 * @module
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { PosternError } from '../errors.ts'
import type { TransportQuestion } from './unwrap.ts'

/**
 * As `transportedKey`, on another thread. What is thrown tells of threads, never of keys.
 *
 * @throws {PosternError} `ERR_KEY_BUSY` where too many questions wait, `ERR_KEY_UNUSABLE` where no thread
 *   can be had; both transient.
 */
export function transportedKeyOnThread(question: TransportQuestion): Promise<Buffer> {
  if (WAITING.length >= MAXIMUM_WAITING) return Promise.reject(busy())
  return new Promise((resolve, reject) => {
    WAITING.push({ question, resolve, reject, deaths: 0 })
    dispatch()
  })
}

interface Task {
  readonly question: TransportQuestion
  readonly resolve: (key: Buffer) => void
  readonly reject: (error: PosternError) => void
  /** Threads that died of it, or at least with it. */
  deaths: number
}

class KeyThread {
  readonly #worker: Worker
  #task: Task | undefined

  constructor() {
    // An environment and options of its own: none of what the process was given is of use here.
    this.#worker = new Worker(WORKER, { env: {}, execArgv: [], resourceLimits: MEMORY })
    this.#worker.on('message', (key: Uint8Array) => this.#answer(key))
    // What the error was is of no use: the exit, which follows, is what counts.
    this.#worker.on('error', () => undefined)
    this.#worker.on('exit', () => this.#die())
    this.#worker.unref()
  }

  ask(task: Task): void {
    this.#task = task
    this.#worker.ref()
    this.#worker.postMessage(task.question)
  }

  #answer(key: Uint8Array): void {
    const task = this.#task
    this.#task = undefined
    this.#worker.unref()
    IDLE.push(this)
    dispatch()
    task?.resolve(Buffer.from(key.buffer, key.byteOffset, key.byteLength))
  }

  #die(): void {
    THREADS.delete(this)
    const place = IDLE.indexOf(this)
    if (place >= 0) IDLE.splice(place, 1)
    const task = this.#task
    if (task && ++task.deaths < MAXIMUM_DEATHS) WAITING.unshift(task)
    else task?.reject(unusable(undefined))
    dispatch()
  }
}

/** Gives waiting questions to idle threads, and starts threads while there are fewer than allowed. */
function dispatch(): void {
  while (WAITING.length > 0) {
    const thread = IDLE.pop() ?? start()
    if (!thread) return
    thread.ask(WAITING.shift()!)
  }
}

function start(): KeyThread | undefined {
  if (THREADS.size >= MAXIMUM_THREADS) return undefined
  try {
    const thread = new KeyThread()
    THREADS.add(thread)
    return thread
  } catch (cause) {
    // The process may not have threads, or not now. Others, where there are some, go on with the queue.
    if (THREADS.size === 0) for (const task of WAITING.splice(0)) task.reject(unusable(cause))
    return undefined
  }
}

function busy(): PosternError {
  return new PosternError('ERR_KEY_BUSY', 'transient', 'too many messages wait to be decrypted')
}

function unusable(cause: unknown): PosternError {
  const what = 'decryption key does not answer'
  return new PosternError('ERR_KEY_UNUSABLE', 'transient', what, { cause })
}

const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? './unwrap-worker.ts' : './unwrap-worker.js',
  import.meta.url,
)
const MEMORY = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 }
/** A process has as many workers as cores already; a second thread keeps a slow key from blocking. */
const MAXIMUM_THREADS = Math.min(2, availableParallelism())
/** Ten seconds of work with keys of 4096 bits. */
const MAXIMUM_WAITING = 3000
const MAXIMUM_DEATHS = 2
const WAITING: Task[] = []
const IDLE: KeyThread[] = []
const THREADS = new Set<KeyThread>()
