/**
 * What a message is beyond its labels, for rules that promise something.
 *
 * A signature must not be put around what is signed, encrypted or a report already; a label is enough
 * to leave a message alone where a rule wishes no more than to sign when possible. An `always` is a
 * promise to the organisation, and whoever writes a message writes its labels: there the structure has
 * to bear them out.
 *
 * @module
 */
import { protectionOf } from '../crypto/smime/protection.ts'
import { type Entity, walk } from '../mail/entity.ts'
import type { Content, ReversePath } from '../mail/mail-object.ts'
import type { MessageClass } from '../policy/facts.ts'

/**
 * The classes of a message that stand, of those that its header section claims.
 *
 * @returns `claimed` itself where it claims nothing that would keep a rule from being followed.
 * @throws {PosternError} What `walk` and `content.read` throw.
 */
export async function provenClasses(
  { content, reversePath }: { readonly content: Content; readonly reversePath: ReversePath },
  claimed: ReadonlySet<MessageClass>,
): Promise<ReadonlySet<MessageClass>> {
  if (!CLAIMS.some(name => claimed.has(name))) return claimed
  const proven = new Set(claimed)
  for (const name of CLAIMS) proven.delete(name)
  const root = await walk(content)
  const protection = await protectionOf(content, root)
  if (protection) proven.add(protection.kind)
  if (protection?.by === 'pgp') proven.add('pgp')
  // RFC 3464 §2, RFC 8098 §3: a report has the null reverse-path, so that none answers another.
  if (reversePath === null && isReport(root)) proven.add('report')
  return proven
}

/** RFC 6522 §3: words for people, then what machines read. */
function isReport({ mediaType, children }: Entity): boolean {
  if (mediaType.ambiguous || mediaType.essence !== 'multipart/report') return false
  return REPORTS.has(children[1]?.mediaType.essence ?? '')
}

/** What keeps a signature, or the refusal of clear text, from a message. */
const CLAIMS: readonly MessageClass[] = ['signed', 'encrypted', 'smime', 'pgp', 'report']
const REPORTS: ReadonlySet<string> = new Set([
  'message/delivery-status',
  'message/global-delivery-status',
  'message/disposition-notification',
  'message/global-disposition-notification',
])
