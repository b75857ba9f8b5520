/**
 * What would change what becomes of an inbound message: found by trying it.
 *
 *     each option, each other value ──▶ read and conclude again ──▶ told where it comes out otherwise
 *
 * Only what nobody here can try is said from knowledge: what its sender would have to do, and which
 * private key is missing.
 *
 * @module
 */
import { createKeyring } from '../../certstore/keyring.ts'
import type { Trust } from '../../certstore/validate.ts'
import type { Certificate } from '../../crypto/x509/certificate.ts'
import type { Decision } from '../../gateway/decision.ts'
import type { InboundParts, Reading } from '../../gateway/inbound.ts'
import { withReadings } from '../../gateway/inbound-decision.ts'
import type { SeenEncryption } from '../../policy/inbound.ts'
import { encryptionAdvice, placeOf, signatureAdvice } from '../../policy/sender-changes.ts'
import type { InboundWish, Treatment, Wish } from '../../policy/treatment.ts'
import { isBad } from '../../policy/verdict.ts'
import { readerOf, type Scene } from './scene.ts'
import { label, type Seen } from './seen.ts'

/**
 * What would have to be otherwise, a sentence each.
 *
 * @param decided The decision as it was before the message was read.
 */
export async function inboundChanges(
  decided: Decision,
  { reading, treatment, wish, facts }: Decision,
  seen: Seen,
  scene: Scene,
): Promise<readonly string[]> {
  if (reading === undefined) return []
  const tried = new Trial(scene, decided, outcomeOf(treatment, reading))
  const judged = seen.signers.find(({ isJudged }) => isJudged)
  const senders = { author: facts.author, signer: judged?.addresses ?? [] }
  const { result } = reading.encryption
  // What is closed may be signed inside.
  const isSilent = !OPEN.has(result) && reading.verdict.result === 'none'
  const advice = [
    isSilent ? undefined : signatureAdvice(reading.verdict, senders),
    encryptionAdvice(result),
  ]
  return [
    ...(await ruleChanges(tried, wish, reading)),
    ...missingKeys(seen),
    ...(await decryptionChanges(tried, reading, scene)),
    ...(await trustChanges(tried, reading, scene)),
    ...advice.filter(it => it !== undefined),
  ]
}

/** What matters about how it comes out. */
interface Outcome {
  readonly treatment: Treatment
  readonly encryption: SeenEncryption
  readonly signature: string
  readonly code: string
  /** Octets of what is delivered in the place of the body; undefined where that leaves as it came. */
  readonly octets: number | undefined
}

/** Reads the message once more for each question. */
class Trial {
  readonly #scene: Scene
  readonly #decided: Decision
  readonly #before: Outcome

  constructor(scene: Scene, decided: Decision, before: Outcome) {
    this.#scene = scene
    this.#decided = decided
    this.#before = before
  }

  /** What would be otherwise, in words; undefined where nothing would. */
  async with(
    wish: Partial<InboundWish>,
    parts: Partial<InboundParts> = {},
  ): Promise<string | undefined> {
    const reader = readerOf(this.#scene, parts)
    try {
      const { wish: before } = this.#decided
      const otherwise = { ...before, inbound: { ...before.inbound, ...wish } }
      const [decision] = await withReadings([{ ...this.#decided, wish: otherwise }], reader)
      const { treatment, reading } = decision!
      return difference(this.#before, outcomeOf(treatment, reading!), wish)
    } finally {
      reader.dispose()
    }
  }
}

function outcomeOf(treatment: Treatment, { verdict, encryption, delivery }: Reading): Outcome {
  const { start, end } = delivery.kind === 'entity' ? delivery.place.entity : NO_ENTITY
  return {
    treatment,
    encryption: encryption.result,
    signature: verdict.result,
    code: verdict.code,
    octets: delivery.kind === 'entity' ? end - start : undefined,
  }
}

function difference(
  before: Outcome,
  after: Outcome,
  { strip, unauthenticated }: Partial<InboundWish>,
): string | undefined {
  const [was, fate] = [fateOf(before.treatment), fateOf(after.treatment)]
  if (was !== fate) return fate
  if (REFUSALS.has(after.treatment.kind)) return undefined
  const words: string[] = []
  const isOpen = OPEN.has(after.encryption)
  // Why it stays closed matters to nobody here.
  if (before.encryption !== after.encryption && (isOpen || OPEN.has(before.encryption)))
    words.push(ENCRYPTION[after.encryption])
  if (before.signature !== after.signature)
    words.push(`its signature would be ${after.signature} (${after.code})`)
  if (words.length === 0 && before.octets !== after.octets) {
    if (strip) words.push(`its signature would ${strip === 'keep' ? 'stay on' : 'be taken off'}`)
    if (unauthenticated) words.push(REMOTE[unauthenticated])
  }
  return words.length === 0 ? undefined : words.join(', and ')
}

function fateOf(treatment: Treatment): string {
  switch (treatment.kind) {
    case 'reject':
      return 'it would be refused for good (550)'
    case 'defer':
      return 'it would be refused for now (451)'
    case 'route':
      return `it would go to next hop ${treatment.nextHop}`
    case 'relay':
    case 'sign':
    case 'encrypt':
      return 'it would be delivered'
  }
}

/**
 * Every option of a rule, with every other value that needs no more words; but for what cannot matter
 * to a message like this, for each costs a reading.
 */
function* valuesOf(
  wish: InboundWish,
  { verdict, encryption }: Reading,
): Generator<[string, Partial<InboundWish>]> {
  const { result } = verdict
  for (const decrypt of ['when-possible', 'never'] as const)
    if (decrypt !== wish.decrypt) yield [`decrypt: ${decrypt}`, { decrypt }]
  for (const verify of ['stamp', 'require', 'never'] as const)
    if (verify !== wish.verify && (verify !== 'require' || result !== 'pass'))
      yield [`verify: ${verify}`, { verify }]
  for (const onBadSignature of ['deliver', 'reject'] as const)
    if (onBadSignature !== wish.onBadSignature && isBad({ result }))
      yield [`onBadSignature: ${onBadSignature}`, { onBadSignature }]
  for (const unauthenticated of ['strict', 'deliver', 'defuse'] as const)
    if (unauthenticated !== wish.unauthenticated && DOUBTFUL.has(encryption.result))
      yield [`unauthenticated: ${unauthenticated}`, { unauthenticated }]
  for (const strip of ['keep', 'signature'] as const)
    if (strip !== wish.strip && result === 'pass') yield [`strip: ${strip}`, { strip }]
}

async function ruleChanges(
  tried: Trial,
  { rule, inbound }: Pick<Wish, 'rule' | 'inbound'>,
  reading: Reading,
): Promise<string[]> {
  const changes: string[] = []
  for (const [option, value] of valuesOf(inbound, reading)) {
    const otherwise = await tried.with(value)
    if (otherwise !== undefined) changes.push(`with ${option} in ${placeOf(rule)} ${otherwise}`)
  }
  return changes
}

/** Which private key would open it, and whether it is here for somebody else. */
function missingKeys({ encryption, encryptedTo }: Seen): string[] {
  if (encryption !== 'no-key') return []
  return encryptedTo
    .slice(0, MOST_KEYS)
    .map(({ certificate, identity }) =>
      identity === undefined
        ? `with the private key of ${certificate} among the identities of its recipient it could be opened`
        : `the key of ${identity} would open it, and is not its recipient's`,
    )
}

async function decryptionChanges(
  tried: Trial,
  { encryption: { result } }: Reading,
  { inbound, config, parts }: Scene,
): Promise<string[]> {
  const changes: string[] = []
  if (result === 'unreadable' && !inbound.tripleDes) {
    const otherwise = await tried.with({}, { tripleDes: true })
    if (otherwise !== undefined) changes.push(`with decryption.tripleDes: true ${otherwise}`)
  }
  if (result === 'no-key' && !config.decryption.domainKeys) {
    const otherwise = await tried.with({}, { keyring: createKeyring(parts.identities, true) })
    if (otherwise !== undefined) changes.push(`with decryption.domainKeys: true ${otherwise}`)
  }
  return changes
}

async function trustChanges(tried: Trial, reading: Reading, scene: Scene): Promise<string[]> {
  const { others } = scene
  const { verdict } = reading
  const outcomeWith = (trust: Partial<Trust>) =>
    tried.with({}, { signerTrust: others.signerTrustWith(trust) })
  if (verdict.code === UNKNOWN || verdict.notes.includes(UNKNOWN)) {
    const modes = (['off', 'soft', 'hard'] as const).filter(
      mode => mode !== others.trust.revocationMode,
    )
    const changes: string[] = []
    for (const mode of modes) {
      const otherwise = await outcomeWith({ revocationMode: mode })
      if (otherwise !== undefined) changes.push(`with trust.revocation: ${mode} ${otherwise}`)
    }
    return [...changes, 'with a revocation list that is up to date this could be told']
  }
  if (!UNTRUSTED.has(verdict.code)) return []
  const top = topOf(reading)
  if (top === undefined) return []
  const anchors = [...others.trust.anchors, top]
  const otherwise = await outcomeWith({ anchors, isIncomplete: false })
  if (otherwise !== undefined && isAuthority(top, reading))
    return [`with ${label(top)} (SHA-256 ${top.fingerprint}) among trust.anchors ${otherwise}`]
  return [`with the certificate of ${top.issuerText} among trust.anchors it could be believed`]
}

/** The certificate furthest up that the message brings of the signer's path. */
function topOf({ verdict, examined }: Reading): Certificate | undefined {
  const signer = verdict.signer === undefined ? undefined : examined?.signers[verdict.signer]
  const beside = examined?.signature?.kind === 'signed' ? examined.signature.certificates : []
  const path: Certificate[] = signer?.certificate ? [signer.certificate] : []
  while (path.length > 0 && path.length <= beside.length) {
    const last = path.at(-1)!
    const issuer = beside.find(one => one.subject.equals(last.issuer) && !path.includes(one))
    if (issuer === undefined) break
    path.push(issuer)
  }
  return path.at(-1)
}

/** Nobody is told to believe one person alone, unless nobody else vouches for him. */
function isAuthority(top: Certificate, { verdict, examined }: Reading): boolean {
  return top.isSelfIssued || examined?.signers[verdict.signer ?? 0]?.certificate !== top
}

const NO_ENTITY = { start: 0, end: 0 }
const REFUSALS: ReadonlySet<string> = new Set(['reject', 'defer'])
const OPEN: ReadonlySet<string> = new Set(['none', 'opened', 'unauthenticated'])
/** Where it matters what is done with what nothing vouches for. */
const DOUBTFUL: ReadonlySet<string> = new Set(['unauthenticated', 'refused'])
const UNKNOWN = 'revocation-unknown'
const UNTRUSTED: ReadonlySet<string> = new Set([
  'no-anchor',
  'self-signed',
  'issuer-signature-invalid',
  'anchors-incomplete',
])
const MOST_KEYS = 5

const ENCRYPTION = {
  none: 'it would count as not encrypted',
  'not-looked-at': 'whether it is encrypted would not be looked at',
  left: 'it would stay encrypted',
  opened: 'it would be opened',
  unauthenticated: 'it would be opened, with nothing to vouch for its content',
  'no-key': 'it would stay encrypted, for want of a key',
  failed: 'it would stay encrypted, for its key does not open it',
  unreadable: 'it would stay encrypted, for it cannot be read',
  refused: 'it would stay encrypted, for what is in it is not fit to leave',
} as const satisfies Record<SeenEncryption, string>

const REMOTE = {
  strict: 'remote references in it would stay',
  deliver: 'remote references in it would stay',
  defuse: 'remote references in it would be made harmless',
} as const
