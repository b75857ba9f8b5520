/**
 * Which certificate of ours a copy for one of our own people is encrypted to.
 *
 * @module
 */
import { requireEncryptionKey } from '../crypto/key-management.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import { PosternError } from '../errors.ts'
import type { Mailbox } from '../mail/address.ts'
import type { Identities } from './identities.ts'

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
  const { keyUsage, extendedKeyUsage, publicKey } = certificate
  const usage = publicKey.asymmetricKeyType === 'rsa' ? 'keyEncipherment' : 'keyAgreement'
  if (keyUsage && !keyUsage.has(usage)) return false
  if (extendedKeyUsage && !MAIL_PURPOSES.some(purpose => extendedKeyUsage.has(purpose)))
    return false
  try {
    requireEncryptionKey(publicKey)
    return true
  } catch (error) {
    if (error instanceof PosternError) return false
    throw error
  }
}

type CertificatesByName = ReadonlyMap<string, readonly ValidCertificate<'encrypt'>[]>
const judged = new WeakMap<Identities, CertificatesByName>()
/** emailProtection, and anyExtendedKeyUsage. */
const MAIL_PURPOSES = ['1.3.6.1.5.5.7.3.4', '2.5.29.37.0']
