/**
 * What is to be said of sources of certificates beyond each option: files, secrets, encryption.
 *
 * @module
 */
import { BlockList, isIPv4, isIPv6 } from 'node:net'
import type { CertificateSourceConfig, CertificateSourceEntry } from './certificate-sources.ts'
import type { ConfigPath } from './fault.ts'
import type { Salvaged } from './shape.ts'

/** Entries as plain data. */
export async function certificateSourcesOf(
  entries: readonly CertificateSourceEntry[],
  files: Files,
): Promise<CertificateSourceConfig[]> {
  const sources: CertificateSourceConfig[] = []
  for (const [index, entry] of entries.entries())
    sources.push(await sourceOf(entry, ['certificates', index], files))
  return sources
}

async function sourceOf(
  entry: CertificateSourceEntry,
  path: ConfigPath,
  files: Files,
): Promise<CertificateSourceConfig> {
  const absolute = (file: string | undefined) => file && files.absolute(file)
  if ('files' in entry) return { kind: 'files', files: files.absolute(entry.files) }
  if ('domain' in entry) {
    const { name, files: where } = entry.domain
    return { kind: 'domain', domain: name, files: files.absolute(where) }
  }
  if ('harvested' in entry) {
    const { wait, perDay } = entry.harvested
    return { kind: 'harvested', waitMs: wait === 'approval' ? null : wait, perDay }
  }
  if ('smimea' in entry) {
    const { resolver, port, probe, timeout: timeoutMs, domains: asked } = entry.smimea
    return { kind: 'smimea', address: resolver, port, probe, timeoutMs, domains: asked }
  }
  if ('http' in entry) {
    const { url, domains: asked, timeout: timeoutMs } = entry.http
    return { kind: 'http', url, domains: asked, ca: absolute(entry.http.ca), timeoutMs }
  }
  const { url, starttls, timeout: timeoutMs, password, ...rest } = entry.ldap
  const { base, user, tlsName, match, attributes, domains: asked } = rest
  return {
    kind: 'ldap',
    urls: url,
    base,
    user,
    password: password && (await files.secret(password, [...path, 'ldap', 'password'])),
    startTls: starttls,
    ca: absolute(rest.ca),
    tlsName,
    match,
    attributes,
    timeoutMs,
    domains: asked,
  }
}

/** As much of `ConfigFiles` as is needed. */
interface Files {
  absolute(path: string): string
  secret(written: string, path: ConfigPath): Promise<string>
}

/** As much of `Findings` as is needed. */
interface Sayings<F> {
  fault(path: ConfigPath, message: string, advice: string): F
  warning(path: ConfigPath, message: string, advice: string): F
}

type Entry = Salvaged<CertificateSourceEntry>

/** Files that entries name, by the path of their option. */
export function* filesOfSources(
  entries: readonly (Entry | undefined)[],
): Generator<{ what: 'folder' | 'authorities' | 'secret'; value: string; path: ConfigPath }> {
  for (const [index, entry] of entries.entries()) {
    const path = ['certificates', index]
    for (const [kind, given] of Object.entries(entry ?? {})) {
      if (typeof given === 'string') yield { what: 'folder', value: given, path: [...path, kind] }
      if (typeof given !== 'object') continue
      for (const [option, value] of Object.entries(given as object))
        if (typeof value === 'string' && Object.hasOwn(FILES, option))
          yield { what: FILES[option]!, value, path: [...path, kind, option] }
    }
  }
}

/** What sources promise, and could not keep. */
export function* checkSources<F>(
  entries: readonly (Entry | undefined)[],
  at: Sayings<F>,
): Generator<F> {
  for (const [index, entry] of entries.entries()) {
    const path = ['certificates', index]
    if (entry && 'ldap' in entry && entry.ldap) yield* checkLdap(entry.ldap, [...path, 'ldap'], at)
    if (entry && 'smimea' in entry && entry.smimea?.resolver !== undefined)
      if (!isLoopback(entry.smimea.resolver))
        yield at.warning(
          [...path, 'smimea', 'resolver'],
          'is on another machine, and whoever sits between can vouch for anything',
          'run a validating resolver on this machine',
        )
  }
  const harvests = entries.flatMap((entry, index) => (entry && 'harvested' in entry ? [index] : []))
  for (const index of harvests.slice(1))
    yield at.fault(['certificates', index], 'is there already', 'take one of them out')
}

function* checkLdap<F>(
  ldap: NonNullable<Extract<Entry, { ldap?: unknown }>['ldap']>,
  path: ConfigPath,
  at: Sayings<F>,
): Generator<F> {
  const urls = (ldap.url ?? []).filter(url => url !== undefined)
  const inClear = urls.filter(url => url.startsWith('ldap:') && !ldap.starttls)
  const far = inClear.some(url => !isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, '')))
  if (ldap.starttls && urls.some(url => url.startsWith('ldaps:')))
    yield at.fault([...path, 'starttls'], 'is for ldap://', 'take it out, ldaps:// is encrypted')
  if (far && ldap.user !== undefined)
    yield at.fault([...path, 'url'], 'would let the password travel in clear', SECURE)
  else if (far)
    yield at.warning([...path, 'url'], 'lets anybody on the way say who has no certificate', SECURE)
  if ((ldap.user === undefined) !== (ldap.password === undefined))
    yield at.fault(
      [...path, ldap.user === undefined ? 'password' : 'user'],
      'needs the other of user and password',
      'give both, or none to ask anonymously',
    )
  if ((ldap.ca ?? ldap.tlsName) !== undefined && inClear.length > 0)
    yield at.warning([...path, 'url'], 'is not encrypted, so ca and tlsName do nothing', SECURE)
}

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true
  if (isIPv4(host)) return LOOPBACK.check(host, 'ipv4')
  return isIPv6(host) && LOOPBACK.check(host, 'ipv6')
}

const SECURE = 'use ldaps://, or starttls: true'
const FILES: Readonly<Record<string, 'folder' | 'authorities' | 'secret'>> = {
  files: 'folder',
  ca: 'authorities',
  password: 'secret',
}
const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')
