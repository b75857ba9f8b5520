/**
 * Attacks far down in messages that do not fit into memory: contents lie in files, pass in chunks, and
 * are deciphered before anybody knows whether they are right.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clearMessage, opaqueMessage } from '../crypto/smime/signed-message.ts'
import { TestClient } from '../support/client.ts'
import {
  cbc,
  cbcIdentifier,
  ccm,
  type Encrypted,
  gcm,
  keyTransport,
} from '../support/crafted-envelope.ts'
import { clearBy, infoBy, opaqueBy, sealBy } from '../support/crafted-signatures.ts'
import {
  ADDRESSES,
  type Delivered,
  type InboundWorld,
  makeInboundWorld,
  text,
} from '../support/inbound.ts'
import { crafted, derOf, entityOf, expectClosed, SECRET } from './enveloped.ts'

/** The default: strict. */
let world: InboundWorld
/** What nothing vouches for is opened, and made harmless. */
let lenient: InboundWorld

const SIGNERS = { ann: 'p-256', ben: 'p-256', mallory: 'p-256', eve: 'p-256' } as const

beforeAll(async () => {
  world = await makeInboundWorld({ keys: SIGNERS })
  lenient = await makeInboundWorld({ keys: SIGNERS, wish: { unauthenticated: 'defuse' } })
})
afterAll(async () => {
  await world.close()
  await lenient.close()
})

const KEY = randomBytes(32)
/** Of 64 octets with its CRLF. */
const LINE = `${'far down '.repeat(6)}12345678\r\n`
const FILL = LINE.repeat(4_500)
const LARGE = text(`${SECRET}\r\n${FILL}the end`)
/** Where blocks of memory, of files and of the walk end. */
const BORDERS = [16_384, 32_768, 65_536, 98_304]

/** Crafted cipher text for bob. */
function forBob(sealed: Encrypted): Buffer {
  return world.message(crafted({ infos: [keyTransport(world.certificate('bob'), KEY)], ...sealed }))
}

function latin1(octets: Buffer | string): Buffer {
  return Buffer.from(octets as string, 'latin1')
}

/** A text whose line ends stand where the borders are, more or less. */
function shifted(by: number): string {
  return `${'x'.repeat(by)}\r\n${LINE.repeat(1_100)}`
}

/** Nothing that a next hop could take for the end of data, or for a line of its own. */
function expectLines(octets: Buffer): void {
  expect(octets.toString('latin1')).not.toMatch(/\0|\r(?!\n)|(?<!\r)\n/)
}

describe('B3 cipher text of many blocks that nothing vouches for', () => {
  test('B3 blocks altered anywhere are seen, and nothing is opened', async () => {
    const { algorithm, content } = cbc(KEY, LARGE)
    expect(await world.deliver(forBob({ algorithm, content }))).toMatchObject({
      encryption: 'unauthenticated',
      result: 'none',
    })
    for (const at of [BORDERS[1]!, BORDERS[2]!, 200_000, content.length - 48]) {
      const altered = Buffer.from(content)
      altered[at & ~15]! ^= 1
      const message = forBob({ algorithm, content: altered })
      const copy = await world.deliver(message)
      expect([at, copy.encryption]).toEqual([at, 'refused'])
      expectClosed(copy, message)
    }
  })

  test('B3 a gadget far down, around a part that the author has signed', async () => {
    const signed = await world.signed(LARGE, 'ann')
    const { algorithm, content } = cbc(KEY, signed)
    expect(await world.deliver(forBob({ algorithm, content }))).toMatchObject({
      encryption: 'opened',
      result: 'pass',
    })
    const behind = Buffer.concat([signed, latin1(`${FILL}<img src=http://evil.test/\x01\xfe`)])
    const infront = latin1(
      signed.toString('latin1').replace('\r\n\r\n', `\r\n\r\n${LINE.repeat(600)}<img \x01\xfe\r\n`),
    )
    const within = Buffer.from(content)
    within[200_000]! ^= 1
    for (const sealed of [cbc(KEY, behind), cbc(KEY, infront), { algorithm, content: within }]) {
      const message = forBob(sealed)
      const copy = await world.deliver(message)
      expect(copy.encryption).toBe('refused')
      expectClosed(copy, message)
    }
  })

  test('B3 a reference far down fetches nothing where an operator wishes it opened', async () => {
    const html = `Content-Type: text/html\r\n\r\n${FILL}<img src="http://evil.test/">\r\n`
    const parts = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n${FILL}\r\n--b\r\n${html}\r\n--b--\r\n`
    for (const plain of [html, parts]) {
      const message = lenient.message(await lenient.encrypted(latin1(plain), ['bob']))
      const { encryption, result, octets } = await lenient.deliver(message)
      expect([encryption, result]).toEqual(['unauthenticated', 'none'])
      expect(octets.includes('evil.test')).toBe(true)
      expect(octets.toString('latin1')).not.toMatch(/^Content-Type: text\/html/im)
    }
  })
})

describe('B9 plaintext of many blocks, of which nobody knows yet whether it is right', () => {
  const flipped = (octets: Buffer, at: number): Buffer => {
    const copy = Buffer.from(octets)
    copy.writeUInt8(copy.at(at)! ^ 1, at < 0 ? copy.length + at : at)
    return copy
  }

  test.each([
    ['GCM', gcm],
    ['CCM', ccm],
  ] as const)('B8 B9 of AES-%s leaves as a whole or not at all', async (_name, seal) => {
    const { algorithm, content, mac } = seal(KEY, LARGE)
    const whole = await world.deliver(forBob({ algorithm, content, mac }))
    expect(whole.encryption).toBe('opened')
    expect(whole.octets.subarray(-LARGE.length + 43).equals(LARGE.subarray(43))).toBe(true)
    const before = world.house.sinks.inbound.connections.length
    for (const wrong of [
      { content, mac: flipped(mac, 0) },
      { content, mac: flipped(mac, -1) },
      { content: flipped(content, 0), mac },
      { content: flipped(content, 200_000), mac },
      { content: flipped(content, -1), mac },
      { content: content.subarray(0, -1), mac },
      { content: content.subarray(0, 65_536), mac },
      { content: Buffer.concat([content, Buffer.from([0])]), mac },
      { content: Buffer.concat([content.subarray(65_536), content.subarray(0, 65_536)]), mac },
    ]) {
      const message = forBob({ algorithm, ...wrong })
      const copy = await world.deliver(message)
      expect(copy.encryption).toBe('failed')
      expectClosed(copy, message)
    }
    const connections = world.house.sinks.inbound.connections.slice(before)
    expect(connections.filter(({ unfinishedOctets }) => unfinishedOctets > 0)).toEqual([])
  })

  test('B8 B9 of a tag that is too short is not deciphered', async () => {
    for (const seal of [gcm, ccm]) {
      const message = forBob(seal(KEY, LARGE, { macOctets: 8 }))
      const copy = await world.deliver(message)
      expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['parameters-refused']])
      expectClosed(copy, message)
    }
  })

  test('B8 more than the nonce of CCM has room for is not deciphered', async () => {
    const { algorithm, mac, content } = ccm(KEY, LARGE.subarray(0, 65_535), { nonceOctets: 13 })
    const longer = Buffer.concat([content, content])
    const copy = await world.deliver(forBob({ algorithm, mac, content: longer }))
    expect([copy.encryption, copy.notes]).toEqual(['unreadable', ['parameters-refused']])
  })

  test('B9 the padding of CBC is the last that is known', async () => {
    const { algorithm, content } = cbc(KEY, LARGE)
    for (const cut of [content.subarray(0, -16), content.subarray(0, -1), content.subarray(16)]) {
      const message = forBob({ algorithm, content: cut })
      expectClosed(await world.deliver(message), message)
    }
    // Without a first block a message has no first line, and without any it has nothing.
    for (const plain of [Buffer.alloc(0), latin1('\r\n')]) {
      const { result } = await world.deliver(forBob(cbc(KEY, plain)))
      expect(result).toBe('none')
    }
  })

  test('B1 stays closed for whom it is not, and opens for the other', async () => {
    const message = world.message(await world.encrypted(LARGE, ['carol']))
    const copies = await world.deliverAll(message, [ADDRESSES.bob, ADDRESSES.carol])
    const [closed, ...others] = copies.filter(({ encryption }) => encryption === 'no-key')
    expectClosed(closed!, message)
    expect([others.length, copies.length]).toEqual([0, 2])
  })

  test('B10 in six layers it is signed by nobody still', async () => {
    let entity = LARGE.subarray(0, 150_000)
    for (let layer = 0; layer < 5; layer++)
      entity = await world.encrypted(entity, ['bob'], { cipher: 'aes-128-gcm' })
    const { result, encryption, octets } = await world.deliver(world.message(entity))
    expect([result, encryption, octets.includes(SECRET)]).toEqual(['none', 'opened', true])
  })
})

describe('B15 two contents of many blocks', () => {
  const evil = text(`pay eve\r\n${FILL}`)

  test.each([
    ['what was signed, beside what is shown', LARGE, evil],
    ['what is shown, a second time', LARGE, LARGE],
    ['what is shown, beside what was signed', evil, LARGE],
    ['a little, beside much', text('hello'), LARGE],
    ['much, beside a little', LARGE, text('hello')],
  ])('B15 the signature holds %s', async (_what, content, entity) => {
    for (const signed of [content, entity]) {
      const signature = await sealBy(world, 'ann', { entity: signed, data: { content } })
      const { result, code } = await world.deliver(
        world.message(clearMessage(signature, { entity })),
      )
      expect([result, code]).toEqual(['fail', 'content-twice'])
    }
  })

  test('B15 one octet far down in an opaque one', async () => {
    const good = await opaqueBy(world, 'ann', { entity: LARGE })
    expect(await world.deliver(world.message(good))).toMatchObject({ result: 'pass' })
    for (const at of [...BORDERS, LARGE.length - 3]) {
      const altered = Buffer.from(LARGE)
      altered[at]! ^= 1
      const data = { content: altered }
      const message = world.message(await opaqueBy(world, 'ann', { entity: LARGE, data }))
      expect(await world.deliver(message)).toMatchObject({ result: 'fail' })
    }
  })

  test('B15 more behind an opaque one', async () => {
    const signature = await sealBy(world, 'ann', { entity: LARGE, data: { content: LARGE } })
    const other = await sealBy(world, 'ann', { entity: evil, data: { content: evil } })
    const twice = world.message(opaqueMessage(Buffer.concat([signature, other])))
    expect(await world.deliver(twice)).toMatchObject({ result: 'permerror' })
    const { length } = twice
    const appended = Buffer.concat([
      world.message(opaqueMessage(signature)),
      latin1(`\r\n\r\n${evil.toString('latin1')}`),
    ])
    expect(appended.length).toBeLessThan(length)
    expect((await world.deliver(appended)).result).not.toBe('pass')
  })
})

describe('B26 B33 parts whose delimiters stand far down', () => {
  const PASS = { result: 'pass', code: 'good' }
  const evil = 'Content-Type: text/plain\r\n\r\npay eve\r\n'
  const verdictOf = async (message: Buffer): Promise<string> => {
    const { result, code } = await world.deliver(message)
    return `${result} ${code}`
  }

  test('B33 wherever blocks end, what is right passes, and one octet more does not', async () => {
    for (let by = 0; by < 66; by += 6) {
      const signed = await world.signed(text(shifted(by)), 'ann')
      expect(await world.deliver(world.message(signed))).toMatchObject(PASS)
      const at = signed.lastIndexOf(LINE.slice(-10))
      const altered = Buffer.concat([signed.subarray(0, at), signed.subarray(at + 1)])
      expect(await verdictOf(world.message(altered))).toBe('fail digest-mismatch')
    }
  })

  test('B26 a third part, wherever blocks end', async () => {
    for (let by = 0; by < 66; by += 11) {
      const entity = text(shifted(by))
      for (const end of [`\r\n--b\r\n${evil}\r\n--b--\r\n`, '\r\n', `\r\n${FILL}\r\n--b-\r\n`]) {
        const message = world.message(await clearBy(world, 'ann', { entity, clear: { end } }))
        expect(await verdictOf(message)).toMatch(/^permerror (?:not-|ambiguous)/)
      }
      const parts = `${shifted(by)}\r\n--b\r\n${evil}`
      const between = await clearBy(world, 'ann', { entity: text(parts) })
      expect(await verdictOf(world.message(between))).toMatch(/^permerror not-two-parts/)
    }
  })

  test('B26 text around the parts that is as long as they are', async () => {
    const preamble = `${FILL}\r\n--b2\r\n${evil}`
    const end = `\r\n--b--\r\n${FILL}--b\r\n${evil}\r\n--b--\r\n`
    for (const clear of [
      { preamble },
      { end },
      { preamble: FILL },
      { end: `\r\n--b--\r\n${FILL}` },
    ]) {
      const message = world.message(await clearBy(world, 'ann', { entity: LARGE, clear }))
      expect(await verdictOf(message)).toBe('permerror ambiguous')
    }
  })

  test('B33 the boundary of the whole far down within what is signed', async () => {
    const within = `Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\n${FILL}\r\n--bb--\r\n`
    expect(
      await verdictOf(world.message(await clearBy(world, 'ann', { entity: latin1(within) }))),
    ).toBe('permerror ambiguous')
    const twice = `Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n${FILL}\r\n--c\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx\r\n--c--\r\n`
    expect(
      await verdictOf(world.message(await clearBy(world, 'ann', { entity: latin1(twice) }))),
    ).toBe('permerror ambiguous-inside')
    const plain = twice.replace('Content-Type: text/html\r\n', '')
    expect(
      await verdictOf(world.message(await clearBy(world, 'ann', { entity: latin1(plain) }))),
    ).toBe('pass good')
  })

  test('B20 a signed part far down, beside what nobody has signed', async () => {
    const signed = await world.signed(LARGE, 'ann')
    const entity = Buffer.concat([
      latin1(`Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n${evil}${FILL}\r\n--o\r\n`),
      signed,
      latin1('\r\n--o--\r\n'),
    ])
    expect(await verdictOf(world.message(entity))).toBe('none partial')
  })

  test('B17 a second signer over another content of the same size', async () => {
    const other = Buffer.from(LARGE)
    other[200_000]! ^= 1
    const signers = [
      await infoBy(world, 'ann', { entity: LARGE }),
      await infoBy(world, 'ann', { entity: other }),
    ]
    for (const entity of [LARGE, other]) {
      const message = await clearBy(world, 'ann', { entity, data: { signers } })
      expect(await verdictOf(world.message(message))).toBe('fail digest-mismatch')
    }
  })
})

describe('B34 line ends far down', () => {
  const ENDS = ['\r', '\n', '\0', '\n.\n', '\r.\r\n', '\n.\r\n', '\r\n.\n', '\r\0\n']
  const SMUGGLED = 'MAIL FROM:<eve@evil.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nFrom: x\r\n'

  test.each(ENDS)('B34 %j are refused from outside', async end => {
    const { messages } = world.house.sinks.inbound
    const before = messages.length
    const entity = latin1(`Content-Type: text/plain\r\n\r\n${FILL}a${end}${SMUGGLED}${FILL}`)
    const client = await TestClient.open(world.house.port)
    const { end: answer } = await client.send(ADDRESSES.ann, [ADDRESSES.bob], world.message(entity))
    client.close()
    expect(answer!.code).toBeGreaterThanOrEqual(500)
    expect(messages).toHaveLength(before)
  })

  test.each(ENDS)('B34 %j from an encryption never reach the next hop', async end => {
    const { messages } = world.house.sinks.inbound
    const before = messages.length
    const plain = latin1(`Content-Type: text/plain\r\n\r\n${FILL}a${end}${SMUGGLED}${FILL}b${end}`)
    for (const cipher of ['aes-256-gcm', 'aes-256-cbc'] as const) {
      const sealed = await world.encrypted(plain, ['bob'], { cipher })
      expectLines((await world.deliver(world.message(sealed))).octets)
    }
    const twice = await world.encrypted(await world.encrypted(plain, ['bob']), ['bob'])
    expectLines((await world.deliver(world.message(twice))).octets)
    expect(messages).toHaveLength(before + 3)
  })

  test('B34 a CR at the end of one chunk and an LF at the beginning of the next are one line end', async () => {
    for (let by = 0; by < 66; by += 3) {
      const plain = text(`${'x'.repeat(by)}\r\n${LINE.repeat(1_100)}`)
      const { octets, encryption, notes } = await world.deliver(forBob(gcm(KEY, plain)))
      expect([encryption, notes]).toEqual(['opened', []])
      expect(octets.subarray(-70_000).equals(plain.subarray(-70_000))).toBe(true)
    }
  })

  test('B34 what is encrypted with LF alone is mended as a whole, and its signature is good then', async () => {
    const signed = await world.signed(LARGE, 'ann')
    const unix = latin1(signed.toString('latin1').replaceAll('\r\n', '\n'))
    const mixed = latin1(
      signed
        .toString('latin1')
        .replace(/(12345678\r\n.{62}12345678)\r\n/g, '$1\n')
        .replace(/\r\n$/, '\n'),
    )
    expect(mixed.length).toBeLessThan(signed.length)
    for (const plain of [unix, mixed])
      for (const sealed of [gcm(KEY, plain), ccm(KEY, plain), cbc(KEY, plain)]) {
        const copy: Delivered = await world.deliver(forBob(sealed))
        expect([copy.encryption, copy.result]).toEqual(['opened', 'pass'])
        const body = signed.subarray(signed.indexOf('\r\n\r\n') + 4)
        expect(copy.octets.subarray(-body.length).equals(body)).toBe(true)
      }
  })

  test('B34 what is mended is looked at again: a boundary that was none, and a part more', async () => {
    const lines = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n${FILL}`
    const plain = latin1(`${lines}\r\n--b\nContent-Type: text/html\n\n<img src=x>\n--b--\n`)
    const message = lenient.message(await lenient.encrypted(plain, ['bob']))
    const { encryption, octets } = await lenient.deliver(message)
    expect(encryption).toBe('unauthenticated')
    expectLines(octets)
    expect(octets.toString('latin1')).not.toContain('Content-Type: text/html')
  })

  test('B33 structure without end in a plaintext is not followed', async () => {
    const parts = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\n'.repeat(40_000)}`
    const nested = Array.from(
      { length: 3000 },
      (_, at) => `Content-Type: multipart/mixed; boundary=b${at}\r\n\r\n--b${at}\r\n`,
    ).join('')
    const fields = `${'X: y\r\n'.repeat(40_000)}\r\n`
    for (const plain of [parts, nested, fields])
      for (const seal of [gcm, ccm, cbc]) {
        const message = forBob(seal(KEY, latin1(plain)))
        const copy = await world.deliver(message)
        expect([copy.encryption, copy.result]).toEqual(['refused', 'none'])
        expect(copy.octets.subarray(-1000).equals(message.subarray(-1000))).toBe(true)
      }
  })
})

test('B5 B75 whatever was wrong with it, it is answered alike', async () => {
  const { algorithm, content, mac } = gcm(KEY, LARGE)
  const replies = new Set<string>()
  for (const message of [
    forBob({ algorithm, content, mac }),
    forBob({ algorithm, content, mac: Buffer.alloc(16) }),
    forBob(cbc(KEY, latin1('\n\r'.repeat(150_000)))),
    forBob({ algorithm: cbcIdentifier(32, randomBytes(16)), content: randomBytes(288_000) }),
    world.message(entityOf(derOf(forBob(cbc(KEY, LARGE))).subarray(0, 200_000))),
  ])
    replies.add(JSON.stringify((await world.deliver(message)).reply.end))
  expect(replies.size).toBe(1)
})

const NO_PROC = process.platform === 'linux' ? '' : ' (skipped: no /proc)'
test.skipIf(NO_PROC)(`B72 nothing of it is held any more${NO_PROC}`, async () => {
  const held = (): string[] =>
    readdirSync('/proc/self/fd').flatMap(name => {
      try {
        const target = readlinkSync(`/proc/self/fd/${name}`)
        return /postern-[0-9a-f]{24} \(deleted\)$/.test(target) ? [target] : []
      } catch {
        return []
      }
    })
  for (let trial = 0; held().length > 0 && trial < 50; trial++) await setTimeout(20)
  expect(held()).toEqual([])
})
