/**
 * The MIME messages of the corpora: each is walked, prepared, and read again by Python's email package,
 * which knows nothing of our reading.
 *
 * @module
 */

import { isAscii } from 'node:buffer'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Entity, leaves, splitForProtection, walk } from '../../src/mail/entity.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { type Prepared, prepare } from '../../src/mail/seven-bit.ts'
import { gather } from '../support/chunks.ts'
import { leavesForPython, pythonMissing } from '../support/decoded.ts'
import { held } from './held.ts'

const corpora =
  process.env['POSTERN_CORPORA'] ?? join(import.meta.dirname, '../../../shared/corpora')
const index = join(corpora, 'INDEX.json')
const noCorpora = existsSync(index) ? '' : ` (skipped: no corpora in ${corpora})`
const noPython = pythonMissing === undefined ? '' : ` (skipped: ${pythonMissing})`

interface Message {
  readonly id: string
  readonly octets: Buffer
}

interface Result extends Message {
  readonly root: Entity
  readonly kind: Prepared['kind']
  /** The message with the prepared entity in the place of the old one. */
  readonly after: Buffer
  readonly entity: Buffer
}

describe.skipIf(noCorpora)(`messages of the corpora${noCorpora}`, () => {
  const results: Result[] = []

  beforeAll(async () => {
    const messages = readMessages()
    for (const message of messages) results.push(await resultOf(message))
    const kinds = Object.groupBy(results, ({ kind }) => kind)
    const counts = Object.entries(kinds).map(([kind, list]) => `${kind} ${list.length}`)
    console.log(`${results.length} messages: ${counts.join(', ')}`)
  })

  test('are many, and some of each kind', () => {
    expect(results.length).toBeGreaterThan(200)
    expect(new Set(results.map(({ kind }) => kind)).size).toBe(3)
  })

  test('are walked so that parts lie in order inside of each other', () => {
    for (const { id, root, octets } of results) {
      expect([id, root.start, root.end]).toEqual([id, 0, octets.length])
      for (const entity of descendants(root)) {
        const { start, bodyStart, end, children } = entity
        const all = [start, bodyStart, ...children.flatMap(child => [child.start, child.end]), end]
        expect([id, ...all]).toEqual([id, ...all.toSorted((one, other) => one - other)])
      }
    }
  })

  test('B77 come out 7-bit and with short lines, or are unsafe for a clear signature', () => {
    for (const { id, kind, entity } of results) {
      if (kind === 'unsafe') continue
      const longest = Math.max(
        ...entity
          .toString('latin1')
          .split('\r\n')
          .map(line => line.length),
      )
      expect([id, isAscii(entity), longest <= 998]).toEqual([id, true, true])
    }
  })

  test('keep their number of leaves', async () => {
    for (const { id, root, after } of results) {
      const types = (entity: Entity): string[] =>
        [...leaves(entity)].map(leaf => leaf.mediaType.essence)
      expect([id, ...types(await walk(held(after)))]).toEqual([id, ...types(root)])
    }
  })

  test.skipIf(noPython)(`decode to the same content for Python${noPython}`, () => {
    const changed = results.filter(({ kind }) => kind === 're-encoded')
    const decoded = leavesForPython(changed.flatMap(({ octets, after }) => [octets, after]))
    const understood = changed.entries().filter(([index]) => decoded[2 * index] !== null)
    let compared = 0
    for (const [index, { id }] of understood) {
      expect([id, decoded[2 * index + 1]]).toEqual([id, decoded[2 * index]])
      compared++
    }
    expect(compared).toBeGreaterThan(15)
  })
})

function readMessages(): Message[] {
  const { cases } = JSON.parse(readFileSync(index, 'utf8')) as {
    cases: { id: string; file: string; op: string }[]
  }
  const all = cases
    .filter(({ op }) => op === 'roundtrip')
    .map(({ id, file }) => ({ id, octets: withCRLF(readFileSync(join(corpora, file))) }))
  const messages = all.filter(({ octets }) => !/\r(?!\n)|\0/.test(octets.toString('latin1')))
  console.log(`${all.length - messages.length} messages left out: they bear NUL or a bare CR`)
  return messages
}

/** Without the line that an mbox has in front of a message: it is no part of it (RFC 4155). */
function withCRLF(octets: Buffer): Buffer {
  const lines = octets.toString('latin1').replace(/\r?\n/g, '\r\n')
  const text = lines.replace(/^>?From [^\n]*\n/, '')
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1')
}

async function resultOf({ id, octets }: Message): Promise<Result> {
  const section = parseHeaderSection(octets)
  const content = held(octets, 4096)
  const root = await walk(content)
  const prepared = await prepare(content, section)
  const entity = await gather(prepared.octets())
  const outer = splitForProtection(section).outer.map(field => field.octets)
  return { id, octets, root, kind: prepared.kind, entity, after: Buffer.concat([...outer, entity]) }
}

function* descendants(entity: Entity): Generator<Entity> {
  yield entity
  for (const child of entity.children) yield* descendants(child)
}
