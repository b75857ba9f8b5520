/**
 * Opening what is encrypted: everything that Postern makes, and everything that an attacker makes of it.
 */
import { setImmediate } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { envelopedContent } from '../../../src/crypto/cms/enveloped-data.ts'
import { CONTENT_CIPHERS, contentCipher } from '../../../src/crypto/content-encryption.ts'
import { type KeyUnwrapper, unwrapperFor } from '../../../src/crypto/key.ts'
import { type KeyTransport, keyManagementFor } from '../../../src/crypto/key-management.ts'
import { openEnveloped } from '../../../src/crypto/smime/decrypt.ts'
import { ContentWriter, contentStore } from '../../../src/mail/content.ts'
import {
  makeRecipients,
  RECIPIENT_KINDS,
  type Recipient,
  type Recipients,
} from '../../support/recipients.ts'

const ENTITY = Buffer.from('Content-Type: text/plain\r\n\r\nOnly for you.\r\n')
const DATA = '1.2.840.113549.1.7.1'
const RSA_WAYS = [
  'rsa-pkcs1',
  'rsa-oaep-sha-256',
  'rsa-oaep-sha-256-mgf1-sha-1',
  'rsa-oaep-sha-1',
] as const
const STORE = contentStore()

let people: Recipients

beforeAll(async () => {
  people = await makeRecipients(RECIPIENT_KINDS)
})

describe('what Postern makes, it opens', () => {
  test.each(
    RECIPIENT_KINDS.flatMap(kind =>
      kind.startsWith('rsa')
        ? RSA_WAYS.map(way => [kind, way] as const)
        : [[kind, 'rsa-pkcs1'] as const],
    ),
  )('%s %s, with every cipher', async (kind, way) => {
    const one = people.of(kind)
    for (const cipher of CONTENT_CIPHERS) {
      const made = await enveloped(ENTITY, [keyOf(one, way)], cipher.name)
      const opening = await open(made, [one])
      expect(opening).toEqual({
        kind: 'opened',
        text: ENTITY.toString(),
        contentType: DATA,
        cipher: cipher.name,
        management: keyOf(one, way).management.name,
        authenticated: cipher.authenticated,
        weak: false,
        certificate: one.certificate,
      })
    }
  })
})

function keyOf({ certificate }: Recipient, way: KeyTransport['name'] = 'rsa-pkcs1') {
  return { certificate, management: keyManagementFor(certificate.publicKey, way) }
}

function enveloped(
  content: Buffer,
  recipients: Parameters<typeof envelopedContent>[1],
  cipher: Parameters<typeof contentCipher>[0],
  sizeOctets?: number,
): Promise<Buffer> {
  const enveloping = { content: contentCipher(cipher), sizeOctets }
  return gather(envelopedContent(each([content]), recipients, enveloping))
}

/** Opens, and reads what was opened to its end. */
async function open(
  octets: Buffer | readonly Buffer[],
  people: readonly Recipient[],
  options: { tripleDes?: boolean } = {},
) {
  const chunks = Buffer.isBuffer(octets) ? [octets] : octets
  const hold = () => new ContentWriter(STORE)
  const opening = await openEnveloped(() => each(chunks), people.map(unwrapperOf), {
    hold,
    ...options,
  })
  if (opening.kind !== 'opened') return opening
  const { content, ...rest } = opening
  const text = (await gather(content.read())).toString('latin1')
  content.dispose()
  return { ...rest, text }
}

function unwrapperOf({ certificate, privateKey }: Recipient): KeyUnwrapper {
  return unwrapperFor(certificate, privateKey)
}

async function gather(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const gathered: Buffer[] = []
  for await (const chunk of chunks) gathered.push(chunk)
  return Buffer.concat(gathered)
}

async function* each(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void, undefined> {
  for (const chunk of chunks) {
    await setImmediate()
    yield chunk
  }
}
