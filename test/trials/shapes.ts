/**
 * MIME entities of many shapes, by chance: what honest mail programs write, and what they could.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { base64Lines } from '../../src/mail/base64.ts'
import type { Random } from './random.ts'

/** An entity whose lines end in CRLF, in 7 bits unless `eightBit`. */
export function shape(random: Random, eightBit: boolean, depth = 0): Buffer {
  if (depth < 4 && random.below(3) === 0) return multipart(random, eightBit, depth)
  if (depth > 0 && random.below(12) === 0) return enclosed(random, eightBit, depth)
  return random.pick(LEAVES)(random, eightBit)
}

type Leaf = (random: Random, eightBit: boolean) => Buffer

const LEAVES: readonly Leaf[] = [
  (random, eightBit) => {
    const charset = eightBit ? 'utf-8' : 'us-ascii'
    const body = lines(random, eightBit)
    return Buffer.from(
      `${field(random, `text/plain; charset=${charset}`)}${bits(eightBit)}\r\n${body}`,
    )
  },
  random => {
    const encoding = random.pick(['quoted-printable', 'Quoted-Printable'])
    const body = 'Gr=C3=BC=C3=9Fe =E2=82=AC 5=20\r\n=\r\nsoft=\r\nend =3D=3D\r\n'.repeat(
      random.between(1, 9),
    )
    return Buffer.from(
      `${field(random, 'text/html; charset="utf-8"')}Content-Transfer-Encoding: ${encoding}\r\n\r\n${body}`,
    )
  },
  random => {
    const name = random.pick(['a.pdf', 'name with blanks.bin', '=?utf-8?q?f=C3=BCr?=.zip'])
    const head = `${field(random, `application/octet-stream; name="${name}"`)}Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n\tfilename="${name}"\r\n\r\n`
    return Buffer.concat([Buffer.from(head), base64Lines(randomBytes(random.between(0, 4_000)))])
  },
  random => Buffer.from(`\r\n${lines(random, false)}`),
  random => {
    const body = 'BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n'
    return Buffer.from(
      `${field(random, 'text/calendar; method=REQUEST; charset=us-ascii')}\r\n${body}`,
    )
  },
]

function multipart(random: Random, eightBit: boolean, depth: number): Buffer {
  const boundary =
    random.pick(['=_', 'b', "a'()+_,-./:=?b", '----=_Part']) + random.below(1_000_000)
  const kind = random.pick(['mixed', 'alternative', 'related', 'report; report-type=x'])
  const parts = Array.from({ length: random.between(1, 4) }, () =>
    shape(random, eightBit, depth + 1),
  )
  const preamble = random.below(4) === 0 ? 'This is a message in several parts.\r\n' : ''
  const type = `${field(random, `multipart/${kind}; boundary="${boundary}"`)}${bits(eightBit)}\r\n${preamble}`
  const delimited = parts.flatMap(part => [Buffer.from(`--${boundary}\r\n`), part, CRLF])
  return Buffer.concat([Buffer.from(type), ...delimited, Buffer.from(`--${boundary}--\r\n`)])
}

function enclosed(random: Random, eightBit: boolean, depth: number): Buffer {
  const head = `From: somebody@elsewhere.test\r\nSubject: ${'long '.repeat(random.between(1, 12))}\r\n`
  const inner = shape(random, eightBit, depth + 2)
  return Buffer.concat([
    Buffer.from(
      `${field(random, 'message/rfc822')}${bits(eightBit)}\r\n${head}MIME-Version: 1.0\r\n`,
    ),
    inner,
  ])
}

function field(random: Random, type: string): string {
  const fold = random.pick([' ', '\r\n ', '\r\n\t', '  '])
  return `Content-Type: ${type.replaceAll('; ', `;${fold}`)}\r\n`
}

function bits(eightBit: boolean): string {
  return eightBit ? 'Content-Transfer-Encoding: 8bit\r\n' : ''
}

function lines(random: Random, eightBit: boolean): string {
  const count = random.between(0, 30)
  return Array.from({ length: count }, () => `${line(random, eightBit)}\r\n`).join('')
}

function line(random: Random, eightBit: boolean): string {
  const choices = [
    '',
    '.',
    '..',
    '.dot',
    'From me',
    '-- ',
    'trailing   ',
    '\ttab\t',
    'plain words',
    '--',
    '=20',
    'x'.repeat(random.between(1, 900)),
  ]
  return random.pick(eightBit ? [...choices, 'Grüße, 5 €', '日本語'] : choices)
}

const CRLF = Buffer.from('\r\n')
