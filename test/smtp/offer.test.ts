/** What a next hop is offered while the client still talks, and what it is offered again. @module */
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import type { ForwardPath } from '../../src/mail/mail-object.ts'
import { createNextHop } from '../../src/smtp/next-hop.ts'
import { Offer } from '../../src/smtp/offer.ts'
import { type SinkOptions, startSink } from './sink.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const NEVER = new AbortController().signal
const [ANN, BEN, CID] = ['ann', 'ben', 'cid'].map(
  (name): ForwardPath => ({ mailbox: parseMailbox(`${name}@example.test`), parameters: new Map() }),
) as [ForwardPath, ForwardPath, ForwardPath]

/** An offer to a sink, that waits so long for its client. */
async function offered(keepMs: number, options: SinkOptions = {}) {
  const sink = await startSink(options)
  const settings = { name: 'sink', host: '127.0.0.1', port: sink.port, hostname: 'gw.example.test' }
  const nextHop = createNextHop({ ...settings, tls: 'none', connections: 1 }, silentLog)
  ends.push(
    () => sink.close(),
    () => nextHop.close(),
  )
  const parameters = new Map<string, string>()
  const opening = { reversePath: null, parameters, options: { eightBit: false, utf8: false } }
  return { sink, nextHop, offer: new Offer(nextHop, opening, keepMs) }
}

const commandsOf = (sink: Awaited<ReturnType<typeof startSink>>): string[] =>
  sink.connections.flatMap(({ commands }) => commands).filter(line => !/^EHLO/.test(line))

test('the open conversation is taken where it has heard of everybody', async () => {
  const { sink, offer } = await offered(5_000)
  for (const path of [ANN, BEN]) expect((await offer.recipient(path, NEVER)).code).toBe(250)
  const conversation = await offer.take([ANN, BEN], NEVER)
  expect((await conversation.data()).code).toBe(354)
  conversation.destroy()
  expect(commandsOf(sink)).toEqual([
    'MAIL FROM:<>',
    'RCPT TO:<ann@example.test>',
    'RCPT TO:<ben@example.test>',
    'DATA',
  ])
})

test('the open conversation is not taken for others, however many they are', async () => {
  for (const others of [[CID], [ANN, CID], [CID, BEN], [ANN, BEN, CID]]) {
    const { sink, offer } = await offered(5_000)
    for (const path of [ANN, BEN]) expect((await offer.recipient(path, NEVER)).code).toBe(250)
    const before = commandsOf(sink).length
    const conversation = await offer.take(others, NEVER)
    const heard = commandsOf(sink).slice(before)
    conversation.destroy()
    expect(heard.filter(line => line.startsWith('RCPT'))).toEqual(
      others.map(({ mailbox }) => `RCPT TO:<${mailbox.toString()}>`),
    )
  }
})

test('after a pause, who was accepted before it is offered again, and a refusal then is heard', async () => {
  const refusedAgain = /ann@/
  let heard = 0
  const { offer } = await offered(20, {
    on: ({ line }) => (refusedAgain.test(line) && heard++ > 0 ? '452 4.2.2 full now' : undefined),
  })
  expect((await offer.recipient(ANN, NEVER)).code).toBe(250)
  await pause(60)
  expect((await offer.recipient(BEN, NEVER)).code).toBe(250)
  await expect(offer.take([ANN, BEN], NEVER)).rejects.toMatchObject({ code: 'ERR_OFFER_REFUSED' })
})

test.each([
  ['drops the connection', { reset: true }],
  ['says what makes no sense', '999 what'],
  ['refuses', '550 5.7.1 no'],
  ['is closing', '421 4.3.2 bye'],
])('a next hop that %s at MAIL leaves no rejection that nobody hears', async (_, action) => {
  const unheard: unknown[] = []
  const hear = (reason: unknown): void => void unheard.push(reason)
  process.on('unhandledRejection', hear)
  try {
    const { offer } = await offered(5_000, {
      on: ({ verb }) => (verb === 'MAIL' ? action : undefined),
    })
    expect((await offer.recipient(ANN, NEVER)).code).toBeGreaterThanOrEqual(400)
    await pause(20)
  } finally {
    process.off('unhandledRejection', hear)
  }
  expect(unheard).toEqual([])
})

test('after a pause, nobody gets lost', async () => {
  const { sink, offer } = await offered(20)
  expect((await offer.recipient(ANN, NEVER)).code).toBe(250)
  await pause(60)
  expect((await offer.recipient(BEN, NEVER)).code).toBe(250)
  const conversation = await offer.take([ANN, BEN], NEVER)
  await conversation.data()
  await conversation.send(
    (async function* () {
      yield Buffer.from('Subject: x\r\n\r\n')
    })(),
  )
  expect((await conversation.end()).code).toBe(250)
  conversation.release()
  expect(sink.messages.map(it => it.forwardPaths)).toEqual([
    ['ann@example.test', 'ben@example.test'],
  ])
})

test('B55 a client that pauses again and again holds the conversation no longer than one pause', async () => {
  const { sink, nextHop, offer } = await offered(200)
  // Each pause is short of the limit; together they are not.
  for (let count = 0; count < 5; count++) {
    await offer.recipient([ANN, BEN, CID][count % 3]!, NEVER)
    await pause(60)
  }
  expect(nextHop.idle).toBe(1)
  const commands = commandsOf(sink)
  expect(commands).toContain('RSET')
  // What it hears by then is no more than what the client said.
  expect(commands.filter(line => line.startsWith('RCPT'))).toHaveLength(5)
})
