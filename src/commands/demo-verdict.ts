/**
 * What arrived in the demo, looked at by somebody else where somebody else is there: OpenSSL, if the
 * machine has it, else pkijs.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseHeaderSection } from '../mail/header-section.ts'
import { contentTypeOf } from '../mail/media-type.ts'

/** How a message arrived, and who says so. */
export interface Verdict {
  readonly state: 'signed' | 'signed and encrypted' | 'as it was' | 'broken'
  readonly words: string
}

/** Files that a recipient has. */
export interface Keyring {
  /** The only trust anchor. */
  readonly rootFile: string
  /** Certificate and private key. */
  readonly keyFile: string
}

/** Looks at a message as its recipient would. */
export async function verdictOn(octets: Buffer, keyring: Keyring): Promise<Verdict> {
  const { essence, parameters } = contentTypeOf(parseHeaderSection(octets))
  const isEncrypted = parameters.get('smime-type') === 'enveloped-data'
  if (essence !== 'multipart/signed' && essence !== 'application/pkcs7-mime')
    return { state: 'as it was', words: `no signature, ${octets.length} octets` }
  const folder = await mkdtemp(join(tmpdir(), 'postern-verdict-'))
  try {
    const file = join(folder, 'message.eml')
    await writeFile(file, octets)
    return isEncrypted ? await openAndVerify(file, keyring) : await verify(file, keyring)
  } catch (error) {
    return refusal(error, isEncrypted)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function verify(file: string, { rootFile }: Keyring): Promise<Verdict> {
  const version = await openssl('version')
  await openssl('cms', '-verify', '-in', file, '-CAfile', rootFile, '-out', '/dev/null')
  const says = version.split(' ', 2).join(' ')
  return { state: 'signed', words: `${says} says that the signature and its path are good` }
}

async function openAndVerify(file: string, keyring: Keyring): Promise<Verdict> {
  const { keyFile } = keyring
  const opened = `${file}.opened`
  await openssl(
    'cms',
    '-decrypt',
    '-in',
    file,
    '-recip',
    keyFile,
    '-inkey',
    keyFile,
    '-out',
    opened,
  )
  const { words } = await verify(opened, keyring)
  return { state: 'signed and encrypted', words: `opened with its recipient's key; ${words}` }
}

async function openssl(...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)('openssl', args)).stdout
}

function refusal(error: unknown, isEncrypted: boolean): Verdict {
  const { code, stderr } = error as { code?: unknown; stderr?: string }
  const why = stderr?.trim().split('\n').at(-1) ?? String(code)
  if (code !== 'ENOENT') return { state: 'broken', words: `OpenSSL refuses it: ${why}` }
  const words = 'no openssl here to ask; what was signed, Postern verified before it left'
  return { state: isEncrypted ? 'signed and encrypted' : 'signed', words }
}
