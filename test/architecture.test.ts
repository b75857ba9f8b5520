/**
 * The floors of the house, kept by a test. See ARCHITECTURE.md for the picture and the reasons.
 *
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'

/** From the ground up. A room may use the rooms below it; never one above, never a neighbour. */
const FLOORS: readonly (readonly string[])[] = [
  ['errors.ts', 'log.ts'],
  ['mail/'],
  ['crypto/', 'policy/', 'smtp/'],
  ['certstore/', 'config/'],
  ['gateway/'],
  ['commands/'],
  ['main.ts'],
]
/**
 * crypto/ has storeys of its own; the files that stand in it directly are below all of them. Except
 * the question of keys: a signer bears its certificate, so it stands on top of x509.
 */
const STOREYS = [
  'crypto/',
  'crypto/asn1/',
  'crypto/x509/',
  'crypto/key.ts',
  'crypto/cms/',
  'crypto/smime/',
]

const src = resolve(import.meta.dirname, process.env['SRC'] ?? '../src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.ts'))
  .map(path => path.replaceAll('\\', '/'))

test('every file stands on a floor', () => {
  for (const file of files) expect(floorOf(file), `${file} stands on no floor`).toBeGreaterThan(-1)
})

test('every import goes down, or stays in its own room', () => {
  for (const file of files)
    for (const used of importsOf(file))
      expect(mayUse(file, used), `${file} may not use ${used}`).toBe(true)
})

test('no two files import each other in a circle', () => {
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (done.has(file)) return
    expect(path, `circle: ${[...path, file].join(' -> ')}`).not.toContain(file)
    for (const used of importsOf(file)) visit(used, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
})

function mayUse(file: string, used: string): boolean {
  if (roomOf(file) !== roomOf(used)) return floorOf(used) < floorOf(file)
  return roomOf(file) !== 'crypto/' || storeyOf(used) <= storeyOf(file)
}

function roomOf(file: string): string | undefined {
  return FLOORS.flat().find(name => file === name || (name.endsWith('/') && file.startsWith(name)))
}

function floorOf(file: string): number {
  const room = roomOf(file)
  return room === undefined ? -1 : FLOORS.findIndex(rooms => rooms.includes(room))
}

function storeyOf(file: string): number {
  return STOREYS.findLastIndex(storey => file.startsWith(storey))
}

function importsOf(file: string): string[] {
  const text = readFileSync(resolve(src, file), 'utf8')
  const folder = dirname(resolve(src, file))
  return [...text.matchAll(IMPORT)].map(match =>
    relative(src, resolve(folder, match[1] ?? match[2]!)).replaceAll('\\', '/'),
  )
}

/** `import … from`, `export … from`, `import '…'`, and `import('…')` wherever it stands. */
const IMPORT = /^(?:import|export)\b(?:[^'";]*?from)? '(\.[^']+)'|\bimport\(\s*'(\.[^']+)'\s*\)/gm
