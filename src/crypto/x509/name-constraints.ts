/**
 * Name constraints: which names an authority may speak for (RFC 5280 §4.2.1.10, RFC 9549, RFC 9598).
 *
 * A name is good when every authority above that permits names of its form permits it, and none
 * excludes it. Where a name or a constraint cannot be understood, the name is not good.
 *
 * @module
 */
import { domainToASCII } from 'node:url'
import { DerReader } from '../asn1/der-reader.ts'
import type { Certificate } from './certificate.ts'
import type { GeneralName, NameForm } from './general-name.ts'
import { readName } from './name.ts'
import { comparableName, isEmptyName } from './name-comparison.ts'
import * as OID from './oids.ts'
import type { PathBudget } from './path-budget.ts'
import { type NameConstraints, pathExtensions } from './path-extensions.ts'

/** The constraints of the authorities above, nearest last. */
export type ConstraintsAbove = readonly NameConstraints[]

export type ConstraintFault = 'refused' | 'malformed' | 'budget-exceeded'

/**
 * Holds all names of a certificate against the constraints above it.
 *
 * @returns Undefined where all names are good; else why not, and the form of the name.
 */
export function nameFault(
  certificate: Certificate,
  above: ConstraintsAbove,
  budget: PathBudget,
): { readonly fault: ConstraintFault; readonly form: string } | undefined {
  if (above.length === 0) return undefined
  try {
    for (const name of namesOf(certificate)) {
      const fault = faultOf(name, above, budget)
      if (fault) return { fault, form: name.form }
    }
    return undefined
  } catch {
    return { fault: 'malformed', form: 'a name' }
  }
}

/** Constraints whose own patterns are malformed, or that ask for what nobody can check. */
export function areSoundConstraints(constraints: NameConstraints): boolean {
  const bases = [...constraints.permitted, ...constraints.excluded]
  if (constraints.hasDistances || bases.length === 0) return false
  try {
    return bases.every(base => isSoundBase(base))
  } catch {
    return false
  }
}

/** A name that is to be checked; an address may be a mailbox of RFC 9598. */
interface Name {
  readonly form: NameForm | 'smtpUtf8Mailbox'
  readonly text: string
  readonly octets: Buffer
  /** Of an otherName. */
  readonly type: string
}

/**
 * Subject, alternative names, and the addresses in the subject. RFC 5280 §4.2.1.10 wants the latter
 * checked where there are no alternative names; here they are always: somebody may believe them.
 */
function namesOf(certificate: Certificate): Name[] {
  const { subject } = certificate
  const names: Name[] = []
  if (!isEmptyName(subject))
    names.push({ form: 'directoryName', text: '', octets: subject, type: '' })
  for (const { type, value } of readName(subject).flat())
    if (type === OID.EMAIL_ADDRESS)
      names.push({ form: 'rfc822Name', text: value.toString('latin1'), octets: EMPTY, type })
  for (const name of pathExtensions(certificate).alternativeNames) names.push(nameOf(name))
  return names
}

function nameOf(name: GeneralName): Name {
  if ('text' in name) return { form: name.form, text: name.text, octets: EMPTY, type: '' }
  if (name.form !== 'otherName') return { form: name.form, text: '', octets: name.value, type: '' }
  if (name.type !== OID.SMTP_UTF8_MAILBOX)
    return { form: name.form, text: '', octets: name.value, type: name.type }
  const text = new DerReader(name.value).element(0x0c).content.toString('utf8')
  return { form: 'smtpUtf8Mailbox', text, octets: name.value, type: name.type }
}

function faultOf(name: Name, above: ConstraintsAbove, budget: PathBudget) {
  for (const { permitted, excluded } of above) {
    const relevant = permitted.filter(base => concerns(base, name))
    const forbidden = excluded.filter(base => concerns(base, name))
    budget.nameComparisons -= permitted.length + excluded.length
    if (budget.nameComparisons < 0) return 'budget-exceeded'
    if (relevant.length + forbidden.length > 0 && !isSoundName(name)) return 'malformed'
    if (relevant.length > 0 && !relevant.some(base => isWithin(name, base, 'permitted')))
      return 'refused'
    if (forbidden.some(base => isWithin(name, base, 'excluded'))) return 'refused'
  }
  return undefined
}

/** A constraint on addresses is one on international addresses too (RFC 9598 §6). */
function concerns(base: GeneralName, { form, type }: Name): boolean {
  if (base.form === 'otherName')
    return base.type === type && (form === 'otherName' || form === 'smtpUtf8Mailbox')
  return base.form === (form === 'smtpUtf8Mailbox' ? 'rfc822Name' : form)
}

/**
 * Whether a name lies within a constraint. Where nobody can tell, the answer is the one that makes
 * the name fail: not permitted, but excluded.
 */
function isWithin(name: Name, base: GeneralName, side: 'permitted' | 'excluded'): boolean {
  switch (base.form) {
    case 'rfc822Name':
      return isMailboxWithin(name, base.text, side)
    case 'dNSName':
      return isHostWithin(name.text.toLowerCase(), base.text.toLowerCase(), side)
    case 'uniformResourceIdentifier': {
      const host = hostOfUri(name.text)
      return host === undefined ? side === 'excluded' : isHostUnder(host, base.text.toLowerCase())
    }
    case 'directoryName':
      return isNameUnder(comparableName(name.octets), comparableName(base.value))
    case 'iPAddress':
      return isAddressWithin(name.octets, base.value)
    case 'otherName':
    case 'x400Address':
    case 'ediPartyName':
    case 'registeredID':
      return side === 'excluded'
  }
}

/**
 * `user@host`: that mailbox. `host`: all of that host. `.domain`: all hosts below. Local parts are
 * compared as they stand to permit, and without case to exclude: who may not be `Bob` may not be
 * `bob` either.
 */
function isMailboxWithin(name: Name, base: string, side: 'permitted' | 'excluded'): boolean {
  const at = name.text.lastIndexOf('@')
  const local = name.text.slice(0, at)
  const host = asciiHost(name.text.slice(at + 1))
  const baseAt = base.lastIndexOf('@')
  if (baseAt < 0) return isHostUnder(host, base.toLowerCase())
  if (host !== base.slice(baseAt + 1).toLowerCase()) return false
  const baseLocal = base.slice(0, baseAt)
  return side === 'permitted'
    ? local === baseLocal
    : local.toLowerCase() === baseLocal.toLowerCase()
}

/** Constraints on hosts of addresses and URIs: the host itself, or with a dot what is below it. */
function isHostUnder(host: string, base: string): boolean {
  if (base === '') return true
  return base.startsWith('.') ? host.endsWith(base) && host.length > base.length : host === base
}

/** Constraints on dNSName: the domain and all below it. A wildcard may be any name of its level. */
function isHostWithin(host: string, base: string, side: 'permitted' | 'excluded'): boolean {
  if (base === '' || host === base || host.endsWith(`.${base}`)) return true
  if (!host.startsWith('*.') || side === 'permitted') return false
  return base.slice(base.indexOf('.') + 1) === host.slice(2)
}

/** A URI without a host that is a name cannot be held against a constraint (RFC 5280 §4.2.1.10). */
function hostOfUri(uri: string): string | undefined {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#@:[\]]+)(?::\d*)?(?:[/?#]|$)/i
  const host = authority.exec(uri)?.[1]?.toLowerCase()
  return host !== undefined && isHostName(host) && !/^[\d.]+$/.test(host) ? host : undefined
}

function isNameUnder(name: readonly string[], base: readonly string[]): boolean {
  return base.length <= name.length && base.every((relative, index) => relative === name[index])
}

/** Address and mask, one behind the other. An IPv4 address never lies in an IPv6 net. */
function isAddressWithin(address: Buffer, base: Buffer): boolean {
  const size = address.length
  if (base.length !== size * 2) return false
  return address.every((octet, index) => ((octet ^ base[index]!) & base[size + index]!) === 0)
}

/** Whether a name is what its form says, so that a comparison means something. */
function isSoundName({ form, text, octets }: Name): boolean {
  switch (form) {
    case 'rfc822Name':
      return isAscii(text) && isMailbox(text)
    case 'smtpUtf8Mailbox':
      return isMailbox(text)
    case 'dNSName':
      return isHostName(text.replace(/^\*\./, ''))
    case 'iPAddress':
      return octets.length === 4 || octets.length === 16
    case 'uniformResourceIdentifier':
      return text.length <= MAXIMUM_URI
    case 'directoryName':
    case 'otherName':
    case 'x400Address':
    case 'ediPartyName':
    case 'registeredID':
      return true
  }
}

function isSoundBase(base: GeneralName): boolean {
  switch (base.form) {
    case 'rfc822Name':
      return isAscii(base.text) && (base.text.includes('@') ? isMailbox : isHostBase)(base.text)
    case 'dNSName':
      return base.text === '' || isHostName(base.text)
    case 'uniformResourceIdentifier':
      return isHostBase(base.text)
    case 'directoryName':
      return comparableName(base.value).length >= 0
    case 'iPAddress':
      return isNet(base.value)
    case 'otherName':
    case 'x400Address':
    case 'ediPartyName':
    case 'registeredID':
      return true
  }
}

function isNet(octets: Buffer): boolean {
  if (octets.length !== 8 && octets.length !== 32) return false
  const mask = octets.subarray(octets.length / 2).toString('hex')
  return /^f*[ec8]?0*$/.test(mask)
}

function isHostBase(text: string): boolean {
  return text === '' || isHostName(text.replace(/^\./, ''))
}

/** `local@host`: one `@`, whose host is a name. */
function isMailbox(text: string): boolean {
  const at = text.indexOf('@')
  return at > 0 && at === text.lastIndexOf('@') && isHostName(asciiHost(text.slice(at + 1)))
}

/** RFC 9549 §2: hosts are compared as A-labels. */
function asciiHost(host: string): string {
  return isAscii(host) ? host.toLowerCase() : domainToASCII(host)
}

function isHostName(host: string): boolean {
  if (host.length === 0 || host.length > 253) return false
  return host.split('.').every(label => /^[a-z\d_](?:[a-z\d_-]{0,61}[a-z\d_])?$/i.test(label))
}

function isAscii(text: string): boolean {
  return !/[^\x21-\x7e]/.test(text)
}

/** Each is looked through once a constraint. */
const MAXIMUM_URI = 2048
const EMPTY = Buffer.alloc(0)
