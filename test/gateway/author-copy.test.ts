/** A copy for the author: who can open it, who learns of it, and what it must not cost. @module */
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bears } from '../../src/certstore/bearing.ts'
import { createDirectory, type Directory } from '../../src/certstore/directory.ts'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, identityPem, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import type { RuleSpec } from '../../src/policy/rule.ts'
import type { SinkMessage } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { openEntity } from '../support/open-envelope.ts'
import { rule, startHouse } from './house.ts'

const ALICE = 'alice@example.test'
const ANN = 'ann@partner.test'
const EVE = 'eve@partner.test'
const COPIED = rule('outbound', 'never', { encrypt: 'always', encryptToAuthor: true })

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder
let people: Record<string, Issued>
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('author-copy')
  made = await makeIdentityFolder(folder.path, {})
  people = { [ANN]: await person(ANN, 'rsa-2048'), [EVE]: await person(EVE, 'p-256') }
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
  for (const file of await readdir(made.files)) await rm(join(made.files, file))
})
afterAll(() => folder.remove())

describe('the author opens what was encrypted', () => {
  test('with the key of our identity, and the recipient with his', async () => {
    const alice = await person(ALICE, 'rsa-2048')
    const [message] = await sent([ANN], { identities: await identitiesOf(alice) })
    for (const who of [people[ANN]!, alice]) expect(opened(message!, who)).toContain('figures')
  })

  test('with the key of our domain, or one that the directory knows', async () => {
    const domain = await person('gateway@example.test', 'rsa-2048')
    const [byDomain] = await sent([ANN], {
      identities: await identitiesOf(domain, '@example.test'),
    })
    expect(opened(byDomain!, domain)).toContain('figures')
    const alice = await person(ALICE, 'rsa-2048')
    const [byDirectory] = await sent([ANN], { known: { ...people, [ALICE]: alice } })
    expect(opened(byDirectory!, alice)).toContain('figures')
  })

  test('never with an identity that has expired or is for signatures alone', async () => {
    const expired = await person(ALICE, 'rsa-2048', { notAfter: new Date(Date.now() - 60_000) })
    const signing = await person(ALICE, 'rsa-2048', { keyUsage: ['digitalSignature'] })
    const [message] = await sent([ANN], { identities: await identitiesOf(expired, signing) })
    for (const who of [expired, signing]) expect(() => opened(message!, who)).toThrow(/recipient/i)
  })

  test('not where the rule does not say so', async () => {
    const alice = await person(ALICE, 'rsa-2048')
    const plain = rule('outbound', 'never', { encrypt: 'always' })
    const [message] = await sent([ANN], { identities: await identitiesOf(alice), rules: [plain] })
    expect(() => opened(message!, alice)).toThrow(/recipient/i)
  })
})

describe('what a copy must not cost', () => {
  test('B67 a hidden recipient has his own message still, with the author and nobody else', async () => {
    const alice = await person(ALICE, 'rsa-2048')
    const cleo = await person('cleo@partner.test', 'rsa-2048')
    const known = { ...people, 'cleo@partner.test': cleo }
    const messages = await sent([ANN, 'cleo@partner.test'], {
      identities: await identitiesOf(alice),
      known,
    })
    expect(messages).toHaveLength(2)
    for (const message of messages) expect(openEntity(message.octets, alice).recipients).toBe(2)
    const [toAnn, toCleo] = messages.toSorted((a, b) =>
      a.forwardPaths[0]! < b.forwardPaths[0]! ? -1 : 1,
    )
    expect(() => opened(toAnn!, cleo)).toThrow(/recipient/i)
    expect(() => opened(toCleo!, people[ANN]!)).toThrow(/recipient/i)
  })

  test('B70 strength: an RSA key of the author gets OAEP beside an elliptic curve', async () => {
    const alice = await person(ALICE, 'rsa-2048')
    const [message] = await sent([EVE], { identities: await identitiesOf(alice) })
    expect(openEntity(message!.octets, alice).management).toMatch(/^2a864886f70d010107 /)
    expect(opened(message!, people[EVE]!)).toContain('figures')
  })

  test('readability: an elliptic curve of the author does not stand beside PKCS #1 v1.5', async () => {
    const alice = await person(ALICE, 'p-256')
    const [message] = await sent([ANN], { identities: await identitiesOf(alice) })
    expect(openEntity(message!.octets, people[ANN]!).recipients).toBe(1)
    const wish = { ...COPIED.wish, profile: 'modern' as const }
    const [modern] = await sent([ANN], {
      identities: await identitiesOf(alice),
      rules: [{ ...COPIED, wish }],
    })
    expect(opened(modern!, alice)).toContain('figures')
  })

  test('delay: a silent directory leaves the author without a copy, and nobody without mail', async () => {
    const [message] = await sent([ANN], { silentFor: ALICE })
    expect(openEntity(message!.octets, people[ANN]!).recipients).toBe(1)
  })

  test('secrecy: an author of another house gets none, and no directory is asked for him', async () => {
    const mallory = await person('mallory@far.test', 'rsa-2048')
    const asked: string[] = []
    const [message] = await sent([ANN], {
      from: 'mallory@far.test',
      known: { ...people, 'mallory@far.test': mallory },
      asked,
    })
    expect(() => opened(message!, mallory)).toThrow(/recipient/i)
    expect(asked).toEqual([ANN])
  })
})

interface Scene {
  readonly identities?: Identities
  readonly known?: Readonly<Record<string, Issued>>
  readonly rules?: readonly RuleSpec[]
  readonly from?: string
  /** For whom the directory does not answer. */
  readonly silentFor?: string
  /** Whom it was asked for. */
  readonly asked?: string[]
}

/** Ann and Eve stand in the To field, others nowhere. */
async function sent(to: readonly string[], scene: Scene): Promise<readonly SinkMessage[]> {
  const { identities = await identitiesOf(), rules = [COPIED], from = ALICE } = scene
  const house = await startHouse({ identities, rules, directory: directoryOf(scene) })
  open.push(house)
  const client = await TestClient.open(house.port)
  open.push(client)
  const content =
    `From: ${from}\r\nTo: ${ANN}, ${EVE}\r\nDate: ${new Date().toUTCString()}\r\n` +
    'Subject: s\r\n\r\nfigures\r\n'
  const { end } = await client.send(from, to, Buffer.from(content))
  expect(`${end?.code} ${end?.text}`).toMatch(/^250/)
  return house.sinks.outbound.messages
}

function directoryOf({ known = people, silentFor, asked }: Scene): Directory {
  const source = {
    name: 'people',
    async find(mailbox: Parameters<Directory['search']>[0]) {
      asked?.push(mailbox.toString())
      if (mailbox.toString() === silentFor) throw new CertificateSourceUnavailable('people')
      return Object.values(known)
        .map(({ der }) => parseCertificate(der))
        .filter(certificate => bears(certificate, mailbox))
        .map(certificate => ({ certificate, source: 'people', via: 'address' as const }))
    },
  }
  const trust = {
    anchors: [parseCertificate(made.root.der)],
    intermediates: [parseCertificate(made.issuing.der)],
    revocationMode: 'off' as const,
  }
  return createDirectory([source], trust, () => new Date())
}

/** Identities of ours; an address of the whole domain may stand behind them. */
async function identitiesOf(...given: readonly (Issued | string)[]): Promise<Identities> {
  const address = given.find(it => typeof it === 'string')
  const issued = given.filter(it => typeof it === 'object')
  for (const [index, one] of issued.entries())
    await writeFile(join(made.files, `${index}.pem`), identityPem(one), { mode: 0o600 })
  const source = { files: made.files, address, configPath: 'identities[0]' }
  return (await loadIdentities([source], new Date())).identities
}

async function person(
  address: string,
  key: KeyKind,
  wish: Partial<Parameters<typeof issue>[0]> = {},
): Promise<Issued> {
  const usage = key === 'p-256' ? 'keyAgreement' : 'keyEncipherment'
  return issue({
    ...lifetime(),
    commonName: address,
    addresses: [address],
    issuer: made.issuing,
    key,
    keyUsage: ['digitalSignature', usage],
    ...wish,
  })
}

function opened(message: SinkMessage, who: Issued): string {
  return openEntity(message.octets, who).content.toString()
}
