/**
 * What a message that passed brings for the next one to its author: the certificate to encrypt to.
 *
 * @module
 */
import { certificateToOffer, type Harvested, type Offer } from '../certstore/harvested.ts'
import type { SignerTrust } from '../certstore/signer-trust.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { Decision } from './decision.ts'
import type { Reading } from './inbound.ts'

/**
 * Offers what a delivered message has brought; once, however many have got it.
 *
 * @throws {PosternError} `ERR_STORE`.
 */
export async function harvest(
  decisions: readonly Decision[],
  harvested: Harvested,
  trust: SignerTrust,
): Promise<void> {
  const passed = decisions.find(({ reading }) => reading?.verdict.result === 'pass')?.reading
  const offer = passed && offerOf(passed, await issuerOf(passed, trust))
  if (offer) await harvested.offer(offer)
}

/**
 * @param issuer Of the signer's certificate; without it no other one than that is offered.
 * @returns `undefined` where nothing was brought that could be encrypted to.
 */
export function offerOf({ verdict, examined }: Reading, issuer?: Certificate): Offer | undefined {
  const signer = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  const mailbox = examined?.author
  if (verdict.result !== 'pass' || mailbox === undefined) return undefined
  // RFC 8551 §2.7.1: without a time it cannot be told what is newer.
  if (signer?.signingTime === undefined) return undefined
  const { certificate: own, encryptionCertificate: preferred } = signer
  const certificate = own && certificateToOffer(own, preferred, mailbox, issuer)
  if (certificate === undefined) return undefined
  const { signingTime: signedAt, capabilities } = signer
  return { mailbox, certificate, signedAt, capabilities }
}

/** Asked only where it matters. What was judged a moment ago is remembered. */
export async function issuerOf(
  { verdict, examined }: Reading,
  trust: SignerTrust,
): Promise<Certificate | undefined> {
  if (verdict.signer === undefined || examined?.signature?.kind !== 'signed') return undefined
  const { certificate: own, encryptionCertificate: preferred } = examined.signers[verdict.signer]!
  if (!own || !preferred || preferred.fingerprint === own.fingerprint) return undefined
  const standing = await trust.standing(own, examined.signature.certificates)
  return standing.kind === 'good' ? standing.path[1] : undefined
}
