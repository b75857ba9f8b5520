/** The listener: who may come in, how long anybody may stay, and how it closes. @module */
import { spawn, spawnSync } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type Log, silentLog } from '../../src/log.ts'
import { ContentWriter, contentStore } from '../../src/mail/content.ts'
import { networkOf } from '../../src/smtp/client-address.ts'
import { DEFAULT_LIMITS, listen } from '../../src/smtp/listener.ts'
import { type Reply, reply } from '../../src/smtp/reply.ts'
import { serverCertificate } from './certificate.ts'
import { Wire } from './dialog.ts'
import {
  MemorySink,
  RECIPIENT_OK,
  RECIPIENT_UNKNOWN,
  type Reception,
  RecordingHouse,
  receive,
} from './reception.ts'

const tls = serverCertificate()

describe('who may come in', () => {
  test('B53 who speaks before the greeting is sent away, nobody else waits', async () => {
    await using reception = await receive()
    const early = await Wire.connect(reception.port)
    early.send('EHLO client.example.test\r\n')
    expect(await early.reply()).toMatch(/^421 4\.5\.1/)
    await early.end()
    const started = performance.now()
    await greeted(reception)
    expect(performance.now() - started).toBeLessThan(80)
  })

  test('B55 sessions in all', async () => {
    await using reception = await receive({ limits: { connections: 2 } })
    const first = await greeted(reception)
    await greeted(reception)
    const third = await Wire.connect(reception.port)
    expect(await third.reply()).toMatch(/^421 4\.3\.2/)
    await third.end()
    first.destroy()
    await until(() => reception.listener.sessions === 1)
    await greeted(reception)
  })

  test('B55 sessions of one address', async () => {
    await using reception = await receive({ limits: { connectionsPerAddress: 1 } })
    const first = await greeted(reception)
    const second = await Wire.connect(reception.port)
    expect(await second.reply()).toMatch(/^421 4\.7\.0/)
    const other = await Wire.connect(reception.port, '127.0.0.1', '127.0.0.2')
    expect(await other.reply()).toMatch(/^220/)
    first.destroy()
    await until(() => reception.listener.sessions === 1)
    await greeted(reception)
  })

  test('B55 an IPv6 client is its /64', () => {
    expect(networkOf('2001:db8:1:2::5')).toBe(networkOf('2001:db8:1:2:ffff::6'))
    expect(networkOf('2001:db8:1:2::5')).not.toBe(networkOf('2001:db8:1:3::5'))
    expect(networkOf('192.0.2.1')).not.toBe(networkOf('192.0.2.2'))
  })

  test('an address in use, and TLS without a key, are told', async () => {
    await using reception = await receive()
    const again = { address: '127.0.0.1', port: reception.port, tls: 'none' as const }
    const settings = { hostname: 'gw', hold: () => new MemorySink(), listen: [again] }
    await expect(listen(settings, new RecordingHouse(), silentLog)).rejects.toMatchObject({
      code: 'ERR_LISTENER_ADDRESS',
    })
    await expect(receive({ mode: 'implicit' })).rejects.toMatchObject({ code: 'ERR_LISTENER_TLS' })
    const wrong = { certificate: tls.certificate, key: 'no key' }
    await expect(receive({ mode: 'implicit', tls: wrong })).rejects.toMatchObject({
      code: 'ERR_LISTENER_TLS',
    })
  })
})

describe('B55 how long anybody may stay', () => {
  test('a command that trickles in has a deadline', async () => {
    await using reception = await receive({ limits: { commandMs: 150 } })
    const wire = await greeted(reception)
    const drip = setInterval(() => wire.send('E'), 30)
    expect(await wire.reply()).toMatch(/^421 4\.4\.2/)
    clearInterval(drip)
    await wire.end()
  })

  test('each complete command has a deadline of its own', async () => {
    await using reception = await receive({ limits: { commandMs: 300 } })
    const wire = await greeted(reception)
    for (let round = 0; round < 5; round++) {
      await sleep(120)
      expect(await wire.ask('NOOP')).toMatch(/^250/)
    }
  })

  test('patience is shorter under stress', async () => {
    const limits = { connections: 2, stressCommandMs: 100 }
    await using reception = await receive({ limits })
    const first = await greeted(reception)
    await sleep(250)
    expect(first.closed).toBe(false)
    await greeted(reception)
    expect(await first.reply()).toMatch(/^421 4\.4\.2/)
  })

  test('data that trickles in is given up, and its content with it', async () => {
    await using reception = await receive({ limits: { dataStallMs: 150 } })
    const wire = await greeted(reception)
    await begin(wire)
    const drip = setInterval(() => wire.send('x'), 20)
    expect(await wire.reply()).toMatch(/^421 4\.4\.2 message arrives/)
    clearInterval(drip)
    expect(reception.house.abandoned).toBe(1)
    expect(MemorySink.held).toBe(0)
  })

  test('data above the minimum rate may take longer than a stall', async () => {
    await using reception = await receive({ limits: { dataStallMs: 250 } })
    const wire = await greeted(reception)
    await begin(wire)
    for (let round = 0; round < 8; round++) {
      wire.send(`${'x'.repeat(98)}\r\n`)
      await sleep(60)
    }
    wire.send('.\r\n')
    expect(await wire.reply()).toMatch(/^250/)
  })

  test('a session ends, but not while the house has a message in hand', async () => {
    await using reception = await receive({ limits: { sessionMs: 150 } })
    const wire = await greeted(reception)
    const { promise, resolve } = Promise.withResolvers<Reply>()
    reception.house.onContent = () => promise
    await begin(wire)
    wire.send('x\r\n.\r\n')
    await sleep(300)
    expect(wire.unread).toBe('')
    resolve(reply('delivered'))
    expect(await wire.reply()).toMatch(/^250/)
    expect(await wire.reply()).toMatch(/^421 4\.4\.2 session/)
  })

  test('a TLS handshake that does not come has a deadline', async () => {
    await using reception = await receive({ mode: 'implicit', tls, limits: { handshakeMs: 120 } })
    const wire = await Wire.connect(reception.port)
    const drip = setInterval(() => wire.send('\u0016'), 30)
    await wire.end()
    clearInterval(drip)
    await until(() => reception.listener.sessions === 0)
    expect(wire.unread).toBe('')
  })

  test('a client that closes its ears waits for itself', async () => {
    await using reception = await receive({ limits: { commandMs: 300, junkCommands: 1e6 } })
    const wire = await greeted(reception)
    wire.socket.pause()
    for (let round = 0; round < 2000; round++) wire.send('HELP\r\n'.repeat(1000))
    const started = performance.now()
    await until(() => reception.listener.sessions === 0)
    expect(performance.now() - started).toBeLessThan(2000)
    wire.destroy()
  })

  test('B56 a command that never ends is cut', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    for (let round = 0; round < 30; round++) wire.send('x'.repeat(100))
    expect(await wire.reply()).toMatch(/^500 5\.5\.6/)
    await wire.end()
  })

  test('B56 a message far over the limit is not read for ever', async () => {
    await using reception = await receive({ limits: { messageOctets: 1000 } })
    const wire = await greeted(reception)
    await begin(wire)
    const line = `${'x'.repeat(998)}\r\n`
    for (let round = 0; round < 40; round++) wire.send(line.repeat(50))
    expect(await wire.reply()).toMatch(/^552 5\.3\.4/)
    await wire.end()
    expect(MemorySink.held).toBe(0)
  })

  test('B56 nor does it matter that its end comes with the octets that are too many', async () => {
    await using reception = await receive({ limits: { messageOctets: 1000 } })
    const wire = await greeted(reception)
    await begin(wire)
    const line = `${'x'.repeat(998)}\r\n`
    wire.send(line.repeat(1049))
    await sleep(100)
    wire.send(`${line.repeat(3)}.\r\nNOOP\r\n`)
    expect(await wire.reply()).toMatch(/^552 5\.3\.4/)
    await wire.end()
    expect(reception.house).toMatchObject({ abandoned: 1, taken: [] })
    await greeted(reception)
  })
})

describe('the message', () => {
  test('lines of 5,000 characters and 3 MB pass exactly', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    await begin(wire)
    const content = `${'.'.repeat(5000)}\r\n`.repeat(600)
    wire.send(`${content.replaceAll(/^\./gm, '..')}.\r\n`)
    expect(await wire.reply()).toMatch(/^250/)
    expect(reception.house.taken[0]!.content.toString()).toBe(content)
  })

  test.each([
    ['closed', (wire: Wire) => wire.destroy()],
    ['reset', (wire: Wire) => void wire.socket.resetAndDestroy()],
  ])('E8 a connection %s in mid-data leaves nothing', async (_how, leave) => {
    await using reception = await receive()
    const wire = await greeted(reception)
    await begin(wire)
    wire.send('half a mess')
    await until(() => MemorySink.held === 1)
    leave(wire)
    await until(() => reception.listener.sessions === 0)
    expect(MemorySink.held).toBe(0)
    expect(reception.house).toMatchObject({ abandoned: 1, taken: [] })
  })

  test('with the content store itself, beyond memory, a million dots arrive exactly', async () => {
    const store = contentStore({ memoryPerMessageOctets: 4096 })
    await using reception = await receive({ hold: () => new ContentWriter(store) })
    const wire = await greeted(reception)
    for (let round = 0; round < 2; round++) {
      await begin(wire)
      wire.send('..\r\n'.repeat(250_000))
      wire.send('.\r\n')
      expect(await wire.reply()).toMatch(/^250/)
    }
    const content = reception.house.taken[1]!.content
    expect(content.equals(Buffer.from('.\r\n'.repeat(250_000)))).toBe(true)
    expect(store.heldOctets).toBe(0)
  })

  test('a client lost while it waits is told to the house', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    const { promise, resolve } = Promise.withResolvers<Reply>()
    reception.house.onContent = signal => {
      signal.addEventListener('abort', () => resolve(reply('internal-error')))
      return promise
    }
    await begin(wire)
    wire.send('x\r\n.\r\n')
    await sleep(30)
    wire.destroy()
    expect((await promise).code).toBe(451)
    await until(() => reception.listener.sessions === 0)
    expect(reception.house).toMatchObject({ aborted: 1, abandoned: 0 })
  })

  test('replies of a slow house come in the order of the commands', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    reception.house.onRecipient = async ({ mailbox }) => {
      await sleep(mailbox.localPart === 'slow' ? 60 : 0)
      return mailbox.localPart === 'slow' ? RECIPIENT_OK : RECIPIENT_UNKNOWN
    }
    wire.send('EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<slow@b.test>\r\nRCPT TO:<x@b.test>\r\nNOOP\r\n')
    const codes: string[] = []
    for (let n = 0; n < 5; n++) codes.push((await wire.reply()).slice(0, 3))
    expect(codes).toEqual(['250', '250', '250', '550', '250'])
  })

  test('what the house or the store breaks is answered as ours, and the session goes on', async () => {
    const events: string[] = []
    const log: Log = { ...silentLog, error: event => void events.push(event) }
    let broken = true
    const hold = (): MemorySink => {
      if (broken) throw new Error('disk on fire')
      return new MemorySink()
    }
    await using reception = await receive({ hold }, log)
    const wire = await greeted(reception)
    reception.house.onRecipient = () => Promise.reject(new Error('bug'))
    await wire.ask('EHLO a')
    await wire.ask('MAIL FROM:<>')
    expect(await wire.ask('RCPT TO:<b@c.test>')).toBe('451 4.3.0 internal error, try later')
    reception.house.onRecipient = () => Promise.resolve(RECIPIENT_OK)
    await wire.ask('RCPT TO:<b@c.test>')
    expect(await wire.ask('DATA')).toMatch(/^452 4\.3\.1/)
    broken = false
    reception.house.onContent = () => Promise.reject(new Error('bug'))
    expect(await wire.ask('DATA')).toMatch(/^354/)
    expect(await wire.ask('x\r\n.')).toMatch(/^451 4\.3\.0/)
    expect(events).toEqual(['internal-error', 'internal-error', 'internal-error'])
  })

  test('a store that fails, and one that is slow', async () => {
    class Slow extends MemorySink {
      override write(chunk: Buffer): void | Promise<void> {
        return sleep(20).then(() => {
          if (chunk.includes('fail')) throw new Error('no space left')
          return super.write(Buffer.from(chunk))
        })
      }
    }
    await using reception = await receive({ hold: () => new Slow() })
    const wire = await greeted(reception)
    await begin(wire)
    wire.send('fail\r\n')
    await sleep(5)
    wire.send('more\r\n.\r\n')
    expect(await wire.reply()).toMatch(/^452 4\.3\.1/)
    expect(await wire.ask('MAIL FROM:<>')).toMatch(/^250/)
    await wire.ask('RCPT TO:<b@c.test>')
    await wire.ask('DATA')
    for (const piece of ['on', 'e\r', '\ntwo\r\n', '.', '\r\n']) {
      wire.send(piece)
      await sleep(5)
    }
    expect(await wire.reply()).toMatch(/^250/)
    expect(reception.house.taken[0]!.content.toString()).toBe('one\r\ntwo\r\n')
    expect(MemorySink.held).toBe(0)
  })
})

describe('TLS', () => {
  test('implicit: greeting, AUTH and the client that the house sees', async () => {
    const authenticate = (user: string) => Promise.resolve(user === 'user')
    await using reception = await receive({ mode: 'implicit', tls, authenticate })
    const wire = await Wire.connectTls(reception.port)
    expect(await wire.reply()).toMatch(/^220/)
    expect(await wire.ask('EHLO client.example.test')).toContain('AUTH PLAIN LOGIN')
    expect(await wire.ask('AUTH PLAIN AHVzZXIAcGFzcw==')).toMatch(/^235/)
    await begin(wire, '')
    expect(await wire.ask('x\r\n.')).toMatch(/^250/)
    expect(reception.house.taken[0]!.client).toMatchObject({
      address: '127.0.0.1',
      helo: 'client.example.test',
      esmtp: true,
      tls: expect.stringMatching(/^TLSv1\.[23] \S+$/) as string,
      user: 'user',
    })
    expect(reception.house.taken[0]!.client.session).toMatch(/^[A-Za-z0-9]{8,}$/)
    wire.destroy()
  })

  test('B52 nothing older than TLS 1.2', async () => {
    await using reception = await receive({ mode: 'implicit', tls })
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' } as const
    await expect(Wire.connectTls(reception.port, old)).rejects.toThrow(/.+/)
    const wire = await Wire.connectTls(reception.port, { maxVersion: 'TLSv1.2' })
    expect(await wire.reply()).toMatch(/^220/)
    wire.destroy()
  })

  test('B53 a client that wants another protocol than SMTP gets no handshake', async () => {
    await using reception = await receive({ mode: 'implicit', tls })
    const web = { ALPNProtocols: ['h2', 'http/1.1'] }
    await expect(Wire.connectTls(reception.port, web)).rejects.toThrow(/.+/)
    await until(() => reception.listener.sessions === 0)
  })

  test('garbage in place of a handshake ends the session', async () => {
    await using reception = await receive({ mode: 'starttls', tls })
    const wire = await greeted(reception)
    expect(await wire.ask('STARTTLS')).toMatch(/^220/)
    wire.send('EHLO a\r\nMAIL FROM:<a@b.test>\r\n')
    await wire.end()
    await until(() => reception.listener.sessions === 0)
    expect(reception.house.begun).toBe(0)
  })

  test('a client that leaves in the handshake is not remembered', async () => {
    await using reception = await receive({ mode: 'starttls', tls })
    const wire = await greeted(reception)
    expect(await wire.ask('STARTTLS')).toMatch(/^220/)
    wire.destroy()
    await until(() => reception.listener.sessions === 0)
  })
})

describe('clients that nobody here wrote', () => {
  const missing = (command: string, ...how: string[]): string =>
    spawnSync(command, how).status === 0 ? '' : ` (skipped: no ${command} in PATH)`
  const noSwaks = missing('swaks', '--version')
  const noOpenssl = missing('openssl', 'version')

  test.skipIf(noSwaks !== '')(`swaks: pipelined, two recipients, dots${noSwaks}`, async () => {
    await using reception = await receive()
    const options = ['--server', `127.0.0.1:${reception.port}`, '--pipeline']
    options.push('--from', 'a@example.test', '--to', 'b@partner.test,c@partner.test')
    options.push('--body', '.one\\n..two\\n.\\nthree')
    const swaks = spawn('swaks', options, { stdio: ['ignore', 'pipe', 'inherit'] })
    expect(await text(swaks.stdout)).toContain('250 2.6.0')
    const [taken] = reception.house.taken
    expect(taken!.content.toString()).toContain('\r\n.one\r\n..two\r\n.\r\nthree\r\n')
    expect(taken!.forwardPaths.map(({ mailbox }) => mailbox.localPart)).toEqual(['b', 'c'])
  })

  test.skipIf(noOpenssl !== '').each(['-tls1_2', '-tls1_3'])(
    `openssl s_client: STARTTLS %s and a message${noOpenssl}`,
    async version => {
      await using reception = await receive({ mode: 'starttls', tls })
      const options = ['s_client', '-starttls', 'smtp', '-quiet', '-crlf', version]
      options.push('-connect', `127.0.0.1:${reception.port}`)
      const openssl = spawn('openssl', options, { stdio: ['pipe', 'pipe', 'ignore'] })
      openssl.stdin.write('EHLO c\nMAIL FROM:<>\nRCPT TO:<b@partner.test>\nDATA\n')
      await until(() => reception.house.begun === 1 && MemorySink.held === 1)
      openssl.stdin.write('x\n.\nQUIT\n')
      expect(await text(openssl.stdout)).toContain('250 2.6.0')
      expect(reception.house.taken[0]!.client.tls).toMatch(/^TLSv1/)
    },
  )
})

describe('draining', () => {
  test('idle sessions hear 421, a running transaction is finished first', async () => {
    await using reception = await receive()
    const idle = await greeted(reception)
    const running = await greeted(reception)
    await begin(running)
    const drained = reception.listener.drain(5000)
    expect(await idle.reply()).toMatch(/^421 4\.3\.2/)
    running.send('x\r\n.\r\n')
    expect(await running.reply()).toMatch(/^250/)
    expect(await running.reply()).toMatch(/^421 4\.3\.2/)
    idle.destroy()
    running.destroy()
    await drained
    expect(reception.listener.sessions).toBe(0)
    await expect(greeted(reception)).rejects.toThrow(/.+/)
  })

  test('what does not finish is cut off, not answered, and the house is told', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    reception.house.onContent = () => new Promise(() => {})
    await begin(wire)
    wire.send('x\r\n.\r\n')
    await sleep(30)
    await reception.listener.drain(100)
    expect(wire.unread).toBe('')
    expect(reception.house.aborted).toBe(1)
  })

  test('a new house takes what begins from now on', async () => {
    await using reception = await receive()
    const wire = await greeted(reception)
    await begin(wire)
    const next = new RecordingHouse()
    reception.listener.useHouse(next)
    expect(await wire.ask('x\r\n.')).toMatch(/^250/)
    await begin(wire)
    expect(await wire.ask('x\r\n.')).toMatch(/^250/)
    expect([reception.house.taken.length, next.taken.length]).toEqual([1, 1])
  })
})

test('B63 nothing raw from a stranger is logged, and no credentials', async () => {
  const lines: string[] = []
  const write = (event: string, fields?: object): void => {
    lines.push(JSON.stringify({ event, ...fields }))
  }
  const log: Log = { debug: write, info: write, warn: write, error: write, with: () => log }
  const authenticate = () => false
  await using reception = await receive({ mode: 'implicit', tls, authenticate }, log)
  const wire = await Wire.connectTls(reception.port)
  await wire.reply()
  await wire.ask('EHLO a')
  await wire.ask('AUTH PLAIN AHNlY3JldHVzZXIAc2VjcmV0cGFzcw==')
  await wire.ask('MAIL FROM:<\u001b[31m\u202e@b.test>')
  await wire.ask('EVIL\u001b[2J {"event":"x"}')
  wire.destroy()
  await until(() => lines.some(line => line.includes('session-end')))
  const all = lines.join('\n')
  expect(all).not.toMatch(/secret|AHNl|[\u001b\u202e]|\\u001b\[/)
  expect(all).toContain('"command-refused"')
})

test('the defaults are those that the documentation names', () => {
  expect(DEFAULT_LIMITS).toMatchObject({
    messageOctets: 52_428_800,
    recipients: 1000,
    connections: 2000,
    connectionsPerAddress: 50,
    junkCommands: 100,
    errors: 20,
    commandMs: 300_000,
    stressCommandMs: 10_000,
    dataOctetsPerSecond: 500,
    sessionMs: 1_800_000,
  })
})

async function greeted(reception: Reception): Promise<Wire> {
  const wire = await Wire.connect(reception.port)
  const greeting = await wire.reply()
  if (!greeting.startsWith('220')) throw new Error(`no greeting: ${greeting}`)
  return wire
}

/** Up to the 354. */
async function begin(wire: Wire, hello = 'EHLO client.example.test\r\n'): Promise<void> {
  wire.send(`${hello}MAIL FROM:<a@example.test>\r\nRCPT TO:<b@partner.test>\r\nDATA\r\n`)
  let heard = ''
  while (!heard.startsWith('354')) {
    heard = await wire.reply()
    if (!/^[23]/.test(heard)) throw new Error(`no transaction: ${heard}`)
  }
}

async function until(holds: () => boolean, timeoutMs = 4000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it never came to hold')
    await sleep(5)
  }
}
