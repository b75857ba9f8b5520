/**
 * Makes the house from a configuration: the one place where its rooms are joined.
 *
 * @module
 */
import { createHash, createPrivateKey, timingSafeEqual } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { BlockList, isIPv6 } from 'node:net'
import { join } from 'node:path'
import { createDirectory, type Directory } from '../certstore/directory.ts'
import type { Fetch } from '../certstore/fetch.ts'
import type { Harvested } from '../certstore/harvested.ts'
import { type Identities, type IdentityFault, loadIdentities } from '../certstore/identities.ts'
import { createKeyring } from '../certstore/keyring.ts'
import type { Pin } from '../certstore/pins.ts'
import { createSignerTrust, type SignerTrust } from '../certstore/signer-trust.ts'
import { resolversFor } from '../certstore/sources.ts'
import { openSqliteStore } from '../certstore/store.ts'
import { readTrust, readTrustFiles } from '../certstore/trust.ts'
import type { Trust } from '../certstore/validate.ts'
import type { Config, Credentials, NextHopConfig, TlsConfig } from '../config/config.ts'
import { createGateway } from '../gateway/gateway.ts'
import type { InboundParts } from '../gateway/inbound.ts'
import { type Log, visible } from '../log.ts'
import { ContentWriter, contentStore } from '../mail/content.ts'
import { compileRules } from '../policy/rule.ts'
import { openLedger } from '../smtp/ledger.ts'
import type { ListenerSettings } from '../smtp/listener.ts'
import { createNextHop, type NextHop } from '../smtp/next-hop.ts'
import type { Client, House } from '../smtp/transaction.ts'
import { loadStampKey } from './stamp-key.ts'

/** A house that is ready to serve a listener. */
export interface Assembly {
  readonly house: House
  readonly listener: ListenerSettings
  /** What is wrong with identities; they do not stop the gateway. */
  readonly identityFaults: readonly IdentityFault[]
  /** Says QUIT to the next hops and closes what is open. */
  close(): Promise<void>
}

/** Joins the rooms as the configuration says. */
export async function assemble(config: Config, log: Log): Promise<Assembly> {
  mkdirSync(config.state, { recursive: true, mode: 0o700 })
  const { identities, faults } = await loadIdentities(config.identities, new Date())
  const others = await directoryOf(config, { log, keepsHarvest: true })
  for (const fault of others.faults) log.warn('trust-fault', { fault: visible(fault) })
  const { directory, harvested } = others
  const hold = holdFor(config)
  const ledger = openLedger(join(config.state, 'ledger.sqlite'), Date.now)
  ledger.forget()
  const nextHops = new Map<string, NextHop>()
  for (const [name, settings] of Object.entries(config.nextHop))
    nextHops.set(
      name,
      createNextHop({ ...nextHopSettings(settings), name, hostname: config.hostname }, log),
    )

  const house = createGateway({
    hostname: config.hostname,
    domains: new Set(config.domains),
    rules: compileRules(config.rules),
    identities,
    directory,
    nextHops,
    ledger,
    harvested,
    inbound: inboundParts(config, identities, others.signerTrust, hold),
    stamping: {
      hostname: config.hostname,
      key: await loadStampKey(config.state, config.stamp.key),
      tags: config.stamp.subject,
    },
    mayRelay: relayTest(config.relayFrom),
    limits: {
      hops: config.limits.hops,
      headerSection: { octets: config.limits.headerSection, fields: config.limits.headerFields },
    },
    addressForLog: addressForLog(config.log.addresses),
    now: () => new Date(),
    log,
  })
  return {
    house,
    listener: listenerSettings(config, hold),
    identityFaults: faults,
    async close() {
      await Promise.all([...nextHops.values()].map(nextHop => nextHop.close()))
      directory.close()
      ledger.close()
    },
  }
}

/** What is known of other people's certificates. */
export interface Others {
  readonly directory: Directory
  readonly signerTrust: SignerTrust
  /** What `signerTrust` believes by. */
  readonly trust: Trust
  /** The same with something that is otherwise, for those who ask what that would change. */
  signerTrustWith(this: void, otherwise: Partial<Trust>): SignerTrust
  /** Where certificates that signed mail brings are kept, if they are. */
  readonly harvested: Harvested | undefined
  readonly faults: readonly string[]
}

/** Who asks about other people's certificates. */
export interface Asking {
  readonly log?: Log | undefined
  /** How revocation services are reached; default: in the public Internet alone. */
  readonly fetch?: Fetch | undefined
  /** Makes the store of the harvest where there is none; who only asks leaves no file behind. */
  readonly keepsHarvest?: boolean
}

/** Where certificates of others come from, and whom to believe about them. */
export async function directoryOf(
  config: Config,
  { log, fetch, keepsHarvest = false }: Asking = {},
): Promise<Others> {
  const file = certificateStoreFile(config)
  const { trust, faults } = await readTrust(config.trust.anchors, config.trust.revocation, fetch)
  const { devices, cache } = config.directory
  const pins = await pinsOf(config)
  const { inOrder, harvested } = resolversFor(config.certificates, {
    store: () => openSqliteStore(keepsHarvest || existsSync(file) ? file : ':memory:'),
    ownDomains: new Set(config.domains),
    cache,
    ...(log && { log }),
  })
  const choosing = { devices, pins: pins.map(({ pin }) => pin) }
  const signerTrustWith = (otherwise: Partial<Trust>): SignerTrust =>
    createSignerTrust({ ...trust, ...otherwise }, () => new Date(), inOrder)
  return {
    directory: createDirectory(inOrder, trust, () => new Date(), choosing),
    signerTrust: signerTrustWith({}),
    trust,
    signerTrustWith,
    harvested,
    faults: [...faults, ...pins.flatMap(one => one.faults)],
  }
}

/** Pins, and the authorities that they name. */
function pinsOf({ directory: { pins } }: Config) {
  return Promise.all(
    pins.map(async (pin): Promise<{ pin: Pin; faults: readonly string[] }> => {
      if ('fingerprint' in pin) return { pin, faults: [] }
      const { anchors: authorities, faults } = await readTrustFiles([pin.issuer])
      return { pin: { address: pin.address, authorities }, faults }
    }),
  )
}

/** Where harvested certificates are kept. */
export function certificateStoreFile({ state }: Pick<Config, 'state'>): string {
  return join(state, 'certificates.sqlite')
}

/** Where contents are held, those that come in and those that are taken out of a layer. */
export function holdFor({ limits }: Config): () => ContentWriter {
  const store = contentStore({
    memoryPerMessageOctets: limits.memoryPerMessage,
    memoryOctets: limits.memory,
  })
  return () => new ContentWriter(store)
}

/** What reading inbound mail needs; `explain` reads it in the same way. */
export function inboundParts(
  { decryption, limits }: Pick<Config, 'decryption' | 'limits'>,
  identities: Identities,
  signerTrust: SignerTrust,
  hold: () => ContentWriter,
): InboundParts {
  return {
    keyring: createKeyring(identities, decryption.domainKeys),
    signerTrust,
    hold,
    tripleDes: decryption.tripleDes,
    inflatedOctets: limits.message,
  }
}

/** The configuration in the words of the listener. */
function listenerSettings(config: Config, hold: () => ContentWriter): ListenerSettings {
  const { limits, auth, tls } = config
  return {
    hostname: config.hostname,
    listen: config.listen,
    ...(tls && { tls: { certificate: readFileSync(tls.certificate), key: keyOf(tls) } }),
    ...(auth.users.length > 0 && { authenticate: authenticator(auth.users) }),
    limits: {
      messageOctets: limits.message,
      recipients: limits.recipients,
      connections: limits.connections,
      connectionsPerAddress: limits.connectionsPerAddress,
      junkCommands: limits.junkCommands,
      errors: limits.errors,
      commandMs: limits.command,
      dataOctetsPerSecond: limits.dataRate,
      sessionMs: limits.session,
    },
    tellsWords: config.log.addresses === 'full',
    hold,
  }
}

function keyOf({ key, password }: TlsConfig): string {
  const read = readFileSync(key)
  if (password === undefined) return read.toString()
  const opened = createPrivateKey({ key: read, passphrase: password })
  return opened.export({ format: 'pem', type: 'pkcs8' }).toString()
}

function nextHopSettings({ ca, ...settings }: NextHopConfig) {
  return { ...settings, ca: ca === undefined ? undefined : readFileSync(ca, 'utf8') }
}

/** Whether a client may send outbound: it stands in `relayFrom`, or has authenticated. */
export function relayTest(
  relayFrom: readonly string[],
): (client: Pick<Client, 'address' | 'user'>) => boolean {
  const networks = new BlockList()
  for (const entry of relayFrom) {
    const [address, prefix] = entry.split('/') as [string, string?]
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) networks.addAddress(address, family)
    else networks.addSubnet(address, Number(prefix), family)
  }
  // A session asks for each recipient; its address does not change.
  const known = new WeakMap<object, boolean>()
  return client => {
    const { user, address } = client
    if (user !== undefined) return true
    const asked = known.get(client)
    if (asked !== undefined) return asked
    const listed = networks.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
    known.set(client, listed)
    return listed
  }
}

/** Compares in constant time, whether the user exists or not. */
function authenticator(users: readonly Credentials[]): (user: string, password: string) => boolean {
  const digests = new Map(users.map(it => [it.user, digest(it.password)]))
  return (user, password) => {
    const known = digests.get(user)
    return timingSafeEqual(digest(password), known ?? NO_DIGEST) && known !== undefined
  }
}

/** How addresses are told in the log: the operator's choice. */
function addressForLog(
  choice: Config['log']['addresses'],
): (address: string) => string | undefined {
  switch (choice) {
    case 'full':
      return address => visible(address)
    case 'hashed':
      return address => digest(address.toLowerCase()).toString('hex').slice(0, 16)
    case 'none':
      return () => undefined
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
const NO_DIGEST = Buffer.alloc(32)
