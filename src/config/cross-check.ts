/**
 * What no option can know of itself: whether the options of a configuration fit together.
 *
 * @module
 */
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { ConfigDocument, FaultAspect } from './document.ts'
import type { ConfigPath, Fault } from './fault.ts'
import type { ParsedConfig } from './schema.ts'
import type { Salvaged } from './shape.ts'
import { checkSources } from './source-checks.ts'

/** What was found. A fault stands in the way of starting, a warning does not. */
export interface Finding {
  readonly severity: 'fault' | 'warning'
  readonly fault: Fault
}

/** Makes findings at a path. */
export interface Findings {
  fault(path: ConfigPath, message: string, advice: string, at?: FaultAspect): Finding
  warning(path: ConfigPath, message: string, advice: string, at?: FaultAspect): Finding
}

/** Findings of a document. */
export function findingsIn(document: ConfigDocument): Findings {
  return {
    fault: (...where) => ({ severity: 'fault', fault: document.faultAt(...where) }),
    warning: (...where) => ({ severity: 'warning', fault: document.faultAt(...where) }),
  }
}

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
  for (const [index, rule] of (config.rules ?? []).entries())
    if (rule) yield* checkRule(rule, ['rules', index], config, at)
  yield* checkNames(config, at)
  if (wholeRules) yield* checkOrder(config, at)
  yield* checkSources(config.certificates ?? [], at)
  yield* checkLimits(config, at)
  yield* checkAdmin(config, at)
  yield* checkEncryption(config, at)
  yield* checkInbound(config, at)
  yield* checkTags(config, at)
  yield* checkNotYet(config, at)
}

/** A configuration, as far as it is right. */
export type PartialConfig = Salvaged<ParsedConfig>
type NextHop = NonNullable<NonNullable<PartialConfig['nextHop']>[string]>
type Then = NonNullable<Rule['then']>
type Rule = NonNullable<NonNullable<PartialConfig['rules']>[number]>

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

function* checkRule(
  rule: Rule,
  path: ConfigPath,
  config: PartialConfig,
  at: Findings,
): Generator<Finding> {
  const { sign, encrypt, otherwise, onBadSignature, encryptToAuthor } = rule.then ?? {}
  if (encryptToAuthor && encrypt === 'never')
    yield at.fault(
      [...path, 'then', 'encryptToAuthor'],
      'has no effect: nothing is encrypted here',
      'set encrypt to when-possible or always, or take encryptToAuthor out',
    )
  if (otherwise !== undefined && sign !== undefined && encrypt !== undefined)
    if (sign !== 'always' && encrypt !== 'always')
      yield at.fault(
        [...path, 'then', 'otherwise'],
        'has no effect: nothing here is asked for always',
        'set sign or encrypt to always, or take otherwise out',
      )
  for (const [key, target] of [
    ['otherwise', otherwise],
    ['onBadSignature', onBadSignature],
  ] as const)
    if (typeof target === 'object' && target.route !== undefined)
      yield* checkRoute(target.route, [...path, 'then', key, 'route'], config, at)
  if (config.identities?.length !== 0) return
  if (sign === 'always')
    yield at.fault(
      [...path, 'then', 'sign'],
      'cannot be met: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
  if (sign === 'when-possible')
    yield at.warning(
      [...path, 'then', 'sign'],
      'is never possible: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
}

function* checkRoute(
  name: string,
  path: ConfigPath,
  { nextHop }: PartialConfig,
  at: Findings,
): Generator<Finding> {
  if (nextHop === undefined || Object.hasOwn(nextHop, name)) return
  yield at.fault(
    path,
    'is no next hop',
    `add it under nextHop, or name one of ${Object.keys(nextHop).join(', ')}`,
  )
}

function* checkNames({ rules = [] }: PartialConfig, at: Findings): Generator<Finding> {
  const names = new Map<string, number>()
  for (const [index, rule] of rules.entries()) {
    if (rule?.name === undefined) continue
    const first = names.get(rule.name)
    if (first !== undefined)
      yield at.fault(
        ['rules', index, 'name'],
        `is the name of rules[${first}] already`,
        'give each rule a name of its own: traces tell them apart by it',
      )
    else names.set(rule.name, index)
  }
}

/** A rule that an earlier one always decides for is a mistake in the order. */
function* checkOrder({ rules = [] }: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of rules.entries()) {
    const earlier = rules.slice(0, index)
    const covers = ['inbound', 'outbound'].map(direction =>
      isForDirection(rule, direction)
        ? earlier.findIndex(other => isForDirection(other, direction) && covered(rule, other))
        : undefined,
    )
    if (covers.includes(-1)) continue
    const names = new Set(covers.flatMap(other => (other === undefined ? [] : [`rules[${other}]`])))
    yield at.warning(
      ['rules', index],
      `is never reached: ${[...names].join(' and ')} always match first`,
      'move it up, or take it out',
      'nothing',
    )
  }
}

function isForDirection(rule: Rule | undefined, direction: string): boolean {
  const directions: readonly (string | undefined)[] | undefined = rule?.when?.direction
  return directions?.includes(direction) ?? true
}

/** Whether all that a rule takes, its direction aside, is taken by the other one too. */
function covered(rule: Rule | undefined, other: Rule | undefined): boolean {
  const when: Readonly<Record<string, unknown>> = rule?.when ?? {}
  return Object.entries(other?.when ?? {}).every(
    ([key, wanted]) =>
      key === 'direction' ||
      wanted === undefined ||
      (when[key] !== undefined && isWithin(when[key], wanted)),
  )
}

function isWithin(value: unknown, wanted: unknown): boolean {
  if (!Array.isArray(value) || !Array.isArray(wanted))
    return JSON.stringify(value) === JSON.stringify(wanted)
  const all = new Set(wanted.map(item => JSON.stringify(item)))
  return value.every(item => all.has(JSON.stringify(item)))
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

/** Encryption that is wished and can never be had. */
function* checkEncryption(config: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of (config.rules ?? []).entries()) {
    const path = ['rules', index, 'then', 'encrypt']
    if (rule?.then?.encrypt === undefined || rule.then.encrypt === 'never') continue
    if ((config.certificates?.length ?? 0) === 0)
      yield at.warning(path, 'has no source of certificates', 'add certificates: [{ files: … }]')
    if ((config.trust?.anchors?.length ?? 0) === 0)
      yield at.warning(
        path,
        'has nobody to believe: no certificate of a recipient will be usable',
        'add trust: { anchors: [trust/] } with the authorities of your partners',
      )
  }
}

/** What rules say of inbound mail. */
function* checkInbound(config: PartialConfig, at: Findings): Generator<Finding> {
  for (const [index, rule] of (config.rules ?? []).entries()) {
    const path = ['rules', index, 'then']
    const { then } = rule ?? {}
    if (!then) continue
    if (isForDirection(rule, 'inbound')) {
      yield* checkContradictions(then, path, at)
      yield* checkMeans(then, path, config, at)
    } else yield* checkInVain(then, path, at)
  }
}

/** Words beside each other of which one takes the sense from the other. */
function* checkContradictions(then: Then, path: ConfigPath, at: Findings): Generator<Finding> {
  const { verify, decrypt, onBadSignature, strip, unauthenticated } = then
  const badSignature = [...path, 'onBadSignature']
  if (verify === 'never' && onBadSignature !== undefined)
    yield at.fault(
      badSignature,
      'has no effect: with verify: never no signature is looked at',
      'set verify: stamp, or take onBadSignature out',
    )
  if (verify === 'require' && onBadSignature !== undefined && onBadSignature !== 'reject')
    yield at.fault(
      badSignature,
      'has no effect: with verify: require all is refused that has no good signature',
      'set verify: stamp, or take onBadSignature out',
    )
  if (verify === 'never' && strip === 'signature')
    yield at.fault(
      [...path, 'strip'],
      'has no effect: only a signature that was found good is taken off',
      'set verify: stamp or require, or take strip out',
    )
  if ((decrypt ?? 'never') === 'never' && unauthenticated !== undefined)
    yield at.fault(
      [...path, 'unauthenticated'],
      'has no effect: nothing is opened here',
      'set decrypt: when-possible, or take unauthenticated out',
    )
}

/** Whether there is what the words ask for. */
function* checkMeans(
  { verify, decrypt }: Then,
  path: ConfigPath,
  { identities, trust }: PartialConfig,
  at: Findings,
): Generator<Finding> {
  if (decrypt === 'when-possible' && identities?.length === 0)
    yield at.warning(
      [...path, 'decrypt'],
      'is never possible: there are no identities',
      'add identities: [{ files: FOLDER }]',
    )
  if ((verify === 'stamp' || verify === 'require') && (trust?.anchors?.length ?? 0) === 0)
    yield at.warning(
      [...path, 'verify'],
      'has nobody to believe: no signature will be good',
      'add trust: { anchors: [trust/] } with the authorities of your partners',
    )
}

function* checkInVain(then: Then, path: ConfigPath, at: Findings): Generator<Finding> {
  for (const key of ['decrypt', 'verify', 'onBadSignature', 'strip'] as const)
    if (then[key] !== undefined && !HARMLESS.has(then[key]))
      yield at.warning(
        [...path, key],
        'is about inbound mail, and this rule is for outbound mail alone',
        'put it into a rule with direction: inbound',
      )
}

/** Tags that look alike tell nobody anything. */
function* checkTags({ stamp }: PartialConfig, at: Findings): Generator<Finding> {
  const tags = stamp?.subject
  if (typeof tags !== 'object') return
  const seen = new Map<string, string>()
  for (const [name, tag] of Object.entries(tags)) {
    if (!tag) continue
    const plain = tag.normalize('NFKC').toLowerCase()
    const first = seen.get(plain)
    if (first !== undefined)
      yield at.fault(
        ['stamp', 'subject', name],
        `looks like stamp.subject.${first}`,
        'take another word: nobody could tell the two apart',
      )
    else seen.set(plain, name)
  }
}

/** Options that are known and not yet acted on. */
function* checkNotYet(config: PartialConfig, at: Findings): Generator<Finding> {
  if (config.admin) yield at.warning(['admin'], NOT_YET, 'nothing listens there', 'nothing')
}

const NOT_YET = 'is not acted on in this release'
/** Words that promise nothing, and so lead nobody astray where they have no effect. */
const HARMLESS: ReadonlySet<unknown> = new Set(['never', 'stamp', 'deliver', 'keep'])
const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')
