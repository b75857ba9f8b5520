/**
 * Unwrapping by a private key: the content key, or a random one, and never a word about why.
 */
import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { DerReader, readBitString } from '../../src/crypto/asn1/der-reader.ts'
import { type KeyAgreementInfo, unwrapperFor } from '../../src/crypto/key.ts'
import {
  agree,
  type KeyAgreement,
  keyManagementFor,
  transportKey,
  wrapKey,
  x963,
} from '../../src/crypto/key-management.ts'
import type { AgreementScheme } from '../../src/crypto/unwrap.ts'
import { makeRecipients, type Recipient, type Recipients } from '../support/recipients.ts'

const CONTENT_KEY = randomBytes(24)
const SHARED_INFO = Buffer.from('what both sides know')
const P_256 = '1.2.840.10045.3.1.7'
const P_384 = '1.3.132.0.34'
const RECIPIENT = { kind: 'key-identifier', keyIdentifier: Buffer.from('somebody') } as const

let people: Recipients

beforeAll(async () => {
  people = await makeRecipients(['rsa-2048', 'p-256', 'x25519'])
})

describe('key agreement', () => {
  test.each([16, 24, 32])('a wrap of %i octets is of any size that fits', async octets => {
    const one = people.of('p-256')
    expect(await unwrapped(one, await agreement(one, octets))).toEqual(CONTENT_KEY)
  })

  test('by X25519, derived as on the other curves', async () => {
    const one = people.of('x25519')
    expect(await unwrapped(one, await agreement(one, 32))).toEqual(CONTENT_KEY)
  })

  test('B12 the curve that the sender names is the recipient’s, or it is none', async () => {
    const one = people.of('p-256')
    const info = await agreement(one, 32)
    const named = (curve: string) => ({ ...info, originator: { ...info.originator, curve } })
    expect(await unwrapped(one, named(P_256))).toEqual(CONTENT_KEY)
    expect(await unwrapped(one, named(P_384))).not.toEqual(CONTENT_KEY)
  })

  test('B12 a key of another kind is none', async () => {
    const one = people.of('p-256')
    const info = await agreement(one, 32)
    const originator = { ...info.originator, type: 'x25519' } as const
    expect(await unwrapped(one, { ...info, originator })).not.toEqual(CONTENT_KEY)
  })

  test('B5 what fails yields as many random octets as were asked for', async () => {
    const one = people.of('p-256')
    const info = await agreement(one, 32)
    info.encryptedKey[3]! ^= 1
    const [first, second] = [await unwrapped(one, info), await unwrapped(one, info)]
    expect([first.length, second.length]).toEqual([24, 24])
    expect(first).not.toEqual(second)
  })

  test('B5 a key of another size than the cipher’s is no key', async () => {
    const one = people.of('p-256')
    const info = await agreement(one, 32)
    const key = await unwrapperFor(one.certificate, one.privateKey).unwrap(info, 16)
    expect(key.length).toBe(16)
    expect(key).not.toEqual(CONTENT_KEY.subarray(0, 16))
  })
})

describe('key transport', () => {
  test('by every way that there is', async () => {
    const one = people.of('rsa-2048')
    for (const way of ['rsa-pkcs1', 'rsa-oaep-sha-256', 'rsa-oaep-sha-1'] as const) {
      const management = keyManagementFor(one.certificate.publicKey, way)
      if (management.kind !== 'key-transport') throw new Error('RSA is no key agreement')
      const encryptedKey = transportKey(one.certificate.publicKey, management, CONTENT_KEY)
      const { name } = management
      const oaep = management.oaep && { ...management.oaep, labelOctets: Buffer.alloc(0) }
      const key = await unwrapperFor(one.certificate, one.privateKey).unwrap(
        { kind: 'key-transport', recipient: RECIPIENT, scheme: { name, oaep }, encryptedKey },
        CONTENT_KEY.length,
      )
      expect(key).toEqual(CONTENT_KEY)
    }
  })

  test('B5 a private key of another kind is no reason to speak', async () => {
    const [one, other] = [people.of('rsa-2048'), people.of('x25519')]
    const scheme = { name: 'rsa-pkcs1', oaep: undefined }
    const info = { kind: 'key-transport', recipient: RECIPIENT, scheme } as const
    const encryptedKey = randomBytes(256)
    const unwrapper = unwrapperFor(one.certificate, other.privateKey)
    expect((await unwrapper.unwrap({ ...info, encryptedKey }, 32)).length).toBe(32)
  })
})

function unwrapped({ certificate, privateKey }: Recipient, info: KeyAgreementInfo) {
  return unwrapperFor(certificate, privateKey).unwrap(info, CONTENT_KEY.length)
}

/** What a sender makes who derives by X9.63 with SHA-256. */
async function agreement(
  { certificate }: Recipient,
  keyEncryptionKeyOctets: number,
): Promise<KeyAgreementInfo> {
  const { publicKey } = certificate
  const management = keyManagementFor(publicKey, 'rsa-pkcs1') as KeyAgreement
  const { ephemeralPublicKey, secret } = await agree(publicKey, management)
  const info = new DerReader(ephemeralPublicKey.export({ format: 'der', type: 'spki' })).into(0x30)
  info.element(0x30)
  const point = readBitString(info.element(0x03))
  const scheme: AgreementScheme = {
    name: 'ecdh-sha-256',
    derivation: 'x963',
    digest: 'sha256',
    keyEncryptionKeyOctets,
    sharedInfo: SHARED_INFO,
  }
  const keyEncryptionKey = x963('sha256', secret, SHARED_INFO, keyEncryptionKeyOctets)
  return {
    kind: 'key-agreement',
    recipient: RECIPIENT,
    scheme,
    originator: { type: management.keyType, curve: undefined, point },
    encryptedKey: wrapKey(keyEncryptionKey, CONTENT_KEY),
  }
}
