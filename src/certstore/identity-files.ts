/**
 * The files of our identities: which they are, what they hold, and everything that is wrong with them.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { Stats } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { SignatureWish } from '../crypto/algorithms.ts'
import { type KeyFile, readKeyFile } from '../crypto/key-file.ts'
import { type Certificate, parseCertificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'

/** Where identities come from: one entry of `identities:` in the configuration. */
export interface IdentitySource {
  /** Absolute path of a file, or of a folder: every .pem, .p12 and .pfx in it, sub-folders left out. */
  readonly files: string
  /** A mailbox, or `@example.test` for a whole domain; instead of the certificates' own addresses. */
  readonly address?: string | undefined
  /** Of PKCS #12 files and encrypted private keys. */
  readonly password?: string | undefined
  readonly digest?: SignatureWish['digest']
  readonly pss?: SignatureWish['pss']
  /** Where it stands in the configuration: `identities[0]`. */
  readonly configPath: string
}

/** Something about an identity that an operator has to know. */
export interface IdentityFault extends Complaint {
  readonly configPath: string
  /** Absolute. */
  readonly file: string
  /** `error`: something that was configured cannot sign. */
  readonly severity: 'error' | 'warning'
}

export interface Complaint {
  /** What is wrong. */
  readonly message: string
  /** What to do about it. */
  readonly advice: string
}

/** What one file holds. */
export interface IdentityFile {
  readonly source: IdentitySource
  /** Absolute. */
  readonly file: string
  readonly privateKeys: readonly KeyObject[]
  readonly certificates: readonly Certificate[]
  readonly faults: readonly IdentityFault[]
}

/** Reads every file of every source, in the order of the configuration and of their names. Never throws. */
export async function readIdentityFiles(
  sources: readonly IdentitySource[],
): Promise<readonly IdentityFile[]> {
  const files: IdentityFile[] = []
  for (const source of sources) {
    const { paths, inFolder, complaint } = await pathsOf(source.files)
    if (complaint)
      files.push({
        ...EMPTY,
        source,
        file: source.files,
        faults: [fault(source, source.files, complaint)],
      })
    files.push(...(await inLanes(paths, path => readIdentityFile(source, path, inFolder))))
  }
  return files
}

/** A fault of a file of a source. */
export function fault(
  { configPath }: IdentitySource,
  file: string,
  { message, advice }: Complaint,
  severity: IdentityFault['severity'] = 'error',
): IdentityFault {
  return { configPath, file, message, advice, severity }
}

interface Paths {
  readonly paths: readonly string[]
  readonly inFolder: boolean
  readonly complaint?: Complaint
}

async function pathsOf(path: string): Promise<Paths> {
  try {
    if (!(await stat(path)).isDirectory()) return { paths: [path], inFolder: false }
    const names = await readdir(path)
    const paths = names
      .filter(name => EXTENSIONS.has(extname(name).toLowerCase()))
      .sort()
      .map(name => join(path, name))
    return { paths, inFolder: true, ...(paths.length === 0 && { complaint: EMPTY_FOLDER }) }
  } catch (error) {
    return { paths: [], inFolder: false, complaint: unreadable(error) }
  }
}

async function readIdentityFile(
  source: IdentitySource,
  file: string,
  inFolder: boolean,
): Promise<IdentityFile> {
  try {
    const stats = await stat(file)
    if (!stats.isFile() || stats.size > MAX_OCTETS)
      return { ...EMPTY, source, file, faults: [fault(source, file, NO_KEY_FILE)] }
    const octets = await readFile(file)
    const found = await readKeyFile(octets, source.password)
    octets.fill(0)
    return judged(source, file, found, { stats, inFolder })
  } catch (error) {
    return { ...EMPTY, source, file, faults: [fault(source, file, unreadable(error))] }
  }
}

/** Reads the certificates, and gathers what is wrong with the file as a whole. */
function judged(
  source: IdentitySource,
  file: string,
  found: KeyFile,
  { stats, inFolder }: { stats: Stats; inFolder: boolean },
): IdentityFile {
  const faults = found.faults.map(error =>
    fault(source, file, { message: error.message, advice: ADVICE[error.code] ?? EXPORT_AGAIN }),
  )
  const certificates = found.certificates.flatMap(der => {
    try {
      return parseCertificate(der)
    } catch (error) {
      if (!(error instanceof PosternError)) throw error
      faults.push(fault(source, file, { message: error.message, advice: EXPORT_AGAIN }))
      return []
    }
  })
  // A damaged block may have been either; a password that is wrong hides the key alone in a PEM file.
  const damaged = faults.length > found.faults.length || found.faults.some(isDamage)
  const opened = found.format === 'pem' || found.faults.length === 0
  const { privateKeys } = found
  const authorities = inFolder && certificates.length > 0 && certificates.every(isAuthority)
  if (privateKeys.length === 0 && found.faults.length === 0 && !damaged && !authorities)
    faults.push(fault(source, file, NO_KEY))
  if (certificates.length === 0 && opened && !damaged)
    faults.push(fault(source, file, NO_CERTIFICATE))
  if (privateKeys.length > 0 && process.platform !== 'win32' && stats.mode & 0o077)
    faults.push(fault(source, file, readableByOthers(stats), 'warning'))
  return { source, file, privateKeys, certificates, faults }
}

function isAuthority(certificate: Certificate): boolean {
  return certificate.isCertificateAuthority
}

function isDamage({ code }: PosternError): boolean {
  return code === 'ERR_KEY_FILE_MALFORMED'
}

function unreadable(error: unknown): Complaint {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (typeof code !== 'string' || !code.startsWith('E')) throw error
  return code === 'ENOENT'
    ? { message: 'does not exist', advice: 'correct `files:`, or put the file there' }
    : { message: `cannot be read (${code})`, advice: 'let the user that Postern runs as read it' }
}

function readableByOthers({ mode }: Stats): Complaint {
  return {
    message: `its private key can be read by others (mode ${(mode & 0o777).toString(8)})`,
    advice: 'chmod 600, and give it to the user that Postern runs as',
  }
}

/** Works on a few at a time, so that neither file handles nor memory run out; results in order. */
async function inLanes<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  const lane = async () => {
    for (const [index, item] of entries) results[index] = await work(item)
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return results
}

const EXTENSIONS: ReadonlySet<string> = new Set(['.pem', '.p12', '.pfx'])
const MAX_OCTETS = 1024 * 1024
/** As many as the thread pool has threads. */
const LANES = 4
const EMPTY = { privateKeys: [], certificates: [] } as const

const EXPORT_AGAIN = 'export the identity again: private key, certificate and chain in one file'
const ADVICE: Readonly<Record<string, string>> = {
  ERR_KEY_FILE_PASSWORD_MISSING: 'give `password:` beside `files:`',
  ERR_KEY_FILE_PASSWORD: 'correct `password:`, which opens every file of this entry',
  ERR_KEY_FILE_UNSUPPORTED: 'export it again as PKCS #12 with AES-256, or convert it to PEM',
  ERR_KEY_FILE_TOO_SLOW: 'export it again with fewer iterations; 600,000 are plenty',
}
const NO_KEY_FILE: Complaint = {
  message: 'is no file, or larger than 1 MiB',
  advice: 'name a .pem, .p12 or .pfx file that holds one identity',
}
const EMPTY_FOLDER: Complaint = {
  message: 'the folder holds no .pem, .p12 or .pfx',
  advice: 'put identities there, or take the entry out',
}
const NO_KEY: Complaint = {
  message: 'holds no private key',
  advice: 'put private key, certificate and chain into one file',
}
const NO_CERTIFICATE: Complaint = {
  message: 'holds no certificate',
  advice: 'put the certificate and its chain into the same file as the private key',
}
