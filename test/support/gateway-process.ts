/**
 * The gateway as an administrator runs it: `bin/postern start` in a process group of its own, on a
 * configuration in a temporary folder.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

export const TOP = resolve(import.meta.dirname, '../..')

/** A temporary folder that is removed at the end of a test. */
export async function temporaryFolder(
  name: string,
): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `postern-${name}-`))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** A running gateway. */
export interface GatewayProcess {
  readonly port: number
  /** Ports in the order of `listen`. */
  readonly ports: readonly number[]
  readonly pid: number
  /** All lines that it has logged. */
  readonly lines: readonly Readonly<Record<string, unknown>>[]
  /** What it wrote to standard error. */
  readonly errors: () => string
  /** Waits for a happening, from the first line on. */
  until(event: string, timeoutMs?: number): Promise<Readonly<Record<string, unknown>>>
  /** SIGTERM; the exit code. */
  stop(): Promise<number | null>
  /** SIGKILL to the whole process group. */
  kill(): Promise<void>
}

/** Another way to start it than `bin/postern`, in another environment. */
export interface Launch {
  /** Program, and its first words; `start` and what follows comes behind them. */
  readonly command?: readonly [string, ...string[]]
  /** On top of ours. */
  readonly env?: Readonly<Record<string, string>>
}

/** Starts the gateway with this configuration, and waits until it is ready. */
export async function startGateway(
  folder: string,
  configuration: string,
  { command = [join(TOP, 'bin/postern')], env = {} }: Launch = {},
): Promise<GatewayProcess> {
  const file = join(folder, 'postern.yaml')
  await writeFile(file, configuration)
  const [program, ...words] = command
  const child = spawn(program, [...words, 'start', '--config', file], {
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const gateway = watch(child)
  const ready = await gateway.until('ready', 30_000)
  const addresses = ready['addresses'] as readonly { port: number }[]
  const ports = addresses.map(({ port }) => port)
  return { ...gateway, ports, port: ports[0]! }
}

function watch(child: ChildProcess): Omit<GatewayProcess, 'port' | 'ports'> {
  const lines: Record<string, unknown>[] = []
  const wanted = new Set<() => void>()
  let errors = ''
  const exited = once(child, 'exit')
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  createInterface({ input: child.stdout! }).on('line', line => {
    lines.push(JSON.parse(line) as Record<string, unknown>)
    for (const look of wanted) look()
  })
  const signal = async (group: boolean, name: NodeJS.Signals): Promise<number | null> => {
    try {
      process.kill(group ? -child.pid! : child.pid!, name)
    } catch {
      // It is gone already.
    }
    const [code] = (await exited) as [number | null]
    return code
  }
  return {
    pid: child.pid!,
    lines,
    errors: () => errors,
    until: (event, timeoutMs = 10_000) =>
      new Promise((found, failed) => {
        const look = (): void => {
          const line = lines.find(it => it['event'] === event)
          if (line) done(() => found(line))
        }
        const done = (settle: () => void): void => {
          wanted.delete(look)
          clearTimeout(timer)
          settle()
        }
        const tooLate = () =>
          failed(
            new Error(
              `no "${event}" from the gateway: ${errors}${JSON.stringify(lines.slice(-5))}`,
            ),
          )
        const timer = setTimeout(() => done(tooLate), timeoutMs)
        wanted.add(look)
        child.once('exit', () => done(tooLate))
        look()
      }),
    stop: () => signal(false, 'SIGTERM'),
    kill: async () => {
      await signal(true, 'SIGKILL')
    },
  }
}
