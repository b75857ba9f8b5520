/**
 * What encryption costs beside the bare cipher, how fast content flows, and what a thousand recipients
 * do to everybody else: `node test/bench/encrypt.ts`.
 *
 * CPU of the whole process, thread pool included. Ratios hold from machine to machine, rates do not.
 *
 * @module
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { RecipientKey } from '../../src/crypto/cms/recipient-info.ts'
import { type ContentCipher, contentCipher } from '../../src/crypto/content-encryption.ts'
import { keyManagementFor } from '../../src/crypto/key-management.ts'
import { envelop } from '../../src/crypto/smime/envelop.ts'
import type { ValidCertificate } from '../../src/crypto/x509/valid-certificate.ts'
import { cut, each } from '../support/chunks.ts'
import { makeRecipients, type RecipientKind } from '../support/recipients.ts'
import { cpuMs, drain } from './measure.ts'

const KINDS = ['rsa-2048', 'p-256', 'x25519', 'p-384'] as const
const SIZES = [
  ['4 KB', 4096, 400],
  ['50 KB', 51_200, 200],
  ['1 MB', 1_048_576, 20],
] as const
const people = await makeRecipients(KINDS)

for (const name of ['aes-128-cbc', 'aes-256-cbc', 'aes-256-gcm'] as const)
  for (const [title, size, count] of SIZES) await besideTheCipher(name, title, size, count)
for (const kind of KINDS) await oneRecipient(kind)
await flow('aes-256-cbc')
await flow('aes-256-gcm')
await thousand('rsa-2048')
await thousand('p-256')
await thousand('p-384')

/** Rounds of the two alternate, so that a busy machine troubles both alike; the best of each counts. */
async function besideTheCipher(
  name: ContentCipher['name'],
  title: string,
  sizeOctets: number,
  count: number,
): Promise<void> {
  const content = contentCipher(name)
  const octets = randomBytes(sizeOctets)
  const best = { bare: Infinity, whole: Infinity }
  for (let round = 0; round < 6; round++) {
    const bareMs = await cpuMs(count, () => bare(content, octets))
    const whole = () => drain(envelop(each(cut(octets, 65_536)), [keyOf('rsa-2048')], { content }))
    best.bare = Math.min(best.bare, bareMs)
    best.whole = Math.min(best.whole, await cpuMs(count, whole))
  }
  const numbers = `cipher ${best.bare.toFixed(3)} ms, enveloped in base64 ${best.whole.toFixed(3)} ms`
  console.log(`${name}, ${title}, one RSA-2048 recipient: ${numbers}`)
}

async function oneRecipient(kind: RecipientKind): Promise<void> {
  const octets = randomBytes(4096)
  const content = contentCipher('aes-256-gcm')
  let best = Infinity
  for (let round = 0; round < 6; round++) {
    const whole = () => drain(envelop(each(cut(octets, 65_536)), [keyOf(kind)], { content }))
    best = Math.min(best, await cpuMs(100, whole))
  }
  console.log(`aes-256-gcm, 4 KB, one ${kind} recipient: ${best.toFixed(3)} ms`)
}

/** A gigabyte, of which nothing may be held. */
async function flow(name: ContentCipher['name']): Promise<void> {
  const chunk = randomBytes(65_536)
  const content = contentCipher(name)
  const source = async function* (count: number) {
    for (let done = 0; done < count; done++) yield chunk
  }
  await drain(envelop(source(1000), [keyOf('p-256')], { content }))
  const before = process.memoryUsage.rss()
  const count = 16_384
  const ms = await cpuMs(1, () => drain(envelop(source(count), [keyOf('p-256')], { content })))
  const grownMiB = (process.memoryUsage.rss() - before) / 2 ** 20
  const rate = (count * chunk.length) / 1e3 / ms
  console.log(`${name}, 1 GiB: ${rate.toFixed(0)} MB/s, ${grownMiB.toFixed(0)} MiB more in memory`)
}

async function thousand(kind: RecipientKind): Promise<void> {
  const content = contentCipher('aes-256-gcm')
  const many = Array.from({ length: 1000 }, (_, index) => sibling(keyOf(kind), index))
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const start = performance.now()
  delay.enable()
  await drain(envelop(each(cut(Buffer.alloc(4096), 65_536)), many, { content }))
  delay.disable()
  const tookMs = performance.now() - start
  const longestMs = delay.max / 1e6
  console.log(
    `1,000 ${kind} recipients: ${tookMs.toFixed(0)} ms, longest turn ${longestMs.toFixed(1)} ms`,
  )
}

function keyOf(kind: RecipientKind): RecipientKey {
  const { certificate } = people.of(kind)
  return { certificate, management: keyManagementFor(certificate.publicKey, 'rsa-pkcs1') }
}

/** Another certificate of the same key. */
function sibling(key: RecipientKey, index: number): RecipientKey {
  const certificate = Object.create(key.certificate, {
    fingerprint: { value: String(index) },
    publicKey: { value: key.certificate.publicKey },
  }) as ValidCertificate<'encrypt'>
  return { ...key, certificate }
}

function bare({ name, keyOctets, authenticated }: ContentCipher, octets: Buffer): void {
  const nonce = randomBytes(authenticated ? 12 : 16)
  const cipher = createCipheriv(name, randomBytes(keyOctets), nonce)
  for (let start = 0; start < octets.length; start += 65_536)
    cipher.update(octets.subarray(start, start + 65_536))
  cipher.final()
}
