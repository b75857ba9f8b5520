/** Several devices of one recipient, and what is pinned: which keys open what leaves. @module */
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bears } from '../../src/certstore/bearing.ts'
import { type Choosing, createDirectory } from '../../src/certstore/directory.ts'
import { loadIdentities } from '../../src/certstore/identities.ts'
import { oid } from '../../src/crypto/asn1/der-writer.ts'
import type { Capabilities } from '../../src/crypto/cms/capabilities.ts'
import { contentCipher } from '../../src/crypto/content-encryption.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import { TestClient } from '../support/client.ts'
import { lifetime } from '../support/identity-folder.ts'
import { openEntity } from '../support/open-envelope.ts'
import { rule, startHouse } from './house.ts'

const CANARY = 'canary-77e1'
const ANN = 'ann@partner.test'
const BEN = 'ben@partner.test'

let root: Issued
let desktop: Issued
let phone: Issued
let ben: Issued
const open: { close(): unknown }[] = []

beforeAll(async () => {
  root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
  desktop = await device(ANN, 'rsa-2048')
  phone = await device(ANN, 'p-256')
  ben = await device(BEN, 'rsa-2048')
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})

test('newest: one of them opens it, and the other does not', async () => {
  const [toAnn] = await sent([desktop, phone], [ANN], {})
  const texts = [desktop, phone].map(who => opened(toAnn!.octets, who))
  expect(texts.filter(Boolean)).toHaveLength(1)
})

test('all: each of them opens it, and no one else is drawn into it', async () => {
  const messages = await sent([desktop, phone, ben], [ANN, BEN], { devices: 'all' })
  expect(messages).toHaveLength(2)
  const [toAnn, toBen] = [ANN, BEN].map(
    who => messages.find(({ forwardPaths }) => forwardPaths.includes(who))!.octets,
  )
  for (const who of [desktop, phone]) expect(opened(toAnn!, who)).toContain(CANARY)
  expect(opened(toBen!, ben)).toContain(CANARY)
  for (const [octets, who] of [
    [toAnn, ben],
    [toBen, phone],
  ] as const)
    expect(opened(octets!, who)).toBeUndefined()
})

describe('what a recipient has told that he can read', () => {
  const GCM = told(contentCipher('aes-256-gcm').oid)
  const CBC = told(contentCipher('aes-256-cbc').oid)

  test.each([
    ['nothing', [], 'aes-256-cbc'],
    ['GCM', GCM, 'aes-256-gcm'],
    ['CBC before GCM', [...CBC, ...GCM], 'aes-256-gcm'],
    ['RC2, which we never send', told('1.2.840.113549.3.2'), 'aes-256-cbc'],
  ])('%s', async (_, capabilities, cipher) => {
    const [toAnn] = await sent([{ ...desktop, capabilities }], [ANN], {})
    expect(cipherOf(toAnn!.octets, desktop)).toBe(cipher)
  })

  test('B70 each of his devices: the cipher that all of them read', async () => {
    for (const [one, other, cipher] of [
      [GCM, GCM, 'aes-256-gcm'],
      [GCM, CBC, 'aes-256-cbc'],
      [CBC, GCM, 'aes-256-cbc'],
      [GCM, undefined, 'aes-256-cbc'],
    ] as const) {
      const devices = [
        { ...desktop, capabilities: one },
        { ...phone, capabilities: other },
      ]
      const [toAnn] = await sent(devices, [ANN], { devices: 'all' })
      for (const who of [desktop, phone]) expect(cipherOf(toAnn!.octets, who)).toBe(cipher)
    }
  })

  test.each(['p-256', 'rsa-2048'] as const)(
    'B70 one of his devices makes nobody else his message weaker, nor unreadable: %s',
    async key => {
      const other = await device(BEN, key)
      const messages = await sent([desktop, phone, other], [ANN, BEN], { devices: 'all' })
      expect(messages).toHaveLength(2)
      const toBen = messages.find(({ forwardPaths }) => forwardPaths.includes(BEN))!
      expect(openEntity(toBen.octets, other).recipients).toBe(1)
    },
  )

  test('B70 makes nobody else his message weaker, nor unreadable', async () => {
    const messages = await sent([{ ...desktop, capabilities: GCM }, ben], [ANN, BEN], {})
    expect(messages).toHaveLength(2)
    const toBen = messages.find(({ forwardPaths }) => forwardPaths.includes(BEN))!
    expect(cipherOf(toBen.octets, ben)).toBe('aes-256-cbc')
  })
})

test('B49 B69 what is pinned and not there is waited for under when-possible, never sent in clear', async () => {
  const fingerprint = parseCertificate(phone.der).fingerprint
  const pins = [{ address: ANN, fingerprint }]
  const [toAnn] = await sent([desktop, phone], [ANN], { pins })
  expect(opened(toAnn!.octets, phone)).toContain(CANARY)
  expect(opened(toAnn!.octets, desktop)).toBeUndefined()
  expect(await sent([desktop], [ANN], { pins }, 451)).toEqual([])
  expect(await sent([], [ANN], { pins }, 451)).toEqual([])
})

async function device(address: string, key: KeyKind): Promise<Issued> {
  const keyUsage = key === 'p-256' ? ['digitalSignature', 'keyAgreement'] : undefined
  const names = { commonName: address, addresses: [address], issuer: root, key }
  return issue({ ...lifetime(), ...names, ...(keyUsage && { keyUsage }) } as Parameters<
    typeof issue
  >[0])
}

/** What leaves for recipients of whom these certificates are known. */
async function sent(
  known: readonly Known[],
  to: readonly string[],
  choosing: Choosing,
  code = 250,
) {
  const certificates = known.map(({ der, capabilities }) => ({
    certificate: parseCertificate(der),
    ...(capabilities && { capabilities }),
  }))
  const source = {
    name: 'people',
    find: async (mailbox: Parameters<typeof bears>[1]) =>
      certificates
        .filter(({ certificate }) => bears(certificate, mailbox))
        .map(it => ({ ...it, source: 'people', via: 'address' as const })),
  }
  const anchors = [parseCertificate(root.der)]
  const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
  const { identities } = await loadIdentities([], new Date())
  const house = await startHouse({
    identities,
    rules: [rule('outbound', 'never', { encrypt: 'when-possible' })],
    directory: createDirectory([source], trust, () => new Date(), choosing),
  })
  open.push(house)
  const client = await TestClient.open(house.port)
  open.push(client)
  const content =
    `From: alice@example.test\r\nTo: ${to.join(', ')}\r\nSubject: figures\r\n` +
    `Date: ${new Date().toUTCString()}\r\n\r\nthe ${CANARY} sings\r\n`
  const { end } = await client.send('alice@example.test', to, Buffer.from(content))
  expect(end?.code).toBe(code)
  const { messages } = house.sinks.outbound
  for (const { octets } of messages) expect(octets.toString()).not.toContain(CANARY)
  return messages
}

/** Somebody's certificate, and what he has told of it. */
type Known = Pick<Issued, 'der'> & { readonly capabilities?: Capabilities | undefined }

function told(...oids: readonly string[]): Capabilities {
  return oids.map(type => ({ oid: type, parameters: undefined }))
}

/** The cipher of a message, by its object identifier, which is told in hexadecimal. */
function cipherOf(octets: Buffer, who: Issued): string | undefined {
  const { cipher } = openEntity(octets, who)
  const names = ['aes-128-cbc', 'aes-256-cbc', 'aes-128-gcm', 'aes-256-gcm'] as const
  return names.find(name => oid(contentCipher(name).oid).subarray(2).toString('hex') === cipher)
}

/** Undefined where it is not for this key. */
function opened(octets: Buffer, who: Issued): string | undefined {
  try {
    return openEntity(octets, who).content.toString()
  } catch (error) {
    if (/recipient/i.test(String(error))) return undefined
    throw error
  }
}
