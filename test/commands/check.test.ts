/** `postern check` on configurations that are broken, and on ones that are not. @module */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { check } from '../../src/commands/check.ts'

const top = resolve(import.meta.dirname, '../..')
const broken = resolve(import.meta.dirname, '../fixtures/broken-configs')
const folder = mkdtempSync(join(tmpdir(), 'postern-check-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function run(...argv: string[]): Promise<{ code: number; text: string }> {
  let text = ''
  const out = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk)
      done()
    },
  })
  const code = await check(argv, out)
  return { code, text }
}

describe('broken configurations', () => {
  const names = readdirSync(broken).sort()

  test('there are thirteen about one matter and one with five mistakes', () => {
    expect(names).toHaveLength(14)
  })

  test.each(names)('%s: every mistake with line, path, value and advice', async name => {
    const file = join(broken, name, 'postern.yaml')
    const { code, text } = await run('--config', file)
    expect(text.replaceAll(file, 'postern.yaml')).toBe(
      readFileSync(join(broken, name, 'expected.txt'), 'utf8'),
    )
    expect(code).toBe(1)
  })

  test.each(names)('%s: what is told names a line of the file, and what stands there', name => {
    const lines = readFileSync(join(broken, name, 'postern.yaml'), 'utf8').split('\n')
    const expected = readFileSync(join(broken, name, 'expected.txt'), 'utf8')
    const faults = [...expected.matchAll(/^postern\.yaml:(\d+):(\d+)(?: [\w[\].]+: "([^"]*)")?/gm)]
    expect(faults).not.toHaveLength(0)
    for (const [, line, column, value] of faults)
      expect(lines[Number(line) - 1]!.slice(Number(column) - 1).replace(/^"/, '')).toMatch(
        new RegExp(`^${(value ?? '').replace(/[$()*+./?[\\\]^{|}]/g, '\\$&')}`),
      )
  })

  test('a password is never printed', async () => {
    const { text } = await run('--config', join(broken, '08-password-in-clear', 'postern.yaml'))
    expect(text).not.toContain('kept-out-of-sight')
  })
})

describe('good configurations', () => {
  test('the shipped one has no fault once its folder holds an identity', async () => {
    const place = join(folder, 'shipped')
    mkdirSync(join(place, 'identities'), { recursive: true })
    writeIdentity(join(place, 'identities', 'ann.pem'), 'ann@example.test')
    writeFileSync(join(place, 'postern.yaml'), readFileSync(join(top, 'config/postern.yaml')))
    const { code, text } = await run('--config', join(place, 'postern.yaml'))
    expect(text).toMatch(/^0 faults, \d+ warnings?$/m)
    expect(code).toBe(0)
  })

  const contract = resolve(top, '../shared/contract.md')
  test.skipIf(!existsSync(contract))(
    `the example of the contract has no fault (needs ${contract})`,
    async () => {
      const place = join(folder, 'contract')
      for (const name of ['identities', 'tls', 'certificates', 'trust'])
        mkdirSync(join(place, name), { recursive: true })
      writeIdentity(join(place, 'identities', 'ann.pem'), 'ann@example.test')
      const pem = writeIdentity(join(place, 'tls', 'key.pem'), 'postmaster@example.test')
      writeFileSync(join(place, 'tls', 'cert.pem'), pem)
      const yaml = /```yaml\n([\s\S]*?)```/.exec(readFileSync(contract, 'utf8'))![1]!
      writeFileSync(join(place, 'postern.yaml'), yaml)
      const { code, text } = await run('--config', join(place, 'postern.yaml'))
      expect(text).toMatch(/^0 faults, \d+ warnings$/m)
      expect(text).not.toContain('then.encrypt')
      expect(code).toBe(0)
    },
  )
})

describe('identities', () => {
  test('a file that holds no key is told at its place in the configuration', async () => {
    const place = join(folder, 'no-key')
    mkdirSync(place)
    writeFileSync(join(place, 'ann.pem'), 'nothing\n')
    const text = readFileSync(join(broken, '05-folder-not-there', 'postern.yaml'), 'utf8')
    writeFileSync(join(place, 'postern.yaml'), text.replace('no-such-folder/', 'ann.pem'))
    const { code, text: told } = await run('--config', join(place, 'postern.yaml'))
    expect(told).toMatch(/postern\.yaml:10:5 identities\[0\]: .*ann\.pem: .+\n {4}\S/)
    expect(code).toBe(1)
  })
})

describe('authorities', () => {
  const place = join(folder, 'authorities')
  const config = join(place, 'postern.yaml')
  mkdirSync(place)
  const text = readFileSync(join(broken, '05-folder-not-there', 'postern.yaml'), 'utf8')
  writeIdentity(join(place, 'ann.pem'), 'ann@example.test')
  const more = 'trust: { anchors: [trust/], revocation: soft }\n'
  writeFileSync(config, text.replace('no-such-folder/', 'ann.pem') + more)
  const line = text.split('\n').length

  test('a folder that is not there is a fault: nobody would be believed', async () => {
    const { code, text: told } = await run('--config', config)
    expect(told).toContain(`:${line}:20 trust.anchors[0]: "trust/" does not exist\n`)
    expect(code).toBe(1)
  })

  test('a folder without an authority is a warning, and so is what is none', async () => {
    mkdirSync(join(place, 'trust'))
    const empty = await run('--config', config)
    expect(empty.text).toContain('warning: trust.anchors: no authority in there: no signature')
    const [key, usage] = ['/CN=Bob', 'basicConstraints=critical,CA:FALSE']
    writeFileSync(join(place, 'trust', 'bob.pem'), certificateOf(key, usage))
    const { code, text: told } = await run('--config', config)
    expect(told).toMatch(/warning: trust\.anchors\[0\]: .*bob\.pem: CN=Bob is no authority\n/)
    expect(told).toContain('warning: trust.anchors: no authority in there')
    expect(code).toBe(0)
  })

  test('an authority is enough', async () => {
    rmSync(join(place, 'trust', 'bob.pem'))
    const usage = 'keyUsage=critical,keyCertSign,cRLSign'
    writeFileSync(join(place, 'trust', 'ca.pem'), certificateOf('/CN=Some CA', usage))
    const { text: told } = await run('--config', config)
    expect(told).not.toContain('trust')
  })
})

describe('arguments', () => {
  test('a file that is not there is a fault', async () => {
    const { code, text } = await run('--config', join(folder, 'nowhere.yaml'))
    expect(text).toContain('nowhere.yaml:1:1 does not exist')
    expect(code).toBe(1)
  })

  test.each([['--konfig', 'x'], ['file.yaml'], ['--config']])('%j %j: usage', async (...argv) => {
    const { code, text } = await run(...argv.filter(Boolean))
    expect(text).toMatch(/^usage: postern check/)
    expect(code).toBe(2)
  })

  test('--help is no mistake', async () => {
    expect(await run('--help')).toEqual({ code: 0, text: expect.stringMatching(/^usage: /) })
  })
})

/** A self-signed certificate with an extension. */
function certificateOf(subject: string, extension: string): string {
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const key = join(folder, 'some.key')
  return execFileSync(
    'openssl',
    ['req', ...made, '-keyout', key, '-subj', subject, '-addext', extension],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  )
}

/** A self-signed identity, key and certificate in one file. */
function writeIdentity(file: string, address: string): string {
  const key = `${file}.key`
  const subject = ['-subj', '/CN=Ann', '-addext', `subjectAltName=email:${address}`]
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const certificate = execFileSync(
    'openssl',
    ['req', ...made, '-days', '365', '-keyout', key, ...subject],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  )
  const pem = readFileSync(key, 'utf8') + certificate
  rmSync(key)
  writeFileSync(file, pem)
  return pem
}
