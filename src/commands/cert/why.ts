/**
 * `postern cert why`: which certificate is chosen for a mailbox, and why the others are not.
 *
 * @module
 */
import type { Considered, Search } from '../../certstore/directory.ts'
import type { Fetch } from '../../certstore/fetch.ts'
import { isUsable } from '../../certstore/harvest-rules.ts'
import type { Config } from '../../config/config.ts'
import type { Capabilities } from '../../crypto/cms/capabilities.ts'
import { contentCipherByOid } from '../../crypto/content-encryption.ts'
import { parseCertificate } from '../../crypto/x509/certificate.ts'
import { visible } from '../../log.ts'
import type { Mailbox } from '../../mail/address.ts'
import { directoryOf } from '../assembly.ts'
import { stateOf } from './harvest-words.ts'
import { withHarvest } from './holdings.ts'
import { accountOf, describe, label, row, tellFaults } from './words.ts'

/** Prints what a message to the mailbox would be encrypted to; 0, or 1 where there is nothing. */
export async function why(
  mailbox: Mailbox,
  config: Config,
  json: boolean,
  fetch?: Fetch,
): Promise<number> {
  const { directory, faults } = await directoryOf(config, { fetch })
  try {
    const search = await directory.search(mailbox, AbortSignal.timeout(SEARCH_MS))
    const told = json
      ? JSON.stringify(inFields(search), undefined, 2)
      : [inWords(mailbox.toString(), search), ...(await heldBack(mailbox, config, search))].join(
          '\n',
        )
    console.log(told)
    tellFaults(faults, json)
    return search.kind === 'valid' ? 0 : 1
  } finally {
    directory.close()
  }
}

/** What signed mail has brought and is not used: not yet, or because another source is asked first. */
async function heldBack(mailbox: Mailbox, config: Config, search: Search): Promise<string[]> {
  if (!config.certificates.some(({ kind }) => kind === 'harvested')) return []
  const record = await withHarvest(config, harvest => harvest.record(mailbox))
  const now = Date.now()
  const seen = new Set(search.considered.map(fingerprintOf))
  return (record?.certificates ?? [])
    .filter(stored => stored.removedAt === null)
    .filter(stored => search.kind === 'valid' || !isUsable(stored, now))
    .map(stored => ({ stored, certificate: parseCertificate(stored.der) }))
    .filter(({ certificate }) => !seen.has(certificate.fingerprint))
    .map(({ stored, certificate }) => {
      const why = isUsable(stored, now)
        ? 'not asked for: a source ahead of the harvest has a valid one'
        : `${stateOf(stored, now)}; see cert pending`
      return row('harvested', `${label(certificate)}: ${why}`)
    })
}

function inWords(address: string, search: Search): string {
  const chosen = search.kind === 'valid' ? search.considered[0] : undefined
  const head = chosen
    ? `${visible(address)}: ${label(chosen.certificate)}`
    : `${visible(address)}: no certificate; ${visible(search.kind === 'valid' ? '' : search.reason)}`
  const rows = chosen ? [...describe(chosen.certificate).slice(1), ...chosenBecause(chosen)] : []
  const devices = devicesOf(search)
  const others = search.considered.filter(it => it !== chosen && !devices.has(fingerprintOf(it)))
  const silence = search.kind === 'unknown' ? search.silence : undefined
  return [
    head,
    ...(silence === undefined ? [] : [row('silent', visible(silence))]),
    ...rows,
    ...pinnedRow(search),
    ...alsoTo(search),
    ...others.map(it => notChosen(it, chosen)),
    row('otherwise', CHANGES[search.kind]),
  ].join('\n')
}

/** Fingerprints of the recipient's other devices, which are encrypted to as well. */
function devicesOf(search: Search): ReadonlySet<string> {
  const others = search.kind === 'valid' ? (search.others ?? []) : []
  return new Set(others.map(({ fingerprint }) => fingerprint))
}

function fingerprintOf({ certificate }: Considered): string {
  return certificate.fingerprint
}

function alsoTo(search: Search): string[] {
  const others = search.kind === 'valid' ? (search.others ?? []) : []
  return others.map(certificate => row('also to', label(certificate)))
}

function pinnedRow(search: Search): string[] {
  return search.kind === 'valid' && search.pinned !== undefined
    ? [row('pinned', visible(search.pinned))]
    : []
}

function chosenBecause({ source, via, belief, capabilities = [] }: Considered): string[] {
  const by = via === 'address' ? 'bears the address' : 'stands for the whole domain'
  const note = belief.kind === 'valid' ? belief.note : undefined
  return [
    row('from', `${visible(source)}, ${by}`),
    row('chosen', 'the newest valid one of the first source that has any'),
    ...(capabilities.length > 0 ? [row('reads', capabilitiesText(capabilities))] : []),
    ...(note === undefined ? [] : [row('note', visible(note))]),
  ]
}

/** What we know of it by its name; the rest by its object identifier. */
function capabilitiesText(capabilities: Capabilities): string {
  return capabilities.map(({ oid }) => contentCipherByOid(oid)?.name ?? oid).join(', ')
}

function notChosen(other: Considered, chosen: Considered | undefined): string {
  const { certificate, source, belief } = other
  const reason = belief.kind === 'valid' ? whyAfter(other, chosen!) : belief.reason
  return row('not chosen', `${label(certificate)} from ${visible(source)}: ${visible(reason)}`)
}

/** Why one that is valid comes after another. */
function whyAfter({ via, certificate }: Considered, chosen: Considered): string {
  if (via !== chosen.via) return "valid, but for the whole domain, and a person's own comes first"
  return certificate.notBefore.getTime() === chosen.certificate.notBefore.getTime()
    ? 'valid and as new; the lower fingerprint comes first'
    : 'valid, but older'
}

function inFields(search: Search) {
  return {
    kind: search.kind,
    reason: search.kind === 'valid' ? undefined : search.reason,
    silence: search.kind === 'unknown' ? search.silence : undefined,
    pinned: search.kind === 'valid' ? search.pinned : undefined,
    alsoTo: [...devicesOf(search)],
    considered: search.considered.map(({ certificate, source, via, belief, capabilities }) => ({
      ...accountOf(certificate),
      source,
      via,
      capabilities: capabilities?.map(({ oid }) => oid),
      belief: belief.kind,
      reason: belief.kind === 'valid' ? belief.note : belief.reason,
    })),
  }
}

const CHANGES = {
  valid:
    'a newer valid one in this source, or any in a source ahead of it, would be chosen instead',
  none: 'a certificate that bears the address, in a source that is asked, would be used',
  invalid: 'a certificate that is valid today, from an authority in trust.anchors, would be used',
  unknown: 'ask again when the source answers; mail that wishes encryption waits meanwhile',
} as const

/** How long sources are waited for. */
const SEARCH_MS = 30_000
