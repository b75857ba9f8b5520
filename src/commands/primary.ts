/**
 * The primary of `postern start`: reads the configuration and looks after the workers.
 *
 *     primary ──┬── worker ── worker …     share the listening ports
 *               │      SIGHUP: new workers accept, the old ones serve the sessions that they have
 *               └── SIGTERM: all finish what they have, exit 0
 *
 * It holds no key and no mail. A worker that dies takes only its own unanswered transactions with it,
 * and those are still the clients'.
 *
 * @module
 */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import type { Config } from '../config/config.ts'
import { createLog, type Log } from '../log.ts'
import { ConfigFault, readConfig } from './config-reader.ts'
import {
  type Begin,
  DRAIN,
  DRAIN_MS,
  type Failed,
  type Ready,
  type Replaced,
} from './worker-messages.ts'

/**
 * Starts workers, replaces the dead, reloads, and drains at SIGTERM or SIGINT.
 *
 * @param file Of the configuration.
 * @returns 1 where that is at fault, or cannot be served; else 0, in the end.
 */
export async function lead(file: string): Promise<number> {
  const config = await readOrTell(file)
  if (!config) return 1
  const log = createLog()
  cluster.setupPrimary({ execArgv: [...process.execArgv, ...HEAP] })
  const workers = new Workers(log)
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  let reloads = Promise.resolve()
  process.on('SIGHUP', () => {
    // One after the other, or an older configuration could win.
    reloads = reloads.then(() => reload(file, workers, log))
  })
  try {
    const addresses = await workers.replaceAll(config)
    log.info('ready', { addresses, workers: config.workers })
  } catch (error) {
    log.error('start-failed', { reason: (error as Error).message })
    await workers.drain()
    return 1
  }
  await stopped
  log.info('draining')
  await workers.drain()
  log.info('stopped')
  return 0
}

/** A broken configuration changes nothing, and says why. */
async function reload(file: string, workers: Workers, log: Log): Promise<void> {
  try {
    const config = await readConfig(file)
    await workers.replaceAll(config)
    log.info('reloaded', { workers: config.workers })
  } catch (error) {
    const faults = error instanceof ConfigFault ? error.faults : undefined
    log.error('reload-refused', { faults, reason: (error as Error).message })
  }
}

/** The workers of a primary. */
class Workers {
  readonly #log: Log
  #config: Config | undefined
  #current = new Set<Worker>()
  /** Those that are not ready yet. */
  #fresh: readonly Worker[] = []
  /** Those that still serve sessions from before a reload, the oldest first. */
  #retired: readonly Worker[] = []
  #over = false

  constructor(log: Log) {
    this.#log = log
  }

  /** Starts a new generation, and retires the old one once every new worker listens. */
  async replaceAll(config: Config): Promise<Ready['ready']> {
    const fresh = Array.from({ length: config.workers }, () => hire(config))
    this.#fresh = fresh
    let addresses: Ready['ready'] = []
    try {
      for (const ready of await Promise.all(fresh.map(untilReady))) addresses = ready
    } catch (error) {
      for (const worker of fresh) worker.process.kill('SIGKILL')
      throw error
    } finally {
      this.#fresh = []
    }
    const old = this.#current
    this.#config = config
    this.#current = new Set(fresh)
    for (const worker of fresh) this.#watch(worker)
    await this.#retire(old, config)
    return addresses
  }

  /** Lets all finish what they have; kills who has not by then. */
  async drain(): Promise<void> {
    this.#over = true
    for (const worker of this.#fresh) worker.process.kill('SIGKILL')
    const workers = Object.values(cluster.workers ?? {}).filter(worker => worker !== undefined)
    await Promise.all(workers.map(finish))
  }

  /** Sessions outlive a reload. Of a few generations: each costs memory, and somebody may reload all day. */
  async #retire(old: Iterable<Worker>, config: Config): Promise<void> {
    const serving = [...this.#retired, ...old].filter(worker => worker.isConnected())
    this.#retired = serving.slice(-MOST_RETIRED)
    for (const worker of serving.slice(0, -MOST_RETIRED)) say(worker, DRAIN)
    await Promise.all(this.#retired.map(worker => untilRetired(worker, config)))
  }

  #watch(worker: Worker): void {
    worker.once('exit', (code, signal) => {
      if (this.#over || !this.#current.delete(worker)) return
      this.#log.error('worker-died', { worker: worker.process.pid, code, signal })
      setTimeout(() => this.#refill(), RESTART_MS)
    })
  }

  #refill(): void {
    while (!this.#over && this.#config && this.#current.size < this.#config.workers) {
      const worker = hire(this.#config)
      this.#current.add(worker)
      this.#watch(worker)
    }
  }
}

/** A new worker gets the configuration as data, so that all of a generation have the same. */
function hire(config: Config): Worker {
  const worker = cluster.fork({ ...MALLOC, ...process.env })
  // A write to one that has just died. Its exit tells the rest; without a listener the primary would go too.
  worker.on('error', () => undefined)
  say(worker, { config })
  return worker
}

/** A worker that is about to die hears nothing, and that is no fault. */
function say(worker: Worker, message: Begin | Replaced | typeof DRAIN): void {
  if (worker.isConnected()) worker.process.send(message, undefined, undefined, () => undefined)
}

/** Not by `once` of node:events, which rejects at any `error`, while the exit is still to come. */
function untilReady(worker: Worker): Promise<Ready['ready']> {
  return new Promise((resolve, reject) => {
    worker.once('exit', (code, signal) =>
      reject(new Error(`a worker ended before it listened (${signal ?? code})`)),
    )
    worker.once('message', (said: Ready | Failed) => {
      if ('failed' in said) reject(new Error(said.failed))
      else resolve(said.ready)
    })
  })
}

/** Until it takes no new work by its old configuration; or is gone, or too slow to be waited for. */
function untilRetired(worker: Worker, config: Config): Promise<void> {
  return new Promise(resolve => {
    const late = setTimeout(resolve, RETIRE_MS)
    const done = (): void => {
      clearTimeout(late)
      resolve()
    }
    worker.once('message', done)
    worker.once('exit', done)
    say(worker, { replaced: config })
  })
}

async function finish(worker: Worker): Promise<void> {
  if (worker.isDead()) return
  const exited = new Promise<void>(resolve => {
    worker.once('exit', () => resolve())
  })
  say(worker, DRAIN)
  const late = setTimeout(() => worker.process.kill('SIGKILL'), DRAIN_MS + 3_000)
  await exited
  clearTimeout(late)
}

async function readOrTell(file: string): Promise<Config | undefined> {
  try {
    return await readConfig(file)
  } catch (error) {
    if (!(error instanceof ConfigFault)) throw error
    console.error(`${error.message}\n  hint: postern check --config ${file}`)
    return undefined
  }
}

/**
 * A small young generation: nearly everything that a message leaves behind is a buffer outside the
 * heap, which is freed when the young generation is swept. With the default of 16 MiB a worker swept a
 * tenth as often, and held up to 100 MB more; with 2 MiB small messages cost 7 % more CPU. Where
 * contents go through files, sweeping is asked for (`src/mail/sweep.ts`).
 *
 * Buffers that live through two sweeps count for the old generation, which is small: at its usual rate
 * of growth a full collection came with every other message of 1 MB, found nothing else to free, and
 * took a third of the CPU. So it may double first.
 */
const HEAP = ['--max-semi-space-size=4', '--heap-growing-percent=100', '--expose-gc']
/**
 * How the C library of Linux keeps memory; others do not know the names. One arena for all threads of
 * a worker: buffers that one thread has freed another may use, which is 80 MB less with large messages.
 * And whatever is larger than a socket's buffer of 64 KiB goes back to the system when it is freed: left
 * alone, the library keeps tens of megabytes of holes between buffers that are in use.
 */
const MALLOC = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '66000' }
const RESTART_MS = 200
const RETIRE_MS = 5_000
/** Workers that may stay for the sake of their sessions. */
const MOST_RETIRED = 16
