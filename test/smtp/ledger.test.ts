/** The delivery ledger: durable, shared by processes, and clear about its own faults. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openLedger } from '../../src/smtp/ledger.ts'

const digest = Buffer.alloc(32, 1)
const other = Buffer.alloc(32, 2)
let folder: string
let now = 0

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-ledger-'))
  now = 1_000_000_000_000
})
afterEach(() => rmSync(folder, { recursive: true }))

const open = (file = join(folder, 'ledger.db')) => openLedger(file, () => now)

test('what was recorded is known, of each message apart', () => {
  const ledger = open(':memory:')
  expect(ledger.isEmpty()).toBe(true)
  ledger.record(digest, ['a@example.test', 'b@example.test'])
  ledger.record(digest, ['b@example.test', 'c@example.test'])
  expect(ledger.isEmpty()).toBe(false)
  expect(ledger.delivered(digest)).toEqual(
    new Set(['a@example.test', 'b@example.test', 'c@example.test']),
  )
  expect(ledger.delivered(other)).toEqual(new Set())
  ledger.forgetMessage(digest)
  expect(ledger.isEmpty()).toBe(true)
  ledger.close()
})

test('what is older than seven days is forgotten, and what is younger is not', () => {
  const ledger = open(':memory:')
  ledger.record(digest, ['a@example.test'])
  now += 6 * DAY_MS
  ledger.record(other, ['b@example.test'])
  now += 1.5 * DAY_MS
  ledger.forget()
  expect(ledger.delivered(digest).size).toBe(0)
  expect(ledger.delivered(other).size).toBe(1)
  ledger.forget(DAY_MS)
  expect(ledger.isEmpty()).toBe(true)
  ledger.close()
})

test('a process that never ends forgets too', () => {
  const ledger = open(':memory:')
  ledger.record(digest, ['a@example.test'])
  now += 8 * DAY_MS
  ledger.record(other, ['b@example.test'])
  expect(ledger.delivered(digest).size).toBe(0)
  expect(ledger.delivered(other).size).toBe(1)
  ledger.close()
})

test('R5 it is still known after the process has ended without farewell', async () => {
  await run(
    `ledger.record(Buffer.alloc(32, 1), ['a@example.test']); process.kill(process.pid, 'SIGKILL')`,
  )
  const ledger = open()
  expect(ledger.delivered(digest)).toEqual(new Set(['a@example.test']))
  ledger.close()
})

test('what one process records the others know at once', async () => {
  const ledger = open()
  expect(ledger.isEmpty()).toBe(true)
  await run(`ledger.record(Buffer.alloc(32, 1), ['a@example.test']); ledger.close()`)
  expect(ledger.isEmpty()).toBe(false)
  expect(ledger.delivered(digest)).toEqual(new Set(['a@example.test']))
  ledger.close()
})

test('several processes open, write and close it at the same time', async () => {
  const writers = Array.from({ length: 3 }, (_, i) =>
    run(
      `for (let n = 0; n < 30; n++) ledger.record(Buffer.alloc(32, 1), ['${i}-' + n]); ledger.close()`,
    ),
  )
  const ends = await Promise.all(writers)
  expect(ends).toEqual(['', '', ''])
  const ledger = open()
  expect(ledger.delivered(digest).size).toBe(90)
  ledger.close()
})

test('the question of every message is cheap', () => {
  const ledger = open()
  const began = performance.now()
  for (let i = 0; i < 2_000; i++) ledger.isEmpty()
  // 2 µs each alone on a machine.
  expect((performance.now() - began) / 2_000).toBeLessThan(0.1)
  ledger.close()
})

test.each([
  ['a file that is no database', () => writeFileSync(join(folder, 'ledger.db'), 'x'.repeat(9000))],
  ['a folder in its place', () => mkdirSync(join(folder, 'ledger.db'))],
])('%s is told as ERR_LEDGER, with the file in the cause', (_, spoil) => {
  spoil()
  const fault = faultOf(open)
  expect(fault).toMatchObject({ code: 'ERR_LEDGER', persistence: 'transient' })
  expect(fault.message).not.toContain(folder)
  expect(String(fault.cause)).toContain(join(folder, 'ledger.db'))
})

test('a folder that is not there is told as ERR_LEDGER', () => {
  expect(() => open(join(folder, 'none', 'ledger.db'))).toThrow(
    expect.objectContaining({ code: 'ERR_LEDGER' }),
  )
})

test('a ledger that breaks while it is open is told as ERR_LEDGER', () => {
  const ledger = open()
  ledger.close()
  expect(() => ledger.record(digest, ['a@example.test'])).toThrow(
    expect.objectContaining({ code: 'ERR_LEDGER' }),
  )
  expect(() => ledger.isEmpty()).toThrow(expect.objectContaining({ code: 'ERR_LEDGER' }))
})

function faultOf(action: () => unknown): Error {
  try {
    action()
  } catch (error) {
    return error as Error
  }
  throw new Error('no fault')
}

/** Runs code with the ledger open in a process of its own; what it says on standard error, or its fault. */
async function run(code: string): Promise<string> {
  const module = new URL('../../src/smtp/ledger.ts', import.meta.url).href
  const script = `import { openLedger } from ${JSON.stringify(module)}
    const ledger = openLedger(${JSON.stringify(join(folder, 'ledger.db'))}, () => ${now})
    ${code}`
  const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  return ended.then(
    ({ stderr }) => stderr,
    (error: { signal?: string; stderr?: string }) => error.signal ?? error.stderr ?? 'failed',
  )
}

const DAY_MS = 24 * 3_600_000

test('several processes may make it at the same moment', async () => {
  const module = new URL('../../src/smtp/ledger.ts', import.meta.url).href
  // All of them wait for the same tick of the clock: as many make a new file at once.
  const script = `
    import { setTimeout as pause } from 'node:timers/promises'
    const { openLedger } = await import(${JSON.stringify(module)})
    for (let round = 0; round < 12; round++) {
      await pause(Number(process.argv[2]) + round * 60 - Date.now())
      openLedger(process.argv[1] + round, Date.now).close()
    }`
  const at = String(Date.now() + 900)
  const make = () =>
    promisify(execFile)(process.execPath, ['-e', script, '--', join(folder, 'new'), at])
  await expect(Promise.all(Array.from({ length: 4 }, make))).resolves.toHaveLength(4)
})
