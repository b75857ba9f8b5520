/**
 * Signed messages for tests: as we make them, and made to measure, such as nobody should make.
 *
 * @module
 */
import { createHash, type KeyObject } from 'node:crypto'
import { expect } from 'vitest'
import { signatureAlgorithmFor, signOctets } from '../../../src/crypto/algorithms.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'
import type { Signer } from '../../../src/crypto/key.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import {
  readSignature,
  type Signature,
  type SignedEntity,
} from '../../../src/crypto/smime/verify.ts'
import type { Certificate } from '../../../src/crypto/x509/certificate.ts'
import { base64Lines } from '../../../src/mail/base64.ts'
import { ContentWriter, contentOf, contentStore } from '../../../src/mail/content.ts'
import { walk } from '../../../src/mail/entity.ts'
import { cut, each, gather } from '../../support/chunks.ts'

export const ENTITY = Buffer.from(
  'Content-Type: text/plain; charset=us-ascii\r\n\r\nhello\r\nworld\r\n',
)
export const TIME = new Date('2026-11-23T20:30:00Z')

/** What is different from a sound SignerInfo. */
export interface SignerPlan {
  readonly certificate: Certificate
  readonly key: KeyObject
  /** What is signed, if not the entity. */
  readonly content?: Buffer
  /** DER of Attributes in their order; undefined leaves them out. */
  readonly attributes?: readonly Buffer[] | undefined
  /** In the place of `[0]` with the attributes, which are signed all the same. */
  readonly standing?: Buffer
  readonly identifier?: Buffer
  readonly digestAlgorithm?: { readonly name: string; readonly identifier: Buffer }
  readonly signatureAlgorithm?: Buffer
  readonly signWith?: (octets: Buffer) => Buffer | Promise<Buffer>
  readonly unsigned?: Buffer
}

/** SHA-256 as AlgorithmIdentifier. */
export const SHA_256 = sequence(oid('2.16.840.1.101.3.4.2.1'))

/** DER of a SignerInfo (RFC 5652 §5.3), which is good where the plan says nothing else. */
export async function signerInfo(plan: SignerPlan): Promise<Buffer> {
  const { certificate, key, content = ENTITY } = plan
  const { digestAlgorithm: digest = { name: 'sha256', identifier: SHA_256 } } = plan
  const attributes = 'attributes' in plan ? plan.attributes : usualAttributes(content, digest.name)
  const algorithm = () => signatureAlgorithmFor(certificate.publicKey, {})
  const sign = plan.signWith ?? ((octets: Buffer) => signOctets(key, algorithm(), octets))
  const signature = await sign(attributes ? tlv(0x31, ...attributes) : content)
  const { issuer, serialNumber } = certificate
  return sequence(
    integer(1),
    plan.identifier ?? sequence(issuer, integer(serialNumber)),
    digest.identifier,
    ...(attributes ? [plan.standing ?? context(0, ...attributes)] : []),
    plan.signatureAlgorithm ?? algorithm().identifier,
    octetString(signature),
    ...(plan.unsigned ? [plan.unsigned] : []),
  )
}

/** contentType and messageDigest, and what is given. */
export function usualAttributes(
  content: Buffer,
  digest = 'sha256',
  ...more: readonly Buffer[]
): Buffer[] {
  return [
    attribute(OID.CONTENT_TYPE, oid(OID.DATA)),
    attribute(OID.MESSAGE_DIGEST, octetString(createHash(digest).update(content).digest())),
    ...more,
  ]
}

export function attribute(type: string, ...values: readonly Buffer[]): Buffer {
  return sequence(oid(type), setOf(...values))
}

export function signingTime(at: Date): Buffer {
  return attribute(OID.SIGNING_TIME, time(at))
}

/** What is different from a sound SignedData. */
export interface SignedDataPlan {
  readonly signers: readonly Buffer[]
  readonly certificates?: readonly Buffer[]
  /** Stands inside. */
  readonly content?: Buffer | undefined
  readonly contentType?: string
  readonly digests?: readonly Buffer[]
}

/** DER of a ContentInfo (RFC 5652 §5.1). */
export function signedData(plan: SignedDataPlan): Buffer {
  const { signers, certificates = [], content, contentType = OID.DATA } = plan
  const data = sequence(
    integer(1),
    setOf(...(plan.digests ?? DIGESTS)),
    sequence(oid(contentType), ...(content ? [context(0, octetString(content))] : [])),
    ...(certificates.length > 0 ? [context(0, ...certificates)] : []),
    tlv(0x31, ...signers),
  )
  return sequence(oid(OID.SIGNED_DATA), context(0, data))
}

/** Those of the plans that are here: SHA-256, SHA-512, SHA-1. */
const DIGESTS = [SHA_256, sequence(oid('2.16.840.1.101.3.4.2.3')), sequence(oid('1.3.14.3.2.26'))]

/** What is different from a sound multipart/signed. */
export interface ClearPlan {
  readonly type?: string
  readonly parts?: readonly Buffer[]
  readonly entity?: Buffer
  readonly signatureType?: string
  readonly preamble?: string
  readonly end?: string
}

/** A multipart/signed around a signature that is at hand. */
export function clearMessage(signature: Buffer, plan: ClearPlan = {}): Buffer {
  const {
    type = 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b',
    entity = ENTITY,
    signatureType = 'application/pkcs7-signature; name=smime.p7s',
    preamble = '',
    end = '\r\n--b--\r\n',
  } = plan
  const parts = plan.parts ?? [
    entity,
    Buffer.concat([
      Buffer.from(`Content-Type: ${signatureType}\r\nContent-Transfer-Encoding: base64\r\n\r\n`),
      base64Lines(signature),
    ]),
  ]
  return Buffer.concat([
    Buffer.from(`Content-Type: ${type}\r\n\r\n${preamble}--b\r\n`),
    ...parts.flatMap((part, index) => (index === 0 ? [part] : [Buffer.from('\r\n--b\r\n'), part])),
    Buffer.from(end),
  ])
}

/** An application/pkcs7-mime around a SignedData that is at hand. */
export function opaqueMessage(
  octets: Buffer,
  type = 'application/pkcs7-mime; smime-type=signed-data; name=smime.p7m',
): Buffer {
  const header = `Content-Type: ${type}\r\nContent-Transfer-Encoding: base64\r\n\r\n`
  return Buffer.concat([Buffer.from(header), base64Lines(octets)])
}

/** The same octets without a transfer encoding. */
export function binaryMessage(octets: Buffer, encoding = 'binary'): Buffer {
  const header = `Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`
  return Buffer.concat([Buffer.from(header), octets])
}

export async function clear(entity: Buffer, signer: Signer): Promise<Buffer> {
  return gather(clearSign(each(cut(entity, 65_536)), signer, { signingTime: TIME, boundary: 'b' }))
}

export async function opaque(entity: Buffer, signer: Signer): Promise<Buffer> {
  return gather(opaqueSign(each(cut(entity, 65_536)), signer, { signingTime: TIME }))
}

/** What is held by readings that have not been disposed of. */
export const store = contentStore()

export async function read(message: Buffer): Promise<Signature> {
  const content = contentOf(message)
  return readSignature(content, await walk(content), () => new ContentWriter(store))
}

/** The one result, or the kind of what it is otherwise; nothing stays held. */
export async function outcome(message: Buffer): Promise<string> {
  return outcomeOf(await read(message))
}

export function outcomeOf(signature: Signature): string {
  if (signature.kind === 'malformed') return `malformed: ${signature.reason}`
  if (signature.kind === 'unsigned') return 'unsigned'
  if (signature.inside.kind === 'content') signature.inside.content.dispose()
  return signature.signers
    .map(({ result }) => (result.kind === 'good' ? 'good' : `${result.kind}: ${result.reason}`))
    .join(', ')
}

export function signed(signature: Signature): SignedEntity {
  expect(signature).toMatchObject({ kind: 'signed' })
  return signature as SignedEntity
}

/** The octets that are signed; frees them. */
export async function insideOf({ inside }: SignedEntity, message: Buffer): Promise<Buffer> {
  if (inside.kind === 'part') return message.subarray(inside.start, inside.end)
  const octets = await gather(inside.content.read())
  inside.content.dispose()
  return octets
}
