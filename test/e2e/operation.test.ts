/** Postern as its administrator handles it: started, stopped, reloaded, asked, and in trouble. */
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Sink, type SinkOptions, startSink } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { postern } from '../support/command-line.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { makeIdentityFolder } from '../support/identity-folder.ts'
import { freePort } from '../support/ports.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
/** What a test leaves running. */
const open: (() => unknown)[] = []

beforeAll(async () => {
  folder = await temporaryFolder('operation')
  await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})
afterAll(() => folder.remove())

async function sinkFor(options: SinkOptions = {}): Promise<Sink> {
  const sink = await startSink(options)
  open.push(() => sink.close())
  return sink
}

async function gatewayFor(configuration: string): Promise<GatewayProcess> {
  const gateway = await startGateway(folder.path, configuration)
  open.push(() => gateway.kill())
  return gateway
}

async function clientOf(port: number): Promise<TestClient> {
  const client = await TestClient.open(port)
  open.push(() => client.close())
  return client
}

const SIGN = '{ name: outbound, when: { direction: outbound }, then: { sign: always } }'
const PASS = '{ name: outbound, when: { direction: outbound }, then: { sign: never } }'

function configuration(port: number, sinkPort: number, rule = SIGN, more = ''): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: ${port}, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities: [{ files: identities/ }]
rules:
  - ${rule}
workers: 2
${more}`
}

function message(id: string, body = 'a line\r\n'): Buffer {
  return Buffer.from(
    `From: alice@example.test\r\nTo: bob@partner.test\r\nMessage-ID: <${id}@example.test>\r\n` +
      `Date: ${new Date().toUTCString()}\r\nSubject: ${id}\r\n\r\n${body}`,
  )
}

const idOf = (octets: Buffer): string =>
  /^Message-ID: <(.*)@example\.test>/m.exec(octets.toString('latin1'))?.[1] ?? ''
const isSigned = (octets: Buffer): boolean => octets.includes('multipart/signed')

describe('the command line', () => {
  const usages: readonly [string, readonly string[], number, RegExp][] = [
    ['--version', ['--version'], 0, /^postern \d+\.\d+\.\d+$/m],
    ['start --version', ['start', '--version'], 0, /^postern \d+\.\d+\.\d+$/m],
    ['cert why --version', ['cert', 'why', '--version'], 0, /^postern \d+\.\d+\.\d+$/m],
    ['an unknown verb --version', ['sing', '--version'], 2, /there is no verb "sing"/],
    ['--help', ['--help'], 0, /^usage: postern VERB/],
    ['no verb', [], 2, /^usage: postern VERB/],
    ['an unknown verb', ['sing'], 2, /there is no verb "sing"/],
    ['a verb that every object has', ['toString'], 2, /there is no verb/],
    ['start --help', ['start', '--help'], 0, /^usage: postern start/],
    ['check --help', ['check', '--help'], 0, /^usage: postern check/],
    ['explain --help', ['explain', '--help'], 0, /^usage: postern explain/],
    ['demo --help', ['demo', '--help'], 0, /^usage: postern demo/],
    ['start with an unknown option', ['start', '--confg', 'x'], 2, /hint: postern start --help/],
    ['check with an unknown option', ['check', '--confg', 'x'], 2, /usage: postern check/],
    ['explain with an unknown option', ['explain', '--confg', 'x'], 2, /usage: postern explain/],
    ['demo with an unknown option', ['demo', '--onc'], 2, /hint: postern demo --help/],
    ['demo on no port', ['demo', '--port', 'any'], 2, /usage: postern demo/],
    ['explain without a message', ['explain', '--to', 'bob@partner.test'], 2, /name one message/],
    ['start on no file', ['start', '--config', '/nowhere/p.yaml'], 1, /nowhere\/p\.yaml/],
    ['check on no file', ['check', '--config', '/nowhere/p.yaml'], 1, /nowhere\/p\.yaml/],
  ]
  test.each(usages)('%s', async (_, args, code, words) => {
    const ended = await postern(args)
    expect(`${ended.out}${ended.err}`).toMatch(words)
    expect(ended.code).toBe(code)
    // Whatever went wrong, nobody is shown where in our code.
    expect(ended.err).not.toMatch(/^ {4}at /m)
  })

  test('start with a broken configuration tells its faults and ends with 1', async () => {
    const file = join(folder.path, 'broken.yaml')
    await writeFile(file, configuration(0, 1).replace('sign:', 'sgin:').replace('2\n', 'two\n'))
    const { code, out, err } = await postern(['start', '--config', file])
    expect(code).toBe(1)
    expect(err).toMatch(/broken\.yaml:10:\d+ rules\[0\]\.then\.sgin/)
    expect(err).toMatch(/broken\.yaml:11:\d+ workers/)
    expect(err).toMatch(/hint: postern check --config /)
    expect(out).toBe('')
  })
})

describe('start', () => {
  test('"ready" comes once every listener accepts, with addresses and workers', async () => {
    const sink = await sinkFor()
    const gateway = await gatewayFor(
      configuration(0, sink.port).replace(
        'listen: [',
        'listen: [{ address: 127.0.0.1, port: 0, tls: none }, ',
      ),
    )
    expect(gateway.ports).toHaveLength(2)
    for (const port of gateway.ports)
      expect((await (await clientOf(port)).say('NOOP')).code).toBe(250)
    const ready = await gateway.until('ready')
    expect(ready).toMatchObject({ level: 'info', workers: 2 })
    expect(ready['addresses']).toMatchObject([{ address: '127.0.0.1' }, { address: '127.0.0.1' }])
    expect(await gateway.stop()).toBe(0)
    expect(gateway.lines.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['ready', 'draining', 'stopped']),
    )
    expect(gateway.errors()).toBe('')
  })

  test('a port that is taken: a clear error, and the end', async () => {
    const sink = await sinkFor()
    const first = await gatewayFor(configuration(0, sink.port))
    const file = join(folder.path, 'second.yaml')
    await writeFile(file, configuration(first.port, sink.port))
    const { code, out, err } = await postern(['start', '--config', file])
    expect(code).toBe(1)
    const lines = out.split('\n').filter(line => line !== '')
    expect(lines.map(line => JSON.parse(line) as unknown)).toContainEqual(
      expect.objectContaining({ level: 'error', event: 'start-failed' }),
    )
    expect(out + err).toContain(`cannot listen on 127.0.0.1 port ${first.port}`)
    expect(out + err).toMatch(/EADDRINUSE|in use/)
    expect(out).not.toContain('"ready"')
    expect((await (await clientOf(first.port)).say('NOOP')).code).toBe(250)
  })
})

describe('SIGTERM', () => {
  test('under load: what is in flight is finished or not answered; exit 0', {
    timeout: 60_000,
  }, async () => {
    const sink = await sinkFor({
      on: ({ verb }) => (verb === 'DOT' ? { reply: '250 2.0.0 taken', delayMs: 150 } : undefined),
    })
    const gateway = await gatewayFor(configuration(0, sink.port))
    const idle = await clientOf(gateway.port)
    const load = startLoad(gateway.port, 12)
    await until(() => load.acknowledged.length >= 30)
    const before = performance.now()
    const [code] = await Promise.all([gateway.stop(), load.finish()])
    const ms = Math.round(performance.now() - before)
    const arrived = new Set(sink.messages.map(({ octets }) => idOf(octets)))
    console.log(
      `SIGTERM: ${load.acknowledged.length} acknowledged, ${load.sent.length - load.acknowledged.length} ` +
        `in flight and unanswered, ${load.unanswered.length} after their dot, exit ${code} after ${ms} ms`,
    )
    expect(code).toBe(0)
    expect(ms).toBeLessThan(30_000)
    expect(load.acknowledged.filter(id => !arrived.has(id))).toEqual([])
    // A message that stood at its dot is waited for.
    expect(load.unanswered).toEqual([])
    expect((await idle.reply()).code).toBe(421)
    expect(gateway.errors()).toBe('')
  })
})

describe('SIGHUP', () => {
  test('10 times under load, every third broken: no session is dropped', {
    timeout: 120_000,
  }, async () => {
    const sink = await sinkFor()
    const port = await freePort()
    const gateway = await gatewayFor(configuration(port, sink.port))
    const file = join(folder.path, 'postern.yaml')
    const stays = await clientOf(port)
    const load = startLoad(port, 4, true)
    let inForce = SIGN
    let reloads = 0
    let refusals = 0
    for (let time = 1; time <= 10; time++) {
      const broken = time % 3 === 0
      const rule = time % 2 === 0 ? SIGN : PASS
      await writeFile(file, broken ? 'hostname: [\n' : configuration(port, sink.port, rule))
      process.kill(gateway.pid, 'SIGHUP')
      if (broken) refusals++
      else reloads++
      const [event, times] = broken ? ['reload-refused', refusals] : ['reloaded', reloads]
      await until(() => gateway.lines.filter(it => it['event'] === event).length === times, 30_000)
      // What the configuration now says holds for whoever comes now.
      const probe = `probe-${time}`
      const client = await TestClient.open(port)
      expect(
        (await client.send('alice@example.test', ['b@partner.test'], message(probe))).end?.code,
      ).toBe(250)
      client.close()
      const { octets } = sink.messages.find(it => idOf(it.octets) === probe)!
      if (!broken) inForce = rule
      expect(isSigned(octets)).toBe(inForce === SIGN)
    }
    await load.finish()
    console.log(
      `SIGHUP: ${reloads} reloads, ${refusals} refused, ${load.acknowledged.length} messages in ` +
        `${load.sessions()} sessions, dropped ${load.dropped()}`,
    )
    const arrived = new Set(sink.messages.map(({ octets }) => idOf(octets)))
    expect(load.acknowledged.filter(id => !arrived.has(id))).toEqual([])
    expect(load.acknowledged.length).toBeGreaterThan(20)
    expect(load.dropped()).toBe(0)
    expect(load.sessions()).toBe(4)

    // A session from before the first of them goes on, under the rules of now.
    const { end } = await stays.send('alice@example.test', ['b@partner.test'], message('stays'))
    expect(end?.code).toBe(250)
    expect(isSigned(sink.messages.find(it => idOf(it.octets) === 'stays')!.octets)).toBe(
      inForce === SIGN,
    )
    const refused = gateway.lines.find(({ event }) => event === 'reload-refused')!
    expect(JSON.stringify(refused['faults'])).toMatch(/postern\.yaml:\d+:\d+/)
    load.close()
    stays.close()
    expect(await gateway.stop()).toBe(0)
  })

  test('twice in a row, the later configuration stays', { timeout: 60_000 }, async () => {
    const sink = await sinkFor()
    const port = await freePort()
    const gateway = await gatewayFor(configuration(port, sink.port))
    const file = join(folder.path, 'postern.yaml')
    await writeFile(file, configuration(port, sink.port).replace('workers: 2', 'workers: 8'))
    process.kill(gateway.pid, 'SIGHUP')
    await new Promise(resolve => setTimeout(resolve, 150))
    await writeFile(file, configuration(port, sink.port, PASS).replace('workers: 2', 'workers: 1'))
    process.kill(gateway.pid, 'SIGHUP')
    const reloaded = () => gateway.lines.filter(({ event }) => event === 'reloaded')
    await until(() => reloaded().length === 2, 40_000)
    // The first may have been read when the second was written; whatever it was, the second stays.
    expect(reloaded().at(-1)?.['workers']).toBe(1)
    await until(() => childrenOf(gateway.pid).length === 1, 10_000)
  })
})

describe('a worker dies', () => {
  test('R2 the others notice nothing, and it is replaced', { timeout: 60_000 }, async () => {
    const sink = await sinkFor()
    const gateway = await gatewayFor(configuration(0, sink.port))
    const clients = await Promise.all(Array.from({ length: 6 }, () => clientOf(gateway.port)))
    const homes: number[] = []
    for (const [index, client] of clients.entries()) {
      await client.send('alice@example.test', ['b@partner.test'], message(`home-${index}`))
      homes.push(await homeOf(gateway, index))
    }
    const [victim] = childrenOf(gateway.pid)
    expect(new Set(homes).size).toBe(2)
    process.kill(victim!, 'SIGKILL')
    for (const [index, client] of clients.entries()) {
      if (homes[index] === victim) continue
      const { end } = await client.send(
        'alice@example.test',
        ['b@partner.test'],
        message(`after-${index}`),
      )
      expect(end?.code).toBe(250)
    }
    // Nobody has to wait for the successor.
    const fresh = await clientOf(gateway.port)
    expect(
      (await fresh.send('alice@example.test', ['b@partner.test'], message('x'))).end?.code,
    ).toBe(250)
    expect(await gateway.until('worker-died')).toMatchObject({ worker: victim, signal: 'SIGKILL' })
    await until(() => childrenOf(gateway.pid).length === 2, 10_000)
    expect(childrenOf(gateway.pid)).not.toContain(victim)
    expect(await gateway.stop()).toBe(0)
  })
})

test('R2 workers die one after the other while clients come in crowds', {
  timeout: 60_000,
}, async () => {
  const sink = await sinkFor()
  const wide = 'limits: { connectionsPerAddress: 1000 }\n'
  const gateway = await gatewayFor(configuration(0, sink.port, SIGN, wide))
  const load = startLoad(gateway.port, 8)
  const crowd = setInterval(() => {
    for (let one = 0; one < 20; one++) {
      const socket = connect(gateway.port, '127.0.0.1')
      socket.on('error', () => undefined)
      setTimeout(() => socket.destroy(), 300)
    }
  }, 20)
  open.push(() => clearInterval(crowd))
  const died = () => gateway.lines.filter(({ event }) => event === 'worker-died').length
  for (let time = 1; time <= 6; time++) {
    await until(() => childrenOf(gateway.pid).length === 2)
    // The successor has to listen before the last one who does is killed too.
    await new Promise(resolve => setTimeout(resolve, 1_200))
    process.kill(childrenOf(gateway.pid)[time % 2]!, 'SIGKILL')
    await until(() => died() >= time)
  }
  clearInterval(crowd)
  const finished = load.finish()
  await new Promise(resolve => setTimeout(resolve, 1_000))
  // Whoever was handed to a dying worker waits in vain, as with any server that loses power.
  load.close()
  await finished
  const arrived = new Set(sink.messages.map(({ octets }) => idOf(octets)))
  console.log(
    `R2: 6 workers killed, ${load.acknowledged.length} acknowledged, ${load.unanswered.length} unanswered`,
  )
  expect(load.acknowledged.length).toBeGreaterThan(20)
  expect(load.acknowledged.filter(id => !arrived.has(id))).toEqual([])
  const fresh = await clientOf(gateway.port)
  const { end } = await fresh.send('alice@example.test', ['b@partner.test'], message('fresh'))
  expect(end?.code).toBe(250)
  expect(await gateway.stop()).toBe(0)
})

describe('explain', () => {
  const from = ['--from', 'alice@example.test']
  const explain = async (octets: Buffer, args: readonly string[], rule = SIGN) => {
    const file = join(folder.path, 'explain.yaml')
    const eml = join(folder.path, 'message.eml')
    await writeFile(file, configuration(0, 1, rule))
    await writeFile(eml, octets)
    return postern(['explain', eml, '--config', file, ...args])
  }

  test('in words: rule, certificate and source, algorithm, action, what would change it', async () => {
    const to = ['--to', 'bob@partner.test', '--to', 'carol@example.test']
    const { code, out } = await explain(message('words'), [...from, ...to])
    expect(code).toBe(0)
    const [bob, carol] = out.split('\n\n') as [string, string]
    expect(bob).toMatch(/^bob@partner\.test\n/)
    expect(bob).toMatch(/^ {2}rule +outbound$/m)
    expect(bob).toMatch(/^ {2}action +sign \(clear\)$/m)
    expect(bob).toMatch(/^ {2}certificate +.*alice@example\.test/m)
    expect(bob).toMatch(/^ {4}from +.*identities\/alice@example\.test\.pem$/m)
    expect(bob).toMatch(/^ {4}algorithm +\S*ecdsa/im)
    expect(bob).toMatch(
      /^ {2}otherwise +with sign: never in rule outbound it would not be signed$/m,
    )
    expect(carol).toMatch(/^ {2}direction +inbound, by next hop inbound$/m)
    expect(carol).toMatch(/^ {2}action +verify, stamp$/m)
    expect(carol).toMatch(
      /^ {2}inbound +its signature is verified, and the verdict stamped on it$/m,
    )
    expect(carol).toMatch(/^ {2}otherwise +with verify: require in a rule that matches it would/m)
  })

  test('--json: the same for programs', async () => {
    const { code, out } = await explain(message('json'), [
      ...from,
      '--to',
      'bob@partner.test',
      '--json',
    ])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject([
      {
        recipient: 'bob@partner.test',
        direction: 'outbound',
        rule: 'outbound',
        action: 'sign (clear)',
        refused: false,
        author: 'alice@example.test',
        certificate: {
          source: join(folder.path, 'identities', 'alice@example.test.pem'),
          algorithm: expect.stringMatching(/ecdsa/i) as string,
          fingerprint: expect.stringMatching(/^[0-9a-f:]{40,}$/i) as string,
        },
        change: [expect.stringContaining('sign: never') as string],
      },
    ])
  })

  test('somebody would be refused: exit 1, and why', async () => {
    const mail = Buffer.from(message('x').toString().replace('From: alice', 'From: nobody'))
    const { code, out } = await explain(mail, [...from, '--to', 'bob@partner.test'])
    expect(code).toBe(1)
    expect(out).toMatch(/^ {2}action +refuse for good \(550\)$/m)
    expect(out).toMatch(/nobody@example\.test/)
    expect(out).toMatch(/with a usable identity for its author it would be signed/)
  })

  test('a message that only calls itself signed does not get out of an always', async () => {
    const labelled = Buffer.from(
      'From: alice@example.test\nMIME-Version: 1.0\nContent-Type: multipart/signed; micalg=sha-256;\n' +
        ' protocol="application/pkcs7-signature"; boundary=b\n\n--b\n\nx\n--b--\n',
    )
    const { code, out } = await explain(labelled, [...from, '--to', 'bob@partner.test'])
    expect(code).toBe(0)
    expect(out).toMatch(/^ {2}classes +none$/m)
    expect(out).toMatch(/^ {2}action +sign/m)
  })

  test('what the message says cannot steer the terminal', async () => {
    const hostile = Buffer.from(
      'From: "\u001b[2J" <a\u202eb@example.test>\nSubject: \u001b]0;x\u0007\n\nx\n',
    )
    const { out, err } = await explain(hostile, ['--to', 'bob@partner.test'])
    expect(out + err).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/)
  })
})

describe('demo', () => {
  test('--once shows what was promised, ends with 0 and leaves nothing behind', {
    timeout: 60_000,
  }, async () => {
    const empty = join(folder.path, 'empty')
    await mkdir(empty)
    const { code, out, err } = await postern(['demo', '--once', '--port', '0'], {
      env: { TMPDIR: empty },
    })
    expect(err).toBe('')
    expect(code).toBe(0)
    expect(out).toMatch(/arrived for bob@partner\.test +signed/)
    expect(out).toMatch(/arrived for robot@machines\.test +as it was/)
    expect(out).toMatch(
      /decided for alice@example\.test.*encryption opened, signature pass \(good\)/,
    )
    expect(out).toMatch(/stamped +gw\.example\.test; smime=pass .*carol@partner\.test/)
    expect(out).toMatch(/its sender claims +X-Postern-Signature: pass; code=good/)
    expect(out).toMatch(/stamped +gw\.example\.test; smime=none\n +taken off +every claim of its/)
    expect(out).toMatch(/every message came out as promised/)
    expect(await readdir(empty)).toEqual([])
  })

  test('on a port that is taken: a clear error, and nothing is left behind', async () => {
    const sink = await sinkFor()
    const taken = join(folder.path, 'taken')
    await mkdir(taken)
    const { code, err } = await postern(['demo', '--once', '--port', String(sink.port)], {
      env: { TMPDIR: taken },
    })
    expect(code).toBe(1)
    expect(err).toContain(`cannot listen on 127.0.0.1 port ${sink.port}`)
    expect(await readdir(taken)).toEqual([])
  })
})

describe('a disk that is full', () => {
  const noTmpfs = process.getuid?.() === 0 ? undefined : 'only root can mount a tmpfs'
  const about = noTmpfs === undefined ? '' : ` (skipped: ${noTmpfs})`

  test.skipIf(noTmpfs !== undefined)(
    `R4 452 for what does not fit, small mail flows on, and it recovers alone${about}`,
    { timeout: 60_000 },
    async () => {
      const disk = join(folder.path, 'disk')
      await mkdir(disk)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk])
      open.push(() => execFileSync('umount', ['-l', disk]))
      const sink = await sinkFor()
      const before = process.env['TMPDIR']
      process.env['TMPDIR'] = disk
      const gateway = await gatewayFor(configuration(0, sink.port)).finally(() => {
        if (before === undefined) delete process.env['TMPDIR']
        else process.env['TMPDIR'] = before
      })
      const large = message('large', `${'x'.repeat(76)}\r\n`.repeat(80_000))
      const client = await clientOf(gateway.port)
      const send = (octets: Buffer) => client.send('alice@example.test', ['b@partner.test'], octets)
      expect((await send(large)).end).toMatchObject({
        code: 452,
        text: expect.stringMatching(/^4\.3\.1 /) as string,
      })
      expect((await send(message('small'))).end?.code).toBe(250)
      expect((await send(message('middle', 'y\r\n'.repeat(300_000)))).end?.code).toBe(250)
      // Somebody else fills it to the brim.
      await writeFile(join(disk, 'brim'), Buffer.alloc(4 * 1024 * 1024)).catch(() => undefined)
      const middle = message('again', 'y\r\n'.repeat(300_000))
      expect((await send(middle)).end).toMatchObject({ code: 452 })
      expect((await send(message('small-2'))).end?.code).toBe(250)
      execFileSync('rm', [join(disk, 'brim')])
      expect((await send(middle)).end?.code).toBe(250)
      expect(sink.messages.map(({ octets }) => idOf(octets))).toEqual([
        'small',
        'middle',
        'small-2',
        'again',
      ])
      expect(await readdir(disk)).toEqual([])
      expect(gateway.lines.some(({ event }) => event === 'content-store-failed')).toBe(true)
    },
  )
})

/** Clients that send one message after the other, in sessions of 5 messages or in one that lasts. */
function startLoad(port: number, count: number, lasting = false) {
  const acknowledged: string[] = []
  const sent: string[] = []
  const unanswered: string[] = []
  let sessions = 0
  let dropped = 0
  let running = true
  const clients: TestClient[] = []
  const one = async (client: TestClient, id: string): Promise<boolean> => {
    sent.push(id)
    let atDot = false
    try {
      if ((await client.say('MAIL FROM:<alice@example.test>')).code !== 250) return false
      await client.say('RCPT TO:<bob@partner.test>')
      if ((await client.say('DATA')).code !== 354) return false
      client.write(`${message(id).toString()}.\r\n`)
      atDot = true
      const { code } = await client.reply()
      if (code === 250) acknowledged.push(id)
      return code === 250
    } catch {
      if (atDot) unanswered.push(id)
      return false
    }
  }
  const work = Array.from({ length: count }, async (_, who) => {
    for (let session = 0; running; session++) {
      const client = await TestClient.open(port, 5_000).catch(() => undefined)
      if (!client) continue
      clients.push(client)
      sessions++
      for (let nth = 0; running && (lasting || nth < 5); nth++) {
        if (!(await one(client, `load-${who}-${session}-${nth}`))) {
          if (running) dropped++
          break
        }
        if (lasting) await new Promise(resolve => setTimeout(resolve, 20))
      }
    }
  })
  return {
    acknowledged,
    sent,
    unanswered,
    sessions: () => sessions,
    dropped: () => dropped,
    async finish() {
      running = false
      await Promise.all(work)
    },
    close() {
      for (const client of clients) client.close()
    },
  }
}

/** Processes that a process has started. */
function childrenOf(pid: number): number[] {
  const listed = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)]).toString()
  return listed.trim().split(/\s+/).map(Number)
}

/** Which worker has handled the nth message. */
async function homeOf(gateway: GatewayProcess, nth: number): Promise<number> {
  const told = () => gateway.lines.filter(({ event }) => event === 'message')
  await until(() => told().length > nth)
  return Number(told()[nth]!['pid'])
}

async function until(condition: () => boolean, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come to that')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
