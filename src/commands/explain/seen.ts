/**
 * What was seen in an inbound message, for one recipient: who signed it and what is thought of him, how
 * it was encrypted, to whom, and by whose key it opened.
 *
 * @module
 */
import type { Identity } from '../../certstore/identities.ts'
import type { KeyUnwrapper, RecipientIdentifier } from '../../crypto/key.ts'
import { bodyOf } from '../../crypto/smime/cms-body.ts'
import { names, structureOf } from '../../crypto/smime/decrypt.ts'
import { readLayers } from '../../crypto/smime/layers.ts'
import type { Certificate } from '../../crypto/x509/certificate.ts'
import { nameText } from '../../crypto/x509/name.ts'
import { PosternError } from '../../errors.ts'
import type { Decision } from '../../gateway/decision.ts'
import type { Examined } from '../../gateway/evidence.ts'
import type { Reading } from '../../gateway/inbound.ts'
import { walk } from '../../mail/entity.ts'
import type { SignatureEvidence } from '../../policy/verdict.ts'
import type { Scene } from './scene.ts'

/** What was seen in an inbound message. */
export interface Seen {
  /** Result of the verdict: `pass`. */
  readonly signature: string
  readonly code: string
  readonly reason: string
  /** Whom the verdict is about. */
  readonly signer: string | undefined
  readonly fingerprint: string | undefined
  /** What is wrong with the signature as such, where it cannot be read. */
  readonly fault: string | undefined
  readonly signers: readonly SeenSigner[]
  readonly encryption: string
  readonly key: 'own' | 'domain' | undefined
  /** The certificate whose key opened it. */
  readonly openedBy: string | undefined
  readonly algorithms: string | undefined
  /** Whom the cipher text names. */
  readonly encryptedTo: readonly SeenRecipient[]
  readonly notes: readonly string[]
  readonly leaves: string
}

/** One who has signed. */
export interface SeenSigner {
  /** Subject and serial number; undefined where it is not in the message. */
  readonly certificate: string | undefined
  readonly fingerprint: string | undefined
  readonly issuer: string | undefined
  readonly addresses: readonly string[]
  readonly notAfter: string | undefined
  readonly algorithm: string | undefined
  readonly signingTime: string | undefined
  /** Whether the verdict is about this one. */
  readonly isJudged: boolean
  /** `good`, or the code of what is wrong with the signature. */
  readonly cryptography: string
  /** `good`, or why he is not believed; undefined where that was not asked. */
  readonly standing: string | undefined
  /** More about what is wrong. */
  readonly detail: string | undefined
}

/** One RecipientInfo. */
export interface SeenRecipient {
  /** `CN=Test CA, serial 0a`, or the key identifier. */
  readonly certificate: string
  /** The identity of ours that it names. */
  readonly identity: string | undefined
  /** Whether that identity opens mail of this recipient. */
  readonly isRecipients: boolean
}

/** Tells what was seen. */
export async function seenIn(
  reading: Reading,
  decision: Decision,
  envelope: readonly RecipientIdentifier[],
  scene: Scene,
): Promise<Seen> {
  const { verdict, encryption, examined } = reading
  const { cipher, management, key } = encryption
  const { keys } = scene.inbound.keyring.keysFor(decision.forwardPath.mailbox)
  const judged = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  return {
    signature: verdict.result,
    code: verdict.code,
    reason: verdict.reason,
    signer: judged?.certificate && label(judged.certificate),
    fingerprint: judged?.certificate?.fingerprint,
    fault: examined?.signature?.kind === 'malformed' ? examined.signature.detail : undefined,
    signers: examined ? await signersOf(examined, verdict.signer, scene) : [],
    encryption: encryption.result,
    key,
    openedBy: key && openerOf(envelope, keys),
    algorithms: cipher && management && `${cipher}, ${management}`,
    encryptedTo: envelope.map(one => recipientOf(one, keys, scene)),
    notes: [...new Set([...(examined?.notes ?? []), ...verdict.notes, ...encryption.notes])],
    leaves: leavesOf(reading, decision),
  }
}

function leavesOf(reading: Reading, { treatment, wish }: Decision): string {
  switch (treatment.kind) {
    case 'reject':
    case 'defer':
      return 'nothing'
    case 'sign':
    case 'encrypt':
      return 'what came, treated by the rule'
    case 'relay':
    case 'route':
      return bodyThatLeaves(reading, wish)
  }
}

function bodyThatLeaves(
  { delivery, verdict, encryption }: Reading,
  { inbound }: Decision['wish'],
): string {
  if (delivery.kind === 'as-it-came') return 'the body as it came'
  const { mediaType } = delivery.place.entity
  const isBare =
    inbound.strip === 'signature' &&
    verdict.result === 'pass' &&
    mediaType.essence !== 'multipart/signed' &&
    !mediaType.essence.endsWith('pkcs7-mime')
  if (isBare) return 'what was inside, without its signature'
  return encryption.result === 'unauthenticated' && inbound.unauthenticated === 'defuse'
    ? 'what was inside, with remote references made harmless'
    : 'what was inside'
}

/**
 * Whom the outermost layer of encryption names, in the order of its RecipientInfos; empty where there is
 * none that can be read.
 */
export async function envelopeOf({
  message: { content },
  inbound,
}: Scene): Promise<readonly RecipientIdentifier[]> {
  const { hold, tripleDes, inflatedOctets } = inbound
  const options = { keys: [], decrypt: false, hold, tripleDes, inflatedOctets }
  const entity = await walk(content).catch(ifNotPermanent)
  if (entity === undefined) return []
  const layers = await readLayers({ content, entity }, options)
  try {
    const last = layers.places.at(-1)!
    if (layers.layers.at(-1)?.kind !== 'encrypted' || last.entity.ambiguous) return []
    const structure = await structureOf(bodyOf(last.content, last.entity))
    if (structure.kind !== 'enveloped') return []
    const { infos, refused } = structure.data.recipients
    return [...infos.map(({ recipient }) => recipient), ...refused]
  } finally {
    layers.dispose()
  }
}

/** A certificate for people. */
export function label({ subjectText, serialNumberHex }: Certificate): string {
  return `${subjectText}, serial ${serialNumberHex}`
}

async function signersOf(
  { evidence, signature, signers, identifiers }: Examined,
  judged: number | undefined,
  { others }: Scene,
): Promise<readonly SeenSigner[]> {
  const seen: SeenSigner[] = []
  for (const [at, { certificate, result, algorithm, signingTime }] of signers.entries()) {
    const said = evidenceOf(evidence.signature, at)
    const beside = signature?.kind === 'signed' ? signature.certificates : []
    const standing =
      said?.standing && certificate
        ? await others.signerTrust.standing(certificate, beside)
        : undefined
    const identifier = identifiers[at]
    seen.push({
      certificate: certificate && label(certificate),
      fingerprint: certificate?.fingerprint,
      issuer: certificate?.issuerText,
      addresses: said?.addresses ?? (identifier === undefined ? [] : [identifier]),
      notAfter: certificate?.notAfter.toISOString(),
      algorithm,
      signingTime: isTime(signingTime) ? signingTime.toISOString() : undefined,
      isJudged: at === judged,
      cryptography: result.kind === 'good' ? 'good' : result.reason,
      standing: said?.standing && codeOf(said.standing),
      detail: result.kind === 'good' ? standing && detailOf(standing) : result.detail,
    })
  }
  return seen
}

function evidenceOf(signature: SignatureEvidence | undefined, at: number) {
  return signature?.kind === 'signed' ? signature.signers[at] : undefined
}

function codeOf(standing: { readonly kind: string; readonly code?: string }): string {
  return standing.code ?? standing.kind
}

function detailOf(standing: { readonly kind: string; readonly detail?: string }) {
  return standing.detail
}

function isTime(time: Date | undefined): time is Date {
  return time !== undefined && !Number.isNaN(time.getTime())
}

/** The first that names a key of the recipient is the one that is taken. */
function openerOf(
  envelope: readonly RecipientIdentifier[],
  keys: readonly KeyUnwrapper[],
): string | undefined {
  for (const recipient of envelope) {
    const key = keys.find(({ certificate }) => names(recipient, certificate))
    if (key) return label(key.certificate)
  }
  return undefined
}

function recipientOf(
  recipient: RecipientIdentifier,
  keys: readonly KeyUnwrapper[],
  { parts }: Scene,
): SeenRecipient {
  const isNamed = ({ certificate }: Pick<Identity, 'certificate'>) => names(recipient, certificate)
  return {
    certificate: identifierText(recipient),
    identity: parts.identities.all.find(isNamed)?.label,
    isRecipients: keys.some(isNamed),
  }
}

function identifierText(recipient: RecipientIdentifier): string {
  return recipient.kind === 'key-identifier'
    ? `key identifier ${recipient.keyIdentifier.toString('hex', 0, MOST_OCTETS)}`
    : `${issuerText(recipient.issuer)}, serial ${recipient.serialNumber.toString('hex', 0, MOST_OCTETS)}`
}

function issuerText(issuer: Buffer): string {
  try {
    return nameText(issuer)
  } catch (error) {
    if (error instanceof PosternError) return 'an issuer whose name cannot be read'
    throw error
  }
}

function ifNotPermanent(error: unknown): undefined {
  if (error instanceof PosternError && error.persistence === 'permanent') return undefined
  throw error
}

const MOST_OCTETS = 64
