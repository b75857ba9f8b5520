/** Messages that are signed well by somebody, and meant to be taken for something else. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Identities } from '../../src/certstore/identities.ts'
import { createKeyring } from '../../src/certstore/keyring.ts'
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { InboundReader } from '../../src/gateway/inbound.ts'
import { deliveredOctets } from '../../src/gateway/inbound-octets.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { ContentWriter, contentOf, contentStore } from '../../src/mail/content.ts'
import { readHeaderSection } from '../../src/mail/header-section.ts'
import { INBOUND_BY_DEFAULT } from '../../src/policy/treatment.ts'
import { ADDRESSES, type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

let world: InboundWorld
/** Takes off a signature that was good. */
let bare: InboundWorld
/** Its next hop takes no 8-bit content. */
let narrow: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld()
  bare = await makeInboundWorld({ wish: { strip: 'signature' } })
  narrow = await makeInboundWorld()
  narrow.house.on.inbound = ({ verb }) =>
    verb === 'EHLO' ? '250-sink.test\r\n250 PIPELINING' : undefined
})
afterAll(async () => {
  await world.close()
  await bare.close()
  await narrow.close()
})

describe('B21 a whole message that is signed', () => {
  const enclosed = (from: string): Buffer =>
    Buffer.from(
      `Content-Type: message/rfc822\r\n\r\nFrom: ${from}\r\nSubject: pay\r\n\r\nat once\r\n`,
    )

  test('B21 of another author than the one outside does not pass', async () => {
    const entity = await world.signed(enclosed('Boss <ceo@example.test>'), 'mallory')
    const message = world.message(entity, { From: ADDRESSES.mallory })
    expect(await world.deliver(message)).toMatchObject({
      result: 'fail',
      code: 'enclosed-from-differs',
    })
  })

  test('of the same author passes', async () => {
    const entity = await world.signed(enclosed('Ann <ann@partner.test>'), 'ann')
    expect(await world.deliver(world.message(entity))).toMatchObject({ result: 'pass' })
  })
})

describe('B22 a protected From that pretends', () => {
  const misleading = (mode: 'clear' | 'cipher'): Buffer =>
    Buffer.from(
      [
        `Content-Type: text/plain; charset=us-ascii; hp="${mode}"`,
        'From: "The Director <director@example.test>" <mallory@evil.test>',
        'Subject: payment',
        ...(mode === 'cipher' ? [`HP-Outer: From: ${ADDRESSES.mallory}`] : []),
        '',
        'pay at once',
        '',
      ].join('\r\n'),
    )
  const outside = { From: ADDRESSES.mallory, Subject: '[...]' }

  test('is not put in the place of the one outside, and does not pass', async () => {
    const signed = await world.signed(misleading('cipher'), 'mallory')
    const entity = await world.encrypted(signed, ['bob'], { cipher: 'aes-256-gcm' })
    const { result, code, encryption, section } = await world.deliver(
      world.message(entity, outside),
    )
    expect([result, code, encryption]).toEqual(['fail', 'protected-from-differs', 'opened'])
    expect(section.all('from').map(({ body }) => body)).toEqual([ADDRESSES.mallory])
  })

  test('does not pass where it stands under a signature alone', async () => {
    const signed = await world.signed(misleading('clear'), 'mallory')
    const { result, code } = await world.deliver(world.message(signed, outside))
    expect([result, code]).toEqual(['fail', 'protected-from-differs'])
  })

  test('is no more than a display name where it names nobody else', async () => {
    const entity = Buffer.concat([
      Buffer.from('From: "Mallory M." <mallory@evil.test>\r\n'),
      Buffer.from(text('hello').toString().replace('us-ascii', 'us-ascii; hp="clear"')),
    ])
    const signed = await world.signed(entity, 'mallory')
    expect((await world.deliver(world.message(signed, outside))).result).toBe('pass')
  })
})

describe('B34 what is signed opaquely', () => {
  const HEAD = 'Content-Type: text/plain; charset=us-ascii\r\n\r\n'

  test.each([
    ['LF alone', 'one\ntwo\r\n'],
    ['CR alone', 'one\rtwo\r\n'],
    ['NUL', 'one\0two\r\n'],
    ['the end of a message for some', 'one\n.\r\nMAIL FROM:<ann@partner.test>\r\n'],
    ['the end of a message for others', 'one\r\n.\nMAIL FROM:<ann@partner.test>\r\n'],
  ])('keeps its signature where it has %s, and nothing of that leaves', async (_, words) => {
    const entity = await bare.signed(Buffer.from(HEAD + words), 'ann', { format: 'opaque' })
    const { result, octets, body } = await bare.deliver(bare.message(entity))
    expect(result).toBe('pass')
    expect(body).toBe(entity.toString('latin1', entity.indexOf('\r\n\r\n') + 4))
    expect(octets.toString('latin1')).not.toMatch(/\r(?!\n)|(?<!\r)\n|\0/)
  })

  test('leaves without its signature where every line ends as it should', async () => {
    const entity = await bare.signed(text('hello\r\n.\r\nworld'), 'ann', { format: 'opaque' })
    const { result, body } = await bare.deliver(bare.message(entity))
    expect([result, body]).toEqual(['pass', 'hello\r\n.\r\nworld\r\n'])
  })
})

describe('B77 what is signed in 8 bits', () => {
  test.each([true, false])('leaves without its signature, 8BITMIME offered: %s', async offered => {
    const entity = Buffer.from('Content-Type: text/plain; charset=utf-8\r\n\r\nUmläute\r\n')
    const part = Buffer.concat([Buffer.from('Content-Transfer-Encoding: 8bit\r\n'), entity])
    const content = contentOf(bare.message(await bare.signed(part, 'ann')))
    const message = { content, section: await readHeaderSection(content) }
    const hold = () => new ContentWriter(contentStore())
    const reader = new InboundReader(
      message,
      {
        keyring: createKeyring({ all: [] } as unknown as Identities, false),
        signerTrust: createSignerTrust(
          {
            anchors: [parseCertificate(bare.root.der)],
            intermediates: [],
            revocationMode: 'off',
          },
          () => new Date(),
        ),
        hold,
        tripleDes: false,
        inflatedOctets: 1_000_000,
      },
      new Date(),
    )
    const wish = { ...INBOUND_BY_DEFAULT, strip: 'signature' } as const
    const reading = await reader.read(parseMailbox(ADDRESSES.bob), wish)
    expect(reading.verdict.result).toBe('pass')
    const chunks: Buffer[] = []
    for await (const chunk of deliveredOctets(message, reading, message.section, offered))
      chunks.push(chunk)
    reader.dispose()
    const left = Buffer.concat(chunks)
    expect(left.some(octet => octet > 127)).toBe(offered)
    expect(left.toString()).toMatch(offered ? /\r\n\r\nUmläute\r\n$/ : /\r\n\r\nUml=C3=A4ute\r\n$/)
  })
})

test('B5 what cannot be said in 7 bits stays encrypted for a next hop that takes nothing else', async () => {
  const entity = Buffer.from(
    'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nUmläute\r\n',
  )
  const opaque = { cipher: 'aes-256-gcm' } as const
  const closed = await narrow.encrypted(await narrow.signed(entity, 'ann'), ['bob'], opaque)
  const good = narrow.message(closed)
  // The tag at the end is wrong: nobody can open it.
  const at = good.lastIndexOf('\r\n', good.length - 3) - 8
  const altered = Buffer.from(good)
  altered[at] = altered[at] === 0x41 ? 0x42 : 0x41
  const [one, other] = [await narrow.deliver(good), await narrow.deliver(altered)]
  expect(one.reply).toEqual(other.reply)
  expect([one.encryption, one.result, one.code]).toEqual(['refused', 'none', 'not-delivered-open'])
  expect(one.notes).toContain('eight-bit-not-offered')
  expect(one.body).toBe(closed.toString('latin1', closed.indexOf('\r\n\r\n') + 4))
  expect(['failed', 'unreadable']).toContain(other.encryption)
})

test('B5 what can be said in 7 bits is', async () => {
  const entity = Buffer.from('Content-Type: text/plain; charset=utf-8\r\n\r\nUmläute\r\n')
  const closed = await narrow.encrypted(entity, ['bob'], { cipher: 'aes-256-gcm' })
  const { encryption, body } = await narrow.deliver(narrow.message(closed))
  expect([encryption, body]).toEqual(['opened', 'Uml=C3=A4ute\r\n'])
})
