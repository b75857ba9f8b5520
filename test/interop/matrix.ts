/**
 * Makes docs/interop.md: every content cipher by every key management, opened by four other programs;
 * and what those sign and encrypt, read by the gateway.
 *
 *     node test/interop/matrix.ts
 *
 * What stands in a cell is what was observed just now. A peer that is not installed is left out, and
 * the page says so. Where the scripts are absent that ask the others to sign and encrypt, that half of
 * the page stays as it is.
 *
 * @module
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import type { KeyIdentification } from '../../src/crypto/cms/recipient-info.ts'
import {
  CONTENT_CIPHERS,
  type ContentCipher,
  contentCipher,
} from '../../src/crypto/content-encryption.ts'
import type { Signer } from '../../src/crypto/key.ts'
import { type KeyTransport, keyManagementFor } from '../../src/crypto/key-management.ts'
import { type EncryptionProfile, encryptionFor } from '../../src/crypto/smime/encryption-choice.ts'
import { envelop } from '../../src/crypto/smime/envelop.ts'
import { signPrepared } from '../../src/crypto/smime/sign-message.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem, issue } from '../../src/crypto/x509/issue.ts'
import { gather, once } from '../support/chunks.ts'
import { lifetime } from '../support/identity-folder.ts'
import { type Envelope, type OpeningPeer, openingPeers } from '../support/opening-peers.ts'
import { peers, unpack } from '../support/peers.ts'
import {
  makeRecipients,
  RECIPIENT_KINDS,
  type Recipient,
  type RecipientKind,
  type Recipients,
} from '../support/recipients.ts'
import { noInterop } from './foreign.ts'
import { INBOUND_TITLE, inboundSection } from './inbound-table.ts'

/** A row of the tables: whose key, and by which way the content key gets there. */
interface Way {
  readonly title: string
  readonly kind: RecipientKind
  readonly rsa: KeyTransport['name']
}

/** A form besides the usual one: to whom, who opens, how named, with which lengths. */
interface Form {
  readonly title: string
  readonly to: readonly RecipientKind[]
  readonly opener: RecipientKind
  readonly keyIdentification?: KeyIdentification
  readonly isDefinite?: boolean
}

/** Everything that one run works with. */
interface Run {
  readonly folder: string
  readonly people: Recipients
  readonly signer: Signer
  readonly rootFile: string
  /** What peers have said, in the order in which it was heard first. */
  readonly remarks: string[]
}

const ENTITY = Buffer.from(
  `Content-Type: text/plain\r\n\r\n${'For your eyes only, in lines of text.\r\n'.repeat(300)}`,
)
const SIGNED_WAYS: ReadonlySet<string> = new Set(['RSA PKCS #1 v1.5', 'RSA-OAEP SHA-256', 'P-256'])
const PROFILES: readonly EncryptionProfile[] = ['compatible', 'modern', 'edi-energy']
const FIELDS = Buffer.from(
  'From: sender@example.test\r\nTo: recipient@partner.test\r\nSubject: matrix\r\nMIME-Version: 1.0\r\n',
)
const OTHER = 'opened, and found something else than was encrypted'
const HEAD = `# What opens what we encrypt

Made by \`node test/interop/matrix.ts\`: messages are encrypted in every way that we know, and opened by
other people's programs, as they are installed on the machine that ran it. *yes*: what came out is what
went in, octet for octet. Otherwise the number leads to what the program has said.

Elliptic curves are by ECDH with the digest that fits the curve (RFC 5753), X25519 by HKDF with SHA-256
(RFC 8418). Recipients are named by issuer and serial number, and lengths are indefinite, where nothing
else is said.
`
const PAGE = resolve(import.meta.dirname, '../../docs/interop.md')

const WAYS: readonly Way[] = RECIPIENT_KINDS.flatMap((kind): Way[] => {
  const rsa = 'rsa-pkcs1'
  if (kind !== 'rsa-2048') return [{ title: titleOf(kind), kind, rsa }]
  return [
    { title: 'RSA PKCS #1 v1.5', kind, rsa },
    { title: 'RSA-OAEP SHA-256', kind, rsa: 'rsa-oaep-sha-256' },
    { title: 'RSA-OAEP SHA-256, MGF1 SHA-1', kind, rsa: 'rsa-oaep-sha-256-mgf1-sha-1' },
    { title: 'RSA-OAEP SHA-1', kind, rsa: 'rsa-oaep-sha-1' },
  ]
})

const FORMS: readonly Form[] = [
  { title: 'to RSA and P-256, opened by RSA', to: ['rsa-2048', 'p-256'], opener: 'rsa-2048' },
  { title: 'to RSA and P-256, opened by P-256', to: ['rsa-2048', 'p-256'], opener: 'p-256' },
  { title: 'to RSA and X25519, opened by RSA', to: ['rsa-2048', 'x25519'], opener: 'rsa-2048' },
  {
    title: 'RSA by subject key identifier',
    to: ['rsa-2048'],
    opener: 'rsa-2048',
    keyIdentification: 'subject-key-identifier',
  },
  {
    title: 'P-256 by subject key identifier',
    to: ['p-256'],
    opener: 'p-256',
    keyIdentification: 'subject-key-identifier',
  },
  { title: 'RSA, definite lengths', to: ['rsa-2048'], opener: 'rsa-2048', isDefinite: true },
  { title: 'P-256, definite lengths', to: ['p-256'], opener: 'p-256', isDefinite: true },
]

const folder = await mkdtemp(join(tmpdir(), 'postern-matrix-'))
try {
  await writeFile(PAGE, await page(await begin(folder)))
  console.log(`written: ${PAGE}`)
} finally {
  await rm(folder, { recursive: true, force: true })
}

async function begin(where: string): Promise<Run> {
  const people = await makeRecipients(RECIPIENT_KINDS)
  const rootFile = join(where, 'root.pem')
  await writeFile(rootFile, certificatePem(people.root.der))
  const { der, privateKey, publicKey } = await issue({
    ...lifetime(),
    commonName: 'Sender',
    addresses: ['sender@example.test'],
    issuer: people.root,
    key: 'rsa-2048',
  })
  const algorithm = signatureAlgorithmFor(publicKey, {})
  const sign = (octets: Uint8Array): Promise<Buffer> => signOctets(privateKey, algorithm, octets)
  const signer = { certificate: parseCertificate(der), path: [], algorithm, sign }
  return { folder: where, people, signer, rootFile, remarks: [] }
}

async function page(run: Run): Promise<string> {
  const sections = [HEAD, profiles(run.people)]
  for (const peer of openingPeers) sections.push(await peerSection(peer, run))
  sections.push('## What the peers have said\n', ...run.remarks.map(remarkLine))
  return `${sections.join('\n')}\n\n${await inbound(run)}`
}

/** The other half of the page: made anew where that can be, else as it stands. */
async function inbound({ folder: where }: Run): Promise<string> {
  const section = await inboundSection(where)
  if (section !== undefined) return `${section}\n`
  console.log(`not made anew, what others sign and encrypt: ${noInterop}`)
  const old = await readFile(PAGE, 'utf8')
  const start = old.indexOf(INBOUND_TITLE)
  return start < 0 ? '' : old.slice(start)
}

/** What recipients get of whom nothing is known. */
function profiles(people: Recipients): string {
  const kinds = ['rsa-2048', 'p-256', 'p-384', 'p-521', 'x25519'] as const
  const rows = PROFILES.map(profile => {
    const choices = kinds.map(kind => encryptionFor(people.of(kind).certificate, profile))
    return [`\`${profile}\``, choices[0]!.content.name, ...choices.map(one => one.management.name)]
  })
  return [
    '## What a recipient gets of whom nothing is known\n',
    table(['profile', 'content', ...kinds.map(titleOf)], rows),
  ].join('\n')
}

async function peerSection(peer: OpeningPeer, run: Run): Promise<string> {
  if (peer.missing) return `## ${peer.name}\n\nNot asked: ${peer.missing}.\n`
  console.log(`asking ${peer.name}`)
  const ciphers = CONTENT_CIPHERS.map(({ name }) => name)
  const enveloped = await rowsOf(peer, run, WAYS, false)
  const signed = WAYS.filter(({ title }) => SIGNED_WAYS.has(title))
  return [
    `## ${await peer.version()}\n`,
    'Enveloped:\n',
    table(['', ...ciphers], enveloped),
    'Signed, then enveloped; both were checked:\n',
    table(['', ...ciphers], await rowsOf(peer, run, signed, true)),
    'Other forms, with RSA by PKCS #1 v1.5 and aes-256-cbc:\n',
    table(['', 'opens'], await formRows(peer, run)),
  ].join('\n')
}

async function rowsOf(
  peer: OpeningPeer,
  run: Run,
  ways: readonly Way[],
  isSigned: boolean,
): Promise<string[][]> {
  const cells = new Map<string, string>()
  const expected = new Map<string, Buffer>()
  const envelopes: Envelope[] = []
  for (const way of ways)
    for (const cipher of CONTENT_CIPHERS) {
      const id = idOf(way, cipher)
      const inside = isSigned ? await gather(signedEntity(run.signer)) : ENTITY
      expected.set(id, inside)
      envelopes.push(await envelopeOf(id, inside, run.people.of(way.kind), way, cipher))
    }
  const where = join(run.folder, `${peer.name}-${isSigned ? 'signed' : 'bare'}`)
  const openings = await peer.open(envelopes, run.people, where)
  const opened = new Map<string, Buffer>()
  for (const [id, opening] of openings) {
    if (Buffer.isBuffer(opening) && opening.equals(expected.get(id)!)) opened.set(id, opening)
    else cells.set(id, remark(run, Buffer.isBuffer(opening) ? OTHER : opening))
  }
  const verdicts = isSigned ? await verify(peer, run, opened, where) : new Map<string, string>()
  for (const id of opened.keys()) {
    const verdict = verdicts.get(id) ?? 'good'
    cells.set(id, verdict === 'good' ? 'yes' : remark(run, verdict))
  }
  return ways.map(way => [
    way.title,
    ...CONTENT_CIPHERS.map(cipher => cells.get(idOf(way, cipher)) ?? 'not asked'),
  ])
}

async function formRows(peer: OpeningPeer, run: Run): Promise<string[][]> {
  const content = contentCipher('aes-256-cbc')
  const envelopes: Envelope[] = []
  for (const { title, to, opener, keyIdentification, isDefinite } of FORMS) {
    const recipients = to.map(kind => {
      const { certificate } = run.people.of(kind)
      const management = keyManagementFor(certificate.publicKey, 'rsa-pkcs1')
      return { certificate, management, keyIdentification }
    })
    const sizeOctets = isDefinite ? ENTITY.length : undefined
    const body = await gather(envelop(once(ENTITY), recipients, { content, sizeOctets }))
    const message = Buffer.concat([FIELDS, body])
    envelopes.push({ id: title, message, recipient: run.people.of(opener) })
  }
  const openings = await peer.open(envelopes, run.people, join(run.folder, `${peer.name}-forms`))
  return FORMS.map(({ title }) => {
    const opening = openings.get(title) ?? 'not asked'
    if (!Buffer.isBuffer(opening)) return [title, remark(run, opening)]
    return [title, opening.equals(ENTITY) ? 'yes' : remark(run, OTHER)]
  })
}

/** The same program judges the signature that it has found inside. */
async function verify(
  peer: OpeningPeer,
  run: Run,
  opened: ReadonlyMap<string, Buffer>,
  where: string,
): Promise<ReadonlyMap<string, string>> {
  const judge = peers.find(({ name }) => name === peer.name)!
  const inside = join(where, 'inside')
  return await judge.verify(await unpack(opened, inside), run.rootFile, inside)
}

async function envelopeOf(
  id: string,
  inside: Buffer,
  recipient: Recipient,
  { rsa }: Way,
  content: ContentCipher,
): Promise<Envelope> {
  const { certificate } = recipient
  const to = [{ certificate, management: keyManagementFor(certificate.publicKey, rsa) }]
  const body = await gather(envelop(once(inside), to, { content }))
  const message = Buffer.concat([FIELDS, body])
  return { id, message, recipient }
}

function signedEntity(signer: Signer): AsyncIterable<Buffer> {
  const prepared = { kind: 'as-is', octets: () => once(ENTITY) } as const
  return signPrepared(prepared, signer, { signature: 'clear', signingTime: new Date() })
}

/** A cell that points to the peer's own words, without what changes from run to run. */
function remark({ remarks, folder: where }: Run, said: string): string {
  const words = said
    .replaceAll(where, '')
    .replaceAll(/\/\S*\/(?=[\w-]+\.\w+)/g, '')
    .replaceAll(/^[0-9A-F]{8,}:/gm, '')
    .replaceAll(/recipient-info 0x\w+|offset \d+|\b\d+\.(?:der|eml|content)\b/g, '…')
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !/\bnickname\b/.test(line))
    .slice(0, 3)
    .join(' / ')
    .slice(0, 240)
  if (!remarks.includes(words)) remarks.push(words)
  return `no [${remarks.indexOf(words) + 1}]`
}

function remarkLine(words: string, index: number): string {
  return `${index + 1}. \`${words.replaceAll('`', "'")}\``
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n')
}

function idOf(way: Way, cipher: ContentCipher): string {
  return `${way.title} ${cipher.name}`
}

function titleOf(kind: RecipientKind): string {
  return kind
    .replace('rsa-2048', 'RSA')
    .replace(/^p-/, 'P-')
    .replace('brainpool-p', 'brainpoolP')
    .replace('x25519', 'X25519')
}
