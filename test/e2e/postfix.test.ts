/**
 * Between two real mail servers: each has Postern as its relay host, and gets from Postern what is for
 * its own domain.
 *
 *     alice ─▶ A (example.test) ─▶ Postern ─▶ B (partner.test) ─▶ bob's Maildir
 *     alice's Maildir ◀─ A ◀─ Postern ◀─ B ◀─ bob
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestClient } from '../support/client.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, makeIdentityFolder } from '../support/identity-folder.ts'
import { openssl, opensslVerdict } from '../support/openssl.ts'
import { freePort } from '../support/ports.ts'
import { makePostfix, type Postfix, postfix } from '../support/postfix.ts'

const why = postfix.missing ?? openssl.missing
const about = why === undefined ? '' : ` (skipped: ${why})`

describe.skipIf(why !== undefined)(`between two Postfix instances${about}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let identities: IdentityFolder
  let gateway: GatewayProcess
  let a: Postfix
  let b: Postfix

  beforeAll(async () => {
    folder = await temporaryFolder('postfix')
    identities = await makeIdentityFolder(folder.path, { 'alice@example.test': 'rsa-2048' })
    const port = await freePort()
    const main = { relayhost: `[127.0.0.1]:${port}` }
    a = await makePostfix({
      name: 'a',
      main: { ...main, myhostname: 'a.example.test', virtual_mailbox_domains: 'example.test' },
      mailboxes: ['alice@example.test'],
    })
    b = await makePostfix({
      name: 'b',
      main: { ...main, myhostname: 'b.partner.test', virtual_mailbox_domains: 'partner.test' },
      mailboxes: ['bob@partner.test', 'carol@partner.test', 'dave@partner.test'],
    })
    await Promise.all([a.start(), b.start()])
    gateway = await startGateway(folder.path, configuration(port, a.port, b.port))
  })
  afterAll(async () => {
    await gateway?.stop()
    await Promise.all([a?.remove(), b?.remove()])
    await folder?.remove()
  })

  test('mail from A arrives at B signed, and OpenSSL says good', async () => {
    const sent = messageOf('outbound', 'Grüße\r\n.\r\n..dots\r\nFrom here on  \r\n')
    expect((await submit(a, 'alice@example.test', ['bob@partner.test'], sent)).end?.code).toBe(250)
    const [arrived] = await until(() => b.delivered('bob@partner.test'), 1)
    expect(arrived!.toString('latin1')).toContain('multipart/signed')
    expect(await opensslVerdict(arrived!, identities.rootFile)).toBe('good')
    expect(await a.queued()).toBe(0)
  })

  test('mail from B to A passes as it was sent', async () => {
    const body = 'Grüße zurück\r\n.\r\n\r\n  trailing  \r\n'
    const sent = messageOf('inbound', body, 'bob@partner.test', 'alice@example.test')
    const to = ['alice@example.test']
    expect((await submit(b, 'bob@partner.test', to, sent)).end?.code).toBe(250)
    const [arrived] = await until(() => a.delivered('alice@example.test'), 1)
    expect(belowTrace(arrived!)).toBe(sent.toString('latin1'))
  })

  test('an unknown recipient is refused at RCPT, with the words of the one who knows', async () => {
    const client = await TestClient.open(gateway.port)
    const { recipients, end } = await client.send(
      'alice@example.test',
      ['nobody@partner.test', 'carol@partner.test'],
      messageOf('half', 'half\r\n'),
    )
    client.close()
    expect(recipients[0]).toMatchObject({ code: 550 })
    expect(recipients[0]!.text).toMatch(/^5\.1\.1 .*nobody@partner\.test.*User unknown/)
    expect(recipients[1]).toMatchObject({ code: 250 })
    expect(end?.code).toBe(250)
    await until(() => b.delivered('carol@partner.test'), 1)
  })

  test('that refusal makes A report to the author, and nobody else reports anything', async () => {
    const before = (await a.delivered('alice@example.test')).length
    const sent = messageOf('bounce', 'to nobody\r\n')
    await submit(a, 'alice@example.test', ['nobody@partner.test'], sent)
    const boxed = await until(() => a.delivered('alice@example.test'), before + 1)
    const report = boxed
      .map(it => it.toString('latin1'))
      .find(it => it.includes('multipart/report'))
    expect(report).toMatch(/^Final-Recipient: rfc822; *nobody@partner\.test/m)
    expect(report).toMatch(/^Status: 5\.1\.1/m)
    expect(await a.queued()).toBe(0)
    expect(await b.queued()).toBe(0)
  })

  test('B is away for a while: nothing is lost, nothing comes twice', {
    timeout: 90_000,
  }, async () => {
    const ids = Array.from({ length: MESSAGES }, (_, index) => `away-${index}`)
    const client = await TestClient.open(a.port)
    for (const [index, id] of ids.entries()) {
      if (index === MESSAGES / 3) await b.stop()
      const { end } = await client.send(
        'alice@example.test',
        ['dave@partner.test'],
        messageOf(id, id),
      )
      expect(end?.code).toBe(250)
    }
    client.close()
    // As many as came while B was away have been tried, and are A's.
    await eventually(
      async () => (await a.log()).match(/status=deferred/g)?.length ?? 0,
      MESSAGES / 2,
    )
    expect(await a.queued()).toBeGreaterThan(0)

    await b.start()
    const flushed = performance.now()
    let arrived: readonly Buffer[] = []
    while (performance.now() - flushed < 60_000) {
      await a.flush()
      await pause(500)
      arrived = await b.delivered('dave@partner.test')
      if (arrived.length >= MESSAGES && (await a.queued()) === 0) break
    }
    const times = Map.groupBy(
      arrived,
      octets => /^Subject: (.*)\r$/m.exec(octets.toString('latin1'))?.[1],
    )
    console.log(
      `postfix: ${MESSAGES} sent, ${times.size} arrived, ${arrived.length - times.size} twice, ` +
        `${await a.queued()} left, ${Math.round(performance.now() - flushed)} ms after B was back`,
    )
    expect(new Set(times.keys())).toEqual(new Set(ids))
    expect(arrived).toHaveLength(MESSAGES)
    for (const octets of arrived.slice(0, 5))
      expect(await opensslVerdict(octets, identities.rootFile)).toBe('good')
  })
})

const MESSAGES = 30

async function submit(
  { port }: Postfix,
  from: string,
  to: readonly string[],
  octets: Buffer,
): ReturnType<TestClient['send']> {
  const client = await TestClient.open(port)
  try {
    return await client.send(from, to, octets)
  } finally {
    client.close()
  }
}

function messageOf(
  subject: string,
  body: string,
  from = 'alice@example.test',
  to = 'bob@partner.test',
): Buffer {
  const ends = body.endsWith('\r\n') ? body : `${body}\r\n`
  return Buffer.from(
    `From: ${from}\r\nTo: ${to}\r\nMessage-ID: <${subject}@example.test>\r\n` +
      `Date: ${new Date().toUTCString().replace('GMT', '+0000')}\r\nSubject: ${subject}\r\n` +
      'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      `Content-Transfer-Encoding: 8bit\r\n\r\n${ends}`,
  )
}

/** Without what each hop puts on top, our stamp among it. */
function belowTrace(octets: Buffer): string {
  return octets.toString('latin1').replace(TRACE, '')
}

async function until(
  look: () => Promise<readonly Buffer[]>,
  count: number,
): Promise<readonly Buffer[]> {
  await eventually(async () => (await look()).length, count)
  return look()
}

async function eventually(look: () => Promise<number>, least: number): Promise<void> {
  const end = performance.now() + 25_000
  while ((await look()) < least) {
    if (performance.now() > end) throw new Error(`it stays at ${await look()} of ${least}`)
    await pause(100)
  }
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))

function configuration(port: number, inbound: number, outbound: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: ${port}, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${inbound}, tls: none }
  outbound: { host: 127.0.0.1, port: ${outbound}, tls: none }
identities: [{ files: identities/ }]
rules:
  - { name: outbound, when: { direction: outbound, sender: "*@example.test" }, then: { sign: always } }
workers: 2
`
}

const TRACE =
  /^(?:(?:Return-Path|Delivered-To|X-Original-To|Received|Authentication-Results|X-Postern-[\w-]+):.*\r\n(?:[ \t].*\r\n)*)+/
