/**
 * What we say of a message, on top of it, and the seal by which our own people know it for ours.
 *
 *     Authentication-Results: gw.example.test; smime=pass reason="…" body.smime-identifier=ann@…
 *     X-Postern-Signature: pass; code=good-signature; signer=ann@…
 *     X-Postern-Encryption: opened; cipher=aes-256-gcm; key=own
 *     X-Postern-Notes: weak
 *     X-Postern-Seal: v=1; t=1790000000; h=…
 *
 * `docs/stamps.md` is the description for those who read them.
 *
 * @module
 */
import type { HeaderField } from '../mail/header-section.ts'
import { sealField } from './seal.ts'

/** The results of RFC 7281 §3.1. */
export type SmimeResult =
  | 'none'
  | 'pass'
  | 'fail'
  | 'neutral'
  | 'policy'
  | 'temperror'
  | 'permerror'

/** What became of the encryption of a message. */
export type EncryptionResult =
  | 'none'
  /** Nobody wished to know, or its structure is too much to look at. */
  | 'not-looked-at'
  /** Encrypted, and nobody wished it opened. */
  | 'left'
  | 'opened'
  | 'unauthenticated'
  | 'no-key'
  | 'failed'
  | 'unreadable'
  | 'refused'

/** Who signed, as the certificate tells it: words of a stranger. */
export interface StampedSigner {
  /** An address of the certificate. */
  readonly identifier?: string | undefined
  /** Serial number of the certificate, hexadecimal. Written only together with the issuer. */
  readonly serialHex?: string | undefined
  /** Distinguished name (RFC 4514). */
  readonly issuer?: string | undefined
  /** Body part that holds the signature, numbered as in IMAP (RFC 9051 §6.4.5): `2`, `1.2`. */
  readonly part?: string | undefined
  /** SHA-256 of the certificate, hexadecimal. */
  readonly fingerprint?: string | undefined
  readonly algorithm?: string | undefined
  readonly signingTime?: Date | undefined
}

/** All that is said of one message, for one recipient or for several alike. */
export interface Stamp {
  /** Our name in Authentication-Results (RFC 8601 §2.5). */
  readonly authservId: string
  readonly result: SmimeResult
  /** Why, in kebab-case. */
  readonly code: string
  /** Why, in words for people. */
  readonly reason: string
  readonly signer?: StampedSigner | undefined
  readonly encryption: EncryptionResult
  readonly cipher?: string | undefined
  readonly management?: string | undefined
  /** Whose key opened it: the recipient's own, or the domain's. */
  readonly key?: 'own' | 'domain' | undefined
  /** What else is odd, in kebab-case. */
  readonly notes: readonly string[]
}

/** The key of the seal, and the time that it bears. */
export interface Sealing {
  readonly key: Buffer
  readonly time: Date
}

/**
 * The fields of a stamp, folded, CRLF included; to be put on top of all fields, also of the Received
 * field of this hop (RFC 8601 §4.1).
 *
 * Nothing that a certificate or a sender has written can end a field, a string or a comment: what is
 * not printable ASCII, or could be misread, is written as `{U+00E9}`. No line is longer than 998
 * octets, no field than 2 KiB.
 *
 * @param fields The fields that leave below the stamp: the seal holds for their From, Date and
 *   Message-ID.
 */
export function stampFields(
  stamp: Stamp,
  fields: readonly HeaderField[],
  sealing: Sealing,
): Buffer {
  const results = Buffer.from(
    [
      folded('Authentication-Results', [[stamp.authservId], resultsOf(stamp)]),
      folded('X-Postern-Signature', signatureOf(stamp)),
      folded('X-Postern-Encryption', encryptionOf(stamp)),
      ...notesOf(stamp),
    ].join(''),
    'latin1',
  )
  return Buffer.concat([results, sealField(results, fields, sealing)])
}

/** RFC 8601 §2.2, with the properties of RFC 7281 §3.2. */
function resultsOf({ result, reason, signer }: Stamp): string[] {
  if (result === 'none') return ['smime=none']
  const { identifier, serialHex, issuer, part } = signer ?? {}
  const named = issuer !== undefined && HEXADECIMAL.test(serialHex ?? '')
  return [
    `smime=${result}`,
    ...property('reason', reason, MAX_REASON),
    ...property('body.smime-identifier', identifier, MAX_ADDRESS, true),
    ...(part !== undefined && PART.test(part) ? [`body.smime-part=${part}`] : []),
    // RFC 7281 §3.2: one of the two is worth nothing without the other.
    ...(named ? [`body.smime-serial=${serialHex!.toLowerCase()}`] : []),
    ...(named ? property('body.smime-issuer', issuer, MAX_ISSUER) : []),
  ]
}

function signatureOf({ result, code, reason, signer }: Stamp): string[][] {
  const { identifier, serialHex, issuer, part, fingerprint, algorithm, signingTime } = signer ?? {}
  const stated = signingTime && !Number.isNaN(signingTime.getTime()) ? signingTime : undefined
  return [
    [result],
    property('code', code),
    property('reason', reason, MAX_REASON),
    property('signer', identifier, MAX_ADDRESS, true),
    property('part', part),
    property('serial', serialHex?.toLowerCase()),
    property('issuer', issuer, MAX_ISSUER),
    property('fingerprint', fingerprint),
    property('algorithm', algorithm),
    property('signing-time', stated?.toISOString()),
  ]
}

function encryptionOf({ encryption, cipher, management, key }: Stamp): string[][] {
  return [
    [encryption],
    property('cipher', cipher),
    property('management', management),
    property('key', key),
  ]
}

function notesOf({ notes }: Stamp): string[] {
  if (notes.length === 0) return []
  const words = notes.filter(note => WORD.test(note)).slice(0, MAX_NOTES)
  const separated = words.map((word, at) => (at + 1 < words.length ? `${word},` : word))
  return words.length === 0 ? [] : [folded('X-Postern-Notes', [separated])]
}

/** `name=value`, in the pieces between which a line may end; nothing where there is no value. */
function property(name: string, value = '', most = MAX_WORD, isAddress = false): string[] {
  const text = asciiOf(value.trim(), most)
  if (text === '') return []
  if (TOKEN.test(text) || (isAddress && ADDRESS.test(text))) return [`${name}=${text}`]
  return `${name}="${text}"`.split(' ')
}

/**
 * The text in printable ASCII, as it stands between quotes: any other character, and what could end
 * something for a careless reader, becomes `{U+00E9}`, and `{` too, so that no two texts are written alike.
 *
 * @param most Characters of the result; ` [...]` behind them where it was cut.
 */
function asciiOf(text: string, most: number): string {
  let ascii = ''
  for (const character of text) {
    const isPlain = PLAIN.test(character) && !TOGETHER.test(`${ascii.slice(-6)}${character}`)
    const plain = character === '\\' ? '\\\\' : character
    const written = isPlain ? plain : `{U+${hexOf(character)}}`
    if (ascii.length + written.length > most) return `${ascii.trimEnd()} [...]`
    ascii += written
  }
  return ascii
}

function hexOf(character: string): string {
  return character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')
}

/** Parts joined by `;`, in lines of 76 characters where there is white space to end one at. */
function folded(name: string, parts: readonly (readonly string[])[]): string {
  const filled = parts.filter(part => part.length > 0)
  const words = filled.flatMap((part, at) =>
    at + 1 < filled.length ? [...part.slice(0, -1), `${part.at(-1)};`] : part,
  )
  let field = `${name}:`
  let length = field.length
  for (const word of words) {
    const fits = length + 1 + word.length <= MAX_LINE
    field += `${fits ? ' ' : '\r\n\t'}${word}`
    length = fits ? length + 1 + word.length : 1 + word.length
  }
  return `${field}\r\n`
}

const MAX_LINE = 76
const MAX_WORD = 128
const MAX_REASON = 250
/** RFC 5321 §4.5.3.1, and a few characters written longer. */
const MAX_ADDRESS = 340
const MAX_ISSUER = 400
const MAX_NOTES = 20
/** RFC 5280 §4.1.2.2 allows 40 digits; others have been seen. */
const HEXADECIMAL = /^[\da-f]{1,64}$/i
const PART = /^\d{1,4}(?:\.\d{1,4}){0,7}$/
const WORD = /^[a-z\d][a-z\d-]{0,40}$/
/** Without `"`, `(`, `)` and `;`, which some readers look for inside of strings too, and `{`. */
const PLAIN = /^[ !#-'*-:<-z|}~]$/
/**
 * A second space could be lost in folding; `=?` begins an encoded word; and there are rules that look
 * for `smime=pass` anywhere in a field.
 */
const TOGETHER = /(?: {2}|=\?|smime *=)$/i
/** RFC 2045 §5.1. */
const TOKEN = /^[!#$%&'*+.^_`|~\w{}-]+$/
/** Dot-atoms around an `@` need no quotes (RFC 8601 §2.2); `/`, `=` and `?` confuse some readers. */
const ADDRESS = /^[!#$%&'*+^_`|~\w{}-]+(?:\.[!#$%&'*+^_`|~\w{}-]+)*@[\w-]+(?:\.[\w-]+)*$/
