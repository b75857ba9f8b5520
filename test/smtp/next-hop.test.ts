/** The pool of connections, and how they are made and secured, against the sink. */
import { createServer } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { PosternError } from '../../src/errors.ts'
import type { Log, LogFields } from '../../src/log.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import {
  type Conversation,
  createNextHop,
  type NextHop,
  type NextHopSettings,
} from '../../src/smtp/next-hop.ts'
import { type Authority, makeAuthority } from './certificates.ts'
import { type Action, type Moment, type Sink, type SinkOptions, startSink } from './sink.ts'

const opened: { close(): Promise<void> }[] = []
let logged: [string, LogFields | undefined][] = []

afterEach(async () => {
  await Promise.all(opened.splice(0).map(it => it.close()))
  logged = []
})

describe('the pool', () => {
  test('a connection is used again, and MAIL is the first that is said on it', async () => {
    const { sink, nextHop } = await start()
    for (let i = 0; i < 3; i++) await deliver(nextHop)
    expect(sink.connections.length).toBe(1)
    expect(sink.messages.length).toBe(3)
    expect(sink.connections[0]!.commands.join(' ')).not.toContain('RSET')
    expect([nextHop.open, nextHop.idle, nextHop.waiting]).toEqual([1, 1, 0])
  })

  test('never more connections than allowed, and first come, first served', async () => {
    const { sink, nextHop } = await start({ connections: 2 })
    const first = await nextHop.converse(never)
    const second = await nextHop.converse(never)
    const served: number[] = []
    const line = [0, 1, 2, 3].map(async i => {
      const conversation = await nextHop.converse(never)
      served.push(i)
      conversation.release()
    })
    await pause(20)
    expect([nextHop.open, nextHop.idle, nextHop.waiting]).toEqual([2, 0, 4])
    first.release()
    await Promise.all(line)
    second.release()
    expect(served).toEqual([0, 1, 2, 3])
    expect(sink.connections.length).toBe(2)
    expect([nextHop.open, nextHop.idle, nextHop.waiting]).toEqual([2, 2, 0])
  })

  test('who waits for too long is told that all are busy, and is not in the line any more', async () => {
    const { nextHop } = await start({ connections: 1, waitMs: 40 })
    const held = await nextHop.converse(never)
    await expect(nextHop.converse(never)).rejects.toMatchObject({
      code: 'ERR_NEXT_HOP_BUSY',
      persistence: 'transient',
    })
    expect(nextHop.waiting).toBe(0)
    held.release()
    expect(nextHop.idle).toBe(1)
  })

  test('who is gone is not served', async () => {
    const { nextHop } = await start({ connections: 1 })
    const held = await nextHop.converse(never)
    const gone = new AbortController()
    const first = nextHop.converse(gone.signal)
    const second = nextHop.converse(never)
    gone.abort(new Error('client lost'))
    await expect(first).rejects.toThrow('client lost')
    await expect(nextHop.converse(gone.signal)).rejects.toThrow('client lost')
    held.release()
    ;(await second).release()
  })

  test('a connection that was made for somebody who has gone serves the next', async () => {
    const { sink, nextHop } = await start()
    const gone = new AbortController()
    const first = nextHop.converse(gone.signal)
    gone.abort(new Error('client lost'))
    await expect(first).rejects.toThrow('client lost')
    await until(() => nextHop.idle === 1)
    await deliver(nextHop)
    expect(sink.connections.length).toBe(1)
  })

  test('after so many messages a connection says QUIT', async () => {
    const { sink, nextHop } = await start({ messagesPerConnection: 2 })
    for (let i = 0; i < 4; i++) await deliver(nextHop)
    await until(() => nextHop.open === 0)
    expect(sink.connections.map(({ commands }) => commands.at(-1))).toEqual(['QUIT', 'QUIT'])
    expect(sink.connections[0]!.commands.filter(line => line === 'DATA').length).toBe(2)
  })

  test('a connection that nobody uses says QUIT after a while, the one used last stays longest', async () => {
    const { sink, nextHop } = await start({ idleMs: 60 })
    const conversations = await Promise.all([nextHop.converse(never), nextHop.converse(never)])
    for (const conversation of conversations) conversation.release()
    await pause(40)
    await deliver(nextHop)
    await until(() => nextHop.open === 1)
    await until(() => nextHop.open === 0)
    expect(sink.connections.map(({ commands }) => commands.at(-1))).toEqual(['QUIT', 'QUIT'])
  })

  test.each<[string, (sink: Sink) => void]>([
    ['closed', sink => sink.say('', true)],
    ['reset', sink => sink.drop()],
    ['said 421', sink => sink.say('421 4.4.2 idle for too long')],
    ['said something nobody asked for', sink => sink.say('250 2.0.0 taken')],
  ])('R5 a connection that was %s while idle is not used again', async (_, spoil) => {
    const { sink, nextHop } = await start()
    await deliver(nextHop)
    spoil(sink)
    await until(() => nextHop.open === 0)
    await deliver(nextHop)
    expect(sink.connections.length).toBe(2)
    expect(sink.messages.length).toBe(2)
  })

  test.each<[string, Action]>([
    ['closes', { close: true }],
    ['is reset', { reset: true }],
    ['says 421', { reply: '421 4.4.2 timeout', close: true }],
  ])('R5 a kept-alive connection that %s at MAIL is replaced, unnoticed', async (_, action) => {
    const { sink, nextHop } = await start({}, { on: second('MAIL', action) })
    await deliver(nextHop)
    expect(await deliver(nextHop)).toMatchObject({ code: 250 })
    expect(sink.connections.length).toBe(2)
    expect(sink.messages.map(({ connection }) => connection)).toEqual([0, 1])
    expect([nextHop.open, nextHop.idle]).toEqual([1, 1])
  })

  test('R5 so is one that was kept alive without a message', async () => {
    const { sink, nextHop } = await start({}, { on: second('MAIL', { close: true }) })
    const conversation = await nextHop.converse(never)
    await conversation.mail(from, none, plain)
    conversation.release()
    await until(() => nextHop.idle === 1)
    expect(await deliver(nextHop)).toMatchObject({ code: 250 })
    expect(sink.connections.length).toBe(2)
  })

  test('R5 so is one that went from hand to hand', async () => {
    const { sink, nextHop } = await start(
      { connections: 1 },
      { on: second('MAIL', { reply: '421 4.7.0 too many', close: true }) },
    )
    const conversation = await nextHop.converse(never)
    const next = nextHop.converse(never)
    await conversation.mail(from, none, plain)
    conversation.release()
    expect(await transact(await next)).toMatchObject({ code: 250 })
    expect(sink.connections.length).toBe(2)
  })

  test('R5 a fresh connection that says 421 at MAIL is not replaced: that is the answer', async () => {
    const { sink, nextHop } = await start({}, { on: at('MAIL', '421 4.3.2 shutting down') })
    const conversation = await nextHop.converse(never)
    expect(await conversation.mail(from, none, plain)).toEqual({
      code: 421,
      enhanced: '4.3.2',
      text: 'shutting down',
    })
    expect(conversation.alive).toBe(false)
    expect(sink.connections.length).toBe(1)
    expect(nextHop.open).toBe(0)
  })

  test('R5 where the replacement cannot be had, that is what is told', async () => {
    const { sink, nextHop } = await start({}, { on: second('MAIL', { close: true }) })
    await deliver(nextHop)
    const conversation = await nextHop.converse(never)
    await sink.stopListening()
    const mail = conversation.mail(from, none, plain)
    const recipient = conversation.recipient(to)
    await expect(mail).rejects.toMatchObject({ code: 'ERR_NEXT_HOP_UNAVAILABLE' })
    await expect(recipient).rejects.toMatchObject({ code: 'ERR_NEXT_HOP_UNAVAILABLE' })
    expect(nextHop.open).toBe(0)
  })

  test('R5 a next hop that is down fails fast, and is found again when it is back', async () => {
    const port = await unusedPort()
    const nextHop = hop(port, { failFastMs: 100 })
    await expect(nextHop.converse(never)).rejects.toMatchObject({
      code: 'ERR_NEXT_HOP_UNAVAILABLE',
      persistence: 'transient',
    })
    const sink = keep(await startSink({ port }))
    await expect(nextHop.converse(never)).rejects.toMatchObject({
      code: 'ERR_NEXT_HOP_UNAVAILABLE',
    })
    expect(sink.connections.length).toBe(0)
    await pause(110)
    await deliver(nextHop)
    expect(logged.filter(([event]) => event === 'next-hop-unavailable').length).toBe(1)
  })

  test('where the next hop takes no more connections, the line waits for those that stand', async () => {
    const { nextHop } = await start(
      { failFastMs: 20 },
      {
        on: ({ connection, verb }) =>
          connection > 0 && verb === 'CONNECT' ? '421 too many' : undefined,
      },
    )
    const held = await nextHop.converse(never)
    const waiting = [nextHop.converse(never), nextHop.converse(never)]
    await until(() => logged.length > 0)
    held.release()
    for (const conversation of waiting) (await conversation).release()
    await until(() => nextHop.open === 1)
    expect(nextHop.idle).toBe(1)
  })

  test('close says QUIT on idle connections at once, and on busy ones when they are given back', async () => {
    const { sink, nextHop } = await start({ connections: 2 })
    const [busy, idle] = await Promise.all([nextHop.converse(never), nextHop.converse(never)])
    const waiting = nextHop.converse(never)
    await pause(10)
    waiting.catch(() => {})
    idle.release()
    ;(await waiting).release()
    const late = nextHop.close()
    await expect(nextHop.converse(never)).rejects.toMatchObject({
      code: 'ERR_NEXT_HOP_UNAVAILABLE',
    })
    await until(() => nextHop.open === 1)
    expect(await transact(busy)).toMatchObject({ code: 250 })
    await late
    expect(sink.messages.length).toBe(1)
    expect(sink.connections.map(({ commands }) => commands.at(-1))).toEqual(['QUIT', 'QUIT'])
  })

  test('close waits for a busy one for so long and no longer', async () => {
    const { nextHop } = await start({ graceMs: 30 })
    const busy = await nextHop.converse(never)
    await nextHop.close()
    expect(busy.alive).toBe(false)
    expect(nextHop.open).toBe(0)
  })
})

describe('B51, B52, R16: security of the way', () => {
  let authority: Authority
  let good: SecureContextOptions

  beforeAll(() => {
    authority = makeAuthority()
    good = authority.issue({ names: ['mx.test', '127.0.0.1'] })
  })

  test.each(['may', 'require', 'verify'] as const)('R16 %s: TLS where all is well', async tls => {
    const { sink, nextHop } = await start({ tls, ca: authority.ca }, { tls: good })
    await deliver(nextHop)
    expect(sink.messages[0]).toMatchObject({ tls: true })
    expect(clear(sink)).toBe('EHLO gw.test\r\nSTARTTLS\r\n')
    expect(logged).toEqual([])
  })

  test.each(['none', 'require', 'verify'] as const)(
    'R16 %s: TLS from the first octet',
    async tls => {
      const { sink, nextHop } = await start(
        { tls, ca: authority.ca, implicit: true },
        { tls: good, implicit: true },
      )
      await deliver(nextHop)
      expect(sink.messages[0]).toMatchObject({ tls: true })
      expect(clear(sink)).toBe('')
    },
  )

  test('R16 none: STARTTLS is not said', async () => {
    const { sink, nextHop } = await start({ tls: 'none' }, { tls: good })
    await deliver(nextHop)
    expect(sink.connections[0]!.commands).not.toContain('STARTTLS')
    expect(logged).toEqual([])
  })

  test.each([
    ['stripped', 'not offered'],
    ['454', 'refused with 454'],
  ] as const)('B52 R16 may: %s goes in clear, and it is logged once', async (startTls, reason) => {
    const { sink, nextHop } = await start({ tls: 'may' }, { tls: good, startTls })
    const both = await Promise.all([nextHop.converse(never), nextHop.converse(never)])
    await Promise.all(both.map(transact))
    expect(sink.messages.map(({ tls }) => tls)).toEqual([false, false])
    expect(logged).toEqual([['next-hop-without-tls', { reason }]])
  })

  test.each(['501', 'garbage', 'drop'] as const)(
    'B52 R16 may: %s is no reason to go in clear',
    async startTls => {
      const { sink, nextHop } = await start({ tls: 'may', connectMs: 200 }, { tls: good, startTls })
      expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
    },
  )

  test.each(
    (['require', 'verify'] as const).flatMap(tls =>
      (['stripped', '454', '501', 'garbage', 'drop'] as const).map(mode => [mode, tls] as const),
    ),
  )('B52 R16 STARTTLS %s: %s defers, nothing in clear', async (startTls, tls) => {
    const wishes = { tls, ca: authority.ca, connectMs: 200 }
    const { sink, nextHop } = await start(wishes, { tls: good, startTls })
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
  })

  test.each(['may', 'require', 'verify'] as const)('R16 TLS 1.1 at most: %s defers', async tls => {
    const old: SecureContextOptions = {
      ...good,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    }
    const { sink, nextHop } = await start({ tls, ca: authority.ca }, { tls: old })
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
  })

  test.each<[string, () => SecureContextOptions]>([
    [
      'expired',
      () =>
        authority.issue({ names: ['mx.test', '127.0.0.1'], validTo: new Date(Date.now() - 1000) }),
    ],
    [
      'not yet valid',
      () => authority.issue({ names: ['127.0.0.1'], validFrom: new Date(Date.now() + 60_000) }),
    ],
    ['wrong name', () => authority.issue({ names: ['mx.example', '127.0.0.2'] })],
    [
      'name in the common name alone',
      () => authority.issue({ names: [], commonName: '127.0.0.1' }),
    ],
    ['self-signed', () => authority.issue({ names: ['127.0.0.1'], selfSigned: true })],
    ['another authority', () => makeAuthority().issue({ names: ['127.0.0.1'] })],
  ])('R16 %s: verify defers, require does not mind', async (_, issue) => {
    const tls = issue()
    const strict = await start({ tls: 'verify', ca: authority.ca }, { tls })
    expect(await attempt(strict.nextHop, strict.sink)).toEqual(DEFERRED)
    const { sink, nextHop } = await start({ tls: 'require' }, { tls })
    await deliver(nextHop)
    expect(sink.messages[0]).toMatchObject({ tls: true })
  })

  test('R16 verify: tlsName is the name that counts', async () => {
    const { nextHop } = await start(
      { tls: 'verify', ca: authority.ca, tlsName: 'mx.test' },
      { tls: good },
    )
    await deliver(nextHop)
    const tls = authority.issue({ names: ['127.0.0.1'] })
    const other = await start({ tls: 'verify', ca: authority.ca, tlsName: 'mx.test' }, { tls })
    expect(await attempt(other.nextHop, other.sink)).toEqual(DEFERRED)
  })

  test('R16 verify: a name in the common name alone does not count (RFC 9525 §6.3)', async () => {
    const tls = authority.issue({ names: [], commonName: 'mx.test' })
    const wishes = { tls: 'verify', ca: authority.ca, tlsName: 'mx.test' } as const
    const { sink, nextHop } = await start(wishes, { tls })
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
  })

  test('R16 implicit: verify defers on a wrong name', async () => {
    const tls = authority.issue({ names: ['mx.example'] })
    const { sink, nextHop } = await start(
      { tls: 'verify', ca: authority.ca, implicit: true },
      { tls, implicit: true },
    )
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
  })

  test.each(['may', 'require', 'verify'] as const)(
    'B51 R16 %s: plaintext behind the reply to STARTTLS is not believed',
    async tls => {
      const { sink, nextHop } = await start(
        { tls, ca: authority.ca },
        { tls: good, startTls: 'inject', without: ['SIZE'] },
      )
      const conversation = await nextHop.converse(never)
      expect(conversation.extensions).toMatchObject({ size: undefined, pipelining: true })
      expect(await transact(conversation)).toMatchObject({ code: 250, text: 'taken' })
      expect(sink.messages[0]).toMatchObject({ tls: true })
    },
  )

  test('R16 credentials go under TLS, and are accepted', async () => {
    const auth = { user: 'postern', password: 'pässword' }
    const { sink, nextHop } = await start({ tls: 'require', auth }, { tls: good, auth })
    await deliver(nextHop)
    expect(clear(sink)).not.toContain('AUTH')
  })

  test.each(['none', 'may'] as const)('R16 %s: no credentials in clear', async tls => {
    const auth = { user: 'postern', password: 'secret' }
    const { sink, nextHop } = await start({ tls, auth }, { auth })
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
    expect(clear(sink)).not.toContain('AUTH')
  })

  test('wrong credentials: the next hop is unavailable, and the log says why but not with what', async () => {
    const { sink, nextHop } = await start(
      { tls: 'require', auth: { user: 'postern', password: 'wrong-secret' } },
      { tls: good, auth: { user: 'postern', password: 'secret' } },
    )
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
    expect(JSON.stringify(logged)).toContain('535 5.7.8 no')
    expect(JSON.stringify(logged)).not.toContain('wrong-secret')
  })
})

describe('R5: connecting', () => {
  test.each<[string, (moment: Moment) => Action | undefined]>([
    ['554 for a greeting', at('CONNECT', '554 5.3.2 no service')],
    ['421 for a greeting', at('CONNECT', { reply: '421 4.3.2 too many', close: true })],
    ['no greeting', at('CONNECT', { stall: true })],
    ['a greeting without end', at('CONNECT', { reply: `220${'-'.repeat(200)}`, dripMs: 5 })],
    ['a greeting of 1 MB', at('CONNECT', `220-${'x'.repeat(1_000_000)}`)],
    ['closes at once', at('CONNECT', { close: true })],
    ['no answer to EHLO', at('EHLO', { stall: true })],
    ['EHLO answered octet by octet', at('EHLO', { reply: `250 ${'x'.repeat(200)}`, dripMs: 5 })],
    ['421 to EHLO', at('EHLO', '421 4.3.2 going down')],
    ['garbage for EHLO and HELO', refuseHello],
    ['more than was asked for', at('EHLO', '250 sink.test\r\n250 2.1.0 ok')],
  ])('%s: unavailable, within its time', async (_, on) => {
    const { sink, nextHop } = await start({ connectMs: 150 }, { on })
    const began = performance.now()
    expect(await attempt(nextHop, sink)).toEqual(DEFERRED)
    expect(performance.now() - began).toBeLessThan(1_000)
    await until(() => sink.connections.every(({ open }) => !open))
  })

  test('a next hop that knows HELO alone is spoken to without extensions', async () => {
    const { sink, nextHop } = await start({}, { on: at('EHLO', '502 5.5.1 what?') })
    const conversation = await nextHop.converse(never)
    expect(conversation.extensions).toEqual({
      pipelining: false,
      eightBitMime: false,
      size: undefined,
      smtpUtf8: false,
      dsn: false,
      enhancedStatusCodes: false,
    })
    await transact(conversation)
    expect(sink.messages[0]!.mail).toBe('MAIL FROM:<a@example.test>')
  })

  test('a host name that does not exist is unavailable', async () => {
    const nextHop = keep(
      createNextHop({ ...settings, host: 'no-such-host.invalid', port: 25, connectMs: 3_000 }, log),
    )
    await expect(nextHop.converse(never)).rejects.toMatchObject({
      code: 'ERR_NEXT_HOP_UNAVAILABLE',
    })
  })
})

async function start(
  wishes: Partial<NextHopSettings> = {},
  options: SinkOptions = {},
): Promise<{ sink: Sink; nextHop: NextHop }> {
  const sink = keep(await startSink(options))
  return { sink, nextHop: hop(sink.port, wishes) }
}

function hop(port: number, wishes: Partial<NextHopSettings>): NextHop {
  return keep(createNextHop({ ...settings, port, ...wishes }, log))
}

function keep<T extends { close(): Promise<void> }>(it: T): T {
  // The next hop closes before its sink does.
  opened.unshift(it)
  return it
}

async function deliver(nextHop: NextHop) {
  return transact(await nextHop.converse(never))
}

async function transact(conversation: Conversation) {
  const answers = [conversation.mail(from, none, plain), conversation.recipient(to)]
  for (const { code } of await Promise.all(answers)) expect(code).toBe(250)
  expect((await conversation.data()).code).toBe(354)
  await conversation.send(content())
  const answer = await conversation.end()
  conversation.release()
  return answer
}

async function* content() {
  yield Buffer.from('Subject: hello\r\n\r\nhello\r\n')
}

/** What becomes of a conversation with a next hop that is not as it should be. */
async function attempt(nextHop: NextHop, sink: Sink) {
  const { code, persistence, message } = await nextHop.converse(never).then(
    () => ({ code: 'none', persistence: 'none', message: 'none' }),
    (error: PosternError) => error,
  )
  const said = sink.connections.flatMap(({ commands }) => commands).join('\n') + clear(sink)
  return { code, persistence, message, mailSaid: said.includes('MAIL'), open: nextHop.open }
}

function clear(sink: Sink): string {
  return sink.connections.map(connection => connection.clear).join('')
}

function at(verb: string, action: Action) {
  return (moment: Moment) => (moment.verb === verb ? action : undefined)
}

function second(verb: string, action: Action) {
  return (moment: Moment) =>
    moment.verb === verb && moment.nth === 1 && moment.connection === 0 ? action : undefined
}

function refuseHello({ verb }: Moment): Action | undefined {
  return verb === 'EHLO' || verb === 'HELO' ? 'hello yourself' : undefined
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await pause(5)
  expect(condition()).toBe(true)
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms)
  })
}

function unusedPort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

const DEFERRED = {
  code: 'ERR_NEXT_HOP_UNAVAILABLE',
  persistence: 'transient',
  message: 'the next hop does not answer as it should',
  mailSaid: false,
  open: 0,
}
const log: Log = {
  debug: () => {},
  info: (event, fields) => logged.push([event, fields]),
  warn: (event, fields) => logged.push([event, fields]),
  error: (event, fields) => logged.push([event, fields]),
  with: () => log,
}
const settings = {
  name: 'test',
  host: '127.0.0.1',
  tls: 'none',
  hostname: 'gw.test',
  port: 0,
} as const
const never = new AbortController().signal
const none: ReadonlyMap<string, string> = new Map()
const plain = { eightBit: false, utf8: false }
const from = parseMailbox('a@example.test')
const to = { mailbox: parseMailbox('b@example.test'), parameters: none }
