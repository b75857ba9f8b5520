/**
 * Signed messages made to measure in the world of `inbound.ts`: right but for what a test says.
 *
 *     const message = world.message(await clearBy(world, 'ann', { attributes: undefined }))
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import type { Issued } from '../../src/crypto/x509/issue.ts'
import {
  basicConstraints,
  emailProtection,
  type KeyPair,
  keyUsage,
  makeCertificate,
  makeKey,
  name,
} from '../crypto/make-certificate.ts'
import {
  type ClearPlan,
  clearMessage,
  opaqueMessage,
  type SignedDataPlan,
  type SignerPlan,
  signedData,
  signerInfo,
  signingTime,
  usualAttributes,
} from '../crypto/smime/signed-message.ts'
import { type InboundWorld, type Person, text } from './inbound.ts'

/** A certificate and the key to it. */
export interface Somebody {
  readonly certificate: Certificate
  readonly key: KeyObject
}

/** What is different from a sound signature over `hello`. */
export interface CraftPlan extends Partial<SignerPlan> {
  /** What is shown. Default: a text. */
  readonly entity?: Buffer
  readonly data?: Partial<SignedDataPlan>
  readonly clear?: ClearPlan
  /** Content-Type of an opaque one. */
  readonly type?: string
}

export const HELLO = text('hello')

/** An entity with a clear signature (RFC 8551 §3.5.3). */
export async function clearBy(
  world: InboundWorld,
  who: Person | Somebody,
  plan: CraftPlan = {},
): Promise<Buffer> {
  const { entity = HELLO } = plan
  return clearMessage(await sealBy(world, who, plan), { entity, ...plan.clear })
}

/** An entity with an opaque signature (RFC 8551 §3.5.2). */
export async function opaqueBy(
  world: InboundWorld,
  who: Person | Somebody,
  plan: CraftPlan = {},
): Promise<Buffer> {
  const { entity = HELLO } = plan
  const data = { content: entity, ...plan.data }
  return opaqueMessage(await sealBy(world, who, { ...plan, data }), plan.type)
}

/** DER of a SignedData by one person, with his certificate and that of the authority. */
export async function sealBy(
  world: InboundWorld,
  who: Person | Somebody,
  plan: CraftPlan = {},
): Promise<Buffer> {
  const { certificate } = somebody(world, who)
  return signedData({
    signers: [await infoBy(world, who, plan)],
    certificates: [certificate.der, authorityOf(world).der],
    ...plan.data,
  })
}

/** DER of a SignerInfo; it says that it was made now. */
export async function infoBy(
  world: InboundWorld,
  who: Person | Somebody,
  plan: CraftPlan = {},
): Promise<Buffer> {
  const { entity = HELLO } = plan
  const { content = entity, digestAlgorithm } = plan
  return signerInfo({
    ...somebody(world, who),
    content,
    attributes: usualAttributes(content, digestAlgorithm?.name, signingTime(new Date())),
    ...plan,
  })
}

export function somebody(world: InboundWorld, who: Person | Somebody): Somebody {
  if (typeof who !== 'string') return who
  return { certificate: world.certificate(who), key: world.issued(who).privateKey }
}

/** The authority that has issued the certificates of all people but eve. */
export function authorityOf(world: InboundWorld): Issued {
  return world.issued('ann').issuer!
}

/** Somebody whom the authority of the world vouches for, with whatever extensions and name. */
export async function vouchedFor(
  world: InboundWorld,
  extensions: readonly Buffer[],
  plan: { readonly subject?: Buffer; readonly key?: KeyPair } = {},
): Promise<Somebody> {
  const { key = makeKey('P-256'), subject = name('Somebody') } = plan
  const authority = authorityOf(world)
  const certificate = await makeCertificate({
    key,
    issuerKey: authority,
    subject,
    issuer: authority.subject,
    extensions: [basicConstraints(false), keyUsage(0), emailProtection(), ...extensions],
  })
  return { certificate, key: key.privateKey }
}

/** The same of what `issue` has made. */
export function issuedTo({ der, privateKey }: Issued): Somebody {
  return { certificate: parseCertificate(der), key: privateKey }
}

/** `pass good`, `fail from-mismatch`: what is said of a message that bob gets. */
export async function verdictOf(world: InboundWorld, message: Buffer): Promise<string> {
  const { result, code } = await world.deliver(message)
  return `${result} ${code}`
}
