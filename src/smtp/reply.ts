/**
 * Every reply that Postern gives, in one table; nobody invents a code in the middle of a function.
 *
 * An administrator who finds one of these texts in a log or in a report finds its name here, and
 * beside it what to do. Replies of a next hop are handed back as they came and are not listed.
 *
 * @module
 */

/** An SMTP reply (RFC 5321 §4.2) with its enhanced status code (RFC 3463). */
export interface Reply {
  readonly code: number
  /** `5.7.1`; empty where the peer that spoke gave none. */
  readonly enhanced: string
  /** One line or several, without codes; never contains a control character. */
  readonly text: string | readonly string[]
}

/** Name of a reply of ours. */
export type ReplyName = keyof typeof REPLIES

/**
 * The reply of that name.
 *
 * @param detail What was wrong this time. It is appended after `: `, made harmless (no control
 *   character survives, whatever the source) and cut to {@link MAX_DETAIL_OCTETS}.
 */
export function reply(name: ReplyName, detail?: string): Reply {
  const entry: Reply = REPLIES[name]
  if (detail === undefined || detail === '') return entry
  return { ...entry, text: `${String(entry.text)}: ${harmless(detail)}` }
}

/**
 * The one reply that stands for several: a permanent failure outweighs a transient one, a transient
 * one outweighs success, and of equals the first is kept.
 *
 * @throws {RangeError} Where there are none: nothing was asked, so nothing can be answered.
 */
export function worst(replies: readonly Reply[]): Reply {
  const [first, ...others] = replies
  if (!first) throw new RangeError('no reply to choose from')
  return others.reduce((bad, next) => (severity(next) > severity(bad) ? next : bad), first)
}

/** 2yz: the command was carried out (RFC 5321 §4.2.1). */
export function isPositive({ code }: Reply): boolean {
  return code >= 200 && code < 300
}

/**
 * A reply as it goes over the wire, CRLF included (RFC 5321 §4.2.1), the enhanced status code on each
 * of its lines (RFC 2034 §4).
 */
export function formatReply({ code, enhanced, text }: Reply): string {
  const status = enhanced === '' ? '' : `${enhanced} `
  if (typeof text === 'string') return `${code} ${status}${text}\r\n`
  const last = text.length - 1
  if (last < 0) return `${code} ${status}\r\n`
  return text.map((line, at) => `${code}${at < last ? '-' : ' '}${status}${line}\r\n`).join('')
}

/** How much of a detail is shown, in octets. A reply line may have 512 (RFC 5321 §4.5.3.1.5). */
export const MAX_DETAIL_OCTETS = 400

/**
 * The table. Class digits of both codes agree, but for 3yz and the greeting, which have no enhanced
 * status code (RFC 2034 §4).
 */
export const REPLIES = {
  // What went well.
  /** The end of a session that the client wished. */
  bye: entry(221, '2.0.0', 'closing connection'),
  ok: entry(250, '2.0.0', 'OK'),
  'sender-ok': entry(250, '2.1.0', 'sender OK'),
  /** The end of data was taken by every next hop. */
  delivered: entry(250, '2.6.0', 'message delivered to the next hop'),
  help: entry(214, '2.0.0', 'RFC 5321 is spoken here; questions to the postmaster'),
  /** VRFY is not answered, so that nobody can harvest addresses (RFC 5321 §7.3). */
  'cannot-verify': entry(252, '2.5.0', 'cannot verify the user, try to send'),
  'start-tls': entry(220, '2.0.0', 'ready to start TLS'),
  authenticated: entry(235, '2.7.0', 'authentication succeeded'),
  'send-data': entry(354, '', 'send the message, end it with CRLF.CRLF'),

  // What the client said wrongly: its software is at fault, or somebody tries something.
  'unknown-command': entry(500, '5.5.1', 'command not recognised'),
  syntax: entry(501, '5.5.4', 'syntax error in parameters'),
  'syntax-command': entry(500, '5.5.2', 'syntax error'),
  'command-line-ending': entry(500, '5.5.2', 'a command ends with CRLF, and has no CR, LF or NUL'),
  'command-too-long': entry(500, '5.5.6', 'command line too long'),
  'not-implemented': entry(502, '5.5.1', 'command not implemented'),
  'bad-sequence': entry(503, '5.5.1', 'bad sequence of commands'),
  'no-valid-recipients': entry(554, '5.5.1', 'no valid recipients'),
  'unknown-parameter': entry(555, '5.5.4', 'parameter not recognised or not implemented'),
  'bad-reverse-path': entry(501, '5.1.7', 'reverse-path is not a valid address'),
  'bad-forward-path': entry(501, '5.1.3', 'forward-path is not a valid address'),
  /** The address has octets beyond ASCII and MAIL did not say SMTPUTF8 (RFC 6531 §3.5). */
  'utf8-not-asked': entry(553, '5.6.7', 'internationalised address, but SMTPUTF8 was not given'),
  'talks-too-soon': entry(421, '4.5.1', 'wait for the greeting before sending commands'),
  'http-refused': entry(421, '4.7.0', 'this is an SMTP server'),

  // TLS and authentication (RFC 3207, RFC 4954).
  'auth-needs-tls': entry(538, '5.7.11', 'authentication needs an encrypted connection'),
  'auth-failed': entry(535, '5.7.8', 'authentication credentials invalid'),
  'auth-unavailable': entry(454, '4.7.0', 'authentication not possible now, try later'),
  'auth-unknown-mechanism': entry(504, '5.5.4', 'authentication mechanism not offered'),
  'auth-cancelled': entry(501, '5.7.0', 'authentication cancelled'),
  'auth-bad-response': entry(501, '5.5.2', 'authentication response is not valid base64'),

  // Who may send what to whom.
  /** The client stands not in relayFrom and has not authenticated. */
  'relay-denied': entry(550, '5.7.1', 'relaying denied, this client may not send there'),
  /** The next hop does not offer SMTPUTF8 (RFC 6531 §3.2), or 8BITMIME where it would be needed. */
  'utf8-not-offered': entry(550, '5.6.7', 'the next hop cannot take internationalised addresses'),
  'eight-bit-not-offered': entry(554, '5.6.3', 'the next hop cannot take 8-bit content'),

  // Limits. Each can be raised in the configuration.
  'too-many-recipients': entry(452, '4.5.3', 'too many recipients, send the rest separately'),
  'too-many-connections': entry(421, '4.3.2', 'too many connections, try later'),
  'too-many-connections-address': entry(421, '4.7.0', 'too many connections from your address'),
  'too-many-junk-commands': entry(421, '4.7.0', 'too many commands without a message'),
  'too-many-errors': entry(421, '4.7.0', 'too many errors'),
  'message-too-large': entry(552, '5.3.4', 'message exceeds the size limit'),
  'header-section-too-large': entry(552, '5.3.4', 'header section exceeds the size limit'),
  'too-many-parts': entry(554, '5.6.0', 'message has too many or too deeply nested parts'),
  'command-too-slow': entry(421, '4.4.2', 'no command within the time limit'),
  'data-too-slow': entry(421, '4.4.2', 'message arrives below the minimum rate'),
  'session-too-long': entry(421, '4.4.2', 'session exceeds its time limit, reconnect'),

  // Content that is refused as it is.
  /** A sender that ends lines with LF, or SMTP smuggling (CVE-2023-51764). */
  'bare-line-ending': entry(550, '5.5.2', 'message has a CR or LF alone, or a NUL'),
  'line-too-long': entry(550, '5.6.0', 'message has a line beyond the limit'),
  /** Too many Received fields (RFC 5321 §6.3). */
  loop: entry(554, '5.4.6', 'too many hops, the message is in a loop'),

  // Policy and cryptography.
  /** `sign: always, otherwise: reject`: give the author an identity, or change the rule. */
  'no-signing-key': entry(550, '5.7.5', 'the author has no usable signing key here'),
  /** `sign: always, otherwise: defer`: as above, and the client keeps the message meanwhile. */
  'no-signing-key-yet': entry(451, '4.7.5', 'the author has no usable signing key here yet'),
  /** `encrypt: always, otherwise: reject`: add the certificate, or change the rule (RFC 7372 class 5.7). */
  'no-certificate': entry(550, '5.7.5', 'the recipient has no usable certificate here'),
  /** `encrypt: always, otherwise: defer`: as above, and the client keeps the message meanwhile. */
  'no-certificate-yet': entry(451, '4.7.5', 'the recipient has no usable certificate here yet'),
  /** A directory is silent: nothing goes out in clear on its account, and the client tries again. */
  'certificate-unknown': entry(451, '4.4.3', 'certificates cannot be looked up now, try later'),
  /** The thread that asks private keys does not answer, or too many wait for it. */
  'keys-busy': entry(451, '4.3.2', 'private keys cannot be asked now, try later'),
  'signing-failed': entry(451, '4.7.5', 'the message could not be signed now'),
  /** `onBadSignature: reject` or `verify: require`: altered on the way, or signed by somebody else. */
  'bad-signature': entry(550, '5.7.7', 'the S/MIME signature of the message is not good'),
  /** `verify: require`: let the sender sign, or change the rule for its recipient or sender. */
  'signature-required': entry(
    550,
    '5.7.1',
    'only mail with a good S/MIME signature is let in here',
  ),
  /** `verify: require`: a revocation list or the like cannot be had, and the client tries again. */
  'signature-unknown': entry(451, '4.7.5', 'the S/MIME signature cannot be judged now, try later'),

  // The next hop, and ourselves.
  'content-store-full': entry(452, '4.3.1', 'no room to hold the message, try later'),
  'next-hop-unavailable': entry(451, '4.4.1', 'the next hop does not answer, try later'),
  'next-hop-lost': entry(451, '4.4.2', 'connection to the next hop was lost, try later'),
  'next-hop-busy': entry(451, '4.3.2', 'all connections to the next hop are busy, try later'),
  /** A final dot was answered and another was not: the retry reaches only who has not had it. */
  'partly-delivered': entry(451, '4.3.0', 'delivered to some, try again for the others'),
  'shutting-down': entry(421, '4.3.2', 'shutting down, reconnect'),
  'internal-error': entry(451, '4.3.0', 'internal error, try later'),
} as const satisfies Record<string, Reply>

function entry<C extends number>(code: C, enhanced: string, text: string) {
  return { code, enhanced, text } as const
}

/** Whatever is neither 2yz nor 5yz counts as transient (RFC 5321 §4.2.1). */
function severity(given: Reply): number {
  if (given.code >= 500 && given.code < 600) return 2
  return isPositive(given) ? 0 : 1
}

/** Printable, one line, cut between two characters. Detail comes from strangers, logs and errors alike. */
function harmless(detail: string): string {
  const line = detail.slice(0, MAX_DETAIL_OCTETS).replace(UNPRINTABLE, ' ')
  if (Buffer.byteLength(line) <= MAX_DETAIL_OCTETS) return line
  const octets = Buffer.from(line).subarray(0, MAX_DETAIL_OCTETS)
  return octets.toString().replace(/\ufffd+$/, '')
}

// C0, DEL, C1, line separators, bidirectional and zero-width controls, lone surrogates.
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Surrogate}/gu
