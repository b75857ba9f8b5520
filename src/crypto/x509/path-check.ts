/**
 * What must hold for certificates in their places of a path (RFC 5280 §6.1.3 to §6.1.5), signatures
 * and revocation aside.
 *
 * @module
 */
import type { Certificate } from './certificate.ts'
import type { KeyUsage } from './extensions.ts'
import { isEmptyName, isSameName } from './name-comparison.ts'
import { areSoundConstraints, nameFault } from './name-constraints.ts'
import * as OID from './oids.ts'
import type { PathBudget } from './path-budget.ts'
import { type NameConstraints, pathExtensions } from './path-extensions.ts'
import type { PathFault, PathPolicies, PathReason } from './path-result.ts'
import { ANY_POLICY, PolicyGraph, type PolicyInputs } from './policy.ts'
import { profileFault } from './profile.ts'
import { wholeSecond } from './revocation.ts'

/** What a certificate may be wanted for, as its extended key usage names it. */
export type Purpose = keyof typeof PURPOSES

/** What is asked of the end entity. */
export interface EndEntityWish {
  readonly time: Date
  /** Left out: any. Authorities in between are held to the same purpose. */
  readonly purpose?: Purpose | undefined
  /** One of these is enough; a certificate that does not say may be used for anything. */
  readonly keyUsage?: readonly KeyUsage[] | undefined
  /** Hold all certificates to what RFC 5280 asks of their issuers: see `profileFault`. Default false. */
  readonly strictProfile?: boolean | undefined
}

/** What is wrong with the end entity, whoever is above it. */
export function faultOfEndEntity(
  certificate: Certificate,
  wish: EndEntityWish,
): PathFault | undefined {
  const { purpose, keyUsage } = wish
  const common = commonFault(certificate, wish) ?? purposeFault(certificate, purpose)
  if (common) return common
  const fault = faultMaker(certificate)
  if (keyUsage && certificate.keyUsage && !keyUsage.some(one => certificate.keyUsage!.has(one)))
    return fault('key-usage', `key may not be used for ${keyUsage.join(' or ')}`)
  if (certificate.isCertificateAuthority) return undefined
  if (pathExtensions(certificate).nameConstraints)
    return fault('malformed', 'name constraints in a certificate of no authority')
  if (certificate.keyUsage?.has('keyCertSign') && certificate.basicConstraints)
    return fault('malformed', 'keyCertSign in a certificate of no authority')
  return undefined
}

/** What keeps a certificate from issuing others, whoever they are. */
export function faultOfAuthority(
  certificate: Certificate,
  wish: EndEntityWish,
  isAnchor: boolean,
): PathFault | undefined {
  const common = commonFault(certificate, wish)
  if (common) return common
  const fault = faultMaker(certificate)
  // RFC 5280 §6.1.4 k: nothing but basicConstraints makes an authority, in version 3 and before.
  if (!certificate.isCertificateAuthority) return fault('not-an-authority', 'is no authority')
  if (certificate.keyUsage && !certificate.keyUsage.has('keyCertSign'))
    return fault('key-usage', 'key may not be used to sign certificates')
  if (isEmptyName(certificate.subject)) return fault('malformed', 'authority without a name')
  const { nameConstraints } = pathExtensions(certificate)
  if (nameConstraints && !areSoundConstraints(nameConstraints))
    return fault('name-constraints', 'name constraints cannot be understood')
  // Whoever chose an anchor chose it for mail; what stands below may be meant for something else.
  return isAnchor ? undefined : purposeFault(certificate, wish.purpose)
}

/**
 * Holds the certificates of a path against each other: lengths, names and policies.
 *
 * @param path End entity first, trust anchor last, every signature verified.
 */
export function checkTogether(
  path: readonly Certificate[],
  inputs: PolicyInputs,
  budget: PathBudget,
): PathFault | PathPolicies {
  const downwards = path.toReversed()
  const [anchor, ...below] = downwards as [Certificate, ...Certificate[]]
  // The end entity is the anchor: the operator's word is all there is.
  if (below.length === 0) return ANCHOR_POLICIES
  const policies = new PolicyGraph(inputs, below.length)
  const constraints: NameConstraints[] = []
  let pathLength = Infinity
  for (const [index, certificate] of downwards.entries()) {
    const isLast = index === below.length
    const isSelfIssued = isSameName(certificate.issuer, certificate.subject) && !isLast
    const fault = faultMaker(certificate)
    const extensions = pathExtensions(certificate)
    if (certificate !== anchor) {
      const wrong = isSelfIssued ? undefined : nameFault(certificate, constraints, budget)
      if (wrong?.fault === 'budget-exceeded') return fault(wrong.fault, 'too many names')
      if (wrong) return fault('name-constraints', `${wrong.form} is ${wrong.fault}`)
      if (!policies.process(extensions.policies, policies.mayBeAny(isSelfIssued)))
        return fault('policy', 'no policy is left that was asked for')
      if (isLast) return policies.wrapUp(extensions) ?? fault('policy', 'no policy is acceptable')
      if (!isSelfIssued && pathLength-- <= 0) return fault('path-too-long', 'too deep below')
      if (!policies.prepareNext(extensions, isSelfIssued))
        return fault('policy', 'any policy is mapped')
    } else {
      // RFC 5937 §3: an anchor that is a certificate brings its constraints with it.
      policies.restrict(extensions)
    }
    if (extensions.nameConstraints) constraints.push(extensions.nameConstraints)
    pathLength = Math.min(pathLength, certificate.basicConstraints?.pathLength ?? Infinity)
  }
  return ANCHOR_POLICIES
}

function commonFault(certificate: Certificate, wish: EndEntityWish): PathFault | undefined {
  const fault = faultMaker(certificate)
  const now = wholeSecond(wish.time)
  if (now < certificate.notBefore.getTime())
    return fault('not-yet-valid', `not valid before ${certificate.notBefore.toISOString()}`)
  if (now > certificate.notAfter.getTime())
    return fault('expired', `expired at ${certificate.notAfter.toISOString()}`)
  const [unknown] = certificate.unknownCriticalExtensions
  if (unknown !== undefined)
    return fault('unknown-critical-extension', `critical extension ${unknown} is unknown`)
  if (isEmptyName(certificate.issuer)) return fault('malformed', 'certificate without an issuer')
  try {
    pathExtensions(certificate)
    const departure = wish.strictProfile ? profileFault(certificate) : undefined
    if (departure !== undefined) return fault('malformed', departure)
  } catch {
    return fault('malformed', 'an extension cannot be read')
  }
  return undefined
}

function purposeFault(certificate: Certificate, purpose: Purpose | undefined) {
  if (!purpose || isMeantFor(certificate, purpose)) return undefined
  return faultMaker(certificate)('extended-key-usage', `not meant for ${purpose}`)
}

/** Whether a certificate names a purpose, or any, or does not say (RFC 5280 §4.2.1.12). */
export function isMeantFor({ extendedKeyUsage }: Certificate, purpose: Purpose): boolean {
  if (!extendedKeyUsage || extendedKeyUsage.has(PURPOSES[purpose])) return true
  // RFC 6960 §4.2.2.2: a responder must be named one, anything is not enough.
  return purpose !== 'OCSPSigning' && extendedKeyUsage.has(OID.ANY_PURPOSE)
}

function faultMaker(certificate: Certificate) {
  return (reason: PathReason, detail: string): PathFault => ({ reason, certificate, detail })
}

const ANCHOR_POLICIES: PathPolicies = {
  authorityConstrained: [ANY_POLICY],
  userConstrained: [ANY_POLICY],
  explicitPolicy: false,
}
const PURPOSES = {
  emailProtection: OID.EMAIL_PROTECTION,
  OCSPSigning: OID.OCSP_SIGNING,
  serverAuth: OID.SERVER_AUTH,
  clientAuth: OID.CLIENT_AUTH,
} as const
