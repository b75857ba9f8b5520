/** A directory that holds very many certificates for one address. @module */
import { beforeAll, expect, test } from 'vitest'
import { createDirectory } from '../../src/certstore/directory.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import type { Issued } from '../../src/crypto/x509/issue.ts'
import { box, ca, NEVER, NOW, person } from './people.ts'

let one: Issued
beforeAll(async () => {
  one = await person('ann@partner.test')
})

test('B39 the newest are looked at, and no more than a message may cost', async () => {
  const many = await certificates(150, index => ({ notBefore: day(index) }))
  const found = await search(many)
  expect(found).toMatchObject({ kind: 'valid', certificate: { notBefore: day(149) } })
  expect(found.considered).toHaveLength(100)
})

test('B69 where none of those is of use, the others were not asked: that is no answer', async () => {
  const over = { notAfter: new Date('2026-01-01T00:00:00Z') }
  const many = await certificates(100, () => ({ ...over, notBefore: day(9) }))
  expect(await search(many)).toMatchObject({ kind: 'invalid' })
  many.push(parseCertificate(one.der))
  expect(await search(many)).toMatchObject({
    kind: 'unknown',
    reason: expect.stringContaining('too many'),
  })
})

async function certificates(
  count: number,
  options: (index: number) => Parameters<typeof person>[1],
): Promise<Certificate[]> {
  const made = Array.from({ length: count }, (_, index) =>
    person('ann@partner.test', { key: one, ...options(index) }),
  )
  return (await Promise.all(made)).map(({ der }) => parseCertificate(der))
}

async function search(certificates: readonly Certificate[]) {
  const found = certificates.map(certificate => ({
    certificate,
    source: 'many',
    via: 'address' as const,
  }))
  const anchors = [parseCertificate((await ca()).der)]
  const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
  const source = { name: 'many', find: async () => found }
  return createDirectory([source], trust, () => NOW).search(box('ann@partner.test'), NEVER)
}

function day(index: number): Date {
  return new Date(Date.UTC(2025, 5, 1 + index))
}
