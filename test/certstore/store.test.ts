import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openSqliteStore } from '../../src/certstore/store.ts'
import { temporaryFolder } from './people.ts'
import { storeConformance } from './store-conformance.ts'

const MODULE = new URL('../../src/certstore/store.ts', import.meta.url)

storeConformance({
  name: 'SQLite',
  place: async () => join(await temporaryFolder(), 'certificates.db'),
  open: openSqliteStore,
  module: `import { openSqliteStore as open } from ${JSON.stringify(MODULE.href)}`,
})

test('a file that is no database, and a folder that is not there, are told with their name', async () => {
  const folder = await temporaryFolder()
  const file = join(folder, 'certificates.db')
  await writeFile(file, 'x'.repeat(5000))
  expect(() => openSqliteStore(file)).toThrow('the certificate store cannot be used')
  expect(() => openSqliteStore(join(folder, 'none', 'x.db'))).toThrow(
    expect.objectContaining({
      code: 'ERR_STORE',
      cause: expect.objectContaining({ message: expect.stringContaining(folder) }),
    }),
  )
})
