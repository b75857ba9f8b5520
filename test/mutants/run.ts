/**
 * Plants one defect after the other, and wants the tests red: a test that cannot fail is a defect.
 *
 *     npm run mutants               all of them
 *     npm run mutants -- B7 B15     these rows
 *
 *     checkout ──copy──▶ workspace ──plant──▶ vitest, the tests of the row ──▶ red · GREEN · broken
 *
 * The checkout itself is not touched. Red means that a test of the row failed; `broken` that nothing
 * could run, which proves as little as GREEN does. Exit code 1 for either.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { catalogue, editsOf, type Mutant, planted, testsOf } from './mutant.ts'

type Colour = 'red' | 'GREEN' | 'broken'

interface Result {
  readonly mutant: Mutant
  readonly colour: Colour
  /** What the operator needs to see where it is not red. */
  readonly detail: string
}

/** What vitest's JSON reporter writes, as far as it matters. */
interface Report {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
  }[]
}

const root = resolve(import.meta.dirname, '../..')

async function main(rows: readonly string[]): Promise<number> {
  const { mutants } = await catalogue()
  const queue = mutants.filter(({ row }) => rows.length === 0 || rows.includes(row))
  const results: Result[] = []
  const lanes = Array.from({ length: Math.min(LANES, queue.length) }, () => lane(queue, results))
  await Promise.all(lanes)
  const missed = results.filter(({ colour }) => colour !== 'red')
  console.log(`${results.length} defects, ${results.length - missed.length} red`)
  return missed.length === 0 && results.length > 0 ? 0 : 1
}

/** Takes one mutant after the other into a workspace of its own. */
async function lane(queue: Mutant[], results: Result[]): Promise<void> {
  const workspace = mkdtempSync(join(tmpdir(), 'postern-mutants-'))
  try {
    copyCheckout(workspace)
    for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
      const result = await tried(mutant, workspace)
      results.push(result)
      console.log(`${mutant.row.padEnd(4)} · ${mutant.defect} · ${result.colour}${result.detail}`)
    }
  } finally {
    rmSync(workspace, { recursive: true, force: true })
  }
}

function copyCheckout(workspace: string): void {
  cpSync(root, workspace, {
    recursive: true,
    filter: path => !NOT_COPIED.has(path.slice(root.length + 1)),
  })
  symlinkSync(join(root, 'node_modules'), join(workspace, 'node_modules'))
}

async function tried(mutant: Mutant, workspace: string): Promise<Result> {
  const edits = editsOf(mutant)
  const before = new Map(
    edits.map(({ file }) => [file, readFileSync(join(workspace, file), 'utf8')] as const),
  )
  try {
    for (const edit of edits) writeFileSync(join(workspace, edit.file), planted(workspace, edit))
    return { mutant, ...judged(await runTests(mutant, workspace), testsOf(mutant)) }
  } catch (error) {
    return { mutant, colour: 'broken', detail: `\n    ${String(error)}` }
  } finally {
    for (const [file, source] of before) writeFileSync(join(workspace, file), source)
  }
}

function judged(report: Report, wanted: RegExp): Pick<Result, 'colour' | 'detail'> {
  const tests = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ fullName }) => wanted.test(fullName))
  if (tests.some(({ status }) => status === 'failed')) return { colour: 'red', detail: '' }
  const unable = report.testResults.find(({ status }) => status === 'failed')
  if (unable) return { colour: 'broken', detail: `\n    ${unable.name}: ${unable.message}` }
  const passed = tests.filter(({ status }) => status === 'passed').length
  return { colour: 'GREEN', detail: ` (${passed} tests passed)` }
}

/** @throws {Error} Vitest left no report, or was not done in time. */
function runTests(mutant: Mutant, workspace: string): Promise<Report> {
  const reportFile = join(workspace, 'mutants-report.json')
  rmSync(reportFile, { force: true })
  const words = [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    ...mutant.tests,
    '-t',
    testsOf(mutant).source,
    '--reporter=json',
    `--outputFile=${reportFile}`,
  ]
  const corpora = process.env['POSTERN_CORPORA'] ?? join(root, '../shared/corpora')
  const child = spawn(process.execPath, words, {
    cwd: workspace,
    env: { ...process.env, POSTERN_CORPORA: corpora },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    said = (said + piece).slice(-2000)
  })
  return new Promise((fulfil, reject) => {
    // With its workers, which are of its process group.
    const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), TIME_MS)
    child.once('close', () => {
      clearTimeout(timer)
      try {
        fulfil(JSON.parse(readFileSync(reportFile, 'utf8')) as Report)
      } catch {
        reject(new Error(`no report: ${said}`))
      }
    })
  })
}

/** At a time. Each is a vitest with workers of its own. */
const LANES = 2
const TIME_MS = 120_000
const NOT_COPIED: ReadonlySet<string> = new Set(['node_modules', '.git', '.vitest'])

process.exitCode = await main(process.argv.slice(2))
