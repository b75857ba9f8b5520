/**
 * Where the certificates of other people come from.
 *
 *     mailbox ──▶ source 1 ──▶ source 2 ──▶ …      each: these · none · no answer
 *
 * A resolver finds; it does not judge. Whether we may encrypt to what it finds is settled elsewhere.
 *
 * @module
 */
import type { Capabilities } from '../crypto/cms/capabilities.ts'
import type { Certificate } from '../crypto/x509/certificate.ts'
import { PosternError } from '../errors.ts'
import type { Mailbox } from '../mail/address.ts'

/** A certificate that a source holds for a mailbox. */
export interface Found {
  readonly certificate: Certificate
  /** The source's `name`. */
  readonly source: string
  /** Whether it is the mailbox's own, or stands for everybody in the mailbox's domain. */
  readonly via: 'address' | 'domain'
  /** What its holder's own verified mail has told that he can read. */
  readonly capabilities?: Capabilities
  /** Authorities that came in the same answer and may stand above it; not believed in any way. */
  readonly beside?: readonly Certificate[]
}

/** A source of certificates: files, LDAP, DNS (RFC 8162), signed mail that we have seen. */
export interface CertificateResolver {
  /** Its name in the configuration, for logs, metrics and traces: `ldap:partners`. */
  readonly name: string
  /**
   * Its certificates count only where no other source has one that can be used, the domain's included,
   * wherever it stands among them. What strangers bring must not take the place of what somebody chose.
   */
  readonly isLastResort?: boolean

  /**
   * Finds the certificates that the source holds for a mailbox.
   *
   * @param mailbox Compared as RFC 8550 §3 asks: by `matchKey`.
   * @param signal Aborted when the time of the SMTP client is up; the resolver then stops and throws.
   * @returns All candidates, in no order, expired ones too. Empty means: the source answered, and
   *   knows of none.
   * @throws {CertificateSourceUnavailable} No answer, or none that can be trusted to be complete.
   */
  find(mailbox: Mailbox, signal: AbortSignal): Promise<readonly Found[]>

  /**
   * Certificates of authorities that lie beside those of people, for building paths. Not believed in
   * any way: a path still has to end at an anchor.
   *
   * @returns The same array as long as nothing has changed: by that it is seen that nothing has.
   */
  intermediates?(): readonly Certificate[]

  /** Ends watches, connections and timers; a `find` from then on throws. */
  close?(): void
}

/** A source timed out, refused, or answered with rubbish. Transient: the client may try again. */
export class CertificateSourceUnavailable extends PosternError {
  /** Name of the source. */
  readonly source: string
  /** What an answer held that cannot be trusted to be complete. It may be used, and says nothing of others. */
  readonly partial: readonly Found[]

  /** @param options.cause What happened, for the operator. */
  constructor(
    source: string,
    options: ErrorOptions & { readonly partial?: readonly Found[] } = {},
  ) {
    super('ERR_CERTSTORE_UNAVAILABLE', 'transient', `no answer from ${source}`, options)
    this.source = source
    this.partial = options.partial ?? []
  }
}

/** Whether one could encrypt to some of what was found for a mailbox. */
export type Enough = (found: readonly Found[], mailbox: Mailbox) => boolean | Promise<boolean>

/**
 * Asks sources one after the other, and stops at the first that knows enough of the mailbox itself.
 *
 * A silent source is passed over as long as another may know. Where none knows enough and one was
 * silent, the silence is thrown: "did not answer" is never taken for "has no certificate". The
 * certificate of a domain counts only after every source has been asked for the person's own. Sources
 * of last resort are asked behind all others.
 *
 * @param enough Default: anything at all. A judge of validity here lets a renewed certificate in a
 *   later source take the place of an expired one in an earlier source.
 * @returns A source that gives all that was found on the way, so that it can be told why one was not
 *   chosen; it throws `CertificateSourceUnavailable` where `signal` is aborted, too.
 */
export function askInOrder(
  sources: readonly CertificateResolver[],
  enough: Enough = found => found.length > 0,
): CertificateResolver {
  const inOrder = sources.toSorted((one, other) => resort(one) - resort(other))
  return {
    name: sources.map(source => source.name).join(', '),
    find: (mailbox, signal) => findInOrder(inOrder, enough, mailbox, signal),
    close() {
      for (const source of sources) source.close?.()
    },
  }
}

async function findInOrder(
  sources: readonly CertificateResolver[],
  enough: Enough,
  mailbox: Mailbox,
  signal: AbortSignal,
): Promise<readonly Found[]> {
  const found: Found[] = []
  let silence: CertificateSourceUnavailable | undefined
  for (const source of sources) {
    if (source.isLastResort && (await enough(found, mailbox))) return found
    const answer = await answerOf(source, mailbox, signal)
    if (answer instanceof CertificateSourceUnavailable) silence ??= answer
    const news = answer instanceof CertificateSourceUnavailable ? answer.partial : answer
    if (answer !== news && news.length === 0) continue
    found.push(...news)
    const own = found.filter(({ via }) => via === 'address')
    if (await enough(own, mailbox)) return found
  }
  if (!silence || (await enough(found, mailbox))) return found
  throw silence
}

function resort({ isLastResort }: CertificateResolver): number {
  return isLastResort ? 1 : 0
}

/** Silence as a value. Any other error is a defect of ours, and is not to be mistaken for it. */
async function answerOf(
  source: CertificateResolver,
  mailbox: Mailbox,
  signal: AbortSignal,
): Promise<readonly Found[] | CertificateSourceUnavailable> {
  try {
    requireTime(source, signal)
    return await source.find(mailbox, signal)
  } catch (error) {
    if (error instanceof CertificateSourceUnavailable) return error
    throw error
  }
}

/** @throws {CertificateSourceUnavailable} where the time of whoever asks is up. */
function requireTime({ name }: CertificateResolver, signal: AbortSignal): void {
  if (signal.aborted) throw new CertificateSourceUnavailable(name, { cause: signal.reason })
}
