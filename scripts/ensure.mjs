// Installs the dependencies where those that are there are not what the lockfile wants. What counts is what was
// installed, as npm wrote it down beside it, and not the time of a file: a checkout, a copy or a tool that only
// touches the lockfile says nothing about node_modules. Runs on any Node from 18 on.
//
//     node scripts/ensure.mjs          all that is needed to work on Postern
//     node scripts/ensure.mjs --run    what is needed to run it; less may have been installed on purpose
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const top = join(dirname(fileURLToPath(import.meta.url)), '..')
const toRun = process.argv.includes('--run')

const fault = faultOf(
  packagesOf('package-lock.json'),
  packagesOf('node_modules/.package-lock.json'),
)
if (fault !== undefined) {
  console.error(`postern: installing dependencies (once): ${fault}`)
  const isWindows = process.platform === 'win32'
  // Where the environment says production, npm would leave out what the tests need, each time anew.
  const others = toRun ? [] : ['--include=dev']
  const result = spawnSync(
    isWindows ? 'npm.cmd' : 'npm',
    ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...others],
    { cwd: top, stdio: ['ignore', 2, 2], shell: isWindows },
  )
  if (result.status !== 0) {
    console.error('postern: npm ci failed; is the npm registry within reach?')
    process.exit(result.status ?? 70)
  }
}

/** Why what is installed does not do; undefined where it does. */
function faultOf(wanted, installed) {
  if (!wanted || !installed) return 'nothing is installed yet'
  for (const [path, entry] of Object.entries(wanted)) {
    const there = installed[path]
    if (!there && isNeeded(path, entry)) return `${path} is missing`
    if (there?.version !== undefined && !isSame(entry, there)) return `${path} is another one`
    if (there && !existsSync(join(top, path, 'package.json'))) return `${path} is gone`
  }
  const hiding = Object.keys(installed).find(path => !wanted[path] && wanted[parentOf(path)])
  return hiding && `${hiding} hides another one`
}

/** What npm leaves out by itself, for another platform or in want of one, is not missing. */
function isNeeded(path, { dev, optional, os, cpu, libc }) {
  if (path === '' || (toRun && dev)) return false
  if (!optional) return true
  const isOfPlatform = os !== undefined || cpu !== undefined
  return isOfPlatform && !libc && suits(os, process.platform) && suits(cpu, process.arch)
}

/** `os` and `cpu` of a package: one or several, `!` before what is excluded. */
function suits(allowed, here) {
  const words = [allowed ?? []].flat()
  if (words.includes(`!${here}`)) return false
  return words.includes(here) || words.every(word => word.startsWith('!'))
}

function isSame(entry, there) {
  const isSealed = entry.integrity !== undefined && there.integrity !== undefined
  return entry.version === there.version && (!isSealed || entry.integrity === there.integrity)
}

/** The package that a path lies in, and that would find this one before any other; none on top. */
function parentOf(path) {
  const at = path.lastIndexOf('/node_modules/')
  return at < 0 ? undefined : path.slice(0, at)
}

/** Packages by path; undefined where there is no such file, or none that can be read. */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(join(top, file), 'utf8')).packages
  } catch {
    return undefined
  }
}
