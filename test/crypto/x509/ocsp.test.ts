/**
 * OCSP answers of the corpus, of OpenSSL, and such as nobody should believe.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { certificatePem, type Issued, identityPem, issue } from '../../../src/crypto/x509/issue.ts'
import {
  type OcspResponse,
  ocspRequest,
  parseOcspResponse,
  statusByOcsp,
} from '../../../src/crypto/x509/ocsp.ts'
import { pathBudget } from '../../../src/crypto/x509/path-budget.ts'
import type { RevocationQuestion } from '../../../src/crypto/x509/revocation.ts'
import { noOpenssl, openssl, temporaryFolder } from '../openssl.ts'
import { type CorpusCase, casesOf, noCorpora, readCertificateFile, readCorpus } from './corpora.ts'

const REASONS: Record<string, readonly string[]> = {
  'Invalid signature on the ocsp response': ['signature-invalid'],
  'Wrong responderid in the ocsp response': ['signer-not-authorised'],
  'Wrong issuernamehash in the ocsp response': ['not-for-this-certificate'],
  'Invalid signature on the delegated ocsp signing certificate': ['signer-not-authorised'],
}

describe.skipIf(noCorpora)(`answers of the corpus${noCorpora}`, () => {
  test.each(casesOf('ocsp'))('B42 $id: $title', async one => {
    const status = await outcomeOf(one)
    const word = status.kind === 'unknown' ? status.why : status.kind
    const { response, reason } = one.expect
    expect(response === 'valid' ? ['good'] : REASONS[reason!]).toContain(word)
  })

  const [good] = casesOf('ocsp')

  test('B42 SHA-1 is refused where it is not asked for', async () => {
    const status = await outcomeOf(good!, { allowSha1: false })
    expect(status).toMatchObject({ kind: 'unknown', why: 'signature-invalid' })
  })

  test('B42 stale answers, and such of tomorrow, are not known to be good', async () => {
    for (const time of ['2012-10-22T00:00:00Z', '2040-01-01T00:00:00Z'])
      expect(await outcomeOf(good!, { time: new Date(time) })).toMatchObject({ why: 'stale' })
  })

  test('B42 another certificate of the same issuer', async () => {
    const { issuer } = questionOf(good!)
    const status = await outcomeOf(good!, { certificate: issuer })
    expect(status).toMatchObject({ kind: 'unknown', why: 'not-for-this-certificate' })
  })

  test('B39 no signature is verified that the budget does not cover', async () => {
    const status = await outcomeOf(good!, { budget: pathBudget({ signatures: 0 }) })
    expect(status).toMatchObject({ kind: 'unknown' })
  })

  test('B57 whatever is altered, the only error is ours', () => {
    const der = readCorpus(good!.file)
    for (let at = 0; at < der.length; at++) {
      const altered = Buffer.from(der)
      altered[at]! ^= 0x41
      expect(errorOf(altered)).toMatch(/^(none|ERR_OCSP_SYNTAX)$/)
    }
  })
})

describe.skipIf(noOpenssl)(`OpenSSL answers what we ask${noOpenssl ?? ''}`, () => {
  const folder = temporaryFolder()
  afterAll(() => folder.remove())
  const LIFE = {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
  }
  let root: Issued
  let other: Issued
  const leaves = new Map<string, Issued>()

  beforeAll(async () => {
    root = await issue({ commonName: 'Root', authority: true, ...LIFE })
    other = await issue({ commonName: 'Root', authority: true, ...LIFE })
    const lines: string[] = []
    for (const [name, state] of [
      ['good', 'V'],
      ['revoked', 'R'],
      ['held', 'H'],
    ] as const) {
      const serialNumber = Buffer.from([0x40, lines.length])
      leaves.set(name, await issue({ commonName: name, issuer: root, serialNumber, ...LIFE }))
      const revoked = {
        V: '',
        R: '261101120000Z,keyCompromise',
        H: '261101120000Z,certificateHold',
      }[state]
      const serial = serialNumber.toString('hex').toUpperCase()
      lines.push(
        [
          state === 'V' ? 'V' : 'R',
          '300101000000Z',
          revoked,
          serial,
          'unknown',
          `/CN=${name}`,
        ].join('\t'),
      )
    }
    leaves.set('never-issued', await issue({ commonName: 'x', issuer: root, ...LIFE }))
    folder.write('index', `${lines.join('\n')}\n`)
    folder.write('root.pem', certificatePem(root.der))
  })

  test.each([
    ['good', { kind: 'good' }],
    ['revoked', { kind: 'revoked', reason: 'keyCompromise', at: new Date('2026-11-01T12:00:00Z') }],
    ['held', { kind: 'revoked', reason: 'certificateHold' }],
    ['never-issued', { kind: 'unknown', why: 'responder-does-not-know' }],
  ])('B42 B44 %s', async (name, expected) => {
    expect(await ask(name, root)).toMatchObject(expected)
  })

  test('B42 a responder that the issuer appointed is believed', async () => {
    const extendedKeyUsage = ['1.3.6.1.5.5.7.3.9']
    const responder = await issue({ commonName: 'OCSP', issuer: root, extendedKeyUsage, ...LIFE })
    expect(await ask('revoked', responder)).toMatchObject({ kind: 'revoked' })
  })

  test.each([
    [
      'whom the issuer appointed for mail only',
      async () => issue({ commonName: 'M', issuer: root, ...LIFE }),
    ],
    [
      'whom another authority of the same name appointed',
      async () =>
        issue({ commonName: 'O', issuer: other, extendedKeyUsage: ['1.3.6.1.5.5.7.3.9'], ...LIFE }),
    ],
    ['that is expired', async () => expired()],
    ['that is another authority of the same name', async () => other],
  ])('B42 no answer is believed of a responder %s', async (_, responder) => {
    expect(await ask('good', await responder())).toMatchObject({
      kind: 'unknown',
      why: expect.stringMatching(/^(signer-not-authorised|signature-invalid)$/),
    })
  })

  test('B42 an answer about another certificate of the same issuer', async () => {
    const response = answer(ocspRequest(parsed('good'), parseCertificate(root.der)), root)
    expect(await statusByOcsp(response, question('revoked'))).toMatchObject({
      kind: 'unknown',
      why: 'not-for-this-certificate',
    })
  })

  test('B42 an answer to another nonce is replayed, and not believed', async () => {
    const nonce = randomBytes(32)
    const response = answer(ocspRequest(parsed('good'), parseCertificate(root.der), nonce), root)
    expect(response.nonce).toEqual(nonce)
    const status = await statusByOcsp(response, question('good'), randomBytes(32))
    expect(status).toMatchObject({ kind: 'unknown', why: 'nonce-mismatch' })
  })

  async function ask(name: string, responder: Issued) {
    const nonce = randomBytes(32)
    const request = ocspRequest(parsed(name), parseCertificate(root.der), nonce)
    return statusByOcsp(answer(request, responder), question(name), nonce)
  }

  function answer(request: Buffer, responder: Issued): OcspResponse {
    const reqin = folder.write('request', request)
    const rsigner = folder.write('responder.pem', identityPem(responder))
    const respout = `${folder.path}/response`
    openssl([
      ...[
        'ocsp',
        '-index',
        `${folder.path}/index`,
        '-CA',
        `${folder.path}/root.pem`,
        '-ndays',
        '1',
      ],
      ...['-rsigner', rsigner, '-rkey', rsigner, '-reqin', reqin, '-respout', respout],
    ])
    const response = parseOcspResponse(readFileSync(respout))
    if (typeof response === 'string') throw new Error(response)
    return response
  }

  async function expired(): Promise<Issued> {
    const times = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }
    const extendedKeyUsage = ['1.3.6.1.5.5.7.3.9']
    return issue({ commonName: 'E', issuer: root, extendedKeyUsage, ...times })
  }

  function parsed(name: string) {
    return parseCertificate(leaves.get(name)!.der)
  }

  function question(name: string): RevocationQuestion {
    const issuer = parseCertificate(root.der)
    const certificate = parsed(name)
    const time = new Date()
    return { certificate, issuer, anchor: issuer, time, budget: pathBudget(), allowSha1: false }
  }
})

function outcomeOf(one: CorpusCase, change: Partial<RevocationQuestion> = {}) {
  const response = parseOcspResponse(readCorpus(one.file))
  if (typeof response === 'string') throw new Error(response)
  return statusByOcsp(response, { ...questionOf(one), ...change })
}

/**
 * At the moment of the answer: that which the corpus names is for certificates alone, and is after
 * the nextUpdate of nearly all answers.
 */
function questionOf({ inputs, file }: CorpusCase): RevocationQuestion {
  const issuer = readCertificateFile(inputs.untrusted![0]!)
  const response = parseOcspResponse(readCorpus(file))
  if (typeof response === 'string') throw new Error(response)
  return {
    certificate: readCertificateFile(inputs.cert),
    ...{ issuer, anchor: issuer, time: response.producedAt },
    ...{ budget: pathBudget(), allowSha1: true },
  }
}

function errorOf(der: Buffer): string {
  try {
    parseOcspResponse(der)
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}
