/**
 * What leaves `bin/postern start` signed is good for OpenSSL, gpgsm, NSS and Bouncy Castle: every kind
 * of key, clear and opaque, and every hard shape of message. swaks sends, a sink receives.
 *
 *     swaks ──▶ bin/postern start ──▶ sink ──▶ four peers ──▶ verdicts
 *                    one message to two recipients: the rules sign clear for one, opaque for the other
 */
import { spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { identityPem, issue, type KeyKind } from '../../src/crypto/x509/issue.ts'
import { type Sink, startSink } from '../smtp/sink.ts'
import { leavesForPython, leavesOf, pythonMissing } from '../support/decoded.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { lifetime, makeIdentityFolder } from '../support/identity-folder.ts'
import { contentOf, type Exhibit, peers, run, takeApart, unpack } from '../support/peers.ts'
import { largeBy, shapesBy } from './messages.ts'

type Form = 'clear' | 'opaque'

/** A kind of key, its author, and the peers that can read its signatures (Debian 12's). */
interface Kind {
  readonly name: string
  readonly key: KeyKind
  readonly pss?: boolean
  readonly peers: readonly string[]
}

const ALL = ['openssl', 'gpgsm', 'nss', 'bouncy-castle']
const KINDS: readonly Kind[] = [
  { name: 'rsa-2048', key: 'rsa-2048', peers: ALL },
  { name: 'rsa-pss', key: 'rsa-2048', pss: true, peers: ALL },
  { name: 'p-256', key: 'p-256', peers: ALL },
  { name: 'p-384', key: 'p-384', peers: ALL },
  // gpgsm 2.2 refuses P-521; OpenSSL 3.0, gpgsm and NSS know no Ed25519 in CMS.
  { name: 'p-521', key: 'p-521', peers: ['openssl', 'nss', 'bouncy-castle'] },
  { name: 'ed25519', key: 'ed25519', peers: ['bouncy-castle'] },
]
const FORMS: readonly Form[] = ['clear', 'opaque']
const LARGE = '25 MB attachment'
const noSwaks = spawnSync('swaks', ['--version']).status === 0 ? '' : ' (skipped: no swaks in PATH)'

describe.skipIf(noSwaks)(`signed mail for other people's programs${noSwaks}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let sink: Sink
  let gateway: GatewayProcess
  let rootFile: string
  /** Cell to the message as swaks sent it, and as it arrived. */
  const sent = new Map<string, Buffer>()
  const arrived = new Map<string, Buffer>()
  const exhibits = new Map<string, Exhibit>()
  const verdicts = new Map<string, ReadonlyMap<string, string>>()

  beforeAll(async () => {
    folder = await temporaryFolder('peers')
    sink = await startSink({ extensions: ['PIPELINING', '8BITMIME', 'SIZE 104857600'] })
    rootFile = await makeIdentities(folder.path)
    gateway = await startGateway(folder.path, configuration(sink.port))
    await sendAll()
    for (const exhibit of await unpack(arrived, join(folder.path, 'out')))
      exhibits.set(exhibit.id, exhibit)
    await Promise.all(
      peers
        .filter(({ missing }) => missing === undefined)
        .map(async peer => {
          const able = [...exhibits.values()].filter(({ id }) => canRead(peer.name, id))
          verdicts.set(peer.name, await peer.verify(able, rootFile, folder.path))
        }),
    )
    tell()
  }, 180_000)
  afterAll(async () => {
    await gateway?.stop()
    await sink?.close()
    await folder?.remove()
  })

  test('everything that was sent has arrived, once in the clear and once opaque', () => {
    expect(arrived.size).toBe(KINDS.length * FORMS.length * shapeNames().length + 2)
    for (const [cell, octets] of arrived) {
      expect([cell, takeApart(octets).content !== undefined]).toEqual([
        cell,
        cell.includes(' clear '),
      ])
      expect([cell, octets.toString('latin1').search(/[\x80-\xff]/)]).toEqual([cell, -1])
    }
  })

  for (const peer of peers) {
    const reason = peer.missing ? ` (skipped: ${peer.missing})` : ''
    describe.skipIf(peer.missing)(`${peer.name}${reason}`, () => {
      for (const kind of KINDS.filter(it => it.peers.includes(peer.name)))
        for (const form of FORMS)
          test(`accepts every shape signed ${form} with ${kind.name}`, () => {
            const cells = cellsOf(kind, form)
            const said = cells.map(cell => [cell, verdicts.get(peer.name)?.get(cell)])
            expect(said).toEqual(cells.map(cell => [cell, 'good']))
          })

      test('refuses what was altered on the way', async () => {
        const altered = new Map<string, Buffer>()
        for (const form of FORMS) {
          const kind = KINDS.find(it => it.peers.includes(peer.name))!
          const cell = `${kind.name} ${form} UTF-8 8-bit body`
          altered.set(cell, withOneBitAltered(arrived.get(cell)!))
        }
        const place = join(folder.path, `altered-${peer.name}`)
        const said = await peer.verify(await unpack(altered, place), rootFile, place)
        expect(new Set(said.keys())).toEqual(new Set(altered.keys()))
        for (const [cell, verdict] of said) expect([cell, verdict]).not.toEqual([cell, 'good'])
      })
    })
  }

  test('holds for signed exactly what was meant, for every peer that gives it back', async () => {
    let compared = 0
    for (const [cell, exhibit] of exhibits) {
      const [, form] = cell.split(' ')
      const givers = form === 'clear' ? ['openssl', 'bouncy-castle'] : ALL
      const contents: Buffer[] = []
      for (const { name } of peers)
        if (givers.includes(name) && verdicts.get(name)?.has(cell))
          contents.push(await contentOf(exhibit, name))
      const signed = takeApart(arrived.get(cell)!).content ?? contents[0]
      for (const content of contents) {
        expect([cell, content.equals(signed!)]).toEqual([cell, true])
        compared++
      }
    }
    expect(compared).toBeGreaterThan(exhibits.size)
  })

  test('decodes to the same content', async () => {
    for (const [cell, message] of await verified())
      expect([cell, await leavesOf(message)]).toEqual([cell, await leavesOf(sent.get(cell)!)])
  })

  const noPython = pythonMissing ? ` (skipped: ${pythonMissing})` : ''
  test.skipIf(pythonMissing)(`decodes to the same content for Python${noPython}`, async () => {
    const messages = [...(await verified())]
    const before = leavesForPython(messages.map(([cell]) => sent.get(cell)!))
    const after = leavesForPython(messages.map(([, message]) => message))
    for (const [index, [cell]] of messages.entries())
      expect([cell, after[index]]).toEqual([cell, before[index]])
  })

  /** What was verified, with the fields that stayed outside: the message as a reader sees it. */
  async function verified(): Promise<Map<string, Buffer>> {
    const messages = new Map<string, Buffer>()
    for (const [cell, exhibit] of exhibits) {
      const outer = arrived.get(cell)!
      const type = outer.indexOf('\r\nContent-Type: ') + 2
      const giver = verdicts.has('bouncy-castle') ? 'bouncy-castle' : 'openssl'
      const content = takeApart(outer).content ?? (await contentOf(exhibit, giver))
      messages.set(cell, Buffer.concat([outer.subarray(0, type), content]))
    }
    return messages
  }

  async function sendAll(): Promise<void> {
    const jobs = KINDS.flatMap(kind => Object.entries(shapesBy(authorOf(kind))).map(job(kind)))
    jobs.push(job(KINDS[0]!)([LARGE, largeBy(authorOf(KINDS[0]!))]))
    const left = jobs.entries()
    const worker = async (): Promise<void> => {
      for (const [index, it] of left) await sendOne(it, index)
    }
    await Promise.all([worker(), worker()])
    for (const { octets, forwardPaths } of sink.messages) {
      const form = forwardPaths[0]!.split('@')[0] as Form
      const [, kind, shape] = /^X-Cell: (\S+) (.+)\r$/m.exec(octets.toString('latin1', 0, 2_000))!
      arrived.set(`${kind} ${form} ${shape}`, octets)
    }
  }

  async function sendOne({ kind, shape, octets }: Job, index: number): Promise<void> {
    const labelled = Buffer.concat([Buffer.from(`X-Cell: ${kind.name} ${shape}\r\n`), octets])
    for (const form of FORMS) sent.set(`${kind.name} ${form} ${shape}`, labelled)
    const file = join(folder.path, `${index}.data`)
    await writeFile(file, stuffed(labelled))
    const args = ['--server', '127.0.0.1', '--port', String(gateway.port), '--helo', 'client.test']
    args.push('--from', authorOf(kind), '--to', 'clear@partner.test,opaque@partner.test')
    // The data as they stand: swaks neither adds nor takes away.
    args.push('--no-data-fixup', '--data', `@${file}`, '--suppress-data', '--timeout', '60s')
    const { code, said } = await run('swaks', args)
    if (code !== 0) throw new Error(`swaks, ${kind.name}, ${shape}: ${said}`)
  }

  function tell(): void {
    const lines = KINDS.flatMap(kind =>
      FORMS.map(form => {
        const cells = cellsOf(kind, form)
        const columns = peers.map(({ name, missing }) => {
          if (missing) return `${name} missing`
          if (!kind.peers.includes(name)) return `${name} cannot`
          const good = cells.filter(cell => verdicts.get(name)?.get(cell) === 'good')
          return `${name} ${good.length}/${cells.length}`
        })
        return `${kind.name} ${form}: ${columns.join(', ')}`
      }),
    )
    console.log(lines.join('\n'))
  }
})

interface Job {
  readonly kind: Kind
  readonly shape: string
  readonly octets: Buffer
}

const job =
  (kind: Kind) =>
  ([shape, octets]: [string, Buffer]): Job => ({ kind, shape, octets })

const authorOf = ({ name }: Kind): string => `${name}@example.test`

const shapeNames = (): string[] => Object.keys(shapesBy('nobody@example.test'))

function cellsOf(kind: Kind, form: Form): string[] {
  const large = kind === KINDS[0] ? [LARGE] : []
  return [...shapeNames(), ...large].map(shape => `${kind.name} ${form} ${shape}`)
}

function canRead(peer: string, cell: string): boolean {
  return KINDS.some(({ name, peers }) => cell.startsWith(`${name} `) && peers.includes(peer))
}

/** One identity a kind; those of RSA-PSS stand in a folder of their own. */
async function makeIdentities(folder: string): Promise<string> {
  const plain = KINDS.filter(({ pss }) => !pss).map(kind => [authorOf(kind), kind.key])
  const made = await makeIdentityFolder(folder, Object.fromEntries(plain))
  await mkdir(join(folder, 'pss'), { mode: 0o700 })
  for (const kind of KINDS.filter(({ pss }) => pss)) {
    const address = authorOf(kind)
    const { key } = kind
    const options = { commonName: address, addresses: [address], issuer: made.issuing, key }
    const issued = await issue({ ...lifetime(), ...options })
    await writeFile(join(folder, 'pss', `${address}.pem`), identityPem(issued), { mode: 0o600 })
  }
  return made.rootFile
}

/** The data as they stand on the wire, final dot included. */
function stuffed(content: Buffer): Buffer {
  const text = content.toString('latin1').replace(/(^|\r\n)\./g, '$1..')
  return Buffer.from(`${text}.\r\n`, 'latin1')
}

/** In the signed content; of an opaque message a base64 digit in its first lines, where content stands. */
function withOneBitAltered(message: Buffer): Buffer {
  const altered = Buffer.from(message)
  const { content } = takeApart(message)
  const at = content
    ? message.indexOf(content) + content.length - 10
    : message.indexOf('\r\n\r\n') + 4 + 3 * 66
  altered[at] = altered[at]! === 0x41 ? 0x42 : 0x41
  return altered
}

function configuration(sinkPort: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: 0, tls: none }]
relayFrom: [127.0.0.1]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities:
  - { files: identities/ }
  - { files: pss/, pss: true }
rules:
  - { name: opaque, when: { recipient: opaque@partner.test }, then: { sign: always, signature: opaque } }
  - { name: clear, when: { direction: outbound }, then: { sign: always, signature: clear } }
workers: 1
limits: { message: 60MiB }
log: { level: warn }
`
}
