/** Mail that arrives: verified, opened, stamped; and nothing that a sender writes counts for more. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkSeal } from '../../src/gateway/seal.ts'
import { base64Lines } from '../../src/mail/base64.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import type { InboundWish } from '../../src/policy/treatment.ts'
import { ADDRESSES, type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'
import { claims } from '../support/lenient-reader.ts'
import { STAMP_KEY } from './house.ts'

let world: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld()
})
afterAll(() => world.close())

describe('a signed message', () => {
  test.each(['clear', 'opaque'] as const)('passes, %s, octet for octet', async format => {
    const message = world.message(await world.signed(text('hello'), 'ann', { format }))
    const { result, code, encryption, octets, section } = await world.deliver(message)
    expect([result, code, encryption]).toEqual(['pass', 'good', 'none'])
    expect(octets.toString('latin1').endsWith(message.toString('latin1'))).toBe(true)
    const stamp = section.first('authentication-results')!.body
    expect(stamp).toContain('body.smime-identifier=ann@partner.test')
    expect(stamp).toContain(`body.smime-serial=${world.certificate('ann').serialNumberHex}`)
    expect(stamp).toContain('body.smime-issuer="CN=Test Issuing CA"')
    expect(stamp).toContain(`body.smime-part=${format === 'clear' ? 2 : 1}`)
  })

  test('does not pass with one octet altered', async () => {
    const message = world.message(await world.signed(text('hello'), 'ann'))
    const altered = Buffer.from(message.toString('latin1').replace('hello', 'hallo'), 'latin1')
    expect(await world.deliver(altered)).toMatchObject({ result: 'fail', code: 'digest-mismatch' })
  })

  test('B21 of somebody else does not pass', async () => {
    const message = world.message(await world.signed(text('hello'), 'mallory'))
    expect(await world.deliver(message)).toMatchObject({ result: 'fail', code: 'from-mismatch' })
  })

  test('B19 of somebody whom nobody vouches for does not pass', async () => {
    const entity = await world.signed(text('hello'), 'eve')
    const message = world.message(entity, { From: ADDRESSES.eve })
    expect(await world.deliver(message)).toMatchObject({ result: 'policy', code: 'self-signed' })
  })

  test('B20 in a part says nothing of the rest', async () => {
    const signed = await world.signed(text('hello'), 'ann')
    const entity = Buffer.concat([
      Buffer.from('Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n'),
      signed,
      Buffer.from('\r\n--outer\r\nContent-Type: text/plain\r\n\r\npay eve\r\n--outer--\r\n'),
    ])
    expect(await world.deliver(world.message(entity))).toMatchObject({
      result: 'none',
      code: 'partial',
    })
  })
})

describe('an encrypted message', () => {
  test('opens for its recipient', async () => {
    const message = world.message(await world.encrypted(text('for bob'), ['bob']))
    const { result, encryption, body, section } = await world.deliver(message)
    expect([result, encryption, body]).toEqual(['none', 'unauthenticated', 'for bob\r\n'])
    expect(section.all('content-type').map(({ body: type }) => type)).toEqual([
      'text/plain; charset=us-ascii',
    ])
    expect(section.first('subject')?.body).toBe('figures')
  })

  test('B8 opens with a tag', async () => {
    const options = { cipher: 'aes-256-gcm', rsa: 'rsa-oaep-sha-256' } as const
    const message = world.message(await world.encrypted(text('for bob'), ['bob'], options))
    const { encryption, section } = await world.deliver(message)
    expect(encryption).toBe('opened')
    expect(section.first('x-postern-encryption')?.body).toMatch(
      /^opened; cipher=aes-256-gcm;\smanagement=rsa-oaep-sha-256; key=own$/,
    )
  })

  test('B10 passes only by the signature inside', async () => {
    const signed = await world.signed(text('for bob'), 'ann')
    const message = world.message(await world.encrypted(signed, ['bob']))
    const { result, code, encryption, body } = await world.deliver(message)
    expect([result, code, encryption]).toEqual(['pass', 'good', 'opened'])
    expect(body).toContain('for bob')
    expect(body).toContain('application/pkcs7-signature')
  })

  test('B1 for carol stays closed for bob, and the reply is the same', async () => {
    const message = world.message(await world.encrypted(text('for carol'), ['carol']))
    const toCarol = await world.deliver(message, [ADDRESSES.carol])
    const toBob = await world.deliver(message)
    expect(toCarol).toMatchObject({ encryption: 'unauthenticated', body: 'for carol\r\n' })
    expect(toBob.encryption).toBe('no-key')
    expect(toBob.octets.includes(message.subarray(message.indexOf('\r\n\r\n')))).toBe(true)
    expect(toBob.reply.end).toEqual(toCarol.reply.end)
  })

  test('B1 for both opens for each with the key of that one, in one copy', async () => {
    const message = world.message(await world.encrypted(text('for both'), ['bob', 'carol']))
    const { body } = await world.deliver(message, [ADDRESSES.bob, ADDRESSES.carol])
    expect(body).toBe('for both\r\n')
    const { forwardPaths } = world.house.sinks.inbound.messages.at(-1)!
    expect(forwardPaths).toEqual([ADDRESSES.bob, ADDRESSES.carol])
  })

  test('B1 a key for bob beside rubbish for carol opens for bob alone', async () => {
    const message = await world.encrypted(text('for bob'), ['bob', 'carol'], {
      rsa: 'rsa-oaep-sha-1',
    })
    const spoilt = spoilKey(message, world.certificate('carol').serialNumber)
    const copies = await world.deliverAll(world.message(spoilt), [ADDRESSES.carol, ADDRESSES.bob])
    expect(copies.map(({ encryption }) => encryption).toSorted()).toEqual([
      'failed',
      'unauthenticated',
    ])
    const opened = copies.find(({ encryption }) => encryption === 'unauthenticated')
    expect(opened?.body).toBe('for bob\r\n')
  })

  test('B5 with nothing right in it is delivered as it came, and the reply is the same', async () => {
    const good = world.message(await world.encrypted(text('for bob'), ['bob']))
    const lines = good.toString('latin1').split('\r\n')
    const at = lines.length - 6
    lines[at] = lines[at]!.startsWith('A') ? `B${lines[at]!.slice(1)}` : `A${lines[at]!.slice(1)}`
    const bad = Buffer.from(lines.join('\r\n'), 'latin1')
    const opened = await world.deliver(good)
    const closed = await world.deliver(bad)
    expect(['failed', 'refused']).toContain(closed.encryption)
    expect(closed.octets.includes(bad.subarray(bad.indexOf('\r\n\r\n')))).toBe(true)
    expect(closed.reply.end).toEqual(opened.reply.end)
  })

  test('B14 has no say in the fields of the message', async () => {
    const inner = Buffer.from(
      [
        'From: boss@example.test',
        'Authentication-Results: gw.example.test; smime=pass',
        'X-Postern-Signature: pass; code=good',
        'Subject: pay at once',
        'Content-Type: text/plain',
        '',
        'hello',
        '',
      ].join('\r\n'),
    )
    const message = world.message(await world.encrypted(inner, ['bob'], { cipher: 'aes-128-gcm' }))
    const { section, result, body } = await world.deliver(message)
    expect([result, body]).toEqual(['none', 'hello\r\n'])
    expect(section.all('from').map(it => it.body)).toEqual(['Ann <ann@partner.test>'])
    expect(section.all('subject').map(it => it.body)).toEqual(['figures'])
    expect(section.all('x-postern-signature')).toHaveLength(1)
  })
})

describe('the stamp', () => {
  test('B66 is on every message, also where nothing is signed', async () => {
    const { result, code, encryption, section } = await world.deliver(world.message(text('hello')))
    expect([result, code, encryption]).toEqual(['none', 'not-signed', 'none'])
    expect(section.fields[0]?.key).toBe('authentication-results')
  })

  test.each<[string, Partial<InboundWish>]>([
    ['by default', {}],
    ['nothing is to be looked at', { verify: 'never', decrypt: 'never' }],
    ['signatures are not to be looked at', { verify: 'never' }],
    ['what is encrypted stays so', { decrypt: 'never' }],
    ['a bad signature leads another way', { onBadSignature: { route: 'review' } }],
    ['a good signature is taken off', { strip: 'signature' }],
    ['what is open is defused', { unauthenticated: 'defuse' }],
  ])('B66 is on every message, once, sealed and in the log: %s', async (_, wish) => {
    const other = await makeInboundWorld({ wish, keys: SMALL })
    const signed = await other.signed(text('hello'), 'ann')
    for (const entity of [
      text('hello'),
      signed,
      Buffer.from(signed.toString('latin1').replace('hello', 'hallo'), 'latin1'),
      await other.signed(text('hello'), 'mallory', { format: 'opaque' }),
      await other.encrypted(signed, ['bob']),
      await other.encrypted(text('hello'), ['bob']),
      await other.encrypted(text('hello'), ['carol']),
      Buffer.from('Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\n!\r\n'),
      Buffer.from(
        `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\n'.repeat(20_000)}`,
      ),
    ]) {
      const { inbound, review } = other.house.sinks
      const before = [...inbound.messages, ...review.messages]
      await other.deliverAll(other.message(entity))
      const [message, ...more] = [...inbound.messages, ...review.messages].filter(
        it => !before.includes(it),
      )
      expect(more).toEqual([])
      const { fields } = parseHeaderSection(message!.octets)
      expect(fields.slice(0, 3).map(({ name }) => name)).toEqual(STAMP)
      expect(claims(message!.octets, 'gw.example.test').map(({ name }) => name)).toEqual(
        fields.slice(0, 5).flatMap(({ key }) => (OF_STAMP.test(key) ? [key] : [])),
      )
      expect(checkSeal(fields, 'gw.example.test', STAMP_KEY).kind).toBe('good')
      const [line] = other.house.told('message').slice(-1)
      expect(line!['recipients']).toMatchObject([
        {
          signature: /smime=(\w+)/.exec(fields[0]!.body)![1],
          encryption: /^[\w-]+/.exec(fields[2]!.body)![0],
        },
      ])
    }
    await other.close()
  })

  test('B66 does not call clear what nobody has looked at', async () => {
    const other = await makeInboundWorld({
      wish: { verify: 'never', decrypt: 'never' },
      keys: SMALL,
    })
    const encrypted = other.message(await other.encrypted(text('hello'), ['bob']))
    expect(await other.deliver(encrypted)).toMatchObject({
      code: 'not-looked-at',
      encryption: 'not-looked-at',
    })
    await other.close()
    const parts = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\n'.repeat(2_000)}`
    expect(await world.deliver(world.message(Buffer.from(parts)))).toMatchObject({
      code: 'structure',
      encryption: 'not-looked-at',
    })
  })

  test('B64 is sealed, and takes the place of what came in our name', async () => {
    const message = world.message(text('hello'), {
      'Authentication-Results': 'gw.example.test; smime=pass',
      'x-postern-SIGNATURE': 'pass; code=good',
    })
    const { result, section } = await world.deliver(message)
    expect(result).toBe('none')
    expect(section.all('x-postern-signature')).toHaveLength(1)
    expect(checkSeal(section.fields, 'gw.example.test', STAMP_KEY).kind).toBe('good')
  })

  test('B65 with tags one subject is left, and nothing in it that looks like ours', async () => {
    const tags = { pass: '[signed OK]', fail: '[BAD]', none: '[unsigned]', decrypted: '[opened]' }
    const tagged = await makeInboundWorld({ tags })
    const subjects = `Subject: ${'[signed OK] '.repeat(40)}\r\n`.repeat(99)
    const message = Buffer.concat([Buffer.from(subjects), tagged.message(text('hello'))])
    const begun = performance.now()
    const { section } = await tagged.deliver(message)
    const tookMs = performance.now() - begun
    await tagged.close()
    expect(section.all('subject').map(({ body }) => body)).toEqual(['[unsigned]'])
    expect(tookMs).toBeLessThan(3_000)
  })

  describe('B65 with tags', () => {
    const tags = { pass: '[signed OK]', fail: '[BAD]', none: '[unsigned]', decrypted: '[opened]' }
    let tagged: InboundWorld
    beforeAll(async () => {
      tagged = await makeInboundWorld({ tags, keys: SMALL })
    })
    afterAll(() => tagged.close())
    const subjectsOf = async (message: Buffer): Promise<readonly string[]> =>
      (await tagged.deliver(message)).section.all('subject').map(({ body }) => body)

    test('a subject that a signature vouches for says no more than another', async () => {
      const inner = Buffer.from(
        'Content-Type: text/plain; hp="cipher"\r\nFrom: Ann <ann@partner.test>\r\n' +
          'Subject: [\u0455igned OK] [BAD] plan\r\nHP-Outer: Subject: figures\r\n' +
          'HP-Outer: From: Ann <ann@partner.test>\r\n\r\nhello\r\n',
      )
      const options = { cipher: 'aes-256-gcm' } as const
      const entity = await tagged.encrypted(await tagged.signed(inner, 'ann'), ['bob'], options)
      expect(await subjectsOf(tagged.message(entity))).toEqual(['[opened] [signed OK] plan'])
    })

    test('a message without a subject has one', async () => {
      const message = tagged
        .message(text('hello'))
        .toString()
        .replace(/Subject: .*\r\n/, '')
      expect(await subjectsOf(Buffer.from(message))).toEqual(['[unsigned]'])
    })
  })

  test('tells the log what was seen', () => {
    const [line] = world.house.told('message').slice(-1)
    expect(line!['recipients']).toMatchObject([{ signature: 'none', encryption: 'none' }])
  })
})

/** Alters one octet of the encrypted key behind a serial number. */
function spoilKey(entity: Buffer, serialNumber: Buffer): Buffer {
  const at = entity.indexOf('\r\n\r\n') + 4
  const der = Buffer.from(entity.toString('latin1', at), 'base64')
  der[der.indexOf(serialNumber) + serialNumber.length + 100]! ^= 1
  return Buffer.concat([entity.subarray(0, at), base64Lines(der)])
}

/** What stands on top of every message, in this order. */
const STAMP = ['Authentication-Results', 'X-Postern-Signature', 'X-Postern-Encryption']
const OF_STAMP = /^(?:authentication-results|x-postern-.*)$/
/** Made in no time. */
const SMALL = {
  ann: 'p-256',
  ben: 'p-256',
  mallory: 'p-256',
  eve: 'p-256',
  bob: 'p-256',
  carol: 'p-256',
} as const
