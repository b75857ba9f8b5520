/**
 * Private keys and certificates out of files: PEM in any order, DER, and PKCS #12.
 *
 * What a file is, its content tells, not its name.
 *
 * @module
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { PosternError } from '../errors.ts'
import { malformed, readBer, SEQUENCE } from './ber.ts'
import { Password, wrongPassword } from './password-based.ts'
import { decryptPrivateKey, type KeyMaterial, readPkcs12 } from './pkcs12.ts'

/** What could be read of a key file, and every fault that was met on the way. */
export interface KeyFile extends KeyMaterial {
  readonly format: 'pem' | 'binary'
  readonly faults: readonly PosternError[]
}

/**
 * Reads a key file: PEM (PKCS #8 plain or encrypted, traditional RSA or EC, certificates), one DER
 * certificate, or PKCS #12.
 *
 * Never throws for what stands in the file. Codes of the faults: `ERR_KEY_FILE_PASSWORD_MISSING`,
 * `ERR_KEY_FILE_PASSWORD`, `ERR_KEY_FILE_MALFORMED`, `ERR_KEY_FILE_UNSUPPORTED`, `ERR_KEY_FILE_TOO_SLOW`.
 *
 * @param password Of the PKCS #12 or of the encrypted private key.
 */
export async function readKeyFile(octets: Buffer, password?: string): Promise<KeyFile> {
  const privateKeys: KeyObject[] = []
  const certificates: Buffer[] = []
  const faults: PosternError[] = []
  const attempt = async (read: () => Promise<KeyMaterial> | KeyMaterial) => {
    try {
      const found = await read()
      privateKeys.push(...found.privateKeys)
      certificates.push(...found.certificates)
    } catch (error) {
      faults.push(asFault(error, password))
    }
  }

  const format = octets.includes(PEM_BEGIN) ? 'pem' : 'binary'
  if (format === 'binary') await attempt(() => readBinary(octets, password))
  for (const block of pemBlocks(octets)) await attempt(() => readBlock(block, password))
  return { format, privateKeys, certificates, faults }
}

interface PemBlock {
  readonly label: string
  /** From its begin line to its end line; undefined where the end line is missing. */
  readonly text: Buffer | undefined
}

/** Every block of a PEM text, whatever stands between them (RFC 7468 §2). Linear in the text. */
function* pemBlocks(octets: Buffer): Generator<PemBlock> {
  let at = octets.indexOf(PEM_BEGIN)
  while (at >= 0) {
    const next = octets.indexOf(PEM_BEGIN, at + PEM_BEGIN.length)
    const text = octets.subarray(at, next < 0 ? octets.length : next)
    const labelEnd = text.indexOf('-----', PEM_BEGIN.length)
    const label = text.toString('latin1', PEM_BEGIN.length, Math.min(labelEnd, MAX_LABEL))
    const ending = `-----END ${label}-----`
    const end = text.indexOf(ending)
    yield { label, text: end < 0 ? undefined : text.subarray(0, end + ending.length) }
    at = next
  }
}

async function readBlock(block: PemBlock, password: string | undefined): Promise<KeyMaterial> {
  const { label, text } = block
  const kind = PEM_KINDS[label]
  if (kind === undefined) return NOTHING
  if (!text) throw malformed(`the block ${label} has no end line`)
  if (kind === 'certificate') return { ...NOTHING, certificates: [derOf(text)] }
  if (kind === 'plain-key') return { ...NOTHING, privateKeys: [plainKey(text, password)] }
  if (password === undefined) throw passwordMissing()
  const node = readBer(derOf(text))
  return { ...NOTHING, privateKeys: [await decryptPrivateKey(node, new Password(password))] }
}

/** A PKCS #8 or traditional key; the latter may be encrypted by its own old means (RFC 1421 §4.6). */
function plainKey(text: Buffer, password: string | undefined): KeyObject {
  const encrypted = text.includes('Proc-Type: 4,ENCRYPTED')
  if (encrypted && password === undefined) throw passwordMissing()
  try {
    return createPrivateKey(encrypted ? { key: text, passphrase: password! } : { key: text })
  } catch {
    // The cause would be OpenSSL's word on a secret: it stays here.
    if (encrypted) throw wrongPassword()
    throw malformed('a private key that the runtime cannot read')
  }
}

async function readBinary(octets: Buffer, password: string | undefined): Promise<KeyMaterial> {
  const { children } = readBer(octets)
  // A certificate begins with the SEQUENCE that is signed, a PFX with its version.
  if (children[0]?.identifier === SEQUENCE)
    return { ...NOTHING, certificates: [Buffer.from(octets)] }
  if (children.length < 2) throw malformed('neither PEM, nor a certificate, nor PKCS #12')
  return readPkcs12(octets, password)
}

function derOf(text: Buffer): Buffer {
  const body = text.toString('latin1', text.indexOf('\n'), text.lastIndexOf('-----END '))
  const base64 = body.replaceAll(/[\t\r\n ]/g, '')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0)
    throw malformed('a PEM block is not base64')
  const der = Buffer.from(base64, 'base64')
  readBer(der)
  return der
}

function asFault(error: unknown, password: string | undefined): PosternError {
  if (!(error instanceof PosternError)) throw error
  return error.code === 'ERR_KEY_FILE_PASSWORD' && password === undefined
    ? passwordMissing()
    : error
}

function passwordMissing(): PosternError {
  return new PosternError(
    'ERR_KEY_FILE_PASSWORD_MISSING',
    'permanent',
    'the key file is encrypted, and no password is given',
  )
}

const PEM_BEGIN = '-----BEGIN '
const MAX_LABEL = 64
const NOTHING: KeyMaterial = { privateKeys: [], certificates: [] }

/** What is not named here (parameters, requests, revocation lists) is passed over. */
const PEM_KINDS: Readonly<Record<string, 'certificate' | 'plain-key' | 'encrypted-key'>> = {
  CERTIFICATE: 'certificate',
  'X509 CERTIFICATE': 'certificate',
  'PRIVATE KEY': 'plain-key',
  'RSA PRIVATE KEY': 'plain-key',
  'EC PRIVATE KEY': 'plain-key',
  'ENCRYPTED PRIVATE KEY': 'encrypted-key',
}
