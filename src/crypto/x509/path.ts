/**
 * Whether a certificate may be believed: certification paths by RFC 5280 §6.1.
 *
 *     certificate ──▶ its own faults ──▶ graph of issuers ──▶ paths, one by one ──▶ revocation
 *
 * Paths are tried until one holds. However the certificates at hand cross and circle, the budget ends
 * the search; and whatever fails, the answer is a value, never an exception.
 *
 * @module
 */
import type { Certificate } from './certificate.ts'
import { nameKey } from './name-comparison.ts'
import { type PathBudget, pathBudget } from './path-budget.ts'
import { checkTogether, type EndEntityWish, faultOfEndEntity } from './path-check.ts'
import { drawGraph, type PathGraph, type PathMaterial } from './path-graph.ts'
import type {
  InvalidPath,
  PathFault,
  PathPolicies,
  PathResult,
  RevokedPath,
  UnknownPath,
} from './path-result.ts'
import type { PolicyInputs } from './policy.ts'
import type { RevocationAnswers } from './revocation.ts'

export interface PathOptions extends EndEntityWish, PolicyInputs {
  /**
   * Certificates of authorities that are believed. They are held to their own validity, usages and
   * constraints. An end entity that stands among them is believed itself.
   */
  readonly anchors: readonly Certificate[]
  /** Whatever may stand in between, in any order; nothing here is believed. */
  readonly intermediates: readonly Certificate[]
  /** Who is asked whether certificates are revoked; left out, nobody is. */
  readonly revocation?: RevocationAnswers | undefined
  /** Default a new one. Share one for all that a message causes. */
  readonly budget?: PathBudget | undefined
  /** Take SHA-1 in signatures of certificates: for archives. Default false. */
  readonly allowSha1?: boolean | undefined
}

/**
 * Finds a path from a certificate to a trust anchor that holds, for a purpose, at a moment.
 *
 * @returns `invalid` with the reason of the path that came furthest where none holds; `unknown` where
 *   nothing but the status of a certificate is missing.
 */
export async function validatePath(
  certificate: Certificate,
  options: PathOptions,
): Promise<PathResult> {
  const fault = faultOfEndEntity(certificate, options)
  if (fault) return invalid(fault)
  const { anchors, intermediates, budget = pathBudget(), allowSha1 = false } = options
  const search: Search = {
    options,
    material: { anchors, intermediates, budget, allowSha1 },
    faults: [],
    unknown: undefined,
    revoked: undefined,
  }
  const self = anchors.find(anchor => anchor.der.equals(certificate.der))
  if (self) return (await tryPath([self], search)) ?? failure(certificate, search)
  const graph = await drawGraph(certificate, search.material, options)
  search.faults.push(...graph.faults.map(one => ({ ...one, stage: stageOf(one) })))
  for (const path of pathsUp([certificate], graph, search)) {
    const result = await tryPath(path, search)
    if (result) return result
  }
  return failure(certificate, search)
}

/** What has been found out so far. */
interface Search {
  readonly options: PathOptions
  readonly material: PathMaterial
  readonly faults: (PathFault & { readonly stage: number })[]
  unknown: UnknownPath | undefined
  revoked: RevokedPath | undefined
}

/** All paths to anchors, nearest first, in which no name and key stand twice. */
function* pathsUp(
  path: readonly Certificate[],
  graph: PathGraph,
  search: Search,
): Generator<readonly Certificate[]> {
  const last = path.at(-1)!
  const { budget } = search.material
  for (const issuer of graph.issuers.get(last) ?? []) {
    if (budget.steps-- <= 0) {
      const detail = 'too many paths'
      search.faults.push({
        reason: 'budget-exceeded',
        certificate: last,
        detail,
        stage: STAGE_PATH,
      })
      return
    }
    const longer = [...path, issuer]
    if (graph.anchors.has(issuer)) yield longer
    else if (isLoop(path, issuer)) continue
    else if (isTooDeep(longer, budget)) search.faults.push(tooDeep(issuer))
    else yield* pathsUp(longer, graph, search)
  }
}

/** The same entity again, whatever certificate it shows (RFC 4158 §2.4.2). */
function isLoop(path: readonly Certificate[], issuer: Certificate): boolean {
  return path.some(
    one =>
      one.publicKeyInfo.equals(issuer.publicKeyInfo) &&
      nameKey(one.subject) === nameKey(issuer.subject),
  )
}

function isTooDeep([, ...above]: readonly Certificate[], { depth }: PathBudget): boolean {
  return above.filter(({ isSelfIssued }) => !isSelfIssued).length > depth
}

function tooDeep(certificate: Certificate) {
  const detail = 'more authorities than are followed'
  return { reason: 'path-too-long' as const, certificate, detail, stage: STAGE_PATH }
}

/** The result that ends the search; undefined where another path may do better. */
async function tryPath(
  path: readonly Certificate[],
  search: Search,
): Promise<PathResult | undefined> {
  const { options, material } = search
  const checked = checkTogether(path, options, material.budget)
  if ('reason' in checked) {
    search.faults.push({ ...checked, stage: STAGE_PATH })
    return checked.reason === 'budget-exceeded' ? invalid(checked) : undefined
  }
  const { revocation } = options
  if (!revocation) return { kind: 'valid', path, policies: checked }
  return await askRevocation(path, checked, revocation, search)
}

/**
 * All are asked at once, so that services that do not answer are waited for once. Read from the
 * anchor down: an authority that is revoked says nothing of what is below it.
 */
async function askRevocation(
  path: readonly Certificate[],
  policies: PathPolicies,
  revocation: RevocationAnswers,
  search: Search,
): Promise<PathResult | undefined> {
  const { budget, allowSha1 } = search.material
  const { time } = search.options
  const anchor = path.at(-1)!
  const asked = path.slice(0, -1).map((certificate, index) => ({
    certificate,
    issuer: path[index + 1]!,
    ...{ anchor, time, budget, allowSha1 },
  }))
  const statuses = await Promise.all(
    asked.toReversed().map(question => revocation.statusOf(question)),
  )
  let unknown: UnknownPath | undefined
  for (const [index, status] of statuses.entries()) {
    const { subjectText: at } = asked.at(-1 - index)!.certificate
    if (status.kind === 'revoked') {
      search.revoked ??= revoked(at, status.at, status.reason)
      // Another path may do without this authority, but none without the end entity.
      return index === statuses.length - 1 ? search.revoked : undefined
    }
    if (status.kind === 'unknown')
      unknown ??= { kind: 'unknown', why: status.why, at, detail: status.detail, path, policies }
  }
  if (!unknown) return { kind: 'valid', path, policies }
  search.unknown ??= unknown
  return undefined
}

function revoked(at: string, revokedAt: Date, revocationReason: RevokedPath['revocationReason']) {
  const detail = `revoked at ${revokedAt.toISOString()} (${revocationReason})`
  return { kind: 'invalid', reason: 'revoked', at, detail, revokedAt, revocationReason } as const
}

/**
 * A path of unknown status is nearer to valid than one over a revoked authority, and that nearer than
 * any that does not hold.
 */
function failure(certificate: Certificate, search: Search): PathResult {
  if (search.unknown) return search.unknown
  // Whatever else was found wrong, a path that holds may be among those that were not looked at.
  const cutOff = search.faults.find(({ reason }) => reason === 'budget-exceeded')
  if (cutOff) return invalid(cutOff)
  if (search.revoked) return search.revoked
  const [first, ...more] = search.faults
  if (!first)
    return invalid({
      reason: 'issuer-not-found',
      certificate,
      detail: 'no way to a trust anchor is at hand',
    })
  return invalid(more.reduce((best, one) => (one.stage > best.stage ? one : best), first))
}

function invalid({ reason, certificate, detail }: PathFault): InvalidPath {
  return { kind: 'invalid', reason, at: certificate.subjectText, detail }
}

/** Signatures that do not verify are the rule where several keys bear one name. */
function stageOf({ reason }: PathFault): number {
  return reason === 'signature-invalid' ? STAGE_SIGNATURE : STAGE_ISSUER
}

/** How far a candidate came: a whole path to an anchor, an issuer, or only somebody of its name. */
const STAGE_PATH = 2
const STAGE_ISSUER = 1
const STAGE_SIGNATURE = 0
