/**
 * Certificates for tests, made to measure: sound ones, and such as no authority would issue.
 *
 * @module
 */
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import {
  type SignatureWish,
  signatureAlgorithmFor,
  signOctets,
} from '../../src/crypto/algorithms.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  tlv,
} from '../../src/crypto/asn1/der-writer.ts'
import type { Signer } from '../../src/crypto/key.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'

export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

export interface CertificatePlan {
  readonly key: KeyPair
  readonly issuerKey?: KeyPair
  /** DER of Names. */
  readonly subject?: Buffer
  readonly issuer?: Buffer
  readonly serialNumber?: Buffer
  /** DER of Extensions, in their order. */
  readonly extensions?: readonly Buffer[]
}

/** An authority and the keys below it. */
export interface Pki {
  readonly authority: Certificate
  readonly authorityKey: KeyPair
  issue(name: string, key: KeyPair, extensions?: readonly Buffer[]): Promise<Certificate>
  signer(name: string, kind: KeyKind, wish?: SignatureWish): Promise<Signer & { key: KeyObject }>
}

export type KeyKind = keyof typeof KINDS

export async function makePki(): Promise<Pki> {
  const authorityKey = makeKey('P-256')
  const subject = name('Test Authority')
  const extensions = [basicConstraints(true), keyUsage(5, 6), keyIdentifier('authority')]
  const authority = await makeCertificate({
    key: authorityKey,
    subject,
    issuer: subject,
    extensions,
  })
  const issue: Pki['issue'] = (who, key, more = [mailAddress(`${who}@example.test`)]) =>
    makeCertificate({
      key,
      issuerKey: authorityKey,
      subject: name(who),
      issuer: subject,
      extensions: [basicConstraints(false), keyUsage(0, 2, 4), emailProtection(), ...more],
    })
  const signer: Pki['signer'] = async (who, kind, wish = {}) => {
    const key = makeKey(kind)
    const certificate = await issue(who, key)
    const algorithm = signatureAlgorithmFor(key.publicKey, wish)
    const sign = (octets: Uint8Array) => signOctets(key.privateKey, algorithm, octets)
    return { certificate, path: [], algorithm, sign, key: key.privateKey }
  }
  return { authority, authorityKey, issue, signer }
}

export async function makeCertificate(plan: CertificatePlan): Promise<Certificate> {
  return parseCertificate(await makeCertificateDer(plan))
}

export async function makeCertificateDer(plan: CertificatePlan): Promise<Buffer> {
  const { key, issuerKey = key, extensions = [] } = plan
  const { subject = name('Somebody'), issuer = subject } = plan
  const algorithm = signatureAlgorithmFor(issuerKey.publicKey, {})
  const serialNumber = plan.serialNumber ?? Buffer.concat([Buffer.from([0x40]), randomBytes(15)])
  const tbs = sequence(
    context(0, integer(2)),
    integer(serialNumber),
    algorithm.certificateIdentifier,
    issuer,
    sequence(time(new Date('2020-01-01T00:00:00Z')), time(new Date('2060-01-01T00:00:00Z'))),
    subject,
    key.publicKey.export({ format: 'der', type: 'spki' }),
    ...(extensions.length > 0 ? [context(3, sequence(...extensions))] : []),
  )
  const signature = await signOctets(issuerKey.privateKey, algorithm, tbs)
  return sequence(tbs, algorithm.certificateIdentifier, tlv(0x03, Buffer.from([0]), signature))
}

export function makeKey(kind: KeyKind): KeyPair {
  return KINDS[kind]()
}

export function name(commonName: string, ...more: readonly Buffer[]): Buffer {
  return sequence(relativeName('2.5.4.3', tlv(0x0c, Buffer.from(commonName))), ...more)
}

export function relativeName(type: string, value: Buffer): Buffer {
  return setOf(sequence(oid(type), value))
}

export function extension(type: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(type), ...(critical ? [TRUE] : []), octetString(value))
}

export function basicConstraints(authority: boolean): Buffer {
  return extension('2.5.29.19', authority ? sequence(TRUE) : sequence(), true)
}

/** By the numbers of RFC 5280 §4.2.1.3, none over 7. */
export function keyUsage(...bits: readonly number[]): Buffer {
  const octet = bits.reduce((flags, bit) => flags | (0x80 >> bit), 0)
  return extension('2.5.29.15', tlv(0x03, Buffer.from([7 - Math.max(...bits), octet])), true)
}

export function emailProtection(): Buffer {
  return extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.4')))
}

export function keyIdentifier(identifier: string): Buffer {
  return extension('2.5.29.14', octetString(Buffer.from(identifier)))
}

export function mailAddress(...addresses: readonly string[]): Buffer {
  return alternativeNames(...addresses.map(address => tlv(0x81, Buffer.from(address, 'utf8'))))
}

export function alternativeNames(...names: readonly Buffer[]): Buffer {
  return extension('2.5.29.17', sequence(...names))
}

export function smtpUtf8Mailbox(address: Uint8Array): Buffer {
  return context(0, oid('1.3.6.1.5.5.7.8.9'), context(0, tlv(0x0c, address)))
}

const TRUE = Buffer.from([0x01, 0x01, 0xff])
const KINDS = {
  RSA: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'RSA-PSS': () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }),
  'P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  brainpoolP256r1: () => generateKeyPairSync('ec', { namedCurve: 'brainpoolP256r1' }),
  brainpoolP384r1: () => generateKeyPairSync('ec', { namedCurve: 'brainpoolP384r1' }),
  brainpoolP512r1: () => generateKeyPairSync('ec', { namedCurve: 'brainpoolP512r1' }),
  Ed25519: () => generateKeyPairSync('ed25519'),
}
