/**
 * Pins: to what alone mail for an address, or for a whole domain, may be encrypted.
 *
 *     mailbox ──▶ its own pins, or else its domain's ──▶ does a certificate meet one of them?
 *
 * Whoever pins a certificate wishes encryption. Where a pin is not met there is no answer, never "none".
 *
 * @module
 */
import type { Certificate } from '../crypto/x509/certificate.ts'
import { type Mailbox, parseMailbox } from '../mail/address.ts'
import { type Trust, validateForEncryption } from './validate.ts'

/** A pin. Either a certificate, or authorities one of which has to stand above it. */
export interface Pin {
  /** `ann@partner.test`, or `@partner.test`: whoever there has no pin of his own. */
  readonly address: string
  /** SHA-256 of the certificate, hexadecimal, small letters. */
  readonly fingerprint?: string
  /** None where they could not be read: nothing meets the pin then. */
  readonly authorities?: readonly Certificate[]
}

/** The pins of an organisation. */
export class Pins {
  readonly #byAddress = new Map<string, Pin[]>()

  constructor(pins: readonly Pin[]) {
    for (const pin of pins) {
      const { address } = pin
      const key = address.startsWith('@') ? address : parseMailbox(address).matchKey
      this.#byAddress.set(key, [...(this.#byAddress.get(key) ?? []), pin])
    }
  }

  /** Those of a mailbox, of which one has to be met; none: anything may be used. */
  of({ matchKey, domain }: Mailbox): readonly Pin[] {
    return this.#byAddress.get(matchKey) ?? this.#byAddress.get(`@${domain}`) ?? NONE
  }
}

/** What is pinned, in words. */
export function pinnedTo(pins: readonly Pin[]): string {
  const [{ address } = { address: '' }] = pins
  const what = pins.map(({ fingerprint, authorities = NO_AUTHORITIES }) =>
    fingerprint === undefined
      ? `what ${authorities[0]?.subjectText ?? 'an authority that cannot be read'} stands above`
      : `certificate ${fingerprint}`,
  )
  return `${address.startsWith('@') ? address : 'the address'} is pinned to ${what.join(' or ')}`
}

/**
 * Whether a certificate that is valid meets one of the pins.
 *
 * @param beside Authorities that may stand between it and one that is pinned.
 */
export async function meets(
  certificate: Certificate,
  pins: readonly Pin[],
  { trust, beside, time }: { trust: Trust; beside: readonly Certificate[]; time: Date },
): Promise<boolean> {
  if (pins.some(({ fingerprint }) => fingerprint === certificate.fingerprint)) return true
  const anchors = pins.flatMap(({ authorities }) => authorities ?? NO_AUTHORITIES)
  if (anchors.length === 0) return false
  // Revocation has been asked for on the way to an anchor that the organisation believes.
  const intermediates = [...trust.intermediates, ...trust.anchors]
  const pinned: Trust = { anchors, intermediates, revocationMode: 'off' }
  return (await validateForEncryption(certificate, pinned, beside, time)).kind === 'valid'
}

const NONE: readonly Pin[] = []
const NO_AUTHORITIES: readonly Certificate[] = []
