/**
 * Layers taken off from the outside in, and only those at the root.
 */
import { generateKeyPairSync } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { signatureAlgorithmFor, signOctets } from '../../../src/crypto/algorithms.ts'
import {
  context,
  integer,
  octetString,
  oid,
  sequence,
} from '../../../src/crypto/asn1/der-writer.ts'
import { contentCipher } from '../../../src/crypto/content-encryption.ts'
import { type KeyUnwrapper, type Signer, unwrapperFor } from '../../../src/crypto/key.ts'
import { keyManagementFor } from '../../../src/crypto/key-management.ts'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { envelop } from '../../../src/crypto/smime/envelop.ts'
import { type Layers, readLayers } from '../../../src/crypto/smime/layers.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import { parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { issue } from '../../../src/crypto/x509/issue.ts'
import type { ValidCertificate } from '../../../src/crypto/x509/valid-certificate.ts'
import { base64Lines } from '../../../src/mail/base64.ts'
import { ContentWriter, contentOf, contentStore } from '../../../src/mail/content.ts'
import { walk } from '../../../src/mail/entity.ts'
import { gather, once } from '../../support/chunks.ts'
import { lifetime } from '../../support/identity-folder.ts'

const TEXT = Buffer.from('Content-Type: text/plain\r\n\r\nFor you.\r\n')
const STORE = contentStore({ memoryPerMessageOctets: 65_536, memoryOctets: 1_048_576 })

let signer: Signer
let certificate: ValidCertificate<'encrypt'>
let key: KeyUnwrapper
let read: Layers[] = []

beforeAll(async () => {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const issued = await issue({
    ...lifetime(),
    commonName: 'Ann',
    addresses: ['ann@example.test'],
    key: pair,
  })
  certificate = parseCertificate(issued.der) as ValidCertificate<'encrypt'>
  const algorithm = signatureAlgorithmFor(certificate.publicKey, {})
  signer = {
    certificate,
    path: [],
    algorithm,
    sign: octets => signOctets(pair.privateKey, algorithm, octets),
  }
  key = unwrapperFor(certificate, pair.privateKey)
})

/** Frees all that was read, of which nothing may be left in memory. */
afterEach(() => {
  for (const layers of read) layers.dispose()
  read = []
  if (STORE.heldOctets > 0) throw new Error(`${STORE.heldOctets} octets are still held`)
})

describe('layers', () => {
  test('B35 a triple wrap: signed, encrypted, signed', async () => {
    const message = await clear(await encrypted(await opaque(TEXT)))
    expect(kinds(await layersOf(message))).toEqual(['signed', 'opened', 'signed'])
    expect(await innermost(message)).toBe('For you.')
  })

  test('a signature in an encryption, with either format', async () => {
    for (const sign of [clear, opaque]) {
      const message = await encrypted(await sign(TEXT), 'aes-256-gcm')
      expect(kinds(await layersOf(message))).toEqual(['opened', 'signed'])
      expect(await innermost(message)).toBe('For you.')
    }
  })

  test('a compressed entity in an encryption', async () => {
    const message = await encrypted(compressed(TEXT))
    expect(kinds(await layersOf(message))).toEqual(['opened', 'compressed:inflated'])
    expect(await innermost(message)).toBe('For you.')
  })

  test('B1 nothing is opened without a key, or without a wish', async () => {
    const message = await encrypted(TEXT)
    expect(kinds(await layersOf(message, { keys: [] }))).toEqual(['no-key'])
    expect(kinds(await layersOf(message, { decrypt: false }))).toEqual(['left'])
  })

  test('B2 a part beside others is no layer', async () => {
    const part = (await encrypted(TEXT)).toString('latin1')
    const message = Buffer.from(
      [
        'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n',
        `<img src="http://evil.test/\r\n--b\r\n${part}\r\n--b\r\nContent-Type: text/html\r\n\r\n">\r\n--b--\r\n`,
      ].join(''),
    )
    expect(kinds(await layersOf(message))).toEqual([])
  })

  test('B25 what it is tells the object identifier, whatever the label', async () => {
    const message = (await encrypted(TEXT)).toString('latin1')
    const body = message.slice(message.indexOf('\r\n\r\n'))
    for (const type of [
      'application/octet-stream; name=smime.p7m',
      'application/x-pkcs7-mime; smime-type=signed-data',
      'application/pkcs7-mime',
    ]) {
      const relabelled = `Content-Type: ${type}\r\nContent-Transfer-Encoding: base64${body}`
      expect(kinds(await layersOf(Buffer.from(relabelled, 'latin1')))).toEqual(['opened'])
    }
    const other = `Content-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64${body}`
    expect(kinds(await layersOf(Buffer.from(other, 'latin1')))).toEqual([])
  })

  test('B26 what says that it is signed and cannot be read is no message without a signature', async () => {
    const message = Buffer.from(
      'Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nnothing\r\n',
    )
    expect(kinds(await layersOf(message))).toEqual(['malformed'])
  })

  test('B33 two readers who would read two types: nothing is opened', async () => {
    const message = Buffer.concat([
      Buffer.from('Content-Type: text/plain\r\n'),
      await encrypted(TEXT),
    ])
    expect(kinds(await layersOf(message))).toEqual([])
    const twice = (await encrypted(TEXT)).toString('latin1').replace(' name=', ' name=a; name=')
    expect(kinds(await layersOf(Buffer.from(twice, 'latin1')))).toEqual(['unfit:structure'])
  })

  test('B34 B50 line ends in what was encrypted are mended, or it stays closed', async () => {
    const bare = Buffer.from('Content-Type: text/plain\n\nFor\n you.\n')
    expect(await innermost(await encrypted(bare))).toBe('For\r\n you.')
    for (const evil of ['a\rb', 'a\0b', '\r\n.\r\rMAIL FROM'])
      expect(
        kinds(
          await layersOf(await encrypted(Buffer.from(`Content-Type: text/plain\r\n\r\n${evil}`))),
        ),
      ).toEqual(['unfit:line-ends'])
  })

  test('B58 no more than six layers', async () => {
    let message: Buffer = TEXT
    for (let count = 0; count < 6; count++) message = await opaque(message)
    expect((await layersOf(message)).stopped).toBeUndefined()
    const more = await layersOf(await opaque(message))
    expect(more.layers.length).toBe(6)
    expect(more.stopped).toBe('too-many-layers')
  })
})

async function layersOf(
  message: Buffer,
  options: { readonly keys?: readonly KeyUnwrapper[]; readonly decrypt?: boolean } = {},
): Promise<Layers> {
  const content = contentOf(message)
  const layers = await readLayers(
    { content, entity: await walk(content) },
    {
      keys: [key],
      decrypt: true,
      tripleDes: false,
      hold: () => new ContentWriter(STORE),
      inflatedOctets: 1_048_576,
      ...options,
    },
  )
  read.push(layers)
  return layers
}

function kinds({ layers }: Layers): readonly string[] {
  return layers.map(kindOf)
}

function kindOf(layer: Layers['layers'][number]): string {
  if (layer.kind === 'compressed') return `compressed:${layer.outcome}`
  if (layer.kind === 'signed') return layer.signature.kind
  return layer.opening.kind === 'unfit' ? `unfit:${layer.opening.reason}` : layer.opening.kind
}

async function innermost(message: Buffer): Promise<string> {
  const { content, entity } = (await layersOf(message)).places.at(-1)!
  return (await gather(content.read(entity.bodyStart, entity.end))).toString().trim()
}

function clear(entity: Buffer): Promise<Buffer> {
  return gather(clearSign(once(entity), signer, { signingTime: undefined }))
}

function opaque(entity: Buffer): Promise<Buffer> {
  return gather(opaqueSign(once(entity), signer, { signingTime: undefined }))
}

function encrypted(
  entity: Buffer,
  cipher: 'aes-128-cbc' | 'aes-256-gcm' = 'aes-128-cbc',
): Promise<Buffer> {
  const management = keyManagementFor(certificate.publicKey, 'rsa-pkcs1')
  return gather(
    envelop(once(entity), [{ certificate, management }], { content: contentCipher(cipher) }),
  )
}

/** RFC 3274 §1.1. */
function compressed(entity: Buffer): Buffer {
  const algorithm = sequence(oid('1.2.840.113549.1.9.16.3.8'))
  const content = sequence(
    oid('1.2.840.113549.1.7.1'),
    context(0, octetString(deflateSync(entity))),
  )
  const info = sequence(
    oid('1.2.840.113549.1.9.16.1.9'),
    context(0, sequence(integer(0), algorithm, content)),
  )
  const type = 'application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z'
  const head = `Content-Type: ${type}\r\nContent-Transfer-Encoding: base64\r\n\r\n`
  return Buffer.concat([Buffer.from(head), base64Lines(info)])
}
