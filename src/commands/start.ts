/**
 * `postern start`: the gateway in the foreground.
 *
 * @module
 */
import cluster from 'node:cluster'
import { parseArgs } from 'node:util'

/** Runs until SIGTERM or SIGINT; 1 where the configuration is at fault, 2 for usage. */
export async function start(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  // Each loads what it needs alone: a worker reads no configuration, and what reads it is large.
  if (cluster.isPrimary) {
    const { lead } = await import('./primary.ts')
    return lead(values.config)
  }
  const { serve } = await import('./worker.ts')
  return serve()
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
