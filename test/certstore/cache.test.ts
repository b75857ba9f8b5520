import { beforeAll, describe, expect, test } from 'vitest'
import { CircuitBreaker, NoVerdict } from '../../src/certstore/breaker.ts'
import { type CacheOptions, cached } from '../../src/certstore/cache.ts'
import {
  type CertificateResolver,
  CertificateSourceUnavailable,
  type Found,
} from '../../src/certstore/resolver.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import type { Mailbox } from '../../src/mail/address.ts'
import { box, ca, NEVER, person } from './people.ts'

let certificate: Certificate
beforeAll(async () => {
  certificate = parseCertificate((await person('ann@partner.test')).der)
})

const ann = () => box('ann@partner.test')

/** A source that says what it is told to, and a clock. */
function house(options: CacheOptions = {}) {
  const state = { now: 0, asked: 0, silent: false, wait: Promise.resolve() }
  const source: CertificateResolver = {
    name: 'ldap:test',
    async find(mailbox: Mailbox): Promise<readonly Found[]> {
      state.asked++
      await state.wait
      if (state.silent) throw new CertificateSourceUnavailable('ldap:test')
      if (!mailbox.localPart.startsWith('a')) return []
      return [{ certificate, source: 'ldap:test', via: 'address' }]
    },
  }
  const cache = cached(source, { clock: () => state.now, ...options })
  return { state, cache, find: (mailbox = ann(), signal = NEVER) => cache.find(mailbox, signal) }
}

describe('cache', () => {
  test('remembers certificates for their lifetime', async () => {
    const { state, cache, find } = house()
    expect(await find()).toHaveLength(1)
    state.now = 599_999
    expect(await find(box('ANN@partner.test'))).toHaveLength(1)
    expect(state.asked).toBe(1)
    state.now = 600_000
    await find()
    expect(state.asked).toBe(2)
    expect(cache.counters).toMatchObject({ hits: 1, misses: 2, negative: 0, entries: 1 })
  })

  test('B47 remembers "none" for ten minutes', async () => {
    const { state, cache, find } = house()
    for (let turn = 0; turn < 1000; turn++) expect(await find(box('x@partner.test'))).toEqual([])
    expect(state.asked).toBe(1)
    expect(cache.counters).toMatchObject({ hits: 999, negative: 999, misses: 1 })
    state.now = 600_000
    await find(box('x@partner.test'))
    expect(state.asked).toBe(2)
  })

  test('B47 one question in flight per mailbox', async () => {
    const { state, cache, find } = house()
    const answers = await Promise.all(Array.from({ length: 100 }, () => find()))
    expect(answers.every(found => found.length === 1)).toBe(true)
    expect(state.asked).toBe(1)
    expect(cache.counters).toMatchObject({ misses: 1, shared: 99 })
  })

  test('B47 memory and questions in flight are bounded', async () => {
    const { state, cache, find } = house({ mailboxes: 100, questions: 10 })
    for (let number = 0; number < 1000; number++) await find(box(`x${number}@partner.test`))
    expect(cache.counters.entries).toBe(100)
    const { promise, resolve } = Promise.withResolvers<void>()
    state.wait = promise
    const flood = Array.from({ length: 50 }, (_, number) => find(box(`y${number}@partner.test`)))
    const settled = Promise.allSettled(flood)
    resolve()
    const refused = (await settled).filter(({ status }) => status === 'rejected')
    expect(refused).toHaveLength(40)
    expect(refused[0]).toMatchObject({ reason: { code: 'ERR_CERTSTORE_UNAVAILABLE' } })
  })

  test('octets of certificates are bounded', async () => {
    const { cache, find } = house({ octets: 10 * (certificate.der.length + 512) })
    for (let number = 0; number < 100; number++) await find(box(`a${number}@partner.test`))
    expect(cache.counters.entries).toBeLessThan(20)
    expect(cache.counters.entries).toBeGreaterThan(5)
  })

  test('R9 cached certificates serve while the source is silent, for a day', async () => {
    const { state, cache, find } = house()
    await find()
    state.silent = true
    state.now = 3_600_000
    expect(await find()).toHaveLength(1)
    expect(cache.counters.stale).toBe(1)
    state.now = 600_000 + 86_400_000
    await expect(find()).rejects.toThrow(CertificateSourceUnavailable)
    expect(cache.counters.silent).toBe(1)
  })

  test('B69 a stale "none" is never used, and silence is never remembered', async () => {
    const { state, find } = house()
    await find(box('x@partner.test'))
    state.silent = true
    state.now = 600_000
    await expect(find(box('x@partner.test'))).rejects.toThrow(CertificateSourceUnavailable)
    await expect(find(box('y@partner.test'))).rejects.toThrow(CertificateSourceUnavailable)
    await expect(find()).rejects.toThrow(CertificateSourceUnavailable)
    state.silent = false
    expect(await find(box('y@partner.test'))).toEqual([])
    expect(await find()).toHaveLength(1)
  })

  test('who stops waiting leaves the question to the others', async () => {
    const { state, find } = house()
    const { promise, resolve } = Promise.withResolvers<void>()
    state.wait = promise
    const gone = new AbortController()
    const impatient = find(ann(), gone.signal)
    const patient = find()
    gone.abort()
    await expect(impatient).rejects.toThrow(CertificateSourceUnavailable)
    resolve()
    expect(await patient).toHaveLength(1)
    expect(state.asked).toBe(1)
  })

  test('keeps certificates, and not what they came in', async () => {
    const large = Buffer.alloc(1024 * 1024)
    certificate.der.copy(large)
    const view = parseCertificate(large.subarray(0, certificate.der.length))
    const cache = cached({
      name: 'large',
      find: async () => [{ certificate: view, source: 'large', via: 'domain' }],
    })
    await cache.find(ann(), NEVER)
    const [recalled] = await cache.find(ann(), NEVER)
    expect(recalled).toMatchObject({ source: 'large', via: 'domain' })
    expect(recalled!.certificate.fingerprint).toBe(certificate.fingerprint)
    expect(recalled!.certificate.der.buffer.byteLength).toBeLessThan(100_000)
    const [again] = await cache.find(ann(), NEVER)
    expect(again!.certificate).toBe(recalled!.certificate)
  })

  test('forgets what it is told to forget', async () => {
    const { state, cache, find } = house()
    await find()
    cache.forget(box('ANN@partner.test'))
    await find()
    cache.forget()
    await find()
    expect(state.asked).toBe(3)
  })
})

describe('answers that may be incomplete', () => {
  const cause = new Error('cut off')

  test('B69 are remembered as such', async () => {
    let asked = 0
    const partial: Found[] = [{ certificate, source: 'ldap:test', via: 'address' }]
    const cache = cached({
      name: 'ldap:test',
      find: async () => {
        asked++
        throw new CertificateSourceUnavailable('ldap:test', { cause, partial })
      },
    })
    for (let turn = 0; turn < 5; turn++)
      await expect(cache.find(ann(), NEVER)).rejects.toMatchObject({
        cause,
        partial: [{ certificate: { fingerprint: certificate.fingerprint } }],
      })
    expect(asked).toBe(1)
    expect(cache.counters).toMatchObject({ hits: 4, misses: 1, silent: 0, stale: 0 })
  })

  test('and where nothing was found in them, not at all', async () => {
    let asked = 0
    const find = async () => {
      asked++
      throw new CertificateSourceUnavailable('ldap:test', { cause })
    }
    const cache = cached({ name: 'ldap:test', find })
    for (let turn = 0; turn < 3; turn++)
      await expect(cache.find(ann(), NEVER)).rejects.toMatchObject({ cause, partial: [] })
    expect(asked).toBe(3)
  })
})

test('authorities stay as long as the certificate that they came with, however many others come', async () => {
  const authority = parseCertificate((await ca()).der)
  const source: CertificateResolver = {
    name: 'ldap:test',
    find: async () => [{ certificate, source: 'ldap:test', via: 'address', beside: [authority] }],
  }
  const cache = cached(source)
  await cache.find(ann(), NEVER)
  const [found] = await cache.find(ann(), NEVER)
  const [other] = await cache.find(box('ann@other.test'), NEVER)
  await cache.find(box('ann@other.test'), NEVER)
  expect(found!.beside).toMatchObject([{ fingerprint: authority.fingerprint }])
  // A copy that holds on to nothing else, and one for all.
  expect(found!.beside![0]).not.toBe(authority)
  const [again] = await cache.find(box('ann@other.test'), NEVER)
  expect(again!.beside![0]).toBe(found!.beside![0])
  expect(other!.beside![0]!.fingerprint).toBe(authority.fingerprint)
})

describe('circuit breaker', () => {
  const refusal = () => new Error('open')
  const fails = () => Promise.reject(new Error('down'))

  test('opens after 5 failures in a row, lets one try after the pause, and closes', async () => {
    let now = 0
    const breaker = new CircuitBreaker({ pauseMs: 1000, clock: () => now })
    for (let turn = 0; turn < 4; turn++)
      await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    await breaker.run(async () => 'up', refusal)
    for (let turn = 0; turn < 5; turn++)
      await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    expect(breaker.isOpen).toBe(true)
    await expect(breaker.run(async () => 'up', refusal)).rejects.toThrow('open')
    now = 1000
    const { promise, resolve } = Promise.withResolvers<string>()
    const probe = breaker.run(() => promise, refusal)
    await expect(breaker.run(async () => 'up', refusal)).rejects.toThrow('open')
    resolve('up')
    expect(await probe).toBe('up')
    expect(await breaker.run(async () => 'up', refusal)).toBe('up')
  })

  test('what says nothing of the source neither opens nor closes it', async () => {
    let now = 0
    const breaker = new CircuitBreaker({ failures: 2, pauseMs: 1000, clock: () => now })
    const gone = () => Promise.reject(new NoVerdict('gone'))
    for (let turn = 0; turn < 5; turn++)
      await expect(breaker.run(gone, refusal)).rejects.toThrow('gone')
    await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    // Were this a success, one more failure would not be enough.
    await expect(breaker.run(gone, refusal)).rejects.toThrow('gone')
    await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    expect(breaker.isOpen).toBe(true)
    now = 1000
    // Whoever was to try has gone: the next one tries, and not after another pause.
    await expect(breaker.run(gone, refusal)).rejects.toThrow('gone')
    expect(await breaker.run(async () => 'up', refusal)).toBe('up')
  })

  test('a failed attempt after the pause opens it again', async () => {
    let now = 0
    const breaker = new CircuitBreaker({ failures: 1, pauseMs: 1000, clock: () => now })
    await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    now = 1000
    await expect(breaker.run(fails, refusal)).rejects.toThrow('down')
    now = 1999
    await expect(breaker.run(async () => 'up', refusal)).rejects.toThrow('open')
  })
})
