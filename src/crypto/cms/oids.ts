/**
 * Object identifiers of CMS and of S/MIME's attributes (RFC 5652 §14, RFC 8551 §A).
 *
 * @module
 */
export const DATA = '1.2.840.113549.1.7.1'
export const SIGNED_DATA = '1.2.840.113549.1.7.2'
export const ENVELOPED_DATA = '1.2.840.113549.1.7.3'
export const AUTH_ENVELOPED_DATA = '1.2.840.113549.1.9.16.1.23'
export const COMPRESSED_DATA = '1.2.840.113549.1.9.16.1.9'

export const CONTENT_TYPE = '1.2.840.113549.1.9.3'
export const MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
export const SIGNING_TIME = '1.2.840.113549.1.9.5'
export const SMIME_CAPABILITIES = '1.2.840.113549.1.9.15'
export const ENCRYPTION_KEY_PREFERENCE = '1.2.840.113549.1.9.16.2.11'
export const SIGNING_CERTIFICATE = '1.2.840.113549.1.9.16.2.12'
export const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47'

export const AES_128_CBC = '2.16.840.1.101.3.4.1.2'
export const AES_128_GCM = '2.16.840.1.101.3.4.1.6'
export const AES_192_CBC = '2.16.840.1.101.3.4.1.22'
export const AES_192_GCM = '2.16.840.1.101.3.4.1.26'
export const AES_256_CBC = '2.16.840.1.101.3.4.1.42'
export const AES_256_GCM = '2.16.840.1.101.3.4.1.46'

export const EC_PUBLIC_KEY = '1.2.840.10045.2.1'
export const X25519 = '1.3.101.110'
