/**
 * `postern stamp`: whether the stamp on a message is ours, and was made for this message.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { loadConfig } from '../config/load.ts'
import { checkSeal, type SealCheck } from '../gateway/seal.ts'
import { visible } from '../log.ts'
import { type HeaderField, parseHeaderSection } from '../mail/header-section.ts'
import { findStampKey } from './stamp-key.ts'

/**
 * Checks the seal of a message.
 *
 * @returns 0 where the stamp is ours, 1 where it is not, 2 for usage.
 */
export async function stamp(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const [file, ...others] = positionals
  if (file === undefined || others.length > 0) {
    console.error(`postern stamp: takes one MESSAGE\n\n${HELP}`)
    return 2
  }
  const { config } = await loadConfig(values.config, process.env)
  const key = await findStampKey(config.state, config.stamp.key)
  if (!key) return told('there is no key of a seal in the state folder', 1)
  const head = await readHead(file)
  if (!head) return told(`${visible(file)} cannot be read`, 1)
  const { fields } = parseHeaderSection(head)
  const result = checkSeal(fields, config.hostname, key)
  return told(wordsFor(result, fields), result.kind === 'good' ? 0 : 1)
}

function told(words: string, code: number): number {
  if (code === 0) console.log(words)
  else console.error(`postern stamp: ${words}`)
  return code
}

function wordsFor(result: SealCheck, fields: readonly HeaderField[]): string {
  switch (result.kind) {
    case 'good': {
      const said = fields.find(({ key }) => key === 'x-postern-signature')?.body ?? ''
      const unfolded = said.replaceAll(/[\t ]+/g, ' ')
      return `ours, of ${result.time.toISOString()}\n${visible(unfolded)}`
    }
    case 'missing':
      return 'the message bears no sealed stamp of ours'
    case 'ambiguous':
      return result.detail
    case 'bad':
      return 'the seal does not hold: another key or message, or the stamp was altered'
  }
}

/** As much of a message as a header section may have. */
async function readHead(file: string): Promise<Buffer | undefined> {
  try {
    const handle = await open(file)
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_OCTETS), 0, MAX_OCTETS, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}

/** Ours, and those of servers behind us. */
const MAX_OCTETS = 256 * 1024
const OPTIONS = {
  config: { type: 'string', default: 'config/postern.yaml' },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern stamp MESSAGE [--config FILE]

Tells whether the X-Postern-* and Authentication-Results fields on top of a message are ours, and
were put on this message.

  --config FILE  default config/postern.yaml

Exit codes: 0 ours, 1 not ours, 2 usage.`
