/**
 * Asks the services that certificates name whether they have been revoked, and remembers the answers.
 *
 *     question ──▶ OCSP (2 s) ── not known ──▶ revocation lists (3 s) ── not known ──▶ unknown
 *
 * It is asked about certificates of paths that lead to an anchor, by `validatePath` alone: no address
 * that an unknown authority wrote is ever called (Klink, "HTTP over X.509").
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Crl, parseCrl } from '../crypto/x509/crl.ts'
import { statusByCrls } from '../crypto/x509/crl-status.ts'
import {
  type OcspResponse,
  ocspRequest,
  parseOcspResponse,
  statusByOcsp,
} from '../crypto/x509/ocsp.ts'
import { pathExtensions } from '../crypto/x509/path-extensions.ts'
import type {
  RevocationAnswers,
  RevocationQuestion,
  RevocationStatus,
  UnknownStatus,
} from '../crypto/x509/revocation.ts'
import { PosternError } from '../errors.ts'
import { CRL_OCTETS, type Fetch, OCSP_OCTETS } from './fetch.ts'

export interface OnlineOptions {
  readonly fetch: Fetch
  /** Certificates that may have signed lists and stand in no path. Default none. */
  readonly signers?: readonly Certificate[] | undefined
  /** In ms since 1970: for how long answers live. Default that of the system. */
  readonly clock?: (() => number) | undefined
}

/** Asks OCSP first and lists second, each as the certificate names them. */
export function onlineRevocation(options: OnlineOptions): RevocationAnswers {
  const { fetch, signers = [], clock = Date.now } = options
  const responses = new Memory<OcspResponse>(RESPONSES, clock)
  const lists = new Memory<Crl>(LIST_OCTETS, clock)

  const byOcsp = async (question: RevocationQuestion): Promise<RevocationStatus> => {
    const { certificate, issuer } = question
    const url = pathExtensions(certificate).ocspLocations.find(isWeb)
    if (url === undefined) return NOT_NAMED
    const key = `${url} ${issuer.fingerprint} ${certificate.serialNumberHex}`
    const status = await known(
      responses.recall(key, () => askResponder(url, question, fetch)),
      response => statusByOcsp(response, question),
    )
    if (status.kind === 'unknown') responses.distrust(key, status)
    return status
  }
  const byLists = async (question: RevocationQuestion): Promise<RevocationStatus> => {
    const urls = listLocations(question.certificate)
    if (urls.length === 0) return NOT_NAMED
    const fetched = urls.map(url => lists.recall(url, () => fetchList(url, fetch)))
    const settled = await Promise.allSettled(fetched)
    const crls = settled.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []))
    if (crls.length === 0) return known(fetched[0]!, () => Promise.resolve(NOT_NAMED))
    const status = await statusByCrls(crls, signers).statusOf(question)
    if (status.kind === 'unknown') for (const url of urls) lists.distrust(url, status)
    return status
  }
  return {
    async statusOf(question) {
      const first = await byOcsp(question)
      if (first.kind !== 'unknown') return first
      const second = await byLists(question)
      return second === NOT_NAMED ? first : second
    },
  }
}

async function askResponder(
  url: string,
  { certificate, issuer }: RevocationQuestion,
  fetch: Fetch,
): Promise<Recollection<OcspResponse>> {
  const nonce = randomBytes(32)
  const octets = ocspRequest(certificate, issuer, nonce)
  const body = { mediaType: 'application/ocsp-request', octets }
  const der = await fetch(url, { maximumOctets: OCSP_OCTETS, timeoutMs: OCSP_MS, body })
  const response = parseOcspResponse(der)
  if (typeof response === 'string') throw unanswered(`OCSP responder says ${response}`)
  // RFC 9654 §2.1: a responder may answer without a nonce, but never with another one.
  if (response.nonce && !response.nonce.equals(nonce))
    throw unanswered('OCSP answer bears another nonce than was sent')
  const ends = response.answers.flatMap(({ nextUpdate }) => nextUpdate?.getTime() ?? [])
  return { value: response, size: 1, until: Math.min(...ends) }
}

async function fetchList(url: string, fetch: Fetch): Promise<Recollection<Crl>> {
  const der = await fetch(url, { maximumOctets: CRL_OCTETS, timeoutMs: LIST_MS })
  const crl = await parseCrl(der)
  return { value: crl, size: der.length * 2, until: crl.nextUpdate?.getTime() ?? 0 }
}

/** One address for each distribution point, of two at most. */
function listLocations(certificate: Certificate): string[] {
  const urls = pathExtensions(certificate).distributionPoints.flatMap(({ name }) => {
    if (name?.kind !== 'full') return []
    const texts = name.names.map(one => (one.form === 'uniformResourceIdentifier' ? one.text : ''))
    return texts.find(isWeb) ?? []
  })
  return [...new Set(urls)].slice(0, MAXIMUM_POINTS)
}

function isWeb(url: string): boolean {
  return /^https?:\/\//i.test(url)
}

/** Silence is a status too. What is no PosternError is a bug, and not swallowed. */
async function known<T>(
  answer: Promise<T>,
  judge: (answer: T) => Promise<RevocationStatus>,
): Promise<RevocationStatus> {
  try {
    return await judge(await answer)
  } catch (error) {
    if (!(error instanceof PosternError)) throw error
    return { kind: 'unknown', why: 'no-answer', detail: error.message }
  }
}

function unanswered(what: string): PosternError {
  return new PosternError('ERR_REVOCATION_UNANSWERED', 'transient', what)
}

interface Recollection<T> {
  readonly value: T
  readonly size: number
  /** When a newer one is to be expected, in ms since 1970. */
  readonly until: number
}

/**
 * Answers as long as they may live, one question in flight for each, and silence for a minute: a
 * service that is down is not waited for by every message.
 */
class Memory<T> {
  readonly #known: LRUCache<string, Recollection<T>>
  readonly #inFlight = new Map<string, Promise<T>>()
  readonly #silent: LRUCache<string, PosternError>
  readonly #clock: () => number

  constructor(maxSize: number, clock: () => number) {
    const time = { perf: { now: clock }, ttlResolution: 0 }
    const sizeCalculation = ({ size }: Recollection<T>): number => size
    this.#clock = clock
    this.#known = new LRUCache({ max: 100_000, maxSize, sizeCalculation, ...time })
    this.#silent = new LRUCache({ max: 1000, ttl: SILENCE_MS, ...time })
  }

  async recall(key: string, ask: () => Promise<Recollection<T>>): Promise<T> {
    const remembered = this.#known.get(key)
    if (remembered) return remembered.value
    const silence = this.#silent.get(key)
    if (silence) throw silence
    const before = this.#inFlight.get(key)
    if (before) return before
    const asking = this.#ask(key, ask).finally(() => this.#inFlight.delete(key))
    this.#inFlight.set(key, asking)
    return asking
  }

  /** What did not stand is not kept for as long as it claims, but asked for again in a minute. */
  distrust(key: string, { detail }: UnknownStatus): void {
    if (this.#known.delete(key)) this.#silent.set(key, unanswered(detail))
  }

  async #ask(key: string, ask: () => Promise<Recollection<T>>): Promise<T> {
    try {
      const recollection = await ask()
      const life = Math.min(recollection.until - this.#clock(), LONGEST_LIFE_MS)
      this.#known.set(key, recollection, { ttl: Math.max(life, SILENCE_MS) })
      return recollection.value
    } catch (error) {
      if (error instanceof PosternError) this.#silent.set(key, error)
      throw error
    }
  }
}

const NOT_NAMED: UnknownStatus = {
  kind: 'unknown',
  why: 'no-answer',
  detail: 'certificate names nobody who could tell',
}
const OCSP_MS = 2000
const LIST_MS = 3000
const SILENCE_MS = 60_000
const LONGEST_LIFE_MS = 43_200_000
const MAXIMUM_POINTS = 2
const RESPONSES = 20_000
const LIST_OCTETS = 64 * 1024 * 1024
