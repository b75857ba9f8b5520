/**
 * What the log line of a message tells of each of its recipients: which rule, which identity and
 * certificates, what was seen, and what left.
 *
 *     Decision, Reading that left ──▶ codes, fingerprints, words of our own; never content
 *
 * @module
 */
import { type LogFields, visible } from '../log.ts'
import { asksForSigner } from '../policy/decide.ts'
import { inboundReason } from '../policy/inbound.ts'
import { NO_ROOM_FOR_COPY } from './author-copy.ts'
import type { Decision } from './decision.ts'
import type { Reading } from './inbound.ts'
import { authorKeysOf } from './shipping.ts'

/**
 * What is told of one recipient.
 *
 * @param recipient As the operator wants addresses told; undefined where he does not.
 * @param left What left of an inbound message, where it has left: a next hop may not be able to take
 *   what was opened.
 */
export function recipientForLog(
  decision: Decision,
  recipient: string | undefined,
  left: Reading | undefined,
): LogFields {
  const { direction, wish, treatment, findings, signer } = decision
  const reading = left ?? decision.reading
  return {
    recipient,
    direction,
    rule: wish.rule,
    treatment: treatment.kind,
    reason: reasonOf(decision, reading),
    identity: signer && findings.signer.kind === 'found' ? findings.signer.identity : undefined,
    notSigned: whyNotSigned(decision),
    ...encryptionForLog(decision),
    ...copyForLog(decision),
    ...(reading && readingForLog(reading)),
  }
}

function reasonOf({ treatment, wish }: Decision, reading: Reading | undefined): string | undefined {
  if (reading && treatment.kind === 'relay')
    return inboundReason(wish, reading.verdict, reading.encryption.result)
  return 'reason' in treatment ? visible(treatment.reason) : undefined
}

/** Of what is encrypted alone; of what is not treated at all, it is the reason. */
function whyNotSigned({ treatment, wish, facts, findings }: Decision): string | undefined {
  const { signer } = findings
  if (treatment.kind !== 'encrypt' || treatment.sign || signer.kind === 'found') return undefined
  return asksForSigner(wish, facts.classes) ? visible(signer.reason) : undefined
}

function encryptionForLog({ found }: Decision): LogFields {
  if (found === undefined) return NOTHING
  if (found.kind !== 'valid')
    return {
      notEncrypted: visible(found.reason),
      silence: found.kind === 'unknown' && found.silence ? visible(found.silence) : undefined,
    }
  const { certificate, others = [], source } = found
  return {
    certificate: certificate.fingerprint,
    otherCertificates: listed(others.map(({ fingerprint }) => fingerprint)),
    source,
  }
}

/** A copy for the author, where a rule wishes one: what it was encrypted to, or why there is none. */
function copyForLog(decision: Decision): LogFields {
  const { copy } = decision
  if (copy === undefined) return NOTHING
  const keys = authorKeysOf(decision)
  if (keys.length > 0) return { authorCopy: keys.map(({ certificate }) => certificate.fingerprint) }
  return { noAuthorCopy: copy.kind === 'none' ? visible(copy.reason) : NO_ROOM_FOR_COPY }
}

/** What was seen in an inbound message: codes, and what our own words say of them. */
function readingForLog({ verdict, encryption, examined }: Reading): LogFields {
  const signers = examined?.signers ?? []
  const signer = verdict.signer === undefined ? undefined : signers[verdict.signer]
  const others = signers.filter(one => one !== signer)
  return {
    signature: verdict.result,
    signatureCode: verdict.code,
    signerCertificate: signer?.certificate?.fingerprint,
    otherSigners: listed(others.map(({ certificate }) => certificate?.fingerprint ?? UNNAMED)),
    encryption: encryption.result,
    decryptedBy: encryption.key,
    notes: listed([...(examined?.notes ?? []), ...verdict.notes, ...encryption.notes]),
  }
}

/** A field that says nothing is left out. */
function listed(texts: readonly string[]): readonly string[] | undefined {
  return texts.length > 0 ? texts : undefined
}

const NOTHING: LogFields = {}
/** A signer whose certificate is not in the message. */
const UNNAMED = 'no certificate'
