/**
 * What a configuration says of files: whether they are there, can be read, and fit together.
 *
 * @module
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { access, constants, readdir, readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type ConfigPath, printPath } from './fault.ts'
import type { Finding, Findings, PartialConfig } from './findings.ts'
import { filesOfSources } from './source-checks.ts'

/** Resolves paths, reads secrets, and collects what is wrong with them. */
export class ConfigFiles {
  readonly findings: Finding[] = []
  readonly #folder: string
  readonly #at: Findings
  readonly #secrets = new Map<string, Promise<string>>()

  /** @param folder That of the configuration. */
  constructor(folder: string, at: Findings) {
    this.#folder = folder
    this.#at = at
  }

  /** A path as absolute path. */
  absolute(path: string): string {
    return resolve(this.#folder, path)
  }

  /**
   * The value of a secret: of `file:PATH` the content of the file, without the line end behind it.
   * Empty where there is a fault, which is told once however often the secret is wanted.
   */
  secret(written: string, path: ConfigPath): Promise<string> {
    const name = printPath(path)
    const secret = this.#secrets.get(name) ?? this.#readSecret(written, path)
    this.#secrets.set(name, secret)
    return secret
  }

  /** Looks at every file that the configuration names and that is used. */
  async check(config: PartialConfig, now: Date): Promise<void> {
    for (const [index, identity] of (config.identities ?? []).entries()) {
      await this.#checkReadable(identity?.files, ['identities', index, 'files'])
      await this.#checkSecret(identity?.password, ['identities', index, 'password'])
    }
    for (const [name, nextHop] of Object.entries(config.nextHop ?? {})) {
      await this.#checkAuthorities(nextHop?.ca, ['nextHop', name, 'ca'])
      await this.#checkSecret(nextHop?.auth?.password, ['nextHop', name, 'auth', 'password'])
    }
    for (const [index, user] of (config.auth?.users ?? []).entries())
      await this.#checkSecret(user?.password, ['auth', 'users', index, 'password'])
    for (const { what, value, path } of filesOfSources(config.certificates ?? []))
      await this.#checkSource(what, value, path)
    for (const [index, anchor] of (config.trust?.anchors ?? []).entries())
      await this.#checkReadable(anchor, ['trust', 'anchors', index])
    await this.#checkStampKey(config.stamp?.key)
    for (const [index, pin] of (config.directory?.pins ?? []).entries())
      if (pin && 'issuer' in pin)
        await this.#checkAuthorities(pin.issuer, ['directory', 'pins', index, 'issuer'])
    await this.#checkState(config.state)
    if (config.tls) await this.#checkTls(config.tls, now)
  }

  #checkSource(what: string, value: string, path: ConfigPath): Promise<void> {
    if (what === 'secret') return this.#checkSecret(value, path)
    return what === 'folder'
      ? this.#checkReadable(value, path)
      : this.#checkAuthorities(value, path)
  }

  async #readSecret(written: string, path: ConfigPath): Promise<string> {
    if (!written.startsWith('file:')) return written
    const file = written.slice('file:'.length)
    const octets = await this.#read(file, path)
    const secret = octets?.toString('utf8').replace(/\r?\n$/, '')
    if (secret === '') this.#fault(path, 'is a file that is empty', 'write the secret into it')
    return secret ?? ''
  }

  async #checkSecret(written: string | undefined, path: ConfigPath): Promise<void> {
    if (written !== undefined) await this.secret(written, path)
  }

  /** Whoever guesses it can imitate every stamp, so nobody must be able to try them all. */
  async #checkStampKey(written: string | undefined): Promise<void> {
    if (written === undefined) return
    const path = ['stamp', 'key']
    const key = await this.secret(written, path)
    if (key !== '' && key.length < LEAST_STAMP_KEY)
      this.#fault(
        path,
        `is shorter than ${LEAST_STAMP_KEY} characters`,
        'take what `openssl rand -base64 32` prints, or leave it out: one is made then',
      )
  }

  async #checkReadable(file: string | undefined, path: ConfigPath): Promise<void> {
    if (file === undefined) return
    try {
      const full = this.absolute(file)
      if ((await stat(full)).isDirectory()) await readdir(full)
      else await access(full, constants.R_OK)
    } catch (error) {
      this.#unreadable(error, path)
    }
  }

  async #checkAuthorities(file: string | undefined, path: ConfigPath): Promise<void> {
    if (file === undefined) return
    const pem = await this.#read(file, path)
    if (pem && certificateOf(pem) === undefined)
      this.#fault(path, 'has no certificate that can be read', 'name a PEM file with certificates')
  }

  async #checkState(folder: string | undefined): Promise<void> {
    if (folder === undefined) return
    const found = await stat(this.absolute(folder)).catch(() => undefined)
    if (found && !found.isDirectory())
      this.#fault(['state'], 'is no folder', 'name a folder; it is made where there is none')
  }

  async #checkTls(tls: NonNullable<PartialConfig['tls']>, now: Date): Promise<void> {
    const [certificatePem, keyPem] = await Promise.all([
      tls.certificate && this.#read(tls.certificate, ['tls', 'certificate']),
      tls.key && this.#read(tls.key, ['tls', 'key']),
    ])
    const certificate = certificatePem ? certificateOf(certificatePem) : undefined
    if (certificatePem && certificate === undefined)
      this.#fault(['tls', 'certificate'], 'has no certificate that can be read', 'name a PEM file')
    if (certificate) this.#checkTime(certificate, now)
    if (!keyPem) return
    const password = tls.password && (await this.secret(tls.password, ['tls', 'password']))
    const key = privateKeyOf(keyPem, password)
    if (key === undefined)
      this.#fault(
        ['tls', 'key'],
        'has no private key that can be read',
        'name a PEM file; tls.password is its password where it has one',
      )
    else if (certificate && !certificate.checkPrivateKey(key))
      this.#fault(
        ['tls', 'key'],
        'belongs to another certificate',
        'name the private key that tls.certificate was made for',
      )
  }

  #checkTime(certificate: X509Certificate, now: Date): void {
    const path = ['tls', 'certificate']
    const { validFromDate, validToDate } = certificate
    const day = validToDate.toISOString().slice(0, 10)
    if (now > validToDate) this.#fault(path, `has expired on ${day}`, 'renew it')
    else if (now < validFromDate)
      this.#fault(path, `is not valid before ${validFromDate.toISOString()}`, 'look at the clock')
    else if (validToDate.getTime() - now.getTime() < SOON_MS)
      this.findings.push(this.#at.warning(path, `expires on ${day}`, 'renew it'))
  }

  async #read(file: string, path: ConfigPath): Promise<Buffer | undefined> {
    try {
      const full = this.absolute(file)
      if ((await stat(full)).size > MAX_OCTETS) throw new Error('too large')
      return await readFile(full)
    } catch (error) {
      this.#unreadable(error, path)
      return undefined
    }
  }

  #unreadable(error: unknown, path: ConfigPath): void {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    const advice =
      code === 'EACCES'
        ? 'let the user that Postern runs as read it'
        : 'paths are relative to the folder of the configuration'
    this.#fault(path, REASONS[code] ?? 'cannot be read', advice)
  }

  #fault(path: ConfigPath, message: string, advice: string): void {
    this.findings.push(this.#at.fault(path, message, advice))
  }
}

function certificateOf(pem: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}

function privateKeyOf(pem: Buffer, passphrase: string | undefined) {
  try {
    return createPrivateKey({ key: pem, ...(passphrase && { passphrase }) })
  } catch {
    return undefined
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist',
  EACCES: 'may not be read',
  EISDIR: 'is a folder',
}
const MAX_OCTETS = 4 * 1024 * 1024
const LEAST_STAMP_KEY = 32
const SOON_MS = 14 * 24 * 3_600_000
