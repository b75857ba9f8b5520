/**
 * Cipher texts that are good, and such as an attacker would send: each kind of wrong that decryption can
 * meet, all of one size.
 *
 * @module
 */
import { constants, createCipheriv, type KeyObject, publicEncrypt, randomBytes } from 'node:crypto'
import type { Certificate } from '../../src/crypto/x509/certificate.ts'
import { base64Lines } from '../../src/mail/base64.ts'
import {
  cbcIdentifier,
  craft,
  gcm,
  keyTransport,
  keyTransportOf,
} from '../support/crafted-envelope.ts'

/** What is wrong with a cipher text, if anything. */
export type Kind = (typeof KINDS)[number]

export const KINDS = [
  'good',
  'signed',
  'inexact',
  'bad-cbc-padding',
  'signed-inexact',
  'signed-bad-cbc-padding',
  'wrong-content-key',
  'short-content-key',
  'bad-rsa-padding',
  'random-rsa-block',
  'over-the-modulus',
  'gcm-good',
  'gcm-bad-tag',
  'gcm-wrong-content-key',
  'gcm-bad-rsa-padding',
] as const

/** What is encrypted: an entity as it is, and one that the author has signed; of about one size. */
export interface Plain {
  readonly entity: Buffer
  readonly signed: Buffer
}

/** A MIME entity, encrypted to this certificate in one of the ways. */
export function encryptedAs(kind: Kind, plain: Plain, recipient: Certificate): Buffer {
  const isGcm = kind.startsWith('gcm')
  const key = randomBytes(32)
  const plaintext = kind.startsWith('signed') ? plain.signed : plain.entity
  const used = kind.endsWith('wrong-content-key') ? randomBytes(32) : key
  const encrypted = isGcm ? gcm(used, plaintext) : cbc(used, plaintext)
  const { algorithm } = encrypted
  const content = spoilt(kind, encrypted.content)
  const mac = 'mac' in encrypted ? { mac: macOf(kind, encrypted.mac) } : {}
  const infos = [recipientInfo(kind, recipient, key)]
  const header =
    `Content-Type: application/pkcs7-mime; name=smime.p7m;\r\n` +
    `\tsmime-type=${isGcm ? 'authEnveloped-data' : 'enveloped-data'}\r\n` +
    'Content-Transfer-Encoding: base64\r\n\r\n'
  const lines = base64Lines(craft({ infos, algorithm, content, ...mac }))
  return Buffer.concat([Buffer.from(header), lines, Buffer.from('\r\n')])
}

/** Both of one size, and such that padding has four octets: it stays right where one octet is altered. */
export async function makePlain(
  sizeOctets: number,
  sign: (entity: Buffer) => Promise<Buffer>,
): Promise<Plain> {
  const signed = await sign(entityOf(sizeOctets))
  const missing = (28 - (signed.length % 16)) % 16
  const whole = await sign(entityOf(sizeOctets + missing))
  return { signed: whole, entity: entityOf(whole.length) }
}

/** An entity of so many octets, exact to the last. */
function entityOf(sizeOctets: number): Buffer {
  const octets = Buffer.alloc(sizeOctets, `${'as good as the quarter before. '.repeat(2)}\r\n`)
  octets.write(TYPE)
  // No end of line is cut in two.
  octets.write('....\r\n', sizeOctets - 6)
  return octets
}

function cbc(key: Buffer, plaintext: Buffer): { algorithm: Buffer; content: Buffer } {
  const iv = randomBytes(16)
  const cipher = createCipheriv('aes-256-cbc', key, iv)
  const content = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return { algorithm: cbcIdentifier(32, iv), content }
}

/** The block before the last: its first octet alters text, its last one padding (Vaudenay 2002). */
function spoilt(kind: Kind, content: Buffer): Buffer {
  const before = content.length - 32
  if (kind.endsWith('inexact')) content[before]! ^= 1
  if (kind.endsWith('bad-cbc-padding')) content[before + 15]! ^= 0x80
  return content
}

function macOf(kind: Kind, mac: Buffer): Buffer {
  const other = Buffer.from(mac)
  if (kind === 'gcm-bad-tag') other[0]! ^= 1
  return other
}

function recipientInfo(kind: Kind, recipient: Certificate, key: Buffer): Buffer {
  if (kind === 'short-content-key') return keyTransport(recipient, key.subarray(0, 16))
  if (kind.endsWith('bad-rsa-padding'))
    return keyTransportOf(recipient, badlyPadded(recipient.publicKey, key))
  if (kind === 'random-rsa-block')
    return keyTransportOf(recipient, rsa(recipient.publicKey, belowModulus()))
  if (kind === 'over-the-modulus') return keyTransportOf(recipient, Buffer.alloc(256, 0xff))
  return keyTransport(recipient, key)
}

/** As PKCS #1 v1.5 has it, but for the second octet (Bleichenbacher 1998). */
function badlyPadded(publicKey: KeyObject, key: Buffer): Buffer {
  const padding = Buffer.alloc(256 - 3 - key.length, 0x5a)
  return rsa(publicKey, Buffer.concat([Buffer.from([0, 1]), padding, Buffer.from([0]), key]))
}

function belowModulus(): Buffer {
  const block = randomBytes(256)
  block[0] = 0
  return block
}

const TYPE = 'Content-Type: text/plain; charset=us-ascii\r\n\r\n'

function rsa(key: KeyObject, block: Buffer): Buffer {
  return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, block)
}
