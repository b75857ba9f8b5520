/** What the organisation believes, by its files; and what may be said where one could not be read. @module */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readTrust } from '../../src/certstore/trust.ts'
import { validateForEncryption } from '../../src/certstore/validate.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem, issue } from '../../src/crypto/x509/issue.ts'
import { ca, LATER, NOW, person, temporaryFolder } from './people.ts'

describe('B69 an anchor that could not be read is no stranger', () => {
  test.each([
    ['the folder is not there', async (path: string) => join(path, 'nowhere')],
    [
      'the file is cut off',
      async (path: string) => {
        const pem = certificatePem((await ca()).der)
        await writeFile(join(path, 'ca.pem'), pem.slice(0, pem.length / 2))
        return path
      },
    ],
    [
      'what bears its name cannot be read at all',
      async (path: string) => {
        await mkdir(join(path, 'ca.pem'))
        return path
      },
    ],
  ])('%s', async (_, make) => {
    const trusted = await make(await temporaryFolder())
    expect(await beliefBy(trusted)).toMatchObject({
      kind: 'unknown',
      reason: expect.stringContaining('could be read'),
    })
  })

  test('what is wrong with a certificate itself is said all the same', async () => {
    const missing = join(await temporaryFolder(), 'nowhere')
    const options = { notAfter: new Date('2026-01-01T00:00:00Z') }
    expect(await beliefBy(missing, options)).toMatchObject({ kind: 'invalid' })
  })

  test('one that is nobody to us stays a stranger', async () => {
    const folder = await temporaryFolder()
    const stranger = await issue({
      commonName: 'Stranger',
      authority: true,
      notBefore: new Date('2025-01-01T00:00:00Z'),
      notAfter: LATER,
    })
    await writeFile(join(folder, 'ca.cer'), (await ca()).der)
    expect(await beliefBy(folder)).toMatchObject({ kind: 'valid' })
    expect(await beliefBy(folder, { issuer: stranger })).toMatchObject({ kind: 'invalid' })
  })
})

test('B43 a damaged revocation list is told, and takes no anchor with it', async () => {
  const folder = await temporaryFolder()
  await writeFile(join(folder, 'ca.cer'), (await ca()).der)
  await writeFile(join(folder, 'list.crl'), Buffer.from('300a3003020101', 'hex'))
  const { trust, faults } = await readTrust([folder], 'off')
  expect(trust.anchors).toHaveLength(1)
  expect(faults).toEqual([expect.stringContaining('list.crl')])
})

async function beliefBy(trusted: string, options: Parameters<typeof person>[1] = {}) {
  const { trust } = await readTrust([trusted], 'off')
  const { der } = await person('ann@partner.test', options)
  return validateForEncryption(parseCertificate(der), trust, [], NOW)
}
