/**
 * What can happen to a signed message on its way, by accident and by design.
 *
 *     altered(message, { random, others }) ──▶ one alteration; every third time one more, and so on
 *
 * @module
 */
import { base64Lines } from '../../src/mail/base64.ts'
import { played } from './ber-games.ts'
import type { Random } from './random.ts'

export interface Altering {
  readonly random: Random
  /** Signed messages that pieces may be taken from. */
  readonly others: readonly Buffer[]
}

/**
 * A message with another SignedData in the place of its own.
 *
 * @returns `undefined` where none is found, or what it is to be throws.
 */
export function resigned(
  message: Buffer,
  alter: (signature: Buffer) => Buffer,
): Buffer | undefined {
  const found = located(message)
  if (!found) return undefined
  try {
    const lines = base64Lines(alter(found.signature))
    return Buffer.concat([message.subarray(0, found.start), lines, message.subarray(found.end)])
  } catch {
    return undefined
  }
}

type Alteration = (message: Buffer, altering: Altering) => Buffer

/** A message that is not what it was. */
export function altered(message: Buffer, altering: Altering): Buffer {
  const { random } = altering
  let octets = message
  do octets = random.pick(ALTERATIONS)(octets, altering)
  while (octets.equals(message) || random.once(3))
  return octets
}

const PIECES = [
  ...['\r\n', '\r\n\r\n', ' ', '\t', '=', '"', ';', ':', '(', ')', '\0', 'MIIA', '\r\n '],
  ...['--bound\r\n', '--bound--\r\n', '--=_signed_\r\n', '--=_signed_--\r\n', '--in\r\n'],
  ...['Content-Type: text/plain\r\n', 'Content-Type: multipart/mixed; boundary=in\r\n'],
  ...['Content-Transfer-Encoding: base64\r\n', 'Content-Transfer-Encoding: binary\r\n'],
  ...[
    'boundary=z',
    '; boundary="in"',
    "; boundary*=us-ascii''in",
    '; boundary*0=in',
    '; micalg=md5',
  ],
  ...['From: eve@evil.test\r\n', 'From: Ann <ann@partner.test>, eve@evil.test\r\n'],
  ...['Sender: eve@evil.test\r\n', 'MIME-Version: 1.0\r\n', 'Subject: other words\r\n'],
]

/** Fields that stand on top of a message. */
const FIELDS = [
  'X-Note: nothing',
  'Received: from a.test by b.test; Tue, 24 Nov 2026 00:00:00 +0000',
  'Content-Description: signed',
  'content-type: text/plain',
  'Content-Type : text/plain',
  'Content-Transfer-Encoding: base64',
  'From: Eve <eve@evil.test>',
  'FROM:ann@partner.test',
  'Reply-To: eve@evil.test',
  'Sender: ann@partner.test',
  'MIME-Version: 1.0 (of old)',
  'Authentication-Results: gw.example.test; smime=pass',
  'X-Folded: one\r\n two\r\n\tthree',
  'not a field at all',
]

const ALTERATIONS: readonly Alteration[] = [
  withOctet,
  (octets, { random }) => flipped(octets, random),
  byLines((lines, one) => lines.splice(one, 1)),
  byLines((lines, one, other) => lines.splice(one, 0, lines[other]!)),
  byLines((lines, one, other) => {
    ;[lines[one], lines[other]] = [lines[other]!, lines[one]!]
  }),
  byLines((lines, one, _, random) => {
    lines[one] += random.pick([' ', '\t', '=', '  ', '=20'])
  }),
  byLines((lines, one, _, random) => {
    const cut = random.below(lines[one]!.length + 1)
    lines.splice(one, 1, lines[one]!.slice(0, cut), lines[one]!.slice(cut))
  }),
  byLines((lines, one) => lines.splice(one, 2, lines.slice(one, one + 2).join(''))),
  inserted,
  (octets, { random }) => {
    const at = random.below(octets.length + 1)
    return Buffer.concat([octets.subarray(0, at), octets.subarray(at + random.below(40))])
  },
  (octets, { random }) => octets.subarray(0, random.below(octets.length + 1)),
  (octets, { random, others }) => {
    const other = random.pick(others)
    const at = random.below(Math.min(octets.length, other.length))
    return Buffer.concat([octets.subarray(0, at), other.subarray(at)])
  },
  withField,
  withField,
  byHeaderLine(name => name.toUpperCase()),
  byHeaderLine((name, body) => `${name}:\r\n${body || ' '}`),
  byHeaderLine(
    (name, body, random) => `${name}:${body}${random.pick([';', ' (x)', '; a=b', ' '])}`,
  ),
  byHeaderLine((name, body) => `${name}:${body.replace('; ', ';\r\n\t')}`),
  byHeaderLine((name, body) => `${name}:${body.replaceAll('"', '')}`),
  byHeaderLine((name, body) => `${name}:${body.toUpperCase()}`),
  byParts((parts, random) => parts.splice(random.below(parts.length), 0, random.pick(parts))),
  byParts(parts => parts.reverse()),
  byParts((parts, random) => parts.splice(random.below(parts.length), 1)),
  byParts((parts, random) => {
    parts.splice(random.below(parts.length + 1), 0, 'Content-Type: text/html\r\n\r\n<b>pay</b>')
  }),
  byParts((parts, random) => {
    parts[0] = random.pick([`\r\n${parts[0]!}`, `${parts[0]!}\r\n`, ` ${parts[0]!}`])
  }),
  inMultipart,
  withFraming,
  withSignature((signature, { random }) => withOctet(signature, { random, others: [] })),
  withSignature((signature, { random }) => flipped(signature, random)),
  ...Array.from({ length: 4 }, () => withSignature((octets, { random }) => played(octets, random))),
  withSignature((signature, { random, others }) => {
    const other = located(random.pick(others))
    return other ? other.signature : signature
  }),
  withSignature((signature, { random }) => Buffer.concat([signature, random.octets(3)])),
  base64Noise,
  base64Noise,
]

function withOctet(octets: Buffer, { random }: Altering): Buffer {
  const copy = Buffer.from(octets)
  if (copy.length > 0) copy[random.below(copy.length)] = random.below(256)
  return copy
}

function flipped(octets: Buffer, random: Random): Buffer {
  const copy = Buffer.from(octets)
  if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
  return copy
}

function inserted(octets: Buffer, { random }: Altering): Buffer {
  const at = random.below(octets.length + 1)
  const piece = Buffer.from(random.pick(PIECES))
  return Buffer.concat([octets.subarray(0, at), piece, octets.subarray(at)])
}

function byLines(
  alter: (lines: string[], one: number, other: number, random: Random) => unknown,
): Alteration {
  return (octets, { random }) => {
    const lines = octets.toString('latin1').split('\r\n')
    alter(lines, random.below(lines.length), random.below(lines.length), random)
    return Buffer.from(lines.join('\r\n'), 'latin1')
  }
}

/** On top, among the others, or at their end. */
function withField(octets: Buffer, { random }: Altering): Buffer {
  const text = octets.toString('latin1')
  const lines = text.split('\r\n')
  const end = Math.max(lines.indexOf(''), 0)
  lines.splice(random.pick([0, random.below(end + 1), end]), 0, random.pick(FIELDS))
  return Buffer.from(lines.join('\r\n'), 'latin1')
}

/** Any line that looks like a field, in whichever header section. */
function byHeaderLine(alter: (name: string, body: string, random: Random) => string): Alteration {
  return byLines((lines, _one, _other, random) => {
    const fields = lines.flatMap((line, at) => (/^[\w-]+:/.test(line) ? [at] : []))
    if (fields.length === 0) return
    const at = random.pick(fields)
    const [, name, body] = /^([\w-]+):(.*)$/.exec(lines[at]!) ?? []
    if (name !== undefined) {
      const changed = alter(name, body!, random)
      lines[at] = changed.includes(':') ? changed : `${changed}:${body!}`
    }
  })
}

/** The parts of the outermost multipart, whatever is in them. */
function byParts(alter: (parts: string[], random: Random) => unknown): Alteration {
  return (octets, { random }) => {
    const text = octets.toString('latin1')
    const boundary = /boundary="?([^"\r\n;]+)/i.exec(text)?.[1]
    if (boundary === undefined) return octets
    const [head, ...rest] = text.split(new RegExp(`(?<=\r\n)--${escaped(boundary)}\r\n`))
    const last = rest.at(-1)?.split(`\r\n--${boundary}--`)
    if (last?.length !== 2) return octets
    const parts = [...rest.slice(0, -1).map(part => part.slice(0, -2)), last[0]!]
    alter(parts, random)
    const again = parts.map(part => `--${boundary}\r\n${part}\r\n`).join('')
    return Buffer.from(`${head}${again}--${boundary}--${last[1]!}`, 'latin1')
  }
}

/** Around the whole of it, as mailing lists do: alone, or beside something. */
function inMultipart(octets: Buffer, { random }: Altering): Buffer {
  const text = octets.toString('latin1')
  const at = text.search(/^content-type:/im)
  if (at < 0) return octets
  const beside = 'Content-Type: text/plain\r\n\r\nof the list\r\n'
  const parts = random.pick([[text.slice(at)], [text.slice(at), beside], [beside, text.slice(at)]])
  const type = random.pick(['multipart/mixed', 'multipart/related', 'multipart/signed'])
  const whole = parts.map(part => `--list\r\n${part}\r\n`).join('')
  const head = `${text.slice(0, at)}Content-Type: ${type}; boundary=list\r\n\r\n`
  return Buffer.from(`${head}${whole}--list--\r\n`, 'latin1')
}

/** Ahead of the first delimiter line, or behind the last. */
function withFraming(octets: Buffer, { random }: Altering): Buffer {
  const text = octets.toString('latin1')
  const words = random.pick([
    'preamble\r\n',
    '\r\n',
    '<html>\r\n',
    'Content-Type: text/plain\r\n\r\n',
  ])
  const at = random.once(2) ? text.indexOf('\r\n\r\n') + 4 : text.length
  return Buffer.from(text.slice(0, at) + words + text.slice(at), 'latin1')
}

/** The SignedData, which stays whole base64. */
function withSignature(alter: (signature: Buffer, altering: Altering) => Buffer): Alteration {
  return (message, altering) =>
    resigned(message, signature => alter(signature, altering)) ?? withOctet(message, altering)
}

/** Octets that mean nothing in base64, or something to some readers. */
function base64Noise(message: Buffer, { random }: Altering): Buffer {
  const found = located(message)
  if (!found) return message
  const noise = random.pick([
    '=',
    '==',
    ' ',
    '\t',
    '\r\n',
    '\r\n\r\n',
    '-',
    '_',
    '*',
    '.',
    'A',
    'AAAA',
  ])
  const at = random.pick([found.start, found.end, random.between(found.start, found.end)])
  return Buffer.concat([message.subarray(0, at), Buffer.from(noise), message.subarray(at)])
}

/** The longest run of base64 that begins as a SEQUENCE does. */
function located(message: Buffer): { start: number; end: number; signature: Buffer } | undefined {
  const text = message.toString('latin1')
  const runs = [...text.matchAll(/(?<=\r\n\r\n)\s*M[A-Za-z0-9+/=\s]{200,}/g)]
  const run = runs.toSorted((one, other) => other[0].length - one[0].length)[0]
  if (!run) return undefined
  const octets = run[0].trimEnd()
  const start = run.index
  return { start, end: start + octets.length, signature: Buffer.from(octets, 'base64') }
}

function escaped(text: string): string {
  return text.replace(/[^\w]/g, '\\$&')
}
