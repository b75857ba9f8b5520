/** Configurations: what each option takes, what it becomes, and what is said where it is wrong. @module */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration writes variables like this.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Config } from '../../src/config/config.ts'
import { ConfigFaults, printFault } from '../../src/config/fault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { jsonSchema } from '../../src/config/schema.ts'
import { compileRules } from '../../src/policy/rule.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-config-'))
const file = join(folder, 'postern.yaml')
afterAll(() => rmSync(folder, { recursive: true }))

/** The least that loads. */
const LEAST = {
  hostname: 'gw.example.test',
  domains: '[example.test]',
  listen: '[{ address: 127.0.0.1, port: 2525 }]',
  nextHop: '{ inbound: { host: in.example.test }, outbound: { host: out.example.test } }',
}

const yaml = (part: Readonly<Record<string, string>>): string =>
  Object.entries({ ...LEAST, ...part })
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('')

async function load(part: Readonly<Record<string, string>>, environment = {}): Promise<Config> {
  writeFileSync(file, yaml(part))
  return (await loadConfig(file, environment)).config
}

/** Faults and warnings as they are printed, without the name of the file. */
async function told(
  text: string | Readonly<Record<string, string>>,
  environment = {},
  now?: Date,
): Promise<{ faults: string[]; warnings: string[]; advice: string[] }> {
  writeFileSync(file, typeof text === 'string' ? text : yaml(text))
  const found = await loadConfig(file, environment, now).catch((error: unknown) => error)
  if (found instanceof Error && !(found instanceof ConfigFaults)) throw found
  const { faults = [], warnings = [] } = found as Partial<ConfigFaults>
  const print = (fault: (typeof faults)[number]) => printFault(fault).slice(file.length + 1)
  const advice = [...faults, ...warnings].map(fault => fault.advice)
  return { faults: faults.map(f => print(f)), warnings: warnings.map(f => print(f)), advice }
}

const then = (text: string): Record<string, string> => ({ rules: `[{ name: r, then: ${text} }]` })
const outbound = (text: string): Record<string, string> => ({
  rules: `[{ name: r, when: { direction: outbound }, then: ${text} }]`,
})
const when = (text: string): Record<string, string> => ({
  rules: `[{ name: r, when: ${text}, then: {} }]`,
})

describe('defaults', () => {
  test('all of them', async () => {
    expect(await load({})).toEqual({
      hostname: 'gw.example.test',
      domains: ['example.test'],
      listen: [{ address: '127.0.0.1', port: 2525, tls: 'none' }],
      relayFrom: [],
      tls: undefined,
      auth: { users: [] },
      nextHop: {
        inbound: { ...HOP, host: 'in.example.test' },
        outbound: { ...HOP, host: 'out.example.test' },
      },
      identities: [],
      certificates: [],
      directory: {
        devices: 'newest',
        pins: [],
        cache: {
          positiveMs: 600_000,
          negativeMs: 600_000,
          staleMs: 86_400_000,
          mailboxes: 100_000,
        },
      },
      trust: { anchors: [], revocation: 'off' },
      rules: [],
      stamp: { key: undefined, subject: undefined },
      decryption: { tripleDes: false, domainKeys: true },
      limits: {
        message: 52_428_800,
        recipients: 1000,
        connections: 2000,
        connectionsPerAddress: 50,
        headerSection: 102_400,
        headerFields: 1000,
        hops: 50,
        session: 1_800_000,
        command: 300_000,
        dataRate: 500,
        junkCommands: 100,
        errors: 20,
        memoryPerMessage: 262_144,
        memory: 67_108_864,
      },
      state: join(folder, 'data'),
      admin: undefined,
      workers: availableParallelism(),
      log: { level: 'info', addresses: 'full' },
    })
  })

  test('of a rule', async () => {
    const { rules } = await load(then('{}'))
    expect(rules).toEqual([
      {
        name: 'r',
        when: {},
        wish: {
          sign: 'never',
          encrypt: 'never',
          signature: 'clear',
          profile: 'compatible',
          otherwise: 'reject',
          encryptToAuthor: false,
          inbound: {
            decrypt: 'never',
            verify: 'stamp',
            onBadSignature: 'deliver',
            unauthenticated: 'strict',
            strip: 'keep',
          },
        },
      },
    ])
  })
})

describe('values', () => {
  test.each<[string, number]>([
    ['65536', 65_536],
    ['100KiB', 102_400],
    ['2GiB', 2_147_483_648],
    ['"50 MiB"', 52_428_800],
  ])('size %s', async (written, octets) => {
    expect((await load({ limits: `{ message: ${written} }` })).limits.message).toBe(octets)
  })

  test.each<[string, number]>([
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
  ])('time %s', async (written, ms) => {
    expect((await load({ limits: `{ command: ${written} }` })).limits.command).toBe(ms)
  })

  test.each([
    ['message', '50MB'],
    ['message', '-1'],
    ['message', '1.5MiB'],
    ['message', '1KiB'],
    ['message', '99999999GiB'],
    ['command', '5'],
    ['command', '0s'],
    ['command', '5 min'],
    ['recipients', '99'],
    ['recipients', '1e3x'],
    ['headerFields', '[]'],
  ])('limits.%s: %s is refused', async (name, written) => {
    const { faults } = await told({ limits: `{ ${name}: ${written} }` })
    expect(faults).toEqual([expect.stringMatching(new RegExp(`limits\\.${name}: .+ is `))])
  })

  test('domains become lower-case A-labels', async () => {
    expect((await load({ domains: '[EXAMPLE.test, bücher.test]' })).domains).toEqual([
      'example.test',
      'xn--bcher-kva.test',
    ])
  })

  test.each(['"a b.test"', '"[192.0.2.1]"', '127.1.2.3', '"-x.test"', '""'])(
    'domain %s is refused',
    async written => {
      const { faults } = await told({ domains: `[${written}]` })
      expect(faults).toEqual([expect.stringContaining('domains[0]: ')])
    },
  )

  test.each(['10.0.0.0/33', '10.0.0', '::1/129', 'localhost', 'fe80::1%eth0', '10.0.0.0/8/8'])(
    'network %s is refused',
    async written => {
      const { faults } = await told({ relayFrom: `["${written}"]` })
      expect(faults).toEqual([expect.stringContaining(`relayFrom[0]: "${written}" is neither`)])
    },
  )

  test.each([
    ['{ size: 10MiB }', 'when.size'],
    ['{ size: ">10MB" }', 'when.size'],
    ['{ class: invitation }', 'when.class'],
    ['{ class: [calendar, invitation] }', 'when.class[1]'],
    ['{ recipient: "bob" }', 'when.recipient'],
    ['{ subject: "" }', 'when.subject'],
    ['{ subject: [] }', 'when.subject'],
    ['{ direction: out }', 'when.direction'],
    ['{ header: { "Bad Name": x } }', 'when.header."Bad Name"'],
    ['{ header: { X-A: "" } }', 'when.header.X-A'],
    ['{ header: x }', 'when.header'],
    ['{ authenticated: yes }', 'when.authenticated'],
    ['{ client: nobody }', 'when.client'],
  ])('when: %s is refused', async (written, path) => {
    const { faults } = await told(when(written))
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(` rules[0].${path}: `)
  })

  test('every condition of the contract loads and compiles', async () => {
    const { rules } = await load(
      when(`{ direction: outbound, sender: "<>", recipient: ["a@b.test", "*@*.c.test"],
        subject: "[x]", header: { Sensitivity: "company-*" }, authenticated: true,
        client: [10.0.0.0/8, "2001:db8::/32"], size: [">10MiB", "<=1KiB"], class: [calendar, list] }`),
    )
    expect(rules[0]?.when).toEqual({
      direction: ['outbound'],
      sender: ['<>'],
      recipient: ['a@b.test', '*@*.c.test'],
      subject: ['[x]'],
      header: { Sensitivity: ['company-*'] },
      authenticated: true,
      client: ['10.0.0.0/8', '2001:db8::/32'],
      size: [
        { relation: '>', octets: 10_485_760 },
        { relation: '<=', octets: 1024 },
      ],
      class: ['calendar', 'list'],
    })
    expect(compileRules(rules).needsStructure).toBe(true)
  })
})

describe('tags of the subject', () => {
  const tagged = (tags: string) => ({ stamp: `{ subject: ${tags} }` })

  test('B65 off unless they are asked for', async () => {
    expect((await load({})).stamp.subject).toBeUndefined()
    expect((await load({ stamp: '{}' })).stamp.subject).toBeUndefined()
    expect((await load(tagged('off'))).stamp.subject).toBeUndefined()
  })

  test('each with a default, where they are asked for', async () => {
    const { stamp } = await load(tagged('{ none: "[unsigned]", decrypted: "" }'))
    expect(stamp).toEqual({
      key: undefined,
      subject: {
        pass: '[signed OK]',
        fail: '[INVALID SIGNATURE]',
        none: '[unsigned]',
        decrypted: '',
      },
    })
  })

  test.each([
    'signed',
    '[]',
    '[ ]',
    '[a',
    '[a]b',
    '[[a]]',
    '[a  b]',
    '[a ]',
    `[${'a'.repeat(39)}]`,
  ])('%j is no tag', async tag => {
    const { faults } = await told(tagged(`{ pass: ${JSON.stringify(tag)} }`))
    expect(faults).toEqual([expect.stringMatching(/stamp\.subject\.pass: ".*" is no tag/)])
  })

  test.each(['a\u200bb', 'a\u202eb', 'a\u00a0b', 'a\tb'])(
    'B65 %j in one cannot be seen, and is refused',
    async text => {
      const { faults } = await told(tagged(`{ pass: ${JSON.stringify(`[${text}]`)} }`))
      expect(faults).toEqual([expect.stringContaining('is no tag')])
    },
  )

  test.each(['[Signature]', '[s\u0456gnature]', '[s1gnature]'])(
    'B65 %j looks like [signature], and is a fault beside it',
    async other => {
      const { faults } = await told(tagged(`{ pass: "[signature]", fail: "${other}" }`))
      expect(faults).toEqual([expect.stringContaining('looks like stamp.subject.pass')])
    },
  )

  test('letters of any language may stand in one', async () => {
    expect((await load(tagged('{ pass: "[Unterschrift gültig]" }'))).stamp.subject?.pass).toBe(
      '[Unterschrift gültig]',
    )
  })
})

describe('the environment and secrets', () => {
  test('${NAME} is taken from the environment, $${ is meant as it is', async () => {
    const hop = '{ inbound: { host: "${IN}", port: "${PORT}" }, outbound: { host: a.test } }'
    const { nextHop, state } = await load(
      { nextHop: hop, state: '"$${x}"' },
      { IN: 'mx.example.test', PORT: '2500' },
    )
    expect(nextHop.inbound).toMatchObject({ host: 'mx.example.test', port: 2500 })
    expect(state).toBe(join(folder, '${x}'))
  })

  test('the key of stamps is a secret as others, and long enough not to be guessed', async () => {
    const key = 'k'.repeat(32)
    writeFileSync(join(folder, 'stamp'), `${key}\n`)
    expect((await load({ stamp: '{ key: "file:stamp" }' })).stamp.key).toBe(key)
    expect((await load({ stamp: '{ key: "${KEY}" }' }, { KEY: key })).stamp.key).toBe(key)
    const short = await told({ stamp: `{ key: ${'k'.repeat(31)} }` })
    expect(short.faults).toEqual([expect.stringContaining('stamp.key: *** is shorter than 32')])
    expect(JSON.stringify(short)).not.toContain('kkk')
  })

  test.each(['"${}"', '"${A B}"', '"${A"'])('%s is refused', async written => {
    const { faults } = await told({ state: written })
    expect(faults).toEqual(['5:8 state: has a $ and { that no name and } follow'])
  })

  const withAuth = (password: string) => ({
    nextHop: `{ inbound: { host: a.test }, outbound: { host: b.test, tls: verify, auth: { user: u, password: ${password} } } }`,
  })

  test('file:PATH is relative to the file, and loses the line end behind it', async () => {
    writeFileSync(join(folder, 'pw'), ' s3cret \n')
    const { nextHop } = await load(withAuth('"file:pw"'))
    expect(nextHop.outbound.auth).toEqual({ user: 'u', password: ' s3cret ' })
  })

  test.each([
    ['"file:missing"', 'does not exist'],
    ['"file:."', 'cannot be read'],
    ['"file:empty"', 'is a file that is empty'],
  ])('%s: %s', async (written, message) => {
    writeFileSync(join(folder, 'empty'), '\n')
    const { faults } = await told(withAuth(written))
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(
      new RegExp(`nextHop\\.outbound\\.auth\\.password: ${written} (?:${message}|is a folder)`),
    )
  })

  test.each([
    withAuth('[hunter2]'),
    withAuth('""').nextHop && { auth: '"bob:hunter2"' },
    { auth: '{ users: [{ user: a, password: 4711, pw: hunter2 }] }' },
    { tls: '{ certificate: x, key: "-----BEGIN PRIVATE KEY-----hunter2" }' },
    { certificates: '[{ ldap: { url: "ldap://u:hunter2@h", base: 7 } }]' },
    { identities: '[{ files: [], password: [hunter2] }]' },
    { stamp: '{ key: [hunter2] }' },
    { stamp: '{ key: { value: hunter2 } }' },
    { stamp: '{ key: hunter2 }' },
    { hostname: '{ auth: "hunter2", password: hunter2 ]' },
  ])('nothing secret is ever told: %j', async part => {
    const everything = JSON.stringify(await told(part as Record<string, string>))
    expect(everything).not.toContain('hunter2')
    expect(everything).not.toContain('4711')
  })
})

describe('YAML', () => {
  test.each([
    [
      'a key twice',
      'hostname: a.test\nhostname: b.test\n',
      '2:1 hostname: stands here a second time',
    ],
    ['two documents', `${yaml({})}---\na: 1\n`, 'has a second document behind ---'],
    ['a tag', yaml({ state: '!!js/function "x"' }), 'has a tag'],
    ['an unknown alias', yaml({ state: '*nothing' }), 'has an alias'],
    ['a list', '- a\n', 'is no map'],
    ['nothing', '', 'is no map'],
    ['a key that is no word', '? [a]\n: b\n', 'has a key that is no word'],
    ['an unfinished list', 'domains: [a\n', 'is not indented'],
    ['an unfinished text', 'domains: "a\n', 'lacks a character'],
    ['256 KiB and more', 'a'.repeat(300_000), 'has more than'],
  ])('%s', async (_, text, message) => {
    const { faults } = await told(text)
    expect(faults.join('\n')).toContain(message)
  })

  test('a first line that is shifted is one fault, not one a word', async () => {
    const { faults } = await told(`   ${yaml({})}`)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatch(/^2:1 "domains" cannot be read from here on$/)
  })

  test('anchors and aliases may be used', async () => {
    const hops = '{ inbound: &hop { host: a.test }, outbound: *hop }'
    expect((await load({ nextHop: hops })).nextHop.outbound.host).toBe('a.test')
  })

  test.each([
    [
      'B58 aliases that unfold into billions',
      `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]\n`).join('')}`,
    ],
    ['B58 an alias of itself', 'a: &a [*a]\n'],
    ['B58 lists in lists', '['.repeat(100_000)],
    ['B58 maps in maps', `${'{a: '.repeat(20_000)}1${'}'.repeat(20_000)}`],
    ['B59 many keys', Array.from({ length: 20_000 }, (_, i) => `k${i}: 1\n`).join('')],
    ['B59 many dollars', `state: "${'${'.repeat(100_000)}"\n`],
  ])('%s: a fault, at once', async (_, text) => {
    const start = process.cpuUsage()
    const { faults } = await told(text)
    const { user } = process.cpuUsage(start)
    expect(faults).not.toHaveLength(0)
    expect(user / 1000).toBeLessThan(3000)
  })
})

describe('options side by side', () => {
  test.each<[Record<string, string>, string]>([
    [
      { listen: '[{ address: "::1", port: 25, tls: implicit }]' },
      'listen[0].tls: "implicit" wants a',
    ],
    [
      { listen: '[{ address: "::1", port: 25 }, { address: "::1", port: 25 }]' },
      'listen[1].port: 25 is listened on already',
    ],
    [hops('{ host: 127.0.0.1, port: 2525 }'), 'nextHop.outbound.port: 2525 is our own listener'],
    [hops('{ host: localhost, port: 2525 }'), 'nextHop.outbound.port: 2525 is our own listener'],
    [
      { ...hops('{ host: gw.example.test }'), listen: '[{ address: 0.0.0.0, port: 25 }]' },
      'nextHop.outbound.port: is our own listener',
    ],
    [hops('{ host: a.test, auth: { user: u, password: p } }'), 'nextHop.outbound.tls: would let'],
    [
      hops('{ host: a.test, tls: none, auth: { user: u, password: p } }'),
      'nextHop.outbound.tls: "none" would let the password travel in clear',
    ],
    [
      hops('{ host: a.test, tls: none, implicit: true }'),
      'nextHop.outbound.implicit: true contradicts',
    ],
    [hops('{ port: 25 }'), 'nextHop.outbound.host: is missing'],
    [{ nextHop: '{ inbound: { host: a.test } }' }, 'nextHop.outbound: is missing'],
    [{ hostname: '' }, 'hostname: is missing'],
    [{ domains: '[]' }, 'domains: a list is empty'],
    [then('{ sign: always }'), 'rules[0].then.sign: "always" cannot be met'],
    [then('{ encryptToAuthor: true }'), 'rules[0].then.encryptToAuthor: true has no effect'],
    [then('{ otherwise: defer }'), 'rules[0].then.otherwise: "defer" has no effect'],
    [then('{ encrypt: always, otherwise: { route: x } }'), 'otherwise.route: "x" is no next hop'],
    [
      then('{ encrypt: always, otherwise: bounce }'),
      'otherwise: "bounce" is none of reject, defer',
    ],
    [
      then('{ encrypt: always, otherwise: { rout: x } }'),
      'rules[0].then.otherwise.rout: "rout" is no',
    ],
    [then('{ verify: never, onBadSignature: reject }'), 'then.onBadSignature: "reject" has no'],
    [then('{ verify: require, onBadSignature: deliver }'), 'then.onBadSignature: "deliver" has no'],
    [
      then('{ verify: require, onBadSignature: { route: inbound } }'),
      'rules[0].then.onBadSignature: a map has no effect',
    ],
    [
      then('{ onBadSignature: { route: x } }'),
      'rules[0].then.onBadSignature.route: "x" is no next hop',
    ],
    [then('{ verify: never, strip: signature }'), 'then.strip: "signature" has no effect'],
    [then('{ unauthenticated: defuse }'), 'then.unauthenticated: "defuse" has no effect'],
    [then('{ unauthenticated: lax }'), 'then.unauthenticated: "lax" is none of strict, deliver'],
    [then('{ strip: yes }'), 'rules[0].then.strip: "yes" is none of keep, signature'],
    [{ rules: '[{ name: r }]' }, 'rules[0].then: is missing'],
    [
      { rules: '[{ name: r, when: { direction: inbound }, then: {} }, { name: r, then: {} }]' },
      'rules[1].name: "r" is the name of rules[0] already',
    ],
    [{ limits: '{ memory: 64KiB }' }, 'limits.memoryPerMessage: is more than limits.memory'],
    [{ state: 'postern.yaml' }, 'state: "postern.yaml" is no folder'],
    [
      hops('{ host: a.test, ca: postern.yaml }'),
      'nextHop.outbound.ca: "postern.yaml" has no certificate',
    ],
    [{ certificates: '[{ file: x }]' }, 'certificates[0]'],
    [{ admin: '{}' }, 'admin.port: is missing'],
    [{ log: '{ level: loud }' }, 'log.level: "loud" is none of debug, info, warn, error'],
  ])('%j is a fault', async (part, message) => {
    const { faults } = await told(part)
    expect(faults.join('\n')).toContain(message)
  })

  test.each<[Record<string, string>, string]>([
    [{ relayFrom: '[0.0.0.0/0]' }, 'relayFrom[0]: "0.0.0.0/0" lets a large part'],
    [{ relayFrom: '["::/0"]' }, 'relayFrom[0]: "::/0" lets a large part'],
    [hops('{ host: 192.0.2.1, tls: verify }'), 'nextHop.outbound.host: "192.0.2.1" is an address'],
    [
      hops('{ host: a.test, tlsName: b.test }'),
      'nextHop.outbound.tlsName: "b.test" is not looked at',
    ],
    [{ auth: '{ users: [{ user: u, password: p }] }' }, 'auth.users: cannot log in'],
    [then('{ sign: when-possible }'), 'rules[0].then.sign: "when-possible" is never possible'],
    [then('{ encrypt: always }'), 'rules[0].then.encrypt: "always" has no source of certificates'],
    [
      { ...then('{ encrypt: when-possible }'), certificates: '[{ harvested: {} }]' },
      'rules[0].then.encrypt: "when-possible" has nobody to believe',
    ],
    [
      then('{ decrypt: when-possible }'),
      'rules[0].then.decrypt: "when-possible" is never possible',
    ],
    [then('{ verify: stamp }'), 'rules[0].then.verify: "stamp" has nobody to believe'],
    [then('{ verify: require }'), 'rules[0].then.verify: "require" has nobody to believe'],
    [outbound('{ verify: require }'), 'rules[0].then.verify: "require" is about inbound mail'],
    [outbound('{ decrypt: when-possible }'), 'then.decrypt: "when-possible" is about inbound mail'],
    [outbound('{ onBadSignature: reject }'), 'then.onBadSignature: "reject" is about inbound'],
    [outbound('{ strip: signature }'), 'rules[0].then.strip: "signature" is about inbound mail'],
    [{ admin: '{ address: 192.0.2.1, port: 80 }' }, 'admin.address: "192.0.2.1" can be reached'],
    [{ limits: '{ connections: 10 }' }, 'limits.connectionsPerAddress: is more than'],
    [
      { rules: '[{ name: a, when: { subject: [encrypt] }, then: {} }]' },
      'rules[0].when.subject: a list waits for the word without brackets',
    ],
  ])('%j is a warning', async (part, message) => {
    const { faults, warnings } = await told(part)
    expect(faults).toEqual([])
    expect(warnings.join('\n')).toContain(message)
  })

  test.each<[string, string, boolean]>([
    ['{}', '{ direction: outbound }', true],
    ['{ direction: outbound }', '{ direction: outbound, subject: x }', true],
    ['{ direction: outbound }', '{ subject: x }', false],
    ['{ direction: [outbound, inbound] }', '{ subject: x }', true],
    ['{ recipient: ["a@b.test", "c@d.test"] }', '{ recipient: "c@d.test" }', true],
    ['{ recipient: "a@b.test" }', '{ recipient: ["a@b.test", "c@d.test"] }', false],
    ['{ subject: x }', '{}', false],
    ['{ authenticated: true }', '{ authenticated: true }', true],
    ['{ authenticated: true }', '{ authenticated: false }', false],
  ])('a rule with %s hides one with %s: %s', async (first, second, hidden) => {
    const rules = `[{ name: a, when: ${first}, then: {} }, { name: b, when: ${second}, then: {} }]`
    const { warnings } = await told({ rules })
    expect(warnings.some(text => text.includes('rules[1]: is never reached: rules[0]'))).toBe(
      hidden,
    )
  })

  test.each(['"[encrypt]"', 'encrypt', '["[encrypt]"]', '[encrypt, secret]'])(
    'a subject of %s is meant as it is written',
    async subject => {
      const { faults, warnings } = await told({
        rules: `[{ name: a, when: { subject: ${subject} }, then: {} }]`,
      })
      expect([...faults, ...warnings]).toEqual([])
    },
  )

  test.each<[string, string, string]>([
    ['{ harvested: { wait: 1d } }', 'wait: "1d" is no time: a number', 'wait takes: how long'],
    ['{ harvested: { perDay: x } }', 'perDay: "x" is no whole number', 'perDay takes: new cert'],
    ['{ ldap: { url: a.test, base: x } }', 'ldap.url: "a.test" is no', 'url takes: ldap://HOST'],
    ['{ smimea: { probe: "*" } }', 'smimea.probe: "*" is no domain', 'probe takes: a name'],
  ])('of the source %s the option itself is explained', async (source, message, advice) => {
    const { faults, advice: advised } = await told({ certificates: `[${source}]` })
    expect(faults).toEqual([expect.stringContaining(message)])
    expect(advised).toEqual([expect.stringContaining(advice)])
  })

  test('two rules, one for each direction, hide what comes behind them', async () => {
    const rule = (name: string, direction: string) =>
      `{ name: ${name}, when: { direction: ${direction} }, then: {} }`
    const { warnings } = await told({
      rules: `[${rule('a', 'inbound')}, ${rule('b', 'outbound')}, { name: c, then: {} }]`,
    })
    expect(warnings.join()).toContain('rules[2]: is never reached: rules[0] and rules[1]')
  })

  test('a condition that is wrong does not make a catch-all of its rule', async () => {
    const rules = '[{ name: a, when: { subjct: x }, then: {} }, { name: b, then: {} }]'
    const { faults, warnings } = await told({ rules })
    expect(faults).toHaveLength(1)
    expect(warnings).toEqual([])
  })

  test('what is right is checked though its neighbours are wrong', async () => {
    const { faults } = await told({
      hostname: '"a b"',
      ...then('{ sign: always, encrypt: perhaps }'),
    })
    expect(faults).toEqual([
      expect.stringContaining('hostname: "a b" is no domain'),
      expect.stringContaining('then.sign: "always" cannot be met'),
      expect.stringContaining('then.encrypt: "perhaps" is none of'),
    ])
  })
})

describe('what was probably meant', () => {
  test.each([
    ['hostnam', 'hostname'],
    ['nexthop', 'nextHop'],
    ['relayfrom', 'relayFrom'],
    ['ruels', 'rules'],
    ['identites', 'identities'],
  ])('%s: did you mean %s?', async (written, meant) => {
    expect((await told({ [written]: 'x' })).advice).toContain(`did you mean ${meant}?`)
  })

  test('B63 a name with an escape sequence does not reach the terminal as one', async () => {
    const { faults } = await told({ '"a\\e[2J"': 'x', ...when('{ header: { "X\\e[2J": y } }') })
    expect(faults).toHaveLength(2)
    expect(faults.join('')).toMatch(/^\P{Cc}+$/u)
  })

  test('what resembles nothing gets the list', async () => {
    expect((await told({ zebra: 'x' })).advice[0]).toMatch(
      /^options here: hostname, domains, listen/,
    )
  })
})

describe('certificate and key of listeners', () => {
  const tls = (certificate: string, key: string, more = '') => ({
    listen: '[{ address: 127.0.0.1, port: 2525, tls: starttls }]',
    tls: `{ certificate: ${certificate}, key: ${key}${more} }`,
  })
  beforeAll(() => {
    for (const name of ['one', 'two'])
      execFileSync(
        'openssl',
        `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=gw.example.test -keyout ${name}.key -out ${name}.pem`.split(
          ' ',
        ),
        { cwd: folder, stdio: 'ignore' },
      )
    execFileSync('openssl', 'ec -in one.key -aes256 -passout pass:pw -out locked.key'.split(' '), {
      cwd: folder,
      stdio: 'ignore',
    })
  })
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000)

  test('they fit', async () => {
    expect((await load(tls('one.pem', 'one.key'))).tls).toEqual({
      certificate: join(folder, 'one.pem'),
      key: join(folder, 'one.key'),
      password: undefined,
    })
  })

  test('a key with a password', async () => {
    expect((await load(tls('one.pem', 'locked.key', ', password: pw'))).tls?.password).toBe('pw')
    const { faults } = await told(tls('one.pem', 'locked.key', ', password: wrong'))
    expect(faults).toEqual([expect.stringContaining('tls.key: "locked.key" has no private key')])
  })

  test.each<[string, string, number, string]>([
    ['one.pem', 'two.key', 0, 'tls.key: "two.key" belongs to another certificate'],
    ['one.pem', 'one.pem', 0, 'tls.key: "one.pem" has no private key'],
    ['one.key', 'one.key', 0, 'tls.certificate: "one.key" has no certificate'],
    ['no.pem', 'one.key', 0, 'tls.certificate: "no.pem" does not exist'],
    ['one.pem', 'one.key', 91, 'tls.certificate: "one.pem" has expired on'],
    ['one.pem', 'one.key', -2, 'tls.certificate: "one.pem" is not valid before'],
  ])('%s with %s, in %i days: %s', async (certificate, key, days, message) => {
    const { faults } = await told(tls(certificate, key), {}, inDays(days))
    expect(faults).toEqual([expect.stringContaining(message)])
  })

  test('one that expires soon is a warning', async () => {
    const { faults, warnings } = await told(tls('one.pem', 'one.key'), {}, inDays(80))
    expect(faults).toEqual([])
    expect(warnings).toEqual([expect.stringContaining('tls.certificate: "one.pem" expires on')])
  })
})

describe('what is shipped', () => {
  const shipped = resolve(import.meta.dirname, '../../config')

  test('the example configuration loads as it is, when its folder exists', async () => {
    mkdirSync(join(folder, 'identities'), { recursive: true })
    const { faults, warnings } = await told(readFileSync(join(shipped, 'postern.yaml'), 'utf8'))
    expect(faults).toEqual([])
    expect(warnings).toEqual([])
  })

  test('the example configuration names every option', () => {
    const text = readFileSync(join(shipped, 'postern.yaml'), 'utf8')
    for (const name of optionNames(jsonSchema()))
      expect(text, `${name} is not in config/postern.yaml`).toMatch(new RegExp(`\\b${name}:`))
  })

  test('what is said to be a default is one', async () => {
    const text = readFileSync(join(shipped, 'postern.yaml'), 'utf8')
    writeFileSync(file, text)
    mkdirSync(join(folder, 'identities'), { recursive: true })
    const { limits, log, state, decryption } = (await loadConfig(file, {})).config
    const least = await load({})
    expect({ limits, log, state, decryption }).toEqual({
      limits: least.limits,
      log: least.log,
      state: least.state,
      decryption: least.decryption,
    })
    const [, stamp] = /^# stamp:\n((?:# {3}.*\n)+)/m.exec(text) ?? []
    const tags = stamp!.replaceAll(/^# {3}/gm, '').replace(/^key:.*\n/, '')
    const { subject } = (await load({ stamp: `\n  ${tags.replaceAll('\n', '\n  ')}` })).stamp
    expect(subject).toEqual((await load({ stamp: '{ subject: {} }' })).stamp.subject)
  })

  test('config/schema.json is what the options say: node scripts/schema.mjs writes it', () => {
    expect(JSON.parse(readFileSync(join(shipped, 'schema.json'), 'utf8'))).toEqual(
      JSON.parse(JSON.stringify(jsonSchema())),
    )
  })
})

/** A configuration whose outbound next hop is this. */
function hops(outbound: string): Record<string, string> {
  return { nextHop: `{ inbound: { host: in.example.test }, outbound: ${outbound} }` }
}

function optionNames(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { properties = {} } = schema as { properties?: Record<string, unknown> }
  const own = schema && 'type' in schema && schema.type === 'object' ? Object.keys(properties) : []
  return [...own, ...Object.values(schema).flatMap(optionNames)]
}

const HOP = {
  port: 25,
  tls: 'may',
  implicit: false,
  tlsName: undefined,
  ca: undefined,
  auth: undefined,
  connections: 20,
}
