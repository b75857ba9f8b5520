/**
 * Revocation lists: long ones, forged ones, stale ones, and what each says of whom.
 *
 * @module
 */
import { performance } from 'node:perf_hooks'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Certificate } from '../../../src/crypto/x509/certificate.ts'
import { type Crl, parseCrl } from '../../../src/crypto/x509/crl.ts'
import { statusByCrls } from '../../../src/crypto/x509/crl-status.ts'
import { pathBudget } from '../../../src/crypto/x509/path-budget.ts'
import { askForStatus } from '../../../src/crypto/x509/revocation.ts'
import {
  basicConstraints,
  extension,
  keyUsage,
  makeCertificate,
  makeKey,
  name,
} from '../make-certificate.ts'
import { casesOf, noCorpora, readSignedMessage } from './corpora.ts'
import {
  type CrlPlan,
  certificateIssuer,
  crlEntry,
  crlNumber,
  deltaOf,
  indirect,
  makeCrlDer,
  serialOf,
} from './make-crl.ts'

const TIME = new Date('2026-11-23T12:00:00Z')
const HOUR_MS = 3_600_000
const REVOKED_AT = new Date('2026-11-01T00:00:00Z')
const key = makeKey('P-256')
const strangerKey = makeKey('P-256')
const CA = name('Authority')
let ca: Certificate
let user: Certificate

beforeAll(async () => {
  const extensions = [basicConstraints(true), keyUsage(5, 6)]
  ca = await makeCertificate({ key, subject: CA, extensions })
  user = await makeCertificate({
    ...{ key: makeKey('P-256'), subject: name('User'), issuer: CA, issuerKey: key },
    serialNumber: serialOf(7),
  })
})

describe('a list of 100,000 entries', () => {
  test('is read without holding up the event loop for more than 50 ms, and found in at once', async () => {
    const entries = Array.from({ length: 100_000 }, (_, number) =>
      crlEntry(serialOf(number), REVOKED_AT, number % 5 === 0 ? 1 : undefined),
    )
    const der = await makeCrlDer(plan({ entries }))
    let longest = 0
    let last = performance.now()
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 1)
    const before = process.memoryUsage().arrayBuffers
    const crl = await parseCrl(der)
    const status = await statusOf([crl])
    clearInterval(timer)
    expect(longest).toBeLessThan(50)
    expect(status).toMatchObject({ kind: 'revoked' })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024)
    expect(crl.size).toBe(100_000)
    for (let number = 0; number < 100_000; number += 97)
      expect(crl.entryOf(serialOf(number), CA)).toEqual({
        revokedAt: REVOKED_AT,
        reason: number % 5 === 0 ? 'keyCompromise' : 'unspecified',
      })
    const started = performance.now()
    for (let number = 100_000; number < 110_000; number++)
      if (crl.entryOf(serialOf(number), CA)) throw new Error(`${number} was not revoked`)
    expect(performance.now() - started).toBeLessThan(500)
  })
})

describe('what a list says', () => {
  test.each([
    ['nothing of others', crlEntry(serialOf(8), REVOKED_AT), { kind: 'good' }],
    ['revoked', crlEntry(serialOf(7), REVOKED_AT), { kind: 'revoked', at: REVOKED_AT }],
    ['the reason', crlEntry(serialOf(7), REVOKED_AT, 4), { reason: 'superseded' }],
    ['hold', crlEntry(serialOf(7), REVOKED_AT, 6), { reason: 'certificateHold' }],
    [
      'an entry that is not understood',
      crlEntry(serialOf(9), REVOKED_AT, 1, extension('1.2.3', Buffer.alloc(0), true)),
      { kind: 'unknown', why: 'unknown-critical-extension' },
    ],
  ])('B44 %s', async (_, entry, expected) => {
    expect(await status({ entries: [entry] })).toMatchObject(expected)
  })

  test('an empty list', async () => {
    expect(await status({})).toMatchObject({ kind: 'good' })
  })

  test('B43 stale lists make nobody good, and keep revoked who is, but for a hold', async () => {
    const nextUpdate = new Date(TIME.getTime() - HOUR_MS)
    const thisUpdate = new Date(TIME.getTime() - 2 * HOUR_MS)
    const old = (...entries: Buffer[]) => status({ thisUpdate, nextUpdate, entries })
    expect(await old()).toMatchObject({ kind: 'unknown', why: 'stale' })
    expect(await old(crlEntry(serialOf(7), REVOKED_AT))).toMatchObject({ kind: 'revoked' })
    expect(await old(crlEntry(serialOf(7), REVOKED_AT, 6))).toMatchObject({ kind: 'unknown' })
    const future = {
      thisUpdate: new Date(TIME.getTime() + HOUR_MS),
      nextUpdate: new Date('2027-01-01'),
    }
    expect(await status(future)).toMatchObject({ kind: 'unknown', why: 'stale' })
    const endless = await parseCrl(await makeCrlDer({ issuer: CA, issuerKey: key, thisUpdate }))
    expect(await statusOf([endless])).toMatchObject({ kind: 'unknown', why: 'stale' })
  })

  test('R10 a forged list says nothing', async () => {
    const forged = { issuerKey: strangerKey, entries: [crlEntry(serialOf(7), REVOKED_AT)] }
    expect(await status(forged)).toMatchObject({ kind: 'unknown', why: 'signature-invalid' })
  })

  test('a list of another issuer is no answer', async () => {
    expect(await status({ issuer: name('Other') })).toMatchObject({ why: 'no-answer' })
  })

  test('a delta list takes from and adds to its complete one', async () => {
    const hold = [crlEntry(serialOf(7), REVOKED_AT, 6)]
    const lifted = [crlEntry(serialOf(7), REVOKED_AT, 8)]
    const complete = await parseCrl(await makeCrlDer(plan({ entries: hold })))
    const delta = (entries: readonly Buffer[], number: number) =>
      makeCrlDer(plan({ entries, extensions: [crlNumber(number), deltaOf(1)] })).then(parseCrl)
    expect(await statusOf([complete, await delta(lifted, 2)])).toMatchObject({ kind: 'good' })
    expect(await statusOf([complete, await delta(lifted, 1)])).toMatchObject({ kind: 'revoked' })
    expect(await statusOf([await delta(lifted, 2)])).toMatchObject({ why: 'no-answer' })
    const clean = await parseCrl(await makeCrlDer(plan({})))
    expect(await statusOf([clean, await delta(hold, 2)])).toMatchObject({ kind: 'revoked' })
    const unclear = [crlNumber(2), deltaOf(1), extension('1.2.3', Buffer.alloc(0), true)]
    const notUnderstood = await parseCrl(await makeCrlDer(plan({ extensions: unclear })))
    expect(await statusOf([clean, notUnderstood])).toMatchObject({
      why: 'unknown-critical-extension',
    })
    const ofLater = plan({ entries: hold, extensions: [crlNumber(9), deltaOf(8)] })
    expect(await statusOf([clean, await parseCrl(await makeCrlDer(ofLater))])).toMatchObject({
      kind: 'good',
    })
    const ofOtherScope = plan({ entries: hold, extensions: [crlNumber(2), deltaOf(1), indirect()] })
    expect(await statusOf([clean, await parseCrl(await makeCrlDer(ofOtherScope))])).toMatchObject({
      kind: 'good',
    })
  })

  test('an indirect list tells issuers apart, from entry to entry', async () => {
    const entries = [
      crlEntry(serialOf(1), REVOKED_AT),
      crlEntry(serialOf(7), REVOKED_AT, 1, certificateIssuer(name('Other'))),
      crlEntry(serialOf(2), REVOKED_AT),
      crlEntry(serialOf(7), REVOKED_AT, 4, certificateIssuer(CA)),
    ]
    const crl = await parseCrl(
      await makeCrlDer(plan({ entries, extensions: [crlNumber(1), indirect()] })),
    )
    expect(crl.entryOf(serialOf(7), CA)).toMatchObject({ reason: 'superseded' })
    expect(crl.entryOf(serialOf(7), name('Other'))).toMatchObject({ reason: 'keyCompromise' })
    expect(crl.entryOf(serialOf(2), name('Other'))).toBeDefined()
    expect(crl.entryOf(serialOf(2), CA)).toBeUndefined()
    expect(crl.entryOf(serialOf(1), CA)).toBeDefined()
  })

  test('a list is verified once', async () => {
    const crl = await parseCrl(await makeCrlDer(plan({})))
    const budget = pathBudget({ signatures: 1 })
    for (let time = 0; time < 3; time++)
      expect(await statusOf([crl], budget)).toMatchObject({ kind: 'good' })
  })
})

test('B43 several are asked until one knows', async () => {
  const none = statusByCrls([], [])
  const crl = await parseCrl(await makeCrlDer(plan({})))
  expect(await askForStatus([none, none]).statusOf(question())).toMatchObject({ kind: 'unknown' })
  const both = askForStatus([none, statusByCrls([crl], [])])
  expect(await both.statusOf(question())).toMatchObject({ kind: 'good' })
})

describe('B57 what is no list', () => {
  test('too large', async () => {
    await expect(parseCrl(Buffer.alloc(10_485_761))).rejects.toMatchObject({
      code: 'ERR_CRL_SYNTAX',
    })
  })

  test.skipIf(noCorpora)('whatever is altered, the only error is ours', async () => {
    const [der] = readSignedMessage(casesOf('path')[0]!.file).crls
    for (let at = 0; at < der!.length; at++)
      for (const flip of [0x01, 0x80, 0xff]) {
        const altered = Buffer.from(der!)
        altered[at]! ^= flip
        expect(await codeOf(altered)).toMatch(/^(none|ERR_CRL_SYNTAX)$/)
      }
  })

  test('entries that are cut short, endless or empty', async () => {
    for (const content of ['3000', '30', '308000', '3084ffffffff', '3012020101170d', '0000'])
      expect(await codeOf(await makeCrlDer(plan({ entries: [Buffer.from(content, 'hex')] })))).toBe(
        'ERR_CRL_SYNTAX',
      )
  })
})

function plan(change: Partial<CrlPlan>): CrlPlan {
  const thisUpdate = new Date(TIME.getTime() - HOUR_MS)
  const nextUpdate = new Date(TIME.getTime() + HOUR_MS)
  return { issuer: CA, issuerKey: key, thisUpdate, nextUpdate, ...change }
}

async function status(change: Partial<CrlPlan>) {
  return statusOf([await parseCrl(await makeCrlDer(plan(change)))])
}

function statusOf(crls: readonly Crl[], budget = pathBudget()) {
  return statusByCrls(crls, []).statusOf({ ...question(), budget })
}

function question() {
  return {
    ...{ certificate: user, issuer: ca, anchor: ca, time: TIME },
    ...{ budget: pathBudget(), allowSha1: false },
  }
}

async function codeOf(der: Buffer): Promise<string> {
  try {
    await parseCrl(der)
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}
