/** The log line of a message says what left, by which certificates, and who else has signed. @module */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { createDirectory } from '../../src/certstore/directory.ts'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { identityPem, issue } from '../../src/crypto/x509/issue.ts'
import type { Degree } from '../../src/policy/treatment.ts'
import { clearMessage, signedData } from '../crypto/smime/signed-message.ts'
import { TestClient } from '../support/client.ts'
import { authorityOf, HELLO, infoBy } from '../support/crafted-signatures.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { ADDRESSES, type InboundWorld, inboundRule, makeInboundWorld } from '../support/inbound.ts'
import { rule, startHouse, type TestHouse } from './house.ts'

const ALICE = 'alice@example.test'
const ANN = ADDRESSES.ann

/** Fields of all lines so far. */
const seen = new Set<string>()
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})

describe('inbound: what left', () => {
  test('is cipher text, where the next hop could not take what was opened', async () => {
    const world = await worldThat()
    world.house.on.inbound = ({ verb }) =>
      verb === 'EHLO' ? '250-sink.test\r\n250 PIPELINING' : undefined
    const closed = await world.encrypted(await world.signed(EIGHT_BIT, 'ann'), ['bob'], TAGGED)
    const { encryption, result, code } = await world.deliver(world.message(closed))
    expect(lastRecipient(world.house)).toMatchObject({
      reason: expect.stringMatching(/^rule inbound: it came encrypted, and stays so, /),
      signature: result,
      signatureCode: code,
      encryption,
      notes: ['eight-bit-not-offered'],
    })
    expect([result, encryption]).toEqual(['none', 'refused'])
  })

  test('is what was opened, where it could', async () => {
    const world = await worldThat()
    const closed = await world.encrypted(await world.signed(EIGHT_BIT, 'ann'), ['bob'], TAGGED)
    await world.deliver(world.message(closed))
    expect(lastRecipient(world.house)).toMatchObject({
      reason:
        'rule inbound: it came encrypted, and is opened; ' +
        'signed by the author, and nothing is wrong with it',
      signature: 'pass',
      signatureCode: 'good',
      encryption: 'opened',
      decryptedBy: 'own',
      signerCertificate: world.certificate('ann').fingerprint,
    })
    expect(lastRecipient(world.house)).not.toHaveProperty('otherSigners')
    expect(lastRecipient(world.house)).not.toHaveProperty('notes')
  })

  test('is cipher text, where a rule signs it as it came', async () => {
    const { wish } = inboundRule()
    const signing = { ...inboundRule(), wish: { ...wish, sign: 'always' as const } }
    const world = await makeInboundWorld({ rules: [signing] })
    open.push(world)
    const closed = await world.encrypted(EIGHT_BIT, ['bob'], TAGGED)
    const body = closed.subarray(closed.indexOf('\r\n\r\n'))
    // Nothing says that it is encrypted, but the name of a file.
    const type = 'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n'
    const named = Buffer.from(`${type}Content-Disposition: attachment; filename=smime.p7m`)
    const message = world.message(Buffer.concat([named, body]), { From: ADDRESSES.carol })
    const delivered = await world.deliver(message)
    expect(delivered.section.first('content-type')!.body).toMatch(/^multipart\/signed/)
    expect(delivered.body).toContain('filename=smime.p7m')
    expect([delivered.result, delivered.encryption]).toEqual(['none', 'left'])
    expect(lastRecipient(world.house)).toMatchObject({ treatment: 'sign', encryption: 'left' })
  })

  test('bears the signatures of others, who are named', async () => {
    const world = await worldThat()
    const [ann, ben] = [world.certificate('ann'), world.certificate('ben')]
    const signers = [await infoBy(world, 'ann'), await infoBy(world, 'ben')]
    const certificates = [ann, ben, authorityOf(world)].map(({ der }) => der)
    const entity = clearMessage(signedData({ signers, certificates }), { entity: HELLO })
    await world.deliver(world.message(entity))
    expect(lastRecipient(world.house)).toMatchObject({
      signature: 'pass',
      signerCertificate: ann.fingerprint,
      otherSigners: [ben.fingerprint],
    })
  })
})

describe('outbound: who can open it', () => {
  test('every device of the recipient, and the author', async () => {
    const scene = await sceneWith('rsa-2048')
    await send(scene.house)
    expect(lastRecipient(scene.house)).toMatchObject({
      treatment: 'encrypt',
      certificate: scene.devices[0]!.fingerprint,
      otherCertificates: [scene.devices[1]!.fingerprint],
      authorCopy: [scene.alice.fingerprint],
    })
  })

  test('and why nobody signs it', async () => {
    const scene = await sceneWith('rsa-2048', 'when-possible')
    await send(scene.house)
    expect(lastRecipient(scene.house)).not.toHaveProperty('notSigned')
    await send(scene.house, 'zoe@example.test')
    expect(lastRecipient(scene.house)).toMatchObject({
      treatment: 'encrypt',
      notSigned: 'no identity bears the address of its author',
    })
  })

  test('why the author cannot', async () => {
    const scene = await sceneWith('p-256')
    await send(scene.house)
    const weaker = lastRecipient(scene.house)
    expect(weaker).toMatchObject({ noAuthorCopy: expect.stringContaining('weaker, or harder') })
    expect(weaker).not.toHaveProperty('authorCopy')
    await send(scene.house, 'zoe@example.test')
    expect(lastRecipient(scene.house)).toMatchObject({
      noAuthorCopy: expect.stringMatching(/^of the author, /),
    })
  })
})

test('docs/explain.md has every field that was seen here', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/explain.md'), 'utf8')
  const table = page.slice(page.indexOf('## The log line'))
  expect(seen.size).toBeGreaterThan(15)
  expect([...seen].filter(field => !table.includes(`\`${field}\``))).toEqual([])
})

async function worldThat(): Promise<InboundWorld> {
  const world = await makeInboundWorld()
  open.push(world)
  return world
}

/** What the last line of the log tells of its only recipient. */
function lastRecipient(house: TestHouse): Record<string, unknown> {
  const recipients = house.told('message').at(-1)!['recipients'] as Record<string, unknown>[]
  expect(recipients).toHaveLength(1)
  for (const field of Object.keys(recipients[0]!)) seen.add(field)
  return recipients[0]!
}

/** Alice of ours, who wishes copies, and Ann, who has two devices. */
async function sceneWith(key: 'rsa-2048' | 'p-256', sign: Degree = 'never') {
  const folder = await temporaryFolder('message-log')
  open.push({ close: () => folder.remove() })
  const made = await makeIdentityFolder(folder.path, {})
  const person = (address: string, kind: 'rsa-2048' | 'p-256', notBefore: Date) =>
    issue({
      ...lifetime(),
      notBefore,
      commonName: address,
      addresses: [address],
      issuer: made.issuing,
      key: kind,
      keyUsage: ['digitalSignature', kind === 'p-256' ? 'keyAgreement' : 'keyEncipherment'],
    })
  const alice = await person(ALICE, key, ago(1))
  await writeFile(join(made.files, 'alice.pem'), identityPem(alice), { mode: 0o600 })
  const source = { files: made.files, configPath: 'identities[0]' }
  const { identities } = await loadIdentities([source], new Date())
  const issued = [await person(ANN, 'rsa-2048', ago(1)), await person(ANN, 'rsa-2048', ago(2))]
  const devices = issued.map(({ der }) => parseCertificate(der))
  const house = await houseOf(identities, devices, [made.root.der, made.issuing.der], sign)
  return { house, devices, alice: parseCertificate(alice.der) }
}

async function houseOf(
  identities: Identities,
  devices: readonly Certificate[],
  [root, issuing]: readonly Buffer[],
  sign: Degree,
): Promise<TestHouse> {
  const found = devices.map(certificate => ({
    certificate,
    source: 'people',
    via: 'address' as const,
  }))
  const people = {
    name: 'people',
    find: async (mailbox: { toString(): string }) => (String(mailbox) === ANN ? found : []),
  }
  const trust = {
    anchors: [parseCertificate(root!)],
    intermediates: [parseCertificate(issuing!)],
    revocationMode: 'off' as const,
  }
  const directory = createDirectory([people], trust, () => new Date(), { devices: 'all' })
  const wish = { encrypt: 'always', encryptToAuthor: true } as const
  const house = await startHouse({ identities, directory, rules: [rule('out', sign, wish)] })
  open.push(house)
  return house
}

async function send(house: TestHouse, from = ALICE): Promise<void> {
  const client = await TestClient.open(house.port)
  open.push(client)
  const content = `From: ${from}\r\nTo: ${ANN}\r\nSubject: s\r\n\r\nfigures\r\n`
  const { end } = await client.send(from, [ANN], Buffer.from(content))
  expect(`${end?.code}`).toBe('250')
}

const ago = (hours: number): Date => new Date(Date.now() - hours * 3_600_000)
const TAGGED = { cipher: 'aes-256-gcm' } as const
const EIGHT_BIT = Buffer.from(
  'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nUmläute\r\n',
)
