/** How long the reading of cipher text takes, for whoever waits for the reply. @module */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { EvenTime } from '../../src/gateway/even-time.ts'
import { type InboundWorld, makeInboundWorld, text } from '../support/inbound.ts'

/** What has happened to readings, and what their end waits for. */
const seen = vi.hoisted(() => ({ events: [] as string[], held: Promise.resolve() }))
vi.mock('../../src/gateway/even-time.ts', async importOriginal => {
  const original = await importOriginal<{ readonly EvenTime: typeof EvenTime }>()
  class WatchedTime extends original.EvenTime {
    constructor() {
      super()
      const { measured } = this
      const watched = () => {
        seen.events.push('measured')
        measured()
      }
      Object.assign(this, { measured: watched })
    }

    override async over(): Promise<void> {
      seen.events.push('waited for')
      await super.over()
      await seen.held
      seen.events.push('over')
    }
  }
  return { ...original, EvenTime: WatchedTime }
})

beforeEach(() => {
  seen.events = []
  seen.held = Promise.resolve()
})

describe('B75 the time of a reading', () => {
  test('B75 is prolonged by what deciphering took, whether what came out was looked at or not', async () => {
    // 10 ms of deciphering, thrice that of waiting and 5 ms more; looking goes on meanwhile.
    expect(await tookMs(async () => busy(4))).toBeGreaterThan(40)
    expect(await tookMs(async () => undefined)).toBeGreaterThan(40)
  })

  test('B75 is prolonged by what a layer within took, which somebody else has wrapped', async () => {
    const looks = [async () => busy(20), async () => undefined]
    for (const look of looks) {
      const begun = performance.now()
      const time = new EvenTime()
      time.measured()
      busy(30)
      time.measured()
      await look()
      await time.over()
      // 30 ms for the layer within, and twice that.
      expect(performance.now() - begun).toBeGreaterThan(88)
    }
  })

  test('is not prolonged where nothing was deciphered', async () => {
    const begun = performance.now()
    await new EvenTime().over()
    expect(performance.now() - begun).toBeLessThan(1_000)
  })
})

describe('B75 through the gateway', () => {
  let world: InboundWorld
  let good: Buffer

  beforeAll(async () => {
    world = await makeInboundWorld()
    good = world.message(await world.encrypted(text('for bob'), ['bob']))
  })
  afterAll(() => world.close())

  test('B75 it is measured and waited for, whether it could be opened or not', async () => {
    const spoilt = Buffer.from(good)
    // Near the end of the base64, on a whole line: a block of it becomes rubbish.
    const at = good.lastIndexOf('\r\n', good.length - 3) - 12
    spoilt[at] = spoilt[at] === 0x41 ? 0x42 : 0x41
    for (const message of [good, spoilt]) {
      seen.events = []
      const { encryption } = await world.deliver(message)
      expect(encryption === 'unauthenticated').toBe(message === good)
      expect(seen.events).toEqual(['measured', 'waited for', 'over'])
    }
  })

  test('B75 no reply is given before it is over', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    seen.held = promise
    const delivered = world.deliver(good).then(({ reply }) => {
      seen.events.push('reply')
      return reply.end?.code
    })
    await vi.waitFor(() => expect(seen.events).toContain('waited for'))
    await new Promise(done => setTimeout(done, 100))
    resolve()
    expect(await delivered).toBe(250)
    expect(seen.events.slice(-2)).toEqual(['over', 'reply'])
  })
})

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
