/**
 * Addresses of clients, as they are logged, traced and counted.
 *
 * @module
 */
import ipaddr from 'ipaddr.js'

/** IPv4-mapped IPv6 brought to IPv4, and without a zone. */
export function clientAddress(address: string | undefined): string | undefined {
  if (address === undefined) return undefined
  const bare = address.replace(/%.*$/, '')
  return bare.startsWith('::ffff:') && bare.includes('.') ? bare.slice(7) : bare
}

/** What one client has: an IPv4 address, or an IPv6 /64 (RFC 6177). */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const parsed = ipaddr.IPv6.parse(address)
  return parsed.parts.slice(0, 4).join(':')
}
