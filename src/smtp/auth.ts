/**
 * AUTH with PLAIN and LOGIN (RFC 4954, RFC 4616), one response after the other.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import type { ReplyName } from './reply.ts'

/** What a client knows about itself, as it was sent. Never logged. */
export interface Credentials {
  readonly user: string
  readonly password: string
}

/** Asks whether a user may send. */
export type Authenticate = (user: string, password: string) => boolean | Promise<boolean>

/** What comes of a response: a further challenge in base64, the credentials, or a refusal. */
export type AuthStep =
  | { readonly challenge: string }
  | { readonly credentials: Credentials }
  | { readonly refusal: ReplyName }

/** The mechanisms on offer, as EHLO names them. */
export const MECHANISMS = ['PLAIN', 'LOGIN'] as const

/** One exchange between AUTH and its last reply. */
export class AuthExchange {
  readonly #mechanism: (typeof MECHANISMS)[number]
  #user: string | undefined

  private constructor(mechanism: (typeof MECHANISMS)[number]) {
    this.#mechanism = mechanism
  }

  /** Begins with the argument of AUTH: a mechanism, and perhaps the first response (RFC 4954 §4). */
  static begin(argument: string): { exchange: AuthExchange; step: AuthStep } | ReplyName {
    const [name = '', initial, ...more] = argument.split(/ +/)
    const mechanism = MECHANISMS.find(known => known === name.toUpperCase())
    if (!mechanism) return 'auth-unknown-mechanism'
    if (more.length > 0) return 'syntax'
    const exchange = new AuthExchange(mechanism)
    if (initial === undefined) return { exchange, step: exchange.#challenge() }
    return { exchange, step: exchange.take(initial === '=' ? '' : initial) }
  }

  /** Takes a response line. */
  take(response: string): AuthStep {
    if (response === '*') return { refusal: 'auth-cancelled' }
    const text = decode(response)
    if (text === undefined) return { refusal: 'auth-bad-response' }
    if (this.#mechanism === 'PLAIN') return plain(text)
    if (this.#user !== undefined) return credentials(this.#user, text)
    this.#user = text
    return this.#challenge()
  }

  #challenge(): AuthStep {
    if (this.#mechanism === 'PLAIN') return { challenge: '' }
    return { challenge: this.#user === undefined ? USERNAME : PASSWORD }
  }
}

/** `authzid NUL authcid NUL password`; nobody may act for somebody else (RFC 4616 §2). */
function plain(text: string): AuthStep {
  const [authorisation, user, password, ...more] = text.split('\0')
  if (user === undefined || password === undefined || more.length > 0) {
    return { refusal: 'auth-bad-response' }
  }
  if (authorisation !== '' && authorisation !== user) return { refusal: 'auth-failed' }
  return credentials(user, password)
}

function credentials(user: string, password: string): AuthStep {
  if (user === '' || CONTROL.test(user) || CONTROL.test(password)) {
    return { refusal: 'auth-failed' }
  }
  return { credentials: { user, password } }
}

/** Strict: Buffer's own decoder passes over what is not base64. */
function decode(base64: string): string | undefined {
  if (base64.length % 4 !== 0 || !BASE64.test(base64)) return undefined
  const octets = Buffer.from(base64, 'base64')
  return isUtf8(octets) ? octets.toString() : undefined
}

/** The line that carries a challenge. */
export function challengeLine(challenge: string): string {
  return `334 ${challenge}\r\n`
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const CONTROL = /[\u0000-\u001f\u007f]/
const USERNAME = Buffer.from('Username:').toString('base64')
const PASSWORD = Buffer.from('Password:').toString('base64')
