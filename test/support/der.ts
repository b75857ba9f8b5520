/**
 * Looks through all elements of a structure, whatever it means, as our reader sees them.
 *
 * @module
 */
import { DerReader } from '../../src/crypto/asn1/der-reader.ts'

/** @throws {PosternError} `ERR_DER_SYNTAX`. */
export function requireDer(octets: Buffer): void {
  const readers = [new DerReader(octets)]
  for (let reader = readers.at(-1); reader !== undefined; reader = readers.at(-1)) {
    if (reader.done) readers.pop()
    else if (reader.nextTag & 0x20) readers.push(reader.into(reader.nextTag))
    else reader.element()
  }
}
