/**
 * A configuration: plain data, checked, every default filled in.
 *
 * Nothing else in the house reads settings or the environment.
 *
 * @module
 */
import type { RuleSpec } from '../policy/rule.ts'
import type { CertificateSourceConfig } from './certificate-sources.ts'
import type { DirectoryConfig } from './directory-options.ts'

/** All settings. Paths are absolute, sizes in octets, times in milliseconds, domains lower-case A-labels. */
export interface Config {
  /** Our name in greetings and trace fields. */
  readonly hostname: string
  /** A recipient here is inbound, any other is outbound. */
  readonly domains: readonly string[]
  readonly listen: readonly ListenerConfig[]
  /** Addresses and networks of clients that may send outbound mail. */
  readonly relayFrom: readonly string[]
  /** Of listeners; there is one where a listener offers TLS. */
  readonly tls: TlsConfig | undefined
  /** Users of AUTH, which is offered only under TLS. */
  readonly auth: { readonly users: readonly Credentials[] }
  readonly nextHop: NextHops
  readonly identities: readonly IdentityConfig[]
  /** Other people's, asked in this order. */
  readonly certificates: readonly CertificateSourceConfig[]
  /** How certificates are chosen and remembered. */
  readonly directory: DirectoryConfig
  readonly trust: TrustConfig
  readonly rules: readonly RuleSpec[]
  readonly stamp: StampConfig
  readonly decryption: DecryptionConfig
  readonly limits: Limits
  /** Folder for what must outlive a process. */
  readonly state: string
  /** Absent: off. */
  readonly admin: { readonly address: string; readonly port: number } | undefined
  /** Processes that accept mail. */
  readonly workers: number
  readonly log: LogConfig
}

/** Where mail is accepted. */
export interface ListenerConfig {
  readonly address: string
  /** 0 takes any that is free. */
  readonly port: number
  readonly tls: 'none' | 'starttls' | 'implicit'
}

/** PEM files. */
export interface TlsConfig {
  readonly certificate: string
  readonly key: string
  /** Of the key. */
  readonly password: string | undefined
}

/** A user and his password. */
export interface Credentials {
  readonly user: string
  readonly password: string
}

/** Mail servers by name; `inbound` and `outbound` are always there, others are for `route`. */
export type NextHops = Readonly<Record<string, NextHopConfig>> & {
  readonly inbound: NextHopConfig
  readonly outbound: NextHopConfig
}

/** A mail server to hand mail to. */
export interface NextHopConfig {
  readonly host: string
  readonly port: number
  /** `may` falls back to clear text, `require` never does, `verify` asks for a valid certificate too. */
  readonly tls: 'none' | 'may' | 'require' | 'verify'
  /** TLS from the first octet on. */
  readonly implicit: boolean
  /** What the certificate has to name, where it is not `host`. */
  readonly tlsName: string | undefined
  /** PEM file of the authorities to believe instead of the public ones. */
  readonly ca: string | undefined
  readonly auth: Credentials | undefined
  /** At the same time, for each worker. */
  readonly connections: number
}

/** Keys of ours, as `loadIdentities` wants them. */
export interface IdentityConfig {
  /** A file or a folder. */
  readonly files: string
  /** A mailbox, or `@example.test`. */
  readonly address: string | undefined
  readonly password: string | undefined
  readonly digest: 'sha-256' | 'sha-384' | 'sha-512' | undefined
  readonly pss: boolean | undefined
  /** `identities[0]` */
  readonly configPath: string
}

/** Whom to believe about certificates of others. */
export interface TrustConfig {
  /** Files and folders of authorities, and of revocation lists. */
  readonly anchors: readonly string[]
  readonly revocation: 'off' | 'soft' | 'hard'
}

/** What is said of inbound mail, on top of it. */
export interface StampConfig {
  /** Secret of the seal. Absent: one is made and kept in the state folder. */
  readonly key: string | undefined
  /** Absent: the subject is not touched. */
  readonly subject: SubjectTags | undefined
}

/** What the subject of inbound mail begins with: `[…]`, or empty for nothing. */
export interface SubjectTags {
  readonly pass: string
  /** A signature that is bad: `fail`, `permerror`, `policy`. */
  readonly fail: string
  readonly none: string
  /** In front of the other one, where we opened it. */
  readonly decrypted: string
}

/** How inbound mail is opened, where a rule wishes it. */
export interface DecryptionConfig {
  /** Opens Triple DES too, which is weak, and stamped so. */
  readonly tripleDes: boolean
  /** The key of an identity for `@domain` opens for everybody in that domain. */
  readonly domainKeys: boolean
}

/** What one client and one message may cost. */
export interface Limits {
  /** Octets. */
  readonly message: number
  readonly recipients: number
  /** At the same time, for each worker. */
  readonly connections: number
  readonly connectionsPerAddress: number
  /** Octets. */
  readonly headerSection: number
  readonly headerFields: number
  readonly hops: number
  /** Milliseconds. */
  readonly session: number
  /** Milliseconds. */
  readonly command: number
  /** Octets a second. */
  readonly dataRate: number
  readonly junkCommands: number
  readonly errors: number
  /** Octets of one message. */
  readonly memoryPerMessage: number
  /** Octets of all messages, for each worker. */
  readonly memory: number
}

/** How much the log tells. */
export interface LogConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly addresses: 'full' | 'hashed' | 'none'
}
