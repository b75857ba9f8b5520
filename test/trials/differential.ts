/**
 * Altered messages, judged by us and by OpenSSL: whatever passes here is good there, with the same
 * content. The other way round nothing is asked; we may be stricter.
 *
 *     seeds ── altered ──▶ InboundReader ── pass ──▶ openssl cms -verify ──▶ good, and the same octets?
 *
 * @module
 */
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import type { Certificate } from '../../src/crypto/x509/certificate.ts'
import { type InboundParts, InboundReader, type Reading } from '../../src/gateway/inbound.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { ContentWriter, contentOf, contentStore } from '../../src/mail/content.ts'
import { readHeaderSection } from '../../src/mail/header-section.ts'
import type { Content } from '../../src/mail/mail-object.ts'
import { INBOUND_BY_DEFAULT } from '../../src/policy/treatment.ts'
import { type Openssl, opensslCommand } from '../support/openssl-cms.ts'
import { altered, resigned } from './alterations.ts'
import { withCertificates } from './ber-games.ts'
import { chance } from './random.ts'
import { AUTHOR, type People } from './signatures.ts'

/** A message that was signed, and how. */
export interface Seed {
  readonly name: string
  readonly octets: Buffer
}

/** What came of a trial. */
export interface Figures {
  /** Bare CR, bare LF or NUL: refused before anybody reads them (RFC 5321 §2.3.8). */
  refusedOnTheWire: number
  /** Result and code to how many: `fail digest-differs`. */
  readonly verdicts: Map<string, number>
  passes: number
  /** Shown to the openssl command as well. */
  shownToCommand: number
  /** Written plainer for OpenSSL, see `plainer`. */
  askedAgain: number
  readonly violations: Violation[]
  seconds: number
  opensslSeconds: number
}

/** Something that passes here and not there. */
export interface Violation {
  readonly nth: number
  readonly seed: string
  readonly said: string
  readonly message: Buffer
}

/** Each entity signed in each way. */
export async function makeSeeds({ ways }: People): Promise<readonly Seed[]> {
  const seeds: Seed[] = []
  for (const way of ways)
    for (const [name, entity] of Object.entries(ENTITIES)) {
      const octets = messageAround(await way.sign(Buffer.from(entity)))
      seeds.push({ name: `${way.name}, ${name}`, octets })
    }
  return seeds
}

/**
 * Alters messages so often, and asks about all that pass.
 *
 * @throws {Error} Where a message that was not altered does not pass.
 */
export async function differential(
  people: People,
  openssl: Openssl,
  { seed, mutations }: { readonly seed: number; readonly mutations: number },
): Promise<Figures> {
  const figures: Figures = {
    ...{
      refusedOnTheWire: 0,
      passes: 0,
      unaltered: 0,
      shownToCommand: 0,
      askedAgain: 0,
      seconds: 0,
      opensslSeconds: 0,
    },
    ...{ verdicts: new Map<string, number>(), violations: [] },
  }
  const begun = performance.now()
  const seeds = await makeSeeds(people)
  const trial: Trial = {
    seeds,
    others: seeds.map(({ octets }) => octets),
    judge: makeJudge(people),
  }
  for (const { name, octets } of seeds) {
    const { verdict } = await trial.judge(octets)
    if (verdict !== 'pass good') throw new Error(`${name}: ${verdict}`)
  }
  let questions: Question[] = []
  for (let nth = 0; nth < mutations; nth++) {
    const question = await questionOf(trial, seed, nth, figures)
    if (question) questions.push(question)
    if (questions.length < BATCH && nth < mutations - 1) continue
    await disagreements(openssl, questions, figures)
    if (openssl.by === 'libcrypto' && questions.length > 0) {
      // The command has the last word on what the library says.
      figures.shownToCommand++
      await disagreements(opensslCommand(people.rootFile), questions.slice(0, 1), figures)
    }
    questions = []
  }
  figures.seconds = (performance.now() - begun) / 1000
  return figures
}

/** In words, for people. */
export function toldOf({ verdicts, ...figures }: Figures): string {
  const { refusedOnTheWire, passes, shownToCommand, askedAgain, violations } = figures
  const { seconds, opensslSeconds } = figures
  const judged = [...verdicts.values()].reduce((sum, count) => sum + count, 0)
  const most = [...verdicts].toSorted(([, one], [, other]) => other - one)
  return [
    `${judged} judged, ${refusedOnTheWire} refused on the wire`,
    `${passes} pass, of which OpenSSL finds ${passes - violations.length} good with the same content` +
      ` (${askedAgain} of them written plainer for it, ${shownToCommand} shown to the command too)`,
    `${violations.length} violations`,
    `${seconds.toFixed(1)} s, of which OpenSSL ${opensslSeconds.toFixed(1)} s`,
    ...most.slice(0, 60).map(([verdict, count]) => `  ${String(count).padStart(7)}  ${verdict}`),
  ].join('\n')
}

interface Trial {
  readonly seeds: readonly Seed[]
  readonly others: readonly Buffer[]
  judge(this: void, message: Buffer): Promise<Judged>
}

/** Something that passes here. */
interface Question extends Passed {
  readonly nth: number
  readonly seed: string
  readonly message: Buffer
}

interface Passed {
  /** What is signed. */
  readonly inside: Buffer
  /** DER of the signer's certificate and the authority's. */
  readonly path: readonly Buffer[]
  /** Whether its media type is another than it should be. */
  readonly mislabelled: boolean
}

interface Judged {
  readonly verdict: string
  /** Where it passes. */
  readonly passed: Passed | undefined
}

/** The n-th message of a seed, judged; undefined where there is nothing to be asked about it. */
async function questionOf(
  { seeds, others, judge }: Trial,
  seed: number,
  nth: number,
  figures: Figures,
): Promise<Question | undefined> {
  const random = chance(seed, nth)
  const { name, octets } = random.pick(seeds)
  const message = altered(octets, { random, others })
  if (FORBIDDEN.test(message.toString('latin1'))) {
    figures.refusedOnTheWire++
    return undefined
  }
  const { verdict, passed } = await judge(message)
  figures.verdicts.set(verdict, (figures.verdicts.get(verdict) ?? 0) + 1)
  if (passed === undefined) return undefined
  figures.passes++
  return { nth, seed: name, message, ...passed }
}

/** The gateway's eyes, from the held content to the verdict. */
function makeJudge({ root, issuing }: People): Trial['judge'] {
  const now = new Date()
  const store = contentStore()
  const trust = { anchors: [root], intermediates: [], revocationMode: 'off' } as const
  const parts: Omit<InboundParts, 'signerTrust'> = {
    keyring: { keysFor: () => ({ keys: [], name: '', ownerOf: () => 'own' }) },
    hold: () => new ContentWriter(store),
    tripleDes: false,
    inflatedOctets: 1_000_000,
  }
  return async message => {
    // Without a memory, as OpenSSL: the path has to stand in the message.
    const signerTrust = createSignerTrust(trust, () => now)
    const content = contentOf(message)
    const section = await readHeaderSection(content)
    const reader = new InboundReader({ content, section }, { ...parts, signerTrust }, now)
    try {
      const reading = await reader.read(RECIPIENT, WISH)
      const { result, code } = reading.verdict
      const passed = result === 'pass' ? await passedOf(content, reading, issuing) : undefined
      return { verdict: `${result} ${code}`, passed }
    } finally {
      reader.dispose()
      content.dispose()
    }
  }
}

/** Nothing passes but for the one who has signed all of this. */
async function passedOf(
  content: Content,
  { examined, verdict }: Reading,
  issuing: Certificate,
): Promise<Passed> {
  if (examined?.author?.matchKey !== AUTHOR) throw new Error('passes for another author')
  const { signature, signers } = examined
  const signer = signers[verdict.signer!]?.certificate
  if (signature?.kind !== 'signed' || !signer) throw new Error('passes without a signature')
  const { inside } = signature
  const octets =
    inside.kind === 'part' ? content.read(inside.start, inside.end) : inside.content.read()
  const chunks: Buffer[] = []
  for await (const chunk of octets) chunks.push(chunk)
  const mislabelled = signature.labels.includes('type-lies')
  return { inside: Buffer.concat(chunks), path: [signer.der, issuing.der], mislabelled }
}

/** What OpenSSL has against what passes here. */
async function disagreements(
  openssl: Openssl,
  questions: readonly Question[],
  figures: Figures,
): Promise<void> {
  const asked = performance.now()
  await Promise.all(
    questions.map(async question => {
      const { nth, seed, message } = question
      const said = await disagreement(openssl, question, figures)
      if (said !== undefined) figures.violations.push({ nth, seed, said, message })
    }),
  )
  figures.opensslSeconds += (performance.now() - asked) / 1000
}

async function disagreement(
  openssl: Openssl,
  question: Question,
  figures: Figures,
): Promise<string | undefined> {
  const { message, inside } = question
  let opinion = await openssl.verify(message)
  if (opinion.verdict !== 'good') {
    figures.askedAgain++
    opinion = await openssl.verify(plainer(question))
  }
  if (opinion.verdict !== 'good') return opinion.verdict
  return opinion.content.equals(inside) ? undefined : 'good, with another content'
}

/**
 * The same message, without what OpenSSL 3.0 stumbles over although nobody is deceived by it, all of it
 * outside of what is signed: a Content-Type field that is folded right behind its colon (RFC 5322
 * §2.2.3 lets it be); damaged certificates beside whole ones, and digests that nobody uses, where it
 * gives up; an opaque signature that is known by the name of its file alone.
 */
function plainer({ message, path, mislabelled }: Question): Buffer {
  const bare = resigned(message, signature => withCertificates(signature, path)) ?? message
  const text = bare.toString('latin1').replace(/^(content-type:)\r\n[ \t]+/gim, '$1 ')
  const named = mislabelled
    ? text.replace(/^content-type:.*/im, `Content-Type: ${PKCS7_MIME}`)
    : text
  return Buffer.from(named, 'latin1')
}

function messageAround(entity: Buffer): Buffer {
  const fields = [
    `From: Ann <${AUTHOR}>`,
    `To: ${RECIPIENT.toString()}`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'Message-ID: <1@partner.test>',
    'Subject: figures',
    'MIME-Version: 1.0',
    '',
  ]
  return Buffer.concat([Buffer.from(fields.join('\r\n')), entity])
}

const ENTITIES = {
  text: 'Content-Type: text/plain; charset=us-ascii\r\n\r\nhello\r\nworld\r\n',
  parts:
    'Content-Type: multipart/mixed; boundary="in"\r\n\r\n--in\r\nContent-Type: text/plain\r\n\r\n' +
    'hello\r\n--in\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: ' +
    'quoted-printable\r\n\r\n<p>caf=C3=A9\r\n--in--\r\n',
} as const
const RECIPIENT = parseMailbox('bob@example.test')
const WISH = { ...INBOUND_BY_DEFAULT, verify: 'stamp' } as const
/** What no client can send us. */
const FORBIDDEN = /\0|\r(?!\n)|(?<!\r)\n/
const PKCS7_MIME = 'application/pkcs7-mime; smime-type=signed-data; name=smime.p7m'
const BATCH = 200
