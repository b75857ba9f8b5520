import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { readSignedData } from '../../../src/crypto/cms/read-signed-data.ts'
import type { Signer } from '../../../src/crypto/key.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import { checked } from '../../../src/crypto/smime/self-check.ts'
import { PosternError } from '../../../src/errors.ts'
import { base64Lines } from '../../../src/mail/base64.ts'
import { each, gather } from '../../support/chunks.ts'
import { makeCertificate, makePki, type Pki } from '../make-certificate.ts'

const KINDS = ['RSA', 'RSA-PSS', 'P-256', 'P-384', 'P-521', 'Ed25519'] as const
const FORMS = [
  ['clear', clearSign],
  ['opaque', opaqueSign],
] as const
const REFUSED = 'ERR_SELF_CHECK'
const EQUALS = 0x3d
const TIME = new Date('2026-11-23T20:30:00Z')
const ENTITY = Buffer.from('Content-Type: text/plain\r\n\r\n.\r\nFrom here to there \r\n\r\n')

let pki: Pki
let signer: Signer
let clear: Buffer
let opaque: Buffer

beforeAll(async () => {
  pki = await makePki()
  signer = { ...(await pki.signer('alice', 'P-256')), path: [pki.authority] }
  const options = { signingTime: TIME, boundary: 'a-boundary' }
  clear = await gather(clearSign(streamed(ENTITY), signer, options))
  opaque = await gather(opaqueSign(streamed(ENTITY), signer, options))
})

describe('the clear form', () => {
  test('RFC 8551 §3.5.3.3: header, first part octet for octet, signature, in this order', () => {
    const beginning =
      'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n' +
      ' micalg=sha-256; boundary="a-boundary"\r\n\r\n--a-boundary\r\n'
    const between =
      '\r\n--a-boundary\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n' +
      'Content-Transfer-Encoding: base64\r\n' +
      'Content-Disposition: attachment; filename=smime.p7s\r\n\r\n'
    const ending = '\r\n--a-boundary--\r\n'
    const text = clear.toString('latin1')
    const head = beginning + ENTITY.toString('latin1') + between
    expect(text.startsWith(head)).toBe(true)
    expect(text.endsWith(ending)).toBe(true)
    const der = Buffer.from(text.slice(head.length, -ending.length), 'base64')
    expect(readSignedData(der).certificates.length).toBe(2)
    expect(text.slice(head.length)).toBe(`${base64Lines(der).toString()}--a-boundary--\r\n`)
  })

  test('a boundary is never used twice', async () => {
    const boundaryOf = async () =>
      /boundary="(.+)"/.exec((await gather(sign(clearSign, signer))).toString('latin1'))![1]
    const one = await boundaryOf()
    expect(one!.length).toBeLessThanOrEqual(70)
    expect(await boundaryOf()).not.toBe(one)
  })

  test.each([
    ['P-384', 'sha-384'],
    ['Ed25519', 'sha-512'],
  ] as const)('RFC 8551 §3.5.3.2: micalg of %s is %s', async (kind, micalg) => {
    const text = (await gather(sign(clearSign, await pki.signer('bob', kind)))).toString('latin1')
    expect(text).toContain(`\r\n micalg=${micalg}; boundary=`)
  })
})

describe('the opaque form', () => {
  test('RFC 8551 §3.5.2: header and base64', () => {
    const [header, body] = opaque.toString('latin1').split('\r\n\r\n')
    expect(header).toBe(
      'Content-Type: application/pkcs7-mime; smime-type=signed-data;\r\n name=smime.p7m\r\n' +
        'Content-Transfer-Encoding: base64\r\n' +
        'Content-Disposition: attachment; filename=smime.p7m',
    )
    expect(base64Lines(Buffer.from(body!, 'base64')).toString()).toBe(body)
  })
})

describe.each(FORMS)('both forms: %s', (_form, form) => {
  test.each(KINDS)('what %s has signed passes the check unaltered', async kind => {
    const one = await pki.signer('bob', kind)
    const chunks = await list(sign(form, one))
    expect(await list(checked(each(chunks), one))).toEqual(chunks)
  })

  test('no line of ours is over 76 characters', async () => {
    const signed = await gather(sign(form, await pki.signer('bob', 'RSA')))
    const lengths = signed
      .toString('latin1')
      .split('\r\n')
      .map(line => line.length)
    expect(Math.max(...lengths)).toBeLessThanOrEqual(76)
    expect(signed.includes('\n\n')).toBe(false)
  })

  test('empty entities, and entities without a line end', async () => {
    for (const text of ['', '\r\n', 'Subject: a\r\n\r\n--', 'a\r\n--signed-', '\r\n\r\n--\r\n']) {
      const signed = form(streamed(Buffer.from(text)), signer, { signingTime: undefined })
      expect((await gather(checked(signed, signer))).length).toBeGreaterThan(text.length)
    }
  })

  test('chunks of any size', async () => {
    const entity = fc.uint8Array({ maxLength: 400 }).map(octets => Buffer.from(octets))
    const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 })
    const property = fc.asyncProperty(entity, sizes, sizes, async (octets, before, after) => {
      const signed = form(streamed(octets, before), signer, { signingTime: TIME })
      const whole = await gather(signed)
      expect(await gather(checked(streamed(whole, after), signer))).toEqual(whole)
    })
    await expect(fc.assert(property, { numRuns: 60 })).resolves.toBeUndefined()
  })

  test('header fields may stand in front', async () => {
    const front = Buffer.from('From: a@b.test\r\nSubject: Content-Type\r\nMIME-Version: 1.0\r\n')
    const chunks = [front, ...(await list(sign(form, signer)))]
    expect(await list(checked(each(chunks), signer))).toEqual(chunks)
  })

  test('what the source and the signer throw comes through', async () => {
    const fault = new PosternError('ERR_KEY_UNUSABLE', 'transient', 'token is gone')
    const broken = { ...signer, sign: () => Promise.reject(fault) }
    await expect(gather(checked(sign(form, broken), broken))).rejects.toBe(fault)
  })
})

describe('the check refuses', () => {
  test('any octet that is altered in the signed part, the delimiters and the signature', async () => {
    expect(await unnoticed(clear, clear.indexOf('--a-boundary'))).toEqual([])
  })

  test('any octet that is altered in the body of the opaque form', async () => {
    expect(await unnoticed(opaque, opaque.indexOf('\r\n\r\n') + 4)).toEqual([])
  })

  test('any bit that is altered in the SignedData', async () => {
    const start = clear.lastIndexOf('\r\n\r\n') + 4
    const end = clear.lastIndexOf('--a-boundary--')
    const der = Buffer.from(clear.toString('latin1', start, end), 'base64')
    const change = fc.tuple(fc.nat({ max: der.length - 1 }), fc.nat({ max: 7 }))
    const property = fc.asyncProperty(change, async ([at, bit]) => {
      const octets = Buffer.from(der)
      octets[at]! ^= 1 << bit
      const altered = [clear.subarray(0, start), base64Lines(octets), clear.subarray(end)]
      expect(await verdict(Buffer.concat(altered))).toBe(REFUSED)
    })
    await expect(fc.assert(property, { numRuns: 400 })).resolves.toBeUndefined()
  })

  test('octets that are missing, wherever they were', async () => {
    for (const whole of [clear, opaque])
      for (let size = 0; size < whole.length - 2; size += 7)
        expect(await verdict(whole.subarray(0, size))).toBe(REFUSED)
  })

  test.each([
    [
      'a second Content-Type',
      () => Buffer.concat([Buffer.from('content-type: text/plain\r\n'), clear]),
    ],
    ['another micalg', () => replaced('sha-256;', 'sha-512;')],
    [
      'another protocol',
      () => replaced('protocol="application/pkcs7', 'protocol="application/pgp'),
    ],
    ['another type', () => replaced('multipart/signed', 'multipart/mixed')],
    ['another boundary in the header', () => replaced('boundary="a', 'boundary="b')],
    ['octets in front of the first part', () => replaced('\r\n\r\n--a', '\r\n\r\n.\r\n--a')],
    ['octets behind the last delimiter', () => Buffer.concat([clear, Buffer.from('more\r\n')])],
    [
      'no encoding of the signature',
      () => replaced('Transfer-Encoding: base64', 'X-Encoding: none'),
    ],
    ['an endless header section', () => Buffer.alloc(2_000_000, 'X-Field: value\r\n')],
    ['an endless signature', () => Buffer.concat([clear, Buffer.alloc(2_000_000, 'AAAA\r\n')])],
  ])('%s', async (_name, make) => {
    expect(await verdict(make())).toBe(REFUSED)
  })

  test('a good signature of somebody else', async () => {
    const other = await pki.signer('alice', 'P-256')
    expect(await verdict(await gather(sign(clearSign, other)))).toBe(REFUSED)
    expect(await verdict(await gather(sign(opaqueSign, other)))).toBe(REFUSED)
  })

  test('B29 another certificate for the same key, by the same name and number', async () => {
    const { key, ...own } = await pki.signer('carol', 'P-256')
    const { publicKey, issuer, serialNumber, subject } = own.certificate
    const plan = { key: { publicKey, privateKey: key }, issuer, serialNumber, subject }
    const twin = await makeCertificate({ ...plan, issuerKey: pki.authorityKey })
    const signed = await gather(sign(clearSign, { ...own, path: [twin] }))
    const check = checked(streamed(signed), { ...own, certificate: twin, path: [own.certificate] })
    await expect(gather(check)).rejects.toMatchObject({ code: REFUSED })
  })

  test('a path that is not there', async () => {
    const { path, ...pathless } = signer
    expect(path.length).toBe(1)
    expect(await verdict(await gather(sign(clearSign, { ...pathless, path: [] })))).toBe(REFUSED)
  })

  test('a signer that signs something else', async () => {
    const wrong = { ...signer, sign: () => signer.sign(randomBytes(9)) }
    await expect(gather(checked(sign(clearSign, wrong), wrong))).rejects.toMatchObject({
      code: 'ERR_SELF_CHECK',
      persistence: 'transient',
    })
  })
})

describe('memory', () => {
  test.each(FORMS)('of a large message is not held: %s', async (_form, form) => {
    const chunk = Buffer.alloc(65_536, `${'x'.repeat(74)}\r\n`)
    const total = 1600
    const large = async function* () {
      for (let count = 0; count < total; count++) yield chunk
    }
    let size = 0
    const before = process.memoryUsage.rss()
    for await (const octets of checked(form(large(), signer, { signingTime: TIME }), signer))
      size += octets.length
    expect(size).toBeGreaterThan(total * chunk.length)
    expect(process.memoryUsage.rss() - before).toBeLessThan(80 * 2 ** 20)
  })
})

function sign(form: typeof opaqueSign, by: Signer): AsyncGenerator<Buffer, void, undefined> {
  return form(streamed(ENTITY), by, { signingTime: TIME })
}

function replaced(from: string, to: string): Buffer {
  expect(clear.includes(from)).toBe(true)
  return Buffer.from(clear.toString('latin1').replace(from, to), 'latin1')
}

/** Brings every octet in turn to another value of the same kind; where that is not noticed. */
async function unnoticed(whole: Buffer, from: number): Promise<number[]> {
  const disposition = whole.indexOf('Content-Disposition', from)
  const dispositionEnd = whole.indexOf('\r\n', disposition)
  const offsets: number[] = []
  for (let at = from; at < whole.length; at++) {
    // The name of the attachment is for people; nothing depends on it. Nor on the bits that the last
    // group of base64 has over.
    if (disposition >= 0 && at >= disposition && at < dispositionEnd) continue
    if (whole[at + 1] === EQUALS || whole[at] === EQUALS) continue
    const altered = Buffer.from(whole)
    altered[at]! ^= 1
    if ((await verdict(altered)) !== REFUSED) offsets.push(at)
  }
  return offsets
}

/** Code of the error of the check; undefined where it lets the octets pass. */
async function verdict(octets: Buffer): Promise<unknown> {
  try {
    for await (const chunk of checked(streamed(octets), signer)) void chunk
    return undefined
  } catch (error) {
    return error instanceof PosternError ? error.code : error
  }
}

async function* streamed(octets: Buffer, sizes: readonly number[] = [700]) {
  for (let start = 0, index = 0; start < octets.length; index++) {
    const size = sizes[index % sizes.length]!
    yield octets.subarray(start, start + size)
    start += size
  }
}

async function list(chunks: AsyncIterable<Buffer>): Promise<Buffer[]> {
  const gathered: Buffer[] = []
  for await (const chunk of chunks) gathered.push(chunk)
  return gathered
}
