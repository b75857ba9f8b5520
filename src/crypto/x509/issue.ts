/**
 * A tiny private certification authority, for the demonstration and for tests (RFC 5280 §4).
 *
 * It keeps no register, revokes nothing and checks nothing that it is asked to sign: never meant for
 * certificates that somebody is to rely on.
 *
 * @module
 */
import { createHash, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { signatureAlgorithmFor, signOctets } from '../algorithms.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  tlv,
} from '../asn1/der-writer.ts'
import { KEY_USAGES, type KeyUsage } from './extensions.ts'
import * as OID from './oids.ts'

/** The kinds of keys that can be made for a certificate. */
export type KeyKind = 'rsa-2048' | 'rsa-3072' | 'p-256' | 'p-384' | 'p-521' | 'ed25519'

/** A pair of keys, made here or elsewhere. */
export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

/** What a certificate is to say. What is left out is what suits a mail user's or an authority's. */
export interface IssueOptions {
  readonly commonName: string
  /** Made anew where a kind is named. Default `p-256`. */
  readonly key?: KeyKind | KeyPair
  /** Left out: self-signed. */
  readonly issuer?: Issued
  /** Mail addresses: rfc822Name, or SmtpUTF8Mailbox where the local part needs it (RFC 9598). */
  readonly addresses?: readonly string[]
  readonly notBefore: Date
  readonly notAfter: Date
  /** Default false, with the usages of a mail user. */
  readonly authority?: boolean
  /** How many authorities may stand below this one; default as many as like. */
  readonly pathLength?: number
  /** Default by the kind of key; an empty list leaves the extension out. */
  readonly keyUsage?: readonly KeyUsage[]
  /** Object identifiers. Default emailProtection; an empty list leaves the extension out. */
  readonly extendedKeyUsage?: readonly string[]
  /** Positive, most significant octet first. Default 16 random octets. */
  readonly serialNumber?: Buffer
  /** Sign with RSASSA-PSS, where the issuer's key is an RSA key. */
  readonly pss?: boolean
}

/** A certificate and its private key, and who issued it. */
export interface Issued {
  readonly der: Buffer
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** DER of the subject's Name. */
  readonly subject: Buffer
  readonly subjectKeyIdentifier: Buffer
  /** Undefined for a self-signed one. */
  readonly issuer: Issued | undefined
}

/**
 * Issues a certificate.
 *
 * @throws {PosternError} `ERR_KEY_TYPE`, `ERR_KEY_SIZE` where the issuer's key cannot sign.
 */
export async function issue(options: IssueOptions): Promise<Issued> {
  const { issuer, key = 'p-256' } = options
  const { publicKey, privateKey } = typeof key === 'string' ? await makeKeyPair(key) : key
  const subject = name(options.commonName)
  const publicKeyInfo = publicKey.export({ format: 'der', type: 'spki' })
  // RFC 7093 §2 (4): of the key, not of the certificate, so that a renewed one keeps it.
  const subjectKeyIdentifier = createHash('sha256').update(publicKeyInfo).digest().subarray(0, 20)

  const signingKey = issuer?.privateKey ?? privateKey
  const algorithm = signatureAlgorithmFor(issuer?.publicKey ?? publicKey, { pss: options.pss })
  const toBeSigned = sequence(
    context(0, integer(2)),
    positiveInteger(options.serialNumber ?? randomBytes(16)),
    algorithm.certificateIdentifier,
    issuer?.subject ?? subject,
    sequence(time(options.notBefore), time(options.notAfter)),
    subject,
    publicKeyInfo,
    context(3, sequence(...extensions(options, publicKey, subjectKeyIdentifier))),
  )
  const signature = await signOctets(signingKey, algorithm, toBeSigned)
  const der = sequence(toBeSigned, algorithm.certificateIdentifier, bitString(signature))
  return { der, privateKey, publicKey, subject, subjectKeyIdentifier, issuer }
}

/** Makes a pair of keys on the thread pool. */
export async function makeKeyPair(kind: KeyKind): Promise<KeyPair> {
  switch (kind) {
    case 'rsa-2048':
      return generate('rsa', { modulusLength: 2048 })
    case 'rsa-3072':
      return generate('rsa', { modulusLength: 3072 })
    case 'p-256':
    case 'p-384':
    case 'p-521':
      return generate('ec', { namedCurve: kind.toUpperCase() })
    case 'ed25519':
      return generate('ed25519')
  }
}

/** A certificate as PEM (RFC 7468 §5). */
export function certificatePem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

/** What an identity file holds: the private key (PKCS #8), the certificate, and its path without the root. */
export function identityPem(issued: Issued): string {
  const key = issued.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return key + [issued, ...pathOf(issued)].map(({ der }) => certificatePem(der)).join('')
}

/** The certificates above one, nearest first, without the root. */
export function pathOf(issued: Issued): readonly Issued[] {
  const { issuer } = issued
  return issuer?.issuer ? [issuer, ...pathOf(issuer)] : []
}

function extensions(
  options: IssueOptions,
  publicKey: KeyObject,
  subjectKeyIdentifier: Buffer,
): Buffer[] {
  const { issuer, addresses = [], authority = false } = options
  const keyUsage = options.keyUsage ?? usualUsage(publicKey, authority)
  const purposes = options.extendedKeyUsage ?? (authority ? [] : [OID.EMAIL_PROTECTION])
  const list = [
    extension(OID.BASIC_CONSTRAINTS, basicConstraints(authority, options.pathLength), authority),
    extension(OID.SUBJECT_KEY_IDENTIFIER, octetString(subjectKeyIdentifier)),
  ]
  if (keyUsage.length > 0) list.push(extension(OID.KEY_USAGE, flags(keyUsage), true))
  if (purposes.length > 0)
    list.push(extension(OID.EXTENDED_KEY_USAGE, sequence(...purposes.map(oid))))
  if (issuer)
    list.push(
      extension(OID.AUTHORITY_KEY_IDENTIFIER, sequence(tlv(0x80, issuer.subjectKeyIdentifier))),
    )
  if (addresses.length > 0)
    list.push(extension(OID.SUBJECT_ALTERNATIVE_NAME, sequence(...addresses.map(mailName))))
  return list
}

function extension(identifier: string, value: Buffer, critical = false): Buffer {
  return critical
    ? sequence(oid(identifier), TRUE, octetString(value))
    : sequence(oid(identifier), octetString(value))
}

/** What keys of a kind can do for mail: sign, and be encrypted to (RFC 8550 §4.4.2). */
function usualUsage(publicKey: KeyObject, authority: boolean): readonly KeyUsage[] {
  if (authority) return ['keyCertSign', 'cRLSign']
  const { asymmetricKeyType } = publicKey
  if (asymmetricKeyType === 'rsa') return ['digitalSignature', 'keyEncipherment']
  if (asymmetricKeyType === 'ec') return ['digitalSignature', 'keyAgreement']
  return ['digitalSignature']
}

function basicConstraints(authority: boolean, pathLength: number | undefined): Buffer {
  if (!authority) return sequence()
  return pathLength === undefined ? sequence(TRUE) : sequence(TRUE, integer(pathLength))
}

/** RFC 5280 §4.2.1.6 for ASCII, RFC 9598 §3 for a local part that is not. */
function mailName(address: string): Buffer {
  if (/^[\x21-\x7e]*$/.test(address)) return tlv(0x81, Buffer.from(address, 'latin1'))
  return context(0, oid(OID.SMTP_UTF8_MAILBOX), context(0, tlv(0x0c, Buffer.from(address))))
}

function name(commonName: string): Buffer {
  return sequence(setOf(sequence(oid(OID.COMMON_NAME), tlv(0x0c, Buffer.from(commonName)))))
}

/** A BIT STRING of named bits, without the zeros behind the last one (X.690 §11.2.2). */
function flags(usages: readonly KeyUsage[]): Buffer {
  const bits = usages.map(usage => KEY_USAGES.indexOf(usage))
  const octets = Buffer.alloc(1 + (Math.max(...bits) >> 3))
  for (const bit of bits) octets[bit >> 3]! |= 0x80 >> (bit & 7)
  return bitString(octets, 7 - (Math.max(...bits) & 7))
}

function bitString(octets: Buffer, unusedBits = 0): Buffer {
  return tlv(0x03, Buffer.from([unusedBits]), octets)
}

/** RFC 5280 §4.1.2.2: positive, and in its shortest form. */
function positiveInteger(octets: Buffer): Buffer {
  const first = octets.findIndex(octet => octet !== 0)
  const shortest = first < 0 ? Buffer.from([1]) : octets.subarray(first)
  return integer(shortest[0]! < 0x80 ? shortest : Buffer.concat([Buffer.alloc(1), shortest]))
}

const generate = promisify(generateKeyPair) as (type: string, options?: object) => Promise<KeyPair>

const TRUE = Buffer.from([0x01, 0x01, 0xff])
