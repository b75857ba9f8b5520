/**
 * Which algorithms a recipient gets: by the profile that the organisation has chosen, and by what the
 * recipient's own mail has advertised (RFC 8551 §2.7).
 *
 * @module
 */
import type { KeyIdentification } from '../cms/recipient-info.ts'
import { type ContentCipher, contentCipher, contentCipherByOid } from '../content-encryption.ts'
import { type KeyManagement, type KeyTransport, keyManagementFor } from '../key-management.ts'
import type { Certificate } from '../x509/certificate.ts'

/**
 * `compatible`: what nearly every installed client opens. `modern`: authenticated content, OAEP.
 * `edi-energy`: OAEP for everybody, as the German energy market demands it.
 */
export type EncryptionProfile = 'compatible' | 'modern' | 'edi-energy'

/**
 * Object identifiers of the SMIMECapabilities of a recipient, in its order (RFC 8551 §2.5.2). To be
 * taken from verified signatures alone (§2.7.1).
 */
export type Capabilities = readonly string[]

/** What one recipient gets. */
export interface EncryptionChoice {
  readonly content: ContentCipher
  readonly management: KeyManagement
  readonly keyIdentification: KeyIdentification
}

/**
 * Chooses for one recipient.
 *
 * The recipient's first capability that the profile allows is taken; weaker ones than we send, and an
 * empty list, count as no answer. `modern` yields to a recipient that is known to read CBC alone: the
 * choice then is that recipient's own, and `strengthKey` keeps it from everyone else's message.
 *
 * @throws {PosternError} `ERR_KEY_SIZE`, `ERR_KEY_TYPE` where nothing may be encrypted to the key.
 */
export function encryptionFor(
  { publicKey }: Certificate,
  profile: EncryptionProfile,
  capabilities: Capabilities = [],
): EncryptionChoice {
  const { fallback, rsa, authenticatedFirst } = PROFILES[profile]
  const advertised = capabilities.flatMap(capability => contentCipherByOid(capability) ?? [])
  const best = authenticatedFirst && advertised.find(({ authenticated }) => authenticated)
  return {
    content: best || (advertised[0] ?? contentCipher(fallback)),
    management: keyManagementFor(publicKey, rsa),
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

interface Profile {
  /** For recipients of whom nothing is known. */
  readonly fallback: ContentCipher['name']
  readonly rsa: KeyTransport['name']
  /** The recipient's order counts only among what is authenticated, if it reads that. */
  readonly authenticatedFirst: boolean
}

/**
 * Of unknown recipients RFC 8551 §2.7.1.2 expects AES-256-GCM, or else AES-128-CBC. GnuPG, NSS before
 * 2025 and with it many a Thunderbird do not read GCM at all, while AES-256-CBC is read wherever
 * AES-128-CBC is.
 */
const PROFILES: Readonly<Record<EncryptionProfile, Profile>> = {
  compatible: { fallback: 'aes-256-cbc', rsa: 'rsa-pkcs1', authenticatedFirst: false },
  modern: { fallback: 'aes-256-gcm', rsa: 'rsa-oaep-sha-256', authenticatedFirst: true },
  'edi-energy': { fallback: 'aes-256-cbc', rsa: 'rsa-oaep-sha-256', authenticatedFirst: true },
}
