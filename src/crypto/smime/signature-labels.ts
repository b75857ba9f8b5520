/**
 * What is written on a signed entity: what makes it unreadable, and what is merely not so.
 *
 * A label decides nothing (RFC 8551 §3.2.1, §3.5.3.2: hints). But two readers who see two structures
 * see two contents, and a signature is about one: then nothing is verified.
 *
 * @module
 */
import type { Entity, Region } from '../../mail/entity.ts'
import type { Content } from '../../mail/mail-object.ts'
import {
  isBoundaryRepeated,
  isDelimitedAround,
  isPlainSection,
  isPlainType,
} from '../../mail/plain-structure.ts'

/** Why a signature is not read; a stable code, and words. */
export interface LayerFault {
  readonly reason: string
  readonly detail: string
}

/**
 * Why the structure of a multipart/signed is not to be relied upon (RFC 1847 §2.1): it must have two
 * parts, an end, and a protocol that names the type of the second. What stands around the parts must be
 * text to everybody: nobody has signed it.
 */
export async function faultOfClear(
  content: Content,
  entity: Entity,
): Promise<LayerFault | undefined> {
  const fault = faultOfFrame(entity)
  if (fault) return fault
  return (await isDelimitedAround(content, entity.multipart!)) ? AMBIGUOUS : undefined
}

function faultOfFrame(entity: Entity): LayerFault | undefined {
  const { multipart, children } = entity
  const [, signature, ...more] = children
  if (isReadInTwoWays(entity) || isBoundaryRepeated(entity)) return AMBIGUOUS
  if (!multipart?.closed) return fault('not-closed', 'the closing delimiter is missing')
  if (!signature || more.length > 0) return fault('not-two-parts', 'there are not two parts')
  const protocol = protocolOf(entity)
  if (!SIGNATURE_TYPES.has(protocol) || !SIGNATURE_TYPES.has(signature.mediaType.essence))
    return fault('protocol-mismatch', 'the second part is not of the kind that is announced')
  return faultOfLeaf(signature)
}

/** The same for an entity that bears the whole SignedData. */
export function faultOfOpaque(entity: Entity): LayerFault | undefined {
  return faultOfLeaf(entity)
}

/**
 * What is not so of a multipart/signed.
 *
 * - `micalg-missing`, `micalg-lies`: a signer used a digest that is not announced;
 * - `legacy-type`: x-pkcs7-signature;
 * - `name-lies`: the signature has a file name of another kind;
 * - `preamble`, `epilogue`: there is text around the parts, which nobody signed;
 * - `ambiguous-inside`: readers can differ about parts within what is signed.
 */
export async function labelsOfClear(
  content: Content,
  entity: Entity,
  signers: readonly { readonly digest: string | undefined }[],
): Promise<string[]> {
  const [part, signature] = entity.children as [Entity, Entity]
  const { preamble, epilogue } = entity.multipart!
  const labels = micalgLabels(entity, signers)
  if ([protocolOf(entity), signature.mediaType.essence].includes(LEGACY_SIGNATURE))
    labels.push('legacy-type')
  if (isNamedOtherwise(signature, '.p7s')) labels.push('name-lies')
  if (!(await isBlank(content, preamble))) labels.push('preamble')
  if (!(await isBlank(content, epilogue))) labels.push('epilogue')
  if (isAmbiguous(part)) labels.push('ambiguous-inside')
  return labels
}

/**
 * What is not so of an entity that bears a SignedData with its content.
 *
 * - `type-lies`: it is no application/pkcs7-mime; `legacy-type`: x-pkcs7-mime;
 * - `smime-type-lies`: something else than signed-data is announced;
 * - `name-lies`: it has a file name of another kind.
 */
export function labelsOfOpaque(entity: Entity): string[] {
  const { essence, parameters } = entity.mediaType
  const labels: string[] = []
  if (essence === LEGACY_MIME) labels.push('legacy-type')
  else if (essence !== 'application/pkcs7-mime') labels.push('type-lies')
  const announced = parameters.get('smime-type')?.trim().toLowerCase()
  if (announced !== undefined && announced !== 'signed-data') labels.push('smime-type-lies')
  if (isNamedOtherwise(entity, '.p7m')) labels.push('name-lies')
  return labels
}

/** RFC 8551 §3.5.3.2: a list with commas; older spellings are in use. */
function micalgLabels(
  { mediaType }: Entity,
  signers: readonly { readonly digest: string | undefined }[],
): string[] {
  const micalg = mediaType.parameters.get('micalg')?.slice(0, MAXIMUM_MICALG_CHARACTERS)
  if (micalg === undefined) return ['micalg-missing']
  const words = micalg.toLowerCase().split(',')
  const named = words.map(word => MICALG.exec(word.trim())?.[1])
  const lies = signers.some(
    ({ digest }) => digest !== undefined && !named.includes(digest.slice('sha-'.length)),
  )
  return lies ? ['micalg-lies'] : []
}

function faultOfLeaf(leaf: Entity): LayerFault | undefined {
  if (isReadInTwoWays(leaf)) return AMBIGUOUS
  return READABLE.has(leaf.transferEncoding)
    ? undefined
    : fault('transfer-encoding', 'the transfer encoding is not one for a signature')
}

function isReadInTwoWays(entity: Entity): boolean {
  return entity.ambiguous || !isPlainType(entity) || !isPlainSection(entity.headerSection)
}

function isNamedOtherwise({ mediaType }: Entity, ending: string): boolean {
  const name = mediaType.parameters.get('name')?.trim().toLowerCase()
  return name !== undefined && !name.endsWith(ending)
}

function isAmbiguous(entity: Entity): boolean {
  return entity.ambiguous || entity.mediaType.ambiguous || entity.children.some(isAmbiguous)
}

/** What is longer than a few blank lines is not looked at. */
async function isBlank(content: Content, { start, end }: Region): Promise<boolean> {
  if (end - start > MAXIMUM_BLANK_OCTETS) return false
  for await (const chunk of content.read(start, end))
    if (chunk.toString('latin1').trim() !== '') return false
  return true
}

function protocolOf({ mediaType }: Entity): string {
  return (mediaType.parameters.get('protocol') ?? '').trim().toLowerCase()
}

function fault(reason: string, detail: string): LayerFault {
  return { reason, detail }
}

const AMBIGUOUS = fault('ambiguous', 'two readers could read the structure differently')
const LEGACY_SIGNATURE = 'application/x-pkcs7-signature'
const LEGACY_MIME = 'application/x-pkcs7-mime'
const SIGNATURE_TYPES: ReadonlySet<string> = new Set([
  'application/pkcs7-signature',
  LEGACY_SIGNATURE,
])
const READABLE: ReadonlySet<string> = new Set(['base64', '7bit', '8bit', 'binary'])
const MICALG = /^(?:rsa-)?sha-?(1|256|384|512)$/
const MAXIMUM_MICALG_CHARACTERS = 200
const MAXIMUM_BLANK_OCTETS = 1000
