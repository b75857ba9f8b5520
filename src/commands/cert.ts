/**
 * `postern cert`: whose certificate would be used, and why not the others.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { readCertificateFile } from '../certstore/certificate-file.ts'
import type { Considered, Search } from '../certstore/directory.ts'
import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { visible } from '../log.ts'
import { parseMailbox } from '../mail/address.ts'
import { directoryOf } from './assembly.ts'

/** Answers `why` and `show`; 0, or 1 where there is nothing to encrypt to, 2 for usage. */
export async function cert(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
  })
  const [action, subject] = positionals
  if (values.help) {
    console.log(HELP)
    return 0
  }
  if (subject === undefined || positionals.length > 2) return usage()
  if (action === 'show') return show(subject)
  if (action !== 'why') return usage()
  const { config } = await loadConfig(values.config, process.env)
  return why(subject, config, values.json)
}

async function why(address: string, config: Config, json: boolean): Promise<number> {
  const { directory, faults } = await directoryOf(config)
  try {
    const search = await directory.search(parseMailbox(address), AbortSignal.timeout(SEARCH_MS))
    console.log(json ? JSON.stringify(accountOf(search), undefined, 2) : inWords(address, search))
    for (const fault of faults) console.log(`note: ${visible(fault)}`)
    return search.kind === 'valid' ? 0 : 1
  } finally {
    directory.close()
  }
}

/** Everything that stands in a file, believed or not. */
async function show(file: string): Promise<number> {
  const { certificates, faults } = readCertificateFile(await readFile(file))
  for (const certificate of certificates) console.log(describe(certificate).join('\n'))
  for (const fault of faults) console.log(`note: ${visible(fault)}`)
  return certificates.length > 0 ? 0 : 1
}

function inWords(address: string, search: Search): string {
  const chosen = search.kind === 'valid' ? search.considered[0] : undefined
  const head = chosen
    ? `${visible(address)}: ${label(chosen.certificate)}`
    : `${visible(address)}: no certificate; ${visible(search.kind === 'valid' ? '' : search.reason)}`
  const rows = chosen ? [...describe(chosen.certificate).slice(1), ...chosenBecause(chosen)] : []
  const others = search.considered.filter(it => it !== chosen)
  const change = CHANGES[search.kind]
  return [head, ...rows, ...others.map(notChosen), `  otherwise    ${change}`].join('\n')
}

function chosenBecause({ source, via, belief }: Considered): string[] {
  const by = via === 'address' ? 'bears the address' : 'stands for the whole domain'
  const note =
    belief.kind === 'valid' && belief.note !== undefined
      ? [`  note         ${visible(belief.note)}`]
      : []
  return [
    `  from         ${source}, ${by}`,
    '  chosen       valid, and the newest of those that are',
    ...note,
  ]
}

function notChosen({ certificate, source, belief }: Considered): string {
  const reason =
    belief.kind === 'valid' ? 'valid, but older, or for the domain only' : belief.reason
  return `  not chosen   ${label(certificate)} from ${source}: ${visible(reason)}`
}

function describe(certificate: Certificate): string[] {
  const { addresses, issuerText, notBefore, notAfter, fingerprint } = certificate
  return [
    label(certificate),
    `  addresses    ${visible(addresses.join(', ')) || 'none'}`,
    `  issuer       ${visible(issuerText)}`,
    `  valid        ${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    `  fingerprint  ${fingerprint}`,
  ]
}

function label({ subjectText, serialNumberHex }: Certificate): string {
  return `${visible(subjectText)}, serial ${serialNumberHex}`
}

function accountOf(search: Search) {
  return {
    kind: search.kind,
    reason: search.kind === 'valid' ? undefined : search.reason,
    considered: search.considered.map(({ certificate, source, via, belief }) => ({
      subject: certificate.subjectText,
      serialNumber: certificate.serialNumberHex,
      fingerprint: certificate.fingerprint,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      source,
      via,
      belief: belief.kind,
      reason: belief.kind === 'valid' ? belief.note : belief.reason,
    })),
  }
}

function usage(): number {
  console.error(HELP)
  return 2
}

const CHANGES = {
  valid: 'a newer valid certificate in a source that is asked would be chosen instead',
  none: 'a certificate that bears the address, in a source that is asked, would be used',
  invalid: 'a certificate that is valid today, from an authority in trust.anchors, would be used',
  unknown: 'ask again when the source answers; mail that wishes encryption waits meanwhile',
} as const

/** How long sources are waited for. */
const SEARCH_MS = 30_000

const OPTIONS = {
  config: { type: 'string', default: 'config/postern.yaml' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern cert why ADDRESS [--config FILE] [--json]
       postern cert show FILE

why tells which certificate is chosen for an address, from which source, why the others are not, and
what would change it. show tells what stands in a file of certificates, whatever its format.

  --config FILE   default config/postern.yaml
  --json          the same for programs

Exit code 1 where there is nothing to encrypt to.`
