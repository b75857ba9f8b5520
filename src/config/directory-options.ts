/**
 * How other people's certificates are chosen and remembered, wherever they come from: the options, and
 * the plain data that comes out.
 *
 * @module
 */
import * as z from 'zod'
import { count, fingerprint, identityAddress, text, time, word } from './values.ts'

/** Choosing and remembering. Times in milliseconds, paths absolute. */
export interface DirectoryConfig {
  /** Whether mail is encrypted to the newest certificate of a recipient, or to all that are valid. */
  readonly devices: 'newest' | 'all'
  readonly pins: readonly PinConfig[]
  readonly cache: {
    /** Of certificates, and of "none". */
    readonly positiveMs: number
    readonly negativeMs: number
    /** How much longer certificates serve while their source is silent. */
    readonly staleMs: number
    readonly mailboxes: number
  }
}

/** To what alone mail for an address, or for `@domain`, may be encrypted. */
export type PinConfig =
  | { readonly address: string; readonly fingerprint: string }
  | { readonly address: string; readonly issuer: string }

const whose = identityAddress('address, or @domain for everybody there who has no pin of his own')

const pin = z
  .union([
    z.strictObject({
      address: whose,
      fingerprint: fingerprint('SHA-256 of the certificate, as cert list tells it'),
    }),
    z.strictObject({
      address: whose,
      issuer: text('PEM file with the authority that has to stand above the certificate'),
    }),
  ])
  .meta({ description: '{ address, fingerprint } or { address, issuer }' })

const cache = z
  .strictObject({
    positive: time('how long certificates are remembered').prefault('10m'),
    negative: time('how long it is remembered that there is none').prefault('10m'),
    stale: time('how much longer certificates serve while their source is silent').prefault('24h'),
    mailboxes: count('mailboxes remembered of each source', [1, 10_000_000]).prefault(100_000),
  })
  .meta({
    description: '{ positive, negative, stale, mailboxes }: what ldap, smimea and http said',
  })

/** `directory`. */
export const directory = z
  .strictObject({
    devices: word(
      ['newest', 'all'],
      "newest, or all valid certificates of a recipient's own address",
    ).prefault('newest'),
    pins: z
      .array(pin)
      .prefault([])
      .meta({ description: 'certificates or authorities that alone count for an address' }),
    cache: cache.prefault({}),
  })
  .meta({ description: '{ devices, pins, cache }: how certificates are chosen and remembered' })

/** What the schema makes of `directory`. */
export type DirectoryEntry = z.output<typeof directory>

/** `directory` as plain data. */
export function directoryConfigOf(
  { devices, pins, cache: { positive, negative, stale, mailboxes } }: DirectoryEntry,
  absolute: (path: string) => string,
): DirectoryConfig {
  return {
    devices,
    pins: pins.map(one => ('issuer' in one ? { ...one, issuer: absolute(one.issuer) } : one)),
    cache: { positiveMs: positive, negativeMs: negative, staleMs: stale, mailboxes },
  }
}
