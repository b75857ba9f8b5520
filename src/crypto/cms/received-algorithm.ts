/**
 * How a signature that came in is to be verified: the row of the table that its AlgorithmIdentifiers
 * mean (RFC 5652 §10.1.2), or why there is none.
 *
 * @module
 */
import {
  type DigestAlgorithm,
  RECEIVED_SIGNATURES,
  receivedDigestByOid,
  type SignatureAlgorithm,
} from '../algorithms.ts'
import { DerReader, readOid } from '../asn1/der-reader.ts'
import { readPssParameters } from '../x509/pss-parameters.ts'
import type { AlgorithmIdentifier } from './algorithm-identifier.ts'

/** What is to be calculated. */
export interface ReceivedAlgorithm extends SignatureAlgorithm {
  readonly kind: 'known'
  /** Of RSASSA-PSS alone. */
  readonly saltOctets: number | undefined
}

/**
 * Why nothing is calculated: of no known kind; of a kind that everybody can forge; two places that
 * name two digests; or parameters that such an algorithm does not have.
 */
export interface AlgorithmFault {
  readonly kind: 'refused'
  readonly reason:
    | 'algorithm-unknown'
    | 'algorithm-refused'
    | 'algorithm-mismatch'
    | 'algorithm-parameters'
  readonly detail: string
}

/** The digest of an AlgorithmIdentifier. Its parameters are absent or NULL (RFC 5754 §2). */
export function receivedDigest({
  oid,
  parameters,
}: AlgorithmIdentifier): DigestAlgorithm | AlgorithmFault {
  const digest = receivedDigestByOid(oid)
  if (!digest)
    return BROKEN_DIGESTS.has(oid)
      ? fault('algorithm-refused', 'the digest is broken')
      : fault('algorithm-unknown', 'the digest is not known')
  return isAbsent(parameters) ? digest : BAD_PARAMETERS
}

/**
 * The algorithm of a SignerInfo.
 *
 * Wherever the signature algorithm names a digest it must be the one of the SignerInfo: two that
 * differ are two readings (RFC 5652 §5.3, RFC 4056 §3, RFC 5753 §2.1.1).
 *
 * @param digest What `digestAlgorithm` of the SignerInfo means.
 */
export function receivedAlgorithm(
  signature: AlgorithmIdentifier,
  digest: DigestAlgorithm,
): ReceivedAlgorithm | AlgorithmFault {
  const { oid, parameters } = signature
  if (oid === RSASSA_PSS) return pssAlgorithm(parameters, digest)
  const named = RECEIVED_SIGNATURES.filter(row => row.oid === oid || isCertificateOid(row, oid))
  if (named.length === 0)
    return REFUSED_SIGNATURES.has(oid)
      ? fault('algorithm-refused', 'the signature algorithm is not one to be relied upon')
      : fault('algorithm-unknown', 'the signature algorithm is not known')
  const row = named.find(candidate => candidate.digest === digest)
  if (!row) return fault('algorithm-mismatch', 'signature and signer name two digests')
  if (!isAbsent(parameters)) return BAD_PARAMETERS
  return { ...row, kind: 'known', saltOctets: undefined }
}

/** The object identifier that names the digest too, as it stands in certificates. */
function isCertificateOid({ padding, certificateIdentifier }: SignatureAlgorithm, oid: string) {
  if (padding !== 'pkcs1') return false
  return readOid(new DerReader(certificateIdentifier).into(0x30).element(0x06)) === oid
}

/** RFC 4055 §3.1: parameters must be there. */
function pssAlgorithm(
  parameters: Buffer | undefined,
  digest: DigestAlgorithm,
): ReceivedAlgorithm | AlgorithmFault {
  const read = parameters && readPssParameters(parameters)
  if (!read) return BAD_PARAMETERS
  const { hash, mask, saltOctets } = read
  if (hash !== digest.oid)
    return fault('algorithm-mismatch', 'signature and signer name two digests')
  if (mask !== hash) return fault('algorithm-unknown', 'the mask is made by another digest')
  const row = RECEIVED_SIGNATURES.find(
    candidate => candidate.padding === 'pss' && candidate.digest === digest,
  )
  return row ? { ...row, kind: 'known', saltOctets } : BAD_PARAMETERS
}

function isAbsent(parameters: Buffer | undefined): boolean {
  return parameters === undefined || parameters.equals(NULL)
}

function fault(reason: AlgorithmFault['reason'], detail: string): AlgorithmFault {
  return { kind: 'refused', reason, detail }
}

const NULL = Buffer.from([0x05, 0x00])
const RSASSA_PSS = '1.2.840.113549.1.1.10'
const BAD_PARAMETERS = fault('algorithm-parameters', 'the algorithm has other parameters')

/** MD2, MD4, MD5 (RFC 8551 §B). */
const BROKEN_DIGESTS: ReadonlySet<string> = new Set([
  '1.2.840.113549.2.2',
  '1.2.840.113549.2.4',
  '1.2.840.113549.2.5',
])
/** RSA with those, and DSA. */
const REFUSED_SIGNATURES: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.2',
  '1.2.840.113549.1.1.3',
  '1.2.840.113549.1.1.4',
  '1.2.840.10040.4.1',
  '1.2.840.10040.4.3',
  '2.16.840.1.101.3.4.3.1',
  '2.16.840.1.101.3.4.3.2',
])
