/**
 * Signed messages altered at random: whatever passes here is good for OpenSSL, with the same content.
 *
 * `MUTATIONS=1000000 SEED=7 npx vitest run test/trials/differential.test.ts` tries longer, and the same
 * once more. Entities and keys are made anew each time; what is done to them is the seed's.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryFolder } from '../support/gateway-process.ts'
import { askOpenssl, type Openssl } from '../support/openssl-cms.ts'
import { altered } from './alterations.ts'
import { played } from './ber-games.ts'
import { differential, makeSeeds, toldOf } from './differential.ts'
import { chance, seedOfRun } from './random.ts'
import { makePeople, noOpenssl, type People } from './signatures.ts'

const MUTATIONS = Number(process.env['MUTATIONS'] ?? 2_000)
const skipped = noOpenssl ? ` (skipped: ${noOpenssl})` : ''

describe.skipIf(noOpenssl)(`altered messages${skipped}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let people: People
  let openssl: Openssl

  beforeAll(async () => {
    folder = await temporaryFolder('differential')
    people = await makePeople(folder.path)
    openssl = await askOpenssl(people.rootFile)
  })
  afterAll(async () => {
    openssl?.close()
    people?.close()
    await folder?.remove()
  })

  test(`B33 what passes of ${MUTATIONS} is good for OpenSSL, with the same content`, {
    timeout: 60_000 + MUTATIONS * 30,
  }, async () => {
    const seed = seedOfRun()
    const figures = await differential(people, openssl, { seed, mutations: MUTATIONS })
    const reasons = people.missing.map(reason => `, ${reason}`).join('')
    console.log(`SEED=${seed} MUTATIONS=${MUTATIONS}${reasons}\n${toldOf(figures)}`)
    const told = figures.violations.map(it => ({ ...it, message: it.message.toString('latin1') }))
    expect({ seed, violations: told.slice(0, 3) }).toEqual({ seed, violations: [] })
    // Else nothing would have been compared, or nothing altered.
    expect(figures.passes).toBeGreaterThan(MUTATIONS / 10)
    expect(figures.passes).toBeLessThan(MUTATIONS * 0.6)
  })

  test('OpenSSL is heard: the same library and command refuse another content', async () => {
    const [{ octets } = { octets: Buffer.alloc(0) }] = await makeSeeds(people)
    expect((await openssl.verify(octets)).verdict).toBe('good')
    const other = Buffer.from(octets.toString('latin1').replace('hello', 'hallo'), 'latin1')
    expect((await openssl.verify(other)).verdict).toMatch(/verif/)
  })
})

describe('chance', () => {
  test('is the same for the same seed, and alters', () => {
    const message = Buffer.from('From: a@b.test\r\nContent-Type: text/plain\r\n\r\nhello\r\n')
    const once = (seed: number, nth: number) =>
      altered(message, { random: chance(seed, nth), others: [message] })
    for (let nth = 0; nth < 200; nth++) {
      expect(once(1, nth)).toEqual(once(1, nth))
      expect(once(1, nth)).not.toEqual(message)
    }
    expect(once(1, 3)).not.toEqual(once(2, 3))
  })

  test('BER is written as it was read where no game is played', () => {
    const der = Buffer.from('3009020101a00404020102', 'hex')
    const all = new Set(
      Array.from({ length: 300 }, (_, nth) => played(der, chance(1, nth)).toString('hex')),
    )
    expect(all).toContain(der.toString('hex'))
    expect(all).toContain('308400000009020101a00404020102')
    expect(all).toContain('3080020101a004040201020000')
  })
})
