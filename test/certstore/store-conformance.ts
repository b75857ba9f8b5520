/** What every store has to keep, whatever database stands behind it. @module */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Store, StoredCertificate } from '../../src/certstore/store.ts'

/** A kind of store: where a new one is, and how it is opened, here and in another process. */
export interface StoreKind {
  readonly name: string
  /** A place for one test. */
  place(): Promise<string>
  open(place: string): Store
  /** An ES module's text that exports `open(place)`. */
  readonly module: string
}

export function certificateOf(number: number, values: Partial<StoredCertificate> = {}) {
  return {
    fingerprint: number.toString(16).padStart(64, '0'),
    der: Buffer.from([0x30, number & 0xff, 0, 0xff]),
    firstSeen: number,
    signedAt: number,
    usableFrom: number,
    removedAt: null,
    capabilities: null,
    ...values,
  }
}

export function storeConformance(kind: StoreKind): void {
  const open = async (place?: string) => {
    const store = kind.open(place ?? (await kind.place()))
    onTestFinished(() => store.close())
    return store
  }
  const put = (store: Store, key: string, ...certificates: StoredCertificate[]) =>
    store.update(key, () => [{ certificates }, undefined])

  describe(`store: ${kind.name}`, () => {
    test('names the mailboxes of which it knows', async () => {
      const store = await open()
      await put(store, 'b@partner.test', certificateOf(1), certificateOf(2))
      await put(store, 'a@partner.test', certificateOf(1))
      expect(await store.mailboxes()).toEqual(['a@partner.test', 'b@partner.test'])
    })

    test('is empty at first', async () => {
      const store = await open()
      expect(await store.mailboxes()).toEqual([])
      expect(await store.read('ann@partner.test')).toEqual({ certificates: [], history: [] })
    })

    test('gives back what was put, for that mailbox alone, to the octet', async () => {
      const store = await open()
      const capabilities = Buffer.from('300530030601ff', 'hex')
      const one = certificateOf(1, {
        ...{ usableFrom: null, removedAt: 1_800_000_000_000, capabilities },
      })
      await put(store, 'ann@partner.test', certificateOf(2), one)
      await put(store, 'bob@partner.test', certificateOf(1))
      expect((await store.read('ann@partner.test')).certificates).toEqual([one, certificateOf(2)])
      expect((await store.read('bob@partner.test')).certificates).toEqual([certificateOf(1)])
      await put(store, 'ann@partner.test', certificateOf(1))
      expect((await store.read('ann@partner.test')).certificates[0]).toEqual(certificateOf(1))
    })

    test('a key is text, whatever it is made of', async () => {
      const store = await open()
      for (const key of ["'; DROP TABLE certificate; --@x", 'ä@x.test', '%@x.test', '*@x.test']) {
        await put(store, key, certificateOf(1))
        expect((await store.read(key)).certificates).toHaveLength(1)
      }
      expect((await store.read('y@x.test')).certificates).toEqual([])
    })

    test('keeps history in order, the last 200', async () => {
      const store = await open()
      const history = Array.from({ length: 250 }, (_, at) => ({
        at,
        fingerprint: 'f',
        event: 'stored',
      }))
      await store.update('ann@partner.test', () => [{ history }, undefined])
      expect((await store.read('ann@partner.test')).history).toEqual(history.slice(50))
    })

    test('decides on what is there, and returns what was decided', async () => {
      const store = await open()
      await put(store, 'ann@partner.test', certificateOf(1))
      const count = await store.update('ann@partner.test', ({ certificates }) => [
        { certificates: [certificateOf(2)] },
        certificates.length,
      ])
      expect(count).toBe(1)
    })

    test('writes nothing where the decision throws, and goes on', async () => {
      const store = await open()
      const broken = store.update('ann@partner.test', () => {
        throw new TypeError('a defect')
      })
      await expect(broken).rejects.toThrow(TypeError)
      await put(store, 'ann@partner.test', certificateOf(1))
      expect((await store.read('ann@partner.test')).certificates).toHaveLength(1)
    })

    test('outlives who opened it', async () => {
      const place = await kind.place()
      const first = kind.open(place)
      await put(first, 'ann@partner.test', certificateOf(1))
      first.close()
      first.close()
      expect((await (await open(place)).read('ann@partner.test')).certificates).toHaveLength(1)
      await expect(first.read('ann@partner.test')).rejects.toMatchObject({
        code: 'ERR_STORE',
        persistence: 'transient',
      })
    })

    test('two processes: nobody writes between reading and writing of another', async () => {
      const place = await kind.place()
      const script = `${kind.module}
        const store = open(process.argv[1])
        for (let turn = 0; turn < 100; turn++)
          await store.update('ann@partner.test', ({ certificates: [before] }) => {
            const signedAt = (before?.signedAt ?? 0) + 1
            const history = [{ at: signedAt, fingerprint: 'f', event: String(process.pid) }]
            const der = Buffer.from([0])
            const one = { fingerprint: 'f', der, firstSeen: 0, signedAt, usableFrom: 0, removedAt: null, capabilities: null }
            return [{ certificates: [one], history }, undefined]
          })
        store.close()`
      const processes = [0, 1].map(() =>
        spawn(process.execPath, ['--input-type=module', '-e', script, place], {
          stdio: ['ignore', 'ignore', 'inherit'],
        }),
      )
      const codes = await Promise.all(processes.map(async child => (await once(child, 'exit'))[0]))
      expect(codes).toEqual([0, 0])
      const { certificates, history } = await (await open(place)).read('ann@partner.test')
      expect(certificates[0]!.signedAt).toBe(200)
      expect(history.map(({ at }) => at)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1))
      expect(new Set(history.map(({ event }) => event)).size).toBe(2)
    })
  })
}
