/**
 * `postern start`: the gateway in the foreground.
 *
 *     primary ──┬── worker ── worker …     share the listening ports
 *               │      SIGHUP: new workers first, then the old ones finish what they have and go
 *               └── SIGTERM: all finish what they have, exit 0
 *
 * The primary holds no key and no mail. A worker that dies takes only its own unanswered transactions
 * with it, and those are still the clients'.
 *
 * @module
 */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { ConfigFaults } from '../config/fault.ts'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import { createLog, type Log } from '../log.ts'
import { listen } from '../smtp/listener.ts'
import { assemble } from './assembly.ts'

/** Runs until SIGTERM or SIGINT; 1 where the configuration is at fault, 2 for usage. */
export async function start(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  return cluster.isPrimary ? lead(values.config) : serve(values.config)
}

/** The primary: starts workers, replaces the dead, reloads, drains. */
async function lead(file: string): Promise<number> {
  const loaded = await loadOrTell(file)
  if (!loaded) return 1
  const log = createLog()
  const workers = new Workers(log, loaded.config.workers)
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  process.on('SIGHUP', () => void reload(file, workers, log))
  try {
    const addresses = await workers.replaceAll(loaded.config.workers)
    log.info('ready', { addresses, workers: loaded.config.workers })
  } catch (error) {
    log.error('start-failed', { error })
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
    const { config } = await loadConfig(file, process.env)
    await workers.replaceAll(config.workers)
    log.info('reloaded', { workers: config.workers })
  } catch (error) {
    const faults =
      error instanceof ConfigFaults ? error.faults.map(fault => fault.message) : undefined
    log.error('reload-refused', { faults, error })
  }
}

/** A worker: the whole house, behind shared ports. */
async function serve(file: string): Promise<number> {
  const { config } = await loadConfig(file, process.env)
  const log = createLog(config.log.level)
  const assembly = await assemble(config, log)
  for (const { file, message, advice, severity } of assembly.identityFaults)
    log[severity === 'error' ? 'error' : 'warn']('identity-fault', { file, message, advice })
  const listener = await listen(assembly.listener, assembly.house, log)
  process.send?.({ ready: listener.addresses } satisfies Ready)
  // Ctrl-C reaches the whole process group; the primary decides what it means.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  await new Promise<void>(resolve =>
    process.on('message', message => message === DRAIN && resolve()),
  )
  await listener.drain(DRAIN_MS)
  await assembly.close()
  process.disconnect?.()
  return 0
}

interface Ready {
  readonly ready: readonly { readonly address: string; readonly port: number }[]
}

/** The workers of a primary. */
class Workers {
  readonly #log: Log
  #wanted: number
  #current = new Set<Worker>()
  #over = false

  constructor(log: Log, wanted: number) {
    this.#log = log
    this.#wanted = wanted
  }

  /** Starts a new generation, and lets the old one go once every new worker listens. */
  async replaceAll(wanted: number): Promise<Ready['ready']> {
    const fresh = Array.from({ length: wanted }, () => cluster.fork())
    let addresses: Ready['ready'] = []
    try {
      for (const ready of await Promise.all(fresh.map(untilReady))) addresses = ready
    } catch (error) {
      for (const worker of fresh) worker.process.kill('SIGKILL')
      throw error
    }
    const old = this.#current
    this.#wanted = wanted
    this.#current = new Set(fresh)
    for (const worker of fresh) this.#watch(worker)
    for (const worker of old) worker.send(DRAIN)
    return addresses
  }

  /** Lets all finish what they have; kills who has not by then. */
  async drain(): Promise<void> {
    this.#over = true
    await Promise.all(Object.values(cluster.workers ?? {}).map(worker => worker && finish(worker)))
  }

  #watch(worker: Worker): void {
    worker.once('exit', (code, signal) => {
      if (this.#over || !this.#current.delete(worker)) return
      this.#log.error('worker-died', { worker: worker.process.pid, code, signal })
      setTimeout(() => this.#refill(), RESTART_MS)
    })
  }

  #refill(): void {
    while (!this.#over && this.#current.size < this.#wanted) {
      const worker = cluster.fork()
      this.#current.add(worker)
      this.#watch(worker)
    }
  }
}

async function untilReady(worker: Worker): Promise<Ready['ready']> {
  const exit = new AbortController()
  const died = once(worker, 'exit', exit).then(([code, signal]) => {
    throw new Error(`a worker ended before it listened (${signal ?? code})`)
  })
  died.catch(() => undefined)
  const [message] = await Promise.race([once(worker, 'message', exit), died])
  exit.abort()
  return (message as Ready).ready
}

async function finish(worker: Worker): Promise<void> {
  const exited = once(worker, 'exit')
  if (worker.isConnected()) worker.send(DRAIN)
  const late = setTimeout(() => worker.process.kill('SIGKILL'), DRAIN_MS + 3_000)
  await exited
  clearTimeout(late)
}

async function loadOrTell(file: string): Promise<LoadedConfig | undefined> {
  try {
    return await loadConfig(file, process.env)
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    console.error(`${error.message}\n  hint: postern check --config ${file}`)
    return undefined
  }
}

const OPTIONS = {
  config: { type: 'string', default: 'config/postern.yaml' },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern start [--config FILE]

Runs the gateway in the foreground, one JSON line a happening on stdout. The line with
"event":"ready" comes once every listener accepts.

  --config FILE   default config/postern.yaml

SIGTERM finishes what is in flight and exits 0; SIGHUP reloads without dropping a session.`
const DRAIN = 'drain'
/** A supervisor commonly waits 30 s before it kills. */
const DRAIN_MS = 25_000
const RESTART_MS = 200
