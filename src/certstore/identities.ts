/**
 * Our own certificates and keys, by mailbox or for a whole domain.
 *
 *     sources ── files ──▶ keys and certificates ── matched, path built, judged ──▶ Identity
 *     find(mailbox, now) ──▶ the mailbox's, else its domain's: the newest that may sign today
 *
 * What does not change (usage, size of key) is judged when it is loaded; what time decides is judged
 * at each question, with the time that is handed in.
 *
 * @module
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { basename } from 'node:path'
import { type SignatureAlgorithm, signatureAlgorithmFor, signOctets } from '../crypto/algorithms.ts'
import type { Signer } from '../crypto/key.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { isMeantFor } from '../crypto/x509/path-check.ts'
import { PosternError } from '../errors.ts'
import { visible } from '../log.ts'
import { type Mailbox, matchKeyOf } from '../mail/address.ts'
import {
  type Complaint,
  fault,
  type IdentityFault,
  type IdentityFile,
  type IdentitySource,
  readIdentityFiles,
} from './identity-files.ts'
import { type Ascent, Issuers } from './issuers.ts'

export type { IdentityFault, IdentitySource } from './identity-files.ts'

/** A private key, its certificate, and what became of the two. */
export interface Identity {
  /** For people: subject, serial number and file. */
  readonly label: string
  /** Absolute. */
  readonly file: string
  readonly certificate: Certificate
  /** Certificates above it, nearest first, without the root. */
  readonly path: readonly Certificate[]
  /** Decrypts too, long after the certificate has expired. */
  readonly privateKey: KeyObject
  /** For whom it signs: match keys of mailboxes, and `@domain`. */
  readonly names: readonly string[]
  /** The same object for ever, so that what is prepared for a signer can be kept with it. */
  readonly signer: Signer | undefined
  /** Why it never signs, whatever the time; undefined exactly where there is a signer. */
  readonly unusable: string | undefined
}

/** How the search for a signer ended. */
export type Found =
  | { readonly kind: 'found'; readonly signer: Signer; readonly identity: string }
  | { readonly kind: 'none'; readonly reason: string }
  | { readonly kind: 'unusable'; readonly reason: string }

/** What `check` and `explain` tell of an identity. */
export type IdentitySummary = Pick<Identity, 'label' | 'file' | 'names' | 'unusable'> & {
  readonly notBefore: Date
  readonly notAfter: Date
  /** `rsa-pkcs1-sha-256`; undefined where it cannot sign. */
  readonly algorithm: string | undefined
}

/**
 * Reads, matches and judges all identities of a configuration.
 *
 * @returns Whatever can be used, and every fault of every file, in the order of the configuration.
 */
export async function loadIdentities(
  sources: readonly IdentitySource[],
  now: Date,
): Promise<{ identities: Identities; faults: readonly IdentityFault[] }> {
  const files = await readIdentityFiles(sources)
  const issuers = new Issuers(files.flatMap(({ certificates }) => certificates))
  const drafts = files.map(file => ({ file, ...draft(file, issuers) }))
  const identities = new Identities(
    drafts.flatMap(({ made }) => made.map(({ identity }) => identity)),
  )
  const faults = drafts.flatMap(({ file, made, complaints }) => [
    ...file.faults,
    ...complaints.map(complaint => fault(file.source, file.file, complaint)),
    ...made.flatMap(one => faultsOf(one, file, identities, now)),
  ])
  return { identities, faults: [...faultsOfAddresses(sources), ...faults] }
}

/** All identities of a configuration. Made by `loadIdentities`; never changes. */
export class Identities {
  /** Every key with a certificate, the expired and the unusable too: old mail is decrypted with them. */
  readonly all: readonly Identity[]
  readonly #byName: ReadonlyMap<string, readonly Candidate[]>

  constructor(all: readonly Identity[]) {
    this.all = all
    this.#byName = candidatesByName(all)
  }

  /**
   * Finds who signs for a mailbox: an identity of its own, else one of its domain. Addresses are
   * compared without regard to case (RFC 8550 §3).
   *
   * Of several, the one that became valid last signs; of equals, the one with the lower fingerprint.
   * One that is expired, not yet valid or not made for signing mail never signs; a clock that has
   * fallen back behind a certificate's first day thus signs nothing with it.
   */
  find(mailbox: Mailbox, now: Date): Found {
    const own = this.#byName.get(mailbox.matchKey)
    const ofDomain = this.#byName.get(`@${mailbox.domain}`)
    const time = now.getTime()
    const chosen = firstFit(own, time) ?? firstFit(ofDomain, time)
    if (chosen?.found) return chosen.found
    const newest = own?.[0] ?? ofDomain?.[0]
    if (!newest) return { kind: 'none', reason: 'no identity bears the address of its author' }
    return {
      kind: 'unusable',
      reason: `${newest.identity.label}: ${whyUnfit(newest.identity, time)}`,
    }
  }

  /** Whether any identity signs for a name, which is a match key or `@domain`, at a time. */
  signsFor(name: string, time: number): boolean {
    return firstFit(this.#byName.get(name), time) !== undefined
  }

  list(): readonly IdentitySummary[] {
    return this.all.map(({ label, file, names, unusable, certificate, signer }) => ({
      label,
      file,
      names,
      unusable,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      algorithm: signer?.algorithm.name,
    }))
  }
}

/** An identity, with what each question needs of it at hand. */
interface Candidate {
  readonly identity: Identity
  readonly notBefore: number
  readonly notAfter: number
  /** Undefined where it never signs. */
  readonly found: Extract<Found, { kind: 'found' }> | undefined
}

function candidatesByName(all: readonly Identity[]): Map<string, Candidate[]> {
  const byName = new Map<string, Candidate[]>()
  for (const identity of all) {
    const { certificate, label, signer } = identity
    const candidate: Candidate = {
      identity,
      notBefore: certificate.notBefore.getTime(),
      notAfter: certificate.notAfter.getTime(),
      found: signer && { kind: 'found', signer, identity: label },
    }
    for (const name of identity.names) {
      const others = byName.get(name)
      if (others) others.push(candidate)
      else byName.set(name, [candidate])
    }
  }
  for (const candidates of byName.values()) candidates.sort(newestFirst)
  return byName
}

function newestFirst(one: Candidate, other: Candidate): number {
  const byTime = other.notBefore - one.notBefore
  if (byTime !== 0) return byTime
  return one.identity.certificate.fingerprint < other.identity.certificate.fingerprint ? -1 : 1
}

function firstFit(candidates: readonly Candidate[] | undefined, time: number) {
  return candidates?.find(candidate => isFit(candidate, time))
}

function isFit({ found, notBefore, notAfter }: Candidate, time: number): boolean {
  return found !== undefined && notBefore <= time && time <= notAfter
}

function whyUnfit({ unusable, certificate }: Identity, time: number): string {
  return unusable ?? outOfTime(certificate, time)?.message ?? 'cannot sign'
}

/** What is known of an identity when its file has been read, and of no other yet. */
interface Draft {
  readonly identity: Identity
  readonly issuerMissing: boolean
  /** Why it never signs. */
  readonly complaints: readonly Complaint[]
}

/** Matches the keys of a file to its certificates. */
function draft(
  file: IdentityFile,
  issuers: Issuers,
): { made: readonly Draft[]; complaints: readonly Complaint[] } {
  const complaints: Complaint[] = []
  const made = file.privateKeys.flatMap(privateKey => {
    const certificates = certificatesOf(privateKey, file.certificates)
    if (certificates.length === 0 && file.certificates.length > 0) complaints.push(NO_MATCH)
    return certificates.map(certificate =>
      draftIdentity(file, privateKey, certificate, issuers.above(certificate)),
    )
  })
  return { made, complaints }
}

function certificatesOf(
  privateKey: KeyObject,
  certificates: readonly Certificate[],
): readonly Certificate[] {
  const publicKey = createPublicKey(privateKey)
  const publicKeyInfo = publicKey.export({ format: 'der', type: 'spki' })
  return certificates.filter(
    certificate =>
      certificate.publicKeyInfo.equals(publicKeyInfo) || isKeyOf(certificate, publicKey),
  )
}

/** The same key may be written in more than one way: a compressed point, absent parameters. */
function isKeyOf(certificate: Certificate, publicKey: KeyObject): boolean {
  try {
    const certified = certificate.publicKey
    // Never `equals` on keys of two kinds: in Node 26 the next createPrivateKey then fails for it.
    const sameKind = certified.asymmetricKeyType === publicKey.asymmetricKeyType
    return sameKind && publicKey.equals(certified)
  } catch (error) {
    if (error instanceof PosternError) return false
    throw error
  }
}

function draftIdentity(
  { source, file }: IdentityFile,
  privateKey: KeyObject,
  certificate: Certificate,
  { path, issuerMissing }: Ascent,
): Draft {
  const { algorithm, complaints } = judge(certificate, source)
  const serial = certificate.serialNumberHex
  const label = visible(`${certificate.subjectText}, serial ${serial} (${basename(file)})`)
  const signer = algorithm && createSigner(certificate, path, algorithm, privateKey)
  const identity: Identity = {
    label,
    file,
    certificate,
    path,
    privateKey,
    names: namesOf(source, certificate),
    signer,
    unusable: signer ? undefined : complaints.map(({ message }) => message).join('; '),
  }
  return { identity, issuerMissing, complaints }
}

function createSigner(
  certificate: Certificate,
  path: readonly Certificate[],
  algorithm: SignatureAlgorithm,
  privateKey: KeyObject,
): Signer {
  return {
    certificate,
    path,
    algorithm,
    sign: octets => signOctets(privateKey, algorithm, octets),
  }
}

/** Whether a certificate may sign mail at all, whatever the time (RFC 8550 §4.4.2, §4.4.4). */
function judge(
  certificate: Certificate,
  { digest, pss }: IdentitySource,
): { algorithm: SignatureAlgorithm | undefined; complaints: readonly Complaint[] } {
  const complaints: Complaint[] = []
  const { keyUsage } = certificate
  if (keyUsage && !keyUsage.has('digitalSignature') && !keyUsage.has('nonRepudiation'))
    complaints.push(WRONG_KEY_USAGE)
  // RFC 8550 §4.4.4.
  if (!isMeantFor(certificate, 'emailProtection')) complaints.push(WRONG_PURPOSE)
  try {
    const algorithm = signatureAlgorithmFor(certificate.publicKey, { digest, pss })
    return { algorithm: complaints.length === 0 ? algorithm : undefined, complaints }
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    complaints.push({
      message: error.message,
      advice: 'have a new key certified: RSA-2048 or P-256',
    })
    return { algorithm: undefined, complaints }
  }
}

function namesOf(source: IdentitySource, certificate: Certificate): readonly string[] {
  const addresses = source.address === undefined ? certificate.addresses : [source.address]
  return [...new Set(addresses.flatMap(address => nameOf(address) ?? []))]
}

/** The name under which an address or `@domain` is looked up; undefined for what is neither. */
function nameOf(address: string): string | undefined {
  return address.startsWith('@') ? matchKeyOf(`a${address}`)?.slice(1) : matchKeyOf(address)
}

function faultsOfAddresses(sources: readonly IdentitySource[]): readonly IdentityFault[] {
  return sources
    .filter(({ address }) => address !== undefined && nameOf(address) === undefined)
    .map(source => fault(source, source.files, NO_ADDRESS_GIVEN))
}

/** What is wrong with one identity, in the light of the others: what another makes good is a warning. */
function faultsOf(
  { identity, issuerMissing, complaints }: Draft,
  { source, file }: IdentityFile,
  identities: Identities,
  now: Date,
): readonly IdentityFault[] {
  const { certificate, names, path } = identity
  const madeGood = (time: number) =>
    names.length > 0 && names.every(name => identities.signsFor(name, time))
  // A key for encryption beside one for signatures is as it should be (RFC 9216 §2 has such pairs).
  if (isForEncryption(certificate, complaints) && madeGood(now.getTime())) return []

  const untimely = outOfTime(certificate, now.getTime())
  const grave = untimely ? [...complaints, untimely] : [...complaints]
  const mild: Complaint[] = []
  if (names.length === 0 && source.address === undefined) grave.push(NO_ADDRESS)
  const soon = now.getTime() + EXPIRES_SOON_MS
  if (!untimely && certificate.notAfter.getTime() < soon && !madeGood(soon))
    mild.push({ message: `expires on ${day(certificate.notAfter)}`, advice: RENEW })
  if (issuerMissing) mild.push(ISSUER_MISSING)
  for (const issuer of path) if (issuer.notAfter < now) mild.push(issuerExpired(issuer))

  const severity = madeGood(now.getTime()) ? 'warning' : 'error'
  return [
    ...grave.map(complaint => fault(source, file, about(identity, complaint), severity)),
    ...mild.map(complaint => fault(source, file, about(identity, complaint), 'warning')),
  ]
}

/** A file may hold several certificates: say which. */
function about({ certificate }: Identity, { message, advice }: Complaint): Complaint {
  const which = `certificate ${certificate.serialNumberHex} of ${certificate.subjectText}`
  return { message: `${visible(which)}: ${message}`, advice }
}

function isForEncryption({ keyUsage }: Certificate, complaints: readonly Complaint[]): boolean {
  if (!complaints.includes(WRONG_KEY_USAGE) || complaints.includes(WRONG_PURPOSE)) return false
  return keyUsage !== undefined && (keyUsage.has('keyEncipherment') || keyUsage.has('keyAgreement'))
}

function outOfTime({ notBefore, notAfter }: Certificate, time: number): Complaint | undefined {
  if (time > notAfter.getTime()) return { message: `expired on ${day(notAfter)}`, advice: RENEW }
  if (time >= notBefore.getTime()) return undefined
  return {
    message: `is not valid before ${notBefore.toISOString()}`,
    advice: 'wait until then, or set the clock right',
  }
}

function issuerExpired(issuer: Certificate): Complaint {
  return {
    message: `its issuer ${visible(issuer.subjectText)} expired on ${day(issuer.notAfter)}`,
    advice: 'put the renewed certificate of the issuer into the file',
  }
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10)
}

const EXPIRES_SOON_MS = 30 * 24 * 60 * 60 * 1000

const RENEW = 'have it renewed, and put the new file beside it: the newest valid one signs'
const NO_MATCH: Complaint = {
  message: 'its private key belongs to none of its certificates',
  advice: 'put the private key and the certificate that was made for it into one file',
}
const WRONG_KEY_USAGE: Complaint = {
  message: 'its key usage has neither digitalSignature nor nonRepudiation',
  advice: 'use a certificate that is made for signatures',
}
const WRONG_PURPOSE: Complaint = {
  message: 'its extended key usage is not for mail (emailProtection)',
  advice: 'use a certificate that is made for S/MIME',
}
const NO_ADDRESS: Complaint = {
  message: 'bears no mail address',
  advice: 'say for whom it signs: `address: ann@example.test`, or `@example.test`',
}
const NO_ADDRESS_GIVEN: Complaint = {
  message: '`address:` is neither a mailbox nor a domain behind "@"',
  advice: 'write `address: ann@example.test`, or `@example.test` for a whole domain',
}
const ISSUER_MISSING: Complaint = {
  message: 'its issuer is not in the file, and recipients may not know it',
  advice: 'put the intermediate certificates into the file',
}
