/**
 * Loads a configuration: text in, checked plain data out, or all its faults at once.
 *
 *     file ── document ──▶ tree with places ── shape ──▶ parsed ── crossCheck, files ──▶ Config
 *                │                               │                      │
 *                └────────── faults ─────────────┴──────────────────────┴──▶ ConfigFaults
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { RuleSpec } from '../policy/rule.ts'
import { INBOUND_BY_DEFAULT, type InboundWish } from '../policy/treatment.ts'
import type {
  Config,
  Credentials,
  IdentityConfig,
  NextHopConfig,
  NextHops,
  TrustConfig,
} from './config.ts'
import { crossCheck } from './cross-check.ts'
import { directoryConfigOf } from './directory-options.ts'
import { type ConfigDocument, type Environment, readDocument } from './document.ts'
import { ConfigFaults, type ConfigPath, type Fault } from './fault.ts'
import { ConfigFiles } from './files.ts'
import { findingsIn } from './findings.ts'
import { checkBrackets } from './rule-checks.ts'
import { defaultWorkers, type ParsedConfig } from './schema.ts'
import { shapeOf } from './shape.ts'
import { certificateSourcesOf } from './source-checks.ts'

/** A configuration that may be started with. */
export interface LoadedConfig {
  readonly config: Config
  readonly warnings: readonly Fault[]
  /** Where `identities[0]` stands, for what is found out later. */
  readonly faultAt: ConfigDocument['faultAt']
}

/**
 * Loads a configuration.
 *
 * @param file Its path, as it is to be named in faults.
 * @param environment Where `${NAME}` is taken from.
 * @param now When certificates of listeners have to be valid.
 * @throws {ConfigFaults} `ERR_CONFIG` with everything that is wrong, also the warnings.
 */
export async function loadConfig(
  file: string,
  environment: Environment,
  now: Date = new Date(),
): Promise<LoadedConfig> {
  const document = readDocument(file, await textOf(file), environment)
  if (document.value === undefined) throw new ConfigFaults(document.faults, [])
  const shape = shapeOf(document)
  const at = findingsIn(document)
  const files = new ConfigFiles(dirname(resolve(file)), at)
  const wholeRules = !shape.faults.some(fault => fault.path.startsWith('rules'))
  const brackets = checkBrackets(document.value, at)
  const related = [...crossCheck(shape.salvaged, wholeRules, at), ...brackets]
  await files.check(shape.salvaged, now)
  const config = shape.parsed && (await assemble(shape.parsed, files))

  const findings = [...related, ...files.findings]
  const told = (severity: string): Fault[] =>
    findings.filter(finding => finding.severity === severity).map(finding => finding.fault)
  const faults = inOrder([...document.faults, ...shape.faults, ...told('fault')])
  const warnings = inOrder(told('warning'))
  if (config === undefined || faults.length > 0) throw new ConfigFaults(faults, warnings)
  return { config, warnings, faultAt: document.faultAt }
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const place = { file, line: 1, column: 1, path: '', value: '' }
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown reason'
    const message = code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`
    throw new ConfigFaults([{ ...place, message, advice: 'name another with --config FILE' }], [])
  }
}

async function assemble(parsed: ParsedConfig, files: ConfigFiles): Promise<Config> {
  const { hostname, domains, listen, relayFrom, limits, log } = parsed
  return {
    hostname,
    domains,
    listen,
    relayFrom,
    limits,
    log,
    tls: await tlsOf(parsed, files),
    auth: { users: await usersOf(parsed, files) },
    nextHop: await nextHopsOf(parsed, files),
    identities: await identitiesOf(parsed, files),
    certificates: await certificateSourcesOf(parsed.certificates, files),
    directory: directoryConfigOf(parsed.directory, path => files.absolute(path)),
    trust: trustOf(parsed, files),
    rules: parsed.rules.map(ruleOf),
    stamp: await stampOf(parsed, files),
    decryption: parsed.decryption,
    state: files.absolute(parsed.state),
    admin: parsed.admin,
    workers: parsed.workers ?? defaultWorkers(),
  }
}

async function tlsOf({ tls }: ParsedConfig, files: ConfigFiles): Promise<Config['tls']> {
  if (tls === undefined) return undefined
  const password = tls.password && (await files.secret(tls.password, ['tls', 'password']))
  return { certificate: files.absolute(tls.certificate), key: files.absolute(tls.key), password }
}

async function usersOf({ auth }: ParsedConfig, files: ConfigFiles): Promise<Credentials[]> {
  const users: Credentials[] = []
  for (const [index, user] of auth.users.entries())
    users.push(await credentialsOf(user, ['auth', 'users', index], files))
  return users
}

async function nextHopsOf(parsed: ParsedConfig, files: ConfigFiles): Promise<NextHops> {
  const hops: [string, NextHopConfig][] = []
  for (const [name, hop] of Object.entries(parsed.nextHop)) {
    const { host, port, tls, implicit, tlsName, connections } = hop
    const ca = hop.ca === undefined ? undefined : files.absolute(hop.ca)
    const auth = hop.auth && (await credentialsOf(hop.auth, ['nextHop', name, 'auth'], files))
    hops.push([name, { host, port, tls, implicit, tlsName, ca, auth, connections }])
  }
  return Object.fromEntries(hops) as NextHops
}

async function identitiesOf(parsed: ParsedConfig, files: ConfigFiles): Promise<IdentityConfig[]> {
  const identities: IdentityConfig[] = []
  for (const [index, identity] of parsed.identities.entries()) {
    const { password } = identity
    identities.push({
      files: files.absolute(identity.files),
      address: identity.address,
      password: password && (await files.secret(password, ['identities', index, 'password'])),
      digest: identity.digest,
      pss: identity.pss,
      configPath: `identities[${index}]`,
    })
  }
  return identities
}

function trustOf({ trust }: ParsedConfig, files: ConfigFiles): TrustConfig {
  const anchors = (trust?.anchors ?? []).map(anchor => files.absolute(anchor))
  return { anchors, revocation: trust?.revocation ?? 'off' }
}

async function stampOf({ stamp }: ParsedConfig, files: ConfigFiles): Promise<Config['stamp']> {
  const { key, subject } = stamp
  return {
    key: key && (await files.secret(key, ['stamp', 'key'])),
    subject: subject === 'off' ? undefined : subject,
  }
}

async function credentialsOf(
  { user, password }: Credentials,
  path: ConfigPath,
  files: ConfigFiles,
): Promise<Credentials> {
  return { user, password: await files.secret(password, [...path, 'password']) }
}

function ruleOf({ name, when, then }: ParsedConfig['rules'][number]): RuleSpec {
  const { sign, encrypt, signature, profile, otherwise = 'reject', encryptToAuthor } = then
  const outbound = { sign, encrypt, signature, profile, otherwise, encryptToAuthor }
  return { name, when, wish: { ...outbound, inbound: inboundOf(then) } }
}

/** What a rule leaves out is as it is where no rule matches. */
function inboundOf(then: ParsedConfig['rules'][number]['then']): InboundWish {
  const { decrypt, verify, onBadSignature, unauthenticated, strip } = INBOUND_BY_DEFAULT
  return {
    decrypt: then.decrypt ?? decrypt,
    verify: then.verify ?? verify,
    onBadSignature: then.onBadSignature ?? onBadSignature,
    unauthenticated: then.unauthenticated ?? unauthenticated,
    strip: then.strip ?? strip,
  }
}

/** In the order of the file, and what stands at one path only once: the first says why, the rest follows from it. */
function inOrder(faults: readonly Fault[]): Fault[] {
  const first = new Map<string, Fault>()
  for (const fault of faults) {
    const key = fault.path || JSON.stringify(fault)
    if (!first.has(key)) first.set(key, fault)
  }
  return [...first.values()].sort((a, b) => a.line - b.line || a.column - b.column)
}
