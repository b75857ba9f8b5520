/**
 * GeneralName: the forms in which a certificate can name somebody or something (RFC 5280 §4.2.1.6).
 *
 * @module
 */
import { type DerReader, type Element, readOid, syntaxError } from '../asn1/der-reader.ts'

/** One name. Texts are as they stand, octet for character; whether they mean anything is not said. */
export type GeneralName =
  | { readonly form: 'otherName'; readonly type: string; readonly value: Buffer }
  | { readonly form: TextForm; readonly text: string }
  | { readonly form: OctetForm; readonly value: Buffer }

export type NameForm = GeneralName['form']

type TextForm = 'rfc822Name' | 'dNSName' | 'uniformResourceIdentifier'
type OctetForm = 'x400Address' | 'directoryName' | 'ediPartyName' | 'iPAddress' | 'registeredID'

/** Reads the elements of a GeneralNames, as many as there are in the window. */
export function readGeneralNames(names: DerReader): GeneralName[] {
  const list: GeneralName[] = []
  while (!names.done) list.push(readGeneralName(names))
  return list
}

/**
 * Reads one name.
 * @throws {PosternError} `ERR_DER_SYNTAX`, also for a form that RFC 5280 does not know.
 */
export function readGeneralName(names: DerReader): GeneralName {
  switch (names.nextTag) {
    case 0xa0:
      return readOtherName(names.into(0xa0))
    case 0xa4: {
      const wrapped = names.into(0xa4)
      const value = wrapped.element(0x30).octets
      wrapped.finish()
      return { form: 'directoryName', value }
    }
    default:
      return simpleName(names.element(), names.offset)
  }
}

/** The value is what stands inside the explicit `[0]`. */
function readOtherName(otherName: DerReader): GeneralName {
  const type = readOid(otherName.element(0x06))
  const wrapped = otherName.into(0xa0)
  const value = wrapped.element().octets
  wrapped.finish()
  otherName.finish()
  return { form: 'otherName', type, value }
}

function simpleName({ tag, content }: Element, offset: number): GeneralName {
  const text = TEXT_FORMS.get(tag)
  if (text) return { form: text, text: content.toString('latin1') }
  const octets = OCTET_FORMS.get(tag)
  if (octets) return { form: octets, value: content }
  throw syntaxError(offset, 'name of an unknown form')
}

const TEXT_FORMS: ReadonlyMap<number, TextForm> = new Map([
  [0x81, 'rfc822Name'],
  [0x82, 'dNSName'],
  [0x86, 'uniformResourceIdentifier'],
])
const OCTET_FORMS: ReadonlyMap<number, OctetForm> = new Map([
  [0xa3, 'x400Address'],
  [0xa5, 'ediPartyName'],
  [0x87, 'iPAddress'],
  [0x88, 'registeredID'],
])
