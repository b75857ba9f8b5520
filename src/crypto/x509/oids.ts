/**
 * Object identifiers of certificates, revocation lists and OCSP (RFC 5280 §A, RFC 6960 §B).
 *
 * @module
 */

// Extensions of certificates.
export const SUBJECT_KEY_IDENTIFIER = '2.5.29.14'
export const KEY_USAGE = '2.5.29.15'
export const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17'
export const BASIC_CONSTRAINTS = '2.5.29.19'
export const NAME_CONSTRAINTS = '2.5.29.30'
export const DISTRIBUTION_POINTS = '2.5.29.31'
export const CERTIFICATE_POLICIES = '2.5.29.32'
export const POLICY_MAPPINGS = '2.5.29.33'
export const AUTHORITY_KEY_IDENTIFIER = '2.5.29.35'
export const POLICY_CONSTRAINTS = '2.5.29.36'
export const EXTENDED_KEY_USAGE = '2.5.29.37'
export const INHIBIT_ANY_POLICY = '2.5.29.54'
export const AUTHORITY_INFORMATION_ACCESS = '1.3.6.1.5.5.7.1.1'

// Of revocation lists, and of their entries.
export const CRL_NUMBER = '2.5.29.20'
export const REASON_CODE = '2.5.29.21'
export const DELTA_INDICATOR = '2.5.29.27'
export const ISSUING_DISTRIBUTION_POINT = '2.5.29.28'
export const CERTIFICATE_ISSUER = '2.5.29.29'

// Purposes of keys.
export const ANY_PURPOSE = '2.5.29.37.0'
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
export const EMAIL_PROTECTION = '1.3.6.1.5.5.7.3.4'
export const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9'

// Names that people are known by.
export const COMMON_NAME = '2.5.4.3'
export const EMAIL_ADDRESS = '1.2.840.113549.1.9.1'
/** RFC 9598 §3. */
export const SMTP_UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9'
