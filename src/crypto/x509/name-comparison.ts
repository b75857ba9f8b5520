/**
 * Whether two distinguished names are the same name (RFC 5280 §7.1).
 *
 * Texts are compared whatever string type they stand in, without regard to case and to how much
 * white space there is; anything else octet for octet. Attributes of one relative name are a set.
 *
 * @module
 */
import { DerReader, type Element } from '../asn1/der-reader.ts'
import { textOf } from './name.ts'

/**
 * A Name as a list of texts, one a relative distinguished name, that are equal where those are.
 *
 * @param der Kept in memory as long as the Buffer is: asked twice, it is read once.
 * @throws {PosternError} `ERR_DER_SYNTAX`.
 */
export function comparableName(der: Buffer): readonly string[] {
  let names = READ.get(der)
  if (!names) {
    const outer = new DerReader(der)
    names = relativeNames(outer.into(0x30))
    outer.finish()
    READ.set(der, names)
  }
  return names
}

/** A Name as one text, equal where the names are. */
export function nameKey(der: Buffer): string {
  return comparableName(der).join('\u0000')
}

export function isSameName(one: Buffer, other: Buffer): boolean {
  return one.equals(other) || nameKey(one) === nameKey(other)
}

/** A Name without any relative distinguished name. */
export function isEmptyName(der: Buffer): boolean {
  return der.length === 2
}

/** One RelativeDistinguishedName, from the content of its SET. */
export function comparableRelativeName(set: DerReader): string {
  const attributes: string[] = []
  while (!set.done) {
    const attribute = set.into(0x30)
    const type = attribute.element(0x06).content.toString('hex')
    attributes.push(`${type}=${comparableValue(attribute.element())}`)
    attribute.finish()
  }
  return attributes.toSorted().join('\u0001')
}

function relativeNames(sequence: DerReader): string[] {
  const names: string[] = []
  while (!sequence.done) names.push(comparableRelativeName(sequence.into(0x31)))
  return names
}

/** Texts begin with `t`, octets with `o`, so that none can pass for the other. */
function comparableValue(element: Element): string {
  const text = textOf(element)
  if (text === undefined) return `o${element.octets.toString('hex')}`
  // NUL and SOH separate what is joined above: inside a value they would let two names meet.
  const folded = text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/[\0\u0001]/g, '\ufffd')
  return `t${folded.replaceAll(/\s+/g, ' ').trim()}`
}

const READ = new WeakMap<Buffer, readonly string[]>()
