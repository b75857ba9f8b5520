/**
 * Revocation services that answer, lie, are silent or slow, and what is remembered of them.
 *
 * @module
 */

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Fetch, fetcher } from '../../src/certstore/fetch.ts'
import { onlineRevocation } from '../../src/certstore/online-revocation.ts'
import { context, oid, sequence, tlv } from '../../src/crypto/asn1/der-writer.ts'
import type { Certificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem } from '../../src/crypto/x509/issue.ts'
import { validatePath } from '../../src/crypto/x509/path.ts'
import type { RevocationAnswers } from '../../src/crypto/x509/revocation.ts'
import { PosternError } from '../../src/errors.ts'
import {
  basicConstraints,
  emailProtection,
  extension,
  keyUsage,
  makeCertificate,
  makeKey,
  name,
} from '../crypto/make-certificate.ts'
import { noOpenssl, openssl, temporaryFolder } from '../crypto/openssl.ts'
import { crlEntry, makeCrlDer, serialOf } from '../crypto/x509/make-crl.ts'

const OCSP = 'http://ocsp.example.test/'
const LIST = 'http://crl.example.test/list.crl'
const HOUR_MS = 3_600_000
const key = makeKey('P-256')
const CA = name('Authority')
const folder = temporaryFolder()
const asked: string[] = []
let anchor: Certificate
let listed: Certificate
let both: Certificate
let answer: (url: string, body: Buffer | undefined) => Promise<Buffer>
let revocation: RevocationAnswers
let later = 0
const clock = (): number => Date.now() + later

const fetch: Fetch = (url, { body }) => {
  asked.push(url)
  return answer(url, body?.octets)
}

beforeAll(async () => {
  anchor = await makeCertificate({
    ...{ key, subject: CA },
    extensions: [basicConstraints(true), keyUsage(5, 6)],
  })
  listed = await user(1, [distributionPoint(LIST)])
  both = await user(2, [distributionPoint(LIST), responder(OCSP)])
})

beforeEach(() => {
  asked.length = 0
  later = 0
  revocation = onlineRevocation({ fetch, clock })
})

afterAll(() => folder.remove())

describe('revocation lists', () => {
  test('B44 a revoked certificate fails, and the list is fetched once for all', async () => {
    answer = () => list([1])
    for (let time = 0; time < 3; time++)
      expect(await outcome(listed)).toMatchObject({ kind: 'invalid', reason: 'revoked' })
    expect(asked).toEqual([LIST])
  })

  test('good', async () => {
    answer = () => list([9])
    expect(await outcome(listed)).toMatchObject({ kind: 'valid' })
  })

  test('many questions at once are one', async () => {
    answer = () => list([])
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(listed)))
    expect(outcomes.every(({ kind }) => kind === 'valid')).toBe(true)
    expect(asked).toEqual([LIST])
  })

  test.each<[string, () => Promise<Buffer>]>([
    ['down', () => Promise.reject(new PosternError('ERR_FETCH_FAILED', 'transient', 'no answer'))],
    ['rubbish', async () => Buffer.from('<html>')],
    ['forged', () => list([], makeKey('P-256'))],
    ['stale', () => list([], key, new Date(Date.now() - HOUR_MS))],
  ])('B43 R10 %s: unknown, never good, and not asked again at once', async (_, page) => {
    answer = page
    for (let time = 0; time < 3; time++)
      expect(await outcome(listed)).toMatchObject({ kind: 'unknown' })
    expect(asked).toEqual([LIST])
  })

  test('a forged list with a long life is asked for again in a minute', async () => {
    answer = () => list([], makeKey('P-256'))
    expect(await outcome(listed)).toMatchObject({ kind: 'unknown' })
    later = 61_000
    answer = () => list([1])
    expect(await outcome(listed)).toMatchObject({ reason: 'revoked' })
  })

  test('B41 nothing is asked for a certificate that leads to no anchor', async () => {
    answer = () => list([])
    const stranger = await makeCertificate({
      ...{
        key: makeKey('P-256'),
        subject: name('Stranger'),
        issuer: CA,
        issuerKey: makeKey('P-256'),
      },
      extensions: [keyUsage(0), emailProtection(), distributionPoint(LIST)],
    })
    expect(await outcome(stranger)).toMatchObject({ kind: 'invalid', reason: 'signature-invalid' })
    expect(asked).toEqual([])
  })

  test('nobody is named', async () => {
    expect(await outcome(await user(3, []))).toMatchObject({ kind: 'unknown', why: 'no-answer' })
    expect(await outcome(await user(4, [distributionPoint('ldap://x/')]))).toMatchObject({
      kind: 'unknown',
    })
    expect(asked).toEqual([])
  })
})

describe.skipIf(noOpenssl)(`OCSP${noOpenssl ?? ''}`, () => {
  test('B42 asked first, and remembered', async () => {
    answer = async (_, body) => ocsp('R', body!)
    for (let time = 0; time < 3; time++)
      expect(await outcome(both)).toMatchObject({ kind: 'invalid', reason: 'revoked' })
    expect(asked).toEqual([OCSP])
    revocation = onlineRevocation({ fetch })
    answer = async (_, body) => ocsp('V', body!)
    expect(await outcome(both)).toMatchObject({ kind: 'valid' })
  })

  test('B43 the list is asked where the responder does not answer', async () => {
    answer = async url => {
      if (url === OCSP) throw new PosternError('ERR_FETCH_TIMEOUT', 'transient', 'no answer')
      return list([2])
    }
    expect(await outcome(both)).toMatchObject({ kind: 'invalid', reason: 'revoked' })
    expect(asked).toEqual([OCSP, LIST])
  })

  test('B42 an answer to another question is replayed', async () => {
    let first: Buffer | undefined
    answer = async (url, body) => {
      if (url === LIST) throw new PosternError('ERR_FETCH_FAILED', 'transient', 'no answer')
      first ??= ocsp('V', body!)
      return first
    }
    expect(await outcome(both)).toMatchObject({ kind: 'valid' })
    revocation = onlineRevocation({ fetch })
    expect(await outcome(both)).toMatchObject({ kind: 'unknown' })
  })

  test('B42 an answer that does not stand is not kept for as long as it claims', async () => {
    answer = async (url, body) => {
      if (url === LIST) throw new PosternError('ERR_FETCH_FAILED', 'transient', 'no answer')
      const forged = ocsp('V', body!)
      // A second of producedAt: what was signed is another time.
      forged[forged.indexOf('Z') - 1]! ^= 1
      return forged
    }
    expect(await outcome(both)).toMatchObject({ kind: 'unknown' })
    later = 61_000
    answer = async (_, body) => ocsp('R', body!)
    expect(await outcome(both)).toMatchObject({ reason: 'revoked' })
  })
})

test('R10 over the wire: silent services cost five seconds together at most, and are unknown', async () => {
  const server = createServer(() => undefined)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const at = `http://silent.example.test:${port}/`
  const silent = await user(5, [distributionPoint(at), responder(at)])
  const means = { resolve: async () => ['127.0.0.1'], mayConnectTo: () => true }
  revocation = onlineRevocation({ fetch: fetcher(means) })
  const started = performance.now()
  expect(await outcome(silent)).toMatchObject({ kind: 'unknown', why: 'no-answer' })
  expect(performance.now() - started).toBeLessThan(5500)
  server.closeAllConnections()
  server.close()
})

function outcome(certificate: Certificate) {
  return validatePath(certificate, {
    ...{ anchors: [anchor], intermediates: [], time: new Date(), revocation },
  })
}

function user(number: number, extensions: readonly Buffer[]): Promise<Certificate> {
  return makeCertificate({
    ...{ key: makeKey('P-256'), subject: name(`User ${number}`), issuer: CA, issuerKey: key },
    serialNumber: serialOf(number),
    extensions: [keyUsage(0), emailProtection(), ...extensions],
  })
}

function distributionPoint(url: string): Buffer {
  const uri = tlv(0x86, Buffer.from(url))
  return extension('2.5.29.31', sequence(sequence(context(0, context(0, uri)))))
}

function responder(url: string): Buffer {
  const uri = tlv(0x86, Buffer.from(url))
  const access = sequence(oid('1.3.6.1.5.5.7.48.1'), uri)
  return extension('1.3.6.1.5.5.7.1.1', sequence(access))
}

function list(
  revoked: readonly number[],
  issuerKey = key,
  nextUpdate = new Date(Date.now() + HOUR_MS),
): Promise<Buffer> {
  const at = new Date(Date.now() - 2 * HOUR_MS)
  const entries = revoked.map(number => crlEntry(serialOf(number), at))
  return makeCrlDer({ issuer: CA, issuerKey, thisUpdate: at, nextUpdate, entries })
}

/** What OpenSSL answers for the certificate with both. */
function ocsp(state: 'V' | 'R', request: Buffer): Buffer {
  const serial = both.serialNumberHex.toUpperCase()
  const revoked = state === 'R' ? '261101120000Z' : ''
  const index = folder.write(
    'index',
    `${state}\t600101000000Z\t${revoked}\t${serial}\tunknown\t/CN=User\n`,
  )
  const pem = certificatePem(anchor.der)
  const signer = folder.write(
    'ca.pem',
    pem + key.privateKey.export({ format: 'pem', type: 'pkcs8' }),
  )
  const respout = `${folder.path}/response`
  openssl([
    ...['ocsp', '-index', index, '-CA', signer, '-rsigner', signer, '-rkey', signer, '-ndays', '1'],
    ...['-reqin', folder.write('request', request), '-respout', respout],
  ])
  return readFileSync(respout)
}
