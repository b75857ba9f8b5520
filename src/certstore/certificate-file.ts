/**
 * Certificates out of files and directory entries, whatever they are wrapped in.
 *
 *     PEM · DER · PKCS #7 (certs-only) · Microsoft serialized store · Exchange's tagged blob
 *                                   └──▶ certificates, revocation lists, faults
 *
 * What the octets are, they tell themselves, not a name. One that is damaged spoils no other.
 *
 * @module
 */
import { DerReader, readOid } from '../crypto/asn1/der-reader.ts'
import { objectIdentifierOf, partsOf, readBer } from '../crypto/ber.ts'
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import { Pace } from './pace.ts'

/** What could be read, and what could not. */
export interface CertificateFile {
  readonly certificates: readonly Certificate[]
  /** DER, not looked at. */
  readonly revocationLists: readonly Buffer[]
  /** What was wrong, for the operator: `certificate 3: …`. */
  readonly faults: readonly string[]
}

/**
 * Reads every certificate of a file. Never throws for what stands in it.
 *
 * Linear in the octets, which are kept: certificates are views of them. Elements over 100,000 are a
 * fault, certificates over 20,000 too.
 */
export function readCertificateFile(octets: Buffer): CertificateFile {
  const found = begin(octets)
  for (const step of found.steps) attempt(found, step)
  return end(found)
}

/**
 * The same for octets that may be many: others have their turn every few milliseconds.
 */
export async function readCertificateFileInTurns(octets: Buffer): Promise<CertificateFile> {
  const found = begin(octets)
  const pace = new Pace()
  for (const step of found.steps) {
    if (pace.isOver) await pace.rest()
    attempt(found, step)
  }
  return end(found)
}

interface Gathering {
  readonly certificates: Certificate[]
  readonly revocationLists: Buffer[]
  readonly faults: string[]
  /** What is left to be done, in order; a step may add others at the end. */
  readonly steps: (() => void)[]
  /** Certificates among the steps. */
  count: number
}

function begin(octets: Buffer): Gathering {
  const found: Gathering = {
    certificates: [],
    revocationLists: [],
    faults: [],
    steps: [],
    count: 0,
  }
  attempt(found, () => read(octets, found))
  return found
}

function end({ certificates, revocationLists, faults }: Gathering): CertificateFile {
  if (certificates.length + revocationLists.length + faults.length === 0)
    faults.push('holds no certificate')
  return { certificates, revocationLists, faults }
}

function read(octets: Buffer, found: Gathering): void {
  if (octets.includes(PEM_BEGIN)) readPem(octets, found)
  else if (octets.subarray(0, 8).equals(SERIALIZED_STORE)) readSerializedStore(octets, found)
  else if (octets[0] === 0x30) readBinary(octets, found)
  else if (isTagged(octets)) readTagged(octets, found)
  else if (!readBareBase64(octets, found)) found.faults.push('is of no known format')
}

/** Every block of a PEM text (RFC 7468 §2), whatever stands between them. */
function readPem(octets: Buffer, found: Gathering): void {
  let at = octets.indexOf(PEM_BEGIN)
  while (at >= 0) {
    if (found.steps.length >= MAX_BLOCKS) throw damaged('holds too many PEM blocks')
    const next = octets.indexOf(PEM_BEGIN, at + PEM_BEGIN.length)
    const block = octets.subarray(at, next < 0 ? octets.length : next)
    found.steps.push(() => readPemBlock(block.toString('latin1'), found))
    at = next
  }
}

function readPemBlock(block: string, found: Gathering): void {
  const labelEnd = block.indexOf('-----', PEM_BEGIN.length)
  const label = block.slice(PEM_BEGIN.length, Math.min(labelEnd, MAX_LABEL))
  if (!PEM_LABELS.has(label)) return
  const end = block.indexOf(`-----END ${label}-----`)
  const der = end < 0 ? undefined : fromBase64(block.slice(labelEnd + 5, end))
  if (!der) throw damaged(`a PEM block ${label} is damaged`)
  if (label === 'X509 CRL') found.revocationLists.push(der)
  else if (label === 'TRUSTED CERTIFICATE') keep(found, new DerReader(der).element(0x30).octets)
  else readBinary(der, found)
}

/** The text that Windows writes without lines around it, and that LDIF holds. */
function readBareBase64(octets: Buffer, found: Gathering): boolean {
  if (octets[0] !== 0x4d) return false // M: the first six bits of a SEQUENCE
  const der = fromBase64(octets.toString('latin1'))
  if (der?.[0] !== 0x30) return false
  readBinary(der, found)
  return true
}

/** One certificate, one revocation list, or PKCS #7. */
function readBinary(octets: Buffer, found: Gathering): void {
  if (octets[1] === 0x80) readBerPkcs7(octets, found)
  else if (new DerReader(octets).into(0x30).nextTag === 0x06) readPkcs7(octets, found)
  else if (isRevocationList(octets)) found.revocationLists.push(octets)
  else keep(found, octets)
}

/** A TBSCertList has a Time where a TBSCertificate has its validity (RFC 5280 §4.1, §5.1). */
function isRevocationList(octets: Buffer): boolean {
  const inner = new DerReader(octets).into(0x30).into(0x30)
  inner.optional(0x02)
  inner.optional(0x30)
  inner.optional(0x30)
  return TIMES.has(inner.nextTag)
}

/** The certificates of a SignedData (RFC 5652 §5.1), whoever has signed it and whatever. */
function readPkcs7(octets: Buffer, found: Gathering): void {
  const contentInfo = new DerReader(octets).into(0x30)
  if (readOid(contentInfo.element(0x06)) !== SIGNED_DATA) throw damaged('is no PKCS #7 SignedData')
  const signedData = contentInfo.into(0xa0).into(0x30)
  signedData.element(0x02)
  signedData.element(0x31)
  signedData.element(0x30)
  const certificates = signedData.optionalInto(0xa0)
  while (certificates && !certificates.done) {
    const element = certificates.element()
    // Others are attribute certificates and formats of their own (§10.2.2).
    if (element.tag === 0x30) keep(found, element.octets)
  }
  const lists = signedData.optionalInto(0xa1)
  while (lists && !lists.done) {
    const element = lists.element()
    if (element.tag === 0x30) found.revocationLists.push(element.octets)
  }
}

/** PKCS #7 with indefinite lengths, as NSS and Java write it. */
function readBerPkcs7(octets: Buffer, found: Gathering): void {
  const [type, wrapped] = partsOf(readBer(octets), 2)
  if (objectIdentifierOf(type) !== SIGNED_DATA) throw damaged('is no PKCS #7 SignedData')
  for (const part of partsOf(partsOf(wrapped, 1)[0], 3).slice(3)) {
    if (part.identifier === 0xa0) for (const { whole } of part.children) keep(found, whole)
    if (part.identifier === 0xa1)
      found.revocationLists.push(...part.children.map(({ whole }) => whole))
  }
}

/**
 * Microsoft's serialized certificate store (.sst): a version and a mark, then elements of identifier,
 * encoding, length (32 bits each, least octet first) and octets, up to an element of zeros.
 */
function readSerializedStore(octets: Buffer, found: Gathering): void {
  let at = SERIALIZED_STORE.length
  while (at + 12 <= octets.length) {
    const id = octets.readUInt32LE(at)
    const size = octets.readUInt32LE(at + 8)
    const end = at + 12 + size
    if (id === 0) return
    if (end > octets.length) break
    const content = octets.subarray(at + 12, end)
    if (id === STORE_CERTIFICATE) keep(found, content)
    else if (id === STORE_REVOCATION_LIST) found.revocationLists.push(content)
    at = end
  }
  throw damaged('is a serialized store that ends too early')
}

/** Whether octets are nothing but elements of tag and length (16 bits each, least octet first). */
function isTagged(octets: Buffer): boolean {
  let at = 0
  while (at + 4 <= octets.length) {
    const size = octets.readUInt16LE(at + 2)
    if (size < 4) return false
    at += size
  }
  return at === octets.length && at > 0
}

/**
 * The blob in which Exchange keeps a user's certificates beside his preferences. Of its elements, the
 * certificates are those that read as some.
 */
function readTagged(octets: Buffer, found: Gathering): void {
  for (let at = 0; at < octets.length; at += octets.readUInt16LE(at + 2)) {
    const content = octets.subarray(at + 4, at + octets.readUInt16LE(at + 2))
    if (content.length < LEAST_CERTIFICATE || content[0] !== 0x30) continue
    attempt(found, () => readBinary(content, found))
  }
}

function keep(found: Gathering, der: Buffer): void {
  if (found.count >= MAX_CERTIFICATES) throw damaged('holds too many certificates')
  found.count++
  found.steps.push(() => {
    try {
      found.certificates.push(parseCertificate(der))
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      const number = found.certificates.length + found.faults.length + 1
      found.faults.push(`certificate ${number}: ${error.message}`)
    }
  })
}

function attempt(found: Gathering, action: () => void): void {
  try {
    action()
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    found.faults.push(error.message)
  }
}

/** Undefined where it is none. Buffer's own decoder would pass over what does not belong there. */
function fromBase64(text: string): Buffer | undefined {
  const base64 = text.replaceAll(/[\t\r\n ]/g, '')
  return base64.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(base64)
    ? Buffer.from(base64, 'base64')
    : undefined
}

function damaged(what: string): PosternError {
  return new PosternError('ERR_CERTIFICATE_FILE', 'permanent', what)
}

const PEM_BEGIN = '-----BEGIN '
const MAX_LABEL = 64
const PEM_LABELS: ReadonlySet<string> = new Set([
  'CERTIFICATE',
  'X509 CERTIFICATE',
  'TRUSTED CERTIFICATE',
  'PKCS7',
  'CMS',
  'X509 CRL',
])
/** UTCTime and GeneralizedTime. */
const TIMES: ReadonlySet<number> = new Set([0x17, 0x18])
const SIGNED_DATA = '1.2.840.113549.1.7.2'
const SERIALIZED_STORE = Buffer.from('\0\0\0\0CERT', 'latin1')
const STORE_CERTIFICATE = 32
const STORE_REVOCATION_LIST = 33
const MAX_CERTIFICATES = 20_000
const MAX_BLOCKS = 40_000
/** Shorter ones are algorithm identifiers and the like. */
const LEAST_CERTIFICATE = 200
