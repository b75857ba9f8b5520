/**
 * What no option can know of itself: whether the options of a configuration fit together.
 *
 * @module
 */
import { BlockList, isIP, isIPv6 } from 'node:net'
import { skeleton } from '../mail/look-alike.ts'
import type { ConfigPath } from './fault.ts'
import type { Finding, Findings, PartialConfig } from './findings.ts'
import { checkRules } from './rule-checks.ts'
import { checkSources } from './source-checks.ts'

/**
 * Looks at options side by side.
 *
 * @param config May lack what was wrong by itself: that has been told already.
 * @param wholeRules Whether all rules are as they were written; else nothing is said of their order.
 */
export function* crossCheck(
  config: PartialConfig,
  wholeRules: boolean,
  at: Findings,
): Generator<Finding> {
  yield* checkListeners(config, at)
  yield* checkRelay(config, at)
  for (const [name, nextHop] of Object.entries(config.nextHop ?? {})) {
    if (nextHop === undefined) continue
    yield* checkNextHop(nextHop, ['nextHop', name], at)
    yield* checkLoop(nextHop, ['nextHop', name], config, at)
  }
  yield* checkRules(config, wholeRules, at)
  yield* checkSources(config.certificates ?? [], at)
  yield* checkLimits(config, at)
  yield* checkAdmin(config, at)
  yield* checkTags(config, at)
  yield* checkNotYet(config, at)
}

type NextHop = NonNullable<NonNullable<PartialConfig['nextHop']>[string]>

function* checkListeners(config: PartialConfig, at: Findings): Generator<Finding> {
  const listeners = config.listen ?? []
  const places = new Set<string>()
  for (const [index, listener] of listeners.entries()) {
    const { address, port, tls } = listener ?? {}
    if (tls !== undefined && tls !== 'none' && config.tls === undefined)
      yield at.fault(
        ['listen', index, 'tls'],
        'wants a certificate, and there is none',
        'add tls: { certificate: FILE, key: FILE }',
      )
    if (address === undefined || port === undefined || port === 0) continue
    const place = `${address} ${port}`
    if (places.has(place))
      yield at.fault(
        ['listen', index, 'port'],
        `is listened on already at ${address}`,
        'give each listener a port of its own',
      )
    places.add(place)
  }
  const secured = listeners.some(listener => listener?.tls !== 'none')
  if ((config.auth?.users?.length ?? 0) > 0 && !secured)
    yield at.warning(
      ['auth', 'users'],
      'cannot log in: no listener has TLS',
      'set tls: starttls or implicit on a listener; passwords never travel in clear',
      'nothing',
    )
}

function* checkRelay(config: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, network] of (config.relayFrom ?? []).entries()) {
    const [address = '', prefix] = (network ?? '').split('/')
    const least = isIPv6(address) ? 16 : 8
    if (prefix !== undefined && Number(prefix) < least)
      yield at.warning(
        ['relayFrom', index],
        'lets a large part of the internet send through us',
        'name the addresses of your own mail servers: this is an open relay',
      )
  }
}

function* checkNextHop(nextHop: NextHop, path: ConfigPath, at: Findings): Generator<Finding> {
  const { host, tls, implicit, auth, tlsName } = nextHop
  if (auth && (tls === 'none' || tls === 'may'))
    yield at.fault(
      [...path, 'tls'],
      'would let the password travel in clear',
      'set tls: require or verify where there is auth',
    )
  if (implicit && tls === 'none')
    yield at.fault([...path, 'implicit'], 'contradicts tls: none', 'set tls: require or verify')
  if (tls === 'verify' && host !== undefined && isIP(host) !== 0 && tlsName === undefined)
    yield at.warning(
      [...path, 'host'],
      'is an address, and certificates seldom name addresses',
      'set tlsName to the name in the certificate of this host',
    )
  if (tlsName !== undefined && tls !== 'verify')
    yield at.warning([...path, 'tlsName'], `is not looked at with tls: ${tls}`, 'set tls: verify')
}

function* checkLoop(
  { host, port }: NextHop,
  path: ConfigPath,
  config: PartialConfig,
  at: Findings,
): Generator<Finding> {
  const ours = config.listen?.some(
    listener =>
      listener?.port === port &&
      listener?.address !== undefined &&
      host !== undefined &&
      reaches(host, listener.address, config.hostname),
  )
  if (ours && port !== undefined && port !== 0)
    yield at.fault(
      [...path, 'port'],
      'is our own listener: mail would go in circles',
      'name the host and port of the next mail server',
    )
}

/** Whether who connects to `host` is answered by a listener on `address`. */
function reaches(host: string, address: string, hostname: string | undefined): boolean {
  const local = host === 'localhost' || (isIP(host) !== 0 && isLoopback(host))
  if (address === '0.0.0.0' || address === '::')
    return local || host === hostname || host === address
  return host === address || (host === 'localhost' && isLoopback(address))
}

function isLoopback(address: string): boolean {
  return LOOPBACK.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

function* checkLimits({ limits }: PartialConfig, at: Findings): Generator<Finding> {
  const { memory, memoryPerMessage, connections, connectionsPerAddress } = limits ?? {}
  if (memory !== undefined && memoryPerMessage !== undefined && memoryPerMessage > memory)
    yield at.fault(
      ['limits', 'memoryPerMessage'],
      'is more than limits.memory',
      'raise limits.memory',
    )
  if (connections !== undefined && (connectionsPerAddress ?? 0) > connections)
    yield at.warning(
      ['limits', 'connectionsPerAddress'],
      'is more than limits.connections',
      'one client can take all connections',
    )
}

function* checkAdmin({ admin }: PartialConfig, at: Findings): Generator<Finding> {
  if (admin?.address !== undefined && !isLoopback(admin.address))
    yield at.warning(
      ['admin', 'address'],
      'can be reached from other machines',
      'use 127.0.0.1 or ::1, and a proxy that asks who is there',
    )
}

/** Tags that look alike tell nobody anything. */
function* checkTags({ stamp }: PartialConfig, at: Findings): Generator<Finding> {
  const tags = stamp?.subject
  if (typeof tags !== 'object') return
  const seen = new Map<string, string>()
  for (const [name, tag] of Object.entries(tags)) {
    if (!tag) continue
    const looks = skeleton(tag)
    const first = seen.get(looks)
    if (first !== undefined)
      yield at.fault(
        ['stamp', 'subject', name],
        `looks like stamp.subject.${first}`,
        'take another word: nobody could tell the two apart',
      )
    else seen.set(looks, name)
  }
}

/** Options that are known and not yet acted on. */
function* checkNotYet(config: PartialConfig, at: Findings): Generator<Finding> {
  if (config.admin) yield at.warning(['admin'], NOT_YET, 'nothing listens there', 'nothing')
}

const NOT_YET = 'is not acted on in this release'
const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')
