/**
 * The openssl command line as a peer: makes key files, and judges ours.
 *
 * @module
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why tests that need openssl are skipped; undefined where it is there. */
export const noOpenssl: string | undefined =
  spawnSync('openssl', ['version']).status === 0 ? undefined : 'no openssl in PATH'

/** Runs openssl and returns what it wrote; throws with its words where it refuses. */
export function openssl(arguments_: readonly string[], input?: Buffer): Buffer {
  return execFileSync('openssl', arguments_, {
    ...(input && { input }),
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 30_000,
  })
}

/** A folder of its own, and the way to be rid of it. */
export function temporaryFolder(): {
  readonly path: string
  write(name: string, content: string | Buffer, mode?: number): string
  remove(): void
} {
  const path = mkdtempSync(join(tmpdir(), 'postern-test-'))
  return {
    path,
    write(name, content, mode = 0o600) {
      const file = join(path, name)
      writeFileSync(file, content, { mode })
      return file
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}
