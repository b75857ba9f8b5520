/**
 * Signed messages altered at random: whatever is good for us is good for OpenSSL, with the same
 * content. The other way round nothing is asked: we may be stricter.
 *
 * `POSTERN_MUTATIONS=100000 npx vitest run test/crypto/smime/verify-differential.test.ts` tries longer.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { base64Lines } from '../../../src/mail/base64.ts'
import { takeApart } from '../../support/peers.ts'
import { makePki } from '../make-certificate.ts'
import { noOpenssl, temporaryFolder } from '../openssl.ts'
import { clear, ENTITY, insideOf, opaque, outcomeOf, read } from './signed-message.ts'

const MUTATIONS = Number(process.env['POSTERN_MUTATIONS'] ?? 100)

test.skipIf(noOpenssl)(
  `B33 what is good of ${MUTATIONS} altered messages is good for OpenSSL ${noOpenssl ?? ''}`,
  { timeout: 60_000 + MUTATIONS * 20 },
  async () => {
    const seeds = await makeSeeds()
    const folder = temporaryFolder()
    try {
      for (const seed of seeds) expect(await disagreement(seed, folder)).toBeUndefined()
      let good = 0
      for (let count = 0; count < MUTATIONS; count++) {
        const message = altered(seeds[randomInt(seeds.length)]!)
        const verdict = await disagreement(message, folder)
        if (verdict === 'not good') continue
        good++
        expect({ verdict, message: verdict && message.toString('latin1') }).toEqual({})
      }
      expect(good).toBeGreaterThan(0)
    } finally {
      folder.remove()
    }
  },
)

/** A leaf and parts, clear and opaque, by two kinds of keys. */
async function makeSeeds(): Promise<Buffer[]> {
  const pki = await makePki()
  const signers = [await pki.signer('alice', 'P-256'), await pki.signer('bob', 'RSA')]
  const parts = Buffer.from(
    'Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain\r\n\r\n' +
      'hello\r\n--in\r\n\r\nworld\r\n--in--\r\n',
  )
  const seeds: Buffer[] = []
  for (const signer of signers)
    for (const entity of [ENTITY, parts])
      seeds.push(await clear(entity, signer), await opaque(entity, signer))
  // OpenSSL 3.0 does not read a boundary of one character in quotes.
  return seeds.map(seed => {
    const text = seed.toString('latin1').replace('boundary="b"', 'boundary="bound"')
    const octets = text.replaceAll('\r\n--b', '\r\n--bound')
    return Buffer.from(`From: alice@example.test\r\nMIME-Version: 1.0\r\n${octets}`, 'latin1')
  })
}

/** `not good` where we say so ourselves; what OpenSSL has against what is good for us, if anything. */
async function disagreement(
  message: Buffer,
  folder: ReturnType<typeof temporaryFolder>,
): Promise<string | undefined> {
  const signature = await read(message)
  // A message that does not say that it is S/MIME is read by its CMS alone; OpenSSL does not.
  const isGood = signature.kind === 'signed' && signature.signers[0]!.result.kind === 'good'
  if (!isGood || signature.labels.includes('type-lies')) {
    outcomeOf(signature)
    return 'not good'
  }
  const inside = await insideOf(signature, message)
  const out = join(folder.path, 'out')
  const file = folder.write('message.eml', message)
  const said = await opensslSays(['-noverify', '-in', file, '-out', out])
  if (said !== undefined) return said
  return (await readFile(out)).equals(inside) ? undefined : 'another content'
}

function opensslSays(args: readonly string[]): Promise<string | undefined> {
  return new Promise(resolve => {
    execFile('openssl', ['cms', '-verify', ...args], { timeout: 30_000 }, error => {
      resolve(error?.message)
    })
  })
}

function altered(message: Buffer): Buffer {
  const once = ALTERATIONS[randomInt(ALTERATIONS.length)]!(message)
  return randomInt(3) === 0 ? altered(once) : once
}

const PIECES = [
  ...[
    '\r\n',
    '\r\n\r\n',
    ' ',
    '=',
    '"',
    ';',
    '\0',
    'MIIA',
    '--bound\r\n',
    '--bound--\r\n',
    '--in--\r\n',
  ],
  ...['Content-Type: text/plain\r\n', 'Content-Transfer-Encoding: base64\r\n', 'boundary=z'],
]

type Alteration = (message: Buffer) => Buffer

const ALTERATIONS: readonly Alteration[] = [
  octets => withOctet(octets),
  octets => byLines(octets, (lines, one) => lines.splice(one, 1)),
  octets => byLines(octets, (lines, one, other) => lines.splice(one, 0, lines[other]!)),
  octets =>
    byLines(octets, (lines, one, other) => {
      ;[lines[one], lines[other]] = [lines[other]!, lines[one]!]
    }),
  octets => {
    const at = randomInt(octets.length + 1)
    const piece = Buffer.from(PIECES[randomInt(PIECES.length)]!)
    return Buffer.concat([octets.subarray(0, at), piece, octets.subarray(at)])
  },
  octets => {
    const at = randomInt(octets.length + 1)
    return Buffer.concat([octets.subarray(0, at), octets.subarray(at + randomInt(40))])
  },
  withAlteredSignature,
  withAlteredSignature,
]

function withOctet(octets: Buffer): Buffer {
  const copy = Buffer.from(octets)
  if (copy.length > 0) copy[randomInt(copy.length)] = randomInt(256)
  return copy
}

/** An octet of the SignedData, which stays whole base64. */
function withAlteredSignature(message: Buffer): Buffer {
  try {
    const { signature } = takeApart(message)
    const before = base64Lines(signature)
    const at = message.indexOf(before)
    if (at < 0) return withOctet(message)
    const after = base64Lines(withOctet(signature))
    return Buffer.concat([message.subarray(0, at), after, message.subarray(at + before.length)])
  } catch {
    return withOctet(message)
  }
}

function byLines(
  octets: Buffer,
  alter: (lines: string[], one: number, other: number) => unknown,
): Buffer {
  const lines = octets.toString('latin1').split('\r\n')
  alter(lines, randomInt(lines.length), randomInt(lines.length))
  return Buffer.from(lines.join('\r\n'), 'latin1')
}
