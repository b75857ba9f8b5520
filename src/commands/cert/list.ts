/**
 * `postern cert list`: everything that the sources on this machine hold.
 *
 * @module
 */
import type { Config } from '../../config/config.ts'
import { visible } from '../../log.ts'
import { type Holding, holdingsOf } from './holdings.ts'
import { accountOf, describe, outOfTime, row, tellFaults } from './words.ts'

/** Prints what is held; 0, or 1 where something could not be read. */
export async function list(config: Config, json: boolean): Promise<number> {
  const { holdings, faults } = await holdingsOf(config)
  const now = new Date()
  if (json) {
    console.log(
      JSON.stringify(
        holdings.map(it => inFields(it, now)),
        undefined,
        2,
      ),
    )
  } else {
    for (const holding of holdings) console.log(inWords(holding, now))
    console.log(counted(holdings, now))
  }
  tellFaults(faults, json)
  return faults.length > 0 ? 1 : 0
}

function inWords(holding: Holding, now: Date): string {
  const { certificate, source, file, waits } = holding
  const [head, ...rows] = describe(certificate)
  const time = outOfTime(certificate, now)
  const where = file === undefined ? source : `${source}, ${file}`
  return [
    `${whose(holding)}: ${head}${time && `, ${time.toUpperCase()}`}`,
    ...rows,
    row('from', visible(where)),
    ...(waits === undefined ? [] : [row('note', waits)]),
  ].join('\n')
}

function whose({ certificate, holders }: Holding): string {
  if (certificate.isCertificateAuthority) return 'authority'
  return visible(holders.join(', ')) || 'nobody'
}

function counted(holdings: readonly Holding[], now: Date): string {
  const expired = holdings.filter(it => outOfTime(it.certificate, now) === 'expired').length
  const noun = holdings.length === 1 ? 'certificate' : 'certificates'
  return `${holdings.length} ${noun}, ${expired} expired`
}

function inFields({ certificate, source, file, holders, waits }: Holding, now: Date) {
  return {
    ...accountOf(certificate),
    holders,
    source,
    file,
    authority: certificate.isCertificateAuthority,
    expired: outOfTime(certificate, now) === 'expired',
    waits,
  }
}
