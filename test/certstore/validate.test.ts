/** Belief: what is no verdict on a certificate must not become one. @module */
import { beforeAll, describe, expect, test } from 'vitest'
import { type Trust, validateForEncryption } from '../../src/certstore/validate.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
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
