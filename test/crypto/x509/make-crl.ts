/**
 * Revocation lists for tests, made to measure.
 *
 * @module
 */
import { signatureAlgorithmFor, signOctets } from '../../../src/crypto/algorithms.ts'
import { context, integer, sequence, time, tlv } from '../../../src/crypto/asn1/der-writer.ts'
import { extension, type KeyPair } from '../make-certificate.ts'

export interface CrlPlan {
  /** DER of the Name. */
  readonly issuer: Buffer
  readonly issuerKey: KeyPair
  readonly thisUpdate: Date
  readonly nextUpdate?: Date
  readonly entries?: readonly Buffer[]
  readonly extensions?: readonly Buffer[]
}

export async function makeCrlDer(plan: CrlPlan): Promise<Buffer> {
  const { issuer, issuerKey, thisUpdate, nextUpdate, entries = [] } = plan
  const { extensions = [extension('2.5.29.20', integer(1))] } = plan
  const algorithm = signatureAlgorithmFor(issuerKey.publicKey, {})
  const tbs = sequence(
    integer(1),
    algorithm.certificateIdentifier,
    issuer,
    time(thisUpdate),
    ...(nextUpdate ? [time(nextUpdate)] : []),
    ...(entries.length > 0 ? [sequence(Buffer.concat(entries))] : []),
    context(0, sequence(...extensions)),
  )
  const signature = await signOctets(issuerKey.privateKey, algorithm, tbs)
  return sequence(tbs, algorithm.certificateIdentifier, tlv(0x03, Buffer.from([0]), signature))
}

/** @param reason CRLReason; left out, the entry has no extensions. */
export function crlEntry(
  serialNumber: Buffer,
  at: Date,
  reason?: number,
  ...more: Buffer[]
): Buffer {
  const reasons =
    reason === undefined ? [] : [extension('2.5.29.21', tlv(0x0a, Buffer.from([reason])))]
  const extensions = [...reasons, ...more]
  return sequence(
    integer(serialNumber),
    time(at),
    ...(extensions.length > 0 ? [sequence(...extensions)] : []),
  )
}

/** The extension of an entry that names the issuer of the certificate. */
export function certificateIssuer(name: Buffer): Buffer {
  return extension('2.5.29.29', sequence(context(4, name)), true)
}

/** An IssuingDistributionPoint that makes a list indirect. */
export function indirect(): Buffer {
  return extension('2.5.29.28', sequence(tlv(0x84, Buffer.from([0xff]))), true)
}

export function deltaOf(number: number): Buffer {
  return extension('2.5.29.27', integer(number), true)
}

export function crlNumber(number: number): Buffer {
  return extension('2.5.29.20', integer(number))
}

/** Of the same length whatever the number. */
export function serialOf(number: number): Buffer {
  const serial = Buffer.alloc(16, 0x5a)
  serial.writeUInt32BE(number, 6)
  return serial
}
