/** What was found in gateways of this kind and published: one class of holes each. @module */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Harvested, Offer } from '../../src/certstore/harvested.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import { alternativeNames, mailAddress, smtpUtf8Mailbox } from '../crypto/make-certificate.ts'
import { gather, once } from '../support/chunks.ts'
import { clearBy, vouchedFor } from '../support/crafted-signatures.ts'
import { FORGED_SUBJECTS, forgeries } from '../support/forgeries.ts'
import { lifetime } from '../support/identity-folder.ts'
import {
  ADDRESSES,
  type InboundWorld,
  makeInboundWorld,
  signerOf,
  text,
} from '../support/inbound.ts'
import { expectClosed, SECRET, SECRET_TEXT } from './enveloped.ts'

let world: InboundWorld
let authority: Issued
const offers: Offer[] = []
const TAGS = {
  pass: '[signed OK]',
  fail: '[bad signature]',
  none: '[not signed]',
  decrypted: '[encrypted]',
}

beforeAll(async () => {
  const harvested = {
    offer: async (offer: Offer) => {
      offers.push(offer)
      return { kind: 'stored' }
    },
  } as unknown as Harvested
  world = await makeInboundWorld({ tags: TAGS, harvested })
  authority = world.issued('ann').issuer!
})
afterAll(() => world.close())

describe('B0 CVE-2026-2748: white space and more in the address of a certificate', () => {
  test.each([
    'ann@partner.test ',
    ' ann@partner.test',
    'ann @partner.test',
    'ann@ partner.test',
    'ann@partner.test\t',
    'ann@partner.test\r\n',
    'ann@partner.test\0.evil.test',
    'ann@partner.test@evil.test',
    '<ann@partner.test>',
    'mailto:ann@partner.test',
    'ann@partner.test,mallory@evil.test',
    'Ann <ann@partner.test>',
    '"ann"@partner.test ',
  ])('B0 CVE-2026-2748 %j is not ann@partner.test', async address => {
    const results = [await resultOf('rfc822Name', address), await resultOf('SmtpUTF8', address)]
    expect(results).not.toContain('pass')
  })

  test('B0 CVE-2026-2748 the address itself is', async () => {
    expect(await resultOf('rfc822Name', ADDRESSES.ann)).toBe('pass')
    expect(await resultOf('SmtpUTF8', ADDRESSES.ann)).toBe('pass')
  })

  /** With a certificate that bears an address, as it stands there, as a name of this kind. */
  async function resultOf(kind: 'rfc822Name' | 'SmtpUTF8', address: string): Promise<string> {
    const names =
      kind === 'rfc822Name'
        ? mailAddress(address)
        : alternativeNames(smtpUtf8Mailbox(Buffer.from(address)))
    const who = await vouchedFor(world, [names])
    return (await world.deliver(world.message(await clearBy(world, who)))).result
  }
})

describe('B0 CVE-2026-27443 CVE-2026-29143: fields inside the S/MIME entity', () => {
  const INNER = [
    'From: boss@example.test',
    'Subject: pay at once',
    'Reply-To: mallory@evil.test',
    'Authentication-Results: gw.example.test; smime=pass',
    'X-Postern-Signature: pass; code=good',
    'Content-Type: text/plain',
    '',
    'hello',
    '',
  ]

  test('B0 CVE-2026-27443 CVE-2026-29143 encrypted or signed, they are not those of the message', async () => {
    const inner = Buffer.from(INNER.join('\r\n'))
    const signed = await world.signed(inner, 'mallory')
    const encrypted = (entity: Buffer) =>
      world.encrypted(entity, ['bob'], { cipher: 'aes-256-gcm' })
    // RFC 9788: what says that it is protected counts only where the author has signed it.
    const hp = Buffer.from(inner.toString().replace('text/plain', 'text/plain; hp="cipher"'))
    for (const entity of [
      await encrypted(inner),
      await encrypted(signed),
      await encrypted(hp),
      await encrypted(await world.signed(hp, 'mallory')),
      await encrypted(await world.signed(hp, 'ann')),
      await world.signed(hp, 'mallory'),
      signed,
      await world.signed(inner, 'mallory', { format: 'opaque' }),
    ]) {
      const { section, result } = await world.deliver(world.message(entity))
      expect(result).not.toBe('pass')
      expect(section.all('from').map(({ body }) => body)).toEqual(['Ann <ann@partner.test>'])
      expect(section.all('reply-to')).toEqual([])
      expect(section.all('subject').every(({ body }) => body.endsWith('figures'))).toBe(true)
      expect(section.all('x-postern-signature')).toHaveLength(1)
    }
  })
})

describe('B0 CVE-2026-27444: an address that others read otherwise', () => {
  const FROM: readonly string[] = [
    'ann@partner.test <mallory@evil.test>',
    '"ann@partner.test" <mallory@evil.test>',
    '<ann@partner.test> <mallory@evil.test>',
    'ann@partner.test, mallory@evil.test',
    'mallory@evil.test, ann@partner.test',
    'ann@partner.test (mallory@evil.test)',
    'mallory@evil.test (ann@partner.test)',
    '<@evil.test:ann@partner.test>',
    '<mallory@evil.test:ann@partner.test>',
    'ann@partner.test@evil.test',
    '"ann@partner.test"@evil.test',
    'ann@[partner.test]',
    'ann@partner.test; mallory@evil.test',
    'team: ann@partner.test;',
    'ann@partner.test\r\n\t<mallory@evil.test>',
    '=?utf-8?q?ann=40partner.test?= <mallory@evil.test>',
    '=?utf-8?q?ann=40partner.test=00?= <mallory@evil.test>',
    'mallory@evil.test =?utf-8?q?<ann=40partner.test>?=',
    '"mallory@evil.test\\" <ann@partner.test>',
    'ann@partner.test\r\nFrom: mallory@evil.test',
    'mallory@evil.test\r\nFrom: ann@partner.test',
    'ann@partner.test\r\nFrom : mallory@evil.test',
  ]

  test.each(FROM)('B0 CVE-2026-27444 From: %j passes for nobody', async from => {
    for (const who of ['ann', 'mallory'] as const) {
      const message = world.message(await world.signed(text('hello'), who), { From: from })
      const { result } = await world.deliver(message)
      expect(result, `${from}, signed by ${who}`).not.toBe('pass')
    }
  })

  test.each([
    'ann@partner.test',
    'Ann <ann@partner.test>',
    '"Ann, of the partner" <ann@PARTNER.test>',
    '=?utf-8?q?=C3=84nne?= <ann@partner.test>',
  ])('B0 CVE-2026-27444 From: %j is Ann', async from => {
    const message = world.message(await world.signed(text('hello'), 'ann'), { From: from })
    expect(await world.deliver(message)).toMatchObject({ result: 'pass' })
  })

  test.each([
    'carol@example.test@evil.test',
    'carol@example.test@example.test',
    '"carol@example.test"@example.test',
    'carol%example.test@example.test',
    'bob,carol@example.test',
    'carol+bob@example.test',
    'carol@example.test.',
    'carol@EXAMPLE.TEST',
    '@evil.test:carol@example.test',
    'bob@example.test',
  ])('B0 CVE-2026-27444 RCPT TO:<%s> has Carol’s key only where it leads to Carol', async to => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['carol']))
    const before = world.house.sinks.inbound.messages.length
    await world.deliverAll(message, [to])
    for (const sent of world.house.sinks.inbound.messages.slice(before)) {
      const isCarols = sent.forwardPaths.every(it => it.toLowerCase() === ADDRESSES.carol)
      expect(sent.octets.includes(SECRET)).toBe(isCarols)
    }
    expect(world.house.sinks.outbound.messages.some(it => it.octets.includes(SECRET))).toBe(false)
  })
})

describe('B0 CVE-2026-29140: certificates beside the one that signed', () => {
  test('B0 CVE-2026-29140 are not kept to encrypt to', async () => {
    const life = lifetime()
    const addresses = [ADDRESSES.ann]
    const own = await issue({ ...life, commonName: 'Ann', addresses, key: 'p-256' })
    const other = await certified([ADDRESSES.ann])
    const extra = [own, other, world.issued('mallory'), authority]
    const signer = signerOf(
      world.issued('ann'),
      extra.map(({ der }) => parseCertificate(der)),
    )
    const entity = clearSign(once(text('hello')), signer, { signingTime: new Date() })
    offers.length = 0
    const message = world.message(await gather(entity))
    expect(await world.deliver(message)).toMatchObject({ result: 'pass' })
    expect(offers.map(({ certificate }) => certificate.fingerprint)).toEqual([
      world.certificate('ann').fingerprint,
    ])
  })

  test('B0 CVE-2026-29140 nothing is kept of what does not pass', async () => {
    offers.length = 0
    await world.deliver(world.message(await world.signed(text('hello'), 'mallory')))
    await world.deliver(world.message(await world.signed(text('hello'), 'eve')))
    expect(offers).toEqual([])
  })
})

describe('B0 CVE-2026-29141 CVE-2026-29144: tags of the subject that the sender wrote', () => {
  test('B0 CVE-2026-29141 CVE-2026-29144 none is left, however it is written', async () => {
    for (const subject of FORGED_SUBJECTS) {
      const { section, result } = await world.deliver(
        world.message(text('hi'), { Subject: subject }),
      )
      expect(result).toBe('none')
      const shown = section.all('subject').map(({ body }) => body)
      expect(shown).toHaveLength(1)
      expect(shown[0]).toMatch(/^\[not signed\] (?:Re: (?:Fwd: )?)?plan$/)
    }
  })
})

describe('B0 CVE-2026-2746: a result that nobody is told', () => {
  test('B0 CVE-2026-2746 whatever comes, one verdict of ours stands on top of it', async () => {
    const altered = (await world.signed(text('hello'), 'ann')).toString('latin1')
    for (const [entity, expected] of [
      [text('hello'), 'none'],
      [await world.signed(text('hello'), 'ann'), 'pass'],
      [Buffer.from(altered.replace('hello', 'hallo'), 'latin1'), 'fail'],
      [await world.encrypted(text('hello'), ['carol']), 'none'],
      [
        Buffer.from('Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\n!\r\n'),
        'permerror',
      ],
    ] as const) {
      const { section, result } = await world.deliver(world.message(entity))
      expect(result).toBe(expected)
      expect(section.fields[0]?.key).toBe('authentication-results')
      expect(section.all('x-postern-signature')).toHaveLength(1)
      expect(section.all('x-postern-encryption')).toHaveLength(1)
    }
  })
})

describe('B0 CVE-2026-29142: mail that only says that it was encrypted', () => {
  const PLAIN = 'hello\r\n'
  const LABELS: Readonly<Record<string, string>> = {
    'its media type': `Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n\r\n${PLAIN}`,
    'its media type, over base64': [
      'Content-Type: application/pkcs7-mime; smime-type=authEnveloped-data; name=smime.p7m',
      'Content-Transfer-Encoding: base64',
      '',
      Buffer.from(`Content-Type: text/plain\r\n\r\n${PLAIN}`).toString('base64'),
      '',
    ].join('\r\n'),
    'fields in our name': [
      'X-Postern-Encryption: opened; cipher=aes-256-gcm',
      'X-Postern-Signature: pass; code=good',
      'Authentication-Results: gw.example.test; smime=pass',
      'Content-Type: text/plain',
      '',
      PLAIN,
    ].join('\r\n'),
  }

  test.each(Object.keys(LABELS))('B0 CVE-2026-29142 by %s: not opened, and no pass', async name => {
    const message = world.message(Buffer.from(LABELS[name]!), { Subject: '[encrypted] plan' })
    const { result, encryption, section } = await world.deliver(message)
    expect(result).toBe('none')
    expect(['none', 'unreadable']).toContain(encryption)
    expect(section.first('subject')?.body).toBe('[not signed] plan')
  })

  test('B0 CVE-2026-29142 encrypted to the right key by anybody: opened, and no pass', async () => {
    const options = { cipher: 'aes-256-gcm' } as const
    const message = world.message(await world.encrypted(text('hello'), ['bob'], options))
    const { result, encryption, section } = await world.deliver(message)
    expect([result, encryption]).toEqual(['none', 'opened'])
    expect(section.first('subject')?.body).toBe('[encrypted] [not signed] figures')
  })
})

describe('B0 CVE-2026-27441 CVE-2026-2743 CVE-2026-44128: commands, paths, programs', () => {
  const src = resolve(import.meta.dirname, '../../src')
  const sources = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(it =>
    it.endsWith('.ts'),
  )

  test('B0 CVE-2026-27441 CVE-2026-44128 nothing in the gateway starts a shell or makes a program of text', () => {
    const using = (words: RegExp) =>
      sources.filter(file => words.test(readFileSync(join(src, file), 'utf8')))
    expect(using(/node:vm|node:repl|\beval\s*\(|\bFunction\(|shell:/)).toEqual([])
    // The demo has OpenSSL judge what came out, and no stranger writes to the demo; `start` reads its
    // configuration in a process of its own.
    expect(using(/child_process/).toSorted()).toEqual([
      'commands/config-reader.ts',
      'commands/demo-verdict.ts',
    ])
  })

  test('B0 CVE-2026-2743 what a sender names is no path: nothing of it comes to be in a folder of ours', async () => {
    const before = readdirSync(world.folder, { recursive: true })
    const file = join(world.folder, 'postern-was-here')
    // From whatever folder one sets out, this leads to the file.
    const path = `${'../'.repeat(20)}..${file}`
    const named =
      `Content-Type: application/octet-stream; name="${path}.p7m"\r\n` +
      `Content-Disposition: attachment; filename="${path}.p7m"\r\n\r\nx\r\n`
    const fields = { 'Message-ID': `<${path}@partner.test>`, Subject: path }
    for (const entity of [
      Buffer.from(named),
      await world.encrypted(Buffer.from(named), ['bob'], { cipher: 'aes-256-gcm' }),
      await world.signed(Buffer.from(named), 'ann'),
    ])
      await world.deliver(world.message(entity, fields))
    // An address may be a whole path, and be somebody's.
    const address = `${file}@partner.test`
    const who = await certified([address])
    const message = world.message(await signedBy(who), { ...fields, From: address })
    expect(await world.deliver(message)).toMatchObject({ result: 'pass' })
    expect(readdirSync(world.folder, { recursive: true })).toEqual(before)
  })
})

describe('B0 B68: encrypted mail as a tunnel past the filter', () => {
  test('B0 B68 the next hop gets the plaintext, as parts that a filter can look into', async () => {
    const entity = Buffer.from(
      'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee\r\n' +
        '--b\r\nContent-Type: application/octet-stream; name=invoice.exe\r\n' +
        `Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n--b--\r\n`,
    )
    const signed = await world.signed(entity, 'ann')
    const message = world.message(await world.encrypted(signed, ['bob']))
    const { body, encryption } = await world.deliver(message)
    expect(encryption).toBe('opened')
    expect(body).toContain('name=invoice.exe')
  })

  test('B0 B68 what stays closed says so, for a rule to act on', async () => {
    const message = world.message(await world.encrypted(SECRET_TEXT, ['carol']))
    const copy = await world.deliver(message)
    expectClosed(copy, message)
    expect(copy.encryption).toBe('no-key')
  })
})

test('B0 B64 B66 forged verdicts do not survive beside ours', async () => {
  const fields = Buffer.concat(forgeries('gw.example.test').map(it => it.fields))
  const message = world.message(text('hello'))
  const { octets } = await world.deliver(Buffer.concat([fields, message]))
  const head = octets.toString('latin1', 0, octets.indexOf('\r\n\r\n'))
  expect(head).not.toContain('forged')
})

async function certified(addresses: readonly string[]): Promise<Issued> {
  return issue({ ...lifetime(), commonName: 'Ann', addresses, issuer: authority, key: 'p-256' })
}

async function signedBy(who: Issued): Promise<Buffer> {
  const signer = signerOf(who, [parseCertificate(authority.der)])
  return gather(clearSign(once(text('hello')), signer, { signingTime: new Date() }))
}
