/** Fields that triggered a rule, or that speak in our name: what of them leaves, and what does not. @module */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import type { Decision, Message } from '../../src/gateway/decision.ts'
import { routedSection, treatedSection } from '../../src/gateway/leaving-fields.ts'
import { octetsOf } from '../../src/gateway/shipping.ts'
import { contentOf } from '../../src/mail/content.ts'
import { parseHeaderSection, readHeaderSection } from '../../src/mail/header-section.ts'
import type { ConditionSpec, RuleSpec } from '../../src/policy/rule.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { makeIdentityFolder } from '../support/identity-folder.ts'
import { opensslVerdict } from '../support/openssl.ts'
import { rule, startHouse } from './house.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let identities: Identities
let rootFile: string
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('leaving-fields')
  const made = await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
  ;({ rootFile } = made)
  ;({ identities } = await loadIdentities(
    [{ files: made.files, configPath: 'identities[0]' }],
    new Date(),
  ))
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => folder.remove())

describe('X- fields that made a rule match', () => {
  const when: ConditionSpec = { header: { 'X-Tag': ['*sign*'], Sensitivity: ['private'] } }
  const fields = 'X-Tag: please SIGN\r\nX-TAG: other\r\nSensitivity: private\r\nX-Mailer: m\r\n'

  test('are gone from what is signed, and no other field is', async () => {
    const [signed] = await sent([{ ...rule('tagged', 'always'), when }], fields)
    expect(signed).not.toContain('please SIGN')
    for (const kept of ['X-TAG: other', 'Sensitivity: private', 'X-Mailer: m', 'From: alice@'])
      expect(signed).toContain(`\r\n${kept}`)
    const verdict = await opensslVerdict(Buffer.from(signed!, 'latin1'), rootFile)
    expect(verdict).toMatch(/^(?:good|spawn openssl ENOENT)$/)
  })

  test('stay where nothing is treated', async () => {
    const [passed] = await sent([{ ...rule('tagged', 'never'), when }], fields)
    expect(passed).toContain(`\r\n${fields}`)
  })

  test('do not keep recipients of one rule apart, and do those of two', async () => {
    const to = ['ann@partner.test', 'ben@partner.test', 'cleo@far.test']
    const far = { ...rule('far', 'always'), when: { recipient: ['*@far.test'] } }
    const messages = await sent([far, { ...rule('tagged', 'always'), when }], fields, to)
    expect(messages).toHaveLength(2)
    expect(messages.filter(octets => octets.includes('please SIGN'))).toHaveLength(1)
  })
})

describe('B64 X-Postern-* fields of a client', () => {
  const forged =
    'X-Postern-Unmet: sign; rule="forged"\r\nx-postern-signature : pass\r\nX-Mailer: m\r\n'

  test('B64 do not leave with a message that is routed: ours is the only one', async () => {
    const routed = { ...rule('partners', 'always', { otherwise: { route: 'review' } }) }
    const [message] = await sent([routed], forged)
    expect(message!.match(/postern/gi)).toHaveLength(1)
    expect(message).toMatch(/\r\nX-Postern-Unmet: sign; rule="partners"\r\n/)
    expect(message).toMatch(/\r\nX-Mailer: m\r\n\r\nwords\r\n$/)
  })

  test.each([true, false])('B64 nor where the next hop offers 8BITMIME: %s', async eightBitMime => {
    const content = contentOf(Buffer.from(`From: b@example.test\r\n${forged}\r\nUmläute\r\n`))
    const message = { content, section: await readHeaderSection(content) } as Message
    const treatment = { kind: 'route', nextHop: 'review', cause: 'no-certificate', reason: '' }
    const decision = { treatment, wish: { rule: 'partners' } } as unknown as Decision
    const hop = { extensions: { eightBitMime } } as Parameters<typeof octetsOf>[2]
    const group = { nextHop: 'review', forwardPaths: [], decisions: [decision] } as const
    const stamping = { hostname: 'gw.example.test', key: Buffer.alloc(32), tags: undefined }
    const onTop = { received: Buffer.alloc(0), stamping, now: new Date() }
    const chunks = []
    for await (const chunk of octetsOf(message, group, hop, onTop)) chunks.push(chunk)
    const left = Buffer.concat(chunks).toString()
    expect(left.match(/postern/gi)).toHaveLength(1)
    expect(left).toMatch(
      /^X-Postern-Unmet: encrypt; rule="partners"\r\nFrom: .*\r\nX-Mailer: m\r\n/,
    )
    expect(left).toContain(eightBitMime ? '\r\n\r\nUmläute\r\n' : 'Uml=C3=A4ute\r\n')
  })

  test('B64 nor does a look-alike, or one behind a line that is no field', async () => {
    const routed = { ...rule('partners', 'always', { otherwise: { route: 'review' } }) }
    const hidden = 'X-P0stern-Unmet: sign\r\nno field\r\nX-Postern-Unmet: encrypt\r\n'
    const [message] = await sent([routed], hidden)
    const section = message!.split('\r\n\r\n')[0]!
    expect(section.match(/stern-Unmet/g)).toHaveLength(1)
    expect(message).toContain('\r\n\r\nno field\r\nX-Postern-Unmet: encrypt\r\n')
  })

  test('do not leave with a message that is signed, and stay in one that passes', async () => {
    const [signed] = await sent([rule('outbound', 'when-possible')], forged, undefined, {
      from: 'alice@example.test',
    })
    expect(signed).not.toMatch(/postern-/i)
    expect(signed).toContain('\r\nX-Mailer: m\r\n')
    const [passed] = await sent([rule('outbound', 'never')], forged)
    expect(passed).toContain(forged)
  })
})

test('B59 a thousand triggers for a thousand recipients cost no more than a look at each', () => {
  const section = parseHeaderSection(Buffer.from(`${'X-Tag: sign\r\n'.repeat(1000)}\r\n`))
  const removeFields = Array.from({ length: 1000 }, (_, at) => ({ name: 'x-tag', at }))
  const start = process.cpuUsage()
  for (let count = 0; count < 200; count++)
    expect(treatedSection(section, { removeFields }).fields).toHaveLength(0)
  expect(process.cpuUsage(start).user / 1000).toBeLessThan(500)
})

test('where all fields leave, nothing is made anew', () => {
  const section = parseHeaderSection(Buffer.from('From: a@b.test\r\nX-Tag: x\r\n\r\n'))
  expect(treatedSection(section, {})).toBe(section)
  expect(routedSection(section)).toBe(section)
})

/** What left, a message each. Bob has no identity here. */
async function sent(
  rules: readonly RuleSpec[],
  fields: string,
  to: readonly string[] = ['ann@partner.test'],
  options: { readonly from?: string } = {},
): Promise<readonly string[]> {
  const isRouted = rules.some(({ wish }) => typeof wish.otherwise === 'object')
  const { from = isRouted ? 'bob@example.test' : 'alice@example.test' } = options
  const house = await startHouse({ identities, rules })
  open.push(house)
  const client = await TestClient.open(house.port)
  open.push(client)
  const { end } = await client.send(
    from,
    to,
    Buffer.from(
      `From: ${from}\r\nTo: ${to.join(', ')}\r\nDate: ${new Date().toUTCString()}\r\n${fields}\r\nwords\r\n`,
    ),
  )
  expect(`${end?.code} ${end?.text}`).toMatch(/^250/)
  const messages = [...house.sinks.outbound.messages, ...house.sinks.review.messages]
  return messages.map(({ octets }) => octets.toString('latin1'))
}
