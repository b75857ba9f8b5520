/**
 * `postern cert pending`: what signed mail has brought and nobody uses yet.
 *
 * @module
 */
import type { PendingCertificate } from '../../certstore/harvested.ts'
import type { Config } from '../../config/config.ts'
import { visible } from '../../log.ts'
import { timeText } from './harvest-words.ts'
import { withHarvest } from './holdings.ts'
import { accountOf, describe, label, outOfTime, row } from './words.ts'

/** Prints what waits; 0. */
export async function pending(config: Config, json: boolean): Promise<number> {
  const waiting = (await withHarvest(config, harvest => harvest.pending())) ?? []
  if (json) {
    console.log(JSON.stringify(waiting.map(inFields), undefined, 2))
    return 0
  }
  for (const one of waiting) console.log(inWords(one, new Date()))
  console.log(
    `${waiting.length} ${waiting.length === 1 ? 'certificate waits' : 'certificates wait'}`,
  )
  return 0
}

function inWords(one: PendingCertificate, now: Date): string {
  const { matchKey, certificate, since, usableFrom, isOfNewIssuer } = one
  const [head, ...rows] = describe(certificate)
  const time = outOfTime(certificate, now)
  const from = usableFrom === null ? 'after cert accept alone' : `from ${timeText(usableFrom)} on`
  return [
    `${visible(matchKey)}: ${head}${time && `, ${time.toUpperCase()}`}`,
    ...rows,
    row('since', timeText(since)),
    row('usable', from),
    row('instead of', insteadOf(one)),
    ...(isOfNewIssuer ? [row('note', 'another issuer than this address had before')] : []),
  ].join('\n')
}

/** The newest that may be used is the one that is used. */
function insteadOf({ certificate, inUse }: PendingCertificate): string {
  if (!inUse) return 'nothing: no certificate of this address is in use'
  const name = `${label(inUse)}, ${inUse.fingerprint}`
  return certificate.notBefore < inUse.notBefore ? `nothing: ${name} is newer` : name
}

function inFields(one: PendingCertificate) {
  const { matchKey, certificate, since, usableFrom, inUse, isOfNewIssuer } = one
  return {
    address: matchKey,
    ...accountOf(certificate),
    since: new Date(since),
    usableFrom: usableFrom === null ? null : new Date(usableFrom),
    inUse: inUse && accountOf(inUse),
    newIssuer: isOfNewIssuer,
  }
}
