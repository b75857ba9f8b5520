/** What a client learns from the reply to a message that came in: nothing of what cipher text held. @module */
import { afterEach, describe, expect, test } from 'vitest'
import { checkSeal } from '../../src/gateway/seal.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import type { InboundWish } from '../../src/policy/treatment.ts'
import { TestClient } from '../support/client.ts'
import { ADDRESSES, type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'
import { STAMP_KEY } from './house.ts'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})

describe('B5 B9 what came encrypted', () => {
  test('B5 verify: require refuses it in one way, whatever was seen in it, and takes a good one', async () => {
    const { world, say } = await worldWith({ verify: 'require' })
    const refused = new Set<string>()
    for (const message of await unsound(world)) refused.add(await say(message))
    expect([...refused]).toEqual([
      '550 5.7.1 only mail with a good S/MIME signature is let in here: ' +
        'for <bob@example.test>, it bears no good signature',
    ])
    const good = await world.encrypted(await world.signed(text('figures'), 'ann'), ['bob'])
    expect(await say(world.message(good))).toMatch(/^250 /)
  })

  test('B5 onBadSignature: reject does not hold for it, and does for what came in clear', async () => {
    const { world, say } = await worldWith({ onBadSignature: 'reject' })
    for (const message of await unsound(world)) expect(await say(message)).toMatch(/^250 /)
    expect(await say(world.message(await spoilt(world)))).toMatch(
      /^550 5\.7\.7 the S\/MIME signature .*for <bob@example\.test>, /,
    )
  })
})

describe('what came in clear', () => {
  test('verify: require tells why', async () => {
    const { world, say } = await worldWith({ verify: 'require' })
    expect(await say(world.message(text('figures')))).toMatch(/^550 5\.7\.1 .*is not signed$/)
    expect(await say(world.message(await spoilt(world)))).toMatch(/^550 5\.7\.7 /)
    expect(await say(world.message(await world.signed(text('figures'), 'ann')))).toMatch(/^250 /)
  })

  test('onBadSignature: a route takes it, stamped, and leaves the rest where it belongs', async () => {
    const { world, say } = await worldWith({ onBadSignature: { route: 'review' } })
    await say(world.message(await spoilt(world)))
    await say(world.message(text('figures')))
    const { review, inbound } = world.house.sinks
    expect([review.messages, inbound.messages].map(({ length }) => length)).toEqual([1, 1])
    const { octets } = review.messages[0]!
    expect(octets.toString()).toMatch(/^Authentication-Results: .*smime=fail/s)
    const { fields } = parseHeaderSection(octets)
    expect(checkSeal(fields, 'gw.example.test', STAMP_KEY).kind).toBe('good')
  })
})

/** Encrypted to Bob or not, signed badly or not at all, tampered with here and there. */
async function unsound(world: InboundWorld): Promise<readonly Buffer[]> {
  const good = await world.encrypted(await world.signed(text('figures'), 'ann'), ['bob'])
  const sealed = await world.encrypted(text('figures'), ['bob'], { cipher: 'aes-256-gcm' })
  const entities = [
    await world.encrypted(text('figures'), ['bob']),
    await world.encrypted(text('figures'), ['carol']),
    await world.encrypted(await spoilt(world), ['bob']),
    await world.encrypted(await world.signed(text('figures'), 'mallory'), ['bob']),
    ...[0.2, 0.5, 0.8, 0.99].map(share => tampered(good, share)),
    ...[0.2, 0.8, 0.99].map(share => tampered(sealed, share)),
  ]
  return entities.map(entity => world.message(entity))
}

/** Signed by Ann, and altered. */
async function spoilt(world: InboundWorld): Promise<Buffer> {
  const signed = await world.signed(text('figures'), 'ann')
  return Buffer.from(signed.toString('latin1').replace('figures', 'numbers'), 'latin1')
}

/** With one bit turned in its body, so far from the beginning. */
function tampered(entity: Buffer, share: number): Buffer {
  const whole = entity.toString('latin1')
  const start = whole.indexOf('\r\n\r\n') + 4
  const body = Buffer.from(whole.slice(start), 'base64')
  body[Math.floor(body.length * share)]! ^= 1
  const lines = body.toString('base64').replace(/.{76}/g, '$&\r\n')
  return Buffer.from(`${whole.slice(0, start)}${lines}\r\n`, 'latin1')
}

async function worldWith(wish: Partial<InboundWish>) {
  const world = await makeInboundWorld({ wish })
  open.push(world)
  const client = await TestClient.open(world.house.port)
  open.push(client)
  const say = async (message: Buffer): Promise<string> => {
    const { end } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
    return `${end?.code} ${end?.text}`
  }
  return { world, say }
}
