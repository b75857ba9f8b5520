/**
 * The other direction of docs/interop.md: what other programs make, as the gateway reads it.
 *
 * @module
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type ForeignMail,
  makeForeignMail,
  noInterop,
  type Outcome,
  PRODUCERS,
  type Producer,
  readByGateway,
} from './foreign.ts'

export const INBOUND_TITLE = '# What we open and verify of what others make'

/** A row: what it is called, and the case of each program. `MODE` is clear or opaque. */
type Row = readonly [title: string, cases: Partial<Record<Producer, string>>]

/**
 * Makes the section, in a minute or two.
 *
 * @returns `undefined` where the scripts that ask the programs are not there.
 * @throws {Error} Where a program made a message that no row shows.
 */
export async function inboundSection(folder: string): Promise<string | undefined> {
  if (noInterop) return undefined
  console.log('asking everybody to sign and to encrypt')
  const house = join(folder, 'house')
  await mkdir(house, { recursive: true })
  const mail = await makeForeignMail(folder)
  console.log(`reading ${mail.cases.length} messages`)
  const outcomes = await readByGateway(mail, house)
  requireAllShown(mail)
  const remarks: string[] = []
  const rowsOf = (rows: readonly Row[], mode = ''): string[][] =>
    rows.map(([title, cases]) => [
      title,
      ...PRODUCERS.map(producer =>
        cellOf(cases[producer]?.replace('MODE', mode), { mail, outcomes, remarks }),
      ),
    ])
  const head = ['', ...(await versions(mail))]
  return [
    HEAD,
    '## Clear-signed\n',
    table(head, rowsOf(SIGNED, 'clear')),
    '## Opaque-signed\n',
    table(head, rowsOf([...SIGNED, ...OPAQUE], 'opaque')),
    '## Encrypted\n',
    table(head, rowsOf(ENCRYPTED)),
    '## Signed, then encrypted\n',
    table(head, rowsOf(BOTH)),
    '## What the makers have said\n',
    ...remarks.map((words, index) => `${letterOf(index)}. \`${words.replaceAll('`', "'")}\``),
  ].join('\n')
}

interface Cells {
  readonly mail: ForeignMail
  readonly outcomes: ReadonlyMap<string, Outcome>
  readonly remarks: string[]
}

function cellOf(id: string | undefined, { mail, outcomes, remarks }: Cells): string {
  if (id === undefined) return ''
  const outcome = outcomes.get(id)
  if (outcome) return wordsFor(id, outcome)
  const refusal = mail.refusals.get(id)
  if (refusal === undefined) return ''
  const words = said(refusal)
  if (!remarks.includes(words)) remarks.push(words)
  return `not made [${letterOf(remarks.indexOf(words))}]`
}

/** `verified`, `opened`, or the reason in the words of the stamp. */
function wordsFor(id: string, { verdict, encryption, isWhole, isOpenedAnyway }: Outcome): string {
  const [result, code] = verdict.split(' ')
  const [closed] = encryption.split(';')
  const words: string[] = []
  if (closed !== 'none') {
    const isOpen = closed === 'opened' || closed === 'unauthenticated'
    if (closed === 'refused' && isOpenedAnyway) words.push('opened with `deliver`')
    else words.push(isOpen ? 'opened' : closed!)
  }
  if (result === 'pass') words.push('verified')
  else if (code !== 'not-signed') words.push(`${result}: ${code}`)
  if ((result === 'pass' || words.includes('opened')) && !isWhole)
    throw new Error(`${id}: something else came out than went in`)
  return words.join(', ')
}

function said(words: string): string {
  return words
    .replaceAll(/^[0-9A-F]{8,}:|RESULT error=/g, '')
    .replaceAll(/'\w+@interop\.test'/g, '…')
    .replaceAll(/:\S*\/\S+\.c:\d+:/g, '')
    .trim()
}

function letterOf(index: number): string {
  return String.fromCodePoint(97 + index)
}

function requireAllShown({ cases }: ForeignMail): void {
  const shown = new Set(
    [...SIGNED, ...OPAQUE, ...ENCRYPTED, ...BOTH].flatMap(([, row]) =>
      Object.values(row).flatMap(id => [id.replace('MODE', 'clear'), id.replace('MODE', 'opaque')]),
    ),
  )
  const left = cases.map(({ id }) => id).filter(id => !shown.has(id))
  if (left.length > 0) throw new Error(`no row shows ${left.join(', ')}`)
}

async function versions({ pki }: ForeignMail): Promise<string[]> {
  const text = await readFile(join(pki, '../matrix/versions.txt'), 'utf8')
  const find = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? '?'
  return [
    `OpenSSL ${find(/OpenSSL (\S+)/)}`,
    `gpgsm ${find(/gpgsm \(GnuPG\) (\S+)/)}`,
    `NSS ${find(/nss: (?:\d+:)?([\d.]+)/)}`,
    `Bouncy Castle ${find(/bcprov-([\d.]+)\.jar/)}`,
    `python3-cryptography ${find(/python3-cryptography: (\S+)/)}`,
  ]
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n')
}

const SIGNED: readonly Row[] = [
  [
    'RSA PKCS #1 v1.5, SHA-256',
    {
      openssl: 'ossl-MODE-rsa-sha256',
      gpgsm: 'gpgsm-MODE-rsa-SHA256',
      nss: 'nss-MODE-rsa-SHA256',
      bc: 'bc-MODE-rsa',
      py: 'py-MODE-rsa',
    },
  ],
  ['RSA PKCS #1 v1.5, SHA-384', { openssl: 'ossl-MODE-rsa-sha384', nss: 'nss-MODE-rsa-SHA384' }],
  [
    'RSA PKCS #1 v1.5, SHA-512',
    {
      openssl: 'ossl-MODE-rsa-sha512',
      gpgsm: 'gpgsm-MODE-rsa-SHA512',
      nss: 'nss-MODE-rsa-SHA512',
    },
  ],
  ['RSA PKCS #1 v1.5, SHA-1', { openssl: 'ossl-MODE-rsa-sha1' }],
  [
    'RSASSA-PSS, SHA-256',
    { openssl: 'ossl-MODE-rsapss-sha256', bc: 'bc-MODE-rsapss', py: 'py-MODE-rsapss' },
  ],
  ['RSASSA-PSS, SHA-512', { bc: 'bc-MODE-rsapss512' }],
  [
    'P-256, SHA-256',
    {
      openssl: 'ossl-MODE-ec-sha256',
      gpgsm: 'gpgsm-MODE-ec-SHA256',
      nss: 'nss-MODE-ec-SHA256',
      bc: 'bc-MODE-ec',
      py: 'py-MODE-ec',
    },
  ],
  ['P-256, SHA-384', { nss: 'nss-MODE-ec-SHA384' }],
  ['P-256, SHA-512', { gpgsm: 'gpgsm-MODE-ec-SHA512', nss: 'nss-MODE-ec-SHA512' }],
  ['P-384, SHA-256', { nss: 'nss-MODE-ec384-SHA256', py: 'py-MODE-ec384' }],
  [
    'P-384, SHA-384',
    { openssl: 'ossl-MODE-ec384-sha384', nss: 'nss-MODE-ec384-SHA384', bc: 'bc-MODE-ec384' },
  ],
  ['P-384, SHA-512', { nss: 'nss-MODE-ec384-SHA512' }],
  ['P-521, SHA-512', { openssl: 'ossl-MODE-ec521-sha512' }],
  ['Ed25519', { openssl: 'ossl-MODE-ed25519', bc: 'bc-MODE-ed25519', py: 'py-MODE-ed' }],
  ['signer by subject key identifier', { openssl: 'ossl-MODE-rsa-skid' }],
  ['CAdES attributes', { openssl: 'ossl-MODE-rsa-cades' }],
  ['two signers, RSA and P-256', { openssl: 'ossl-MODE-2signers' }],
  ['without signed attributes', { openssl: 'ossl-MODE-rsa-noattr' }],
  ['certificate revoked', { openssl: 'ossl-MODE-revoked' }],
  ['certificate expired', { openssl: 'ossl-MODE-expired' }],
  [
    'a multipart with preamble and epilogue',
    { openssl: 'ossl-MODE-rsa-complex', bc: 'bc-MODE-rsa-complex' },
  ],
]

const OPAQUE: readonly Row[] = [
  ['indefinite lengths', { openssl: 'ossl-opaque-rsa-stream' }],
  ['indefinite lengths, a multipart', { openssl: 'ossl-opaque-rsa-complex-stream' }],
]

const ENCRYPTED: readonly Row[] = [
  [
    'RSA PKCS #1 v1.5, triple DES',
    {
      openssl: 'ossl-enc-rsa-des3',
      gpgsm: 'gpgsm-enc-rsa-3DES',
      bc: 'bc-enc-rsa-DES_EDE3_CBC',
    },
  ],
  [
    'RSA PKCS #1 v1.5, aes-128-cbc',
    {
      openssl: 'ossl-enc-rsa-aes-128-cbc',
      gpgsm: 'gpgsm-enc-rsa-AES',
      nss: 'nss-enc-rsa',
      bc: 'bc-enc-rsa-AES128_CBC',
      py: 'py-enc-rsa',
    },
  ],
  ['RSA PKCS #1 v1.5, aes-192-cbc', { openssl: 'ossl-enc-rsa-aes-192-cbc' }],
  [
    'RSA PKCS #1 v1.5, aes-256-cbc',
    {
      openssl: 'ossl-enc-rsa-aes-256-cbc',
      gpgsm: 'gpgsm-enc-rsa-AES256',
      nss: 'nss-enc-rsa4k',
      bc: 'bc-enc-rsa-AES256_CBC',
      py: 'py-enc-rsa-AES256',
    },
  ],
  [
    'RSA PKCS #1 v1.5, aes-128-gcm',
    {
      openssl: 'ossl-enc-rsa-aes-128-gcm',
      gpgsm: 'gpgsm-enc-rsa-AES.GCM',
      bc: 'bc-enc-rsa-AES128_GCM',
    },
  ],
  ['RSA PKCS #1 v1.5, aes-192-gcm', { openssl: 'ossl-enc-rsa-aes-192-gcm' }],
  [
    'RSA PKCS #1 v1.5, aes-256-gcm',
    {
      openssl: 'ossl-enc-rsa-aes-256-gcm',
      gpgsm: 'gpgsm-enc-rsa-AES256.GCM',
      bc: 'bc-enc-rsa-AES256_GCM',
    },
  ],
  ['RSA PKCS #1 v1.5, aes-256-ccm', { bc: 'bc-enc-rsa-AES256_CCM' }],
  ['RSA PKCS #1 v1.5, ChaCha20-Poly1305', { bc: 'bc-enc-rsa-CHACHA20' }],
  [
    'RSA-OAEP SHA-1, aes-256-cbc',
    { openssl: 'ossl-enc-rsa-oaep-aes-256-cbc', bc: 'bc-enc-rsa-oaep-AES256_CBC' },
  ],
  [
    'RSA-OAEP SHA-1, aes-256-gcm',
    { openssl: 'ossl-enc-rsa-oaep-aes-256-gcm', bc: 'bc-enc-rsa-oaep-AES256_GCM' },
  ],
  [
    'RSA-OAEP SHA-256, aes-256-cbc',
    { openssl: 'ossl-enc-rsa-oaep256-aes-256-cbc', bc: 'bc-enc-rsa-oaep256-AES256_CBC' },
  ],
  [
    'RSA-OAEP SHA-256, aes-256-gcm',
    { openssl: 'ossl-enc-rsa-oaep256-aes-256-gcm', bc: 'bc-enc-rsa-oaep256-AES256_GCM' },
  ],
  ...['cbc', 'gcm'].flatMap(curveRows),
  ['to two of RSA', { gpgsm: 'gpgsm-enc-multi', nss: 'nss-enc-multi', py: 'py-enc-multi' }],
  [
    'to RSA twice and P-256, aes-256-cbc',
    { openssl: 'ossl-enc-multi-aes-256-cbc', bc: 'bc-enc-multi-AES256_CBC' },
  ],
  [
    'to RSA twice and P-256, aes-256-gcm',
    { openssl: 'ossl-enc-multi-aes-256-gcm', bc: 'bc-enc-multi-AES256_GCM' },
  ],
  ['RSA by subject key identifier', { openssl: 'ossl-enc-rsa-keyid' }],
  ['definite lengths, aes-256-cbc', { bc: 'bc-enc-rsa-AES256_CBC-der' }],
  ['definite lengths, aes-256-gcm', { bc: 'bc-enc-rsa-AES256_GCM-der' }],
  [
    'a multipart with preamble and epilogue',
    {
      openssl: 'ossl-enc-rsa-aes256-cbc-complex-stream',
      gpgsm: 'gpgsm-enc-rsa-AES256-complex',
      nss: 'nss-enc-rsa-complex',
      bc: 'bc-enc-rsa-AES256_CBC-complex',
    },
  ],
]

const BOTH: readonly Row[] = ['clear', 'opaque'].flatMap(mode =>
  ['cbc', 'gcm'].map(
    (cipher): Row => [
      `${mode}, RSA, aes-256-${cipher}`,
      { openssl: `ossl-sign-${mode}-enc-aes-256-${cipher}` },
    ],
  ),
)

/** ECDH, by the digest of its key derivation. */
function curveRows(mode: string): Row[] {
  const ossl = (kind: string): string => `ossl-enc-${kind}-aes-256-${mode}`
  const bc = (kind: string): string => `bc-enc-${kind}-AES256_${mode.toUpperCase()}`
  const title = (way: string): string => `${way}, aes-256-${mode}`
  const cbc = (kind: string): Partial<Record<Producer, string>> =>
    mode === 'cbc' ? { gpgsm: `gpgsm-enc-${kind}-AES256` } : {}
  const nss = (kind: string): Partial<Record<Producer, string>> =>
    mode === 'cbc' ? { nss: `nss-enc-${kind}` } : {}
  return [
    [title('P-256, KDF SHA-1'), { openssl: ossl('ec'), bc: bc('ec-SHA1') }],
    [
      title('P-256, KDF SHA-256'),
      {
        openssl: ossl('ec-kdf256'),
        bc: bc('ec-SHA256'),
        ...cbc('ec'),
        ...nss('ec'),
        ...(mode === 'cbc' ? { py: 'py-enc-ec' } : {}),
      },
    ],
    [title('P-256, KDF SHA-512'), { bc: bc('ec-SHA512') }],
    [title('P-384, KDF SHA-1'), { openssl: ossl('ec384') }],
    [title('P-384, KDF SHA-256'), { openssl: ossl('ec384-kdf256') }],
    [title('P-384, KDF SHA-384'), { bc: bc('ec384-SHA384'), ...cbc('ec384'), ...nss('ec384') }],
    [title('P-521, KDF SHA-1'), { openssl: ossl('ec521') }],
    [title('P-521, KDF SHA-256'), { openssl: ossl('ec521-kdf256'), ...cbc('ec521') }],
    [title('X25519, HKDF SHA-256'), { openssl: ossl('x25519'), bc: bc('x25519'), ...cbc('x') }],
    [title('X25519, KDF SHA-256'), { bc: bc('x25519-x963') }],
  ]
}

const HEAD = `${INBOUND_TITLE}

Made in the same run: other people's programs sign and encrypt in every way that they know, and the
messages go through a gateway that runs, by SMTP. It has the keys as its identities, the root of their
authority as its only anchor, and the list of what that has revoked.

*verified*: the verdict is \`pass\`, and the entity under the signature came out octet for octet. *opened*:
so did the entity that was encrypted. Any other word is the result and code of the stamp
(\`docs/stamps.md\`), and then nothing was taken off. An empty cell: nobody was asked. *not made*: the
program could not, and the letter leads to what it has said.

Triple DES is opened here because \`tripleDes: true\` says so. *opened with \`deliver\`*: a cipher that lets
itself be altered, no signature inside, and octets that no field declares, the epilogue; by default
(\`unauthenticated: strict\`) such a message stays closed. Where there are several recipients, each has
opened it with his own key.
`
