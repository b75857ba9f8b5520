import { describe, expect, test } from 'vitest'
import { EvenTime } from '../../src/gateway/even-time.ts'

describe('B75 the time of a reading', () => {
  test('B75 is as long whether what came out was looked at or not', async () => {
    const looked = await tookMs(async () => busy(4))
    const failed = await tookMs(async () => undefined)
    // 10 ms of deciphering, thrice that of waiting and 5 ms more; looking goes on meanwhile.
    expect(failed).toBeGreaterThan(40)
    expect(Math.abs(looked - failed)).toBeLessThan(20)
  })

  test('is not prolonged where nothing was deciphered', async () => {
    const begun = performance.now()
    await new EvenTime().over()
    expect(performance.now() - begun).toBeLessThan(10)
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
