/**
 * What the directory costs with very many mailboxes, and how long it holds up everybody else:
 * `node test/bench/directory.ts`.
 *
 *     MAILBOXES=100000   mailboxes, each with a certificate of its own
 *     ENTRIES=50000      of a revocation list
 *     STORE=20000        certificates in one PKCS #7
 *
 * Times are those of the main thread's CPU: what others do on the machine does not count.
 *
 * @module
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { cached } from '../../src/certstore/cache.ts'
import {
  readCertificateFile,
  readCertificateFileInTurns,
} from '../../src/certstore/certificate-file.ts'
import { createDirectory, type Directory } from '../../src/certstore/directory.ts'
import { openFiles } from '../../src/certstore/files.ts'
import type { CertificateResolver } from '../../src/certstore/resolver.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { parseCrl } from '../../src/crypto/x509/crl.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import { type Mailbox, parseMailbox } from '../../src/mail/address.ts'
import { certsOnly } from '../certstore/people.ts'
import { crlEntry, makeCrlDer } from '../crypto/x509/make-crl.ts'
import { temporaryFolder } from '../support/gateway-process.ts'

const MAILBOXES = Number(process.env['MAILBOXES'] ?? 100_000)
const ENTRIES = Number(process.env['ENTRIES'] ?? 50_000)
const STORE = Number(process.env['STORE'] ?? 20_000)
const NEVER = new AbortController().signal
const lifetime = { notBefore: new Date('2025-01-01'), notAfter: new Date('2045-01-01') }
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const root = await issue({ ...lifetime, commonName: 'Root', authority: true })
const ders = await issueAll()
await lookups(ders)
await revocationList()
await store(ders.slice(0, STORE))

/** They share a key: that is what takes time to make. */
async function issueAll(): Promise<readonly Buffer[]> {
  const key: Issued = await issue({ ...lifetime, commonName: 'key', key: 'rsa-2048' })
  const made: Buffer[] = []
  for (let at = 0; at < Math.max(MAILBOXES, STORE); at++) {
    const names = { commonName: `User ${at}`, addresses: [addressOf(at)] }
    made.push((await issue({ ...lifetime, ...names, issuer: root, key })).der)
  }
  return made
}

/** A remote source that answers at once, behind the cache, the validation and the choice. */
async function lookups(all: readonly Buffer[]): Promise<void> {
  let asked = 0
  const source: CertificateResolver = {
    name: 'bench',
    find: async ({ localPart }) => {
      asked++
      const der = all[Number(localPart.slice(1))]
      if (!der) return []
      return [{ certificate: parseCertificate(der), source: 'bench', via: 'address' }]
    },
  }
  const anchors = [parseCertificate(root.der)]
  const trust = { anchors, intermediates: [], revocationMode: 'off' as const }
  const directory = createDirectory([cached(source)], trust, () => new Date())
  const boxes = Array.from({ length: MAILBOXES }, (_, at) => parseMailbox(addressOf(at)))
  const before = memoryMiB()
  const cold = await perSecond(directory, boxes)
  const after = memoryMiB()
  tell(`${MAILBOXES} mailboxes, cold: ${cold} lookups/s, ${asked} questions`)
  const heap = (after.heapMiB - before.heapMiB).toFixed(0)
  tell(
    `  memory: ${heap} MiB of heap, ${(after.outsideMiB - before.outsideMiB).toFixed(0)} outside it`,
  )
  for (const round of [1, 2])
    tell(`  warm, all of them, round ${round}: ${await perSecond(directory, boxes)} lookups/s`)
  const few = boxes.slice(0, 2_000)
  const often = Array.from({ length: 50 }, () => few).flat()
  tell(`  warm, 2,000 of them again and again: ${await perSecond(directory, often)} lookups/s`)
  const nobody = boxes.map(({ localPart }) => parseMailbox(`x${localPart}@nobody.test`))
  tell(`  strangers, cold: ${await perSecond(directory, nobody)} lookups/s`)
  if (asked !== MAILBOXES * 2) throw new Error(`${asked} questions`)
}

async function perSecond(directory: Directory, boxes: readonly Mailbox[]): Promise<number> {
  const began = cpuMs()
  for (const box of boxes) await directory.search(box, NEVER)
  return Math.round((boxes.length / (cpuMs() - began)) * 1000)
}

async function revocationList(): Promise<void> {
  const serials = Array.from({ length: ENTRIES }, (_, at) => {
    const serial = Buffer.alloc(16, 0x5a)
    serial.writeUInt32BE(at, 4)
    return serial
  })
  const der = await makeCrlDer({
    issuer: root.subject,
    issuerKey: root,
    thisUpdate: lifetime.notBefore,
    nextUpdate: lifetime.notAfter,
    entries: serials.map(serial => crlEntry(serial, lifetime.notBefore, 1)),
  })
  const { tookMs, longestMs } = await watched(() => parseCrl(der))
  tell(`revocation list, ${ENTRIES} entries: ${tookMs} ms, longest turn ${longestMs} ms`)
}

/** One PKCS #7 with very many: at once, in turns, and as a folder that is watched. */
async function store(all: readonly Buffer[]): Promise<void> {
  const octets = certsOnly(...all)
  const sizeMiB = (octets.length / 2 ** 20).toFixed(1)
  const atOnce = await watched(async () => readCertificateFile(octets))
  const inTurns = await watched(() => readCertificateFileInTurns(octets))
  tell(`PKCS #7, ${all.length} certificates, ${sizeMiB} MiB`)
  tell(`  at once:  ${atOnce.tookMs} ms, longest turn ${atOnce.longestMs} ms`)
  tell(`  in turns: ${inTurns.tookMs} ms, longest turn ${inTurns.longestMs} ms`)
  const folder = await temporaryFolder('bench')
  await writeFile(join(folder.path, 'all.p7b'), octets)
  const files = openFiles({ files: folder.path })
  const whole = await watched(() => files.find(parseMailbox(addressOf(7)), NEVER))
  tell(`  as a folder: ${whole.tookMs} ms, longest turn ${whole.longestMs} ms`)
  files.close?.()
  await folder.remove()
}

/** The longest time for which nobody else had a turn. */
async function watched(work: () => Promise<unknown>) {
  let longest = 0
  let isDone = false
  let last = 0
  const watch = async (): Promise<void> => {
    while (!isDone) {
      await setImmediate()
      longest = Math.max(longest, cpuMs() - last)
      last = cpuMs()
    }
  }
  collect()
  last = cpuMs()
  const watching = watch()
  await setImmediate()
  const began = cpuMs()
  await work()
  const tookMs = Math.round(cpuMs() - began)
  isDone = true
  await watching
  return { tookMs, longestMs: Math.round(longest) }
}

/** Of this thread alone; the thread pool verifies signatures beside it. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

function memoryMiB() {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return { heapMiB: heapUsed / 2 ** 20, outsideMiB: external / 2 ** 20 }
}

function addressOf(at: number): string {
  return `u${at}@partner.test`
}

function tell(line: string): void {
  console.log(line)
}
