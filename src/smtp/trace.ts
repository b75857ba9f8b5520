/**
 * Our line in the trace of a message, and the count of all lines against loops.
 *
 * @module
 */
import { isIPv6 } from 'node:net'
import type { HeaderSection } from '../mail/header-section.ts'
import type { Client } from './transaction.ts'

/** What a Received field tells. */
export interface TraceParts {
  readonly client: Client
  /** Our name. */
  readonly hostname: string
  /** Identifier of the transaction: letters, digits, `.` and `-`. */
  readonly id: string
  readonly date: Date
  /** The transaction was an SMTPUTF8 one (RFC 6531 §4.3). */
  readonly utf8: boolean
}

/**
 * The Received field that we put on top (RFC 5321 §4.4), folded, CRLF included.
 *
 * What the client says of itself appears only where it has the form of a domain or of an address
 * literal, so that nothing a stranger writes can end the field or look like one of ours. For whom the
 * message is stands nowhere in it: a hidden recipient stays hidden.
 */
export function receivedField(parts: TraceParts): Buffer {
  const { client, hostname, id, date } = parts
  const lines = [
    `Received: from ${heloName(client.helo)} (${addressLiteral(client.address)})`,
    `by ${hostname} with ${withProtocol(client, parts.utf8)} id ${id}`,
  ]
  if (client.tls !== undefined && PRINTABLE.test(client.tls)) lines.push(`(${client.tls})`)
  const field = `${lines.join('\r\n\t')};\r\n\t${dateTime(date)}\r\n`
  return Buffer.from(field)
}

/** How often the message has been received already (RFC 5321 §6.3). */
export function hopCount(section: Pick<HeaderSection, 'fields'>): number {
  return section.fields.reduce((hops, { key }) => (key === 'received' ? hops + 1 : hops), 0)
}

/** Date and time as RFC 5322 §3.3 writes them, in UTC. */
function dateTime(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000')
}

/** The registered names of RFC 3848 and RFC 6531 §4.3. HELO knows none of them. */
function withProtocol({ esmtp, tls, user }: Client, utf8: boolean): string {
  if (!esmtp) return 'SMTP'
  const suffix = `${tls === undefined ? '' : 'S'}${user === undefined ? '' : 'A'}`
  return `${utf8 ? 'UTF8SMTP' : 'ESMTP'}${suffix}`
}

function heloName(helo: string): string {
  return helo.length <= 255 && HELO.test(helo) ? helo : 'unknown'
}

function addressLiteral(address: string): string {
  return isIPv6(address) ? `[IPv6:${address}]` : `[${address}]`
}

// A domain (underscores are common in machine names), or an address literal.
const HELO = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[A-Za-z0-9:.-]+\])$/
// No controls, no parentheses or angle brackets that would open or close something.
const PRINTABLE = /^[ !"#$%&'*-;=?-~]+$/
