/** When dependencies are installed, and when those that are there do. @module */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'

type Entry = Readonly<Record<string, unknown>>
type Packages = Readonly<Record<string, Entry>>

const TOP = resolve(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'postern-ensure-'))
afterAll(() => rmSync(folder, { recursive: true }))

const A = { version: '1.0.0', integrity: 'sha512-a' }
const HERE = { ...A, optional: true, os: [process.platform], cpu: process.arch }
const ELSEWHERE = { ...A, optional: true, os: ['no-such-system'] }
const LOCK: Packages = {
  '': { dependencies: { a: '1.0.0' } },
  'node_modules/a': A,
  'node_modules/b': A,
  'node_modules/a/node_modules/b': { ...A, version: '2.0.0' },
  'node_modules/test': { ...A, dev: true },
}
const { '': _, ...INSTALLED } = LOCK
const { 'node_modules/test': __, ...RUNNING } = INSTALLED

describe('nothing is installed where', () => {
  test.each<[string, Packages, Packages]>([
    ['all is there', LOCK, INSTALLED],
    ['a package is for another system', { ...LOCK, 'node_modules/c': ELSEWHERE }, INSTALLED],
    [
      'a package is for any but this system',
      { ...LOCK, 'node_modules/c': { ...A, optional: true, os: [`!${process.platform}`] } },
      INSTALLED,
    ],
    [
      'a package is wanted by one of those alone',
      { ...LOCK, 'node_modules/c': { ...A, optional: true, peer: true } },
      INSTALLED,
    ],
    ['there is more than is wanted', LOCK, { ...INSTALLED, 'node_modules/c': A }],
    [
      'that which is more has something of its own',
      LOCK,
      { ...INSTALLED, 'node_modules/c': A, 'node_modules/c/node_modules/a': A },
    ],
  ])('%s', (_name, lock, installed) => {
    expect(ensure(world(lock, installed))).toEqual({ status: 0, told: '', npm: undefined })
  })

  test('the lockfile is newer, as behind a checkout', () => {
    const top = world(LOCK, INSTALLED)
    utimesSync(join(top, 'node_modules/.package-lock.json'), 1000, 1000)
    expect(ensure(top).npm).toBeUndefined()
  })

  test('it is what npm itself has installed here', () => {
    const top = join(folder, 'itself')
    const file = 'node_modules/.package-lock.json'
    const { packages } = JSON.parse(readFileSync(join(TOP, file), 'utf8')) as { packages: Packages }
    copyScript(top)
    lay(top, file, packages)
    cpSync(join(TOP, 'package-lock.json'), join(top, 'package-lock.json'))
    expect(ensure(top)).toEqual({ status: 0, told: '', npm: undefined })
  })

  test('what is needed to run is there, and no more was asked for', () => {
    const top = world(LOCK, RUNNING)
    expect(ensure(top, '--run').npm).toBeUndefined()
    expect(ensure(top).told).toContain('node_modules/test is missing')
  })
})

describe('dependencies are installed where', () => {
  const without = (path: string): Packages =>
    Object.fromEntries(Object.entries(INSTALLED).filter(([name]) => name !== path))
  const other = (change: Entry): Packages => ({
    ...INSTALLED,
    'node_modules/b': { ...A, ...change },
  })

  test.each<[string, Packages, Packages, string]>([
    ['one is missing', LOCK, without('node_modules/a'), 'node_modules/a is missing'],
    ['one has another version', LOCK, other({ version: '1.0.1' }), 'b is another one'],
    ['one has other contents', LOCK, other({ integrity: 'sha512-z' }), 'b is another one'],
    ['one is for this system', { ...LOCK, 'node_modules/c': HERE }, INSTALLED, 'c is missing'],
    [
      'a copy of one is left that hides the one that is wanted',
      LOCK,
      { ...INSTALLED, 'node_modules/b/node_modules/a': A },
      'node_modules/b/node_modules/a hides another one',
    ],
  ])('%s, to run and to work', (_name, lock, installed, why) => {
    const told = expect.stringContaining(why)
    expect(ensure(world(lock, installed))).toMatchObject({ status: 0, told, npm: WORK })
    expect(ensure(world(lock, installed), '--run')).toMatchObject({ status: 0, told, npm: RUN })
  })

  test('a folder is gone', () => {
    const top = world(LOCK, INSTALLED)
    rmSync(join(top, 'node_modules/a/node_modules/b'), { recursive: true })
    expect(ensure(top).told).toContain('node_modules/a/node_modules/b is gone')
  })

  test('none are there, or npm has not come to its end', () => {
    const top = world(LOCK, INSTALLED)
    const file = join(top, 'node_modules/.package-lock.json')
    writeFileSync(file, '{ "packages"')
    expect(ensure(top).npm).toBe(WORK)
    rmSync(file)
    expect(ensure(top).npm).toBe(WORK)
  })

  test('it fails, it says so, and goes no further', () => {
    const { status, told } = ensure(world(LOCK, without('node_modules/a')), '--run', '7')
    expect(status).toBe(7)
    expect(told).toContain('npm ci failed')
  })
})

test('B74 npm starts the gateway and the demo as an administrator does', () => {
  const { scripts } = JSON.parse(readFileSync(join(TOP, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  expect(scripts['start']).toBe('bin/postern start')
  expect(scripts['demo']).toBe('bin/postern demo')
})

/** A checkout with what npm has noted of its last installation, and the folders that go with it. */
function world(lock: Packages, installed: Packages): string {
  const top = mkdtempSync(join(folder, 'world-'))
  copyScript(top)
  writeFileSync(join(top, 'package-lock.json'), JSON.stringify({ packages: lock }))
  lay(top, 'node_modules/.package-lock.json', installed)
  return top
}

function copyScript(top: string): void {
  cpSync(join(TOP, 'scripts/ensure.mjs'), join(top, 'scripts/ensure.mjs'))
}

function lay(top: string, file: string, packages: Packages): void {
  for (const path of Object.keys(packages)) {
    mkdirSync(join(top, path), { recursive: true })
    writeFileSync(join(top, path, 'package.json'), '{}')
  }
  writeFileSync(join(top, file), JSON.stringify({ packages }))
}

/** Runs the script with an npm that only notes how it was called. */
function ensure(
  top: string,
  option?: '--run',
  ends: string = '0',
): { status: number | null; told: string; npm: string | undefined } {
  const noted = join(top, 'npm-was-called')
  const npm = join(top, 'bin/npm')
  mkdirSync(join(top, 'bin'), { recursive: true })
  writeFileSync(npm, '#!/bin/sh\necho "$*" > npm-was-called\nexit "$STATUS"\n')
  chmodSync(npm, 0o755)
  const argv = [join(top, 'scripts/ensure.mjs'), ...(option ? [option] : [])]
  const path = [join(top, 'bin'), process.env['PATH']].join(delimiter)
  const { status, stderr } = spawnSync(process.execPath, argv, {
    encoding: 'utf8',
    env: { ...process.env, PATH: path, STATUS: ends },
  })
  const called = existsSync(noted) ? readFileSync(noted, 'utf8').trim() : undefined
  return { status, told: stderr, npm: called }
}

const RUN = 'ci --ignore-scripts --no-audit --no-fund --loglevel=error'
const WORK = `${RUN} --include=dev`
