/**
 * The data phase by itself: where the octets of a message go, and who frees them whatever fails.
 *
 * @module
 */
import { expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import type { Content } from '../../src/mail/mail-object.ts'
import { DEFAULT_LIMITS } from '../../src/smtp/limits.ts'
import { type ContentSink, Receiving } from '../../src/smtp/receiving.ts'
import { type Reply, reply } from '../../src/smtp/reply.ts'
import type { Transaction } from '../../src/smtp/transaction.ts'

test('a message that arrives whole is its transaction’s, which answers for it', async () => {
  const { receiving, transaction, sink } = begin()
  feed(receiving, 'one\r\n', '..two\r\n.\r\nQUIT\r\n')
  expect(receiving.ended).toBe(true)
  expect(await receiving.deliver()).toEqual(reply('delivered'))
  expect(Buffer.concat(sink.written).toString()).toBe('one\r\n.two\r\n')
  expect(sink.discarded).toBe(0)
  expect(transaction).toMatchObject({ contents: 1, abandoned: 0 })
})

test('what follows the end of data is not the message’s', () => {
  const { receiving } = begin()
  expect(receiving.read(Buffer.from('one\r\n.\r\nQUIT\r\n'))).toBe(8)
})

test.each([
  ['bare-line-ending', 'one\ntwo'],
  ['line-too-long', `${'x'.repeat(101)}\r\n`],
  ['message-too-large', 'ten octets\r\n'.repeat(100)],
])('%s: what is refused is read to its end, and no octet of it is held', (refusal, octets) => {
  const { receiving, transaction, sink } = begin()
  feed(receiving, 'good\r\n', octets)
  expect(sink.discarded).toBe(1)
  const before = sink.written.length
  feed(receiving, 'more\r\n', '.\r\n')
  expect(receiving).toMatchObject({ refusal, ended: true, isEndless: false })
  expect(sink.written).toHaveLength(before)
  receiving.abandon()
  expect(sink.discarded).toBe(1)
  expect(transaction).toMatchObject({ contents: 0, abandoned: 1 })
})

test('B50 a bare line end is told of, whatever was wrong before it', () => {
  const { receiving } = begin()
  feed(receiving, 'ten octets\r\n'.repeat(100), 'one\ntwo', 'ten octets\r\n'.repeat(100))
  expect(receiving.refusal).toBe('bare-line-ending')
})

test('a store that fails while it writes: refused, and freed', () => {
  const { receiving, sink } = begin()
  sink.write = () => {
    throw new Error('disk full')
  }
  feed(receiving, 'one\r\n')
  expect(receiving.refusal).toBe('content-store-full')
  expect(sink.discarded).toBe(1)
})

test('a store that fails in the end: answered, freed, and the transaction given up', async () => {
  const { receiving, transaction, sink } = begin()
  sink.finish = () => Promise.reject(new Error('disk full'))
  feed(receiving, 'one\r\n.\r\n')
  expect(await receiving.deliver()).toEqual(reply('content-store-full'))
  expect(sink.discarded).toBe(1)
  expect(transaction).toMatchObject({ contents: 0, abandoned: 1 })
})

test('a client lost while the store is waited for: nothing is delivered, all is freed', async () => {
  const { receiving, transaction, sink } = begin()
  const finished = Promise.withResolvers<Content>()
  sink.finish = () => finished.promise
  feed(receiving, 'one\r\n.\r\n')
  const answer = receiving.deliver()
  receiving.abort()
  finished.resolve(sink.content)
  expect(await answer).toEqual(reply('internal-error'))
  expect(sink.disposed).toBe(1)
  expect(transaction).toMatchObject({ contents: 0, abandoned: 1 })
})

test('a client lost is told to the transaction while it delivers, and not after', async () => {
  const { receiving, transaction } = begin()
  const answer = Promise.withResolvers<Reply>()
  transaction.answer = answer.promise
  feed(receiving, 'one\r\n.\r\n')
  receiving.abort()
  const given = receiving.deliver()
  await Promise.resolve()
  expect(transaction.signal?.aborted).toBe(false)
  receiving.abort()
  expect(transaction.signal?.aborted).toBe(true)
  answer.resolve(reply('delivered'))
  await given

  const other = begin()
  feed(other.receiving, 'one\r\n.\r\n')
  await other.receiving.deliver()
  other.receiving.abort()
  expect(other.transaction.signal?.aborted).toBe(false)
})

function begin(): { receiving: Receiving; transaction: OneTransaction; sink: OneSink } {
  const sink = new OneSink()
  const transaction = new OneTransaction()
  const limits = { ...DEFAULT_LIMITS, messageOctets: 1000, lineOctets: 100 }
  const receiving = new Receiving(sink, transaction, { session: 's1', limits, log: silentLog })
  return { receiving, transaction, sink }
}

function feed(receiving: Receiving, ...chunks: readonly string[]): void {
  for (const chunk of chunks) {
    receiving.read(Buffer.from(chunk, 'latin1'))
    void receiving.hold()
  }
}

class OneSink implements ContentSink {
  readonly written: Buffer[] = []
  discarded = 0
  disposed = 0
  readonly content: Content = {
    sizeOctets: 0,
    shape: { eightBit: false, longestLineOctets: 0 },
    async *read() {},
    dispose: () => void this.disposed++,
  }

  write(chunk: Buffer): void {
    this.written.push(Buffer.from(chunk))
  }

  finish(): Content | Promise<Content> {
    return this.content
  }

  discard(): void {
    this.discarded++
  }
}

class OneTransaction implements Transaction {
  contents = 0
  abandoned = 0
  signal: AbortSignal | undefined
  answer: Promise<Reply> = Promise.resolve(reply('delivered'))

  recipient(): Promise<Reply> {
    return this.answer
  }

  content(_content: Content, signal: AbortSignal): Promise<Reply> {
    this.contents++
    this.signal = signal
    return this.answer
  }

  abandon(): void {
    this.abandoned++
  }
}
