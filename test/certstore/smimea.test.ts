import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { openSmimea, ownerName } from '../../src/certstore/smimea.ts'
import type { Issued } from '../../src/crypto/x509/issue.ts'
import { type Log, silentLog } from '../../src/log.ts'
import { type Script, scriptedResolver, unbound, validatingResolver } from '../support/dns.ts'
import { box, ca, NEVER, person } from './people.ts'

let ann: Issued
let mallory: Issued
beforeAll(async () => {
  ann = await person('ann@signed.test')
  mallory = await person('mallory@signed.test')
})

const record = (usage: number, selector: number, matching: number, data: Buffer) =>
  Buffer.concat([Buffer.from([usage, selector, matching]), data])
const full = (issued: Issued) => record(3, 0, 0, issued.der)

async function house(script: (name: string) => Script | undefined) {
  const resolver = await scriptedResolver(script)
  onTestFinished(() => resolver.close())
  return { asked: resolver.asked, source: openSmimea({ server: resolver.server, timeoutMs: 300 }) }
}

type Source = ReturnType<typeof openSmimea>
const find = async (source: Source, address = 'ann@signed.test') =>
  (await source.find(box(address), NEVER)).map(({ certificate }) => certificate.addresses.join())

async function silence(source: Source, address?: string): Promise<string> {
  const error: unknown = await find(source, address).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(CertificateSourceUnavailable)
  return String((error as Error).cause)
}

describe('SMIMEA (RFC 8162)', () => {
  test('§3: the name is a digest of the local part', () => {
    expect(ownerName('hugh', 'example.com')).toBe(
      'c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com',
    )
  })

  test('a certificate in full, the only one that can be encrypted to', async () => {
    const authority = await ca()
    const records = [
      full(ann),
      record(1, 0, 0, ann.der),
      record(3, 0, 1, Buffer.alloc(32)),
      record(3, 1, 0, Buffer.alloc(91)),
      record(2, 0, 0, authority.der),
    ]
    const { source } = await house(() => ({ records }))
    expect(await find(source)).toEqual(['ann@signed.test', 'ann@signed.test'])
  })

  test('the local part as it is written, then in lower case', async () => {
    const { source, asked } = await house(name =>
      name === ownerName('ann', 'signed.test') ? { records: [full(ann)] } : { code: 3 },
    )
    expect(await find(source, 'Ann@Signed.test')).toEqual(['ann@signed.test'])
    expect(asked).toEqual([ownerName('Ann', 'signed.test'), ownerName('ann', 'signed.test')])
  })

  test('none: no such name, no record; nothing is asked for addresses without a domain', async () => {
    expect(await find((await house(() => ({ code: 3 }))).source)).toEqual([])
    expect(await find((await house(() => ({}))).source)).toEqual([])
    const { source, asked } = await house(() => ({ records: [full(ann)] }))
    expect(await find(source, 'ann@[192.0.2.1]')).toEqual([])
    expect(asked).toEqual([])
  })

  test('B48 what DNSSEC does not vouch for is as if it were not there', async () => {
    const { source } = await house(() => ({ records: [full(ann)], authentic: false }))
    expect(await find(source)).toEqual([])
  })

  test.each<[string, Script | undefined, string]>([
    ['SERVFAIL, also of forged answers', { code: 2 }, 'SERVFAIL'],
    ['REFUSED', { code: 5 }, 'REFUSED'],
    ['no answer', undefined, 'no answer in 300 ms'],
    [
      'another identifier',
      { spoil: octets => octets.with(3, octets[3]! ^ 1) as Buffer },
      'another question',
    ],
    ['a query as answer', { spoil: octets => octets.with(4, 0) as Buffer }, 'another question'],
    [
      'garbage',
      { spoil: () => Buffer.from([0, 20, ...Array.from({ length: 20 }, () => 0xff)]) },
      'Error',
    ],
    ['an answer that ends too early', { spoil: () => Buffer.from([0, 3, 1, 2, 3]) }, 'Error'],
  ])('silence: %s', async (_, script, reason) => {
    const { source } = await house(() => script)
    expect(await silence(source)).toContain(reason)
  })

  test("somebody else's certificate, and one that cannot be read, are silence", async () => {
    const lying = await house(() => ({ records: [full(mallory)] }))
    expect(await silence(lying.source)).toContain("somebody else's")
    const damaged = await house(() => ({
      records: [record(3, 0, 0, Buffer.from('3003020100', 'hex'))],
    }))
    expect(await silence(damaged.source)).toContain('cannot be read')
  })

  test('B48 B69 a resolver that never validates is silent, and says so once', async () => {
    let now = 0
    let validating = false
    const resolver = await scriptedResolver(
      () => ({ code: 3, authentic: validating }),
      () => validating,
    )
    onTestFinished(() => resolver.close())
    const { log, said } = recorder()
    const source = openSmimea({ server: resolver.server, clock: () => now, log })
    for (let turn = 0; turn < 7; turn++)
      expect(await silence(source)).toContain('does not vouch for .')
    expect(resolver).toMatchObject({ probed: ['.'], asked: [] })
    now = 30_000
    expect(await silence(source)).toContain('does not vouch')
    expect(resolver.probed).toHaveLength(2)
    validating = true
    now = 60_000
    expect(await find(source)).toEqual([])
    expect(await find(source)).toEqual([])
    expect(resolver.probed).toHaveLength(3)
    expect(said).toEqual(['resolver-does-not-validate', 'resolver-validates'])
    // It may have been set up anew meanwhile.
    validating = false
    now = 660_000
    expect(await silence(source)).toContain('does not vouch')
  })

  test('one probe for all who ask at once', async () => {
    const resolver = await scriptedResolver(() => ({ code: 3 }))
    onTestFinished(() => resolver.close())
    const source = openSmimea({ server: resolver.server, probe: 'signed.test' })
    await Promise.all(Array.from({ length: 20 }, (_, at) => find(source, `u${at}@signed.test`)))
    expect(resolver.probed).toEqual(['signed.test'])
  })

  test('an address whose zone is broken does not trip the breaker for the others', async () => {
    const { source } = await house(name =>
      name.endsWith('broken.test') ? { code: 2 } : { records: [full(ann)] },
    )
    for (let turn = 0; turn < 7; turn++)
      expect(await silence(source, 'x@broken.test')).toContain('SERVFAIL')
    expect(await find(source)).toEqual(['ann@signed.test'])
  })

  test('a resolver that is not there: silence, and a breaker', async () => {
    const source = openSmimea({ server: { address: '127.0.0.1', port: 1 } })
    for (let turn = 0; turn < 5; turn++) expect(await silence(source)).toContain('ECONNREFUSED')
    expect(await silence(source)).toContain('too many failures')
  })
})

const withUnbound = unbound.missing ? `, skipped: ${unbound.missing}` : ''

describe.skipIf(unbound.missing)(`a real validating resolver${withUnbound}`, () => {
  test('B48 signed: found; unsigned: none; forged: silence; absent: none', async () => {
    const owner = ownerName('ann', 'x').replace('.x', '')
    const people = await Promise.all(
      ['signed', 'plain', 'forged'].map(zone => person(`ann@${zone}.test`)),
    )
    const resolver = await validatingResolver(people.map(issued => [owner, full(issued)]))
    onTestFinished(() => resolver.close())
    const source = openSmimea({ server: resolver.server, probe: 'signed.test' })
    expect(await find(source, 'ann@signed.test')).toEqual(['ann@signed.test'])
    expect(await find(source, 'ann@plain.test')).toEqual([])
    expect(await silence(source, 'ann@forged.test')).toContain('SERVFAIL')
    expect(await find(source, 'bob@signed.test')).toEqual([])
  })

  test('B48 B69 one that validates nothing: silence, for the root and for a name of its own', async () => {
    const owner = ownerName('ann', 'x').replace('.x', '')
    const resolver = await validatingResolver([[owner, full(ann)]], 'iterator')
    onTestFinished(() => resolver.close())
    const source = openSmimea({ server: resolver.server, probe: 'signed.test' })
    expect(await silence(source, 'ann@signed.test')).toContain('does not vouch for signed.test')
    expect(await silence(source, 'nobody@signed.test')).toContain('does not vouch for signed.test')
  })
})

/** A log that keeps the names of events. */
function recorder() {
  const said: string[] = []
  const tell = (event: string) => void said.push(event)
  const log = { ...silentLog, info: tell, warn: tell, error: tell } satisfies Log
  return { log, said }
}
