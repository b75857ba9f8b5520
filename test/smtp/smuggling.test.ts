/**
 * SMTP smuggling: no sequence of octets, cut anywhere, makes two messages out of one.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { resolve } from 'node:path'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { DEFAULT_LIMITS } from '../../src/smtp/limits.ts'
import { type Desk, Session } from '../../src/smtp/session.ts'
import { Wire } from './dialog.ts'
import { MemorySink, RecordingHouse, receive } from './reception.ts'

interface Sequence {
  readonly bytes_hex: string
  readonly shown: string
  readonly ends_data: boolean
}

const root = resolve(import.meta.dirname, '../..')
const corpora = resolve(root, process.env['POSTERN_CORPORA'] ?? '../shared/corpora')
const file = resolve(corpora, 'smtp/end-of-data.json')
const published: Sequence[] = existsSync(file)
  ? (JSON.parse(readFileSync(file, 'utf8')) as Sequence[])
  : []
// Ours, so that something is tried where the corpus is absent.
const own: Sequence[] = [
  '\n.\n',
  '\n.\r\n',
  '\r\n.\n',
  '\r.\r',
  '\r\n.\r\r\n',
  '\r\n..\r\n',
  '\r\n\0.\r\n',
  '\r\n.\r\n',
].map(octets => ({
  bytes_hex: Buffer.from(octets, 'latin1').toString('hex'),
  shown: JSON.stringify(octets).slice(1, -1),
  ends_data: octets === '\r\n.\r\n',
}))

const OPENING =
  'EHLO client.example.test\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<b@partner.test>\r\nDATA\r\n'
const SMUGGLED =
  'MAIL FROM:<evil@example.test>\r\nRCPT TO:<b@partner.test>\r\nDATA\r\ntwo\r\n.\r\nNOOP\r\n'

describe.each([
  ['published', published],
  ['own', own],
] as const)('B50 %s sequences', (name, sequences) => {
  const absent = sequences.length === 0 ? ` (skipped: ${file} is absent)` : ''
  test.skipIf(absent !== '')(`B50 there are ${name} sequences${absent}`, () => {
    expect(sequences.length).toBeGreaterThan(7)
  })

  test.each(sequences)(
    `B50 ${name} $shown, split at every position: one message or a refusal`,
    async sequence => {
      const data = dataOf(sequence)
      for (let at = 0; at <= data.length; at++) {
        const seen = outcome(await converse([data.slice(0, at), data.slice(at)]))
        expect(seen, `split at ${at}`).toEqual(right(sequence))
      }
    },
  )

  test.each(sequences)(`B50 ${name} $shown, each octet alone`, async sequence => {
    const octets = Array.from(Buffer.from(dataOf(sequence), 'latin1'))
    const chunks = octets.map(octet => String.fromCharCode(octet))
    expect(outcome(await converse(chunks))).toEqual(right(sequence))
  })

  test.each(sequences)(`B50 ${name} $shown over TCP`, async sequence => {
    await using reception = await receive()
    const wire = await Wire.connect(reception.port)
    expect(await wire.reply()).toMatch(/^220/)
    wire.send(OPENING)
    for (const code of ['250', '250', '250', '354']) {
      expect(await wire.reply()).toMatch(new RegExp(`^${code}`))
    }
    wire.send(Buffer.from(`${dataOf(sequence)}QUIT\r\n`, 'latin1'))
    await wire.end()
    const heard = wire.unread.replace(/221[^\r]*\r\n$/, '')
    expect(outcome({ heard, house: reception.house })).toEqual(right(sequence))
    wire.destroy()
  })
})

test('B50 whatever is sent, nobody crashes, and only replies come back', async () => {
  const piece = fc.oneof(
    fc.constantFrom('EHLO a\r\n', 'MAIL FROM:<a@b.test>\r\n', 'RCPT TO:<c@d.test>\r\n', 'DATA\r\n'),
    fc.constantFrom('.\r\n', '\r\n', '\r', '\n', '\0', '..', 'RSET\r\n', 'NOOP\r\n', 'QUIT\r\n'),
    fc.constantFrom('AUTH PLAIN\r\n', 'STARTTLS\r\n', 'MAIL FROM:<"', ' SIZE=', 'BDAT 1\r\n'),
    fc.uint8Array({ maxLength: 20 }).map(octets => Buffer.from(octets).toString('latin1')),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 25 }), async pieces => {
      const { heard } = await converse(pieces, '')
      expect(heard).toMatch(/^(?:\d{3}[ -][ -~]*\r\n)*$/)
      expect(MemorySink.held).toBe(0)
    }),
    { numRuns: 300 },
  )
})

interface Heard {
  readonly heard: string
  readonly house: RecordingHouse
}

interface Outcome {
  readonly senders: readonly string[]
  readonly first: string | undefined
  readonly refused: boolean
}

/** Content up to the sequence, the sequence, and what somebody wishes were commands. */
function dataOf({ bytes_hex }: Sequence): string {
  return `one${Buffer.from(bytes_hex, 'hex').toString('latin1')}${SMUGGLED}`
}

/** What must come of it. Behind the true end of data the commands are commands. */
function right(sequence: Sequence): Outcome {
  const { ends_data } = sequence
  if (ends_data) {
    return { senders: ['a@example.test', 'evil@example.test'], first: 'one\r\n', refused: false }
  }
  const data = dataOf(sequence)
  if (/\r(?!\n)|(?<!\r)\n|\0/.test(data)) return { senders: [], first: undefined, refused: true }
  const first = `${data.slice(0, data.indexOf('\r\n.\r\nNOOP')).replaceAll('\r\n.', '\r\n')}\r\n`
  return { senders: ['a@example.test'], first, refused: false }
}

function outcome({ heard, house }: Heard): Outcome {
  return {
    senders: house.taken.map(({ reversePath }) => reversePath),
    first: house.taken[0]?.content.toString('latin1'),
    refused: /550 5\.5\.2[^\r]*\r\n$/.test(heard),
  }
}

/** Talks to a session without a network, so that chunks arrive exactly as they were cut. */
async function converse(chunks: readonly string[], opening = OPENING): Promise<Heard> {
  const [ours, theirs] = duplexPair()
  const house = new RecordingHouse()
  const left = Promise.withResolvers<void>()
  const desk: Desk = {
    hostname: 'gw.example.test',
    limits: DEFAULT_LIMITS,
    log: silentLog,
    house,
    authenticate: undefined,
    tellsWords: true,
    hold: () => new MemorySink(),
    left: () => left.resolve(),
  }
  const session = new Session(theirs as Socket, 's1', '192.0.2.1', desk, {
    mode: 'none',
    context: undefined,
  })
  const heard = text(ours)
  await turn()
  await turn()
  await turn()
  for (const chunk of [opening, ...chunks]) {
    ours.write(Buffer.from(chunk, 'latin1'))
    await turn()
  }
  await turn()
  ours.end()
  session.drain()
  session.end('bye')
  const words = await heard
  session.destroy()
  await left.promise
  return { heard: words.replace(/(?:221|421)[^\r]*\r\n$/, ''), house }
}
