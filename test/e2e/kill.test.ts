/**
 * The promise of custody: the whole process group is killed at random moments under load, and nothing
 * that was acknowledged is lost, nothing is altered.
 *
 * KILLS sets how often (default 50). `npm run trial:kill` kills 500 times.
 */
import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Sink, startSink } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, makeIdentityFolder } from '../support/identity-folder.ts'
import { openssl, opensslVerdict } from '../support/openssl.ts'
import { freePort } from '../support/ports.ts'

const KILLS = Number(process.env['KILLS'] ?? 50)
const CLIENTS = 8

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let sink: Sink
let identities: IdentityFolder

beforeAll(async () => {
  folder = await temporaryFolder('kill')
  sink = await startSink()
  identities = await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
})
afterAll(async () => {
  await sink.close()
  await folder.remove()
})

test(`custody: ${KILLS} kills of the process group under load lose nothing and alter nothing`, {
  timeout: 60_000 + KILLS * 6_000,
}, async () => {
  const port = await freePort()
  const load = startLoad(port)
  let gateway: GatewayProcess | undefined
  const restarts: number[] = []
  try {
    for (let kills = 0; kills < KILLS; kills++) {
      const before = Date.now()
      gateway = await startGateway(folder.path, configuration(port, sink.port))
      restarts.push(Date.now() - before)
      await new Promise(resolve => setTimeout(resolve, 50 + Math.random() * 600))
      await gateway.kill()
    }
    gateway = await startGateway(folder.path, configuration(port, sink.port))
    await load.finish()
  } finally {
    load.stop()
    await gateway?.kill()
  }

  const arrived = Map.groupBy(sink.messages, ({ octets }) => identifierOf(octets) ?? 'none')
  const acknowledged = load.acknowledged
  const lost = [...acknowledged.keys()].filter(id => !arrived.has(id))
  const altered = sink.messages.filter(({ octets }) => !unaltered(octets, acknowledged, load.sent))
  const twice = [...arrived.values()].filter(copies => copies.length > 1).length
  const slowest = Math.max(...restarts)
  console.log(
    `custody: ${KILLS} kills, ${load.attempts()} attempts, ${acknowledged.size} acknowledged, ` +
      `${sink.messages.length} arrived, lost ${lost.length}, altered ${altered.length}, twice ${twice}, ` +
      `listening again after ${slowest} ms at the most`,
  )
  expect(acknowledged.size).toBeGreaterThan(KILLS)
  expect(load.attempts()).toBeGreaterThan(acknowledged.size)
  expect(lost).toEqual([])
  expect(altered.length).toBe(0)
  expect(twice).toBeLessThanOrEqual(KILLS * CLIENTS)
  if (!openssl.missing) await verifySome(identities.rootFile)
})

/** Every copy that arrived is whole: a spread of them is verified by somebody else. */
async function verifySome(rootFile: string): Promise<void> {
  const step = Math.max(1, Math.floor(sink.messages.length / 40))
  for (let index = 0; index < sink.messages.length; index += step)
    expect(await opensslVerdict(sink.messages[index]!.octets, rootFile)).toBe('good')
}

/** A mail server's clients: each message is tried again until it is acknowledged. */
function startLoad(port: number) {
  const acknowledged = new Map<string, string>()
  const sent = new Map<string, string>()
  let attempts = 0
  let running = true
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (running) {
      const id = randomUUID()
      const body = bodyOf(id)
      sent.set(id, hashOf(body))
      while (!acknowledged.has(id)) {
        attempts++
        if (await attempt(port, id, body)) acknowledged.set(id, hashOf(body))
        else await new Promise(resolve => setTimeout(resolve, 30))
      }
      await new Promise(resolve => setTimeout(resolve, 40))
    }
  })
  return {
    acknowledged,
    sent,
    attempts: () => attempts,
    stop: () => {
      running = false
    },
    finish: async () => {
      running = false
      await Promise.all(clients)
    },
  }
}

async function attempt(port: number, id: string, body: string): Promise<boolean> {
  let client: TestClient | undefined
  try {
    client = await TestClient.open(port)
    const { end } = await client.send(
      'alice@example.test',
      ['bob@partner.test'],
      contentOf(id, body),
    )
    return end?.code === 250
  } catch {
    return false
  } finally {
    client?.close()
  }
}

function contentOf(id: string, body: string): Buffer {
  const header = `From: alice@example.test\r\nTo: bob@partner.test\r\nMessage-ID: <${id}@example.test>\r\n`
  return Buffer.from(
    `${header}Subject: custody\r\nDate: ${new Date().toUTCString()}\r\n\r\n${body}`,
  )
}

/** Some small, some larger than what is held in memory. */
function bodyOf(id: string): string {
  const lines = id.endsWith('0') ? 6_000 : 20 + (id.charCodeAt(0) % 50)
  return `BEGIN ${id}\r\n${`.line of ${id} with a dot in front\r\n`.repeat(lines)}END ${id}\r\n`
}

function identifierOf(octets: Buffer): string | undefined {
  return /^Message-ID: <([0-9a-f-]+)@/m.exec(octets.subarray(0, 4_096).toString('latin1'))?.[1]
}

function unaltered(
  octets: Buffer,
  acknowledged: Map<string, string>,
  sent: Map<string, string>,
): boolean {
  const id = identifierOf(octets)
  if (id === undefined) return false
  const text = octets.toString('latin1')
  const begin = text.indexOf(`BEGIN ${id}`)
  const end = text.indexOf(`END ${id}\r\n`)
  if (begin < 0 || end < 0 || !text.includes('smime.p7s')) return false
  const body = text.slice(begin, end + `END ${id}\r\n`.length)
  return hashOf(body) === (acknowledged.get(id) ?? sent.get(id))
}

const hashOf = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex')

function configuration(port: number, sinkPort: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: ${port}, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities: [{ files: identities/ }]
rules:
  - { name: outbound, when: { direction: outbound }, then: { sign: always } }
workers: 2
log: { level: warn }
`
}
