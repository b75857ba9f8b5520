/**
 * Everything that an explanation is made from: the configuration, what it leads to, and one message.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { type Identities, loadIdentities } from '../../certstore/identities.ts'
import type { Config } from '../../config/config.ts'
import type { DecisionParts, Message } from '../../gateway/decision.ts'
import { type InboundParts, InboundReader } from '../../gateway/inbound.ts'
import type { Stamping } from '../../gateway/inbound-octets.ts'
import { compileRules } from '../../policy/rule.ts'
import { directoryOf, holdFor, inboundParts, type Others } from '../assembly.ts'

/** What is explained, and by what. */
export interface Scene {
  readonly message: Message
  readonly config: Config
  readonly parts: DecisionParts & { readonly identities: Identities }
  readonly others: Others
  readonly inbound: InboundParts
  /** Its seals are nobody's: who only asks makes no key. */
  readonly stamping: Stamping
  readonly now: Date
  /** Ends searches that go on. */
  readonly signal: AbortSignal
}

/** Joins the rooms as `start` does, but for what listens and sends. */
export async function sceneOf(message: Message, config: Config): Promise<Scene> {
  const now = new Date()
  const { identities } = await loadIdentities(config.identities, now)
  const others = await directoryOf(config)
  const { directory, signerTrust } = others
  return {
    message,
    config,
    parts: {
      rules: compileRules(config.rules),
      identities,
      directory,
      domains: new Set(config.domains),
    },
    others,
    inbound: inboundParts(config, identities, signerTrust, holdFor(config)),
    stamping: { hostname: config.hostname, key: randomBytes(32), tags: config.stamp.subject },
    now,
    signal: AbortSignal.timeout(SEARCH_MS),
  }
}

/** Reads the message anew, perhaps with something that is otherwise; to be disposed of. */
export function readerOf(scene: Scene, otherwise: Partial<InboundParts> = {}): InboundReader {
  return new InboundReader(scene.message, { ...scene.inbound, ...otherwise }, scene.now)
}

/** How long sources of certificates are waited for. */
const SEARCH_MS = 30_000
