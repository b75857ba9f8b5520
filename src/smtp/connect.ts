/**
 * Makes a connection to a next hop: TCP, greeting, EHLO, TLS and AUTH, by nodemailer's connection, whose
 * socket is then taken over.
 *
 *     SMTPConnection ── connect · STARTTLS · login ──▶ secured as asked? ──▶ its socket ──▶ Wire
 *
 * nodemailer 10.6.0 gives the socket and the EHLO lines by no public name. What is taken of it stands
 * in `Internals` and nowhere else, and is checked before use, so that another version of it fails
 * loudly instead of strangely.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { type ConnectionOptions, checkServerIdentity, type PeerCertificate } from 'node:tls'
import SMTPConnection from 'nodemailer/lib/smtp-connection'
import { PosternError } from '../errors.ts'
import { visible } from '../log.ts'
import { parseExtensions, Wire } from './wire.ts'

/**
 * - `none`: never TLS by STARTTLS
 * - `may`: TLS where it is offered, no matter whose; plain where it is not offered, or refused with 454
 * - `require`: TLS or nothing, no matter whose
 * - `verify`: TLS with a valid certificate that bears the name of the host, or nothing
 */
export type TlsMode = 'none' | 'may' | 'require' | 'verify'

/** Whom to connect to, and how. */
export interface ConnectSettings {
  readonly host: string
  readonly port: number
  readonly tls: TlsMode
  /** Name that the certificate must bear, default `host`. */
  readonly tlsName?: string | undefined
  /** Trust anchors of `verify`, PEM, default those of Node. */
  readonly ca?: string | readonly string[] | undefined
  /** TLS from the first octet (RFC 8314 §3.3). */
  readonly implicit?: boolean | undefined
  /** Given to the next hop under TLS only (RFC 4954 §4). */
  readonly auth?: { readonly user: string; readonly password: string } | undefined
  /** What we call ourselves in EHLO. */
  readonly hostname: string
  /** For all of it, in ms. */
  readonly connectMs: number
}

/** A connection, and whether it stands under TLS. */
export interface Connected {
  readonly wire: Wire
  /** Why there is no TLS where it may be: `not offered` or `refused with 454`; else `undefined`. */
  readonly plain: string | undefined
}

/**
 * Connects.
 *
 * @throws {PosternError} `ERR_NEXT_HOP_UNAVAILABLE`, transient; what really happened is its cause.
 */
export async function connect(settings: ConnectSettings, signal: AbortSignal): Promise<Connected> {
  const connection = new SMTPConnection(connectionOptions(settings))
  const timeout = AbortSignal.timeout(settings.connectMs)
  try {
    await greet(connection, AbortSignal.any([signal, timeout]))
    const plain = reasonForPlain(connection, settings)
    if (settings.auth) await logIn(connection, settings.auth, AbortSignal.any([signal, timeout]))
    return { wire: takeOver(connection), plain }
  } catch (error) {
    connection.close()
    throw new PosternError(
      'ERR_NEXT_HOP_UNAVAILABLE',
      'transient',
      'the next hop does not answer as it should',
      { cause: reasonOf(error) },
    )
  }
}

function connectionOptions(
  settings: ConnectSettings,
): ConstructorParameters<typeof SMTPConnection>[0] {
  const { host, port, tls, hostname, connectMs } = settings
  return {
    host,
    port,
    name: hostname,
    secure: settings.implicit ?? false,
    ignoreTLS: tls === 'none',
    requireTLS: tls === 'require' || tls === 'verify',
    opportunisticTLS: tls === 'may',
    connectionTimeout: connectMs,
    greetingTimeout: connectMs,
    socketTimeout: connectMs,
    socketCloseTimeout: 0,
    dnsTimeout: connectMs,
    maxResponseSize: MAX_RESPONSE_OCTETS,
    tls: tlsOptions(settings),
  }
}

function tlsOptions({ host, tls, tlsName, ca }: ConnectSettings): ConnectionOptions {
  if (tls !== 'verify') return { minVersion: 'TLSv1.2', rejectUnauthorized: false }
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    // Whatever name is sent to the server, this is the one that counts.
    checkServerIdentity: (_, certificate) => checkName(tlsName ?? host, certificate),
    ...(ca === undefined ? {} : { ca: typeof ca === 'string' ? ca : [...ca] }),
    ...(tlsName === undefined ? {} : { servername: tlsName }),
  }
}

/** RFC 9525 §6.3: the names of a certificate are in its subjectAltName, never in its common name. */
function checkName(name: string, certificate: PeerCertificate): Error | undefined {
  if (!certificate.subjectaltname) return new Error('the certificate has no subjectAltName')
  return checkServerIdentity(name, certificate)
}

function greet(connection: SMTPConnection, signal: AbortSignal): Promise<void> {
  return settle(connection, signal, done => connection.connect(done))
}

function logIn(
  connection: SMTPConnection,
  { user, password }: NonNullable<ConnectSettings['auth']>,
  signal: AbortSignal,
): Promise<void> {
  if (!connection.secure) throw new Error('no TLS, and credentials are not sent in clear')
  return settle(connection, signal, done => connection.login({ user, pass: password }, done))
}

/** nodemailer tells of a failure by callback or by event, as it comes. */
function settle(
  connection: SMTPConnection,
  signal: AbortSignal,
  begin: (done: (error?: Error | null) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => reject(signal.reason)
    const finish = (error?: Error | null): void => {
      signal.removeEventListener('abort', aborted)
      if (error) reject(error)
      else resolve()
    }
    if (signal.aborted) return aborted()
    signal.addEventListener('abort', aborted, { once: true })
    connection.removeAllListeners('error').removeAllListeners('end')
    connection.on('error', finish)
    connection.on('end', () => finish(new Error('the next hop closed the connection')))
    begin(finish)
  })
}

/** Why the connection is not under TLS, where that is allowed; throws where it is not. */
function reasonForPlain(connection: SMTPConnection, { tls }: ConnectSettings): string | undefined {
  if (connection.secure || tls === 'none') return undefined
  if (tls !== 'may') throw new Error('no TLS, which is required')
  const said = String(connection.lastServerResponse)
  if (said.startsWith('454')) return 'refused with 454'
  // nodemailer goes on in clear whatever the answer was. Only these two leave no doubt about the peer.
  if (/^2/.test(said)) return 'not offered'
  throw new Error(`STARTTLS was answered ${visible(said, 200)}`)
}

/** What is taken of nodemailer's connection. */
interface Internals {
  readonly _socket: Socket
  /** Lines of the last EHLO reply but the first, without codes; absent after HELO. */
  readonly _ehloLines?: readonly string[]
  /** Octets and replies that nobody asked for. */
  readonly _remainder: string
  readonly _responseQueue: readonly string[]
  readonly _onSocketData: (chunk: Buffer) => void
  readonly _onSocketTimeout: () => void
  readonly _onSocketClose: () => void
  readonly _onSocketEnd: () => void
  readonly _onSocketError: (error: Error) => void
}

/**
 * Takes the socket from the connection, in the same tick in which its handshake ended: no octet can
 * come between. The connection object has no timer and no listener left then, and is forgotten.
 */
function takeOver(connection: SMTPConnection): Wire {
  const internals = connection as unknown as Internals
  const { _socket: socket } = internals
  for (const [event, name] of LISTENERS) {
    if (typeof internals[name] !== 'function')
      throw new Error(`this nodemailer has no ${name}; another version than Postern was made for`)
    socket.removeListener(event, internals[name])
  }
  connection.removeAllListeners()
  if (internals._remainder !== '' || internals._responseQueue.length > 0)
    throw new Error('the next hop said more than it was asked')
  return new Wire(socket, parseExtensions(internals._ehloLines ?? []))
}

/** In words that are fit for a log: some of them may be the next hop's. */
function reasonOf(error: unknown): Error {
  return new Error(visible(error instanceof Error ? error.message : String(error), 500))
}

const LISTENERS = [
  ['data', '_onSocketData'],
  ['timeout', '_onSocketTimeout'],
  ['close', '_onSocketClose'],
  ['end', '_onSocketEnd'],
  ['error', '_onSocketError'],
] as const
const MAX_RESPONSE_OCTETS = 65_536
