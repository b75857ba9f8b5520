/**
 * What docs/standards.md cites exists.
 */
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const top = resolve(import.meta.dirname, '..')
const text = readFileSync(resolve(top, 'docs/standards.md'), 'utf8')
const cited = [...text.matchAll(/`((?:src|test)\/[^`]+)`/g)].map(match => match[1]!)

test('docs/standards.md cites files that exist, and some', () => {
  expect(cited.length).toBeGreaterThan(40)
  expect(cited.filter(file => !existsSync(resolve(top, file)))).toEqual([])
})
