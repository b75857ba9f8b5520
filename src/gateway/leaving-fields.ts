/**
 * Which fields of a header section leave with a message: not those that were meant for us alone, and
 * none that a stranger has written in our name.
 *
 * A message that passes as it came keeps them all. Nothing here looks at a body.
 *
 * @module
 */
import { isBlankLineMissing, isPosternName, joined } from '../mail/header-cleansing.ts'
import { type HeaderField, HeaderSection } from '../mail/header-section.ts'
import type { Content } from '../mail/mail-object.ts'
import type { FieldPlace, Wish } from '../policy/treatment.ts'

/**
 * The header section of a message that is signed or encrypted: without the fields that triggered the
 * rule, and without stamps of ours that are told to nobody outside.
 *
 * @returns `section` itself, where all of it leaves.
 */
export function treatedSection(
  section: HeaderSection,
  { removeFields = [] }: Pick<Wish, 'removeFields'>,
): HeaderSection {
  const isStamped = section.fields.some(isPlainStamp)
  if (removeFields.length === 0 && !isStamped) return section
  const triggers = fieldsAt(section, removeFields)
  return withFields(
    section,
    section.fields.filter(field => !triggers.has(field) && !isPlainStamp(field)),
  )
}

/** The header section of a message that is handed over to another next hop: nobody else speaks for us. */
export function routedSection(section: HeaderSection): HeaderSection {
  const kept = section.fields.filter(({ name }) => !isPosternName(name))
  return kept.length === section.fields.length ? section : withFields(section, kept)
}

/**
 * A message with the fields that leave, its body octet for octet. A field behind a line that is none
 * counts as body for us, and for others must not count as a field: a blank line keeps them apart.
 */
export async function* withLeavingFields(
  content: Content,
  section: HeaderSection,
  leaving: HeaderSection,
): AsyncGenerator<Buffer, void, undefined> {
  if (leaving === section && !isBlankLineMissing(section)) {
    yield* content.read()
    return
  }
  yield joined(section, leaving.fields, NOTHING)
  yield* content.read(section.sizeOctets)
}

function withFields(section: HeaderSection, fields: readonly HeaderField[]): HeaderSection {
  // Offsets are those of the content as it is held.
  return new HeaderSection(fields, section.sizeOctets, section.bodyOffset)
}

/** One walk a name: a client may have written a thousand triggers, for a thousand recipients. */
function fieldsAt(section: HeaderSection, places: readonly FieldPlace[]): ReadonlySet<HeaderField> {
  const names = new Set(places.map(({ name }) => name))
  const byName = new Map([...names].map(name => [name, section.all(name)]))
  return new Set(places.flatMap(({ name, at }) => byName.get(name)?.[at] ?? []))
}

/** As we write it. Look-alikes are nobody's stamp in a message that leaves the house. */
function isPlainStamp({ key }: HeaderField): boolean {
  return key.startsWith('x-postern-')
}

const NOTHING = Buffer.alloc(0)
