/** Command lines: what is understood, and that nothing takes longer than its length. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isRefusal, parseCommand, parseMail, parseRcpt } from '../../src/smtp/command.ts'

const mail = (line: string) => parseMail(parseCommand(Buffer.from(line))!, true)
const rcpt = (line: string, utf8 = false) => parseRcpt(parseCommand(Buffer.from(line))!, true, utf8)

describe('parseMail', () => {
  test('path and parameters, as they came', () => {
    const read = mail('mail from:<"a > b"@example.test> size=12 BODY=8bitmime ENVID=a+2Bb')
    expect(read).toMatchObject({ reversePath: { localPart: 'a > b', domain: 'example.test' } })
    const parameters = isRefusal(read) ? undefined : Object.fromEntries(read.parameters)
    expect(parameters).toEqual({ SIZE: '12', BODY: '8bitmime', ENVID: 'a+2Bb' })
  })

  test.each([
    ['MAIL FROM:<a@b.test> FOO', 555],
    ['MAIL FROM:<a@b.test> __PROTO__=1', 555],
    ['MAIL FROM:<a@b.test> CONSTRUCTOR', 555],
    ['MAIL FROM:<a@b.test> SIZE=1 SIZE=2', 501],
    ['MAIL FROM:<a@b.test> ENVID=a+0', 501],
    ['MAIL FROM:<a@b.test> ENVID=a=b', 501],
    ['MAIL FROM:<a@b.test> RET=BODY', 501],
    ['MAIL FROM:<a@b.test', 501],
    ['MAIL FROM:<"a@b.test>', 501],
    ['MAIL TO:<a@b.test>', 501],
    ['MAIL', 501],
  ])('%s is %i', (line, code) => {
    expect(mail(line)).toMatchObject({ code })
  })
})

describe('parseRcpt', () => {
  test('an internationalised ORCPT only where MAIL asked (RFC 6533 §3)', () => {
    const line = 'RCPT TO:<b@c.test> ORCPT=utf-8;m\u00fcller@c.test'
    expect(rcpt(line)).toMatchObject({ code: 553, enhanced: '5.6.7' })
    expect(isRefusal(rcpt(line, true))).toBe(false)
  })
})

test('what is not UTF-8 is no command', () => {
  expect(parseCommand(Buffer.from('MAIL FROM:<\u00fc@b.test>', 'latin1'))).toBeUndefined()
})

test('any line is read or refused, never thrown at', () => {
  const junk = fc.string({ unit: 'binary', maxLength: 200 })
  fc.assert(
    fc.property(junk, fc.constantFrom('', '<', '<a@b.test>', '<a@b.test> '), (text, start) => {
      for (const read of [
        mail(`MAIL FROM:${start}${text}`),
        rcpt(`RCPT TO:${start}${text}`, true),
      ]) {
        expect(typeof read).toBe('object')
      }
    }),
  )
})

test('B59 hostile lines of 2,048 octets take less than 5 ms', () => {
  const hostile = [
    `MAIL FROM:<${'"\\'.repeat(1000)}`,
    `MAIL FROM:<a@b.test> ENVID=${'+2B'.repeat(660)}+`,
    `MAIL FROM:<a@b.test>${' A=1'.repeat(500)}`,
    `MAIL FROM:<a@b.test>${' '.repeat(2000)}x`,
    `MAIL FROM:<${'@a,'.repeat(600)}:b@c.test>`,
    `RCPT TO:<a@b.test> ORCPT=rfc822;${'+'.repeat(1900)}`,
    `RCPT TO:<a@b.test> NOTIFY=${'SUCCESS,'.repeat(240)}`,
  ]
  expect(hostile.filter(line => quickest(line) > 5)).toEqual([])
})

/** Of five times, because other things run on the machine. */
function quickest(line: string): number {
  const times = Array.from({ length: 5 }, () => {
    const started = performance.now()
    ;(line.startsWith('M') ? mail : rcpt)(line)
    return performance.now() - started
  })
  return Math.min(...times)
}
