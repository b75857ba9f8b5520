/** `postern cert`: listing, importing and removing the certificates of others. @module */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { openHarvested } from '../../src/certstore/harvested.ts'
import { openSqliteStore } from '../../src/certstore/store.ts'
import { holdingsOf } from '../../src/commands/cert/holdings.ts'
import { cert } from '../../src/commands/cert.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Capabilities } from '../../src/crypto/cms/capabilities.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import {
  certificatePem,
  type Issued,
  type IssueOptions,
  issue,
} from '../../src/crypto/x509/issue.ts'
import { box, certsOnly, serializedStore } from '../certstore/people.ts'
import { temporaryFolder } from '../crypto/openssl.ts'
import { postern } from '../support/command-line.ts'

const DAY = 86_400_000
const days = (count: number): Date => new Date(Date.now() + count * DAY)
const root = await issue({
  commonName: 'Root',
  authority: true,
  notBefore: days(-400),
  notAfter: days(400),
})
const bob = await person('bob@partner.test')
const old = await person('old@partner.test', { notBefore: days(-90), notAfter: days(-1) })
const nobody = await person('', { addresses: [], commonName: 'Gateway' })
const folder = temporaryFolder()
afterAll(() => folder.remove())

let place: string
let config: string
let turn = 0

beforeEach(async () => {
  turn++
  place = join(folder.path, String(turn))
  for (const name of ['people', 'gateway', 'state'])
    await mkdir(join(place, name), { recursive: true })
  config = await configure([
    '- files: people',
    '- domain: { name: partner.test, files: gateway }',
    '- harvested: {}',
  ])
})

describe('import', () => {
  test.each<[string, (ders: Buffer[]) => Buffer]>([
    ['PEM', ders => Buffer.from(ders.map(certificatePem).join(''))],
    ['PKCS #7', ders => certsOnly(...ders)],
    ['a serialized store', ders => serializedStore(...ders)],
  ])('%s: each certificate in a file of its own, and what it is', async (_, wrap) => {
    const file = await put('partner', wrap([bob.der, root.der]))
    const { code, out } = await run('import', file)
    expect(out).toContain('CN=bob@partner.test, serial')
    expect(out).toContain('  for bob@partner.test\n  imported')
    expect(out).toMatch(/CN=Root, .*\n {2}an authority, for paths\n {2}imported/)
    expect(out).toContain(`2 imported into ${join(place, 'people')}`)
    expect(code).toBe(0)
    expect(await names('people')).toEqual([nameOf(bob), nameOf(root)].toSorted())
    const pem = await readFile(join(place, 'people', nameOf(bob)), 'utf8')
    expect(pem).toBe(certificatePem(bob.der))
  })

  test('what has expired, or is for nobody, is told and left out', async () => {
    const file = await put('mixed.pem', [old, nobody].map(it => certificatePem(it.der)).join(''))
    const { code, out } = await run('import', file)
    expect(out).toMatch(/for old@partner\.test\n {2}not imported: expired on \d{4}-/)
    expect(out).toMatch(/for no address\n {2}not imported: bears no address; .* domain/)
    expect(out).toContain('0 imported')
    expect(code).toBe(1)
    expect(await names('people')).toEqual([])
  })

  test('what is there already stays as it is, wherever it stands', async () => {
    const pem = certificatePem(bob.der)
    await writeFile(join(place, 'people', 'by-hand.pem'), `Bob's\n${pem}`)
    const file = await put('bob.pem', pem)
    const { code, out } = await run('import', file)
    expect(out).toMatch(/not imported: is there already, in .*people\/by-hand\.pem/)
    expect(code).toBe(1)
    expect(await names('people')).toEqual(['by-hand.pem'])
  })

  test('a file of that name is not overwritten, whatever it holds', async () => {
    await writeFile(join(place, 'people', nameOf(bob)), 'mine')
    const { code } = await run('import', await put('bob.pem', certificatePem(bob.der)))
    expect(code).toBe(1)
    expect(await readFile(join(place, 'people', nameOf(bob)), 'utf8')).toBe('mine')
    expect(await names('people')).toHaveLength(1)
  })

  test('twice in one call is once', async () => {
    const file = await put('bob.pem', certificatePem(bob.der))
    const { code, out } = await run('import', file, file)
    expect(out).toContain('1 imported')
    expect(code).toBe(0)
  })

  test('what cannot be read is told, and no certificate too', async () => {
    const rubbish = await put('rubbish.pem', 'nothing')
    const { code, out } = await run('import', rubbish)
    expect(out).toMatch(/note: .*rubbish\.pem: /)
    expect(code).toBe(1)
    await expect(run('import', join(place, 'nowhere.pem'))).rejects.toThrow(
      /cannot be read \(ENOENT\)/,
    )
  })

  test('into no file, and nowhere else than where certificates are looked for', async () => {
    await put('one.pem', certificatePem(root.der))
    config = await configure([
      '- files: one.pem',
      '- domain: { name: partner.test, files: gateway }',
    ])
    const file = await put('bob.pem', certificatePem(bob.der))
    await expect(run('import', file)).rejects.toThrow(/no folder to import into/)
  })

  test('what was imported is chosen', async () => {
    await writeFile(join(place, 'root.pem'), certificatePem(root.der))
    await run('import', await put('bob.p7b', certsOnly(bob.der)))
    const { code, out } = await run('why', 'Bob@partner.test')
    expect(out).toContain(fingerprintOf(bob))
    expect(code).toBe(0)
  })
})

describe('list', () => {
  test('files, the domain and the harvest; what has expired is marked', async () => {
    await writeFile(
      join(place, 'people', 'all.pem'),
      [bob, old, root].map(it => certificatePem(it.der)).join(''),
    )
    await writeFile(join(place, 'gateway', 'gateway.pem'), certificatePem(nobody.der))
    const carol = await person('carol@other.test')
    await harvest(carol)
    const { code, out } = await run('list')
    expect(out).toMatch(/^bob@partner\.test: CN=bob@partner\.test, serial [\da-f]+$/m)
    expect(out).toMatch(/^old@partner\.test: .*, EXPIRED$/m)
    expect(out).toMatch(/^authority: CN=Root, serial/m)
    expect(out).toMatch(/^@partner\.test: CN=Gateway, serial/m)
    expect(out).toMatch(/^ {2}from {9}domain:partner\.test, .*gateway\.pem$/m)
    expect(out).toMatch(/^carol@other\.test: .*\n(?: {2}.*\n){4} {2}from {9}harvested$/m)
    expect(out).toContain('5 certificates, 1 expired')
    expect(code).toBe(0)
  })

  test('for programs', async () => {
    await writeFile(join(place, 'people', 'old.pem'), certificatePem(old.der))
    const { out, code } = await run('list', '--json')
    expect(JSON.parse(out)).toEqual([
      expect.objectContaining({
        fingerprint: fingerprintOf(old),
        addresses: ['old@partner.test'],
        holders: ['old@partner.test'],
        source: `files:${join(place, 'people')}`,
        file: join(place, 'people', 'old.pem'),
        expired: true,
        authority: false,
      }),
    ])
    expect(code).toBe(0)
  })

  test('a file that is damaged is told, in the right place', async () => {
    await writeFile(join(place, 'people', 'broken.pem'), 'x')
    const words = await run('list')
    expect(words.out).toMatch(/^note: .*broken\.pem: /m)
    expect(words.code).toBe(1)
    const { out, err } = await run('list', '--json')
    expect(JSON.parse(out)).toEqual([])
    expect(err).toMatch(/^note: .*broken\.pem: /m)
  })

  test('a folder that is gone is told, and hides no other source', async () => {
    await writeFile(join(place, 'gateway', 'gateway.pem'), certificatePem(nobody.der))
    const { config: loaded } = await loadConfig(config, process.env)
    await rm(join(place, 'people'), { recursive: true })
    const { holdings, faults } = await holdingsOf(loaded)
    expect(holdings).toMatchObject([{ holders: ['@partner.test'] }])
    expect(faults).toEqual([expect.stringMatching(/^no answer from files:.*people \(.*ENOENT/)])
  })

  test('nothing is held, and nothing made by looking', async () => {
    const { out, code } = await run('list')
    expect(out).toBe('0 certificates, 0 expired')
    expect(code).toBe(0)
    expect(await names('state')).toEqual([])
  })
})

describe('remove', () => {
  test('what import put there, by the fingerprint as other tools write it', async () => {
    await run('import', await put('bob.pem', certificatePem(bob.der)))
    const colons = fingerprintOf(bob)
      .toUpperCase()
      .replaceAll(/(..)(?=.)/g, '$1:')
    const { code, out } = await run('remove', colons)
    expect(out).toMatch(/^removed CN=bob@partner\.test, .*people/)
    expect(code).toBe(0)
    expect(await names('people')).toEqual([])
  })

  test('what was harvested, and it is not harvested again', async () => {
    await harvest(bob)
    const { code, out } = await run('remove', fingerprintOf(bob))
    expect(out).toContain('harvested, of bob@partner.test')
    expect(code).toBe(0)
    expect(await harvest(bob)).toMatchObject({ kind: 'refused' })
    expect((await run('list')).out).toContain('0 certificates')
  })

  test('no file that somebody else has made', async () => {
    await writeFile(join(place, 'people', 'by-hand.pem'), certificatePem(bob.der))
    await writeFile(
      join(place, 'people', nameOf(root)),
      certificatePem(root.der) + certificatePem(old.der),
    )
    for (const it of [bob, root]) {
      const { code, err } = await run('remove', fingerprintOf(it))
      expect(err).toMatch(/stays in .*, which import did not make/)
      expect(code).toBe(1)
    }
    expect(await names('people')).toHaveLength(2)
  })

  test('what nobody holds', async () => {
    const { code, err } = await run('remove', fingerprintOf(bob))
    expect(err).toMatch(/no source on this machine holds/)
    expect(code).toBe(1)
  })
})

describe('the harvest', () => {
  const address = 'bob@partner.test'

  test('B45 what waits, and what it would replace; accepted; history; undone', async () => {
    await harvest(bob)
    const stranger = await issue({
      ...{ commonName: 'Stranger', authority: true, notBefore: days(-9), notAfter: days(9) },
    })
    const next = await person(address, { notBefore: days(-1), issuer: stranger })
    expect(await harvest(next, 1000)).toEqual({ kind: 'waiting' })

    const { out, code } = await run('pending')
    expect(out).toMatch(/^bob@partner\.test: CN=bob@partner\.test, serial/m)
    expect(out).toContain(`  fingerprint  ${fingerprintOf(next)}`)
    expect(out).toMatch(/^ {2}since {8}\d{4}-/m)
    expect(out).toMatch(/^ {2}usable {7}from \d{4}-.* on$/m)
    expect(out).toMatch(new RegExp(`^ {2}instead of {3}CN=bob.*${fingerprintOf(bob)}$`, 'm'))
    expect(out).toMatch(/^ {2}note {9}another issuer/m)
    expect(out).toMatch(/^1 certificate waits$/m)
    expect(code).toBe(0)

    const accepted = await run('accept', 'Bob@partner.test')
    expect(accepted.out).toMatch(
      /^accepted for Bob@partner\.test: CN=bob.* may be used from now on$/,
    )
    expect(accepted.code).toBe(0)
    expect(accepted.out).not.toContain('nothing changes')
    expect((await run('pending')).out).toBe('0 certificates wait')

    const told = await run('history', address)
    const [stored, waited, approved] = told.out.split('\n')
    expect(stored).toMatch(/Z {2}came, and was used at once: CN=bob/)
    expect(waited).toMatch(/Z {2}came with another key, and waited: CN=bob/)
    expect(approved).toMatch(/Z {2}accepted: CN=bob/)
    expect(told.out.match(/^ {2}now {10}in use$/gm)).toHaveLength(2)

    const back = await run('undo', address)
    expect(back.out).toMatch(/^undone: .*Z {2}accepted: CN=bob/)
    expect(back.out).toMatch(/^ {2}now {10}waits for approval$/m)
    await run('undo', address)
    expect((await run('history', address)).out).toMatch(/^ {2}now {10}taken out \d{4}-/m)
    expect((await run('list')).out).toContain(fingerprintOf(bob))
    await run('undo', address)
    expect(await run('undo', address)).toMatchObject({
      code: 1,
      err: 'nothing to undo for bob@partner.test',
    })
  })

  test('for programs', async () => {
    await harvest(bob)
    const next = await person(address, { notBefore: days(-1) })
    await harvest(next, 1000)
    expect(JSON.parse((await run('pending', '--json')).out)).toEqual([
      expect.objectContaining({
        address,
        fingerprint: fingerprintOf(next),
        inUse: expect.objectContaining({ fingerprint: fingerprintOf(bob) }),
        newIssuer: false,
        usableFrom: expect.stringMatching(/^\d{4}-/),
      }),
    ])
    const accepted = await run('accept', address, fingerprintOf(next).toUpperCase(), '--json')
    expect(JSON.parse(accepted.out)).toMatchObject({ accepted: { addresses: [address] } })
    const undone = JSON.parse((await run('undo', address, '--json')).out)
    expect(undone).toMatchObject({
      undone: { event: 'approved', fingerprint: fingerprintOf(next) },
    })
    const { history, certificates } = JSON.parse((await run('history', address, '--json')).out)
    expect(history.map((it: { event: string }) => it.event)).toEqual([
      ...['stored', 'waiting', 'approved', 'undone'],
    ])
    expect(certificates).toContainEqual(
      expect.objectContaining({ fingerprint: fingerprintOf(bob), state: 'in use' }),
    )
  })

  test('why: what the chosen one reads, and what waits; files come before the harvest', async () => {
    const next = await person(address, { notBefore: days(-1) })
    const capabilities = [
      { oid: '2.16.840.1.101.3.4.1.46', parameters: undefined },
      { oid: '1.2.3', parameters: undefined },
    ]
    await harvest(bob, 0, capabilities)
    await harvest(next, 1000)
    const { out, code } = await run('why', address)
    expect(out).toMatch(/^ {2}from {9}harvested, bears the address$/m)
    expect(out).toMatch(/^ {2}reads {8}aes-256-gcm, 1\.2\.3$/m)
    expect(out).toMatch(/^ {2}harvested {4}CN=bob.*: waits until .*; see cert pending$/m)
    expect(code).toBe(0)
    const [chosen] = JSON.parse((await run('why', address, '--json')).out).considered
    expect(chosen.capabilities).toEqual(['2.16.840.1.101.3.4.1.46', '1.2.3'])

    const older = await person(address, { notBefore: days(-8) })
    await run('import', await put('older.pem', certificatePem(older.der)))
    const told = await run('why', address)
    expect(told.out).toContain(`  fingerprint  ${fingerprintOf(older)}`)
    expect(told.out).not.toContain(fingerprintOf(bob))
    expect(told.out).toMatch(/^ {2}harvested {4}CN=bob.*: not asked for: a source ahead of the /m)
    expect(told.out).toMatch(
      /^ {2}chosen {7}the newest valid one of the first source that has any$/m,
    )
  })

  test('accepted, and older than what is in use: it is told that nothing changes', async () => {
    await harvest(bob)
    const older = await person(address, { notBefore: days(-20) })
    await harvest(older, 1000)
    const { out, code } = await run('accept', address)
    expect(out.split('\n')).toEqual([
      expect.stringMatching(/^accepted for bob@partner\.test: CN=bob/),
      expect.stringMatching(
        new RegExp(
          `^nothing changes now: CN=bob.*${fingerprintOf(bob)}, is newer and stays in use$`,
        ),
      ),
    ])
    expect(code).toBe(0)
    const { considered } = JSON.parse((await run('why', address, '--json')).out)
    expect(considered[0].fingerprint).toBe(fingerprintOf(bob))

    await run('undo', address)
    const told = await run('accept', address, fingerprintOf(older), '--json')
    expect(JSON.parse(told.out)).toMatchObject({
      accepted: { fingerprint: fingerprintOf(older) },
      inUse: { fingerprint: fingerprintOf(bob) },
      unchanged: expect.stringContaining('is newer'),
    })
  })

  test('accepted, and older, where all devices are encrypted to: that changes something', async () => {
    const text = await readFile(config, 'utf8')
    await writeFile(config, `${text}directory: { devices: all }\n`)
    await harvest(bob)
    await harvest(await person(address, { notBefore: days(-20) }), 1000)
    const { out, code } = await run('accept', address)
    expect(out).not.toContain('nothing changes')
    expect(code).toBe(0)
  })

  test('accepted, and its time is over: the same', async () => {
    await harvest(await person(address, { notBefore: days(-20), notAfter: days(-10) }))
    const over = await person(address, { notBefore: days(-8), notAfter: days(-1) })
    await harvest(over, 1000)
    expect((await run('accept', address)).out).toMatch(/^nothing changes now: it is expired$/m)
  })

  test('where several wait, or none, one has to be named', async () => {
    await harvest(bob)
    const two = [await person(address), await person(address)]
    for (const [at, one] of two.entries()) await harvest(one, 1000 * (at + 1))
    expect(await run('accept', address)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^2 certificates wait: name the one/),
    })
    expect((await run('accept', address, fingerprintOf(two[1]!))).code).toBe(0)
    expect(await run('accept', address, fingerprintOf(two[1]!))).toMatchObject({
      code: 1,
      err: expect.stringContaining('is in use already'),
    })
    expect((await run('accept', address)).out).toContain('accepted')
    expect(await run('accept', address)).toMatchObject({
      code: 1,
      err: 'nothing waits for bob@partner.test',
    })
    expect(await run('accept', address, fingerprintOf(old))).toMatchObject({
      code: 1,
      err: expect.stringContaining('was harvested from bob@partner.test'),
    })
  })

  test('where nothing was ever harvested, nothing is made by asking', async () => {
    expect(await run('pending')).toMatchObject({ code: 0, out: '0 certificates wait' })
    for (const verb of ['accept', 'history', 'undo'])
      expect(await run(verb, address)).toMatchObject({ code: 1, out: '' })
    expect(JSON.parse((await run('pending', '--json')).out)).toEqual([])
    expect(await names('state')).toEqual([])
  })
})

describe('arguments', () => {
  test.each([
    [[]],
    [['frobnicate']],
    [['constructor']],
    [['why']],
    [['why', 'a@b.test', 'c@d.test']],
    [['why', 'not an address']],
    [['show']],
    [['list', 'x']],
    [['import']],
    [['remove']],
    [['remove', 'abcdef']],
    [['pending', 'x']],
    [['accept']],
    [['accept', 'not an address']],
    [['accept', 'a@b.test', 'abcdef']],
    [['accept', 'a@b.test', 'abcdef', 'x']],
    [['history']],
    [['undo', 'a@b.test', 'c@d.test']],
  ])('%j: usage', async args => {
    const { code, err } = await run(...args)
    expect(err).toMatch(/^postern cert: \S.*\n\nusage: postern cert why ADDRESS/)
    expect(code).toBe(2)
  })

  test('the command line: unknown options 2, help 0, a missing file 1', async () => {
    const ends = [['list', '--konfig'], ['--help'], ['show', join(place, 'nowhere.pem')]]
    const [option, help, missing] = await Promise.all(ends.map(args => postern(['cert', ...args])))
    expect(option).toMatchObject({ code: 2, err: expect.stringContaining('--konfig') })
    expect(help).toMatchObject({ code: 0, out: expect.stringContaining('remove FINGERPRINT') })
    expect(missing).toMatchObject({
      code: 1,
      err: expect.stringContaining('cannot be read (ENOENT)'),
    })
  })

  test('faults stand beside what programs read, not in it', async () => {
    await writeFile(join(place, 'root.pem'), certificatePem(bob.der))
    const { out, err } = await run('why', 'bob@partner.test', '--json')
    expect(JSON.parse(out)).toMatchObject({ kind: 'none' })
    expect(err).toMatch(/^note: .*is no authority/)
  })
})

/** The verb, in this process. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { log: [] as string[], error: [] as string[] }
  const spies = (['log', 'error'] as const).map(level =>
    vi.spyOn(console, level).mockImplementation(text => void said[level].push(String(text))),
  )
  try {
    const options = args.length > 0 ? ['--config', config] : []
    const code = await cert([...args, ...options])
    return { code, out: said.log.join('\n'), err: said.error.join('\n') }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

async function configure(sources: readonly string[]): Promise<string> {
  const us = await person('us@example.test')
  const key = us.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  await writeFile(join(place, 'us.pem'), key + certificatePem(us.der))
  await writeFile(join(place, 'root.pem'), certificatePem(root.der))
  const file = join(place, 'postern.yaml')
  await writeFile(
    file,
    [
      'hostname: gw.example.test',
      'domains: [example.test]',
      'listen: [{ address: 127.0.0.1, port: 0, tls: none }]',
      'nextHop: { inbound: { host: 127.0.0.1, port: 26 }, outbound: { host: 127.0.0.1, port: 26 } }',
      'identities: [{ files: us.pem }]',
      'certificates:',
      ...sources.map(source => `  ${source}`),
      'trust: { anchors: [root.pem] }',
      'rules: [{ name: all, when: {}, then: { sign: never } }]',
      'state: state',
      '',
    ].join('\n'),
  )
  return file
}

/** @param laterMs Signed so much later than now. */
async function harvest({ der }: Issued, laterMs = 0, capabilities: Capabilities = []) {
  const store = openSqliteStore(join(place, 'state', 'certificates.sqlite'))
  const harvested = openHarvested({ store, ownDomains: new Set(['example.test']) })
  const certificate = parseCertificate(Buffer.from(der))
  const mailbox = box(certificate.addresses[0]!)
  try {
    return await harvested.offer({
      mailbox,
      certificate,
      signedAt: new Date(Date.now() + laterMs),
      capabilities,
    })
  } finally {
    harvested.close?.()
  }
}

async function put(name: string, content: string | Buffer): Promise<string> {
  await writeFile(join(place, name), content)
  return join(place, name)
}

/** What lies in a folder, hidden files too. */
async function names(where: string): Promise<string[]> {
  return (await readdir(join(place, where))).toSorted()
}

function person(address: string, options: Partial<IssueOptions> = {}): Promise<Issued> {
  const life = { notBefore: days(-9), notAfter: days(9) }
  return issue({ commonName: address, addresses: [address], issuer: root, ...life, ...options })
}

function fingerprintOf({ der }: Issued): string {
  return parseCertificate(der).fingerprint
}

function nameOf(issued: Issued): string {
  return `${fingerprintOf(issued)}.pem`
}
