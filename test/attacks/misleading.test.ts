/** Messages that are signed well by somebody, and meant to be taken for something else. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ADDRESSES, type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

let world: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld()
})
afterAll(() => world.close())

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
