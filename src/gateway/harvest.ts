/**
 * What a message that passed brings for the next one to its author: the certificate to encrypt to.
 *
 * @module
 */
import { certificateToOffer, type Harvested, type Offer } from '../certstore/harvested.ts'
import type { Decision } from './decision.ts'
import type { Reading } from './inbound.ts'

/**
 * Offers what a delivered message has brought; once, however many have got it.
 *
 * @throws {PosternError} `ERR_STORE`.
 */
export async function harvest(decisions: readonly Decision[], harvested: Harvested): Promise<void> {
  const passed = decisions.find(({ reading }) => reading?.verdict.result === 'pass')?.reading
  const offer = passed && offerOf(passed)
  if (offer) await harvested.offer(offer)
}

/** @returns `undefined` where nothing was brought that could be encrypted to. */
export function offerOf({ verdict, examined }: Reading): Offer | undefined {
  const signer = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  const mailbox = examined?.author
  if (verdict.result !== 'pass' || mailbox === undefined) return undefined
  // RFC 8551 §2.7.1: without a time it cannot be told what is newer.
  if (signer?.signingTime === undefined) return undefined
  const { certificate: own, encryptionCertificate: preferred } = signer
  const certificate = own && certificateToOffer(own, preferred, mailbox)
  if (certificate === undefined) return undefined
  const { signingTime: signedAt, capabilities } = signer
  return { mailbox, certificate, signedAt, capabilities }
}
