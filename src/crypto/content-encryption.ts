/**
 * The ciphers that encrypt content: one table, a row a cipher (RFC 3565, RFC 5084); and a second one of
 * those that are read, which are more.
 *
 * What is not in the first is never sent: neither triple DES nor RC2, whatever a recipient advertises.
 * What is not in the second is never read: neither RC2 nor DES.
 *
 * @module
 */
import {
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
  hkdfSync,
  randomBytes,
} from 'node:crypto'
import { beginCcm, isWithinCcm } from './ccm.ts'

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

/** A content-encryption algorithm that we read. */
export interface DecryptionCipher {
  /** Its name in node:crypto. */
  readonly name: string
  readonly oid: string
  readonly keyOctets: number
  /** Whether a tag is checked (RFC 5083); otherwise anyone on the way could have altered the content. */
  readonly mode: 'cbc' | 'gcm' | 'ccm' | 'chacha20-poly1305'
  /** Size of the IV or nonce, which of CCM alone may be shorter. */
  readonly ivOctets: number
  /** Read only where an operator wishes it. */
  readonly weak: boolean
}

/** Everything that decrypting takes, except the key. */
export interface Decryption {
  readonly cipher: DecryptionCipher
  readonly iv: Buffer
  /** Of authenticated ciphers: the tag, whose size has been checked against what was declared. */
  readonly tag: Buffer | undefined
  /** Of authenticated ciphers: what the tag covers beside the content. */
  readonly additionalData: Buffer | undefined
  /**
   * DER of the cipher's identifier, where the content key is not the cipher's key but the source of it
   * (RFC 9709 §2).
   */
  readonly derivedFor: Buffer | undefined
}

/** The cipher of an object identifier, if we can read it. */
export function decryptionCipherByOid(oid: string): DecryptionCipher | undefined {
  return DECRYPTION_CIPHERS.find(cipher => cipher.oid === oid)
}

/** Whether the IV or nonce has a size that its cipher takes. */
export function isIvOf({ mode, ivOctets }: DecryptionCipher, { length }: Buffer): boolean {
  // RFC 5084 §3.1: 7 to 13 octets.
  return length === ivOctets || (mode === 'ccm' && length >= CCM_LEAST_NONCE && length < ivOctets)
}

/** Whether there can be so much cipher text. */
export function isSizeOf(
  { cipher, iv: nonce, additionalData }: Decryption,
  sizeOctets: number,
): boolean {
  return cipher.mode !== 'ccm' || isWithinCcm({ nonce, additionalData, sizeOctets })
}

/** A decryption under way. */
export interface Deciphering {
  /** Not to be believed before `final` has returned. */
  update(octets: Buffer): Buffer
  /** The last octets, which may be none. Throws where padding or tag are wrong. */
  final(): Buffer
}

/**
 * Begins to decrypt.
 *
 * @param sizeOctets Of all cipher text that is to come.
 */
export function beginDecryption(
  { cipher, iv, tag = NO_TAG, additionalData, derivedFor }: Decryption,
  contentKey: Buffer,
  sizeOctets: number,
): Deciphering {
  const key = derivedFor ? derivedKey(contentKey, derivedFor) : contentKey
  if (cipher.mode === 'ccm') return beginCcm(key, { nonce: iv, tag, additionalData, sizeOctets })
  if (cipher.mode === 'cbc') return createDecipheriv(cipher.name, key, iv)
  // Without the length, tags of four octets would do.
  const authTagLength = tag.length
  const running = createDecipheriv(cipher.name as 'aes-128-gcm', key, iv, { authTagLength })
  if (additionalData) running.setAAD(additionalData)
  return running.setAuthTag(tag) satisfies DecipherGCM
}

/** RFC 9709 §2: another cipher, or other parameters, make another key. */
export function derivedKey(contentKey: Buffer, cipherIdentifier: Buffer): Buffer {
  return Buffer.from(
    hkdfSync('sha256', contentKey, CEK_HKDF_SALT, cipherIdentifier, contentKey.length),
  )
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

const NO_TAG = Buffer.alloc(0)
const CEK_HKDF_SALT = Buffer.from('The Cryptographic Message Syntax')
const CBC_IV_OCTETS = 16
/** The one nonce length for which GCM needs no further hashing (RFC 5084 §3.2). */
const GCM_NONCE_OCTETS = 12
/** RFC 5084 §3.1. */
const CCM_LEAST_NONCE = 7
const CCM_MOST_NONCE = 13
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

/** The arcs are those of the shortest key. */
const MODES = {
  cbc: { firstArc: 2, ivOctets: CBC_IV_OCTETS },
  gcm: { firstArc: 6, ivOctets: GCM_NONCE_OCTETS },
  ccm: { firstArc: 7, ivOctets: CCM_MOST_NONCE },
}

function aes(mode: keyof typeof MODES, keyOctets: 16 | 24 | 32): DecryptionCipher {
  const { firstArc, ivOctets } = MODES[mode]
  const lastArc = firstArc + ((keyOctets - 16) / 8) * 20
  return {
    name: `aes-${keyOctets * 8}-${mode}`,
    oid: `2.16.840.1.101.3.4.1.${lastArc}`,
    keyOctets,
    mode,
    ivOctets,
    weak: false,
  }
}

/** Every cipher that we read. */
export const DECRYPTION_CIPHERS: readonly DecryptionCipher[] = [
  aes('cbc', 16),
  aes('cbc', 24),
  aes('cbc', 32),
  aes('gcm', 16),
  aes('gcm', 24),
  aes('gcm', 32),
  aes('ccm', 16),
  aes('ccm', 24),
  aes('ccm', 32),
  {
    // RFC 8103 §2.
    name: 'chacha20-poly1305',
    oid: '1.2.840.113549.1.9.16.3.18',
    keyOctets: 32,
    mode: 'chacha20-poly1305',
    ivOctets: 12,
    weak: false,
  },
  {
    name: 'des-ede3-cbc',
    oid: '1.2.840.113549.3.7',
    keyOctets: 24,
    mode: 'cbc',
    ivOctets: 8,
    weak: true,
  },
]
