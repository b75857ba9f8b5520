/**
 * What a message says, however it is encoded: its leaves as media type and digest of their decoded
 * bodies. Told by two readers that share nothing: Postern's walk with Node's decoders, and Python's
 * email package.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { leaves, walk } from '../../src/mail/entity.ts'
import { held } from '../mail/held.ts'

/** A leaf as `type length digest`. */
export type Leaves = readonly string[]

/** Why Python cannot be asked, if so. */
export const pythonMissing: string | undefined =
  spawnSync('python3', ['-c', 'import email']).status === 0 ? undefined : 'no python3 in PATH'

/** The leaves of a message as Postern's walk finds them. */
export async function leavesOf(message: Buffer): Promise<Leaves> {
  return [...leaves(await walk(held(message)))].map(leaf => {
    const { bodyStart, end, transferEncoding, mediaType } = leaf
    const body = decode(message.subarray(bodyStart, end), transferEncoding)
    return told(mediaType.essence, body)
  })
}

/**
 * The leaves of messages as Python finds them. `null` where Python's body begins earlier than that of
 * other readers (white space ahead of a colon ends its header section).
 */
export function leavesForPython(messages: readonly Buffer[]): readonly (Leaves | null)[] {
  const input = messages.map(octets => octets.toString('base64')).join('\n')
  const { stdout, stderr } = spawnSync('python3', ['-c', PYTHON], {
    input,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  })
  if (stderr !== '') throw new Error(stderr)
  return JSON.parse(stdout) as (Leaves | null)[]
}

function decode(body: Buffer, transferEncoding: string): Buffer {
  if (transferEncoding === 'base64') return Buffer.from(body.toString('latin1'), 'base64')
  if (transferEncoding !== 'quoted-printable') return body
  const text = body
    .toString('latin1')
    .replace(/[ \t]+(?=\r?\n|$)/g, '')
    .replace(/=\r?\n/g, '')
    .replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  return Buffer.from(text, 'latin1')
}

function told(type: string, body: Buffer): string {
  return `${type} ${body.length} ${createHash('sha256').update(body).digest('hex')}`
}

const PYTHON = `
import base64, email, hashlib, json, sys
result = []
for line in sys.stdin:
    message = email.message_from_bytes(base64.b64decode(line))
    if any(isinstance(defect, email.errors.MissingHeaderBodySeparatorDefect) for defect in message.defects):
        result.append(None)
        continue
    leaves = []
    for part in message.walk():
        if part.is_multipart():
            continue
        body = part.get_payload(decode=True)
        leaves.append('%s %d %s' % (part.get_content_type(), len(body), hashlib.sha256(body).hexdigest()))
    result.append(leaves)
print(json.dumps(result))
`
