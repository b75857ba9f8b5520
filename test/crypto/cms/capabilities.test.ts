/** What the holder of a certificate can read, in his own words. @module */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NULL, oid, sequence } from '../../../src/crypto/asn1/der-writer.ts'
import { readCapabilities, writeCapabilities } from '../../../src/crypto/cms/capabilities.ts'
import * as OID from '../../../src/crypto/cms/oids.ts'

const capability = (type: string, ...parameters: Buffer[]) => sequence(oid(type), ...parameters)

describe('SMIMECapabilities (RFC 8551 §2.5.2)', () => {
  test('in their order, parameters and all', () => {
    const der = sequence(
      capability(OID.AES_256_GCM),
      capability('1.2.840.113549.1.1.7', sequence()),
      capability(OID.AES_128_CBC, NULL),
    )
    expect(readCapabilities(der)).toEqual([
      { oid: OID.AES_256_GCM, parameters: undefined },
      { oid: '1.2.840.113549.1.1.7', parameters: sequence() },
      { oid: OID.AES_128_CBC, parameters: NULL },
    ])
  })

  test('what was read is written back to the octet', () => {
    const der = sequence(capability('1.2.3', NULL), capability(OID.AES_128_GCM))
    expect(writeCapabilities(readCapabilities(der))).toEqual(der)
  })

  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['no list', NULL],
    ['octets behind it', Buffer.concat([sequence(capability('1.2.3')), NULL])],
    ['an entry of three', sequence(capability('1.2.3', NULL, NULL))],
    ['an entry without a name', sequence(capability('1.2.3'), sequence())],
    ['too long', sequence(capability('1.2.3', sequence(Buffer.alloc(9_000))))],
  ])('%s: no word at all', (_, der) => {
    expect(readCapabilities(der)).toEqual([])
  })

  test('no more than 64, and no more than 8 KiB', () => {
    const many = Array.from({ length: 100 }, () => capability('1.2.3'))
    expect(readCapabilities(sequence(...many))).toHaveLength(64)
    const long = { oid: '1.2.3', parameters: sequence(Buffer.alloc(3_000)) }
    const written = writeCapabilities([long, long, long])
    expect(readCapabilities(written)).toHaveLength(2)
  })

  test('a stranger can make nothing of it but a list, which can be written again', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), octets => {
        for (const der of [sequence(Buffer.from(octets)), Buffer.from(octets)]) {
          const read = readCapabilities(der)
          expect(readCapabilities(writeCapabilities(read))).toEqual(read)
        }
      }),
    )
  })
})
