import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { CacheOptions } from '../../src/certstore/cache.ts'
import { askInOrder, CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { resolversFor, type SourceSpec } from '../../src/certstore/sources.ts'
import { openSqliteStore } from '../../src/certstore/store.ts'
import type { Config } from '../../src/config/config.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { scriptedResolver } from '../support/dns.ts'
import { box, NEVER, person, temporaryFolder } from './people.ts'

/** The two rooms describe the same data, and know nothing of each other: the compiler compares. */
const specsOf = (config: Pick<Config, 'certificates'>): readonly SourceSpec[] => config.certificates

function open(specs: readonly SourceSpec[], cache?: CacheOptions) {
  let stores = 0
  const sources = resolversFor(specs, {
    store: () => {
      stores++
      return openSqliteStore(':memory:')
    },
    ownDomains: new Set(['example.test']),
    ...(cache && { cache }),
  })
  onTestFinished(() => {
    for (const source of sources.inOrder) source.close?.()
  })
  return { ...sources, stores: () => stores }
}

test('in the order of the configuration, only what is slow with a memory', async () => {
  const folder = await temporaryFolder()
  const remote = { ca: undefined, timeoutMs: 100, domains: ['partner.test'] }
  const { inOrder, caches, harvested, stores } = open(
    specsOf({
      certificates: [
        { kind: 'files', files: folder },
        { kind: 'harvested', waitMs: null, perDay: 3 },
        {
          kind: 'ldap',
          urls: ['ldap://127.0.0.1:1', 'ldap://127.0.0.1:2'],
          base: 'dc=x',
          user: undefined,
          password: undefined,
          startTls: false,
          tlsName: undefined,
          match: undefined,
          attributes: undefined,
          ...remote,
        },
        { kind: 'smimea', address: '127.0.0.1', port: 1, probe: '.', ...remote },
        { kind: 'http', url: 'https://127.0.0.1:1/{hash}', ...remote },
        { kind: 'domain', domain: 'partner.test', files: folder },
      ],
    }),
  )
  expect(inOrder.map(({ name }) => name)).toEqual([
    `files:${folder}`,
    'harvested',
    'ldap:127.0.0.1:1',
    'smimea',
    'http:127.0.0.1:1',
    'domain:partner.test',
  ])
  expect(caches.map(({ name }) => name)).toEqual(['ldap:127.0.0.1:1', 'smimea', 'http:127.0.0.1:1'])
  expect(stores()).toBe(1)
  const all = askInOrder(inOrder)
  await expect(all.find(box('ann@partner.test'), NEVER)).rejects.toThrow(
    CertificateSourceUnavailable,
  )
  expect(caches.map(({ counters }) => counters.silent)).toEqual([1, 1, 1])
  // Others are none of their business.
  expect(await all.find(box('ann@elsewhere.test'), NEVER)).toEqual([])

  const ann = parseCertificate((await person('ann@partner.test')).der)
  await harvested!.offer({
    mailbox: box('ann@partner.test'),
    certificate: ann,
    signedAt: new Date(),
  })
  expect(await all.find(box('ann@partner.test'), NEVER)).toMatchObject([{ source: 'harvested' }])
  await writeFile(join(folder, 'gateway.cer'), (await person('gateway@partner.test')).der)
  await new Promise(resolve => setTimeout(resolve, 100))
  const bob = await all.find(box('bob@partner.test'), NEVER)
  expect(bob).toMatchObject([{ source: 'domain:partner.test', via: 'domain' }])
})

test('no store is opened where nothing is harvested', () => {
  expect(open([{ kind: 'files', files: '/nowhere' }]).stores()).toBe(0)
})

test('a remote source is asked once for each mailbox', async () => {
  const resolver = await scriptedResolver(() => ({ code: 3 }))
  onTestFinished(() => resolver.close())
  const { inOrder, caches } = open([
    { kind: 'smimea', ...resolver.server, probe: '.', timeoutMs: 500, domains: undefined },
  ])
  const [smimea] = inOrder
  for (let turn = 0; turn < 5; turn++)
    expect(await smimea!.find(box('ann@partner.test'), NEVER)).toEqual([])
  expect(resolver.asked).toHaveLength(1)
  expect(caches[0]!.counters).toMatchObject({ hits: 4, negative: 4, misses: 1 })
})

test('none is remembered as long as the configuration says', async () => {
  const resolver = await scriptedResolver(() => ({ code: 3 }))
  onTestFinished(() => resolver.close())
  let now = 0
  const { inOrder } = open(
    [{ kind: 'smimea', ...resolver.server, probe: '.', timeoutMs: 500, domains: undefined }],
    { negativeMs: 30_000, clock: () => now },
  )
  const ask = () => inOrder[0]!.find(box('ann@partner.test'), NEVER)
  await ask()
  now = 29_999
  await ask()
  expect(resolver.asked).toHaveLength(1)
  now = 30_000
  await ask()
  expect(resolver.asked).toHaveLength(2)
})
