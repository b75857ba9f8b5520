/** What a message is, told from its header section. @module */
import { expect, test } from 'vitest'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { parseMediaType } from '../../src/mail/media-type.ts'
import { classesOf, headerFacts } from '../../src/policy/facts.ts'

const section = (...fields: string[]) =>
  parseHeaderSection(Buffer.from([...fields, '', ''].join('\r\n')))

test.each<[string, string[]]>([
  ['text/plain', []],
  ['multipart/mixed; boundary=x', []],
  ['multipart/signed; protocol="application/pkcs7-signature"; boundary=x', ['signed']],
  ['multipart/signed; protocol="application/x-pkcs7-signature"; boundary=x', ['signed']],
  ['MULTIPART/Signed; Protocol="Application/PGP-Signature"; boundary=x', ['signed', 'pgp']],
  ['multipart/signed; boundary=x', ['signed']],
  ['multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x', ['encrypted', 'pgp']],
  ['multipart/encrypted; boundary=x', ['encrypted']],
  ['application/pkcs7-mime; smime-type=signed-data', ['signed']],
  ['application/x-pkcs7-mime; smime-type="Signed-Data"', ['signed']],
  ['application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m', ['encrypted']],
  ['application/pkcs7-mime; smime-type=authEnveloped-data', ['encrypted']],
  ['application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z', ['smime']],
  ['application/pkcs7-mime; smime-type=certs-only; name=smime.p7c', ['smime']],
  ['application/pkcs7-mime; name=smime.p7m', ['smime']],
  ['application/pkcs7-mime', ['smime']],
  ['application/octet-stream; name="smime.p7m"', ['smime']],
  ['application/octet-stream; name="SMIME.P7Z"', ['smime']],
  ['application/octet-stream; name="letter.pdf"', []],
  ['multipart/report; report-type=delivery-status; boundary=x', ['report']],
  ['multipart/report; report-type=disposition-notification; boundary=x', ['report']],
  ['message/disposition-notification', ['report']],
  ['message/delivery-status', ['report']],
  ['text/calendar; method=REQUEST', ['calendar']],
  ['application/ics; name=invite.ics', ['calendar']],
])('Content-Type: %s', (type, expected) => {
  expect([...classesOf(section(`Content-Type: ${type}`))]).toEqual(expected)
})

test.each<[string, string[]]>([
  ['Auto-Submitted: auto-replied', ['auto-reply']],
  ['Auto-Submitted: auto-generated; owner=x', ['auto-reply']],
  ['Auto-Submitted: No (a person)', []],
  ['Auto-Submitted: no', []],
  ['List-Id: <team.example.test>', ['list']],
  ['List-Post: <mailto:team@example.test>', ['list']],
  ['Subject: hello', []],
])('%s', (field, expected) => {
  expect([...classesOf(section(field))]).toEqual(expected)
})

test('a calendar part anywhere makes it an invitation', () => {
  const parts = ['multipart/alternative', 'text/plain', 'text/calendar; method=REQUEST']
  const types = parts.map(text => parseMediaType(text)!)
  expect(classesOf(section('Content-Type: multipart/mixed; boundary=x'), types)).toContain(
    'calendar',
  )
})

test('parts are read only as far as they are needed', () => {
  const parts = function* () {
    yield parseMediaType('text/calendar')!
    throw new Error('read on')
  }
  expect(classesOf(section('Subject: x'), parts())).toContain('calendar')
})

test.each([
  ['twice', ['Content-Type: multipart/encrypted; boundary=x', 'Content-Type: text/plain']],
  ['two words', ['Content-Type: application/pkcs7-mime; smime-type=enveloped-data; smime-type=x']],
])('B33 a Content-Type that says it %s proves no encryption', (_, fields) => {
  const classes = classesOf(section(...fields))
  expect(classes).not.toContain('encrypted')
  expect(classes).toContain('smime')
})

test('only the fields that rules ask for are taken out', () => {
  const facts = headerFacts(section('X-A: one', 'x-a:  two', 'X-B: three'), new Set(['x-a', 'x-c']))
  expect([...facts]).toEqual([
    ['x-a', ['one', 'two']],
    ['x-c', []],
  ])
})
