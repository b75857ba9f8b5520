/**
 * `postern explain` on mail that goes out: what leaves, whom it is shared with, and what is refused before
 * any rule is asked; seen through listener, gateway and sinks.
 *
 * @module
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { loadIdentities } from '../../src/certstore/identities.ts'
import { directoryOf } from '../../src/commands/assembly.ts'
import type { Account } from '../../src/commands/explain/account.ts'
import { explain } from '../../src/commands/explain.ts'
import { loadConfig } from '../../src/config/load.ts'
import { certificatePem, issue } from '../../src/crypto/x509/issue.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { startHouse } from '../gateway/house.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { lifetime, makeIdentityFolder } from '../support/identity-folder.ts'

const ALICE = 'alice@example.test'
const [ANN, CLEO, ZOE] = ['ann@partner.test', 'cleo@partner.test', 'zoe@partner.test'] as const
const [EVE, OLD] = ['eve@partner.test', 'old@partner.test'] as const
const SIGN = '{ name: out, then: { sign: always } }'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('explain-outbound')
  const made = await makeIdentityFolder(folder.path, { [ALICE]: 'p-256' })
  await mkdir(join(folder.path, 'certificates'))
  await writeFile(join(folder.path, 'issuing.pem'), certificatePem(made.issuing.der))
  const stranger = await issue({ ...lifetime(), commonName: 'Strange CA', authority: true })
  const expired = { notAfter: new Date(Date.now() - 60_000) }
  for (const [address, options] of [
    [ANN, { issuer: made.issuing }],
    [CLEO, { issuer: made.issuing }],
    [EVE, { issuer: stranger }],
    [OLD, { issuer: made.issuing, ...expired }],
  ] as const) {
    const { der } = await issue({
      ...lifetime(),
      commonName: address,
      addresses: [address],
      keyUsage: ['digitalSignature', 'keyAgreement'],
      ...options,
    })
    await writeFile(join(folder.path, 'certificates', `${address}.pem`), certificatePem(der))
  }
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => folder.remove())

describe('what leaves', () => {
  test('without the word and the fields that triggered, hidden recipients and stamps of ours', async () => {
    const rule =
      '{ name: secret, when: { subject: "[sign]", header: { X-Wish: "*" } }, then: { sign: always } }'
    const fields = 'X-Wish: please\r\nX-Postern-Signature: pass\r\nBcc: zoe@partner.test\r\n'
    const message = messageOf(fields, '[sign] plan')
    const [ann] = await agreed(message, [ANN], rule)
    expect(ann!.leaving!.added).toEqual(['Subject: plan'])
    expect(ann!.leaving!.removed).toEqual([
      { field: 'X-Wish: please', why: 'it had rule secret apply' },
      { field: 'X-Postern-Signature: pass', why: 'it speaks for us, or is for our own alone' },
      { field: 'Bcc: zoe@partner.test', why: 'it names hidden recipients' },
      { field: 'Subject: [sign] plan', why: 'it bears the word that had rule secret apply' },
    ])
    expect(ann!.leaving!.stamp).toEqual([])
  })

  test('byte for byte where nothing is to be done', async () => {
    const message = messageOf('X-Postern-Signature: pass\r\nBcc: zoe@partner.test\r\n')
    const [ann] = await agreed(message, [ANN], '{ name: out, then: {} }')
    expect(ann!.leaving).toMatchObject({
      sizeOctets: message.length,
      stamp: [],
      added: [],
      removed: [],
    })
  })

  test('to another next hop, with what could not be done', async () => {
    const rule = '{ name: out, then: { encrypt: always, otherwise: { route: review } } }'
    const [zoe] = await agreed(messageOf(), [ZOE], rule)
    expect(zoe).toMatchObject({ nextHop: 'review', action: 'hand to next hop review' })
    expect(zoe!.leaving!.added).toEqual(['X-Postern-Unmet: encrypt; rule="out"'])
  })

  test('together for those who may see each other, alone for who is hidden', async () => {
    const rule = '{ name: out, then: { encrypt: when-possible } }'
    const told = await agreed(messageOf(), [ANN, ZOE, CLEO], rule)
    expect(told.map(({ leaving }) => leaving!.sharedWith)).toEqual([[], [], []])
    const both = messageOf(`Cc: ${CLEO}\r\n`)
    const seen = await agreed(both, [ANN, ZOE, CLEO], rule)
    expect(seen.map(({ leaving }) => leaving!.sharedWith)).toEqual([[CLEO], [], [ANN]])
  })
})

test('which authority is missing, where nothing else is wrong with a certificate', async () => {
  const rule = '{ name: out, then: { encrypt: always } }'
  const [eve, old] = (await told(messageOf(), [EVE, OLD], rule)).accounts
  expect(eve!.considered).toEqual([expect.stringMatching(/^CN=eve@partner\.test, .*: no way to /)])
  expect(eve!.change).toContain(
    'with the certificate of CN=Strange CA among trust.anchors ' +
      'the certificate of the recipient could be used',
  )
  expect(old!.considered).toEqual([expect.stringMatching(/expired/)])
  expect(old!.change.join()).not.toContain('trust.anchors')
})

test('which rules were passed over, and for which of their conditions', async () => {
  const rules = [
    '{ name: in, when: { direction: inbound }, then: {} }',
    '{ name: secret, when: { direction: outbound, subject: "[sign]", header: { X-A: "*", X-B: "*" } }, then: {} }',
    '{ name: out, then: { sign: always } }',
    '{ name: last, then: {} }',
  ]
  const { accounts, words } = await told(messageOf('X-A: a\r\n'), [ANN], rules.join('\n  - '))
  expect(accounts[0]!.passedOver).toEqual([
    { rule: 'in', conditions: ['direction'] },
    { rule: 'secret', conditions: ['subject', 'header X-B'] },
  ])
  expect(words).toMatch(/^ {4}passed over +rule secret, for its subject, header X-B$/m)
  const none = await told(messageOf(), [ANN], rules.slice(0, 2).join('\n  - '))
  expect(none.accounts[0]!.rule).toBe('(no rule)')
  expect(none.accounts[0]!.passedOver!.map(({ rule }) => rule)).toEqual(['in', 'secret'])
})

describe('what is refused', () => {
  test('for one is sent to nobody', async () => {
    const rule = '{ name: out, then: { encrypt: always } }'
    const { accounts, words, reply } = await both(messageOf(), [ANN, ZOE], rule)
    const [ann, zoe] = accounts
    expect(ann).toMatchObject({ refused: false, heldUpBy: [ZOE] })
    expect(ann!.leaving).toBeUndefined()
    expect(zoe!.refused).toBe(true)
    expect(words).toMatch(/^ {4}held up +nobody gets it: zoe@partner\.test refused$/m)
    expect(ann!.reply).toEqual(zoe!.reply)
    const { code, enhanced, text } = zoe!.reply!
    expect(`${code} ${enhanced} ${String(text)}`).toBe(reply)
    expect(words).toContain(`reply         ${reply}`)
    expect(zoe!.change).toContain(
      'with otherwise: defer in rule out its client would be asked to try again (451)',
    )
  })

  test('for now and for good: the client hears the worst', async () => {
    const rules = [
      `{ name: later, when: { recipient: ${ZOE} }, then: { encrypt: always, otherwise: defer } }`,
      '{ name: out, then: { encrypt: always } }',
    ]
    const { accounts, reply } = await both(messageOf(), [ZOE, OLD], rules.join('\n  - '))
    expect(accounts.map(({ action }) => action)).toEqual([
      'refuse for now (451)',
      'refuse for good (550)',
    ])
    for (const { reply: said } of accounts)
      expect(`${said!.code} ${said!.enhanced} ${String(said!.text)}`).toBe(reply)
    expect(reply).toMatch(/^550 /)
  })

  test('at once, from a client that may not relay; what is for us is decided', async () => {
    const to = [ANN, 'bob@example.test']
    const args = ['--client', '192.0.2.1']
    const [ann, bob] = (await told(messageOf(), to, SIGN, args)).accounts
    expect(ann).toMatchObject({ refused: true, rule: '(not asked)', reply: { code: 550 } })
    expect(bob).toMatchObject({ refused: false, rule: 'out' })
    expect(bob).not.toHaveProperty('heldUpBy')
    const user = await told(messageOf(), to, SIGN, [...args, '--user', 'alice'])
    expect(user.accounts[0]).toMatchObject({ refused: false, action: 'sign (clear)' })
    const known = await told(messageOf(), to, SIGN, ['--client', '127.0.0.1'])
    expect(known.accounts[0]).toMatchObject({ refused: false })
  })

  test.each([
    ['a loop', messageOf('Received: x\r\n'.repeat(50)), 554, /50 Received fields/],
    ['too many octets', messageOf('', 's', 'x'.repeat(70_000)), 552, /limits\.message is 65536/],
    ['a CR alone', messageOf('', 's', 'a\rb'), 550, /a CR alone, or a NUL/],
  ])('whoever it is for: %s', async (_, message, code, reason) => {
    const { accounts, code: exit } = await told(message, [ANN, ZOE], SIGN)
    for (const account of accounts) {
      expect(account).toMatchObject({ refused: true, reply: { code } })
      expect(account.reason).toMatch(reason)
    }
    expect(exit).toBe(1)
  })
})

/** What `explain` says, where it is what comes out at the next hops. */
async function agreed(
  message: Buffer,
  to: readonly string[],
  rule: string,
): Promise<readonly Account[]> {
  const { accounts, sent } = await both(message, to, rule)
  for (const { recipient, leaving } of accounts) {
    const { octets, forwardPaths } = sent.find(it => it.forwardPaths.includes(recipient))!
    expect(leaving!.sharedWith).toEqual(forwardPaths.filter(path => path !== recipient))
    const fields = parseHeaderSection(octets).fields.map(({ name, body }) => `${name}: ${body}`)
    for (const field of leaving!.added) expect(fields).toContain(field)
    for (const { field } of leaving!.removed) expect(fields).not.toContain(field)
    const came = parseHeaderSection(message).fields.filter(({ key }) => !/^content-/.test(key))
    const gone = new Set(leaving!.removed.map(({ field }) => field))
    const stays = came.map(({ name, body }) => `${name}: ${body}`).filter(it => !gone.has(it))
    expect(fields).toEqual(expect.arrayContaining(stays))
  }
  return accounts
}

/** What a gateway does under the same configuration. */
async function both(message: Buffer, to: readonly string[], rule: string) {
  const said = await told(message, to, rule)
  const { config } = await loadConfig(said.file, {})
  const { identities } = await loadIdentities(config.identities, new Date())
  const { directory } = await directoryOf(config)
  const house = await startHouse({ identities, directory, rules: config.rules })
  open.push(house, directory)
  const client = await TestClient.open(house.port)
  open.push(client)
  const { end } = await client.send(ALICE, to, message)
  const { outbound, review } = house.sinks
  return {
    ...said,
    reply: `${end!.code} ${end!.text}`,
    sent: [...outbound.messages, ...review.messages],
  }
}

/** What is printed, and the same for programs. */
async function told(
  message: Buffer,
  to: readonly string[],
  rule: string,
  more: readonly string[] = [],
) {
  const eml = join(folder.path, 'message.eml')
  const file = join(folder.path, 'postern.yaml')
  await writeFile(eml, message)
  await writeFile(file, `${CONFIGURATION}  - ${rule}\n`)
  const recipients = to.flatMap(one => ['--to', one])
  const args = [eml, '--from', ALICE, ...recipients, '--config', file, ...more]
  const lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation(line => void lines.push(String(line)))
  const code = await explain(args)
  await explain([...args, '--json'])
  const [words = '', json = ''] = lines
  return { code, words, file, accounts: JSON.parse(json) as Account[] }
}

function messageOf(fields = '', subject = 's', body = 'words'): Buffer {
  const head = `${fields}From: ${ALICE}\r\nTo: ${ANN}\r\nSubject: ${subject}\r\n`
  const date = `Date: ${new Date().toUTCString().replace('GMT', '+0000')}\r\n`
  return Buffer.from(`${head}${date}MIME-Version: 1.0\r\n\r\n${body}\r\n`)
}

const CONFIGURATION = `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 2525 }]
relayFrom: [127.0.0.1]
nextHop: { inbound: { host: in.test }, outbound: { host: out.test }, review: { host: review.test } }
identities: [{ files: identities/ }]
certificates: [{ files: certificates/ }]
trust: { anchors: [root.pem, issuing.pem], revocation: off }
limits: { message: 64KiB }
state: state/
rules:
`
