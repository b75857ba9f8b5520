import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigFaults } from '../../src/config/fault.ts'
import { loadConfig } from '../../src/config/load.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-sources-'))
  writeFileSync(join(folder, 'partner.pem'), 'x')
  writeFileSync(join(folder, 'secret'), 'hunter2\n')
})
afterAll(() => rmSync(folder, { recursive: true }))

/** What becomes of the entries, and what is said of them. */
async function told(entries: string) {
  const file = join(folder, 'postern.yaml')
  const lines = [
    'hostname: gw.example.test',
    'domains: [example.test]',
    'listen: [{ address: 127.0.0.1, port: 2525 }]',
    'nextHop: { inbound: { host: a.test }, outbound: { host: b.test } }',
    `certificates: ${entries}`,
  ]
  writeFileSync(file, lines.join('\n'))
  const text = (faults: readonly { path: string; message: string }[]) =>
    faults.map(({ path, message }) => `${path} ${message}`).filter(line => /\[\d/.test(line))
  try {
    const { config, warnings } = await loadConfig(file, {})
    return { sources: config.certificates, faults: [], warnings: text(warnings) }
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    return { sources: [], faults: text(error.faults), warnings: text(error.warnings) }
  }
}

describe('sources of certificates', () => {
  test('as plain data, defaults filled in, paths absolute, secrets read', async () => {
    const { sources, faults } = await told(`
  - { files: partner.pem }
  - { domain: { name: Partner.TEST, files: partner.pem } }
  - { harvested: {} }
  - { harvested: { wait: approval, perDay: 1 } }`)
    expect(faults).toEqual(['certificates[3] is there already'])
    expect(sources).toEqual([])
    const good = await told(`
  - { files: partner.pem }
  - { domain: { name: Partner.TEST, files: partner.pem } }
  - { harvested: { wait: approval } }
  - { ldap: { url: "ldap://127.0.0.1:1389", base: "dc=x" } }
  - { ldap: { url: ["ldaps://a.test", "ldaps://b.test:1636"], base: "dc=x", user: cn=r, password: file:secret, domains: partner.test, match: mail, timeout: 1s } }
  - { smimea: {} }
  - { http: { url: "https://keys.partner.test/c/{hash}.p7b", domains: [partner.test] } }`)
    expect(good.faults).toEqual([])
    expect(good.warnings).toEqual([])
    const file = join(folder, 'partner.pem')
    expect(good.sources).toEqual([
      { kind: 'files', files: file },
      { kind: 'domain', domain: 'partner.test', files: file },
      { kind: 'harvested', waitMs: null, perDay: 3 },
      { ...LDAP, urls: ['ldap://127.0.0.1:1389'] },
      {
        ...LDAP,
        urls: ['ldaps://a.test', 'ldaps://b.test:1636'],
        user: 'cn=r',
        password: 'hunter2',
        match: ['mail'],
        timeoutMs: 1000,
        domains: ['partner.test'],
      },
      {
        kind: 'smimea',
        address: '127.0.0.1',
        port: 53,
        probe: '.',
        timeoutMs: 2000,
        domains: undefined,
      },
      {
        kind: 'http',
        url: 'https://keys.partner.test/c/{hash}.p7b',
        domains: ['partner.test'],
        ca: undefined,
        timeoutMs: 2000,
      },
    ])
  })

  test.each([
    ['{ files: nowhere/ }', 'certificates[0].files does not exist'],
    ['{ domain: { name: a.test, files: nowhere } }', 'certificates[0].domain.files does not exist'],
    ['{ ldap: { url: "http://a", base: x } }', 'certificates[0].ldap.url is no URL of LDAP'],
    ['{ ldap: { url: "ldap://u:p@a", base: x } }', 'certificates[0].ldap.url is no URL of LDAP'],
    ['{ ldap: { url: "ldaps://a.test" } }', 'certificates[0].ldap.base is missing'],
    [
      '{ ldap: { url: "ldaps://a.test", base: x, user: u } }',
      'certificates[0].ldap.user needs the other of user and password',
    ],
    [
      '{ ldap: { url: "ldap://a.test", base: x, user: u, password: file:secret } }',
      'certificates[0].ldap.url would let the password travel in clear',
    ],
    [
      '{ ldap: { url: "ldaps://a.test", base: x, starttls: true } }',
      'certificates[0].ldap.starttls is for ldap://',
    ],
    [
      '{ ldap: { url: "ldaps://a.test", base: x, ca: partner.pem } }',
      'certificates[0].ldap.ca has no certificate that can be read',
    ],
    [
      '{ ldap: { url: "ldaps://a.test", base: x, user: u, password: file:none } }',
      'certificates[0].ldap.password does not exist',
    ],
    [
      '{ http: { url: "http://a.test/{hash}", domains: a.test } }',
      'certificates[0].http.url is no https',
    ],
    [
      '{ http: { url: "https://a.test/", domains: a.test } }',
      'certificates[0].http.url is no https',
    ],
    [
      '{ http: { url: "https://{domain}/{hash}", domains: a.test } }',
      'certificates[0].http.url is no https',
    ],
    [
      '{ http: { url: "https://a.test/{user}", domains: a.test } }',
      'certificates[0].http.url is no https',
    ],
    ['{ http: { url: "https://a.test/{hash}" } }', 'certificates[0].http.domains is missing'],
    ['{ smimea: { resolver: dns.test } }', 'certificates[0].smimea.resolver is no IP address'],
  ])('%s is a fault', async (entry, fault) => {
    const { faults } = await told(`[${entry}]`)
    expect(faults).toEqual([expect.stringContaining(fault)])
  })

  test.each([
    ['{ ldap: { url: "ldap://a.test", base: x } }', 'ldap.url lets anybody on the way say'],
    [
      '{ ldap: { url: "ldap://127.0.0.1", base: x, tlsName: a.test } }',
      'ldap.url is not encrypted',
    ],
    ['{ smimea: { resolver: 192.0.2.1 } }', 'smimea.resolver is on another machine'],
  ])('%s is a warning', async (entry, warning) => {
    const { faults, warnings } = await told(`[${entry}]`)
    expect(faults).toEqual([])
    expect(warnings).toEqual([expect.stringContaining(warning)])
  })
})

const LDAP = {
  kind: 'ldap',
  base: 'dc=x',
  user: undefined,
  password: undefined,
  startTls: false,
  ca: undefined,
  tlsName: undefined,
  match: undefined,
  attributes: undefined,
  timeoutMs: 2000,
  domains: undefined,
}
