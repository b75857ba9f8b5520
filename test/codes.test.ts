/**
 * docs/codes.md tells every code that a stamp may bear, and no other.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'

const top = resolve(import.meta.dirname, '..')
/** A file below src/, or all of a folder. */
function source(place: string): string {
  const path = resolve(top, 'src', place)
  if (place.includes('.')) return readFileSync(path, 'utf8')
  return readdirSync(path)
    .filter(name => name.endsWith('.ts'))
    .map(name => readFileSync(resolve(path, name), 'utf8'))
    .join('\n')
}
const described = new Set(
  [...source('../docs/codes.md').matchAll(/`([a-z0-9…-]+)`/g)].map(match => match[1]!),
)

/** Words of a union type, behind its name. */
function union(file: string, name: string): string[] {
  const [, body = ''] = source(file).split(`export type ${name} =`)
  const [words = ''] = body.split(/\n\n|\n\} /)
  return [...words.matchAll(/\| '([a-z0-9-]+)'/g)].map(match => match[1]!)
}

/** What a pattern finds in a file: the first group. */
function found(file: string, pattern: RegExp): string[] {
  return [...source(file).matchAll(pattern)].map(match => match[1]!)
}

/** Told by another name in a stamp, or for encryption alone. */
const RENAMED = new Set([
  'weak',
  'issuer-not-found',
  'signature-invalid',
  'key-usage',
  'extended-key-usage',
])

const codes = [
  ...found('policy/verdict.ts', /code: '([a-z0-9-]+)'/g),
  ...found('gateway', /code: '([a-z0-9-]+)'/g),
  ...found('gateway', /\['[a-z-]+', '([a-z-]+-mismatch)'\]/g),
  ...found('gateway', /without\(\s*'([a-z-]+)'/g),
  ...found('gateway', /\.\.\.encryption\.notes, '([a-z-]+)'/g),
  ...found('policy/verdict.ts', /notes\.push\('([a-z-]+)'/g),
  ...found('crypto/cms/verify-signer.ts', /(?:bad|unverifiable)\('([a-z-]+)'/g),
  ...found('crypto/smime/verify.ts', /malformed\('([a-z-]+)'/g),
  ...found('crypto/smime/verify.ts', /\['ERR_\w+', '([a-z0-9-]+)'\]/g),
  ...found('crypto/smime/signature-labels.ts', /fault\('([a-z-]+)'/g),
  ...found('crypto/smime/signature-labels.ts', /labels\.push\('([a-z-]+)'/g),
  ...found('crypto/smime/signature-labels.ts', /\['(micalg-[a-z]+)'\]/g),
  ...found('crypto/cms/received-algorithm.ts', /\| '(algorithm-[a-z]+)'/g),
  ...found('crypto/smime/layers.ts', /stopped: '([a-z-]+)'/g),
  ...found('crypto/smime/layers.ts', /unfit\('([a-z-]+)'\)/g).map(reason => `unfit-${reason}`),
  ...union('crypto/x509/path-result.ts', 'PathReason'),
  ...found('certstore/validate.ts', /^ {2}\| '([a-z-]+)'$/gm),
  ...found('certstore/validate.ts', /type (?:NoAnchor|NotTold) = (.+)/g).flatMap(words =>
    [...words.matchAll(/'([a-z-]+)'/g)].map(match => match[1]!),
  ),
  ...union('mail/author.ts', 'AuthorFault'),
  ...union('mail/author.ts', 'AuthorNote'),
  ...union('crypto/smime/decrypt.ts', 'UnreadableReason'),
  ...union('crypto/cms/read-enveloped-data.ts', 'EnvelopedRefusal'),
  ...union('gateway', 'EncryptionResult'),
  ...union('policy/verdict.ts', 'VerdictResult'),
].filter(code => !RENAMED.has(code))

test('docs/codes.md describes every code of a stamp', () => {
  expect(new Set(codes).size).toBeGreaterThan(90)
  expect([...new Set(codes)].filter(code => !described.has(code))).toEqual([])
})

test('docs/codes.md describes no code that does not exist', () => {
  const known = new Set([...codes, ...ELSEWHERE])
  expect([...described].filter(code => !known.has(code))).toEqual([])
})

/** Codes that are put together, and words of the text that are none. */
const ELSEWHERE = [
  'good',
  'code',
  'revoked',
  'revocation-unknown',
  'weak-sha-1',
  'weak-rsa-1024',
  'weak-cipher',
  'inexact-…',
  'inexact-line-end',
]
