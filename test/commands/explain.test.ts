/** `postern explain`: what is wished for inbound mail, and of a copy for the author. @module */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { explain } from '../../src/commands/explain.ts'
import { certificatePem, identityPem, issue } from '../../src/crypto/x509/issue.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, lifetime, makeIdentityFolder } from '../support/identity-folder.ts'

const ANN = 'ann@partner.test'
const CAROL = 'carol@example.test'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder

beforeAll(async () => {
  folder = await temporaryFolder('explain')
  made = await makeIdentityFolder(folder.path, {})
  await mkdir(join(folder.path, 'certificates'))
  await writeFile(join(folder.path, 'issuing.pem'), certificatePem(made.issuing.der))
  const { der } = await person(ANN, 'rsa-2048')
  await writeFile(join(folder.path, 'certificates', 'ann.pem'), certificatePem(der))
  for (const [name, key] of [
    ['alice', 'rsa-2048'],
    ['bert', 'p-256'],
  ] as const) {
    const issued = await person(`${name}@example.test`, key)
    await writeFile(join(made.files, `${name}.pem`), identityPem(issued), { mode: 0o600 })
  }
})
afterEach(() => vi.restoreAllMocks())
afterAll(() => folder.remove())

describe('inbound', () => {
  test('names the rule, what is wished, and what would change it', async () => {
    const then =
      '{ decrypt: when-possible, unauthenticated: defuse, onBadSignature: reject, strip: signature }'
    const { words, code } = await explained(`{ name: in, then: ${then} }`, CAROL)
    expect(code).toBe(0)
    expect(words).toMatch(/^ {2}rule +in$/m)
    expect(words).toMatch(/^ {2}action +open where possible, verify, stamp$/m)
    expect(words.match(/^ {2}inbound +\S.*$/gm)).toHaveLength(5)
    expect(words).toMatch(/^ {2}inbound +one with a bad signature is refused \(550\), unless/m)
    expect(words).toMatch(/^ {2}inbound +cipher text that nothing vouches for is opened, with/m)
    expect(words).toMatch(
      /^ {2}otherwise +with verify: require in rule in it would be refused for good \(550\)$/m,
    )
    expect(words).toMatch(/^ {2}otherwise +signed by its author it could pass$/m)
  })

  test('says what holds where no rule matches', async () => {
    const { words } = await explained('{ name: x, when: { subject: x }, then: {} }', CAROL)
    expect(words).toMatch(/^ {2}action +verify, stamp$/m)
    expect(words).toMatch(/^ {2}inbound +what is encrypted stays so$/m)
    expect(words).toMatch(
      /^ {2}why +no rule matches, and it is delivered: the message is not signed$/m,
    )
    expect(words).toMatch(
      /^ {2}otherwise +with verify: require in a rule that matches it would be/m,
    )
  })

  test('--json has the same, and nothing of the kind for outbound mail', async () => {
    const { accounts } = await explained('{ name: in, then: { verify: never } }', [CAROL, ANN])
    expect(accounts[0]).toMatchObject({
      action: 'stamp',
      inbound: ['signatures are not looked at', 'what is encrypted stays so'],
    })
    expect(accounts[1]).not.toHaveProperty('inbound')
  })
})

describe('a copy for the author', () => {
  const copied = (profile: string) =>
    `{ name: out, then: { encrypt: always, encryptToAuthor: true, profile: ${profile} } }`

  test('names the certificate, and where it comes from', async () => {
    const { words } = await explained(copied('compatible'), ANN)
    expect(words).toMatch(
      /^ {2}author copy +.*alice@example\.test, serial \w+ from identities, RSA/im,
    )
  })

  test('says why there is none, and what would make room for one', async () => {
    const stranger = await explained(copied('compatible'), ANN, 'zoe@example.test')
    expect(stranger.words).toMatch(/^ {2}author copy +none: of the author, no source knows/m)
    const bert = await explained(copied('compatible'), ANN, 'bert@example.test')
    expect(bert.words).toMatch(/^ {2}author copy +none: by its key .*profile: modern/m)
    const modern = await explained(copied('modern'), ANN, 'bert@example.test')
    expect(modern.words).toMatch(/^ {2}author copy +.*bert@example\.test, serial/m)
  })

  test('is not spoken of where nobody wishes one', async () => {
    const { words } = await explained('{ name: out, then: { encrypt: always } }', ANN)
    expect(words).not.toContain('author copy')
  })
})

/** What is printed, and the same for programs. */
async function explained(
  rule: string,
  to: string | readonly string[],
  from = 'alice@example.test',
) {
  const eml = join(folder.path, 'message.eml')
  const file = join(folder.path, 'postern.yaml')
  await writeFile(eml, `From: ${from}\nTo: all@partner.test\nSubject: s\n\nwords\n`)
  await writeFile(file, CONFIGURATION + rule)
  const recipients = [to].flat().flatMap(one => ['--to', one])
  const lines: string[] = []
  vi.spyOn(console, 'log').mockImplementation(line => void lines.push(String(line)))
  const code = await explain([eml, '--from', from, ...recipients, '--config', file])
  await explain([eml, '--from', from, ...recipients, '--config', file, '--json'])
  const [words = '', json = ''] = lines
  return { code, words, accounts: JSON.parse(json) as Record<string, unknown>[] }
}

function person(address: string, key: 'rsa-2048' | 'p-256') {
  const usage = key === 'p-256' ? ('keyAgreement' as const) : ('keyEncipherment' as const)
  return issue({
    ...lifetime(),
    commonName: address,
    addresses: [address],
    issuer: made.issuing,
    key,
    keyUsage: ['digitalSignature', usage],
  })
}

const CONFIGURATION = `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 2525 }]
nextHop: { inbound: { host: in.example.test }, outbound: { host: out.example.test } }
identities: [{ files: identities/ }]
certificates: [{ files: certificates/ }]
trust: { anchors: [root.pem, issuing.pem] }
state: state/
rules:
  - `
