/**
 * By which keys of ours a message is signed, and to which certificates it is encrypted.
 *
 * @module
 */
import type { Considered } from '../../certstore/directory.ts'
import { type Trust, validateForEncryption } from '../../certstore/validate.ts'
import { signingTimeFor } from '../../crypto/smime/sign-message.ts'
import { NO_ROOM_FOR_COPY } from '../../gateway/author-copy.ts'
import type { Decision } from '../../gateway/decision.ts'
import { authorKeysOf, choiceFor } from '../../gateway/shipping.ts'
import { prepare } from '../../mail/seven-bit.ts'
import type { Scene } from './scene.ts'
import { label } from './seen.ts'

/** By which of our certificates it is signed. */
export interface Signing {
  readonly identity: string
  readonly algorithm: string
  readonly source: string | undefined
  readonly fingerprint: string
  readonly notAfter: string
  readonly signingTime: string
  readonly preparation: string
}

/** To which certificate it is encrypted. */
export interface Encryption {
  readonly certificate: string
  readonly source: string
  readonly via: 'address' | 'domain'
  readonly fingerprint: string
  readonly notAfter: string
  readonly algorithms: string
  /** The recipient's other devices. */
  readonly others: readonly string[]
  readonly pinned: string | undefined
}

/** Who signs; undefined where nobody does. */
export async function signing(
  { signer, findings, treatment }: Decision,
  { message: { content, section }, parts, now }: Scene,
): Promise<Signing | undefined> {
  const signs = treatment.kind === 'sign' || (treatment.kind === 'encrypt' && treatment.sign)
  if (!signer || findings.signer.kind !== 'found' || !signs) return undefined
  const prepared = await prepare(content, section)
  const time = signingTimeFor(section.first('date')?.body, now)
  return {
    identity: findings.signer.identity,
    algorithm: signer.algorithm.name,
    source: parts.identities.all.find(it => it.signer === signer)?.file,
    fingerprint: signer.certificate.fingerprint,
    notAfter: signer.certificate.notAfter.toISOString(),
    signingTime: time ? 'stated' : 'left out: the Date field is more than 55 minutes off',
    preparation: PREPARATION[prepared.kind](prepared.kind === 'unsafe' ? prepared.reason : ''),
  }
}

/** What it is encrypted to; undefined where it is not. */
export function encryption(decision: Decision): Encryption | undefined {
  const { found, treatment } = decision
  if (treatment.kind !== 'encrypt' || found?.kind !== 'valid') return undefined
  const { content, management } = choiceFor(decision)
  return {
    certificate: label(found.certificate),
    source: found.source,
    via: found.via,
    fingerprint: found.certificate.fingerprint,
    notAfter: found.certificate.notAfter.toISOString(),
    algorithms: `${content.name}, ${management.name}`,
    others: (found.others ?? []).map(label),
    pinned: found.pinned,
  }
}

/** What a copy for the author is encrypted to, or why there is none; undefined where none is wished. */
export function copyForAuthor(decision: Decision): readonly string[] | undefined {
  const { copy } = decision
  if (copy === undefined) return undefined
  if (copy.kind === 'none') return [`none: ${copy.reason}`]
  const keys = authorKeysOf(decision)
  if (keys.length === 0) return [NO_COPY_BESIDE]
  return keys.map(
    ({ certificate, management }) =>
      `${label(certificate)} from ${copy.source}, ${management.name}`,
  )
}

/**
 * What would make the best certificate of the recipient one that may be used: found by trying, as far as
 * it lies with what the organisation believes.
 */
export async function trustAdvice(
  { found }: Decision,
  { others: { trust }, now }: Scene,
): Promise<readonly string[]> {
  const [best] = found?.considered ?? []
  if (best === undefined || best.belief.kind === 'valid') return []
  const { certificate } = best
  const isValidBy = async (otherwise: Partial<Trust>): Promise<boolean> =>
    (await validateForEncryption(certificate, { ...trust, ...otherwise }, [], now)).kind === 'valid'
  const isStranger = !trust.anchors.some(({ subject }) => subject.equals(certificate.issuer))
  // An end entity among the anchors is believed itself: so it is for want of an authority.
  if (isStranger && (await isValidBy({ anchors: [certificate], isIncomplete: false })))
    return [`with the certificate of ${certificate.issuerText} among trust.anchors ${USABLE}`]
  const isForStatus = trust.revocationMode === 'hard' && best.belief.kind === 'unknown'
  if (isForStatus && (await isValidBy({ revocationMode: 'soft' })))
    return [`with trust.revocation: soft ${USABLE}`]
  return []
}

/** A certificate that was looked at, and what was thought of it. */
export function considered({ certificate, source, belief }: Considered): string {
  const why = belief.kind === 'valid' ? (belief.note ?? 'may be used') : belief.reason
  return `${label(certificate)} from ${source}: ${why}`
}

const USABLE = 'the certificate of the recipient could be used'
const NO_COPY_BESIDE = `none: ${NO_ROOM_FOR_COPY}; profile: modern has room for it`

const PREPARATION = {
  'as-is': () => 'signed octet for octet',
  're-encoded': () => 'parts with 8-bit octets or long lines are re-encoded first',
  unsafe: (reason: string) => `signed opaque: ${reason}`,
} as const
