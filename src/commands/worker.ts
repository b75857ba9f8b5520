/**
 * A worker of `postern start`: the whole house, behind ports that all workers share.
 *
 * @module
 */
import { once } from 'node:events'
import { createLog } from '../log.ts'
import { listen } from '../smtp/listener.ts'
import { assemble } from './assembly.ts'
import { type Begin, DRAIN, DRAIN_MS, type Ready } from './worker-messages.ts'

/** Serves until the primary says that it is enough. */
export async function serve(): Promise<number> {
  const [{ config }] = (await once(process, 'message')) as [Begin]
  const enough = new Promise<void>(resolve => {
    process.on('message', message => message === DRAIN && resolve())
  })
  // Ctrl-C reaches the whole process group; the primary decides what it means.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)

  const log = createLog(config.log.level)
  const assembly = await assemble(config, log)
  for (const { file, message, advice, severity } of assembly.identityFaults)
    log[severity === 'error' ? 'error' : 'warn']('identity-fault', { file, message, advice })
  const listener = await listen(assembly.listener, assembly.house, log)
  process.send?.({ ready: listener.addresses } satisfies Ready)

  await enough
  await listener.drain(DRAIN_MS)
  await assembly.close()
  process.disconnect?.()
  return 0
}
