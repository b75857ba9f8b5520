import { isAscii } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBase64 } from '../../src/mail/base64.ts'
import { type Entity, leaves, walk } from '../../src/mail/entity.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { decodeQuotedPrintable } from '../../src/mail/quoted-printable.ts'
import { prepare } from '../../src/mail/seven-bit.ts'
import { gather } from '../support/chunks.ts'
import { held } from './held.ts'

describe('what is safe already', () => {
  test('stays octet for octet, without a walk', async () => {
    const message =
      'Subject: x\nContent-Type: multipart/mixed; boundary=b\nX-A: 1\n\npre\n--b\n\n \n.\n--b--\nend\n'
    const content = held(crlf(message))
    const reads: (number | undefined)[] = []
    const section = parseHeaderSection(crlf(message))
    const watched = {
      ...content,
      read(start?: number) {
        reads.push(start)
        return content.read(start)
      },
    }
    const result = await prepare(watched, section)
    const octets = (await gather(result.octets())).toString('latin1').replaceAll('\r\n', '\n')
    expect(result.kind).toBe('as-is')
    expect(reads).toEqual([section.bodyOffset])
    expect(octets).toBe(
      'Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\n \n.\n--b--\nend\n',
    )
  })

  test('stays octet for octet where only an outer field is 8-bit', async () => {
    const { kind, octets } = await prepared(
      'Subject: \xe4\nContent-Type: text/html\nContent-Transfer-Encoding: 7bit\n\nx\n',
    )
    expect(kind).toBe('as-is')
    expect(octets).toBe('Content-Type: text/html\nContent-Transfer-Encoding: 7bit\n\nx\n')
  })

  test.each([
    ['Subject: x\n\ntext\n', 'Content-Type: text/plain; charset=us-ascii\n\ntext\n'],
    ['Subject: x\n\n', 'Content-Type: text/plain; charset=us-ascii\n\n'],
    ['Subject: x\n', 'Content-Type: text/plain; charset=us-ascii\n\n'],
    ['\n', 'Content-Type: text/plain; charset=us-ascii\n\n'],
    ['Content-Language: de\n\n', 'Content-Language: de\n\n'],
  ])('%j becomes %j', async (message, entity) => {
    expect(await prepared(message)).toMatchObject({ kind: 'as-is', octets: entity })
  })
})

test('a body that begins at once, without a blank line, gets one', async () => {
  const line =
    'Content-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable'
  expect(await prepared('no field \xe4\n')).toMatchObject({ octets: `${line}\n\nno field =E4\n` })
  const part = (body: string): string =>
    `Content-Type: multipart/mixed; boundary=b\n\n--b\n${body}\n--b--\n`
  expect(await prepared(part('no field \xe4'))).toMatchObject({
    octets: part('Content-Transfer-Encoding: quoted-printable\n\nno field =E4'),
  })
})

test('an attached message that begins at once, without a blank line, gets one', async () => {
  const inner =
    'MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n' +
    'Content-Transfer-Encoding: quoted-printable\n\nno field =E4'
  const part = (type: string, body: string): string =>
    `Content-Type: multipart/${type}; boundary=b\n\n--b\n${body}\n--b--\n`
  const header = 'Content-Type: message/rfc822'
  expect(await prepared(part('mixed', `${header}\nno field \xe4`))).toMatchObject({
    octets: part('mixed', `${header}\n\n${inner}`),
  })
  // RFC 2046 §5.1.5: in a digest a part is a message, also without a header section.
  expect(await prepared(part('digest', 'no field \xe4'))).toMatchObject({
    octets: part('digest', `\n${inner}`),
  })
})

test('a preamble that begins at once stays a preamble when it is altered', async () => {
  const inner = (preamble: string): string =>
    `${preamble}\nContent-Type: text/html\n\n--c\n\nx\n--c--\n`
  const outer = (part: string): string =>
    `Content-Type: multipart/mixed; boundary=b\n\n--b\n${part}\n--b--\n`
  const header = 'Content-Type: multipart/mixed; boundary=c'
  expect(await prepared(outer(`${header}\n${inner('\xe4: x')}`))).toMatchObject({
    octets: outer(`${header}\n\n${inner('?: x')}`),
  })
})

describe('B77 what a relay could alter is 7-bit before it is signed', () => {
  test.each([
    ['a text without a type', 'A: 1\n\ngr\xc3\xbc\xc3\x9fe\n', TEXT('utf-8', 'gr=C3=BC=C3=9Fe')],
    ['a text in who knows what', 'A: 1\n\ngr\xfc\xdfe\n', TEXT('unknown-8bit', 'gr=FC=DFe')],
    [
      'a text that says what it is',
      'Content-Type: text/plain; charset=latin1\nA: 1\nContent-Transfer-Encoding: 8bit\n\ngr\xfc\xdfe \n.\n',
      'Content-Type: text/plain; charset=latin1\nContent-Transfer-Encoding: quoted-printable\n\ngr=FC=DFe=20\n=2E\n',
    ],
    [
      'other octets',
      'Content-Type: image/x\nContent-Transfer-Encoding: binary\n\n\xff\xfe\n',
      'Content-Type: image/x\nContent-Transfer-Encoding: base64\n\n//4NCg==\n',
    ],
    [
      'quoted-printable with an octet that ought to be quoted',
      'Content-Transfer-Encoding: quoted-printable\n\n=E4\xe4=\n \n',
      'Content-Transfer-Encoding: quoted-printable\n\n=E4=E4=\n \n',
    ],
  ])('%s', async (_, message, entity) => {
    expect(await prepared(message)).toMatchObject({ kind: 're-encoded', octets: entity })
  })

  test('leaf for leaf, with all other octets as they were', async () => {
    const rest =
      '--b\nContent-Type: text/plain;charset="x"\nContent-transfer-encoding:8BIT\n\nsafe \n--b'
    const { kind, octets } = await prepared(
      `Content-Type: multipart/mixed;\n boundary=b\nContent-Transfer-Encoding: 8bit\n\npre\n${rest}\nContent-Type: text/plain\n\n\xe4\n--b--\nepi\n`,
    )
    expect(kind).toBe('re-encoded')
    expect(octets).toBe(
      `Content-Type: multipart/mixed;\n boundary=b\nContent-Transfer-Encoding: 7bit\n\npre\n${rest}\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=E4\n--b--\nepi\n`,
    )
  })

  test('in an attached message too, which then needs fields to say so', async () => {
    const { octets } = await prepared(
      'Content-Type: message/rfc822\nContent-Transfer-Encoding: binary\n\nSubject: in\n\n\xc3\xa4\n',
    )
    expect(octets).toBe(
      'Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: in\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4\n',
    )
  })

  test('base64 in one long line is wrapped', async () => {
    const body = Buffer.alloc(3000, 'postern').toString('base64')
    const { kind, octets } = await prepared(
      `Content-Type: image/x\nContent-Transfer-Encoding: base64\n\n${body}\n`,
    )
    expect(kind).toBe('re-encoded')
    const lines = octets.split('\n').slice(3)
    expect(lines.join('')).toBe(body)
    expect(Math.max(...lines.map(line => line.length))).toBe(76)
  })

  test('a preamble and an epilogue lose what offends, and gain no delimiter', async () => {
    const long = 'x'.repeat(1200)
    const message = (preamble: string): string =>
      `Content-Type: multipart/mixed; boundary="b?"\n\n${preamble}\n--b?\n\ny\n--b?--\n${preamble}\n`
    const { octets } = await prepared(message(`gr\xfc\xdfe\n--b\xe4\n${long}\nstays`))
    expect(octets).toBe(message('gr??e\n\n\nstays'))
  })

  test('fields of parts say in another way what people read in them', async () => {
    const part = (fields: string): string =>
      `Content-Type: multipart/mixed; boundary=b\n\n--b\n${fields}\n\nx\n--b--\n`
    const { octets } = await prepared(
      part(
        'Content-Type: text/plain; charset=utf-8; name="f\xc3\xbcr dich; \\"x\\".txt"\nContent-Description: sch\xc3\xb6n\nContent-Disposition: inline; filename=\xc3\xbc; filename*=utf-8\'\'x',
      ),
    )
    expect(octets).toBe(
      part(
        "Content-Type: text/plain;\n\tcharset=utf-8;\n\tname*=utf-8''f%C3%BCr%20dich%3B%20%22x%22.txt\nContent-Description: =?utf-8?B?c2Now7Zu?=\nContent-Disposition: inline;\n\tfilename*=utf-8''x",
      ),
    )
  })

  test('a field that is too long is folded where it has white space', async () => {
    const words = `${'word '.repeat(300)}end`
    const { kind, octets } = await prepared(
      `Content-Type: x/y\nContent-Description: ${words}\n\nz\n`,
    )
    expect(kind).toBe('re-encoded')
    expect(octets.replaceAll('\n ', ' ')).toBe(
      `Content-Type: x/y\nContent-Description: ${words}\n\nz\n`,
    )
    expectSafe(Buffer.from(octets))
  })
})

describe('B77 what may not be touched and is not safe makes a clear signature unsafe', () => {
  const multipart = (type: string, part: string): string =>
    `Content-Type: ${type}; boundary=b\n\n--b\n${part}\n--b--\n`
  test.each([
    ['a signed part', multipart('multipart/signed', '\n\xe4')],
    ['an encrypted part', multipart('multipart/encrypted', '\n\xe4')],
    [
      'a signed part deep inside',
      multipart(
        'multipart/mixed',
        `Content-Type: message/rfc822\n\n${multipart('multipart/signed', '\n\xe4').replaceAll('b', 'c')}`,
      ),
    ],
    ['an S/MIME message', 'Content-Type: application/pkcs7-mime\n\n\xe4\n'],
    ['a part of a message', 'Content-Type: message/partial\n\n\xe4\n'],
    ['a message elsewhere', 'Content-Type: message/external-body\n\n\xe4\n'],
    ['an internationalised message', 'Content-Type: message/global\n\nSubject: \xc3\xa4\n\nx\n'],
    ['a report', 'Content-Type: message/delivery-status\n\nX: \xe4\n'],
    ['a field of an attached message', 'Content-Type: message/rfc822\n\nSubject: \xc3\xa4\n\nx\n'],
    ['a name in who knows what charset', 'Content-Disposition: x; filename="\xe4"\n\nx\n'],
    [
      'a boundary',
      'Content-Type: multipart/mixed; boundary="\xc3\xa4"\n\n--\xc3\xa4\n\nx\n--\xc3\xa4--\n',
    ],
    [
      'a boundary in 7 bits, of 8',
      "Content-Type: multipart/mixed; boundary*=utf-8''%C3%A4\n\n--\xc3\xa4\n\nx\n--\xc3\xa4--\n",
    ],
    [
      'a delimiter line',
      `Content-Type: multipart/mixed; boundary=b\n\n--b${' '.repeat(999)}\n\nx\n--b--\n`,
    ],
    [
      'an attached message that claims to be quoted-printable',
      'Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nSubject: in\n\n\xe4\n',
    ],
    [
      'an attached message that claims to be base64',
      `Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n${'QUJD'.repeat(250)}\n`,
    ],
    ['a multipart without a boundary', 'Content-Type: multipart/mixed\n\n\xe4\n'],
    ['a multipart without parts', 'Content-Type: multipart/mixed; boundary=b\n\n\xe4\n'],
    [
      'a multipart that claims to be encoded',
      `Content-Transfer-Encoding: base64\n${multipart('multipart/mixed', '\n\xe4')}`,
    ],
    ['an encoding that nobody knows', 'Content-Transfer-Encoding: x-uuencode\n\n\xe4\n'],
    ['base64 that is none', 'Content-Transfer-Encoding: base64\n\nQUFB\xe4\n'],
  ])('%s', async (_, message) => {
    const { kind, octets, reason } = await prepared(`Subject: x\n${message}`)
    expect(kind).toBe('unsafe')
    expect(reason).toMatch(/at octet \d+ could be altered/)
    expect(octets).toBe(message)
  })

  test('where it is safe, the other parts are re-encoded beside it', async () => {
    const signed = multipart('multipart/signed', 'A: 1\n\nsafe').replaceAll('b', 'c')
    const { kind, octets } = await prepared(multipart('multipart/mixed', `\n\xe4\n--b\n${signed}`))
    expect(kind).toBe('re-encoded')
    expect(octets).toContain(signed)
  })
})

test('B77 any message comes out 7-bit, its leaves decode to the same, safe ones are the same', async () => {
  await fc.assert(
    fc.asyncProperty(tree(3), fc.integer({ min: 1, max: 3000 }), async (part, size) => {
      const octets = Buffer.from(`Subject: x\r\nMIME-Version: 1.0\r\n${part}`, 'latin1')
      const content = held(octets, size)
      const result = await prepare(content, parseHeaderSection(octets))
      expect(result.kind).not.toBe('unsafe')
      const entity = await gather(result.octets())
      expectSafe(entity)
      expect(await leavesOf(entity)).toEqual(await leavesOf(octets))
      await expectSafeLeavesUntouched(octets, entity)
    }),
    { numRuns: 150 },
  )
})

test('a large attachment is encoded in constant memory', async () => {
  const chunk = Buffer.alloc(65_536, 0xff)
  const head = Buffer.from('Content-Type: image/x\r\n\r\n')
  const chunks = 1600
  const content = {
    sizeOctets: head.length + chunks * chunk.length,
    shape: { eightBit: true, longestLineOctets: 30 },
    async *read(start = 0, end = Number.POSITIVE_INFINITY) {
      if (start === 0) yield head
      for (let at = head.length; at < Math.min(end, content.sizeOctets); at += chunk.length)
        yield chunk
    },
    dispose() {},
  }
  const before = process.memoryUsage().arrayBuffers
  let peak = 0
  const result = await prepare(content, parseHeaderSection(head))
  let size = 0
  for await (const piece of result.octets()) {
    size += piece.length
    peak = Math.max(peak, process.memoryUsage().arrayBuffers)
  }
  expect(size).toBeGreaterThan(content.sizeOctets)
  // What is no longer in use may wait for the collector.
  expect(peak - before).toBeLessThan(content.sizeOctets)
})

interface Outcome {
  readonly kind: string
  /** With LF as line ends. */
  readonly octets: string
  readonly reason: string | undefined
}

async function prepared(message: string): Promise<Outcome> {
  const octets = crlf(message)
  const result = await prepare(held(octets), parseHeaderSection(octets))
  const entity = await gather(result.octets())
  if (result.kind !== 'unsafe') expectSafe(entity)
  return {
    kind: result.kind,
    octets: entity.toString('latin1').replaceAll('\r\n', '\n'),
    reason: 'reason' in result ? result.reason : undefined,
  }
}

function crlf(message: string): Buffer {
  return Buffer.from(message.replaceAll('\n', '\r\n'), 'latin1')
}

function TEXT(charset: string, line: string): string {
  return `Content-Type: text/plain; charset=${charset}\nContent-Transfer-Encoding: quoted-printable\n\n${line}\n`
}

function expectSafe(octets: Buffer): void {
  expect(isAscii(octets)).toBe(true)
  const lines = octets.toString('latin1').split(/\r?\n/)
  expect(lines.reduce((longest, line) => Math.max(longest, line.length), 0)).toBeLessThan(999)
}

/** Types and decoded bodies. */
async function leavesOf(octets: Buffer): Promise<[string, string][]> {
  const decoded: [string, string][] = []
  for (const leaf of leaves(await walk(held(octets)))) {
    const body = octets.subarray(leaf.bodyStart, leaf.end)
    decoded.push([leaf.mediaType.essence, (await decode(leaf, body)).toString('latin1')])
  }
  return decoded
}

async function decode({ transferEncoding }: Entity, body: Buffer): Promise<Buffer> {
  if (transferEncoding === 'base64') return await gather(decodeBase64(held(body).read()))
  if (transferEncoding !== 'quoted-printable') return body
  return await gather(decodeQuotedPrintable(held(body).read()))
}

async function expectSafeLeavesUntouched(before: Buffer, after: Buffer): Promise<void> {
  const [was, is] = [await walk(held(before)), await walk(held(after))]
  const after1 = [...leaves(is)]
  for (const [index, leaf] of [...leaves(was)].entries()) {
    const { eightBit, longestLineOctets } = leaf.shape
    if (eightBit || longestLineOctets > 998 || leaf === was) continue
    const same = after1[index]!
    expect(after.subarray(same.start, same.end)).toEqual(before.subarray(leaf.start, leaf.end))
  }
}

/** A part with its fields, CRLF as line ends, in which nothing is untouchable. */
function tree(depth: number): fc.Arbitrary<string> {
  const label = fc.constantFrom('', 'Content-Transfer-Encoding: 8bit\r\n')
  if (depth === 0) return leaf()
  const multipart = fc
    .tuple(fc.array(tree(depth - 1), { minLength: 1, maxLength: 3 }), label, text(), fc.boolean())
    .map(([parts, encoding, around, isClosed]) => {
      const b = `=_${depth}`
      const body = parts.map(part => `--${b}\r\n${part}\r\n`).join('')
      const end = isClosed ? `--${b}--\r\n${around}` : ''
      return `Content-Type: multipart/mixed; boundary="${b}"\r\n${encoding}\r\n${around}\r\n${body}${end}`
    })
  const message = tree(depth - 1).map(
    part => `Content-Type: message/rfc822\r\n\r\nTo: a\r\n${part}`,
  )
  return fc.oneof({ weight: 2, arbitrary: leaf() }, { weight: 3, arbitrary: multipart }, message)
}

function leaf(): fc.Arbitrary<string> {
  const type = fc.constantFrom(
    '',
    'Content-Type: text/plain; charset=utf-8\r\n',
    'Content-Type: application/x\r\nContent-Disposition: attachment\r\n',
    'content-transfer-encoding: binary\r\nX: y\r\n',
  )
  const encoded = text().map(
    body =>
      `Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(body).toString('base64')}`,
  )
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(type, text()).map(([fields, body]) => `${fields}\r\n${body}`),
    },
    encoded,
  )
}

function text(): fc.Arbitrary<string> {
  const piece = fc.constantFrom(
    '\r\n',
    'word ',
    '\t',
    '\xfc',
    '.',
    'From ',
    '--',
    '=',
    '\r\n\r\n',
    '\xff',
  )
  const run = fc
    .tuple(piece, fc.constantFrom(1, 1, 1, 3, 80, 700))
    .map(([each, n]) => each.repeat(n))
  return fc.array(run, { maxLength: 8 }).map(runs => runs.join(''))
}
