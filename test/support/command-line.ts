/**
 * `bin/postern` as somebody types it.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { TOP } from './gateway-process.ts'

/** How a command ended, and all that it said. */
export interface Ended {
  readonly code: number | string
  readonly out: string
  readonly err: string
}

/** Runs a verb to its end. */
export function postern(
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const { cwd = TOP, env = {} } = options
  return new Promise(resolve => {
    execFile(
      join(TOP, 'bin/postern'),
      args,
      { cwd, env: { ...process.env, ...env }, timeout: 60_000, killSignal: 'SIGKILL' },
      (error, out, err) => resolve({ code: error ? (error.code ?? 'killed') : 0, out, err }),
    )
  })
}
