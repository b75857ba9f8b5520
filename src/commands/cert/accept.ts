/**
 * `postern cert accept`: lets a certificate that waits be used from now on.
 *
 * @module
 */
import { inUseOf, isUsable } from '../../certstore/harvest-rules.ts'
import type { Harvested } from '../../certstore/harvested.ts'
import type { Config } from '../../config/config.ts'
import { type Certificate, parseCertificate } from '../../crypto/x509/certificate.ts'
import { visible } from '../../log.ts'
import type { Mailbox } from '../../mail/address.ts'
import { withHarvest } from './holdings.ts'
import { accountOf, label, outOfTime } from './words.ts'

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
  const { certificate, inUse } = accepted
  const unchanged = whyUnchanged(accepted, config, new Date())
  if (json) {
    const account = { accepted: accountOf(certificate), inUse: inUse && accountOf(inUse) }
    console.log(JSON.stringify({ ...account, unchanged }, undefined, 2))
  } else {
    const head = `accepted for ${visible(acceptance.mailbox.toString())}: ${label(certificate)}`
    console.log(`${head}; it may be used from now on`)
    if (unchanged !== undefined) console.log(`nothing changes now: ${unchanged}`)
  }
  return 0
}

interface Accepted {
  readonly certificate: Certificate
  /** What is used of the harvest from now on. */
  readonly inUse: Certificate | undefined
}

/** Why what was accepted is not encrypted to; undefined where it is, as far as the harvest goes. */
function whyUnchanged(
  { certificate, inUse }: Accepted,
  { directory }: Config,
  now: Date,
): string | undefined {
  const time = outOfTime(certificate, now)
  if (time !== '') return `it is ${time}`
  // To all devices is encrypted, however old their certificates are.
  if (!inUse || inUse.fingerprint === certificate.fingerprint || directory.devices === 'all')
    return undefined
  return `${label(inUse)}, ${inUse.fingerprint}, is newer and stays in use`
}

/** What was accepted, or why nothing was. */
async function acceptIn(harvest: Harvested, acceptance: Acceptance): Promise<Accepted | string> {
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
  const record = await harvest.record(mailbox)
  return { certificate: parseCertificate(first.der), inUse: inUseOf(record, Date.now()) }
}

function nothing({ mailbox, fingerprint }: Acceptance): string {
  const address = visible(mailbox.toString())
  return fingerprint === undefined
    ? `nothing waits for ${address}`
    : `nothing with the fingerprint ${fingerprint} was harvested from ${address}`
}
