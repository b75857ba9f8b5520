/** What must not leave by another way, and what is left to others. @module */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rule } from '../gateway/house.ts'
import { TestClient } from '../support/client.ts'
import {
  ADDRESSES,
  type InboundWorld,
  inboundRule,
  makeInboundWorld,
  text,
} from '../support/inbound.ts'

let world: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld()
})
afterAll(() => world.close())

test('B71 what a next hop refuses is refused in its words, and nothing that was opened goes anywhere', async () => {
  world.house.on.inbound = ({ verb }) => (verb === 'DOT' ? '550 5.7.1 not here' : undefined)
  try {
    const message = world.message(await world.encrypted(text('canary-71'), ['bob']))
    const before = world.house.log.length
    const client = await TestClient.open(world.house.port)
    const { end } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
    client.close()
    expect(end).toEqual({ code: 550, text: '5.7.1 not here' })
    expect(world.house.sinks.outbound.messages).toHaveLength(0)
    expect(world.house.sinks.review.messages).toHaveLength(0)
    expect(world.house.log.slice(before).join('\n')).not.toContain('canary-71')
  } finally {
    delete world.house.on.inbound
  }
})

test('B71 what is reported later has no content in it, whatever the sender asks for', async () => {
  const message = world.message(await world.encrypted(text('canary-71'), ['bob']))
  const { inbound, outbound } = world.house.sinks
  const client = await TestClient.open(world.house.port)
  for (const asked of ['', ' RET=FULL ENVID=7', ' RET=HDRS']) {
    const { end } = await client.send(ADDRESSES.mallory, [ADDRESSES.bob], message, asked)
    expect(end!.code).toBe(250)
    expect(inbound.messages.at(-1)!.mail).toMatch(/ RET=HDRS( ENVID=7)?$/)
    expect(inbound.messages.at(-1)!.octets.toString()).toContain('canary-71')
  }
  // What is ours, and was never opened, is reported as we wish.
  await client.send(ADDRESSES.bob, [ADDRESSES.ann], world.message(text('ours')), ' RET=FULL')
  client.close()
  expect(outbound.messages.pop()!.mail).toMatch(/ RET=FULL$/)
})

test('B71 nor where the message goes another way for its signature', async () => {
  const other = await makeInboundWorld({ wish: { onBadSignature: { route: 'review' } } })
  try {
    const signed = (await other.signed(text('canary-71'), 'ann')).toString('latin1')
    const altered = Buffer.from(signed.replace('canary-71', 'canary-17'), 'latin1')
    const message = other.message(await other.encrypted(altered, ['bob']))
    const client = await TestClient.open(other.house.port)
    const { end } = await client.send(ADDRESSES.mallory, [ADDRESSES.bob], message, ' RET=FULL')
    client.close()
    expect(end!.code).toBe(250)
    const { review, inbound } = other.house.sinks
    expect(inbound.messages).toEqual([])
    expect(review.messages.map(({ mail }) => mail.replace(/.* RET/, 'RET'))).toEqual(['RET=HDRS'])
    expect(review.messages[0]!.octets.toString()).toContain('canary-17')
  } finally {
    await other.close()
  }
})

test('B71 nor where it goes the way of outbound mail, beside which it is kept apart', async () => {
  const other = await makeInboundWorld({
    rules: [rule('outbound', 'never'), inboundRule({ onBadSignature: { route: 'outbound' } })],
  })
  try {
    const signed = (await other.signed(text('canary-71'), 'ann')).toString('latin1')
    const altered = Buffer.from(signed.replace('canary-71', 'canary-17'), 'latin1')
    const message = other.message(await other.encrypted(altered, ['bob']))
    const client = await TestClient.open(other.house.port)
    for (const to of [
      [ADDRESSES.bob, ADDRESSES.ben],
      [ADDRESSES.ben, ADDRESSES.bob],
    ])
      expect((await client.send(ADDRESSES.carol, to, message, ' RET=FULL')).end!.code).toBe(250)
    client.close()
    const { outbound, inbound } = other.house.sinks
    expect(inbound.messages).toEqual([])
    expect(outbound.messages).toHaveLength(4)
    for (const { forwardPaths, mail, octets } of outbound.messages) {
      const isForBob = forwardPaths.includes(ADDRESSES.bob)
      expect(forwardPaths).toHaveLength(1)
      expect(octets.includes('canary-17')).toBe(isForBob)
      expect(mail).toMatch(isForBob ? / RET=HDRS$/ : / RET=FULL$/)
    }
  } finally {
    await other.close()
  }
})

test('B76 the fields of an encrypted message stay outside, and the documents say so', async () => {
  const message = world.message(await world.encrypted(text('for bob'), ['bob']), {
    Subject: 'plain',
  })
  const { section } = await world.deliver(message)
  expect(section.first('subject')?.body).toBe('plain')
  expect(section.first('from')?.body).toBe('Ann <ann@partner.test>')
  expect(section.first('to')?.body).toBe('bob@example.test')
  expect(document('SECURITY.md')).toMatch(
    /signature does not protect Subject, To and Date .*, and encryption does not hide them, nor From/,
  )
  expect(document('README.md')).toContain('Protect or hide Subject, From and To')
})

describe('B78 signatures of DKIM and ARC', () => {
  const FIELDS = {
    'DKIM-Signature': 'v=1; a=rsa-sha256; d=partner.test; s=k; h=from; bh=YQ==; b=YQ==',
    'ARC-Seal': 'i=1; a=rsa-sha256; cv=none; d=partner.test; s=k; b=YQ==',
    'ARC-Authentication-Results': 'i=1; gw.example.test; smime=pass',
  }

  test('B78 pass as they came, above what they are over: others check them in front', async () => {
    const message = world.message(text('hello'), FIELDS)
    const { octets, section, result } = await world.deliver(message)
    for (const [name, body] of Object.entries(FIELDS)) expect(section.first(name)?.body).toBe(body)
    expect(result).toBe('none')
    // Below what we put on top, nothing that they are over has changed.
    expect(octets.subarray(-message.length).equals(message)).toBe(true)
  })

  test('B78 vouch for nothing: neither do they make a good message, nor a bad one', async () => {
    const signed = await world.signed(text('hello'), 'ann')
    expect((await world.deliver(world.message(signed, FIELDS))).result).toBe('pass')
    const alone = { ...FIELDS, 'Authentication-Results': 'mx.example.test; dkim=pass smime=pass' }
    const copy = await world.deliver(world.message(text('hello'), alone))
    expect([copy.result, copy.code]).toEqual(['none', 'not-signed'])
  })

  test('B78 are to be made behind us, and checked in front, as the documents say', () => {
    const readme = document('README.md')
    expect(readme).toContain('let SPF, DKIM and ARC be checked in front of it')
    expect(readme).toContain('let DKIM sign behind it on the way out')
  })
})

test('B68 the content filter belongs behind the gateway on the way in, as the documents say', () => {
  expect(document('README.md')).toContain(
    'Let your content filter stand behind Postern on the way in',
  )
  expect(document('SECURITY.md')).toContain('content filter stand behind the gateway on the way in')
})

/** What it says, whatever the lines it is written in. */
function document(name: string): string {
  const path = resolve(import.meta.dirname, '../..', name)
  return readFileSync(path, 'utf8').replaceAll(/\s+/g, ' ')
}
