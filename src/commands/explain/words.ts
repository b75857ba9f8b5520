/**
 * What is told of a recipient, for people: a name and a text a line.
 *
 * @module
 */
import { visible } from '../../log.ts'
import type { Reply } from '../../smtp/reply.ts'
import type { Account } from './account.ts'
import type { Leaving } from './leaving.ts'
import type { Encryption, Signing } from './outbound.ts'
import type { PassedOver } from './passed-over.ts'
import type { Seen, SeenRecipient, SeenSigner } from './seen.ts'

/** The account in words. Nothing that a sender has written gets to a terminal as it is. */
export function inWords(account: Account): string {
  const rows: Row[] = [
    ['direction', `${account.direction}, by next hop ${account.nextHop}`],
    ['author', account.author ?? 'no one author'],
    ['classes', account.classes.join(', ') || 'none'],
    ['rule', account.rule],
    ...rowsOf('  passed over', account.passedOver?.map(passedOverInWords)),
    ['action', account.action],
    ['why', account.reason],
    ['  reply', account.reply && replyInWords(account.reply)],
    ['  held up', account.heldUpBy && `nobody gets it: ${account.heldUpBy.join(', ')} refused`],
    ['  silent', account.silence],
    ...(account.certificate ? signingInWords(account.certificate) : []),
    ...(account.encryption ? encryptionInWords(account.encryption) : []),
    ...rowsOf('author copy', account.copy),
    ...rowsOf('inbound', account.inbound),
    ...(account.seen ? seenInWords(account.seen) : []),
    ...(account.leaving ? leavingInWords(account.leaving) : []),
    ['harvest', account.harvest],
    ...rowsOf('considered', account.considered),
    ...rowsOf('otherwise', account.change),
  ]
  const lines = rows.flatMap(([name, value]) =>
    value === undefined ? [] : [`  ${name.padEnd(16)}${visible(value)}`],
  )
  return [visible(account.recipient), ...lines].join('\n')
}

type Row = readonly [string, string | undefined]

/** A row for each text; of many the first ones. */
function rowsOf(name: string, texts: readonly string[] = []): readonly Row[] {
  const rows = texts.slice(0, MOST_ROWS).map((text): Row => [name, text])
  const left = texts.length - rows.length
  return left > 0 ? [...rows, [name, `… and ${left} more`]] : rows
}

function passedOverInWords({ rule, conditions }: PassedOver): string {
  return `rule ${rule}, for its ${conditions.join(', ')}`
}

function replyInWords({ code, enhanced, text }: Reply): string {
  return [code, enhanced, text].flat().join(' ')
}

function signingInWords(signing: Signing): readonly Row[] {
  return [
    ['certificate', signing.identity],
    ['  from', signing.source],
    ['  algorithm', signing.algorithm],
    ['  until', signing.notAfter],
    ['  signing time', signing.signingTime],
    ['  content', signing.preparation],
  ]
}

function encryptionInWords(encryption: Encryption): readonly Row[] {
  return [
    ['encrypted to', encryption.certificate],
    ['  from', `${encryption.source} (by ${encryption.via})`],
    ['  algorithms', encryption.algorithms],
    ['  pinned', encryption.pinned],
    ...rowsOf('  also to', encryption.others),
    ['  until', encryption.notAfter],
  ]
}

function seenInWords(seen: Seen): readonly Row[] {
  return [
    ['signature', `${seen.signature} (${seen.code}): ${seen.reason}`],
    ['  in detail', seen.fault],
    ...seen.signers.flatMap(signerInWords),
    ['encryption', seen.key ? `${seen.encryption}, ${KEYS[seen.key]}` : seen.encryption],
    ['  algorithms', seen.algorithms],
    ['  opened by', seen.openedBy],
    ...rowsOf('  encrypted to', seen.encryptedTo.map(recipientInWords)),
    ['notes', seen.notes.join(', ') || undefined],
    ['leaves', seen.leaves],
  ]
}

function signerInWords(signer: SeenSigner): readonly Row[] {
  const { cryptography, standing } = signer
  const isGood = cryptography === 'good' && standing === 'good'
  return [
    [signer.isJudged ? '  signer' : '  also signed', signer.certificate ?? 'not in the message'],
    ['    for', signer.addresses.join(', ') || undefined],
    ['    issuer', signer.issuer],
    ['    algorithm', signer.algorithm],
    ['    signed at', signer.signingTime],
    ['    believed', isGood ? undefined : standing],
    ['    in detail', signer.detail],
  ]
}

function recipientInWords({ certificate, identity, isRecipients }: SeenRecipient): string {
  if (identity === undefined) return certificate
  return isRecipients ? `${certificate}: a key of its recipient` : `${certificate}: ${identity}`
}

function leavingInWords(leaving: Leaving): readonly Row[] {
  if (leaving.fault !== undefined) return [['not made', leaving.fault]]
  return [
    ['size', `${leaving.sizeOctets} octets, besides our Received field`],
    ['together with', leaving.sharedWith.join(', ') || undefined],
    ['in 7 bits', leaving.withoutEightBit],
    ...rowsOf('stamped', leaving.stamp),
    ...rowsOf('put in', leaving.added),
    ...rowsOf(
      'left out',
      leaving.removed.map(({ field, why }) => `${visible(field, MOST_CHARACTERS)}: ${why}`),
    ),
  ]
}

const KEYS = { own: 'by a key of its recipient', domain: 'by a key of its domain' } as const
const MOST_ROWS = 20
/** Of a field, so that the reason behind it stays in sight. */
const MOST_CHARACTERS = 120
