/**
 * Encrypted messages as they leave: their form, what is inside of them, and what OpenSSL, GnuPG, NSS and
 * Bouncy Castle make of them.
 *
 * The whole table of ciphers, key managements and peers is made by `test/interop/matrix.ts`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { contentCipher } from '../../../src/crypto/content-encryption.ts'
import type { Signer } from '../../../src/crypto/key.ts'
import { type KeyTransport, keyManagementFor } from '../../../src/crypto/key-management.ts'
import {
  envelopMessage,
  type MessageEnveloping,
} from '../../../src/crypto/smime/envelop-message.ts'
import { certificatePem } from '../../../src/crypto/x509/issue.ts'
import { contentOf } from '../../../src/mail/content.ts'
import { readHeaderSection } from '../../../src/mail/header-section.ts'
import { prepare } from '../../../src/mail/seven-bit.ts'
import { gather } from '../../support/chunks.ts'
import { openEntity } from '../../support/open-envelope.ts'
import { type Envelope, openingPeers } from '../../support/opening-peers.ts'
import { run } from '../../support/peers.ts'
import {
  makeRecipients,
  RECIPIENT_KINDS,
  type Recipient,
  type Recipients,
} from '../../support/recipients.ts'
import { makePki, type Pki } from '../make-certificate.ts'

type Way = KeyTransport['name']

const MESSAGE = Buffer.from(
  'Received: from a by b\r\nFrom: alice@example.test\r\nTo: bob@partner.test\r\nSubject: Quarterly\r\n' +
    'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' +
    'Grüße\r\n'.repeat(40),
)
const SIGNING_TIME = new Date()

let pki: Pki
let signer: Signer
let people: Recipients
let folder: string

beforeAll(async () => {
  pki = await makePki()
  signer = await pki.signer('alice', 'P-256')
  people = await makeRecipients(RECIPIENT_KINDS)
  folder = mkdtempSync(join(tmpdir(), 'postern-envelop-'))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the form', () => {
  test.each([
    ['aes-256-cbc', 'enveloped-data'],
    ['aes-256-gcm', 'authEnveloped-data'],
  ] as const)('RFC 8551 §3.2.2: %s is smime-type %s', async (content, smimeType) => {
    const [header] = (await encrypted(people.of('rsa-2048'), content))
      .toString('latin1')
      .split('\r\n\r\n')
    expect(header).toBe(
      'Received: from a by b\r\nFrom: alice@example.test\r\nTo: bob@partner.test\r\n' +
        'Subject: Quarterly\r\nMIME-Version: 1.0\r\n' +
        `Content-Type: application/pkcs7-mime; smime-type=${smimeType};\r\n name=smime.p7m\r\n` +
        'Content-Transfer-Encoding: base64\r\n' +
        'Content-Disposition: attachment; filename=smime.p7m',
    )
  })

  test('no line is over 76 characters, and nothing of the content shows', async () => {
    const text = (await encrypted(people.of('p-256'), 'aes-128-cbc')).toString('latin1')
    expect(Math.max(...text.split('\r\n').map(line => line.length))).toBeLessThanOrEqual(76)
    expect(text).not.toMatch(/text\/plain|charset=utf-8|Grü/)
  })

  test('another subject stands outside', async () => {
    const subject = Buffer.from('Subject: ...\r\n')
    const text = (await encrypted(people.of('p-256'), 'aes-256-gcm', { subject })).toString()
    expect(text).toContain('\r\nSubject: ...\r\n')
    expect(text).not.toContain('Quarterly')
  })
})

describe('inside', () => {
  test('encrypted alone: the entity, 7-bit', async () => {
    const one = people.of('p-256')
    const { content } = openEntity(await encrypted(one, 'aes-256-gcm'), one)
    expect(content).toEqual(await entity())
    expect(content.every(octet => octet < 128)).toBe(true)
  })

  test.each(['clear', 'opaque'] as const)('signed %s, then encrypted', async signature => {
    const one = people.of('x25519')
    const sign = { signer, signature, signingTime: SIGNING_TIME }
    const { content } = openEntity(await encrypted(one, 'aes-256-cbc', { sign }), one)
    expect(await verified(content)).toEqual(await entity())
  })

  test('triple wrap: signed, encrypted, signed', async () => {
    const one = people.of('rsa-2048')
    for (const signature of ['clear', 'opaque'] as const) {
      const by = { signer, signature, signingTime: SIGNING_TIME }
      const message = await encrypted(one, 'aes-256-gcm', { sign: by, signOutside: by })
      const { content } = openEntity(await verified(message), one)
      expect(await verified(content)).toEqual(await entity())
    }
  })

  test('what the signer throws comes through', async () => {
    const fault = new Error('token is gone')
    const broken = { ...signer, sign: () => Promise.reject(fault) }
    const sign = { signer: broken, signature: 'clear', signingTime: undefined } as const
    await expect(encrypted(people.of('p-256'), 'aes-256-cbc', { sign })).rejects.toBe(fault)
  })
})

describe('peers open', () => {
  /** What each can on Debian 12; elsewhere they can more. */
  const CELLS = {
    openssl: [
      ['rsa-2048', 'rsa-pkcs1', 'aes-128-cbc'],
      ['rsa-2048', 'rsa-oaep-sha-256', 'aes-256-gcm'],
      ['rsa-2048', 'rsa-oaep-sha-1', 'aes-192-cbc'],
      ['rsa-2048', 'rsa-oaep-sha-256-mgf1-sha-1', 'aes-256-cbc'],
      ['p-256', 'rsa-pkcs1', 'aes-128-gcm'],
      ['p-384', 'rsa-pkcs1', 'aes-192-cbc'],
      ['p-521', 'rsa-pkcs1', 'aes-256-gcm'],
      ['brainpool-p256r1', 'rsa-pkcs1', 'aes-128-cbc'],
      ['brainpool-p384r1', 'rsa-pkcs1', 'aes-256-cbc'],
      ['brainpool-p512r1', 'rsa-pkcs1', 'aes-256-gcm'],
    ],
    gpgsm: [
      ['rsa-2048', 'rsa-pkcs1', 'aes-128-cbc'],
      ['rsa-2048', 'rsa-pkcs1', 'aes-192-cbc'],
      ['rsa-2048', 'rsa-pkcs1', 'aes-256-cbc'],
    ],
    nss: [
      ['rsa-2048', 'rsa-pkcs1', 'aes-128-cbc'],
      ['rsa-2048', 'rsa-pkcs1', 'aes-192-cbc'],
      ['rsa-2048', 'rsa-pkcs1', 'aes-256-cbc'],
    ],
    'bouncy-castle': [
      ['rsa-2048', 'rsa-oaep-sha-256', 'aes-256-gcm'],
      ['rsa-2048', 'rsa-oaep-sha-1', 'aes-128-gcm'],
      ['rsa-2048', 'rsa-oaep-sha-256-mgf1-sha-1', 'aes-128-cbc'],
      ['p-256', 'rsa-pkcs1', 'aes-192-cbc'],
      ['p-521', 'rsa-pkcs1', 'aes-256-cbc'],
      ['brainpool-p384r1', 'rsa-pkcs1', 'aes-128-cbc'],
    ],
  } as const

  for (const peer of openingPeers) {
    const reason = peer.missing ? ` (skipped: ${peer.missing})` : ''
    test.skipIf(peer.missing)(
      `${peer.name}: encrypted, and signed then encrypted${reason}`,
      async () => {
        const sign = { signer, signature: 'clear', signingTime: SIGNING_TIME } as const
        const envelopes: Envelope[] = []
        for (const [kind, way, content] of CELLS[peer.name]) {
          const recipient = people.of(kind)
          const id = `${kind} ${way} ${content}`
          envelopes.push({ id, message: await encrypted(recipient, content, {}, way), recipient })
          const both = await encrypted(recipient, content, { sign }, way)
          envelopes.push({ id: `${id} signed`, message: both, recipient })
        }
        const openings = await peer.open(envelopes, people, join(folder, peer.name))
        const plain = await entity()
        expect(openings.size).toBe(envelopes.length)
        for (const [id, opening] of openings) {
          const octets = Buffer.isBuffer(opening) ? opening : Buffer.from(`${id}: ${opening}`)
          const content = id.endsWith(' signed') ? await verified(octets) : octets
          expect(`${id}\n${content.toString()}`).toBe(`${id}\n${plain.toString()}`)
        }
      },
    )
  }
})

describe('several recipients in one message', () => {
  const CELLS = {
    openssl: ['rsa-2048', 'p-256'],
    gpgsm: ['rsa-2048'],
    nss: [],
    'bouncy-castle': ['rsa-2048', 'p-256'],
  } as const

  for (const peer of openingPeers.filter(({ name }) => CELLS[name].length > 0)) {
    const reason = peer.missing ? ` (skipped: ${peer.missing})` : ''
    test.skipIf(peer.missing)(`${peer.name} finds its own${reason}`, async () => {
      const recipients = (['x25519', 'rsa-2048', 'p-256'] as const).map(kind => {
        const { certificate } = people.of(kind)
        return { certificate, management: keyManagementFor(certificate.publicKey, 'rsa-pkcs1') }
      })
      const message = await encrypted(people.of('p-256'), 'aes-256-cbc', { recipients })
      const envelopes = CELLS[peer.name].map(kind => ({
        id: kind,
        message,
        recipient: people.of(kind),
      }))
      const openings = await peer.open(envelopes, people, join(folder, `${peer.name}-several`))
      const plain = (await entity()).toString()
      const said = [...openings].map(([id, opening]) => [id, opening.toString()])
      expect(Object.fromEntries(said)).toEqual(
        Object.fromEntries(envelopes.map(({ id }) => [id, plain])),
      )
    })
  }
})

async function encrypted(
  one: Recipient,
  content: Parameters<typeof contentCipher>[0],
  more: Partial<MessageEnveloping> = {},
  way: Way = 'rsa-pkcs1',
): Promise<Buffer> {
  const { certificate } = one
  const recipients = [{ certificate, management: keyManagementFor(certificate.publicKey, way) }]
  const held = contentOf(MESSAGE)
  const section = await readHeaderSection(held)
  const enveloping = { recipients, content: contentCipher(content), ...more }
  return await gather(envelopMessage(held, section, enveloping))
}

/** What is encrypted: the message's entity, prepared as for signing. */
async function entity(): Promise<Buffer> {
  const held = contentOf(MESSAGE)
  const prepared = await prepare(held, await readHeaderSection(held))
  return await gather(prepared.octets())
}

/** The signed octets of an entity, by OpenSSL's judgement; its words where it refuses. */
async function verified(signed: Buffer): Promise<Buffer> {
  const file = join(folder, 'signed.eml')
  writeFileSync(file, signed)
  writeFileSync(join(folder, 'authority.pem'), certificatePem(pki.authority.der))
  const check = ['-CAfile', join(folder, 'authority.pem'), '-out', `${file}.out`]
  const { code, said } = await run('openssl', ['cms', '-verify', '-in', file, ...check])
  if (code !== 0) return Buffer.from(`${said}\n${signed.toString('latin1', 0, 500)}`)
  return readFileSync(`${file}.out`)
}
