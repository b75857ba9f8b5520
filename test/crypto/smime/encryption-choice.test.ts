/** Which algorithms a recipient gets, and who may share a message. */
import { beforeAll, describe, expect, test } from 'vitest'
import type { Capabilities } from '../../../src/crypto/cms/capabilities.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'
import {
  contentForAll,
  type EncryptionProfile,
  encryptionFor,
  strengthKey,
} from '../../../src/crypto/smime/encryption-choice.ts'
import { makeRecipients, type RecipientKind, type Recipients } from '../../support/recipients.ts'

const TRIPLE_DES = '1.2.840.113549.3.7'
const RC2 = '1.2.840.113549.3.2'
const UNKNOWN = '1.2.3.4'
const OAEP_SHA_256 =
  '302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500'

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
    ['compatible', [OID.AES_128_CBC, OID.AES_256_CBC], 'aes-256-cbc'],
    ['compatible', [TRIPLE_DES, OID.AES_192_CBC], 'aes-192-cbc'],
    ['compatible', [OID.AES_128_CBC], 'aes-128-cbc'],
    ['compatible', [OID.AES_256_CBC, OID.AES_128_GCM, OID.AES_256_GCM], 'aes-256-gcm'],
    ['compatible', [UNKNOWN, OID.AES_192_GCM, OID.AES_128_GCM], 'aes-128-gcm'],
    ['modern', [OID.AES_256_CBC, OID.AES_128_GCM], 'aes-128-gcm'],
    ['modern', [OID.AES_128_CBC], 'aes-128-cbc'],
    ['edi-energy', [OID.AES_128_CBC, OID.AES_256_GCM], 'aes-256-gcm'],
    ['edi-energy', [OID.AES_128_CBC], 'aes-128-cbc'],
  ] as const)('%s, %j: %s', (profile, capabilities, content) => {
    expect(chosen(profile, 'rsa-2048', capabilities)[0]).toBe(content)
  })

  test.each([
    ['compatible', OAEP_SHA_256, 'rsa-oaep-sha-256'],
    [
      'compatible',
      '302b300d06096086480165030402010500301a06092a864886f70d010108300d06096086480165030402010500',
      'rsa-oaep-sha-256',
    ],
    ['compatible', '3011a00f300d06096086480165030402010500', 'rsa-oaep-sha-256-mgf1-sha-1'],
    ['compatible', '3000', 'rsa-oaep-sha-1'],
    ['compatible', undefined, 'rsa-oaep-sha-1'],
    ['compatible', '0500', 'rsa-pkcs1'],
    ['compatible', '3011a00f300d06096086480165030402020500', 'rsa-pkcs1'],
    ['modern', '3000', 'rsa-oaep-sha-256'],
    ['edi-energy', '3000', 'rsa-oaep-sha-256'],
  ] as const)('%s, OAEP with parameters %s: %s', (profile, parameters, management) => {
    const { certificate } = people.of('rsa-2048')
    const capability = {
      oid: '1.2.840.113549.1.1.7',
      parameters: parameters === undefined ? undefined : Buffer.from(parameters, 'hex'),
    }
    const choice = encryptionFor(certificate, profile, [capability])
    expect(choice.management.name).toBe(management)
    const other = encryptionFor(certificate, profile, [{ ...capability, oid: UNKNOWN }])
    expect(other.management.name).toBe(profile === 'compatible' ? 'rsa-pkcs1' : 'rsa-oaep-sha-256')
  })

  test.each([
    ['p-384', ['1.3.132.1.11.1', '1.3.132.1.11.2'], 'ecdh-sha-384'],
    ['p-384', ['1.3.132.1.11.1'], 'ecdh-sha-256'],
    ['p-256', ['1.3.132.1.11.1', '1.3.132.1.11.3'], 'ecdh-sha-256'],
    ['p-256', [UNKNOWN], 'ecdh-sha-256'],
    ['x25519', ['1.3.132.1.11.1'], 'x25519-hkdf-sha-256'],
  ] as const)('%s, agreement by %j: %s', (kind, capabilities, management) => {
    expect(chosen('compatible', kind, capabilities)[1]).toBe(management)
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
    strengthKey(encryptionFor(people.of(kind).certificate, profile, asCapabilities(capabilities)))

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

test('several devices of one recipient: what the least of them reads', () => {
  const choices = [[OID.AES_256_GCM], undefined, [OID.AES_256_GCM, OID.AES_128_CBC]].map(oids =>
    encryptionFor(people.of('rsa-2048').certificate, 'compatible', asCapabilities(oids)),
  )
  expect(contentForAll(choices).name).toBe('aes-256-cbc')
  expect(contentForAll(choices.slice(0, 1)).name).toBe('aes-256-gcm')
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
    asCapabilities(capabilities),
  )
  return [content.name, management.name, keyIdentification]
}

function asCapabilities(oids: readonly string[] = []): Capabilities {
  return oids.map(oid => ({ oid, parameters: undefined }))
}
