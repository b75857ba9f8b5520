/**
 * Which mailboxes a certificate names: the one comparison of addresses that all sources share.
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Mailbox, matchKeyOf } from '../mail/address.ts'

/**
 * Match keys of the mailboxes that a certificate names (RFC 8550 §3). An address that is none by the
 * rules of SMTP names nobody.
 */
export function mailboxKeys(certificate: Certificate): readonly string[] {
  return certificate.addresses.flatMap(address => matchKeyOf(address) ?? [])
}

/** Whether a certificate names this mailbox. */
export function bears(certificate: Certificate, mailbox: Mailbox): boolean {
  return mailboxKeys(certificate).includes(mailbox.matchKey)
}

/** Which mailboxes a certificate speaks for, and where it says so. */
export interface CertificateMailboxes {
  /** Match keys. Empty where it names none, or none that every reader reads alike. */
  readonly mailboxes: readonly string[]
  /**
   * `san`: subject alternative name, rfc822Name or SmtpUTF8Mailbox; `dn`: emailAddress of the
   * subject, which counts only where there is no address among the alternative names (RFC 8550 §3).
   */
  readonly from: 'san' | 'dn' | 'none'
}

/** The mailboxes of a signer's certificate, for the comparison with the author of a message. */
export function addressesOf(certificate: Certificate): CertificateMailboxes {
  return { mailboxes: mailboxKeys(certificate), from: PLACES[certificate.addressSource] }
}

const PLACES = { 'alternative-name': 'san', subject: 'dn', none: 'none' } as const
