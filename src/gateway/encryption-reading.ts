/**
 * What became of the encryption of a message, in the words of its stamp.
 *
 * @module
 */
import type { Layer, Layers } from '../crypto/smime/layers.ts'
import type { EncryptionResult } from './stamp.ts'

/** How a message was encrypted, and whether it was opened. */
export interface Encryption {
  readonly result: EncryptionResult
  readonly cipher?: string | undefined
  readonly management?: string | undefined
  /** Whose key opened it. */
  readonly key?: 'own' | 'domain' | undefined
  /** A signature inside is all that vouches for it: what stands around that is to be looked at. */
  readonly bySignature?: boolean
  readonly notes: readonly string[]
}

/**
 * Sums up all layers of encryption: the first that stayed closed gives the result; where all were
 * opened, that nothing vouches for one of them.
 *
 * @param owner Whose key opened it.
 */
export function encryptionOf({ layers }: Layers, owner: 'own' | 'domain' | undefined): Encryption {
  const encrypted = layers.flatMap((layer, at) =>
    layer.kind === 'encrypted' ? [{ layer, at }] : [],
  )
  const [first] = encrypted
  if (first === undefined) return { result: 'none', notes: [] }
  for (const { layer } of encrypted)
    if (layer.opening.kind !== 'opened') return closed(layer.opening)
  const { opening } = first.layer
  if (opening.kind !== 'opened') return closed(opening)
  const vouchedFor = encrypted.every(({ layer, at }) => isVouchedFor(layer, layers.slice(at + 1)))
  return {
    result: vouchedFor ? 'opened' : 'unauthenticated',
    cipher: opening.cipher,
    management: opening.management,
    key: owner,
    bySignature: vouchedFor && encrypted.some(({ layer }) => !hasTag(layer)),
    notes: opening.weak ? ['weak-cipher'] : [],
  }
}

/** Whether there is a layer of encryption, opened or not. */
export function cameEncrypted({ result }: Pick<Encryption, 'result'>): boolean {
  return result !== 'none' && result !== 'not-looked-at'
}

type EncryptedLayer = Extract<Layer, { kind: 'encrypted' }>

function closed(opening: EncryptedLayer['opening']): Encryption {
  switch (opening.kind) {
    case 'unfit':
      return { result: 'refused', notes: [`unfit-${opening.reason}`] }
    case 'unreadable':
      return { result: 'unreadable', notes: [opening.reason] }
    case 'left':
    case 'no-key':
    case 'failed':
      return { result: opening.kind, notes: [] }
    case 'opened':
    case 'as-before':
      throw new Error('not closed')
  }
}

/**
 * Whether nobody can have altered the cipher text unseen: it has a tag, or a signature right inside is
 * good. Whose signature that is does not matter here: to make one, all that is signed has to be known.
 */
function isVouchedFor(layer: EncryptedLayer, [next]: readonly Layer[]): boolean {
  if (hasTag(layer)) return true
  if (next?.kind !== 'signed' || next.signature.kind !== 'signed') return false
  return next.signature.signers.every(({ result }) => result.kind === 'good')
}

function hasTag({ opening }: EncryptedLayer): boolean {
  return opening.kind === 'opened' && opening.authenticated
}
