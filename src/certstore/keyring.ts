/**
 * Our keys for opening what has been encrypted to a mailbox.
 *
 * A message for one recipient is never opened with the key of another: whoever has one mailbox here
 * could have it opened for himself what was meant for somebody else.
 *
 * @module
 */
import { type KeyUnwrapper, unwrapperFor } from '../crypto/key.ts'
import type { Mailbox } from '../mail/address.ts'
import type { Identities } from './identities.ts'

/** What may open the mail of one mailbox. */
export interface RecipientKeys {
  /** The mailbox's own ones first; the newest of each first. */
  readonly keys: readonly KeyUnwrapper[]
  /** The same for mailboxes with the same keys. */
  readonly name: string
  /** Whose key a certificate of them is: one that opens for everybody in the domain is said to be so. */
  ownerOf(fingerprint: string): 'own' | 'domain'
}

/** All our keys, expired ones too: what was encrypted to them stays readable. */
export interface Keyring {
  keysFor(mailbox: Mailbox): RecipientKeys
}

/** @param domainKeys Whether the key of an identity for `@domain` opens for everybody in it. */
export function createKeyring(identities: Identities, domainKeys: boolean): Keyring {
  const byName = new Map<string, KeyUnwrapper[]>()
  for (const { certificate, privateKey, names } of newestFirst(identities)) {
    const unwrapper = unwrapperFor(certificate, privateKey)
    for (const name of names) {
      const others = byName.get(name)
      if (others) others.push(unwrapper)
      else byName.set(name, [unwrapper])
    }
  }
  return {
    keysFor(mailbox) {
      const own = byName.get(mailbox.matchKey) ?? NO_KEYS
      const domain = (domainKeys ? byName.get(`@${mailbox.domain}`) : undefined) ?? NO_KEYS
      const keys = [...own, ...domain]
      return {
        keys,
        name: keys.map(({ certificate }) => certificate.fingerprint).join(),
        ownerOf: fingerprint =>
          own.some(({ certificate }) => certificate.fingerprint === fingerprint) ? 'own' : 'domain',
      }
    },
  }
}

function newestFirst({ all }: Identities) {
  return all.toSorted(
    (one, other) => other.certificate.notBefore.getTime() - one.certificate.notBefore.getTime(),
  )
}

const NO_KEYS: readonly KeyUnwrapper[] = []
