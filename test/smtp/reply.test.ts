/** The table of replies: its codes agree, and nothing of a stranger can split a line. @module */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  formatReply,
  isPositive,
  MAX_DETAIL_OCTETS,
  REPLIES,
  type Reply,
  type ReplyName,
  reply,
  worst,
} from '../../src/smtp/reply.ts'

const names = Object.keys(REPLIES) as ReplyName[]

describe('the table', () => {
  test.each(names)('%s: class digits of both codes agree (RFC 2034 §4)', name => {
    const { code, enhanced, text }: Reply = REPLIES[name]
    const status = code >= 300 && code < 400 ? '' : `${String(code)[0]}\\.\\d{1,3}\\.\\d{1,3}`
    expect(enhanced).toMatch(new RegExp(`^${status}$`))
    expect(text).toMatch(/^[ -~]+$/)
    expect(formatReply(reply(name)).length).toBeLessThanOrEqual(512)
  })

  test('the codes that the contract names', () => {
    const codes = (name: ReplyName) => `${REPLIES[name].code} ${REPLIES[name].enhanced}`
    expect(codes('relay-denied')).toBe('550 5.7.1')
    expect(codes('bare-line-ending')).toBe('550 5.5.2')
    expect(codes('too-many-recipients')).toBe('452 4.5.3')
    expect(codes('message-too-large')).toBe('552 5.3.4')
    expect(codes('unknown-parameter')).toBe('555 5.5.4')
    expect(codes('loop')).toBe('554 5.4.6')
    expect(codes('no-signing-key')).toMatch(/^550 5\.7\./)
    expect(codes('no-signing-key-yet')).toMatch(/^451 4\.7\./)
  })
})

describe('worst', () => {
  const permanent = reply('relay-denied')
  const transient = reply('next-hop-lost')
  const good = reply('ok')

  test('5yz outweighs 4yz outweighs 2yz, of equals the first is kept', () => {
    expect(worst([good, transient, permanent])).toBe(permanent)
    expect(worst([transient, good])).toBe(transient)
    expect(worst([good, reply('delivered')])).toBe(good)
    expect(worst([transient, reply('next-hop-busy')])).toBe(transient)
  })

  test('of none there is no worst', () => {
    expect(() => worst([])).toThrow(RangeError)
  })

  test('what is neither 2yz nor 5yz weighs as much as 4yz', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999 }), code => {
        const given = { code, enhanced: '', text: '' }
        const isFive = Math.floor(code / 100) === 5
        expect(worst([transient, given])).toBe(isFive ? given : transient)
        expect(worst([given, transient])).toBe(isPositive(given) ? transient : given)
      }),
    )
  })
})

describe('detail', () => {
  test('B63 control characters, separators and bidirectional controls never reach the wire', () => {
    const text = reply('syntax', 'a\r\n250 OK\u0000\u001b[31m\u0085\u202e\u2028').text
    expect(text).toBe('syntax error in parameters: a  250 OK  [31m   ')
  })

  test('any detail gives one line of bounded length', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 1000 }), detail => {
        const line = formatReply(reply('internal-error', detail))
        expect(line.slice(0, -2)).not.toMatch(/[\r\n\0]/)
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(MAX_DETAIL_OCTETS + 60)
      }),
    )
  })
})

describe('formatReply', () => {
  test('one line, several lines, no enhanced status code', () => {
    expect(formatReply(reply('ok'))).toBe('250 2.0.0 OK\r\n')
    expect(formatReply(reply('send-data'))).toMatch(/^354 send/)
    expect(formatReply({ code: 550, enhanced: '5.1.1', text: ['no', 'such user'] })).toBe(
      '550-5.1.1 no\r\n550 5.1.1 such user\r\n',
    )
    expect(formatReply({ code: 250, enhanced: '', text: [] })).toBe('250 \r\n')
  })
})

test('every reply of the table is given somewhere', () => {
  const src = join(import.meta.dirname, '../../src')
  const given = readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') && !file.endsWith('smtp/reply.ts'))
    .map(file => readFileSync(join(src, file), 'utf8'))
    .join('')
  const unused = Object.keys(REPLIES).filter(name => !given.includes(`'${name}'`))
  expect(unused).toEqual([])
})
