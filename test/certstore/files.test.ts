import { chmod, mkdir, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type FilesOptions, openFiles } from '../../src/certstore/files.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { certificatePem, type Issued } from '../../src/crypto/x509/issue.ts'
import { silentLog } from '../../src/log.ts'
import {
  box,
  ca,
  certsOnly,
  NEVER,
  NOW,
  person,
  serializedStore,
  temporaryFolder,
} from './people.ts'

let ann: Issued
let bob: Issued
let expired: Issued
beforeAll(async () => {
  ann = await person(['Ann@Partner.test', 'ann.smith@partner.test'])
  bob = await person('bob@partner.test')
  expired = await person('bob@partner.test', { notAfter: new Date('2026-01-01T00:00:00Z') })
})

function open(files: string, options: Partial<FilesOptions> = {}) {
  const source = openFiles({ files, clock: () => NOW.getTime(), ...options })
  onTestFinished(() => source.close())
  return source
}

async function names(source: ReturnType<typeof open>, address: string) {
  const found = await source.find(box(address), NEVER)
  return found.map(({ certificate }) => certificate.subjectText)
}

/** Until it holds; a watch tells within moments. */
async function eventually(holds: () => Promise<boolean>) {
  for (let turn = 0; turn < 200; turn++) {
    if (await holds()) return
    await sleep(10)
  }
  expect.fail('it never came to hold')
}

describe('a folder', () => {
  test('of all formats, addresses from the certificates, without regard to case', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'a.cer'), ann.der)
    await writeFile(join(folder, 'b.sst'), serializedStore(expired.der, bob.der))
    await writeFile(join(folder, 'c.p7b'), certsOnly(bob.der, (await ca()).der))
    await writeFile(join(folder, 'notes.txt'), certificatePem((await person('x@partner.test')).der))
    const source = open(folder)
    expect(await names(source, 'ANN@partner.TEST')).toEqual(['CN=Ann@Partner.test'])
    expect(await names(source, 'ann.smith@partner.test')).toEqual(['CN=Ann@Partner.test'])
    // Once each, however many files hold it; the expired one too: choosing is not finding.
    expect(await names(source, 'bob@partner.test')).toHaveLength(2)
    expect(await names(source, 'x@partner.test')).toEqual([])
    expect([...source.intermediates()].map(({ subjectText }) => subjectText)).toEqual([
      'CN=Test Authority',
    ])
    const [found] = await source.find(box('ann@partner.test'), NEVER)
    expect(found).toMatchObject({ source: `files:${folder}`, via: 'address' })
  })

  test('field 7: expired entries of a store are listed, the rest is used', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'b.sst'), serializedStore(expired.der, ann.der))
    const [report] = await open(folder).list()
    expect(report).toMatchObject({ file: join(folder, 'b.sst'), faults: [] })
    expect(report!.certificates).toHaveLength(2)
    expect(report!.expired.map(({ addresses }) => addresses)).toEqual([['bob@partner.test']])
  })

  test('a file dropped in, renewed or taken away counts without a restart', async () => {
    const folder = await temporaryFolder()
    const source = open(folder)
    expect(await names(source, 'ann@partner.test')).toEqual([])
    await writeFile(join(folder, '.ann.tmp'), ann.der)
    await rename(join(folder, '.ann.tmp'), join(folder, 'ann.cer'))
    await eventually(async () => (await names(source, 'ann@partner.test')).length === 1)
    await writeFile(join(folder, 'ann.cer'), certsOnly(ann.der, bob.der))
    await eventually(async () => (await names(source, 'bob@partner.test')).length === 1)
    await unlink(join(folder, 'ann.cer'))
    await eventually(async () => (await names(source, 'ann@partner.test')).length === 0)
  })

  test('B69 a file that is being written again still stands for those whom it named', async () => {
    const folder = await temporaryFolder()
    const file = join(folder, 'all.pem')
    const [one, two] = [certificatePem(ann.der), certificatePem(bob.der)]
    await writeFile(file, one + two)
    const source = open(folder)
    expect(await names(source, 'bob@partner.test')).toHaveLength(1)
    // As `cat one two > all.pem` does it: nothing first, then one after the other.
    for (const written of ['', one.slice(0, 300), one, one + two]) {
      await writeFile(file, written)
      await sleep(20)
      expect(await names(source, 'bob@partner.test')).toHaveLength(1)
    }
    await writeFile(file, one)
    await eventually(async () => (await names(source, 'bob@partner.test')).length === 0)
    expect(await names(source, 'ann@partner.test')).toHaveLength(1)
  })

  test('a change that no watch tells of is seen by the dates', async () => {
    const parent = await temporaryFolder()
    const link = join(parent, 'certificates')
    for (const name of ['one', 'two']) await mkdir(join(parent, name))
    await writeFile(join(parent, 'two', 'ann.cer'), ann.der)
    await symlink('one', link)
    const source = open(link, { rescanMs: 2 })
    expect(await names(source, 'ann@partner.test')).toEqual([])
    // The watch stays with the folder that the link led to.
    await symlink('two', join(parent, 'new'))
    await rename(join(parent, 'new'), link)
    await eventually(async () => (await names(source, 'ann@partner.test')).length === 1)
  })

  test('a file, and a folder, that another is moved to the place of: each time', async () => {
    const top = await temporaryFolder()
    const file = join(top, 'people.pem')
    const folder = join(top, 'people')
    await writeFile(file, '')
    await mkdir(folder)
    const [fromFile, fromFolder] = [open(file), open(folder)]
    expect(await names(fromFile, 'ann@partner.test')).toEqual([])
    expect(await names(fromFolder, 'ann@partner.test')).toEqual([])
    for (const [name, { der }] of [
      ['ann', ann] as const,
      ['bob', bob] as const,
      ['ann', ann] as const,
    ]) {
      const pem = certificatePem(der)
      await writeFile(`${file}.new`, pem)
      await rename(`${file}.new`, file)
      await mkdir(`${folder}.new`)
      await writeFile(join(`${folder}.new`, `${name}.pem`), pem)
      await rename(folder, `${folder}.old`)
      await rename(`${folder}.new`, folder)
      await rm(`${folder}.old`, { recursive: true })
      const address = `${name}@partner.test`
      await eventually(async () => (await names(fromFile, address)).length === 1)
      await eventually(async () => (await names(fromFolder, address)).length === 1)
    }
  })

  test('faults are told once, with the file, and spoil no other file', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'bad.pem'), 'oops')
    await writeFile(join(folder, 'good.cer'), ann.der)
    const lines: unknown[] = []
    const log = {
      ...silentLog,
      warn: (event: string, fields: object = {}) => void lines.push({ event, ...fields }),
    }
    const source = open(folder, { log, rescanMs: 1 })
    for (let turn = 0; turn < 5; turn++) {
      expect(await names(source, 'ann@partner.test')).toHaveLength(1)
      await sleep(5)
    }
    expect(lines).toEqual([
      expect.objectContaining({
        event: 'certificate-file-faults',
        file: join(folder, 'bad.pem'),
        faults: ['is of no known format'],
      }),
    ])
  })
})

describe('at the same moment', () => {
  test('B69 who asks while the folder is being read waits, and is not told "none"', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'ann.cer'), ann.der)
    const source = open(folder)
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => names(source, 'ann@partner.test')),
    )
    expect(answers.every(found => found.length === 1)).toBe(true)
  })

  test('authorities are there without a question', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'ca.cer'), (await ca()).der)
    const source = open(folder)
    await eventually(async () => source.intermediates().length === 1)
    expect(source.intermediates()).toBe(source.intermediates())
  })
})

describe('silence is not none', () => {
  test('a folder that is not there, and comes', async () => {
    const parent = await temporaryFolder()
    const folder = join(parent, 'later')
    const source = open(folder)
    await expect(names(source, 'ann@partner.test')).rejects.toThrow(CertificateSourceUnavailable)
    await mkdir(folder)
    await writeFile(join(folder, 'ann.cer'), ann.der)
    expect(await names(source, 'ann@partner.test')).toHaveLength(1)
    await rm(folder, { recursive: true })
    await eventually(() =>
      names(source, 'ann@partner.test').then(
        () => false,
        error => error instanceof CertificateSourceUnavailable,
      ),
    )
  })

  test('B69 who asks while the folder is read for the first time waits, and is not told "none"', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'ann.cer'), ann.der)
    const source = open(folder)
    const asked = Array.from({ length: 5 }, () => names(source, 'ann@partner.test'))
    for (const found of await Promise.all(asked)) expect(found).toEqual(['CN=Ann@Partner.test'])
  })

  test('B69 a file that is too large to be read', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'ann.cer'), ann.der)
    await writeFile(join(folder, 'export.sst'), '')
    await truncate(join(folder, 'export.sst'), 33 * 1024 * 1024)
    const source = open(folder)
    await expect(names(source, 'bob@partner.test')).rejects.toThrow(CertificateSourceUnavailable)
    expect(await names(source, 'ann@partner.test')).toHaveLength(1)
    await unlink(join(folder, 'export.sst'))
    await eventually(() =>
      names(source, 'bob@partner.test').then(
        found => found.length === 0,
        () => false,
      ),
    )
  })

  test('a closed source, and a client that is gone', async () => {
    const source = open(await temporaryFolder())
    await expect(source.find(box('a@b.test'), AbortSignal.abort())).rejects.toThrow('no answer')
    source.close()
    await expect(source.find(box('a@b.test'), NEVER)).rejects.toThrow('no answer')
  })

  test.skipIf(process.getuid?.() === 0)(
    'a single file that may not be read (not as root, who may read all)',
    async () => {
      const file = join(await temporaryFolder(), 'ann.cer')
      await writeFile(file, ann.der)
      await chmod(file, 0)
      await expect(names(open(file), 'ann@partner.test')).rejects.toThrow('no answer')
    },
  )
})
