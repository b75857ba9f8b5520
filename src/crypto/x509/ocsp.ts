/**
 * The online certificate status protocol: requests and what an answer is worth (RFC 6960, RFC 9654).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import { receivedDigestByOid } from '../algorithms.ts'
import {
  DerReader,
  type Element,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
  syntaxError,
} from '../asn1/der-reader.ts'
import { context, integer, NULL, octetString, oid, sequence } from '../asn1/der-writer.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import { type Extensions, readExtensions, unknownCritical } from './extensions.ts'
import { isSameName } from './name-comparison.ts'
import * as OID from './oids.ts'
import { faultOfEndEntity } from './path-check.ts'
import {
  type RevocationQuestion,
  type RevocationStatus,
  revocationReason,
  type UnknownStatus,
} from './revocation.ts'
import { readSignedStructure, type SignedStructure, verifySigned } from './signed-structure.ts'

/** An answer, read and not yet believed. */
export interface OcspResponse extends SignedStructure {
  readonly responder: ResponderId
  readonly producedAt: Date
  readonly answers: readonly SingleAnswer[]
  readonly nonce: Buffer | undefined
  readonly unknownCriticalExtensions: readonly string[]
  /** Certificates that came along, unread. */
  readonly certificates: readonly Buffer[]
}

type ResponderId =
  | { readonly kind: 'name'; readonly name: Buffer }
  /** SHA-1 of the responder's key. */
  | { readonly kind: 'key'; readonly hash: Buffer }

interface SingleAnswer {
  readonly hashAlgorithm: string
  readonly issuerNameHash: Buffer
  readonly issuerKeyHash: Buffer
  readonly serialNumber: Buffer
  readonly status: 'good' | 'unknown' | { readonly at: Date; readonly reasonCode: number }
  readonly thisUpdate: Date
  readonly nextUpdate: Date | undefined
}

/**
 * Writes the request for one certificate (RFC 6960 §4.1).
 *
 * @param nonce 16 to 128 octets (RFC 9654 §2.1: 32 are best); left out, the answer may be an old one
 *   that a responder keeps ready (RFC 5019).
 * @returns DER of the OCSPRequest. Hashes are SHA-1: the only ones that every responder knows, and
 *   nothing but an index (RFC 5019 §2.1.1).
 */
export function ocspRequest(certificate: Certificate, issuer: Certificate, nonce?: Buffer): Buffer {
  const { serialNumber } = certificate
  const certId = sequence(
    sequence(oid(SHA_1), NULL),
    octetString(digest('sha1', issuer.subject)),
    octetString(digest('sha1', keyOctets(issuer))),
    integer(serialNumber),
  )
  const extension = nonce && sequence(oid(NONCE), octetString(octetString(nonce)))
  const extensions = extension ? [context(2, sequence(extension))] : []
  return sequence(sequence(sequence(sequence(certId)), ...extensions))
}

/**
 * Reads an OCSPResponse, to its last octet.
 *
 * @returns The name of the responseStatus where it is not `successful`.
 * @throws {PosternError} `ERR_OCSP_SYNTAX`.
 */
export function parseOcspResponse(der: Buffer): OcspResponse | string {
  try {
    if (der.length > MAXIMUM_OCTETS) throw syntaxError(0, 'too large')
    return readResponse(der)
  } catch (cause) {
    const where = cause instanceof PosternError ? `: ${cause.message}` : ''
    const what = `OCSP answer cannot be read${where}`
    throw new PosternError('ERR_OCSP_SYNTAX', 'permanent', what, { cause })
  }
}

/**
 * What an answer says of a certificate, if it is to be believed (RFC 6960 §3.2).
 *
 * It must be about this certificate of this issuer, of now, and signed by the issuer itself or by
 * whom that has authorised to (§4.2.2.2).
 *
 * @param nonce What was asked with; an answer with another one is refused, one without is taken.
 */
export async function statusByOcsp(
  response: OcspResponse,
  question: RevocationQuestion,
  nonce?: Buffer,
): Promise<RevocationStatus> {
  const answer = response.answers.find(one => isAbout(one, question))
  if (!answer) return unknown('not-for-this-certificate', 'OCSP answer is for another certificate')
  const [critical] = response.unknownCriticalExtensions
  if (critical !== undefined)
    return unknown('unknown-critical-extension', `OCSP answer has critical extension ${critical}`)
  // RFC 9654 §2.1: a responder may answer without, but never with another one.
  if (nonce && response.nonce && !response.nonce.equals(nonce))
    return unknown('nonce-mismatch', 'OCSP answer bears another nonce than was sent')
  const fault = (await signerFault(response, question)) ?? freshnessFault(answer, question.time)
  if (fault) return fault
  const { status, nextUpdate } = answer
  if (status === 'unknown')
    return unknown('responder-does-not-know', 'OCSP responder does not know the certificate')
  if (status === 'good') return { kind: 'good', until: nextUpdate }
  return { kind: 'revoked', at: status.at, reason: revocationReason(status.reasonCode) }
}

/** Tries who may have signed: the issuer, and certificates that came along. Each costs a signature. */
async function signerFault(
  response: OcspResponse,
  question: RevocationQuestion,
): Promise<UnknownStatus | undefined> {
  const { issuer, budget, allowSha1 } = question
  let fault = unknown('signer-not-authorised', 'nobody at hand may have signed the OCSP answer')
  for (const signer of [issuer, ...readable(response.certificates)]) {
    if (!isResponder(signer, response.responder)) continue
    if (signer !== issuer && !(await isAuthorised(signer, question))) continue
    if (budget.signatures-- <= 0) break
    if ((await verifySigned(response, signer, allowSha1)) === 'good') return undefined
    fault = unknown('signature-invalid', 'signature of the OCSP answer does not verify')
  }
  return fault
}

/**
 * A responder's certificate comes from the issuer directly, for this purpose and no other (§4.2.2.2).
 * Its own revocation is not asked for: whoever wants that gives it a short life (§4.2.2.2.1).
 */
async function isAuthorised(signer: Certificate, question: RevocationQuestion): Promise<boolean> {
  const { issuer, time, budget, allowSha1 } = question
  if (!signer.extendedKeyUsage?.has(OID.OCSP_SIGNING)) return false
  if (faultOfEndEntity(signer, { time, keyUsage: ['digitalSignature', 'nonRepudiation'] }))
    return false
  if (!isSameName(signer.issuer, issuer.subject) || budget.signatures-- <= 0) return false
  return (await verifySigned(signer, issuer, allowSha1)) === 'good'
}

function isResponder(signer: Certificate, id: ResponderId): boolean {
  return id.kind === 'name'
    ? isSameName(signer.subject, id.name)
    : digest('sha1', keyOctets(signer)).equals(id.hash)
}

function isAbout(answer: SingleAnswer, { certificate, issuer }: RevocationQuestion): boolean {
  const hash = receivedDigestByOid(answer.hashAlgorithm)?.nodeName
  return (
    hash !== undefined &&
    answer.serialNumber.equals(certificate.serialNumber) &&
    answer.issuerNameHash.equals(digest(hash, certificate.issuer)) &&
    answer.issuerKeyHash.equals(digest(hash, keyOctets(issuer)))
  )
}

/** Five minutes of grace for clocks. Without nextUpdate an answer is good for a day (RFC 5019 §4). */
function freshnessFault(answer: SingleAnswer, time: Date): UnknownStatus | undefined {
  const now = time.getTime()
  const thisUpdate = answer.thisUpdate.getTime()
  const nextUpdate = answer.nextUpdate?.getTime() ?? thisUpdate + DAY_MS
  if (thisUpdate > now + TOLERANCE_MS) return unknown('stale', 'OCSP answer is from the future')
  if (nextUpdate < now - TOLERANCE_MS) return unknown('stale', 'OCSP answer is out of date')
  return nextUpdate < thisUpdate
    ? unknown('malformed', 'OCSP answer ends before it begins')
    : undefined
}

function readable(certificates: readonly Buffer[]): Certificate[] {
  return certificates.flatMap(der => {
    try {
      return [parseCertificate(der)]
    } catch {
      return []
    }
  })
}

function readResponse(der: Buffer): OcspResponse | string {
  const outer = new DerReader(der)
  const response = outer.into(0x30)
  outer.finish()
  const status = response.element(0x0a).content[0]!
  if (status !== 0) return RESPONSE_STATUS[status] ?? 'unknown'
  const wrapped = response.into(0xa0)
  response.finish()
  const responseBytes = wrapped.into(0x30)
  if (readOid(responseBytes.element(0x06)) !== BASIC_RESPONSE)
    throw syntaxError(responseBytes.offset, 'answer is of another type')
  const octets = responseBytes.element(0x04).content
  return readBasicResponse(octets)
}

function readBasicResponse(octets: Buffer): OcspResponse {
  const outer = new DerReader(octets)
  const basic = outer.into(0x30)
  outer.finish()
  const { inside: data, ...signed } = readSignedStructure(basic, octets)
  const certificates = readCertificates(basic.optionalInto(0xa0)?.into(0x30))
  basic.finish()

  data.optional(0xa0) // version
  const responder = readResponder(data)
  const producedAt = readTime(data.element(0x18))
  const answers: SingleAnswer[] = []
  const unknownInside: string[] = []
  for (const list = data.into(0x30); !list.done; )
    answers.push(readAnswer(list.into(0x30), unknownInside))
  const extensions = readExtensions(data.optionalInto(0xa1))
  data.finish()
  const unknownCriticalExtensions = [...unknownCritical(extensions), ...unknownInside].filter(
    type => type !== NONCE,
  )
  return {
    ...{ ...signed, certificates, responder, producedAt, answers },
    nonce: readNonce(extensions),
    unknownCriticalExtensions,
  }
}

function readCertificates(list: DerReader | undefined): Buffer[] {
  const certificates: Buffer[] = []
  while (list && !list.done) {
    if (certificates.length >= MAXIMUM_CERTIFICATES)
      throw syntaxError(list.offset, 'too many certificates')
    certificates.push(list.element(0x30).octets)
  }
  return certificates
}

function readResponder(data: DerReader): ResponderId {
  const byName = data.optionalInto(0xa1)
  if (byName) return { kind: 'name', name: byName.element(0x30).octets }
  return { kind: 'key', hash: data.into(0xa2).element(0x04).content }
}

function readAnswer(answer: DerReader, unknownInside: string[]): SingleAnswer {
  const certId = answer.into(0x30)
  const hashAlgorithm = readOid(certId.into(0x30).element(0x06))
  const issuerNameHash = certId.element(0x04).content
  const issuerKeyHash = certId.element(0x04).content
  const serialNumber = readInteger(certId.element(0x02))
  const status = readStatus(answer)
  const thisUpdate = readTime(answer.element(0x18))
  const next = answer.optionalInto(0xa0)
  const extensions = readExtensions(answer.optionalInto(0xa1))
  answer.finish()
  unknownInside.push(...unknownCritical(extensions))
  return {
    ...{ hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber, status, thisUpdate },
    nextUpdate: next && readTime(next.element(0x18)),
  }
}

function readStatus(answer: DerReader): SingleAnswer['status'] {
  const { nextTag } = answer
  if (nextTag === 0x80 || nextTag === 0x82) {
    answer.element()
    return nextTag === 0x80 ? 'good' : 'unknown'
  }
  const revoked = answer.into(0xa1)
  const at = readTime(revoked.element(0x18))
  const reason = revoked.optionalInto(0xa0)
  return { at, reasonCode: reason ? readSmallInteger(reason.element(0x0a)) : 0 }
}

/** RFC 9654 §2.1 wraps the octets once more; old responders do not. */
function readNonce(extensions: Extensions): Buffer | undefined {
  const extension = extensions.get(NONCE)
  if (!extension) return undefined
  const reader = new DerReader(extension.value)
  const inner: Element | undefined = reader.nextTag === 0x04 ? reader.element(0x04) : undefined
  return inner && reader.done ? inner.content : extension.value
}

/** What an issuerKeyHash is over: the key without algorithm, tag and length (RFC 6960 §4.1.1). */
function keyOctets({ publicKeyInfo }: Certificate): Buffer {
  const info = new DerReader(publicKeyInfo).into(0x30)
  info.element(0x30)
  return info.element(0x03).content.subarray(1)
}

function digest(algorithm: string, octets: Buffer): Buffer {
  return createHash(algorithm).update(octets).digest()
}

function unknown(why: UnknownStatus['why'], detail: string): UnknownStatus {
  return { kind: 'unknown', why, detail }
}

const SHA_1 = '1.3.14.3.2.26'
const NONCE = '1.3.6.1.5.5.7.48.1.2'
const BASIC_RESPONSE = '1.3.6.1.5.5.7.48.1.1'
const TOLERANCE_MS = 300_000
const DAY_MS = 86_400_000
const MAXIMUM_OCTETS = 65_536
const MAXIMUM_CERTIFICATES = 10
const RESPONSE_STATUS = [
  'successful',
  'malformedRequest',
  'internalError',
  'tryLater',
  'unknown',
  'sigRequired',
  'unauthorized',
]
