import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openDomain } from '../../src/certstore/domain.ts'
import { openFiles } from '../../src/certstore/files.ts'
import { askInOrder, CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { box, ca, certsOnly, NEVER, person, temporaryFolder } from './people.ts'

async function house(...own: string[]) {
  const folder = await temporaryFolder()
  for (const address of own)
    await writeFile(join(folder, `${address}.cer`), (await person(address)).der)
  const gateway = await person('gateway@partner.test')
  const file = join(folder, 'partner.p7b')
  await writeFile(file, certsOnly(gateway.der, (await ca()).der))
  const domain = openDomain({ domain: 'partner.test', files: file })
  const people = openFiles({ files: folder })
  onTestFinished(() => {
    domain.close?.()
    people.close()
  })
  return { domain, people }
}

test("field 14: one certificate for everybody of a domain, not for those below it, not the authority's", async () => {
  const { domain } = await house()
  expect(await domain.find(box('Ann@PARTNER.test'), NEVER)).toMatchObject([
    {
      source: 'domain:partner.test',
      via: 'domain',
      certificate: { addresses: ['gateway@partner.test'] },
    },
  ])
  expect(await domain.find(box('ann@sub.partner.test'), NEVER)).toEqual([])
  expect(await domain.find(box('ann@example.test'), NEVER)).toEqual([])
  expect([...domain.intermediates!()]).toHaveLength(1)
})

test("field 14: a person's own is preferred, wherever it stands", async () => {
  const { domain, people } = await house('ann@partner.test')
  const both = askInOrder([domain, people])
  const found = await both.find(box('ann@partner.test'), NEVER)
  expect(found.map(({ via }) => via)).toEqual(['domain', 'address'])
  expect(await both.find(box('bob@partner.test'), NEVER)).toMatchObject([{ via: 'domain' }])
})

test('a file that is not there is silence for this domain, and says nothing of others', async () => {
  const domain = openDomain({
    domain: 'partner.test',
    files: join(await temporaryFolder(), 'x.pem'),
  })
  await expect(domain.find(box('ann@partner.test'), NEVER)).rejects.toThrow(
    CertificateSourceUnavailable,
  )
  expect(await domain.find(box('ann@example.test'), NEVER)).toEqual([])
})

test('B69 a file of which nothing can be read is silence for this domain, an empty folder is none', async () => {
  const folder = await temporaryFolder()
  const domain = openDomain({ domain: 'partner.test', files: folder })
  onTestFinished(() => domain.close?.())
  expect(await domain.find(box('ann@partner.test'), NEVER)).toEqual([])
  const damaged = openDomain({ domain: 'partner.test', files: join(folder, 'gateway.pem') })
  onTestFinished(() => damaged.close?.())
  await writeFile(join(folder, 'gateway.pem'), '-----BEGIN CERTIFICATE-----\nMIIB')
  await expect(damaged.find(box('ann@partner.test'), NEVER)).rejects.toThrow(
    CertificateSourceUnavailable,
  )
  expect(await damaged.find(box('ann@example.test'), NEVER)).toEqual([])
})
