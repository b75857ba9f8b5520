/**
 * The command line: `postern VERB`.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'
import { PosternError } from './errors.ts'

const CACHE = fileURLToPath(new URL('../node_modules/.cache/postern', import.meta.url))

/** Exit codes of every verb. */
const FINDING = 1
const USAGE = 2
const OURS = 70

/** One file a verb, loaded when it is wanted. A verb answers with its exit code. */
type Verb = (argv: readonly string[]) => Promise<number>

const VERBS: Readonly<Record<string, { readonly about: string; load(): Promise<Verb> }>> = {
  start: {
    about: 'run the gateway in the foreground',
    load: async () => (await import('./commands/start.ts')).start,
  },
  demo: {
    about: 'show the main job on real messages; nothing to configure',
    load: async () => (await import('./commands/demo.ts')).demo,
  },
  check: {
    about: 'tell all faults of a configuration at once',
    load: async () => {
      const { check } = await import('./commands/check.ts')
      return argv => check(argv, process.stdout)
    },
  },
  cert: {
    about: 'tell whose certificate would be used and why; list, import and remove',
    load: async () => (await import('./commands/cert.ts')).cert,
  },
  explain: {
    about: 'decide about a message without sending it, and say why',
    load: async () => (await import('./commands/explain.ts')).explain,
  },
  stamp: {
    about: 'tell whether the stamp on a message is ours',
    load: async () => (await import('./commands/stamp.ts')).stamp,
  },
}

async function main([name, ...rest]: readonly string[]): Promise<number> {
  if (!runtimeIsNewEnough()) return OURS
  if (name === '--version') {
    console.log(version())
    return 0
  }
  if (name === undefined || name === '--help' || name === 'help') {
    console.log(help())
    return name === undefined ? USAGE : 0
  }
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
  if (verb === undefined) {
    console.error(`postern: there is no verb ${JSON.stringify(name)}\n\n${help()}`)
    return USAGE
  }
  if (rest.includes('--version')) {
    console.log(version())
    return 0
  }
  const run = await verb.load()
  try {
    return await run(rest)
  } catch (error) {
    return exitCodeFor(error, name)
  }
}

/** What was not foreseen is thrown on. */
function exitCodeFor(error: unknown, verb: string): number {
  const { code, message } = error as { code?: unknown; message: string }
  if (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS')) {
    console.error(`postern ${verb}: ${message}\n  hint: postern ${verb} --help tells its options`)
    return USAGE
  }
  if (!(error instanceof PosternError)) throw error
  console.error(`postern ${verb}: ${message}`)
  return FINDING
}

/** Node below 24 cannot do what later verbs need, and refuses RSA decryption outright (docs/decisions/0004). */
function runtimeIsNewEnough(): boolean {
  if (Number(process.versions.node.split('.')[0]) >= 24) return true
  console.error(
    `postern: Node ${process.versions.node} is too old; 24 or newer is needed.\n` +
      '  hint: run bin/postern, or npm run …, which use the Node that came with the dependencies',
  )
  return false
}

function help(): string {
  const width = Math.max(...Object.keys(VERBS).map(name => name.length))
  const rows = Object.entries(VERBS).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`)
  return [
    'usage: postern VERB [options]',
    '',
    ...rows,
    '',
    'postern VERB --help tells the options of a verb; postern --version the version.',
    'Exit codes: 0 done, 1 a finding, 2 usage, 70 an error of ours.',
  ].join('\n')
}

/**
 * Keeps sources without their types and compiled, here and in workers: a start takes a third of the
 * time, and no process holds the compiler in memory. Where the folder cannot be written, nothing is kept.
 */
function keepCompiled(): void {
  const { directory } = enableCompileCache(process.env['NODE_COMPILE_CACHE'] ?? CACHE)
  if (directory !== undefined) process.env['NODE_COMPILE_CACHE'] ??= CACHE
}

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return `postern ${(JSON.parse(text) as { version: string }).version}`
}

/**
 * What Node was started with from outside (`--inspect`, `--heapsnapshot-signal`, `--require`) does not
 * reach the processes that hold keys. `bin/postern` keeps it from this one, too; an image has no shell.
 */
function keepOptionsFromWorkers(): void {
  if (process.env['NODE_OPTIONS'])
    console.error('postern: NODE_OPTIONS is kept from workers; start by bin/postern, or unset it')
  delete process.env['NODE_OPTIONS']
}

keepOptionsFromWorkers()
keepCompiled()
main(process.argv.slice(2)).then(
  code => {
    process.exitCode = code
  },
  (error: unknown) => {
    console.error('postern: an error of ours:', error)
    process.exitCode = OURS
  },
)
