/**
 * Encryption as an administrator has it: a gateway that runs, certificates in a folder and in a real
 * LDAP directory, and what becomes of mail while that directory is in trouble.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rename, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import {
  certificatePem,
  type Issued,
  issue,
  type KeyPair,
  makeKeyPair,
} from '../../src/crypto/x509/issue.ts'
import { type Sink, type SinkMessage, type SinkOptions, startSink } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { postern } from '../support/command-line.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { openEntity } from '../support/open-envelope.ts'
import { type DirectoryEntry, slapd, startDirectory } from '../support/slapd.ts'

// Most of it is waiting, for breakers and for processes that start side by side.
vi.setConfig({ testTimeout: 60_000 })

const CANARY = 'canary-77d0a1'
const AUTHOR = 'alice@example.test'
const ANN = 'ann@partner.test'
const BEN = 'ben@partner.test'
const CLEO = 'cleo@partner.test'

/** Whom the LDAP directory knows by a certificate of their own, beside Ann. */
const CROWD = Array.from({ length: 40 }, (_, number) => `person${number}@partner.test`)
const people: Record<string, Issued> = {}
let authority: IdentityFolder
let authorityFolder: Awaited<ReturnType<typeof temporaryFolder>>
let keys: KeyPair
/** Bears the right address, and nobody trusts who has issued it. */
let forged: Issued

beforeAll(async () => {
  authorityFolder = await temporaryFolder('authority')
  authority = await makeIdentityFolder(authorityFolder.path, { [AUTHOR]: 'p-256' })
  keys = await makeKeyPair('p-256')
  for (const address of [ANN, BEN, CLEO, 'mallory@partner.test', ...CROWD])
    people[address] = await person(address)
  const stranger = await issue({ ...lifetime(), commonName: 'Test Root', authority: true })
  forged = await person('forged@partner.test', stranger)
})
afterAll(() => authorityFolder.remove())

function person(address: string, issuer = authority.issuing): Promise<Issued> {
  return issue({
    ...lifetime(),
    commonName: address,
    addresses: [address],
    issuer,
    key: keys,
    keyUsage: ['digitalSignature', 'keyAgreement'],
  })
}

describe.concurrent('certificates in a folder', () => {
  test('one with a certificate, one without, one hidden: each as he may, and nobody shown', async ctx => {
    const house = await startHouse(ctx, { known: [ANN, CLEO] })
    const { end } = await house.send('', [ANN, BEN, CLEO])
    expect(end).toMatchObject({ code: 250 })
    const { messages } = house.sink
    expect(messages.map(it => it.forwardPaths.join()).toSorted()).toEqual([ANN, BEN, CLEO])
    expect(opened(messages, ANN)).toContain(CANARY)
    expect(opened(messages, CLEO)).toContain(CANARY)
    expect(copyFor(messages, BEN).octets.toString()).toContain(CANARY)
    expectUnnamed(messages, CLEO)
  })

  test('always: 550 names who has none, and the next hop saw no message', async ctx => {
    const house = await startHouse(ctx, { known: [ANN, CLEO] })
    const { end } = await house.send('[always]', [ANN, BEN, CLEO])
    expect(end?.code).toBe(550)
    expect(end?.text).toMatch(/^5\.7\.\d+ .*<ben@partner\.test>/)
    expect(end?.text).not.toContain(CLEO)
    expectNothingSaid(house.sink)
  })

  test.for([
    ['written in place', (file: string, pem: string) => writeFile(file, pem)],
    [
      'moved in',
      async (file: string, pem: string) => {
        await writeFile(`${file}.new`, pem)
        await rename(`${file}.new`, file)
      },
    ],
  ] as const)(
    'defer: 451, the certificate is %s, and the retry reaches each once',
    async ([, drop], ctx) => {
      const house = await startHouse(ctx, { known: [ANN, CLEO], workers: 2 })
      const id = 'deferred'
      for (let turn = 0; turn < 3; turn++) {
        const { end } = await house.send('[defer]', [ANN, BEN, CLEO], id)
        expect(end?.code).toBe(451)
        expect(end?.text).toMatch(/^4\.7\.\d+ .*<ben@partner\.test>/)
      }
      expectNothingSaid(house.sink)

      await drop(join(house.certificates, 'ben.pem'), certificatePem(people[BEN]!.der))
      const began = performance.now()
      const turns = await retry(() => house.send('[defer]', [ANN, BEN, CLEO], id))
      console.log(
        `certificate dropped in: sent ${(performance.now() - began).toFixed(0)} ms later, try ${turns}`,
      )
      const { messages } = house.sink
      expect(messages.flatMap(it => it.forwardPaths).toSorted()).toEqual([ANN, BEN, CLEO])
      for (const who of [ANN, BEN, CLEO]) expect(opened(messages, who)).toContain(CANARY)
      expectUnnamed(messages, CLEO)
      expect(await house.clearIn(house.logged())).toEqual([])
    },
  )

  test('sent to some, and the certificate of one of them comes before the retry: nobody gets it twice', async ctx => {
    let refuse = true
    // Whoever is hidden from the others is told 451 at his dot, as long as we say so.
    const house = await startHouse(ctx, {
      known: [ANN, CLEO],
      sink: {
        on: ({ verb, connection }) =>
          verb === 'DOT' && refuse && talksTo(house.sink, connection, CLEO)
            ? '451 4.3.0 later'
            : undefined,
      },
    })
    const first = await house.send('', [ANN, BEN, CLEO], 'twice')
    expect(first.end?.code).toBe(451)
    expect(house.sink.messages.flatMap(it => it.forwardPaths).toSorted()).toEqual([ANN, BEN])
    refuse = false
    await writeFile(join(house.certificates, 'ben.pem'), certificatePem(people[BEN]!.der))
    await sleep(100)
    const second = await house.send('', [ANN, BEN, CLEO], 'twice')
    expect(second.end?.code).toBe(250)
    const { messages } = house.sink
    expect(messages.flatMap(it => it.forwardPaths).toSorted()).toEqual([ANN, BEN, CLEO])
    expect(opened(messages, CLEO)).toContain(CANARY)
    expectUnnamed(messages, CLEO)
  })
})

describe.concurrent('the log', () => {
  test('tells why a recipient gets nothing, and no address where none is wished', async ctx => {
    const silent = await startTroubled(ctx, 'refused', 1)
    for (const ldap of [undefined, silent.url]) {
      const house = await startHouse(ctx, { ldap, more: 'log: { addresses: none }' })
      const { end } = await house.send('[always]', [BEN])
      expect(end?.code).toBe(ldap ? 451 : 550)
      await house.until('message')
      const told = JSON.stringify(house.lines.filter(({ event }) => event === 'message'))
      expect(told).toMatch(ldap ? /"silence":"[^"]*ECONNREFUSED/ : /no source knows/)
      expect(told).not.toMatch(/@partner/)
    }
  })
})

describe.concurrent('explain', () => {
  test('names certificate, source, algorithms, and what would change it', async ctx => {
    const house = await startHouse(ctx, { known: [ANN, CLEO] })
    const file = join(house.folder, 'message.eml')
    await writeFile(file, message('[always]', 'explained'))
    const serial = serialOf(ANN).toString('hex')
    const args = ['explain', file, '--from', AUTHOR, '--to', ANN, '--to', BEN]
    args.push('--config', join(house.folder, 'postern.yaml'))

    const words = await postern(args)
    expect(words.code).toBe(1)
    const [ann, ben] = words.out.split('\n\n')
    expect(ann).toMatch(/rule +strict/)
    expect(ann).toMatch(/action +sign, then encrypt/)
    expect(ann).toMatch(new RegExp(`encrypted to .*ann@partner\\.test.*${serial}`, 'i'))
    expect(ann).toContain(`files:${house.certificates}`)
    expect(ann).toMatch(/algorithms +AES-\d{3}-\w+, .*ECDH/i)
    expect(ann).toMatch(/otherwise .*encrypt: never in rule strict/)
    expect(ben).toMatch(/action +refuse for good \(550\)/)
    expect(ben).toMatch(/why .*no source knows a certificate of this recipient/)
    expect(ben).toMatch(/otherwise .*with a certificate of the recipient/)

    const json = await postern([...args, '--json'])
    expect(json.code).toBe(1)
    const [first, second] = JSON.parse(json.out) as Record<string, unknown>[]
    expect(first).toMatchObject({
      recipient: ANN,
      rule: 'strict',
      refused: false,
      encryption: {
        certificate: expect.stringContaining(serial),
        source: `files:${house.certificates}`,
        via: 'address',
        fingerprint: parseCertificate(people[ANN]!.der).fingerprint,
        algorithms: expect.stringMatching(/AES.*ECDH/i),
      },
      change: expect.arrayContaining([expect.stringContaining('encrypt: never')]),
    })
    expect(second).toMatchObject({ recipient: BEN, refused: true, considered: [] })
    expect(second).not.toHaveProperty('encryption')
    expect(house.sink.connections).toHaveLength(0)
  })

  test('a directory that is silent is told as such, and why', async ctx => {
    const silent = await startTroubled(ctx, 'silent', 1)
    const house = await startHouse(ctx, { ldap: silent.url })
    const file = join(house.folder, 'message.eml')
    await writeFile(file, message('', 'explained'))
    const args = ['explain', file, '--from', AUTHOR, '--to', ANN]
    const { code, out } = await postern([...args, '--config', join(house.folder, 'postern.yaml')])
    expect(code).toBe(1)
    expect(out).toMatch(/action +refuse for now \(451\)/)
    expect(out).toMatch(/why .*ldap:127\.0\.0\.1:\d+ did not answer/)
    expect(out).toMatch(/silent +\S*ldap:.*no answer in \d+ ms/)
    const why = await postern(['cert', 'why', ANN, '--config', join(house.folder, 'postern.yaml')])
    expect(why.code).toBe(1)
    expect(why.out).toMatch(/silent +\S*ldap:.*no answer in \d+ ms/)
  })
})

const withSlapd = slapd.missing ? `, skipped: ${slapd.missing}` : ''

describe.skipIf(slapd.missing).concurrent(`a real slapd in trouble${withSlapd}`, () => {
  test('R9 stopped: what is remembered serves, the rest is deferred at once, and it recovers', async ctx => {
    const directory = await directoryOf(ctx, entries())
    const house = await startHouse(ctx, { ldap: directory.url })
    expect((await house.send('', [ANN])).end).toMatchObject({ code: 250 })
    await directory.stop()

    const times = await deferrals(house, 8)
    const kept: number[] = []
    for (let turn = 0; turn < 10; turn++) {
      const began = performance.now()
      expect((await house.send('', [ANN])).end?.code).toBe(250)
      kept.push(performance.now() - began)
    }
    expect(house.sink.messages).toHaveLength(11)
    expect(Math.max(...times)).toBeLessThan(1000)
    await expectNoCanary(house)

    await directory.start()
    const began = performance.now()
    await retry(() => house.send('', [CROWD[0]!]), 40_000)
    console.log(
      `R9 stopped: deferred after ${figures(times)}; remembered ones sent in ${figures(kept)}; ` +
        `back ${seconds(performance.now() - began)} after slapd`,
    )
    expect(opened(house.sink.messages, CROWD[0]!)).toContain(CANARY)
    await expectNoCanary(house)
  })

  test.for(['silent', 'slow'] as const)(
    'R9 %s: deferred after 2 s, after five at once; what is remembered serves',
    async (behaviour, ctx) => {
      const directory = await directoryOf(ctx, entries())
      const proxy = await startTroubled(ctx, 'pass', Number(new URL(directory.url).port))
      const house = await startHouse(ctx, { ldap: proxy.url })
      expect((await house.send('', [ANN])).end).toMatchObject({ code: 250 })
      proxy.become(behaviour)

      const began = performance.now()
      const held = house.heldFiles()
      const times = await Promise.all(
        CROWD.slice(0, 6).map(async who => (await deferral(house, who, 'large')).lasted),
      )
      expect(performance.now() - began).toBeLessThan(4000)
      for (const lasted of times) expect(lasted).toBeGreaterThan(1800)
      for (const octets of await held) expect(octets.includes(CANARY)).toBe(false)
      // Linux shows them.
      expect((await held).length > 0).toBe(existsSync('/proc/self/fd'))
      const fast = await deferrals(house, 5)
      expect(Math.max(...fast)).toBeLessThan(1000)
      expect((await house.send('[always]', [ANN])).end?.code).toBe(250)
      console.log(`R9 ${behaviour}: deferred after ${figures(times)}; then ${figures(fast)}`)
      await expectNoCanary(house)
    },
  )

  test("R9 lying: somebody else's certificate is never used, and turns nothing off", async ctx => {
    const directory = await directoryOf(ctx, entries())
    const house = await startHouse(ctx, { ldap: directory.url })
    for (const word of ['', '[always]', '[defer]'])
      for (const who of ['lied@partner.test', 'damaged@partner.test']) {
        const { end } = await house.send(word, [who, ANN])
        expect(end?.code, `${word} ${who}`).toBe(451)
        expect(end?.text).toMatch(new RegExp(`^4\\.4\\.\\d .*<${who}>`))
      }
    expectNothingSaid(house.sink)
    // One that a stranger made for him is there, and may not be used: it counts as none.
    const { end } = await house.send('[always]', ['forged@partner.test', ANN])
    expect(end?.code).toBe(550)
    expect(end?.text).toMatch(/^5\.7\.\d .*<forged@partner\.test>/)
    expectNothingSaid(house.sink)
    // Who really has none is told apart from who is lied about.
    expect((await house.send('[always]', ['none@partner.test'])).end?.code).toBe(550)
    // Lies about one do not open the breaker for the others.
    expect((await house.send('[always]', [ANN])).end?.code).toBe(250)
    expect(house.logged()).toContain("somebody else's certificate")
    await expectNoCanary(house)
  })

  test('R9 10,000 entries: found at once, and 200 messages at a time', async ctx => {
    const filler = people['mallory@partner.test']!.der
    const many = function* (): Generator<DirectoryEntry> {
      yield* entries()
      for (let number = 0; number < 10_000; number++)
        yield { mail: [`u${number}@partner.test`], userCertificate: [filler] }
    }
    const directory = await directoryOf(ctx, many())
    const house = await startHouse(ctx, { ldap: directory.url })
    const cold: number[] = []
    for (const who of CROWD.slice(0, 10)) {
      const began = performance.now()
      expect((await house.send('[always]', [who])).end?.code).toBe(250)
      cold.push(performance.now() - began)
    }
    const began = performance.now()
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, number) =>
        house.send('[always]', [
          number % 5 === 4 ? `u${number}@partner.test` : CROWD[number % 40]!,
        ]),
      ),
    )
    const lasted = performance.now() - began
    for (const [number, { end }] of outcomes.entries())
      expect(end?.code).toBe(number % 5 === 4 ? 451 : 250)
    expect(house.sink.messages).toHaveLength(170)
    console.log(
      `R9 10,000 entries: asked and sent in ${figures(cold)}; 200 at a time in ${seconds(lasted)}`,
    )
    await expectNoCanary(house)
  })
})

describe.concurrent('servers that are none', () => {
  test('nobody is asked for a certificate to which no rule would encrypt', async ctx => {
    const server = await startTroubled(ctx, 'closing', 1)
    const house = await startHouse(ctx, { ldap: server.url })
    const { end } = await house.send('', [AUTHOR])
    expect(end?.code).toBe(250)
    expect(server.connections()).toBe(0)
    await deferral(house, ANN)
    expect(server.connections()).toBeGreaterThan(0)
  })

  test('R9 garbage, closing, refused: deferred, never in clear', async ctx => {
    for (const behaviour of ['garbage', 'closing', 'refused'] as const) {
      const server = await startTroubled(ctx, behaviour, 1)
      const house = await startHouse(ctx, { ldap: server.url })
      const times = await deferrals(house, 8)
      expect(Math.max(...times)).toBeLessThan(2500)
      console.log(`R9 ${behaviour}: deferred after ${figures(times)}`)
      expectNothingSaid(house.sink)
      await expectNoCanary(house)
    }
  })
})

/** What the LDAP directory holds. */
function* entries(): Generator<DirectoryEntry> {
  for (const address of [ANN, ...CROWD])
    yield { mail: [address], userCertificate: [people[address]!.der] }
  yield { mail: ['lied@partner.test'], userCertificate: [people['mallory@partner.test']!.der] }
  yield { mail: ['forged@partner.test'], userCertificate: [forged.der] }
  yield { mail: ['none@partner.test'] }
  yield {
    mail: ['damaged@partner.test'],
    userSMIMECertificate: [Buffer.from('300401020304', 'hex')],
  }
}

/** A test that runs beside others has to say itself what is to end with it. */
type Ending = Pick<TestContext, 'onTestFinished'>

async function directoryOf({ onTestFinished }: Ending, all: Iterable<DirectoryEntry>) {
  const directory = await startDirectory(all)
  onTestFinished(() => directory.remove())
  return directory
}

interface House extends GatewayProcess {
  readonly folder: string
  readonly certificates: string
  readonly sink: Sink
  /** Sends the canary, with a word in the subject that picks the rule. */
  send(word: string, to: readonly string[], id?: string): ReturnType<TestClient['send']>
  /** All that it has said to whoever runs it. */
  logged(): string
  /** Where the canary stands in clear, of these words and of every file below its folder. */
  clearIn(words: string): Promise<string[]>
  /** As soon as there are some: what stands in files that it holds open and nobody else can see. */
  heldFiles(): Promise<Buffer[]>
}

interface Wanted {
  /** Who has a certificate in the folder. */
  readonly known?: readonly string[]
  readonly ldap?: string | undefined
  /** Lines of configuration. */
  readonly more?: string
  readonly workers?: number
  readonly sink?: SinkOptions
}

async function startHouse({ onTestFinished }: Ending, wanted: Wanted): Promise<House> {
  const { known = [], ldap, workers = 1, more = '' } = wanted
  const temporary = await temporaryFolder('encryption')
  const folder = temporary.path
  const sink = await startSink(wanted.sink)
  const { certificates } = await folders(folder, known)
  const gateway = await startGateway(folder, configuration(sink.port, workers, ldap) + more)
  onTestFinished(async () => {
    await gateway.kill()
    await sink.close()
    await temporary.remove()
  })
  const logged = () => gateway.lines.map(line => JSON.stringify(line)).join('\n') + gateway.errors()
  return {
    ...gateway,
    folder,
    certificates,
    sink,
    logged,
    async send(word, to, id = `m${counter++}`) {
      const client = await TestClient.open(gateway.port)
      try {
        return await client.send(AUTHOR, to, message(word, id))
      } finally {
        client.close()
      }
    },
    async clearIn(words) {
      const files = await readdir(folder, { recursive: true, withFileTypes: true })
      const read = await Promise.all(
        files
          .filter(file => file.isFile() && !file.name.endsWith('.eml'))
          .map(
            async file => [file.name, await readFile(join(file.parentPath, file.name))] as const,
          ),
      )
      const found = read.filter(([, octets]) => octets.includes(CANARY)).map(([name]) => name)
      return words.includes(CANARY) ? ['log', ...found] : found
    },
    async heldFiles() {
      for (let turn = 0; turn < 40; turn++) {
        await sleep(50)
        const held = await deletedFilesOf(gateway.pid)
        if (held.length > 0) return held
      }
      return []
    },
  }
}

let counter = 0

async function folders(folder: string, known: readonly string[]) {
  const certificates = join(folder, 'certificates')
  await mkdir(certificates)
  await writeFile(join(certificates, 'issuing.pem'), certificatePem(authority.issuing.der))
  for (const who of known)
    await writeFile(join(certificates, `${who}.pem`), certificatePem(people[who]!.der))
  return { certificates }
}

function configuration(sinkPort: number, workers: number, ldap: string | undefined): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 0, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities: [{ files: "${authority.files}" }]
certificates:
  - { files: certificates/ }
${ldap ? `  - { ldap: { url: "${ldap}", base: "dc=partner,dc=test" } }` : ''}
trust: { anchors: ["${authority.rootFile}"], revocation: off }
rules:
  - name: strict
    when: { direction: outbound, subject: "[always]" }
    then: { sign: always, encrypt: always, otherwise: reject }
  - name: patient
    when: { direction: outbound, subject: "[defer]" }
    then: { sign: always, encrypt: always, otherwise: defer }
  - name: lax
    when: { direction: outbound }
    then: { sign: when-possible, encrypt: when-possible }
limits: { memoryPerMessage: 4096, connectionsPerAddress: 500 }
state: data/
workers: ${workers}
`
}

const DATE = new Date().toUTCString()

/** Ann and Ben are addressed for all to see; everybody else is hidden. Longer than memory holds. */
function message(word: string, id: string): Buffer {
  return Buffer.from(
    `From: ${AUTHOR}\r\nTo: ${ANN}, ${BEN}\r\nMessage-ID: <${id}@example.test>\r\n` +
      `Date: ${DATE}\r\nSubject: ${word} figures\r\n\r\n${`the ${CANARY} sings\r\n`.repeat(1000)}`,
  )
}

/** Sends until it is taken; how often it was tried. */
async function retry(send: () => ReturnType<TestClient['send']>, patienceMs = 5000) {
  const end = performance.now() + patienceMs
  for (let turn = 1; ; turn++) {
    const outcome = await send()
    if (outcome.end?.code === 250) return turn
    expect(outcome.end?.code).toBe(451)
    if (performance.now() > end) throw new Error(`still ${outcome.end?.text}`)
    await sleep(patienceMs / 100)
  }
}

/** A message that wished encryption, to somebody of whom nothing is remembered. */
async function deferral(house: House, who: string, id = '') {
  const began = performance.now()
  const { end } = await house.send('', [who], `${id}${counter++}`)
  expect(end?.code).toBe(451)
  expect(end?.text).toMatch(/^4\.4\.\d /)
  return { lasted: performance.now() - began }
}

/** One after the other; how long each took, in milliseconds. */
async function deferrals(house: House, count: number): Promise<number[]> {
  const times: number[] = []
  for (let turn = 0; turn < count; turn++)
    times.push((await deferral(house, CROWD[20 + turn]!)).lasted)
  return times
}

function copyFor(messages: readonly SinkMessage[], who: string): SinkMessage {
  const copies = messages.filter(it => it.forwardPaths.includes(who))
  expect(copies).toHaveLength(1)
  return copies[0]!
}

function opened(messages: readonly SinkMessage[], who: string): string {
  const { octets } = copyFor(messages, who)
  expect(octets.includes(CANARY)).toBe(false)
  return openEntity(octets, people[who]!).content.toString()
}

function serialOf(who: string): Buffer {
  return parseCertificate(people[who]!.der).serialNumber
}

/** Nobody else's copy names somebody's certificate; his own does. */
function expectUnnamed(messages: readonly SinkMessage[], who: string): void {
  for (const it of messages) {
    const body = Buffer.from(
      it.octets.subarray(it.octets.indexOf('\r\n\r\n')).toString('latin1'),
      'base64',
    )
    const names = body.includes(serialOf(who)) || it.octets.includes(serialOf(who))
    expect(names).toBe(it.forwardPaths.includes(who))
    expect(it.octets.includes(who)).toBe(false)
  }
}

function talksTo(sink: Sink, connection: number, who: string): boolean {
  const { commands } = sink.connections[connection]!
  return commands.findLast(line => line.startsWith('RCPT'))?.includes(`<${who}>`) ?? false
}

/** No octet of a message has reached the next hop. */
function expectNothingSaid(sink: Sink): void {
  expect(sink.messages).toHaveLength(0)
  expect(sink.connections.flatMap(it => it.commands)).not.toContain('DATA')
  for (const { unfinishedOctets } of sink.connections) expect(unfinishedOctets).toBe(0)
}

/** In no message, log or file. */
async function expectNoCanary(house: House): Promise<void> {
  // The last line of the log may be on its way.
  await sleep(100)
  for (const { octets } of house.sink.messages) expect(octets.includes(CANARY)).toBe(false)
  expect(await house.clearIn(house.logged())).toEqual([])
}

/** What the processes of a group keep in files without a name; empty where there is no /proc. */
async function deletedFilesOf(group: number): Promise<Buffer[]> {
  const found: Buffer[] = []
  for (const pid of await readdir('/proc').catch(() => [])) {
    const stat = /^\d+$/.test(pid)
      ? await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
      : ''
    if (Number(stat.split(') ')[1]?.split(' ')[2]) !== group) continue
    for (const descriptor of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const path = `/proc/${pid}/fd/${descriptor}`
      const target = await readlink(path).catch(() => '')
      if (target.startsWith('/') && target.endsWith(' (deleted)') && !target.startsWith('/memfd'))
        found.push(await readFile(path).catch(() => Buffer.alloc(0)))
    }
  }
  return found.filter(({ length }) => length > 0)
}

type Behaviour = 'pass' | 'silent' | 'slow' | 'garbage' | 'closing' | 'refused'

/** A server in front of a directory, that behaves as it is told; what it passes on is what it passed. */
async function startTroubled({ onTestFinished }: Ending, first: Behaviour, port: number) {
  let behaviour = first
  let connections = 0
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer(socket => {
    connections++
    keep(socket)
    if (behaviour === 'closing') socket.destroy()
    if (behaviour === 'garbage') socket.end('HTTP/1.0 400 Bad Request\r\n\r\n')
    if (behaviour !== 'pass' && behaviour !== 'slow') return void socket.resume()
    const onward = connect(port, '127.0.0.1')
    keep(onward)
    socket.on('data', octets => void (behaviour === 'silent' || onward.write(octets)))
    onward.on('data', octets => {
      const answer = () => socket.destroyed || socket.write(octets)
      if (behaviour === 'slow') setTimeout(answer, 5000)
      else if (behaviour !== 'silent') answer()
    })
    socket.on('close', () => onward.destroy())
  }).listen(0, '127.0.0.1')
  await new Promise(ready => server.once('listening', ready))
  const { port: own } = server.address() as AddressInfo
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  onTestFinished(close)
  if (first === 'refused') close()
  return {
    url: `ldap://127.0.0.1:${own}`,
    connections: () => connections,
    become(next: Behaviour) {
      behaviour = next
    },
  }
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(2)} s`

/** The least and the greatest of some times. */
function figures(times: readonly number[]): string {
  return `${Math.min(...times).toFixed(0)}–${Math.max(...times).toFixed(0)} ms`
}
