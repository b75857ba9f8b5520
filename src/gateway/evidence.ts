/**
 * From the layers of a message to the evidence that a verdict is made of: author, signers, and whether
 * they are believed.
 *
 * @module
 */
import { addressesOf } from '../certstore/bearing.ts'
import type { SignerTrust } from '../certstore/signer-trust.ts'
import type { Standing } from '../certstore/validate.ts'
import type { Layer, Layers } from '../crypto/smime/layers.ts'
import type { Signature, SignerReading } from '../crypto/smime/verify.ts'
import { pathBudget } from '../crypto/x509/path-budget.ts'
import type { Mailbox } from '../mail/address.ts'
import { type Authorship, authorOf } from '../mail/author.ts'
import type { Entity } from '../mail/entity.ts'
import {
  compare,
  type Protection,
  protectedFields,
  wrappedFields,
} from '../mail/header-protection.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import { hasBlankLine, isPlainlyShown } from '../mail/plain-structure.ts'
import type {
  AuthorEvidence,
  Evidence,
  Finding,
  SignatureEvidence,
  SignerEvidence,
} from '../policy/verdict.ts'

/** Evidence, and what stands behind it. */
export interface Examined {
  readonly evidence: Evidence
  /** The signature that the verdict is about. */
  readonly signature: Signature | undefined
  /** In the order of the evidence. */
  readonly signers: readonly SignerReading[]
  /** The one author, where there is one. */
  readonly author: Mailbox | undefined
  /** The address by which each of them is told: the author's, where the certificate bears it. */
  readonly identifiers: readonly (string | undefined)[]
  /** What is odd about how the message is written, beside the verdict. */
  readonly notes: readonly string[]
  /** Header section of the entity under the signature. */
  readonly inside: HeaderSection | undefined
}

/**
 * Gathers the evidence.
 *
 * @param section The header section of the message as it came.
 */
export async function examine(
  section: HeaderSection,
  layers: Layers,
  trust: SignerTrust,
  now: Date,
): Promise<Examined> {
  const at = layers.layers.findLastIndex(({ kind }) => kind === 'signed')
  const signature = signatureAt(layers.layers[at])
  const authorship = authorOf(section)
  const budget = pathBudget()
  const evidenceOf = (one: Signature) => signatureEvidence(one, trust, budget)
  const outer = layers.layers.slice(0, Math.max(at, 0)).flatMap(it => signatureAt(it) ?? [])
  const inside = at < 0 ? undefined : layers.places[at + 1]?.entity
  const protection = inside && (protectedFields(inside.headerSection) ?? wrappedFields(inside))
  const evidence: Evidence = {
    signature: signature && (await evidenceOf(signature)),
    outer: await Promise.all(outer.map(evidenceOf)),
    aroundEncryption: layers.layers.slice(at + 1).some(({ kind }) => kind === 'encrypted'),
    partial: at < 0 && hasSignedPart(layers.places.at(-1)!.entity),
    ambiguity: ambiguityOf(layers, authorship, at < 0 ? undefined : section),
    unclearInside:
      at >= 0 && layers.places.slice(at + 1).some(({ entity }) => !isPlainlyShown(entity)),
    author: authorEvidence(authorship),
    contradiction: inside && contradictionOf(section, inside, protection),
    date: authorship.date,
    now,
  }
  const signed = signature?.kind === 'signed' ? signature : undefined
  const altered = protection ? alteredFields(section, protection) : []
  const notes = [...authorship.notes, ...(signed?.labels ?? []), ...altered]
  return {
    evidence,
    signature,
    signers: signed?.signers ?? [],
    author: authorship.author.kind === 'one' ? authorship.author.mailbox : undefined,
    identifiers: identifiersOf(evidence),
    notes,
    inside: inside?.headerSection,
  }
}

function identifiersOf({ signature, author }: Evidence): readonly (string | undefined)[] {
  if (signature?.kind !== 'signed') return []
  const mailbox = author.kind === 'one' ? author.mailbox : undefined
  return signature.signers.map(
    ({ addresses }) => addresses.find(address => address === mailbox) ?? addresses[0],
  )
}

function signatureAt(layer: Layer | undefined): Signature | undefined {
  return layer?.kind === 'signed' ? layer.signature : undefined
}

async function signatureEvidence(
  signature: Signature,
  trust: SignerTrust,
  budget: ReturnType<typeof pathBudget>,
): Promise<SignatureEvidence> {
  if (signature.kind === 'unsigned') return { kind: 'unsigned' }
  if (signature.kind === 'malformed')
    return { kind: 'malformed', code: signature.reason, words: MALFORMED }
  const signers: SignerEvidence[] = []
  // One after the other: together they may not cost more than one may.
  for (const signer of signature.signers) {
    const { certificate, result } = signer
    const standing =
      certificate && result.kind === 'good'
        ? await trust.standing(certificate, signature.certificates, budget)
        : undefined
    signers.push(signerEvidence(signer, standing))
  }
  return { kind: 'signed', signers }
}

function signerEvidence(signer: SignerReading, standing: Standing | undefined): SignerEvidence {
  const { certificate, result, weak, signingTime } = signer
  const named = certificate && addressesOf(certificate)
  return {
    cryptography:
      result.kind === 'good'
        ? result
        : { kind: result.kind, code: result.reason, words: CRYPTOGRAPHY[result.kind] },
    standing:
      standing === undefined || standing.kind === 'good'
        ? standing
        : { kind: standing.kind, code: standing.reason, words: STANDING[standing.kind] },
    addresses: named?.mailboxes ?? [],
    addressesFrom: named?.from ?? 'none',
    weak,
    signingTime,
    validity: certificate,
  }
}

function authorEvidence({ author, sender, notes }: Authorship): AuthorEvidence {
  if (author.kind === 'none') return { kind: 'unclear', code: author.reason, words: NO_AUTHOR }
  // What a client shows of such a field is not what stands there.
  const unclear = UNCLEAR.find(note => notes.includes(note))
  if (unclear) return { kind: 'unclear', code: unclear, words: NO_AUTHOR }
  return {
    kind: 'one',
    mailbox: author.mailbox.matchKey,
    sender: sender?.matchKey,
    pretends: notes.includes('display-mismatch'),
  }
}

/**
 * Whatever two readers could read in two ways (RFC 5322 §3.6, RFC 2045).
 *
 * @param signed The header section of a message that is signed: it leaves with the message, also where
 *   another layer is around the signature.
 */
function ambiguityOf(
  { stopped, places }: Layers,
  { repeated }: Authorship,
  signed: HeaderSection | undefined,
): Finding | undefined {
  if (stopped) return { code: stopped, words: TOO_MANY_LAYERS }
  // Two From fields are told as what they are.
  if (repeated.some(name => name !== 'from')) return { code: 'field-twice', words: FIELD_TWICE }
  const isUnclear =
    places[0]!.entity.mediaType.ambiguous ||
    signed?.fields.some(({ octets }) => hasBlankLine(octets))
  return isUnclear ? { code: 'ambiguous', words: AMBIGUOUS } : undefined
}

/**
 * RFC 9788 §4: fields under the signature count, and must not name another author. Nor may the fields of
 * a whole message that is signed as such: some readers show those in the place of the outer ones.
 */
function contradictionOf(
  outer: HeaderSection,
  inside: Entity,
  protection: Protection | undefined,
): Finding | undefined {
  if (protection) return compare(outer, protection).from === 'differs' ? FROM_DIFFERS : undefined
  const [message] = inside.mediaType.type === 'message' ? inside.children : []
  if (message === undefined) return undefined
  const [shown, enclosed] = [authorOf(outer).author, authorOf(message.headerSection).author]
  const isSame =
    shown.kind === 'one' &&
    enclosed.kind === 'one' &&
    shown.mailbox.matchKey === enclosed.mailbox.matchKey
  return isSame ? undefined : ENCLOSED_FROM_DIFFERS
}

/** What the author has signed of the header section, and stands otherwise outside. */
function alteredFields(outer: HeaderSection, protection: Protection): readonly string[] {
  const { differing } = compare(outer, protection)
  return [...new Set(differing.flatMap(key => ALTERED.get(key) ?? []))]
}

/** A signature somewhere in the message says nothing of the rest of it. */
function hasSignedPart({ children }: Entity): boolean {
  return children.some(child => isSigned(child) || hasSignedPart(child))
}

function isSigned({ mediaType }: Entity): boolean {
  return SIGNED_TYPES.has(mediaType.essence)
}

const SIGNED_TYPES: ReadonlySet<string> = new Set([
  'multipart/signed',
  'application/pkcs7-mime',
  'application/x-pkcs7-mime',
  'application/pkcs7-signature',
  'application/x-pkcs7-signature',
])

/** What a reader is shown, or answers to. */
const ALTERED: ReadonlyMap<string, string> = new Map([
  ['to', 'addressee-mismatch'],
  ['cc', 'addressee-mismatch'],
  ['subject', 'subject-mismatch'],
  ['from', 'author-name-mismatch'],
  ['reply-to', 'reply-to-mismatch'],
])
const MALFORMED = 'the signature cannot be read, or not by all in one way'
const CRYPTOGRAPHY = {
  bad: 'the signature does not fit the message',
  unverifiable: 'the signature cannot be verified here',
} as const
const STANDING = {
  untrusted: 'nobody whom we trust vouches for the signer',
  invalid: 'the certificate of the signer may not be used',
  unknown: 'whether the certificate of the signer is good cannot be told now',
} as const
const UNCLEAR = ['from-control-characters', 'from-undecodable'] as const
const NO_AUTHOR = 'who has written the message cannot be told for certain'
const TOO_MANY_LAYERS = 'the message is wrapped too many times'
const FIELD_TWICE = 'a field stands twice that may stand only once'
const AMBIGUOUS = 'what kind of message it is can be read in more than one way'
const FROM_DIFFERS: Finding = {
  code: 'protected-from-differs',
  words: 'the author under the signature is another than the one outside',
}
const ENCLOSED_FROM_DIFFERS: Finding = {
  code: 'enclosed-from-differs',
  words: 'what is signed is a whole message, and its author is another than the one outside',
}
