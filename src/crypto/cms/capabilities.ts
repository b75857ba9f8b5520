/**
 * SMIMECapabilities: what the holder of a certificate can read, in his own signed words (RFC 8551
 * §2.5.2).
 *
 * They are advice: a list that cannot be read says nothing, and spoils no signature.
 *
 * @module
 */
import { DerReader, ifWellFormed, readOid } from '../asn1/der-reader.ts'
import { oid, sequence } from '../asn1/der-writer.ts'

/** One of SMIMECapabilities. */
export interface Capability {
  readonly oid: string
  /** DER of the parameters; undefined where absent. */
  readonly parameters: Buffer | undefined
}

/** In the order of preference. To be taken from verified signatures alone (RFC 8551 §2.7.1). */
export type Capabilities = readonly Capability[]

/**
 * Reads the one value of the attribute.
 *
 * @param der SMIMECapabilities ::= SEQUENCE OF SMIMECapability.
 * @returns Copies, the first 64; none where the list cannot be read or is longer than 8 KiB.
 */
export function readCapabilities(der: Buffer): Capabilities {
  if (der.length > MAX_OCTETS) return []
  return ifWellFormed(() => listOf(new DerReader(Buffer.from(der)))) ?? []
}

/** DER of SMIMECapabilities; the first 64, and of parameters no more than fits into 8 KiB. */
export function writeCapabilities(capabilities: Capabilities): Buffer {
  const elements: Buffer[] = []
  let size = HEADER_OCTETS
  for (const { oid: type, parameters } of capabilities.slice(0, MAX_CAPABILITIES)) {
    const element = sequence(oid(type), ...(parameters ? [parameters] : []))
    size += element.length
    if (size > MAX_OCTETS) break
    elements.push(element)
  }
  return sequence(...elements)
}

function listOf(outer: DerReader): Capability[] {
  const list = outer.into(0x30)
  outer.finish()
  const capabilities: Capability[] = []
  while (!list.done && capabilities.length < MAX_CAPABILITIES) {
    const capability = list.into(0x30)
    const type = readOid(capability.element(0x06))
    const parameters = capability.done ? undefined : capability.element().octets
    capability.finish()
    capabilities.push({ oid: type, parameters })
  }
  return capabilities
}

const MAX_CAPABILITIES = 64
/** Ten times what the longest lists in use take. */
const MAX_OCTETS = 8_192
const HEADER_OCTETS = 4
