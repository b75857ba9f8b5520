/**
 * Which certificate of ours a copy for one of our own people is encrypted to.
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import { isMeantFor } from '../crypto/x509/path-check.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import type { Mailbox } from '../mail/address.ts'
import type { Identities } from './identities.ts'
import { mayBeEncryptedTo } from './validate.ts'

/**
 * The newest certificate of a mailbox's own identities, else of its domain's, that may be encrypted to
 * today (RFC 8550 §4.4.2, §4.4.4).
 *
 * Nobody has to vouch for it: the organisation has laid its private key beside it, and opens with that
 * key what it is sent.
 */
export function ownCertificateFor(
  identities: Identities,
  mailbox: Mailbox,
  now: Date,
): ValidCertificate<'encrypt'> | undefined {
  const byName = certificatesByName(identities)
  for (const name of [mailbox.matchKey, `@${mailbox.domain}`]) {
    const fit = byName
      .get(name)
      ?.find(({ notBefore, notAfter }) => notBefore <= now && now <= notAfter)
    if (fit) return fit
  }
  return undefined
}

/** What never changes is judged once. */
function certificatesByName(identities: Identities): CertificatesByName {
  const known = judged.get(identities)
  if (known) return known
  const byName = new Map<string, ValidCertificate<'encrypt'>[]>()
  const newestFirst = identities.all.toSorted(
    (one, other) => other.certificate.notBefore.getTime() - one.certificate.notBefore.getTime(),
  )
  for (const { certificate, names } of newestFirst) {
    if (!isMadeForEncryption(certificate)) continue
    for (const name of names) byName.set(name, [...(byName.get(name) ?? []), certificate])
  }
  judged.set(identities, byName)
  return byName
}

function isMadeForEncryption(certificate: Certificate): certificate is ValidCertificate<'encrypt'> {
  return mayBeEncryptedTo(certificate) && isMeantFor(certificate, 'emailProtection')
}

type CertificatesByName = ReadonlyMap<string, readonly ValidCertificate<'encrypt'>[]>
const judged = new WeakMap<Identities, CertificatesByName>()
