/**
 * What attacks on decryption have in common: CMS octets as an entity, and what has to be true of mail
 * that stays closed.
 *
 * @module
 */
import { expect } from 'vitest'
import { base64Lines } from '../../src/mail/base64.ts'
import { craft, type Pieces } from '../support/crafted-envelope.ts'
import type { Delivered } from '../support/inbound.ts'

/** A word that stands in nothing but plaintexts. */
export const SECRET = 'canary-4711'

/** A text entity that holds the secret, with no space left for anything else. */
export const SECRET_TEXT = Buffer.from(
  `Content-Type: text/plain; charset=us-ascii\r\n\r\n${SECRET} and more of it, so that there are blocks\r\n`,
)

/** CMS octets as an application/pkcs7-mime entity. */
export function entityOf(der: Buffer, smimeType = 'enveloped-data'): Buffer {
  const fields = [
    `Content-Type: application/pkcs7-mime; smime-type=${smimeType}; name=smime.p7m`,
    'Content-Transfer-Encoding: base64',
  ]
  return Buffer.concat([Buffer.from(`${fields.join('\r\n')}\r\n\r\n`), base64Lines(der)])
}

/** The same of pieces. */
export function crafted(pieces: Pieces): Buffer {
  return entityOf(craft(pieces), pieces.mac ? 'authEnveloped-data' : 'enveloped-data')
}

/** CMS octets of an entity as it was made by `entityOf` or by Postern. */
export function derOf(entity: Buffer): Buffer {
  return Buffer.from(entity.toString('latin1', entity.indexOf('\r\n\r\n') + 4), 'base64')
}

/** Nothing was opened: the body is there octet for octet, and nobody vouches for it. */
export function expectClosed(copy: Delivered, message: Buffer): void {
  expect(copy.result).not.toBe('pass')
  expect(['opened', 'unauthenticated']).not.toContain(copy.encryption)
  expect(copy.octets.includes(SECRET)).toBe(message.includes(SECRET))
  const body = message.subarray(message.indexOf('\r\n\r\n') + 4).toString('latin1')
  expect(copy.body).toBe(body)
  expect(copy.reply.end?.code).toBe(250)
}
