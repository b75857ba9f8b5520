/**
 * A PKI on the curves of RFC 5639 from its root down, as German administrations and health care have
 * it (BSI TR-03116): made by OpenSSL, which signs, encrypts and verifies in it too.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { validateForEncryption, validateForVerification } from '../../src/certstore/validate.ts'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import { unwrapperFor } from '../../src/crypto/key.ts'
import { readKeyFile } from '../../src/crypto/key-file.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { gather, once } from '../support/chunks.ts'
import { messageAround, text } from '../support/inbound.ts'
import { openssl, opensslVerdict } from '../support/openssl.ts'
import { makeReader } from './receiving.ts'

const CONFIGURATION = `
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[user]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyAgreement
extendedKeyUsage = emailProtection
subjectAltName = email:ann@partner.test
subjectKeyIdentifier = hash
`
const AUTHORITY = ['-extensions', 'authority']
const ENTITY = text('from an administration')

describe.skipIf(openssl.missing).each(['brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1'])(
  `%s ${openssl.missing ?? ''}`,
  curve => {
    let folder: string
    let anchors: readonly Certificate[]
    let between: Certificate
    let ann: Certificate
    let explicit: Certificate

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'postern-brainpool-'))
      await writeFile(join(folder, 'openssl.cnf'), CONFIGURATION)
      const named = ['ec', '-pkeyopt', `ec_paramgen_curve:${curve}`]
      const below = ['-CA', 'root.pem', '-CAkey', 'root.key']
      await certify('root', [...AUTHORITY, '-newkey', ...named])
      await certify('between', [...AUTHORITY, '-newkey', ...named, ...below])
      const user = ['-extensions', 'user', '-CA', 'between.pem', '-CAkey', 'between.key']
      await certify('ann', [...user, '-newkey', ...named])
      const made = ['-pkeyopt', 'ec_param_enc:explicit']
      await certify('explicit', [...user, '-newkey', ...named, ...made])
      anchors = [await certificate('root')]
      between = await certificate('between')
      ann = await certificate('ann')
      explicit = await certificate('explicit')
    })
    afterAll(() => rm(folder, { recursive: true, force: true }))

    const trust = () => ({ anchors, intermediates: [between], revocationMode: 'off' }) as const

    test('the path holds, for a signer and for a recipient', async () => {
      const now = new Date()
      const signing = await validateForVerification(ann, trust(), [], now)
      expect(signing).toMatchObject({ kind: 'good', path: [ann, between, anchors[0]] })
      const encrypting = await validateForEncryption(ann, trust(), [], now)
      expect(encrypting).toMatchObject({ kind: 'valid' })
    })

    test('B12 the same curve with its parameters written out is none', async () => {
      const now = new Date()
      const signing = await validateForVerification(explicit, trust(), [], now)
      expect(signing).toMatchObject({ kind: 'invalid', reason: 'key-refused' })
      const encrypting = await validateForEncryption(explicit, trust(), [], now)
      expect(encrypting).toMatchObject({ kind: 'invalid' })
    })

    test('what OpenSSL signs and encrypts there passes', async () => {
      await writeFile(join(folder, 'entity'), ENTITY)
      const signer = ['-signer', 'ann.pem', '-inkey', 'ann.key', '-certfile', 'between.pem']
      await run(['cms', '-sign', ...AS_IS, '-in', 'entity', '-out', 'signed', ...signer])
      const to = ['-aes-256-gcm', '-recip', 'ann.pem', '-keyopt', 'ecdh_kdf_md:sha256']
      await run(['cms', '-encrypt', ...AS_IS, '-in', 'signed', '-out', 'sealed', ...to])
      const { receive } = makeReader({ anchors, keys: [await annsKey()], now: new Date() })
      expect(await receive(mail(await readFile(join(folder, 'sealed'))))).toMatchObject({
        verdict: 'pass good',
        encryption: 'opened',
        innermost: ENTITY,
      })
      const strange = makeReader({ anchors: [], now: new Date() })
      expect(await strange.receive(mail(await readFile(join(folder, 'signed'))))).toMatchObject({
        verdict: 'policy no-anchor',
      })
    })

    test('what we sign there OpenSSL finds good', async () => {
      const [privateKey] = (await readKeyFile(await readFile(join(folder, 'ann.key')))).privateKeys
      const algorithm = signatureAlgorithmFor(ann.publicKey, {})
      const sign = (octets: Uint8Array) => signOctets(privateKey!, algorithm, octets)
      const signer = { certificate: ann, path: [between], algorithm, sign }
      const message = mail(
        await gather(clearSign(once(ENTITY), signer, { signingTime: new Date() })),
      )
      expect(await opensslVerdict(message, join(folder, 'root.pem'))).toBe('good')
      const { receive } = makeReader({ anchors, now: new Date() })
      expect(await receive(message)).toMatchObject({ verdict: 'pass good', innermost: ENTITY })
    })

    async function run(args: readonly string[]): Promise<void> {
      await promisify(execFile)('openssl', args, { cwd: folder, timeout: 30_000 })
    }

    function certify(who: string, options: readonly string[]): Promise<void> {
      const usual = [
        '-x509',
        '-config',
        'openssl.cnf',
        '-nodes',
        '-days',
        '30',
        '-subj',
        `/CN=${who}`,
      ]
      return run(['req', ...usual, ...options, '-keyout', `${who}.key`, '-out', `${who}.pem`])
    }

    async function certificate(who: string): Promise<Certificate> {
      const { certificates } = await readKeyFile(await readFile(join(folder, `${who}.pem`)))
      return parseCertificate(certificates[0]!)
    }

    async function annsKey() {
      const { privateKeys } = await readKeyFile(await readFile(join(folder, 'ann.key')))
      return unwrapperFor(ann, privateKeys[0]!)
    }
  },
)

/** An entity of OpenSSL's or of ours, with the fields that a message has. */
function mail(entity: Buffer): Buffer {
  const canonical = entity.toString('latin1').replaceAll(/\r?\n/g, '\r\n')
  const fields = {
    From: 'ann@partner.test',
    Date: new Date().toUTCString().replace('GMT', '+0000'),
  }
  return messageAround(Buffer.from(canonical.replace(/^MIME-Version:.*\r\n/, ''), 'latin1'), fields)
}

const AS_IS = ['-binary', '-crlfeol']
