/** Belief: what is no verdict on a certificate must not become one. @module */
import { beforeAll, describe, expect, test } from 'vitest'
import {
  type Trust,
  validateForEncryption,
  validateForVerification,
} from '../../src/certstore/validate.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import { pathBudget } from '../../src/crypto/x509/path-budget.ts'
import { ca, LATER, NOW, person } from './people.ts'

let trust: Trust
let between: Issued
let leaf: Certificate

beforeAll(async () => {
  trust = {
    anchors: [parseCertificate((await ca()).der)],
    intermediates: [],
    revocationMode: 'off',
  }
  between = await authority('Issuing Authority', await ca())
  leaf = parseCertificate((await person('ann@partner.test', { issuer: between })).der)
})

describe('B39 B69 a maze that others lay out', () => {
  test('a budget that runs out is no verdict: nobody is written to in clear for it', async () => {
    const namesakes = await Promise.all(
      Array.from({ length: 130 }, async () =>
        parseCertificate((await authority('Issuing Authority', undefined, between)).der),
      ),
    )
    const honest = parseCertificate(between.der)
    expect(await believe([...namesakes.slice(0, 20), honest])).toMatchObject({ kind: 'valid' })
    expect(await believe([...namesakes, honest])).toMatchObject({ kind: 'unknown' })
  })

  test('an authority that is not there is a verdict', async () => {
    expect(await believe([])).toMatchObject({ kind: 'invalid' })
  })
})

test('B40 a key that cannot be read is a reason, and stops nobody else', async () => {
  const { der } = await person('ann@partner.test')
  const curve = Buffer.from('06082a8648ce3d030107', 'hex')
  const damaged = Buffer.from(der)
  damaged[damaged.indexOf(curve) + 9] = 0x70
  const certificate = parseCertificate(damaged)
  const reason = expect.stringContaining('cannot be read')
  expect(await validateForEncryption(certificate, trust, [], NOW)).toEqual({
    kind: 'invalid',
    reason,
  })
  expect(await validateForVerification(certificate, trust, [], NOW)).toEqual({
    kind: 'invalid',
    reason: 'key-refused',
    detail: reason,
  })
})

test('B39 candidates of one search share a budget', async () => {
  const budget = pathBudget({ signatures: 1 })
  const anchored = parseCertificate((await person('ann@partner.test')).der)
  const [one, other] = [
    await validateForEncryption(anchored, trust, [], NOW, budget),
    await validateForEncryption(anchored, trust, [], NOW, budget),
  ]
  expect([one.kind, other.kind]).toEqual(['valid', 'unknown'])
})

function believe(beside: readonly Certificate[]) {
  return validateForEncryption(leaf, trust, beside, NOW)
}

/** Certificates of one name; `like`: with the key of another, and so with its key identifier. */
function authority(commonName: string, issuer?: Issued, like?: Issued): Promise<Issued> {
  return issue({
    commonName,
    authority: true,
    notBefore: new Date('2025-01-01T00:00:00Z'),
    notAfter: LATER,
    ...(issuer && { issuer }),
    ...(like && { key: like }),
  })
}
