/**
 * RSA decryption beside the event loop.
 *
 *     question ──▶ queue ──▶ thread ──▶ content key, or a random one
 *
 * Node has no asynchronous RSA decryption, and 7 ms for a key of 4096 bits is too long for a loop on
 * which a thousand sessions wait. A thread starts with the first question, holds no process alive that has
 * nothing else to do, and is replaced where it dies.
 *
 * @module
 */
import { Worker } from 'node:worker_threads'
import { PosternError } from '../errors.ts'
import type { TransportQuestion } from './unwrap.ts'

/**
 * As `transportedKey`, on another thread. What is thrown tells of threads, never of keys.
 *
 * @throws {PosternError} `ERR_UNWRAP_UNAVAILABLE`, transient: too many questions wait, or no thread can be
 *   had.
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
    // Options and environment of its own: nearly nothing of what the process was given is of use here.
    this.#worker = new Worker(WORKER, { env: environment(), execArgv: [], resourceLimits: MEMORY })
    this.#worker.on('message', (key: Uint8Array) => this.#answer(key))
    // What the error was is of no use: the exit, which follows, is what counts.
    this.#worker.on('error', () => undefined)
    this.#worker.on('exit', () => this.#die())
    this.#worker.unref()
  }

  ask(task: Task): void {
    this.#task = task
    this.#worker.ref()
    this.#worker.postMessage(compact(task.question))
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

/** Where compiled sources are kept (src/main.ts): without it a thread holds a compiler, 20 MB of it. */
function environment(): Record<string, string> {
  const { NODE_COMPILE_CACHE } = process.env
  return NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }
}

/** Octets of their own: with a view, all that it is a view on would be copied to the thread. */
function compact({ privateKey, scheme, encryptedKey, contentKeyOctets }: TransportQuestion) {
  const { name, oaep } = scheme
  const own = oaep && { ...oaep, labelOctets: new Uint8Array(oaep.labelOctets) }
  return {
    privateKey,
    scheme: { name, oaep: own },
    encryptedKey: new Uint8Array(encryptedKey),
    contentKeyOctets,
  } satisfies TransportQuestion
}

function busy(): PosternError {
  return new PosternError(
    'ERR_UNWRAP_UNAVAILABLE',
    'transient',
    'too many messages wait to be decrypted',
  )
}

function unusable(cause: unknown): PosternError {
  const what = 'decryption key does not answer'
  return new PosternError('ERR_UNWRAP_UNAVAILABLE', 'transient', what, { cause })
}

const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? './unwrap-worker.ts' : './unwrap-worker.js',
  import.meta.url,
)
const MEMORY = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 }
/**
 * Threads of a process. There are as many processes as cores, and each has an event loop that wants one:
 * a second thread would cost 9 MB and find nothing to run on.
 */
const MAXIMUM_THREADS = 1
/** Twenty seconds of work with keys of 4096 bits. */
const MAXIMUM_WAITING = 3000
const MAXIMUM_DEATHS = 2
const WAITING: Task[] = []
const IDLE: KeyThread[] = []
const THREADS = new Set<KeyThread>()
