/**
 * Getting content keys back: against Wycheproof, and against those who learn from failures.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, publicEncrypt } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { unwrapKey } from '../../src/crypto/key-management.ts'
import { decodeOaep, encodeOaep } from '../../src/crypto/oaep.ts'
import { type TransportScheme, transportedKey } from '../../src/crypto/unwrap.ts'
import { transportedKeyOnThread } from '../../src/crypto/unwrap-threads.ts'

const CORPUS = join(resolve(process.env['POSTERN_CORPORA'] ?? '../shared/corpora'), 'wycheproof')
const absent = existsSync(CORPUS) ? undefined : `skipped: no ${CORPUS}`
const why = absent ? ` (${absent})` : ''
const PKCS1: TransportScheme = { name: 'rsa-pkcs1', oaep: undefined }
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })

interface Group {
  readonly privateKeyPkcs8: string
  readonly sha?: string
  readonly mgfSha?: string
  readonly keySize: number
  readonly tests: readonly Vector[]
}

interface Vector {
  readonly tcId: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly [field: string]: unknown
}

describe('Wycheproof', () => {
  test.skipIf(absent).each(['rsa_pkcs1_2048_test.json', 'rsa_pkcs1_3072_test.json'])(
    `B5 %s: the message, or as many random octets${why}`,
    file => {
      const outcomes = groupsOf(file).flatMap(group => {
        const privateKey = keyOf(group)
        return group.tests.map(vector => outcomeOf(privateKey, PKCS1, vector))
      })
      expect([...new Set(outcomes)].toSorted()).toEqual(OUTCOMES)
    },
  )

  test
    .skipIf(absent)
    .each([
      'rsa_oaep_2048_sha1_mgf1sha1_test.json',
      'rsa_oaep_2048_sha256_mgf1sha1_test.json',
      'rsa_oaep_2048_sha256_mgf1sha256_test.json',
    ])(`B5 %s: the message, or as many random octets${why}`, file => {
    const outcomes = groupsOf(file).flatMap(group => {
      const privateKey = keyOf(group)
      return group.tests.map(vector => outcomeOf(privateKey, oaepOf(group, vector), vector))
    })
    expect([...new Set(outcomes)].toSorted()).toEqual(OUTCOMES)
  })

  test.skipIf(absent)(`rsa_oaep_misc_test.json: digests and labels of all kinds${why}`, () => {
    const known = groupsOf('rsa_oaep_misc_test.json').filter(
      ({ sha, mgfSha, keySize }) => DIGEST.has(sha!) && DIGEST.has(mgfSha!) && keySize <= 2048,
    )
    expect(known.length).toBeGreaterThan(20)
    for (const group of known) {
      const privateKey = keyOf(group)
      for (const vector of group.tests)
        expect(outcomeOf(privateKey, oaepOf(group, vector), vector), `${vector.tcId}`).toMatch(
          / right$/,
        )
    }
  })

  test.skipIf(absent)(`aes_wrap: unwrapped, or refused${why}`, () => {
    const vectors = groupsOf('aes_wrap_test.json').flatMap(({ tests }) => tests)
    const outcomes = vectors.map(vector => {
      try {
        const right = unwrapKey(hex(vector, 'key'), hex(vector, 'ct')).equals(hex(vector, 'msg'))
        return `${vector.result} ${right ? 'right' : 'WRONG'}`
      } catch {
        return `${vector.result} refused`
      }
    })
    expect([...new Set(outcomes)].toSorted()).toEqual(OUTCOMES_OF_WRAP)
  })
})

describe('OAEP', () => {
  const digests = { label: 'sha256', mask: 'sha1' } as const
  const label = Buffer.alloc(0)

  test('what is encoded is decoded, of every size that fits', () => {
    for (let size = 0; size <= 190; size++) {
      const message = Buffer.alloc(size, size)
      const decoded = decodeOaep(encodeOaep(message, 256, digests), digests, label)
      expect(decoded).toEqual({ message, good: 1 })
    }
  })

  test('B5 whichever octet is altered, it is not good', () => {
    const encoded = encodeOaep(Buffer.alloc(16, 7), 128, digests)
    for (let at = 0; at < encoded.length - 16; at++) {
      const altered = Buffer.from(encoded)
      altered[at]! ^= 0x40
      expect(decodeOaep(altered, digests, label).good, `octet ${at}`).toBe(0)
    }
    expect(decodeOaep(Buffer.from(encoded), digests, Buffer.from('label')).good).toBe(0)
  })

  test('no message begins', () => {
    const digest = Buffer.alloc(128)
    expect(decodeOaep(digest, digests, label).good).toBe(0)
    expect(() => decodeOaep(Buffer.alloc(65), digests, label)).toThrow(RangeError)
  })
})

describe('a random key in the place of one that was not there', () => {
  test('B5 of the size asked for, and another each time', () => {
    const encryptedKey = encrypted(Buffer.alloc(32, 1))
    for (const contentKeyOctets of [16, 24]) {
      const question = { privateKey: RSA.privateKey, scheme: PKCS1, encryptedKey, contentKeyOctets }
      const [one, other] = [transportedKey(question), transportedKey(question)]
      expect(one.length).toBe(contentKeyOctets)
      expect(one).not.toEqual(other)
      // Nothing of the key that was there shows in it.
      expect(one.filter(octet => octet === 1).length).toBeLessThan(6)
    }
  })

  test('B5 E2 implicit rejection yields octets of some size, and never the same key twice', () => {
    for (let index = 0; index < 100; index++) {
      const encryptedKey = Buffer.alloc(256, index)
      const question = {
        privateKey: RSA.privateKey,
        scheme: PKCS1,
        encryptedKey,
        contentKeyOctets: 16,
      }
      expect(transportedKey(question).length).toBe(16)
    }
  })
})

describe('threads', () => {
  test('answer each question with its own key, however many are asked at once', async () => {
    const keys = Array.from({ length: 100 }, (_, index) => Buffer.alloc(32, index))
    const answers = await Promise.all(
      keys.map(key =>
        transportedKeyOnThread({
          privateKey: RSA.privateKey,
          scheme: PKCS1,
          encryptedKey: encrypted(key),
          contentKeyOctets: 32,
        }),
      ),
    )
    expect(answers).toEqual(keys)
  })

  test('leave the event loop alone', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 4096 })
    const encryptedKey = publicEncrypt({ key: publicKey, padding: 1 }, Buffer.alloc(32))
    const question = { privateKey, scheme: PKCS1, encryptedKey, contentKeyOctets: 32 }
    const before = performance.eventLoopUtilization()
    await Promise.all(Array.from({ length: 40 }, () => transportedKeyOnThread(question)))
    const { active, idle } = performance.eventLoopUtilization(before)
    expect(active).toBeLessThan(idle)
  })

  test('refuse where too many wait, and answer all that they took', async () => {
    const question = {
      privateKey: RSA.privateKey,
      scheme: PKCS1,
      // Of the wrong size, so that it costs nothing.
      encryptedKey: Buffer.alloc(1),
      contentKeyOctets: 16,
    }
    const answers = await Promise.allSettled(
      Array.from({ length: 3100 }, () => transportedKeyOnThread(question)),
    )
    const refused = answers.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBeGreaterThanOrEqual(98)
    expect(refused.length).toBeLessThanOrEqual(100)
    expect(refused[0]).toMatchObject({
      reason: { code: 'ERR_UNWRAP_UNAVAILABLE', persistence: 'transient' },
    })
  })

  test('that die are replaced, and who died with them twice is told so', async () => {
    const good = {
      privateKey: RSA.privateKey,
      scheme: PKCS1,
      encryptedKey: encrypted(Buffer.alloc(16, 9)),
      contentKeyOctets: 16,
    }
    // No size at all: it throws where no throw is expected.
    const deadly = { ...good, contentKeyOctets: -1 }
    const answers = await Promise.allSettled(
      [good, deadly, good, deadly, deadly, good].map(transportedKeyOnThread),
    )
    const told = answers.map(answer =>
      answer.status === 'fulfilled'
        ? answer.value.toString('hex')
        : (answer.reason as { code: string }).code,
    )
    const right = '09'.repeat(16)
    const lost = 'ERR_UNWRAP_UNAVAILABLE'
    expect(told).toEqual([right, lost, right, lost, lost, right])
  })
})

function encrypted(key: Buffer): Buffer {
  return publicEncrypt({ key: RSA.publicKey, padding: 1 }, key)
}

/** A key of the size of the message: right, or random, which two of them tell. */
function outcomeOf(privateKey: KeyObject, scheme: TransportScheme, vector: Vector): string {
  const message = hex(vector, 'msg')
  const contentKeyOctets = vector.result === 'invalid' ? 32 : message.length
  const question = { privateKey, scheme, encryptedKey: hex(vector, 'ct'), contentKeyOctets }
  const [one, other] = [transportedKey(question), transportedKey(question)]
  if (one.length !== contentKeyOctets) return `${vector.result} OF ANOTHER SIZE`
  if (one.equals(message)) return `${vector.result} right`
  return `${vector.result} ${one.equals(other) ? 'THE SAME' : 'random'}`
}

function oaepOf({ sha, mgfSha }: Group, vector: Vector): TransportScheme {
  const [label, mask] = [DIGEST.get(sha!)!, DIGEST.get(mgfSha!)!]
  return { name: 'rsa-oaep', oaep: { label, mask, labelOctets: hex(vector, 'label') } }
}

function keyOf({ privateKeyPkcs8 }: Group): KeyObject {
  return createPrivateKey({
    key: Buffer.from(privateKeyPkcs8, 'hex'),
    format: 'der',
    type: 'pkcs8',
  })
}

function groupsOf(file: string): readonly Group[] {
  const { testGroups } = JSON.parse(readFileSync(join(CORPUS, file), 'utf8')) as {
    testGroups: readonly Group[]
  }
  return testGroups
}

function hex(vector: Vector, field: string): Buffer {
  return Buffer.from(String(vector[field]), 'hex')
}

const DIGEST = new Map([
  ['SHA-1', 'sha1'],
  ['SHA-224', 'sha224'],
  ['SHA-256', 'sha256'],
  ['SHA-384', 'sha384'],
  ['SHA-512', 'sha512'],
] as const) as ReadonlyMap<string, 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512'>
const OUTCOMES = ['invalid random', 'valid right']
/** Doubtful are keys of 64 bits. */
const OUTCOMES_OF_WRAP = ['acceptable refused', 'invalid refused', 'valid right']
