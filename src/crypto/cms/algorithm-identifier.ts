/**
 * Small parts of CMS structures that every reader wants.
 *
 * @module
 */
import { DerReader, type Element, readOid } from '../asn1/der-reader.ts'

/** An algorithm and its parameters, which are not looked into (RFC 5652 §10.1). */
export interface AlgorithmIdentifier {
  readonly oid: string
  /** DER of the parameters; undefined where absent. */
  readonly parameters: Buffer | undefined
  /** DER of the whole. */
  readonly octets: Buffer
}

/** @throws {PosternError} `ERR_DER_SYNTAX`. */
export function readAlgorithm({ octets, content }: Element): AlgorithmIdentifier {
  const algorithm = new DerReader(content)
  const oid = readOid(algorithm.element(0x06))
  const parameters = algorithm.done ? undefined : algorithm.element().octets
  algorithm.finish()
  return { oid, parameters, octets }
}

/**
 * The next OCTET STRING, which may be in segments: what a streaming writer has made of a small one.
 * @throws {PosternError} `ERR_DER_SYNTAX`.
 */
export function readOctets(reader: DerReader): Buffer {
  const segments = reader.optionalInto(0x24)
  if (!segments) return reader.element(0x04).content
  const gathered: Buffer[] = []
  while (!segments.done) gathered.push(segments.element(0x04).content)
  return Buffer.concat(gathered)
}
