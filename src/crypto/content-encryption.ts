/**
 * The ciphers that encrypt content: one table, a row a cipher (RFC 3565, RFC 5084).
 *
 * What is not in the table is never sent: neither triple DES nor RC2, whatever a recipient advertises.
 *
 * @module
 */
import { type CipherGCM, createCipheriv, randomBytes } from 'node:crypto'

/** A content-encryption algorithm. */
export interface ContentCipher {
  readonly name: 'aes-128-cbc' | 'aes-192-cbc' | 'aes-256-cbc' | 'aes-128-gcm' | 'aes-256-gcm'
  readonly oid: string
  readonly keyOctets: 16 | 24 | 32
  /** AuthEnvelopedData with a tag (RFC 5083); otherwise EnvelopedData, which anyone could alter. */
  readonly authenticated: boolean
}

/** One message's encryption, begun. */
export interface ContentEncryption {
  /** DER of the ContentEncryptionAlgorithmIdentifier, with the fresh nonce or IV. */
  readonly identifier: Buffer
  update(octets: Buffer): Buffer
  /** The last ciphertext octets, which may be none. */
  final(): Buffer
  /** The authentication tag; to be asked after `final`, of authenticated ciphers alone. */
  tag(): Buffer
}

/** The row of a cipher. */
export function contentCipher(name: ContentCipher['name']): ContentCipher {
  return CONTENT_CIPHERS.find(cipher => cipher.name === name)!
}

/** The cipher of an object identifier, if we may send it. */
export function contentCipherByOid(oid: string): ContentCipher | undefined {
  return CONTENT_CIPHERS.find(cipher => cipher.oid === oid)
}

/**
 * Begins to encrypt with a key that has never been used and never will be again: that, and not the
 * random nonce alone, is what keeps a GCM nonce from being used twice under one key.
 */
export function beginEncryption(cipher: ContentCipher, contentKey: Uint8Array): ContentEncryption {
  const nonce = randomBytes(cipher.authenticated ? GCM_NONCE_OCTETS : CBC_IV_OCTETS)
  const running = createCipheriv(cipher.name as 'aes-128-gcm', contentKey, nonce)
  return {
    identifier: cipher.authenticated ? gcmIdentifier(cipher, nonce) : cbcIdentifier(cipher, nonce),
    update: octets => running.update(octets),
    final: () => running.final(),
    tag: () => tagOf(running),
  }
}

/** How many octets of ciphertext come of so many octets of content. */
export function encryptedSizeOf({ authenticated }: ContentCipher, contentOctets: number): number {
  // RFC 5652 §6.3: there is always padding, a whole block of it where the content fills its blocks.
  return authenticated ? contentOctets : (Math.floor(contentOctets / 16) + 1) * 16
}

function tagOf(running: CipherGCM): Buffer {
  return running.getAuthTag()
}

/** RFC 3565 §2.1: the parameters are the IV. */
function cbcIdentifier({ keyOctets }: ContentCipher, iv: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from('301d06096086480165030401', 'hex'),
    arc(keyOctets, 2),
    AN_IV,
    iv,
  ])
}

/**
 * RFC 5084 §3.2: nonce, and length of the tag. The length would be 12 octets if it did not stand there;
 * sixteen are what every peer makes, and what some insist on.
 */
function gcmIdentifier({ keyOctets }: ContentCipher, nonce: Buffer): Buffer {
  const prefix = Buffer.from('301e06096086480165030401', 'hex')
  return Buffer.concat([prefix, arc(keyOctets, 6), A_NONCE, nonce, TAG_LENGTH])
}

/** The last arc of an AES object identifier: the mode, and 20 more for each longer key. */
function arc(keyOctets: number, mode: number): Buffer {
  return Buffer.from([mode + ((keyOctets - 16) / 8) * 20])
}

const CBC_IV_OCTETS = 16
/** The one nonce length for which GCM needs no further hashing (RFC 5084 §3.2). */
const GCM_NONCE_OCTETS = 12
const AN_IV = Buffer.from([0x04, CBC_IV_OCTETS])
const A_NONCE = Buffer.from([0x30, 0x11, 0x04, GCM_NONCE_OCTETS])
const TAG_LENGTH = Buffer.from([0x02, 0x01, 0x10])

/** Every cipher that we send. */
export const CONTENT_CIPHERS: readonly ContentCipher[] = [
  {
    name: 'aes-128-cbc',
    oid: '2.16.840.1.101.3.4.1.2',
    keyOctets: 16,
    authenticated: false,
  },
  {
    name: 'aes-192-cbc',
    oid: '2.16.840.1.101.3.4.1.22',
    keyOctets: 24,
    authenticated: false,
  },
  {
    name: 'aes-256-cbc',
    oid: '2.16.840.1.101.3.4.1.42',
    keyOctets: 32,
    authenticated: false,
  },
  {
    name: 'aes-128-gcm',
    oid: '2.16.840.1.101.3.4.1.6',
    keyOctets: 16,
    authenticated: true,
  },
  {
    name: 'aes-256-gcm',
    oid: '2.16.840.1.101.3.4.1.46',
    keyOctets: 32,
    authenticated: true,
  },
]
