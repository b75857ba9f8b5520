/**
 * Certificates of other people in files and folders.
 *
 *     folder ──▶ files ──▶ certificates ──▶ by match key        watched: what changes is read again
 *
 * @module
 */
import { type FSWatcher, watch } from 'node:fs'
import { access, constants, readdir, readFile, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Log, silentLog } from '../log.ts'
import type { Mailbox } from '../mail/address.ts'
import { mailboxKeys } from './bearing.ts'
import { readCertificateFileInTurns } from './certificate-file.ts'
import { Pace } from './pace.ts'
import { type CertificateResolver, CertificateSourceUnavailable, type Found } from './resolver.ts'

/** Settings of a source of files. */
export interface FilesOptions {
  /** A file, or a folder whose .pem .crt .cer .der .p7b .p7c .sst are read. Absolute. */
  readonly files: string
  /** Default `files:` and the path. */
  readonly name?: string
  readonly log?: Log
  /**
   * Milliseconds after which the dates of the files are looked at where the folder cannot be watched;
   * ten times as long where it can. Default 5 s.
   */
  readonly rescanMs?: number
  /** Milliseconds since 1970, for telling what has expired. Default `Date.now`. */
  readonly clock?: () => number
}

/** One file, as it was when it was read. */
export interface CertificateFileReport {
  /** Absolute. */
  readonly file: string
  readonly certificates: readonly Certificate[]
  /** Of those, the ones whose time is over: listed, never chosen. */
  readonly expired: readonly Certificate[]
  readonly faults: readonly string[]
}

/** Opens a source of files; they are read before the first answer. Never throws. */
export function openFiles(options: FilesOptions): FilesResolver {
  return new FilesResolver(options)
}

/** See `openFiles`. */
export class FilesResolver implements CertificateResolver {
  readonly name: string
  readonly #path: string
  readonly #log: Log
  readonly #rescanMs: number
  readonly #clock: () => number
  #known: ReadonlyMap<string, KnownFile> = new Map()
  #index: Index = EMPTY_INDEX
  #failure: Error | undefined
  /** A file was changed so lately that it may not be all there yet. */
  #isUnsettled = false
  #scan: Promise<void> | undefined
  #scannedAt = Number.NEGATIVE_INFINITY
  /** Changes that we were told of, and how many of them the last scan has seen. */
  #changes = 1
  #seen = 0
  #watcher: FSWatcher | undefined
  /** What is watched: a watch stays with it, also where something else has taken its place. */
  #watched: string | undefined
  #closed = false

  constructor({ files, name, log = silentLog, rescanMs = 5_000, clock = Date.now }: FilesOptions) {
    this.name = name ?? `files:${files}`
    this.#path = files
    this.#log = log
    this.#rescanMs = rescanMs
    this.#clock = clock
    // Authorities are wanted also where the first answer comes from another source.
    void this.#rescan()
  }

  /** Everything that is there for a mailbox, as of now: what was dropped in a moment ago counts. */
  async find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]> {
    await this.#ready(signal)
    const found = this.#index.byKey.get(mailbox.matchKey) ?? []
    // What was not looked at may hold what was asked for.
    const { unread } = this.#index
    if (found.length === 0 && unread) throw this.#silence(new Error(`${unread} was not read`))
    return found.map(certificate => ({ certificate, source: this.name, via: 'address' as const }))
  }

  /**
   * Every certificate that is no authority's, whatever addresses it bears.
   * @throws {CertificateSourceUnavailable} as `find` does; and where there is none, and something that
   *   could be one cannot be read.
   */
  async everything(signal: AbortSignal): Promise<readonly Certificate[]> {
    await this.#ready(signal)
    const { others } = this.#index
    const faulty = [...this.#known.values()].find(({ faults }) => faults.length > 0)
    if (others.length === 0 && faulty) throw this.#silence(new Error(faulty.faults[0]))
    return others
  }

  intermediates(): readonly Certificate[] {
    return this.#index.authorities
  }

  /** What lies there, file by file. */
  async list(): Promise<readonly CertificateFileReport[]> {
    await this.#refresh()
    const now = this.#clock()
    return [...this.#known.values()].map(({ file, certificates, faults }) => ({
      file,
      certificates,
      expired: certificates.filter(({ notAfter }) => notAfter.getTime() < now),
      faults,
    }))
  }

  close(): void {
    this.#closed = true
    this.#watcher?.close()
    this.#watcher = undefined
  }

  async #ready(signal: AbortSignal): Promise<void> {
    if (this.#closed || signal.aborted) throw this.#silence(signal.reason)
    await this.#refresh()
    if (this.#failure) throw this.#silence(this.#failure)
  }

  /** A change that we were told of is waited for; a look at the dates goes on behind the answer. */
  async #refresh(): Promise<void> {
    if (this.#failure || this.#isUnsettled) await this.#rescan()
    // The scan that runs may have begun before the change: then one more is needed, and not another.
    for (let turn = 0; turn < 2 && this.#seen !== this.#changes; turn++) await this.#rescan()
    const patienceMs = this.#watcher ? this.#rescanMs * 10 : this.#rescanMs
    if (performance.now() - this.#scannedAt > patienceMs) void this.#rescan()
  }

  /** One scan at a time; whoever comes meanwhile waits for the one that runs. */
  #rescan(): Promise<void> {
    this.#scan ??= this.#scanOnce().finally(() => {
      this.#scan = undefined
    })
    return this.#scan
  }

  async #scanOnce(): Promise<void> {
    // Watched before it is read: what changes while we read is read again.
    await this.#watch()
    const changes = this.#changes
    try {
      const files = await readChanged(await pathsOf(this.#path), this.#known)
      const isKnown = isSame(files, this.#known)
      const index = isKnown ? this.#index : await indexOf([...files.values()])
      // Not before: whoever asks meanwhile must not be answered from an index without them.
      this.#failure = undefined
      this.#isUnsettled = [...files.values()].some(({ before }) => before)
      if (isKnown) return
      this.#tell(files)
      this.#index = index
      this.#known = files
    } catch (error) {
      this.#failure = error as Error
      this.#log.warn('certificate-files-unreadable', { source: this.name, reason: String(error) })
    } finally {
      this.#seen = changes
      this.#scannedAt = performance.now()
    }
  }

  /** Without a watch (network file systems, no handles left) the dates of files do. */
  async #watch(): Promise<void> {
    const identity = await identityOf(this.#path)
    if (this.#closed || (this.#watcher && this.#watched === identity)) return
    this.#watcher?.close()
    this.#watched = identity
    try {
      const watcher = watch(this.#path, { persistent: false }, () => {
        this.#changes++
      })
      watcher.on('error', () => {
        watcher.close()
        if (this.#watcher === watcher) this.#watcher = undefined
      })
      this.#watcher = watcher
    } catch {
      this.#watcher = undefined
    }
  }

  #tell(files: ReadonlyMap<string, KnownFile>): void {
    const now = this.#clock()
    for (const known of files.values()) {
      if (this.#known.get(known.file)?.version === known.version) continue
      const { file, certificates, faults } = known
      const expired = certificates.filter(({ notAfter }) => notAfter.getTime() < now).length
      const fields = { source: this.name, file, certificates: certificates.length, expired }
      if (faults.length > 0)
        this.#log.warn('certificate-file-faults', { ...fields, faults: faults.slice(0, MAX_TOLD) })
      else this.#log.info('certificate-file-read', fields)
    }
  }

  #silence(cause: unknown): CertificateSourceUnavailable {
    return new CertificateSourceUnavailable(this.name, { cause })
  }
}

/** Inodes are used again; with the date of birth there is one of each. */
function identityOf(path: string): Promise<string> {
  return stat(path).then(
    ({ dev, ino, birthtimeMs }) => `${dev} ${ino} ${birthtimeMs}`,
    () => '',
  )
}

/** A file and the date and size by which we see that it has changed. */
interface KnownFile {
  readonly file: string
  readonly version: string
  /** What stood there before, where it may still be written: those count beside those it names now. */
  readonly before?: readonly Certificate[]
  /** Nobody knows who stands in it. */
  readonly isUnread?: boolean
  readonly certificates: readonly Certificate[]
  readonly faults: readonly string[]
}

interface Index {
  readonly byKey: ReadonlyMap<string, readonly Certificate[]>
  readonly authorities: readonly Certificate[]
  readonly others: readonly Certificate[]
  /** A file that nobody knows who stands in. */
  readonly unread?: string | undefined
}

async function pathsOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) {
    await access(path, constants.R_OK)
    return [path]
  }
  const names = await readdir(path)
  return names
    .filter(name => EXTENSIONS.has(extname(name).toLowerCase()) && !name.startsWith('.'))
    .sort()
    .map(name => join(path, name))
}

/** Reads what is new or has changed. A file that vanishes meanwhile is not there. */
async function readChanged(
  paths: readonly string[],
  known: ReadonlyMap<string, KnownFile>,
): Promise<Map<string, KnownFile>> {
  const files = new Map<string, KnownFile>()
  const queue = paths.values()
  const lane = async () => {
    for (const path of queue) {
      const file = await readIfChanged(path, known.get(path))
      if (file) files.set(path, file)
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return new Map(paths.flatMap(path => (files.has(path) ? [[path, files.get(path)!]] : [])))
}

async function readIfChanged(
  file: string,
  known: KnownFile | undefined,
): Promise<KnownFile | undefined> {
  try {
    const { mtimeMs, ctimeMs, ino, size } = await stat(file)
    const version = `${mtimeMs} ${ctimeMs} ${ino} ${size}`
    const isSettled = !known || Math.abs(Date.now() - mtimeMs) > SETTLE_MS
    if (known?.version === version && !(known.before && isSettled)) return known
    const now = { file, version }
    if (size > MAX_OCTETS)
      return { ...now, isUnread: true, certificates: [], faults: ['is larger than 32 MiB'] }
    const { certificates, faults } = await readCertificateFileInTurns(await readFile(file))
    if (isSettled) return { ...now, certificates, faults }
    const before = known.before ?? known.certificates
    const named = new Set(certificates.map(({ fingerprint }) => fingerprint))
    const kept = before.filter(({ fingerprint }) => !named.has(fingerprint))
    return { ...now, before, certificates: [...certificates, ...kept], faults }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') return undefined
    // What may pass (no handles left, a disk that fails) leaves the answer incomplete: that is silence.
    if (code !== 'EACCES' && code !== 'EISDIR') throw error
    const faults = [`cannot be read (${code})`]
    if (code === 'EISDIR') return { file, version: code, certificates: [], faults }
    // Whoever it names, or named before, is not "none" because we may not look.
    return { file, version: code, isUnread: true, certificates: known?.certificates ?? [], faults }
  }
}

function isSame(one: ReadonlyMap<string, KnownFile>, other: ReadonlyMap<string, KnownFile>) {
  return one.size === other.size && [...one].every(([path, known]) => other.get(path) === known)
}

async function indexOf(files: readonly KnownFile[]): Promise<Index> {
  const byKey = new Map<string, Certificate[]>()
  const authorities: Certificate[] = []
  const others: Certificate[] = []
  const seen = new Set<string>()
  const pace = new Pace()
  for (const { certificates } of files)
    for (const certificate of certificates) {
      if (pace.isOver) await pace.rest()
      const { fingerprint } = certificate
      if (seen.has(fingerprint)) continue
      seen.add(fingerprint)
      if (certificate.isCertificateAuthority) authorities.push(certificate)
      else others.push(certificate)
      for (const key of new Set(mailboxKeys(certificate))) {
        const known = byKey.get(key)
        if (known) known.push(certificate)
        else byKey.set(key, [certificate])
      }
    }
  const unread = files.find(({ isUnread }) => isUnread)?.file
  return { byKey, authorities, others, unread }
}

const EXTENSIONS: ReadonlySet<string> = new Set([
  '.pem',
  '.crt',
  '.cer',
  '.der',
  '.p7b',
  '.p7c',
  '.sst',
])
/** Milliseconds without a change after which a file counts as written. */
const SETTLE_MS = 1_000
const MAX_OCTETS = 32 * 1024 * 1024
/** As many as the thread pool has threads. */
const LANES = 4
/** Faults of one file in one line of the log. */
const MAX_TOLD = 20
const EMPTY_INDEX: Index = { byKey: new Map(), authorities: [], others: [] }
