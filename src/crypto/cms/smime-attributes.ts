/**
 * What a signer says of himself for those who answer: what he can decrypt, and by which certificate
 * (RFC 8551 §2.5.2, §2.5.3).
 *
 * Nothing here decides about a signature: what cannot be read is not there.
 *
 * @module
 */
import { DerReader, ifWellFormed } from '../asn1/der-reader.ts'
import type { Certificate } from '../x509/certificate.ts'
import { isSameName } from '../x509/name-comparison.ts'
import { type Capabilities, readCapabilities } from './capabilities.ts'
import * as OID from './oids.ts'
import { readIssuerAndSerial, type SignedAttributes } from './read-signed-data.ts'

/** The capabilities that a signer states; none where they cannot be read. */
export function capabilitiesOf({ values }: SignedAttributes): Capabilities {
  const value = onlyOne(values.get(OID.SMIME_CAPABILITIES))
  return value ? readCapabilities(value) : []
}

/** The certificate among these that a signer wants to be encrypted to. */
export function preferredCertificate(
  { values }: SignedAttributes,
  certificates: readonly Certificate[],
): Certificate | undefined {
  const value = onlyOne(values.get(OID.ENCRYPTION_KEY_PREFERENCE))
  const isMeant = value && ifWellFormed(() => readPreference(new DerReader(value)))
  return isMeant && certificates.find(certificate => ifWellFormed(() => isMeant(certificate)))
}

/** The tags of the CHOICE are implicit, as all of the module (RFC 8551 §A). */
function readPreference(choice: DerReader): (certificate: Certificate) => boolean {
  switch (choice.nextTag) {
    case 0xa0: {
      const { issuer, serialNumber } = readIssuerAndSerial(choice.into(0xa0))
      return certificate =>
        certificate.serialNumber.equals(serialNumber) && isSameName(certificate.issuer, issuer)
    }
    case 0xa1:
      return bearing(choice.into(0xa1).element(0x04).content)
    default:
      return bearing(choice.element(0x82).content)
  }
}

function bearing(keyIdentifier: Buffer): (certificate: Certificate) => boolean {
  return certificate => certificate.subjectKeyIdentifier?.equals(keyIdentifier) ?? false
}

function onlyOne(values: readonly Buffer[] | undefined): Buffer | undefined {
  return values?.length === 1 ? values[0] : undefined
}
