/** Our Received field, and the count of hops. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { hopCount, receivedField, type TraceParts } from '../../src/smtp/trace.ts'
import type { Client } from '../../src/smtp/transaction.ts'

const client: Client = {
  session: 's1',
  address: '192.0.2.1',
  helo: 'client.example.test',
  esmtp: true,
  tls: undefined,
  user: undefined,
}
const parts: TraceParts = {
  client,
  hostname: 'gw.example.test',
  id: 'abc123.1',
  date: new Date(Date.UTC(2026, 10, 3, 4, 5, 6)),
  utf8: false,
}
const field = (changes: Partial<TraceParts>): string =>
  receivedField({ ...parts, ...changes }).toString()
const withClient = (changes: Partial<Client>): string =>
  field({ client: { ...client, ...changes } })

describe('receivedField', () => {
  test('RFC 5321 §4.4', () => {
    expect(field({})).toBe(
      [
        'Received: from client.example.test ([192.0.2.1])',
        '\tby gw.example.test with ESMTP id abc123.1;',
        '\tTue, 03 Nov 2026 04:05:06 +0000',
        '',
      ].join('\r\n'),
    )
  })

  test.each([
    [{ esmtp: false }, 'SMTP'],
    [{}, 'ESMTP'],
    [{ user: 'u' }, 'ESMTPA'],
    [{ tls: 'TLSv1.3 TLS_AES_128_GCM_SHA256' }, 'ESMTPS'],
    [{ tls: 'TLSv1.3 TLS_AES_128_GCM_SHA256', user: 'u' }, 'ESMTPSA'],
  ])('RFC 3848: %j is %s', (changes, protocol) => {
    expect(withClient(changes)).toContain(` with ${protocol} id `)
  })

  test('RFC 6531 §4.3: UTF8SMTP', () => {
    expect(field({ utf8: true })).toContain(' with UTF8SMTP id ')
  })

  test('TLS and IPv6 are told', () => {
    const told = withClient({ address: '2001:db8::1', tls: 'TLSv1.3 TLS_AES_128_GCM_SHA256' })
    expect(told).toContain('([IPv6:2001:db8::1])')
    expect(told).toContain('\t(TLSv1.3 TLS_AES_128_GCM_SHA256);')
  })

  test('B63 whatever the client calls itself, it is one field of bounded lines', () => {
    const wild = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.constantFrom('a (b', '[::1', 'x;y', 'a\r\nReceived: b', '<x>', '"', 'a\\', '[192.0.2.1]'),
    )
    fc.assert(
      fc.property(wild, fc.boolean(), (helo, utf8) => {
        const octets = receivedField({ ...parts, client: { ...client, helo }, utf8 })
        const section = parseHeaderSection(Buffer.concat([octets, Buffer.from('\r\n')]))
        expect(section.fields.map(({ key }) => key)).toEqual(['received'])
        const text = octets.toString()
        expect(text).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202e]/)
        expect(text.match(/[()]/g)).toHaveLength(2)
        for (const line of text.split('\r\n')) expect(line.length).toBeLessThan(400)
      }),
      { numRuns: 50 },
    )
  })
})

test('B60 hops are counted, whatever their case', () => {
  const fields = 'Received: a\r\nSubject: x\r\nRECEIVED: b\r\n\tfolded\r\nX-Received: c\r\n\r\n'
  expect(hopCount(parseHeaderSection(Buffer.from(fields)))).toBe(2)
})
