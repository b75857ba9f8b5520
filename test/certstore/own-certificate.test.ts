/** Which of our own certificates a copy for the author is encrypted to. @module */
import { describe, expect, test } from 'vitest'
import { Identities, type Identity } from '../../src/certstore/identities.ts'
import { ownCertificateFor } from '../../src/certstore/own-certificate.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type IssueOptions, makeKeyPair } from '../../src/crypto/x509/issue.ts'
import { box, LATER, NOW, person } from './people.ts'

const ANN = 'ann@example.test'

describe('of an own identity', () => {
  test.each<[string, Partial<IssueOptions>, boolean]>([
    ['for mail', {}, true],
    ['for any purpose', { extendedKeyUsage: ['2.5.29.37.0'] }, true],
    ['that does not say what for', { extendedKeyUsage: [], keyUsage: [] }, true],
    ['for servers', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }, false],
    ['for signatures', { keyUsage: ['digitalSignature'] }, false],
    ['for another kind of encryption', { keyUsage: ['keyEncipherment'] }, false],
    ['that has expired', { notAfter: new Date(NOW.getTime() - 1000) }, false],
    ['whose time has not come', { notBefore: new Date(NOW.getTime() + 1000) }, false],
  ])('the certificate %s', async (_, options, isFit) => {
    const one = await identity(options)
    const found = ownCertificateFor(new Identities([one]), box(ANN), NOW)
    expect(found).toBe(isFit ? one.certificate : undefined)
  })

  test('none whose key only signs', async () => {
    const one = await identity({ key: await makeKeyPair('ed25519'), keyUsage: [] })
    expect(ownCertificateFor(new Identities([one]), box(ANN), NOW)).toBeUndefined()
  })

  test('the newest of the mailbox, else that of its domain', async () => {
    const [old, fresh] = [await identity({}), await identity({ notBefore: new Date('2026-01-01') })]
    const all = await identity({ notBefore: new Date('2026-06-01') }, '@example.test')
    expect(ownCertificateFor(new Identities([old, all, fresh]), box(ANN), NOW)).toBe(
      fresh.certificate,
    )
    expect(ownCertificateFor(new Identities([old, all]), box('bo@example.test'), NOW)).toBe(
      all.certificate,
    )
  })
})

async function identity(options: Partial<IssueOptions>, name = ANN): Promise<Identity> {
  const { der, privateKey } = await person(ANN, { notAfter: LATER, ...options })
  const certificate = parseCertificate(der)
  const rest = { path: [], signer: undefined, unusable: 'not asked' }
  return { label: name, file: '/', certificate, privateKey, names: [name], ...rest }
}
