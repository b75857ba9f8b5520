/**
 * Certificates for TLS in tests, made anew each time, so that none ever ages.
 *
 * @module
 */
import { generateKeyPairSync } from 'node:crypto'
import forge from 'node-forge'

/** PEM of a server's key and certificate. */
export interface ServerCertificate {
  readonly key: string
  readonly cert: string
}

/** What a certificate says; the rest is as it should be. */
export interface CertificateWish {
  /** DNS names and IP addresses; none: no subjectAltName at all. */
  readonly names: readonly string[]
  readonly commonName?: string
  readonly validFrom?: Date
  readonly validTo?: Date
  readonly selfSigned?: boolean
}

/** A certification authority for the length of a test. */
export interface Authority {
  /** PEM of its certificate. */
  readonly ca: string
  issue(wish: CertificateWish): ServerCertificate
}

/** Makes an authority; one RSA key serves it, and another all of its servers. */
export function makeAuthority(): Authority {
  const own = rsaKey()
  const servers = rsaKey()
  const name = [{ name: 'commonName', value: 'Authority of a test' }]
  const root = certificate(own, name, name, new Date(Date.now() - DAY_MS), inDays(30))
  root.setExtensions([{ name: 'basicConstraints', cA: true, critical: true }])
  root.sign(own.privateKey, forge.md.sha256.create())
  return {
    ca: forge.pki.certificateToPem(root),
    issue: ({ names, commonName = 'server', validFrom, validTo, selfSigned }) => {
      const subject = [{ name: 'commonName', value: commonName }]
      const issuer = selfSigned ? subject : name
      const issued = certificate(
        servers,
        subject,
        issuer,
        validFrom ?? new Date(Date.now() - DAY_MS),
        validTo ?? inDays(30),
      )
      if (names.length > 0) issued.setExtensions([subjectAltName(names)])
      issued.sign(selfSigned ? servers.privateKey : own.privateKey, forge.md.sha256.create())
      return {
        key: forge.pki.privateKeyToPem(servers.privateKey),
        cert: forge.pki.certificateToPem(issued),
      }
    },
  }
}

function certificate(
  keys: forge.pki.rsa.KeyPair,
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  from: Date,
  to: Date,
): forge.pki.Certificate {
  const made = forge.pki.createCertificate()
  made.publicKey = keys.publicKey
  made.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(8))}`
  made.setSubject(subject)
  made.setIssuer(issuer)
  made.validity.notBefore = from
  made.validity.notAfter = to
  return made
}

function subjectAltName(names: readonly string[]): object {
  const altNames = names.map(name =>
    /^[\d.]+$/.test(name) ? { type: 7, ip: name } : { type: 2, value: name },
  )
  return { name: 'subjectAltName', altNames }
}

/** forge makes RSA keys slowly; Node makes them, forge signs with them. */
function rsaKey(): forge.pki.rsa.KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  return {
    privateKey: forge.pki.privateKeyFromPem(privateKey),
    publicKey: forge.pki.publicKeyFromPem(publicKey),
  }
}

function inDays(days: number): Date {
  return new Date(Date.now() + days * DAY_MS)
}

const DAY_MS = 24 * 3_600_000
