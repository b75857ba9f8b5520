/**
 * The status of a certificate by revocation lists (RFC 5280 §6.3): complete and delta lists, lists
 * for some distribution points, reasons or kinds of certificates, and indirect ones.
 *
 * @module
 */

import { PosternError } from '../../errors.ts'
import { DerReader } from '../asn1/der-reader.ts'
import type { Certificate } from './certificate.ts'
import type { Crl, CrlEntry } from './crl.ts'
import type { GeneralName } from './general-name.ts'
import { comparableName, comparableRelativeName, isSameName } from './name-comparison.ts'
import { validatePath } from './path.ts'
import {
  type DistributionPoint,
  type DistributionPointName,
  pathExtensions,
} from './path-extensions.ts'
import {
  type RevocationAnswers,
  type RevocationQuestion,
  type RevocationStatus,
  type UnknownStatus,
  wholeSecond,
} from './revocation.ts'
import { verifySigned } from './signed-structure.ts'

/**
 * Answers by the lists at hand. A list is verified once, however often it is asked.
 *
 * @param crls Of whatever issuers, in any order.
 * @param signers Certificates that may have signed lists and stand in no path: nothing is believed.
 */
export function statusByCrls(
  crls: readonly Crl[],
  signers: readonly Certificate[],
): RevocationAnswers {
  return answersWithin(crls, signers, [])
}

/** @param asked Signers of lists whose own status is being asked for further up. */
function answersWithin(
  crls: readonly Crl[],
  signers: readonly Certificate[],
  asked: readonly Certificate[],
): RevocationAnswers {
  return {
    async statusOf(question) {
      try {
        return await statusOf({ question, crls, signers, asked })
      } catch (error) {
        // Names in distribution points are read when they are compared.
        if (!(error instanceof PosternError)) throw error
        return unknown('malformed', 'distribution point cannot be read')
      }
    },
  }
}

interface Inquiry {
  readonly question: RevocationQuestion
  readonly crls: readonly Crl[]
  readonly signers: readonly Certificate[]
  readonly asked: readonly Certificate[]
}

/** RFC 5280 §6.3.3, with the reasons as a mask of bits. */
async function statusOf(inquiry: Inquiry): Promise<RevocationStatus> {
  const { certificate, time } = inquiry.question
  let covered = 0
  let until: Date | undefined
  let ignorance = unknown('no-answer', 'no revocation list at hand is for this certificate')
  for (const point of distributionPointsOf(certificate)) {
    for (const crl of newestFirst(inquiry.crls)) {
      if (!isFor(certificate, crl, point) || crl.baseNumber) continue
      const reasons = maskOf(point.reasons) & maskOf(crl.scope.onlySomeReasons)
      if ((reasons & ~covered) === 0) continue
      const read = await readList(crl, inquiry, point)
      if (read.kind === 'revoked') return read
      if (read.kind === 'unknown') {
        if (ignorance.why === 'no-answer') ignorance = read
        continue
      }
      covered |= reasons
      until = earlier(until, crl.nextUpdate ?? time)
      if (covered === ALL_REASONS) return { kind: 'good', until }
    }
  }
  if (covered !== 0 && ignorance.why === 'no-answer')
    return unknown('no-answer', 'revocation lists at hand are for some reasons only')
  return ignorance
}

/** The points that a certificate names, and the plain list of its issuer besides (§6.3.3). */
function distributionPointsOf(certificate: Certificate): DistributionPoint[] {
  const names: GeneralName[] = [{ form: 'directoryName', value: certificate.issuer }]
  const plain = {
    name: { kind: 'full' as const, names },
    reasons: undefined,
    crlIssuers: undefined,
  }
  return [...pathExtensions(certificate).distributionPoints, plain]
}

/** Whether a list speaks of a certificate: §6.3.3 b. */
function isFor(certificate: Certificate, crl: Crl, point: DistributionPoint): boolean {
  const { scope } = crl
  const { crlIssuers } = point
  if (crlIssuers) {
    if (!scope.isIndirect || !crlIssuers.some(name => isDirectoryName(name, crl.issuer)))
      return false
  } else if (!isSameName(crl.issuer, certificate.issuer)) {
    return false
  }
  if (scope.onlyAttributeCertificates) return false
  if (scope.onlyUserCertificates && certificate.isCertificateAuthority) return false
  if (scope.onlyAuthorities && !certificate.isCertificateAuthority) return false
  return !scope.name || sharesName(scope.name, point, crl.issuer)
}

/** One name of the list must be one of the point, or, where that has none, of its CRL issuer. */
function sharesName(
  name: DistributionPointName,
  point: DistributionPoint,
  issuer: Buffer,
): boolean {
  const ofList = keysOf(name, issuer)
  const ofPoint = point.name
    ? keysOf(point.name, directoryNameOf(point.crlIssuers) ?? issuer)
    : (point.crlIssuers ?? []).map(keyOf)
  return ofPoint.some(key => ofList.includes(key))
}

function keysOf(name: DistributionPointName, issuer: Buffer): string[] {
  if (name.kind === 'full') return name.names.map(keyOf)
  const relative = comparableRelativeName(new DerReader(name.set))
  return [['directoryName', ...comparableName(issuer), relative].join('\0')]
}

function keyOf(name: GeneralName): string {
  if ('text' in name) return `${name.form}\0${name.text}`
  if (name.form === 'directoryName') return [name.form, ...comparableName(name.value)].join('\0')
  return `${name.form}\0${name.value.toString('hex')}`
}

function directoryNameOf(names: readonly GeneralName[] | undefined): Buffer | undefined {
  const name = names?.find(({ form }) => form === 'directoryName')
  return name && 'value' in name ? name.value : undefined
}

function isDirectoryName(name: GeneralName, issuer: Buffer): boolean {
  return name.form === 'directoryName' && isSameName(name.value, issuer)
}

/**
 * What a complete list and the newest delta list to it say (§6.3.3 a, c to k).
 *
 * A list that is out of date or not wholly understood makes nobody good, but who is revoked by it
 * stays so; only a hold may have ended since.
 */
async function readList(
  crl: Crl,
  inquiry: Inquiry,
  point: DistributionPoint,
): Promise<RevocationStatus> {
  const { certificate, time } = inquiry.question
  const believed = await believe(crl, inquiry)
  if (believed) return believed
  const delta = await believedDelta(crl, inquiry, point)
  const { serialNumber, issuer } = certificate
  const entry = delta?.entryOf(serialNumber, issuer) ?? crl.entryOf(serialNumber, issuer)
  const fault = freshnessFault(crl, time) ?? (delta && freshnessFault(delta, time))
  if (isRevocation(entry) && !(fault && entry.reason === 'certificateHold'))
    return { kind: 'revoked', at: entry.revokedAt, reason: entry.reason }
  return fault ?? { kind: 'good', until: crl.nextUpdate }
}

function isRevocation(entry: CrlEntry | undefined): entry is CrlEntry {
  return entry !== undefined && entry.reason !== 'removeFromCRL'
}

function freshnessFault(crl: Crl, time: Date): UnknownStatus | undefined {
  const now = wholeSecond(time)
  if (crl.hasUnknownCritical)
    return unknown(
      'unknown-critical-extension',
      'revocation list has an unknown critical extension',
    )
  if (crl.thisUpdate.getTime() > now + TOLERANCE_MS)
    return unknown('stale', 'revocation list is from the future')
  if (!crl.nextUpdate || crl.nextUpdate.getTime() < now - TOLERANCE_MS)
    return unknown('stale', 'revocation list is out of date')
  return undefined
}

/** §6.3.3 c: of the same issuer and scope, to this list or an older one, and newer than it. */
async function believedDelta(
  crl: Crl,
  inquiry: Inquiry,
  point: DistributionPoint,
): Promise<Crl | undefined> {
  if (!crl.number) return undefined
  for (const delta of newestFirst(inquiry.crls)) {
    if (!delta.baseNumber || !delta.number || !isFor(inquiry.question.certificate, delta, point))
      continue
    if (!isSameName(delta.issuer, crl.issuer) || !delta.scope.octets.equals(crl.scope.octets))
      continue
    if (compare(delta.baseNumber, crl.number) > 0 || compare(delta.number, crl.number) <= 0)
      continue
    if (freshnessFault(delta, inquiry.question.time)?.why === 'stale') continue
    if ((await believe(delta, inquiry)) === undefined) return delta
  }
  return undefined
}

/** Undefined where somebody who may signed the list (§6.3.3 f, g); else why it is not believed. */
async function believe(crl: Crl, inquiry: Inquiry): Promise<UnknownStatus | undefined> {
  const { issuer } = inquiry.question
  let fault = unknown('signer-not-authorised', 'nobody at hand may sign the revocation list')
  for (const signer of signersOf(crl, inquiry)) {
    if (signer.keyUsage && !signer.keyUsage.has('cRLSign')) continue
    if (!(await isSignedBy(crl, signer, inquiry))) {
      fault = unknown('signature-invalid', 'signature of the revocation list does not verify')
      continue
    }
    if (signer === issuer || (await isAuthorised(signer, inquiry))) return undefined
    fault = unknown('signer-not-authorised', 'signer of the revocation list is not to be believed')
  }
  return fault
}

/** The issuer of the certificate first, then all who bear the name of the list's issuer. */
function signersOf(crl: Crl, { question, signers }: Inquiry): Certificate[] {
  const candidates = [question.issuer, question.anchor, ...signers]
  const named = candidates.filter(({ subject }) => isSameName(subject, crl.issuer))
  const unique = named.filter(
    (one, index) => named.findIndex(other => other.der.equals(one.der)) === index,
  )
  const { authorityKeyIdentifier: hint } = crl
  const fits = (one: Certificate): number =>
    Number(hint !== undefined && (one.subjectKeyIdentifier?.equals(hint) ?? false))
  return unique.toSorted((one, other) => fits(other) - fits(one))
}

async function isSignedBy(crl: Crl, signer: Certificate, inquiry: Inquiry): Promise<boolean> {
  const key = signer.publicKeyInfo.toString('latin1')
  const known = VERIFIED.get(crl) ?? new Map<string, boolean>()
  VERIFIED.set(crl, known)
  const before = known.get(key)
  if (before !== undefined) return before
  if (inquiry.question.budget.signatures-- <= 0) return false
  const good = (await verifySigned(crl, signer, inquiry.question.allowSha1)) === 'good'
  known.set(key, good)
  return good
}

/**
 * Whether a signer of lists that is not the issuer itself leads to the same anchor, unrevoked.
 * A signer that is asked for while its own status is in question answers for itself: its list would
 * have to say that it is revoked.
 */
async function isAuthorised(signer: Certificate, inquiry: Inquiry): Promise<boolean> {
  const { crls, signers, asked, question } = inquiry
  if (signer.der.equals(question.anchor.der)) return true
  if (asked.some(one => one.der.equals(signer.der))) return true
  if (asked.length >= MAXIMUM_NESTING) return false
  const { time, anchor, budget, allowSha1 } = question
  const result = await validatePath(signer, {
    ...{ anchors: [anchor], intermediates: signers, time, budget, allowSha1 },
    keyUsage: ['cRLSign'],
    revocation: answersWithin(crls, signers, [...asked, signer]),
  })
  return result.kind === 'valid'
}

function newestFirst(crls: readonly Crl[]): Crl[] {
  return crls.toSorted((one, other) => other.thisUpdate.getTime() - one.thisUpdate.getTime())
}

/** INTEGERs that are not negative. */
function compare(one: Buffer, other: Buffer): number {
  return one.length - other.length || Buffer.compare(one, other)
}

/** Bits 1 to 8 of ReasonFlags (§4.2.1.13); bit 0 is unused. */
function maskOf(reasons: readonly number[] | undefined): number {
  if (!reasons) return ALL_REASONS
  return reasons.reduce((mask, bit) => mask | (1 << bit), 0) & ALL_REASONS
}

function earlier(one: Date | undefined, other: Date): Date {
  return one && one < other ? one : other
}

function unknown(why: UnknownStatus['why'], detail: string): UnknownStatus {
  return { kind: 'unknown', why, detail }
}

const VERIFIED = new WeakMap<Crl, Map<string, boolean>>()
const ALL_REASONS = 0x1fe
const TOLERANCE_MS = 300_000
const MAXIMUM_NESTING = 3
