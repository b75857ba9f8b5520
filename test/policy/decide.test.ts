/** Every cell of the tables of decide.ts, written as a manual would show them. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  asksForCertificate,
  asksForSigner,
  conclude as concludeFrom,
  decide,
  explainTreatment as explainFrom,
} from '../../src/policy/decide.ts'
import { MESSAGE_CLASSES, type MessageClass } from '../../src/policy/facts.ts'
import { compileRules, type RuleSpec } from '../../src/policy/rule.ts'
import {
  type CertificateFinding,
  type Degree,
  INBOUND_BY_DEFAULT,
  type Otherwise,
  type SignerFinding,
  type Wish,
} from '../../src/policy/treatment.ts'
import { facts, rule } from './samples.ts'

const DEGREES: readonly Degree[] = ['never', 'when-possible', 'always']
const SIGNERS: readonly SignerFinding[] = [
  { kind: 'found', identity: 'ann@example.test' },
  { kind: 'none', reason: 'no identity bears ann@example.test' },
  { kind: 'unusable', reason: 'the certificate of ann@example.test has expired' },
]
const CERTIFICATES: readonly CertificateFinding[] = [
  { kind: 'valid', certificate: 'CN=Bob', source: 'files' },
  { kind: 'none', reason: 'no source knows bob@partner.test' },
  { kind: 'invalid', reason: 'the certificate of bob@partner.test has expired' },
  { kind: 'unknown', reason: 'ldap did not answer' },
]
const [VALID, NO_CERTIFICATE] = CERTIFICATES as [CertificateFinding, CertificateFinding]
const conclude = (
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  signer: SignerFinding,
  certificate: CertificateFinding = NO_CERTIFICATE,
) => concludeFrom(wish, classes, { signer, certificate })
const explainTreatment = (
  wish: Wish,
  classes: ReadonlySet<MessageClass>,
  signer: SignerFinding,
  certificate: CertificateFinding = NO_CERTIFICATE,
) => explainFrom(wish, classes, { signer, certificate })
const wish = (part: Partial<Wish>): Wish => ({
  rule: 'r',
  sign: 'never',
  encrypt: 'never',
  signature: 'clear',
  profile: 'compatible',
  otherwise: 'reject',
  encryptToAuthor: false,
  inbound: INBOUND_BY_DEFAULT,
  ...part,
})
const none: ReadonlySet<MessageClass> = new Set()

describe('conclude: signing', () => {
  test.each([
    ['never', 'found', 'relay'],
    ['never', 'none', 'relay'],
    ['never', 'unusable', 'relay'],
    ['when-possible', 'found', 'sign'],
    ['when-possible', 'none', 'relay'],
    ['when-possible', 'unusable', 'relay'],
    ['always', 'found', 'sign'],
    ['always', 'none', 'reject'],
    ['always', 'unusable', 'reject'],
  ] as const)('sign %s, identity %s: %s', (sign, kind, outcome) => {
    const signer = SIGNERS.find(finding => finding.kind === kind)!
    expect(conclude(wish({ sign }), none, signer).kind).toBe(outcome)
  })

  test.each(['clear', 'opaque'] as const)(
    'the signature is %s where the rule says so',
    signature => {
      const treatment = conclude(wish({ sign: 'always', signature }), none, SIGNERS[0]!)
      expect(treatment).toEqual({ kind: 'sign', signature })
    },
  )

  test.each([
    ['reject', { kind: 'reject', cause: 'no-signing-key' }],
    ['defer', { kind: 'defer', cause: 'no-signing-key' }],
    [{ route: 'portal' }, { kind: 'route', nextHop: 'portal', cause: 'no-signing-key' }],
  ] as const)('always that cannot be met, otherwise %j', (otherwise, expected) => {
    const treatment = conclude(wish({ sign: 'always', otherwise }), none, SIGNERS[2]!)
    expect(treatment).toEqual({ ...expected, reason: expect.stringContaining('has expired') })
  })
})

describe('conclude: what must not be touched', () => {
  const untouchable = ['signed', 'encrypted', 'smime', 'pgp', 'report'] as const
  test.each(untouchable.flatMap(name => DEGREES.map(sign => [name, sign] as const)))(
    '%s passes byte for byte, sign %s',
    (name, sign) => {
      for (const signer of SIGNERS)
        expect(conclude(wish({ sign }), new Set([name]), signer)).toEqual({
          kind: 'relay',
          reason: expect.stringMatching(/^it is /),
        })
    },
  )

  test.each(['calendar', 'auto-reply', 'list'] as const)('%s is signed as any other', name => {
    const treatment = conclude(wish({ sign: 'always' }), new Set([name]), SIGNERS[0]!)
    expect(treatment.kind).toBe('sign')
  })
})

describe('conclude: encryption', () => {
  test.each([
    ['never', 'valid', 'relay'],
    ['never', 'none', 'relay'],
    ['never', 'invalid', 'relay'],
    ['never', 'unknown', 'relay'],
    ['when-possible', 'valid', 'encrypt'],
    ['when-possible', 'none', 'relay'],
    ['when-possible', 'invalid', 'relay'],
    ['when-possible', 'unknown', 'defer'],
    ['always', 'valid', 'encrypt'],
    ['always', 'none', 'reject'],
    ['always', 'invalid', 'reject'],
    ['always', 'unknown', 'defer'],
  ] as const)('encrypt %s, certificate %s: %s', (encrypt, kind, outcome) => {
    const certificate = CERTIFICATES.find(finding => finding.kind === kind)!
    expect(conclude(wish({ encrypt }), none, SIGNERS[1]!, certificate).kind).toBe(outcome)
  })

  test.each([
    ['never', 'found', { kind: 'encrypt', sign: false }],
    ['when-possible', 'found', { kind: 'encrypt', sign: true }],
    ['when-possible', 'unusable', { kind: 'encrypt', sign: false }],
    ['always', 'found', { kind: 'encrypt', sign: true }],
    ['always', 'none', { kind: 'reject', cause: 'no-signing-key' }],
  ] as const)('encrypted, sign %s, identity %s', (sign, kind, outcome) => {
    const signer = SIGNERS.find(finding => finding.kind === kind)!
    const treatment = conclude(wish({ sign, encrypt: 'always' }), none, signer, VALID)
    expect(treatment).toMatchObject(outcome)
  })

  test.each(['signed', 'smime', 'pgp', 'report'] as const)(
    '%s is encrypted where it is promised, and not signed again',
    name => {
      const wanted = wish({ sign: 'always', encrypt: 'always' })
      const treatment = conclude(wanted, new Set([name]), SIGNERS[0]!, VALID)
      expect(treatment).toMatchObject({ kind: 'encrypt', sign: false })
    },
  )

  test.each(['pgp', 'report'] as const)('%s is left alone where it is only wished', name => {
    const wanted = wish({ encrypt: 'when-possible' })
    expect(conclude(wanted, new Set([name]), SIGNERS[0]!, VALID).kind).toBe('relay')
  })

  test('what is encrypted already passes', () => {
    const wanted = wish({ sign: 'always', encrypt: 'always' })
    expect(conclude(wanted, new Set(['encrypted']), SIGNERS[1]!).kind).toBe('relay')
  })

  test('B69 encrypt always never leads to a message in clear, whatever else is so', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...DEGREES),
        fc.constantFrom<Otherwise>('reject', 'defer', { route: 'portal' }),
        fc.constantFrom(...SIGNERS),
        fc.constantFrom(...CERTIFICATES),
        fc.uniqueArray(fc.constantFrom(...MESSAGE_CLASSES)),
        (sign, otherwise, signer, certificate, names) => {
          const classes = new Set(names)
          const wanted = wish({ sign, encrypt: 'always', otherwise })
          const { kind } = conclude(wanted, classes, signer, certificate)
          const closed = ['encrypt', 'reject', 'defer', 'route']
          expect(classes.has('encrypted') ? ['relay'] : closed).toContain(kind)
        },
      ),
    )
  })

  test('B69 a silent directory never leads to a message in clear where encryption was wished', () => {
    for (const encrypt of ['when-possible', 'always'] as const)
      for (const otherwise of ['reject', 'defer', { route: 'portal' }] as const)
        expect(conclude(wish({ encrypt, otherwise }), none, SIGNERS[0]!, CERTIFICATES[3])).toEqual({
          kind: 'defer',
          cause: 'certificate-search-failed',
          reason: 'ldap did not answer',
        })
  })

  test('a refusal for want of a certificate has its own cause', () => {
    expect(conclude(wish({ encrypt: 'always', otherwise: 'defer' }), none, SIGNERS[0]!)).toEqual({
      kind: 'defer',
      cause: 'no-certificate',
      reason: 'no source knows bob@partner.test',
    })
  })
})

test('asksForSigner and asksForCertificate are true wherever the finding makes a difference', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...DEGREES),
      fc.constantFrom(...DEGREES),
      fc.uniqueArray(fc.constantFrom(...MESSAGE_CLASSES)),
      (sign, encrypt, names) => {
        const classes = new Set(names)
        const wanted = wish({ sign, encrypt })
        const outcome = (signer: SignerFinding, certificate: CertificateFinding) =>
          JSON.stringify({ ...conclude(wanted, classes, signer, certificate), reason: undefined })
        const differs = (outcomes: readonly string[]) => new Set(outcomes).size > 1
        const bySigner = CERTIFICATES.some(it => differs(SIGNERS.map(one => outcome(one, it))))
        const byCertificate = SIGNERS.some(it => differs(CERTIFICATES.map(one => outcome(it, one))))
        expect(asksForSigner(wanted, classes)).toBe(bySigner)
        expect(asksForCertificate(wanted, classes)).toBe(byCertificate)
      },
    ),
  )
})

describe('explainTreatment', () => {
  test('a signature names rule and identity, and what would change it', () => {
    expect(explainTreatment(wish({ sign: 'always' }), none, SIGNERS[0]!)).toEqual({
      action: 'sign (clear)',
      reason: 'rule r signs always, with identity ann@example.test',
      change: ['with sign: never in rule r it would not be signed'],
    })
  })

  test('a refusal names what is missing', () => {
    expect(explainTreatment(wish({ sign: 'always' }), none, SIGNERS[1]!)).toEqual({
      action: 'refuse for good (550)',
      reason: 'no identity bears ann@example.test',
      change: [
        'with a usable identity for its author it would be signed',
        'with sign: when-possible in rule r it would pass unsigned',
        'with otherwise: defer in rule r its client would be asked to try again (451)',
      ],
    })
  })

  test('silence asks for an answer, not for a certificate', () => {
    const unknown = { kind: 'unknown', reason: 'ldap did not answer' } as const
    const wanted = wish({ encrypt: 'always' })
    expect(explainTreatment(wanted, none, SIGNERS[0]!, unknown)).toMatchObject({
      action: 'refuse for now (451)',
      change: [
        'once everybody who has to be heard answers, what they know would decide',
        'with encrypt: never in rule r it would go out in clear',
        'with sign: when-possible or always in rule r it could be signed',
      ],
    })
  })

  test('no rule at all', () => {
    const explanation = explainTreatment(wish({ rule: '(no rule)' }), none, SIGNERS[1]!)
    expect(explanation.reason).toBe('no rule matches')
    expect(explanation.change).toEqual(['a rule whose conditions hold would decide instead'])
  })

  test('an encryption names the certificate', () => {
    const explanation = explainTreatment(wish({ encrypt: 'always' }), none, SIGNERS[1]!, VALID)
    expect(explanation).toEqual({
      action: 'encrypt (compatible)',
      reason: 'rule r encrypts always, with certificate CN=Bob',
      change: [
        'with encrypt: never in rule r it would go out in clear',
        'with sign: when-possible or always in rule r it could be signed',
      ],
    })
  })

  test('half of what was wished names what is missing for the other half', () => {
    const wanted = wish({ sign: 'when-possible', encrypt: 'when-possible' })
    const reason = (signer: SignerFinding, certificate: CertificateFinding, name?: MessageClass) =>
      explainTreatment(wanted, new Set(name ? [name] : []), signer, certificate).reason
    expect(reason(SIGNERS[1]!, VALID)).toBe(
      'rule r encrypts when possible, with certificate CN=Bob; ' +
        'signs when possible, and no identity bears ann@example.test',
    )
    const expired = { kind: 'invalid', reason: 'it has expired' } as const
    expect(reason(SIGNERS[0]!, expired)).toBe(
      'rule r encrypts when possible, and it has expired; ' +
        'signs when possible, with identity ann@example.test',
    )
    // What is signed already is not signed again, whoever could.
    expect(reason(SIGNERS[1]!, VALID, 'signed')).toBe(
      'rule r encrypts when possible, with certificate CN=Bob',
    )
  })

  test('every treatment has a reason, and only the untouchable nothing that would change it', () => {
    for (const sign of DEGREES)
      for (const encrypt of DEGREES)
        for (const signer of SIGNERS)
          for (const certificate of CERTIFICATES)
            for (const name of [undefined, ...MESSAGE_CLASSES]) {
              const classes = new Set(name ? [name] : [])
              const wanted = wish({ sign, encrypt })
              const explanation = explainTreatment(wanted, classes, signer, certificate)
              expect(explanation.reason).not.toBe('')
              const relayed = /^it is /.test(explanation.reason)
              expect(relayed || explanation.change.length > 0).toBe(true)
            }
  })
})

describe('decide', () => {
  test('the first rule that matches decides', () => {
    const rules = compileRules([
      rule('far', { recipient: ['*@far.test'] }),
      rule('out', { direction: ['outbound'] }),
      rule('all', {}),
    ])
    expect(decide(facts({ recipient: 'bob@far.test' }), rules).rule).toBe('far')
    expect(decide(facts({ recipient: 'bob@near.test' }), rules).rule).toBe('out')
    expect(decide(facts({ direction: 'inbound' }), rules).rule).toBe('all')
  })

  test('where none matches, nothing is wished', () => {
    expect(decide(facts({}), compileRules([]))).toEqual({
      rule: '(no rule)',
      sign: 'never',
      encrypt: 'never',
      signature: 'clear',
      profile: 'compatible',
      otherwise: 'reject',
      encryptToAuthor: false,
      inbound: {
        decrypt: 'never',
        verify: 'stamp',
        onBadSignature: 'deliver',
        unauthenticated: 'strict',
        strip: 'keep',
      },
    })
  })

  test('the word that matched is to be removed, as the configuration spells it', () => {
    const rules = compileRules([rule('k', { subject: ['[Encrypt]', '[sign]'] })])
    expect(decide(facts({ subject: 'Re: [SIGN] plan' }), rules).removeFromSubject).toBe('[sign]')
    expect(decide(facts({ subject: 'plan' }), rules).rule).toBe('(no rule)')
    expect(decide(facts({}), compileRules([rule('a', {})]))).not.toHaveProperty('removeFromSubject')
  })

  test('X- fields that matched are to be removed, each by its place; no others', () => {
    const when = { header: { 'X-Tag': ['*sign*'], 'X-ENCRYPT': ['*'], Sensitivity: ['private'] } }
    const header = new Map([
      ['x-tag', ['other', 'sign it', 'sign that']],
      ['x-encrypt', ['yes']],
      ['sensitivity', ['private']],
    ])
    const rules = compileRules([rule('tagged', when), rule('all', {})])
    expect(decide(facts({ header }), rules).removeFields).toEqual([
      { name: 'x-tag', at: 1 },
      { name: 'x-tag', at: 2 },
      { name: 'x-encrypt', at: 0 },
    ])
    expect(decide(facts({}), rules)).not.toHaveProperty('removeFields')
    const plain = compileRules([rule('plain', { header: { Sensitivity: ['private'] } })])
    expect(decide(facts({ header }), plain).rule).toBe('plain')
    expect(decide(facts({ header }), plain)).not.toHaveProperty('removeFields')
  })

  const specs: fc.Arbitrary<RuleSpec[]> = fc
    .array(
      fc.record({
        direction: fc.option(fc.constantFrom('inbound' as const, 'outbound' as const)),
        subject: fc.option(fc.constantFrom('a', 'b', 'c')),
        octets: fc.option(fc.nat(100)),
      }),
      { maxLength: 8 },
    )
    .map(list =>
      list.map(({ direction, subject, octets }, index) =>
        rule(`r${index}`, {
          ...(direction && { direction: [direction] }),
          ...(subject && { subject: [subject] }),
          ...(octets !== null && { size: [{ relation: '>' as const, octets }] }),
        }),
      ),
    )
  const someFacts = fc
    .record({
      direction: fc.constantFrom('inbound' as const, 'outbound' as const),
      subject: fc.constantFrom('', 'a', 'ab', 'abc', 'c'),
      sizeOctets: fc.nat(120),
    })
    .map(facts)

  test('property: of all rules that match alone, the first decides', () => {
    fc.assert(
      fc.property(specs, someFacts, (list, what) => {
        const alone = list.find(spec => compileRules([spec]).inOrder[0]!.matches(what))
        expect(decide(what, compileRules(list)).rule).toBe(alone?.name ?? '(no rule)')
      }),
    )
  })

  test('property: what was asked before changes nothing', () => {
    fc.assert(
      fc.property(specs, fc.array(someFacts, { minLength: 1 }), (list, history) => {
        const rules = compileRules(list)
        const answers = history.map(what => decide(what, rules))
        history.reverse().forEach((what, index) => {
          expect(decide(what, rules)).toEqual(answers.at(-1 - index))
          expect(decide(what, compileRules(list))).toEqual(answers.at(-1 - index))
        })
      }),
    )
  })
})
