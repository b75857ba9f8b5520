/**
 * The extensions of a certificate that we understand (RFC 5280 §4.2), one function each.
 *
 * @module
 */
import {
  DerReader,
  readBoolean,
  readFlags,
  readOid,
  readSmallInteger,
  syntaxError,
} from '../asn1/der-reader.ts'
import { readName } from './name.ts'
import * as OID from './oids.ts'

export interface Extension {
  readonly critical: boolean
  /** DER inside the OCTET STRING. */
  readonly value: Buffer
}

export type Extensions = ReadonlyMap<string, Extension>

/** What a key may be used for (RFC 5280 §4.2.1.3). */
export type KeyUsage = (typeof KEY_USAGES)[number]

/** RFC 5280 §4.2.1.9. */
export interface BasicConstraints {
  readonly certificateAuthority: boolean
  readonly pathLength: number | undefined
}

export interface CertificateAddresses {
  readonly addresses: readonly string[]
  readonly source: 'alternative-name' | 'subject' | 'none'
}

/**
 * Reads `extensions [3]` of a TBSCertificate.
 * @throws {PosternError} `ERR_DER_SYNTAX`, also where an extension stands twice (§4.2).
 */
export function readExtensions(outer: DerReader | undefined): Extensions {
  const extensions = new Map<string, Extension>()
  if (!outer) return extensions
  const list = outer.into(0x30)
  outer.finish()
  while (!list.done) {
    const extension = list.into(0x30)
    const oid = readOid(extension.element(0x06))
    const critical = extension.optional(0x01)
    const value = extension.element(0x04).content
    extension.finish()
    if (extensions.has(oid)) throw syntaxError(list.offset, `extension ${oid} stands twice`)
    extensions.set(oid, { critical: critical !== undefined && readBoolean(critical), value })
  }
  return extensions
}

/** Critical extensions whose meaning nobody looks at: neither this file nor path validation. */
export function unknownCritical(extensions: Extensions): string[] {
  return [...extensions]
    .filter(([oid, { critical }]) => critical && !UNDERSTOOD.has(oid))
    .map(([oid]) => oid)
}

/** RFC 5280 §4.2.1.3. */
export function readKeyUsage(extensions: Extensions): ReadonlySet<KeyUsage> | undefined {
  const value = readerOf(extensions, OID.KEY_USAGE)
  if (!value) return undefined
  const flags = readFlags(value.element(0x03)).flatMap(bit => KEY_USAGES[bit] ?? [])
  value.finish()
  return new Set(flags)
}

/** RFC 5280 §4.2.1.12. */
export function readExtendedKeyUsage(extensions: Extensions): ReadonlySet<string> | undefined {
  const value = readerOf(extensions, OID.EXTENDED_KEY_USAGE)
  if (!value) return undefined
  const purposes = new Set<string>()
  const list = value.into(0x30)
  while (!list.done) purposes.add(readOid(list.element(0x06)))
  value.finish()
  return purposes
}

export function readBasicConstraints(extensions: Extensions): BasicConstraints | undefined {
  const value = readerOf(extensions, OID.BASIC_CONSTRAINTS)
  if (!value) return undefined
  const sequence = value.into(0x30)
  const authority = sequence.optional(0x01)
  const pathLength = sequence.optional(0x02)
  sequence.finish()
  value.finish()
  return {
    certificateAuthority: authority !== undefined && readBoolean(authority),
    pathLength: pathLength && readSmallInteger(pathLength),
  }
}

/** RFC 5280 §4.2.1.2. */
export function readSubjectKeyIdentifier(extensions: Extensions): Buffer | undefined {
  return readerOf(extensions, OID.SUBJECT_KEY_IDENTIFIER)?.element(0x04).content
}

/** The keyIdentifier of RFC 5280 §4.2.1.1; issuer and serial number are not looked at. */
export function readAuthorityKeyIdentifier(extensions: Extensions): Buffer | undefined {
  return readerOf(extensions, OID.AUTHORITY_KEY_IDENTIFIER)?.into(0x30).optional(0x80)?.content
}

/**
 * The mail addresses that a certificate names.
 *
 * rfc822Name and SmtpUTF8Mailbox (RFC 9598 §3) of the subject alternative name. Only where it holds
 * no address at all, the emailAddress of the subject (RFC 8550 §3): two places that name two people
 * must not both count. An address that two readers could read differently does not count either.
 */
export function readAddresses(extensions: Extensions, subject: Buffer): CertificateAddresses {
  const inSubject = readName(subject)
    .flat()
    .flatMap(({ type, value }) =>
      type === OID.EMAIL_ADDRESS && typeof value === 'string' ? value : [],
    )
  const named = readAlternativeAddresses(extensions)
  if (named.length > 0) return { addresses: named.filter(isSafe), source: 'alternative-name' }
  if (inSubject.length > 0)
    return {
      addresses: inSubject.filter(address => isAscii(address) && isSafe(address)),
      source: 'subject',
    }
  return { addresses: [], source: 'none' }
}

/** Addresses as they stand; one that is not what its type allows is `''`, which is never safe. */
function readAlternativeAddresses(extensions: Extensions): string[] {
  const value = readerOf(extensions, OID.SUBJECT_ALTERNATIVE_NAME)
  if (!value) return []
  const names = value.into(0x30)
  value.finish()
  const addresses: string[] = []
  while (!names.done) {
    if (names.nextTag === 0xa0) {
      const otherName = names.into(0xa0)
      const type = readOid(otherName.element(0x06))
      const wrapped = otherName.element(0xa0)
      otherName.finish()
      if (type === OID.SMTP_UTF8_MAILBOX) addresses.push(readUtf8(wrapped.content))
    } else {
      const { tag, content } = names.element()
      if (tag !== 0x81) continue
      const text = content.toString('latin1')
      addresses.push(isAscii(text) ? text : '')
    }
  }
  return addresses
}

function readUtf8(der: Buffer): string {
  const value = new DerReader(der)
  const { content } = value.element(0x0c)
  value.finish()
  const text = content.toString('utf8')
  return Buffer.from(text, 'utf8').equals(content) ? text : ''
}

function isAscii(text: string): boolean {
  return !/[^\x21-\x7e]/.test(text)
}

/**
 * An address that every reader reads alike: `local@domain`, one `@`, nothing that quotes, comments,
 * separates, hides or turns around. `mailto:a@b`, `<a@b>` and `a@b, c@d` are none.
 */
function isSafe(address: string): boolean {
  return (
    Buffer.byteLength(address) <= MAXIMUM_ADDRESS_OCTETS &&
    /^[^@]+@[^@]+$/.test(address) &&
    !/["(),:;<>[\\\]]|[\p{C}\p{Z}]/u.test(address)
  )
}

function readerOf(extensions: Extensions, oid: string): DerReader | undefined {
  const extension = extensions.get(oid)
  return extension && new DerReader(extension.value)
}

const MAXIMUM_ADDRESS_OCTETS = 254
const UNDERSTOOD: ReadonlySet<string> = new Set([
  OID.SUBJECT_KEY_IDENTIFIER,
  OID.KEY_USAGE,
  OID.SUBJECT_ALTERNATIVE_NAME,
  OID.BASIC_CONSTRAINTS,
  OID.AUTHORITY_KEY_IDENTIFIER,
  OID.EXTENDED_KEY_USAGE,
  OID.NAME_CONSTRAINTS,
  OID.DISTRIBUTION_POINTS,
  OID.CERTIFICATE_POLICIES,
  OID.POLICY_MAPPINGS,
  OID.POLICY_CONSTRAINTS,
  OID.INHIBIT_ANY_POLICY,
])
/** In the order of their bits (RFC 5280 §4.2.1.3). */
export const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const
