/**
 * From the configuration's list of sources to resolvers, each with the memory and the bounds that it
 * needs.
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { Log } from '../log.ts'
import type { Mailbox } from '../mail/address.ts'
import { type CachedResolver, type CacheOptions, cached } from './cache.ts'
import { openDomain } from './domain.ts'
import { openFiles } from './files.ts'
import { type Harvested, openHarvested } from './harvested.ts'
import { openHttp } from './http.ts'
import { openLdap } from './ldap.ts'
import type { CertificateResolver } from './resolver.ts'
import { openSmimea } from './smimea.ts'
import type { Store } from './store.ts'

/** One source, as plain data. Paths are absolute, times in milliseconds, domains lower-case A-labels. */
export type SourceSpec =
  | { readonly kind: 'files'; readonly files: string }
  | { readonly kind: 'domain'; readonly domain: string; readonly files: string }
  | {
      readonly kind: 'harvested'
      /** `null`: for approval. */
      readonly waitMs: number | null
      readonly perDay: number
    }
  | {
      readonly kind: 'ldap'
      readonly urls: readonly string[]
      readonly base: string
      readonly user: string | undefined
      readonly password: string | undefined
      readonly startTls: boolean
      readonly ca: string | undefined
      readonly tlsName: string | undefined
      readonly match: readonly string[] | undefined
      readonly attributes: readonly string[] | undefined
      readonly timeoutMs: number
      /** Of which mailboxes it is asked; undefined: of all. */
      readonly domains: readonly string[] | undefined
    }
  | {
      readonly kind: 'smimea'
      readonly address: string
      readonly port: number
      /** A name that is known to be signed; `.` is the root of the DNS. */
      readonly probe: string
      readonly timeoutMs: number
      readonly domains: readonly string[] | undefined
    }
  | {
      readonly kind: 'http'
      readonly url: string
      readonly ca: string | undefined
      readonly timeoutMs: number
      readonly domains: readonly string[] | undefined
    }

/** What sources need besides their settings. */
export interface SourceParts {
  /** Opened only where something is harvested. */
  readonly store: () => Store
  readonly ownDomains: ReadonlySet<string>
  readonly log?: Log
  readonly cache?: CacheOptions
}

/** The sources of a configuration. */
export interface Sources {
  /** In the order in which they are to be asked. */
  readonly inOrder: readonly CertificateResolver[]
  /** Those of them that remember answers, for counters and for forgetting. */
  readonly caches: readonly CachedResolver[]
  /** Where the inbound side brings what it has seen. */
  readonly harvested: Harvested | undefined
}

/** Makes the sources of a configuration. Nothing is connected to before the first question. */
export function resolversFor(specs: readonly SourceSpec[], parts: SourceParts): Sources {
  const inOrder: CertificateResolver[] = []
  const caches: CachedResolver[] = []
  let harvested: Harvested | undefined
  for (const spec of specs) {
    if (spec.kind === 'harvested') {
      harvested ??= openHarvested({ ...spec, ...parts, store: parts.store() })
      inOrder.push(harvested)
    } else if (spec.kind === 'files' || spec.kind === 'domain') {
      inOrder.push(openLocal(spec, parts.log))
    } else {
      const remembering = cached(openRemote(spec, parts.log), parts.cache)
      caches.push(remembering)
      inOrder.push(onlyFor(spec.domains, remembering))
    }
  }
  return { inOrder, caches, harvested }
}

/** Quick, and to be seen the moment they change: no memory. */
function openLocal(
  spec: Extract<SourceSpec, { kind: 'files' | 'domain' }>,
  log: Log | undefined,
): CertificateResolver {
  const options = { files: spec.files, ...(log && { log }) }
  return spec.kind === 'files'
    ? openFiles(options)
    : openDomain({ domain: spec.domain, ...options })
}

function openRemote(
  spec: Extract<SourceSpec, { kind: 'ldap' | 'smimea' | 'http' }>,
  log: Log | undefined,
): CertificateResolver {
  switch (spec.kind) {
    case 'ldap':
      return openLdap(spec)
    case 'smimea':
      return openSmimea({ server: spec, timeoutMs: spec.timeoutMs, probe: spec.probe, log })
    case 'http':
      return openHttp(spec)
  }
}

/** Whoever runs a source learns to whom we write: it is asked of its own people alone. */
function onlyFor(
  domains: readonly string[] | undefined,
  source: CertificateResolver,
): CertificateResolver {
  if (!domains) return source
  const asked = new Set(domains)
  return {
    name: source.name,
    find: async (mailbox: Mailbox, signal: AbortSignal) =>
      asked.has(mailbox.domain) ? source.find(mailbox, signal) : [],
    intermediates: () => source.intermediates?.() ?? NO_AUTHORITIES,
    close: () => source.close?.(),
  }
}

const NO_AUTHORITIES: readonly Certificate[] = []
