/**
 * A message as the gateway reads it, and as the mathematics alone sees it.
 *
 *     const reader = makeReader({ anchors, keys })
 *     const { verdict, layers, innermost } = await reader.receive(message, 'bob@example.test')
 *
 * @module
 */
import { createPrivateKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Keyring, RecipientKeys } from '../../src/certstore/keyring.ts'
import { createSignerTrust } from '../../src/certstore/signer-trust.ts'
import { type KeyUnwrapper, unwrapperFor } from '../../src/crypto/key.ts'
import { type Layer, type Place, readLayers } from '../../src/crypto/smime/layers.ts'
import type { Signature } from '../../src/crypto/smime/verify.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { InboundReader } from '../../src/gateway/inbound.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { ContentWriter, contentOf, contentStore } from '../../src/mail/content.ts'
import { walk } from '../../src/mail/entity.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { INBOUND_BY_DEFAULT } from '../../src/policy/treatment.ts'
import type { Evidence } from '../../src/policy/verdict.ts'

/** What a message turned out to be. */
export interface Received {
  /** Result and code: `pass good`. */
  readonly verdict: string
  /** Of X-Postern-Encryption: `opened`. */
  readonly encryption: string
  /** Outermost first, one entry a layer: `signed-clear valid`, `enveloped ok`, or why not. */
  readonly layers: readonly string[]
  /** The innermost entity that could be reached. */
  readonly innermost: Buffer
  /** What the verdict was made of. */
  readonly evidence: Evidence | undefined
}

export interface Reader {
  receive(this: void, message: Buffer): Promise<Received>
  /** What readings have left behind. */
  heldOctets(this: void): number
}

/** A gateway's eyes, with the keys of one recipient. */
export function makeReader(house: {
  readonly anchors: readonly Certificate[]
  readonly keys?: readonly KeyUnwrapper[]
  readonly now: Date
  readonly tripleDes?: boolean
}): Reader {
  const { anchors, keys = [], now, tripleDes = false } = house
  const store = contentStore()
  const hold = () => new ContentWriter(store)
  const own: RecipientKeys = { keys, name: 'all', ownerOf: () => 'own' }
  const keyring: Keyring = { keysFor: () => own }
  const trust = { anchors, intermediates: [], revocationMode: 'off' } as const
  const parts = {
    keyring,
    signerTrust: createSignerTrust(trust, () => now),
    hold,
    tripleDes,
    inflatedOctets: 1_000_000,
  }
  return {
    heldOctets: () => store.heldOctets,
    async receive(message) {
      const content = contentOf(message)
      const reader = new InboundReader(
        { content, section: parseHeaderSection(message) },
        parts,
        now,
      )
      const all = { ...parts, keys, decrypt: true }
      const layers = await readLayers({ content, entity: await walk(content) }, all)
      try {
        const wish = { ...INBOUND_BY_DEFAULT, decrypt: 'when-possible' } as const
        const { verdict, encryption, examined } = await reader.read(RECIPIENT, wish)
        return {
          verdict: `${verdict.result} ${verdict.code}`,
          encryption: encryption.result,
          layers: layers.layers.map(described),
          innermost: await octetsOf(layers.places.at(-1)!),
          evidence: examined?.evidence,
        }
      } finally {
        layers.dispose()
        reader.dispose()
      }
    },
  }
}

const RECIPIENT = parseMailbox('recipient@example.test')

/** In the words of the corpora's index where it is as expected there, else in ours. */
function described(layer: Layer): string {
  switch (layer.kind) {
    case 'signed':
      return signatureOf(layer.signature)
    case 'compressed':
      return `compressed ${layer.outcome}`
    case 'encrypted': {
      const { opening } = layer
      if (opening.kind === 'opened') return 'enveloped ok'
      return `enveloped ${opening.kind}${'reason' in opening ? ` ${opening.reason}` : ''}`
    }
  }
}

function signatureOf(signature: Signature): string {
  if (signature.kind === 'unsigned') return 'unsigned'
  if (signature.kind === 'malformed') return `malformed ${signature.reason}`
  const results = signature.signers.map(({ result }) => {
    if (result.kind === 'good') return 'valid'
    return `${result.kind === 'bad' ? 'invalid' : result.kind} ${result.reason}`
  })
  return `signed-${signature.format} ${[...new Set(results)].join(', ')}`
}

async function octetsOf({ content, entity }: Place): Promise<Buffer> {
  const gathered: Buffer[] = []
  for await (const chunk of content.read(entity.start, entity.end)) gathered.push(chunk)
  return Buffer.concat(gathered)
}

/** Where the corpora are: other people's messages, with the outcome that is expected of each. */
export const CORPORA = resolve(process.env['POSTERN_CORPORA'] ?? '../shared/corpora')
export const noCorpora = existsSync(join(CORPORA, 'INDEX.json'))
  ? undefined
  : `no corpora at ${CORPORA}`

/** A case of the index, as far as it is about messages. */
export interface CorpusCase {
  readonly id: string
  readonly file: string
  readonly op: string
  readonly inputs?: {
    readonly trust?: readonly string[]
    readonly certs?: readonly string[]
    readonly intermediates?: readonly string[]
    readonly keys?: readonly { readonly cert: string; readonly key: string }[]
    readonly content?: string
  }
  readonly expect: {
    readonly signature?: string
    readonly decrypt?: string
    readonly path?: string
    readonly email?: string
    readonly usage?: string
    readonly opens?: boolean
    readonly certificates_only?: boolean
    readonly password?: string
    readonly layers?: readonly { type: string; signature?: string; decrypt?: string }[]
    readonly innermost_sha256?: string
    readonly thunderbird?: { readonly signature_good: boolean }
  }
}

/** All cases whose file lies in one of the folders. */
export function corpusCases(...folders: readonly string[]): readonly CorpusCase[] {
  if (noCorpora) return []
  const { cases } = JSON.parse(readFileSync(join(CORPORA, 'INDEX.json'), 'utf8')) as {
    cases: readonly CorpusCase[]
  }
  return cases.filter(({ file }) => folders.some(folder => file.startsWith(`${folder}/`)))
}

export function corpusFile(path: string): Buffer {
  return readFileSync(join(CORPORA, path))
}

/** PEM or DER. */
export function corpusCertificate(path: string): Certificate {
  return parseCertificate(derOf(corpusFile(path)))
}

export function corpusKey({
  cert,
  key,
}: {
  readonly cert: string
  readonly key: string
}): KeyUnwrapper {
  const octets = corpusFile(key)
  const privateKey = octets.includes('-----')
    ? createPrivateKey(octets)
    : createPrivateKey({ key: octets, format: 'der', type: 'pkcs8' })
  return unwrapperFor(corpusCertificate(cert), privateKey)
}

/** Octets out of PEM, or as they stand. */
export function derOf(octets: Buffer): Buffer {
  const [, base64] = /-----BEGIN [^-]+-----([^-]*)-----/.exec(octets.toString('latin1')) ?? []
  return base64 === undefined ? octets : Buffer.from(base64, 'base64')
}
