import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sweepAfter } from '../../src/mail/sweep.ts'

const host = globalThis as { gc?: unknown }
const before = host.gc

beforeEach(() => {
  host.gc = vi.fn<(how: object) => void>()
})
afterEach(() => {
  host.gc = before
})

test('the young generation is swept once for every 16 MiB that are of no more use', () => {
  const mebibyte = 1024 * 1024
  for (let count = 0; count < 15; count++) sweepAfter(mebibyte)
  expect(host.gc).not.toHaveBeenCalled()
  for (let count = 0; count < 17; count++) sweepAfter(mebibyte)
  expect(host.gc).toHaveBeenCalledTimes(2)
  expect(host.gc).toHaveBeenCalledWith({ type: 'minor' })
})

test('nothing is swept where a process may not ask for it', () => {
  host.gc = undefined
  expect(() => sweepAfter(2 ** 30)).not.toThrow()
})
