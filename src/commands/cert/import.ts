/**
 * `postern cert import`: puts certificates where the gateway looks for them, each in a file of its own.
 *
 *     FILE… ──▶ certificates ──▶ first folder of `certificates` that can be written to
 *
 * @module
 */
import { access, constants, link, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mailboxKeys } from '../../certstore/bearing.ts'
import { readCertificateFile } from '../../certstore/certificate-file.ts'
import type { Config } from '../../config/config.ts'
import type { Certificate } from '../../crypto/x509/certificate.ts'
import { certificatePem } from '../../crypto/x509/issue.ts'
import { PosternError } from '../../errors.ts'
import { visible } from '../../log.ts'
import { holdingsOf } from './holdings.ts'
import { label, outOfTime, tellFaults } from './words.ts'

/** Prints what became of each certificate; 0, or 1 where none was imported. */
export async function importFiles(files: readonly string[], config: Config): Promise<number> {
  const folder = await folderOf(config)
  const { holdings } = await holdingsOf(config)
  const held = new Map(
    holdings.flatMap(it => (it.file === undefined ? [] : [[it.certificate.fingerprint, it.file]])),
  )
  let imported = 0
  for (const file of files) {
    const { certificates, faults } = await readFrom(file)
    for (const certificate of certificates) {
      const before = held.get(certificate.fingerprint)
      const obstacle = obstacleTo(certificate) ?? (before && `is there already, in ${before}`)
      const stored = obstacle === undefined && (await store(certificate, folder))
      if (stored) imported++
      const outcome = stored ? 'imported' : `not imported: ${obstacle ?? 'is there already'}`
      console.log(`${whatItIs(certificate)}\n  ${visible(outcome)}`)
    }
    tellFaults(faults.map(fault => `${file}: ${fault}`))
  }
  console.log(`${imported} imported into ${visible(folder)}`)
  return imported > 0 ? 0 : 1
}

/**
 * What stands in a file.
 * @throws {PosternError} `ERR_CERTIFICATE_FILE` where it cannot be read.
 */
export async function readFrom(file: string): Promise<ReturnType<typeof readCertificateFile>> {
  try {
    return readCertificateFile(await readFile(file))
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === undefined) throw cause
    const message = `${visible(file)}: cannot be read (${code})`
    throw new PosternError('ERR_CERTIFICATE_FILE', 'permanent', message, { cause })
  }
}

function whatItIs(certificate: Certificate): string {
  if (certificate.isCertificateAuthority) return `${label(certificate)}\n  an authority, for paths`
  const addresses = visible(certificate.addresses.join(', '))
  return `${label(certificate)}\n  ${addresses ? `for ${addresses}` : 'for no address'}`
}

/** Why one would never be used. */
function obstacleTo(certificate: Certificate): string | undefined {
  if (outOfTime(certificate, new Date()) === 'expired')
    return `expired on ${certificate.notAfter.toISOString()}`
  if (certificate.isCertificateAuthority || mailboxKeys(certificate).length > 0) return undefined
  return 'bears no address; a source of kind domain takes it for a whole domain'
}

/** @throws {PosternError} `ERR_IMPORT` where no folder can be written to. */
async function folderOf({ certificates }: Config): Promise<string> {
  for (const source of certificates) {
    if (source.kind !== 'files') continue
    try {
      if (!(await stat(source.files)).isDirectory()) continue
      await access(source.files, constants.W_OK)
      return source.files
    } catch {}
  }
  throw new PosternError(
    'ERR_IMPORT',
    'permanent',
    'no folder to import into: certificates names no `files:` folder that can be written to',
  )
}

/** Where import keeps a certificate; by its name `remove` knows what it may take away. */
function fileFor(fingerprint: string, folder: string): string {
  return join(folder, `${fingerprint}.pem`)
}

/** Whole or not at all: the gateway may be reading. False where there is one of this name. */
async function store({ fingerprint, der }: Certificate, folder: string): Promise<boolean> {
  const draft = join(folder, `.${fingerprint}.${process.pid}`)
  try {
    await writeFile(draft, certificatePem(der), { flag: 'wx', mode: 0o644 })
    await link(draft, fileFor(fingerprint, folder))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}
