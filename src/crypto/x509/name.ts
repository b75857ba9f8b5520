/**
 * Distinguished names in words that a person can read (RFC 4514), and safe to show anywhere.
 *
 * Names are compared as octets, never as these words.
 *
 * @module
 */
import { DerReader, type Element, readOid } from '../asn1/der-reader.ts'

/** One attribute of a relative distinguished name. */
export interface NameAttribute {
  readonly type: string
  /** Text, or the content octets of what is none. */
  readonly value: string | Buffer
}

/**
 * The relative distinguished names of a Name (RFC 5280 §4.1.2.4), in the order of its DER.
 * @throws {PosternError} `ERR_DER_SYNTAX`.
 */
export function readName(der: Buffer): NameAttribute[][] {
  const outer = new DerReader(der)
  const names: NameAttribute[][] = []
  const sequence = outer.into(0x30)
  while (!sequence.done) {
    const set = sequence.into(0x31)
    const attributes: NameAttribute[] = []
    while (!set.done) {
      const attribute = set.into(0x30)
      const type = readOid(attribute.element(0x06))
      const value = attribute.element()
      attributes.push({ type, value: textOf(value) ?? value.content })
      attribute.finish()
    }
    names.push(attributes)
  }
  outer.finish()
  return names
}

/**
 * A Name as text, most specific first: `CN=Alice,O=Example\, Inc.,C=DE`.
 *
 * Control and direction characters are written as `\XX` of their UTF-8 octets: a name comes from a
 * stranger, and goes to logs and pages.
 */
export function nameText(der: Buffer): string {
  return readName(der)
    .toReversed()
    .map(attributes => attributes.map(attributeText).join('+'))
    .join(',')
}

/**
 * A DirectoryString or IA5String as text (RFC 5280 §A.1); undefined for other types, and where the octets
 * are none of their type.
 */
export function textOf({ tag, content }: Element): string | undefined {
  switch (tag) {
    case 0x0c: {
      const text = content.toString('utf8')
      return text.includes('\ufffd') ? undefined : text
    }
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x14: // TeletexString, in practice Latin-1
    case 0x16: // IA5String
    case 0x1a: // VisibleString
      return content.toString('latin1')
    case 0x1e: // BMPString
      return content.length % 2 === 0
        ? Buffer.from(content).swap16().toString('utf16le')
        : undefined
    default:
      return undefined
  }
}

function attributeText({ type, value }: NameAttribute): string {
  const text = typeof value === 'string' ? escaped(value) : `#${value.toString('hex', 0, 512)}`
  return `${SHORT_NAMES.get(type) ?? type}=${text}`
}

/** RFC 4514 §2.4, and beyond it whatever could move a cursor or turn a line around. */
function escaped(value: string): string {
  return value
    .slice(0, MAXIMUM_TEXT)
    .replaceAll(/[\\",+;<>=]|^[ #]| $/g, '\\$&')
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, character =>
      Buffer.from(character, 'utf8').toString('hex').replaceAll(/../g, '\\$&'),
    )
}

const MAXIMUM_TEXT = 1024
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.4', 'SN'],
  ['2.5.4.5', 'serialNumber'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.9', 'street'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['2.5.4.12', 'title'],
  ['2.5.4.42', 'GN'],
  ['2.5.4.65', 'pseudonym'],
  ['2.5.4.97', 'organizationIdentifier'],
  ['0.9.2342.19200300.100.1.1', 'UID'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
  ['1.2.840.113549.1.9.1', 'emailAddress'],
])
