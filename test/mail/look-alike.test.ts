/** What looks alike has one skeleton. @module */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { skeleton } from '../../src/mail/look-alike.ts'

test.each([
  ['Postern', 'POSTERN'],
  ['Postern', 'Роѕtеrn'],
  ['Postern', 'Ροѕτεrn'],
  ['Postern', 'Ｐｏｓｔｅｒｎ'],
  ['Postern', '𝐏𝐨𝐬𝐭𝐞𝐫𝐧'],
  ['Postern', '🄿🄾🅂🅃🄴🅁🄽'],
  ['Postern', '🅿🅾🆂🆃🅴🆁🅽'],
  ['Postern', 'ⓅⓄⓈⓉⒺⓇⓃ'],
  ['Postern', 'ᴘᴏꜱᴛᴇʀɴ'],
  ['Postern', 'ꓑꓳꓢꓔꓰꓣꓠ'],
  ['POSTER', 'ᏢOᏚᎢᎬᎡ'],
  ['Postern', 'Pöśțëŕň'],
  ['Postern', 'P\u200bo\u00adst\u2060e\ufe0frn\u{e0041}'],
  ['Postern', 'p0573rn'],
  ['Postern', 'Postem'],
  ['wave', 'vvave'],
  ['ill', '1l|'],
  ['gw.example', 'gw。example'],
  ['x-postern', 'x‑postern'],
  ['x-postern', 'x_postern'],
])('%s looks like %s', (one, other) => {
  expect(skeleton(other)).toBe(skeleton(one))
})

test.each([
  ['Postern', 'Pastern'],
  ['mx1.example', 'mx2.example'],
  ['gw.example', 'gwexample'],
  ['a', 'ж'],
])('%s does not look like %s', (one, other) => {
  expect(skeleton(other)).not.toBe(skeleton(one))
})

test('property: the skeleton of printable ASCII is printable ASCII, in one way whatever the case', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme-ascii' }), text => {
      expect(skeleton(text)).toMatch(/^[ -~]*$/)
      expect(skeleton(text.toUpperCase())).toBe(skeleton(text))
    }),
  )
})
