/**
 * What whoever sends a message would have to do otherwise for a better verdict on it, or for it to be
 * opened: advice that an administrator can hand on.
 *
 * @module
 */
import type { SeenEncryption } from './inbound.ts'
import { NO_RULE_NAME } from './treatment.ts'
import type { Verdict } from './verdict.ts'

/** What is known of whom the message is from. */
export interface Senders {
  /** The one author, where there is one. */
  readonly author: string | undefined
  /** Addresses that the certificate of the signer bears. */
  readonly signer: readonly string[]
}

/** What would have to be otherwise about a signature; nothing where that is not known. */
export function signatureAdvice(
  { result, code }: Pick<Verdict, 'result' | 'code'>,
  { author = 'its author', signer }: Senders,
): string | undefined {
  if (result === 'pass') return undefined
  if (code.startsWith('weak-')) return STRONGER
  switch (code) {
    case 'from-mismatch':
    case 'sender-matches':
      return `signed with a certificate for ${author} it could pass; this one is for ${listed(signer)}`
    case 'certificate-without-address':
    case 'address-in-name-only':
      return `with ${author} as subjectAltName in the certificate of its signer it could pass`
    default:
      return ADVICE.get(code)
  }
}

/** What would have to be otherwise about an encryption; nothing where that is not known. */
export function encryptionAdvice(encryption: SeenEncryption): string | undefined {
  return ENCRYPTION[encryption]
}

/** A rule, as the place where something would be written. */
export function placeOf(rule: string): string {
  return rule === NO_RULE_NAME ? 'a rule that matches' : `rule ${rule}`
}

function listed(addresses: readonly string[]): string {
  return addresses.length === 0 ? 'nobody' : addresses.slice(0, MOST_ADDRESSES).join(', ')
}

const MOST_ADDRESSES = 5
const STRONGER =
  'signed with an algorithm that protects (SHA-256; RSA of 2048 bits or more) it could pass'
const ALTERED = 'as it was signed it could pass: something in it was altered since'
const IN_FULL = 'with the certificate of its signer in the message it could be verified'
const VALID_NOW = 'signed with a certificate that is valid now it could pass'
const TIMELY = 'signed within an hour of its Date it could pass'
const ONE_READING = 'written so that it can be read in one way only it could pass'

const ADVICE: ReadonlyMap<string, string> = new Map([
  ['not-signed', 'signed by its author it could pass'],
  ['certificates-only', 'signed by its author it could pass'],
  ['partial', 'signed as a whole by its author, and not in a part, it could pass'],
  ['digest-mismatch', ALTERED],
  ['signature-mismatch', ALTERED],
  ['outer-signature-bad', ALTERED],
  ['no-certificate', IN_FULL],
  ['certificate-missing', IN_FULL],
  ['no-signed-attributes', 'signed with signed attributes (RFC 5652 §5.3) it could pass'],
  ['expired', VALID_NOW],
  ['not-yet-valid', VALID_NOW],
  ['revoked', 'signed with a certificate that is not revoked it could pass'],
  ['wrong-usage', 'signed with a certificate that is made for signing mail it could pass'],
  ['key-refused', STRONGER],
  ['signing-time-far', TIMELY],
  ['signing-time-in-future', TIMELY],
  ['signing-time-outside-validity', TIMELY],
  ['date-missing', TIMELY],
  ['other-signer', 'without the signature of somebody who is not believed it could pass'],
  ['display-mismatch', 'without another address as the name of its author it could pass'],
  ['signature-around-encryption', 'signed first and encrypted then it could pass'],
  ['ambiguous', ONE_READING],
  ['ambiguous-inside', ONE_READING],
  ['field-twice', 'with each field once that may stand only once it could pass'],
  ['protected-from-differs', 'with the same From outside as under the signature it could pass'],
  ['enclosed-from-differs', 'with the same From outside as under the signature it could pass'],
])

const ENCRYPTION = {
  none: undefined,
  'not-looked-at': undefined,
  opened: undefined,
  left: undefined,
  'no-key': undefined,
  unauthenticated:
    'signed inside, or encrypted with AES-GCM, something would vouch for its content',
  failed: 'encrypted anew, to the certificate that it names, it could be opened',
  unreadable: 'encrypted with AES, to the certificate of its recipient, it could be opened',
  refused: 'written as its header fields declare, or signed inside, it could be opened',
} as const satisfies Record<SeenEncryption, string | undefined>
