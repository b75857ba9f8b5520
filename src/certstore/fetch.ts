/**
 * Fetches what certificates point to, without becoming the hand of whoever wrote the certificate.
 *
 * An address in a certificate is a stranger's wish: it may name the metadata service of a cloud, a
 * printer, or a file of a terabyte (Klink, "HTTP over X.509", 2008). So: http and https alone, public
 * addresses alone, resolved once and connected to as resolved, no redirects, a few seconds, a bound
 * on size, and few at a time.
 *
 * @module
 */
import { lookup } from 'node:dns/promises'
import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { PosternError } from '../errors.ts'

/** What is wanted of a URL. */
export interface FetchWish {
  /** Largest body, in octets. */
  readonly maximumOctets: number
  /** POST with this body; left out, GET. */
  readonly body?: { readonly mediaType: string; readonly octets: Buffer } | undefined
  /** For everything, name resolution included. Default 5,000. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** How the world is reached; all can be replaced. */
export interface FetchMeans {
  /** Addresses of a host. Default: the resolver of the system. */
  readonly resolve?: ((host: string) => Promise<readonly string[]>) | undefined
  /** Whether an address may be connected to. Default `isPublicAddress`; anything else is for tests. */
  readonly mayConnectTo?: ((address: string) => boolean) | undefined
}

/** Fetches a body. See `fetcher`. */
export type Fetch = (url: string, wish: FetchWish) => Promise<Buffer>

/** Bounds for what revocation needs, in octets. */
export const CRL_OCTETS = 10_485_760
export const OCSP_OCTETS = 65_536

/**
 * Makes a fetch that keeps count of its connections: two to one host at a time.
 *
 * What it does throws PosternErrors: `ERR_FETCH_FORBIDDEN` (scheme, user, address: nothing was sent),
 * `ERR_FETCH_BUSY`, `ERR_FETCH_TIMEOUT`, `ERR_FETCH_REDIRECT`, `ERR_FETCH_STATUS`,
 * `ERR_FETCH_TOO_LARGE` and `ERR_FETCH_FAILED`. All are transient but the first.
 */
export function fetcher(means: FetchMeans = {}): Fetch {
  const active = new Map<string, number>()
  return async (text, wish) => {
    const url = allowedUrl(text)
    const { host } = url
    const count = active.get(host) ?? 0
    if (count >= CONNECTIONS_A_HOST) throw failure('ERR_FETCH_BUSY', `too much asked of ${host}`)
    active.set(host, count + 1)
    try {
      return await withDeadline(wish, signal => fetchBody(url, wish, means, signal))
    } finally {
      const left = active.get(host)! - 1
      if (left > 0) active.set(host, left)
      else active.delete(host)
    }
  }
}

/**
 * Whether an address belongs to the open Internet: not to this machine, a local or private network,
 * a cloud's own services, a tunnel into one of those, or nobody.
 */
export function isPublicAddress(address: string): boolean {
  try {
    return ipaddr.process(address).range() === 'unicast'
  } catch {
    return false
  }
}

function allowedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw forbidden('only http and https are fetched')
  if (url.username !== '' || url.password !== '')
    throw forbidden('a URL with a user is not fetched')
  return url
}

/** The deadline holds for work that cannot be ended too: its result is then nobody's. */
async function withDeadline(
  { timeoutMs = TIMEOUT_MS, signal: outer }: FetchWish,
  work: (signal: AbortSignal) => Promise<Buffer>,
): Promise<Buffer> {
  const timeout = AbortSignal.timeout(timeoutMs)
  const signal = outer ? AbortSignal.any([outer, timeout]) : timeout
  const { promise: end, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => {
    const what = timeout.aborted ? `no answer within ${timeoutMs} ms` : 'given up'
    reject(failure('ERR_FETCH_TIMEOUT', what, signal.reason))
  }
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  const result = signal.aborted ? end : work(signal)
  result.catch(() => undefined)
  try {
    return await Promise.race([result, end])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function fetchBody(
  url: URL,
  wish: FetchWish,
  means: FetchMeans,
  signal: AbortSignal,
): Promise<Buffer> {
  const address = await pinnedAddress(url.hostname, means)
  if (signal.aborted) throw failure('ERR_FETCH_TIMEOUT', 'given up')
  const response = await ask(url, address, wish, signal)
  try {
    return await readBody(response, wish.maximumOctets)
  } finally {
    response.destroy()
  }
}

/** One address, looked at before it is connected to. One that is not public speaks against all. */
async function pinnedAddress(hostname: string, means: FetchMeans): Promise<string> {
  const { resolve = resolveBySystem, mayConnectTo = isPublicAddress } = means
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const addresses = isIP(host) ? [host] : await resolved(host, resolve)
  const [first] = addresses
  if (first === undefined) throw failure('ERR_FETCH_FAILED', `${host} has no address`)
  if (!addresses.every(address => mayConnectTo(address)))
    throw forbidden(`${host} is not in the public Internet`)
  return first
}

async function resolved(
  host: string,
  resolve: NonNullable<FetchMeans['resolve']>,
): Promise<readonly string[]> {
  try {
    return await resolve(host)
  } catch (cause) {
    throw failure('ERR_FETCH_FAILED', `${host} cannot be resolved`, cause)
  }
}

async function resolveBySystem(host: string): Promise<readonly string[]> {
  const addresses = await lookup(host, { all: true })
  return addresses.map(({ address }) => address)
}

function ask(
  url: URL,
  address: string,
  { body }: FetchWish,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const family = isIP(address)
  // Whatever the name resolves to by now: the address that was looked at is the one that is asked.
  const pinned: LookupFunction = (_host, options, callback) => {
    if (options.all) callback(null, [{ address, family }])
    else callback(null, address, family)
  }
  const request = url.protocol === 'https:' ? requestHttps : requestHttp
  const options = {
    method: body ? 'POST' : 'GET',
    headers: body
      ? { 'Content-Type': body.mediaType, 'Content-Length': body.octets.length }
      : undefined,
    ...{ lookup: pinned, agent: false as const, signal, maxHeaderSize: 8192 },
  }
  return answerTo(request(url, { ...options, headers: options.headers ?? {} }), body?.octets)
}

function answerTo(request: ClientRequest, octets: Buffer | undefined): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  request.once('response', resolve)
  request.on('error', cause => {
    reject(failure('ERR_FETCH_FAILED', 'no answer', cause))
  })
  request.end(octets)
  return promise
}

async function readBody(response: IncomingMessage, maximumOctets: number): Promise<Buffer> {
  const { statusCode = 0, headers } = response
  if (statusCode >= 300 && statusCode < 400)
    throw failure('ERR_FETCH_REDIRECT', 'redirects are not followed')
  if (statusCode !== 200) throw failure('ERR_FETCH_STATUS', `answer has status ${statusCode}`)
  if (Number(headers['content-length'] ?? 0) > maximumOctets) throw tooLarge(maximumOctets)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maximumOctets) throw tooLarge(maximumOctets)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof PosternError) throw cause
    throw failure('ERR_FETCH_FAILED', 'answer broke off', cause)
  }
  return Buffer.concat(chunks)
}

function tooLarge(maximumOctets: number): PosternError {
  return failure('ERR_FETCH_TOO_LARGE', `answer is over ${maximumOctets} octets`)
}

function forbidden(what: string): PosternError {
  return new PosternError('ERR_FETCH_FORBIDDEN', 'permanent', what)
}

function failure(code: string, what: string, cause?: unknown): PosternError {
  return new PosternError(code, 'transient', what, { cause })
}

const TIMEOUT_MS = 5000
const CONNECTIONS_A_HOST = 2
