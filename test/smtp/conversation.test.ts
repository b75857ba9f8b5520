/** The transaction spoken with a next hop that does well, badly, or nothing at all. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import {
  type Conversation,
  createNextHop,
  type NextHop,
  type NextHopSettings,
} from '../../src/smtp/next-hop.ts'
import { type Action, type Moment, type Sink, type SinkOptions, startSink } from './sink.ts'

const opened: { close(): Promise<void> }[] = []
afterEach(() => Promise.all(opened.splice(0).map(it => it.close())))

describe('what is said', () => {
  test('MAIL and RCPT leave at once where PIPELINING is offered, and each hears its own reply', async () => {
    const { sink, conversation } = await start({
      on: ({ verb, nth }) => (verb === 'RCPT' && nth === 1 ? '550 5.1.1 who?' : undefined),
    })
    const segments = countSegments(sink)
    const answers = await Promise.all([
      conversation.mail(from, none, plain),
      conversation.recipient(recipient('b@example.test')),
      conversation.recipient(recipient('c@example.test')),
      conversation.recipient(recipient('d@example.test')),
    ])
    expect(answers).toEqual([
      { code: 250, enhanced: '2.1.0', text: 'ok' },
      { code: 250, enhanced: '2.1.5', text: 'ok' },
      { code: 550, enhanced: '5.1.1', text: 'who?' },
      { code: 250, enhanced: '2.1.5', text: 'ok' },
    ])
    expect(segments()).toBe(1)
    await finish(conversation)
    expect(sink.messages[0]!.forwardPaths).toEqual(['b@example.test', 'd@example.test'])
  })

  test('without PIPELINING one is said after the other, whoever hurries', async () => {
    const { sink, conversation } = await start({
      without: ['PIPELINING'],
      on: ({ verb }) => (SLOW.has(verb) ? { reply: '250 2.0.0 ok', delayMs: 5 } : undefined),
    })
    const answers = await Promise.all([
      conversation.mail(from, none, plain),
      conversation.recipient(recipient('b@example.test')),
      conversation.recipient(recipient('c@example.test')),
    ])
    expect(answers.map(({ code }) => code)).toEqual([250, 250, 250])
    expect(sink.connections[0]!.early).toBe(0)
  })

  test('MAIL says what the next hop offers and the content needs', async () => {
    const said = async (options: SinkOptions, parameters = none, wishes: object = {}) => {
      const { sink, conversation } = await start(options)
      await conversation.mail(from, parameters, { ...plain, ...wishes })
      return sink.connections[0]!.commands.at(-1)!.replace('MAIL FROM:<a@example.test>', '').trim()
    }
    const all = { sizeOctets: 77, eightBit: true, utf8: true }
    const dsn = new Map([
      ['RET', 'HDRS'],
      ['ENVID', 'QQ+2B314159'],
      ['BODY', '7BIT'],
      ['SIZE', '3'],
      ['AUTH', '<>'],
    ])
    expect(await said({}, dsn, all)).toBe(
      'SIZE=77 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B314159',
    )
    expect(await said({}, none)).toBe('')
    expect(await said({ without: ['DSN'] }, dsn)).toBe('')
    expect(await said({ without: ['8BITMIME'] }, none, { eightBit: true })).toBe('')
    expect(await said({ without: ['SIZE'] }, none, { sizeOctets: 77 })).toBe('')
    expect(await said({}, new Map([['ENVID', 'a\r\nRSET']]))).toBe('')
  })

  test('RCPT hands NOTIFY and ORCPT on where DSN is offered, and nothing else', async () => {
    const parameters = new Map([
      ['NOTIFY', 'SUCCESS,DELAY'],
      ['ORCPT', 'rfc822;Bob@example.test'],
      ['X', 'y'],
    ])
    const said = async (options: SinkOptions) => {
      const { sink, conversation } = await start(options)
      await conversation.mail(from, none, plain)
      await conversation.recipient({ ...recipient('b@example.test'), parameters })
      return sink.connections[0]!.commands.at(-1)
    }
    expect(await said({})).toBe(
      'RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob@example.test',
    )
    expect(await said({ without: ['DSN'] })).toBe('RCPT TO:<b@example.test>')
  })

  test('B61 the null reverse-path stays null', async () => {
    const { sink, conversation } = await start()
    await conversation.mail(null, none, plain)
    expect(sink.connections[0]!.commands.at(-1)).toBe('MAIL FROM:<>')
  })

  test('addresses are quoted again, and Postmaster goes without domain', async () => {
    const { sink, conversation } = await start()
    await conversation.mail(parseMailbox('"a \\"b"@example.test'), none, plain)
    await conversation.recipient(recipient('"x@y"@example.test'))
    expect(sink.connections[0]!.commands.slice(-2)).toEqual([
      'MAIL FROM:<"a \\"b"@example.test>',
      'RCPT TO:<"x@y"@example.test>',
    ])
  })

  test('what needs SMTPUTF8 is refused here where it is not offered', async () => {
    const { sink, conversation } = await start({ without: ['SMTPUTF8'] })
    const refused = { code: 550, enhanced: '5.6.7' }
    const own = parseMailbox('jürgen@example.test')
    expect(await conversation.mail(from, none, { ...plain, utf8: true })).toMatchObject(refused)
    expect(await conversation.mail(own, none, plain)).toMatchObject(refused)
    expect(await conversation.mail(from, none, plain)).toMatchObject({ code: 250 })
    expect(await conversation.recipient(recipient('jürgen@example.test'))).toMatchObject(refused)
    expect(sink.connections[0]!.commands.slice(1)).toEqual(['MAIL FROM:<a@example.test>'])
  })

  test('SMTPUTF8 is said where an address needs it, and only then may others follow', async () => {
    const { sink, conversation } = await start()
    await conversation.mail(parseMailbox('jürgen@bücher.test'), none, plain)
    await conversation.recipient(recipient('grå@example.test'))
    expect(sink.connections[0]!.commands.slice(1)).toEqual([
      'MAIL FROM:<jürgen@xn--bcher-kva.test> SMTPUTF8',
      'RCPT TO:<grå@example.test>',
    ])
  })

  test('what is larger than the next hop takes is refused here', async () => {
    const { sink, conversation } = await start({ extensions: ['SIZE 1000'] })
    expect(await conversation.mail(from, none, { ...plain, sizeOctets: 1001 })).toMatchObject({
      code: 552,
      enhanced: '5.3.4',
    })
    expect(await conversation.mail(from, none, { ...plain, sizeOctets: 1000 })).toMatchObject({
      code: 250,
    })
    expect(sink.connections[0]!.commands.slice(1)).toEqual(['MAIL FROM:<a@example.test> SIZE=1000'])
  })

  test.each([
    [['SIZE'], 0],
    [['SIZE 0'], 0],
    [['size 10240'], 10240],
    [['SIZE x'], 0],
    [[], undefined],
  ] as const)('EHLO %j means a size of %s', async (extensions, size) => {
    const { conversation } = await start({ extensions })
    expect(conversation.extensions.size).toBe(size)
  })
})

describe('content', () => {
  test('B50 content arrives as it was, whatever it is and however it is cut', async () => {
    const { sink, nextHop } = await start()
    const piece = fc.constantFrom(
      '.',
      '..',
      'QUIT',
      'x'.repeat(900),
      '\r\n',
      '\r\n.',
      '\r\n.\r\n',
      'ä',
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 40 }),
        fc.integer({ min: 1, max: 50 }),
        async (pieces, size) => {
          const octets = Buffer.from(pieces.join(''))
          const before = sink.messages.length
          expect(await deliver(nextHop, octets, size)).toMatchObject({ code: 250 })
          expect(sink.messages.length).toBe(before + 1)
          const { octets: got } = sink.messages.at(-1)!
          expect(got.toString()).toBe(ended(octets).toString())
        },
      ),
      { numRuns: 60 },
    )
  })

  test('25 MB arrive as they were, and are not gathered in memory', async () => {
    const { sink, conversation } = await start()
    const line = Buffer.from(`${randomBytes(36).toString('hex')}\r\n.${'y'.repeat(70)}\r\n`)
    const chunk = Buffer.concat(Array.from({ length: 440 }, () => line))
    let ahead = 0
    let furthest = 0
    await open(conversation)
    await conversation.data()
    await conversation.send(
      (async function* () {
        for (let i = 0; i < 400; i++) {
          ahead += chunk.length
          furthest = Math.max(furthest, ahead - sink.connections[0]!.unfinishedOctets)
          yield chunk
        }
      })(),
    )
    expect(await conversation.end()).toMatchObject({ code: 250 })
    expect(sink.messages[0]!.octets.length).toBe(400 * chunk.length)
    expect(sink.messages[0]!.octets.subarray(-line.length).equals(line)).toBe(true)
    // What is under way: what we hold, and the buffers of two sockets in the kernel.
    expect(furthest).toBeLessThan(12_000_000)
  })

  test('a small message leaves in one segment, the final dot with it', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.data()
    const segments = countSegments(sink)
    await conversation.send(chunks(Buffer.from('a: b\r\n\r\nbody\r\n'.repeat(300)), 500))
    await pause(20)
    expect(segments()).toBe(0)
    await conversation.end()
    expect(segments()).toBe(1)
  })

  test('a conversation that is dropped in front of the final dot leaves no message', async () => {
    const { sink, nextHop, conversation } = await start()
    await open(conversation)
    await conversation.data()
    await conversation.send(chunks(Buffer.from('x'.repeat(200_000)), 10_000))
    conversation.destroy()
    await expect(conversation.end()).rejects.toMatchObject({ code: 'ERR_NEXT_HOP_LOST' })
    await until(() => !sink.connections[0]!.open)
    expect(sink.messages).toEqual([])
    expect(nextHop.open).toBe(0)
  })

  test('a conversation that is given back in front of the final dot is dropped', async () => {
    const { sink, nextHop, conversation } = await start()
    await open(conversation)
    await conversation.data()
    conversation.release()
    await until(() => !sink.connections[0]!.open)
    expect([sink.messages.length, nextHop.open, nextHop.idle]).toEqual([0, 0, 0])
  })

  test('a source that fails is thrown on, and no dot is sent', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.data()
    const failing = async function* () {
      yield Buffer.from('x\r\n')
      await pause(1)
      throw new Error('cannot sign')
    }
    await expect(conversation.send(failing())).rejects.toThrow('cannot sign')
    await expect(conversation.end()).rejects.toMatchObject({ code: 'ERR_NEXT_HOP_LOST' })
    await until(() => !sink.connections[0]!.open)
    expect(sink.messages).toEqual([])
  })

  test('B50 content with half an end of data is not sent', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.data()
    const smuggled = Buffer.from('hello\n.\r\nMAIL FROM:<evil@x.test>\r\n')
    await expect(conversation.send(chunks(smuggled, 3))).rejects.toMatchObject({
      code: 'ERR_CONTENT_LINE_END',
    })
    await until(() => !sink.connections[0]!.open)
    expect(sink.messages).toEqual([])
  })

  test('the end cannot be said before the content', async () => {
    const { conversation } = await start()
    await expect(conversation.end()).rejects.toThrow('conversation is free')
    await open(conversation)
    await expect(conversation.end()).rejects.toThrow('conversation is open')
    await expect(conversation.send(chunks(Buffer.from('x'), 1))).rejects.toThrow(
      'conversation is open',
    )
    await conversation.data()
    await expect(conversation.end()).rejects.toThrow('conversation is content')
  })
})

describe('R5 replies are handed back at their place', () => {
  test('4yz for every second RCPT, 5yz for every third', async () => {
    const { conversation } = await start({
      on: ({ verb, nth }) => {
        if (verb !== 'RCPT') return undefined
        if (nth % 3 === 2) return '550 5.1.1 no such user'
        return nth % 2 === 1 ? '452 4.2.2 mailbox full' : undefined
      },
    })
    const mail = conversation.mail(from, none, plain)
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => conversation.recipient(recipient(`r${i}@example.test`))),
    )
    await mail
    expect(answers.map(({ code }) => code)).toEqual([
      250, 452, 550, 452, 250, 550, 250, 452, 550, 452, 250, 550,
    ])
  })

  test.each(['MAIL', 'RCPT', 'DATA', 'DOT'])('451, 554 and 421 to %s', async verb => {
    for (const [code, alive] of [
      [451, true],
      [554, true],
      [421, false],
    ] as const) {
      const { sink, nextHop, conversation } = await start({
        on: at(verb, `${code} ${String(code)[0]}.3.0 no`),
      })
      const answer = await firstRefusal(conversation)
      expect(answer).toEqual({ code, enhanced: `${String(code)[0]}.3.0`, text: 'no' })
      expect(conversation.alive).toBe(alive)
      conversation.release()
      await until(() => nextHop.idle === (alive ? 1 : 0))
      expect(sink.messages).toEqual([])
    }
  })

  test('several lines, enhanced codes on each, and what must not be in a reply is not in it', async () => {
    const { conversation } = await start({
      on: at(
        'MAIL',
        '550-5.7.1 one\r\n550-5.7.1 \u001b[31mtwo\u0000\t\u009b\r\n550-\r\n550 5.7.1 jürgen 😀',
      ),
    })
    expect(await conversation.mail(from, none, plain)).toEqual({
      code: 550,
      enhanced: '5.7.1',
      text: ['one', '?[31mtwo???', '', 'j?rgen ?'],
    })
  })

  test.each<[string, string, string]>([
    ['250', '', ''],
    ['250 ', '', ''],
    ['250 2.1.0', '2.1.0', ''],
    ['250 5.1.0 liar', '', '5.1.0 liar'],
    ['250 2.1.0.9 ok', '', '2.1.0.9 ok'],
  ])('reply %j', async (line, enhanced, text) => {
    const { conversation } = await start({ on: at('MAIL', line) })
    expect(await conversation.mail(from, none, plain)).toEqual({ code: 250, enhanced, text })
  })

  test('a reply that comes octet by octet is a reply', async () => {
    const { conversation } = await start({
      on: at('MAIL', { reply: '250-2.1.0 jü\r\n250 2.1.0 ok', dripMs: 1 }),
    })
    expect(await conversation.mail(from, none, plain)).toEqual({
      code: 250,
      enhanced: '2.1.0',
      text: ['j?', 'ok'],
    })
  })

  test('after a refusal the connection serves the next transaction, after RSET', async () => {
    const { sink, nextHop, conversation } = await start({ on: first('RCPT', '550 5.1.1 who?') })
    await conversation.mail(from, none, plain)
    await conversation.recipient(recipient('b@example.test'))
    conversation.release()
    await until(() => nextHop.idle === 1)
    await deliver(nextHop, Buffer.from('x\r\n'), 10)
    expect(sink.connections.length).toBe(1)
    expect(sink.connections[0]!.commands.filter(line => line === 'RSET').length).toBe(1)
    expect(sink.messages.length).toBe(1)
  })

  test('replies that are still outstanding when it is given back come to those who asked', async () => {
    const { nextHop, conversation } = await start()
    const mail = conversation.mail(from, none, plain)
    const answer = conversation.recipient(recipient('b@example.test'))
    conversation.release()
    expect([(await mail).code, (await answer).code]).toEqual([250, 250])
    await until(() => nextHop.idle === 1)
  })

  test('reset begins anew on the same connection', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.reset()
    await open(conversation)
    await finish(conversation)
    expect(sink.messages[0]!.forwardPaths).toEqual(['b@example.test'])
    expect(sink.connections[0]!.commands.filter(line => line === 'RSET').length).toBe(1)
  })

  test('a refusal in the middle of content is the reply to its end', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.data()
    const slow = async function* () {
      yield Buffer.alloc(100_000, 'x')
      sink.say('552 5.3.4 too much')
      await pause(20)
      for (let i = 0; i < 100; i++) yield Buffer.alloc(100_000, 'x')
    }
    await conversation.send(slow())
    expect(await conversation.end()).toEqual({ code: 552, enhanced: '5.3.4', text: 'too much' })
    conversation.release()
    expect(conversation.alive).toBe(false)
  })
})

describe('R5 what is no answer is a lost connection, and nothing was delivered', () => {
  const lost = { code: 'ERR_NEXT_HOP_LOST', persistence: 'transient' }

  test.each<[string, Action]>([
    ['stalls', { stall: true }],
    ['answers 1 octet at a time', { reply: '250 2.0.0 taken', dripMs: 30 }],
    ['closes', { close: true }],
    ['is reset', { reset: true }],
    ['answers 354', '354 go on'],
    ['answers 250 with two codes', '250-one\r\n251 two'],
    ['answers nonsense', 'OK'],
    ['answers 950', '950 what'],
    ['answers with a line of 100 KB', `250 ${'x'.repeat(100_000)}`],
    ['answers with 200 lines', `${'250-x\r\n'.repeat(200)}250 x`],
  ])('a next hop that %s', async (_, action) => {
    for (const verb of ['MAIL', 'RCPT', 'DOT']) {
      const { sink, nextHop, conversation } = await start(
        {
          on: at(
            verb,
            typeof action === 'string'
              ? { reply: action, take: false }
              : { take: false, ...action },
          ),
        },
        { commandMs: 60, endMs: 60 },
      )
      await expect(firstRefusal(conversation)).rejects.toMatchObject(lost)
      conversation.release()
      expect([conversation.alive, nextHop.open, nextHop.idle]).toEqual([false, 0, 0])
      expect(sink.messages).toEqual([])
    }
  })

  test('every reply that is outstanding is told', async () => {
    const { conversation } = await start({ on: at('RCPT', { close: true }) })
    const mail = conversation.mail(from, none, plain)
    const answers = [1, 2, 3].map(i => conversation.recipient(recipient(`r${i}@example.test`)))
    expect((await mail).code).toBe(250)
    const ends = await Promise.allSettled(answers)
    expect(ends).toMatchObject([1, 2, 3].map(() => ({ status: 'rejected', reason: lost })))
    await expect(conversation.recipient(recipient('x@example.test'))).rejects.toMatchObject(lost)
  })

  test('a next hop that does not read is waited for so long and no longer', async () => {
    const { sink, conversation } = await start({}, { blockMs: 60 })
    await open(conversation)
    await conversation.data()
    sink.deafen()
    const endless = async function* () {
      for (let i = 0; i < 1_000; i++) yield Buffer.alloc(100_000, 'x')
    }
    await expect(conversation.send(endless())).rejects.toMatchObject(lost)
  })

  test('a next hop that drops after it took the message: taken, and we know it not', async () => {
    const { sink, conversation } = await start({ on: at('DOT', { take: true, close: true }) })
    await expect(firstRefusal(conversation)).rejects.toMatchObject(lost)
    expect(sink.messages.length).toBe(1)
  })

  test('a next hop that drops after its reply: taken, and the connection is gone', async () => {
    const { sink, nextHop, conversation } = await start({
      on: at('DOT', { reply: '250 2.0.0 taken', close: true }),
    })
    expect(await firstRefusal(conversation)).toMatchObject({ code: 250 })
    conversation.release()
    await until(() => nextHop.open === 0)
    expect(sink.messages.length).toBe(1)
  })

  test('a 250 in the middle of content is no acceptance', async () => {
    const { sink, conversation } = await start()
    await open(conversation)
    await conversation.data()
    const slow = async function* () {
      yield Buffer.alloc(100_000, 'x')
      sink.say('250 2.0.0 taken')
      await pause(20)
      yield Buffer.alloc(100_000, 'x')
    }
    await expect(conversation.send(slow())).rejects.toMatchObject(lost)
    await expect(conversation.end()).rejects.toMatchObject(lost)
  })

  test('250 to DATA is no invitation', async () => {
    const { conversation } = await start({ on: at('DATA', '250 2.0.0 ok') })
    await open(conversation)
    await expect(conversation.data()).rejects.toMatchObject(lost)
    expect(conversation.alive).toBe(false)
  })
})

async function start(options: SinkOptions = {}, wishes: Partial<NextHopSettings> = {}) {
  const sink = await startSink(options)
  const nextHop = createNextHop(
    {
      name: 'test',
      host: '127.0.0.1',
      port: sink.port,
      tls: 'none',
      hostname: 'gw.test',
      ...wishes,
    },
    silentLog,
  )
  opened.push(nextHop, sink)
  return { sink, nextHop, conversation: await nextHop.converse(never) }
}

async function open(conversation: Conversation): Promise<void> {
  await conversation.mail(from, none, plain)
  await conversation.recipient(recipient('b@example.test'))
}

async function finish(
  conversation: Conversation,
  octets: Buffer = Buffer.from('x\r\n'),
  size = 100,
) {
  await conversation.data()
  await conversation.send(chunks(octets, size))
  const answer = await conversation.end()
  conversation.release()
  return answer
}

async function deliver(nextHop: NextHop, octets: Buffer, size: number) {
  const conversation = await nextHop.converse(never)
  await open(conversation)
  return finish(conversation, octets, size)
}

/** Step by step, until something is refused; else the reply to the end. */
async function firstRefusal(conversation: Conversation) {
  const mail = await conversation.mail(from, none, plain)
  if (mail.code >= 400) return mail
  const answer = await conversation.recipient(recipient('b@example.test'))
  if (answer.code >= 400) return answer
  const data = await conversation.data()
  if (data.code >= 400) return data
  await conversation.send(chunks(Buffer.from('hello\r\n'), 3))
  return conversation.end()
}

async function* chunks(octets: Buffer, size: number) {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}

function ended(octets: Buffer): Buffer {
  const text = octets.toString('latin1')
  return text === '' || text.endsWith('\r\n') ? octets : Buffer.from(`${text}\r\n`, 'latin1')
}

function countSegments(sink: Sink): () => number {
  const before = sink.connections[0]!.segments
  return () => sink.connections[0]!.segments - before
}

function at(verb: string, action: Action) {
  return (moment: Moment) => (moment.verb === verb ? action : undefined)
}

function first(verb: string, action: Action) {
  return (moment: Moment) => (moment.verb === verb && moment.nth === 0 ? action : undefined)
}

function recipient(address: string) {
  return { mailbox: parseMailbox(address), parameters: none }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await pause(5)
  if (!condition()) throw new Error('it did not come to be')
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms)
  })
}

const SLOW = new Set(['MAIL', 'RCPT'])
const never = new AbortController().signal
const none: ReadonlyMap<string, string> = new Map()
const plain = { eightBit: false, utf8: false }
const from = parseMailbox('a@example.test')
