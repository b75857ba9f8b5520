/**
 * Belief in a certificate, as a type.
 *
 * Whoever takes a `ValidCertificate` cannot be handed one that nobody has validated: the one place
 * where the type is made is the validation, which does so by a cast.
 *
 * @module
 */
import type { Certificate } from './certificate.ts'

declare const valid: unique symbol

/** What a certificate was validated for. */
export type Purpose = 'sign' | 'encrypt'

/** A certificate that was validated for a purpose, at a moment. */
export type ValidCertificate<P extends Purpose = Purpose> = Certificate & { readonly [valid]: P }
