import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  certificateToOffer,
  type HarvestedOptions,
  openHarvested,
} from '../../src/certstore/harvested.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { openSqliteStore } from '../../src/certstore/store.ts'
import type { Capabilities } from '../../src/crypto/cms/capabilities.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import type { KeyUsage } from '../../src/crypto/x509/extensions.ts'
import { type IssueOptions, issue } from '../../src/crypto/x509/issue.ts'
import type { Log } from '../../src/log.ts'
import { silentLog } from '../../src/log.ts'
import { box, ca, LATER, NEVER, NOW, person } from './people.ts'

const HOUR = 3_600_000
const ann = box('ann@partner.test')
let first: Certificate
let renewed: Certificate
let other: Certificate[]
beforeAll(async () => {
  const issued = await person('ann@partner.test')
  first = parseCertificate(issued.der)
  renewed = parseCertificate((await person('ann@partner.test', { key: issued })).der)
  other = []
  for (let number = 0; number < 5; number++)
    other.push(parseCertificate((await person('Ann@Partner.test')).der))
})

function open(options: Partial<HarvestedOptions> = {}) {
  const state = { now: NOW.getTime() }
  const lines: string[] = []
  const log: Log = { ...silentLog, warn: event => void lines.push(event) }
  const harvested = openHarvested({
    store: openSqliteStore(':memory:'),
    ownDomains: new Set(['example.test']),
    clock: () => state.now,
    log,
    ...options,
  })
  onTestFinished(() => harvested.close?.())
  const offer = (
    certificate: Certificate,
    signedAt = state.now,
    mailbox = ann,
    capabilities?: Capabilities,
  ) => harvested.offer({ mailbox, certificate, signedAt: new Date(signedAt), capabilities })
  const found = async () =>
    (await harvested.find(ann, NEVER)).map(({ certificate }) => certificate.fingerprint)
  return { state, lines, harvested, offer, found }
}

describe('harvested', () => {
  test('the first certificate of a mailbox is used, and known from then on', async () => {
    const { harvested, offer, found } = open()
    expect(await found()).toEqual([])
    expect(await offer(first)).toEqual({ kind: 'stored' })
    expect(await found()).toEqual([first.fingerprint])
    expect(await offer(first)).toEqual({ kind: 'known' })
    const [one] = await harvested.find(box('ANN@partner.test'), NEVER)
    expect(one).toMatchObject({ source: 'harvested', via: 'address' })
  })

  test('B45 a changed key waits a day, with an alert; approval makes it shorter', async () => {
    const { state, lines, harvested, offer, found } = open()
    await offer(first)
    state.now += HOUR
    expect(await offer(other[0]!)).toEqual({ kind: 'waiting' })
    expect(lines).toEqual(['harvested-certificate-changed'])
    expect(await found()).toEqual([first.fingerprint])
    state.now += 24 * HOUR - 1
    expect(await found()).toHaveLength(1)
    state.now += 1
    expect(await found()).toHaveLength(2)
    state.now += HOUR
    await offer(other[1]!)
    expect(await found()).toHaveLength(2)
    expect(await harvested.approve(ann, other[1]!.fingerprint)).toBe(true)
    expect(await found()).toHaveLength(3)
  })

  test('B45 without a waiting time only approval counts', async () => {
    const { state, offer, found } = open({ waitMs: null })
    await offer(first)
    await offer(other[0]!, state.now + 1)
    state.now += 1000 * 24 * HOUR
    expect(await found()).toEqual([first.fingerprint])
  })

  test('B45 a key that waits vouches for no other', async () => {
    const { state, offer, found } = open()
    const waiting = await person('ann@partner.test')
    const second = parseCertificate((await person('ann@partner.test', { key: waiting })).der)
    await offer(first)
    await offer(parseCertificate(waiting.der), state.now + 1)
    expect(await offer(second, state.now + 2)).toEqual({ kind: 'waiting' })
    expect(await found()).toEqual([first.fingerprint])
  })

  test('complaint 20: a renewal with the same key is used at once', async () => {
    const { state, offer, found } = open()
    await offer(first)
    expect(await offer(renewed, state.now + 1)).toEqual({ kind: 'stored' })
    expect(await found()).toHaveLength(2)
  })

  test.each<[string, () => ReturnType<ReturnType<typeof open>['offer']>, string]>([
    ['of ours', () => open().offer(first, undefined, box('boss@example.test')), 'one of ours'],
    [
      'of another',
      () => open().offer(first, undefined, box('bob@partner.test')),
      'another address',
    ],
    [
      'that only signs',
      async () => {
        const signing = await person('ann@partner.test', { keyUsage: ['digitalSignature'] })
        return open().offer(parseCertificate(signing.der))
      },
      'nothing can be encrypted',
    ],
    ['of tomorrow', () => open().offer(first, NOW.getTime() + HOUR), 'in the future'],
    [
      'older',
      async () => {
        const { state, offer } = open()
        await offer(first)
        return offer(other[0]!, state.now - 1)
      },
      'a newer certificate is known',
    ],
  ])('B45 refused: %s', async (_, offered, reason) => {
    expect(await offered()).toEqual({ kind: 'refused', reason: expect.stringContaining(reason) })
  })

  test('B45 a mailbox brings no more than three new ones a day', async () => {
    const { state, offer } = open()
    const kinds: string[] = []
    for (const certificate of [first, ...other]) {
      state.now += 1000
      kinds.push((await offer(certificate)).kind)
    }
    expect(kinds).toEqual(['stored', 'waiting', 'waiting', 'refused', 'refused', 'refused'])
    state.now += 24 * HOUR
    expect((await offer(other[4]!)).kind).toBe('waiting')
  })

  test('B45 history tells all, and what was taken out stays out until it is approved', async () => {
    const { state, harvested, offer, found } = open()
    await offer(first)
    expect(await harvested.remove(ann, first.fingerprint)).toBe(true)
    expect(await harvested.remove(ann, 'none')).toBe(false)
    expect(await found()).toEqual([])
    state.now += HOUR
    expect(await offer(first)).toMatchObject({ kind: 'refused' })
    expect(await offer(other[0]!)).toEqual({ kind: 'waiting' })
    expect(await harvested.approve(ann, first.fingerprint)).toBe(true)
    expect(await found()).toEqual([first.fingerprint])
    const { history } = await harvested.record(ann)
    expect(history.map(({ event }) => event)).toEqual(['stored', 'removed', 'waiting', 'approved'])
  })

  test('B45 what waits is told: since when, until when, and what it would replace', async () => {
    const { state, harvested, offer } = open()
    expect(await harvested.pending()).toEqual([])
    await offer(first)
    state.now += HOUR
    await offer(other[0]!)
    expect(await harvested.pending()).toEqual([
      {
        matchKey: 'ann@partner.test',
        certificate: other[0],
        since: state.now,
        usableFrom: state.now + 24 * HOUR,
        inUse: first,
        isOfNewIssuer: false,
      },
    ])
    await harvested.remove(ann, first.fingerprint)
    expect(await harvested.pending()).toMatchObject([{ inUse: undefined }])
    state.now += 24 * HOUR
    expect(await harvested.pending()).toEqual([])
  })

  test('in use is the newest whose time it is', async () => {
    const { state, harvested, offer } = open({ perDay: 9 })
    const withLife = async (notBefore: string, notAfter = LATER) =>
      parseCertificate(
        (await person('ann@partner.test', { notBefore: new Date(notBefore), notAfter })).der,
      )
    const over = await withLife('2026-06-01', new Date('2026-11-01'))
    const early = await withLife('2027-01-01')
    for (const one of [first, over, early]) {
      await offer(one, state.now++)
      await harvested.approve(ann, one.fingerprint)
    }
    await offer(other[0]!)
    expect(await harvested.pending()).toMatchObject([{ certificate: other[0], inUse: first }])
  })

  test('B49 another issuer of a known mailbox is told', async () => {
    const { state, lines, harvested, offer } = open()
    const stranger = await issue({
      commonName: 'Other\u202e Authority',
      authority: true,
      notBefore: new Date('2025-01-01'),
      notAfter: LATER,
    })
    const issued = parseCertificate((await person('ann@partner.test', { issuer: stranger })).der)
    await offer(first)
    await offer(issued, state.now + 1)
    await offer(issued, state.now + 2)
    const told = ['harvested-certificate-changed', 'harvested-issuer-changed']
    expect(lines).toEqual(told)
    expect(await harvested.pending()).toMatchObject([{ isOfNewIssuer: true }])

    const again = parseCertificate((await person('ann@partner.test', { issuer: stranger })).der)
    await harvested.remove(ann, issued.fingerprint)
    await offer(again, state.now + 3)
    expect(lines).toEqual([...told, ...told])
    expect(await harvested.pending()).toMatchObject([{ isOfNewIssuer: true }])
  })

  test('a store that cannot be read is silence', async () => {
    const { harvested } = open()
    harvested.close?.()
    await expect(harvested.find(ann, NEVER)).rejects.toThrow(CertificateSourceUnavailable)
  })
})

describe('B45 which certificate of a message is taken', () => {
  let issuer: Certificate
  beforeAll(async () => {
    issuer = parseCertificate((await ca()).der)
  })
  const certificateOf = async (address: string, options: Partial<IssueOptions> = {}) =>
    parseCertificate((await person(address, options)).der)

  test('the one that the signer prefers, where it is his and of his issuer', async () => {
    const signer = await certificateOf('ann@partner.test', { keyUsage: ['digitalSignature'] })
    expect(certificateToOffer(signer, first, ann, issuer)).toBe(first)
    expect(certificateToOffer(signer, undefined, ann, issuer)).toBeUndefined()
    expect(certificateToOffer(first, undefined, ann, issuer)).toBe(first)
  })

  test('none of another address, or of another issuer', async () => {
    const victim = await certificateOf('boss@other.test')
    expect(certificateToOffer(first, victim, ann, issuer)).toBe(first)
    const stranger = await issue({
      ...{ commonName: 'Stranger', authority: true },
      ...{ notBefore: new Date('2025-01-01'), notAfter: LATER },
    })
    const foreign = await certificateOf('ann@partner.test', { issuer: stranger })
    expect(certificateToOffer(first, foreign, ann, issuer)).toBe(first)
  })

  test('none that merely says that it is of that issuer, whatever its number', async () => {
    const { subject } = await ca()
    const stranger = await issue({
      ...{ commonName: 'Stranger', authority: true },
      ...{ notBefore: new Date('2025-01-01'), notAfter: LATER },
    })
    const { serialNumber } = first
    const forged = await certificateOf('ann@partner.test', {
      ...{ issuer: { ...stranger, subject }, serialNumber },
    })
    expect(forged.issuer).toEqual(first.issuer)
    expect(certificateToOffer(first, forged, ann, issuer)).toBe(first)
    expect(certificateToOffer(first, renewed, ann, undefined)).toBe(first)
  })

  test('none to which nothing can be encrypted', async () => {
    const usages: readonly KeyUsage[][] = [['digitalSignature'], ['nonRepudiation']]
    for (const keyUsage of usages) {
      const signing = await certificateOf('ann@partner.test', { keyUsage })
      expect(certificateToOffer(signing, signing, ann, issuer)).toBeUndefined()
    }
    const key = generateKeyPairSync('ed25519')
    const edwards = await certificateOf('ann@partner.test', { key, keyUsage: [] })
    expect(certificateToOffer(edwards, undefined, ann, issuer)).toBeUndefined()
  })
})

describe('B45 undo', () => {
  test('the last change goes, and the one before is used again', async () => {
    const { state, harvested, offer, found } = open()
    await offer(first)
    state.now += 1000
    await offer(other[0]!)
    state.now += 24 * HOUR
    expect(await found()).toHaveLength(2)
    expect(await harvested.undo(ann)).toMatchObject({ event: 'waiting' })
    expect(await found()).toEqual([first.fingerprint])
    expect(await offer(other[0]!)).toMatchObject({ kind: 'refused' })
    expect(await harvested.undo(ann)).toMatchObject({ event: 'stored' })
    expect(await found()).toEqual([])
    expect(await harvested.undo(ann)).toBeUndefined()
    const { history } = await harvested.record(ann)
    expect(history.map(({ event }) => event)).toEqual(['stored', 'waiting', 'undone', 'undone'])
  })

  test('what was taken out comes back', async () => {
    const { harvested, offer, found } = open()
    await offer(first)
    await harvested.remove(ann, first.fingerprint)
    await harvested.remove(ann, first.fingerprint)
    await harvested.undo(ann)
    expect(await found()).toEqual([first.fingerprint])
  })

  test('what was approved waits again, for approval alone; what had been taken out goes', async () => {
    const { state, harvested, offer, found } = open()
    await offer(first)
    await offer(other[0]!, state.now + 1)
    await harvested.approve(ann, other[0]!.fingerprint)
    await harvested.approve(ann, other[0]!.fingerprint)
    expect(await found()).toHaveLength(2)
    await harvested.undo(ann)
    state.now += 48 * HOUR
    expect(await found()).toEqual([first.fingerprint])
    expect(await harvested.pending()).toMatchObject([{ usableFrom: null }])

    await harvested.remove(ann, first.fingerprint)
    await harvested.approve(ann, first.fingerprint)
    expect(await found()).toEqual([first.fingerprint])
    await harvested.undo(ann)
    expect(await found()).toEqual([])
    expect(await harvested.undo(ann)).toMatchObject({ event: 'removed' })
    expect(await found()).toEqual([first.fingerprint])
  })

  test('whatever was done, as many undos lead back to where nothing is used', async () => {
    const steps = fc.array(
      fc.tuple(fc.constantFrom('offer', 'approve', 'remove', 'undo'), fc.nat(4)),
    )
    await fc.assert(
      fc.asyncProperty(steps, async chosen => {
        const { state, harvested, offer, found } = open({ perDay: 100 })
        for (const [step, which] of chosen) {
          state.now += HOUR
          const certificate = other[which]!
          if (step === 'offer') await offer(certificate)
          else if (step === 'undo') await harvested.undo(ann)
          else await harvested[step](ann, certificate.fingerprint)
        }
        for (let left = chosen.length; left > 0; left--) await harvested.undo(ann)
        expect(await found()).toEqual([])
        expect(await harvested.undo(ann)).toBeUndefined()
      }),
      { numRuns: 50 },
    )
  })
})

describe('RFC 8551 §2.7.1 capabilities', () => {
  const gcm = [{ oid: '2.16.840.1.101.3.4.1.46', parameters: undefined }]
  const cbc = [{ oid: '2.16.840.1.101.3.4.1.2', parameters: Buffer.from('0500', 'hex') }]

  test('stand beside the certificate, and a later signature alone changes them', async () => {
    const { state, harvested, offer } = open()
    const told = async () => (await harvested.find(ann, NEVER))[0]!.capabilities
    await offer(first, state.now, ann, cbc)
    expect(await told()).toEqual(cbc)
    await offer(first, state.now - 1, ann, gcm)
    await offer(first, state.now, ann, gcm)
    expect(await told()).toEqual(cbc)
    await offer(first, state.now + 1, ann, gcm)
    expect(await told()).toEqual(gcm)
    await offer(first, state.now + 2)
    await offer(first, state.now + 3, ann, [])
    expect(await told()).toEqual(gcm)
    await offer(first, state.now + 2, ann, cbc)
    expect(await told()).toEqual(gcm)
  })

  test('B45 one of tomorrow changes nothing', async () => {
    const { state, harvested, offer } = open()
    await offer(first, state.now, ann, gcm)
    expect(await offer(first, state.now + HOUR, ann, cbc)).toMatchObject({ kind: 'refused' })
    expect((await harvested.find(ann, NEVER))[0]!.capabilities).toEqual(gcm)
  })

  test('whoever has told of none has none', async () => {
    const { harvested, offer } = open()
    await offer(first)
    expect(await harvested.find(ann, NEVER)).toEqual([
      { certificate: first, source: 'harvested', via: 'address' },
    ])
  })
})

test('B45 the harvest is a source of last resort', () => {
  expect(open().harvested.isLastResort).toBe(true)
})
