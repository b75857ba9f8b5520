/**
 * The corpora that say which certification paths hold, as the tests of this folder read them.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DerReader, readOid } from '../../../src/crypto/asn1/der-reader.ts'
import { type Certificate, parseCertificate } from '../../../src/crypto/x509/certificate.ts'

const root = resolve(import.meta.dirname, '../../..')
const folder = resolve(root, process.env['POSTERN_CORPORA'] ?? '../shared/corpora')
const index = join(folder, 'INDEX.json')

/** Why there are no corpora; empty where there are. */
export const noCorpora = existsSync(index) ? '' : ` (skipped: no corpora in ${folder})`

export interface CorpusCase {
  readonly id: string
  readonly op: string
  readonly file: string
  readonly title: string
  readonly key?: string
  readonly inputs: {
    readonly trust: readonly string[]
    readonly untrusted?: readonly string[]
    readonly initial_policies: readonly string[]
    readonly explicit_policy: boolean
    readonly inhibit_policy_mapping: boolean
    readonly inhibit_any_policy: boolean
    readonly time: string
    readonly cert: string
  }
  readonly expect: {
    readonly path?: 'valid' | 'invalid'
    readonly response?: 'valid' | 'invalid'
    readonly reason?: string
    readonly explicit_policy_indicator?: boolean
    readonly authority_policies?: readonly string[]
    readonly user_policies?: readonly string[]
  }
}

/** The cases of an operation; none where there are no corpora. */
export function casesOf(op: string): CorpusCase[] {
  if (noCorpora) return []
  const { cases } = JSON.parse(readFileSync(index, 'utf8')) as { cases: CorpusCase[] }
  return cases.filter(one => one.op === op)
}

export function readCorpus(file: string): Buffer {
  return readFileSync(join(folder, file))
}

export function readCertificateFile(file: string): Certificate {
  const octets = readCorpus(file)
  return parseCertificate(octets[0] === 0x30 ? octets : derOfPem(octets.toString('latin1')))
}

export function derOfPem(pem: string): Buffer {
  const [, base64 = ''] = /-----BEGIN [^-]+-----([^-]+)-----END/.exec(pem) ?? []
  return Buffer.from(base64, 'base64')
}

export interface SignedMessage {
  /** Of the one signer. */
  readonly certificate: Certificate
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Buffer[]
}

/** The SignedData of a multipart/signed message: no more of MIME and CMS than PKITS needs. */
export function readSignedMessage(file: string): SignedMessage {
  const [, base64 = ''] = /name="?smime\.p7s[\s\S]*?\r?\n\r?\n([^-]+)--/.exec(
    readCorpus(file).toString('latin1'),
  )!
  const signedData = new DerReader(Buffer.from(base64, 'base64')).into(0x30)
  readOid(signedData.element(0x06))
  const content = signedData.into(0xa0).into(0x30)
  for (const tag of [0x02, 0x31, 0x30]) content.element(tag)
  const certificates = octetsOf(content.optionalInto(0xa0)).map(der => parseCertificate(der))
  const crls = octetsOf(content.optionalInto(0xa1))
  const signer = content.into(0x31).into(0x30)
  signer.element(0x02)
  const identifier = signer.into(0x30)
  const issuer = identifier.element(0x30).octets
  const serialNumber = identifier.element(0x02).content
  const certificate = certificates.find(
    one => one.issuer.equals(issuer) && one.serialNumber.equals(serialNumber),
  )!
  return { certificate, certificates, crls }
}

function octetsOf(set: DerReader | undefined): Buffer[] {
  const list: Buffer[] = []
  while (set && !set.done) list.push(set.element().octets)
  return list
}
