/** Whether what calls itself signed or encrypted is built like it. @module */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Signer } from '../../../src/crypto/key.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import { protectionOf } from '../../../src/crypto/smime/protection.ts'
import { base64Lines } from '../../../src/mail/base64.ts'
import { walk } from '../../../src/mail/entity.ts'
import { held } from '../../mail/held.ts'
import { each, gather } from '../../support/chunks.ts'
import { makePki } from '../make-certificate.ts'
import { noOpenssl, openssl, temporaryFolder } from '../openssl.ts'

const corpora =
  process.env['POSTERN_CORPORA'] ?? join(import.meta.dirname, '../../../../shared/corpora')
const noCorpora = existsSync(join(corpora, 'INDEX.json')) ? '' : ` (skipped: no corpora)`
const ENTITY = Buffer.from('Content-Type: text/plain\r\n\r\nwords\r\n')

let signer: Signer
let clear: string
let opaque: string
beforeAll(async () => {
  const pki = await makePki()
  signer = await pki.signer('alice', 'P-256')
  const options = { signingTime: undefined, boundary: 'b' }
  clear = (await gather(clearSign(each([ENTITY]), signer, options))).toString('latin1')
  opaque = (await gather(opaqueSign(each([ENTITY]), signer, options))).toString('latin1')
})

/** `smime signed`, `pgp encrypted`, or `nothing`; the same however the octets are cut. */
async function protection(message: string | Buffer): Promise<string> {
  const verdicts = new Set<string>()
  for (const chunkOctets of [65_536, 7]) {
    const content = held(message, chunkOctets)
    const found = await protectionOf(content, await walk(content))
    verdicts.add(found ? `${found.by} ${found.kind}` : 'nothing')
  }
  return [...verdicts].join(', then ')
}

const multipart = (type: string, ...parts: string[]): string =>
  `Content-Type: ${type}; boundary=b\r\n\r\n` +
  `${parts.map(part => `--b\r\n${part}\r\n`).join('')}--b--\r\n`

const TEXT = 'Content-Type: text/plain\r\n\r\nwords'
const SIGNED = 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256'
const PGP_SIGNATURE =
  'Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n' +
  '-----END PGP SIGNATURE-----'
const PGP_SIGNED = 'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha256'
const PGP_ENCRYPTED = 'multipart/encrypted; protocol="application/pgp-encrypted"'
const PGP_CONTROL = 'Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1'
const PGP_MESSAGE =
  'Content-Type: application/octet-stream\r\n\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQ==\r\n' +
  '-----END PGP MESSAGE-----'

test('what Postern signs is signed', async () => {
  expect(await protection(clear)).toBe('smime signed')
  expect(await protection(opaque)).toBe('smime signed')
  expect(await protection(clear.replaceAll('/pkcs7-sig', '/x-pkcs7-sig'))).toBe('smime signed')
  const mangled = opaque.replace(
    /^.*?smime-type=signed-data;/s,
    'Content-Type: application/octet-stream;',
  )
  expect(await protection(mangled)).toBe('smime signed')
})

test('OpenPGP is told by its armor', async () => {
  expect(await protection(multipart(PGP_SIGNED, TEXT, PGP_SIGNATURE))).toBe('pgp signed')
  expect(await protection(multipart(PGP_ENCRYPTED, PGP_CONTROL, PGP_MESSAGE))).toBe('pgp encrypted')
})

describe.skipIf(noOpenssl)(
  `what OpenSSL makes${noOpenssl ? ` (skipped: ${noOpenssl})` : ''}`,
  () => {
    const folder = temporaryFolder()
    let made: (...args: string[]) => Buffer
    beforeAll(() => {
      const [key, certificate] = [join(folder.path, 'key.pem'), join(folder.path, 'cert.pem')]
      const subject = ['-subj', '/CN=alice', '-days', '2', '-keyout', key, '-out', certificate]
      openssl(['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject])
      const input = folder.write('in.txt', ENTITY)
      made = (...args) =>
        Buffer.from(
          openssl([
            'cms',
            '-in',
            input,
            '-crlfeol',
            ...args.map(it => (it === 'KEY' ? key : it === 'CERT' ? certificate : it)),
          ])
            .toString('latin1')
            .replace(/\r?\n/g, '\r\n'),
          'latin1',
        )
      return () => folder.remove()
    })

    test.each([
      ['smime signed', ['-sign', '-signer', 'CERT', '-inkey', 'KEY']],
      ['smime signed', ['-sign', '-nodetach', '-stream', '-signer', 'CERT', '-inkey', 'KEY']],
      ['smime signed', ['-sign', '-nodetach', '-signer', 'CERT', '-inkey', 'KEY']],
      ['smime encrypted', ['-encrypt', '-aes256', 'CERT']],
      ['smime encrypted', ['-encrypt', '-stream', '-aes-256-gcm', 'CERT']],
      ['nothing', ['-data_create']],
    ])('%s: %j', async (verdict, args) => {
      expect(await protection(made(...args))).toBe(verdict)
    })
  },
)

test('a label alone is nothing', async () => {
  const [, body] = clear.split(/\r\n--b\r\nContent-Type: application\/pkcs7-signature/) as [
    string,
    string,
  ]
  const signature = `Content-Type: application/pkcs7-signature${body.slice(0, body.indexOf('\r\n--b--'))}`
  const label = 'application/pkcs7-mime; smime-type='
  const fakes: Record<string, string> = {
    'no parts': `Content-Type: ${SIGNED}; boundary=b\r\n\r\nwords\r\n`,
    'no boundary': `Content-Type: ${SIGNED}\r\n\r\nwords\r\n`,
    'one part': multipart(SIGNED, TEXT),
    'two texts': multipart(SIGNED, TEXT, TEXT),
    'three parts': multipart(SIGNED, TEXT, signature, TEXT),
    'signature first': multipart(SIGNED, signature, TEXT),
    'no protocol': multipart('multipart/signed', TEXT, signature),
    'protocol of the other kind': multipart(PGP_SIGNED, TEXT, signature),
    'a protocol that nobody knows': multipart(
      'multipart/signed; protocol="text/plain"',
      TEXT,
      TEXT,
    ),
    'empty signature': multipart(SIGNED, TEXT, 'Content-Type: application/pkcs7-signature\r\n\r\n'),
    'words as signature': multipart(
      SIGNED,
      TEXT,
      'Content-Type: application/pkcs7-signature\r\n\r\nhello',
    ),
    'half a signature': multipart(SIGNED, TEXT, signature.slice(0, -400)),
    'no armor': multipart(PGP_SIGNED, TEXT, 'Content-Type: application/pgp-signature\r\n\r\nx'),
    'no PGP version': multipart(PGP_ENCRYPTED, TEXT, PGP_MESSAGE),
    'no PGP message': multipart(PGP_ENCRYPTED, PGP_CONTROL, TEXT),
    'encrypted by nobody': multipart('multipart/encrypted', PGP_CONTROL, PGP_MESSAGE),
    'enveloped words': `Content-Type: ${label}enveloped-data\r\n\r\nwords\r\n`,
    'signed words': `Content-Type: ${label}signed-data\r\n\r\nwords\r\n`,
    'nothing enveloped': `Content-Type: ${label}enveloped-data\r\n\r\n`,
    'two types': `Content-Type: text/plain\r\n${opaque}`,
    'a file': 'Content-Type: application/octet-stream; name=smime.p7m\r\n\r\nwords\r\n',
    plain: ENTITY.toString(),
  }
  // Each of them is one step away from one that counts.
  expect(await protection(multipart(SIGNED, TEXT, signature))).toBe('smime signed')
  for (const [name, fake] of Object.entries(fakes))
    expect([name, await protection(fake)]).toEqual([name, 'nothing'])
})

test.skipIf(noOpenssl)('certificates without a signer are no signature', async () => {
  const lines = base64Lines(signer.certificate.der).toString()
  const pem = Buffer.from(`-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`)
  const folder = temporaryFolder()
  const file = folder.write('cert.pem', pem)
  const certificates = openssl(['crl2pkcs7', '-nocrl', '-certfile', file, '-outform', 'DER'])
  folder.remove()
  expect(
    await protection(
      'Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n' +
        `Content-Transfer-Encoding: base64\r\n\r\n${certificates.toString('base64')}\r\n`,
    ),
  ).toBe('nothing')
})

describe.skipIf(noCorpora)(`messages that others have signed or encrypted${noCorpora}`, () => {
  test('are what they say', async () => {
    const files = globSync('{rfc4134,thunderbird}/**/*.eml', { cwd: corpora })
    for (const file of files) {
      const octets = readFileSync(join(corpora, file), 'latin1').replace(/\r?\n/g, '\r\n')
      const verdict = /\.env\.|5\.3/.test(file) ? 'smime encrypted' : 'smime signed'
      expect([file, await protection(octets)]).toEqual([file, verdict])
    }
    expect(files.length).toBeGreaterThan(10)
  })
})
