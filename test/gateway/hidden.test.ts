/** What a protected message still shows of recipients that nobody is to see. @module */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bears } from '../../src/certstore/bearing.ts'
import { createDirectory, type Directory } from '../../src/certstore/directory.ts'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import type { Degree } from '../../src/policy/treatment.ts'
import type { SinkMessage } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { openEntity } from '../support/open-envelope.ts'
import { rule, startHouse } from './house.ts'

const ANN = 'ann@partner.test'
const BEN = 'ben@partner.test'
const CLEO = 'cleo@partner.test'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder
let identities: Identities
let shared: Issued
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('hidden')
  made = await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
  ;({ identities } = await loadIdentities(
    [{ files: made.files, configPath: 'identities[0]' }],
    new Date(),
  ))
  shared = await issue({
    ...lifetime(),
    commonName: 'Everybody',
    addresses: [ANN, BEN, CLEO],
    issuer: made.issuing,
    key: 'rsa-2048',
  })
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => folder.remove())

describe('B67 the Bcc field', () => {
  test.each([
    ['encrypted', 'never', 'always'],
    ['signed', 'always', 'never'],
    ['signed and encrypted', 'always', 'always'],
  ] as const)('is gone from what is %s, folded and resent ones too', async (_, sign, encrypt) => {
    const bcc = `Bcc: Cleo <${CLEO}>,\r\n dan@partner.test\r\nResent-Bcc: ${CLEO}\r\n`
    const messages = await sent([ANN, CLEO], [ANN], { sign, encrypt }, bcc)
    expect(messages.length).toBeGreaterThan(0)
    for (const { octets } of messages) {
      const section = octets.toString('latin1').split('\r\n\r\n')[0]!
      expect(section).toMatch(/^To: /m)
      expect(section).not.toMatch(/bcc|cleo|dan@/i)
    }
  })

  test('stays where nothing is treated: byte for byte as it came', async () => {
    const wish = { sign: 'never', encrypt: 'never' } as const
    const [message] = await sent([ANN, CLEO], [ANN], wish, `Bcc: ${CLEO}\r\n`)
    expect(message!.octets.toString('latin1')).toContain(`\r\nBcc: ${CLEO}\r\n`)
  })
})

describe('B67 who is hidden has a message of his own', () => {
  test('each of several', async () => {
    const messages = await sent([ANN, CLEO, BEN], [ANN], ENCRYPT)
    expect(messages.map(it => it.forwardPaths.join()).toSorted()).toEqual([ANN, BEN, CLEO])
  })

  test.each(['Bcc', 'bcc', 'Resent-Bcc', 'Bcc '])('also where %j names him', async name => {
    const messages = await sent([ANN, CLEO], [ANN], ENCRYPT, `${name}: ${CLEO}\r\n`)
    expect(messages.map(it => it.forwardPaths.join()).toSorted()).toEqual([ANN, CLEO])
  })

  test.each([
    ['To', '', [ANN, CLEO, '<<>']],
    ['Cc', `Cc: ${CLEO}, "without end\r\n`, [ANN]],
  ])('and everybody is, where %s cannot be read', async (_, extra, visible) => {
    const messages = await sent([ANN, CLEO], visible, ENCRYPT, extra)
    expect(messages.map(it => it.forwardPaths.join()).toSorted()).toEqual([ANN, CLEO])
  })
})

test.each([
  ['encrypted', 'never', 'always'],
  ['signed', 'always', 'never'],
  ['not treated', 'never', 'never'],
] as const)(
  'B67 who is hidden is named nowhere in what others get: %s',
  async (_, sign, encrypt) => {
    for (const to of [
      [ANN, CLEO],
      [CLEO, ANN],
    ]) {
      const messages = await sent(to, [ANN], { sign, encrypt })
      const toAnn = messages.filter(it => it.forwardPaths.includes(ANN))
      expect(toAnn).toHaveLength(1)
      expect(toAnn[0]!.octets.toString('latin1')).not.toMatch(/cleo/i)
    }
  },
)

describe('one certificate for several', () => {
  test('stands in a message once', async () => {
    const [message, ...others] = await sent([ANN, BEN], [ANN, BEN], ENCRYPT)
    expect(others).toEqual([])
    expect(message!.forwardPaths).toEqual([ANN, BEN])
    expect(countOf(serial(), unwrapped(message!))).toBe(1)
    expect(openEntity(message!.octets, shared).content.toString()).toContain('figures within')
  })

  test('a hidden recipient who shares it still has a message of his own', async () => {
    const messages = await sent([ANN, CLEO], [ANN], ENCRYPT)
    expect(new Set(messages.map(it => it.forwardPaths.join()))).toEqual(new Set([ANN, CLEO]))
  })
})

async function sent(
  to: readonly string[],
  visible: readonly string[],
  { sign, encrypt }: { readonly sign: Degree; readonly encrypt: Degree },
  extra = '',
): Promise<readonly SinkMessage[]> {
  const house = await startHouse({
    identities,
    rules: [rule('outbound', sign, { encrypt })],
    directory: directory(),
  })
  open.push(house)
  const client = await TestClient.open(house.port)
  open.push(client)
  const content =
    `From: alice@example.test\r\nTo: ${visible.join(', ')}\r\n${extra}Subject: figures\r\n` +
    `Date: ${new Date().toUTCString()}\r\n\r\nfigures within\r\n`
  const { end } = await client.send('alice@example.test', to, Buffer.from(content))
  expect(end?.code).toBe(250)
  return house.sinks.outbound.messages
}

function directory(): Directory {
  const certificate = parseCertificate(shared.der)
  const source = {
    name: 'people',
    find: async (mailbox: Parameters<Directory['search']>[0]) =>
      bears(certificate, mailbox)
        ? [{ certificate, source: 'people', via: 'address' as const }]
        : [],
  }
  const trust = {
    anchors: [parseCertificate(made.root.der)],
    intermediates: [parseCertificate(made.issuing.der)],
    revocationMode: 'off' as const,
  }
  return createDirectory([source], trust, () => new Date())
}

const serial = () => parseCertificate(shared.der).serialNumber

function countOf(needle: Buffer, octets: Buffer): number {
  let count = 0
  for (let at = octets.indexOf(needle); at >= 0; at = octets.indexOf(needle, at + 1)) count++
  return count
}

/** The octets of the body, its base64 taken off. */
function unwrapped({ octets }: SinkMessage): Buffer {
  return Buffer.from(octets.subarray(octets.indexOf('\r\n\r\n')).toString('latin1'), 'base64')
}

const ENCRYPT = { sign: 'never', encrypt: 'always' } as const
