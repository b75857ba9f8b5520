/** Who may have signed: paths, times, usages and revocation, and what is remembered of them. @module */
import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import { type Trust, validateForVerification } from '../../src/certstore/validate.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { parseCrl } from '../../src/crypto/x509/crl.ts'
import { statusByCrls } from '../../src/crypto/x509/crl-status.ts'
import { type Issued, type IssueOptions, issue } from '../../src/crypto/x509/issue.ts'
import { pathBudget } from '../../src/crypto/x509/path-budget.ts'
import type { RevocationAnswers } from '../../src/crypto/x509/revocation.ts'
import { crlEntry, makeCrlDer } from '../crypto/x509/make-crl.ts'
import { ca, LATER, NOW, person } from './people.ts'

const EXPIRED = new Date('2026-11-20T11:59:59Z')
const BEFORE = new Date('2025-01-01T00:00:00Z')

let trust: Trust
let ann: Certificate

beforeAll(async () => {
  const anchors = [parseCertificate((await ca()).der)]
  trust = { anchors, intermediates: [], revocationMode: 'off' }
  ann = await signer()
})

describe('validation for verification', () => {
  test('one below an anchor is good, and its path is told', async () => {
    const standing = await judge(ann)
    expect(standing).toEqual({
      kind: 'good',
      certificate: ann,
      notes: [],
      path: [ann, trust.anchors[0]],
    })
  })

  test('B19 self-signed, and signed by somebody of no name here: untrusted', async () => {
    const self = await issue({
      commonName: 'ann',
      addresses: ['ann@partner.test'],
      notBefore: BEFORE,
      notAfter: LATER,
    })
    expect(await judge(parseCertificate(self.der))).toMatchObject({
      kind: 'untrusted',
      reason: 'self-signed',
    })
    const stranger = await signer({ issuer: await authority('Somebody') })
    expect(await judge(stranger)).toMatchObject({ kind: 'untrusted', reason: 'no-anchor' })
  })

  test('B19 an authority that bears the name of an anchor, and not its key', async () => {
    const forged = await signer({ issuer: await authority('Test Authority') })
    expect(await judge(forged)).toMatchObject({
      kind: 'untrusted',
      reason: 'issuer-signature-invalid',
    })
  })

  test('B19 what comes along is never an anchor', async () => {
    const evil = await authority('Evil')
    const standing = await judge(await signer({ issuer: evil }), [parseCertificate(evil.der)])
    expect(standing).toMatchObject({ kind: 'untrusted', reason: 'no-anchor' })
  })

  test('B19 out of time, whatever the signature may say of when it was made', async () => {
    const expired = await signer({ notAfter: EXPIRED })
    expect(await judge(expired)).toMatchObject({ kind: 'invalid', reason: 'expired' })
    const early = await signer({ notBefore: new Date(NOW.getTime() + 1000) })
    expect(await judge(early)).toMatchObject({ kind: 'invalid', reason: 'not-yet-valid' })
  })

  test.each<[string, Partial<IssueOptions>, 'good' | 'invalid']>([
    ['digitalSignature', { keyUsage: ['digitalSignature'] }, 'good'],
    ['nonRepudiation', { keyUsage: ['nonRepudiation'] }, 'good'],
    ['no key usage', { keyUsage: [] }, 'good'],
    ['keyAgreement', { keyUsage: ['keyAgreement'] }, 'invalid'],
    ['keyEncipherment', { keyUsage: ['keyEncipherment'] }, 'invalid'],
    ['no purpose', { extendedKeyUsage: [] }, 'good'],
    ['any purpose', { extendedKeyUsage: ['2.5.29.37.0'] }, 'good'],
    ['serverAuth', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }, 'invalid'],
  ])('B37 %s for signing', async (_, options, kind) => {
    const standing = await judge(await signer(options))
    expect(standing).toMatchObject(kind === 'good' ? { kind } : { kind, reason: 'wrong-usage' })
  })

  test('B37 an end entity is no authority', async () => {
    const between = await person('mallory@partner.test')
    const below = await signer({ issuer: between })
    const standing = await judge(below, [parseCertificate(between.der)])
    expect(standing.kind).not.toBe('good')
  })

  test('B30 B40 keys that are too small, or of a curve that nobody signs with', async () => {
    const keys = [
      generateKeyPairSync('rsa', { modulusLength: 1024 }),
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
    ]
    for (const key of keys)
      expect(await judge(await signer({ key, keyUsage: [] }))).toMatchObject({
        kind: 'invalid',
        reason: 'key-refused',
      })
  })

  test('a key on a curve of RFC 5639, as the German energy market has it', async () => {
    const key = generateKeyPairSync('ec', { namedCurve: 'brainpoolP256r1' })
    expect(await judge(await signer({ key, keyUsage: [] }))).toMatchObject({ kind: 'good' })
  })

  test('while not all anchors could be read, nobody is a stranger for certain', async () => {
    const stranger = await signer({ issuer: await authority('Somebody') })
    const standing = await judge(stranger, [], { ...trust, isIncomplete: true })
    expect(standing).toMatchObject({ kind: 'unknown', reason: 'anchors-incomplete' })
  })
})

describe('revocation of a signer', () => {
  test.each(['soft', 'hard'] as const)('B44 a revoked signer is invalid: %s', async mode => {
    const revoking = { ...trust, revocation: await listOf(ann), revocationMode: mode }
    expect(await judge(ann, [], revoking)).toMatchObject({ kind: 'invalid', reason: 'revoked' })
    const other = await signer()
    expect(await judge(other, [], revoking)).toMatchObject({ kind: 'good', notes: [] })
  })

  test('B43 a status that cannot be told: noted where soft, unknown where hard', async () => {
    const revocation = statusByCrls([], [])
    expect(await judge(ann, [], { ...trust, revocation, revocationMode: 'soft' })).toMatchObject({
      kind: 'good',
      notes: ['revocation-unknown'],
    })
    expect(await judge(ann, [], { ...trust, revocation, revocationMode: 'hard' })).toMatchObject({
      kind: 'unknown',
      reason: 'revocation-unknown',
    })
  })
})

describe('what a message may cost', () => {
  test('B39 signers share one budget, and what is left over is not told', async () => {
    const { trusts } = remembering()
    const budget = pathBudget({ signatures: 2 })
    const three = await Promise.all([signer(), signer(), signer()])
    const kinds: string[] = []
    for (const one of three) kinds.push((await trusts.standing(one, [], budget)).kind)
    expect(kinds).toEqual(['good', 'good', 'unknown'])
    expect(await trusts.standing(three[2]!, [])).toMatchObject({ kind: 'good' })
  })

  test('B39 a maze that a message brings is no verdict, and is not remembered', async () => {
    const between = await authority('Between', await ca())
    const below = await signer({ issuer: between })
    const maze = await Promise.all(
      Array.from({ length: 99 }, async () =>
        parseCertificate((await authority('Between', await ca(), between)).der),
      ),
    )
    const { trusts } = remembering()
    expect(await trusts.standing(below, maze, pathBudget({ signatures: 20 }))).toMatchObject({
      kind: 'unknown',
      reason: 'budget-exceeded',
    })
    expect(await trusts.standing(below, [parseCertificate(between.der)])).toMatchObject({
      kind: 'good',
    })
  })

  test('no more than a hundred certificates of a message are looked at', async () => {
    const between = await authority('Between', await ca())
    const below = await signer({ issuer: between })
    const { trusts } = remembering()
    const many = [...Array.from({ length: 100 }, () => ann), parseCertificate(between.der)]
    expect(await trusts.standing(below, many)).toMatchObject({ kind: 'untrusted' })
  })
})

describe('what is remembered', () => {
  test('good standing: the next message needs no authority beside, and costs nothing', async () => {
    const between = await authority('Between', await ca())
    const below = await signer({ issuer: between })
    const { trusts } = remembering()
    expect(await trusts.standing(below, [])).toMatchObject({ kind: 'untrusted' })
    expect(await trusts.standing(below, [parseCertificate(between.der)])).toMatchObject({
      kind: 'good',
    })
    const nothing = pathBudget({ signatures: 0, steps: 0 })
    expect(await trusts.standing(below, [], nothing)).toMatchObject({ kind: 'good' })
  })

  test('B44 for five minutes: a signer who is revoked meanwhile fails then', async () => {
    const list = await listOf(ann)
    let asked: RevocationAnswers = { statusOf: async () => ({ kind: 'good', until: undefined }) }
    const revocation: RevocationAnswers = { statusOf: question => asked.statusOf(question) }
    const { trusts, state } = remembering({ ...trust, revocation, revocationMode: 'soft' })
    expect(await trusts.standing(ann, [])).toMatchObject({ kind: 'good' })
    asked = list
    state.now += 5 * 60_000 - 1
    expect(await trusts.standing(ann, [])).toMatchObject({ kind: 'good' })
    state.now += 2
    expect(await trusts.standing(ann, [])).toMatchObject({ kind: 'invalid', reason: 'revoked' })
  })

  test('never beyond the time of the signer, or of an authority above', async () => {
    const soon = new Date(NOW.getTime() + 30_000)
    const short = await signer({ notAfter: soon })
    const between = await authority('Short', await ca(), undefined, soon)
    const below = await signer({ issuer: between })
    const { trusts, state } = remembering()
    const beside = [parseCertificate(between.der)]
    for (const one of [short, below])
      expect(await trusts.standing(one, beside)).toMatchObject({ kind: 'good' })
    state.now += 31_000
    for (const one of [short, below])
      expect(await trusts.standing(one, beside)).toMatchObject({ reason: 'expired' })
  })

  test('authorities that lie beside the certificates of people count as well', async () => {
    const between = await authority('Between', await ca())
    const held = [parseCertificate(between.der)]
    const source = { name: 'files', find: async () => [], intermediates: () => held }
    const trusts = createSignerTrust(trust, () => NOW, [source])
    expect(await trusts.standing(await signer({ issuer: between }), [])).toMatchObject({
      kind: 'good',
    })
  })
})

function judge(one: Certificate, beside: readonly Certificate[] = [], whom: Trust = trust) {
  return validateForVerification(one, whom, beside, NOW)
}

function remembering(whom: Trust = trust) {
  const state = { now: NOW.getTime() }
  return { state, trusts: createSignerTrust(whom, () => new Date(state.now)) }
}

async function signer(options: Partial<IssueOptions> = {}): Promise<Certificate> {
  return parseCertificate((await person('ann@partner.test', options)).der)
}

/** `like`: with the key of another. */
function authority(commonName: string, issuer?: Issued, like?: Issued, notAfter = LATER) {
  return issue({
    ...{ commonName, authority: true, notBefore: BEFORE, notAfter },
    ...(issuer && { issuer }),
    ...(like && { key: like }),
  })
}

async function listOf(revoked: Certificate): Promise<RevocationAnswers> {
  const issuer = await ca()
  const der = await makeCrlDer({
    issuer: issuer.subject,
    issuerKey: issuer,
    thisUpdate: new Date('2026-11-20T00:00:00Z'),
    nextUpdate: new Date('2026-11-27T00:00:00Z'),
    entries: [crlEntry(revoked.serialNumber, new Date('2026-11-19T00:00:00Z'), 1)],
  })
  return statusByCrls([await parseCrl(der)], [])
}
