/**
 * A worker of `postern start`: the whole house, behind ports that all workers share.
 *
 * @module
 */
import type { Config } from '../config/config.ts'
import { PosternError } from '../errors.ts'
import { createLog, type Log } from '../log.ts'
import { type Listener, listen } from '../smtp/listener.ts'
import { type Assembly, assemble } from './assembly.ts'
import {
  type Begin,
  DRAIN,
  DRAIN_MS,
  type Failed,
  type Ready,
  type Replaced,
  type Retired,
} from './worker-messages.ts'

/** Serves until the primary says that it is enough, or until others have taken over. */
export async function serve(): Promise<number> {
  // Ctrl-C reaches the whole process group; the primary decides what it means.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  const orders = ordersOfPrimary()
  const houses: Assembly[] = []
  try {
    await serveWith(orders, houses)
    return 0
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    await tell({ failed: reasonOf(error) })
    return 1
  } finally {
    await Promise.all(houses.map(house => house.close()))
    // The channel to the primary would keep this process alive.
    process.disconnect?.()
  }
}

/** What the primary says, in the order in which it may be said. */
interface Orders {
  readonly begin: Promise<Config>
  /** Called with each configuration that others serve by now. */
  onReplaced(config: Config): void
  readonly drain: Promise<void>
}

/** Heard from the beginning: an order that comes before somebody listens would be lost. */
function ordersOfPrimary(): Orders {
  const begin = Promise.withResolvers<Config>()
  const drain = Promise.withResolvers<void>()
  const orders: Orders = { begin: begin.promise, onReplaced: () => undefined, drain: drain.promise }
  process.on('message', (message: Begin | Replaced | typeof DRAIN) => {
    if (message === DRAIN) drain.resolve()
    else if ('config' in message) begin.resolve(message.config)
    else orders.onReplaced(message.replaced)
  })
  return orders
}

/** @param houses Whatever was assembled, to be closed at the end. */
async function serveWith(orders: Orders, houses: Assembly[]): Promise<void> {
  const config = await orders.begin
  const log = createLog(config.log.level)
  const assembly = await assemble(config, log)
  houses.push(assembly)
  for (const { file, message, advice, severity } of assembly.identityFaults)
    log[severity === 'error' ? 'error' : 'warn']('identity-fault', { file, message, advice })
  const listener = await listen(assembly.listener, assembly.house, log)
  const retired = new Promise<void>(resolve => {
    orders.onReplaced = next => void retire(listener, next, houses, log).then(resolve)
  })
  await tell({ ready: listener.addresses })
  await Promise.race([orders.drain, retired])
  await listener.drain(DRAIN_MS)
}

/** Accepts no more; the sessions that are left go on, and their next transactions by the new rules. */
async function retire(
  listener: Listener,
  config: Config,
  houses: Assembly[],
  log: Log,
): Promise<void> {
  const over = listener.retire()
  try {
    const next = await assemble(config, log)
    houses.push(next)
    listener.useHouse(next.house)
  } catch (error) {
    log.error('reload-incomplete', { error })
  }
  await tell({ retired: true })
  await over
}

/** For the operator, who may know what a stranger may not. */
function reasonOf({ message, cause }: PosternError): string {
  const reason = cause instanceof Error ? cause.message : ''
  return reason === '' || message.includes(reason) ? message : `${message}: ${reason}`
}

function tell(message: Ready | Failed | Retired): Promise<void> {
  return new Promise(resolve => {
    if (process.send) process.send(message, undefined, undefined, () => resolve())
    else resolve()
  })
}
