import { describe, expect, test } from 'vitest'
import { EvenTime } from '../../src/gateway/even-time.ts'

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
