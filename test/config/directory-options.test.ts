import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ConfigFaults } from '../../src/config/fault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { certificatePem } from '../../src/crypto/x509/issue.ts'
import { ca } from '../certstore/people.ts'

let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postern-directory-'))
  writeFileSync(join(folder, 'ca.pem'), certificatePem((await ca()).der))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function told(directory: string) {
  const file = join(folder, 'postern.yaml')
  const lines = [
    'hostname: gw.example.test',
    'domains: [example.test]',
    'listen: [{ address: 127.0.0.1, port: 2525 }]',
    'nextHop: { inbound: { host: a.test }, outbound: { host: b.test } }',
    `directory: ${directory}`,
  ]
  writeFileSync(file, lines.join('\n'))
  try {
    return (await loadConfig(file, {})).config.directory
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    return error.faults.map(({ path, message }) => `${path} ${message}`)
  }
}

const DIGITS = 'ab'.repeat(32)

test('as plain data, fingerprints as other tools write them', async () => {
  const written = DIGITS.toUpperCase().replace(/..(?=.)/g, '$&:')
  expect(
    await told(`
  devices: all
  pins:
    - { address: Ann@Partner.test, fingerprint: "${written}" }
    - { address: "@Partner.TEST", issuer: ca.pem }
  cache: { negative: 30s, mailboxes: 5 }`),
  ).toEqual({
    devices: 'all',
    pins: [
      { address: 'Ann@partner.test', fingerprint: DIGITS },
      { address: '@partner.test', issuer: join(folder, 'ca.pem') },
    ],
    cache: { positiveMs: 600_000, negativeMs: 30_000, staleMs: 86_400_000, mailboxes: 5 },
  })
})

test.each([
  ['{ pins: [{ address: ann, issuer: ca.pem }] }', 'directory.pins[0].address'],
  ['{ pins: [{ address: "@a.test", fingerprint: abcd }] }', 'directory.pins[0].fingerprint is no'],
  ['{ pins: [{ address: "@a.test" }] }', 'directory.pins[0]'],
  ['{ pins: [{ address: "@a.test", issuer: none.pem }] }', 'issuer does not exist'],
  ['{ pins: [{ address: "@a.test", issuer: postern.yaml }] }', 'issuer has no certificate'],
  ['{ devices: each }', 'directory.devices'],
  ['{ cache: { positive: soon } }', 'directory.cache.positive is no time'],
])('%s is a fault', async (directory, fault) => {
  expect(await told(directory)).toEqual([expect.stringContaining(fault)])
})
