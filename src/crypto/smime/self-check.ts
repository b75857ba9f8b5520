/**
 * What we sign we check: the finished octets are verified on their way out, as a recipient would.
 *
 *     octets ──┬────────────────────────────────────────────────▶ the same octets
 *              └─▶ header section ─▶ clear or opaque ─▶ SignedData ─▶ good, or ERR_SELF_CHECK
 *
 * Nothing is taken over from the making of the signature: boundary, digest and attributes are read
 * back from the octets. A mismatch is a fault of ours, or of our memory; the recipient never sees it.
 *
 * @module
 */
import { createHash, type Hash } from 'node:crypto'
import { PosternError } from '../../errors.ts'
import { Base64Decoder } from '../../mail/base64.ts'
import { verifyOctets } from '../algorithms.ts'
import { BerReader } from '../asn1/ber-reader.ts'
import * as OID from '../cms/oids.ts'
import {
  readSignedData,
  SIGNED_CONTENT_PATH,
  type SignedData,
  type SignerInfo,
} from '../cms/read-signed-data.ts'
import type { Signer } from '../key.ts'

/**
 * Passes a signed message, or the entity alone, through unaltered, and verifies it at its end.
 *
 * @param octets As `clearSign` and `opaqueSign` yield them; other header fields may stand in front.
 * @throws {PosternError} `ERR_SELF_CHECK`, transient. What was yielded is then void: the transaction
 *   must end without its final dot.
 */
export async function* checked(
  octets: AsyncIterable<Buffer>,
  signer: Signer,
): AsyncGenerator<Buffer, void, undefined> {
  const check = new SelfCheck(signer)
  for await (const chunk of octets) {
    check.push(chunk)
    yield chunk
  }
  await check.end()
}

/** A body that yields a SignedData and the digest of what that is about. */
interface SignedBody {
  push(chunk: Buffer): void
  end(): { readonly signedData: SignedData; readonly contentDigest: Buffer }
}

class SelfCheck {
  readonly #signer: Signer
  #header: Buffer[] = []
  #headerOctets = 0
  /** The last octets so far, in which the end of the header section may begin. */
  #seam: Buffer = NOTHING
  #body: SignedBody | undefined

  constructor(signer: Signer) {
    this.#signer = signer
  }

  push(chunk: Buffer): void {
    try {
      if (this.#body) this.#body.push(chunk)
      else this.#pushHeader(chunk)
    } catch (cause) {
      throw failed(cause)
    }
  }

  async end(): Promise<void> {
    try {
      ensure(this.#body, 'header section does not end')
      const { signedData, contentDigest } = this.#body.end()
      await requireGoodSignature(signedData, contentDigest, this.#signer)
    } catch (cause) {
      throw failed(cause)
    }
  }

  #pushHeader(chunk: Buffer): void {
    this.#header.push(chunk)
    this.#headerOctets += chunk.length
    const found = Buffer.concat([this.#seam, chunk])
    if (!found.includes(HEADER_END)) {
      this.#seam = found.subarray(1 - HEADER_END.length)
      ensure(this.#headerOctets <= MAXIMUM_HEADER_OCTETS, 'header section is too long')
      return
    }
    const octets = Buffer.concat(this.#header)
    const end = octets.indexOf(HEADER_END)
    this.#header = []
    this.#body = bodyOf(octets.toString('latin1', 0, end), this.#signer)
    this.#body.push(octets.subarray(end + HEADER_END.length))
  }
}

/** Chooses by the one Content-Type, which must say all that a recipient needs (RFC 8551 §3.5). */
function bodyOf(headerSection: string, { algorithm }: Signer): SignedBody {
  const { name, nodeName } = algorithm.digest
  const type = fieldBody(headerSection, 'content-type')
  if (type.startsWith('multipart/signed;')) {
    ensure(type.includes('; protocol="application/pkcs7-signature";'), 'protocol is wrong')
    ensure(type.includes(` micalg=${name};`), 'micalg is wrong')
    const [, boundary] = /; boundary="([\x21\x23-\x5b\x5d-\x7e]{1,70})"$/.exec(type) ?? []
    ensure(boundary, 'boundary cannot be read')
    return new ClearBody(boundary, createHash(nodeName))
  }
  ensure(type.startsWith('application/pkcs7-mime; smime-type=signed-data;'), 'type is wrong')
  ensure(fieldBody(headerSection, 'content-transfer-encoding') === 'base64', 'encoding is wrong')
  return new OpaqueBody(createHash(nodeName))
}

/** Two body parts: what is signed, and the signature (RFC 1847 §2.1). */
class ClearBody implements SignedBody {
  readonly #digest: Hash
  readonly #opening: Buffer
  readonly #delimiter: Buffer
  readonly #closing: Buffer
  #where: 'opening' | 'content' | 'signature' = 'opening'
  /** The opening delimiter so far; then octets in which a delimiter may begin. */
  #held: Buffer = NOTHING
  readonly #signature: Buffer[] = []
  #signatureOctets = 0

  constructor(boundary: string, digest: Hash) {
    this.#digest = digest
    this.#opening = Buffer.from(`--${boundary}\r\n`, 'latin1')
    this.#delimiter = Buffer.from(`\r\n--${boundary}\r\n`, 'latin1')
    this.#closing = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1')
  }

  push(chunk: Buffer): void {
    switch (this.#where) {
      case 'opening':
        this.#pushOpening(chunk)
        break
      case 'content':
        this.#pushContent(chunk)
        break
      case 'signature':
        this.#pushSignature(chunk)
        break
    }
  }

  end(): { readonly signedData: SignedData; readonly contentDigest: Buffer } {
    ensure(this.#where === 'signature', 'delimiter of the signature is missing')
    const part = Buffer.concat(this.#signature)
    const headerEnd = part.indexOf(HEADER_END)
    const end = part.length - this.#closing.length
    ensure(headerEnd >= 0 && end > headerEnd, 'signature part is not whole')
    ensure(part.subarray(end).equals(this.#closing), 'closing delimiter is missing')
    const header = part.toString('latin1', 0, headerEnd)
    const type = fieldBody(header, 'content-type')
    ensure(type === 'application/pkcs7-signature; name=smime.p7s', 'type of signature is wrong')
    ensure(fieldBody(header, 'content-transfer-encoding') === 'base64', 'encoding is wrong')
    const decoder = new Base64Decoder()
    const der = decoder.push(part.subarray(headerEnd + HEADER_END.length, end))
    decoder.end()
    const signedData = readSignedData(der)
    ensure(signedData.content === undefined, 'content stands twice')
    return { signedData, contentDigest: this.#digest.digest() }
  }

  #pushOpening(chunk: Buffer): void {
    const octets = Buffer.concat([this.#held, chunk])
    const size = this.#opening.length
    if (octets.length < size) {
      this.#held = octets
      return
    }
    ensure(octets.subarray(0, size).equals(this.#opening), 'opening delimiter is missing')
    this.#where = 'content'
    this.#held = NOTHING
    this.#pushContent(octets.subarray(size))
  }

  #pushContent(chunk: Buffer): void {
    const overlap = this.#delimiter.length - 1
    if (this.#held.length > 0) {
      // A delimiter that a chunk has cut shows where the two ends are put together.
      const seam = Buffer.concat([this.#held, chunk.subarray(0, overlap)])
      const found = seam.indexOf(this.#delimiter)
      if (found >= 0 || chunk.length < overlap) {
        this.#held = NOTHING
        this.#searchContent(
          chunk.length <= overlap ? seam : Buffer.concat([seam, chunk.subarray(overlap)]),
        )
        return
      }
      this.#digest.update(this.#held)
    }
    this.#searchContent(chunk)
  }

  /** Digests up to the delimiter, or up to where one may begin. */
  #searchContent(octets: Buffer): void {
    const found = octets.indexOf(this.#delimiter)
    if (found >= 0) {
      this.#digest.update(octets.subarray(0, found))
      this.#where = 'signature'
      this.#pushSignature(octets.subarray(found + this.#delimiter.length))
      return
    }
    const safe = Math.max(0, octets.length - (this.#delimiter.length - 1))
    this.#digest.update(octets.subarray(0, safe))
    this.#held = Buffer.from(octets.subarray(safe))
  }

  #pushSignature(chunk: Buffer): void {
    this.#signature.push(chunk)
    this.#signatureOctets += chunk.length
    ensure(this.#signatureOctets <= MAXIMUM_SIGNATURE_OCTETS, 'signature part is too long')
  }
}

/** Base64 of a SignedData with the content inside. */
class OpaqueBody implements SignedBody {
  readonly #digest: Hash
  readonly #decoder = new Base64Decoder()
  readonly #reader: BerReader

  constructor(digest: Hash) {
    this.#digest = digest
    this.#reader = new BerReader(SIGNED_CONTENT_PATH, octets => {
      digest.update(octets)
    })
  }

  push(chunk: Buffer): void {
    this.#reader.push(this.#decoder.push(chunk))
  }

  end(): { readonly signedData: SignedData; readonly contentDigest: Buffer } {
    this.#decoder.end()
    const signedData = readSignedData(this.#reader.end())
    ensure(this.#reader.contentSeen, 'content is missing')
    return { signedData, contentDigest: this.#digest.digest() }
  }
}

/** Everything that a recipient could look at says what it should. */
async function requireGoodSignature(
  { version, digestAlgorithms, contentType, certificates, signers }: SignedData,
  contentDigest: Buffer,
  signer: Signer,
): Promise<void> {
  const [info, ...others] = signers
  const [digestAlgorithm, ...moreDigests] = digestAlgorithms
  ensure(version === 1 && contentType === OID.DATA, 'SignedData is of another kind')
  ensure(info && others.length === 0, 'there is not one signer')
  ensure(digestAlgorithm && moreDigests.length === 0, 'there is not one digest')
  ensure(digestAlgorithm.octets.equals(signer.algorithm.digest.identifier), 'digest is wrong')
  ensure(holdsThose(certificates, signer), 'certificates are wrong')
  requireNames(info, signer)

  const { signedAttributes, signature } = info
  ensure(signedAttributes, 'signed attributes are missing')
  ensure(signedAttributes.contentType === OID.DATA, 'content type is wrong')
  ensure(signedAttributes.messageDigest.equals(contentDigest), 'message digest is wrong')
  const { publicKey } = signer.certificate
  const good = await verifyOctets(publicKey, signer.algorithm, signedAttributes.octets, signature)
  ensure(good, 'signature is wrong')
}

/** The SignerInfo means our certificate, and names our algorithms. */
function requireNames(info: SignerInfo, { certificate, algorithm }: Signer): void {
  const { version, identifier, digestAlgorithm, signatureAlgorithm, signedAttributes } = info
  ensure(version === 1 && identifier.kind === 'issuer-and-serial', 'signer is named otherwise')
  ensure(identifier.issuer.equals(certificate.issuer), 'issuer is wrong')
  ensure(identifier.serialNumber.equals(certificate.serialNumber), 'serial number is wrong')
  ensure(digestAlgorithm.octets.equals(algorithm.digest.identifier), 'digest is wrong')
  ensure(signatureAlgorithm.octets.equals(algorithm.identifier), 'algorithm is wrong')
  const bound = signedAttributes?.signingCertificate?.certificateDigest
  ensure(bound?.toString('hex') === certificate.fingerprint, 'signing certificate is wrong')
}

/** The certificates of the signer are there, and no others. */
function holdsThose(found: readonly Buffer[], signer: Signer): boolean {
  const { certificate, path, encryptionCertificate } = signer
  const expected = [certificate, ...path, encryptionCertificate ?? certificate]
  return (
    expected.every(({ der }) => found.some(octets => octets.equals(der))) &&
    found.every(octets => expected.some(({ der }) => octets.equals(der)))
  )
}

/** The unfolded body of a field that stands exactly once: two readers may not choose differently. */
function fieldBody(headerSection: string, name: string): string {
  const fields = headerSection
    .replaceAll(/\r\n(?=[ \t])/g, '')
    .split('\r\n')
    .filter(field => field.slice(0, name.length + 1).toLowerCase() === `${name}:`)
  ensure(fields.length === 1, `${name} does not stand there once`)
  return fields[0]!.slice(name.length + 1).trim()
}

function ensure(condition: unknown, what: string): asserts condition {
  if (!condition) throw new PosternError('ERR_SELF_CHECK', 'transient', `${WHAT}: ${what}`)
}

function failed(cause: unknown): PosternError {
  if (cause instanceof PosternError && cause.code === 'ERR_SELF_CHECK') return cause
  return new PosternError('ERR_SELF_CHECK', 'transient', WHAT, { cause })
}

const WHAT = 'signed message did not pass our own check'
const NOTHING = Buffer.alloc(0)
const HEADER_END = Buffer.from('\r\n\r\n')
const MAXIMUM_HEADER_OCTETS = 1_048_576
const MAXIMUM_SIGNATURE_OCTETS = 1_048_576
