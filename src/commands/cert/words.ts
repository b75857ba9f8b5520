/**
 * How certificates are told to people and to programs.
 *
 * @module
 */
import type { Certificate } from '../../crypto/x509/certificate.ts'
import { visible } from '../../log.ts'

/** A certificate in one line. */
export function label({ subjectText, serialNumberHex }: Certificate): string {
  return `${visible(subjectText)}, serial ${serialNumberHex}`
}

/** A certificate in several lines, the first of them `label`. */
export function describe(certificate: Certificate): string[] {
  const { addresses, issuerText, notBefore, notAfter, fingerprint } = certificate
  return [
    label(certificate),
    row('addresses', visible(addresses.join(', ')) || 'none'),
    row('issuer', visible(issuerText)),
    row('valid', `${notBefore.toISOString()} to ${notAfter.toISOString()}`),
    row('fingerprint', fingerprint),
  ]
}

/** `  name         value`. */
export function row(name: string, value: string): string {
  return `  ${name.padEnd(12)} ${value}`
}

/** What programs are told of a certificate. */
export function accountOf(certificate: Certificate) {
  const { subjectText, issuerText, serialNumberHex, fingerprint, addresses } = certificate
  const { notBefore, notAfter } = certificate
  const names = { subject: subjectText, issuer: issuerText, serialNumber: serialNumberHex }
  return { ...names, fingerprint, addresses, notBefore, notAfter }
}

/** Whether its time is over, or has not begun; empty where neither is so. */
export function outOfTime({ notBefore, notAfter }: Certificate, now: Date): string {
  if (now > notAfter) return 'expired'
  return now < notBefore ? 'not valid yet' : ''
}

/** Faults beside an answer: behind it for people, on standard error where programs read the answer. */
export function tellFaults(faults: readonly string[], json = false): void {
  for (const fault of faults) (json ? console.error : console.log)(`note: ${visible(fault)}`)
}
