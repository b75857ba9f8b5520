/**
 * What signed mail brings: a gateway that runs with two workers, a partner whose first signed message
 * makes the next one to him an encrypted one, and all those who would like to be written to instead.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openSqliteStore } from '../../src/certstore/store.ts'
import { tlv } from '../../src/crypto/asn1/der-writer.ts'
import * as OID from '../../src/crypto/cms/oids.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import {
  certificatePem,
  type Issued,
  type IssueOptions,
  identityPem,
  issue,
} from '../../src/crypto/x509/issue.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import {
  attribute,
  clearMessage,
  signedData,
  signerInfo,
  signingTime,
  usualAttributes,
} from '../crypto/smime/signed-message.ts'
import { type Sink, type SinkMessage, startSink } from '../smtp/sink.ts'
import { type Outcome, TestClient } from '../support/client.ts'
import { postern } from '../support/command-line.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { messageAround, signerOf, text } from '../support/inbound.ts'
import { openssl } from '../support/openssl.ts'

vi.setConfig({ testTimeout: 30_000 })

const AUTHOR = 'alice@example.test'
const CANARY = 'canary-5b1e07'
const HOUR = 3_600_000
const YOUNGER = { notBefore: new Date(Date.now() - HOUR / 2) }

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let authority: IdentityFolder
let alice: Issued
let sink: Sink
let gateway: GatewayProcess
/** Whether the next hop refuses what it has heard. */
let isUnwilling = false

beforeAll(async () => {
  folder = await temporaryFolder('harvest')
  authority = await makeIdentityFolder(folder.path, {})
  alice = await person(AUTHOR)
  await writeFile(join(authority.files, 'alice.pem'), identityPem(alice), { mode: 0o600 })
  await mkdir(join(folder.path, 'certificates'))
  await writeFile(
    join(folder.path, 'certificates', 'issuing.pem'),
    certificatePem(authority.issuing.der),
  )
  sink = await startSink({
    on: ({ verb }) => (verb === 'DOT' && isUnwilling ? '554 5.6.0 not that one' : undefined),
  })
  gateway = await startGateway(folder.path, configuration(sink.port))
})
afterAll(async () => {
  await gateway.stop()
  await sink.close()
  await folder.remove()
})

const withOpenssl = openssl.missing ? `, skipped: ${openssl.missing}` : ''

describe.skipIf(openssl.missing)(`a partner who signs with OpenSSL${withOpenssl}`, () => {
  test('the next outbound message to him is encrypted, whichever worker sends it', async () => {
    const ann = await person('ann@partner.test')
    expect(isSealed((await written('ann@partner.test'))[0]!)).toBe(false)

    expect(stampOf(await opensslSigned(ann, 'ann@partner.test'))).toMatch(/smime=pass/)

    const copies = await written('ann@partner.test', 12)
    for (const { octets } of copies) {
      expect(octets.includes(CANARY)).toBe(false)
      expect(await opensslOpened(octets, ann)).toContain(CANARY)
    }
    await told(13)
    const outbound = gateway.lines.filter(it => JSON.stringify(it).includes('ann@partner.test'))
    expect(new Set(outbound.map(({ pid }) => pid)).size).toBe(2)
  })

  test('gets the content cipher that he has advertised', async () => {
    // The rule's own choice is GCM, and OpenSSL tells of CBC alone; our own kind tells of both.
    const one = await person('carl@partner.test')
    await opensslSigned(one, 'carl@partner.test')
    const toCarl = (await written('carl@partner.test', 1, '[modern]'))[0]!
    expect(toCarl.octets.toString()).toMatch(/smime-type=enveloped-data/)
    expect(await opensslOpened(toCarl.octets, one)).toContain(CANARY)

    const other = await person('gina@partner.test')
    await delivered(other, 'gina@partner.test')
    const toGina = (await written('gina@partner.test'))[0]!
    expect(toGina.octets.toString()).toMatch(/smime-type=authenveloped-data/i)
    expect(await opensslOpened(toGina.octets, other)).toContain(CANARY)
  })
})

describe('a key that changes', () => {
  test('waits, is told, let in by cert accept, and taken back by cert undo', async () => {
    const who = 'ben@partner.test'
    const [old, young] = [await person(who), await person(who, YOUNGER)]
    const fingerprint = parseCertificate(young.der).fingerprint
    await delivered(old, who)
    await delivered(young, who, new Date(Date.now() + 2000))
    expect(await keyOf(who, { old, young })).toBe('old')
    const changed = await gateway.until('harvested-certificate-changed')
    expect(changed).toMatchObject({ fingerprint })

    const pending = await cert('pending')
    expect(pending.code).toBe(0)
    expect(pending.out).toMatch(new RegExp(`^${who}: `, 'm'))
    expect(pending.out).toContain(fingerprint)
    expect(pending.out).toContain(parseCertificate(old.der).fingerprint)

    expect(await cert('accept', who)).toMatchObject({ code: 0 })
    expect(await keyOf(who, { old, young })).toBe('young')
    expect((await cert('pending')).out).not.toContain(fingerprint)

    expect(await cert('undo', who)).toMatchObject({ code: 0 })
    expect(await keyOf(who, { old, young })).toBe('old')
    expect((await cert('pending')).out).toContain(fingerprint)

    const history = await cert('history', who)
    expect(history.out.match(/came|accepted|undone/g)).toEqual([
      ...['came', 'came', 'accepted', 'undone'],
    ])
  })

  test('B45 is not brought back by mail that was signed before', async () => {
    const who = 'dora@partner.test'
    const [old, young] = [await person(who), await person(who, YOUNGER)]
    await delivered(young, who)
    await delivered(old, who, new Date(Date.now() - HOUR / 2))
    expect(await keyOf(who, { old, young })).toBe('young')
    expect((await cert('pending')).out).not.toContain(who)
  })

  test('B45 never takes the place of what somebody has laid into a folder', async () => {
    const who = 'emil@partner.test'
    const [known, other] = [await person(who), await person(who, YOUNGER)]
    await writeFile(join(folder.path, 'certificates', 'emil.pem'), certificatePem(known.der))
    await delivered(other, who, new Date(Date.now() + 1000))
    expect(await keyOf(who, { known, other })).toBe('known')
  })
})

describe('B45 nobody gets his key in by', () => {
  /** Who signs, for what, and with what else in the signature. */
  interface Poison {
    readonly victim: string
    readonly deliver: (victim: string) => Promise<Outcome>
    /** What the stamp has to say. */
    readonly stamp: RegExp
  }
  const byHimself = async (victim: string, options: Partial<IssueOptions> = {}) => ({
    victim,
    who: await person(victim, options),
  })

  test.each<[string, () => Promise<Poison> | Poison]>([
    [
      'a certificate beside his own, with the address of another',
      async () => ({
        victim: 'v1@partner.test',
        stamp: /smime=pass/,
        deliver: async victim =>
          handed(await signedWith(await person('mallory@evil.test'), [await person(victim)]), {
            From: 'mallory@evil.test',
          }),
      }),
    ],
    [
      'a signed preference for a certificate with the address of another',
      async () => ({
        victim: 'v2@partner.test',
        stamp: /smime=pass/,
        deliver: async victim => {
          const bait = await person(victim)
          const entity = await signedWith(await person('mallory@evil.test'), [bait], bait)
          return handed(entity, { From: 'mallory@evil.test' })
        },
      }),
    ],
    [
      'his signature under the name of another',
      () => ({
        victim: 'v3@partner.test',
        stamp: /smime=fail/,
        deliver: async victim =>
          handed(await signedWith(await person('mallory@evil.test')), { From: victim }),
      }),
    ],
    [
      'a certificate for another that he has made himself',
      () => ({
        victim: 'v4@partner.test',
        stamp: /smime=(?:policy|fail)/,
        deliver: async victim => {
          const own = await issue({ ...lifetime(), commonName: 'Test Issuing CA', authority: true })
          return handed(await signedWith(await person(victim, { issuer: own })), { From: victim })
        },
      }),
    ],
    [
      'a signature of one of our own people, from outside',
      () => ({
        victim: AUTHOR,
        stamp: /smime=pass/,
        deliver: async victim => handed(await signedWith(alice), { From: victim }),
      }),
    ],
    [
      'a signing time in the future',
      async () => {
        const { victim, who } = await byHimself('v5@partner.test')
        const time = new Date(Date.now() + HOUR / 4)
        return {
          victim,
          stamp: /smime=fail/,
          deliver: async () => handed(await signedAt(who, time), { From: victim }),
        }
      },
    ],
    [
      'a signature without a time',
      async () => {
        const { victim, who } = await byHimself('v6@partner.test')
        return {
          victim,
          stamp: /smime=pass/,
          deliver: async () => handed(await signedAt(who, undefined), { From: victim }),
        }
      },
    ],
    [
      'a certificate that is not valid any more',
      async () => {
        const past = {
          notBefore: new Date(Date.now() - 48 * HOUR),
          notAfter: new Date(Date.now() - HOUR),
        }
        const { victim, who } = await byHimself('v7@partner.test', past)
        return {
          victim,
          stamp: /smime=(?:policy|fail)/,
          deliver: async () => handed(await signedWith(who), { From: victim }),
        }
      },
    ],
    [
      'a name beside the address that looks like another',
      async () => {
        const { victim, who } = await byHimself('v8@partner.test')
        const from = `"boss@bank.test" <${victim}>`
        return {
          victim,
          stamp: /smime=policy/,
          deliver: async () => handed(await signedWith(who), { From: from }),
        }
      },
    ],
    [
      'a message that was altered on the way',
      async () => {
        const { victim, who } = await byHimself('v9@partner.test')
        return {
          victim,
          stamp: /smime=fail/,
          deliver: async () => {
            const entity = (await signedWith(who)).toString('latin1').replace('hello', 'hallo')
            return handed(Buffer.from(entity, 'latin1'), { From: victim })
          },
        }
      },
    ],
    [
      'a certificate that is for signatures alone',
      async () => {
        const { victim, who } = await byHimself('v10@partner.test', {
          keyUsage: ['digitalSignature'],
        })
        return {
          victim,
          stamp: /smime=pass/,
          deliver: async () => handed(await signedWith(who), { From: victim }),
        }
      },
    ],
  ])('%s', async (_, poison) => {
    const { victim, stamp, deliver } = await poison()
    expect((await deliver(victim)).end?.code).toBe(250)
    expect(stampOf(sink.messages.at(-1)!)).toMatch(stamp)
    expect(await harvestedFrom(victim)).toEqual([])
    expect(isSealed((await written(victim))[0]!)).toBe(false)
  })

  test('a message that the next hop does not take', async () => {
    const who = 'v11@partner.test'
    const entity = await signedWith(await person(who))
    isUnwilling = true
    const { end } = await handed(entity, { From: who }).finally(() => {
      isUnwilling = false
    })
    expect(end?.code).toBe(554)
    expect(await harvestedFrom(who)).toEqual([])
  })

  test('a second certificate for his own address, which somebody else holds', async () => {
    const who = 'frank@partner.test'
    const [own, beside] = [await person(who), await person(who, YOUNGER)]
    await handed(await signedWith(own, [beside]), { From: who })
    expect(await keyOf(who, { own, beside })).toBe('own')
    expect(await harvestedFrom(who)).toHaveLength(1)
  })
})

describe('B45 a signed preference', () => {
  test.each([
    ['for a certificate of the same issuer is followed', () => ({}), 'preferred'],
    ['for a certificate of another issuer is not', () => ({ issuer: authority.root }), 'own'],
    ['for a certificate with another address is not', () => ({ addresses: ['v@p.test'] }), 'own'],
  ] as const)('%s', async (_, options, key) => {
    const who = `hana${counter++}@partner.test`
    const own = await person(who)
    const preferred = await person(who, { ...YOUNGER, ...options() })
    const { end } = await handed(await signedWith(own, [preferred], preferred), { From: who })
    expect(end?.code).toBe(250)
    expect(await keyOf(who, { own, preferred })).toBe(key)
  })

  test('B45 is not answered by a certificate that was put into the message on the way', async () => {
    const who = `hana${counter++}@partner.test`
    const own = await person(who)
    const stranger = await person('stranger@partner.test', { authority: true })
    const { serialNumber } = parseCertificate(own.der)
    const { subject } = authority.issuing
    const forged = await person(who, { issuer: { ...stranger, subject }, serialNumber })
    // Ahead of the signer's own: both have the name and the number that are signed.
    const { end } = await handed(await signedWith(own, [forged], own, 'ahead'), { From: who })
    expect(end?.code).toBe(250)
    expect(stampOf(sink.messages.at(-1)!)).toMatch(/smime=pass/)
    expect(await keyOf(who, { own })).toBe('own')
  })
})

/** Certificates from our own authority, unless the options name another. */
function person(address: string, options: Partial<IssueOptions> = {}): Promise<Issued> {
  return issue({
    ...lifetime(),
    commonName: address,
    addresses: [address],
    issuer: authority.issuing,
    key: 'rsa-2048',
    ...options,
  })
}

/** A message with a signature of our own kind comes in, and passes. */
async function delivered(who: Issued, from: string, at = new Date()): Promise<void> {
  const { end } = await handed(await signedAt(who, at), {
    From: from,
    Date: at.toUTCString().replace('GMT', '+0000'),
  })
  expect(end?.code).toBe(250)
  expect(stampOf(sink.messages.at(-1)!)).toMatch(/smime=pass/)
}

async function signedAt(who: Issued, time: Date | undefined): Promise<Buffer> {
  const path = who.issuer === authority.issuing ? [parseCertificate(authority.issuing.der)] : []
  const chunks: Buffer[] = []
  const entity = (async function* () {
    yield text('hello')
  })()
  for await (const chunk of clearSign(entity, signerOf(who, path), { signingTime: time }))
    chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Signed by hand, with certificates beside the signer's, and perhaps a preference for one of them. */
async function signedWith(
  who: Issued,
  beside: readonly Issued[] = [],
  preferred?: Issued,
  place: 'ahead' | 'behind' = 'behind',
): Promise<Buffer> {
  const certificate = parseCertificate(who.der)
  const attributes = usualAttributes(text('hello'), 'sha256', signingTime(new Date()))
  if (preferred) attributes.push(preferenceFor(preferred))
  const plan = { certificate, key: who.privateKey, content: text('hello'), attributes }
  const own = [who, authority.issuing]
  const all = place === 'ahead' ? [...beside, ...own] : [...own, ...beside]
  const certificates = all.map(({ der }) => der)
  const signature = signedData({ signers: [await signerInfo(plan)], certificates })
  return clearMessage(signature, { entity: text('hello') })
}

/** RFC 8551 §2.5.3: issuerAndSerialNumber [0]. */
function preferenceFor({ der }: Issued): Buffer {
  const { issuer, serialNumber } = parseCertificate(der)
  const named = tlv(0xa0, Buffer.concat([issuer, tlv(0x02, serialNumber)]))
  return attribute(OID.ENCRYPTION_KEY_PREFERENCE, named)
}

async function opensslSigned(who: Issued, from: string): Promise<SinkMessage> {
  const at = join(folder.path, `${counter++}`)
  await writeFile(`${at}.pem`, identityPem(who))
  await writeFile(`${at}.txt`, text('hello'))
  const args = ['-signer', `${at}.pem`, '-certfile', join(folder.path, 'certificates/issuing.pem')]
  const { stdout } = await run('openssl', ['cms', '-sign', '-in', `${at}.txt`, ...args])
  const entity = Buffer.from(stdout.replace(/^MIME-Version.*\n/, '').replace(/\r?\n/g, '\r\n'))
  expect((await handed(entity, { From: from })).end?.code).toBe(250)
  return sink.messages.at(-1)!
}

async function opensslOpened(octets: Buffer, who: Issued): Promise<string> {
  const at = join(folder.path, `${counter++}`)
  await writeFile(`${at}.pem`, identityPem(who))
  await writeFile(`${at}.eml`, octets)
  return (await run('openssl', ['cms', '-decrypt', '-in', `${at}.eml`, '-inkey', `${at}.pem`]))
    .stdout
}

/** An inbound message. */
function handed(entity: Buffer, fields: Readonly<Record<string, string>>): Promise<Outcome> {
  return sent('bounce@relay.test', AUTHOR, messageAround(entity, { To: AUTHOR, ...fields }))
}

/** So many outbound messages, on connections of their own; what came out of them. */
async function written(to: string, count = 1, word = ''): Promise<readonly SinkMessage[]> {
  const before = sink.messages.length
  for (let turn = 0; turn < count; turn++) {
    const content =
      `From: ${AUTHOR}\r\nTo: ${to}\r\nSubject: ${word} figures\r\n` +
      `Date: ${new Date().toUTCString()}\r\nMessage-ID: <${counter++}@example.test>\r\n` +
      `\r\nthe ${CANARY} sings\r\n`
    expect((await sent(AUTHOR, to, Buffer.from(content))).end?.code).toBe(250)
  }
  const copies = sink.messages.slice(before)
  expect(copies).toHaveLength(count)
  return copies
}

async function sent(from: string, to: string, content: Buffer): Promise<Outcome> {
  const client = await TestClient.open(gateway.port)
  try {
    return await client.send(from, [to], content)
  } finally {
    client.close()
  }
}

/** Which of some keys opens what leaves for a mailbox. */
async function keyOf(to: string, people: Readonly<Record<string, Issued>>): Promise<string> {
  const [copy] = await written(to)
  const serials = Object.entries(people).filter(([, { der }]) =>
    named(copy!, parseCertificate(der).serialNumber),
  )
  return serials.map(([name]) => name).join()
}

/** Whether a RecipientInfo names the certificate. */
function named({ octets }: SinkMessage, serialNumber: Buffer): boolean {
  const body = octets.toString('latin1', octets.indexOf('\r\n\r\n'))
  return Buffer.from(body, 'base64').includes(serialNumber)
}

function isSealed({ octets }: SinkMessage): boolean {
  const sealed = /smime-type=(?:auth)?enveloped-data/i.test(octets.toString('latin1'))
  expect(octets.includes(CANARY)).toBe(!sealed)
  return sealed
}

function stampOf({ octets }: SinkMessage): string {
  return /^Authentication-Results: .*/m.exec(octets.toString('latin1'))?.[0] ?? ''
}

/** What is kept of a mailbox, whether it may be used or not. */
async function harvestedFrom(address: string) {
  const store = openSqliteStore(join(folder.path, 'data', 'certificates.sqlite'))
  try {
    return (await store.read(parseMailbox(address).matchKey)).certificates
  } finally {
    store.close()
  }
}

function cert(...args: readonly string[]) {
  return postern(['cert', ...args, '--config', join(folder.path, 'postern.yaml')])
}

/** The log is read line by line, and the last may be on its way. */
async function told(count: number): Promise<void> {
  const isTold = () => gateway.lines.filter(({ event }) => event === 'message').length >= count
  await vi.waitUntil(isTold, { timeout: 5000, interval: 20 })
}

const run = promisify(execFile)
let counter = 0

function configuration(port: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 0, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${port}, tls: none }
  outbound: { host: 127.0.0.1, port: ${port}, tls: none }
identities: [{ files: identities/ }]
certificates:
  - { harvested: {} }
  - { files: certificates/ }
trust: { anchors: [root.pem], revocation: off }
rules:
  - name: modern
    when: { direction: outbound, subject: "[modern]" }
    then: { sign: never, encrypt: when-possible, profile: modern }
  - name: outbound
    when: { direction: outbound }
    then: { sign: never, encrypt: when-possible }
  - name: inbound
    when: { direction: inbound }
    then: { decrypt: when-possible, verify: stamp }
state: data/
workers: 2
`
}
