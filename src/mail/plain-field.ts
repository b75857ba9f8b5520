/**
 * Whether a header field is written so that all readers see the same field (RFC 5322 §2.2).
 *
 * @module
 */
import type { HeaderField } from './header-section.ts'

/**
 * Whether a field keeps to the form that RFC 5322 §3 lets be written, whatever its octets say.
 *
 * Not so are the obsolete ones (§4.2, §4.5) in which one reader sees the field and another does not:
 * white space ahead of the colon, a line of white space alone, a line end that is not CRLF.
 */
export function isPlainField({ name, octets }: HeaderField): boolean {
  if (octets[name.length] !== COLON) return false
  const text = octets.toString('latin1')
  if (!text.endsWith('\r\n')) return false
  const lines = text.slice(0, -2).split('\r\n')
  return lines.every(
    (line, index) => !/[\r\n]/.test(line) && (index === 0 || !/^[ \t]*$/.test(line)),
  )
}

/** Whether a plain field holds printable ASCII and HTAB only. */
export function isPrintableField(field: HeaderField): boolean {
  return isPlainField(field) && /^[\t\r\n -~]*$/.test(field.octets.toString('latin1'))
}

const COLON = 0x3a
