/**
 * A private CA and identities of every kind, in files as an administrator has them.
 *
 * @module
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  certificatePem,
  type Issued,
  identityPem,
  issue,
  type KeyKind,
} from '../../src/crypto/x509/issue.ts'

/** What was made. */
export interface IdentityFolder {
  /** PEM of the root, the only trust anchor. */
  readonly rootFile: string
  /** Folder with one .pem an identity, as `identities: [{ files }]` wants it. */
  readonly files: string
  readonly root: Issued
  readonly issuing: Issued
}

/** Makes a root, an issuing CA, and one identity for each address. */
export async function makeIdentityFolder(
  folder: string,
  identities: Readonly<Record<string, KeyKind>>,
): Promise<IdentityFolder> {
  const files = join(folder, 'identities')
  await mkdir(files, { recursive: true, mode: 0o700 })
  const life = lifetime()
  const root = await issue({ ...life, commonName: 'Test Root', authority: true })
  const issuing = await issue({
    ...life,
    commonName: 'Test Issuing CA',
    authority: true,
    issuer: root,
  })
  for (const [address, key] of Object.entries(identities)) {
    const issued = await issue({
      ...life,
      commonName: address,
      addresses: [address],
      issuer: issuing,
      key,
    })
    await writeFile(join(files, `${address}.pem`), identityPem(issued), { mode: 0o600 })
  }
  const rootFile = join(folder, 'root.pem')
  await writeFile(rootFile, certificatePem(root.der))
  return { rootFile, files, root, issuing }
}

/** From an hour ago for a month. */
export function lifetime(): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 30 * 86_400_000),
  }
}
