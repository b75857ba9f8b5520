/**
 * All options of the configuration: their words, their bounds, their defaults, and what they mean.
 *
 * The one place where an option is described: the JSON schema for editors is generated from here, and
 * the advice for a wrong value is taken from here.
 *
 * @module
 */
import { availableParallelism } from 'node:os'
import * as z from 'zod'
import { MESSAGE_CLASSES } from '../policy/facts.ts'
import { certificateSource } from './certificate-sources.ts'
import { directory } from './directory-options.ts'
import {
  address,
  count,
  domain,
  flag,
  host,
  identityAddress,
  mailboxPattern,
  needle,
  network,
  oneOrMany,
  secret,
  size,
  sizeBound,
  subjectTag,
  text,
  time,
  word,
} from './values.ts'

const port = (description: string) => count(description, [1, 65_535])
const listenPort = (description: string) => count(description, [0, 65_535])
const degree = (description: string) => word(['never', 'when-possible', 'always'], description)
const route = z
  .strictObject({ route: text('name of the next hop') })
  .meta({ description: '{ route: NAME }, where NAME is a next hop' })

const listener = z
  .strictObject({
    address: address('IP address to listen on; 0.0.0.0 or :: for all'),
    port: listenPort('port to listen on; 0 takes any that is free'),
    tls: word(
      ['none', 'starttls', 'implicit'],
      'none, starttls (offered), or implicit (from the first octet on, as on port 465)',
    ).prefault('none'),
  })
  .meta({ description: '{ address, port, tls }: where mail is accepted' })

const tls = z
  .strictObject({
    certificate: text('PEM file with our certificate and the ones above it'),
    key: text('PEM file with its private key'),
    password: secret('password of the private key').optional(),
  })
  .meta({ description: '{ certificate, key }: what listeners with TLS show' })

const user = z
  .strictObject({ user: text('name of the user'), password: secret('password of the user') })
  .meta({ description: '{ user, password }' })

const auth = z
  .strictObject({
    users: z.array(user).prefault([]).meta({ description: 'users, each { user, password }' }),
  })
  .meta({ description: '{ users: [...] }: who may log in, and then send outbound mail' })

const nextHop = z
  .strictObject({
    host: host('host name or IP address of the mail server to hand mail to'),
    port: port('port of the mail server').prefault(25),
    tls: word(
      ['none', 'may', 'require', 'verify'],
      'none, may (where offered), require (or defer), or verify (require, with a certificate that is valid for the host)',
    ).prefault('may'),
    implicit: flag('true: TLS from the first octet on, as on port 465').prefault(false),
    tlsName: domain('name that the certificate has to bear; default: the host').optional(),
    ca: text('PEM file with the authorities to believe instead of the public ones').optional(),
    auth: user.optional().meta({ description: '{ user, password } to log in with' }),
    connections: count('connections at the same time, for each worker').prefault(20),
  })
  .meta({ description: '{ host, port, tls, ... }: a mail server to hand mail to' })

const nextHops = z
  .object({ inbound: nextHop, outbound: nextHop })
  .catchall(nextHop)
  .meta({ description: '{ inbound, outbound }, and others by name for otherwise: { route: NAME }' })

const identity = z
  .strictObject({
    files: text('file or folder: .pem (key, certificate, path) or .p12, one identity each'),
    address: identityAddress(
      'address, or @domain for a whole domain, to sign for instead of the addresses in the certificate',
    ).optional(),
    password: secret('password of the files').optional(),
    digest: word(['sha-256', 'sha-384', 'sha-512'], 'sha-256, sha-384 or sha-512').optional(),
    pss: flag('true: RSA keys sign with RSASSA-PSS').optional(),
  })
  .meta({ description: '{ files, address, password, digest, pss }: our keys' })

const trust = z
  .strictObject({
    anchors: z.array(text('file or folder')).meta({ description: 'files and folders' }),
    revocation: word(['off', 'soft', 'hard'], 'off, soft or hard').prefault('soft'),
  })
  .meta({ description: '{ anchors: [...], revocation }: whom to believe' })

const patterns = 'ann@example.test, *@example.test, *@*.example.test, or a list of them'
const when = z
  .strictObject({
    direction: oneOrMany(
      word(['inbound', 'outbound'], 'inbound or outbound'),
      'inbound or outbound',
    ).optional(),
    sender: oneOrMany(
      mailboxPattern(`${patterns}; <> is the null reverse-path`),
      `reverse-path: ${patterns}; <> is the null reverse-path`,
    ).optional(),
    recipient: oneOrMany(mailboxPattern(patterns), `forward-path: ${patterns}`).optional(),
    subject: oneOrMany(
      needle('a word of the subject'),
      'a word that the subject contains, or a list of them; it is removed on the way',
    ).optional(),
    header: z
      .record(
        z.string().regex(/^[!-9;-~]{1,76}$/, 'is no field name'),
        oneOrMany(needle('a pattern'), 'a pattern in which * is any text, or a list of them'),
      )
      .optional()
      .meta({ description: '{ Name: pattern }; * in a pattern is any text' }),
    authenticated: flag('true or false: whether the client has logged in').optional(),
    client: oneOrMany(
      network('192.0.2.1 or 192.0.2.0/24'),
      'address or network of the client, or a list of them',
    ).optional(),
    size: oneOrMany(
      sizeBound('>10MiB, <1MiB, >=, <='),
      '>10MiB, <1MiB, >= or <=, or a list of them',
    ).optional(),
    class: oneOrMany(
      word(MESSAGE_CLASSES, `one of ${MESSAGE_CLASSES.join(', ')}`),
      `one of ${MESSAGE_CLASSES.join(', ')}, or a list of them`,
    ).optional(),
  })
  .meta({ description: 'conditions, all of which must hold; none: always' })

const then = z
  .strictObject({
    sign: degree('never, when-possible or always').prefault('never'),
    encrypt: degree('never, when-possible or always').prefault('never'),
    signature: word(['clear', 'opaque'], 'clear or opaque').prefault('clear'),
    profile: word(
      ['compatible', 'modern', 'edi-energy'],
      'algorithms of encryption: compatible, modern or edi-energy',
    ).prefault('compatible'),
    otherwise: z
      .union([z.enum(['reject', 'defer']), route])
      .optional()
      .meta({ description: 'reject (default), defer or { route: NAME }: where an always fails' }),
    encryptToAuthor: flag(
      'true: the author of what is encrypted can open it too, as a copy in a Sent folder',
    ).prefault(false),
    // Without defaults here: what is not said must not contradict what is.
    decrypt: word(['never', 'when-possible'], 'never (default) or when-possible').optional(),
    verify: word(['never', 'stamp', 'require'], 'never, stamp (default) or require').optional(),
    onBadSignature: z
      .union([z.enum(['deliver', 'reject']), route])
      .optional()
      .meta({ description: 'deliver (default), reject or { route: NAME }' }),
    unauthenticated: word(
      ['strict', 'deliver', 'defuse'],
      'strict (default), deliver or defuse: what nobody has signed, out of a cipher that lets it be altered',
    ).optional(),
    strip: word(
      ['keep', 'signature'],
      'keep (default) or signature: takes a signature off that was good',
    ).optional(),
  })
  .meta({ description: 'what is done: sign, encrypt, signature, otherwise, decrypt, verify' })

const rule = z
  .strictObject({
    name: text('a name, for traces and explain'),
    when: when.prefault({}),
    then,
  })
  .meta({ description: '{ name, when, then }' })

const subjectTags = z
  .strictObject({
    pass: subjectTag('ahead of what bears a good signature').prefault('[signed OK]'),
    fail: subjectTag('ahead of what bears a bad one').prefault('[INVALID SIGNATURE]'),
    none: subjectTag('ahead of all the rest').prefault(''),
    decrypted: subjectTag('ahead of what we opened').prefault('[encrypted]'),
  })
  .meta({ description: '{ pass, fail, none, decrypted }: tags, each [text] or empty' })

const stamp = z
  .strictObject({
    key: secret(
      'secret of the seal, at least 32 characters; default: made and kept in the state folder',
    ).optional(),
    subject: z
      .union([z.literal('off'), subjectTags])
      .prefault('off')
      .meta({ description: 'off, or { pass, fail, none, decrypted }: tags ahead of the subject' }),
  })
  .meta({ description: '{ key, subject }: what is said of inbound mail on top of it' })

const decryption = z
  .strictObject({
    tripleDes: flag('true: opens Triple DES too, which is weak, and stamped so').prefault(false),
    domainKeys: flag(
      'true: the key of an identity for @domain opens for everybody in that domain',
    ).prefault(true),
  })
  .meta({ description: '{ tripleDes, domainKeys }: how mail is opened where a rule wishes it' })

const limits = z
  .strictObject({
    message: size('largest message', 65_536).prefault('50MiB'),
    // RFC 5321 §4.5.3.1.8: fewer than 100 must not be refused.
    recipients: count('recipients of a message', [100, 1_000_000]).prefault(1000),
    connections: count('sessions at the same time, for each worker').prefault(2000),
    connectionsPerAddress: count('sessions of one client (IPv6: of one /64)').prefault(50),
    headerSection: size('largest header section', 1024).prefault('100KiB'),
    headerFields: count('fields of a header section', [20, 100_000]).prefault(1000),
    hops: count('Received fields, beyond which a message goes in circles', [5, 1000]).prefault(50),
    session: time('longest session').prefault('30m'),
    command: time('longest wait for a command').prefault('5m'),
    dataRate: count('least octets a second while a message comes in', [0, 1_000_000]).prefault(500),
    junkCommands: count('commands of a session that lead nowhere').prefault(100),
    errors: count('refused commands of a session').prefault(20),
    memoryPerMessage: size('octets of a message held in memory, the rest in a file', 4096).prefault(
      '256KiB',
    ),
    memory: size('octets of all messages held in memory, for each worker', 65_536).prefault(
      '64MiB',
    ),
  })
  .meta({ description: 'what one client and one message may cost' })

const admin = z
  .strictObject({
    address: address('IP address to listen on').prefault('127.0.0.1'),
    port: listenPort('port to listen on; 0 takes any that is free'),
  })
  .meta({ description: '{ address, port } of /health, /ready, /metrics and the page' })

const log = z
  .strictObject({
    level: word(['debug', 'info', 'warn', 'error'], 'debug, info, warn or error').prefault('info'),
    addresses: word(['full', 'hashed', 'none'], 'full, hashed or none').prefault('full'),
  })
  .meta({ description: '{ level, addresses }: how much the log tells' })

/** The configuration. What goes in is the file's text, what comes out is checked and has its defaults. */
export const configSchema = z.strictObject({
  hostname: domain('our name in greetings and trace fields: a domain name'),
  domains: z
    .array(domain('a domain such as example.com; each in full, no @ and no pattern'))
    .min(1)
    .meta({
      description: 'a list of our domains: a recipient there is inbound, any other outbound',
    }),
  listen: z.array(listener).min(1).meta({ description: 'listeners, each { address, port, tls }' }),
  relayFrom: z
    .array(network('192.0.2.1 or 192.0.2.0/24'))
    .prefault([])
    .meta({ description: 'a list of clients that may send outbound mail: addresses and networks' }),
  tls: tls.optional(),
  auth: auth.prefault({}),
  nextHop: nextHops,
  identities: z.array(identity).prefault([]).meta({ description: 'our keys, each { files }' }),
  certificates: z
    .array(certificateSource)
    .prefault([])
    .meta({ description: "other people's certificates, asked in this order" }),
  directory: directory.prefault({}),
  trust: trust.optional(),
  rules: z
    .array(rule)
    .prefault([])
    .meta({ description: 'rules; the first that matches decides, for each recipient' }),
  stamp: stamp.prefault({}),
  decryption: decryption.prefault({}),
  limits: limits.prefault({}),
  state: text('folder for what must outlive a process').prefault('data/'),
  admin: admin.optional(),
  workers: count('processes; default one a core', [1, 1024]).optional(),
  log: log.prefault({}),
})

/** What the schema makes of a configuration. */
export type ParsedConfig = z.output<typeof configSchema>

/** Processes where the configuration does not say. */
export const defaultWorkers: () => number = availableParallelism

/** The schema for editors (JSON Schema, draft 7). */
export function jsonSchema(): object {
  return {
    title: 'Postern configuration',
    ...z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' }),
  }
}
