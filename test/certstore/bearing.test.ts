/** Which mailboxes a certificate speaks for. @module */
import { describe, expect, test } from 'vitest'
import { addressesOf, bears } from '../../src/certstore/bearing.ts'
import { tlv } from '../../src/crypto/asn1/der-writer.ts'
import {
  alternativeNames,
  makeCertificate,
  makeKey,
  name,
  relativeName,
  smtpUtf8Mailbox,
} from '../crypto/make-certificate.ts'
import { box } from './people.ts'

const key = makeKey('P-256')
const inSubject = (address: string) =>
  name('Ann', relativeName('1.2.840.113549.1.9.1', tlv(0x16, Buffer.from(address, 'latin1'))))
const rfc822Name = (text: string) => tlv(0x81, Buffer.from(text, 'latin1'))

describe('B31 address games', () => {
  test.each([
    ' ann@b.test',
    'ann@b.test ',
    'ann @b.test',
    'ann@b.test\t',
    'ann@b.test\0.evil.test',
    'ann@b.test\0',
    'ann@b@c',
    '<ann@b.test>',
    'mailto:ann@b.test',
    'ann@b.test,bob@b.test',
    '"ann"@b.test',
    'ann(x)@b.test',
    'ann..b@b.test',
    'ann@b..test',
    `${'a'.repeat(250)}@b.test`,
  ])('%j speaks for nobody, and the subject does not step in', async text => {
    const certificate = await certificateOf([rfc822Name(text)], 'ann@b.test')
    expect(addressesOf(certificate)).toEqual({ mailboxes: [], from: 'san' })
  })

  test('two rfc822Names count both, the subject beside them not', async () => {
    const names = [rfc822Name('Ann@B.test'), rfc822Name('sales@b.test')]
    const certificate = await certificateOf(names, 'boss@b.test')
    expect(addressesOf(certificate)).toEqual({
      mailboxes: ['ann@b.test', 'sales@b.test'],
      from: 'san',
    })
    expect(bears(certificate, box('boss@b.test'))).toBe(false)
  })

  test('one bad name does not spoil the other', async () => {
    const certificate = await certificateOf([rfc822Name('a@b@c'), rfc822Name('ann@b.test')])
    expect(addressesOf(certificate).mailboxes).toEqual(['ann@b.test'])
  })

  test('the subject alone is recognised, and told as such', async () => {
    expect(addressesOf(await certificateOf([], 'Ann@B.test'))).toEqual({
      mailboxes: ['ann@b.test'],
      from: 'dn',
    })
    for (const odd of ['ann@b.test ', 'ann@b.test\0', 'a@b@c', '<ann@b.test>'])
      expect(addressesOf(await certificateOf([], odd)).mailboxes).toEqual([])
  })

  test('nobody', async () => {
    expect(addressesOf(await certificateOf([]))).toEqual({ mailboxes: [], from: 'none' })
  })
})

describe('B32 case, other scripts and look-alikes', () => {
  test('case is none; labels in other scripts are their A-labels', async () => {
    const names = [smtpUtf8Mailbox(Buffer.from('jörg@bücher.test')), rfc822Name('ANN@B.Test')]
    expect(addressesOf(await certificateOf(names)).mailboxes).toEqual([
      'jörg@xn--bcher-kva.test',
      'ann@b.test',
    ])
  })

  test('look-alikes stay apart: nothing is folded', async () => {
    const certificate = await certificateOf([smtpUtf8Mailbox(Buffer.from('аnn@b.test'))])
    expect(bears(certificate, box('ann@b.test'))).toBe(false)
    const wide = await certificateOf([smtpUtf8Mailbox(Buffer.from('ａnn@b.test'))])
    expect(bears(wide, box('ann@b.test'))).toBe(false)
  })
})

function certificateOf(names: readonly Buffer[], address?: string) {
  const extensions = names.length > 0 ? [alternativeNames(...names)] : []
  return makeCertificate({
    key,
    extensions,
    ...(address !== undefined && { subject: inSubject(address) }),
  })
}
