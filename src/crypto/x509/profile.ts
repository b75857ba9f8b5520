/**
 * What RFC 5280 §4 asks of those who issue certificates, and a relying party need not check.
 *
 * Many a private authority that people do business with breaks one of these rules, and nothing is
 * gained by refusing its mail: path validation looks at them only where it is told to.
 *
 * @module
 */
import { isIP } from 'node:net'
import type { Certificate } from './certificate.ts'
import { isEmptyName } from './name-comparison.ts'
import * as OID from './oids.ts'
import { pathExtensions } from './path-extensions.ts'

/**
 * Where a certificate departs from the profile; undefined where it does not.
 * @throws {PosternError} `ERR_DER_SYNTAX` where extensions cannot be read.
 */
export function profileFault(certificate: Certificate): string | undefined {
  const { extensions, isCertificateAuthority } = certificate
  for (const oid of NEVER_CRITICAL)
    if (extensions.get(oid)?.critical) return `extension ${oid} must not be critical`
  for (const oid of ALWAYS_CRITICAL)
    if (extensions.get(oid)?.critical === false) return `extension ${oid} must be critical`
  if (isCertificateAuthority && extensions.get(OID.BASIC_CONSTRAINTS)?.critical === false)
    return 'basicConstraints of an authority must be critical'
  if (isCertificateAuthority && !certificate.subjectKeyIdentifier)
    return 'authority without a subjectKeyIdentifier'
  if (!certificate.authorityKeyIdentifier && !isOwnIssuer(certificate))
    return 'no authorityKeyIdentifier'
  return serialFault(certificate.serialNumber) ?? nameFault(certificate)
}

/**
 * RFC 5280 §4.2.1.1 spares self-signed ones the authorityKeyIdentifier; which is one is told by its
 * names here, and by the certificate having been taken for an anchor or not above.
 */
function isOwnIssuer(certificate: Certificate): boolean {
  return certificate.isSelfIssued && certificate.isCertificateAuthority
}

/** §4.1.2.2: positive, at most 20 octets. */
function serialFault(serialNumber: Buffer): string | undefined {
  if (serialNumber.length > 20) return 'serial number of more than 20 octets'
  if (serialNumber[0]! > 0x7f) return 'negative serial number'
  return serialNumber.every(octet => octet === 0) ? 'serial number is 0' : undefined
}

/** §4.2.1.6. */
function nameFault(certificate: Certificate): string | undefined {
  if (isEmptyName(certificate.subject))
    if (certificate.extensions.get(OID.SUBJECT_ALTERNATIVE_NAME)?.critical === false)
      return 'alternative names instead of a subject must be critical'
  for (const name of pathExtensions(certificate).alternativeNames)
    if (name.form === 'dNSName' && !isPreferredSyntax(name.text)) return 'dNSName is malformed'
  return undefined
}

/** RFC 1034 §3.5, and a wildcard in front, as it is in use. */
function isPreferredSyntax(host: string): boolean {
  const labels = host.replace(/^\*\./, '').split('.')
  return (
    isIP(host) === 0 && labels.every(label => /^[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?$/i.test(label))
  )
}

/** Key identifiers and authorityInformationAccess. */
const NEVER_CRITICAL = [
  OID.SUBJECT_KEY_IDENTIFIER,
  OID.AUTHORITY_KEY_IDENTIFIER,
  OID.AUTHORITY_INFORMATION_ACCESS,
]
/** nameConstraints, policyConstraints, inhibitAnyPolicy. */
const ALWAYS_CRITICAL = [OID.NAME_CONSTRAINTS, OID.POLICY_CONSTRAINTS, OID.INHIBIT_ANY_POLICY]
