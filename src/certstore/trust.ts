/**
 * Whom the organisation believes: authorities and revocation lists, read from files.
 *
 * @module
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Crl, parseCrl } from '../crypto/x509/crl.ts'
import { statusByCrls } from '../crypto/x509/crl-status.ts'
import { askForStatus } from '../crypto/x509/revocation.ts'
import { PosternError } from '../errors.ts'
import { readCertificateFile } from './certificate-file.ts'
import { type Fetch, fetcher } from './fetch.ts'
import { onlineRevocation } from './online-revocation.ts'
import type { Trust } from './validate.ts'

/**
 * What the organisation trusts, by its files.
 *
 * @param fetch How revocation services are reached; default: in the public Internet alone.
 */
export async function readTrust(
  paths: readonly string[],
  revocationMode: Trust['revocationMode'],
  fetch: Fetch = fetcher(),
): Promise<{ readonly trust: Trust; readonly faults: readonly string[] }> {
  const { anchors, revocationLists, faults, isIncomplete } = await readTrustFiles(paths)
  const online = onlineRevocation({ fetch, signers: anchors })
  // The world only where the lists at hand do not know.
  const revocation = askForStatus([statusByCrls(revocationLists, anchors), online])
  return {
    trust: { anchors, intermediates: [], isIncomplete, revocation, revocationMode },
    faults,
  }
}

/** What stands in the files of `trust.anchors`. */
export interface TrustFiles {
  /** Authorities that are believed. */
  readonly anchors: readonly Certificate[]
  readonly revocationLists: readonly Crl[]
  /** What was wrong, for the operator: file and reason. A file that cannot be read spoils no other. */
  readonly faults: readonly string[]
  /** A file or folder gave nothing, and something was wrong with it: anchors may be missing. */
  readonly isIncomplete: boolean
}

/**
 * Reads files and folders. Every authority that lies there is an anchor: whoever put it there believes
 * it, whoever has issued it (RFC 5280 §6.1.1 d).
 */
export async function readTrustFiles(paths: readonly string[]): Promise<TrustFiles> {
  const anchors: Certificate[] = []
  const revocationLists: Crl[] = []
  const faults: string[] = []
  let isIncomplete = false
  const unread = (path: string, error: unknown): undefined => {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown'
    faults.push(`${path}: cannot be read (${code})`)
    isIncomplete = true
  }
  for (const path of paths) {
    for (const file of (await filesOf(path).catch(error => unread(path, error))) ?? []) {
      const octets = await readFile(file).catch(error => unread(file, error))
      if (!octets) continue
      const read = readCertificateFile(octets)
      if (read.certificates.length + read.revocationLists.length === 0) isIncomplete = true
      for (const certificate of read.certificates)
        if (certificate.isCertificateAuthority) anchors.push(certificate)
        else faults.push(`${file}: ${certificate.subjectText} is no authority`)
      for (const der of read.revocationLists)
        revocationLists.push(...(await crlOf(der, file, faults)))
      faults.push(...read.faults.map(fault => `${file}: ${fault}`))
    }
  }
  return { anchors, revocationLists, faults, isIncomplete }
}

async function crlOf(der: Buffer, file: string, faults: string[]): Promise<readonly Crl[]> {
  try {
    return [await parseCrl(der)]
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    faults.push(`${file}: ${error.message}`)
    return []
  }
}

async function filesOf(path: string): Promise<readonly string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const names = (await readdir(path)).filter(name => ENDING.test(name)).toSorted()
  return names.map(name => join(path, name))
}

const ENDING = /\.(?:pem|crt|cer|der|p7b|p7c|sst|crl)$/i
