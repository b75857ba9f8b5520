import { describe, expect, test } from 'vitest'
import { type Evidence, isBad, judge, type SignerEvidence } from '../../src/policy/verdict.ts'

const NOW = new Date('2026-03-01T12:00:00Z')
const minutes = (count: number): Date => new Date(NOW.getTime() + count * 60_000)
const finding = { code: 'a-code', words: 'some words' }

const ANN: SignerEvidence = {
  cryptography: { kind: 'good' },
  standing: { kind: 'good', notes: [] },
  addresses: ['ann@partner.test'],
  addressesFrom: 'san',
  weak: [],
  signingTime: NOW,
  validity: { notBefore: minutes(-10_000), notAfter: minutes(10_000) },
}
const MALLORY: SignerEvidence = { ...ANN, addresses: ['mallory@evil.test'] }

function evidence(
  changes: Partial<Evidence> = {},
  ...signers: readonly SignerEvidence[]
): Evidence {
  return {
    signature: { kind: 'signed', signers: signers.length > 0 ? signers : [ANN] },
    outer: [],
    aroundEncryption: false,
    partial: false,
    ambiguity: undefined,
    unclearInside: false,
    author: { kind: 'one', mailbox: 'ann@partner.test', sender: undefined, pretends: false },
    contradiction: undefined,
    date: NOW,
    now: NOW,
    ...changes,
  }
}

describe('the verdict', () => {
  test('passes where everything is good', () => {
    expect(judge(evidence())).toMatchObject({ result: 'pass', code: 'good', signer: 0, notes: [] })
  })

  const unsigned = { signature: undefined }
  const bad: SignerEvidence = { ...ANN, cryptography: { kind: 'bad', ...finding } }
  const unverifiable: SignerEvidence = {
    ...ANN,
    cryptography: { kind: 'unverifiable', ...finding },
  }
  const of = (kind: 'untrusted' | 'invalid' | 'unknown'): SignerEvidence => ({
    ...ANN,
    standing: { kind, ...finding },
  })
  const malformed = { kind: 'malformed', ...finding } as const
  const layer = (...signers: readonly SignerEvidence[]) => ({ kind: 'signed', signers }) as const

  const cases: readonly (readonly [
    name: string,
    evidence: Evidence,
    result: string,
    code: string,
  ])[] = [
    ['B66 no signature', evidence(unsigned), 'none', 'not-signed'],
    ['B20 a signed part', evidence({ ...unsigned, partial: true }), 'none', 'partial'],
    ['B33 ambiguous, unsigned', evidence({ ...unsigned, ambiguity: finding }), 'none', 'a-code'],
    ['B33 ambiguous, signed', evidence({ ambiguity: finding }), 'permerror', 'a-code'],
    ['B18 no signer', evidence({ signature: { kind: 'unsigned' } }), 'none', 'certificates-only'],
    ['B26 malformed', evidence({ signature: malformed }), 'permerror', 'a-code'],
    [
      'B15 content twice',
      evidence({ signature: { ...malformed, code: 'content-twice' } }),
      'fail',
      'content-twice',
    ],
    ['a bad signature', evidence({}, bad), 'fail', 'a-code'],
    ['one that cannot be verified', evidence({}, unverifiable), 'neutral', 'a-code'],
    ['B17 a good and a bad one', evidence({}, ANN, bad), 'fail', 'a-code'],
    ['B17 a bad one first', evidence({}, bad, ANN), 'fail', 'a-code'],
    ['B17 nobody is the author', evidence({}, MALLORY, MALLORY), 'fail', 'from-mismatch'],
    [
      'B17 a stranger beside',
      evidence({}, ANN, { ...MALLORY, ...of('untrusted') }),
      'fail',
      'other-signer',
    ],
    ['B19 untrusted', evidence({}, of('untrusted')), 'policy', 'a-code'],
    ['B19 B44 invalid, revoked', evidence({}, of('invalid')), 'fail', 'a-code'],
    ['B43 cannot be told', evidence({}, of('unknown')), 'temperror', 'a-code'],
    [
      'no certificate',
      evidence({}, { ...ANN, standing: undefined }),
      'neutral',
      'certificate-missing',
    ],
    ['B21 somebody else', evidence({}, MALLORY), 'fail', 'from-mismatch'],
    [
      'B21 the Sender',
      evidence(
        {
          author: {
            kind: 'one',
            mailbox: 'ann@partner.test',
            sender: 'mallory@evil.test',
            pretends: false,
          },
        },
        MALLORY,
      ),
      'neutral',
      'sender-matches',
    ],
    [
      'a certificate without address',
      evidence({}, { ...ANN, addresses: [], addressesFrom: 'none' }),
      'policy',
      'certificate-without-address',
    ],
    [
      'B31 address in the name',
      evidence({}, { ...ANN, addressesFrom: 'dn' }),
      'policy',
      'address-in-name-only',
    ],
    [
      'B23 unclear author',
      evidence({ author: { kind: 'unclear', ...finding } }),
      'permerror',
      'a-code',
    ],
    [
      'B22 a name that is another address',
      evidence({
        author: { kind: 'one', mailbox: 'ann@partner.test', sender: undefined, pretends: true },
      }),
      'policy',
      'display-mismatch',
    ],
    ['B30 SHA-1', evidence({}, { ...ANN, weak: ['sha-1'] }), 'policy', 'weak-sha-1'],
    ['B27 replayed', evidence({ date: minutes(61) }), 'policy', 'signing-time-far'],
    ['B27 dated back', evidence({ date: minutes(-61) }), 'policy', 'signing-time-far'],
    ['B27 no date', evidence({ date: undefined }), 'policy', 'date-missing'],
    [
      'B27 signed in the future',
      evidence({}, { ...ANN, signingTime: minutes(6) }),
      'fail',
      'signing-time-in-future',
    ],
    [
      'B27 signed before its certificate',
      evidence({}, { ...ANN, signingTime: minutes(-10_001) }),
      'fail',
      'signing-time-outside-validity',
    ],
    ['B33 two contents in one', evidence({ unclearInside: true }), 'permerror', 'ambiguous-inside'],
    ['B14 contradicting fields', evidence({ contradiction: finding }), 'fail', 'a-code'],
    [
      'signature around cipher text',
      evidence({ aroundEncryption: true }),
      'neutral',
      'signature-around-encryption',
    ],
    ['B35 a bad outer signature', evidence({ outer: [layer(bad)] }), 'fail', 'outer-signature-bad'],
    [
      'B35 a malformed outer signature',
      evidence({ outer: [malformed] }),
      'permerror',
      'outer-signature-malformed',
    ],
  ]

  test.each(cases)('%s', (_name, given, result, code) => {
    expect(judge(given)).toMatchObject({ result, code })
  })

  test('B17 passes where all signers are believed and one is the author', () => {
    expect(judge(evidence({}, MALLORY, ANN))).toMatchObject({ result: 'pass', signer: 1 })
  })

  test('B27 allows for an hour, and for a clock that is a little ahead', () => {
    expect(judge(evidence({ date: minutes(-60) })).result).toBe('pass')
    expect(judge(evidence({}, { ...ANN, signingTime: minutes(5) })).result).toBe('pass')
  })

  test('tells what else is to be said', () => {
    const believed = { kind: 'good', notes: ['revocation-unknown'] } as const
    const given = evidence(
      { outer: [layer(MALLORY)] },
      { ...ANN, standing: believed, signingTime: undefined },
    )
    expect(judge(given)).toMatchObject({
      result: 'pass',
      notes: ['revocation-unknown', 'signing-time-absent', 'outer-signature'],
    })
  })

  test('a rule may refuse what is signed and not as it should be', () => {
    const refused = ['none', 'pass', 'fail', 'neutral', 'policy', 'temperror', 'permerror'] as const
    expect(refused.filter(result => isBad({ result }))).toEqual(['fail', 'policy', 'permerror'])
  })
})
