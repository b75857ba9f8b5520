/** Encryption through the gateway: who gets what, who learns of whom, and what never leaves in clear. @module */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bears } from '../../src/certstore/bearing.ts'
import { createDirectory, type Directory } from '../../src/certstore/directory.ts'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import {
  type CertificateResolver,
  CertificateSourceUnavailable,
} from '../../src/certstore/resolver.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import type { Degree, Otherwise } from '../../src/policy/treatment.ts'
import type { SinkMessage } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { openEntity } from '../support/open-envelope.ts'
import { opensslVerdict } from '../support/openssl.ts'
import { rule, startHouse, type TestHouse } from './house.ts'

const CANARY = 'canary-3f0c9d'
const ANN = 'ann@partner.test'
const BEN = 'ben@partner.test'
const CLEO = 'cleo@partner.test'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder
let identities: Identities
let people: Record<string, Issued>
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('encryption')
  made = await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
  ;({ identities } = await loadIdentities(
    [{ files: made.files, configPath: 'identities[0]' }],
    new Date(),
  ))
  people = {
    [ANN]: await person(ANN, 'rsa-2048'),
    [CLEO]: await person(CLEO, 'rsa-2048'),
    'eve@partner.test': await person('eve@partner.test', 'p-256'),
  }
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => folder.remove())

describe('when possible', () => {
  test('B67 one with a certificate, one without, one hidden: each as he may, and nobody shown', async () => {
    const { port, sinks } = await house('when-possible')
    const { end } = await send(port, [ANN, BEN, CLEO])
    expect(end?.code).toBe(250)
    const { messages } = sinks.outbound
    expect(messages).toHaveLength(3)
    const [toAnn, toBen, toCleo] = [ANN, BEN, CLEO].map(who => copyFor(messages, who))
    expect(opened(toAnn!, ANN)).toContain(CANARY)
    expect(toBen!.octets.toString()).toContain(CANARY)
    expect(opened(toCleo!, CLEO)).toContain(CANARY)
    expect(() => opened(toAnn!, CLEO)).toThrow(/recipient/i)
    const serial = parseCertificate(people[CLEO]!.der).serialNumber
    for (const other of [toAnn!, toBen!]) {
      expect(other.octets.includes(serial)).toBe(false)
      expect(unwrapped(other).includes(serial)).toBe(false)
    }
    expect(unwrapped(toCleo!).includes(serial)).toBe(true)
  })

  test('recipients that all may see share a message, where their strength is equal', async () => {
    const { port, sinks } = await house('when-possible')
    const { end } = await send(
      port,
      [ANN, CLEO, 'eve@partner.test'],
      [ANN, CLEO, 'eve@partner.test'],
    )
    expect(end?.code).toBe(250)
    const shared = copyFor(sinks.outbound.messages, ANN)
    expect(shared.forwardPaths).toEqual([ANN, CLEO])
    expect(opened(shared, CLEO)).toContain(CANARY)
    const alone = copyFor(sinks.outbound.messages, 'eve@partner.test')
    expect(alone.forwardPaths).toEqual(['eve@partner.test'])
    expect(opened(alone, 'eve@partner.test')).toContain(CANARY)
  })
})

describe('always', () => {
  test('B69 a recipient without a certificate: 550 names him, and nobody gets anything', async () => {
    const { port, sinks } = await house('always')
    const { end } = await send(port, [ANN, BEN])
    expect(end?.code).toBe(550)
    expect(end?.text).toMatch(/^5\.7\.\d+ .*ben@partner\.test/)
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test('deferred, the certificate arrives, and the retry goes through to each once', async () => {
    const known = new Map(Object.entries(people))
    const { port, sinks } = await house('always', { otherwise: 'defer', known })
    const first = await send(port, [ANN, BEN])
    expect(first.end?.code).toBe(451)
    expect(first.end?.text).toMatch(/^4\.7\./)
    known.set(BEN, await person(BEN, 'rsa-2048'))
    people[BEN] = known.get(BEN)!
    const second = await send(port, [ANN, BEN])
    expect(second.end?.code).toBe(250)
    expect(sinks.outbound.messages.flatMap(it => it.forwardPaths).toSorted()).toEqual([ANN, BEN])
    delete people[BEN]
  })

  test('signed first where the rule signs: what is inside verifies', async () => {
    const { port, sinks } = await house('always', { sign: 'always' })
    const { end } = await send(port, [ANN])
    expect(end?.code).toBe(250)
    const [message] = sinks.outbound.messages
    const inside = openEntity(entityOf(message!), people[ANN]!).content
    expect(inside.toString()).toContain('multipart/signed')
    expect(await opensslVerdict(Buffer.concat([MIME, inside]), made.rootFile)).toMatch(GOOD)
  })

  test('what is encrypted already is not encrypted again, and a label alone is not enough', async () => {
    const { port, sinks } = await house('always')
    const label = 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n'
    const { end } = await send(port, [BEN], [], `MIME-Version: 1.0\r\n${label}`)
    expect(end?.code).toBe(550)
    expect(sinks.outbound.messages).toHaveLength(0)
  })
})

describe('a certificate that may not be used', () => {
  test.each([
    ['expired', { notAfter: new Date(Date.now() - 60_000) }],
    ['of a stranger', { stranger: true }],
    ['for signing alone', { keyUsage: ['digitalSignature'] }],
    ['for agreeing on keys, with an RSA key', { keyUsage: ['keyAgreement'] }],
    ['for web servers', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }],
  ] as const)(
    'B69 %s counts as none: always refuses, when-possible goes out in clear',
    async (_, wish) => {
      const known = new Map([[ANN, await person(ANN, 'rsa-2048', wish as never)]])
      const strict = await house('always', { known })
      expect((await send(strict.port, [ANN])).end?.code).toBe(550)
      expect(strict.sinks.outbound.messages).toHaveLength(0)
      const lax = await house('when-possible', { known })
      expect((await send(lax.port, [ANN])).end?.code).toBe(250)
      expect(lax.sinks.outbound.messages[0]!.octets.toString()).toContain(CANARY)
    },
  )
})

test('B76 who writes to whom about what stays outside as it was, and nothing of it goes inside', async () => {
  const { port, sinks } = await house('always', { sign: 'always' })
  expect((await send(port, [ANN])).end?.code).toBe(250)
  const [message] = sinks.outbound.messages
  const head = message!.octets.toString('latin1', 0, message!.octets.indexOf('\r\n\r\n'))
  for (const line of [
    'From: alice@example.test',
    `To: ${ANN}, ${BEN}, x@y.test`,
    'Subject: figures',
  ])
    expect(head.split('\r\n')).toContain(line)
  expect(opened(message!, ANN)).not.toMatch(/^(?:From|To|Subject|Date):/im)
})

describe('a silent directory', () => {
  test.each(['when-possible', 'always'] as const)(
    'B69 encrypt %s: 451, and nothing leaves',
    async encrypt => {
      const { port, sinks, log } = await house(encrypt, { silent: true })
      const { end } = await send(port, [ANN])
      expect(end?.code).toBe(451)
      expect(end?.text).toMatch(/^4\.4\.\d/)
      expect(sinks.outbound.connections.flatMap(it => it.commands).join()).not.toContain('DATA')
      expect(log.join('')).not.toContain(CANARY)
    },
  )

  test('encrypt never: it is not asked', async () => {
    const { port } = await house('never', { silent: true })
    expect((await send(port, [ANN])).end?.code).toBe(250)
  })
})

interface Wanted {
  readonly otherwise?: Otherwise
  readonly sign?: Degree
  readonly known?: Map<string, Issued>
  readonly silent?: boolean
}

async function house(encrypt: Degree, wanted: Wanted = {}): Promise<TestHouse> {
  const { otherwise = 'reject', sign = 'never', known, silent = false } = wanted
  const started = await startHouse({
    identities,
    rules: [rule('outbound', sign, { encrypt, otherwise })],
    directory: directory(known ?? new Map(Object.entries(people)), silent),
  })
  open.push(started)
  return started
}

function directory(known: ReadonlyMap<string, Issued>, silent: boolean): Directory {
  const authorities = [parseCertificate(made.issuing.der)]
  const source: CertificateResolver = {
    name: 'people',
    async find(mailbox) {
      if (silent) throw new CertificateSourceUnavailable('people')
      return [...known.values()]
        .map(({ der }) => parseCertificate(der))
        .filter(certificate => bears(certificate, mailbox))
        .map(certificate => ({ certificate, source: 'people', via: 'address' as const }))
    },
    intermediates: () => authorities,
  }
  const anchors = [parseCertificate(made.root.der)]
  const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
  return createDirectory([source], trust, () => new Date())
}

async function person(
  address: string,
  key: KeyKind,
  wish: Partial<Parameters<typeof issue>[0]> & { stranger?: boolean } = {},
): Promise<Issued> {
  const { stranger = false, ...rest } = wish
  const issuer = stranger
    ? await issue({ ...lifetime(), commonName: 'Stranger', authority: true })
    : made.issuing
  const keyUsage = key === 'p-256' ? ['digitalSignature', 'keyAgreement'] : undefined
  return issue({
    ...lifetime(),
    commonName: address,
    addresses: [address],
    issuer,
    key,
    ...(keyUsage && { keyUsage }),
    ...rest,
  } as Parameters<typeof issue>[0])
}

/** The message is addressed to Ann and Ben for all to see; everybody else is hidden. */
async function send(port: number, to: readonly string[], visible = [ANN, BEN], extra = '') {
  const client = await TestClient.open(port)
  open.push(client)
  const content =
    `From: alice@example.test\r\nTo: ${[...visible, 'x@y.test'].join(', ')}\r\nSubject: figures\r\n` +
    `Date: ${new Date().toUTCString()}\r\n${extra}\r\nthe ${CANARY} sings\r\n`
  return client.send('alice@example.test', to, Buffer.from(content))
}

function copyFor(messages: readonly SinkMessage[], who: string): SinkMessage {
  const copies = messages.filter(it => it.forwardPaths.includes(who))
  expect(copies).toHaveLength(1)
  return copies[0]!
}

function opened(message: SinkMessage, who: string): string {
  return openEntity(entityOf(message), people[who]!).content.toString()
}

function entityOf(message: SinkMessage): Buffer {
  expect(message.octets.toString()).not.toContain(CANARY)
  return message.octets
}

/** The octets of the body, its base64 taken off. */
function unwrapped({ octets }: SinkMessage): Buffer {
  return Buffer.from(octets.subarray(octets.indexOf('\r\n\r\n')).toString('latin1'), 'base64')
}

/** Where there is no OpenSSL to ask, the rest of the test still counts. */
const GOOD = /^(?:good|spawn openssl ENOENT)$/
const MIME = Buffer.from('MIME-Version: 1.0\r\n')
