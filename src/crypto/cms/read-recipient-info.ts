/**
 * Reads RecipientInfos (RFC 5652 §6.2): which certificate each is for, and how the content key was
 * encrypted, as far as we know that way.
 *
 * Strict and bounded: at most 1,000 certificates are served.
 *
 * @module
 */
import { DerReader, type Element, readInteger, readOid, syntaxError } from '../asn1/der-reader.ts'
import { context, octetString, sequence } from '../asn1/der-writer.ts'
import type { OriginatorKey, RecipientIdentifier, RecipientInfo } from '../key.ts'
import type { OaepDigest } from '../oaep.ts'
import type { AgreementScheme, OaepParameters, TransportScheme } from '../unwrap.ts'
import { type AlgorithmIdentifier, readAlgorithm, readOctets } from './algorithm-identifier.ts'
import * as OID from './oids.ts'

/** What stands in the SET OF RecipientInfo, in its order. */
export interface Recipients {
  /** A key agreement with several RecipientEncryptedKeys counts as several. */
  readonly infos: readonly RecipientInfo[]
  /** For certificates, but by algorithms that we do not know or do not take. */
  readonly refused: readonly RecipientIdentifier[]
  /**
   * Not for certificates: passwords, symmetric keys and others. They are never tried: a password's
   * iterations are the sender's to choose, and cost us what he likes.
   */
  readonly otherKinds: number
}

/** @throws {PosternError} `ERR_DER_SYNTAX`, also where there are too many. */
export function readRecipients(set: DerReader): Recipients {
  const infos: RecipientInfo[] = []
  const refused: RecipientIdentifier[] = []
  let otherKinds = 0
  while (!set.done) {
    const found = readOne(set)
    if (found === undefined) otherKinds++
    else if ('recipients' in found) refused.push(...found.recipients)
    else infos.push(...found)
    if (infos.length + refused.length + otherKinds > MAXIMUM_RECIPIENTS)
      throw syntaxError(set.offset, `more than ${MAXIMUM_RECIPIENTS} recipients`)
  }
  return { infos, refused, otherKinds }
}

/** Recipients whose way is not ours. */
interface Refused {
  readonly recipients: readonly RecipientIdentifier[]
}

function readOne(set: DerReader): readonly RecipientInfo[] | Refused | undefined {
  switch (set.nextTag) {
    case 0x30:
      return readKeyTransport(set.into(0x30))
    case 0xa1:
      return readKeyAgreement(set.into(0xa1))
    default:
      set.element()
      return undefined
  }
}

function readKeyTransport(info: DerReader): readonly RecipientInfo[] | Refused {
  info.element(0x02) // version
  const recipient = readIdentifier(info, 0x80)
  const scheme = transportScheme(readAlgorithm(info.element(0x30)))
  const encryptedKey = readOctets(info)
  info.finish()
  if (!scheme) return { recipients: [recipient] }
  return [{ kind: 'key-transport', recipient, scheme, encryptedKey }]
}

function readKeyAgreement(info: DerReader): readonly RecipientInfo[] | Refused {
  info.element(0x02) // version
  const originator = readOriginator(info.into(0xa0))
  const material = info.optionalInto(0xa1)
  const userKeyingMaterial = material && readOctets(material)
  material?.finish()
  const algorithm = readAlgorithm(info.element(0x30))
  const keys = readEncryptedKeys(info.into(0x30))
  info.finish()
  const scheme = originator && agreementScheme(originator, algorithm, userKeyingMaterial)
  if (!scheme) return { recipients: keys.map(({ recipient }) => recipient) }
  return keys.map(key => ({ kind: 'key-agreement', ...key, scheme, originator }))
}

function readEncryptedKeys(list: DerReader): Pick<RecipientInfo, 'recipient' | 'encryptedKey'>[] {
  const keys: Pick<RecipientInfo, 'recipient' | 'encryptedKey'>[] = []
  while (!list.done) {
    if (keys.length >= MAXIMUM_RECIPIENTS)
      throw syntaxError(list.offset, `more than ${MAXIMUM_RECIPIENTS} recipients`)
    const key = list.into(0x30)
    keys.push({ recipient: readIdentifier(key, 0xa0), encryptedKey: readOctets(key) })
    key.finish()
  }
  return keys
}

/** @param byKey Tag of a key identifier: bare in key transport, with date and more in key agreement. */
function readIdentifier(info: DerReader, byKey: 0x80 | 0xa0): RecipientIdentifier {
  if (info.nextTag === byKey) {
    const { content } = info.element(byKey)
    const keyIdentifier = byKey === 0x80 ? content : new DerReader(content).element(0x04).content
    return { kind: 'key-identifier', keyIdentifier }
  }
  const byName = info.into(0x30)
  const issuer = byName.element(0x30).octets
  const serialNumber = readInteger(byName.element(0x02))
  byName.finish()
  return { kind: 'issuer-and-serial', issuer, serialNumber }
}

/**
 * An ephemeral key (RFC 5753 §3.1.1); undefined for the sender's own static one, for other kinds, and
 * for curves that are spelt out: those can look like a known one and not be it.
 */
function readOriginator(choice: DerReader): OriginatorKey | undefined {
  const key = choice.optionalInto(0xa1)
  if (!key) {
    choice.element()
    choice.finish()
    return undefined
  }
  choice.finish()
  const { oid, parameters } = readAlgorithm(key.element(0x30))
  const point = readPoint(key.element(0x03))
  key.finish()
  const type = KEY_TYPES.get(oid)
  const curve = parameters && namedCurve(parameters)
  if (!type || curve === 'spelt-out' || point.length > MAXIMUM_POINT_OCTETS) return undefined
  return { type, curve, point }
}

function readPoint({ content }: Element): Buffer {
  if (content[0] !== 0) throw syntaxError(0, 'public key is not of whole octets')
  return content.subarray(1)
}

/** RFC 5753 §7.1.2: the parameters are absent, NULL, or name the curve. */
function namedCurve(parameters: Buffer): string | undefined {
  if (parameters[0] === 0x05) return undefined
  return parameters[0] === 0x06 ? readOid(new DerReader(parameters).element()) : 'spelt-out'
}

function transportScheme({ oid, parameters }: AlgorithmIdentifier): TransportScheme | undefined {
  if (oid === RSA_ENCRYPTION) return { name: 'rsa-pkcs1', oaep: undefined }
  if (oid !== RSAES_OAEP) return undefined
  const oaep = readOaep(parameters)
  if (!oaep) return undefined
  const mask = oaep.mask === oaep.label ? '' : `-mgf1-${dashed(oaep.mask)}`
  return { name: `rsa-oaep-${dashed(oaep.label)}${mask}`, oaep }
}

/** RSAES-OAEP-params (RFC 4055 §4.1), whose defaults are SHA-1 and an empty label. */
function readOaep(parameters: Buffer | undefined): OaepParameters | undefined {
  if (!parameters) return undefined
  const reader = new DerReader(parameters).into(0x30)
  const [hash, maskGeneration, source] = [0xa0, 0xa1, 0xa2].map(tag => {
    const wrapped = reader.optionalInto(tag)
    return wrapped && readAlgorithm(wrapped.element(0x30))
  })
  reader.finish()
  const label = hash ? DIGESTS.get(hash.oid) : 'sha1'
  const mask = maskGeneration ? maskDigest(maskGeneration) : 'sha1'
  const labelOctets = source ? specifiedLabel(source) : NOTHING
  return label && mask && labelOctets && { label, mask, labelOctets }
}

function maskDigest({ oid, parameters }: AlgorithmIdentifier): OaepDigest | undefined {
  if (oid !== MGF1 || !parameters) return undefined
  return DIGESTS.get(readAlgorithm(new DerReader(parameters).element(0x30)).oid)
}

function specifiedLabel({ oid, parameters }: AlgorithmIdentifier): Buffer | undefined {
  if (oid !== P_SPECIFIED || !parameters) return undefined
  return new DerReader(parameters).element(0x04).content
}

/** ECDH with ephemeral and static key (RFC 5753 §7.1.4, RFC 8418 §2), and AES key wrap. */
function agreementScheme(
  { type }: OriginatorKey,
  { oid, parameters }: AlgorithmIdentifier,
  userKeyingMaterial: Buffer | undefined,
): AgreementScheme | undefined {
  const derivation = DERIVATIONS.get(oid)
  const wrap = parameters && readAlgorithm(new DerReader(parameters).element(0x30))
  const keyEncryptionKeyOctets = wrap && WRAPS.get(wrap.oid)
  if (!derivation || !keyEncryptionKeyOctets) return undefined
  const kind = type === 'ec' ? 'ecdh' : 'x25519'
  const hkdf = derivation.derivation === 'hkdf' ? '-hkdf' : ''
  return {
    name: `${kind}${hkdf}-${dashed(derivation.digest)}`,
    ...derivation,
    keyEncryptionKeyOctets,
    sharedInfo: sharedInfo(wrap, keyEncryptionKeyOctets, userKeyingMaterial),
  }
}

/**
 * ECC-CMS-SharedInfo (RFC 5753 §7.2), with the wrap's identifier as it stands in the message. Without
 * user keying material there is no entityUInfo: an empty one would make another key.
 */
function sharedInfo(
  wrap: AlgorithmIdentifier,
  keyOctets: number,
  userKeyingMaterial: Buffer | undefined,
): Buffer {
  const sizeBits = Buffer.alloc(4)
  sizeBits.writeUInt32BE(keyOctets * 8)
  const entityUInfo = userKeyingMaterial ? [context(0, octetString(userKeyingMaterial))] : []
  return sequence(wrap.octets, ...entityUInfo, context(2, octetString(sizeBits)))
}

/** `sha256` as people write it. */
function dashed(digest: OaepDigest): string {
  return `sha-${digest.slice(3)}`
}

function derivations(
  derivation: AgreementScheme['derivation'],
  oids: Readonly<Partial<Record<OaepDigest, readonly string[]>>>,
): [string, Pick<AgreementScheme, 'derivation' | 'digest'>][] {
  return Object.entries(oids).flatMap(([digest, all]) =>
    all.map(
      oid => [oid, { derivation, digest: digest as OaepDigest }] as const satisfies unknown[],
    ),
  )
}

const MAXIMUM_RECIPIENTS = 1000
/** Uncompressed on P-521. */
const MAXIMUM_POINT_OCTETS = 133
const NOTHING = Buffer.alloc(0)
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1'
const RSAES_OAEP = '1.2.840.113549.1.1.7'
const MGF1 = '1.2.840.113549.1.1.8'
const P_SPECIFIED = '1.2.840.113549.1.1.9'
const DIGESTS: ReadonlyMap<string, OaepDigest> = new Map([
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.4', 'sha224'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
])
const KEY_TYPES: ReadonlyMap<string, OriginatorKey['type']> = new Map([
  [OID.EC_PUBLIC_KEY, 'ec'],
  ['1.3.132.1.12', 'ec'], // id-ecDH
  [OID.X25519, 'x25519'],
])
const WRAPS: ReadonlyMap<string, number> = new Map([
  ['2.16.840.1.101.3.4.1.5', 16],
  ['2.16.840.1.101.3.4.1.25', 24],
  ['2.16.840.1.101.3.4.1.45', 32],
])
/**
 * Standard and cofactor Diffie-Hellman, which are the same on curves of cofactor 1, as ours are.
 */
const DERIVATIONS: ReadonlyMap<string, Pick<AgreementScheme, 'derivation' | 'digest'>> = new Map([
  ...derivations('x963', {
    sha1: ['1.3.133.16.840.63.0.2', '1.3.133.16.840.63.0.3'],
    sha224: ['1.3.132.1.11.0', '1.3.132.1.14.0'],
    sha256: ['1.3.132.1.11.1', '1.3.132.1.14.1'],
    sha384: ['1.3.132.1.11.2', '1.3.132.1.14.2'],
    sha512: ['1.3.132.1.11.3', '1.3.132.1.14.3'],
  }),
  ...derivations('hkdf', {
    sha256: ['1.2.840.113549.1.9.16.3.19'],
    sha384: ['1.2.840.113549.1.9.16.3.20'],
    sha512: ['1.2.840.113549.1.9.16.3.21'],
  }),
])
