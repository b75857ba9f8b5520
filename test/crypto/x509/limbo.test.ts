/**
 * The cases of x509-limbo: each with the outcome that it states.
 *
 * @module
 */
import { describe, expect, test } from 'vitest'
import { type Certificate, parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { type PathOptions, validatePath } from '../../../src/crypto/x509/path.ts'
import { pathBudget } from '../../../src/crypto/x509/path-budget.ts'
import type { Purpose } from '../../../src/crypto/x509/path-check.ts'
import { derOfPem, noCorpora, readCorpus } from './corpora.ts'

interface LimboCase {
  readonly id: string
  readonly trusted_certs: readonly string[]
  readonly untrusted_intermediates: readonly string[]
  readonly peer_certificate: string
  readonly validation_time: string | null
  readonly validation_kind: 'SERVER' | 'CLIENT'
  readonly extended_key_usage: readonly Purpose[]
  readonly max_chain_depth: number | null
  readonly expected_result: 'SUCCESS' | 'FAILURE'
}

/** The certificate is sound and the name is another: names are compared a floor above. */
const OTHER_FLOOR = ['rfc5280::ca-as-leaf-wrong-san']
/** What breaks only the rules for issuers of RFC 5280 §4, and is taken where those are not asked for. */
const ISSUERS_FAULTS = [
  'rfc5280::aki::critical-aki',
  'rfc5280::aki::cross-signed-root-missing-aki',
  'rfc5280::aki::intermediate-missing-aki',
  'rfc5280::aki::leaf-missing-aki',
  'rfc5280::nc::permitted-dns-match-noncritical',
  'rfc5280::pc::ica-noncritical-pc',
  'rfc5280::root-non-critical-basic-constraints',
  'rfc5280::san::ip-in-dns',
  'rfc5280::san::noncritical-with-empty-subject',
  'rfc5280::san::underscore-dns',
  'rfc5280::serial::negative',
  'rfc5280::serial::too-long',
  'rfc5280::serial::zero',
  'rfc5280::ski::critical-ski',
  'rfc5280::ski::intermediate-missing-ski',
  'rfc5280::ski::root-missing-ski',
]

const cases = noCorpora
  ? []
  : (JSON.parse(readCorpus('x509-limbo/limbo.json').toString()) as { testcases: LimboCase[] })
      .testcases

describe.skipIf(noCorpora)(`x509-limbo${noCorpora}`, () => {
  test.each(cases.filter(({ id }) => !OTHER_FLOOR.includes(id)))('B37 $id', async one => {
    const outcome = await outcomeOf(one, true)
    expect(outcome).toBe(one.expected_result === 'SUCCESS' ? 'valid' : 'invalid')
  })

  test('what differs where issuers are not held to their profile', async () => {
    const differing: string[] = []
    for (const one of cases)
      if ((await outcomeOf(one, false)) !== (await outcomeOf(one, true))) differing.push(one.id)
    expect(differing.toSorted()).toEqual(ISSUERS_FAULTS)
  })
})

async function outcomeOf(one: LimboCase, strictProfile: boolean): Promise<string> {
  const { max_chain_depth: depth, extended_key_usage: purposes } = one
  const [certificate] = readable([one.peer_certificate])
  if (!certificate) return 'invalid'
  const options: PathOptions = {
    anchors: readable(one.trusted_certs),
    intermediates: readable(one.untrusted_intermediates),
    time: new Date(one.validation_time ?? '2026-11-23T00:00:00Z'),
    purpose: purposes[0] ?? (one.validation_kind === 'SERVER' ? 'serverAuth' : 'clientAuth'),
    budget: pathBudget(depth === null ? {} : { depth }),
    strictProfile,
  }
  return (await validatePath(certificate, options)).kind
}

function readable(pems: readonly string[]): Certificate[] {
  return pems.flatMap(pem => {
    try {
      return [parseCertificate(derOfPem(pem))]
    } catch {
      return []
    }
  })
}
