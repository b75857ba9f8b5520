/**
 * Somebody who reads the header section of a message more kindly than any standard asks, and believes
 * it: a stranger must not get a word in.
 *
 * @module
 */

/** A field in the name of the gateway, as the reader understands it. */
export interface Claim {
  readonly name: string
  readonly body: string
}

/** All Authentication-Results fields of a server, and all X-Postern-* fields. */
export function claims(message: Buffer, host: string): Claim[] {
  return fieldsOf(message).filter(
    ({ name, body }) =>
      name.startsWith('x-postern-') ||
      (name === 'authentication-results' && serverIn(body) === host),
  )
}

/** Skips lines that are no fields, up to the first blank line. */
function fieldsOf(message: Buffer): Claim[] {
  const text = message.toString('utf8')
  const end = /\r?\n\r?\n/.exec(text)?.index ?? text.length
  const lines = text.slice(0, end).split(/\r?\n/)
  const fields: string[] = []
  for (const line of lines) {
    if (/^[ \t]/.test(line) && fields.length > 0) fields.push(fields.pop() + line)
    else fields.push(line)
  }
  return fields
    .filter(field => field.includes(':'))
    .map(field => {
      const colon = field.indexOf(':')
      return { name: plain(field.slice(0, colon)), body: plain(field.slice(colon + 1)) }
    })
}

function serverIn(body: string): string {
  return withoutComments(body)
    .trim()
    .split(/[; ]/)[0]!
    .replace(/^"|"$/g, '')
    .replace(/\\(.)/g, '$1')
    .replace(/\.$/, '')
}

function withoutComments(text: string): string {
  let depth = 0
  let kept = ''
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\' && depth > 0) at++
    else if (text[at] === '(') depth++
    else if (text[at] === ')' && depth > 0) depth--
    else if (depth === 0) kept += text[at]
  }
  return kept
}

/** Words decoded, invisible characters dropped, wide letters narrow, capitals small. */
function plain(text: string): string {
  return text
    .replace(/=\?[^?]*\?q\?([^?]*)\?=/gi, (_, words: string) =>
      words
        .replaceAll('_', ' ')
        .replace(/=([\da-f]{2})/gi, (_match, digits: string) =>
          String.fromCharCode(Number.parseInt(digits, 16)),
        ),
    )
    .replace(/=\?[^?]*\?b\?([^?]*)\?=/gi, (_, words: string) =>
      Buffer.from(words, 'base64').toString(),
    )
    .replace(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
      '',
    )
    .normalize('NFKC')
    .replace(/[\u3002\u2024]/g, '.')
    .replaceAll('е', 'e')
    .toLowerCase()
    .trim()
}
