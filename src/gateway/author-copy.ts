/**
 * The copy for the originator (RFC 8551 §3.3): whoever wrote a message may open what was encrypted of
 * it, in a Sent folder or in a journal that we open.
 *
 * A wish that gives way: where there is no certificate, and where one would make the message weaker or
 * harder to read for its recipients, the message goes out without.
 *
 * @module
 */
import type { Directory } from '../certstore/directory.ts'
import type { Identities } from '../certstore/identities.ts'
import { ownCertificateFor } from '../certstore/own-certificate.ts'
import type { RecipientKey } from '../crypto/cms/recipient-info.ts'
import {
  type EncryptionChoice,
  encryptionFor,
  strengthKey,
} from '../crypto/smime/encryption-choice.ts'
import type { ValidCertificate } from '../crypto/x509/valid-certificate.ts'
import { type Mailbox, mailboxInDomains } from '../mail/address.ts'
import type { EncryptionProfile } from '../policy/treatment.ts'

/** What a copy for the author is encrypted to, or why there is none. */
export type AuthorCopy =
  | {
      readonly kind: 'found'
      readonly certificates: readonly ValidCertificate<'encrypt'>[]
      readonly source: string
    }
  | { readonly kind: 'none'; readonly reason: string }

/** Where certificates of authors come from. */
export interface CopyParts {
  readonly identities: Identities
  readonly directory: Directory
  /** Our domains, A-labels: nobody else is an author of ours. */
  readonly domains: ReadonlySet<string>
}

/** Finds what to encrypt a copy to: our own identity first, else what the directory knows. */
export async function findAuthorCopy(
  author: Mailbox | undefined,
  { identities, directory, domains }: CopyParts,
  { now, signal }: { readonly now: Date; readonly signal: AbortSignal },
): Promise<AuthorCopy> {
  if (author === undefined) return { kind: 'none', reason: 'there is no one author' }
  // What somebody else wrote, and a server of ours sends on, is none of his business any more.
  if (!mailboxInDomains(author, domains))
    return { kind: 'none', reason: 'its author is nobody of ours' }
  const own = ownCertificateFor(identities, author, now)
  if (own) return { kind: 'found', certificates: [own], source: 'identities' }
  const found = await directory.search(author, signal)
  if (found.kind !== 'valid') return { kind: 'none', reason: `of the author, ${found.reason}` }
  const { certificate, others = [], source } = found
  return { kind: 'found', certificates: [certificate, ...others], source }
}

/**
 * The keys of a copy, beside recipients of this choice.
 *
 * Only those by which the message stays as strong, and as readable, as it is for its recipients
 * (see `strengthKey`): an RSA key gets OAEP where nobody's key came by PKCS #1 v1.5, and an elliptic
 * curve never stands beside PKCS #1 v1.5.
 */
export function copyKeys(
  copy: AuthorCopy | undefined,
  choice: EncryptionChoice,
  profile: EncryptionProfile,
): readonly RecipientKey[] {
  if (copy?.kind !== 'found') return []
  return copy.certificates.flatMap(certificate => {
    const fit = [profile, 'modern' as const]
      .map(name => ({ ...encryptionFor(certificate, name), content: choice.content }))
      .find(candidate => strengthKey(candidate) === strengthKey(choice))
    if (fit === undefined) return []
    return [{ certificate, management: fit.management, keyIdentification: fit.keyIdentification }]
  })
}

/** Why there is no copy although there is a certificate for one: `copyKeys` gives none. */
export const NO_ROOM_FOR_COPY =
  'by its key the message would be weaker, or harder to read, for its recipients'
