/**
 * The extensions that speak of other certificates: what path validation and revocation look at
 * (RFC 5280 §4.2.1.4 to §4.2.1.15).
 *
 * Read when they are asked for, so that certificates that are only shown or searched cost less.
 *
 * @module
 */
import {
  DerReader,
  type Element,
  readFlags,
  readOid,
  readSmallInteger,
  syntaxError,
} from '../asn1/der-reader.ts'
import type { Certificate } from './certificate.ts'
import type { Extensions } from './extensions.ts'
import { type GeneralName, readGeneralName, readGeneralNames } from './general-name.ts'
import * as OID from './oids.ts'

export interface PathExtensions {
  /** Subject alternative names; empty where there are none. */
  readonly alternativeNames: readonly GeneralName[]
  readonly nameConstraints: NameConstraints | undefined
  /** Object identifiers; undefined where the certificate does not say. */
  readonly policies: readonly string[] | undefined
  readonly policyMappings: readonly PolicyMapping[]
  /** Number of certificates below after which it holds; undefined: never. */
  readonly requireExplicitPolicy: number | undefined
  readonly inhibitPolicyMapping: number | undefined
  readonly inhibitAnyPolicy: number | undefined
  readonly distributionPoints: readonly DistributionPoint[]
  /** OCSP responders by URL (RFC 5280 §4.2.2.1). */
  readonly ocspLocations: readonly string[]
}

/** RFC 5280 §4.2.1.10. Names in them are patterns. */
export interface NameConstraints {
  readonly permitted: readonly GeneralName[]
  readonly excluded: readonly GeneralName[]
  /** A minimum or maximum stands there, which no name form of RFC 5280 uses. */
  readonly hasDistances: boolean
}

export interface PolicyMapping {
  readonly issuerDomain: string
  readonly subjectDomain: string
}

/** RFC 5280 §4.2.1.13. */
export interface DistributionPoint {
  readonly name: DistributionPointName | undefined
  /** Bits of ReasonFlags; undefined: all reasons. */
  readonly reasons: readonly number[] | undefined
  /** Directory names of whoever signs the list, where it is not the issuer. */
  readonly crlIssuers: readonly GeneralName[] | undefined
}

/** Names, or one relative distinguished name below that of the list's issuer. */
export type DistributionPointName =
  | { readonly kind: 'full'; readonly names: readonly GeneralName[] }
  | { readonly kind: 'relative'; readonly set: Buffer }

/**
 * What a certificate says of the certificates around it.
 * @throws {PosternError} `ERR_DER_SYNTAX`.
 */
export function pathExtensions(certificate: Certificate): PathExtensions {
  let read = READ.get(certificate)
  if (!read) {
    read = readPathExtensions(certificate.extensions)
    READ.set(certificate, read)
  }
  return read
}

function readPathExtensions(extensions: Extensions): PathExtensions {
  const value = <T>(oid: string, read: (reader: DerReader) => T): T | undefined => {
    const extension = extensions.get(oid)
    if (!extension) return undefined
    const outer = new DerReader(extension.value)
    const result = read(outer)
    outer.finish()
    return result
  }
  const constraints = value(OID.POLICY_CONSTRAINTS, outer =>
    readPolicyConstraints(outer.into(0x30)),
  )
  return {
    alternativeNames:
      value(OID.SUBJECT_ALTERNATIVE_NAME, outer => readGeneralNames(outer.into(0x30))) ?? [],
    nameConstraints: value(OID.NAME_CONSTRAINTS, outer => readNameConstraints(outer.into(0x30))),
    policies: value(OID.CERTIFICATE_POLICIES, outer => readPolicies(outer.into(0x30))),
    policyMappings: value(OID.POLICY_MAPPINGS, outer => readPolicyMappings(outer.into(0x30))) ?? [],
    requireExplicitPolicy: constraints?.requireExplicitPolicy,
    inhibitPolicyMapping: constraints?.inhibitPolicyMapping,
    inhibitAnyPolicy: value(OID.INHIBIT_ANY_POLICY, outer => readSkipCerts(outer.element(0x02))),
    distributionPoints:
      value(OID.DISTRIBUTION_POINTS, outer => readDistributionPoints(outer.into(0x30))) ?? [],
    ocspLocations:
      value(OID.AUTHORITY_INFORMATION_ACCESS, outer => readOcspLocations(outer.into(0x30))) ?? [],
  }
}

/** A DistributionPointName, which issuing distribution points of revocation lists have too. */
export function readDistributionPointName(choice: DerReader): DistributionPointName {
  const full = choice.optionalInto(0xa0)
  if (full) return { kind: 'full', names: readGeneralNames(full) }
  return { kind: 'relative', set: choice.element(0xa1).content }
}

function readNameConstraints(sequence: DerReader): NameConstraints {
  const permitted = readSubtrees(sequence.optionalInto(0xa0))
  const excluded = readSubtrees(sequence.optionalInto(0xa1))
  sequence.finish()
  const hasDistances = permitted.hasDistances || excluded.hasDistances
  return { permitted: permitted.bases, excluded: excluded.bases, hasDistances }
}

function readSubtrees(list: DerReader | undefined) {
  const bases: GeneralName[] = []
  let hasDistances = false
  while (list && !list.done) {
    const subtree = list.into(0x30)
    bases.push(readGeneralName(subtree))
    const minimum = subtree.optional(0x80)
    if (minimum && !(minimum.content.length === 1 && minimum.content[0] === 0)) hasDistances = true
    if (subtree.optional(0x81)) hasDistances = true
    subtree.finish()
  }
  return { bases, hasDistances }
}

/** RFC 5280 §4.2.1.4: a policy must not stand twice. */
function readPolicies(list: DerReader): string[] {
  const policies = new Set<string>()
  for (; !list.done; ) {
    const information = list.into(0x30)
    const policy = readOid(information.element(0x06))
    information.optional(0x30) // policyQualifiers
    information.finish()
    if (policies.has(policy)) throw syntaxError(list.offset, `policy ${policy} stands twice`)
    if (policies.size >= MAXIMUM_POLICIES) throw syntaxError(list.offset, 'too many policies')
    policies.add(policy)
  }
  return [...policies]
}

function readPolicyMappings(list: DerReader): PolicyMapping[] {
  const mappings: PolicyMapping[] = []
  while (!list.done) {
    const mapping = list.into(0x30)
    const issuerDomain = readOid(mapping.element(0x06))
    const subjectDomain = readOid(mapping.element(0x06))
    mapping.finish()
    if (mappings.length >= MAXIMUM_POLICIES) throw syntaxError(list.offset, 'too many mappings')
    mappings.push({ issuerDomain, subjectDomain })
  }
  return mappings
}

function readPolicyConstraints(sequence: DerReader) {
  const explicit = sequence.optional(0x80)
  const mapping = sequence.optional(0x81)
  sequence.finish()
  return {
    requireExplicitPolicy: explicit && readSkipCerts(explicit),
    inhibitPolicyMapping: mapping && readSkipCerts(mapping),
  }
}

/** SkipCerts ::= INTEGER (0..MAX). */
function readSkipCerts(element: Element): number {
  return readSmallInteger(element)
}

/** CRLDistributionPoints (§4.2.1.13). */
function readDistributionPoints(list: DerReader): DistributionPoint[] {
  const points: DistributionPoint[] = []
  while (!list.done) {
    const point = list.into(0x30)
    const choice = point.optionalInto(0xa0)
    const name = choice && readDistributionPointName(choice)
    const flags = point.optional(0x81)
    const issuers = point.optionalInto(0xa2)
    point.finish()
    if (points.length >= MAXIMUM_POINTS) throw syntaxError(list.offset, 'too many points')
    const crlIssuers = issuers && readGeneralNames(issuers)
    points.push({ name, reasons: flags && readFlags(flags), crlIssuers })
  }
  return points
}

function readOcspLocations(list: DerReader): string[] {
  const locations: string[] = []
  while (!list.done) {
    const description = list.into(0x30)
    const method = readOid(description.element(0x06))
    const location = readGeneralName(description)
    description.finish()
    if (method === OCSP && location.form === 'uniformResourceIdentifier')
      locations.push(location.text)
  }
  return locations
}

const READ = new WeakMap<Certificate, PathExtensions>()
const OCSP = '1.3.6.1.5.5.7.48.1'
const MAXIMUM_POLICIES = 1000
const MAXIMUM_POINTS = 100
