/**
 * Which certificates at hand really issued which, as far as they stand between one certificate and
 * the trust anchors.
 *
 *     end entity ── names upwards ──▶ candidates ◀── signatures downwards ── trust anchors
 *
 * Only what bears the right names on the way up is looked at, and only what a trust anchor has
 * vouched for, directly or through others, is used to verify anything: a maze of certificates that
 * leads to no anchor costs nothing (RFC 4158 §2.4.2).
 *
 * @module
 */
import type { Certificate } from './certificate.ts'
import { nameKey } from './name-comparison.ts'
import type { PathBudget } from './path-budget.ts'
import { type EndEntityWish, faultOfAuthority } from './path-check.ts'
import type { PathFault } from './path-result.ts'
import { type SignatureOutcome, verifySigned } from './signed-structure.ts'

export interface PathMaterial {
  readonly anchors: readonly Certificate[]
  readonly intermediates: readonly Certificate[]
  readonly budget: PathBudget
  readonly allowSha1: boolean
}

/** Certificates with their verified issuers, and why others are none. */
export interface PathGraph {
  readonly issuers: ReadonlyMap<Certificate, readonly Certificate[]>
  readonly anchors: ReadonlySet<Certificate>
  /** What went wrong on the way down, the worst of it first found. */
  readonly faults: readonly PathFault[]
}

/** Draws the graph above a certificate, within the budget. */
export async function drawGraph(
  certificate: Certificate,
  material: PathMaterial,
  wish: EndEntityWish,
): Promise<PathGraph> {
  const { candidates, anchors, faults } = climb(certificate, material)
  const issuers = new Map<Certificate, Certificate[]>()
  const anchorSet = new Set(anchors)
  const queue = [...anchors]
  const reached = new Set(queue)
  const verified = new Map<string, PathFault | 'good'>()
  for (let next = queue.shift(); next; next = queue.shift()) {
    const issuer = next
    const fault = faultOfAuthority(issuer, wish, anchorSet.has(issuer))
    if (fault) {
      faults.push(fault)
      continue
    }
    for (const subject of candidates.get(nameKey(issuer.subject)) ?? []) {
      if (anchorSet.has(subject) || subject === issuer) continue
      // Certificates of one authority differ, its key does not: one signature, one calculation.
      const pair = `${subject.fingerprint} ${issuer.publicKeyInfo.toString('latin1')}`
      const outcome = verified.get(pair) ?? (await signatureOutcome(subject, issuer, material))
      verified.set(pair, outcome)
      if (outcome !== 'good') faults.push(outcome)
      if (outcome !== 'good' && outcome.reason === 'budget-exceeded')
        return { issuers, anchors: anchorSet, faults }
      if (outcome !== 'good') continue
      const known = issuers.get(subject)
      if (known) known.push(issuer)
      else issuers.set(subject, [issuer])
      if (!reached.has(subject) && subject !== certificate) queue.push(subject)
      reached.add(subject)
    }
  }
  for (const known of issuers.values()) known.sort(anchorsThenNewest(anchorSet))
  return { issuers, anchors: anchorSet, faults }
}

/** Candidates by the name of their issuer, and the anchors that their names lead to. */
function climb(certificate: Certificate, material: PathMaterial) {
  const { budget } = material
  const pool = bySubject(material.intermediates)
  const roots = bySubject(material.anchors)
  const candidates = new Map<string, Certificate[]>()
  const anchors: Certificate[] = []
  const faults: PathFault[] = []
  const queue = [certificate]
  const seen = new Set([certificate.fingerprint])
  let octets = certificate.der.length
  for (const current of queue) {
    const name = nameKey(current.issuer)
    if (candidates.has(name)) {
      candidates.get(name)!.push(current)
      continue
    }
    candidates.set(name, [current])
    for (const anchor of roots.get(name) ?? []) {
      anchors.push(anchor)
      // Copies of an anchor that came along would only lengthen paths.
      seen.add(anchor.fingerprint)
    }
    for (const issuer of sortedByHint(pool.get(name) ?? [], current)) {
      if (seen.has(issuer.fingerprint)) continue
      seen.add(issuer.fingerprint)
      octets += issuer.der.length
      if (seen.size > budget.certificates || octets > budget.octets) {
        faults.push({ reason: 'budget-exceeded', certificate, detail: 'too many certificates' })
        return { candidates, anchors, faults }
      }
      queue.push(issuer)
    }
  }
  return { candidates, anchors, faults }
}

async function signatureOutcome(
  subject: Certificate,
  issuer: Certificate,
  { budget, allowSha1 }: PathMaterial,
): Promise<PathFault | 'good'> {
  if (budget.signatures-- <= 0)
    return { reason: 'budget-exceeded', certificate: subject, detail: 'too many signatures' }
  const outcome = await verifySigned(subject, issuer, allowSha1)
  return outcome === 'good' ? outcome : { certificate: subject, ...SIGNATURE_FAULTS[outcome] }
}

function bySubject(certificates: readonly Certificate[]): ReadonlyMap<string, Certificate[]> {
  const map = new Map<string, Certificate[]>()
  for (const certificate of certificates) {
    const name = nameKey(certificate.subject)
    const namesakes = map.get(name)
    if (namesakes) namesakes.push(certificate)
    else map.set(name, [certificate])
  }
  return map
}

/** The key identifier is a hint: it tells where to look first, and rules out nobody (RFC 4158 §3.5.12). */
function sortedByHint(issuers: readonly Certificate[], subject: Certificate): Certificate[] {
  const { authorityKeyIdentifier: hint } = subject
  if (!hint) return [...issuers]
  const fits = (issuer: Certificate): boolean => issuer.subjectKeyIdentifier?.equals(hint) ?? false
  return issuers.toSorted((one, other) => Number(fits(other)) - Number(fits(one)))
}

function anchorsThenNewest(anchors: ReadonlySet<Certificate>) {
  return (one: Certificate, other: Certificate): number =>
    Number(anchors.has(other)) - Number(anchors.has(one)) ||
    other.notBefore.getTime() - one.notBefore.getTime()
}

const SIGNATURE_FAULTS = {
  bad: { reason: 'signature-invalid', detail: 'signature does not verify' },
  'algorithm-refused': {
    reason: 'algorithm-refused',
    detail: 'signature algorithm is too weak or unknown',
  },
  'key-refused': { reason: 'key-refused', detail: "the issuer's key is unfit" },
} as const satisfies Record<Exclude<SignatureOutcome, 'good'>, Pick<PathFault, 'reason' | 'detail'>>
