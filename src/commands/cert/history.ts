/**
 * `postern cert history` and `undo`: what became of the certificates of a mailbox, and one step back.
 *
 * @module
 */
import type { StoreRecord } from '../../certstore/store.ts'
import type { Config } from '../../config/config.ts'
import { parseCertificate } from '../../crypto/x509/certificate.ts'
import { visible } from '../../log.ts'
import type { Mailbox } from '../../mail/address.ts'
import { eventAccount, eventText, stateOf, storedAccount } from './harvest-words.ts'
import { withHarvest } from './holdings.ts'
import { label, row } from './words.ts'

/** Prints what was done; 0, or 1 where nothing was ever harvested from the mailbox. */
export async function history(mailbox: Mailbox, config: Config, json: boolean): Promise<number> {
  const record = (await withHarvest(config, harvest => harvest.record(mailbox))) ?? NOTHING
  if (json) console.log(JSON.stringify(inFields(record), undefined, 2))
  else if (record.certificates.length > 0) console.log(inWords(record))
  if (record.certificates.length > 0) return 0
  console.error(`nothing was harvested from ${visible(mailbox.toString())}`)
  return 1
}

/** Takes the last change back; 0, or 1 where there is none. */
export async function undo(mailbox: Mailbox, config: Config, json: boolean): Promise<number> {
  const done = await withHarvest(config, async harvest => {
    const undone = await harvest.undo(mailbox)
    return undone && { undone, record: await harvest.record(mailbox) }
  })
  if (!done) {
    console.error(`nothing to undo for ${visible(mailbox.toString())}`)
    return 1
  }
  const { undone, record } = done
  if (json)
    console.log(JSON.stringify({ undone: eventAccount(undone), ...inFields(record) }, undefined, 2))
  else console.log(`undone: ${eventText(record, undone)}\n${states(record)}`)
  return 0
}

function inWords(record: StoreRecord): string {
  const events = record.history.map(event => eventText(record, event))
  return [...events, states(record)].join('\n')
}

/** What may be done with each by now. */
function states({ certificates }: StoreRecord): string {
  const now = Date.now()
  return certificates
    .flatMap(stored => [
      `${label(parseCertificate(stored.der))}`,
      row('fingerprint', stored.fingerprint),
      row('now', stateOf(stored, now)),
    ])
    .join('\n')
}

function inFields({ history: events, certificates }: StoreRecord) {
  const now = Date.now()
  return {
    history: events.map(eventAccount),
    certificates: certificates.map(stored => storedAccount(stored, now)),
  }
}

const NOTHING: StoreRecord = { certificates: [], history: [] }
