import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { openSqliteStore } from '../../src/certstore/store.ts'
import { temporaryFolder } from './people.ts'
import { certificateOf, storeConformance } from './store-conformance.ts'

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

test('a file of an older release opens with all that it holds, in two processes at once', async () => {
  const file = join(await temporaryFolder(), 'certificates.db')
  const older = new DatabaseSync(file)
  older.exec(OLDER)
  older.close()
  const stores = [openSqliteStore(file), openSqliteStore(file)]
  for (const store of stores) {
    const { certificates, history } = await store.read('ann@partner.test')
    expect(certificates).toEqual([
      {
        ...{ fingerprint: 'f1', der: Buffer.from([0x30, 0]), firstSeen: 1, signedAt: 2 },
        ...{ usableFrom: 3, removedAt: null, capabilities: null },
      },
    ])
    expect(history).toEqual([{ at: 1, fingerprint: 'f1', event: 'stored' }])
  }
  const capabilities = Buffer.from([0x30, 0])
  const added = certificateOf(1, { capabilities })
  await stores[0]!.update('bob@partner.test', () => [{ certificates: [added] }, undefined])
  expect((await stores[1]!.read('bob@partner.test')).certificates).toEqual([added])
  for (const store of stores) store.close()
})

const OLDER = `
  CREATE TABLE certificate (
    mailbox TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    der BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    usable_from INTEGER,
    removed_at INTEGER,
    PRIMARY KEY (mailbox, fingerprint)
  ) WITHOUT ROWID;
  CREATE TABLE certificate_event (
    id INTEGER PRIMARY KEY,
    mailbox TEXT NOT NULL,
    at INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    event TEXT NOT NULL
  );
  INSERT INTO certificate VALUES ('ann@partner.test', 'f1', x'3000', 1, 2, 3, NULL);
  INSERT INTO certificate_event (mailbox, at, fingerprint, event)
    VALUES ('ann@partner.test', 1, 'f1', 'stored');
`
