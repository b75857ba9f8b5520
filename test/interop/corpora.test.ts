/**
 * Published messages, each with the outcome that its index states: the examples of RFC 4134, Thunderbird's
 * own test messages, and what comes after them; and the people of RFC 9216, who write to each other.
 *
 * What is compared with the index is mathematics: layers, and the innermost octets. Where our policy is
 * another, `DIFFERENCES` says so, a line a case. What is said of each message is in `VERDICTS`.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { validateForEncryption, validateForVerification } from '../../src/certstore/validate.ts'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import { contentCipher } from '../../src/crypto/content-encryption.ts'
import { readKeyFile } from '../../src/crypto/key-file.ts'
import { keyManagementFor } from '../../src/crypto/key-management.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { envelop } from '../../src/crypto/smime/envelop.ts'
import type { ValidCertificate } from '../../src/crypto/x509/valid-certificate.ts'
import { judge } from '../../src/policy/verdict.ts'
import { clearMessage, opaqueMessage } from '../crypto/smime/signed-message.ts'
import { gather, once } from '../support/chunks.ts'
import { messageAround, text } from '../support/inbound.ts'
import {
  type CorpusCase,
  corpusCases,
  corpusCertificate,
  corpusFile,
  corpusKey,
  derOf,
  makeReader,
  noCorpora,
  type Received,
} from './receiving.ts'

const NOW = new Date('2026-11-23T12:00:00Z')
const CASES = corpusCases('rfc4134', 'thunderbird', 'pqc').filter(({ op }) => op !== 'certs')

const NO_ATTRIBUTES = 'what is signed without signed attributes can be made to mean something else'
const DSA = 'DSA is not supported: it has been withdrawn (FIPS 186-5), and protects nobody’s mail'
const ML_DSA = 'ML-DSA (RFC 9882) is not supported yet'

/** Where our policy is not the index's mathematics: what we say of the layers, and why. */
const DIFFERENCES: Readonly<Record<string, readonly [ours: string, reason: string]>> = {
  'rfc4134-4.1': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.2': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.3': ['signed-clear unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.4': ['signed-opaque unverifiable algorithm-refused', DSA],
  'rfc4134-4.5': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.6': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.7': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.8': ['signed-clear unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.9': ['signed-opaque unverifiable no-signed-attributes', NO_ATTRIBUTES],
  'rfc4134-4.10': ['signed-opaque unverifiable algorithm-refused', DSA],
  'rfc4134-5.2': ['enveloped unreadable algorithm-refused', 'RC2 is refused (RFC 8551 §2.7)'],
  'rfc9882-mldsa44': ['signed-opaque unverifiable algorithm-unknown', ML_DSA],
  'rfc9882-mldsa65': ['signed-opaque unverifiable algorithm-unknown', ML_DSA],
  'rfc9882-mldsa87': ['signed-opaque unverifiable algorithm-unknown', ML_DSA],
  'rfc9936-mlkem512': [
    'enveloped unreadable recipients-refused',
    'ML-KEM (RFC 9936) is not supported yet',
  ],
}

/** What is said of each message: of its signature, and of its encryption. */
const VERDICTS: readonly (readonly [ids: RegExp, verdict: string, encryption: string])[] = [
  [/^rfc4134-4\.(?:[1235-9])$/, 'neutral no-signed-attributes', 'none'],
  [/^rfc4134-4\.(?:4|10)$/, 'neutral algorithm-refused', 'none'],
  [/^rfc4134-4\.11$/, 'none certificates-only', 'none'],
  // What is inside is no MIME entity, and nothing vouches for it.
  [/^rfc4134-5\.[13]$/, 'none not-signed', 'refused'],
  [/^rfc4134-5\.2$/, 'none not-signed', 'unreadable'],
  [/^rfc4134-(?:3\.[12]|6\.0|7\.[12])$/, 'none not-signed', 'none'],
  [/^rfc9882-mldsa\d\d$/, 'neutral algorithm-unknown', 'none'],
  [/^rfc9936-mlkem512$/, 'none not-signed', 'unreadable'],
  [/^tb-.*\.bad$/, 'fail digest-mismatch', 'none'],
  [/^tb-alice\.env$/, 'none not-signed', 'unauthenticated'],
  [/^tb-.*SHA1\.\w+\.env$/, 'policy weak-sha-1', 'opened'],
  [/^tb-.*SHA1\.\w+$/, 'policy weak-sha-1', 'none'],
  // Thunderbird says good; its certificates bear the address in their subject alone (RFC 8550 §3).
  [/^tb-.*SHA\d{3}\.\w+\.env$/, 'policy address-in-name-only', 'opened'],
  [/^tb-.*SHA\d{3}\.\w+$/, 'policy address-in-name-only', 'none'],
]

describe.skipIf(noCorpora)(`published messages ${noCorpora ?? ''}`, () => {
  test('all of them are here', () => {
    const count = (prefix: string) => CASES.filter(({ id }) => id.startsWith(prefix)).length
    expect([count('rfc4134-'), count('tb-'), count('rfc98'), count('rfc99')]).toEqual([
      19, 29, 3, 1,
    ])
  })

  test.each(CASES)('$id has the layers that its index states, or a reason why not', async one => {
    const { layers } = await received(one)
    const stated = layersOf(one)
    const [ours] = DIFFERENCES[one.id] ?? [stated]
    expect(layers.map(layer => layer.replace(/invalid .*/, 'invalid')).join(' > ')).toBe(ours)
    expect(ours === stated).toBe(DIFFERENCES[one.id] === undefined)
  })

  const readable = CASES.filter(({ id }) => !DIFFERENCES[id]?.[0].includes('unreadable'))

  test.each(readable.filter(one => one.expect.innermost_sha256))(
    '$id has the innermost octets that its index states',
    async one => {
      const { innermost } = await received(one)
      const digest = createHash('sha256').update(innermost).digest('hex')
      expect(digest).toBe(one.expect.innermost_sha256)
    },
  )

  test.each(CASES)('$id gets the one verdict, which is not pass', async one => {
    const { verdict, encryption } = await received(one)
    const rows = VERDICTS.filter(([ids]) => ids.test(one.id))
    const [row] = rows
    expect([one.id, verdict, encryption]).toEqual([one.id, row?.[1], row?.[2]])
    expect(verdict).not.toMatch(/^pass/)
  })

  const judged = CASES.filter(one => one.expect.thunderbird)

  test.each(judged)('$id: we and Thunderbird differ by the place of the address', async one => {
    const { evidence } = await received(one)
    const { signature } = evidence!
    const elsewhere =
      signature?.kind === 'signed'
        ? {
            ...signature,
            signers: signature.signers.map(it => ({ ...it, addressesFrom: 'san' as const })),
          }
        : signature
    const { result } = judge({ ...evidence!, signature: elsewhere })
    expect(result === 'pass').toBe(one.expect.thunderbird!.signature_good)
  })

  test.each(CASES.filter(({ op }) => op === 'decrypt'))(
    'B13 $id stays closed by default where its cipher is weak',
    async one => {
      const { encryption } = await received(one, false)
      expect(encryption).toBe('unreadable')
    },
  )

  test('what one recipient can open stays closed for another', async () => {
    const [envelope] = CASES.filter(({ id }) => id === 'tb-alice.env')
    const alice = corpusKey({
      cert: 'thunderbird/keys/Alice.crt',
      key: 'thunderbird/keys/Alice.key',
    })
    const { receive } = makeReader({ anchors: [], keys: [alice], now: NOW })
    expect(await receive(asMail(envelope!))).toMatchObject({
      layers: ['enveloped no-key'],
      encryption: 'no-key',
    })
  })
})

const PEOPLE = ['alice', 'bob', 'carlos', 'dana'] as const
const [RSA_CA, ED25519_CA] = ['rfc9216/ca.rsa.crt', 'rfc9216/ca.25519.crt']

describe.skipIf(noCorpora)(`the people of RFC 9216 ${noCorpora ?? ''}`, () => {
  const certificates = corpusCases('rfc9216').filter(({ expect: { path } }) => path)
  const containers = corpusCases('rfc9216').filter(({ expect: { opens } }) => opens)

  test.each(certificates)('$id', async ({ file, inputs, expect: { path, email, usage } }) => {
    const certificate = corpusCertificate(file)
    const trust = {
      anchors: inputs!.trust!.map(corpusCertificate),
      intermediates: inputs!.intermediates!.map(corpusCertificate),
      revocationMode: 'off',
    } as const
    const { kind } =
      usage === 'sign'
        ? await validateForVerification(certificate, trust, [], NOW)
        : await validateForEncryption(certificate, trust, [], NOW)
    const good = usage === 'sign' ? 'good' : 'valid'
    const bad = usage === 'sign' ? 'untrusted' : 'invalid'
    expect(kind).toBe(path === 'valid' ? good : bad)
    expect(certificate.addresses).toContain(email)
  })

  test.each(containers)('$id', async ({ file, expect: { password } }) => {
    const {
      privateKeys,
      certificates: found,
      faults,
    } = await readKeyFile(corpusFile(file), password)
    expect(faults).toEqual([])
    expect(privateKeys).toHaveLength(2)
    expect(found.length).toBeGreaterThanOrEqual(2)
  })

  test.each(PEOPLE.flatMap(from => PEOPLE.map(to => [from, to] as const)))(
    '%s writes to %s, signed and encrypted',
    async (from, to) => {
      const other = { alice: 'bob', bob: 'carlos', carlos: 'dana', dana: 'alice' } as const
      const message = await letter(from, to)
      const anchors = [RSA_CA!, ED25519_CA!].map(corpusCertificate)
      const keysOf = (who: string) => [
        corpusKey({ cert: `rfc9216/${who}.encrypt.crt`, key: `rfc9216/${who}.decrypt.key` }),
      ]
      const { receive } = makeReader({ anchors, keys: keysOf(to), now: NOW })
      expect(await receive(message)).toMatchObject({
        verdict: 'pass good',
        encryption: 'opened',
        layers: ['enveloped ok', 'signed-clear valid'],
        innermost: text('it is I'),
      })
      const closed = makeReader({ anchors, keys: keysOf(other[to]), now: NOW })
      expect(await closed.receive(message)).toMatchObject({
        verdict: 'none not-signed',
        encryption: 'no-key',
      })
      const strange = makeReader({ anchors: [], keys: keysOf(to), now: NOW })
      expect(await strange.receive(message)).toMatchObject({ verdict: 'policy no-anchor' })
    },
  )
})

/** Signed by one with the key of the RFC, and encrypted to another with his. */
async function letter(from: string, to: string): Promise<Buffer> {
  const { privateKeys } = await readKeyFile(corpusFile(`rfc9216/${from}.sign.key`))
  const own = corpusCertificate(`rfc9216/${from}.verify.crt`)
  const algorithm = signatureAlgorithmFor(own.publicKey, {})
  const sign = (octets: Uint8Array) => signOctets(privateKeys[0]!, algorithm, octets)
  const signer = { certificate: own, path: [], algorithm, sign }
  const signed = clearSign(once(text('it is I')), signer, { signingTime: NOW })
  const certificate = corpusCertificate(`rfc9216/${to}.encrypt.crt`) as ValidCertificate<'encrypt'>
  const recipient = {
    certificate,
    management: keyManagementFor(certificate.publicKey, 'rsa-pkcs1'),
  }
  const content = contentCipher('aes-256-gcm')
  return messageAround(await gather(envelop(signed, [recipient], { content })), {
    From: `${from}@smime.example`,
    Date: NOW.toUTCString().replace('GMT', '+0000'),
  })
}

async function received(one: CorpusCase, tripleDes = true): Promise<Received> {
  const { trust = [], keys = [] } = one.inputs ?? {}
  const { receive, heldOctets } = makeReader({
    anchors: trust.map(corpusCertificate),
    keys: keys.map(corpusKey),
    now: NOW,
    tripleDes,
  })
  const outcome = await receive(asMail(one))
  expect(heldOctets()).toBe(0)
  return outcome
}

/** The words of the index. `authenveloped` is one of the layers that we call enveloped. */
function layersOf({ op, expect: { layers, certificates_only, ...stated } }: CorpusCase): string {
  if (layers)
    return layers
      .map(layer => `${layer.type.replace('auth', '')} ${layer.signature ?? layer.decrypt}`)
      .join(' > ')
  if (certificates_only) return 'unsigned'
  if (op === 'verify') return `signed-opaque ${stated.signature}`
  return op === 'decrypt' ? `enveloped ${stated.decrypt}` : ''
}

/** A message as it stands, with the line ends of mail; bare CMS with header fields around it. */
function asMail({ file, inputs }: CorpusCase): Buffer {
  const octets = corpusFile(file)
  if (file.endsWith('.eml'))
    return Buffer.from(octets.toString('latin1').replaceAll(/\r?\n/g, '\r\n'), 'latin1')
  const cms = derOf(octets)
  const entity = inputs?.content
    ? clearMessage(cms, { entity: corpusFile(inputs.content) })
    : opaqueMessage(cms, 'application/pkcs7-mime; name=smime.p7m')
  return messageAround(entity, { From: 'aliceDss@examples.com' })
}
