/**
 * Reads certificate revocation lists (RFC 5280 §5), long ones too, without holding up the event loop.
 *
 * Entries are not turned into objects. What is kept is the DER, where each entry begins, and a hash
 * table over their serial numbers: about 20 octets an entry beside the list itself.
 *
 * @module
 */
import { randomInt } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { PosternError } from '../../errors.ts'
import {
  DerReader,
  type Element,
  readBoolean,
  readFlags,
  readSmallInteger,
  readTime,
  syntaxError,
} from '../asn1/der-reader.ts'
import {
  type Extensions,
  readAuthorityKeyIdentifier,
  readExtensions,
  unknownCritical,
} from './extensions.ts'
import { type GeneralName, readGeneralNames } from './general-name.ts'
import { nameKey } from './name-comparison.ts'
import * as OID from './oids.ts'
import { type DistributionPointName, readDistributionPointName } from './path-extensions.ts'
import { type RevocationReason, revocationReason } from './revocation.ts'
import { readSignedStructure, type SignedStructure } from './signed-structure.ts'

/** A revocation list. What it says of whom is asked by `entryOf`. */
export interface Crl extends SignedStructure {
  readonly der: Buffer
  /** DER of the issuer's Name. */
  readonly issuer: Buffer
  readonly thisUpdate: Date
  /** Undefined where the list does not say, against RFC 5280 §5.1.2.5. */
  readonly nextUpdate: Date | undefined
  /** Big-endian (§5.2.3). */
  readonly number: Buffer | undefined
  /** Of the complete list that a delta list belongs to (§5.2.4); undefined: a complete list. */
  readonly baseNumber: Buffer | undefined
  readonly authorityKeyIdentifier: Buffer | undefined
  readonly scope: IssuingDistributionPoint
  /** A critical extension of the list or of any entry is unknown: nobody is good by this list. */
  readonly hasUnknownCritical: boolean
  readonly size: number
  /**
   * What the list says of a serial number.
   * @param issuer DER of the Name of the certificate's issuer, which counts in indirect lists.
   */
  entryOf(serialNumber: Buffer, issuer: Buffer): CrlEntry | undefined
}

/** IssuingDistributionPoint (§5.2.5); all false and undefined where there is none. */
export interface IssuingDistributionPoint {
  readonly name: DistributionPointName | undefined
  readonly onlyUserCertificates: boolean
  readonly onlyAuthorities: boolean
  /** Bits of ReasonFlags; undefined: all reasons. */
  readonly onlySomeReasons: readonly number[] | undefined
  readonly isIndirect: boolean
  readonly onlyAttributeCertificates: boolean
  /** Content octets: a delta list is for the same scope as its complete list. */
  readonly octets: Buffer
}

export interface CrlEntry {
  readonly revokedAt: Date
  readonly reason: RevocationReason
}

/**
 * Reads one revocation list, to its last octet.
 *
 * @param der Kept, not copied. At most 10 MiB.
 * @throws {PosternError} `ERR_CRL_SYNTAX`.
 */
export async function parseCrl(der: Buffer): Promise<Crl> {
  if (der.length > MAXIMUM_OCTETS) throw malformed(syntaxError(0, 'too large'))
  try {
    return await readCrl(der)
  } catch (cause) {
    throw malformed(cause)
  }
}

async function readCrl(der: Buffer): Promise<Crl> {
  const outer = new DerReader(der)
  const list = outer.into(0x30)
  outer.finish()
  const { inside: tbs, toBeSigned, ...signed } = readSignedStructure(list, der)
  list.finish()
  tbs.optional(0x02) // version
  const signatureAlgorithm = tbs.element(0x30).octets
  const issuer = tbs.element(0x30).octets
  const thisUpdate = readTime(tbs.element())
  const nextUpdate = isTime(tbs.nextTag) ? readTime(tbs.element()) : undefined
  const entries = tbs.optional(0x30)?.content ?? Buffer.alloc(0)
  const extensions = readExtensions(tbs.optionalInto(0xa0))
  tbs.finish()
  if (!signed.signatureAlgorithm.equals(signatureAlgorithm))
    throw syntaxError(list.offset, 'two signature algorithms')
  const { signature } = signed
  nameKey(issuer)

  const scope = readScope(extensions)
  const index = await indexEntries(entries, scope.isIndirect ? issuer : undefined)
  const unknown = unknownCritical(extensions).filter(oid => !UNDERSTOOD.has(oid))
  return {
    ...{ der, toBeSigned, signatureAlgorithm, signature, issuer, thisUpdate, nextUpdate, scope },
    number: integerOf(extensions, OID.CRL_NUMBER),
    baseNumber: integerOf(extensions, OID.DELTA_INDICATOR),
    authorityKeyIdentifier: readAuthorityKeyIdentifier(extensions),
    hasUnknownCritical: unknown.length > 0 || index.hasUnknownCritical,
    size: index.size,
    entryOf: (serialNumber, by) => index.find(serialNumber, by),
  }
}

function isTime(tag: number): boolean {
  return tag === 0x17 || tag === 0x18
}

function readScope(extensions: Extensions): IssuingDistributionPoint {
  const extension = extensions.get(OID.ISSUING_DISTRIBUTION_POINT)
  const octets = extension?.value ?? Buffer.alloc(0)
  const point = extension ? new DerReader(octets).into(0x30) : undefined
  const choice = point?.optionalInto(0xa0)
  const flag = (element: Element | undefined): boolean =>
    element !== undefined && readBoolean(element)
  const scope = {
    name: choice && readDistributionPointName(choice),
    onlyUserCertificates: flag(point?.optional(0x81)),
    onlyAuthorities: flag(point?.optional(0x82)),
    onlySomeReasons: flagsOf(point?.optional(0x83)),
    isIndirect: flag(point?.optional(0x84)),
    onlyAttributeCertificates: flag(point?.optional(0x85)),
    octets,
  }
  point?.finish()
  return scope
}

function flagsOf(element: Element | undefined): number[] | undefined {
  return element && readFlags(element)
}

function integerOf(extensions: Extensions, oid: string): Buffer | undefined {
  const extension = extensions.get(oid)
  return extension && new DerReader(extension.value).element(0x02).content
}

/** The entries of a list, found by serial number. */
class EntryIndex {
  size = 0
  hasUnknownCritical = false
  readonly #octets: Buffer
  /** Offset of each entry. */
  readonly #offsets: Uint32Array
  /** Open addressing: number of the entry and one, or 0. Half empty at least. */
  readonly #table: Uint32Array
  readonly #issuers: string[]
  /** Number of the entry from which on an issuer counts, in indirect lists (§5.3.3). */
  readonly #issuersFrom: number[] = [0]

  constructor(octets: Buffer, issuer: Buffer | undefined) {
    const capacity = Math.ceil(octets.length / SMALLEST_ENTRY_OCTETS)
    this.#octets = octets
    this.#offsets = new Uint32Array(capacity)
    this.#table = new Uint32Array(2 ** Math.ceil(Math.log2(capacity * 2 + 2)))
    this.#issuers = [issuer ? nameKey(issuer) : '']
  }

  /** Indirect lists name the issuer of each certificate; in others it is the list's own. */
  get isIndirect(): boolean {
    return this.#issuers[0] !== ''
  }

  add(offset: number): void {
    this.#offsets[this.size++] = offset
    this.#insert(this.size)
  }

  /** From the entry that is added next on, certificates are those of another issuer. */
  changeIssuer(names: readonly GeneralName[]): void {
    const name = names.find(({ form }) => form === 'directoryName')
    const key = name && 'value' in name ? nameKey(name.value) : '?'
    this.#issuers.push(key)
    this.#issuersFrom.push(this.size)
  }

  find(serialNumber: Buffer, issuer: Buffer): CrlEntry | undefined {
    const key = this.isIndirect ? nameKey(issuer) : ''
    let found: CrlEntry | undefined
    for (let slot = this.#slot(serialNumber); this.#table[slot] !== 0; slot = this.#next(slot)) {
      const number = this.#table[slot]! - 1
      if (!this.#serialOf(this.#offsets[number]!).equals(serialNumber)) continue
      if (key === this.#issuerOf(number)) found ??= this.#read(this.#offsets[number]!)
    }
    return found
  }

  #insert(number: number): void {
    let slot = this.#slot(this.#serialOf(this.#offsets[number - 1]!))
    while (this.#table[slot] !== 0) slot = this.#next(slot)
    this.#table[slot] = number
  }

  #next(slot: number): number {
    return (slot + 1) & (this.#table.length - 1)
  }

  /** Seeded, so that nobody can choose serial numbers that all meet in one place. */
  #slot(serialNumber: Buffer): number {
    let hash = SEED
    for (const octet of serialNumber) {
      hash = Math.imul(hash ^ octet, 0x5bd1e995)
      hash ^= hash >>> (13 + (hash & 3))
    }
    return (hash >>> 0) & (this.#table.length - 1)
  }

  #serialOf(offset: number): Buffer {
    const start = contentOf(this.#octets, offset)
    const content = contentOf(this.#octets, start)
    return this.#octets.subarray(content, endOf(this.#octets, start))
  }

  #issuerOf(number: number): string {
    let low = 0
    let high = this.#issuersFrom.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#issuersFrom[middle]! <= number) low = middle
      else high = middle - 1
    }
    return this.#issuers[low]!
  }

  #read(offset: number): CrlEntry {
    const entry = new DerReader(this.#octets.subarray(offset, endOf(this.#octets, offset))).into(
      0x30,
    )
    entry.element(0x02)
    const revokedAt = readTime(entry.element())
    const extensions = readEntryExtensions(entry.optional(0x30))
    const code = extensions.get(OID.REASON_CODE)
    const reason = code ? readSmallInteger(new DerReader(code.value).element(0x0a)) : 0
    return { revokedAt, reason: revocationReason(reason) }
  }
}

/** Walks all entries in turns of a few milliseconds. */
async function indexEntries(
  octets: Buffer,
  indirectIssuer: Buffer | undefined,
): Promise<EntryIndex> {
  const index = new EntryIndex(octets, indirectIssuer)
  let inTurn = 0
  for (let offset = 0; offset < octets.length; offset = endOf(octets, offset)) {
    if (octets[offset] !== 0x30) throw syntaxError(offset, 'entry is no sequence')
    if (endOf(octets, offset) - offset < SMALLEST_ENTRY_OCTETS)
      throw syntaxError(offset, 'entry is too small')
    lookAtExtensions(octets, offset, index)
    index.add(offset)
    if (++inTurn < ENTRIES_A_TURN) continue
    inTurn = 0
    await setImmediate()
  }
  return index
}

/** Serial number and time are only stepped over; extensions are rare, and read. */
function lookAtExtensions(octets: Buffer, offset: number, index: EntryIndex): void {
  const end = endOf(octets, offset)
  const serial = contentOf(octets, offset)
  if (octets[serial] !== 0x02) throw syntaxError(serial, 'entry without a serial number')
  const time = endOf(octets, serial)
  const after = time < end && isTime(octets[time]!) ? endOf(octets, time) : end + 1
  if (after > end) throw syntaxError(offset, 'entry is malformed')
  if (after === end) return
  const reader = new DerReader(octets.subarray(after, end))
  const extensions = readEntryExtensions(reader.element(0x30))
  reader.finish()
  const issuer = extensions.get(OID.CERTIFICATE_ISSUER)
  if (issuer && index.isIndirect)
    index.changeIssuer(readGeneralNames(new DerReader(issuer.value).into(0x30)))
  for (const [oid, { critical }] of extensions)
    if (critical && !ENTRY_UNDERSTOOD.has(oid)) index.hasUnknownCritical = true
}

function readEntryExtensions(element: Element | undefined): Extensions {
  if (!element) return new Map()
  // readExtensions wants the list in a wrapper, as certificates have it.
  return readExtensions(new DerReader(element.octets))
}

/** Where the content of the element at an offset begins; its header is believed by `endOf` alone. */
function contentOf(octets: Buffer, offset: number): number {
  const length = octets[offset + 1] ?? 0
  return length < 0x80 ? offset + 2 : offset + 2 + (length & 0x7f)
}

/** Where the element at an offset ends, held against the octets there are. */
function endOf(octets: Buffer, offset: number): number {
  let length = octets[offset + 1] ?? 0x80
  const content = contentOf(octets, offset)
  if (length >= 0x80) {
    const count = length & 0x7f
    if (count === 0 || count > 4 || content > octets.length)
      throw syntaxError(offset, 'length is indefinite or too long')
    length = octets.readUIntBE(offset + 2, count)
  }
  if (length > octets.length - content) throw syntaxError(offset, 'length is over what is left')
  return content + length
}

function malformed(cause: unknown): PosternError {
  const where = cause instanceof PosternError ? `: ${cause.message}` : ''
  const what = `revocation list cannot be read${where}`
  return new PosternError('ERR_CRL_SYNTAX', 'permanent', what, { cause })
}

const SEED = randomInt(0x1_0000_0000) | 1
const MAXIMUM_OCTETS = 10_485_760
/** SEQUENCE of an INTEGER of one octet and a UTCTime. */
const SMALLEST_ENTRY_OCTETS = 20
const ENTRIES_A_TURN = 4000
const UNDERSTOOD: ReadonlySet<string> = new Set([
  OID.CRL_NUMBER,
  OID.DELTA_INDICATOR,
  OID.ISSUING_DISTRIBUTION_POINT,
])
const ENTRY_UNDERSTOOD: ReadonlySet<string> = new Set([OID.REASON_CODE, OID.CERTIFICATE_ISSUER])
