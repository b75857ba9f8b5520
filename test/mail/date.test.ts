import { expect, test } from 'vitest'
import { parseDate } from '../../src/mail/date.ts'

const iso = (text: string): string | undefined => parseDate(text)?.toISOString()

test.each([
  ['Fri, 21 Nov 1997 09:55:06 -0600', '1997-11-21T15:55:06.000Z'],
  ['Thu, 13 Feb 1969 23:32 -0330', '1969-02-14T03:02:00.000Z'],
  ['Fri, 21 Nov 1997 09(comment):   55  :  06 -0600', '1997-11-21T15:55:06.000Z'],
  ['Mon, 23 Nov 2026 10:00:00 +0100 (CET (one \\) in the other))', '2026-11-23T09:00:00.000Z'],
  ['21 Nov 97 09:55:06 GMT', '1997-11-21T09:55:06.000Z'],
  ['21 nov 49 09:55:06 EST', '2049-11-21T14:55:06.000Z'],
  ['21 Nov 102 09:55:06 Z', '2002-11-21T09:55:06.000Z'],
  ['31 Dec 2016 23:59:60 +0000', '2016-12-31T23:59:59.000Z'],
])('RFC 5322 §3.3, §4.3 reads %s', (text, expected) => {
  expect(iso(text)).toBe(expected)
})

test.each([
  '',
  'yesterday',
  '31 Feb 2026 10:00:00 +0000',
  '1 Nov 2026 24:00:00 +0000',
  '1 Nov 2026 10:60:00 +0000',
  '1 Nov 2026 10:00:00 +0060',
  '1 Nov 2026 10:00:00',
  '1 Nov 2026 10:00:00 +0000 and more',
  '1 Nov 2026 10:00:00 +0000 (no end',
  '2026-11-01T10:00:00Z',
  `1 Nov 2026 10:00:00 +0000 (${'x'.repeat(1000)})`,
])('RFC 5322 §3.3 is not %s', text => {
  expect(iso(text)).toBeUndefined()
})
