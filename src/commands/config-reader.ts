/**
 * Reads a configuration in a process of its own, for the primary of `postern start`.
 *
 *     primary ── fork ──▶ config-reader FILE ── { config } or { fault } ──▶ primary, and it is gone
 *
 * What reads, checks and describes a configuration is many times larger than the configuration, and the
 * primary stays for months: it never loads it.
 *
 * @module
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Config } from '../config/config.ts'
import { PosternError } from '../errors.ts'

/** A configuration at fault, in words for people. */
export class ConfigFault extends PosternError {
  /** Each fault in one line. */
  readonly faults: readonly string[]

  constructor({
    message,
    faults,
  }: { readonly message: string; readonly faults: readonly string[] }) {
    super('ERR_CONFIG', 'permanent', message)
    this.faults = faults
  }
}

/** What the reader says, once. */
export type Said =
  | { readonly config: Config }
  | { readonly fault: { readonly message: string; readonly faults: readonly string[] } }

/**
 * Reads a configuration elsewhere.
 *
 * @throws {ConfigFault} Where it is at fault; any other error where it could not be read at all.
 */
export function readConfig(file: string): Promise<Config> {
  return new Promise((resolve, reject) => {
    const reader = fork(fileURLToPath(new URL('./read-config.ts', import.meta.url)), [file])
    reader.once('message', (said: Said) => {
      if ('config' in said) resolve(said.config)
      else reject(new ConfigFault(said.fault))
    })
    reader.once('error', reject)
    reader.once('exit', code => reject(new Error(`reading the configuration ended with ${code}`)))
  })
}
