/**
 * One certificate for everybody in a partner's domain: gateway to gateway (RFC 3183 §4).
 *
 * @module
 */
import type { Mailbox } from '../mail/address.ts'
import { type FilesOptions, openFiles } from './files.ts'
import type { CertificateResolver, Found } from './resolver.ts'

/** Settings of a domain's certificate. */
export interface DomainOptions extends FilesOptions {
  /** Lower-case A-labels; those below it are other domains. */
  readonly domain: string
}

/**
 * Opens the certificate of a domain: what lies in a file or folder is for every mailbox there,
 * whatever addresses it bears. `askInOrder` prefers a person's own.
 */
export function openDomain({ domain, ...options }: DomainOptions): CertificateResolver {
  const name = options.name ?? `domain:${domain}`
  const files = openFiles({ ...options, name })
  return {
    name,
    async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
      if (mailbox.domain !== domain) return []
      const certificates = await files.everything(signal)
      return certificates.map(certificate => ({ certificate, source: name, via: 'domain' }))
    },
    intermediates: () => files.intermediates(),
    close: () => files.close(),
  }
}
