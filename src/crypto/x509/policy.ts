/**
 * Certificate policies along a path, by the graph of RFC 9618 §5: the tree of RFC 5280 grows
 * exponentially under a hostile authority, the graph with what was written.
 *
 * @module
 */
import type { PathExtensions, PolicyMapping } from './path-extensions.ts'
import type { PathPolicies } from './path-result.ts'

export const ANY_POLICY = '2.5.29.32.0'

/** What whoever asks wants of policies (RFC 5280 §6.1.1 c, e, f, g). */
export interface PolicyInputs {
  /** Object identifiers. Default: any policy. */
  readonly initialPolicies?: readonly string[]
  readonly explicitPolicy?: boolean
  readonly inhibitPolicyMapping?: boolean
  readonly inhibitAnyPolicy?: boolean
}

/** The state of policy processing between two certificates. */
export class PolicyGraph {
  /** Nodes of the depth that was reached last; undefined: the graph is NULL. */
  #level: Map<string, PolicyNode> | undefined
  readonly #levels: Map<string, PolicyNode>[] = []
  readonly #initial: readonly string[]
  #explicitPolicy: number
  #policyMapping: number
  #inhibitAnyPolicy: number

  /** @param length Number of certificates of the path without the trust anchor. */
  constructor(inputs: PolicyInputs, length: number) {
    this.#initial = inputs.initialPolicies ?? [ANY_POLICY]
    this.#explicitPolicy = inputs.explicitPolicy ? 0 : length + 1
    this.#policyMapping = inputs.inhibitPolicyMapping ? 0 : length + 1
    this.#inhibitAnyPolicy = inputs.inhibitAnyPolicy ? 0 : length + 1
    this.#push(new Map([[ANY_POLICY, node(ANY_POLICY, [ANY_POLICY], [])]]))
  }

  /** RFC 9618 §5.3 d, e, f. False: a policy is wished and none is left. */
  process(policies: readonly string[] | undefined, mayBeAny: boolean): boolean {
    if (!policies) this.#level = undefined
    else if (this.#level) this.#grow(this.#level, policies, mayBeAny)
    return this.#explicitPolicy > 0 || this.#level !== undefined
  }

  /** RFC 9618 §5.4 a, b and RFC 5280 §6.1.4 h to j. False: any policy is mapped. */
  prepareNext(extensions: PathExtensions, isSelfIssued: boolean): boolean {
    if (!this.#map(extensions.policyMappings)) return false
    if (!isSelfIssued) {
      this.#explicitPolicy = Math.max(0, this.#explicitPolicy - 1)
      this.#policyMapping = Math.max(0, this.#policyMapping - 1)
      this.#inhibitAnyPolicy = Math.max(0, this.#inhibitAnyPolicy - 1)
    }
    this.restrict(extensions)
    return true
  }

  /** Takes over the constraints of a certificate where they are tighter than what stands. */
  restrict(extensions: PathExtensions): void {
    const { requireExplicitPolicy, inhibitPolicyMapping, inhibitAnyPolicy } = extensions
    this.#explicitPolicy = Math.min(this.#explicitPolicy, requireExplicitPolicy ?? Infinity)
    this.#policyMapping = Math.min(this.#policyMapping, inhibitPolicyMapping ?? Infinity)
    this.#inhibitAnyPolicy = Math.min(this.#inhibitAnyPolicy, inhibitAnyPolicy ?? Infinity)
  }

  /** Whether anyPolicy in a certificate counts (RFC 9618 §5.3 d.2). */
  mayBeAny(isIntermediateSelfIssued: boolean): boolean {
    return this.#inhibitAnyPolicy > 0 || isIntermediateSelfIssued
  }

  /** RFC 9618 §5.5: undefined where a policy is wished and none is left. */
  wrapUp(extensions: PathExtensions): PathPolicies | undefined {
    this.#explicitPolicy = Math.max(0, this.#explicitPolicy - 1)
    if (extensions.requireExplicitPolicy === 0) this.#explicitPolicy = 0
    const authority = this.#authorityConstrained()
    const user = this.#userConstrained(authority)
    const explicitPolicy = this.#explicitPolicy === 0
    if (explicitPolicy && user.length === 0) return undefined
    return { authorityConstrained: authority, userConstrained: user, explicitPolicy }
  }

  #push(level: Map<string, PolicyNode>): void {
    this.#level = level
    this.#levels.push(level)
  }

  #grow(above: Map<string, PolicyNode>, policies: readonly string[], mayBeAny: boolean): void {
    const parents = byExpectedPolicy(above)
    const any = above.get(ANY_POLICY)
    const level = new Map<string, PolicyNode>()
    for (const policy of policies) {
      if (policy === ANY_POLICY) continue
      const from = parents.get(policy) ?? (any ? [any] : [])
      if (from.length > 0) level.set(policy, node(policy, [policy], from))
    }
    if (policies.includes(ANY_POLICY) && mayBeAny)
      for (const [policy, from] of parents)
        if (!level.has(policy)) level.set(policy, node(policy, [policy], from))
    this.#push(level)
    if (level.size === 0) this.#level = undefined
  }

  /** RFC 9618 §5.4 b: what the issuer calls one thing, its subjects call another. */
  #map(mappings: readonly PolicyMapping[]): boolean {
    const subjectDomains = new Map<string, string[]>()
    for (const { issuerDomain, subjectDomain } of mappings) {
      if (issuerDomain === ANY_POLICY || subjectDomain === ANY_POLICY) return false
      const domains = subjectDomains.get(issuerDomain)
      if (domains) domains.push(subjectDomain)
      else subjectDomains.set(issuerDomain, [subjectDomain])
    }
    const level = this.#level
    if (!level) return true
    const anyAbove = level.get(ANY_POLICY)?.parents
    for (const [policy, domains] of subjectDomains) {
      if (this.#policyMapping === 0) level.delete(policy)
      else if (level.has(policy)) level.get(policy)!.expected = new Set(domains)
      else if (anyAbove) level.set(policy, node(policy, domains, anyAbove))
    }
    if (level.size === 0) this.#level = undefined
    return true
  }

  /**
   * RFC 9618 §5.6: policies in the words of the trust anchor, which are those of nodes right below
   * anyPolicy from which a way leads to the end of the path.
   */
  #authorityConstrained(): string[] {
    if (!this.#level) return []
    const policies = new Set<string>()
    let alive = new Set(this.#level.values())
    for (let depth = this.#levels.length - 1; depth > 0; depth--) {
      const above = new Set<PolicyNode>()
      for (const { policy, parents } of alive) {
        const isLast = depth === this.#levels.length - 1
        const belowAny = parents.some(parent => parent.policy === ANY_POLICY)
        if (belowAny && (policy !== ANY_POLICY || isLast)) policies.add(policy)
        for (const parent of parents) above.add(parent)
      }
      alive = above
    }
    return [...policies]
  }

  #userConstrained(authority: readonly string[]): string[] {
    if (this.#initial.includes(ANY_POLICY)) return [...authority]
    if (authority.includes(ANY_POLICY)) return [...this.#initial]
    return authority.filter(policy => this.#initial.includes(policy))
  }
}

interface PolicyNode {
  readonly policy: string
  expected: ReadonlySet<string>
  readonly parents: readonly PolicyNode[]
}

function node(
  policy: string,
  expected: readonly string[],
  parents: readonly PolicyNode[],
): PolicyNode {
  return { policy, expected: new Set(expected), parents }
}

function byExpectedPolicy(level: Map<string, PolicyNode>): Map<string, PolicyNode[]> {
  const nodes = new Map<string, PolicyNode[]>()
  for (const parent of level.values())
    for (const policy of parent.expected) {
      const parents = nodes.get(policy)
      if (parents) parents.push(parent)
      else nodes.set(policy, [parent])
    }
  return nodes
}
