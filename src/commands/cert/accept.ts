/**
 * `postern cert accept`: lets a certificate that waits be used from now on.
 *
 * @module
 */
import { isUsable } from '../../certstore/harvest-rules.ts'
import type { Harvested } from '../../certstore/harvested.ts'
import type { StoredCertificate } from '../../certstore/store.ts'
import type { Config } from '../../config/config.ts'
import { parseCertificate } from '../../crypto/x509/certificate.ts'
import { visible } from '../../log.ts'
import type { Mailbox } from '../../mail/address.ts'
import { withHarvest } from './holdings.ts'
import { accountOf, label } from './words.ts'

/** Whose certificate is meant, and which. */
export interface Acceptance {
  readonly mailbox: Mailbox
  /** Left out: the only one that waits. */
  readonly fingerprint: string | undefined
}

/** Accepts a certificate; 0, or 1 where there is none to accept, with the reason on standard error. */
export async function accept(
  acceptance: Acceptance,
  config: Config,
  json: boolean,
): Promise<number> {
  const accepted = await withHarvest(config, harvest => acceptIn(harvest, acceptance))
  if (accepted === undefined || typeof accepted === 'string') {
    console.error(accepted ?? nothing(acceptance))
    return 1
  }
  const certificate = parseCertificate(accepted.der)
  if (json) console.log(JSON.stringify({ accepted: accountOf(certificate) }, undefined, 2))
  else
    console.log(
      `accepted for ${visible(acceptance.mailbox.toString())}: ${label(certificate)}; it may be used from now on`,
    )
  return 0
}

/** What was accepted, or why nothing was. */
async function acceptIn(
  harvest: Harvested,
  acceptance: Acceptance,
): Promise<StoredCertificate | string> {
  const { mailbox, fingerprint } = acceptance
  const { certificates } = await harvest.record(mailbox)
  const now = Date.now()
  const candidates = certificates.filter(stored =>
    fingerprint === undefined
      ? stored.removedAt === null && !isUsable(stored, now)
      : stored.fingerprint === fingerprint,
  )
  const [first, ...more] = candidates
  if (!first) return nothing(acceptance)
  if (more.length > 0)
    return `${candidates.length} certificates wait: name the one by its FINGERPRINT, as cert pending tells it`
  if (isUsable(first, now)) return `${first.fingerprint} is in use already`
  await harvest.approve(mailbox, first.fingerprint)
  return first
}

function nothing({ mailbox, fingerprint }: Acceptance): string {
  const address = visible(mailbox.toString())
  return fingerprint === undefined
    ? `nothing waits for ${address}`
    : `nothing with the fingerprint ${fingerprint} was harvested from ${address}`
}
