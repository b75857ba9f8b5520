/** Attacks on signatures themselves: what is signed, by how many, with what, and when. @module */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DerReader } from '../../src/crypto/asn1/der-reader.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
  time,
  tlv,
} from '../../src/crypto/asn1/der-writer.ts'
import * as OID from '../../src/crypto/cms/oids.ts'
import { readSignedData } from '../../src/crypto/cms/read-signed-data.ts'
import { issue } from '../../src/crypto/x509/issue.ts'
import { mailAddress } from '../crypto/make-certificate.ts'
import {
  attribute,
  clearMessage,
  opaqueMessage,
  signedData,
  signingTime,
  usualAttributes,
} from '../crypto/smime/signed-message.ts'
import {
  authorityOf,
  clearBy,
  HELLO,
  infoBy,
  issuedTo,
  opaqueBy,
  type Somebody,
  sealBy,
  somebody,
  verdictOf,
  vouchedFor,
} from '../support/crafted-signatures.ts'
import {
  ADDRESSES,
  type InboundWorld,
  makeInboundWorld,
  type Person,
  text,
} from '../support/inbound.ts'
import { takeApart } from '../support/peers.ts'

let world: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld({
    keys: { ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' },
  })
})
afterAll(() => world.close())

const verdict = (entity: Buffer, fields?: Readonly<Record<string, string>>): Promise<string> =>
  verdictOf(world, world.message(entity, fields))
const EVIL = text('pay eve')

describe('the frame of these tests is sound:', () => {
  test('what is right passes, clear and opaque', async () => {
    expect(await verdict(await clearBy(world, 'ann'))).toBe('pass good')
    expect(await verdict(await opaqueBy(world, 'ann'))).toBe('pass good')
  })
})

describe('B15 two contents', () => {
  test.each([
    ['what was signed, beside what is shown', HELLO, EVIL],
    ['what is shown, a second time', HELLO, HELLO],
    ['nothing', Buffer.alloc(0), HELLO],
    ['what is shown, beside what was signed', EVIL, HELLO],
  ])('B15 Johnny C1: the signature of a clear message holds %s', async (_what, inside, shown) => {
    const signature = await sealBy(world, 'ann', { data: { content: inside } })
    const message = world.message(clearMessage(signature, { entity: shown }))
    const { result, code, octets } = await world.deliver(message)
    expect([result, code]).toEqual(['fail', 'content-twice'])
    expect(octets.includes(shown)).toBe(true)
  })

  test('B15 an opaque message is what its eContent says, and leaves as it came', async () => {
    const message = world.message(await opaqueBy(world, 'ann'))
    const { result, octets } = await world.deliver(message)
    expect(result).toBe('pass')
    expect(octets.toString('latin1').endsWith(message.toString('latin1'))).toBe(true)
  })

  test('B15 an opaque message without content is nothing to be verified', async () => {
    const signature = await sealBy(world, 'ann')
    expect(await verdict(opaqueMessage(signature))).toBe('permerror content-missing')
  })

  test('B15 a clear message whose first part is the opaque one of somebody else', async () => {
    const inner = await opaqueBy(world, 'mallory', { entity: EVIL })
    expect(await verdict(await clearBy(world, 'ann', { entity: inner }))).toBe('fail from-mismatch')
  })
})

describe('B16 signed attributes', () => {
  const right = (): Buffer[] => usualAttributes(HELLO, 'sha256', signingTime(new Date()))

  test('B16 none: a signature over the content itself is no pass', async () => {
    const plan = { attributes: undefined }
    expect(await verdict(await clearBy(world, 'ann', plan))).toBe('neutral no-signed-attributes')
    expect(await verdict(await opaqueBy(world, 'ann', plan))).toBe('neutral no-signed-attributes')
  })

  test('B16 those of a genuine message as the content of a forged one', async () => {
    const genuine = takeApart(await world.signed(HELLO, 'ann')).signature
    const [signer] = readSignedData(genuine).signers
    const forged = {
      attributes: undefined,
      signWith: () => signer!.signature,
      entity: signer!.signedAttributes!.octets,
    }
    expect(await verdict(await opaqueBy(world, 'ann', forged))).toBe('fail forged-attributes')
  })

  test.each<[string, () => readonly Buffer[], string]>([
    ['none at all in the set', () => [], 'fail attributes-malformed'],
    ['no content type', () => right().slice(1), 'fail attributes-malformed'],
    ['no digest', () => right().toSpliced(1, 1), 'fail attributes-malformed'],
    ['two content types', () => [right()[0]!, ...right()], 'fail attributes-malformed'],
    ['two digests', () => [...right(), right()[1]!], 'fail attributes-malformed'],
    [
      'a digest with two values',
      () => {
        const [one, two] = [HELLO, EVIL].map(it => octetString(sha256(it)))
        return [right()[0]!, attribute(OID.MESSAGE_DIGEST, one!, two!), right()[2]!]
      },
      'fail attributes-malformed',
    ],
    ['two signing times', () => [...right(), right()[2]!], 'fail attributes-malformed'],
    [
      'another content type',
      () => [attribute(OID.CONTENT_TYPE, oid(OID.SIGNED_DATA)), ...right().slice(1)],
      'fail content-type-mismatch',
    ],
    [
      'the digest of another content',
      () => usualAttributes(EVIL, 'sha256', signingTime(new Date())),
      'fail digest-mismatch',
    ],
  ])('B16 %s', async (_what, attributes, expected) => {
    const entity = await clearBy(world, 'ann', { attributes: attributes() })
    expect(await verdict(entity)).toBe(expected)
  })

  test('B16 a content of another type than mail, even if the attributes agree', async () => {
    const attributes = [
      attribute(OID.CONTENT_TYPE, oid(TST_INFO)),
      attribute(OID.MESSAGE_DIGEST, octetString(sha256(HELLO))),
    ]
    const plan = { attributes, data: { contentType: TST_INFO } }
    expect(await verdict(await clearBy(world, 'ann', plan))).toBe(
      'permerror content-type-unsupported',
    )
  })

  test('B16 attributes that are signed, and others that stand there', async () => {
    const standing = context(0, ...usualAttributes(EVIL, 'sha256', signingTime(new Date())))
    const plan = { standing, clear: { entity: EVIL } }
    expect(await verdict(await clearBy(world, 'ann', plan))).toBe('fail signature-mismatch')
  })
})

describe('B17 several signers', () => {
  async function by(...who: readonly (Person | Buffer)[]): Promise<Buffer> {
    const people = who.filter(it => typeof it === 'string')
    const signers = await Promise.all(
      who.map(async it => (typeof it === 'string' ? infoBy(world, it) : it)),
    )
    const certificates = [...people.map(it => world.certificate(it)), authorityOf(world)]
    const data = { signers, certificates: certificates.map(({ der }) => der) }
    return clearMessage(signedData(data), { entity: HELLO })
  }

  test('B17 pass where all are believed, and the verdict names the author', async () => {
    for (const who of [['ann', 'mallory'] as const, ['mallory', 'ann'] as const]) {
      const { result, section } = await world.deliver(world.message(await by(...who)))
      expect(result).toBe('pass')
      expect(section.first('authentication-results')!.body).toContain(
        'body.smime-identifier=ann@partner.test',
      )
    }
  })

  test('B17 Johnny C2: the author and somebody whom nobody vouches for', async () => {
    expect(await verdict(await by('ann', 'eve'))).toBe('fail other-signer')
    expect(await verdict(await by('eve', 'ann'))).toBe('fail other-signer')
  })

  test('B17 the author is not among them', async () => {
    expect(await verdict(await by('mallory', 'ben'))).toBe('fail from-mismatch')
    expect(await verdict(await by('eve', 'mallory'))).toMatch(/^policy /)
  })

  test('B17 one of them is of another content', async () => {
    const stale = await infoBy(world, 'ann', { content: EVIL })
    expect(await verdict(await by('mallory', 'ann', stale))).toBe('fail digest-mismatch')
    expect(await verdict(await by(stale, 'mallory', 'ann'))).toBe('fail digest-mismatch')
  })

  test('B17 one of them cannot be verified', async () => {
    const bare = await infoBy(world, 'mallory', { attributes: undefined })
    expect(await verdict(await by('ann', 'mallory', bare))).toBe('neutral no-signed-attributes')
    // Whose certificate is not here may be anybody.
    const { certificate, key } = await vouchedFor(world, [mailAddress('x@partner.test')])
    const unknown = await infoBy(world, { certificate, key })
    expect(await verdict(await by('ann', unknown))).toBe('neutral no-certificate')
  })

  test('B17 one who signs with what does not protect', async () => {
    const old = await infoBy(world, 'mallory', {
      digestAlgorithm: SHA_1,
      signatureAlgorithm: ECDSA_SHA_1,
      signWith: signerWith('mallory', 'sha1'),
    })
    expect(await verdict(await by('ann', 'mallory', old))).toBe('fail other-signer')
  })
})

describe('B18 no signer', () => {
  const nobody = (content?: Buffer): Buffer =>
    signedData({
      signers: [],
      certificates: [world.certificate('ann').der, authorityOf(world).der],
      content,
    })

  test.each(['certs-only', 'signed-data'])('B18 Johnny C3: smime-type=%s', async smimeType => {
    const type = `application/pkcs7-mime; smime-type=${smimeType}; name=smime.p7m`
    for (const content of [undefined, HELLO])
      expect(await verdict(opaqueMessage(nobody(content), type))).toBe('none certificates-only')
  })

  test('B18 a clear message with the certificates of the author, and no signature', async () => {
    const message = clearMessage(nobody(), { entity: HELLO })
    expect(await verdict(message)).toBe('none certificates-only')
  })
})

describe('B19 nobody vouches for the signer', () => {
  const HOUR_MS = 3_600_000
  const from = (ms: number): Date => new Date(Date.now() + ms)
  const life = { notBefore: from(-HOUR_MS), notAfter: from(HOUR_MS) }
  const mine = { commonName: 'Ann', addresses: [ADDRESSES.ann], key: 'p-256' } as const

  async function by(who: Somebody, ...more: readonly Buffer[]): Promise<string> {
    const signers = [await infoBy(world, who)]
    const certificates = [who.certificate.der, ...more, authorityOf(world).der]
    return verdict(clearMessage(signedData({ signers, certificates }), { entity: HELLO }))
  }

  test('B19 legitimate neighbour: a certificate of the same shape, issued', async () => {
    const ann = await issue({ ...life, ...mine, issuer: authorityOf(world) })
    expect(await by(issuedTo(ann))).toBe('pass good')
  })

  test('B19 Johnny C4: self-signed in the name of the author', async () => {
    expect(await by(issuedTo(await issue({ ...life, ...mine })))).toBe('policy self-signed')
  })

  test('B19 an authority of the same name, which comes along', async () => {
    const root = await issue({ ...life, commonName: 'Test Root', authority: true })
    const issuing = { ...life, commonName: 'Test Issuing CA', authority: true, issuer: root }
    const issuer = await issue(issuing)
    const ann = await issue({ ...life, ...mine, issuer })
    expect(await by(issuedTo(ann), issuer.der, root.der)).toMatch(/^policy /)
  })

  test('B19 a user who plays authority', async () => {
    const ann = await issue({ ...life, ...mine, issuer: world.issued('mallory') })
    expect(await by(issuedTo(ann), world.issued('mallory').der)).toMatch(/^(?:policy|fail) /)
  })

  test.each([
    ['expired', { notBefore: from(-3 * HOUR_MS), notAfter: from(-HOUR_MS) }],
    ['not valid yet', { notBefore: from(HOUR_MS), notAfter: from(3 * HOUR_MS) }],
    ['for servers only', { ...life, extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] }],
    ['for encryption only', { ...life, keyUsage: ['keyAgreement'] as const }],
  ])('B19 a certificate that is %s', async (_what, what) => {
    const ann = await issue({ ...mine, ...what, issuer: authorityOf(world) })
    expect(await by(issuedTo(ann))).toMatch(/^(?:fail|policy) /)
  })

  test('B19 the certificate is not there at all', async () => {
    const signers = [await infoBy(world, 'ann')]
    expect(await verdict(clearMessage(signedData({ signers }), { entity: HELLO }))).toBe(
      'neutral no-certificate',
    )
  })
})

describe('B27 times', () => {
  const MINUTE_MS = 60_000
  const at = (minutes: number): Date => new Date(Date.now() + minutes * MINUTE_MS)
  const dated = (minutes: number): Readonly<Record<string, string>> => ({
    Date: at(minutes).toUTCString().replace('GMT', '+0000'),
  })

  test.each([
    ['now, dated now', 0, 0, 'pass good'],
    ['half an hour before its date', -40, -10, 'pass good'],
    ['half an hour after its date', -10, -40, 'pass good'],
    ['two minutes ahead of our clock', 2, 2, 'pass good'],
    ['more than an hour before its date', -59, 5, 'policy signing-time-far'],
    ['a day before its date', -1440, 0, 'fail signing-time-outside-validity'],
    ['more than an hour after its date', 0, -61, 'policy signing-time-far'],
    ['ten minutes ahead of our clock', 10, 10, 'fail signing-time-in-future'],
    ['in another century', 60 * 24 * 366 * 25, 0, 'fail signing-time-in-future'],
  ])('B27 signed %s', async (_what, signed, date, expected) => {
    const entity = await world.signed(HELLO, 'ann', { signingTime: at(signed) })
    expect(await verdict(entity, dated(date))).toBe(expected)
  })

  test('B27 CVE-2023-50761: an old signature under a new date', async () => {
    const life = { notBefore: at(-60 * 24 * 30), notAfter: at(60 * 24) }
    const options = { ...life, commonName: 'Ann', addresses: [ADDRESSES.ann] }
    const ann = issuedTo(await issue({ ...options, issuer: authorityOf(world) }))
    const attributes = usualAttributes(HELLO, 'sha256', signingTime(at(-60 * 24 * 7)))
    const old = await clearBy(world, ann, { attributes })
    expect(await verdict(old, dated(-60 * 24 * 7))).toBe('pass good')
    expect(await verdict(old, dated(0))).toBe('policy signing-time-far')
  })

  test('B27 no date to compare with, or one that nobody can read, or two', async () => {
    const entity = await world.signed(HELLO, 'ann')
    const message = world.message(entity).toString('latin1')
    const without = message.replace(/^Date: .*\r\n/m, '')
    expect(await verdictOf(world, Buffer.from(without, 'latin1'))).toBe('policy date-missing')
    expect(await verdict(entity, { Date: 'yesterday' })).toBe('policy date-missing')
    const twice = message.replace(/^Date: .*\r\n/m, field => field + field)
    expect(await verdictOf(world, Buffer.from(twice, 'latin1'))).toBe('permerror field-twice')
  })

  test('B27 a signature that bears no time is told', async () => {
    const entity = await world.signed(HELLO, 'ann', { signingTime: undefined })
    const { result, notes } = await world.deliver(world.message(entity))
    expect(result).toBe('pass')
    expect(notes).toContain('signing-time-absent')
  })
})

describe('B29 another certificate for the same key', () => {
  let twin: Somebody

  beforeAll(async () => {
    const { publicKey, privateKey } = world.issued('ann')
    const key = { publicKey, privateKey }
    twin = await vouchedFor(world, [mailAddress(ADDRESSES.mallory)], { key })
  })

  test('B29 what we sign names the certificate, and cannot be passed off as signed by another', async () => {
    const { signature } = takeApart(await world.signed(HELLO, 'ann'))
    const [info] = readSignedData(signature).signers
    const attributes = readAttributes(info!.signedAttributes!.octets)
    const plan = { attributes, signWith: () => info!.signature }
    const mallory = { From: ADDRESSES.mallory }
    expect(await verdict(await clearBy(world, 'ann', plan))).toBe('pass good')
    expect(await verdict(await clearBy(world, twin, plan), mallory)).toBe(
      'fail signing-certificate-mismatch',
    )
    // The key does fit: but for the attribute it would have been believed.
    expect(await verdict(await clearBy(world, twin), mallory)).toBe('pass good')
  })

  test('B29 the attribute must name the certificate, whichever version it is of', async () => {
    const named = (hash: string, type: string, certificate: Buffer): Buffer =>
      attribute(
        type,
        sequence(sequence(sequence(octetString(createHash(hash).update(certificate).digest())))),
      )
    const { der } = world.certificate('ann')
    const cases: readonly [Buffer, string][] = [
      [named('sha256', OID.SIGNING_CERTIFICATE_V2, der), 'pass good'],
      [named('sha1', OID.SIGNING_CERTIFICATE, der), 'pass good'],
      [
        named('sha256', OID.SIGNING_CERTIFICATE_V2, twin.certificate.der),
        'fail signing-certificate-mismatch',
      ],
      [
        named('sha1', OID.SIGNING_CERTIFICATE, twin.certificate.der),
        'fail signing-certificate-mismatch',
      ],
      [attribute(OID.SIGNING_CERTIFICATE_V2, sequence()), 'fail attributes-malformed'],
    ]
    for (const [attribute_, expected] of cases) {
      const attributes = usualAttributes(HELLO, 'sha256', signingTime(new Date()), attribute_)
      expect(await verdict(await clearBy(world, 'ann', { attributes }))).toBe(expected)
    }
  })
})

describe('B30 what does not protect', () => {
  const rsa = async (modulusLength: number, publicExponent = 65537): Promise<Somebody> => {
    const key = generateKeyPairSync('rsa', { modulusLength, publicExponent })
    return vouchedFor(world, [mailAddress(ADDRESSES.ann)], { key })
  }

  test('B30 SHA-1 is told to be weak, and MD5 is not looked at', async () => {
    const plan = {
      digestAlgorithm: SHA_1,
      signatureAlgorithm: ECDSA_SHA_1,
      signWith: signerWith('ann', 'sha1'),
    }
    expect(await verdict(await clearBy(world, 'ann', plan))).toBe('policy weak-sha-1')
    const md5 = { name: 'md5', identifier: sequence(oid('1.2.840.113549.2.5')) }
    const who = await rsa(2048)
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.4'), NULL)
    const signWith = (octets: Buffer): Buffer => signed('md5', octets, who.key)
    const digests = [md5.identifier]
    const entity = await clearBy(world, who, {
      digestAlgorithm: md5,
      signatureAlgorithm,
      signWith,
      data: { digests },
    })
    expect(await verdict(entity)).toMatch(/^neutral /)
  })

  test('B30 short RSA keys are not believed, shorter ones are not calculated with', async () => {
    expect(await verdict(await clearBy(world, await rsa(2048)))).toBe('pass good')
    const weak = await rsa(1024)
    const signWith = (octets: Buffer): Buffer => signed('sha256', octets, weak.key)
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.11'), NULL)
    const plan = { signWith, signatureAlgorithm }
    expect(await verdict(await clearBy(world, weak, plan))).toBe('fail key-refused')
    const weaker = await rsa(512)
    const by512 = { ...plan, signWith: (octets: Buffer) => signed('sha256', octets, weaker.key) }
    expect(await verdict(await clearBy(world, weaker, by512))).toBe('neutral key-unsound')
  })

  test('B30 Bleichenbacher 2006: a cube root in the place of a signature', async () => {
    const who = await rsa(2048, 3)
    const signatureAlgorithm = sequence(oid('1.2.840.113549.1.1.11'), NULL)
    const genuine = { signatureAlgorithm, signWith: (it: Buffer) => signed('sha256', it, who.key) }
    expect(await verdict(await clearBy(world, who, genuine))).toBe('pass good')
    const forged = { signatureAlgorithm, signWith: cubeRootOver }
    expect(await verdict(await clearBy(world, who, forged))).toBe('fail signature-mismatch')
  })
})

describe('B35 signatures around signatures', () => {
  const inner = (): Promise<Buffer> => world.signed(HELLO, 'ann')
  const ML_EXPANSION_HISTORY = '1.2.840.113549.1.9.16.2.3'

  test('B35 triple wrap: the innermost signer is the author, the outer one is told apart', async () => {
    const wrapped = await world.signed(await world.encrypted(await inner(), ['bob']), 'mallory')
    const { result, notes, encryption, section } = await world.deliver(world.message(wrapped))
    expect([result, encryption]).toEqual(['pass', 'opened'])
    expect(notes).toContain('outer-signature')
    expect(section.first('authentication-results')!.body).toContain(ADDRESSES.ann)
  })

  test('B35 a list agent signs around what it has sent on', async () => {
    const history = attribute(
      ML_EXPANSION_HISTORY,
      sequence(sequence(integer(1), time(new Date()))),
    )
    const entity = await inner()
    const attributes = usualAttributes(entity, 'sha256', signingTime(new Date()), history)
    const wrapped = await clearBy(world, 'mallory', { entity, attributes })
    const { result, notes } = await world.deliver(world.message(wrapped))
    expect(result).toBe('pass')
    expect(notes).toContain('outer-signature')
    // The list itself is no author.
    expect(await verdict(wrapped, { From: ADDRESSES.mallory })).toBe('fail from-mismatch')
  })

  test('B35 an author outside does not vouch for what somebody else has signed inside', async () => {
    const wrapped = await world.signed(await world.signed(EVIL, 'mallory'), 'ann')
    expect(await verdict(wrapped)).toBe('fail from-mismatch')
    const encrypted = await world.encrypted(await world.signed(EVIL, 'mallory'), ['bob'])
    expect(await verdict(await world.signed(encrypted, 'ann'))).toBe('fail from-mismatch')
  })

  test('B35 a signature over cipher text is none of the author over what is in it', async () => {
    const encrypted = await world.encrypted(HELLO, ['bob'])
    expect(await verdict(await world.signed(encrypted, 'ann'))).toBe(
      'neutral signature-around-encryption',
    )
  })

  test('B35 an outer signature that is broken, or cannot be read', async () => {
    const entity = await inner()
    const other = await infoBy(world, 'mallory', { content: EVIL })
    const certificates = [world.certificate('mallory').der]
    const broken = clearMessage(signedData({ signers: [other], certificates }), { entity })
    expect(await verdict(broken)).toBe('fail outer-signature-bad')
    const twice = signedData({ signers: [other], certificates, content: entity })
    expect(await verdict(clearMessage(twice, { entity }))).toMatch(/^fail |^permerror /)
  })

  test('B35 what a mailing list puts below breaks it', async () => {
    const signed = (await inner()).toString('latin1')
    const footer = 'Content-Type: text/plain\r\n\r\n-- \r\nof the list\r\n'
    const boundary = /boundary="?([^";\r\n]+)/.exec(signed)![1]!
    const wrapped = `Content-Type: multipart/mixed; boundary=list\r\n\r\n--list\r\n${signed}\r\n--list\r\n${footer}--list--\r\n`
    const third = signed.replace(`--${boundary}--`, `--${boundary}\r\n${footer}\r\n--${boundary}--`)
    const below = signed.replace('hello\r\n', 'hello\r\n-- \r\nof the list\r\n')
    const cases: Readonly<Record<string, string>> = {
      [wrapped]: 'none partial',
      [third]: 'permerror not-two-parts',
      [below]: 'fail digest-mismatch',
    }
    for (const [entity, expected] of Object.entries(cases))
      expect(await verdict(Buffer.from(entity, 'latin1'))).toBe(expected)
  })
})

describe('B36 requests for receipts', () => {
  test('B36 are not answered, whoever signs them', async () => {
    // RFC 2634 §2.7: a content identifier, all are to answer, to ann.
    const request = attribute(
      '1.2.840.113549.1.9.16.2.1',
      sequence(
        octetString(Buffer.from('id')),
        tlv(0x80, Buffer.from([0])),
        sequence(sequence(tlv(0x81, Buffer.from(ADDRESSES.ann)))),
      ),
    )
    const attributes = usualAttributes(HELLO, 'sha256', signingTime(new Date()), request)
    const asked = {
      'Disposition-Notification-To': ADDRESSES.ann,
      'Return-Receipt-To': ADDRESSES.ann,
    }
    const { inbound, outbound, review } = world.house.sinks
    for (const who of ['ann', 'eve'] as const) {
      const before = inbound.messages.length
      const plain = await world.deliver(world.message(await clearBy(world, who)))
      const entity = await clearBy(world, who, { attributes })
      const requested = await world.deliver(world.message(entity, asked))
      expect(requested.result).toBe(plain.result)
      expect(requested.result === 'pass').toBe(who === 'ann')
      expect(requested.reply.end!.code).toBe(plain.reply.end!.code)
      expect(inbound.messages.length - before).toBe(2)
    }
    expect([outbound.messages, review.messages]).toEqual([[], []])
  })
})

function signed(digest: string, octets: Buffer, key: KeyObject): Buffer {
  return sign(digest, octets, key)
}

function signerWith(who: Person, digest: string): (octets: Buffer) => Buffer {
  return octets => signed(digest, octets, somebody(world, who).key)
}

function sha256(octets: Buffer): Buffer {
  return createHash('sha256').update(octets).digest()
}

/** The attributes in a SET OF, one by one. */
function readAttributes(set: Buffer): Buffer[] {
  const attributes: Buffer[] = []
  for (const reader = new DerReader(set).into(0x31); !reader.done; )
    attributes.push(reader.element().octets)
  return attributes
}

/**
 * What an RSA key of exponent 3 would take for a signature, if its padding were not looked at to the
 * end: the cube root, rounded up, of `00 01 FF 00 DigestInfo` and whatever follows.
 */
function cubeRootOver(octets: Buffer): Buffer {
  const digestInfo = sequence(
    sequence(oid('2.16.840.1.101.3.4.2.1'), NULL),
    octetString(sha256(octets)),
  )
  const head = Buffer.concat([Buffer.from('0001ffffffffffffffff00', 'hex'), digestInfo])
  const wanted = BigInt(`0x${head.toString('hex')}${'00'.repeat(256 - head.length)}`)
  let low = 0n
  let high = 1n << 1024n
  while (low < high) {
    const middle = (low + high) >> 1n
    if (middle ** 3n < wanted) low = middle + 1n
    else high = middle
  }
  return Buffer.from(low.toString(16).padStart(512, '0'), 'hex')
}

const NULL = tlv(0x05)
const TST_INFO = '1.2.840.113549.1.9.16.1.4'
const SHA_1 = { name: 'sha1', identifier: sequence(oid('1.3.14.3.2.26')) }
const ECDSA_SHA_1 = sequence(oid('1.2.840.10045.4.1'))
