/** The planted defects still fit the source they are planted in, and no row is without one. @module */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { catalogue, editsOf, planted } from './mutant.ts'

const root = resolve(import.meta.dirname, '../..')
const { mutants, reasons } = await catalogue()

describe('every mutant', () => {
  test.each(mutants.map(it => [it.row, it.defect, it] as const))(
    'of %s fits: %s',
    (_row, _defect, mutant) => {
      for (const edit of editsOf(mutant)) {
        expect(edit.file).toMatch(PLANTED)
        expect(planted(root, edit)).not.toBe(readFileSync(join(root, edit.file), 'utf8'))
      }
      expect(mutant.tests.length).toBeGreaterThan(0)
      expect(mutant.tests.filter(file => !hasTestsOf(mutant.row, file))).toEqual([])
    },
  )
})

test('a reason is given only where there is no mutant', () => {
  expect(mutants.filter(({ row }) => row in reasons).map(({ row }) => row)).toEqual([])
})

test('every row of what arrives and of what might leak has a mutant, or a reason why there is none', () => {
  const tried = new Set([...mutants.map(({ row }) => row), ...Object.keys(reasons)])
  expect(ROWS.filter(row => !tried.has(row))).toEqual([])
})

function range(first: number, last: number): readonly number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

function hasTestsOf(row: string, file: string): boolean {
  const path = join(root, file)
  return existsSync(path) && new RegExp(String.raw`\b${row}\b`).test(readFileSync(path, 'utf8'))
}

/** Content that arrives, and what stamps, copies and processes could give away. */
const ROWS = [...range(0, 36), ...range(64, 78)].map(number => `B${number}`)

/** Also what tells people, where a test holds it. */
const PLANTED = /^(?:(?:src|scripts|bin)\/|Dockerfile$|(?:README|SECURITY)\.md$)/
