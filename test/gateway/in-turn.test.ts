import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { inTurn } from '../../src/gateway/in-turn.ts'

const LARGE = 2 * 1024 * 1024

test('large messages are read three at a time, in their order, whatever becomes of one', async () => {
  let now = 0
  let most = 0
  const order: number[] = []
  const read = (nth: number) =>
    inTurn(LARGE, async () => {
      order.push(nth)
      most = Math.max(most, ++now)
      await pause(2)
      now--
      if (nth === 4) throw new Error('broken')
    }).catch(() => undefined)
  await Promise.all(Array.from({ length: 12 }, (_, nth) => read(nth)))
  expect([most, now]).toEqual([3, 0])
  expect(order).toEqual(order.toSorted((one, other) => one - other))
})

test('small ones wait for nobody', async () => {
  let now = 0
  let most = 0
  const read = () =>
    inTurn(4096, async () => {
      most = Math.max(most, ++now)
      await pause(2)
      now--
    })
  await Promise.all(Array.from({ length: 12 }, read))
  expect(most).toBe(12)
})
