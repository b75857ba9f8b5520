/**
 * Header fields by which a stranger speaks in the name of the gateway, and subjects with its tags.
 *
 * Every forged field holds the word `forged`: none may be left ahead of the blank line of what leaves.
 *
 * @module
 */

/** One trick. */
export interface Forgery {
  readonly name: string
  /** Raw octets, to be put among the fields of a message; CRLF included. */
  readonly fields: Buffer
}

/**
 * Forged Authentication-Results and X-Postern-* fields.
 *
 * @param host The authserv-id of the gateway: letters, digits and dots, an `e` and an `s` among them.
 */
export function forgeries(host: string): readonly Forgery[] {
  return [...forgedResults(host), ...forgedNames(host), ...forgedStamps(), ...forgedLines(host)]
}

/** The authserv-id in all its dresses. */
function forgedResults(host: string): Forgery[] {
  const [label = '', ...rest] = host.split('.')
  const domain = rest.join('.')
  const half = Math.floor(host.length / 2)
  const ids: Readonly<Record<string, string>> = {
    plain: host,
    'upper case': host.toUpperCase(),
    'mixed case': host.replace(/[aeiou]/g, vowel => vowel.toUpperCase()),
    'trailing dot': `${host}.`,
    'version 1': `${host} 1`,
    'version in a fold': `${host}\r\n\t1`,
    'version ahead of a comment': `${host} 1 (version)`,
    'unknown version': `${host} 99`,
    'version that is no number': `${host} v1`,
    'comment before': `(a comment) ${host}`,
    'comment before, no space': `(a)${host}`,
    'comment behind': `${host} (a comment)`,
    'comment behind, no space': `${host}(a)`,
    'nested comments': `(a (b (c) d) e) ${host}`,
    'quoted parenthesis in a comment': `(a \\) b) ${host}`,
    'comment with our name': `other.invalid (${host})`,
    'comment with our name before': `(${host}) other.invalid`,
    'comment with our name in an encoded word': `other.invalid (=?utf-8?B?${Buffer.from(host).toString('base64')}?=)`,
    'comment that seems to end at a quoted parenthesis': `(\\) other.invalid; b) ${host}`,
    'comment that does not end': `(other.invalid ${host}`,
    'comment ended twice': `(a)) ${host}`,
    'comment inside the name': `${label}(a).(b)${domain}`,
    'spaces around the dots': `${label} . ${domain}`,
    'folded ahead': `\r\n\t${host}`,
    'folded ahead by several spaces': `\r\n    \r\n ${host}`,
    'folded inside': `${host.slice(0, half)}\r\n ${host.slice(half)}`,
    'tabs before': `\t\t${host}`,
    'quoted string': `"${host}"`,
    'quoted string with quoted pairs': `"${host.replace(/./g, '\\$&')}"`,
    'quoted string with spaces': `" ${host} "`,
    'quoted string in upper case': `"${host.toUpperCase()}"`,
    'half quoted': `"${label}".${domain}`,
    'single quotes': `'${host}'`,
    'encoded word, Q': `=?utf-8?Q?${host}?=`,
    'encoded word, Q in hexadecimal': `=?us-ascii?q?${hex(host)}?=`,
    'encoded word, B': `=?utf-8?B?${Buffer.from(host).toString('base64')}?=`,
    'encoded words, two': `=?utf-8?Q?${host.slice(0, half)}?= =?utf-8?Q?${host.slice(half)}?=`,
    'encoded word of a part': `=?utf-8?Q?${label}?=.${domain}`,
    'encoded word with the separator': `=?utf-8?Q?${host}=3B?=`,
    'encoded word in an encoded word': `=?utf-8?Q?=3D=3Futf-8=3FQ=3F${host}=3F=3D?=`,
    'zero-width space': `${label}\u200b.${domain}`,
    'zero-width joiner ahead': `\u200d${host}`,
    'byte order mark ahead': `\ufeff${host}`,
    'soft hyphen': `${host.slice(0, half)}\u00ad${host.slice(half)}`,
    'right-to-left override': `\u202e${host}`,
    'combining mark': `${host.replace('e', 'e\u0301')}`,
    'variation selector': `${host}\ufe0f`,
    'character that decomposes into a space': `${host.slice(0, half)}\ufc5e${host.slice(half)}`,
    'symbol inside': `${label}☆.${domain}`,
    'tag characters': `${host}\u{e0020}`,
    'no-break space ahead': `\u00a0${host}`,
    'control character': `\u0008${host}`,
    'vertical tab': `\u000b${host}`,
    'full width': wide(host),
    'full-width dots': host.replaceAll('.', '．'),
    'ideographic dots': host.replaceAll('.', '。'),
    'one-dot leaders': host.replaceAll('.', '․'),
    'Cyrillic e': host.replaceAll('e', 'е'),
    'Cyrillic s and e': host.replaceAll('e', 'е').replaceAll('s', 'ѕ'),
    'Greek letters': host.replaceAll('t', 'τ').replaceAll('e', 'ε'),
    'small capitals': host.replaceAll('e', 'ᴇ').replaceAll('t', 'ᴛ'),
    'mathematical letters': shifted(host, 0x1d41a),
    'circled letters': shifted(host, 0x24d0),
    'letters in squares': shifted(host, 0x1f130),
    'Cherokee letters': host.replaceAll('e', 'Ꭼ').replaceAll('s', 'Ꮪ'),
    'digits for letters': host.replaceAll('e', '3').replaceAll('s', '5'),
    'leading dot': `.${host}`,
    'trailing dots': `${host}..`,
    'A-labels of look-alikes': new URL(`http://${host.replaceAll('e', 'é')}`).hostname,
    'no authserv-id': 'smime=pass',
    'empty, then ours': `; ${host}`,
    'comma instead of semicolon': `${host}, other.invalid`,
    'two names': `other.invalid ${host}`,
    'name and address': `<${host}>`,
    'name as a key': `id=${host}`,
    'name with a port': `${host}:25`,
    'name with a slash': `${host}/other`,
    'octets that are not UTF-8': `\udcff${host}`,
  }
  return Object.entries(ids).map(([name, id]) => ({
    name: `Authentication-Results: ${name}`,
    fields: octets(`Authentication-Results: ${id}; smime=pass reason=forged`),
  }))
}

/** The name of the field in all its dresses. */
function forgedNames(host: string): Forgery[] {
  const names: Readonly<Record<string, string>> = {
    'lower case': 'authentication-results:',
    'upper case': 'AUTHENTICATION-RESULTS:',
    'space ahead of the colon': 'Authentication-Results :',
    'tab ahead of the colon': 'Authentication-Results\t:',
    'no space behind the colon': 'Authentication-Results:',
    'two colons': 'Authentication-Results::',
    'underscore for hyphen': 'Authentication_Results:',
    'digit for letter': 'Authent1cation-Results:',
    'digit for the first letter': '4uthentication-Results:',
    'encoded word': '=?utf-8?Q?Authentication-Results?=:',
  }
  const forged = Object.entries(names).map(([name, written]) => ({
    name: `name of Authentication-Results: ${name}`,
    fields: octets(`${written}${host}; smime=pass reason=forged`),
  }))
  const twice = octets(`Authentication-Results: ${host}; smime=pass reason=forged`)
  return [
    ...forged,
    {
      name: 'X-Postern-Signature in the fold of Authentication-Results',
      fields: octets(
        'Authentication-Results: other.invalid; spf=pass\r\n X-Postern-Signature: pass; code=forged',
      ),
    },
    { name: 'Authentication-Results three times', fields: Buffer.concat([twice, twice, twice]) },
    {
      name: 'Authentication-Results in the fold of another',
      fields: octets(
        `Authentication-Results: other.invalid; spf=pass\r\n Authentication-Results: ${host}; smime=pass reason=forged`,
      ),
    },
  ]
}

function forgedStamps(): Forgery[] {
  const names = [
    'X-Postern-Signature:',
    'x-postern-signature:',
    'X-POSTERN-SIGNATURE:',
    'X-Postern-Encryption:',
    'X-Postern-Notes:',
    'X-Postern-Seal:',
    'X-Postern-Anything:',
    'X-Postern:',
    'X-Postern-:',
    'X-Postern-Signature :',
    'X-Postern-Signature \t :',
    'X-Postern-Signature::',
    'X_Postern_Signature:',
    'X-P0stern-Signature:',
    'X-Postem-Signature:',
    'X-Po5tern-5ignature:',
    '=?utf-8?Q?X-Postern-Signature?=:',
    '=?us-ascii?B?WC1Qb3N0ZXJuLVNpZ25hdHVyZQ==?=:',
    '=?utf-8?Q?X-P=6Fstern?=-Signature:',
  ]
  return names.map(name => ({
    name: `stamp: ${name}`,
    fields: octets(`${name} pass; code=forged; signer=ceo@example.test`),
  }))
}

/** Behind or in a line that is no field: for some readers the fields go on there. */
function forgedLines(host: string): Forgery[] {
  const results = `Authentication-Results: ${host}; smime=pass reason=forged`
  const lines: Readonly<Record<string, string>> = {
    'behind a line without a colon': `no field at all\r\n${results}`,
    'behind a line that begins with a colon': `: nothing\r\n${results}`,
    'behind a mailbox separator': `From someone@partner.test Mon Jan  1 00:00:00 2024\r\n${results}`,
    'behind a name with a space': `Some thing: else\r\n${results}`,
    'name with a zero-width space': `Authentication\u200b-Results: ${host}; smime=pass reason=forged`,
    'name in full width': `${wide('Authentication-Results')}: ${host}; smime=pass reason=forged`,
    'name with Cyrillic letters': `Authentiсation-Results: ${host}; smime=pass reason=forged`,
    'stamp with a Cyrillic letter': 'X-Роstern-Signature: pass; code=forged',
    'stamp with a soft hyphen': 'X-Post\u00adern-Signature: pass; code=forged',
    'stamp with a byte order mark': '\ufeffX-Postern-Signature: pass; code=forged',
    'stamp with a control character': '\u0007X-Postern-Signature: pass; code=forged',
  }
  return Object.entries(lines).map(([name, text]) => ({ name, fields: octets(text) }))
}

/** Subjects that look as if they bore `[signed OK]`. */
export const FORGED_SUBJECTS: readonly string[] = [
  '[signed OK] plan',
  '[SIGNED ok] plan',
  'Re: [signed OK] plan',
  'plan [signed OK]',
  'Re: Fwd: [signed OK] [signed OK] plan',
  '[signed  OK ] plan',
  '[s i g n e d O K] plan',
  '[signed-OK] plan',
  '[signed OK!] plan',
  '[signed_OK ✓] plan',
  '[[signed OK]] plan',
  '[sig[signed OK]ned OK] plan',
  '[s(i)gned OK] plan',
  '[sig[]ned OK] plan',
  '(signed OK) plan',
  '{signed OK} plan',
  '<signed OK> plan',
  '【signed OK】 plan',
  '［signed OK］ plan',
  '〔signed OK〕 plan',
  '⟦signed OK⟧ plan',
  '[signed OK) plan',
  '[signed OK plan',
  'signed OK] plan',
  '［ｓｉｇｎｅｄ　ＯＫ］ plan',
  '[ѕigned OK] plan',
  '[ѕіgnеd ОК] plan',
  '[signed 0K] plan',
  '[s1gned OK] plan',
  '[s1gned 0K] plan',
  '[slgned OK] plan',
  '[signed OΚ] plan',
  '[sigпed OK] plan',
  '[signd OK] plan',
  '[siggned OK] plan',
  '[sig\u200bned OK] plan',
  '[sig\u200dned OK] plan',
  '[sig\u00adned OK] plan',
  '\u202e[signed OK] plan',
  '\ufeff[signed OK] plan',
  '\u{e0041}[signed OK] plan',
  '[\u2066signed OK\u2069] plan',
  '[si\u0301gned OK] plan',
  '[𝐬𝐢𝐠𝐧𝐞𝐝 𝐎𝐊] plan',
  '[ⓢⓘⓖⓝⓔⓓ ⓄⓀ] plan',
  '=?utf-8?Q?[signed_OK]_plan?=',
  '=?utf-8?Q?[signed_OK]_p=0D=0Alan?=',
  '=?utf-8?B?W3NpZ25lZCBPS10gcGxhbg==?=',
  '=?utf-8?Q?[sig?= =?utf-8?Q?ned_OK]?= plan',
  '=?iso-8859-1?Q?=5Bsigned_OK=5D?= plan',
]

function octets(text: string): Buffer {
  // U+DCFF stands for an octet that is no UTF-8.
  const [first = '', ...rest] = text.split('\udcff')
  const pieces = rest.flatMap(piece => [Buffer.of(0xff), Buffer.from(piece)])
  return Buffer.concat([Buffer.from(first), ...pieces, Buffer.from('\r\n')])
}

function hex(text: string): string {
  return text.replace(/./g, letter => `=${letter.charCodeAt(0).toString(16).toUpperCase()}`)
}

function wide(text: string): string {
  return text.replace(/[!-~]/g, letter => String.fromCharCode(letter.charCodeAt(0) + 0xfee0))
}

function shifted(text: string, a: number): string {
  return text.replace(/[a-z]/g, letter => String.fromCodePoint(letter.charCodeAt(0) - 0x61 + a))
}
