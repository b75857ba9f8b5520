/**
 * What may be known of a mail object when it is decided what becomes of it for one forward-path.
 *
 * Plain data: whoever has the same facts comes to the same decision.
 *
 * @module
 */
import type { HeaderSection } from '../mail/header-section.ts'
import { contentTypesOf, type MediaType } from '../mail/media-type.ts'

/** A forward-path in one of our domains is inbound, any other is outbound. */
export type Direction = 'inbound' | 'outbound'

/**
 * What a message is, as far as it matters to what may be done with it. A message may be of several.
 * Read from labels, which whoever writes the message writes; what they are worth is asked elsewhere.
 *
 * - `signed`: its root is a signature, of S/MIME or of another kind (RFC 8551 §3.5, RFC 1847 §2.1).
 * - `encrypted`: its root says that it is encrypted (RFC 8551 §3.3, §3.4, RFC 1847 §2.2).
 * - `smime`: an S/MIME body that is neither for certain: compressed, certificates only, or without a word about
 *   what it is. It may be encrypted or a signature, so it must not be touched; it may be readable by
 *   everybody, so it does not count as encrypted.
 * - `pgp`: OpenPGP (RFC 3156), beside `signed` or `encrypted`.
 * - `report`: a delivery status or disposition notification (RFC 6522, 3464, 8098).
 * - `calendar`: an invitation or an answer to one (RFC 5545, 6047).
 * - `auto-reply`: sent by a machine (RFC 3834 §5).
 * - `list`: distributed by a mailing list (RFC 2919, RFC 2369).
 */
export type MessageClass = (typeof MESSAGE_CLASSES)[number]

/** What is known of a mail object for one forward-path. */
export interface Facts {
  readonly direction: Direction
  /** The reverse-path as printed, `''` for the null reverse-path. */
  readonly sender: string
  /** The mailbox of the From field as printed; undefined where there is no one author. */
  readonly author: string | undefined
  /** The forward-path as printed, its domain as lower-case A-labels. */
  readonly recipient: string
  /** The Subject, unfolded and decoded (RFC 2047); `''` where there is none. */
  readonly subject: string
  /** Lower-case field name to unfolded field bodies; at least the fields in `Ruleset.fieldNames`. */
  readonly header: ReadonlyMap<string, readonly string[]>
  /** Whether the client has proved who it is (RFC 4954). */
  readonly authenticated: boolean
  /** Address of the client. */
  readonly client: string
  readonly sizeOctets: number
  readonly classes: ReadonlySet<MessageClass>
}

/** All classes, in the order in which they are told. */
export const MESSAGE_CLASSES = [
  'signed',
  'encrypted',
  'smime',
  'pgp',
  'report',
  'calendar',
  'auto-reply',
  'list',
] as const

/**
 * Reads the classes of a message from its header section.
 *
 * @param section The header section of the message.
 * @param parts Media types of the entities within, where a rule asks for `calendar` (`Ruleset.needsStructure`).
 *   Only as much is read of them as is needed.
 */
export function classesOf(
  section: HeaderSection,
  parts: Iterable<MediaType> = [],
): ReadonlySet<MessageClass> {
  const classes = new Set<MessageClass>()
  const roots = contentTypesOf(section)
  for (const root of roots) for (const name of classesOfRoot(root)) classes.add(name)
  // What each reader reads in his own way is no proof of encryption.
  const ambiguous = roots.length > 1 || roots.some(root => root.ambiguous)
  if (ambiguous && classes.delete('encrypted')) classes.add('smime')
  if (isCalendar(roots, parts)) classes.add('calendar')
  if (isAutomatic(section)) classes.add('auto-reply')
  if (section.first('list-id') ?? section.first('list-post')) classes.add('list')
  return classes
}

/**
 * The fields that rules ask for, unfolded.
 *
 * @param names Lower-case field names: `Ruleset.fieldNames`.
 */
export function headerFacts(
  section: HeaderSection,
  names: ReadonlySet<string>,
): ReadonlyMap<string, readonly string[]> {
  return new Map([...names].map(name => [name, section.all(name).map(field => field.body.trim())]))
}

function classesOfRoot(root: MediaType): readonly MessageClass[] {
  switch (root.essence) {
    case 'multipart/signed':
      return parameter(root, 'protocol') === 'application/pgp-signature'
        ? ['signed', 'pgp']
        : ['signed']
    case 'multipart/encrypted':
      return parameter(root, 'protocol') === 'application/pgp-encrypted'
        ? ['encrypted', 'pgp']
        : ['encrypted']
    case 'application/pkcs7-mime':
    case 'application/x-pkcs7-mime':
      return [SMIME_TYPES.get(parameter(root, 'smime-type')) ?? 'smime']
    case 'multipart/report':
    case 'message/delivery-status':
    case 'message/global-delivery-status':
    case 'message/disposition-notification':
    case 'message/global-disposition-notification':
      return ['report']
    default:
      // RFC 8551 §3.2.1: gateways turn the media type into octets, and only the file name is left to tell.
      return SMIME_FILE.test(parameter(root, 'name')) ? ['smime'] : []
  }
}

function isCalendar(roots: readonly MediaType[], parts: Iterable<MediaType>): boolean {
  if (roots.some(isCalendarType)) return true
  for (const part of parts) if (isCalendarType(part)) return true
  return false
}

function isCalendarType(type: MediaType): boolean {
  return type.essence === 'text/calendar' || type.essence === 'application/ics'
}

function isAutomatic(section: HeaderSection): boolean {
  // RFC 3834 §5: parameters may follow, `no` alone means that a person has sent it.
  const value = section.first('auto-submitted')?.body.split(/[;(]/, 1)[0]?.trim().toLowerCase()
  return value !== undefined && value !== 'no'
}

function parameter(type: MediaType, name: string): string {
  return (type.parameters.get(name) ?? '').trim().toLowerCase()
}

/** Of RFC 8551 §3.2.2, RFC 5083; a `certs-only` or `compressed-data` body is neither. */
const SMIME_TYPES: ReadonlyMap<string, MessageClass> = new Map([
  ['signed-data', 'signed'],
  ['enveloped-data', 'encrypted'],
  ['authenveloped-data', 'encrypted'],
])
const SMIME_FILE = /\.p7[mz]$/
