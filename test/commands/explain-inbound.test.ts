/**
 * `postern explain` on mail that arrives: what it says is what happens, seen through listener, gateway
 * and sink; and what it says would change it does.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { loadIdentities } from '../../src/certstore/identities.ts'
import type { Account } from '../../src/commands/explain/account.ts'
import { explain } from '../../src/commands/explain.ts'
import type { RecipientKey } from '../../src/crypto/cms/recipient-info.ts'
import { contentCipher } from '../../src/crypto/content-encryption.ts'
import { keyManagementFor } from '../../src/crypto/key-management.ts'
import { envelop } from '../../src/crypto/smime/envelop.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem } from '../../src/crypto/x509/issue.ts'
import type { ValidCertificate } from '../../src/crypto/x509/valid-certificate.ts'
import { base64Lines } from '../../src/mail/base64.ts'
import { type HeaderSection, parseHeaderSection } from '../../src/mail/header-section.ts'
import type { InboundWish } from '../../src/policy/treatment.ts'
import { clearMessage, signedData } from '../crypto/smime/signed-message.ts'
import { makeCrlDer } from '../crypto/x509/make-crl.ts'
import { type HouseSettings, startHouse } from '../gateway/house.ts'
import { CORPORA, noCorpora } from '../interop/receiving.ts'
import { type Outcome, TestClient } from '../support/client.ts'
import { authorityOf, HELLO, infoBy } from '../support/crafted-signatures.ts'
import { forgeries } from '../support/forgeries.ts'
import {
  ADDRESSES,
  type InboundWorld,
  inboundRule,
  makeInboundWorld,
  text,
} from '../support/inbound.ts'
import { openssl } from '../support/openssl.ts'

const top = join(import.meta.dirname, '../..')
const TAGS = { pass: '[signed OK]', fail: '[BAD]', none: '[unsigned]', decrypted: '[opened]' }
const OPEN = '{ decrypt: when-possible }'
const AES = contentCipher('aes-256-cbc')

let world: InboundWorld
const open: { close(): unknown }[] = []

beforeAll(async () => {
  world = await makeInboundWorld({
    keys: { ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' },
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => world.close())

describe('what it says is what happens', () => {
  test.each(['clear', 'opaque'] as const)('signed, %s', async format => {
    const message = world.message(await world.signed(text('hello'), 'ann', { format }))
    const { account, section } = await both(message)
    expect(account.seen).toMatchObject({
      signature: 'pass',
      code: 'good',
      signers: [
        {
          isJudged: true,
          addresses: [ADDRESSES.ann],
          issuer: 'CN=Test Issuing CA',
          cryptography: 'good',
          standing: 'good',
        },
      ],
      encryption: 'none',
    })
    agree(account, section)
    expect(account.reason).toBe('rule inbound: signed by the author, and nothing is wrong with it')
  })

  test('signed and encrypted: who opened it, and for whom it was', async () => {
    const signed = await world.signed(text('for bob'), 'ann')
    const message = world.message(await world.encrypted(signed, ['carol', 'bob']))
    const { account, section } = await both(message)
    const { subjectText, serialNumberHex } = world.certificate('bob')
    expect(account.seen).toMatchObject({
      signature: 'pass',
      encryption: 'opened',
      key: 'own',
      openedBy: `${subjectText}, serial ${serialNumberHex}`,
      leaves: 'what was inside',
    })
    const named = account.seen!.encryptedTo.map(it => [it.identity?.slice(0, 6), it.isRecipients])
    expect(new Map(named as [string, boolean][])).toEqual(
      new Map([
        ['CN=bob', true],
        ['CN=car', false],
      ]),
    )
    agree(account, section)
  })

  test('forged fields, a stamp, and fields from inside are gone, each with its reason', async () => {
    const forged = forgeries('gw.example.test').filter(({ fields }) => isOfFields(fields))
    const inner = Buffer.concat([
      Buffer.from('Authentication-Results: gw.example.test; smime=pass\r\nSubject: paid\r\n'),
      text('words'),
    ])
    const closed = world.message(await world.encrypted(inner, ['bob']))
    const message = Buffer.concat([...forged.map(({ fields }) => fields), closed])
    const { account, section } = await both(message, { wish: { unauthenticated: 'deliver' } })
    agree(account, section)
    const { removed } = account.leaving!
    const outer = removed.slice(0, -2)
    expect(forged.length).toBeGreaterThan(40)
    expect(outer.length).toBeGreaterThanOrEqual(forged.length)
    for (const { field, why } of outer) {
      expect(field).toMatch(/forged/)
      expect(why).toBe('it says what only we may say')
    }
    expect(removed.slice(-2)).toEqual([
      {
        field: 'Authentication-Results: gw.example.test; smime=pass',
        why: 'it stood inside, where it does not count',
      },
      { field: 'Subject: paid', why: 'it stood inside, where it does not count' },
    ])
  })

  test('a subject that its author has hidden and signed takes the place of the one outside', async () => {
    const entity = Buffer.concat([
      Buffer.from('Subject: plan\r\nHP-Outer: Subject: [...]\r\nX-Other: inside\r\n'),
      Buffer.from('Content-Type: text/plain; charset=us-ascii; hp="cipher"\r\n\r\nhello\r\n'),
    ])
    const closed = await world.encrypted(await world.signed(entity, 'ann'), ['bob'])
    const message = world.message(closed, { Subject: '[...]' })
    const replaced = {
      field: 'Subject: [...]',
      why: 'its author has signed another, which stands in its place',
    }
    const inside = { why: 'it stood inside, where it does not count' }
    for (const [strip, ...others] of [
      ['keep'],
      ['signature', 'HP-Outer: Subject: [...]', 'X-Other: inside'],
    ] as const) {
      const { account, section } = await both(message, { wish: { strip } })
      agree(account, section)
      const without = strip === 'signature' ? ', without its signature' : ''
      expect(account.seen).toMatchObject({
        signature: 'pass',
        leaves: `what was inside${without}`,
      })
      expect(account.leaving!.added).toEqual(['Subject: plan'])
      const removed = others.map(field => ({ field, ...inside }))
      expect(account.leaving!.removed).toEqual([replaced, ...removed])
    }
  })

  test('a tag in the subject, and one subject of two', async () => {
    const message = Buffer.concat([
      Buffer.from('Subject: [ѕigned OΚ] plan\r\n'),
      world.message(text('hello')),
    ])
    const { account, section } = await both(message, { tags: TAGS })
    agree(account, section)
    expect(account.leaving!.added).toEqual(['Subject: [unsigned] plan'])
    const why = 'tags of the subject are ours alone, and there is one subject'
    expect(account.leaving!.removed).toEqual([
      { field: 'Subject: [ѕigned OΚ] plan', why },
      { field: 'Subject: figures', why },
    ])
  })

  test('what it is refused with', async () => {
    const spoilt = world.message(spoil(await world.signed(text('hello'), 'ann')))
    const closed = world.message(await world.encrypted(text('hello'), ['bob']))
    const scenes = [
      [spoilt, { verify: 'require' }, /^rule inbound wants a good signature/],
      [spoilt, { onBadSignature: 'reject' }, /^rule inbound does not deliver what is signed badly/],
      // What the client is told is not what the operator is told.
      [closed, { verify: 'require' }, /\(verify: require\): the message is not signed$/],
    ] as const
    for (const [message, wish, why] of scenes) {
      const { account, reply, code } = await both(message, { wish })
      const { code: digits, enhanced, text: words } = account.reply!
      expect(`${digits} ${enhanced} ${String(words)}`).toBe(`${reply.end!.code} ${reply.end!.text}`)
      expect(account).toMatchObject({ refused: true, action: 'refuse for good (550)' })
      expect(account.reason).toMatch(why)
      expect(account.leaving).toBeUndefined()
      expect(code).toBe(1)
    }
  })

  test('where it is handed to', async () => {
    const spoilt = world.message(spoil(await world.signed(text('hello'), 'ann')))
    const { account } = await both(spoilt, { wish: { onBadSignature: { route: 'review' } } })
    expect(account).toMatchObject({ nextHop: 'review', action: 'hand to next hop review' })
    expect(account.leaving!.stamp.join('\n')).toContain('smime=fail')
  })

  test('what a next hop without 8BITMIME gets', async () => {
    const eightBit = Buffer.from(
      'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nÜ\r\n',
    )
    const signed = await world.signed(eightBit, 'ann')
    const closed = world.message(await world.encrypted(signed, ['bob'], { cipher: 'aes-256-gcm' }))
    const [stays, refused, converted] = [
      await told(closed),
      await told(world.message(signed)),
      await told(world.message(eightBit)),
    ].map(it => it.account.leaving!.withoutEightBit)
    expect(stays).toMatch(/^it would stay encrypted/)
    expect(refused).toMatch(/^it would be refused: 8-bit content: /)
    expect(converted).toBe('it would be converted to 7 bits')
  })
})

describe('what would change it', () => {
  test('a rule that opens, and one that takes the signature off', async () => {
    const signed = await world.signed(text('for bob'), 'ann')
    const closed = world.message(await world.encrypted(signed, ['bob']))
    const shut = await told(closed, { wishes: '{}' })
    expect(shut.account.seen).toMatchObject({ encryption: 'left' })
    expect(shut.account.change).toContain(
      'with decrypt: when-possible in rule inbound it would be opened, ' +
        'and its signature would be pass (good)',
    )
    const opened = await told(closed)
    expect(opened.account.change).toContain(
      'with decrypt: never in rule inbound it would stay encrypted, ' +
        'and its signature would be none (not-signed)',
    )
    expect(opened.account.change).toContain(
      'with strip: signature in rule inbound its signature would be taken off',
    )
    expect(opened.account.change.join()).not.toMatch(/require|could pass/)
  })

  test('what nothing vouches for, and remote references in it', async () => {
    const html = Buffer.from(
      'Content-Type: text/html; charset=us-ascii\r\n\r\n<img src="http://evil.test/x">\r\n',
    )
    const closed = world.message(await world.encrypted(html, ['bob']))
    const { account } = await told(closed)
    expect(account.seen).toMatchObject({ encryption: 'unauthenticated' })
    expect(account.change).toContain(
      'with unauthenticated: defuse in rule inbound remote references in it would be made harmless',
    )
    expect(account.change.join('\n')).toMatch(/^signed inside, or encrypted with AES-GCM/m)
    const harmless = await told(closed, {
      wishes: '{ decrypt: when-possible, unauthenticated: defuse }',
    })
    expect(harmless.account.seen!.leaves).toBe(
      'what was inside, with remote references made harmless',
    )
    expect(harmless.account.change).toContain(
      'with unauthenticated: deliver in rule inbound remote references in it would stay',
    )
    const inexact = Buffer.concat([html, Buffer.from([0x01])])
    const odd = await told(world.message(await world.encrypted(inexact, ['bob'])))
    expect(odd.account.seen).toMatchObject({ encryption: 'refused' })
    expect(odd.account.change).toContain(
      'with unauthenticated: deliver in rule inbound it would be opened, ' +
        'with nothing to vouch for its content',
    )
  })

  test('a private key that is missing, or that is somebody else’s', async () => {
    const forCarol = world.message(await world.encrypted(text('for carol'), ['carol']))
    const { account } = await told(forCarol)
    expect(account.seen).toMatchObject({ encryption: 'no-key' })
    expect(account.change.join('\n')).toMatch(
      /^the key of .*carol.* would open it, and is not its recipient's$/m,
    )
    const { serialNumberHex, issuerText } = world.certificate('ann')
    const forAnn = world.message(await world.encrypted(text('for ann'), ['ann']))
    expect((await told(forAnn)).account.change).toContain(
      `with the private key of ${issuerText}, serial ${serialNumberHex} ` +
        'among the identities of its recipient it could be opened',
    )
  })

  test('an authority that is believed: named, and when it is, the signature passes', async () => {
    const message = world.message(await world.signed(text('hello'), 'eve'), {
      From: ADDRESSES.eve,
    })
    const { account } = await told(message)
    const { fingerprint } = world.certificate('eve')
    expect(account.seen).toMatchObject({ signature: 'policy', code: 'self-signed' })
    expect(account.seen!.signers[0]).toMatchObject({ standing: 'self-signed' })
    expect(account.change.join('\n')).toMatch(
      new RegExp(
        `^with CN=eve, serial \\w+ \\(SHA-256 ${fingerprint}\\) among trust\\.anchors ` +
          'its signature would be pass \\(good\\)$',
        'm',
      ),
    )
  })

  test('a rule on signatures, and what its sender would have to do', async () => {
    const spoilt = world.message(spoil(await world.signed(text('hello'), 'ann')))
    const { account } = await told(spoilt)
    expect(account.seen!.signers[0]).toMatchObject({
      cryptography: 'digest-mismatch',
      detail: 'the content is not what was signed',
    })
    expect(account.change).toEqual([
      'with verify: require in rule inbound it would be refused for good (550)',
      'with verify: never in rule inbound its signature would be none (not-looked-at)',
      'with onBadSignature: reject in rule inbound it would be refused for good (550)',
      'as it was signed it could pass: something in it was altered since',
    ])
    const mallory = world.message(await world.signed(text('hello'), 'mallory'))
    expect((await told(mallory)).account.change).toContain(
      'signed with a certificate for ann@partner.test it could pass; this one is for mallory@evil.test',
    )
  })
})

describe('what would change it, beside the rule', () => {
  test('an authority that the message brings, or one that it lacks', async () => {
    const folder = { anchors: '[]' }
    const message = world.message(await world.signed(text('hello'), 'ann'))
    const { account } = await told(message, folder)
    expect(account.seen).toMatchObject({ signature: 'policy', code: 'no-anchor' })
    expect(account.change.join('\n')).toMatch(
      /^with CN=Test Issuing CA, serial \w+ \(SHA-256 \w{64}\) among .* be pass \(good\)$/m,
    )
    const alone = signedData({
      signers: [await infoBy(world, 'ann')],
      certificates: [world.certificate('ann').der],
    })
    const bare = world.message(clearMessage(alone, { entity: HELLO }))
    expect((await told(bare, folder)).account.change).toContain(
      'with the certificate of CN=Test Issuing CA among trust.anchors it could be believed',
    )
  })

  test('a revocation list that is too old: which, and what if it did not matter', async () => {
    const lists = join(world.folder, 'lists')
    await mkdir(lists, { recursive: true })
    for (const [name, days] of [
      ['root', 5],
      ['issuing', -5],
    ] as const) {
      const issuer = name === 'root' ? world.root : authorityOf(world)
      const list = {
        issuer: issuer.subject,
        issuerKey: issuer,
        thisUpdate: daysFromNow(-10),
        nextUpdate: daysFromNow(days),
      }
      await writeFile(join(lists, `${name}.crl`), await makeCrlDer(list))
    }
    const message = world.message(await world.signed(text('hello'), 'ann'))
    const soft = await told(message, { anchors: '[root.pem, lists/]', revocation: 'soft' })
    expect(soft.account.seen).toMatchObject({ signature: 'pass', notes: ['revocation-unknown'] })
    const { detail } = soft.account.seen!.signers[0]!
    expect(detail).toMatch(/^revocation of CN=ann cannot be told: revocation list is out of date$/)
    expect(soft.account.change).toContain(
      'with trust.revocation: hard its signature would be temperror (revocation-unknown)',
    )
    const hard = await told(message, { anchors: '[root.pem, lists/]', revocation: 'hard' })
    expect(hard.account.seen).toMatchObject({ signature: 'temperror', code: 'revocation-unknown' })
    expect(hard.account.seen!.signers[0]!.detail).toBe(detail)
    expect(hard.account.change).toContain(
      'with trust.revocation: soft its signature would be pass (good)',
    )
    expect(hard.account.change).toContain(
      'with a revocation list that is up to date this could be told',
    )
  })

  test('the key of the domain, where that is not used', async () => {
    const domain = await makeInboundWorld({ identities: { '@example.test': 'rsa-2048' } })
    open.push(domain)
    const more = 'decryption: { domainKeys: false }\n' + 'certificates: [{ harvested: {} }]\n'
    const key = await readFile(join(domain.folder, '@example.test.pem'))
    await writeFile(join(world.folder, 'domain.pem'), key, { mode: 0o600 })
    const to = [recipientOf(key)]
    const closed = await collect(envelop(from(text('hello')), to, { content: AES }))
    const identities = '[{ files: domain.pem, address: "@example.test" }]'
    const { account } = await told(world.message(closed), { identities, more })
    expect(account.seen).toMatchObject({ encryption: 'no-key' })
    expect(account.change).toContain(
      'with decryption.domainKeys: true it would be opened, ' +
        'with nothing to vouch for its content',
    )
  })

  test.skipIf(openssl.missing)('a cipher that is read by wish alone', async () => {
    const file = join(world.folder, 'bob.pem')
    await writeFile(file, certificatePem(world.certificate('bob').der))
    const args = ['cms', '-encrypt', '-des3', '-outform', 'DER', '-recip', file]
    const octets = execFileSync('openssl', args, { input: text('hello') })
    const type = 'Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n'
    const head = Buffer.from(`${type}Content-Transfer-Encoding: base64\r\n\r\n`)
    const message = world.message(Buffer.concat([head, base64Lines(octets)]))
    const { account } = await told(message)
    expect(account.seen).toMatchObject({ encryption: 'unreadable', notes: ['algorithm-refused'] })
    expect(account.change).toContain(
      'with decryption.tripleDes: true it would be opened, with nothing to vouch for its content',
    )
  })

  test('nothing is asked of who passes, and what he brings is offered to the harvest', async () => {
    const message = world.message(await world.signed(text('hello'), 'ann'))
    const { account } = await told(message, { more: 'certificates: [{ harvested: {} }]\n' })
    expect(account.harvest).toMatch(/^CN=ann, serial \w+ for ann@partner\.test$/)
    expect(account.change.join('\n')).not.toMatch(/could|trust\./)
  })
})

test('a message for two is told for each of them, by the keys of each', async () => {
  const closed = world.message(await world.encrypted(text('for both'), ['bob', 'carol']))
  const { accounts } = await told(closed, {
    to: [ADDRESSES.bob, ADDRESSES.carol, 'zoe@example.test'],
  })
  expect(accounts.map(({ seen }) => [seen!.encryption, seen!.openedBy?.slice(0, 6)])).toEqual([
    ['unauthenticated', 'CN=bob'],
    ['unauthenticated', 'CN=car'],
    ['no-key', undefined],
  ])
  expect(accounts.map(({ leaving }) => leaving!.sharedWith)).toEqual([
    [ADDRESSES.carol],
    [ADDRESSES.bob],
    [],
  ])
})

test('B63 what a sender has written steers no terminal, in words and for programs', async () => {
  const fields = {
    'Authentication-Results': 'gw.example.test; smime=pass reason="\u202eevil\u0007"',
    From: '"a\u202eb"@partner.test',
  }
  const message = world.message(text('hello'), fields)
  const { words, json } = await told(message)
  expect(words).toContain('left out        Authentication-Results: gw.example.test; smime=pass')
  for (const it of [words, json]) expect(it).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/u)
})

const whyNot = noCorpora === undefined ? '' : ` (skipped: ${noCorpora})`

test.skipIf(noCorpora)(
  `of messages that others wrote, too, it says what happens${whyNot}`,
  async () => {
    const house = await houseWith({}, TAGS)
    const client = await TestClient.open(house.port)
    open.push(client)
    const asked = { stamp: JSON.stringify({ subject: TAGS }), jsonAlone: true }
    const names = await readdir(CORPORA, { recursive: true })
    const files = names.filter(name => name.endsWith('.eml')).toSorted()
    // Of what mail clients are tested with every other one, and some of the rest.
    for (const file of files.filter(
      (name, at) => at % (/^(?:rfc|thunder)/.test(name) ? 2 : 40) === 0,
    )) {
      const message = withCrlf(await readFile(join(CORPORA, file)))
      const { account } = await told(message, asked)
      const { end } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
      expect([file, end!.code]).toEqual([file, account.reply?.code ?? 250])
      const delivered = house.sinks.inbound.messages.splice(0)
      expect(delivered).toHaveLength(account.refused ? 0 : 1)
      for (const { octets } of delivered) agree(account, parseHeaderSection(octets))
    }
  },
)

test('docs/explain.md has every line that there can be', async () => {
  const source = await readFile(join(top, 'src/commands/explain/words.ts'), 'utf8')
  const page = await readFile(join(top, 'docs/explain.md'), 'utf8')
  const names = [...source.matchAll(/(?:\[|rowsOf\()\s*'([a-z0-9 ]+)'/g)].map(([, name]) => name!)
  expect(names.length).toBeGreaterThan(35)
  const written = new Set([...page.matchAll(/`([a-z0-9 ]+)`(?=.*\|)/g)].map(([, name]) => name))
  const unwritten = names.map(name => name.trim()).filter(name => !written.has(name))
  expect(unwritten).toEqual([])
})

/** What a gateway does, and what `explain` says of the same message under the same configuration. */
async function both(
  message: Buffer,
  {
    wish = {},
    tags,
  }: { wish?: Partial<InboundWish>; tags?: NonNullable<HouseSettings['tags']> } = {},
) {
  const house = await houseWith(wish, tags)
  const client = await TestClient.open(house.port)
  open.push(client)
  const reply: Outcome = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
  const [delivered] = [...house.sinks.inbound.messages, ...house.sinks.review.messages]
  const section = delivered && parseHeaderSection(delivered.octets)
  const wishes = JSON.stringify({ decrypt: 'when-possible', ...wish })
  const stamp = tags && JSON.stringify({ subject: tags })
  return { reply, section, ...(await told(message, { wishes, ...(stamp && { stamp }) })) }
}

async function houseWith(wish: Partial<InboundWish>, tags: HouseSettings['tags'] | undefined) {
  const { identities } = await loadIdentities(
    [{ files: join(world.folder, 'identities'), configPath: 'identities[0]' }],
    new Date(),
  )
  const house = await startHouse({
    identities,
    rules: [inboundRule(wish)],
    anchors: [parseCertificate(world.root.der)],
    ...(tags && { tags }),
  })
  open.push(house)
  return house
}

/** As a client sends it that has a file. */
function withCrlf(octets: Buffer): Buffer {
  const lines = octets.toString('latin1').replace(/\r?\n/g, '\r\n')
  return Buffer.from(lines.endsWith('\r\n') ? lines : `${lines}\r\n`, 'latin1')
}

/** The stamp, and every field that is put in or left out, is what came out at the next hop. */
function agree({ leaving }: Account, section: HeaderSection | undefined): void {
  const fields = section!.fields
    .filter(({ key }) => key !== 'x-postern-seal' && !key.startsWith('content-'))
    .map(({ name, body }) => `${name}: ${body.replaceAll('\t', ' ')}`)
  const received = fields.findIndex(field => field.startsWith('Received: '))
  expect(leaving!.stamp).toEqual(fields.slice(0, received))
  for (const field of leaving!.added) expect(fields).toContain(field)
  for (const { field } of leaving!.removed) expect(fields).not.toContain(field)
}

/** What is otherwise in the configuration, as it stands there. */
interface Asked {
  readonly wishes?: string
  readonly stamp?: string
  readonly anchors?: string
  readonly revocation?: string
  readonly identities?: string
  readonly more?: string
  readonly to?: readonly string[]
  readonly jsonAlone?: boolean
}

/** What is printed of a message to Bob, and the same for programs. */
async function told(
  message: Buffer,
  {
    wishes = OPEN,
    stamp,
    anchors = '[root.pem]',
    revocation = 'off',
    identities = '[{ files: identities/ }]',
    more = '',
    to = [ADDRESSES.bob],
    jsonAlone = false,
  }: Asked = {},
) {
  const eml = join(world.folder, 'message.eml')
  const file = join(world.folder, 'postern.yaml')
  await writeFile(eml, message)
  const rule = `  - { name: inbound, when: { direction: inbound }, then: ${wishes} }\n`
  const trust = `trust: { anchors: ${anchors}, revocation: ${revocation} }\n`
  const whole = `${CONFIGURATION}${trust}identities: ${identities}\nrules:\n${rule}${more}`
  await writeFile(file, stamp ? `${whole}stamp: ${stamp}\n` : whole)
  const lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation(line => void lines.push(String(line)))
  const recipients = to.flatMap(one => ['--to', one])
  const args = [eml, '--from', ADDRESSES.ann, ...recipients, '--config', file]
  const code = await explain([...args, '--json'])
  if (!jsonAlone) await explain(args)
  const [json = '', words = ''] = lines
  const accounts = JSON.parse(json) as Account[]
  return { code, words, json, accounts, account: accounts[0]! }
}

const daysFromNow = (days: number): Date => new Date(Date.now() + days * 86_400_000)

function recipientOf(pem: Buffer): RecipientKey {
  const { raw } = new X509Certificate(pem)
  const certificate = parseCertificate(raw) as ValidCertificate<'encrypt'>
  return { certificate, management: keyManagementFor(certificate.publicKey, 'rsa-pkcs1') }
}

async function* from(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

/** Some tricks are lines that end the header section for us. */
function isOfFields(fields: Buffer): boolean {
  const section = parseHeaderSection(Buffer.concat([fields, Buffer.from('Last: field\r\n\r\n')]))
  return section.fields.at(-1)?.key === 'last'
}

function spoil(entity: Buffer): Buffer {
  return Buffer.from(entity.toString('latin1').replace('hello', 'hallo'), 'latin1')
}

const CONFIGURATION = `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 2525 }]
nextHop: { inbound: { host: in.test }, outbound: { host: out.test }, review: { host: review.test } }
state: state/
`
