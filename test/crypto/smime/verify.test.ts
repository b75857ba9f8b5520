import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  tlv,
} from '../../../src/crypto/asn1/der-writer.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'
import { readSignedData } from '../../../src/crypto/cms/read-signed-data.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import { readSignature } from '../../../src/crypto/smime/verify.ts'
import { PosternError } from '../../../src/errors.ts'
import { ContentWriter, contentOf, contentStore } from '../../../src/mail/content.ts'
import { walk } from '../../../src/mail/entity.ts'
import type { Content } from '../../../src/mail/mail-object.ts'
import { takeApart } from '../../support/peers.ts'
import { keyIdentifier, makeCertificate, makeKey, makePki, type Pki } from '../make-certificate.ts'
import {
  attribute,
  binaryMessage,
  clear,
  clearMessage,
  ENTITY,
  insideOf,
  opaque,
  opaqueMessage,
  outcome,
  outcomeOf,
  read,
  SHA_256,
  signed,
  signedData,
  signerInfo,
  signingTime,
  store,
  TIME,
  usualAttributes,
} from './signed-message.ts'

type Made = Awaited<ReturnType<Pki['signer']>>

let pki: Pki
let alice: Made
let bob: Made

beforeAll(async () => {
  pki = await makePki()
  alice = await pki.signer('alice', 'P-256')
  bob = await pki.signer('bob', 'RSA')
})

/** A detached SignedData over the entity by Alice, made to measure. */
async function byAlice(plan: Partial<Parameters<typeof signerInfo>[0]> = {}): Promise<Buffer> {
  const { certificate, key } = alice
  const signers = [await signerInfo({ certificate, key, ...plan })]
  return signedData({ signers, certificates: [certificate.der] })
}

describe('what we sign is good', () => {
  test.each([
    ['RSA', {}, 'rsa-pkcs1-sha-256'],
    ['RSA', { digest: 'sha-512' }, 'rsa-pkcs1-sha-512'],
    ['RSA', { pss: true, digest: 'sha-384' }, 'rsa-pss-sha-384'],
    ['RSA-PSS', {}, 'rsa-pss-sha-256'],
    ['P-256', {}, 'ecdsa-sha-256'],
    ['P-384', {}, 'ecdsa-sha-384'],
    ['P-521', {}, 'ecdsa-sha-512'],
    ['Ed25519', {}, 'ed25519'],
  ] as const)('%s %j', async (kind, wish, algorithm) => {
    const signer = await pki.signer('alice', kind, wish)
    for (const message of [await clear(ENTITY, signer), await opaque(ENTITY, signer)]) {
      const signature = signed(await read(message))
      expect(signature.labels).toEqual([])
      expect(signature.signers).toEqual([
        expect.objectContaining({
          result: { kind: 'good' },
          algorithm,
          weak: [],
          signingTime: TIME,
        }),
      ])
      expect(signature.signers[0]!.certificate?.der).toEqual(signer.certificate.der)
      const capabilities = signature.signers[0]!.capabilities.map(({ oid: type }) => type)
      expect(capabilities).toContain(OID.AES_256_GCM)
      expect(await insideOf(signature, message)).toEqual(ENTITY)
    }
  })

  test('the certificate to encrypt to is found where it stands in the message', async () => {
    const encryptionCertificate = await pki.issue('alice', makeKey('P-256'))
    const message = await clear(ENTITY, { ...alice, encryptionCertificate })
    const [signer] = signed(await read(message)).signers
    expect(signer!.encryptionCertificate?.der).toEqual(encryptionCertificate.der)
  })

  test('an empty entity, and a large one, in memory and in a file', async () => {
    for (const size of [0, 1, 300_000]) {
      const entity = Buffer.alloc(size, 'abcdefg\r\n')
      const message = await opaque(entity, alice)
      const signature = signed(await read(message))
      expect(signature.signers[0]!.result).toEqual({ kind: 'good' })
      expect((await insideOf(signature, message)).equals(entity)).toBe(true)
    }
    expect(store.heldOctets).toBe(0)
  })

  test('without transfer encoding, and with base64 in lines of any length', async () => {
    const { signature } = takeApart(await opaque(ENTITY, alice))
    for (const encoding of ['binary', '8bit', '7bit'])
      expect(await outcome(binaryMessage(signature, encoding))).toBe('good')
    const text = signature.toString('base64')
    for (const body of [text, `\r\n${text}\r\n\r\n \r\n`, text.replaceAll(/(.{5})/g, '$1\r\n')])
      expect(await outcome(binaryMessage(Buffer.from(body), 'base64'))).toBe('good')
  })
})

describe('the octets that are signed', () => {
  test('RFC 1847 §2.1: up to the CRLF that belongs to the delimiter', async () => {
    for (const entity of [
      'Content-Type: text/plain\r\n\r\nx',
      'A: b\r\n\r\nx\r\n',
      'A: b\r\n\r\n',
    ]) {
      const message = await clear(Buffer.from(entity), alice)
      const signature = signed(await read(message))
      expect(signature.signers[0]!.result).toEqual({ kind: 'good' })
      expect((await insideOf(signature, message)).toString()).toBe(entity)
    }
  })

  test('one octet of a clear message altered is never good', async () => {
    const message = await clear(ENTITY, alice)
    const start = message.indexOf(ENTITY)
    for (let at = start; at < start + ENTITY.length; at++) {
      const altered = Buffer.from(message)
      altered[at]! ^= 0x01
      expect(await outcome(altered)).not.toContain('good')
    }
  })

  test('one octet of the SignedData altered is never good with another content', async () => {
    const { signature } = takeApart(await clear(ENTITY, alice))
    const info = readSignedData(signature).signers[0]!
    for (const octets of [info.signedAttributes!.octets.subarray(1), info.signature]) {
      const start = signature.indexOf(octets)
      expect(start).toBeGreaterThan(0)
      for (let at = start; at < start + octets.length; at++) {
        const altered = Buffer.from(signature)
        altered[at]! ^= 1 << (at % 8)
        expect(await outcome(clearMessage(altered))).not.toContain('good')
      }
    }
  })

  test('one octet of an opaque message altered is never good', async () => {
    const { signature } = takeApart(await opaque(ENTITY, alice))
    const start = signature.indexOf(ENTITY)
    for (let at = start; at < start + ENTITY.length; at++) {
      const altered = Buffer.from(signature)
      altered[at]! ^= 0x20
      expect(await outcome(opaqueMessage(altered))).toBe('bad: digest-mismatch')
    }
  })

  test('whatever is altered anywhere, nothing is thrown, nothing stays held, and what is good is unaltered', async () => {
    const messages = [await clear(ENTITY, alice), await opaque(ENTITY, bob)]
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...messages),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 }),
        async (message, changes) => {
          const altered = Buffer.from(message)
          for (const [at, octet] of changes) altered[at % altered.length] = octet
          expect(await goodInside(altered)).toEqual(ENTITY)
          expect(store.heldOctets).toBe(0)
        },
      ),
      { numRuns: 1500 },
    )
  })

  test('however the chunks are cut', async () => {
    const messages = [
      await clear(ENTITY, alice),
      await opaque(Buffer.alloc(30_000, 'abcdefg\r\n'), alice),
      binaryMessage(takeApart(await opaque(ENTITY, alice)).signature),
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...messages),
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 }),
        async (message, sizes) => {
          const content = cut(message, sizes)
          const entity = await walk(content)
          const signature = await readSignature(content, entity, () => new ContentWriter(store))
          expect(outcomeOf(signature)).toBe('good')
        },
      ),
      { numRuns: 200 },
    )
    const [whole] = messages
    for (let at = 1; at < whole!.length; at += 7) {
      const content = cut(whole!, [at, whole!.length])
      const signature = await readSignature(content, await walk(content), () => {
        throw new Error('a clear signature holds nothing')
      })
      expect(outcomeOf(signature)).toBe('good')
    }
  })

  /** What is signed, where the signature is good; else what it would be. */
  async function goodInside(message: Buffer): Promise<Buffer> {
    const signature = await read(message)
    if (signature.kind === 'signed' && signature.signers[0]!.result.kind === 'good')
      return insideOf(signature, message)
    outcomeOf(signature)
    return ENTITY
  }
})

describe('attacks on the structure', () => {
  test('the frame of these tests is sound', async () => {
    expect(await outcome(clearMessage(await byAlice()))).toBe('good')
    const info = await signerInfo(alice)
    const certificates = [alice.certificate.der]
    const inside = signedData({ signers: [info], certificates, content: ENTITY })
    expect(await outcome(opaqueMessage(inside))).toBe('good')
  })

  test('B15 Johnny C1: content in the signature of a multipart/signed', async () => {
    // Signed is what nobody sees, shown is what nobody signed.
    const certificates = [alice.certificate.der]
    const signers = [await signerInfo(alice)]
    const shown = Buffer.from('Content-Type: text/plain\r\n\r\npay 1000\r\n')
    for (const content of [ENTITY, Buffer.alloc(0), shown]) {
      const twice = signedData({ signers, certificates, content })
      for (const entity of [shown, ENTITY])
        expect(await outcome(clearMessage(twice, { entity }))).toBe('malformed: content-twice')
    }
  })

  test('B15 an opaque signature without content is none', async () => {
    expect(await outcome(opaqueMessage(await byAlice()))).toBe('malformed: content-missing')
    expect(store.heldOctets).toBe(0)
  })

  test('B16 no signed attributes: not verifiable, whatever the signature is', async () => {
    const bare = await byAlice({ attributes: undefined })
    expect(await outcome(clearMessage(bare))).toBe('unverifiable: no-signed-attributes')
  })

  test('B16 signed attributes of one message as the content of another', async () => {
    const genuine = readSignedData(takeApart(await clear(ENTITY, alice)).signature)
    const { signedAttributes, signature } = genuine.signers[0]!
    const content = signedAttributes!.octets
    const { certificate, key } = alice
    const plan = { certificate, key, attributes: undefined, signWith: () => signature }
    const signers = [await signerInfo(plan)]
    const forged = signedData({ signers, certificates: [certificate.der], content })
    expect(await outcome(opaqueMessage(forged))).toBe('bad: forged-attributes')
    const near = signedData({ signers, content: Buffer.concat([content, Buffer.alloc(1)]) })
    expect(await outcome(opaqueMessage(near))).toBe('unverifiable: no-signed-attributes')
  })

  test.each([
    ['no content type', () => usualAttributes(ENTITY).slice(1)],
    ['no digest', () => usualAttributes(ENTITY).slice(0, 1)],
    ['nothing', () => []],
    ['two content types', () => [...usualAttributes(ENTITY), usualAttributes(ENTITY)[0]!]],
    ['two digests', () => [...usualAttributes(ENTITY), usualAttributes(Buffer.from('x'))[1]!]],
    [
      'two signing times',
      () => usualAttributes(ENTITY, 'sha256', signingTime(TIME), signingTime(new Date(0))),
    ],
    [
      'a content type of two values',
      () => [
        attribute(OID.CONTENT_TYPE, oid(OID.DATA), oid(OID.SIGNED_DATA)),
        usualAttributes(ENTITY)[1]!,
      ],
    ],
  ])('B16 signed attributes with %s', async (_name, attributes) => {
    const octets = await byAlice({ attributes: attributes() })
    expect(await outcome(clearMessage(octets))).toBe('bad: attributes-malformed')
  })

  test('B16 the content type that is signed is the one that stands there', async () => {
    const attributes = [
      attribute(OID.CONTENT_TYPE, oid(OID.SIGNED_DATA)),
      usualAttributes(ENTITY)[1]!,
    ]
    const octets = await byAlice({ attributes })
    expect(await outcome(clearMessage(octets))).toBe('bad: content-type-mismatch')
    const other = signedData({ signers: [await signerInfo(alice)], contentType: '1.2.3.4' })
    expect(await outcome(clearMessage(other))).toBe('malformed: content-type-unsupported')
  })

  test('B17 Johnny C2: several signers are told one by one', async () => {
    const good = [await signerInfo(alice), await signerInfo(bob)]
    const forged = await signerInfo({ ...bob, key: makeKey('RSA').privateKey })
    const certificates = [alice.certificate.der, bob.certificate.der]
    const result = async (signers: Buffer[]) =>
      outcome(clearMessage(signedData({ signers, certificates })))
    expect(await result(good)).toBe('good, good')
    expect(await result([good[0]!, forged])).toBe('good, bad: signature-mismatch')
    expect(await result([forged, good[0]!])).toBe('bad: signature-mismatch, good')
  })

  test('B18 Johnny C3: no signer', async () => {
    const nobody = signedData({ signers: [], certificates: [alice.certificate.der] })
    expect(await outcome(clearMessage(nobody))).toBe('unsigned')
    expect(await outcome(opaqueMessage(nobody))).toBe('unsigned')
    const content = signedData({ signers: [], content: ENTITY })
    expect(await outcome(opaqueMessage(content))).toBe('unsigned')
    expect(store.heldOctets).toBe(0)
  })

  test.each([
    ['three parts', { parts: ['a', 'b', 'c'].map(text => Buffer.from(text)) }, 'not-two-parts'],
    ['one part', { parts: [Buffer.from('a')] }, 'not-two-parts'],
    ['no end', { end: '\r\n' }, 'not-closed'],
    ['another protocol', { type: signedType('application/pgp-signature') }, 'protocol-mismatch'],
    ['no protocol', { type: 'multipart/signed; boundary=b' }, 'protocol-mismatch'],
    ['another second part', { signatureType: 'application/octet-stream' }, 'protocol-mismatch'],
  ])('B26 %s', async (_name, plan, reason) => {
    expect(await outcome(clearMessage(await byAlice(), plan))).toBe(`malformed: ${reason}`)
  })

  test.each([
    'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b; boundary=c',
    'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b\r\nContent-Type: text/plain',
    'multipart/signed; protocol="application/pkcs7-signature"; boundary=b; boundary*=us-ascii\'\'c',
    'multipart/signed; protocol="application/pkcs7-signature"; boundary=b\r\nContent-Transfer-Encoding: base64',
  ])('B33 what can be read in two ways is not verified: %s', async type => {
    expect(await outcome(clearMessage(await byAlice(), { type }))).toBe('malformed: ambiguous')
  })

  test('B33 a line that only begins like the delimiter', async () => {
    const entity = Buffer.from('Content-Type: text/plain\r\n\r\n--bb\r\nhello\r\n')
    const message = clearMessage(await byAlice({ content: entity }), { entity })
    expect(await outcome(message)).toBe('malformed: ambiguous')
  })

  test('B33 the signature part itself, and an opaque entity', async () => {
    const signatureType = 'application/pkcs7-signature\r\nContent-Type: application/pkcs7-signature'
    expect(await outcome(clearMessage(await byAlice(), { signatureType }))).toBe(
      'malformed: ambiguous',
    )
    const inside = takeApart(await opaque(ENTITY, alice)).signature
    const twice = 'application/pkcs7-mime\r\nContent-Type: text/plain'
    expect(await outcome(opaqueMessage(inside, twice))).toBe('malformed: ambiguous')
    for (const encoding of [
      'quoted-printable',
      'x-uuencode',
      '7bit\r\nContent-Transfer-Encoding: base64',
    ])
      expect(await outcome(binaryMessage(inside, encoding))).toBe('malformed: transfer-encoding')
  })

  test('B33 no blank line behind the header section', async () => {
    const good = clearMessage(await byAlice())
    for (const delimiter of ['\r\n\r\n--b\r\n', '\r\n\r\nMI']) {
      expect(good.includes(delimiter)).toBe(true)
      const text = good.toString('latin1').replace(delimiter, delimiter.slice(2))
      expect(await outcome(Buffer.from(text, 'latin1'))).toBe('malformed: ambiguous')
    }
    const { signature } = takeApart(await opaque(ENTITY, alice))
    const text = opaqueMessage(signature).toString('latin1').replace('\r\n\r\n', '\r\n')
    expect(await outcome(Buffer.from(text, 'latin1'))).toBe('malformed: ambiguous')
  })

  test('B33 content in two pieces where there is to be one', async () => {
    const info = await signerInfo(alice)
    const halves = [ENTITY.subarray(0, 20), ENTITY.subarray(20)]
    const data = sequence(
      integer(1),
      tlv(0x31, SHA_256),
      sequence(oid(OID.DATA), context(0, ...halves.map(octetString))),
      context(0, alice.certificate.der),
      tlv(0x31, info),
    )
    const octets = sequence(oid(OID.SIGNED_DATA), context(0, data))
    expect(await outcome(opaqueMessage(octets))).toBe('malformed: cms')
  })

  test('B57 more signers or certificates than anybody needs', async () => {
    const info = await signerInfo(alice)
    const certificates = [alice.certificate.der]
    const many = (count: number) => Array.from({ length: count }, () => info)
    expect(await outcome(clearMessage(signedData({ signers: many(10), certificates })))).toBe(
      many(10)
        .map(() => 'good')
        .join(', '),
    )
    expect(await outcome(clearMessage(signedData({ signers: many(11), certificates })))).toBe(
      'malformed: cms',
    )
    const crowd = Array.from({ length: 101 }, () => certificates[0]!)
    expect(await outcome(clearMessage(signedData({ signers: [info], certificates: crowd })))).toBe(
      'malformed: cms',
    )
  })

  test.each([
    ['nothing', ''],
    ['no base64', 'Zm9v!'],
    ['base64 without its padding', 'Zm9vYg'],
    ['no CMS', 'Zm9v'],
    ['half of it', undefined],
    ['more behind it', null],
  ])('a signature of %s', async (_name, text) => {
    const octets = (await byAlice()).toString('base64')
    const body =
      text === undefined ? octets.slice(0, 400) : (text ?? `${octets.replace(/=+$/, '')}MAA=`)
    expect(await outcome(binaryMessage(Buffer.from(body), 'base64'))).toMatch(/^malformed: /)
  })
})

describe('labels', () => {
  test.each([
    ['sha-256', []],
    ['SHA256', []],
    ['sha1,sha256', []],
    ['sha-1', ['micalg-lies']],
    ['md5', ['micalg-lies']],
    ['unknown', ['micalg-lies']],
  ])('B26 micalg=%s', async (micalg, labels) => {
    const type = signedType('application/pkcs7-signature', micalg)
    const signature = signed(await read(clearMessage(await byAlice(), { type })))
    expect(signature.signers[0]!.result).toEqual({ kind: 'good' })
    expect(signature.labels).toEqual(labels)
  })

  test('B26 no micalg, old names, and text around the parts', async () => {
    const type = 'multipart/signed; protocol="application/x-pkcs7-signature"; boundary=b'
    const message = clearMessage(await byAlice(), {
      type,
      signatureType: 'application/x-pkcs7-signature; name=invoice.pdf',
      preamble: 'This is an S/MIME signed message\r\n',
      end: '\r\n--b--\r\n-- \r\nof the list\r\n',
    })
    expect(signed(await read(message)).labels).toEqual([
      'micalg-missing',
      'legacy-type',
      'name-lies',
      'preamble',
      'epilogue',
    ])
    expect(await outcome(message)).toBe('good')
  })

  test.each([
    ['application/pkcs7-mime', []],
    ['application/x-pkcs7-mime; smime-type=signed-data', ['legacy-type']],
    ['application/octet-stream; name=smime.p7m', ['type-lies']],
    ['application/pkcs7-mime; smime-type=enveloped-data', ['smime-type-lies']],
    ['application/pkcs7-mime; name=smime.p7z', ['name-lies']],
  ])('B25 %s', async (type, labels) => {
    const { signature } = takeApart(await opaque(ENTITY, alice))
    const result = signed(await read(opaqueMessage(signature, type)))
    expect(result.labels).toEqual(labels)
    expect(outcomeOf(result)).toBe('good')
  })

  test('B33 parts within what is signed that readers can see in two ways', async () => {
    const entity = Buffer.from('Content-Type: text/plain; name=a; name=b\r\n\r\nhello\r\n')
    const message = clearMessage(await byAlice({ content: entity }), { entity })
    expect(signed(await read(message)).labels).toEqual(['ambiguous-inside'])
  })
})

describe('who signed', () => {
  test('by key identifier; several with the same are all tried', async () => {
    const extensions = [keyIdentifier('the same')]
    const key = makeKey('P-256')
    const certificate = await makeCertificate({ key, extensions })
    const namesake = await makeCertificate({ key: makeKey('P-256'), extensions })
    const identifier = tlv(0x80, Buffer.from('the same'))
    const info = await signerInfo({ certificate, key: key.privateKey, identifier })
    for (const certificates of [
      [certificate, namesake],
      [namesake, certificate],
    ]) {
      const octets = signedData({
        signers: [info],
        certificates: certificates.map(({ der }) => der),
      })
      const [signer] = signed(await read(clearMessage(octets))).signers
      expect(signer!.result).toEqual({ kind: 'good' })
      expect(signer!.certificate?.der).toEqual(certificate.der)
    }
  })

  test('no certificate in the message, and one that cannot be read beside', async () => {
    const info = await signerInfo(alice)
    const of = (...certificates: Buffer[]) =>
      outcome(clearMessage(signedData({ signers: [info], certificates })))
    expect(await of()).toBe('unverifiable: no-certificate')
    expect(await of(bob.certificate.der)).toBe('unverifiable: no-certificate')
    expect(await of(sequence(integer(1)), alice.certificate.der)).toBe('good')
  })

  test('a content that was altered is told even without a certificate', async () => {
    const octets = signedData({ signers: [await signerInfo(alice)] })
    const entity = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n')
    expect(await outcome(clearMessage(octets, { entity }))).toBe('bad: digest-mismatch')
  })

  test('what cannot be held is not the sender’s fault', async () => {
    const full = contentStore({ memoryPerMessageOctets: 0, folder: '/nowhere/at/all' })
    const content = contentOf(await opaque(ENTITY, alice))
    const reading = readSignature(content, await walk(content), () => new ContentWriter(full))
    await expect(reading).rejects.toThrow(PosternError)
    expect(full.heldOctets).toBe(0)
  })
})

describe('memory', () => {
  test.each(['clear', 'opaque'])('of a large message is not held: %s', async form => {
    const chunk = Buffer.alloc(65_536, `${'x'.repeat(74)}\r\n`)
    const large = async function* () {
      for (let count = 0; count < 400; count++) yield chunk
    }
    const small = contentStore({ memoryPerMessageOctets: 65_536 })
    const writer = new ContentWriter(small)
    const sign = form === 'clear' ? clearSign : opaqueSign
    for await (const octets of sign(large(), alice, { signingTime: TIME }))
      await writer.write(octets)
    const content = await writer.finish()
    const entity = await walk(content)
    const before = process.memoryUsage.rss()
    const signature = await readSignature(content, entity, () => new ContentWriter(small))
    expect(outcomeOf(signature)).toBe('good')
    expect(process.memoryUsage.rss() - before).toBeLessThan(40 * 2 ** 20)
    content.dispose()
    expect(small.heldOctets).toBe(0)
  })
})

describe('digests', () => {
  test('RFC 5652 §5.1: one that is not announced is not verified, as by others', async () => {
    const signers = [await signerInfo(alice)]
    const certificates = [alice.certificate.der]
    for (const digests of [[], [sequence(oid('1.3.14.3.2.26'))], [sequence(oid('1.2.3'))]]) {
      const octets = signedData({ signers, certificates, content: ENTITY, digests })
      expect(await outcome(opaqueMessage(octets))).toBe('unverifiable: digest-not-announced')
    }
    const digests = [sequence(oid('1.3.14.3.2.26')), SHA_256]
    const octets = signedData({ signers, certificates, content: ENTITY, digests })
    expect(await outcome(opaqueMessage(octets))).toBe('good')
  })
})

function signedType(protocol: string, micalg = 'sha-256'): string {
  return `multipart/signed; protocol="${protocol}"; micalg="${micalg}"; boundary=b`
}

/** Octets that come in chunks of these sizes, over and over. */
function cut(octets: Buffer, sizes: readonly number[]): Content {
  return {
    ...contentOf(octets),
    sizeOctets: octets.length,
    async *read(start = 0, end = octets.length) {
      for (let at = start, index = 0; at < end; index++) {
        const next = Math.min(end, at + sizes[index % sizes.length]!)
        yield Buffer.from(octets.subarray(at, next))
        at = next
      }
    },
    dispose: () => undefined,
  }
}
