/**
 * The reply to a recipient whom policy refuses a message.
 *
 * @module
 */
import { type Reply, reply } from '../smtp/reply.ts'
import type { Decision } from './decision.ts'

/** What the client is told where a treatment is a refusal; `undefined` where it is none. */
export function refusalOf({
  treatment,
  facts,
}: Pick<Decision, 'treatment' | 'facts'>): Reply | undefined {
  if (treatment.kind !== 'reject' && treatment.kind !== 'defer') return undefined
  const name = REFUSALS[treatment.cause][treatment.kind]
  return reply(name, `for <${facts.recipient}>, ${treatment.reason}`)
}

const REFUSALS = {
  'no-signing-key': { reject: 'no-signing-key', defer: 'no-signing-key-yet' },
  'no-certificate': { reject: 'no-certificate', defer: 'no-certificate-yet' },
  'certificate-search-failed': { reject: 'certificate-unknown', defer: 'certificate-unknown' },
  'bad-signature': { reject: 'bad-signature', defer: 'signature-unknown' },
  'signature-required': { reject: 'signature-required', defer: 'signature-unknown' },
} as const
