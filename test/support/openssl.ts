/**
 * OpenSSL's command line as a peer that has its own opinion.
 *
 * @module
 */
import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why OpenSSL cannot be asked, if so. */
export const openssl: { readonly missing: string | undefined } = { missing: missing() }

/** `good`, or what OpenSSL says against the message. */
export async function opensslVerdict(message: Buffer, rootFile: string): Promise<string> {
  return (await opensslVerify(message, rootFile)).verdict
}

/** The verdict, and the content that OpenSSL holds for signed. */
export async function opensslVerify(
  message: Buffer,
  rootFile: string,
): Promise<{ verdict: string; content: Buffer }> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-openssl-'))
  try {
    const file = join(folder, 'message.eml')
    const out = join(folder, 'content')
    await writeFile(file, message)
    const verdict = await run(['cms', '-verify', '-in', file, '-CAfile', rootFile, '-out', out])
    return { verdict, content: await readFile(out).catch(() => Buffer.alloc(0)) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function run(args: readonly string[]): Promise<string> {
  return new Promise(resolve => {
    execFile('openssl', args, { timeout: 30_000 }, (error, _stdout, stderr) => {
      resolve(error ? stderr.trim() || error.message : 'good')
    })
  })
}

function missing(): string | undefined {
  try {
    execFileSync('openssl', ['version'])
    return undefined
  } catch {
    return 'no openssl in PATH'
  }
}
