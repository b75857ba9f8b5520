import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { EvenTime } from '../../src/gateway/even-time.ts'
import { type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

describe('B75 the time of a reading', () => {
  test('B75 is prolonged by what deciphering took, whether what came out was looked at or not', async () => {
    // 10 ms of deciphering, thrice that of waiting and 5 ms more; looking goes on meanwhile.
    expect(await tookMs(async () => busy(4))).toBeGreaterThan(40)
    expect(await tookMs(async () => undefined)).toBeGreaterThan(40)
  })

  test('is not prolonged where nothing was deciphered', async () => {
    const begun = performance.now()
    await new EvenTime().over()
    expect(performance.now() - begun).toBeLessThan(1_000)
  })
})

describe('B75 through the gateway', () => {
  let world: InboundWorld

  beforeAll(async () => {
    world = await makeInboundWorld()
  })
  afterEach(() => vi.restoreAllMocks())
  afterAll(() => world.close())

  test('B75 a reply waits for the time of a reading, whether it could be opened or not', async () => {
    const good = world.message(await world.encrypted(text('for bob'), ['bob']))
    const spoilt = Buffer.from(good)
    // In the last block: the padding is wrong, or what is inside is.
    const at = good.lastIndexOf('\r\n', good.length - 3) - 12
    spoilt[at] = spoilt[at] === 0x41 ? 0x42 : 0x41
    for (const message of [good, spoilt]) {
      const waited = watched()
      const { encryption } = await world.deliver(message)
      expect(encryption === 'unauthenticated').toBe(message === good)
      expect(waited).toEqual([expect.any(Number)])
      expect(waited[0]).toBeGreaterThan(2)
      vi.restoreAllMocks()
    }
  })

  test('B75 no reply is given before that time is over', async () => {
    const held = Promise.withResolvers<void>()
    const reached = Promise.withResolvers<void>()
    vi.spyOn(EvenTime.prototype, 'over').mockImplementation(() => {
      reached.resolve()
      return held.promise
    })
    let replied = false
    const delivered = world
      .deliver(world.message(await world.encrypted(text('for bob'), ['bob'])))
      .finally(() => (replied = true))
    await reached.promise
    await new Promise(resolve => setTimeout(resolve, 100))
    expect(replied).toBe(false)
    held.resolve()
    expect((await delivered).reply.end?.code).toBe(250)
  })
})

/** How long each reading was waited for beyond what it took by itself. */
function watched(): readonly number[] {
  const waited: number[] = []
  const over = Reflect.get(EvenTime.prototype, 'over') as () => Promise<void>
  vi.spyOn(EvenTime.prototype, 'over').mockImplementation(async function (this: EvenTime) {
    const begun = performance.now()
    await over.call(this)
    waited.push(performance.now() - begun)
  })
  return waited
}

async function tookMs(look: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  const time = new EvenTime()
  busy(10)
  time.measured()
  await look()
  await time.over()
  return performance.now() - begun
}

function busy(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}
