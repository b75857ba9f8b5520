/**
 * The seal of a stamp: a keyed hash, so that a rule inside the house can tell our stamp from one that
 * came by another way, or from another message.
 *
 *     v=1  t=…                                     how, when
 *     authentication-results:…  x-postern-…:…      the stamp as it is written
 *     from:…  date:…  message-id:…                 the message that it was put on
 *     └── one line each, ended by LF ──▶ HMAC-SHA-256 ──▶ X-Postern-Seal: …; h=…
 *
 * It holds for the stamp and for these three fields: neither for the body, whose lines a server behind us
 * may wrap anew, nor for a recipient, whose address it may expand.
 *
 * @module
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { speaksFor } from '../mail/authentication-results.ts'
import { decodeEncodedWords } from '../mail/encoded-word.ts'
import { isPosternName } from '../mail/header-cleansing.ts'
import { type HeaderField, parseHeaderSection } from '../mail/header-section.ts'
import { skeleton } from '../mail/look-alike.ts'

/** How the seal of a message stands. */
export type SealCheck =
  /** The stamp is ours, and was put on this message. */
  | { readonly kind: 'good'; readonly time: Date }
  /** No stamp of ours, or one without a seal. */
  | { readonly kind: 'missing' }
  /** More than one field says that it is ours, or the seal is not written as we write it. */
  | { readonly kind: 'ambiguous'; readonly detail: string }
  /** Made with another key, for another message, or altered. */
  | { readonly kind: 'bad' }

/** The X-Postern-Seal field over the fields of a stamp as they are written. */
export function sealField(
  stamp: Buffer,
  fields: readonly HeaderField[],
  { key, time }: { readonly key: Buffer; readonly time: Date },
): Buffer {
  const stamped = parseHeaderSection(stamp).fields
  const seconds = Math.floor(time.getTime() / 1000)
  const hash = sealOf(stamped[0]!, [...stamped, ...fields], seconds, key)
  return Buffer.from(
    `${SEAL}: v=1; t=${seconds};\r\n\th=${hash.toString('base64url')}\r\n`,
    'latin1',
  )
}

/** Checks the seal of a message. */
export function checkSeal(
  fields: readonly HeaderField[],
  authservId: string,
  key: Buffer,
): SealCheck {
  const seals = fields.filter(field => field.key === SEAL_KEY)
  const [results, ...others] = fields.filter(
    field => speaksFor(field, authservId) && tellsWhatWeTell(field),
  )
  if (seals.length === 0 || !results) return { kind: 'missing' }
  const fault = ambiguityOf(fields, [results, ...others])
  if (fault !== undefined) return { kind: 'ambiguous', detail: fault }
  const parts = SEAL_BODY.exec(seals[0]!.body)
  if (!parts) return { kind: 'ambiguous', detail: 'the seal is not written as it should be' }
  const seconds = Number(parts[1])
  const expected = sealOf(results, fields, seconds, key)
  const hash = Buffer.from(parts[2]!, 'base64url')
  // The text is compared by its octets: what decodes alike was not written by us.
  if (timingSafeEqual(expected, hash) && expected.toString('base64url') === parts[2])
    return { kind: 'good', time: new Date(seconds * 1000) }
  return { kind: 'bad' }
}

/**
 * HMAC-SHA-256 over what a seal holds for. From, Date, Message-ID and X-Postern-* count as often as they
 * stand there.
 *
 * @param results The Authentication-Results field of the stamp; servers behind us put theirs above it.
 * @param seconds Time of the seal, since 1970.
 */
function sealOf(
  results: HeaderField,
  fields: readonly HeaderField[],
  seconds: number,
  key: Buffer,
): Buffer {
  const hmac = createHmac('sha256', key)
  hmac.update(`v=1\nt=${seconds}\n`)
  const postern = fields.filter(
    ({ key: name }) => name.startsWith('x-postern-') && name !== SEAL_KEY,
  )
  const message = BOUND.flatMap(name => fields.filter(field => field.key === name))
  for (const field of [results, ...postern, ...message]) hmac.update(lineOf(field), 'latin1')
  return hmac.digest()
}

/**
 * Servers behind us may add results of other methods without a name of theirs. A fold with one of our
 * fields in it is none of those: whoever does not know of folding would read that field.
 */
function tellsWhatWeTell({ body }: HeaderField): boolean {
  const seen = skeleton(decodeEncodedWords(body))
  return seen.includes(METHOD) || seen.includes(OUR_FIELDS)
}

/** Who reads a stamp must find one, or nobody knows which one was read. */
function ambiguityOf(
  fields: readonly HeaderField[],
  results: readonly HeaderField[],
): string | undefined {
  if (results.length > 1) return 'several Authentication-Results fields are in our name'
  const names = fields.filter(({ name }) => isPosternName(name)).map(({ key }) => key)
  const strange = names.find(name => !name.startsWith('x-postern-'))
  if (strange !== undefined) return 'a field has a name that looks like ours'
  return new Set(names).size < names.length ? 'a field of the stamp stands there twice' : undefined
}

/**
 * `name:body`, unfolded, with single spaces, as DKIM's relaxed form has it (RFC 6376 §3.4.2): servers
 * behind us may fold anew. One character an octet.
 */
function lineOf({ key, octets }: HeaderField): string {
  const text = octets.toString('latin1')
  const body = text.slice(text.indexOf(':') + 1).replace(/[\r\n]/g, '')
  return `${key}:${body.replace(/[ \t]+/g, ' ').replace(/^ | $/g, '')}\n`
}

const METHOD = skeleton('smime')
const OUR_FIELDS = skeleton('x-postern-')
const SEAL = 'X-Postern-Seal'
const SEAL_KEY = 'x-postern-seal'
/** Where a server behind us changes the subject, the stamp stays good: it does not speak of it. */
const BOUND = ['from', 'date', 'message-id']
const SEAL_BODY = /^v=1;[ \t]{0,8}t=(\d{1,12});[ \t]{0,8}h=([\w-]{43})$/
