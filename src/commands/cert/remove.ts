/**
 * `postern cert remove`: takes away what `import` put there, or what was harvested.
 *
 * @module
 */
import { rm } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Config } from '../../config/config.ts'
import { visible } from '../../log.ts'
import { type Holding, holdingsOf, withHarvest } from './holdings.ts'
import { label } from './words.ts'

/** Removes a certificate; 0, or 1 where it cannot, with the reason on standard error. */
export async function remove(fingerprint: string, config: Config): Promise<number> {
  const { holdings } = await holdingsOf(config)
  const found = holdings.filter(it => it.certificate.fingerprint === fingerprint)
  const files = [...new Set(found.flatMap(it => it.file ?? []))]
  const imported = files.filter(file => isImported(file, fingerprint, holdings))
  for (const file of imported) await rm(file)
  const mailboxes = await removeHarvested(found, fingerprint, config)
  const removed = [...imported, ...mailboxes.map(mailbox => `harvested, of ${mailbox}`)]
  for (const where of removed)
    console.log(`removed ${label(found[0]!.certificate)}: ${visible(where)}`)
  for (const file of files)
    if (!imported.includes(file))
      console.error(`stays in ${visible(file)}, which import did not make: take it out there`)
  if (found.length === 0) console.error(`no source on this machine holds ${fingerprint}`)
  return removed.length > 0 ? 0 : 1
}

/** Whether a file bears the name that import gives, and holds that one certificate alone. */
function isImported(file: string, fingerprint: string, holdings: readonly Holding[]): boolean {
  if (basename(file) !== `${fingerprint}.pem`) return false
  return holdings.every(it => it.file !== file || it.certificate.fingerprint === fingerprint)
}

async function removeHarvested(
  found: readonly Holding[],
  fingerprint: string,
  config: Config,
): Promise<readonly string[]> {
  const mailboxes = found.flatMap(it => (it.source === 'harvested' ? it.holders : []))
  if (mailboxes.length > 0)
    await withHarvest(config, async harvest => {
      for (const matchKey of mailboxes) await harvest.remove({ matchKey }, fingerprint)
    })
  return mailboxes
}
