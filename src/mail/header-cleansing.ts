/**
 * Taking away what only we may say, before we say it (RFC 8601 §5).
 *
 *     header section ── cleansed ──▶ kept ── joined below our stamps ──▶ header section that leaves
 *                          └───────▶ removed, for the log
 *
 * ARC-Authentication-Results stays: it is an instance of a chain that its ARC-Seal signs (RFC 8617
 * §4.1.1), and means nothing without that chain; whoever reads it must verify the chain first, and no
 * reader takes it for an Authentication-Results field. We never read it.
 *
 * @module
 */
import { nameSkeleton, speaksFor } from './authentication-results.ts'
import type { HeaderField, HeaderSection } from './header-section.ts'
import { skeleton } from './look-alike.ts'

/** The fields of a section, told apart; the octets of each are as they came. */
export interface Cleansed {
  readonly kept: readonly HeaderField[]
  readonly removed: readonly HeaderField[]
}

/**
 * Removes what a stranger has said in our name: Authentication-Results fields with our authserv-id,
 * or without any that is certain, and X-Postern-* fields; in any spelling that a reader or a person
 * could take for ours.
 *
 * @param authservId Our name in Authentication-Results.
 */
export function cleansed({ fields }: Pick<HeaderSection, 'fields'>, authservId: string): Cleansed {
  return parted(fields, field => !isPosternName(field.name) && !speaksFor(field, authservId))
}

/**
 * Keeps of an entity that was taken out of an encrypted or opaque layer what describes the entity:
 * Content-* and MIME-Version (RFC 8551 §3.1). Whatever else stands there was written by whoever
 * encrypted, whom nobody has to be. Protected header fields (RFC 9788) are not looked at here.
 *
 * A field with a CR or NUL inside goes too: for another reader another field begins there.
 */
export function cleansedInner({ fields }: Pick<HeaderSection, 'fields'>): Cleansed {
  return parted(
    fields,
    ({ key, octets }) => (key === 'mime-version' || key.startsWith('content-')) && isWhole(octets),
  )
}

/**
 * The header section that leaves, up to its blank line: what we put on top, and below it the fields
 * that were kept. To be followed by the content from `section.sizeOctets` on.
 *
 * Where the section ended at a line that is no field, its blank line is missing: to us the body begins
 * there, other readers look for more fields behind that line, and one that begins with white space they
 * would even take for the end of the field above it, perhaps one of ours. Then the blank line is put in,
 * and all see what we see.
 */
export function joined(
  section: HeaderSection,
  kept: readonly HeaderField[],
  onTop: Buffer,
): Buffer {
  const pieces = [onTop, ...kept.map(({ octets }) => octets)]
  // The last field of a section without a body may lack its line end.
  if (kept.length > 0 && pieces.at(-1)!.at(-1) !== LF) pieces.push(CRLF)
  if (isBlankLineMissing(section)) pieces.push(CRLF)
  return Buffer.concat(pieces)
}

/** Whether a section ended without a blank line. */
export function isBlankLineMissing({ sizeOctets, bodyOffset }: HeaderSection): boolean {
  return bodyOffset === sizeOctets
}

/** Whether people or lenient readers would take the name of a field for one of X-Postern-*. */
export function isPosternName(name: string): boolean {
  if (!LIKELY.test(name)) return false
  const seen = nameSkeleton(name)
  return seen === BARE_PREFIX || seen.startsWith(PREFIX)
}

function parted(fields: readonly HeaderField[], keeps: (field: HeaderField) => boolean): Cleansed {
  const kept: HeaderField[] = []
  const removed: HeaderField[] = []
  for (const field of fields) (keeps(field) ? kept : removed).push(field)
  return { kept, removed }
}

function isWhole(octets: Buffer): boolean {
  if (octets.includes(0)) return false
  for (let at = octets.indexOf(CR); at >= 0; at = octets.indexOf(CR, at + 1))
    if (octets[at + 1] !== LF) return false
  return true
}

/** Nearly all names are told by their first character. */
const LIKELY = /^[x=]/i
const BARE_PREFIX = skeleton('X-Postern')
const PREFIX = skeleton('X-Postern-')
const CRLF = Buffer.from('\r\n')
const CR = 0x0d
const LF = 0x0a
