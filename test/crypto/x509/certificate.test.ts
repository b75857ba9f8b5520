import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { integer, oid, sequence, tlv } from '../../../src/crypto/asn1/der-writer.ts'
import {
  type Certificate,
  issuedBy,
  parseCertificate,
} from '../../../src/crypto/x509/certificate.ts'
import { nameText } from '../../../src/crypto/x509/name.ts'
import {
  alternativeNames,
  extension,
  type KeyPair,
  keyIdentifier,
  mailAddress,
  makeCertificate,
  makeCertificateDer,
  makeKey,
  makePki,
  name,
  type Pki,
  relativeName,
  smtpUtf8Mailbox,
} from '../make-certificate.ts'
import { ALLOWED, outcomeOf } from '../outcome.ts'

let pki: Pki
let key: KeyPair
let alice: Certificate

beforeAll(async () => {
  pki = await makePki()
  key = makeKey('P-256')
  alice = await pki.issue('alice', key)
})

describe('what a certificate says', () => {
  test('is what OpenSSL reads in it', () => {
    const peer = new X509Certificate(alice.der)
    expect(alice.fingerprint).toBe(peer.fingerprint256.replaceAll(':', '').toLowerCase())
    expect(alice.serialNumberHex).toBe(peer.serialNumber.toLowerCase())
    expect(alice.notBefore).toEqual(peer.validFromDate)
    expect(alice.notAfter).toEqual(peer.validToDate)
    expect(alice.publicKey.equals(peer.publicKey)).toBe(true)
    expect([...alice.extendedKeyUsage!]).toEqual(peer.keyUsage)
    expect(alice.isCertificateAuthority).toBe(peer.ca)
    expect(`CN=${peer.subject.slice(3)}`).toBe(alice.subjectText)
  })

  test('key usage, purposes and constraints', () => {
    expect([...alice.keyUsage!]).toEqual(['digitalSignature', 'keyEncipherment', 'keyAgreement'])
    expect([...alice.extendedKeyUsage!]).toEqual(['1.3.6.1.5.5.7.3.4'])
    expect(alice.basicConstraints).toEqual({ certificateAuthority: false, pathLength: undefined })
    expect(pki.authority.isCertificateAuthority).toBe(true)
    expect(pki.authority.subjectKeyIdentifier).toEqual(Buffer.from('authority'))
  })

  test('nothing is made up where nothing is said', async () => {
    const bare = await makeCertificate({ key })
    expect(bare.keyUsage).toBeUndefined()
    expect(bare.extendedKeyUsage).toBeUndefined()
    expect(bare.basicConstraints).toBeUndefined()
    expect(bare.isCertificateAuthority).toBe(false)
    expect(bare.addresses).toEqual([])
    expect(bare.addressSource).toBe('none')
  })

  test('a path length', async () => {
    const constraints = sequence(tlv(0x01, Buffer.from([0xff])), integer(3))
    const extensions = [extension('2.5.29.19', constraints, true)]
    const { basicConstraints } = await makeCertificate({ key, extensions })
    expect(basicConstraints).toEqual({ certificateAuthority: true, pathLength: 3 })
  })

  test('B37 critical extensions that nobody looks at are told', async () => {
    const extensions = [
      extension('2.5.29.9', sequence(), true),
      extension('1.2.3.4', sequence(), true),
      extension('1.2.3.5', sequence(), false),
    ]
    const certificate = await makeCertificate({ key, extensions })
    expect(certificate.unknownCriticalExtensions).toEqual(['2.5.29.9', '1.2.3.4'])
    expect(alice.unknownCriticalExtensions).toEqual([])
  })

  test('a key that cannot be read is found when it is asked for', async () => {
    const der = await makeCertificateDer({ key })
    const at = der.indexOf(oid('1.2.840.10045.3.1.7'))
    der[at + 9] = 0x70
    const certificate = parseCertificate(der)
    const fault = expect.objectContaining({ code: 'ERR_CERTIFICATE_KEY' })
    expect(() => certificate.publicKey).toThrow(fault)
  })
})

describe('addresses', () => {
  const addressesOf = async (...names: Buffer[]) => {
    const { addresses } = await makeCertificate({ key, extensions: [alternativeNames(...names)] })
    return addresses
  }
  const rfc822Name = (text: string) => tlv(0x81, Buffer.from(text, 'latin1'))

  test('all rfc822Names, as they are written', async () => {
    const names = [rfc822Name('Alice.B@Example.Test'), rfc822Name('bob+tag@example.test')]
    expect(await addressesOf(tlv(0x82, Buffer.from('dns.test')), ...names)).toEqual([
      'Alice.B@Example.Test',
      'bob+tag@example.test',
    ])
  })

  test('RFC 9598 SmtpUTF8Mailbox', async () => {
    const names = [smtpUtf8Mailbox(Buffer.from('用户@例子.test')), rfc822Name('a@b.test')]
    expect(await addressesOf(...names)).toEqual(['用户@例子.test', 'a@b.test'])
  })

  test.each([
    'a@b@c',
    '<a@b.test>',
    'mailto:a@b.test',
    ' a@b.test',
    'a@b.test ',
    'a @b.test',
    'a@b.test\0',
    'a@b.test\0.evil.test',
    'a@b.test\r\nBcc: c@d.test',
    'a@b.test, c@d.test',
    '"a"@b.test',
    'a(x)@b.test',
    'a@[127.0.0.1]',
    'a@b.test\x7f',
    'ä@b.test',
    '@b.test',
    'a@',
    'a',
    '',
    `${'a'.repeat(250)}@b.test`,
  ])('B31 %j is none', async text => {
    expect(await addressesOf(rfc822Name(text))).toEqual([])
  })

  test.each(['a\u202e@b.test', 'a\u00a0@b.test', 'a\u200b@b.test', 'a\u0085@b.test'])(
    'B31 %j is none, though it is UTF-8',
    async text => {
      expect(await addressesOf(smtpUtf8Mailbox(Buffer.from(text)))).toEqual([])
    },
  )

  test('B31 octets that are not UTF-8 are none', async () => {
    expect(await addressesOf(smtpUtf8Mailbox(Buffer.from('61ff40622e74', 'hex')))).toEqual([])
  })

  const wide = Buffer.from('dn@example.test', 'utf16le').swap16()
  test.each<[string, number, Buffer, boolean]>([
    ['BMPString', 0x1e, wide, true],
    ['BMPString and half a character', 0x1e, Buffer.concat([wide, Buffer.alloc(1)]), false],
    ['octets', 0x04, Buffer.from('dn@example.test'), false],
    ['UTF-8', 0x0c, Buffer.from('dn@example.test'), true],
    ['what is not UTF-8', 0x0c, Buffer.from('dn\xe9@example.test', 'latin1'), false],
  ])('B31 an address in the subject as %s', async (_, tag, octets, counts) => {
    const email = relativeName('1.2.840.113549.1.9.1', tlv(tag, octets))
    const { addresses } = await makeCertificate({ key, subject: name('Alice', email) })
    expect(addresses).toEqual(counts ? ['dn@example.test'] : [])
  })

  test('B31 the subject counts only where no alternative name is an address', async () => {
    const email = relativeName('1.2.840.113549.1.9.1', tlv(0x16, Buffer.from('dn@example.test')))
    const subject = name('Alice', email)
    const inSubject = await makeCertificate({ key, subject })
    expect(inSubject.addresses).toEqual(['dn@example.test'])
    expect(inSubject.addressSource).toBe('subject')

    const inBoth = await makeCertificate({ key, subject, extensions: [mailAddress('san@b.test')] })
    expect(inBoth.addresses).toEqual(['san@b.test'])
    expect(inBoth.addressSource).toBe('alternative-name')

    const unsafe = await makeCertificate({ key, subject, extensions: [mailAddress('a@b@c')] })
    expect(unsafe.addresses).toEqual([])
  })
})

describe('names for people', () => {
  test('RFC 4514 §2.4: special characters are escaped', () => {
    const organisation = relativeName('2.5.4.10', tlv(0x13, Buffer.from('Ex, Inc+"')))
    expect(nameText(name('Alice', organisation))).toBe('O=Ex\\, Inc\\+\\",CN=Alice')
    expect(nameText(name(' a '))).toBe('CN=\\ a\\ ')
  })

  test('nothing in them moves a cursor or turns a line', () => {
    expect(nameText(name('a\r\nb\u001b[2J\u202ec'))).toBe('CN=a\\0d\\0ab\\1b[2J\\e2\\80\\aec')
  })

  test('other kinds of string, and other types', () => {
    const wide = relativeName('2.5.4.7', tlv(0x1e, Buffer.from('004b00f60072', 'hex')))
    const octets = relativeName('1.2.3', tlv(0x04, Buffer.from([1, 2])))
    expect(nameText(sequence(wide, octets))).toBe('1.2.3=#0102,L=Kör')
  })

  test('octets that are none of their type are shown as octets', () => {
    const odd = relativeName('2.5.4.7', tlv(0x1e, Buffer.from('004b00f600', 'hex')))
    const latin = relativeName('2.5.4.10', tlv(0x0c, Buffer.from('K\xf6r', 'latin1')))
    expect(nameText(sequence(odd, latin))).toBe('O=#4bf672,L=#004b00f600')
  })
})

describe('issuedBy', () => {
  test('the authority has issued it, and nobody else', async () => {
    expect(issuedBy(alice, pki.authority)).toBe(true)
    expect(issuedBy(pki.authority, pki.authority)).toBe(true)
    expect(issuedBy(alice, alice)).toBe(false)
    expect(issuedBy(pki.authority, alice)).toBe(false)
  })

  test('another key under the same name has not', async () => {
    const impostor = await makeCertificate({
      key: makeKey('P-256'),
      subject: pki.authority.subject,
    })
    expect(issuedBy(alice, impostor)).toBe(false)
  })

  test('a key identifier that speaks against it counts', async () => {
    const other = sequence(tlv(0x80, Buffer.from('other')))
    const issuer = await makeCertificate({ key, extensions: [keyIdentifier('this')] })
    const plan = { key, issuer: issuer.subject, extensions: [extension('2.5.29.35', other)] }
    expect(issuedBy(await makeCertificate(plan), issuer)).toBe(false)
  })

  test('an altered certificate was issued by nobody', () => {
    const der = Buffer.from(alice.der)
    der[der.length - 1]! ^= 1
    expect(issuedBy(parseCertificate(der), pki.authority)).toBe(false)
  })
})

describe('what is no certificate', () => {
  const SYNTAX = expect.objectContaining({
    code: 'ERR_CERTIFICATE_SYNTAX',
    persistence: 'permanent',
  })

  test('an extension that stands twice', async () => {
    const der = await makeCertificateDer({
      key,
      extensions: [mailAddress('a@b'), mailAddress('c@d')],
    })
    expect(() => parseCertificate(der)).toThrow(SYNTAX)
  })

  test('octets behind it', () => {
    expect(() => parseCertificate(Buffer.concat([alice.der, Buffer.from([0])]))).toThrow(SYNTAX)
  })

  test('two signature algorithms', () => {
    const der = Buffer.from(alice.der)
    der[der.lastIndexOf(oid('1.2.840.10045.4.3.2')) + 9] = 0x03
    expect(() => parseCertificate(der)).toThrow(SYNTAX)
  })

  test('B57 any part of one', () => {
    for (let size = 0; size < alice.der.length; size++)
      expect(() => parseCertificate(alice.der.subarray(0, size))).toThrow(SYNTAX)
  })

  test('B57 whatever is altered, the only error is ours, and what is read can be shown', () => {
    const position = fc.nat({ max: alice.der.length - 1 })
    const change = fc.tuple(position, fc.integer({ min: 1, max: 255 }))
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), changes => {
        const der = Buffer.from(alice.der)
        for (const [at, bits] of changes) der[at]! ^= bits
        const outcome = outcomeOf(() => {
          const certificate = parseCertificate(der)
          expect(certificate.subjectText + certificate.issuerText).toBeTypeOf('string')
          expect(issuedBy(certificate, pki.authority)).toBe(false)
        })
        expect(ALLOWED).toContain(outcome)
      }),
      { numRuns: 1500 },
    )
  })
})
