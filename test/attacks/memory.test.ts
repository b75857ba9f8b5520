/** Nobody looks into a process that holds keys, and none leaves its memory behind. @module */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { postern } from '../support/command-line.ts'
import {
  type GatewayProcess,
  startGateway,
  TOP,
  temporaryFolder,
} from '../support/gateway-process.ts'
import { makeIdentityFolder } from '../support/identity-folder.ts'

const NO_PROC = process.platform === 'linux' ? '' : ' (skipped: needs /proc of Linux)'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let gateway: GatewayProcess | undefined
/** Loaded into every Node that hears of NODE_OPTIONS; writes down which that are. */
let spy: string
let seen: string

beforeAll(async () => {
  folder = await temporaryFolder('memory')
  await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
  spy = join(folder.path, 'spy.cjs')
  seen = join(folder.path, 'seen')
  const words = `require('node:fs').appendFileSync(${JSON.stringify(seen)}, process.pid + '\\n')`
  writeFileSync(spy, words)
  writeFileSync(seen, '')
  writeFileSync(join(folder.path, 'postern.yaml'), CONFIGURATION)
})
afterEach(async () => {
  await gateway?.kill()
  gateway = undefined
  writeFileSync(seen, '')
})
afterAll(() => folder.remove())

test('B74 options of Node from the environment do not open an inspector, and it is said', async () => {
  const file = join(folder.path, 'postern.yaml')
  const env = { NODE_OPTIONS: '--inspect=0' }
  const { code, err } = await postern(['check', '--config', file], { env })
  expect(code).toBe(0)
  expect(err).not.toContain('Debugger listening')
  expect(err).toMatch(/^postern: NODE_OPTIONS is ignored: .*\n$/)
  const empty = await postern(['--version'], { env: { NODE_OPTIONS: '' } })
  expect([empty.code, empty.err]).toEqual([0, ''])
})

describe(`what runs${NO_PROC}`, () => {
  test.skipIf(NO_PROC)('B72 B74 no signal opens it, and no crash leaves a core', async () => {
    const env = { NODE_OPTIONS: `--require ${spy} --heapsnapshot-signal=SIGUSR2` }
    gateway = await startGateway(folder.path, CONFIGURATION, { env })
    const processes = processesOf(gateway.pid)
    expect(processes).toHaveLength(3)
    expect(readFileSync(seen, 'utf8')).toBe('')
    for (const pid of processes) {
      const limits = readFileSync(`/proc/${pid}/limits`, 'utf8')
      expect(limits).toMatch(/^Max core file size +0 +0 /m)
      process.kill(pid, 'SIGUSR1')
    }
    expect(statSync(join(folder.path, 'data')).mode & 0o777).toBe(0o700)
    await sleep(300)
    expect(processesOf(gateway.pid)).toEqual(processes)
    expect(gateway.errors()).not.toContain('Debugger listening')
  })

  test.skipIf(NO_PROC)('B74 started without the launcher, workers hear of no options', async () => {
    const command = [process.execPath, '--disable-sigusr1', join(TOP, 'src/main.ts')] as const
    const env = { NODE_OPTIONS: `--require ${spy}` }
    gateway = await startGateway(folder.path, CONFIGURATION, { command: [...command], env })
    expect(readFileSync(seen, 'utf8')).toBe(`${gateway.pid}\n`)
    expect(gateway.errors()).toContain('NODE_OPTIONS is kept from workers')
    for (const pid of processesOf(gateway.pid)) {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      expect(words).toContain('--disable-sigusr1')
    }
  })
})

test('B74 nor are there any in the image', () => {
  const image = readFileSync(join(TOP, 'Dockerfile'), 'utf8')
  expect(image).toMatch(/^ENTRYPOINT .*"--disable-sigusr1"/m)
  expect(image).toMatch(/^ENV .*NODE_OPTIONS=""/m)
  expect(image).not.toMatch(/--inspect|--heapsnapshot/)
})

/** A process and those that it has started. */
function processesOf(pid: number): readonly number[] {
  const all = readdirSync('/proc').filter(name => /^\d+$/.test(name))
  return [pid, ...all.map(Number).filter(it => parentOf(it) === pid)].toSorted((a, b) => a - b)
}

function parentOf(pid: number): number {
  try {
    const words = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return Number(words.slice(words.lastIndexOf(')')).split(' ')[2])
  } catch {
    // It has ended meanwhile.
    return 0
  }
}

const CONFIGURATION = `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 0, tls: none }]
nextHop:
  inbound: { host: 127.0.0.1, port: 2600, tls: none }
  outbound: { host: 127.0.0.1, port: 2601, tls: none }
identities: [{ files: identities/ }]
rules: [{ name: outbound, when: { direction: outbound }, then: { sign: always } }]
state: data/
workers: 2
`
