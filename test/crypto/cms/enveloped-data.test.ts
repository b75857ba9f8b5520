/**
 * EnvelopedData and AuthEnvelopedData: every cell of ciphers and key managements, opened by a reader that
 * shares nothing with the writer.
 */
import { generateKeyPairSync } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { integer, oid, sequence } from '../../../src/crypto/asn1/der-writer.ts'
import { envelopedContent } from '../../../src/crypto/cms/enveloped-data.ts'
import type { RecipientKey } from '../../../src/crypto/cms/recipient-info.ts'
import {
  CONTENT_CIPHERS,
  contentCipher,
  contentCipherByOid,
} from '../../../src/crypto/content-encryption.ts'
import {
  KEY_MANAGEMENTS,
  type KeyManagement,
  keyManagementFor,
} from '../../../src/crypto/key-management.ts'
import { parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import type { ValidCertificate } from '../../../src/crypto/x509/valid-certificate.ts'
import { each, gather } from '../../support/chunks.ts'
import { openEnvelope } from '../../support/open-envelope.ts'
import {
  makeRecipients,
  RECIPIENT_KINDS,
  type Recipient,
  type Recipients,
} from '../../support/recipients.ts'
import { makeCertificateDer, makeKey } from '../make-certificate.ts'

const ENTITY = Buffer.from('Content-Type: text/plain\r\n\r\nOnly for you.\r\n')
const RSA_WAYS = [
  'rsa-pkcs1',
  'rsa-oaep-sha-256',
  'rsa-oaep-sha-256-mgf1-sha-1',
  'rsa-oaep-sha-1',
] as const
/** Content octets of what stands in the KeyEncryptionAlgorithmIdentifier. */
const MANAGEMENT_OIDS: Readonly<Record<KeyManagement['name'], string>> = {
  'rsa-pkcs1': '2a864886f70d010101',
  'rsa-oaep-sha-256': '2a864886f70d010107 sha256 sha256',
  'rsa-oaep-sha-256-mgf1-sha-1': '2a864886f70d010107 sha256 sha1',
  'rsa-oaep-sha-1': '2a864886f70d010107 sha1 sha1',
  'ecdh-sha-256': '2b8104010b01',
  'ecdh-sha-384': '2b8104010b02',
  'ecdh-sha-512': '2b8104010b03',
  'x25519-hkdf-sha-256': '2a864886f70d0109100313',
}

let people: Recipients

beforeAll(async () => {
  people = await makeRecipients(RECIPIENT_KINDS)
})

describe.each(CONTENT_CIPHERS)('$name', cipher => {
  test.each(
    RECIPIENT_KINDS.flatMap(kind =>
      kind.startsWith('rsa')
        ? RSA_WAYS.map(way => [kind, way] as const)
        : [[kind, 'rsa-pkcs1'] as const],
    ),
  )('%s %s: whatever goes in, in whatever chunks, comes out', async (kind, way) => {
    const one = people.of(kind)
    const to = keyOf(one, way)
    const property = fc.asyncProperty(contents(), fc.boolean(), async (chunks, known) => {
      const content = Buffer.concat(chunks)
      const sizeOctets = known ? content.length : undefined
      const made = await gather(
        envelopedContent(each(chunks), [to], { content: cipher, sizeOctets }),
      )
      const opened = openEnvelope(made, one)
      expect(opened.content).toEqual(content)
      expect(opened.management).toBe(MANAGEMENT_OIDS[to.management.name])
      expect(opened.definite).toBe(known)
      expect(opened.version).toBe(cipher.authenticated || kind.startsWith('rsa') ? 0 : 2)
    })
    await expect(fc.assert(property, { numRuns: 6 })).resolves.toBeUndefined()
  })

  test('sizes around blocks, segments and lengths of length', async () => {
    const one = people.of('rsa-2048')
    for (const size of [0, 1, 15, 16, 17, 127, 128, 8191, 8192, 65_535, 65_536, 100_000]) {
      const content = Buffer.alloc(size, 'x')
      for (const sizeOctets of [undefined, size]) {
        const made = envelopedContent(each([content]), [keyOf(one)], {
          content: cipher,
          sizeOctets,
        })
        expect(openEnvelope(await gather(made), one).content).toEqual(content)
      }
    }
  })
})

describe('recipients', () => {
  test('many of all kinds: everyone opens the same, by whichever name', async () => {
    const all = RECIPIENT_KINDS.map(kind => people.of(kind))
    for (const keyIdentification of ['issuer-and-serial', 'subject-key-identifier'] as const) {
      const keys = all.map(one => ({ ...keyOf(one), keyIdentification }))
      const made = await gather(envelopedContent(each([ENTITY]), keys, GCM))
      for (const one of all) {
        const opened = openEnvelope(made, one)
        expect(opened.content).toEqual(ENTITY)
        expect(opened.recipients).toBe(all.length)
        expect(opened.byKeyIdentifier).toBe(keyIdentification === 'subject-key-identifier')
      }
    }
  })

  test('RFC 5652 §6.1: a name by key identifier makes version 2', async () => {
    const one = people.of('rsa-2048')
    const key = { ...keyOf(one), keyIdentification: 'subject-key-identifier' as const }
    const made = await gather(envelopedContent(each([ENTITY]), [key], CBC))
    expect(openEnvelope(made, one).version).toBe(2)
  })

  test('who has no subject key identifier is named by issuer and serial number', async () => {
    const key = makeKey('RSA')
    const der = await makeCertificateDer({ key })
    const certificate = parseCertificate(der) as ValidCertificate<'encrypt'>
    const management = keyManagementFor(certificate.publicKey, 'rsa-pkcs1')
    const to = { certificate, management, keyIdentification: 'subject-key-identifier' as const }
    const made = await gather(envelopedContent(each([ENTITY]), [to], CBC))
    const opened = openEnvelope(made, { der, privateKey: key.privateKey })
    expect(opened).toMatchObject({ content: ENTITY, byKeyIdentifier: false, version: 0 })
  })

  test('B67 who is not a recipient is not named, and whoever stands there twice is named once', async () => {
    const [one, other] = [people.of('rsa-2048'), people.of('p-256')]
    const made = await gather(envelopedContent(each([ENTITY]), [keyOf(one), keyOf(one)], CBC))
    expect(openEnvelope(made, one).recipients).toBe(1)
    expect(made.includes(one.certificate.serialNumber)).toBe(true)
    expect(made.includes(other.certificate.serialNumber)).toBe(false)
    expect(made.includes(other.certificate.subjectKeyIdentifier!)).toBe(false)
  })

  test('nobody at all is a fault', async () => {
    const nobody = gather(envelopedContent(each([ENTITY]), [], CBC))
    await expect(nobody).rejects.toMatchObject({ code: 'ERR_NO_RECIPIENT' })
  })

  test('one whose key is of the wrong kind spoils it for all, before an octet is written', async () => {
    const wrong = {
      ...keyOf(people.of('rsa-2048')),
      management: keyOf(people.of('p-256')).management,
    }
    const made = envelopedContent(each([ENTITY]), [keyOf(people.of('p-256')), wrong], CBC)
    await expect(made.next()).rejects.toMatchObject({ code: 'ERR_KEY_TYPE' })
  })

  test('a thousand of them let others have their turn', async () => {
    const one = people.of('rsa-2048')
    const many = Array.from({ length: 1000 }, (_, index) => sibling(keyOf(one), index))
    const made = gather(envelopedContent(each([ENTITY]), many, CBC))
    let turns = 0
    let done = false
    void made.then(() => {
      done = true
    })
    while (!done) {
      await setImmediate()
      turns++
    }
    expect(turns).toBeGreaterThan(200)
    expect((await made).length).toBeGreaterThan(256 * 1000)
  })
})

describe('attacks', () => {
  test('B8 GCM: a tag of 16 octets, said so, and a nonce of 12 that never comes again', async () => {
    const one = people.of('rsa-2048')
    const nonces = new Set<string>()
    const keys = new Set<string>()
    for (let count = 0; count < 100; count++) {
      // The reader refuses any other length of tag, of ICVlen and of nonce.
      const opened = openEnvelope(
        await gather(envelopedContent(each([ENTITY]), [keyOf(one)], GCM)),
        one,
      )
      nonces.add(opened.nonce.toString('hex'))
      keys.add(opened.contentKey.toString('hex'))
    }
    expect([nonces.size, keys.size]).toEqual([100, 100])
  })

  test('B8 one altered bit of ciphertext or tag, and nothing opens', async () => {
    const one = people.of('p-256')
    const sizeOctets = ENTITY.length
    const made = await gather(
      envelopedContent(each([ENTITY]), [keyOf(one)], { ...GCM, sizeOctets }),
    )
    // Ciphertext, two octets ahead of the tag, tag.
    const tag = made.length - 16
    for (let offset = tag - 2 - sizeOctets; offset < made.length; offset++) {
      if (offset === tag - 2) offset = tag
      const altered = Buffer.from(made)
      altered[offset]! ^= 1
      expect(() => openEnvelope(altered, one)).toThrow('unable to authenticate data')
    }
  })

  test('B12 a curve that is spelt out instead of named is refused', async () => {
    const sound = people.of('p-256').certificate
    const algorithm = sequence(oid('1.2.840.10045.2.1'), sequence(integer(1)))
    const certificate = Object.create(sound, {
      publicKeyInfo: { value: sequence(algorithm, sound.publicKeyInfo.subarray(-68)) },
      publicKey: { value: sound.publicKey },
      fingerprint: { value: sound.fingerprint },
    }) as ValidCertificate<'encrypt'>
    const to = { certificate, management: keyOf(people.of('p-256')).management }
    const made = gather(envelopedContent(each([ENTITY]), [to], CBC))
    await expect(made).rejects.toMatchObject({ code: 'ERR_KEY_TYPE' })
  })

  test('B12 a key that would not keep a secret is refused, whoever brings it', async () => {
    const sound = keyOf(people.of('p-256'))
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
    const certificate = Object.create(sound.certificate, {
      publicKey: { value: publicKey },
      fingerprint: { value: 'another' },
    }) as ValidCertificate<'encrypt'>
    const made = gather(envelopedContent(each([ENTITY]), [{ ...sound, certificate }], CBC))
    await expect(made).rejects.toMatchObject({ code: 'ERR_KEY_TYPE' })
  })

  test('B12 RFC 8551 §2.3: the key that wraps is as long as the content key', async () => {
    for (const content of CONTENT_CIPHERS)
      for (const kind of ['p-256', 'p-521', 'x25519'] as const) {
        // The reader takes the wrap algorithm from the size of what is wrapped, and compares.
        const made = envelopedContent(each([ENTITY]), [keyOf(people.of(kind))], { content })
        const { contentKey } = openEnvelope(await gather(made), people.of(kind))
        expect(contentKey.length).toBe(content.keyOctets)
      }
  })

  test('B13 neither triple DES nor RC2 nor a short key is in the tables', () => {
    expect(CONTENT_CIPHERS.map(({ name }) => name).toSorted()).toEqual([
      'aes-128-cbc',
      'aes-128-gcm',
      'aes-192-cbc',
      'aes-256-cbc',
      'aes-256-gcm',
    ])
    for (const weak of ['1.2.840.113549.3.7', '1.2.840.113549.3.2', '1.3.14.3.2.7'])
      expect(contentCipherByOid(weak)).toBeUndefined()
    for (const { oid, name } of CONTENT_CIPHERS) expect(contentCipherByOid(oid)?.name).toBe(name)
    expect(KEY_MANAGEMENTS.map(({ name }) => name).toSorted()).toEqual(
      Object.keys(MANAGEMENT_OIDS).toSorted(),
    )
  })
})

describe('streaming', () => {
  test('what goes in comes out at once: nothing is gathered', async () => {
    let read = 0
    let written = 0
    const source = async function* () {
      for (; read < 200; read++) yield Buffer.alloc(65_536)
    }
    const lag: number[] = []
    for (const content of [CBC.content, GCM.content]) {
      read = 0
      written = 0
      const to = [keyOf(people.of('p-256'))]
      for await (const chunk of envelopedContent(source(), to, { content })) {
        written += chunk.length
        lag.push(read * 65_536 - written)
      }
    }
    expect(Math.max(...lag)).toBeLessThan(3 * 65_536)
  })

  test.each([ENTITY.length - 1, ENTITY.length + 1])(
    'a size of %i that is not so is a fault',
    async sizeOctets => {
      const to = [keyOf(people.of('p-256'))]
      const made = gather(envelopedContent(each([ENTITY]), to, { ...CBC, sizeOctets }))
      await expect(made).rejects.toThrow('size')
    },
  )

  test('what the source throws comes through', async () => {
    const fault = new Error('disk is gone')
    const source = async function* (): AsyncGenerator<Buffer> {
      yield ENTITY
      await setImmediate()
      throw fault
    }
    const made = gather(envelopedContent(source(), [keyOf(people.of('p-256'))], GCM))
    await expect(made).rejects.toBe(fault)
  })
})

const CBC = { content: contentCipher('aes-256-cbc') }
const GCM = { content: contentCipher('aes-256-gcm') }

function keyOf(one: Recipient, rsa: (typeof RSA_WAYS)[number] = 'rsa-pkcs1'): RecipientKey {
  const { certificate } = one
  return { certificate, management: keyManagementFor(certificate.publicKey, rsa) }
}

/** Another certificate of the same key. */
function sibling(key: RecipientKey, index: number): RecipientKey {
  const certificate = Object.create(key.certificate, {
    fingerprint: { value: String(index) },
    publicKey: { value: key.certificate.publicKey },
  }) as ValidCertificate<'encrypt'>
  return { ...key, certificate }
}

function contents(): fc.Arbitrary<Buffer[]> {
  const chunk = fc.uint8Array({ maxLength: 3000 }).map(octets => Buffer.from(octets))
  return fc.array(chunk, { maxLength: 6 })
}
