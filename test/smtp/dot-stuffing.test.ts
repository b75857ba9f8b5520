/** Dot-stuffing against a plain reading of RFC 5321 §4.5.2, with every way to cut the content. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DotStuffer } from '../../src/smtp/dot-stuffing.ts'
import { unstuff } from './sink.ts'

/** Text of the octets that matter, lines ended by CRLF or not at all. */
const dotty = fc
  .array(fc.constantFrom('.', '..', 'a', 'text', '\r\n', '\r\n', '\r\n.', '\r\n.\r\n', '€'), {
    maxLength: 60,
  })
  .map(pieces => pieces.join(''))
const anywhere = fc.array(fc.nat({ max: 400 }), { maxLength: 12 })

describe('B50 what leaves is always dot-stuffed', () => {
  test('B50 stuffed and un-stuffed is the same, however it is cut', () => {
    fc.assert(
      fc.property(dotty, anywhere, (text, cuts) => {
        const content = Buffer.from(text)
        const wire = onWire(content, cuts)
        expect(wire.equals(onWire(content, []))).toBe(true)
        const whole = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`
        expect(unstuff(wire.subarray(0, -3)).toString()).toBe(whole)
      }),
      { numRuns: 500 },
    )
  })

  test('B50 CRLF.CRLF stands at the end and nowhere else', () => {
    fc.assert(
      fc.property(dotty, anywhere, (text, cuts) => {
        const wire = Buffer.concat([Buffer.from('\r\n'), onWire(Buffer.from(text), cuts)])
        expect(wire.indexOf('\r\n.\r\n')).toBe(wire.length - 5)
        for (
          let at = wire.indexOf('\r\n.');
          at < wire.length - 5;
          at = wire.indexOf('\r\n.', at + 1)
        )
          expect(wire[at + 3]).toBe(0x2e)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    '\n.\r\n',
    '\n.\n',
    '\r.\r\n',
    '\r.\r',
    'a\n.',
    'a\r\n\n.\r\n',
    '\r\r.',
    '\n..',
    'x\r.y',
  ])('B50 a dot after a lone CR or LF is refused, however it is cut: %j', text => {
    const content = Buffer.from(`From: a@b.test\r\n\r\nhello${text}\r\nMAIL FROM:<x@y.test>\r\n`)
    for (let cut = 0; cut <= content.length; cut++)
      expect(() => onWire(content, [cut])).toThrow(
        expect.objectContaining({ code: 'ERR_CONTENT_LINE_END', persistence: 'permanent' }),
      )
  })

  test.each(['\r\n.\n', '\r\n.\r', '\r\n.\r\r\n', '\r\n.\n\r\n'])(
    'B50 half an end of data after a true line end is stuffed: %j',
    text => {
      const content = Buffer.from(`hello${text}MAIL FROM:<x@y.test>\r\n`)
      for (let cut = 0; cut <= content.length; cut++)
        expect(onWire(content, [cut]).toString()).toBe(
          `hello${text.replace('\r\n.', '\r\n..')}MAIL FROM:<x@y.test>\r\n.\r\n`,
        )
    },
  )
})

test('the dot alone ends an empty content', () => {
  expect(onWire(Buffer.alloc(0), []).toString()).toBe('.\r\n')
})

test('a last line without end is given one', () => {
  expect(onWire(Buffer.from('a'), []).toString()).toBe('a\r\n.\r\n')
  expect(onWire(Buffer.from('a\r'), []).toString()).toBe('a\r\r\n.\r\n')
  expect(onWire(Buffer.from('a\n'), []).toString()).toBe('a\n\r\n.\r\n')
})

test('a chunk without dots to be stuffed is not copied', () => {
  const chunk = Buffer.from('no dot. at the start\r\nof any line.\r\n')
  expect(new DotStuffer().stuff(chunk)).toBe(chunk)
})

test.each(['.\r\n', '..\r\n', `${'x'.repeat(60)}\r\n.\r\n`])(
  'time grows with length alone: lines of %j',
  line => {
    const content = Buffer.from(line.repeat(4_000_000 / line.length))
    const stuffer = new DotStuffer()
    const began = performance.now()
    for (let at = 0; at < content.length; at += 65_536)
      stuffer.stuff(content.subarray(at, at + 65_536))
    // 4 MB; the slowest case takes some 30 ms alone on a machine.
    expect(performance.now() - began).toBeLessThan(1_000)
  },
)

function onWire(content: Buffer, cuts: readonly number[]): Buffer {
  const stuffer = new DotStuffer()
  const places = [0, ...cuts.map(cut => Math.min(cut, content.length)), content.length].sort(
    (a, b) => a - b,
  )
  const chunks = places.slice(1).map((end, i) => content.subarray(places[i], end))
  return Buffer.concat([...chunks.map(chunk => stuffer.stuff(chunk)), stuffer.finish()])
}
