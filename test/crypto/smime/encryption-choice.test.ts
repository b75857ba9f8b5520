/** Which algorithms a recipient gets, and who may share a message. */
import { beforeAll, describe, expect, test } from 'vitest'
import * as OID from '../../../src/crypto/cms/oids.ts'
import {
  type EncryptionProfile,
  encryptionFor,
  strengthKey,
} from '../../../src/crypto/smime/encryption-choice.ts'
import { makeRecipients, type RecipientKind, type Recipients } from '../../support/recipients.ts'

const TRIPLE_DES = '1.2.840.113549.3.7'
const RC2 = '1.2.840.113549.3.2'
const UNKNOWN = '1.2.3.4'

let people: Recipients

beforeAll(async () => {
  people = await makeRecipients(['rsa-2048', 'p-256', 'p-384', 'x25519'])
})

describe('of whom nothing is known', () => {
  test.each([
    ['compatible', 'rsa-2048', 'aes-256-cbc', 'rsa-pkcs1'],
    ['compatible', 'p-256', 'aes-256-cbc', 'ecdh-sha-256'],
    ['compatible', 'p-384', 'aes-256-cbc', 'ecdh-sha-384'],
    ['modern', 'rsa-2048', 'aes-256-gcm', 'rsa-oaep-sha-256'],
    ['modern', 'x25519', 'aes-256-gcm', 'x25519-hkdf-sha-256'],
    ['edi-energy', 'rsa-2048', 'aes-256-cbc', 'rsa-oaep-sha-256'],
    ['edi-energy', 'p-256', 'aes-256-cbc', 'ecdh-sha-256'],
  ] as const)('%s %s: %s by %s', (profile, kind, content, management) => {
    expect(chosen(profile, kind)).toEqual([content, management, 'issuer-and-serial'])
  })
})

describe('who has advertised (RFC 8551 §2.7.1)', () => {
  test.each([
    ['compatible', [OID.AES_128_CBC, OID.AES_256_CBC], 'aes-128-cbc'],
    ['compatible', [TRIPLE_DES, OID.AES_192_CBC], 'aes-192-cbc'],
    ['compatible', [OID.AES_256_GCM, OID.AES_256_CBC], 'aes-256-gcm'],
    ['compatible', [UNKNOWN, OID.AES_192_GCM, OID.AES_128_GCM], 'aes-128-gcm'],
    ['modern', [OID.AES_256_CBC, OID.AES_128_GCM], 'aes-128-gcm'],
    ['modern', [OID.AES_128_CBC], 'aes-128-cbc'],
    ['edi-energy', [OID.AES_128_CBC, OID.AES_256_GCM], 'aes-256-gcm'],
    ['edi-energy', [OID.AES_128_CBC], 'aes-128-cbc'],
  ] as const)('%s, %j: %s', (profile, capabilities, content) => {
    expect(chosen(profile, 'rsa-2048', capabilities)[0]).toBe(content)
  })

  test.each([
    ['compatible', 'aes-256-cbc'],
    ['modern', 'aes-256-gcm'],
    ['edi-energy', 'aes-256-cbc'],
  ] as const)('B13 %s: who asks for weak ciphers alone gets %s', (profile, content) => {
    for (const weak of [[TRIPLE_DES], [RC2, TRIPLE_DES], [UNKNOWN], []])
      expect(chosen(profile, 'rsa-2048', weak)[0]).toBe(content)
  })
})

describe('B70 one weak recipient does not lower the message of another', () => {
  const key = (profile: EncryptionProfile, kind: RecipientKind, capabilities?: string[]) =>
    strengthKey(encryptionFor(people.of(kind).certificate, profile, capabilities))

  test('other ciphers are other messages', () => {
    expect(key('modern', 'rsa-2048')).not.toBe(key('modern', 'rsa-2048', [OID.AES_128_CBC]))
    expect(key('modern', 'rsa-2048')).not.toBe(key('modern', 'rsa-2048', [OID.AES_128_GCM]))
  })

  test('PKCS #1 v1.5 stays away from OAEP and from elliptic curves', () => {
    expect(key('compatible', 'rsa-2048')).not.toBe(key('compatible', 'p-256'))
    expect(key('compatible', 'rsa-2048')).not.toBe(key('edi-energy', 'rsa-2048'))
  })

  test('what is as strong goes together', () => {
    expect(key('modern', 'rsa-2048')).toBe(key('modern', 'x25519'))
    expect(key('modern', 'rsa-2048')).toBe(key('compatible', 'p-256', [OID.AES_256_GCM]))
    expect(key('compatible', 'p-256')).toBe(key('edi-energy', 'rsa-2048'))
  })
})

function chosen(
  profile: EncryptionProfile,
  kind: RecipientKind,
  capabilities?: readonly string[],
): readonly string[] {
  const { certificate } = people.of(kind)
  const { content, management, keyIdentification } = encryptionFor(
    certificate,
    profile,
    capabilities,
  )
  return [content.name, management.name, keyIdentification]
}
