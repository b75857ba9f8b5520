/**
 * What signing costs beside the bare signature, and how fast content flows: `node test/bench/sign.ts`.
 *
 * CPU of the whole process, thread pool included. Ratios hold from machine to machine, rates do not.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import type { Signer } from '../../src/crypto/key.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../src/crypto/smime/opaque-sign.ts'
import { checked } from '../../src/crypto/smime/self-check.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { cut, each } from '../support/chunks.ts'
import { cpuMs, drain } from './measure.ts'

const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
const P256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const SMALL = canonical(4096)
const LARGE = canonical(25 * 2 ** 20)

await ratio('RSA-2048, 4 KB', signerFor(RSA.privateKey), 400)
await ratio('P-256, 4 KB', signerFor(P256.privateKey), 2000)
await throughput('clear and self-check, 25 MB', clearSign, true)
await throughput('clear alone, 25 MB', clearSign, false)
await throughput('opaque and self-check, 25 MB', opaqueSign, true)
await throughput('opaque alone, 25 MB', opaqueSign, false)

/**
 * Rounds of the two alternate, so that a busy machine troubles both alike; the best of each counts.
 * One at a time, a process that sleeps between two messages pays for waking up as well.
 */
async function ratio(name: string, signer: Signer, count: number): Promise<void> {
  const octets = randomBytes(500)
  const options = { signingTime: new Date() }
  const whole = () => drain(checked(clearSign(each(cut(SMALL, 65_536)), signer, options), signer))
  for (const atOnce of [1, 8]) {
    const batch = (run: () => Promise<unknown>) => () =>
      Promise.all(Array.from({ length: atOnce }, run))
    const best = { bare: Infinity, whole: Infinity }
    for (let round = 0; round < 8; round++) {
      const bareMs = await cpuMs(
        count / atOnce,
        batch(() => signer.sign(octets)),
      )
      const wholeMs = await cpuMs(count / atOnce, batch(whole))
      best.bare = Math.min(best.bare, bareMs / atOnce)
      best.whole = Math.min(best.whole, wholeMs / atOnce)
    }
    const numbers = `bare ${best.bare.toFixed(3)} ms, signed and checked ${best.whole.toFixed(3)} ms`
    console.log(
      `${name}, ${atOnce} at once: ${numbers}, ratio ${(best.whole / best.bare).toFixed(2)}`,
    )
  }
}

async function throughput(name: string, sign: typeof clearSign, check: boolean): Promise<void> {
  const signer = signerFor(P256.privateKey)
  let best = Infinity
  for (let round = 0; round < 8; round++) {
    const signed = sign(each(cut(LARGE, 65_536)), signer, { signingTime: new Date() })
    best = Math.min(best, await cpuMs(1, () => drain(check ? checked(signed, signer) : signed)))
  }
  console.log(`${name}: ${(((LARGE.length / best) * 1000) / 1e6).toFixed(0)} MB/s`)
}

function canonical(size: number): Buffer {
  const header = 'Content-Type: text/plain\r\n\r\n'
  const line = `${randomBytes(57).toString('base64')}\r\n`
  return Buffer.from(header + line.repeat(Math.ceil(size / line.length)))
}

function signerFor(key: KeyObject): Signer {
  const folder = mkdtempSync(join(tmpdir(), 'postern-bench-'))
  try {
    const file = join(folder, 'key.pem')
    writeFileSync(file, key.export({ format: 'pem', type: 'pkcs8' }))
    const out = ['-outform', 'DER', '-out', join(folder, 'certificate.der')]
    execFileSync('openssl', ['req', '-x509', '-new', '-key', file, '-subj', '/CN=Bench', ...out])
    const certificate = parseCertificate(readFileSync(join(folder, 'certificate.der')))
    const algorithm = signatureAlgorithmFor(certificate.publicKey, {})
    const privateKey = createPrivateKey(readFileSync(file))
    return {
      certificate,
      path: [],
      algorithm,
      sign: octets => signOctets(privateKey, algorithm, octets),
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
