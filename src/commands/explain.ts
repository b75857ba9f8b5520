/**
 * `postern explain`: decides about a message without sending it, and says why.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { Config } from '../config/config.ts'
import { ConfigFaults } from '../config/fault.ts'
import { loadConfig } from '../config/load.ts'
import { PosternError } from '../errors.ts'
import type { Message } from '../gateway/decision.ts'
import { visible } from '../log.ts'
import { type Mailbox, parseMailbox } from '../mail/address.ts'
import { contentOf } from '../mail/content.ts'
import { readHeaderSection } from '../mail/header-section.ts'
import { relayTest } from './assembly.ts'
import { accountsOf } from './explain/account.ts'
import { sceneOf } from './explain/scene.ts'
import { inWords } from './explain/words.ts'

/** Prints what would become of the message; 0, or 1 where somebody would be refused, 2 for usage. */
export async function explain(argv: readonly string[]): Promise<number> {
  try {
    return await answer(argv)
  } catch (error) {
    if (error instanceof ConfigFaults) {
      console.error(error.message)
      return 1
    }
    if (!isUsageError(error)) throw error
    console.error(`postern explain: ${error.message}\n\n${HELP}`)
    return 2
  }
}

async function answer(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    allowPositionals: true,
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const [file] = positionals
  if (file === undefined || positionals.length > 1) throw new Usage('name one message')
  if (values.to.length === 0) throw new Usage('name at least one recipient with --to')
  const { config } = await loadConfig(values.config, process.env)
  const message = await readMessage(file, values, config)
  const scene = await sceneOf(message, config)
  try {
    const { client } = message
    // A client that nobody has named is one that may.
    const mayRelay = values.client === undefined || relayTest(config.relayFrom)(client)
    const accounts = await accountsOf(values.to.map(mailboxOf), scene, mayRelay)
    console.log(
      values.json ? JSON.stringify(accounts, inVisible, 2) : accounts.map(inWords).join('\n\n'),
    )
    return accounts.some(it => it.refused || it.leaving?.fault !== undefined) ? 1 : 0
  } finally {
    scene.parts.directory.close()
  }
}

/** What a sender has written is fit for a terminal, whichever form it comes in. */
function inVisible(_name: string, value: unknown): unknown {
  return typeof value === 'string' ? visible(value, MOST_CHARACTERS) : value
}

interface Sender {
  readonly from: string
  readonly client?: string | undefined
  readonly user?: string | undefined
}

async function readMessage(
  file: string,
  { from, client = '127.0.0.1', user }: Sender,
  { limits }: Config,
): Promise<Message> {
  const octets = await readFile(file === '-' ? '/dev/stdin' : file).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'it does not exist' : (code ?? 'unknown reason')
    throw new Usage(`cannot read ${visible(file)}: ${reason}`)
  })
  const content = contentOf(withLineEnds(octets))
  const headerLimits = { octets: limits.headerSection, fields: limits.headerFields }
  return {
    client: { address: client, user },
    reversePath: from === '' || from === '<>' ? null : mailboxOf(from),
    content,
    section: await readHeaderSection(content, 0, headerLimits),
  }
}

/** Message files commonly end lines with LF alone; on the wire it is CRLF. */
function withLineEnds(octets: Buffer): Buffer {
  return Buffer.from(octets.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')
}

function mailboxOf(text: string): Mailbox {
  try {
    return parseMailbox(text)
  } catch (error) {
    if (error instanceof PosternError) throw new Usage(`${visible(text)}: ${error.message}`)
    throw error
  }
}

class Usage extends Error {}

function isUsageError(error: unknown): error is Error {
  const code = (error as { code?: unknown }).code
  return error instanceof Usage || (typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS'))
}

/** Of one text for programs; a field may be long. */
const MOST_CHARACTERS = 65_536

const OPTIONS = {
  from: { type: 'string', default: '' },
  to: { type: 'string', multiple: true, default: [] as string[] },
  client: { type: 'string' },
  user: { type: 'string' },
  config: { type: 'string', default: 'config/postern.yaml' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const
const HELP = `usage: postern explain MESSAGE.eml --from A --to B [--to C …] [--config FILE] [--json]

Decides about a message without sending it: per recipient the rule, the certificate and where it
comes from, the algorithm, the action, and what would change it. MESSAGE.eml may be - for stdin.

  --from A        reverse-path (MAIL FROM); <> or left out: the null reverse-path
  --to B          recipient (RCPT TO); may be given several times
  --client IP     address that the message comes from; left out: one that may send outbound
  --user NAME     the client has authenticated as NAME
  --config FILE   default config/postern.yaml
  --json          the same for programs

Exit code 1 where a recipient would be refused.`
