/** Attacks on what stands around a signature: fields, parts, labels, and readers who see two things. @module */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HeaderSection } from '../../src/mail/header-section.ts'
import { opaqueMessage } from '../crypto/smime/signed-message.ts'
import { TestClient } from '../support/client.ts'
import { clearBy, HELLO, opaqueBy, sealBy, verdictOf } from '../support/crafted-signatures.ts'
import {
  ADDRESSES,
  type InboundWorld,
  makeInboundWorld,
  text,
  type WorldSettings,
} from '../support/inbound.ts'

const QUICK: WorldSettings = {
  keys: { ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' },
}
let world: InboundWorld
/** Where good signatures are taken off. */
let bare: InboundWorld

beforeAll(async () => {
  world = await makeInboundWorld(QUICK)
  bare = await makeInboundWorld({ ...QUICK, wish: { strip: 'signature' } })
})
afterAll(async () => {
  await world.close()
  await bare.close()
})

const lines = (...all: readonly string[]): Buffer => Buffer.from(`${all.join('\r\n')}\r\n`)
const verdict = (entity: Buffer, fields?: Readonly<Record<string, string>>): Promise<string> =>
  verdictOf(world, world.message(entity, fields))

describe('B14 fields inside', () => {
  const FORGED = [
    'From: Boss <boss@example.test>',
    'Sender: boss@example.test',
    'To: everybody@example.test',
    'Subject: forged',
    'Date: Mon, 1 Jan 2001 00:00:00 +0000',
    'Reply-To: forged@evil.test',
    'Bcc: forged@example.test',
    'Received: from forged by forged',
    'Return-Path: <forged@evil.test>',
    'DKIM-Signature: v=1; forged',
    'ARC-Seal: i=1; forged',
    'ARC-Authentication-Results: i=1; gw.example.test; smime=pass; forged',
    'Authentication-Results: gw.example.test; smime=pass; forged',
    'X-Postern-Signature: pass; code=forged',
    'X-Postern-Encryption: opened; forged',
    'X-Postern-Seal: v=1; forged',
    'Message-ID: <forged@evil.test>',
    'List-Unsubscribe: <https://forged.test>',
  ]
  const INNER = lines(...FORGED, 'Content-Type: text/plain', '', 'hello')

  function expectOwn(section: HeaderSection): void {
    expect(section.all('from').map(({ body }) => body)).toEqual(['Ann <ann@partner.test>'])
    expect(section.all('subject').map(({ body }) => body)).toEqual(['figures'])
    for (const { octets } of section.fields) expect(octets.toString('latin1')).not.toMatch(/forged/)
  }

  test('B14 of what was encrypted do not become those of the message', async () => {
    const options = { cipher: 'aes-128-gcm' } as const
    const message = world.message(await world.encrypted(INNER, ['bob'], options))
    const { section, encryption, result } = await world.deliver(message)
    expect([encryption, result]).toEqual(['opened', 'none'])
    expectOwn(section)
  })

  test('B14 of what was encrypted around a signature', async () => {
    const signed = (await world.signed(INNER, 'ann')).toString('latin1')
    const inner = Buffer.from([...FORGED, signed].join('\r\n'), 'latin1')
    const { section, result } = await world.deliver(
      world.message(await world.encrypted(inner, ['bob'], { cipher: 'aes-128-gcm' })),
    )
    expect(result).toBe('pass')
    expectOwn(section)
  })

  test.each(['clear', 'opaque'] as const)(
    'B14 of what was signed, %s, and is bared',
    async format => {
      const message = bare.message(await bare.signed(INNER, 'ann', { format }))
      const { section, result, body } = await bare.deliver(message)
      expect([result, body]).toEqual(['pass', 'hello\r\n'])
      expectOwn(section)
    },
  )

  test('B14 of a signed message that stays as it is', async () => {
    const { section, result } = await world.deliver(world.message(await world.signed(INNER, 'ann')))
    expect(result).toBe('pass')
    expectOwn(section)
  })

  test('B14 a protected subject counts where the author has signed it, and nowhere else', async () => {
    const protectedBy = (from: string): Buffer =>
      lines(
        ...FORGED.filter(field => !/^(?:From|Sender|To|Date|Subject|Reply-To|List)/.test(field)),
        `From: ${from}`,
        'Subject: the true one',
        'HP-Outer: Subject: figures',
        'Content-Type: text/plain; hp="cipher"',
        '',
        'hello',
      )
    const inner = protectedBy('ann@partner.test')
    const subjectOf = async (entity: Buffer): Promise<string> => {
      const { section, result } = await world.deliver(
        world.message(await world.encrypted(entity, ['bob'], { cipher: 'aes-128-gcm' })),
      )
      for (const { octets } of section.fields) expect(octets.toString()).not.toMatch(/forged/)
      return `${result} ${section
        .all('subject')
        .map(({ body }) => body)
        .join()}`
    }
    expect(await subjectOf(await world.signed(inner, 'ann'))).toBe('pass the true one')
    expect(await subjectOf(inner)).toBe('none figures')
    expect(await subjectOf(await world.signed(inner, 'mallory'))).toBe('fail figures')
    const boss = protectedBy('boss@example.test')
    expect(await subjectOf(await world.signed(boss, 'ann'))).toBe('fail figures')
  })

  test('B14 another author under the signature', async () => {
    const wrapped = (from: string): Buffer =>
      lines(
        'Content-Type: message/rfc822; forwarded=no',
        '',
        `From: ${from}`,
        'Subject: pay eve',
        '',
        'at once',
      )
    expect(await verdict(await world.signed(wrapped('ann@partner.test'), 'ann'))).toBe('pass good')
    expect(await verdict(await world.signed(wrapped('boss@example.test'), 'ann'))).toBe(
      'fail protected-from-differs',
    )
    // To send on what somebody else has written is no lie; but some readers show it as what was sent.
    const forwarded = wrapped('boss@example.test').toString().replace('; forwarded=no', '')
    expect(await verdict(await world.signed(Buffer.from(forwarded), 'ann'))).toBe(
      'fail enclosed-from-differs',
    )
  })
})

describe('B20 a signature over a part', () => {
  const mixed = (type: string, ...parts: readonly (Buffer | string)[]): Buffer =>
    Buffer.concat([
      Buffer.from(`Content-Type: ${type}; boundary=outer\r\n\r\n`),
      ...parts.flatMap(part => [Buffer.from('--outer\r\n'), Buffer.from(part), CRLF]),
      Buffer.from('--outer--\r\n'),
    ])
  const EVIL = 'Content-Type: text/html\r\n\r\n<p>pay eve</p>\r\n'
  const HIDING = 'Content-Type: text/html\r\n\r\n<p>pay eve</p><div style="display:none">\r\n'
  const CID = 'Content-Type: text/html\r\n\r\n<p>pay eve</p><img src="cid:signed">\r\n'
  const attached = (part: Buffer): Buffer =>
    Buffer.concat([
      Buffer.from('Content-ID: <signed>\r\nContent-Disposition: attachment\r\n'),
      part,
    ])
  const forwarded = (part: Buffer): Buffer =>
    Buffer.concat([Buffer.from('Content-Type: message/rfc822\r\n\r\n'), world.message(part)])

  test.each<[string, (part: Buffer) => Buffer]>([
    ['M1 below what nobody signed', part => mixed('multipart/mixed', EVIL, part)],
    ['M1 above what nobody signed', part => mixed('multipart/mixed', part, EVIL)],
    ['M2 hidden by HTML', part => mixed('multipart/mixed', HIDING, part)],
    ['M3 hidden behind cid:', part => mixed('multipart/related', CID, attached(part))],
    ['M4 as an attachment', part => mixed('multipart/mixed', EVIL, attached(part))],
    ['as an alternative', part => mixed('multipart/alternative', part, EVIL)],
    ['in a forwarded message', part => mixed('multipart/mixed', EVIL, forwarded(part))],
    ['in a digest', part => mixed('multipart/digest', `\r\n${world.message(part).toString()}`)],
    [
      'two levels down',
      part =>
        mixed(
          'multipart/mixed',
          mixed('multipart/x', part).toString().replaceAll('outer', 'inner'),
          EVIL,
        ),
    ],
    ['with nothing beside it', part => mixed('multipart/mixed', part)],
    ['as a part of a report', part => mixed('multipart/report; report-type=x', EVIL, part)],
  ])('B20 Johnny %s', async (_what, around) => {
    for (const format of ['clear', 'opaque'] as const) {
      const signed = await world.signed(HELLO, 'ann', { format })
      expect(await verdict(signed)).toBe('pass good')
      expect(await verdict(around(signed))).toBe('none partial')
      const options = { cipher: 'aes-128-gcm' } as const
      const encrypted = await world.encrypted(around(signed), ['bob'], options)
      expect(await verdict(encrypted)).toBe('none partial')
    }
  })

  test('B20 legitimate neighbour: everything is signed, the attachments too', async () => {
    const entity = mixed('multipart/mixed', HELLO, EVIL, forwarded(HELLO))
    expect(await verdict(await world.signed(entity, 'ann'))).toBe('pass good')
  })

  test('B20 a detached signature beside a text is no S/MIME', async () => {
    const part = `Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n${(await sealBy(world, 'ann')).toString('base64')}`
    expect(await verdict(mixed('multipart/mixed', HELLO, part))).toBe('none partial')
  })
})

describe('B25 labels', () => {
  test.each([
    ['application/pkcs7-mime; smime-type=signed-data; name=smime.p7m', []],
    ['application/pkcs7-mime', []],
    ['application/x-pkcs7-mime; smime-type=signed-data', ['legacy-type']],
    ['application/octet-stream; name=smime.p7m', ['type-lies']],
    ['application/octet-stream; name="invoice.pdf.p7m"', ['type-lies']],
    ['application/pkcs7-mime; smime-type=enveloped-data', ['smime-type-lies']],
    ['application/pkcs7-mime; smime-type=authEnveloped-data', ['smime-type-lies']],
    ['application/pkcs7-mime; smime-type=certs-only', ['smime-type-lies']],
    ['application/pkcs7-mime; name=invoice.pdf', ['name-lies']],
  ])('B25 signed data as %s is what it is', async (type, notes) => {
    const delivered = await world.deliver(world.message(await opaqueBy(world, 'ann', { type })))
    expect(delivered).toMatchObject({ result: 'pass', notes })
    const evil = await opaqueBy(world, 'ann', { type, content: text('pay eve') })
    expect(await verdict(evil)).toBe('fail digest-mismatch')
  })

  test('B25 encrypted data that says it is signed', async () => {
    const encrypted = (await world.encrypted(HELLO, ['bob'])).toString('latin1')
    const entity = Buffer.from(encrypted.replace('enveloped-data', 'signed-data'), 'latin1')
    const { result, encryption } = await world.deliver(world.message(entity))
    expect([result, encryption]).toEqual(['none', 'unauthenticated'])
  })

  test('B25 what says that it is signed, and is nothing', async () => {
    const type = 'application/pkcs7-mime; smime-type=signed-data'
    expect(await verdict(opaqueMessage(Buffer.from('nothing of the kind'), type))).toMatch(
      /^permerror /,
    )
    expect(await verdict(lines('Content-Type: text/plain; name=smime.p7m', '', 'MIIB'))).toBe(
      'none not-signed',
    )
  })
})

describe('B26 multipart/signed', () => {
  const SIGNATURE = 'application/pkcs7-signature'
  const type = (protocol: string, micalg: string): string =>
    `multipart/signed; protocol="${protocol}"; micalg=${micalg}; boundary=b`

  test.each([
    ['sha-256', []],
    ['SHA256', []],
    ['sha1', ['micalg-lies']],
    ['md5', ['micalg-lies']],
    ['"rsa-md5,none"', ['micalg-lies']],
  ])('B26 micalg=%s is a hint, and no more', async (micalg, notes) => {
    const clear = { type: type(SIGNATURE, micalg) }
    const message = world.message(await clearBy(world, 'ann', { clear }))
    expect(await world.deliver(message)).toMatchObject({ result: 'pass', notes })
    const evil = await clearBy(world, 'ann', { clear: { ...clear, entity: text('pay eve') } })
    expect(await verdict(evil)).toBe('fail digest-mismatch')
  })

  test.each([
    ['another protocol', { type: type('application/x-other', 'sha-256') }],
    ['no protocol', { type: 'multipart/signed; micalg=sha-256; boundary=b' }],
    [
      'a second part of another type',
      { signatureType: 'application/octet-stream; name=smime.p7s' },
    ],
    ['a second part that is text', { signatureType: 'text/plain' }],
    ['no end', { end: '' }],
    ['half an end', { end: '\r\n--b-\r\n' }],
    ['three parts', { end: '\r\n--b\r\nContent-Type: text/plain\r\n\r\npay eve\r\n--b--\r\n' }],
    ['one part', { parts: [HELLO] }],
    ['no part', { parts: [] }],
  ])('B26 with %s', async (_what, clear) => {
    expect(await verdict(await clearBy(world, 'ann', { clear }))).toMatch(/^permerror /)
  })

  test('B26 the parts in the other order', async () => {
    const entity = await clearBy(world, 'ann')
    const [, one, two] = entity.toString('latin1').split(/--b(?:--)?\r\n/)
    const parts = [two!, one!].map(it => Buffer.from(it.replace(/\r\n$/, ''), 'latin1'))
    expect(await verdict(await clearBy(world, 'ann', { clear: { parts } }))).toMatch(/^permerror /)
  })

  test('B26 the signature of somebody else’s protocol is not ours to judge', async () => {
    const pgp = type('application/pgp-signature', 'pgp-sha256')
    expect(await verdict(await clearBy(world, 'ann', { clear: { type: pgp } }))).toBe(
      'none partial',
    )
  })
})

describe('B28 sent on to somebody else', () => {
  const inner = (to: string, subject = 'figures'): Buffer =>
    lines(
      'From: Ann <ann@partner.test>',
      `To: ${to}`,
      `Subject: ${subject}`,
      'Content-Type: text/plain; hp="clear"',
      '',
      'you are fired',
    )
  const notesOf = async (entity: Buffer): Promise<readonly string[]> => {
    const message = world.message(await world.signed(entity, 'ann'))
    const { result, notes } = await world.deliver(message)
    expect(result).toBe('pass')
    return notes
  }

  test('B28 Davis: protected addressees that are not those outside are told', async () => {
    expect(await notesOf(inner('bob@example.test'))).toEqual([])
    expect(await notesOf(inner('carol@example.test'))).toEqual(['addressee-mismatch'])
    expect(await notesOf(inner('bob@example.test', 'yours'))).toEqual(['subject-mismatch'])
  })
})

describe('B33 read in two ways', () => {
  type Change = (message: string) => string
  const put =
    (from: RegExp | string, to: string): Change =>
    message => {
      const changed = message.replace(from, () => to)
      expect(changed).not.toBe(message)
      return changed
    }
  const TYPE =
    /^Content-Type: multipart\/signed; protocol="application\/pkcs7-signature"; micalg=sha-256; boundary=b\r\n/m
  const typed = (...fields: readonly string[]): Change =>
    put(TYPE, fields.map(field => `${field}\r\n`).join(''))
  const SIGNED = 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256'
  const EVIL = 'Content-Type: text/html\r\n\r\n<p>pay eve</p>\r\n'
  const preamble = (words: string): Change => put('\r\n\r\n--b\r\n', `\r\n\r\n${words}\r\n--b\r\n`)
  const epilogue = (words: string): Change => put('--b--\r\n', `--b--\r\n${words}\r\n`)
  const both =
    (...changes: readonly Change[]): Change =>
    message =>
      changes.reduce((changed, change) => change(changed), message)

  async function genuine(): Promise<string> {
    return world.message(await clearBy(world, 'ann')).toString('latin1')
  }

  test.each<[string, Change]>([
    ['as it is', message => message],
    ['the usual preamble', preamble('This is an S/MIME signed message')],
    ['blank lines behind', epilogue('\r\n')],
    ['a quoted boundary', typed(`Content-Type: ${SIGNED}; boundary="b"`)],
    [
      'a folded type',
      typed(
        'Content-Type: multipart/signed;',
        '\tprotocol="application/pkcs7-signature";',
        ' micalg=sha-256; boundary="b"',
      ),
    ],
    [
      'in other cases',
      typed(
        'CONTENT-TYPE: Multipart/Signed; Protocol="Application/PKCS7-Signature"; MicAlg=SHA-256; Boundary=b',
      ),
    ],
    [
      'boundary first',
      typed(
        'Content-Type: multipart/signed; boundary=b; protocol="application/pkcs7-signature"; micalg=sha-256',
      ),
    ],
    ['a footer with the dashes of a signature', epilogue('-- \r\nof the list')],
  ])('B33 legitimate neighbour: %s', async (_what, change) => {
    expect(await verdictOf(world, Buffer.from(change(await genuine()), 'latin1'))).toBe('pass good')
  })

  test.each<[string, Change]>([
    ['two types', typed(`Content-Type: ${SIGNED}; boundary=b`, 'Content-Type: text/html')],
    [
      'two types, the other first',
      typed('Content-Type: text/html', `Content-Type: ${SIGNED}; boundary=b`),
    ],
    [
      'two types, one in upper case',
      typed(`Content-Type: ${SIGNED}; boundary=b`, 'CONTENT-TYPE: text/html'),
    ],
    ['two boundaries', typed(`Content-Type: ${SIGNED}; boundary=b; boundary=c`)],
    ['two boundaries, one in upper case', typed(`Content-Type: ${SIGNED}; boundary=c; BOUNDARY=b`)],
    [
      'a boundary and an extended one',
      typed(`Content-Type: ${SIGNED}; boundary=c; boundary*=us-ascii''b`),
    ],
    [
      'an extended boundary',
      both(typed(`Content-Type: ${SIGNED}; boundary*=us-ascii''b`), preamble('pay eve')),
    ],
    [
      'a boundary in pieces',
      both(typed(`Content-Type: ${SIGNED}; boundary*0=b`), preamble('pay eve')),
    ],
    [
      'an encoded word for a boundary',
      both(
        typed(`Content-Type: ${SIGNED}; boundary="=?us-ascii?Q?c?="`),
        message => message.replaceAll('--b', '--=?us-ascii?Q?c?='),
        put('\r\n\r\n--=', `\r\n\r\n--c\r\n${EVIL}--c--\r\n--=`),
      ),
    ],
    [
      'an escaped boundary',
      both(typed(`Content-Type: ${SIGNED}; boundary="\\b"`), preamble('pay eve')),
    ],
    ['a boundary in a comment', typed(`Content-Type: ${SIGNED} (; boundary=c); boundary=b`)],
    ['a boundary behind a comment', typed(`Content-Type: ${SIGNED}; boundary=(c)b`)],
    ['a boundary with a comment behind', typed(`Content-Type: ${SIGNED}; boundary=b(c)`)],
    ['a boundary with a blank behind', typed(`Content-Type: ${SIGNED}; boundary="b "`)],
    [
      'a boundary with a blank ahead',
      both(typed(`Content-Type: ${SIGNED}; boundary=" b"`), message =>
        message.replaceAll('--b', '-- b'),
      ),
    ],
    [
      'an open boundary with an equals sign',
      both(
        typed(`Content-Type: ${SIGNED}; boundary=c=b`),
        message => message.replaceAll('--b', '--c=b'),
        put('\r\n\r\n--c=b', `\r\n\r\n--c\r\n${EVIL}--c--\r\n--c=b`),
      ),
    ],
    ['a boundary without its quote', typed(`Content-Type: ${SIGNED}; boundary="b`)],
    ['words behind a value', typed(`Content-Type: ${SIGNED}; boundary=b or c`)],
    [
      'no semicolon',
      typed('Content-Type: multipart/signed protocol="application/pkcs7-signature"; boundary=b'),
    ],
    [
      'two protocols',
      typed(
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; protocol="application/pgp-signature"; boundary=b',
      ),
    ],
    [
      'white space ahead of the colon',
      both(put('Content-Type: multipart', 'Content-Type : multipart'), preamble('pay eve')),
    ],
    [
      'a line of white space in the type',
      both(put('; boundary=b\r\n', ';\r\n \r\n boundary=b\r\n'), preamble('pay eve')),
    ],
    [
      'a line of white space ahead of the type',
      both(put('Subject: figures\r\n', 'Subject: figures\r\n \r\n'), preamble('pay eve')),
    ],
    [
      'a tab for a line ahead of the type',
      both(put('Subject: figures\r\n', 'Subject: figures\r\n\t\r\n'), preamble('pay eve')),
    ],
    ['a line that is no field', put('Subject: figures\r\n', 'Subject: figures\r\nno field\r\n')],
    [
      'a line that is no field, and no blank line',
      put(/boundary=b\r\n\r\n/, 'boundary=b\r\nno field\r\n'),
    ],
    [
      'base64 for the whole',
      typed(`Content-Type: ${SIGNED}; boundary=b`, 'Content-Transfer-Encoding: base64'),
    ],
    [
      'quoted-printable for the whole',
      typed(`Content-Type: ${SIGNED}; boundary=b`, 'Content-Transfer-Encoding: quoted-printable'),
    ],
    [
      'an encoding that nobody knows',
      typed(`Content-Type: ${SIGNED}; boundary=b`, 'Content-Transfer-Encoding: x-rot13'),
    ],
    [
      'two encodings',
      typed(
        `Content-Type: ${SIGNED}; boundary=b`,
        'Content-Transfer-Encoding: 7bit',
        'Content-Transfer-Encoding: base64',
      ),
    ],
    ['a part ahead, behind a longer boundary', preamble(`--bb\r\n${EVIL}--bb--`)],
    ['a part ahead, behind another boundary', preamble(`--c\r\n${EVIL}--c--`)],
    ['a part behind, by the same boundary', epilogue(`--b\r\n${EVIL}--b--`)],
    ['a part behind, by another boundary', epilogue(`--c\r\n${EVIL}--c--`)],
    ['a part behind, without an end', epilogue(`--b\r\n${EVIL}`)],
    ['a second end', epilogue('--b--')],
    ['an end that is none to some', put('\r\n--b--\r\n', `\r\n--b--x\r\n${EVIL}--b--\r\n`)],
    [
      'a second type of the signature',
      put(
        'Content-Type: application/pkcs7-signature',
        'Content-Type: text/html\r\nContent-Type: application/pkcs7-signature',
      ),
    ],
    [
      'a signature without a blank line',
      put('Content-Transfer-Encoding: base64\r\n\r\n', 'Content-Transfer-Encoding: base64\r\n'),
    ],
    ['characters in base64 that some skip', put(/\r\n\r\nMI/, '\r\n\r\n!MI')],
    ['octets behind the end of base64', put(/(=*)\r\n--b--/, '====\r\nMAA=\r\n--b--')],
    [
      'the same field twice',
      put('Subject: figures\r\n', 'Subject: figures\r\nSubject: pay eve\r\n'),
    ],
    [
      'the addressee twice',
      put('To: bob@example.test\r\n', 'To: bob@example.test\r\nTo: eve@partner.test\r\n'),
    ],
  ])('B33 %s', async (_what, change) => {
    const message = Buffer.from(change(await genuine()), 'latin1')
    const { result, octets } = await world.deliver(message)
    expect(['permerror', 'none']).toContain(result)
    const body = message.subarray(message.indexOf('\r\n\r\n'))
    expect(octets.includes(body)).toBe(true)
  })

  test.each<[string, Change]>([
    ['two boundaries', typed(`Content-Type: ${SIGNED}; boundary=b; boundary=c`)],
    ['an extended boundary', typed(`Content-Type: ${SIGNED}; boundary*=us-ascii''b`)],
    [
      'a line of white space',
      typed(`Content-Type: ${SIGNED}; boundary=b`, 'Content-Description: x', ' '),
    ],
    ['a part ahead', preamble(`--c\r\n${EVIL}--c--`)],
    ['a part behind', epilogue(`--b\r\n${EVIL}--b--`)],
  ])('B33 %s, under encryption', async (_what, change) => {
    const verdictUnder = async (message: string): Promise<string> => {
      const entity = Buffer.from(message.slice(message.indexOf('Content-Type')), 'latin1')
      return verdict(await world.encrypted(entity, ['bob'], { cipher: 'aes-128-gcm' }))
    }
    expect(await verdictUnder(await genuine())).toBe('pass good')
    expect(await verdictUnder(change(await genuine()))).toBe('permerror ambiguous')
  })

  test('B33 a line of white space outside of the encryption', async () => {
    const encrypted = await world.encrypted(await world.signed(HELLO, 'ann'), ['bob'])
    expect(await verdict(encrypted)).toBe('pass good')
    expect(await verdict(encrypted, { Subject: 'figures\r\n ' })).toBe('permerror ambiguous')
  })

  test('B33 a boundary around that begins like one within', async () => {
    const entity = Buffer.from(
      `Content-Type: multipart/mixed; boundary=bc\r\n\r\n--bc\r\n${HELLO.toString()}\r\n--bc\r\n${EVIL}\r\n--bc--\r\n`,
    )
    expect(await verdict(await clearBy(world, 'ann', { entity }))).toBe('permerror ambiguous')
    const apart = Buffer.from(entity.toString().replaceAll('bc', 'cd'))
    expect(await verdict(await clearBy(world, 'ann', { entity: apart }))).toBe('pass good')
  })

  test.each([
    ['two types', 'Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nhello\r\n'],
    [
      'two encodings',
      'Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\nhello\r\n',
    ],
    [
      'an encoding that nobody knows',
      'Content-Type: text/plain\r\nContent-Transfer-Encoding: x-rot13\r\n\r\nhello\r\n',
    ],
    [
      'two boundaries',
      'Content-Type: multipart/mixed; boundary=x; boundary=y\r\n\r\n--x\r\n\r\nhello\r\n--x--\r\n',
    ],
    ['no boundary', 'Content-Type: multipart/mixed\r\n\r\nhello\r\n'],
    [
      'an encoded multipart',
      'Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n--x\r\n\r\nhello\r\n--x--\r\n',
    ],
    [
      'a boundary that begins like another',
      'Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\n\r\nhello\r\n--xx--\r\n--x--\r\n',
    ],
    [
      'a part with two types',
      'Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\nhello\r\n--x--\r\n',
    ],
    [
      'a piece of a message',
      'Content-Type: message/partial; id=a; number=1; total=2\r\n\r\nSubject: x\r\n\r\nhello\r\n',
    ],
    [
      'a body that is elsewhere',
      'Content-Type: message/external-body; access-type=url; URL="http://evil.test"\r\n\r\nContent-Type: text/plain\r\n\r\n',
    ],
  ])('B33 within what is signed: %s', async (_what, inside) => {
    const entity = Buffer.from(inside)
    for (const make of [clearBy, opaqueBy])
      expect(await verdict(await make(world, 'ann', { entity }))).toBe('permerror ambiguous-inside')
  })

  test.each([
    [
      'an attachment whose name is written twice',
      'Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: application/pdf; name="=?utf-8?Q?a?="; name*=utf-8\'\'a\r\n\r\nhello\r\n--x--\r\n',
    ],
    [
      'a strange message as an attachment',
      'Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nsee below\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\nhello\r\n--x--\r\n',
    ],
  ])('B33 legitimate neighbour within what is signed: %s', async (_what, inside) => {
    const entity = Buffer.from(inside)
    for (const make of [clearBy, opaqueBy])
      expect(await verdict(await make(world, 'ann', { entity }))).toBe('pass good')
  })

  test('B33 a piece of a message, and a message inside of a text, are none', async () => {
    const signed = await world.signed(HELLO, 'ann')
    const piece = Buffer.concat([
      Buffer.from('Content-Type: message/partial; id=a; number=1; total=1\r\n\r\n'),
      world.message(signed),
    ])
    expect(await verdict(piece)).toMatch(/^none /)
    expect(
      await verdict(Buffer.concat([Buffer.from('Content-Type: text/plain\r\n\r\n'), signed])),
    ).toBe('none not-signed')
  })

  test.each([
    ['another name', 'application/pkcs7-mime; name=a; name=b'],
    ['a comment', 'application/pkcs7-mime (text/html)'],
  ])('B33 an opaque one with %s in its type', async (_what, type) => {
    expect(await verdict(await opaqueBy(world, 'ann', { type }))).toBe('permerror ambiguous')
  })

  test('B33 too many layers, and too many parts', async () => {
    let entity = HELLO
    for (let layer = 0; layer < 6; layer++) entity = await world.signed(entity, 'ann')
    expect(await verdict(entity)).toBe('pass good')
    expect(await verdict(await world.signed(entity, 'ann'))).toBe('permerror too-many-layers')
    const parts = Array.from({ length: 1001 }, () => '--x\r\n\r\nhello\r\n').join('')
    const crowd = `Content-Type: multipart/mixed; boundary=x\r\n\r\n${parts}--x--\r\n`
    expect(await verdict(await world.signed(Buffer.from(crowd), 'ann'))).not.toMatch(/^pass/)
  })
})

describe('B34 octets that change on the way', () => {
  test.each([
    ['a bare LF', 'hello\nworld\r\n'],
    ['a bare CR', 'hello\rworld\r\n'],
    ['a NUL', 'hello\0world\r\n'],
  ])('B34 %s is refused from outside', async (_what, words) => {
    const before = world.house.sinks.inbound.messages.length
    const entity = Buffer.from(`Content-Type: text/plain\r\n\r\n${words}`)
    const client = await TestClient.open(world.house.port)
    try {
      const message = world.message(await world.signed(entity, 'ann'))
      const { end } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
      expect(end!.code).toBeGreaterThanOrEqual(500)
    } finally {
      client.close()
    }
    expect(world.house.sinks.inbound.messages).toHaveLength(before)
  })

  test.each<[string, RegExp | string, string]>([
    ['white space at the end of a line', 'hello\r\n', 'hello \r\n'],
    [
      'another transfer encoding',
      'us-ascii\r\n\r\nhello',
      'us-ascii\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhell=6F',
    ],
    ['another folding of an inner field', 'text/plain; charset', 'text/plain;\r\n charset'],
    ['a blank line more', 'hello\r\n', 'hello\r\n\r\n'],
    ['a blank line less', 'hello\r\n\r\n', 'hello\r\n'],
  ])('B34 %s', async (_what, from, to) => {
    const message = world.message(await world.signed(HELLO, 'ann')).toString('latin1')
    expect(await verdictOf(world, Buffer.from(message, 'latin1'))).toBe('pass good')
    const changed = message.replace(from, to)
    expect(changed).not.toBe(message)
    expect(await verdictOf(world, Buffer.from(changed, 'latin1'))).toBe('fail digest-mismatch')
  })

  test('B34 what was verified is what leaves, octet for octet', async () => {
    const odd =
      'Content-Type:\ttext/plain ; charset = "utf-8"\r\nx-Odd:  a \r\n\r\n \r\n.\r\n..\r\nFrom x\r\n\u00e9 \r\n\r\n'
    for (const format of ['clear', 'opaque'] as const) {
      const entity = await world.signed(Buffer.from(odd), 'ann', { format })
      const { result, octets } = await world.deliver(world.message(entity))
      expect(result).toBe('pass')
      expect(octets.subarray(-entity.length).equals(entity)).toBe(true)
    }
  })

  test('B34 8-bit octets under a signature are not encoded anew: no 8BITMIME, no delivery', async () => {
    const other = await makeInboundWorld(QUICK)
    try {
      other.house.on.inbound = ({ verb }) =>
        verb === 'EHLO' ? '250-sink.test\r\n250 SIZE 1000000' : undefined
      const entity = Buffer.from('Content-Type: text/plain; charset=utf-8\r\n\r\n\u00e9\r\n')
      const message = other.message(await other.signed(entity, 'ann'))
      const client = await TestClient.open(other.house.port)
      const { end } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], message)
      client.close()
      expect(`${end!.code} ${end!.text}`).toMatch(/^5\d\d 5\.6\.3/)
      expect(other.house.sinks.inbound.messages).toEqual([])
    } finally {
      await other.close()
    }
  })

  test('B34 lines of an opaque content that end otherwise never reach the next hop', async () => {
    for (const words of ['a\n.\nMAIL FROM:<x>\n', 'a\r.\rb\r\n', 'a\0b\r\n', 'a\r']) {
      const entity = Buffer.from(`Content-Type: text/plain\r\n\r\n${words}`)
      const message = bare.message(await bare.signed(entity, 'ann', { format: 'opaque' }))
      const { octets } = await bare.deliver(message)
      expect(octets.toString('latin1')).not.toMatch(/\0|\r(?!\n)|(?<!\r)\n/)
    }
  })
})

const CRLF = Buffer.from('\r\n')
