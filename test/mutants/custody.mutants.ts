/** What is planted to try what keeps keys, memory and plaintext to itself. @module */
import type { Mutant } from './mutant.ts'

const MEMORY = ['test/attacks/memory.test.ts'] as const

export const MUTANTS: readonly Mutant[] = [
  {
    row: 'B72',
    defect: 'a crash leaves a core',
    file: 'bin/postern',
    find: 'ulimit -c 0 2>/dev/null || :',
    replace: 'ulimit -c unlimited 2>/dev/null || :',
    tests: MEMORY,
  },
  {
    row: 'B74',
    defect: 'the launcher passes on what the environment says to Node',
    file: 'bin/postern',
    find: 'unset NODE_OPTIONS',
    replace: ':',
    tests: MEMORY,
  },
  {
    row: 'B74',
    defect: 'a signal opens an inspector',
    file: 'bin/postern',
    find: 'exec "$node" --disable-sigusr1',
    replace: 'exec "$node"',
    tests: MEMORY,
  },
  {
    row: 'B74',
    defect: 'workers are started otherwise than the primary',
    file: 'src/commands/primary.ts',
    find: 'execArgv: [...process.execArgv, ...HEAP]',
    replace: 'execArgv: [...HEAP]',
    tests: MEMORY,
  },
  {
    row: 'B74',
    defect: 'workers hear of NODE_OPTIONS',
    file: 'src/main.ts',
    find: "delete process.env['NODE_OPTIONS']",
    replace: '',
    tests: MEMORY,
  },
  {
    row: 'B74',
    defect: 'a signal opens an inspector in the image',
    file: 'Dockerfile',
    find: '"--disable-sigusr1", ',
    replace: '',
    tests: MEMORY,
  },
]
