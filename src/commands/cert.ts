/**
 * `postern cert`: the certificates of other people, and which of them would be used.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import type { Fetch } from '../certstore/fetch.ts'
import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import { PosternError } from '../errors.ts'
import { type Mailbox, parseMailbox } from '../mail/address.ts'
import { accept } from './cert/accept.ts'
import { history, undo } from './cert/history.ts'
import { importFiles, readFrom } from './cert/import.ts'
import { list } from './cert/list.ts'
import { pending } from './cert/pending.ts'
import { remove } from './cert/remove.ts'
import { why } from './cert/why.ts'
import { describe, tellFaults } from './cert/words.ts'

/**
 * Answers `why`, `show`, `list`, `import` and `remove`; and of what was harvested `pending`, `accept`,
 * `history` and `undo`.
 *
 * @param fetch How revocation services are reached; default: in the public Internet alone.
 * @returns 0, or 1 where there is nothing to tell or to do, 2 for usage.
 */
export async function cert(argv: readonly string[], fetch?: Fetch): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
  })
  const [action = '', ...subjects] = positionals
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const fault = faultOf(action, subjects)
  if (fault !== undefined) return usage(fault)
  if (action === 'show') return show(subjects[0]!)
  const mailbox = OF_ADDRESSES.has(action) ? mailboxOf(subjects[0]!) : undefined
  if (typeof mailbox === 'string') return usage(mailbox)
  const { config } = await loadConfig(values.config, process.env)
  const { json } = values
  if (action === 'why') return why(mailbox!, config, json, fetch)
  if (mailbox) return changeHarvest(action, { mailbox, subjects }, config, json)
  if (action === 'list') return list(config, json)
  if (action === 'pending') return pending(config, json)
  if (action === 'import') return importFiles(subjects, config)
  return remove(fingerprintOf(subjects[0]!), config)
}

/** What concerns the harvest of one mailbox. */
function changeHarvest(
  action: string,
  { mailbox, subjects }: { readonly mailbox: Mailbox; readonly subjects: readonly string[] },
  config: Config,
  json: boolean,
): Promise<number> {
  if (action === 'history') return history(mailbox, config, json)
  if (action === 'undo') return undo(mailbox, config, json)
  const [, named] = subjects
  const fingerprint = named === undefined ? undefined : fingerprintOf(named)
  return accept({ mailbox, fingerprint }, config, json)
}

/** Everything that stands in a file, believed or not. */
async function show(file: string): Promise<number> {
  const { certificates, faults } = await readFrom(file)
  for (const certificate of certificates) console.log(describe(certificate).join('\n'))
  tellFaults(faults)
  return certificates.length > 0 ? 0 : 1
}

/** What is wrong with the arguments. */
function faultOf(action: string, subjects: readonly string[]): string | undefined {
  const wanted = Object.hasOwn(SUBJECTS, action) ? SUBJECTS[action] : undefined
  if (!wanted)
    return action === '' ? 'say what to do' : `there is no cert ${JSON.stringify(action)}`
  const { least, most, what } = wanted
  if (subjects.length < least || subjects.length > most) return `cert ${action} takes ${what}`
  const fingerprint =
    action === 'remove' ? subjects[0] : action === 'accept' ? subjects[1] : undefined
  if (fingerprint !== undefined && !/^[\da-f]{64}$/.test(fingerprintOf(fingerprint)))
    return 'FINGERPRINT is SHA-256, 64 hexadecimal digits, as cert list tells it'
  return undefined
}

/** Other tools write it in capitals, with colons. */
function fingerprintOf(text: string): string {
  return text.replaceAll(':', '').toLowerCase()
}

/** The mailbox of an address, or what is wrong with it. */
function mailboxOf(address: string): Mailbox | string {
  try {
    return parseMailbox(address)
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return error.message
  }
}

function usage(fault: string): number {
  console.error(`postern cert: ${fault}\n\n${HELP}`)
  return 2
}

const SUBJECTS: Readonly<Record<string, { least: number; most: number; what: string }>> = {
  why: { least: 1, most: 1, what: 'one ADDRESS' },
  show: { least: 1, most: 1, what: 'one FILE' },
  list: { least: 0, most: 0, what: 'options alone' },
  import: { least: 1, most: Number.POSITIVE_INFINITY, what: 'at least one FILE' },
  remove: { least: 1, most: 1, what: 'one FINGERPRINT' },
  pending: { least: 0, most: 0, what: 'options alone' },
  accept: { least: 1, most: 2, what: 'one ADDRESS, and a FINGERPRINT where several wait' },
  history: { least: 1, most: 1, what: 'one ADDRESS' },
  undo: { least: 1, most: 1, what: 'one ADDRESS' },
}
const OF_ADDRESSES: ReadonlySet<string> = new Set(['why', 'accept', 'history', 'undo'])
const OPTIONS = {
  config: { type: 'string', default: 'config/postern.yaml' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern cert why ADDRESS [--config FILE] [--json]
       postern cert list [--config FILE] [--json]
       postern cert show FILE
       postern cert import FILE… [--config FILE]
       postern cert remove FINGERPRINT [--config FILE]
       postern cert pending [--config FILE] [--json]
       postern cert accept ADDRESS [FINGERPRINT] [--config FILE] [--json]
       postern cert history ADDRESS [--config FILE] [--json]
       postern cert undo ADDRESS [--config FILE] [--json]

why     which certificate is chosen for an address, from which source, why the others are not, and
        what would change it
list    everything that files, domains and the harvest hold; what has expired is marked
show    what stands in a file of certificates, whatever its format
import  copies the certificates of files, whatever their format, into the first folder of
        certificates that can be written to; what has expired is left out, nothing is overwritten
remove  takes away what import put there, or a certificate that was harvested

Certificates that signed mail has brought:
pending what came with another key than the one in use, since when it waits, when it may be used and
        what it would replace
accept  lets one that waits, or was taken out, be used from now on
history what came, waited, was accepted, taken out and undone
undo    takes the last change back, so that what was in use before is used again; asked again, it
        goes one change further back

  --config FILE   default config/postern.yaml
  --json          the same for programs

Exit codes: 0 done, 1 nothing to encrypt to, to show, import, remove, accept or undo, 2 usage.`
