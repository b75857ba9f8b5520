/**
 * Where other people's certificates come from: the options, and the plain data that comes out.
 *
 * @module
 */
import * as z from 'zod'
import {
  address,
  count,
  domain,
  flag,
  httpsTemplate,
  ldapUrl,
  oneOrMany,
  secret,
  text,
  time,
} from './values.ts'

/** A source of certificates. Paths are absolute. */
export type CertificateSourceConfig =
  | { readonly kind: 'files'; readonly files: string }
  | { readonly kind: 'domain'; readonly domain: string; readonly files: string }
  | {
      readonly kind: 'harvested'
      /** Milliseconds; `null`: until somebody approves it. */
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
      readonly domains: readonly string[] | undefined
    }
  | {
      readonly kind: 'smimea'
      readonly address: string
      readonly port: number
      readonly probe: string
      readonly timeoutMs: number
      readonly domains: readonly string[] | undefined
    }
  | {
      readonly kind: 'http'
      readonly url: string
      readonly ca: string | undefined
      readonly timeoutMs: number
      readonly domains: readonly string[]
    }

const timeout = time('longest wait for an answer').prefault('2s')
const ca = text('PEM file with the authorities to believe instead of the public ones').optional()
const domains = oneOrMany(
  domain('a domain'),
  'a domain, or a list of them, whose mailboxes it is asked for',
)

const ldap = z
  .strictObject({
    url: oneOrMany(
      ldapUrl('ldap://HOST:PORT or ldaps://HOST:PORT'),
      'ldap://HOST:PORT or ldaps://HOST:PORT, or a list of servers of one directory',
    ),
    base: text('distinguished name to search below'),
    user: text('distinguished name to bind as').optional(),
    password: secret('password to bind with').optional(),
    starttls: flag('true: ldap:// is encrypted before anything is said, and verified').prefault(
      false,
    ),
    ca,
    tlsName: domain('name that the certificate has to bear; default: the host').optional(),
    match: oneOrMany(
      text('an attribute'),
      'attributes that hold an address, with what stands before it; default: [mail, "proxyAddresses=smtp:"]',
    ).optional(),
    attributes: oneOrMany(
      text('an attribute'),
      'attributes that hold certificates; default: [userSMIMECertificate, "userCertificate;binary"]',
    ).optional(),
    timeout,
    domains: domains.optional(),
  })
  .meta({ description: '{ url, base, user, password, ... }: a directory' })

const harvested = z
  .strictObject({
    wait: z
      .union([z.literal('approval'), time('a time')])
      .prefault('24h')
      .meta({ description: 'how long another key of a known mailbox waits: 24h, or approval' }),
    perDay: count('new certificates of one mailbox in a day').prefault(3),
  })
  .meta({ description: '{ wait, perDay }: what signed mail has brought' })

const smimea = z
  .strictObject({
    resolver: address('IP address of a validating resolver, best on this machine').prefault(
      '127.0.0.1',
    ),
    port: count('port of the resolver', [1, 65_535]).prefault(53),
    probe: z
      .union([z.literal('.'), domain('a domain')])
      .prefault('.')
      .meta({ description: 'a name that is known to be signed; default: . (the root of the DNS)' }),
    timeout,
    domains: domains.optional(),
  })
  .meta({ description: '{ resolver, port }: the DNS, where DNSSEC vouches for it' })

const http = z
  .strictObject({
    url: httpsTemplate('https://HOST/PATH with {hash}, {address}, {localPart} or {domain}'),
    domains,
    ca,
    timeout,
  })
  .meta({ description: '{ url, domains }: the portal of a partner' })

const wholeDomain = z
  .strictObject({
    name: domain('a domain of a partner'),
    files: text('file or folder with the certificate for everybody there'),
  })
  .meta({ description: '{ name, files }: one certificate for a whole domain' })

/** One entry of `certificates`. */
export const certificateSource = z
  .union([
    z.strictObject({ files: text('file or folder with certificates') }),
    z.strictObject({ harvested }),
    z.strictObject({ ldap }),
    z.strictObject({ smimea }),
    z.strictObject({ http }),
    z.strictObject({ domain: wholeDomain }),
  ])
  .meta({
    description:
      '{ files }, { harvested }, { ldap: { url, base } }, { smimea }, { http: { url, domains } } or { domain: { name, files } }',
  })

/** What the schema makes of one entry. */
export type CertificateSourceEntry = z.output<typeof certificateSource>
