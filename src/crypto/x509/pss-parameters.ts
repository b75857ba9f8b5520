/**
 * RSASSA-PSS-params (RFC 4055 §3.1), as they stand in certificates and in signatures over mail.
 *
 * @module
 */
import { DerReader, ifWellFormed, readOid, readSmallInteger } from '../asn1/der-reader.ts'

/** How a signature by RSASSA-PSS was made. */
export interface PssParameters {
  /** Object identifier of the digest. */
  readonly hash: string
  /** Object identifier of the digest that the mask is made by; undefined where it is not by MGF1. */
  readonly mask: string | undefined
  readonly saltOctets: number
}

/**
 * Reads the parameters. What is left out of them is SHA-1's, and a digest may bear NULL or nothing
 * (§2.1).
 *
 * @param parameters DER.
 * @returns Undefined where they are malformed, of another trailer, or where the salt is longer than any
 *   key.
 */
export function readPssParameters(parameters: Buffer): PssParameters | undefined {
  const read = ifWellFormed(() => fieldsOf(parameters))
  if (read?.trailer !== 1 || read.saltOctets > MAXIMUM_SALT_OCTETS) return undefined
  const { hash, mask, saltOctets } = read
  return { hash, mask, saltOctets }
}

function fieldsOf(parameters: Buffer) {
  const outer = new DerReader(parameters)
  const fields = outer.into(0x30)
  outer.finish()
  const hashField = fields.optionalInto(0xa0)
  const maskField = fields.optionalInto(0xa1)
  const saltField = fields.optionalInto(0xa2)
  const trailerField = fields.optionalInto(0xa3)
  fields.finish()
  const hash = hashField ? digestOid(hashField.into(0x30)) : SHA_1
  const mask = maskField ? maskOid(maskField.into(0x30)) : SHA_1
  const saltOctets = saltField ? readSmallInteger(saltField.element(0x02)) : 20
  const trailer = trailerField ? readSmallInteger(trailerField.element(0x02)) : 1
  for (const field of [hashField, maskField, saltField, trailerField]) field?.finish()
  return { hash, mask, saltOctets, trailer }
}

function maskOid(identifier: DerReader): string | undefined {
  const isMgf1 = readOid(identifier.element(0x06)) === MGF1
  const oid = digestOid(identifier.into(0x30))
  identifier.finish()
  return isMgf1 ? oid : undefined
}

function digestOid(identifier: DerReader): string {
  const oid = readOid(identifier.element(0x06))
  identifier.optional(0x05)
  identifier.finish()
  return oid
}

const MGF1 = '1.2.840.113549.1.1.8'
const SHA_1 = '1.3.14.3.2.26'
/** As long as the largest modulus leaves room for. */
const MAXIMUM_SALT_OCTETS = 1024
