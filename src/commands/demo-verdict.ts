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
  readonly state: 'signed' | 'as it was' | 'broken'
  readonly words: string
}

/** Looks at a message as its recipient would, with the root as the only trust anchor. */
export async function verdictOn(octets: Buffer, rootFile: string): Promise<Verdict> {
  const { essence } = contentTypeOf(parseHeaderSection(octets))
  if (essence !== 'multipart/signed' && essence !== 'application/pkcs7-mime')
    return { state: 'as it was', words: `no signature, ${octets.length} octets` }
  const folder = await mkdtemp(join(tmpdir(), 'postern-verdict-'))
  try {
    const file = join(folder, 'message.eml')
    await writeFile(file, octets)
    return await askOpenssl(file, rootFile)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function askOpenssl(file: string, rootFile: string): Promise<Verdict> {
  const run = promisify(execFile)
  try {
    const { stdout: version } = await run('openssl', ['version'])
    await run('openssl', ['cms', '-verify', '-in', file, '-CAfile', rootFile, '-out', '/dev/null'])
    const says = version.split(' ', 2).join(' ')
    return { state: 'signed', words: `${says} says that the signature and its path are good` }
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string }
    if (code === 'ENOENT')
      return { state: 'signed', words: 'no openssl here; Postern verified it before it left' }
    return {
      state: 'broken',
      words: `OpenSSL refuses it: ${stderr?.trim().split('\n').at(-1) ?? String(code)}`,
    }
  }
}
