/**
 * Reads command lines: the verb, and for MAIL and RCPT the path and its parameters.
 *
 *     line ── parseCommand ──▶ verb · argument ── parseMail, parseRcpt ──▶ path · parameters
 *                                                          └─▶ Reply: what to refuse it with
 *
 * Every function here is linear in the line, whose length the session has bounded.
 *
 * @module
 */
import { isAscii, isUtf8 } from 'node:buffer'
import { PosternError } from '../errors.ts'
import { type Mailbox, parsePath } from '../mail/address.ts'
import type { EsmtpParameters, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import { type Reply, type ReplyName, reply } from './reply.ts'

/** A command line without its CRLF. */
export interface Command {
  /** Upper case; empty where the line does not begin with letters. */
  readonly verb: string
  /** What follows the verb, without white space around it. */
  readonly argument: string
  readonly ascii: boolean
}

/** What MAIL says. */
export interface MailCommand {
  readonly reversePath: ReversePath
  readonly parameters: EsmtpParameters
}

/** Splits a line. `undefined` where it is not UTF-8. */
export function parseCommand(line: Buffer): Command | undefined {
  const ascii = isAscii(line)
  if (!ascii && !isUtf8(line)) return undefined
  const text = line.toString(ascii ? 'latin1' : 'utf8')
  const space = text.indexOf(' ')
  const word = space < 0 ? text : text.slice(0, space)
  const verb = /^[A-Za-z]{1,32}$/.test(word) ? word.toUpperCase() : ''
  return { verb, argument: space < 0 ? '' : text.slice(space + 1).trim(), ascii }
}

/**
 * Reads the argument of MAIL (RFC 5321 §4.1.1.2).
 *
 * @param esmtp Whether the client said EHLO; parameters are known to those only.
 */
export function parseMail({ argument, ascii }: Command, esmtp: boolean): MailCommand | Reply {
  const parts = splitPath(argument, 'FROM:')
  if (!parts) return reply('syntax', 'MAIL FROM:<reverse-path> is expected')
  const parameters = parseParameters(parts.rest, esmtp ? MAIL_PARAMETERS : NO_PARAMETERS)
  if (isRefusal(parameters)) return parameters
  // RFC 6531 §3.3: octets beyond ASCII only in a transaction that asked for SMTPUTF8.
  if (!ascii && !parameters.has('SMTPUTF8')) return reply('utf8-not-asked')
  const path = readPath(parts.path, false)
  if (path instanceof PosternError) return reply('bad-reverse-path', path.message)
  return { reversePath: path, parameters }
}

/**
 * Reads the argument of RCPT (RFC 5321 §4.1.1.3).
 *
 * @param utf8 Whether MAIL asked for SMTPUTF8.
 */
export function parseRcpt(
  { argument, ascii }: Command,
  esmtp: boolean,
  utf8: boolean,
): ForwardPath | Reply {
  const parts = splitPath(argument, 'TO:')
  if (!parts) return reply('syntax', 'RCPT TO:<forward-path> is expected')
  const parameters = parseParameters(parts.rest, esmtp ? RCPT_PARAMETERS : NO_PARAMETERS)
  if (isRefusal(parameters)) return parameters
  if (!ascii && !utf8) return reply('utf8-not-asked')
  const mailbox = readPath(parts.path, true)
  if (mailbox instanceof PosternError) return reply('bad-forward-path', mailbox.message)
  if (mailbox === null) return reply('bad-forward-path', 'is empty')
  return { mailbox, parameters }
}

/** Tells a refusal from what was asked for. */
export function isRefusal<T extends object>(value: T | Reply): value is Reply {
  return 'code' in value
}

interface PathAndRest {
  /** In its angle brackets. */
  readonly path: string
  readonly rest: string
}

/** White space behind the colon is not RFC 5321's, but much software writes it. */
function splitPath(argument: string, keyword: string): PathAndRest | undefined {
  if (argument.slice(0, keyword.length).toUpperCase() !== keyword) return undefined
  const text = argument.slice(keyword.length).trimStart()
  const end = endOfPath(text)
  if (end === undefined) return undefined
  const rest = text.slice(end)
  if (rest !== '' && !rest.startsWith(' ')) return undefined
  return { path: text.slice(0, end), rest: rest.trim() }
}

/** Offset behind the `>` of a path, which may stand in a quoted string before (RFC 5321 §4.1.2). */
function endOfPath(text: string): number | undefined {
  if (!text.startsWith('<')) return undefined
  let quoted = false
  for (let at = 1; at < text.length; at++) {
    const character = text[at]
    if (character === '\\' && quoted) at++
    else if (character === '"') quoted = !quoted
    else if (character === '>' && !quoted) return at + 1
  }
  return undefined
}

function readPath(path: string, postmaster: boolean): Mailbox | null | PosternError {
  try {
    return parsePath(path, { postmaster })
  } catch (error) {
    if (error instanceof PosternError) return error
    throw error
  }
}

type ParameterSyntax = Readonly<Record<string, RegExp>>

/** @returns A refusal at the first parameter that is unknown, given twice, or malformed. */
function parseParameters(text: string, known: ParameterSyntax): EsmtpParameters | Reply {
  if (text === '') return NO_VALUES
  const parameters = new Map<string, string>()
  for (const parameter of text.split(/ +/)) {
    const equals = parameter.indexOf('=')
    const keyword = (equals < 0 ? parameter : parameter.slice(0, equals)).toUpperCase()
    const refusal = judge(keyword, parameter, equals, known, parameters)
    if (refusal) return reply(refusal, keyword.slice(0, 64))
    parameters.set(keyword, equals < 0 ? '' : parameter.slice(equals + 1))
  }
  return parameters
}

function judge(
  keyword: string,
  parameter: string,
  equals: number,
  known: ParameterSyntax,
  earlier: EsmtpParameters,
): ReplyName | undefined {
  if (!Object.hasOwn(known, keyword)) return 'unknown-parameter'
  if (earlier.has(keyword)) return 'syntax'
  // `KEYWORD=` without a value is neither form.
  if (equals === parameter.length - 1) return 'syntax'
  const value = equals < 0 ? '' : parameter.slice(equals + 1)
  return known[keyword]!.test(value) ? undefined : 'syntax'
}

const NO_VALUES: EsmtpParameters = new Map()
const NO_PARAMETERS: ParameterSyntax = {}
/** xtext (RFC 3461 §4); every alternative begins with another character, so it is linear. */
const XTEXT = '(?:[!-*,-<>-~]|\\+[0-9A-F]{2})'
const MAIL_PARAMETERS: ParameterSyntax = {
  /** RFC 1870 §4 */
  SIZE: /^\d{1,20}$/,
  /** RFC 6152 §3 */
  BODY: /^(?:7BIT|8BITMIME)$/i,
  /** RFC 6531 §3.4: stands alone. */
  SMTPUTF8: /^$/,
  /** RFC 3461 §4.3, §4.4 */
  RET: /^(?:FULL|HDRS)$/i,
  ENVID: new RegExp(`^(?=.{1,100}$)${XTEXT}+$`),
  /** RFC 4954 §5: a mailbox in xtext, or `<>`. */
  AUTH: new RegExp(`^(?:<>|${XTEXT}{1,500})$`),
}
const RCPT_PARAMETERS: ParameterSyntax = {
  /** RFC 3461 §4.1 */
  NOTIFY: /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2})$/i,
  /** RFC 3461 §4.2; the address may be internationalised (RFC 6533 §3). */
  ORCPT: new RegExp(
    `^(?=.{1,500}$)[A-Za-z0-9-]+;(?:${XTEXT}|[^\\p{C}\\p{Z}\\u0000-\\u007f])+$`,
    'u',
  ),
}
