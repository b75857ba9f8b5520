/** What is pinned, and several devices of one recipient. @module */
import { beforeAll, describe, expect, test } from 'vitest'
import { type Choosing, createDirectory } from '../../src/certstore/directory.ts'
import type { Pin } from '../../src/certstore/pins.ts'
import { CertificateSourceUnavailable, type Found } from '../../src/certstore/resolver.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import { box, ca, LATER, NEVER, NOW, person } from './people.ts'

const ANN = 'ann@partner.test'
const BEFORE = new Date('2025-01-01T00:00:00Z')
let root: Certificate
/** Two authorities below the root, and a certificate of Ann's by each; the second is newer. */
let authorities: Issued[]
let certificates: Certificate[]

beforeAll(async () => {
  root = parseCertificate((await ca()).der)
  authorities = await Promise.all(
    ['One', 'Two'].map(async commonName =>
      issue({
        commonName,
        authority: true,
        issuer: await ca(),
        notBefore: BEFORE,
        notAfter: LATER,
      }),
    ),
  )
  certificates = await Promise.all(
    authorities.map(async (issuer, at) => {
      const notBefore = new Date(Date.UTC(2025, 1 + at))
      return parseCertificate((await person(ANN, { issuer, notBefore })).der)
    }),
  )
})

function search(
  found: readonly Certificate[],
  choosing: Choosing,
  { via = 'address', address = ANN }: { via?: Found['via']; address?: string } = {},
) {
  const beside = authorities.map(({ der }) => parseCertificate(der))
  const source = {
    name: 'test',
    find: async () => found.map(certificate => ({ certificate, source: 'test', via, beside })),
  }
  const trust = { anchors: [root], intermediates: [], revocationMode: 'off' as const }
  return createDirectory([source], trust, () => NOW, choosing).search(box(address), NEVER)
}

const pinsTo = (...pins: Pin[]): Choosing => ({ pins })
const authority = (at: number) => [parseCertificate(authorities[at]!.der)]

describe('B49 pins', () => {
  test('without one the newest is chosen', async () => {
    expect(await search(certificates, {})).toMatchObject({ certificate: certificates[1] })
  })

  test('the certificate that is pinned, however new another is', async () => {
    const pin = { address: 'ANN@partner.test', fingerprint: certificates[0]!.fingerprint }
    const found = await search(certificates, pinsTo(pin))
    expect(found).toMatchObject({
      kind: 'valid',
      certificate: certificates[0],
      pinned: `the address is pinned to certificate ${pin.fingerprint}`,
    })
    expect(found.considered[1]!.belief).toMatchObject({
      kind: 'invalid',
      reason: expect.stringMatching(
        /^the address is pinned to certificate .*, and this is another$/,
      ),
    })
  })

  test('one below the authority that is pinned for the domain', async () => {
    const pin = { address: '@partner.test', authorities: authority(0) }
    expect(await search(certificates, pinsTo(pin))).toMatchObject({
      kind: 'valid',
      certificate: certificates[0],
      pinned: '@partner.test is pinned to what CN=One stands above',
    })
  })

  test.each<[string, Found['via']]>([
    ["a person's own", 'address'],
    ['for the whole domain', 'domain'],
  ])('what does not meet a pin never counts as none: %s', async (_, via) => {
    const pin = { address: '@partner.test', authorities: authority(0) }
    expect(await search([certificates[1]!], pinsTo(pin), { via })).toMatchObject({
      kind: 'unknown',
      reason: expect.stringMatching(/^@partner\.test is pinned to what CN=One stands above; /),
    })
  })

  test('neither does nothing at all, nor a pinned one that is over or that nobody vouches for', async () => {
    const pin = { address: ANN, fingerprint: certificates[0]!.fingerprint }
    expect(await search([], pinsTo(pin))).toMatchObject({ kind: 'unknown' })
    const over = parseCertificate((await person(ANN, { notAfter: new Date('2026-01-01') })).der)
    const own = parseCertificate((await person(ANN, { issuer: undefined as never })).der)
    for (const certificate of [over, own]) {
      const found = await search(
        [certificate],
        pinsTo({ ...pin, fingerprint: certificate.fingerprint }),
      )
      expect(found).toMatchObject({
        kind: 'unknown',
        considered: [{ belief: { kind: 'invalid' } }],
      })
    }
  })

  test('an authority that cannot be read is met by nobody', async () => {
    const pin = { address: '@partner.test', authorities: [] }
    expect(await search(certificates, pinsTo(pin))).toMatchObject({ kind: 'unknown' })
  })

  test("a person's own pin takes the place of the domain's; others are not bound by it", async () => {
    const domain = { address: '@partner.test', authorities: authority(0) }
    const own = { address: ANN, fingerprint: certificates[1]!.fingerprint }
    expect(await search(certificates, pinsTo(domain, own))).toMatchObject({
      certificate: certificates[1],
    })
    expect(await search([], pinsTo(own), { address: 'bob@partner.test' })).toMatchObject({
      kind: 'none',
    })
  })

  test('of several pins one has to be met', async () => {
    const pins = [0, 1].map(at => ({ address: '@partner.test', authorities: authority(at) }))
    expect(await search(certificates, pinsTo(...pins))).toMatchObject({
      certificate: certificates[1],
    })
  })

  test('B39 a flood of newer ones does not keep the pinned one out', async () => {
    const key = await person(ANN)
    const flood = await Promise.all(
      Array.from({ length: 120 }, (_, at) =>
        person(ANN, { key, notBefore: new Date(Date.UTC(2026, 1, 1, 0, at)) }),
      ),
    )
    const all = [...flood.map(({ der }) => parseCertificate(der)), certificates[0]!]
    const pin = { address: ANN, fingerprint: certificates[0]!.fingerprint }
    expect(await search(all, pinsTo(pin))).toMatchObject({ certificate: certificates[0] })
  })
})

describe('several devices of one recipient', () => {
  test('the newest alone, unless all are wished for', async () => {
    const one = await search(certificates, {})
    expect(one).not.toHaveProperty('others')
    const over = parseCertificate((await person(ANN, { notAfter: new Date('2026-01-01') })).der)
    const all = await search([...certificates, over, certificates[1]!], { devices: 'all' })
    expect(all).toMatchObject({ certificate: certificates[1], others: [certificates[0]] })
  })

  test('never against a pin, never those of a domain', async () => {
    const pin = { address: ANN, fingerprint: certificates[0]!.fingerprint }
    expect(await search(certificates, { devices: 'all', pins: [pin] })).toMatchObject({
      certificate: certificates[0],
      others: [],
    })
    const domain = await search(certificates, { devices: 'all' }, { via: 'domain' })
    expect(domain).not.toHaveProperty('others')
  })
})

test('an incomplete answer is of use where it holds a valid certificate, and is no answer else', async () => {
  const over = parseCertificate((await person(ANN, { notAfter: new Date('2026-01-01') })).der)
  const ask = (certificate: Certificate) => {
    const partial: Found[] = [{ certificate, source: 'test', via: 'address' }]
    const find = async () => {
      throw new CertificateSourceUnavailable('test', { cause: new Error('cut off'), partial })
    }
    const trust = { anchors: [root], intermediates: [], revocationMode: 'off' as const }
    return createDirectory([{ name: 'test', find }], trust, () => NOW).search(box(ANN), NEVER)
  }
  expect(await ask(parseCertificate((await person(ANN)).der))).toMatchObject({ kind: 'valid' })
  expect(await ask(over)).toMatchObject({ kind: 'unknown', silence: 'cut off' })
})
