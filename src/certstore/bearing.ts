/**
 * Which mailboxes a certificate names: the one comparison of addresses that all sources share.
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import { type Mailbox, parseMailbox } from '../mail/address.ts'

/**
 * Match keys of the mailboxes that a certificate names (RFC 8550 §3). An address that is none by the
 * rules of SMTP names nobody.
 */
export function mailboxKeys(certificate: Certificate): readonly string[] {
  return certificate.addresses.flatMap(address => mailboxKey(address) ?? [])
}

/** The match key of an address as somebody wrote it; undefined where it is none. */
export function mailboxKey(address: string): string | undefined {
  try {
    return parseMailbox(address).matchKey
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

/** Whether a certificate names this mailbox. */
export function bears(certificate: Certificate, mailbox: Mailbox): boolean {
  return mailboxKeys(certificate).includes(mailbox.matchKey)
}
