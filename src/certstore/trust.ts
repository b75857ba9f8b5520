/**
 * Whom the organisation believes: authorities and revocation lists, read from files.
 *
 * @module
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { readCertificateFile } from './certificate-file.ts'

/** What stands in the files of `trust.anchors`. */
export interface TrustFiles {
  /** Authorities that are believed. */
  readonly anchors: readonly Certificate[]
  /** DER. */
  readonly revocationLists: readonly Buffer[]
  /** What was wrong, for the operator: file and reason. A file that cannot be read spoils no other. */
  readonly faults: readonly string[]
}

/**
 * Reads files and folders. Every authority that lies there is an anchor: whoever put it there believes
 * it, whoever has issued it (RFC 5280 §6.1.1 d).
 */
export async function readTrustFiles(paths: readonly string[]): Promise<TrustFiles> {
  const anchors: Certificate[] = []
  const revocationLists: Buffer[] = []
  const faults: string[] = []
  for (const path of paths) {
    for (const file of await filesOf(path, faults)) {
      const read = readCertificateFile(await readFile(file))
      for (const certificate of read.certificates)
        if (certificate.isCertificateAuthority) anchors.push(certificate)
        else faults.push(`${file}: ${certificate.subjectText} is no authority`)
      revocationLists.push(...read.revocationLists)
      faults.push(...read.faults.map(fault => `${file}: ${fault}`))
    }
  }
  return { anchors, revocationLists, faults }
}

async function filesOf(path: string, faults: string[]): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const names = (await readdir(path)).filter(name => ENDING.test(name)).toSorted()
    return names.map(name => join(path, name))
  } catch (error) {
    faults.push(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
    return []
  }
}

const ENDING = /\.(?:pem|crt|cer|der|p7b|p7c|sst|crl)$/i
