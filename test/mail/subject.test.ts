/** A word that was meant for the gateway leaves the subject, and nothing else does. @module */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeEncodedWords } from '../../src/mail/encoded-word.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { subjectField, withoutWord } from '../../src/mail/subject.ts'

test.each([
  ['[encrypt] plan', 'plan'],
  ['Re: [encrypt] plan', 'Re: plan'],
  ['Re: plan [ENCRYPT]', 'Re: plan'],
  ['plan[Encrypt]s', 'plans'],
  ['[encrypt]', ''],
  ['[encrypt] [encrypt] plan', 'plan'],
  ['[enc[encrypt]rypt] plan', 'plan'],
  ['no  word   here ', 'no  word   here '],
  ['Pläne [encrypt] für 😀', 'Pläne für 😀'],
])('%j becomes %j', (text, expected) => {
  expect(withoutWord(text, '[encrypt]')).toBe(expected)
})

test('property: the word is gone, and without the word nothing changes', () => {
  const word = fc.constantFrom('ab', '[x]', 'a', 'äb')
  const text = fc.string({ unit: fc.constantFrom('a', 'B', '[', 'x', ']', ' ', 'Ä', '😀') })
  fc.assert(
    fc.property(word, text, (wanted, before) => {
      const after = withoutWord(before, wanted)
      expect(after.toLowerCase()).not.toContain(wanted)
      expect(before.toLowerCase().includes(wanted) || after === before).toBe(true)
    }),
  )
})

test('property: what is written is read again, in lines that fit, and as one field', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), text => {
      const octets = subjectField(text)
      const { fields } = parseHeaderSection(Buffer.concat([octets, Buffer.from('\r\nbody')]))
      expect(fields).toHaveLength(1)
      expect(fields[0]!.octets).toEqual(octets)
      for (const line of octets.toString('latin1').slice(0, -2).split('\r\n'))
        expect(line).toMatch(/^(?:Subject:| ).{0,990}$/)
      const printable = /^[ -~]*$/.test(text) && !text.includes('=?')
      const expected = printable ? text.trim() : text.toWellFormed()
      expect(decodeEncodedWords(fields[0]!.body)).toBe(expected)
    }),
  )
})

test.each([
  ['plan', 'Subject: plan\r\n'],
  ['', 'Subject:\r\n'],
  ['Pläne', 'Subject: =?utf-8?B?UGzDpG5l?=\r\n'],
  ['x\r\nBcc: eve@example.test', 'Subject: =?utf-8?B?eA0KQmNjOiBldmVAZXhhbXBsZS50ZXN0?=\r\n'],
])('%j is written as %j', (text, expected) => {
  expect(subjectField(text).toString()).toBe(expected)
})

test('B59 a hostile subject of 1 MiB costs no more than its length', () => {
  const text = `${'[enc'.repeat(100_000)}${'rypt]'.repeat(100_000)}`
  const start = process.cpuUsage()
  expect(withoutWord(text, '[encrypt]')).toBe('')
  expect(process.cpuUsage(start).user / 1000).toBeLessThan(1000)
})
