import { beforeAll, describe, expect, test } from 'vitest'
import { clearSign } from '../../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../../src/crypto/smime/opaque-sign.ts'
import {
  readSignature,
  type Signature,
  type SignedEntity,
} from '../../../src/crypto/smime/verify.ts'
import { ContentWriter, contentOf, contentStore } from '../../../src/mail/content.ts'
import { walk } from '../../../src/mail/entity.ts'
import { makePki, type Pki } from '../make-certificate.ts'

type Made = Awaited<ReturnType<Pki['signer']>>

const ENTITY = Buffer.from('Content-Type: text/plain; charset=us-ascii\r\n\r\nhello\r\nworld\r\n')
const TIME = new Date('2026-11-23T20:30:00Z')

let pki: Pki
let alice: Made

beforeAll(async () => {
  pki = await makePki()
  alice = await pki.signer('alice', 'P-256')
})

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
      expect(signature.signers[0]!.capabilities.length).toBe(6)
      expect(await insideOf(signature, message)).toEqual(ENTITY)
    }
  })
})

async function clear(entity: Buffer, signer: Made): Promise<Buffer> {
  return gather(clearSign(streamed(entity), signer, { signingTime: TIME, boundary: 'b' }))
}

async function opaque(entity: Buffer, signer: Made): Promise<Buffer> {
  return gather(opaqueSign(streamed(entity), signer, { signingTime: TIME }))
}

async function read(message: Buffer): Promise<Signature> {
  const content = contentOf(message)
  return readSignature(content, await walk(content), hold)
}

const store = contentStore()

function hold(): ContentWriter {
  return new ContentWriter(store)
}

function signed(signature: Signature): SignedEntity {
  expect(signature).toMatchObject({ kind: 'signed' })
  return signature as SignedEntity
}

async function insideOf({ inside }: SignedEntity, message: Buffer): Promise<Buffer> {
  if (inside.kind === 'part') return message.subarray(inside.start, inside.end)
  const octets = await gather(inside.content.read())
  inside.content.dispose()
  return octets
}

async function* streamed(octets: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (let start = 0; start < octets.length; start += 7) yield octets.subarray(start, start + 7)
}

async function gather(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const gathered: Buffer[] = []
  for await (const chunk of chunks) gathered.push(chunk)
  return Buffer.concat(gathered)
}
