/**
 * Certification paths that we made ourselves: mazes, bombs, and one fault at a time.
 *
 * @module
 */
import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { context, integer, oid, sequence, tlv } from '../../../src/crypto/asn1/der-writer.ts'
import { type Certificate, parseCertificate } from '../../../src/crypto/x509/certificate.ts'
import { type PathOptions, validatePath } from '../../../src/crypto/x509/path.ts'
import { pathBudget } from '../../../src/crypto/x509/path-budget.ts'
import type { RevocationAnswers, RevocationStatus } from '../../../src/crypto/x509/revocation.ts'
import {
  alternativeNames,
  basicConstraints,
  emailProtection,
  extension,
  type KeyPair,
  keyUsage,
  mailAddress,
  makeCertificate,
  makeKey,
  name,
  relativeName,
  smtpUtf8Mailbox,
} from '../make-certificate.ts'

const TIME = new Date('2026-11-23T00:00:00Z')
const rootKey = makeKey('P-256')
const caKey = makeKey('P-256')
const userKey = makeKey('P-256')
const ROOT = name('Root')
const CA = name('Authority')
const AUTHORITY = [basicConstraints(true), keyUsage(5, 6)]
const USER = [keyUsage(0), emailProtection()]

let root: Certificate
let ca: Certificate
let user: Certificate

beforeAll(async () => {
  root = await make(ROOT, rootKey, ROOT, rootKey, AUTHORITY)
  ca = await make(CA, caKey, ROOT, rootKey, AUTHORITY)
  user = await make(name('User'), userKey, CA, caKey, USER)
})

describe('a path that holds', () => {
  test('end entity first, anchor last', async () => {
    const result = await validate(user, [ca])
    expect(result).toMatchObject({ kind: 'valid', path: [user, ca, root] })
  })

  test('B19 a self-signed certificate that came along is not believed', async () => {
    const own = await make(ROOT, caKey, ROOT, caKey, AUTHORITY)
    const below = await make(name('User'), userKey, ROOT, caKey, USER)
    expect(await validate(below, [own])).toMatchObject({ reason: 'signature-invalid' })
    expect(await validate(user, [])).toMatchObject({ reason: 'issuer-not-found' })
  })

  test('an end entity among the anchors is believed, for what it may be used for', async () => {
    const own = await make(name('Own'), userKey, name('Own'), userKey, USER)
    expect(await validate(own, [], { anchors: [own] })).toMatchObject({
      kind: 'valid',
      path: [own],
    })
    const wrong = await validate(own, [], { anchors: [own], keyUsage: ['keyEncipherment'] })
    expect(wrong).toMatchObject({ kind: 'invalid', reason: 'key-usage' })
  })

  test('of two authorities of one name, the one that signed', async () => {
    const namesake = await make(CA, rootKey, ROOT, rootKey, AUTHORITY)
    for (const pool of [
      [namesake, ca],
      [ca, namesake],
    ])
      expect(await validate(user, pool)).toMatchObject({ kind: 'valid', path: [user, ca, root] })
  })
})

describe('one fault at a time', () => {
  test.each([
    ['not-an-authority', [keyUsage(5, 6)]],
    ['not-an-authority', [basicConstraints(false), keyUsage(5, 6)]],
    ['key-usage', [basicConstraints(true), keyUsage(6)]],
    [
      'extended-key-usage',
      [...AUTHORITY, extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1')))],
    ],
    ['unknown-critical-extension', [...AUTHORITY, extension('1.2.3.4', sequence(), true)]],
    ['name-constraints', [...AUTHORITY, constraints([], [tlv(0x87, Buffer.alloc(7))])]],
    ['name-constraints', [...AUTHORITY, extension('2.5.29.30', sequence(), true)]],
    ['malformed', [...AUTHORITY, extension('2.5.29.32', sequence(sequence(tlv(0x04))))]],
  ])('B37 %s of an authority', async (reason, extensions) => {
    const bad = await make(CA, caKey, ROOT, rootKey, extensions)
    expect(await validate(user, [bad])).toMatchObject({
      kind: 'invalid',
      reason,
      at: 'CN=Authority',
    })
  })

  test.each([
    ['key-usage', [keyUsage(2), emailProtection()]],
    [
      'extended-key-usage',
      [keyUsage(0), extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1')))],
    ],
    ['unknown-critical-extension', [...USER, extension('1.2.3.4', sequence(), true)]],
  ])('B37 %s of the end entity', async (reason, extensions) => {
    const bad = await make(name('User'), userKey, CA, caKey, extensions)
    const result = await validate(bad, [ca], { keyUsage: ['digitalSignature', 'nonRepudiation'] })
    expect(result).toMatchObject({ kind: 'invalid', reason, at: 'CN=User' })
  })

  test('B37 any purpose is good for mail', async () => {
    const any = await make(name('User'), userKey, CA, caKey, [
      extension('2.5.29.37', sequence(oid('2.5.29.37.0'))),
    ])
    expect(await validate(any, [ca])).toMatchObject({ kind: 'valid' })
  })

  test('B37 pathLenConstraint', async () => {
    const narrow = await make(CA, caKey, ROOT, rootKey, [pathLength(0), keyUsage(5, 6)])
    const below = await make(name('Below'), rootKey, CA, caKey, AUTHORITY)
    const deep = await make(name('User'), userKey, name('Below'), rootKey, USER)
    expect(await validate(deep, [narrow, below])).toMatchObject({ reason: 'path-too-long' })
    expect(await validate(deep, [ca, below])).toMatchObject({ kind: 'valid' })
  })

  test('times, to the second', async () => {
    expect(await validate(user, [ca], { time: new Date('2019-12-31T23:59:59Z') })).toMatchObject({
      reason: 'not-yet-valid',
    })
    expect(await validate(user, [ca], { time: new Date('2060-01-01T00:00:01Z') })).toMatchObject({
      reason: 'expired',
    })
    const last = new Date('2060-01-01T00:00:00.900Z')
    expect(await validate(user, [ca], { time: last })).toMatchObject({ kind: 'valid' })
  })

  test('B40 keys that are too small or too odd verify nothing', async () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const anchor = await make(ROOT, small, ROOT, rootKey, AUTHORITY)
    const below = await make(name('User'), userKey, ROOT, rootKey, USER)
    expect(await validate(below, [], { anchors: [anchor] })).toMatchObject({
      reason: 'key-refused',
    })
  })
})

describe('revocation', () => {
  test.each<[RevocationStatus, object]>([
    [{ kind: 'good', until: undefined }, { kind: 'valid' }],
    [
      { kind: 'revoked', at: TIME, reason: 'keyCompromise' },
      { kind: 'invalid', reason: 'revoked', revokedAt: TIME, revocationReason: 'keyCompromise' },
    ],
    [
      { kind: 'unknown', why: 'no-answer', detail: '' },
      { kind: 'unknown', why: 'no-answer' },
    ],
  ])('B43 B44 %j', async (status, expected) => {
    expect(await validate(user, [ca], { revocation: always(status) })).toMatchObject(expected)
  })

  test('B44 every certificate but the anchor is asked for', async () => {
    const asked: Certificate[] = []
    const revocation: RevocationAnswers = {
      async statusOf({ certificate }) {
        asked.push(certificate)
        return { kind: 'good', until: undefined }
      },
    }
    await validate(user, [ca], { revocation })
    expect(asked).toEqual([ca, user])
  })

  test('B43 unknown above does not hide revoked below', async () => {
    const revocation: RevocationAnswers = {
      statusOf: async ({ certificate }) =>
        certificate === user
          ? { kind: 'revoked', at: TIME, reason: 'unspecified' }
          : { kind: 'unknown', why: 'no-answer', detail: '' },
    }
    expect(await validate(user, [ca], { revocation })).toMatchObject({ reason: 'revoked' })
  })

  test('B44 an end entity that is revoked on one path is revoked, whatever is known of another', async () => {
    const cross = await make(CA, caKey, ROOT, rootKey, [...AUTHORITY, keyId()])
    const revocation: RevocationAnswers = {
      statusOf: async ({ certificate, issuer }) =>
        certificate === user && issuer === ca
          ? { kind: 'revoked', at: TIME, reason: 'superseded' }
          : { kind: 'unknown', why: 'no-answer', detail: '' },
    }
    for (const pool of [
      [ca, cross],
      [cross, ca],
    ])
      expect(await validate(user, pool, { revocation })).toMatchObject({ reason: 'revoked' })
  })

  test('another path that does without the revoked authority', async () => {
    const cross = await make(CA, caKey, ROOT, rootKey, [...AUTHORITY, keyId()])
    const revocation: RevocationAnswers = {
      statusOf: async ({ certificate }) =>
        certificate === ca
          ? { kind: 'revoked', at: TIME, reason: 'superseded' }
          : { kind: 'good', until: undefined },
    }
    const result = await validate(user, [ca, cross], { revocation })
    expect(result).toMatchObject({ kind: 'valid', path: [user, cross, root] })
  })
})

describe('B39 mazes end within the budget', () => {
  test('two authorities that signed each other, and no anchor', async () => {
    const [one, other] = [name('One'), name('Other')]
    const loop = [
      await make(one, caKey, other, rootKey, AUTHORITY),
      await make(other, rootKey, one, caKey, AUTHORITY),
    ]
    const lost = await make(name('User'), userKey, one, caKey, USER)
    const budget = pathBudget()
    expect(await validate(lost, loop, { budget })).toMatchObject({ reason: 'issuer-not-found' })
    expect(budget.signatures).toBe(100)
  })

  test('ten authorities that all signed each other, below an anchor that forbids all of it', async () => {
    const keys = Array.from({ length: 9 }, () => makeKey('P-256'))
    const maze: Certificate[] = []
    for (const [index, key] of keys.entries())
      for (const [by, issuerKey] of keys.entries())
        if (index !== by)
          maze.push(await make(name(`M${index}`), key, name(`M${by}`), issuerKey, AUTHORITY))
    maze.push(await make(name('M0'), keys[0]!, ROOT, rootKey, AUTHORITY))
    const forbidding = await make(ROOT, rootKey, ROOT, rootKey, [
      ...AUTHORITY,
      constraints([], [tlv(0x81, Buffer.from('example.test'))]),
    ])
    const lost = await make(name('User'), userKey, name('M8'), keys[8]!, [
      ...USER,
      mailAddress('user@example.test'),
    ])
    const budget = pathBudget()
    const started = performance.now()
    const result = await validate(lost, maze, { anchors: [forbidding], budget })
    expect(result).toMatchObject({ kind: 'invalid', reason: 'budget-exceeded' })
    expect(budget.signatures).toBe(100 - 74)
    expect(budget.steps).toBeLessThan(0)
    expect(performance.now() - started).toBeLessThan(1000)
  })

  test('a circle is gone round once', async () => {
    const otherKey = makeKey('P-256')
    const other = name('Other')
    const circle = [
      await make(other, otherKey, CA, caKey, AUTHORITY),
      await make(CA, caKey, other, otherKey, AUTHORITY),
    ]
    const narrow = await make(CA, caKey, ROOT, rootKey, [
      ...AUTHORITY,
      constraints([], [tlv(0x81, Buffer.from('example.test'))]),
    ])
    const lost = await make(name('User'), userKey, CA, caKey, [
      ...USER,
      mailAddress('a@example.test'),
    ])
    const budget = pathBudget()
    const result = await validate(lost, [...circle, narrow], { budget })
    expect(result).toMatchObject({ kind: 'invalid', reason: 'name-constraints' })
    expect(2000 - budget.steps).toBeLessThan(8)
  })

  test('no signature is verified, no certificate read beyond the budget', async () => {
    for (const limits of [{ signatures: 1 }, { certificates: 1 }, { octets: 500 }]) {
      const result = await validate(user, [ca], { budget: pathBudget(limits) })
      expect(result).toMatchObject({ kind: 'invalid', reason: 'budget-exceeded' })
    }
    const budget = pathBudget({ signatures: 2, certificates: 2 })
    expect(await validate(user, [ca], { budget })).toMatchObject({ kind: 'valid' })
    expect(budget.signatures).toBe(0)
  })

  test('more certificates than are looked at', async () => {
    const pool = Array.from({ length: 150 }, () => ca)
    const namesakes = await Promise.all(
      pool.map(() => make(CA, makeKey('P-256'), ROOT, caKey, AUTHORITY)),
    )
    const budget = pathBudget({ signatures: 1000 })
    const result = await validate(user, namesakes, { budget })
    expect(result).toMatchObject({ kind: 'invalid', reason: 'budget-exceeded' })
  })

  test('a thousand names under a thousand constraints', async () => {
    const many = Array.from({ length: 1000 }, (_, index) => index)
    const bomb = await make(CA, caKey, ROOT, rootKey, [
      ...AUTHORITY,
      constraints(
        many.map(one => tlv(0x81, Buffer.from(`p${one}.test`))),
        [],
      ),
    ])
    const lost = await make(name('User'), userKey, CA, caKey, [
      ...USER,
      mailAddress(...many.map(one => `a${one}@p${999}.test`)),
    ])
    const started = performance.now()
    expect(await validate(lost, [bomb])).toMatchObject({ reason: 'budget-exceeded' })
    expect(performance.now() - started).toBeLessThan(1000)
  })

  test('long names under many constraints', async () => {
    const many = Array.from({ length: 3000 }, (_, index) => index)
    for (const [tag, text] of [
      [0x81, `${'a'.repeat(100_000)}@x.test`],
      [0x82, `${'a.'.repeat(50_000)}test`],
      [0x86, `http://${'a'.repeat(100_000)}/`],
    ] as const) {
      const bomb = await make(CA, caKey, ROOT, rootKey, [
        ...AUTHORITY,
        constraints(
          [],
          many.map(one => tlv(tag, Buffer.from(`p${one}.test`))),
        ),
      ])
      const leaf = await make(name('User'), userKey, CA, caKey, [
        ...USER,
        alternativeNames(tlv(tag, Buffer.from(text))),
      ])
      const started = performance.now()
      await validate(leaf, [bomb])
      expect(performance.now() - started).toBeLessThan(500)
    }
  })

  test('copies of the anchor that came along', async () => {
    const copy = await make(ROOT, rootKey, ROOT, rootKey, AUTHORITY)
    const budget = pathBudget()
    const anchors = [root]
    const twin = Array.from({ length: 50 }, () => parseCertificate(Buffer.from(root.der)))
    const result = await validate(user, [...twin, ca], { anchors, budget })
    expect(result).toMatchObject({ kind: 'valid', path: [user, ca, root] })
    expect(budget.signatures).toBe(98)
    expect((await validate(user, [copy, ca])).kind).toBe('valid')
  })

  test('policies that are all mapped to all others', async () => {
    const policies = Array.from({ length: 30 }, (_, index) => `1.2.3.${index}`)
    const keys = Array.from({ length: 7 }, () => makeKey('P-256'))
    const extensions = [
      ...AUTHORITY,
      extension('2.5.29.32', sequence(...policies.map(one => sequence(oid(one))))),
      extension(
        '2.5.29.33',
        sequence(...policies.flatMap(one => policies.map(two => sequence(oid(one), oid(two))))),
      ),
    ]
    const pool: Certificate[] = []
    for (const [index, key] of keys.entries()) {
      const above = index === 0 ? ROOT : name(`P${index - 1}`)
      const issuerKey = index === 0 ? rootKey : keys[index - 1]!
      pool.push(await make(name(`P${index}`), key, above, issuerKey, extensions))
    }
    const leaf = await make(name('User'), userKey, name('P6'), keys[6]!, [
      ...USER,
      extension('2.5.29.32', sequence(sequence(oid('1.2.3.4')))),
    ])
    const started = performance.now()
    const result = await validate(leaf, pool, { explicitPolicy: true })
    expect(result).toMatchObject({ kind: 'valid', policies: { explicitPolicy: true } })
    expect(performance.now() - started).toBeLessThan(500)
  })
})

describe('B38 name constraints', () => {
  const mail = (text: string): Buffer => tlv(0x81, Buffer.from(text))
  const dn = (...values: readonly string[]): Buffer =>
    context(
      4,
      sequence(...values.map(value => relativeName('2.5.4.10', tlv(0x13, Buffer.from(value))))),
    )

  test.each([
    ['host', mail('example.test'), 'a@example.test', true],
    ['host, another case', mail('Example.TEST'), 'a@eXample.test', true],
    ['host, below', mail('example.test'), 'a@b.example.test', false],
    ['host, look-alike', mail('example.test'), 'a@badexample.test', false],
    ['domain', mail('.example.test'), 'a@b.example.test', true],
    ['domain, itself', mail('.example.test'), 'a@example.test', false],
    ['mailbox', mail('a@example.test'), 'a@example.test', true],
    ['mailbox, another', mail('a@example.test'), 'b@example.test', false],
    ['mailbox, local part of another case', mail('a@example.test'), 'A@example.test', false],
    ['two @', mail('example.test'), 'a@b@example.test', false],
    ['white space', mail('example.test'), 'a@example.test ', false],
    ['NUL', mail('example.test'), 'a@example.test\0.evil.test', false],
  ])('permitted %s', async (_, base, address, good) => {
    expect(await constrained([base], [], [mailAddress(address)])).toBe(good)
  })

  test.each([
    ['host', mail('example.test'), 'a@example.test', false],
    ['host, another', mail('example.test'), 'a@example.org', true],
    ['mailbox, in whatever case', mail('Bob@example.test'), 'bob@example.test', false],
    ['everything', mail(''), 'a@example.test', false],
    ['two @', mail('example.test'), 'a@b@c.test', false],
  ])('excluded %s', async (_, base, address, good) => {
    expect(await constrained([], [base], [mailAddress(address)])).toBe(good)
  })

  test('an international address is an address (RFC 9598)', async () => {
    const mailbox = (text: string) => [alternativeNames(smtpUtf8Mailbox(Buffer.from(text)))]
    const host = [mail('xn--exmple-cua.test')]
    expect(await constrained(host, [], mailbox('ä@exämple.test'))).toBe(true)
    expect(await constrained(host, [], mailbox('ä@xn--exmple-cua.test'))).toBe(true)
    expect(await constrained(host, [], mailbox('ä@other.test'))).toBe(false)
    expect(await constrained([], host, mailbox('ä@exämple.test'))).toBe(false)
  })

  test('the emailAddress of the subject counts, alternative names or not', async () => {
    const inSubject = name(
      'User',
      relativeName('1.2.840.113549.1.9.1', tlv(0x16, Buffer.from('a@evil.test'))),
    )
    const good = [mailAddress('a@example.test')]
    for (const more of [[], good])
      expect(await constrained([mail('example.test')], [], more, inSubject)).toBe(false)
  })

  test('a URI by its host, which must be a name, and no URI without end', async () => {
    const uri = (text: string): Buffer => tlv(0x86, Buffer.from(text))
    const below = (text: string) => constrained([uri('.test')], [], [alternativeNames(uri(text))])
    expect(await below('https://user@a.test:443/path?query')).toBe(true)
    expect(await below('https://a.example/.test')).toBe(false)
    expect(await below('https://127.0.0.1/')).toBe(false)
    expect(await below('urn:a.test')).toBe(false)
    expect(await below(`https://a.test/${'a'.repeat(2048)}`)).toBe(false)
  })

  test('a directory name, whatever its string type, case and white space', async () => {
    const subject = (value: Buffer) => sequence(relativeName('2.5.4.10', value))
    const same = subject(tlv(0x0c, Buffer.from('  Example  ORG ')))
    expect(await constrained([dn('example org')], [], [], same)).toBe(true)
    expect(await constrained([], [dn('example org')], [], same)).toBe(false)
    expect(await constrained([dn('example org', 'unit')], [], [], same)).toBe(false)
  })

  test('names of a form that nobody can check are refused where it is constrained', async () => {
    const other = context(0, oid('1.2.3'), context(0, tlv(0x0c, Buffer.from('x'))))
    expect(await constrained([other], [], [alternativeNames(other)])).toBe(false)
    expect(await constrained([], [other], [alternativeNames(other)])).toBe(false)
    expect(await constrained([], [other], [mailAddress('a@example.test')])).toBe(true)
  })

  async function constrained(
    permitted: readonly Buffer[],
    excluded: readonly Buffer[],
    extensions: readonly Buffer[],
    subject = name('User'),
  ): Promise<boolean> {
    const narrow = await make(CA, caKey, ROOT, rootKey, [
      ...AUTHORITY,
      constraints(permitted, excluded),
    ])
    const leaf = await make(subject, userKey, CA, caKey, [...USER, ...extensions])
    const result = await validate(leaf, [narrow])
    expect(result.kind === 'valid' || result).toSatisfy(
      (word: { reason: string } | true) => word === true || word.reason === 'name-constraints',
    )
    return result.kind === 'valid'
  }
})

function validate(
  certificate: Certificate,
  intermediates: readonly Certificate[],
  options: Partial<PathOptions> = {},
) {
  const purpose = 'emailProtection'
  return validatePath(certificate, {
    anchors: [root],
    intermediates,
    time: TIME,
    purpose,
    ...options,
  })
}

function make(
  subject: Buffer,
  key: KeyPair,
  issuer: Buffer,
  issuerKey: KeyPair,
  extensions: readonly Buffer[],
): Promise<Certificate> {
  return makeCertificate({ subject, key, issuer, issuerKey, extensions })
}

function constraints(permitted: readonly Buffer[], excluded: readonly Buffer[]): Buffer {
  const subtrees = (number: number, bases: readonly Buffer[]) =>
    bases.length > 0 ? [context(number, ...bases.map(base => sequence(base)))] : []
  return extension('2.5.29.30', sequence(...subtrees(0, permitted), ...subtrees(1, excluded)), true)
}

function pathLength(length: number): Buffer {
  return extension('2.5.29.19', sequence(tlv(0x01, Buffer.from([0xff])), integer(length)), true)
}

function keyId(): Buffer {
  return extension('2.5.29.14', tlv(0x04, Buffer.from('another')))
}

function always(status: RevocationStatus): RevocationAnswers {
  return { statusOf: async () => status }
}
