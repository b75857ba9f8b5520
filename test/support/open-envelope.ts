/**
 * Opens what Postern has encrypted, by code that shares nothing with Postern's: a BER reader of thirty
 * lines, identifiers as they stand in the RFCs in hexadecimal, and node:crypto.
 *
 * It checks what it passes: versions, lengths of keys, nonces and tags. For tests alone; it trusts that
 * structures are small and well meant.
 *
 * @module
 */
import {
  constants,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto'

/** What was found on the way to the content. */
export interface Opened {
  readonly content: Buffer
  readonly authenticated: boolean
  readonly version: number
  /** Content octets of the OIDs, in hexadecimal. */
  readonly cipher: string
  readonly management: string
  /** The recipient was named by its subject key identifier. */
  readonly byKeyIdentifier: boolean
  readonly recipients: number
  readonly contentKey: Buffer
  readonly nonce: Buffer
  /** No length was indefinite. */
  readonly definite: boolean
}

/** Who opens: the DER of the certificate, and its private key. */
export interface Opener {
  readonly der: Buffer
  readonly privateKey: KeyObject
}

/** Opens an application/pkcs7-mime entity; other fields may stand in front. */
export function openEntity(entity: Buffer, opener: Opener): Opened {
  return openEnvelope(bodyOf(entity), opener)
}

/** The decoded body of an entity whose body is base64. */
export function bodyOf(entity: Buffer): Buffer {
  const text = entity.toString('latin1')
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  const lines = body.split('\r\n')
  if (lines.pop() !== '' || lines.slice(0, -1).some(line => line.length !== 76))
    throw new Error('base64 does not stand in lines of 76')
  if (!lines.every(line => /^[A-Za-z0-9+/]{1,76}={0,2}$/.test(line))) throw new Error('not base64')
  return Buffer.from(body, 'base64')
}

/** Opens a ContentInfo. Throws where anything is not as it should be. */
export function openEnvelope(der: Buffer, opener: Opener): Opened {
  const root = read(der, 0)
  if (root.end !== der.length) throw new Error('octets behind the end')
  const [type, wrapped] = root.children
  const authenticated = hexOf(type) === '2a864886f70d0109100117'
  if (!authenticated && hexOf(type) !== '2a864886f70d010703') throw new Error('not enveloped')
  const [version, infos, eci, ...after] = wrapped!.children[0]!.children
  const { contentKey, ...rest } = keyFrom(infos!, opener)
  const [contentType, algorithm, encrypted] = eci!.children
  if (hexOf(contentType) !== '2a864886f70d010701') throw new Error('content is not data')
  const ciphertext = joined(encrypted!)
  const [oid, parameters] = algorithm!.children
  const cipher = hexOf(oid)
  const nonce = authenticated ? parameters!.children[0]!.content : parameters!.content
  const name = `aes-${contentKey.length * 8}-${authenticated ? 'gcm' : 'cbc'}`
  if (CIPHERS[cipher] !== name) throw new Error(`${cipher} is not ${name}`)
  const found = { authenticated, version: version!.content[0]!, cipher, contentKey, nonce, ...rest }
  const definite = isDefinite(root)

  if (!authenticated) {
    if (after.length > 0 || nonce.length !== 16) throw new Error('EnvelopedData is odd')
    const running = createDecipheriv(name, contentKey, nonce)
    return {
      ...found,
      content: Buffer.concat([running.update(ciphertext), running.final()]),
      definite,
    }
  }
  // RFC 5084: ICVlen is that of the tag, and written.
  const tag = after[0]!.content
  if (after.length !== 1 || nonce.length !== 12 || tag.length !== 16) throw new Error('GCM is odd')
  if (parameters!.children[1]!.content[0] !== 16) throw new Error('ICVlen is not 16')
  const running = createDecipheriv(name as 'aes-256-gcm', contentKey, nonce)
  running.setAuthTag(tag)
  return {
    ...found,
    content: Buffer.concat([running.update(ciphertext), running.final()]),
    definite,
  }
}

type Found = Pick<Opened, 'management' | 'byKeyIdentifier' | 'recipients' | 'contentKey'>

/** The content key from the one RecipientInfo that is the opener's. */
function keyFrom(infos: Node, opener: Opener): Found {
  const { issuerAndSerial, keyIdentifier } = namesOf(opener.der)
  const mine = infos.children.filter(info => {
    const names =
      info.tag === 0x30 ? info.children[1]! : info.children[3]!.children[0]!.children[0]!
    return names.whole.equals(issuerAndSerial) || names.whole.subarray(-20).equals(keyIdentifier)
  })
  if (mine.length !== 1) throw new Error(`${mine.length} RecipientInfos are the opener's`)
  const [info] = mine as [Node]
  const recipients = infos.children.length
  return info.tag === 0x30
    ? { ...transported(info, opener.privateKey), recipients }
    : { ...agreed(info, opener.privateKey), recipients }
}

function transported(info: Node, key: KeyObject): Omit<Found, 'recipients'> {
  const [version, name, algorithm, encryptedKey] = info.children
  const byKeyIdentifier = name!.tag === 0x80
  if (version!.content[0] !== (byKeyIdentifier ? 2 : 0)) throw new Error('version of the info')
  const [oid, parameters] = algorithm!.children
  const management = hexOf(oid)
  if (management === '2a864886f70d010101') {
    if (parameters!.tag !== 5) throw new Error('rsaEncryption without NULL')
    const padding = constants.RSA_PKCS1_PADDING
    const contentKey = privateDecrypt({ key, padding }, encryptedKey!.content)
    return { management, byKeyIdentifier, contentKey }
  }
  const digests = OAEP[parameters!.whole.toString('hex')]
  if (management !== '2a864886f70d010107' || !digests) throw new Error('key transport is unknown')
  const raw = privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, encryptedKey!.content)
  const contentKey = unpadded(raw, ...digests)
  return { management: `${management} ${digests.join(' ')}`, byKeyIdentifier, contentKey }
}

/** RFC 8017 §7.1.2, step 3. */
function unpadded(raw: Buffer, labelDigest: string, maskDigest: string): Buffer {
  const label = createHash(labelDigest).digest()
  const maskedBlock = raw.subarray(1 + label.length)
  const seed = xor(raw.subarray(1, 1 + label.length), mgf1(maskedBlock, label.length, maskDigest))
  const block = xor(maskedBlock, mgf1(seed, maskedBlock.length, maskDigest))
  const end = block.indexOf(1, label.length)
  const zeros = block.subarray(label.length, end).every(octet => octet === 0)
  if (raw[0] !== 0 || !block.subarray(0, label.length).equals(label) || end < 0 || !zeros)
    throw new Error('OAEP is odd')
  return block.subarray(end + 1)
}

function mgf1(seed: Buffer, size: number, digest: string): Buffer {
  const blocks = Array.from({ length: Math.ceil(size / 20) }, (_, index) =>
    createHash(digest)
      .update(Buffer.concat([seed, Buffer.from([0, 0, 0, index])]))
      .digest(),
  )
  return Buffer.concat(blocks).subarray(0, size)
}

function xor(one: Buffer, other: Buffer): Buffer {
  return Buffer.from(one.map((octet, index) => octet ^ other[index]!))
}

function agreed(info: Node, privateKey: KeyObject): Omit<Found, 'recipients'> {
  const [version, originator, algorithm, encryptedKeys] = info.children
  if (version!.content[0] !== 3 || info.children.length !== 4) throw new Error('KeyAgree is odd')
  const [originatorAlgorithm, point] = originator!.children[0]!.children
  if (originatorAlgorithm!.children.length !== 1) throw new Error('originator has parameters')
  const own = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const octets = point!.content.subarray(1)
  const theirs = Buffer.concat([own.subarray(0, -octets.length), octets])
  const publicKey = createPublicKey({ key: theirs, format: 'der', type: 'spki' })
  const secret = diffieHellman({ privateKey, publicKey })

  const [oid, wrap] = algorithm!.children
  const [names, encryptedKey] = encryptedKeys!.children[0]!.children
  const size = encryptedKey!.content.length - 8
  const shared = Buffer.from(`3015${WRAPS[size]}a206040400000${SIZES[size]}`, 'hex')
  if (wrap!.whole.toString('hex') !== WRAPS[size]) throw new Error('wraps by a key of another size')
  const management = hexOf(oid)
  const key = DERIVATIONS[management]!(secret, shared, size)
  const running = createDecipheriv(`id-aes${size * 8}-wrap`, key, Buffer.alloc(8, 0xa6))
  const contentKey = Buffer.concat([running.update(encryptedKey!.content), running.final()])
  return { management, byKeyIdentifier: names!.tag === 0xa0, contentKey }
}

type Derivation = (secret: Buffer, shared: Buffer, size: number) => Buffer

function x963(digest: string): Derivation {
  return (secret, shared, size) =>
    createHash(digest)
      .update(Buffer.concat([secret, Buffer.from('00000001', 'hex'), shared]))
      .digest()
      .subarray(0, size)
}

const DERIVATIONS: Readonly<Record<string, Derivation>> = {
  '2b8104010b01': x963('sha256'),
  '2b8104010b02': x963('sha384'),
  '2b8104010b03': x963('sha512'),
  '2a864886f70d0109100313': (secret, shared, size) =>
    Buffer.from(hkdfSync('sha256', secret, '', shared, size)),
}
const WRAPS: Readonly<Record<number, string>> = {
  16: '300b0609608648016503040105',
  24: '300b0609608648016503040119',
  32: '300b060960864801650304012d',
}
const SIZES: Readonly<Record<number, string>> = { 16: '080', 24: '0c0', 32: '100' }
const OAEP: Readonly<Record<string, readonly [string, string]>> = {
  '3000': ['sha1', 'sha1'],
  '3011a00f300d06096086480165030402010500': ['sha256', 'sha1'],
  '302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500':
    ['sha256', 'sha256'],
}
const CIPHERS: Readonly<Record<string, string>> = {
  '608648016503040102': 'aes-128-cbc',
  '608648016503040116': 'aes-192-cbc',
  '60864801650304012a': 'aes-256-cbc',
  '608648016503040106': 'aes-128-gcm',
  '60864801650304012e': 'aes-256-gcm',
}

interface Node {
  readonly tag: number
  readonly content: Buffer
  readonly whole: Buffer
  readonly children: readonly Node[]
  readonly indefinite: boolean
  readonly end: number
}

function read(octets: Buffer, start: number): Node {
  const tag = octets[start]!
  const first = octets[start + 1]!
  const extra = first > 0x80 ? first & 0x7f : 0
  const from = start + 2 + extra
  const indefinite = first === 0x80
  const size = extra === 0 ? first : octets.readUIntBE(start + 2, extra)
  const stop = indefinite ? Number.POSITIVE_INFINITY : from + size
  const children: Node[] = []
  let at = from
  while (tag & 0x20 && at < stop && (!indefinite || octets.readUInt16BE(at) !== 0)) {
    const child = read(octets, at)
    children.push(child)
    at = child.end
  }
  const last = indefinite ? at : stop
  if (last > octets.length || (tag & 0x20 && last !== at)) throw new Error('BER is malformed')
  const end = indefinite ? at + 2 : stop
  const content = octets.subarray(from, last)
  return { tag, content, whole: octets.subarray(start, end), children, indefinite, end }
}

function joined(node: Node): Buffer {
  if (node.tag === 0x80) return node.content
  if (node.tag !== 0xa0 || !node.children.every(({ tag }) => tag === 0x04))
    throw new Error('encrypted content is odd')
  return Buffer.concat(node.children.map(({ content }) => content))
}

function isDefinite(node: Node): boolean {
  return !node.indefinite && node.children.every(isDefinite)
}

function hexOf(node: Node | undefined): string {
  return node!.content.toString('hex')
}

function namesOf(der: Buffer): { issuerAndSerial: Buffer; keyIdentifier: Buffer } {
  const [, serial, , issuer] = read(der, 0).children[0]!.children
  const inside = Buffer.concat([issuer!.whole, serial!.whole])
  const issuerAndSerial = Buffer.concat([sequenceHeader(inside.length), inside])
  const at = der.indexOf(Buffer.from('0603551d0e', 'hex'))
  return { issuerAndSerial, keyIdentifier: der.subarray(at + 9, at + 29) }
}

function sequenceHeader(size: number): Buffer {
  if (size < 128) return Buffer.from([0x30, size])
  return size < 256 ? Buffer.from([0x30, 0x81, size]) : Buffer.from([0x30, 0x82, size >> 8, size])
}
