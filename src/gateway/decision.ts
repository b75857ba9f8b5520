/**
 * What is to become of a mail object, for each of its forward-paths: facts gathered, wish decided,
 * signer sought, treatment concluded. Nothing is sent here; `explain` asks the same questions.
 *
 * @module
 */
import type { Search } from '../certstore/directory.ts'
import type { Identities } from '../certstore/identities.ts'
import type { Signer } from '../crypto/key.ts'
import { type Author, authorOf } from '../mail/author.ts'
import { decodeEncodedWords } from '../mail/encoded-word.ts'
import { type Entity, leaves, walk } from '../mail/entity.ts'
import type { HeaderSection } from '../mail/header-section.ts'
import type { Content, ForwardPath, ReversePath } from '../mail/mail-object.ts'
import { contentTypeOf, type MediaType } from '../mail/media-type.ts'
import {
  asksForCertificate,
  asksForProof,
  asksForSigner,
  conclude,
  decide,
} from '../policy/decide.ts'
import { classesOf, type Direction, type Facts, headerFacts } from '../policy/facts.ts'
import type { Ruleset } from '../policy/rule.ts'
import type {
  CertificateFinding,
  Findings,
  SignerFinding,
  Treatment,
  Wish,
} from '../policy/treatment.ts'
import type { Client } from '../smtp/transaction.ts'
import { type AuthorCopy, type CopyParts, findAuthorCopy } from './author-copy.ts'
import type { Reading } from './inbound.ts'
import { provenClasses } from './proof.ts'

/** A forward-path that the next hop of its direction has accepted. */
export interface Recipient {
  readonly forwardPath: ForwardPath
  readonly direction: Direction
  /** The search for its certificate, where it has begun already. */
  readonly search?: Promise<Search> | undefined
}

/** A message, its header section read. */
export interface Message {
  readonly client: Pick<Client, 'address' | 'user'>
  readonly reversePath: ReversePath
  readonly content: Content
  readonly section: HeaderSection
}

/** Where decisions come from. */
export interface DecisionParts extends CopyParts {
  readonly rules: Ruleset
}

/** What was decided for one forward-path, and everything that it was decided by. */
export interface Decision extends Recipient {
  /** The classes are those that count: under a wish that is a promise, the proven ones alone. */
  readonly facts: Facts
  readonly wish: Wish
  readonly findings: Findings
  /** Who signs, where the treatment says that somebody does. */
  readonly signer: Signer | undefined
  /** What to encrypt to, where the treatment is `encrypt`; and what else was considered. */
  readonly found: Search | undefined
  /** What a copy for the author is encrypted to, where there is to be one. */
  readonly copy: AuthorCopy | undefined
  readonly treatment: Treatment
  /** What the message is for an inbound recipient; undefined for an outbound one. */
  readonly reading?: Reading | undefined
}

/**
 * Decides for all recipients of a message, each on its own.
 *
 * @param signal Ends searches that go on; what they were for is deferred.
 */
export async function decideAll(
  message: Message,
  recipients: readonly Recipient[],
  parts: DecisionParts,
  { now, signal }: { readonly now: Date; readonly signal: AbortSignal },
): Promise<readonly Decision[]> {
  const { author } = authorOf(message.section)
  const mailbox = author.kind === 'one' ? author.mailbox : undefined
  const known = await messageFacts(message, mailbox?.toString(), parts.rules)
  const wished = recipients.map(recipient => {
    const facts = factsFor(known, recipient)
    return { recipient, facts, wish: decide(facts, parts.rules) }
  })
  const isPromised = wished.some(({ wish }) => asksForProof(wish))
  const proven = isPromised ? await provenClasses(message, known.classes) : known.classes
  // Sought once for all recipients, and only if one of them needs it.
  let copy: Promise<AuthorCopy> | undefined
  return Promise.all(
    wished.map(async ({ recipient, facts, wish }) => {
      const classes = asksForProof(wish) ? proven : facts.classes
      const { signer, finding } = asksForSigner(wish, classes)
        ? findSigner(author, parts.identities, now)
        : NOT_SOUGHT
      const found = asksForCertificate(wish, classes)
        ? await (recipient.search ?? parts.directory.search(recipient.forwardPath.mailbox, signal))
        : undefined
      const findings = { signer: finding, certificate: certificateFinding(found) }
      const treatment = conclude(wish, classes, findings)
      const isCopied = treatment.kind === 'encrypt' && wish.encryptToAuthor
      if (isCopied) copy ??= findAuthorCopy(mailbox, parts, { now, signal })
      return {
        ...recipient,
        facts: classes === facts.classes ? facts : { ...facts, classes },
        wish,
        findings,
        signer,
        found,
        copy: isCopied ? await copy : undefined,
        treatment,
      }
    }),
  )
}

function certificateFinding(found: Search | undefined): CertificateFinding {
  if (found === undefined) return { kind: 'none', reason: 'not sought' }
  if (found.kind !== 'valid') return { kind: found.kind, reason: found.reason }
  const { subjectText, serialNumberHex } = found.certificate
  const certificate = `${subjectText}, serial ${serialNumberHex}`
  return { kind: 'valid', certificate, source: found.source }
}

interface SignerSearch {
  readonly finding: SignerFinding
  readonly signer: Signer | undefined
}

async function messageFacts(
  { client, reversePath, content, section }: Message,
  author: string | undefined,
  rules: Ruleset,
): Promise<Omit<Facts, 'direction' | 'recipient'>> {
  const subject = section.first('subject')
  return {
    sender: reversePath?.toString() ?? '',
    author,
    subject: subject === undefined ? '' : decodeEncodedWords(subject.body),
    header: headerFacts(section, rules.fieldNames),
    authenticated: client.user !== undefined,
    client: client.address,
    sizeOctets: content.sizeOctets,
    classes: classesOf(section, rules.needsStructure ? await partsOf(content, section) : []),
  }
}

function factsFor(known: Omit<Facts, 'direction' | 'recipient'>, recipient: Recipient): Facts {
  const { forwardPath, direction } = recipient
  return { ...known, direction, recipient: forwardPath.mailbox.toString() }
}

/** Media types of the parts, for what shows only there. Read only where a rule asks for it. */
async function partsOf(content: Content, section: HeaderSection): Promise<readonly MediaType[]> {
  const root = contentTypeOf(section)
  if (root.type !== 'multipart' && root.type !== 'message') return []
  const entity: Entity = await walk(content)
  return [...leaves(entity)].map(leaf => leaf.mediaType)
}

function findSigner(author: Author, identities: Identities, now: Date): SignerSearch {
  if (author.kind === 'none')
    return { finding: { kind: 'none', reason: author.detail }, signer: undefined }
  const found = identities.find(author.mailbox, now)
  if (found.kind !== 'found') return { finding: found, signer: undefined }
  return { finding: { kind: 'found', identity: found.identity }, signer: found.signer }
}

const NOT_SOUGHT: SignerSearch = {
  finding: { kind: 'none', reason: 'not sought' },
  signer: undefined,
}
