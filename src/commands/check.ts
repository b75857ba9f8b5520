/**
 * `postern check`: tells all faults of a configuration at once, and what to do about each.
 *
 *     config/postern.yaml:41:17 rules[2].then.encrypt: "maybe" is none of never, when-possible, always
 *         encrypt takes: never, when-possible or always
 *
 * @module
 */
import { relative } from 'node:path'
import { parseArgs } from 'node:util'
import { type IdentityFault, loadIdentities } from '../certstore/identities.ts'
import { readTrustFiles } from '../certstore/trust.ts'
import { ConfigFaults, type Fault, printFault } from '../config/fault.ts'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import { visible } from '../log.ts'

/**
 * Checks a configuration and prints what is wrong with it.
 *
 * @param argv What follows `postern check`.
 * @returns 0 where there is no fault, 1 where there is one, 2 where the arguments make no sense.
 */
export async function check(argv: readonly string[], out: NodeJS.WritableStream): Promise<number> {
  const file = fileOf(argv)
  if (file === undefined || file === HELP) {
    out.write(USAGE)
    return file === HELP ? 0 : 2
  }
  const { faults, warnings } = await findingsOf(file)
  for (const fault of faults) out.write(`${printFault(fault)}\n    ${fault.advice}\n`)
  for (const fault of warnings) out.write(`${printFault(fault, 'warning')}\n    ${fault.advice}\n`)
  out.write(`${counted(faults.length, 'fault')}, ${counted(warnings.length, 'warning')}\n`)
  return faults.length > 0 ? 1 : 0
}

interface Findings {
  readonly faults: readonly Fault[]
  readonly warnings: readonly Fault[]
}

async function findingsOf(file: string): Promise<Findings> {
  try {
    const loaded = await loadConfig(file, process.env)
    const { faults, warnings } = await withIdentities(loaded)
    return { faults, warnings: [...warnings, ...(await doubtsAboutTrust(loaded))] }
  } catch (error) {
    if (error instanceof ConfigFaults) return error
    throw error
  }
}

/** What is wrong with the keys is found out only where the configuration is right. */
async function withIdentities({ config, warnings, faultAt }: LoadedConfig): Promise<Findings> {
  const { faults } = await loadIdentities(config.identities, new Date())
  const told = (severity: IdentityFault['severity']): Fault[] =>
    faults
      .filter(fault => fault.severity === severity)
      .map(({ configPath, file, message, advice }) => {
        const name = visible(relative(process.cwd(), file) || file)
        return faultAt(pathOf(configPath), `${name}: ${message}`, advice, 'nothing')
      })
  return { faults: told('error'), warnings: [...warnings, ...told('warning')] }
}

/** Files of authorities in which something is wrong, and none that holds one. */
async function doubtsAboutTrust({ config, faultAt }: LoadedConfig): Promise<Fault[]> {
  const doubts: Fault[] = []
  let authorities = 0
  for (const [index, path] of config.trust.anchors.entries()) {
    const { anchors, faults } = await readTrustFiles([path])
    authorities += anchors.length
    for (const fault of faults)
      doubts.push(faultAt(['trust', 'anchors', index], visible(fault), FIT_FOR_TRUST, 'nothing'))
  }
  if (authorities === 0 && config.trust.anchors.length > 0)
    doubts.push(faultAt(['trust', 'anchors'], ...NOBODY_TRUSTED, 'nothing'))
  return doubts
}

/** `identities[0]` is `['identities', 0]`. */
function pathOf(configPath: string): (string | number)[] {
  return [...configPath.matchAll(/[^.[\]]+/g)].map(([step]) =>
    /^\d+$/.test(step) ? Number(step) : step,
  )
}

function fileOf(argv: readonly string[]): string | undefined {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string', default: 'config/postern.yaml' },
        help: { type: 'boolean', default: false },
      },
    })
    return values.help ? HELP : values.config
  } catch {
    return undefined
  }
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

const FIT_FOR_TRUST =
  'authorities and revocation lists belong here, as .pem .crt .cer .der .p7b .sst .crl'
const NOBODY_TRUSTED = [
  'no authority in there: no signature will be good, and no certificate of a recipient usable',
  'put the authorities of your partners there',
] as const
const HELP = '--help'
const USAGE = `usage: postern check [--config FILE]

Tells all faults of a configuration at once, each with file, line, path, value and advice.
FILE is config/postern.yaml where it is not given. Exit codes: 0 no fault, 1 a fault, 2 usage.
`
