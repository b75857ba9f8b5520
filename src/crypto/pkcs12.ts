/**
 * Private keys and certificates out of PKCS #12 (RFC 7292): `.p12` and `.pfx`.
 *
 *     PFX ── integrity ──▶ AuthenticatedSafe ── a ContentInfo each, some encrypted ──▶ bags
 *
 * Reads what OpenSSL 3, Windows, macOS, Java and NSS write today, and the old RC2-40 and 3DES files
 * that OpenSSL 3 refuses.
 *
 * @module
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { PosternError } from '../errors.ts'
import {
  type BerNode,
  CONTEXT_0,
  integerOf,
  isTagged,
  malformed,
  objectIdentifierOf,
  octetStringOf,
  partsOf,
  readBer,
} from './ber.ts'
import {
  decryptWithPassword,
  Password,
  unsupported,
  verifyMac,
  wrongPassword,
} from './password-based.ts'

/** What a key file holds. The keys are handles: their octets are not kept. */
export interface KeyMaterial {
  readonly privateKeys: readonly KeyObject[]
  /** DER, in the order of the file, unread. */
  readonly certificates: readonly Buffer[]
}

/**
 * Opens a PKCS #12 file.
 *
 * @param octets The file, at most 1 MiB.
 * @param password Left out is the same as empty, as many programs have it.
 * @throws {PosternError} `ERR_KEY_FILE_PASSWORD`, `ERR_KEY_FILE_MALFORMED`, `ERR_KEY_FILE_UNSUPPORTED`,
 *   `ERR_KEY_FILE_TOO_SLOW` (more than ten million iterations in all).
 */
export async function readPkcs12(octets: Buffer, password = ''): Promise<KeyMaterial> {
  const [version, authSafe, macData] = partsOf(readBer(octets), 2)
  if (integerOf(version) !== 3) throw unsupported('a PKCS #12 of another version than 3')
  const [type, content] = partsOf(authSafe, 2)
  if (objectIdentifierOf(type) !== DATA) throw unsupported('PKCS #12 under a signature')
  const safe = octetStringOf(partsOf(content, 1)[0])
  const opened = await openIntegrity(macData, safe, password)

  const found: Found = { privateKeys: [], certificates: [] }
  for (const contentInfo of partsOf(readBer(safe)))
    await readBags(await safeContents(contentInfo, opened), opened, found, 0)
  return found
}

interface Found {
  readonly privateKeys: KeyObject[]
  readonly certificates: Buffer[]
}

/** Finds the form of the password that the file was sealed with. */
async function openIntegrity(
  macData: BerNode | undefined,
  safe: Buffer,
  text: string,
): Promise<Password> {
  const password = new Password(text)
  if (!macData || (await verifyMac(macData, safe, password))) return password
  // Some programs take "no password" for no octets at all.
  const nothing = new Password(text, 'nothing')
  if (text === '' && (await verifyMac(macData, safe, nothing))) return nothing
  throw wrongPassword()
}

async function safeContents(contentInfo: BerNode, password: Password): Promise<BerNode> {
  const [type, content] = partsOf(contentInfo, 2)
  const [inner] = partsOf(content, 1)
  const oid = objectIdentifierOf(type)
  if (oid === DATA) return readBer(octetStringOf(inner))
  if (oid !== ENCRYPTED_DATA) throw unsupported('PKCS #12 encrypted to a public key')

  // EncryptedData (RFC 5652 §8): version, then type, algorithm and octets of the content.
  const [, algorithm, encrypted] = partsOf(partsOf(inner, 2)[1], 3)
  return readDecrypted(
    await decryptWithPassword(algorithm, octetStringOf(encrypted), password),
    readBer,
  )
}

async function readBags(bags: BerNode, password: Password, found: Found, depth: number) {
  for (const bag of partsOf(bags)) {
    const [type, value] = partsOf(bag, 2)
    const [inner] = isTagged(value, CONTEXT_0) ? partsOf(value, 1) : []
    if (!inner) throw malformed('a bag is empty')
    switch (objectIdentifierOf(type)) {
      case KEY_BAG:
        found.privateKeys.push(privateKeyFrom(inner.whole))
        break
      case SHROUDED_KEY_BAG:
        found.privateKeys.push(await decryptPrivateKey(inner, password))
        break
      case CERTIFICATE_BAG:
        addCertificate(inner, found)
        break
      case SAFE_CONTENTS_BAG:
        if (depth > 4) throw malformed('bags in bags')
        await readBags(inner, password, found, depth + 1)
        break
      default: // Revocation lists and secrets: nothing of ours.
    }
  }
}

function addCertificate(bag: BerNode, found: Found): void {
  const [type, value] = partsOf(bag, 2)
  if (objectIdentifierOf(type) !== X509_CERTIFICATE) return
  // A copy: whoever handed the file in may wipe it.
  found.certificates.push(Buffer.from(octetStringOf(partsOf(value, 1)[0])))
}

/**
 * Decrypts an EncryptedPrivateKeyInfo (RFC 5958 §3).
 *
 * @throws {PosternError} as `readPkcs12` does.
 */
export async function decryptPrivateKey(node: BerNode, password: Password): Promise<KeyObject> {
  const [algorithm, encrypted] = partsOf(node, 2)
  const octets = await decryptWithPassword(algorithm, octetStringOf(encrypted), password)
  try {
    return readDecrypted(octets, privateKeyFrom)
  } finally {
    octets.fill(0)
  }
}

/** @throws {PosternError} `ERR_KEY_FILE_UNSUPPORTED` for a kind of key that the runtime does not know. */
function privateKeyFrom(pkcs8: Buffer): KeyObject {
  partsOf(readBer(pkcs8), 3)
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  } catch {
    // The cause would be OpenSSL's word on a secret: it stays here.
    throw unsupported('a kind of private key that the runtime cannot read')
  }
}

/** What a wrong password decrypts to is not well formed: one outward error for both. */
function readDecrypted<T>(octets: Buffer, read: (octets: Buffer) => T): T {
  try {
    return read(octets)
  } catch (error) {
    if (error instanceof PosternError && error.code === 'ERR_KEY_FILE_MALFORMED')
      throw wrongPassword(error)
    throw error
  }
}

const DATA = '1.2.840.113549.1.7.1'
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6'
const KEY_BAG = '1.2.840.113549.1.12.10.1.1'
const SHROUDED_KEY_BAG = '1.2.840.113549.1.12.10.1.2'
const CERTIFICATE_BAG = '1.2.840.113549.1.12.10.1.3'
const SAFE_CONTENTS_BAG = '1.2.840.113549.1.12.10.1.6'
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1'
