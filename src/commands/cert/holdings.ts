/**
 * Everything that the sources on this machine hold: files, and what was harvested.
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { type FilesResolver, openFiles } from '../../certstore/files.ts'
import { type Harvested, openHarvested } from '../../certstore/harvested.ts'
import { openSqliteStore } from '../../certstore/store.ts'
import type { Config } from '../../config/config.ts'
import type { Certificate } from '../../crypto/x509/certificate.ts'
import { certificateStoreFile } from '../assembly.ts'

/** A certificate, and where it lies. */
export interface Holding {
  readonly certificate: Certificate
  /** The source's name: `files:PATH`, `domain:DOMAIN`, `harvested`. */
  readonly source: string
  /** Absolute; undefined for what was harvested. */
  readonly file?: string
  /** Of whom: the addresses that it bears, `@DOMAIN`, or the mailbox that it was harvested from. */
  readonly holders: readonly string[]
  /** Why it is not used yet. */
  readonly waits?: string
}

/** What is held, source by source as they are asked, and what could not be read. */
export async function holdingsOf(
  config: Config,
): Promise<{ readonly holdings: readonly Holding[]; readonly faults: readonly string[] }> {
  const holdings: Holding[] = []
  const faults: string[] = []
  for (const source of config.certificates) {
    if (source.kind === 'files')
      holdings.push(...(await inFiles(openFiles({ files: source.files }), faults)))
    if (source.kind === 'domain') {
      const name = `domain:${source.domain}`
      const held = await inFiles(openFiles({ files: source.files, name }), faults)
      holdings.push(...held.map(it => ({ ...it, holders: [`@${source.domain}`] })))
    }
    if (source.kind === 'harvested') holdings.push(...(await harvested(config)))
  }
  return { holdings, faults }
}

/** Opens the harvest for a moment; undefined where nothing was ever harvested. */
export async function withHarvest<T>(
  config: Config,
  work: (harvested: Harvested) => Promise<T>,
): Promise<T | undefined> {
  const file = certificateStoreFile(config)
  if (!existsSync(file)) return undefined
  const ownDomains = new Set(config.domains)
  const opened = openHarvested({ store: openSqliteStore(file), ownDomains })
  try {
    return await work(opened)
  } finally {
    opened.close?.()
  }
}

async function inFiles(files: FilesResolver, faults: string[]): Promise<Holding[]> {
  try {
    const reports = await files.list()
    // Listed is what could be read: that the folder itself cannot be is told by this alone.
    if (reports.length === 0) await files.everything(new AbortController().signal)
    for (const report of reports)
      faults.push(...report.faults.map(fault => `${report.file}: ${fault}`))
    return reports.flatMap(({ file, certificates }) =>
      certificates.map(certificate => {
        const { addresses: holders } = certificate
        return { certificate, source: files.name, file, holders }
      }),
    )
  } catch (error) {
    const { message, cause } = error as Error
    faults.push(cause instanceof Error ? `${message} (${cause.message})` : message)
    return []
  } finally {
    files.close()
  }
}

async function harvested(config: Config): Promise<Holding[]> {
  const all = (await withHarvest(config, harvest => harvest.everything())) ?? []
  const now = Date.now()
  return all.map(({ matchKey, certificate, usableFrom }) => ({
    ...{ certificate, source: 'harvested', holders: [matchKey] },
    ...(usableFrom === null && { waits: 'waits for approval' }),
    ...(usableFrom !== null &&
      usableFrom > now && { waits: `waits until ${new Date(usableFrom).toISOString()}` }),
  }))
}
