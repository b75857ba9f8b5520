/**
 * The values that a configuration is made of: sizes, times, domains, networks, patterns.
 *
 * Each is checked once, here, and is plain data in canonical form from then on. The description of a
 * value is what an editor shows, what the example file says, and what is advised where it is wrong.
 *
 * @module
 */
import { isIP, isIPv4 } from 'node:net'
import * as z from 'zod'
import { PosternError } from '../errors.ts'
import { parseDomain, parseMailbox } from '../mail/address.ts'
import { compileMailboxPattern } from '../policy/pattern.ts'
import type { SizeBound } from '../policy/rule.ts'

/** Octets: `50MiB`, `100KiB`, `2GiB`, or a number. */
export function size(description: string, atLeast = 0): z.ZodType<number, number | string> {
  return quantity(SIZE_UNITS, 'is no size', 'octets', atLeast).meta({
    description: `${description}: 100KiB, 50MiB, 1GiB, or octets`,
  })
}

/** Milliseconds: `250ms`, `30s`, `5m`, `1h`. */
export function time(description: string): z.ZodType<number, number | string> {
  return quantity(TIME_UNITS, 'is no time', 'ms', 1).meta({
    description: `${description}: 250ms, 30s, 5m, 1h`,
  })
}

/** A whole number. Digits in quotes count too: what the environment gives is text. */
export function count(
  description: string,
  [least, most]: readonly [number, number] = [1, Number.MAX_SAFE_INTEGER],
): z.ZodType<number, number | string> {
  const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`
  return z
    .union([z.number(), z.string().regex(/^\d{1,15}$/, 'is no whole number')], {
      error: 'is no whole number',
    })
    .transform((written, context) => {
      const number = Number(written)
      if (Number.isSafeInteger(number) && number >= least && number <= most) return number
      return refuse(context, `is no whole number of ${range}`)
    })
    .meta({ description: `${description}; ${range}` })
}

/** true or false. */
export function flag(description: string): z.ZodType<boolean, boolean | 'true' | 'false'> {
  return z
    .union([z.boolean(), z.enum(['true', 'false'])], { error: 'is neither true nor false' })
    .transform(written => String(written) === 'true')
    .meta({ description })
}

/** One of some words. */
export function word<const W extends readonly string[]>(words: W, description: string) {
  return z.enum(words).meta({ description })
}

/** Any text but an empty one. */
export function text(description: string): z.ZodType<string, string> {
  return read(given => given || undefined, 'is empty', description)
}

/** A password, or `file:PATH`; stays as it is written until the file is read. */
export function secret(description: string): z.ZodType<string, string> {
  return text(`${description}; file:PATH reads it from a file, $\{NAME} from the environment`)
}

/** A domain, as lower-case A-labels. */
export function domain(description: string): z.ZodType<string, string> {
  return read(parseDomainName, 'is no domain', description)
}

/** A domain or an IP address. */
export function host(description: string): z.ZodType<string, string> {
  return read(
    given => (isIP(given) ? given : parseDomainName(given)),
    'is neither a host name nor an IP address',
    description,
  )
}

/** An IP address. */
export function address(description: string): z.ZodType<string, string> {
  return read(given => (isIP(given) ? given : undefined), 'is no IP address', description)
}

/** An IP address or a network in CIDR notation. */
export function network(description: string): z.ZodType<string, string> {
  return read(parseNetwork, 'is neither an IP address nor a network (192.0.2.0/24)', description)
}

/** A mailbox pattern of a rule. */
export function mailboxPattern(description: string): z.ZodType<string, string> {
  return read(
    given => (compileMailboxPattern(given) ? given : undefined),
    'is no pattern of addresses',
    description,
  )
}

/** For whom an identity signs: `ann@example.test`, or `@example.test` for a whole domain. */
export function identityAddress(description: string): z.ZodType<string, string> {
  return read(
    given =>
      given.startsWith('@')
        ? prefixed('@', parseDomainName(given.slice(1)))
        : attempt(() => parseMailbox(given).toString()),
    'is neither an address nor @domain',
    description,
  )
}

/** SHA-256 of a certificate: hexadecimal, small letters, whatever stands between the octets. */
export function fingerprint(description: string): z.ZodType<string, string> {
  return read(
    given => {
      const digits = given.replaceAll(':', '').toLowerCase()
      return /^[\da-f]{64}$/.test(digits) ? digits : undefined
    },
    'is no SHA-256 of 64 hexadecimal digits',
    description,
  )
}

/** A server of a directory: scheme, host and port, and nothing else. */
export function ldapUrl(description: string): z.ZodType<string, string> {
  return read(
    given => parseUrl(given, ['ldap:', 'ldaps:'])?.origin,
    'is no URL of LDAP',
    description,
  )
}

/** A URL in whose path or query stands what is to be put in for a mailbox. */
export function httpsTemplate(description: string): z.ZodType<string, string> {
  return read(
    given => {
      const places = [...given.matchAll(/\{([^}]*)\}/g)].map(([, name]) => name!)
      const url = parseUrl(given.replaceAll(/[{}]/g, ''), ['https:'])
      const host = given.split('/', 3)[2] ?? ''
      const known = places.every(name => TEMPLATE_NAMES.has(name))
      return url && known && places.length > 0 && !host.includes('{') ? given : undefined
    },
    'is no https:// URL with a place for the mailbox in its path',
    description,
  )
}

/** `>10MiB`. */
export function sizeBound(description: string): z.ZodType<SizeBound, string> {
  return read(
    given => {
      const [, relation, rest] = /^([<>]=?)\s*(.+)$/.exec(given) ?? []
      const octets = rest === undefined ? undefined : parseQuantity(rest, SIZE_UNITS)
      return octets === undefined
        ? undefined
        : { relation: relation as SizeBound['relation'], octets }
    },
    'is no comparison of a size',
    description,
  )
}

/** A pattern or a word that is looked for in what a stranger writes: not empty, and not long. */
export function needle(description: string): z.ZodType<string, string> {
  return read(
    given => (given !== '' && given.length <= MAX_NEEDLE ? given : undefined),
    `is empty or longer than ${MAX_NEEDLE} characters`,
    description,
  )
}

/**
 * What a subject begins with. In brackets, so that what looks like it can be found and taken out of a
 * stranger's subject; empty for none.
 */
export function subjectTag(description: string): z.ZodType<string, string> {
  return read(
    given => (given === '' || SUBJECT_TAG.test(given) ? given : undefined),
    `is no tag: [text] of up to ${MAX_TAG} characters, or empty`,
    `${description}: [text], or empty`,
  )
}

/** One of what is asked for, or a list of it. */
export function oneOrMany<T, I>(
  item: z.ZodType<T, I>,
  description: string,
): z.ZodType<T[], I | I[]> {
  return z
    .union([item, z.array(item).min(1)])
    .transform(written => (Array.isArray(written) ? (written as T[]) : [written as T]))
    .meta({ description })
}

function read<T>(
  parse: (given: string) => T | undefined,
  message: string,
  description: string,
): z.ZodType<T, string> {
  return z
    .string()
    .transform((given, context) => parse(given) ?? refuse(context, message))
    .meta({ description })
}

type Units = Readonly<Record<string, number>>

function quantity(
  units: Units,
  message: string,
  unit: string,
  atLeast: number,
): z.ZodType<number, number | string> {
  const names = Object.keys(units).filter(Boolean).join(', ')
  const problem = `${message}: a number and one of ${names}`
  return z.union([z.number(), z.string()], { error: problem }).transform((written, context) => {
    const value = parseQuantity(String(written), units)
    if (value === undefined) return refuse(context, problem)
    return value < atLeast ? refuse(context, `is less than ${atLeast} ${unit}`) : value
  })
}

function parseQuantity(given: string, units: Units): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,15})\s?([A-Za-z]*)$/.exec(given) ?? []
  if (digits === undefined || !Object.hasOwn(units, unit)) return undefined
  const value = Number(digits) * units[unit]!
  return Number.isSafeInteger(value) ? value : undefined
}

function parseUrl(given: string, protocols: readonly string[]) {
  const url = URL.parse(given)
  // A password in a URL would be told in faults and logs.
  if (!url || !protocols.includes(url.protocol) || url.hostname === '' || url.username !== '')
    return undefined
  return { origin: `${url.protocol}//${url.host}` }
}

function parseNetwork(given: string): string | undefined {
  const [ip = '', prefix, ...rest] = given.split('/')
  if (isIP(ip) === 0 || ip.includes('%') || rest.length > 0) return undefined
  if (prefix === undefined) return given
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= (isIPv4(ip) ? 32 : 128) ? given : undefined
}

function parseDomainName(given: string): string | undefined {
  return given.startsWith('[') ? undefined : attempt(() => parseDomain(given))
}

function prefixed(prefix: string, rest: string | undefined): string | undefined {
  return rest === undefined ? undefined : prefix + rest
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}

/** Decimal units are left out on purpose: 50MB would be another number than 50MiB. */
const SIZE_UNITS: Units = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }
const TIME_UNITS: Units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const MAX_NEEDLE = 200
const MAX_TAG = 40
/** Letters, digits, punctuation and single spaces; no second bracket, nothing that cannot be seen. */
const SUBJECT_TAG = /^\[(?! )(?:[^\p{C}\p{Z}[\]]| (?![ \]])){1,38}\]$/u
const TEMPLATE_NAMES: ReadonlySet<string> = new Set(['hash', 'address', 'localPart', 'domain'])
