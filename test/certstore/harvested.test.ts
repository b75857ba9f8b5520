import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type HarvestedOptions, openHarvested } from '../../src/certstore/harvested.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { openSqliteStore } from '../../src/certstore/store.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import type { Log } from '../../src/log.ts'
import { silentLog } from '../../src/log.ts'
import { box, NEVER, NOW, person } from './people.ts'

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
  const offer = (certificate: Certificate, signedAt = state.now, mailbox = ann) =>
    harvested.offer({ mailbox, certificate, signedAt: new Date(signedAt) })
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

  test('a store that cannot be read is silence', async () => {
    const { harvested } = open()
    harvested.close?.()
    await expect(harvested.find(ann, NEVER)).rejects.toThrow(CertificateSourceUnavailable)
  })
})
