/** R12 whatever stands in the file: faults, and never a crash, a hang, or a place outside of it. @module */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { crossCheck } from '../../src/config/cross-check.ts'
import { readDocument } from '../../src/config/document.ts'
import { printFault } from '../../src/config/fault.ts'
import { findingsIn } from '../../src/config/findings.ts'
import { shapeOf } from '../../src/config/shape.ts'

const EXAMPLE = readFileSync(resolve(import.meta.dirname, '../../config/postern.yaml'), 'utf8')
  .split('\n')
  .map(line => line.replace(/^# (?=\s|\w+:)/, '').replace(/(^|\s)#.*$/, ''))
  .filter(line => line.trim() !== '')
  .join('\n')

/** Faults that are told badly: no advice, a line that is not there, something that a terminal would obey. */
function toldBadly(text: string): string[] {
  const document = readDocument('x.yaml', text, {})
  const shape = shapeOf(document)
  const found = [...crossCheck(shape.salvaged, true, findingsIn(document))]
  const lines = text.split('\n').length
  return [...document.faults, ...shape.faults, ...found.map(({ fault }) => fault)]
    .filter(
      fault =>
        fault.line < 1 ||
        fault.line > lines ||
        fault.advice === '' ||
        !/^x\.yaml:\d+:\d+ \P{Cc}+$/u.test(printFault(fault)),
    )
    .map(fault => JSON.stringify(fault))
}

test('R12 the example with a piece cut out and another put in', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '[]',
      '{}',
      '- ',
      ': ',
      '*a',
      '&a ',
      '!!x ',
      '"',
      "'",
      '\t',
      '\n',
      '${',
      'null',
    ),
    fc.constantFrom('__proto__', 'constructor', 'toString', '<<', '---\n', '1e999', '.nan', '0x10'),
    fc.string({ unit: 'binary', maxLength: 5 }),
  )
  const place = fc.nat(EXAMPLE.length)
  fc.assert(
    fc.property(fc.array(fc.tuple(place, fc.nat(20), piece), { maxLength: 4 }), edits => {
      const text = edits.reduce(
        (before, [at, cut, put]) => before.slice(0, at) + put + before.slice(at + cut),
        EXAMPLE,
      )
      expect(toldBadly(text)).toEqual([])
    }),
    { numRuns: 150 },
  )
})

test('R12 any tree of values under the names that are known', () => {
  const names = ['nextHop', 'rules', 'listen', 'tls', 'auth', 'limits', 'identities', 'trust']
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.jsonValue({ maxDepth: 4 }), (name, value) => {
      expect(toldBadly(`${name}: ${JSON.stringify(value)}\n`)).toEqual([])
    }),
    { numRuns: 300 },
  )
})
