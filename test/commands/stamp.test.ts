/** The key of the seal, and who can check a seal with it. @module */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { stamp } from '../../src/commands/stamp.ts'
import { findStampKey, loadStampKey } from '../../src/commands/stamp-key.ts'
import { type Stamp, stampFields } from '../../src/gateway/stamp.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'

const top = resolve(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'postern-stamp-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('the key of the seal', () => {
  test('B73 is made once, by whoever comes first, and for its owner alone', async () => {
    const state = join(folder, 'new', 'state')
    expect(await findStampKey(state)).toBeUndefined()
    const keys = await Promise.all(Array.from({ length: 20 }, () => loadStampKey(state)))
    expect(keys[0]).toHaveLength(32)
    for (const key of keys) expect(key).toEqual(keys[0])
    expect(statSync(join(state, 'stamp.key')).mode & 0o777).toBe(0o600)
    expect(readdirSync(state)).toEqual(['stamp.key'])
    expect(await loadStampKey(state)).toEqual(keys[0])
    expect(await findStampKey(state)).toEqual(keys[0])
  })

  test('is another one in another folder', async () => {
    const [one, other] = await Promise.all(['a', 'b'].map(name => loadStampKey(join(folder, name))))
    expect(one).not.toEqual(other)
  })

  test('is the same for several processes that start at once', async () => {
    const state = join(folder, 'processes')
    const script = `import { loadStampKey } from ${JSON.stringify(join(top, 'src/commands/stamp-key.ts'))}
      process.stdout.write((await loadStampKey(process.argv[1])).toString('hex') + '\\n')`
    const line = `for i in 1 2 3 4; do "$0" --input-type=module -e "$1" "$2" & done; wait`
    const out = execFileSync('sh', ['-c', line, process.execPath, script, state], {
      encoding: 'utf8',
    })
    const keys = out.trim().split('\n')
    expect(keys).toHaveLength(4)
    expect(new Set(keys).size).toBe(1)
  })

  test('is what is configured, of 16 octets or more', async () => {
    const nowhere = join(folder, 'nowhere')
    expect(await loadStampKey(nowhere, 'a secret of 16 octets')).toEqual(
      Buffer.from('a secret of 16 octets'),
    )
    await expect(loadStampKey(nowhere, 'short')).rejects.toMatchObject({ code: 'ERR_STAMP_KEY' })
    expect(await findStampKey(nowhere)).toBeUndefined()
  })

  test.each([0, 31, 33])('is no file of %i octets', async octets => {
    const state = mkdtempSync(join(folder, 'size-'))
    writeFileSync(join(state, 'stamp.key'), Buffer.alloc(octets))
    await expect(loadStampKey(state)).rejects.toMatchObject({ code: 'ERR_STAMP_KEY' })
  })

  test('is not made where nothing can be written', async () => {
    const file = join(folder, 'file')
    writeFileSync(file, '')
    await expect(loadStampKey(join(file, 'state'))).rejects.toMatchObject({ code: 'ERR_STAMP_KEY' })
  })
})

describe('a stamped message', () => {
  const HOST = 'gw.example.test'
  const state = join(folder, 'data')
  const config = join(folder, 'postern.yaml')
  const message = (name: string): string => join(folder, name)
  const GOOD: Stamp = {
    authservId: HOST,
    result: 'pass',
    code: 'good-signature',
    reason: 'the signature of the author is good',
    signer: { identifier: 'ann@partner.test', serialHex: '0aff', issuer: 'CN=Test CA', part: '2' },
    encryption: 'none',
    notes: ['weak'],
  }

  beforeAll(async () => {
    writeFileSync(
      config,
      `hostname: ${HOST}\ndomains: [example.test]\nlisten: [{ address: 127.0.0.1, port: 0, tls: none }]\n` +
        'nextHop: { inbound: { host: 127.0.0.1, port: 25 }, outbound: { host: 127.0.0.1, port: 25 } }\n' +
        'state: data/\nrules: [{ name: all, then: {} }]\n',
    )
    mkdirSync(state)
    const key = await loadStampKey(state)
    const octets = Buffer.from(
      'From: Änn\r\n <ann@partner.test>\r\nTo: x@example.test, Bob@example.test\r\nSubject: plan\r\n' +
        'Message-ID : <1@partner.test>\r\nDate: Sun, 1 Mar 2026 12:00:00 +0000\r\n\r\nbody\r\n',
    )
    const { fields } = parseHeaderSection(octets)
    const onTop = stampFields(GOOD, fields, { key, time: new Date('2026-03-01T12:00:00Z') })
    const whole = Buffer.concat([onTop, octets])
    const text = whole.toString('latin1')
    writeFileSync(message('good.eml'), whole)
    writeFileSync(message('bad.eml'), text.replace('Signature: pass', 'Signature: fail'), 'latin1')
    writeFileSync(message('other.eml'), text.replace('<1@', '<2@'), 'latin1')
    writeFileSync(message('none.eml'), octets)
    writeFileSync(message('lf.eml'), text.replaceAll('\r\n', '\n'), 'latin1')
  })

  async function verb(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
    const out = vi.spyOn(console, 'log').mockReturnValue()
    const err = vi.spyOn(console, 'error').mockReturnValue()
    try {
      const code = await stamp(argv)
      return { code, out: out.mock.calls.join('\n'), err: err.mock.calls.join('\n') }
    } finally {
      out.mockRestore()
      err.mockRestore()
    }
  }

  test.each([
    ['good.eml', 0, 'ours, of 2026-03-01T12:00:00.000Z\n'],
    [
      'good.eml',
      0,
      'pass; code=good-signature; reason="the signature of the author is good"; signer=',
    ],
    ['lf.eml', 0, 'ours, of '],
    ['bad.eml', 1, 'the seal does not hold'],
    ['other.eml', 1, 'the seal does not hold'],
    ['none.eml', 1, 'no sealed stamp of ours'],
    ['missing.eml', 1, 'cannot be read'],
  ])('B64 postern stamp %s ends with %i', async (name, code, words) => {
    const ended = await verb(message(name), '--config', config)
    expect(`${ended.out}${ended.err}`).toContain(words)
    expect(ended.code).toBe(code)
  })

  test('asks for no recipient: the seal is for none', async () => {
    await expect(verb(message('good.eml'), '--to', 'bob@example.test')).rejects.toThrow('--to')
  })

  test('tells how it is used', async () => {
    expect((await verb()).code).toBe(2)
    expect((await verb('--help')).out).toContain('usage: postern stamp MESSAGE')
  })

  const noPython = spawnSync('python3', ['--version']).error
  test.skipIf(noPython).each([
    ['good.eml', 0],
    ['lf.eml', 0],
    ['bad.eml', 1],
    ['other.eml', 1],
    ['none.eml', 1],
  ])('B64 the script of docs/stamps.md (needs python3) tells of %s: %i', (name, code) => {
    const page = readFileSync(join(top, 'docs/stamps.md'), 'utf8')
    const script = /```python\n([\s\S]*?)```/.exec(page)![1]!
    const argv = ['-c', script, join(state, 'stamp.key'), HOST, message(name)]
    const { status, stderr } = spawnSync('python3', argv, { encoding: 'utf8' })
    expect(stderr).not.toContain('Traceback')
    expect(status).toBe(code)
  })
})
