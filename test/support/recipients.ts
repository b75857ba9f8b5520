/**
 * People to encrypt to: a certificate and a key of every kind, below one private CA.
 *
 * @module
 */
import { generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { type Issued, issue } from '../../src/crypto/x509/issue.ts'
import type { ValidCertificate } from '../../src/crypto/x509/valid-certificate.ts'
import { lifetime } from './identity-folder.ts'

export type RecipientKind = (typeof RECIPIENT_KINDS)[number]

export interface Recipient {
  readonly kind: RecipientKind
  readonly address: string
  readonly certificate: ValidCertificate<'encrypt'>
  readonly der: Buffer
  readonly privateKey: KeyObject
}

export interface Recipients {
  readonly root: Issued
  of(kind: RecipientKind): Recipient
}

/** Makes a CA, and a recipient of each kind. */
export async function makeRecipients(kinds: readonly RecipientKind[]): Promise<Recipients> {
  const root = await issue({ ...lifetime(), commonName: 'Recipients Root', authority: true })
  const all = await Promise.all(kinds.map(kind => makeRecipient(kind, root)))
  return { root, of: kind => all.find(one => one.kind === kind)! }
}

export async function makeRecipient(kind: RecipientKind, issuer: Issued): Promise<Recipient> {
  const address = `${kind.toLowerCase()}@partner.test`
  const { der, privateKey } = await issue({
    ...lifetime(),
    commonName: `Recipient ${kind}`,
    addresses: [address],
    issuer,
    key: await KEYS[kind](),
    keyUsage: [kind.startsWith('rsa') ? 'keyEncipherment' : 'keyAgreement'],
  })
  const certificate = parseCertificate(der) as ValidCertificate<'encrypt'>
  return { kind, address, certificate, der, privateKey }
}

const generate = promisify(generateKeyPair) as (
  type: string,
  options?: object,
) => Promise<{ publicKey: KeyObject; privateKey: KeyObject }>

const ec = (namedCurve: string) => () => generate('ec', { namedCurve })

const KEYS = {
  'rsa-2048': () => generate('rsa', { modulusLength: 2048 }),
  'p-256': ec('P-256'),
  'p-384': ec('P-384'),
  'p-521': ec('P-521'),
  'brainpool-p256r1': ec('brainpoolP256r1'),
  'brainpool-p384r1': ec('brainpoolP384r1'),
  'brainpool-p512r1': ec('brainpoolP512r1'),
  x25519: () => generate('x25519'),
}

export const RECIPIENT_KINDS = Object.keys(KEYS) as (keyof typeof KEYS)[]
