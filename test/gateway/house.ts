/**
 * The gateway in this process: a listener, the house behind it, and next hops that do as a test says.
 *
 *     TestClient ──▶ listener ──▶ createGateway ──▶ inbound · outbound · review (sinks)
 *
 * @module
 */
import { BlockList } from 'node:net'
import { Writable } from 'node:stream'
import type { Directory } from '../../src/certstore/directory.ts'
import type { Harvested } from '../../src/certstore/harvested.ts'
import type { Identities } from '../../src/certstore/identities.ts'
import { createKeyring } from '../../src/certstore/keyring.ts'
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import type { Trust } from '../../src/certstore/validate.ts'
import type { Certificate } from '../../src/crypto/x509/certificate.ts'
import { createGateway, type Parts } from '../../src/gateway/gateway.ts'
import type { SubjectTags } from '../../src/gateway/inbound-octets.ts'
import { createLog, visible } from '../../src/log.ts'
import { ContentWriter, contentStore } from '../../src/mail/content.ts'
import { compileRules, type RuleSpec } from '../../src/policy/rule.ts'
import {
  type Degree,
  INBOUND_BY_DEFAULT,
  type InboundWish,
  type Otherwise,
} from '../../src/policy/treatment.ts'
import { type Ledger, openLedger } from '../../src/smtp/ledger.ts'
import { type ListenerSettings, listen } from '../../src/smtp/listener.ts'
import { createNextHop, type NextHopSettings } from '../../src/smtp/next-hop.ts'
import { type Action, type Moment, type Sink, startSink } from '../smtp/sink.ts'

/** What a test may choose. */
export interface HouseSettings {
  readonly identities: Identities
  readonly rules?: readonly RuleSpec[]
  /** Addresses of clients that may relay; default: 127.0.0.1. */
  readonly relayFrom?: readonly string[]
  readonly listener?: Partial<ListenerSettings>
  readonly nextHop?: Partial<NextHopSettings>
  /** Default: one that answers and knows nobody. */
  readonly directory?: Directory
  /** Authorities whose signers are believed; default: none. */
  readonly anchors?: readonly Certificate[]
  /** More of the trust, such as revocation. */
  readonly trust?: Partial<Trust>
  readonly tags?: SubjectTags
  readonly tripleDes?: boolean
  readonly domainKeys?: boolean
  readonly harvested?: Harvested
  readonly now?: () => Date
}

/** The key of the seal in every test house. */
export const STAMP_KEY = Buffer.alloc(32, 7)

/** A next hop by its name in the configuration. */
export type HopName = 'inbound' | 'outbound' | 'review'

/** A gateway that accepts. */
export interface TestHouse {
  readonly port: number
  readonly sinks: Readonly<Record<HopName, Sink>>
  /** Asked before each reply of a sink; a test puts its own here. */
  readonly on: Partial<Record<HopName, (moment: Moment) => Action | undefined>>
  readonly ledger: Ledger
  /** Lines of the log, as they were written. */
  readonly log: readonly string[]
  /** Happenings of that name. */
  told(this: void, event: string): readonly Readonly<Record<string, unknown>>[]
  close(): Promise<void>
}

/** Starts a house with three next hops. */
export async function startHouse(settings: HouseSettings): Promise<TestHouse> {
  const on: TestHouse['on'] = {}
  const sinks = {
    inbound: await startSink({ on: moment => on.inbound?.(moment) }),
    outbound: await startSink({ on: moment => on.outbound?.(moment) }),
    review: await startSink({ on: moment => on.review?.(moment) }),
  }
  const log: string[] = []
  const written = createLog('debug', linesInto(log))
  const ledger = openLedger(':memory:', Date.now)
  const nextHops = new Map(
    Object.entries(sinks).map(([name, { port }]) => [
      name,
      createNextHop(
        {
          name,
          host: '127.0.0.1',
          port,
          tls: 'none',
          hostname: 'gw.example.test',
          ...settings.nextHop,
        },
        written,
      ),
    ]),
  )
  const store = contentStore({ memoryPerMessageOctets: 65_536, memoryOctets: 1_048_576 })
  const now = settings.now ?? (() => new Date())
  const trust: Trust = {
    anchors: settings.anchors ?? [],
    intermediates: [],
    revocationMode: 'off',
    ...settings.trust,
  }
  const parts: Parts = {
    harvested: settings.harvested,
    inbound: {
      keyring: createKeyring(settings.identities, settings.domainKeys ?? true),
      signerTrust: createSignerTrust(trust, now),
      hold: () => new ContentWriter(store),
      tripleDes: settings.tripleDes ?? false,
      inflatedOctets: 50 * 1024 * 1024,
    },
    stamping: { hostname: 'gw.example.test', key: STAMP_KEY, tags: settings.tags },
    hostname: 'gw.example.test',
    domains: new Set(['example.test']),
    rules: compileRules(settings.rules ?? []),
    identities: settings.identities,
    directory: settings.directory ?? NO_DIRECTORY,
    nextHops,
    ledger,
    mayRelay: relayTest(settings.relayFrom ?? ['127.0.0.1']),
    limits: { hops: 50, headerSection: { octets: 100 * 1024, fields: 1000 } },
    addressForLog: address => visible(address),
    now,
    log: written,
  }
  const listener = await listen(
    {
      hostname: 'gw.example.test',
      listen: [{ address: '127.0.0.1', port: 0, tls: 'none' }],
      hold: () => new ContentWriter(store),
      ...settings.listener,
    },
    createGateway(parts),
    written,
  )
  return {
    port: listener.addresses[0]!.port,
    sinks,
    on,
    ledger,
    log,
    told: event =>
      log
        .map(line => JSON.parse(line) as Record<string, unknown>)
        .filter(line => line['event'] === event),
    async close() {
      await listener.drain(0)
      await Promise.all([...nextHops.values()].map(nextHop => nextHop.close()))
      await Promise.all(Object.values(sinks).map(sink => sink.close()))
      ledger.close()
    },
  }
}

/** A rule for outbound mail, or for the recipients that are named. */
export function rule(
  name: string,
  sign: Degree,
  options: {
    recipient?: string
    otherwise?: Otherwise
    encrypt?: Degree
    encryptToAuthor?: boolean
    inbound?: Partial<InboundWish>
  } = {},
): RuleSpec {
  const { recipient, otherwise = 'reject', encrypt = 'never' } = options
  return {
    name,
    when: recipient === undefined ? { direction: ['outbound'] } : { recipient: [recipient] },
    wish: {
      sign,
      encrypt,
      signature: 'clear',
      profile: 'compatible',
      otherwise,
      encryptToAuthor: options.encryptToAuthor ?? false,
      inbound: { ...INBOUND_BY_DEFAULT, ...options.inbound },
    },
  }
}

function relayTest(addresses: readonly string[]): Parts['mayRelay'] {
  const list = new BlockList()
  for (const address of addresses) list.addAddress(address)
  return client => client.user !== undefined || list.check(client.address)
}

function linesInto(lines: string[]): Writable {
  return new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      lines.push(...chunk.split('\n').filter(line => line !== ''))
      done()
    },
  })
}

const NO_DIRECTORY: Directory = {
  search: async () => ({ kind: 'none', reason: 'no source knows anybody', considered: [] }),
  close() {},
}
