/**
 * Which algorithms a recipient gets: by the profile that the organisation has chosen, and by what the
 * recipient's own mail has advertised (RFC 8551 §2.7).
 *
 * @module
 */
import { DerReader, readOid } from '../asn1/der-reader.ts'
import { context, oid, sequence } from '../asn1/der-writer.ts'
import type { Capabilities } from '../cms/capabilities.ts'
import type { KeyIdentification } from '../cms/recipient-info.ts'
import { type ContentCipher, contentCipher, contentCipherByOid } from '../content-encryption.ts'
import {
  KEY_MANAGEMENTS,
  type KeyAgreement,
  type KeyManagement,
  type KeyTransport,
  keyManagementFor,
} from '../key-management.ts'
import type { Certificate } from '../x509/certificate.ts'

/**
 * `compatible`: what nearly every installed client opens. `modern`: authenticated content, OAEP.
 * `edi-energy`: OAEP for everybody, as the German energy market demands it.
 */
export type EncryptionProfile = 'compatible' | 'modern' | 'edi-energy'

/** What one recipient gets. */
export interface EncryptionChoice {
  readonly content: ContentCipher
  readonly management: KeyManagement
  readonly keyIdentification: KeyIdentification
}

/**
 * Chooses for one recipient.
 *
 * Of what a recipient can read, as its own verified mail has told, it gets the strongest that we send:
 * authenticated before malleable, then the longest key, then by its own order. RFC 8551 §2.7.1.1 would
 * rather take the first; but all of the list can be read, and old lists begin with what was quick
 * once. What we never send, and an empty list, count as no word at all.
 *
 * `modern` yields to a recipient that is known to read CBC alone: the choice then is that recipient's
 * own, and `strengthKey` keeps it from everyone else's message. `compatible` takes OAEP for those who
 * advertise it.
 *
 * @throws {PosternError} `ERR_KEY_SIZE`, `ERR_KEY_TYPE` where nothing may be encrypted to the key.
 */
export function encryptionFor(
  { publicKey }: Certificate,
  profile: EncryptionProfile,
  capabilities: Capabilities = [],
): EncryptionChoice {
  const { fallback, rsa } = PROFILES[profile]
  const [strongest] = capabilities
    .flatMap(capability => contentCipherByOid(capability.oid) ?? [])
    .toSorted(byStrength)
  return {
    content: strongest ?? contentCipher(fallback),
    management: asAdvertised(keyManagementFor(publicKey, rsa), capabilities),
    // The one name of a certificate that every peer understands.
    keyIdentification: 'issuer-and-serial',
  }
}

/**
 * Recipients whose choices have equal keys may share one message; all others must not, because a
 * message is as strong as its weakest recipient makes it (RFC 8551 §6).
 *
 * Besides the cipher this tells RSA PKCS #1 v1.5 from all the rest: it is the one way in use whose
 * padding has been an oracle again and again. It also keeps older readers well, which open what came by
 * PKCS #1 v1.5 alone, and nothing in which another recipient uses an elliptic curve (NSS before 2025).
 */
export function strengthKey({ content, management }: EncryptionChoice): string {
  return `${content.name} ${management.name === 'rsa-pkcs1' ? 'rsa-pkcs1' : 'any'}`
}

/**
 * The cipher of one message for several certificates of a recipient: what the least of them gets on its
 * own, for whatever reads more reads that too.
 *
 * @param choices At least one.
 */
export function contentForAll(choices: readonly EncryptionChoice[]): ContentCipher {
  return choices
    .map(({ content }) => content)
    .toSorted(byStrength)
    .at(-1)!
}

function byStrength(one: ContentCipher, other: ContentCipher): number {
  return Number(other.authenticated) - Number(one.authenticated) || other.keyOctets - one.keyOctets
}

/** The way that the profile means for the key, unless the recipient has told of a better one. */
function asAdvertised(management: KeyManagement, capabilities: Capabilities): KeyManagement {
  if (management.kind === 'key-agreement') return agreementOf(management, capabilities)
  if (management.oaep) return management
  return capabilities.flatMap(capability => oaepOf(capability) ?? [])[0] ?? management
}

/** That which fits the curve, unless the recipient tells of others alone: then the strongest. */
function agreementOf(fitting: KeyAgreement, capabilities: Capabilities): KeyAgreement {
  const advertised = KEY_MANAGEMENTS.filter(
    (row): row is KeyAgreement =>
      row.kind === 'key-agreement' &&
      row.keyType === fitting.keyType &&
      capabilities.some(capability => capability.oid === readOid(elementOf(row.oid))),
  )
  return advertised.includes(fitting) ? fitting : (advertised.at(-1) ?? fitting)
}

/** The way of an advertised RSAES-OAEP (RFC 4055 §4.1); undefined for digests that we do not send. */
function oaepOf({ oid: type, parameters = DEFAULTS }: Capabilities[number]) {
  if (type !== RSAES_OAEP) return undefined
  const known = parameters.equals(UNTAGGED_SHA_256) ? TAGGED_SHA_256 : parameters
  const identifier = sequence(oid(RSAES_OAEP), known)
  return KEY_MANAGEMENTS.find(
    row => row.kind === 'key-transport' && row.identifier.equals(identifier),
  )
}

function elementOf(der: Buffer) {
  return new DerReader(der).element()
}

interface Profile {
  /** For recipients of whom nothing is known. */
  readonly fallback: ContentCipher['name']
  readonly rsa: KeyTransport['name']
}

/**
 * Of unknown recipients RFC 8551 §2.7.1.2 expects AES-256-GCM, or else AES-128-CBC. GnuPG, NSS before
 * 2025 and with it many a Thunderbird do not read GCM at all, while AES-256-CBC is read wherever
 * AES-128-CBC is.
 */
const PROFILES: Readonly<Record<EncryptionProfile, Profile>> = {
  compatible: { fallback: 'aes-256-cbc', rsa: 'rsa-pkcs1' },
  modern: { fallback: 'aes-256-gcm', rsa: 'rsa-oaep-sha-256' },
  'edi-energy': { fallback: 'aes-256-cbc', rsa: 'rsa-oaep-sha-256' },
}

const RSAES_OAEP = '1.2.840.113549.1.1.7'
/** Absent parameters are those that are all defaults. */
const DEFAULTS = sequence()
const SHA_256 = Buffer.from('300d06096086480165030402010500', 'hex')
const MGF1_SHA_256 = sequence(oid('1.2.840.113549.1.1.8'), SHA_256)
const TAGGED_SHA_256 = sequence(context(0, SHA_256), context(1, MGF1_SHA_256))
/** As RFC 3560 §5 prints it, without the tags that its own syntax wants. */
const UNTAGGED_SHA_256 = sequence(SHA_256, MGF1_SHA_256)
