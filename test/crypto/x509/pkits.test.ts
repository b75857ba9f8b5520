/**
 * NIST PKITS: every case with the outcome that it states, revocation lists of the message included.
 *
 * @module
 */
import { describe, expect, test } from 'vitest'
import { type Certificate, parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { parseCrl } from '../../../src/crypto/x509/crl.ts'
import { statusByCrls } from '../../../src/crypto/x509/crl-status.ts'
import { validatePath } from '../../../src/crypto/x509/path.ts'
import type { PathResult } from '../../../src/crypto/x509/path-result.ts'
import { ANY_POLICY } from '../../../src/crypto/x509/policy.ts'
import {
  type CorpusCase,
  casesOf,
  noCorpora,
  readCertificateFile,
  readSignedMessage,
} from './corpora.ts'

/** Keys of 1024 bits, of a kind that S/MIME has given up (RFC 8551 §2.2): refused, never believed. */
const DSA: ReadonlyMap<string, string> = new Map([
  ['pkits-4.1.4', 'algorithm-refused'],
  ['pkits-4.1.5', 'algorithm-refused'],
])

/** Our words for the reasons that the corpus tells. */
const REASONS: Record<string, readonly string[]> = {
  'certificate expired': ['expired'],
  'certificate not yet valid': ['not-yet-valid'],
  'certificate revoked': ['revoked'],
  'certificate signature failure': ['signature-invalid', 'algorithm-refused'],
  'CRL expired': ['stale'],
  'CRL path validation error': ['signer-not-authorised'],
  'CRL signature failure': ['signature-invalid'],
  'different CRL scope': ['no-answer', 'signer-not-authorised'],
  'excluded subtree violation': ['name-constraints'],
  'invalid CA certificate (basicConstraints)': ['not-an-authority'],
  'invalid policy extension': ['policy'],
  'keyUsage lacks cRLSign': ['signer-not-authorised'],
  'no explicit policy': ['policy'],
  'path length exceeded': ['path-too-long'],
  'permitted subtree violation': ['name-constraints'],
  'unable to get CRL': ['no-answer', 'signer-not-authorised'],
  'unable to get issuer certificate': ['issuer-not-found', 'not-an-authority', 'key-usage'],
  'unhandled critical CRL extension': ['revoked', 'unknown-critical-extension'],
  'unhandled critical extension': ['unknown-critical-extension'],
}

const cases = casesOf('path')

describe.skipIf(noCorpora)(`PKITS${noCorpora}`, () => {
  test.each(cases.filter(({ id }) => !DSA.has(id)))('B37 $id $title', async one => {
    const { path, reason } = one.expect
    const word = wordOf(await outcomeOf(one))
    expect(path === 'valid' ? ['valid'] : REASONS[reason!]).toContain(word)
  })

  const withPolicies = cases.filter(
    ({ expect: { path, authority_policies } }) => path === 'valid' && authority_policies,
  )
  test.each(withPolicies)('policies of $id $title', async one => {
    const result = await outcomeOf(one)
    const { authority_policies, user_policies, explicit_policy_indicator } = one.expect
    expect(result).toMatchObject({
      policies: {
        authorityConstrained: expect.toSatisfy(sameAs(authority_policies!)),
        userConstrained: expect.toSatisfy(sameAs(user_policies!)),
        explicitPolicy: explicit_policy_indicator,
      },
    })
  })

  test.each(cases.filter(({ id }) => DSA.has(id)))('does not apply, DSA: $id $title', async one => {
    expect(wordOf(await outcomeOf(one))).toBe(DSA.get(one.id))
  })

  /** Of each kind of extension one case. */
  const DAMAGED = [
    'pkits-4.13.19',
    'pkits-4.10.12.1',
    'pkits-4.14.22',
    'pkits-4.14.34',
    'pkits-4.15.5',
  ]
  test.each(DAMAGED)('B57 %s: whatever is damaged, the answer is a value', async id => {
    const one = cases.find(other => other.id === id)!
    const { certificate, certificates, crls } = readSignedMessage(one.file)
    const anchors = one.inputs.trust.map(readCertificateFile)
    const time = new Date('2026-11-23T00:00:00Z')
    const kinds = new Set<string>()
    for (let round = 0; round < 400; round++) {
      const damaged = certificates.flatMap(({ der }) => readable(damage(der, round)))
      const lists = await Promise.all(
        crls.map(der => parseCrl(damage(der, round)).catch(() => undefined)),
      )
      const revocation = statusByCrls(
        lists.filter(list => list !== undefined),
        damaged,
      )
      const target = damaged.find(({ subject }) => subject.equals(certificate.subject))
      const options = { anchors, intermediates: damaged, time, revocation }
      kinds.add((await validatePath(target ?? certificate, options)).kind)
    }
    expect(kinds).toContain('invalid')
  })
})

/** One octet of three in four is another, at a place that the round tells. */
function damage(der: Buffer, round: number): Buffer {
  const altered = Buffer.from(der)
  const at = (round * 2_654_435_761 + der.length * 97) % der.length
  if ((round + der.length) % 4 !== 0) altered[at]! ^= 1 << (round % 8)
  return altered
}

function readable(der: Buffer): Certificate[] {
  try {
    return [parseCertificate(der)]
  } catch {
    return []
  }
}

async function outcomeOf({ file, inputs }: CorpusCase): Promise<PathResult> {
  const { certificate, certificates, crls } = readSignedMessage(file)
  const lists = await Promise.all(crls.map(parseCrl))
  return validatePath(certificate, {
    anchors: inputs.trust.map(readCertificateFile),
    intermediates: certificates,
    time: new Date('2026-11-23T00:00:00Z'),
    purpose: 'emailProtection',
    keyUsage: ['digitalSignature', 'nonRepudiation'],
    initialPolicies: inputs.initial_policies.map(oidOf),
    explicitPolicy: inputs.explicit_policy,
    inhibitPolicyMapping: inputs.inhibit_policy_mapping,
    inhibitAnyPolicy: inputs.inhibit_any_policy,
    revocation: statusByCrls(lists, certificates),
  })
}

function wordOf(result: PathResult): string {
  if (result.kind === 'unknown') return result.why
  return result.kind === 'invalid' ? result.reason : result.kind
}

function oidOf(policy: string): string {
  return /any ?policy/i.test(policy) ? ANY_POLICY : policy
}

function sameAs(policies: readonly string[]) {
  const expected = policies.map(oidOf).toSorted().join()
  return (actual: readonly string[]): boolean => actual.toSorted().join() === expected
}
