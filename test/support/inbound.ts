/**
 * Mail that arrives: people who sign and encrypt, people of ours, and a gateway that reads it.
 *
 *     const world = await makeInboundWorld()
 *     const entity = await world.encrypted(await world.signed(text('hello'), 'ann'), ['bob'])
 *     const { result, code, encryption, body } = await world.deliver(world.message(entity))
 *
 * @module
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadIdentities } from '../../src/certstore/identities.ts'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import { type ContentCipher, contentCipher } from '../../src/crypto/content-encryption.ts'
import type { Signer } from '../../src/crypto/key.ts'
import { type KeyTransport, keyManagementFor } from '../../src/crypto/key-management.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { envelop } from '../../src/crypto/smime/envelop.ts'
import { opaqueSign } from '../../src/crypto/smime/opaque-sign.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, identityPem, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import type { ValidCertificate } from '../../src/crypto/x509/valid-certificate.ts'
import { type HeaderSection, parseHeaderSection } from '../../src/mail/header-section.ts'
import type { RuleSpec } from '../../src/policy/rule.ts'
import { INBOUND_BY_DEFAULT, type InboundWish } from '../../src/policy/treatment.ts'
import { type HouseSettings, rule, startHouse, type TestHouse } from '../gateway/house.ts'
import { gather, once } from './chunks.ts'
import { type Outcome, TestClient } from './client.ts'
import { temporaryFolder } from './gateway-process.ts'
import { lifetime, makeIdentityFolder } from './identity-folder.ts'

/** Who is in this world. `bob` and `carol` are ours; `eve` has a certificate of her own making. */
export type Person = 'ann' | 'ben' | 'mallory' | 'eve' | 'bob' | 'carol'

export const ADDRESSES: Readonly<Record<Person, string>> = {
  ann: 'ann@partner.test',
  ben: 'ben@partner.test',
  mallory: 'mallory@evil.test',
  eve: 'eve@partner.test',
  bob: 'bob@example.test',
  carol: 'carol@example.test',
}

/** What came out at the next hop, for one recipient. */
export interface Delivered {
  readonly reply: Outcome
  readonly octets: Buffer
  readonly section: HeaderSection
  /** Of our Authentication-Results: `pass`. */
  readonly result: string
  /** Of X-Postern-Signature: `good`. */
  readonly code: string
  /** First word of X-Postern-Encryption: `opened`. */
  readonly encryption: string
  readonly notes: readonly string[]
  /** All behind the blank line. */
  readonly body: string
}

export interface InboundWorld {
  /** The authority of all but eve. */
  readonly root: Issued
  readonly house: TestHouse
  readonly folder: string
  issued(who: Person): Issued
  certificate(who: Person): Certificate
  signer(who: Person): Signer
  signed(
    entity: Buffer,
    who: Person,
    options?: { readonly format?: 'clear' | 'opaque'; readonly signingTime?: Date | undefined },
  ): Promise<Buffer>
  encrypted(
    entity: Buffer,
    to: readonly Person[],
    options?: { readonly cipher?: ContentCipher['name']; readonly rsa?: KeyTransport['name'] },
  ): Promise<Buffer>
  /** A whole message around an entity: From ann, to bob, dated now, unless the fields say otherwise. */
  message(entity: Buffer, fields?: Readonly<Record<string, string>>): Buffer
  /** Sends a message to bob, or to others of ours; all that came out, in no order. */
  deliverAll(message: Buffer, to?: readonly string[]): Promise<readonly Delivered[]>
  /** The same for exactly one copy. */
  deliver(message: Buffer, to?: readonly string[]): Promise<Delivered>
  close(): Promise<void>
}

/** Another wish for inbound mail. Default: open where possible, verify, stamp. */
export interface WorldSettings extends Partial<Omit<HouseSettings, 'identities'>> {
  readonly wish?: Partial<InboundWish>
  readonly keys?: Partial<Record<Person, KeyKind>>
  /** More identities of ours: address or @domain → kind of key. */
  readonly identities?: Readonly<Record<string, KeyKind>>
}

export async function makeInboundWorld(settings: WorldSettings = {}): Promise<InboundWorld> {
  const { wish, keys = {}, identities: more = {}, ...houseSettings } = settings
  const folder = await temporaryFolder('inbound')
  const life = lifetime()
  const isOfDomain = ([name]: readonly [string, KeyKind]) => name.startsWith('@')
  const made = await makeIdentityFolder(folder.path, {
    [ADDRESSES.bob]: keys.bob ?? 'rsa-2048',
    [ADDRESSES.carol]: keys.carol ?? 'rsa-2048',
    ...Object.fromEntries(Object.entries(more).filter(it => !isOfDomain(it))),
  })
  const sources = [{ files: made.files, configPath: 'identities[0]' }]
  for (const [name, key] of Object.entries(more).filter(isOfDomain)) {
    // A certificate bears no domain: for whom it stands is said in the configuration.
    const addresses = [`gateway${name}`]
    const own = await issue({ ...life, commonName: name, addresses, issuer: made.issuing, key })
    const files = join(folder.path, `${name}.pem`)
    await writeFile(files, identityPem(own), { mode: 0o600 })
    sources.push({ files, configPath: 'identities[1]', address: name } as (typeof sources)[0])
  }
  const { identities } = await loadIdentities(sources, new Date())
  const people = new Map<Person, Issued>()
  for (const who of ['ann', 'ben', 'mallory', 'eve'] as const)
    people.set(
      who,
      await issue({
        ...life,
        commonName: who,
        addresses: [ADDRESSES[who]],
        key: keys[who] ?? 'rsa-2048',
        ...(who !== 'eve' && { issuer: made.issuing }),
      }),
    )
  for (const who of ['bob', 'carol'] as const) {
    const own = identities.all.find(({ names }) => names.includes(ADDRESSES[who]))!
    people.set(who, { ...made.root, der: own.certificate.der, privateKey: own.privateKey })
  }
  const house = await startHouse({
    rules: [inboundRule(wish)],
    anchors: [parseCertificate(made.root.der)],
    ...houseSettings,
    identities,
  })

  const issuing = parseCertificate(made.issuing.der)
  const issued = (who: Person): Issued => people.get(who)!
  const certificate = (who: Person): Certificate => parseCertificate(issued(who).der)
  const signer = (who: Person): Signer => signerOf(issued(who), who === 'eve' ? [] : [issuing])
  const world: InboundWorld = {
    root: made.root,
    house,
    folder: folder.path,
    issued,
    certificate,
    signer,
    signed: (entity, who, options = {}) => {
      const { format = 'clear' } = options
      const signingTime = 'signingTime' in options ? options.signingTime : new Date()
      const sign = format === 'clear' ? clearSign : opaqueSign
      return gather(sign(once(entity), signer(who), { signingTime }))
    },
    encrypted: (entity, to, { cipher = 'aes-256-cbc', rsa = 'rsa-pkcs1' } = {}) => {
      const recipients = to.map(who => {
        const valid = certificate(who) as ValidCertificate<'encrypt'>
        return { certificate: valid, management: keyManagementFor(valid.publicKey, rsa) }
      })
      return gather(envelop(once(entity), recipients, { content: contentCipher(cipher) }))
    },
    message: messageAround,
    deliverAll: (message, to = [ADDRESSES.bob]) => deliverAll(house, message, to),
    async deliver(message, to = [ADDRESSES.bob]) {
      const all = await deliverAll(house, message, to)
      if (all.length !== 1) throw new Error(`${all.length} copies came out`)
      return all[0]!
    },
    async close() {
      await house.close()
      await folder.remove()
    },
  }
  return world
}

/** A rule for all inbound mail. */
export function inboundRule(wish: Partial<InboundWish> = {}): RuleSpec {
  const { wish: outbound } = rule('inbound', 'never')
  return {
    name: 'inbound',
    when: { direction: ['inbound'] },
    wish: { ...outbound, inbound: { ...INBOUND_BY_DEFAULT, decrypt: 'when-possible', ...wish } },
  }
}

/** A text entity. */
export function text(words: string): Buffer {
  return Buffer.from(`Content-Type: text/plain; charset=us-ascii\r\n\r\n${words}\r\n`)
}

export function messageAround(
  entity: Buffer,
  fields: Readonly<Record<string, string>> = {},
): Buffer {
  const all = {
    From: 'Ann <ann@partner.test>',
    To: 'bob@example.test',
    Date: new Date().toUTCString().replace('GMT', '+0000'),
    'Message-ID': `<${String(Math.random()).slice(2)}@partner.test>`,
    Subject: 'figures',
    'MIME-Version': '1.0',
    ...fields,
  }
  const lines = Object.entries(all).map(([name, body]) => `${name}: ${body}\r\n`)
  return Buffer.concat([Buffer.from(lines.join('')), entity])
}

/** How a person signs. */
export function signerOf({ der, privateKey }: Issued, path: readonly Certificate[] = []): Signer {
  const certificate = parseCertificate(der)
  const algorithm = signatureAlgorithmFor(certificate.publicKey, {})
  return {
    certificate,
    path,
    algorithm,
    sign: octets => signOctets(privateKey, algorithm, octets),
  }
}

async function deliverAll(
  house: TestHouse,
  message: Buffer,
  to: readonly string[],
): Promise<readonly Delivered[]> {
  const before = house.sinks.inbound.messages.length
  const client = await TestClient.open(house.port)
  try {
    const reply = await client.send(ADDRESSES.ann, to, message)
    return house.sinks.inbound.messages.slice(before).map(({ octets }) => delivered(octets, reply))
  } finally {
    client.close()
  }
}

function delivered(octets: Buffer, reply: Outcome): Delivered {
  const section = parseHeaderSection(octets)
  const ours = section
    .all('authentication-results')
    .filter(({ body }) => /^gw\.example\.test;/.test(body))
  if (ours.length !== 1)
    throw new Error(`${ours.length} stamps:\n${octets.toString('latin1', 0, 2000)}`)
  const stamp = section.first('x-postern-signature')?.body ?? ''
  return {
    reply,
    octets,
    section,
    result: /smime=(\w+)/.exec(ours[0]!.body)![1]!,
    code: /code=([\w-]+)/.exec(stamp)![1]!,
    encryption: /^[\w-]+/.exec(section.first('x-postern-encryption')?.body ?? '')![0],
    notes: (section.first('x-postern-notes')?.body ?? '').split(/,\s*/).filter(it => it !== ''),
    body: octets.toString('latin1', section.bodyOffset),
  }
}
