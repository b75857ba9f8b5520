/**
 * How the harvest is told to people and to programs.
 *
 * @module
 */
import { isUsable } from '../../certstore/harvest-rules.ts'
import type { StoredCertificate, StoreEvent, StoreRecord } from '../../certstore/store.ts'
import { readCapabilities } from '../../crypto/cms/capabilities.ts'
import { parseCertificate } from '../../crypto/x509/certificate.ts'
import { accountOf, label } from './words.ts'

/** What may be done with one, in words: `in use`, `waits until …`, `waits for approval`, `taken out …`. */
export function stateOf(stored: StoredCertificate, now: number): string {
  const { removedAt, usableFrom } = stored
  if (removedAt !== null) return `taken out ${timeText(removedAt)}`
  if (isUsable(stored, now)) return 'in use'
  return usableFrom === null ? 'waits for approval' : `waits until ${timeText(usableFrom)}`
}

/** What was done to a certificate, in words. */
export function eventText({ certificates }: StoreRecord, { at, event, fingerprint }: StoreEvent) {
  const stored = certificates.find(one => one.fingerprint === fingerprint)
  const what = stored ? label(parseCertificate(stored.der)) : fingerprint
  return `${timeText(at)}  ${EVENTS[event] ?? event}: ${what}`
}

/** What programs are told of one. */
export function storedAccount(stored: StoredCertificate, now: number) {
  const { der, firstSeen, signedAt, capabilities } = stored
  return {
    ...accountOf(parseCertificate(der)),
    state: stateOf(stored, now),
    firstSeen: new Date(firstSeen),
    signedAt: new Date(signedAt),
    capabilities:
      capabilities === null ? undefined : readCapabilities(capabilities).map(({ oid }) => oid),
  }
}

/** What programs are told of something that was done. */
export function eventAccount({ at, event, fingerprint }: StoreEvent) {
  return { at: new Date(at), event, fingerprint }
}

export function timeText(time: number): string {
  return new Date(time).toISOString()
}

const EVENTS: Readonly<Record<string, string>> = {
  stored: 'came, and was used at once',
  waiting: 'came with another key, and waited',
  approved: 'accepted',
  removed: 'taken out',
  undone: 'undone what was done last',
}
