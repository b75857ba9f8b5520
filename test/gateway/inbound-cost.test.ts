/** What a message costs that is sent to many: nobody gets more out of us by naming more of our people. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Keyring } from '../../src/certstore/keyring.ts'
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import { unwrapperFor } from '../../src/crypto/key.ts'
import { InboundReader } from '../../src/gateway/inbound.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { ContentWriter, contentOf, contentStore } from '../../src/mail/content.ts'
import { readHeaderSection } from '../../src/mail/header-section.ts'
import type { Content } from '../../src/mail/mail-object.ts'
import { INBOUND_BY_DEFAULT } from '../../src/policy/treatment.ts'
import { type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

let world: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld()
})
afterAll(() => world.close())

const WISH = { ...INBOUND_BY_DEFAULT, decrypt: 'when-possible' } as const
const RECIPIENTS = 40

/** Everybody has keys of his own; none of them is one that the message is for. */
const strangers: Keyring = {
  keysFor: mailbox => ({ keys: [], name: mailbox.toString(), ownerOf: () => 'own' }),
}

async function readerOf(message: Buffer, keyring: Keyring) {
  const cost = { readOctets: 0, heldOctets: 0, standings: 0 }
  const content = counted(contentOf(message), cost)
  const store = contentStore()
  const trust = createSignerTrust(
    { anchors: [], intermediates: [], revocationMode: 'off' },
    () => new Date(),
  )
  const parts = {
    keyring,
    signerTrust: {
      standing: (...asked: Parameters<typeof trust.standing>) => {
        cost.standings++
        return trust.standing(...asked)
      },
    },
    hold: () => countedWriter(new ContentWriter(store), cost),
    tripleDes: false,
    inflatedOctets: 50_000_000,
  }
  const reader = new InboundReader(
    { content, section: await readHeaderSection(content) },
    parts,
    new Date(),
  )
  return { reader, cost, store }
}

function counted(content: Content, cost: { readOctets: number }): Content {
  return {
    sizeOctets: content.sizeOctets,
    shape: content.shape,
    async *read(start, end) {
      for await (const chunk of content.read(start, end)) {
        cost.readOctets += chunk.length
        yield chunk
      }
    },
    dispose: () => content.dispose(),
  }
}

function countedWriter(writer: ContentWriter, cost: { heldOctets: number }): ContentWriter {
  const write = writer.write.bind(writer)
  writer.write = chunk => {
    cost.heldOctets += chunk.length
    return write(chunk)
  }
  return writer
}

describe('B55 a message to many', () => {
  test('who have no key for it is read once, and its outer signature held once', async () => {
    const inside = await world.encrypted(text('x'.repeat(70).concat('\r\n').repeat(2000)), ['bob'])
    const entity = await world.signed(inside, 'eve', { format: 'opaque' })
    const message = world.message(entity)
    const { reader, cost, store } = await readerOf(message, strangers)
    const readings = new Set()
    for (let at = 0; at < RECIPIENTS; at++)
      readings.add(await reader.read(parseMailbox(`u${at}@example.test`), WISH))
    // One delivery for all of them, too.
    expect(readings.size).toBe(1)
    expect([...readings]).toMatchObject([{ encryption: { result: 'no-key' } }])
    expect(cost.heldOctets).toBeLessThan(2 * message.length)
    expect(cost.readOctets).toBeLessThan(6 * message.length)
    expect(cost.standings).toBeLessThan(5)
    reader.dispose()
    expect(store.heldOctets).toBe(0)
  })

  test('is opened for the one who can, among those who cannot, around an outer signature', async () => {
    const inside = await world.encrypted(await world.signed(text('hello'), 'ann'), ['bob'])
    const message = world.message(await world.signed(inside, 'ben', { format: 'opaque' }))
    const own = (who: 'bob' | 'carol') =>
      unwrapperFor(world.certificate(who), world.issued(who).privateKey)
    const keys = new Map([
      ['bob', [own('bob')]],
      ['carol', [own('carol')]],
    ])
    const { reader, store } = await readerOf(message, {
      keysFor: mailbox => ({
        ...strangers.keysFor(mailbox),
        keys: keys.get(mailbox.localPart) ?? [],
      }),
    })
    const results: string[] = []
    for (const name of ['u1', 'bob', 'u2', 'carol', 'bob'])
      results.push(
        (await reader.read(parseMailbox(`${name}@example.test`), WISH)).encryption.result,
      )
    expect(results).toEqual(['no-key', 'opened', 'no-key', 'no-key', 'opened'])
    reader.dispose()
    expect(store.heldOctets).toBe(0)
  })
})
