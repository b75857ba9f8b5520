/**
 * Which certificate is chosen, and what is said of the others: as the gateway asks, and in the words
 * of `postern cert why`.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Authorities } from '../../src/certstore/authorities.ts'
import { cached } from '../../src/certstore/cache.ts'
import { createDirectory, type Search } from '../../src/certstore/directory.ts'
import { openDomain } from '../../src/certstore/domain.ts'
import { fetcher } from '../../src/certstore/fetch.ts'
import { openFiles } from '../../src/certstore/files.ts'
import { readTrust } from '../../src/certstore/trust.ts'
import { cert } from '../../src/commands/cert.ts'
import { context, oid, sequence, tlv } from '../../src/crypto/asn1/der-writer.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import {
  certificatePem,
  type Issued,
  type IssueOptions,
  issue,
} from '../../src/crypto/x509/issue.ts'
import {
  basicConstraints,
  emailProtection,
  extension,
  keyUsage,
  mailAddress,
  makeCertificateDer,
  makeKey,
  name,
} from '../crypto/make-certificate.ts'
import { noOpenssl, openssl, temporaryFolder } from '../crypto/openssl.ts'
import { crlEntry, makeCrlDer } from '../crypto/x509/make-crl.ts'
import { box, NEVER } from './people.ts'

const DAY = 86_400_000
const NOW = Date.now()
const days = (count: number): Date => new Date(Math.floor(NOW / 1000) * 1000 + count * DAY)
const ANN = 'ann@partner.test'
const folder = temporaryFolder()
afterAll(() => folder.remove())
let root: Issued
/** What the revocation services answer; the path tells which is asked. */
let answer: (path: string, body: Buffer) => Buffer | undefined
let port: number

const services = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = answer(request.url!, Buffer.concat(chunks))
    response.writeHead(body ? 200 : 503).end(body)
  })
})
/** Names lead to this machine: nothing else is reached. */
const fetch = () => fetcher({ resolve: async () => ['127.0.0.1'], mayConnectTo: () => true })

beforeAll(async () => {
  root = await issue({
    commonName: 'Root',
    authority: true,
    notBefore: days(-900),
    notAfter: days(900),
  })
  await new Promise<void>(resolve => services.listen(0, '127.0.0.1', resolve))
  port = (services.address() as AddressInfo).port
})
afterAll(() => void services.close())
beforeEach(() => {
  answer = () => undefined
})

describe('choosing', () => {
  test('a renewed certificate beside an expired one', async () => {
    const old = await ann({ notBefore: days(-400), notAfter: days(-1) })
    const renewed = await ann({ notBefore: days(-30) })
    const { search, words, code } = await ask({ files: [old, renewed] })
    expect(chosenOf(search)).toBe(fingerprintOf(renewed))
    expect(outcomesOf(search)).toEqual(['valid', expect.stringMatching(/expired/)])
    expect(words).toContain(`fingerprint  ${fingerprintOf(renewed)}`)
    expect(words).toMatch(/^ {2}not chosen .*expired/m)
    expect(code).toBe(0)
  })

  test('two valid ones: the newest by notBefore, however long the other lives', async () => {
    const older = await ann({ notBefore: days(-60), notAfter: days(800) })
    const newer = await ann({ notBefore: days(-5), notAfter: days(20) })
    const { search, words } = await ask({ files: [older, newer] })
    expect(chosenOf(search)).toBe(fingerprintOf(newer))
    expect(words).toMatch(/^ {2}chosen {7}the newest valid one of the first source/m)
    expect(words).toMatch(/^ {2}not chosen .*: valid, but older$/m)
  })

  test('of two as new, the lower fingerprint, whatever the order', async () => {
    const pair = [await ann({ notBefore: days(-5) }), await ann({ notBefore: days(-5) })]
    const lowest = pair.map(fingerprintOf).toSorted()[0]!
    for (const files of [pair, pair.toReversed()]) {
      const { search, words } = await ask({ files })
      expect(chosenOf(search)).toBe(lowest)
      expect(words).toContain('valid and as new; the lower fingerprint comes first')
    }
  })

  test.each<[string, AnnOptions, RegExp]>([
    ['for signatures alone', { keyUsage: ['digitalSignature'] }, /usage/],
    ['for web servers', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }, /emailProtection|purpose/],
    ['that begins tomorrow', { notBefore: days(1), notAfter: days(50) }, /not.*valid|begin/i],
    ['of an authority that nobody trusts', { issuer: undefined }, /no path|issuer|anchor/i],
  ])('one %s is never chosen', async (_, options, reason) => {
    const { search, words, code } = await ask({ files: [await ann(options)] })
    expect(search).toMatchObject({ kind: 'invalid', reason: expect.stringMatching(reason) })
    expect(words).toMatch(/^ann@partner\.test: no certificate; its certificate cannot be used: /)
    expect(words).toMatch(/^ {2}otherwise .*valid today, from an authority in trust\.anchors/m)
    expect(words.match(/not chosen .*/)![0]).toMatch(reason)
    expect(code).toBe(1)
  })

  test('one for a wrong purpose does not keep a right one out, however new it is', async () => {
    const signing = await ann({ keyUsage: ['digitalSignature'], notBefore: days(-1) })
    const right = await ann({ notBefore: days(-50) })
    const { search } = await ask({ files: [signing, right] })
    expect(chosenOf(search)).toBe(fingerprintOf(right))
  })

  test('nobody knows any', async () => {
    const { search, words, code } = await ask({ files: [] })
    expect(search).toMatchObject({ kind: 'none', considered: [] })
    expect(words).toMatch(/^ann@partner\.test: no certificate; /)
    expect(code).toBe(1)
  })

  test("a domain's certificate loses to a person's own, however new it is", async () => {
    const own = await ann({ notBefore: days(-300) })
    const domain = await ann({ addresses: [], commonName: 'Gateway', notBefore: days(-1) })
    const { search, words } = await ask({ domain: [domain], files: [own] })
    expect(chosenOf(search)).toBe(fingerprintOf(own))
    expect(search).toMatchObject({ via: 'address' })
    expect(words).toContain("valid, but for the whole domain, and a person's own comes first")
    const alone = await ask({ domain: [domain], files: [] })
    expect(alone.search).toMatchObject({ kind: 'valid', via: 'domain' })
    expect(alone.words).toContain('from         domain:partner.test, stands for the whole domain')
  })

  test("a domain's certificate is used where a person's own is no longer valid", async () => {
    const own = await ann({ notBefore: days(-300), notAfter: days(-1) })
    const domain = await ann({ addresses: [], commonName: 'Gateway' })
    const { search } = await ask({ domain: [domain], files: [own] })
    expect(search).toMatchObject({ kind: 'valid', via: 'domain' })
  })

  test("a later source's valid certificate beats an earlier source's expired one", async () => {
    const expired = await ann({ notBefore: days(-400), notAfter: days(-1) })
    const valid = await ann({ notBefore: days(-500) })
    const { search, words } = await ask({ files: [expired], more: [valid] })
    expect(chosenOf(search)).toBe(fingerprintOf(valid))
    expect(search).toMatchObject({ source: expect.stringMatching(/^files:.*more$/) })
    expect(words).toMatch(/not chosen .*expired/)
  })
})

describe('authorities of a remote source', () => {
  test('B39 a leaf keeps its own, however many others the source has shown', async () => {
    const middle = await issue({
      ...{ commonName: 'Middle', authority: true, issuer: root },
      ...{ notBefore: days(-100), notAfter: days(100) },
    })
    const others = await Promise.all(
      Array.from({ length: 201 }, (_, at) =>
        issue({
          ...{ commonName: `Other ${at}`, authority: true, key: middle },
          ...{ notBefore: days(-100), notAfter: days(100) },
        }),
      ),
    )
    const pool = new Authorities()
    pool.add(others.map(({ der }) => parseCertificate(der)))
    const leaf = parseCertificate((await ann({ issuer: middle })).der)
    const beside = [parseCertificate(middle.der)]
    pool.add(beside)
    expect(pool.all()).toHaveLength(200)
    const source = cached({
      name: 'ldap:test',
      find: async () => [{ certificate: leaf, source: 'ldap:test', via: 'address', beside }],
      intermediates: () => pool.all(),
    })
    const anchors = [parseCertificate(root.der)]
    const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
    const directory = createDirectory([source], trust, () => new Date())
    for (let turn = 0; turn < 2; turn++)
      expect(await directory.search(box(ANN), NEVER)).toMatchObject({ kind: 'valid' })
  })
})

describe('what the configuration says of choosing', () => {
  test('B49 a pin, and what does not meet it, in the words of cert why', async () => {
    const [older, newer] = [await ann({ notBefore: days(-60) }), await ann({ notBefore: days(-5) })]
    const pin = (fingerprint: string) =>
      `{ pins: [{ address: "@partner.test", fingerprint: "${fingerprint}" }] }`
    const files = [older, newer]
    const met = await ask({ files, directory: pin(fingerprintOf(older)) })
    expect(met.words).toContain(`fingerprint  ${fingerprintOf(older)}`)
    expect(met.words).toMatch(/^ {2}pinned {7}@partner\.test is pinned to certificate /m)
    expect(met.words).toMatch(/^ {2}not chosen .*, and this is another$/m)
    expect(met.code).toBe(0)
    const unmet = await ask({ files, directory: pin('00'.repeat(32)) })
    expect(unmet.words).toMatch(/no certificate; @partner\.test is pinned to certificate 0000/)
    expect(unmet.words).toMatch(/^ {2}otherwise .*waits meanwhile$/m)
    expect(unmet.code).toBe(1)
  })

  test('B49 an authority that is pinned, read from its file', async () => {
    const other = await issue({
      ...{ commonName: 'Other', authority: true, issuer: root },
      ...{ notBefore: days(-100), notAfter: days(100) },
    })
    folder.write('pinned.pem', certificatePem(other.der))
    const files = [await ann({ issuer: other, notBefore: days(-60) }), await ann({})]
    const directory = '{ pins: [{ address: "@partner.test", issuer: pinned.pem }] }'
    const { words } = await ask({ files, directory })
    expect(words).toContain(`fingerprint  ${fingerprintOf(files[0]!)}`)
    expect(words).toContain('is pinned to what CN=Other stands above')
  })

  test('all devices', async () => {
    const files = [await ann({ notBefore: days(-60) }), await ann({ notBefore: days(-5) })]
    const { words } = await ask({ files, directory: '{ devices: all }' })
    expect(words.match(/^ {2}also to /gm)).toHaveLength(1)
    expect(words).not.toContain('not chosen')
  })
})

describe('revocation', () => {
  test('B44 by a list that lies beside the anchors', async () => {
    const [revoked, good] = [await ann({ notBefore: days(-1) }), await ann({})]
    for (const revocation of ['soft', 'hard'] as const) {
      const lists = [await list([revoked])]
      const { search, words } = await ask({ files: [revoked, good], lists, revocation })
      expect(chosenOf(search)).toBe(fingerprintOf(good))
      expect(outcomesOf(search)).toEqual(['valid', expect.stringMatching(/revoked/)])
      expect(words).toMatch(/^ {2}not chosen .*revoked/m)
    }
    const off = await ask({ files: [revoked, good], lists: [await list([revoked])] })
    expect(chosenOf(off.search)).toBe(fingerprintOf(revoked))
  })

  test('B44 by a list that the certificate points to', async () => {
    const revoked = await pointing('/list.crl', 'list')
    const der = await list([{ der: revoked }])
    answer = path => (path === '/list.crl' ? der : undefined)
    const { search, words, code } = await ask({ files: [{ der: revoked }], revocation: 'soft' })
    expect(search).toMatchObject({ kind: 'invalid', reason: expect.stringMatching(/revoked/) })
    expect(words).toMatch(/no certificate; .*revoked/)
    expect(code).toBe(1)
    const clean = await list([])
    answer = () => clean
    const good = await ask({ files: [{ der: revoked }], revocation: 'hard' })
    expect(good.search).toMatchObject({ kind: 'valid' })
    expect(good.words).not.toContain('note')
  })

  test.skipIf(noOpenssl)(`B44 by OCSP${noOpenssl ?? ''}`, async () => {
    const der = await pointing('/ocsp', 'responder')
    answer = (_, body) => ocsp('R', der, body)
    const { search, words } = await ask({ files: [{ der }], revocation: 'hard' })
    expect(search).toMatchObject({ kind: 'invalid', reason: expect.stringMatching(/revoked/) })
    expect(words).toMatch(/no certificate; .*revoked/)
    answer = (_, body) => ocsp('V', der, body)
    const good = await ask({ files: [{ der }], revocation: 'hard' })
    expect(good.search).toMatchObject({ kind: 'valid' })
  })

  test('B43 services out of reach: soft says so and goes on, hard waits', async () => {
    const files = [{ der: await pointing('/list.crl', 'list') }]
    const soft = await ask({ files, revocation: 'soft' })
    expect(soft.search).toMatchObject({
      kind: 'valid',
      considered: [{ belief: { note: expect.stringMatching(/could not be told/) } }],
    })
    expect(soft.words).toMatch(/^ {2}note {9}revocation of .* could not be told: .*503/m)
    expect(soft.code).toBe(0)
    const hard = await ask({ files, revocation: 'hard' })
    expect(hard.search).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/cannot be told/),
    })
    expect(hard.words).toMatch(/no certificate; .*cannot be told/)
    expect(hard.words).toMatch(/otherwise .*ask again .* waits meanwhile/)
    expect(hard.code).toBe(1)
  })

  test('B43 one out of reach under hard does not keep a good one out', async () => {
    const unreachable = { der: await pointing('/ocsp', 'responder') }
    const der = await pointing('/list.crl', 'list')
    const clean = await list([])
    answer = path => (path === '/list.crl' ? clean : undefined)
    const { search } = await ask({ files: [unreachable, { der }], revocation: 'hard' })
    expect(chosenOf(search)).toBe(fingerprintOf({ der }))
  })
})

describe('beliefs', () => {
  test('are remembered, and judged anew when time is over, when a while has passed', async () => {
    const one = await ann({ notAfter: days(1) })
    const { search, counted, at } = await watched([one])
    for (let time = 0; time < 5; time++) expect((await search()).kind).toBe('valid')
    expect(counted()).toBe(1)
    at(days(0).getTime() + 5 * 60_000 + 1_000)
    expect((await search()).kind).toBe('valid')
    expect(counted()).toBe(2)
    at(days(1).getTime() - 1_000)
    expect((await search()).kind).toBe('valid')
    // Two seconds later: the belief is young, and its certificate too old.
    at(days(1).getTime() + 1_000)
    expect(await search()).toMatchObject({
      kind: 'invalid',
      reason: expect.stringMatching(/expired/),
    })
  })

  test('that could not be told are asked for again after a minute', async () => {
    const { search, counted, at } = await watched([await ann({})], 'unknown')
    for (let time = 0; time < 3; time++) expect((await search()).kind).toBe('unknown')
    expect(counted()).toBe(1)
    at(days(0).getTime() + 61_000)
    expect((await search()).kind).toBe('unknown')
    expect(counted()).toBe(2)
  })

  test('are formed anew when authorities come to lie beside', async () => {
    const upper = await issue({
      ...{ commonName: 'Upper', authority: true, issuer: root },
      ...{ notBefore: days(-100), notAfter: days(100) },
    })
    const middle = await issue({
      ...{ commonName: 'Middle', authority: true, issuer: upper },
      ...{ notBefore: days(-100), notAfter: days(100) },
    })
    const place = await put('beside', [await ann({ issuer: middle })])
    const source = openFiles({ files: place })
    const anchors = [parseCertificate(root.der)]
    const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
    const directory = createDirectory([source], trust, () => new Date())
    onTestFinished(() => directory.close())
    expect((await directory.search(box(ANN), NEVER)).kind).toBe('invalid')
    await writeFile(
      join(place, 'above.pem'),
      [middle, upper].map(it => certificatePem(it.der)).join(''),
    )
    await vi.waitFor(async () =>
      expect((await directory.search(box(ANN), NEVER)).kind).toBe('valid'),
    )
  })
})

type WithDer = Pick<Issued, 'der'>

interface Plan {
  readonly files: readonly WithDer[]
  /** In a second source. */
  readonly more?: readonly WithDer[]
  /** `directory:` of the configuration, for the verb alone. */
  readonly directory?: string
  /** In a source for the whole domain, asked first. */
  readonly domain?: readonly WithDer[]
  readonly lists?: readonly Buffer[]
  readonly revocation?: 'off' | 'soft' | 'hard'
}

/** Asks for Ann: the directory itself, and the verb. */
async function ask(plan: Plan): Promise<{ search: Search; words: string; code: number }> {
  const { files, more, domain, lists = [], revocation = 'off', directory = '{}' } = plan
  const trusted = await put('trust', [root])
  for (const [at, der] of lists.entries()) await writeFile(join(trusted, `${at}.crl`), der)
  const own = await put('files', files)
  const other = more && (await put('more', more))
  const whole = domain && (await put('domain', domain))
  const { trust } = await readTrust([trusted], revocation, fetch())
  const sources = [
    ...(whole ? [openDomain({ domain: 'partner.test', files: whole })] : []),
    ...[own, ...(other ? [other] : [])].map(path => openFiles({ files: path })),
  ]
  const asked = createDirectory(sources, trust, () => new Date())
  onTestFinished(() => asked.close())
  const search = await asked.search(box(ANN), NEVER)
  return { search, ...(await why({ trusted, own, other, whole, revocation, directory })) }
}

interface Places {
  readonly trusted: string
  readonly own: string
  readonly other: string | undefined
  readonly whole: string | undefined
  readonly revocation: string
  readonly directory: string
}

async function why({ trusted, own, other, whole, revocation, directory }: Places) {
  const identity = await issue({
    commonName: 'Us',
    addresses: ['us@example.test'],
    notBefore: days(-1),
    notAfter: days(9),
  })
  const key = identity.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  folder.write('us.pem', key + certificatePem(identity.der))
  const sources = [
    ...(whole ? [`  - domain: { name: partner.test, files: ${whole} }`] : []),
    ...[own, ...(other ? [other] : [])].map(path => `  - files: ${path}`),
  ]
  const config = folder.write(
    'postern.yaml',
    [
      'hostname: gw.example.test',
      'domains: [example.test]',
      'listen: [{ address: 127.0.0.1, port: 0, tls: none }]',
      'nextHop: { inbound: { host: 127.0.0.1, port: 26 }, outbound: { host: 127.0.0.1, port: 26 } }',
      'identities: [{ files: us.pem }]',
      'certificates:',
      ...sources,
      `trust: { anchors: [${trusted}], revocation: ${revocation} }`,
      `directory: ${directory}`,
      'rules: [{ name: all, when: {}, then: { sign: never } }]',
      'state: state',
      '',
    ].join('\n'),
  )
  const said: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation(text => void said.push(String(text)))
  try {
    const code = await cert(['why', ANN, '--config', config], fetch())
    return { words: said.join('\n'), code }
  } finally {
    log.mockRestore()
  }
}

/** A directory whose validations are counted, by how often revocation is asked for; and its clock. */
async function watched(certificates: readonly WithDer[], status: 'good' | 'unknown' = 'good') {
  let time = days(0)
  let count = 0
  const statusOf = async () => {
    count++
    return status === 'good'
      ? ({ kind: 'good', until: undefined } as const)
      : ({ kind: 'unknown', why: 'no-answer', detail: 'silence' } as const)
  }
  const anchors = [parseCertificate(root.der)]
  const trust = {
    anchors,
    intermediates: [],
    revocation: { statusOf },
    revocationMode: 'hard' as const,
  }
  const source = openFiles({ files: await put('watched', certificates) })
  const directory = createDirectory([source], trust, () => time)
  onTestFinished(() => directory.close())
  return {
    search: () => directory.search(box(ANN), NEVER),
    counted: () => count,
    at: (milliseconds: number) => {
      time = new Date(milliseconds)
    },
  }
}

async function put(what: string, certificates: readonly WithDer[]): Promise<string> {
  const path = join(folder.path, randomBytes(4).toString('hex'), what)
  await mkdir(path, { recursive: true })
  onTestFinished(() => rm(path, { recursive: true }))
  for (const [at, { der }] of certificates.entries())
    await writeFile(join(path, `${at}.pem`), certificatePem(der))
  return path
}

type AnnOptions = Partial<Omit<IssueOptions, 'issuer'>> & { readonly issuer?: Issued | undefined }

function ann(options: AnnOptions): Promise<Issued> {
  const life = { notBefore: days(-90), notAfter: days(90) }
  const named = { commonName: 'Ann', addresses: [ANN], issuer: root }
  const { issuer, ...all } = { ...named, ...life, ...options }
  return issue(issuer ? { ...all, issuer } : all)
}

/** Ann's, that names a service of ours. */
function pointing(path: string, kind: 'list' | 'responder'): Promise<Buffer> {
  const uri = tlv(0x86, Buffer.from(`http://services.example.test:${port}${path}`))
  const service =
    kind === 'list'
      ? extension('2.5.29.31', sequence(sequence(context(0, context(0, uri)))))
      : extension('1.3.6.1.5.5.7.1.1', sequence(sequence(oid('1.3.6.1.5.5.7.48.1'), uri)))
  return makeCertificateDer({
    key: makeKey('P-256'),
    issuerKey: root,
    subject: name('Ann'),
    issuer: root.subject,
    extensions: [
      basicConstraints(false),
      keyUsage(4),
      emailProtection(),
      mailAddress(ANN),
      service,
    ],
  })
}

function list(revoked: readonly WithDer[]): Promise<Buffer> {
  const entries = revoked.map(({ der }) =>
    crlEntry(parseCertificate(der).serialNumber, days(-2), 1),
  )
  return makeCrlDer({
    ...{ issuer: root.subject, issuerKey: root, entries },
    ...{ thisUpdate: days(-1), nextUpdate: days(1) },
  })
}

/** What OpenSSL answers about a certificate. */
function ocsp(state: 'V' | 'R', der: Buffer, request: Buffer): Buffer {
  const serial = parseCertificate(der).serialNumberHex.toUpperCase()
  const revoked = state === 'R' ? '261101120000Z,keyCompromise' : ''
  const index = folder.write(
    'index',
    `${state}\t600101000000Z\t${revoked}\t${serial}\tunknown\t/CN=Ann\n`,
  )
  const key = root.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  const signer = folder.write('ca.pem', certificatePem(root.der) + key)
  const respout = `${folder.path}/response`
  openssl([
    ...['ocsp', '-index', index, '-CA', signer, '-rsigner', signer, '-rkey', signer, '-ndays', '1'],
    ...['-reqin', folder.write('request', request), '-respout', respout],
  ])
  return readFileSync(respout)
}

function chosenOf(search: Search): string | undefined {
  return search.kind === 'valid' ? search.certificate.fingerprint : undefined
}

/** `valid` or why not, in the order in which they were preferred. */
function outcomesOf({ considered }: Search): string[] {
  return considered.map(({ belief }) => (belief.kind === 'valid' ? 'valid' : belief.reason))
}

function fingerprintOf({ der }: WithDer): string {
  return parseCertificate(der).fingerprint
}
