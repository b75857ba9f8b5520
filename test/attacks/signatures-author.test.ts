/** Attacks on who a message says has written it, and on whom a certificate names. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tlv } from '../../src/crypto/asn1/der-writer.ts'
import {
  alternativeNames,
  mailAddress,
  name,
  relativeName,
  smtpUtf8Mailbox,
} from '../crypto/make-certificate.ts'
import { clearBy, HELLO, verdictOf, vouchedFor } from '../support/crafted-signatures.ts'
import { ADDRESSES, type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

let world: InboundWorld
/** Signed by ann, and good. */
let byAnn: Buffer

beforeAll(async () => {
  world = await makeInboundWorld({
    keys: { ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' },
  })
  byAnn = await world.signed(HELLO, 'ann')
})
afterAll(() => world.close())

const verdict = (entity: Buffer, fields?: Readonly<Record<string, string>>): Promise<string> =>
  verdictOf(world, world.message(entity, fields))
const encoded = (words: string): string => `=?utf-8?B?${Buffer.from(words).toString('base64')}?=`

describe('B21 From and signer', () => {
  test.each([
    ['the author', { From: 'ann@partner.test' }, 'pass good'],
    ['the author, in other cases', { From: 'ANN@Partner.TEST' }, 'pass good'],
    ['somebody else', { From: 'mallory@evil.test' }, 'fail from-mismatch'],
    ['somebody of the same house', { From: 'ben@partner.test' }, 'fail from-mismatch'],
    ['a subdomain', { From: 'ann@a.partner.test' }, 'fail from-mismatch'],
    ['a longer name', { From: 'jo-ann@partner.test' }, 'fail from-mismatch'],
    ['a tag', { From: 'ann+boss@partner.test' }, 'fail from-mismatch'],
    [
      'Sender alone',
      { From: 'boss@example.test', Sender: ADDRESSES.ann },
      'neutral sender-matches',
    ],
    [
      'Reply-To alone',
      { From: 'boss@example.test', 'Reply-To': ADDRESSES.ann },
      'fail from-mismatch',
    ],
    ['another Sender', { From: ADDRESSES.ann, Sender: 'list@lists.test' }, 'pass good'],
    [
      'Resent-From alone',
      { From: 'boss@example.test', 'Resent-From': ADDRESSES.ann },
      'fail from-mismatch',
    ],
  ])('B21 signed by ann, From and the like naming %s', async (_who, fields, expected) => {
    expect(await verdict(byAnn, fields)).toBe(expected)
  })
})

describe('B22 names that pretend', () => {
  test.each([
    'Ann <ann@partner.test>',
    '"Ann (at work)" <ann@partner.test>',
    '"ann@partner.test" <ann@partner.test>',
    `${encoded('Ånn @ home')} <ann@partner.test>`,
    '=?iso-8859-1?Q?=C5nn?= <ann@partner.test>',
    'ann@partner.test (Ann)',
    `${encoded('\u200fאן כהן (ספקים)\u200f')} <ann@partner.test>`,
    `${encoded('\u061cأحمد\u200e')} <ann@partner.test>`,
  ])('B22 legitimate neighbour: %s', async From => {
    expect(await verdict(byAnn, { From })).toBe('pass good')
  })

  test.each([
    ['"boss@example.test" <ann@partner.test>', 'policy display-mismatch'],
    ['"Boss <boss@example.test>" <ann@partner.test>', 'policy display-mismatch'],
    [`"boss@example.test${' '.repeat(80)}" <ann@partner.test>`, 'policy display-mismatch'],
    ['ann@partner.test (boss@example.test)', 'policy display-mismatch'],
    [`${encoded('boss@example.test')} <ann@partner.test>`, 'policy display-mismatch'],
    [`${encoded('boss＠example．test')} <ann@partner.test>`, 'policy display-mismatch'],
    [
      `${encoded('boss@')} ${encoded('example.test')} <ann@partner.test>`,
      'policy display-mismatch',
    ],
    [`"${encoded('boss@example.test')}" <ann@partner.test>`, 'policy display-mismatch'],
    [`${encoded('boss@example.test\0')} <ann@partner.test>`, 'permerror from-control-characters'],
    [`${encoded('boss\n')} <ann@partner.test>`, 'permerror from-control-characters'],
    [`${encoded('\u202etset.elpmaxe')} <ann@partner.test>`, 'permerror from-control-characters'],
    [
      `${encoded('אן test\u200f.\u200fexample\u200f@\u200fboss')} <ann@partner.test>`,
      'permerror from-control-characters',
    ],
    [`${encoded('אן \u2067boss\u2069')} <ann@partner.test>`, 'permerror from-control-characters'],
    ['=?utf-7?Q?boss+AEA-example.test?= <ann@partner.test>', 'permerror from-undecodable'],
    ['=?x-unknown?Q?boss=40example.test?= <ann@partner.test>', 'permerror from-undecodable'],
    ['=?utf-8?B?Ym9z*c0BleGFtcGxlLnRlc3Q?= <ann@partner.test>', 'permerror from-undecodable'],
    [
      '=?utf-8?Q?=3D=3Futf-8=3FQ=3Fboss=40example.test=3F=3D?= <ann@partner.test>',
      'permerror from-undecodable',
    ],
    ['=?utf-8?Q?boss=40example.test?= =?utf-8?Q?=00?=@partner.test', 'permerror from-unreadable'],
    [`${encoded('ann@partner.test')}@partner.test`, 'permerror from-encoded-address'],
  ])('B22 %s', async (From, expected) => {
    expect(await verdict(byAnn, { From })).toBe(expected)
  })
})

describe('B23 one From, one mailbox', () => {
  test.each([
    'boss@example.test, ann@partner.test',
    'ann@partner.test, boss@example.test',
    'Team: ann@partner.test;',
    'Team: ann@partner.test, boss@example.test;',
    'boss@example.test <ann@partner.test>',
    '<ann@partner.test> <boss@example.test>',
    '<boss@example.test> ann@partner.test',
    '<@example.test:ann@partner.test>',
    'ann(@example.test)@partner.test',
    'ann@partner.test(<boss@example.test>)(',
    'ann @ partner.test',
    'ann@partner.test;boss@example.test',
    '"ann@partner.test',
    'Ann\r\n \r\n <ann@partner.test>',
    '',
  ])('B23 From: %j', async From => {
    expect(await verdict(byAnn, { From })).toMatch(/^permerror /)
  })

  test('B23 fields that stand twice', async () => {
    const message = world.message(byAnn).toString('latin1')
    expect(await verdictOf(world, Buffer.from(message, 'latin1'))).toBe('pass good')
    for (const field of [
      'From: boss@example.test',
      'FROM: boss@example.test',
      'From : boss@example.test',
      'From: Ann <ann@partner.test>',
    ])
      for (const twice of [`${field}\r\n${message}`, message.replace('To: ', `${field}\r\nTo: `)])
        expect(await verdictOf(world, Buffer.from(twice, 'latin1'))).toBe('permerror from-twice')
    const without = message.replace(/^From: .*\r\n/m, '')
    expect(await verdictOf(world, Buffer.from(without, 'latin1'))).toBe('permerror from-missing')
    const sender = 'Sender: ann@partner.test\r\n'
    const two = `${sender}${sender}${message}`
    expect(await verdictOf(world, Buffer.from(two, 'latin1'))).toBe('permerror field-twice')
  })
})

describe('B24 what a body shows', () => {
  test('B24 U1: a banner that looks like ours is text, and text is not altered', async () => {
    const banner = text(
      'X-Postern-Signature: pass; code=good\r\n[signed] Authentication-Results: gw.example.test; smime=pass',
    )
    const message = world.message(banner)
    const { result, octets } = await world.deliver(message)
    expect(result).toBe('none')
    expect(octets.subarray(-banner.length).equals(banner)).toBe(true)
    const signed = world.message(await world.signed(banner, 'ann'))
    const good = await world.deliver(signed)
    expect(good.result).toBe('pass')
    expect(good.octets.includes(signed.subarray(signed.indexOf('\r\n\r\n')))).toBe(true)
  })
})

const EMAIL_ADDRESS = '1.2.840.113549.1.9.1'
const named = (address: string): Buffer =>
  name('Somebody', relativeName(EMAIL_ADDRESS, tlv(0x16, Buffer.from(address))))

describe('B31 addresses of certificates', () => {
  const by = async (
    extensions: readonly Buffer[],
    subject?: Buffer,
    From: string = ADDRESSES.ann,
  ): Promise<string> => {
    const who = await vouchedFor(world, extensions, subject && { subject })
    return verdict(await clearBy(world, who), { From })
  }

  test.each([
    ['the address', ['ann@partner.test']],
    ['the address in other cases', ['Ann@Partner.Test']],
    ['two addresses', ['boss@partner.test', 'ann@partner.test']],
    ['one that is none beside it', ['a@b@c', 'ann@partner.test']],
  ])('B31 legitimate neighbour: %s', async (_what, addresses) => {
    expect(await by([mailAddress(...addresses)])).toBe('pass good')
  })

  test.each([
    ' ann@partner.test',
    'ann@partner.test ',
    'ann@partner.test\t',
    'ann @partner.test',
    'ann@ partner.test',
    'ann@partner.test\r\n',
    'ann@partner.test\0',
    'ann@partner.test\0@evil.test',
    'ann@partner.test@evil.test',
    'mallory@evil.test@partner.test',
    '<ann@partner.test>',
    'Ann <ann@partner.test>',
    'mailto:ann@partner.test',
    'ann@partner.test,mallory@evil.test',
    'mallory@evil.test,ann@partner.test',
    'mallory@evil.test ann@partner.test',
    '"ann"@partner.test',
    'ann(c)@partner.test',
    'ann@partner.test.',
    'ann@.partner.test',
    '@partner.test',
    'partner.test',
    '.partner.test',
    '*@partner.test',
    'ann%partner.test@evil.test',
    'ann',
    '',
  ])('B31 CVE-2026-2748: %j', async address => {
    expect(await by([mailAddress(address)])).not.toMatch(/^pass/)
    // A name that is none hides what stands in the subject all the same (RFC 8550 §3).
    expect(await by([mailAddress(address)], named(ADDRESSES.ann))).not.toMatch(/^pass/)
  })

  test('B31 the address in the subject counts for little, and beside another for nothing', async () => {
    expect(await by([], named(ADDRESSES.ann))).toBe('policy address-in-name-only')
    const other = [mailAddress(ADDRESSES.mallory)]
    expect(await by(other, named(ADDRESSES.ann))).toBe('fail from-mismatch')
    expect(await by(other, named(ADDRESSES.ann), ADDRESSES.mallory)).toBe('pass good')
    expect(await by([])).toBe('policy certificate-without-address')
    expect(await by([], name(ADDRESSES.ann))).toBe('policy certificate-without-address')
  })

  test('B31 an address as a name of another kind', async () => {
    const address = Buffer.from(ADDRESSES.ann)
    for (const tag of [0x82, 0x86])
      expect(await by([alternativeNames(tlv(tag, address))])).not.toMatch(/^pass/)
  })
})

describe('B32 letters', () => {
  const by = async (extension: Buffer, From: string): Promise<string> =>
    verdict(await clearBy(world, await vouchedFor(world, [extension])), { From })
  const utf8 = (address: string): Buffer => alternativeNames(smtpUtf8Mailbox(Buffer.from(address)))

  test('B32 legitimate neighbour: domains and local parts beyond ASCII', async () => {
    expect(await by(mailAddress('ann@xn--bcher-kva.test'), 'ann@xn--bcher-kva.test')).toBe(
      'pass good',
    )
    expect(await by(mailAddress('ann@xn--bcher-kva.test'), 'ann@bücher.test')).toBe('pass good')
    expect(await by(utf8('änn@bücher.test'), 'änn@bücher.test')).toBe('pass good')
  })

  test.each([
    ['a Cyrillic letter in the local part', 'аnn@partner.test', ADDRESSES.ann],
    ['full width', 'ａｎｎ@partner.test', ADDRESSES.ann],
    ['a ligature', 'ﬁnn@partner.test', 'finn@partner.test'],
    ['another normal form', 'a\u030ann@partner.test', 'ånn@partner.test'],
    ['another case beyond ASCII', 'Änn@partner.test', 'änn@partner.test'],
    ['the sign of Kelvin', '\u212a@partner.test', 'k@partner.test'],
    ['a character that is not seen', 'ann\u200b@partner.test', ADDRESSES.ann],
    ['a Cyrillic letter in the domain', 'ann@pаrtner.test', ADDRESSES.ann],
    ['a domain of full width', 'ann@ｐartner.test', ADDRESSES.ann],
    ['an ideographic dot', 'ann@partner。test', ADDRESSES.ann],
    ['sharp s', 'ann@straße.test', 'ann@strasse.test'],
  ])('B32 %s is somebody else', async (_what, address, From) => {
    expect(await by(utf8(address), From)).not.toMatch(/^pass/)
    // The other way round: what is shown is the look-alike.
    const certificate = /^[!-~]*$/.test(From) ? mailAddress(From) : utf8(From)
    expect(await by(certificate, From)).toBe('pass good')
    expect(await by(certificate, address)).not.toMatch(/^pass/)
  })

  test('B32 octets beyond ASCII in an rfc822Name are no address', async () => {
    expect(await by(mailAddress('änn@partner.test'), 'änn@partner.test')).not.toMatch(/^pass/)
  })
})
