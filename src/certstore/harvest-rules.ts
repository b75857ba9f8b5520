/**
 * The rules by which certificates out of signed mail are kept, and by which that is undone: pure, over
 * what is remembered of one mailbox.
 *
 *     offer ──▶ whose? when? how many? ──▶ known · stored · waiting · refused
 *     history ──▶ what was done last, and not undone ──▶ its contrary
 *
 * @module
 */

import { type Capabilities, writeCapabilities } from '../crypto/cms/capabilities.ts'
import { type Certificate, issuedBy, parseCertificate } from '../crypto/x509/certificate.ts'
import { type Mailbox, mailboxInDomains } from '../mail/address.ts'
import { bears } from './bearing.ts'
import type { StoreChange, StoredCertificate, StoreEvent, StoreRecord } from './store.ts'
import { mayBeEncryptedTo } from './validate.ts'

/**
 * A certificate with which a signature was verified, to the end: content, path and revocation. It is
 * the signer's own, or the one that his signed encryption-key preference names (RFC 8551 §2.5.3).
 */
export interface Offer {
  /** From whom the message came. */
  readonly mailbox: Mailbox
  readonly certificate: Certificate
  /** Signing time out of the signed attributes. */
  readonly signedAt: Date
  /** Out of the signed attributes; left out or empty: the message told of none. */
  readonly capabilities?: Capabilities | undefined
}

/** What became of an offer; a refusal says why. */
export type Outcome =
  | { readonly kind: 'stored' | 'waiting' | 'known' }
  | { readonly kind: 'refused'; readonly reason: string }

export interface HarvestRules {
  /** Lower-case A-labels. */
  readonly ownDomains: ReadonlySet<string>
  readonly waitMs: number | null
  readonly perDay: number
  /** Milliseconds since 1970. */
  readonly now: number
}

/**
 * Which certificate of a verified signer is to be offered: that which his signed preference names
 * (RFC 8551 §2.5.3), where it bears the author's address and was issued by the signer's own issuer; else
 * the signer's own. Undefined where nothing could be encrypted to it.
 *
 * Of all others that a message brings none is ever taken, whatever it bears: whoever signs well could
 * have put anybody's name on them. Nor does a name and a number make a certificate the one that is meant:
 * nobody has signed which certificates stand in a message, and one that was made to look like it would
 * keep the true one out.
 *
 * @param preferred What the signed attributes name among the certificates of the message.
 * @param issuer Who issued the signer's certificate, as its path shows; without it none is preferred.
 */
export function certificateToOffer(
  signer: Certificate,
  preferred: Certificate | undefined,
  author: Mailbox,
  issuer: Certificate | undefined,
): Certificate | undefined {
  const isHis = preferred && issuer && bears(preferred, author) && issuedBy(preferred, issuer)
  const certificate = isHis ? preferred : signer
  return mayBeEncryptedTo(certificate) ? certificate : undefined
}

/** What becomes of an offer, given what is known of its mailbox. */
export function judge(
  offer: Offer,
  record: StoreRecord,
  rules: HarvestRules,
): [StoreChange, Outcome] {
  const known = record.certificates.find(
    ({ fingerprint }) => fingerprint === offer.certificate.fingerprint,
  )
  const reason =
    whyNot(offer, record, rules) ?? (known ? undefined : whyNotNew(offer, record, rules))
  if (reason !== undefined) return [{}, { kind: 'refused', reason }]
  if (known) return [newerWord(offer, known), { kind: 'known' }]
  const kind = mayBeUsedAtOnce(offer.certificate, record, rules.now) ? 'stored' : 'waiting'
  return [additionOf(offer, kind, rules), { kind }]
}

/** Whether one may be used for encryption. */
export function isUsable({ usableFrom, removedAt }: StoredCertificate, now: number): boolean {
  return removedAt === null && usableFrom !== null && usableFrom <= now
}

/**
 * The one of a mailbox that is encrypted to: of those that may be used and whose time it is the newest,
 * as a directory chooses. Undefined where there is none.
 */
export function inUseOf({ certificates }: StoreRecord, now: number): Certificate | undefined {
  return certificates
    .filter(stored => isUsable(stored, now))
    .map(({ der }) => parseCertificate(der))
    .filter(({ notBefore, notAfter }) => notBefore.getTime() <= now && now <= notAfter.getTime())
    .toSorted(
      (one, other) =>
        other.notBefore.getTime() - one.notBefore.getTime() ||
        (one.fingerprint < other.fingerprint ? -1 : 1),
    )[0]
}

/** Whether the mailbox is known, and nobody has it from this issuer who was not taken out. */
export function isOfNewIssuer({ issuer }: Certificate, { certificates }: StoreRecord): boolean {
  return (
    certificates.length > 0 &&
    !certificates.some(
      ({ der, removedAt }) => removedAt === null && parseCertificate(der).issuer.equals(issuer),
    )
  )
}

/**
 * The contrary of what was done last and has not been undone. Asked again, it goes one further back.
 *
 * What is added goes, for good; what was taken out comes back; what was approved waits for approval
 * again, or goes where it had been taken out before.
 */
export function undoLast(
  { certificates, history }: StoreRecord,
  now: number,
): { readonly change: StoreChange; readonly undone: StoreEvent } | undefined {
  const standing = whatStands(history)
  const undone = standing.pop()
  const stored = certificates.find(({ fingerprint }) => fingerprint === undone?.fingerprint)
  if (!undone || !stored) return undefined
  const before = standing.findLast(({ fingerprint }) => fingerprint === undone.fingerprint)
  const change = {
    certificates: [{ ...stored, ...contraryOf(undone, before, now) }],
    history: [{ at: now, fingerprint: undone.fingerprint, event: 'undone' }],
  }
  return { change, undone }
}

/** Each `undone` takes back the last that stands before it. */
function whatStands(history: readonly StoreEvent[]): StoreEvent[] {
  const standing: StoreEvent[] = []
  for (const event of history) {
    if (event.event === 'undone') standing.pop()
    else standing.push(event)
  }
  return standing
}

function contraryOf(
  { event }: StoreEvent,
  before: StoreEvent | undefined,
  now: number,
): Partial<StoredCertificate> {
  if (event === 'removed') return { removedAt: null }
  if (event === 'approved' && before?.event === 'waiting') return { usableFrom: null }
  return { removedAt: now }
}

function whyNot(
  { mailbox, certificate, signedAt }: Offer,
  { certificates }: StoreRecord,
  { ownDomains, now }: HarvestRules,
): string | undefined {
  if (mailboxInDomains(mailbox, ownDomains)) return 'the mailbox is one of ours'
  if (!bears(certificate, mailbox)) return 'the certificate bears another address'
  // It would be the first of its mailbox, and let the one that can be used wait.
  if (!mayBeEncryptedTo(certificate)) return 'nothing can be encrypted to the certificate'
  // A signing time ahead of us would keep every later certificate out.
  if (signedAt.getTime() > now + CLOCK_SKEW_MS) return 'the signing time lies in the future'
  const removed = certificates.some(
    ({ fingerprint, removedAt }) => fingerprint === certificate.fingerprint && removedAt !== null,
  )
  return removed ? 'the certificate was taken out' : undefined
}

function whyNotNew(
  { signedAt }: Offer,
  { certificates, history }: StoreRecord,
  { perDay, now }: HarvestRules,
): string | undefined {
  // RFC 8551 §2.7.1: what was signed before is not what the signer uses now.
  if (certificates.some(stored => stored.signedAt >= signedAt.getTime()))
    return 'a newer certificate is known'
  if (certificates.length >= MAX_CERTIFICATES) return 'too many certificates of one mailbox'
  const today = history.filter(({ at, event }) => ADDED.has(event) && at > now - DAY_MS)
  return today.length >= perDay ? 'too many new certificates in a day' : undefined
}

/** RFC 8551 §2.7.1: only a later signature changes what is known. Silence about capabilities does not. */
function newerWord({ signedAt, capabilities }: Offer, known: StoredCertificate): StoreChange {
  if (signedAt.getTime() <= known.signedAt) return {}
  const later = { signedAt: signedAt.getTime(), capabilities: wordOf(capabilities) }
  const capable = later.capabilities ?? known.capabilities
  return { certificates: [{ ...known, ...later, capabilities: capable }] }
}

/** The first of a mailbox; or one with a key that is in use already, which is a renewal. */
function mayBeUsedAtOnce(
  { publicKeyInfo }: Certificate,
  { certificates }: StoreRecord,
  now: number,
): boolean {
  return (
    certificates.length === 0 ||
    certificates.some(
      stored =>
        isUsable(stored, now) && parseCertificate(stored.der).publicKeyInfo.equals(publicKeyInfo),
    )
  )
}

function additionOf(
  { certificate, signedAt, capabilities }: Offer,
  kind: 'stored' | 'waiting',
  { waitMs, now }: HarvestRules,
): StoreChange {
  const { fingerprint, der } = certificate
  const waiting = waitMs === null ? null : now + waitMs
  const stored: StoredCertificate = {
    fingerprint,
    der,
    firstSeen: now,
    signedAt: signedAt.getTime(),
    usableFrom: kind === 'stored' ? now : waiting,
    removedAt: null,
    capabilities: wordOf(capabilities),
  }
  const event: StoreEvent = { at: now, fingerprint, event: kind }
  return { certificates: [stored], history: [event] }
}

function wordOf(capabilities: Capabilities = []): Buffer | null {
  return capabilities.length > 0 ? writeCapabilities(capabilities) : null
}

const DAY_MS = 24 * 3_600_000
const CLOCK_SKEW_MS = 5 * 60_000
const MAX_CERTIFICATES = 20
const ADDED: ReadonlySet<string> = new Set(['stored', 'waiting'])
