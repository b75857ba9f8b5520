/** Certificates of people, for the tests of sources. @module */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { context, integer, oid, sequence, setOf, tlv } from '../../src/crypto/asn1/der-writer.ts'
import { type Issued, type IssueOptions, issue } from '../../src/crypto/x509/issue.ts'
import { type Mailbox, parseMailbox } from '../../src/mail/address.ts'

export const NOW = new Date('2026-11-20T12:00:00Z')
export const LATER = new Date('2036-01-01T00:00:00Z')
const BEFORE = new Date('2025-01-01T00:00:00Z')

let authority: Promise<Issued> | undefined

/** The authority of all people here. */
export function ca(): Promise<Issued> {
  authority ??= issue({
    commonName: 'Test Authority',
    authority: true,
    notBefore: BEFORE,
    notAfter: LATER,
  })
  return authority
}

/** A certificate for one or more addresses. */
export async function person(
  addresses: string | readonly string[],
  options: Partial<IssueOptions> = {},
): Promise<Issued> {
  const all = typeof addresses === 'string' ? [addresses] : addresses
  return issue({
    commonName: all[0] ?? 'nobody',
    issuer: await ca(),
    addresses: all,
    notBefore: BEFORE,
    notAfter: LATER,
    ...options,
  })
}

export function box(address: string): Mailbox {
  return parseMailbox(address)
}

export const NEVER = new AbortController().signal

/** PKCS #7 without content and signers, as in .p7b files. */
export function certsOnly(...certificates: readonly Buffer[]): Buffer {
  return sequence(
    oid('1.2.840.113549.1.7.2'),
    context(
      0,
      sequence(
        integer(1),
        setOf(),
        sequence(oid('1.2.840.113549.1.7.1')),
        context(0, ...certificates),
        tlv(0x31),
      ),
    ),
  )
}

/** A serialized store as Windows writes it: properties, and the certificate behind them. */
export function serializedStore(...certificates: readonly Buffer[]): Buffer {
  const element = (id: number, content: Buffer) => {
    const header = Buffer.alloc(12)
    header.writeUInt32LE(id, 0)
    header.writeUInt32LE(1, 4)
    header.writeUInt32LE(content.length, 8)
    return Buffer.concat([header, content])
  }
  return Buffer.concat([
    Buffer.from('\0\0\0\0CERT', 'latin1'),
    ...certificates.flatMap(der => [
      element(3, Buffer.alloc(20, 7)),
      element(11, Buffer.from('a friendly name\0', 'utf16le')),
      element(32, der),
    ]),
    Buffer.alloc(12),
  ])
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-certstore-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
