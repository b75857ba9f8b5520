/**
 * What passes through is what came: the round-trip messages of the corpora, unsigned and signed, and
 * messages that bear a signature or an encryption already.
 *
 *     message ── unsigned ──▶ byte for byte below our Received field, or refused (NUL, bare CR)
 *             └─ signed ────▶ good for other people's programs, and its parts decode to the same content
 *
 * The signer signs for every author: what is on trial are the octets, not who may sign.
 */
import { isAscii } from 'node:buffer'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { authorOf } from '../../src/mail/author.ts'
import { parseHeaderSection } from '../../src/mail/header-section.ts'
import { rule, startHouse, type TestHouse } from '../gateway/house.ts'
import { type Outcome, TestClient } from '../support/client.ts'
import { type Leaves, leavesForPython, leavesOf, pythonMissing } from '../support/decoded.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, makeIdentityFolder } from '../support/identity-folder.ts'
import { type Exhibit, type Peer, peers, takeApart, unpack } from '../support/peers.ts'

const corpora =
  process.env['POSTERN_CORPORA'] ?? join(import.meta.dirname, '../../../shared/corpora')
const index = join(corpora, 'INDEX.json')
const noCorpora = existsSync(index) ? '' : ` (skipped: no corpora in ${corpora})`

const AUTHOR = 'alice@example.test'
const FORMS = ['clear', 'opaque'] as const
const FORBIDDEN = ['\0', 'bare \r', '\r\r'] as const
const addressOf = (form: string): string => `${form}@partner.test`

const OPAQUE = rule('opaque', 'always', { recipient: 'opaque@partner.test' })
const RULES = [
  rule('never', 'never', { recipient: 'never@partner.test' }),
  { ...OPAQUE, wish: { ...OPAQUE.wish, signature: 'opaque' as const } },
  rule('outbound', 'always'),
]

/** Which peers see how many: every one, or one of so many. */
const SAMPLES: readonly { peer: Peer; step: number }[] = peers.map(peer => ({
  peer,
  step: peer.name === 'gpgsm' ? 8 : peer.name === 'nss' ? 4 : 1,
}))

interface Message {
  readonly id: string
  readonly octets: Buffer
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder
let house: TestHouse

beforeAll(async () => {
  folder = await temporaryFolder('fidelity')
  made = await makeIdentityFolder(folder.path, { [AUTHOR]: 'p-256' })
  const sources = [{ files: made.files, configPath: 'identities[0]' } as never]
  const { identities } = await loadIdentities(sources, new Date())
  house = await startHouse({ identities: forEverybody(identities), rules: RULES })
})
afterAll(async () => {
  await house?.close()
  await folder?.remove()
})

describe.skipIf(noCorpora)(`messages of the corpora${noCorpora}`, () => {
  test('pass unsigned byte for byte, or are refused where they bear NUL or a bare CR', async () => {
    const messages = [...roundTripMessages(), ...forbiddenMessages()]
    const refusals: string[] = []
    const altered: unknown[] = []
    for (const { id, octets } of messages) {
      const { outcome, taken } = await send(octets, ['never@partner.test'])
      const refused = outcome.end?.code === 550 && taken.length === 0
      const same = outcome.end?.code === 250 && taken.length === 1 && isBelow(octets, taken[0]!)
      if (isForbidden(octets) ? !refused : !same) altered.push([id, outcome.end, taken.length])
      if (refused) refusals.push(`${id}: ${outcome.end?.code} ${outcome.end?.text}`)
    }
    expect(altered).toEqual([])
    expect(messages.length).toBeGreaterThan(200)
    expect(refusals.length).toBeGreaterThanOrEqual(FORBIDDEN.length)
    expect(refusals.length).toBeLessThan(messages.length / 10)
    const passed = messages.length - refusals.length
    console.log(
      `unsigned: ${messages.length} messages, ${passed} byte for byte, ${refusals.length} refused`,
    )
    for (const refusal of refusals) console.log(`  ${refusal}`)
  }, 60_000)

  describe('signed', () => {
    /** `id form` to the message that was sent, and as it arrived. */
    const before = new Map<string, Buffer>()
    const after = new Map<string, Buffer>()
    const counts = { messages: 0, authorGiven: 0, relayed: 0 }
    const faults: unknown[] = []
    let exhibits: readonly Exhibit[] = []

    beforeAll(async () => {
      for (const { id, octets } of roundTripMessages()) {
        if (isForbidden(octets)) continue
        const withoutMboxLine = octets.subarray(mboxLineOctets(octets))
        const message = withOneAuthor(withoutMboxLine)
        counts.messages++
        if (message !== withoutMboxLine) counts.authorGiven++
        const { outcome, taken } = await send(message, FORMS.map(addressOf))
        if (outcome.end?.code !== 250) faults.push([id, outcome])
        if (taken.length === 1) {
          // Nothing may be put around it: both recipients have the same message.
          counts.relayed++
          if (!isBelow(message, taken[0]!)) faults.push([id, 'altered'])
          continue
        }
        for (const octetsTaken of taken) {
          const form = takeApart(belowReceived(octetsTaken)).content ? 'clear' : 'opaque'
          const name = after.has(`${id} opaque`) ? `${id} opaque because unsafe` : `${id} ${form}`
          before.set(name, message)
          after.set(name, belowReceived(octetsTaken))
        }
      }
      exhibits = await unpack(after, join(folder.path, 'out'))
      console.log(
        `signed: ${counts.messages} messages, ${counts.relayed} of them not to be touched and byte ` +
          `for byte, ${after.size / 2} signed clear and opaque, ` +
          `${[...after.keys()].filter(key => key.endsWith('unsafe')).length} of them opaque twice, ` +
          `${counts.authorGiven} were given an author first`,
      )
    }, 120_000)

    test('go through, or pass byte for byte where nothing may be put around them', () => {
      expect(faults).toEqual([])
      expect(after.size).toBe(2 * (counts.messages - counts.relayed))
      expect(counts.relayed).toBeLessThan(counts.messages / 10)
    })

    for (const { peer, step } of SAMPLES) {
      const reason = peer.missing ? ` (skipped: ${peer.missing})` : ''
      test.skipIf(peer.missing)(
        `are good for ${peer.name}${reason}`,
        async () => {
          const sample = exhibits.filter((_, position) => position % step === 0)
          const verdicts = await peer.verify(sample, made.rootFile, folder.path)
          const bad = [...verdicts].filter(([, verdict]) => verdict !== 'good')
          console.log(`signed: ${verdicts.size - bad.length} good for ${peer.name}`)
          expect(bad).toEqual([])
          expect(verdicts.size).toBe(sample.length)
          expect(sample.length).toBeGreaterThan(20)
        },
        120_000,
      )
    }

    test('decode to the same content', async () => {
      for (const [id, message] of await readable())
        expect([id, await leavesOf(message)]).toEqual([id, await leavesOf(before.get(id)!)])
    })

    const noPython = pythonMissing ? ` (skipped: ${pythonMissing})` : ''
    test.skipIf(pythonMissing)(`decode to the same content for Python${noPython}`, async () => {
      const messages = [...(await readable())]
      const was = leavesForPython(messages.map(([id]) => before.get(id)!))
      const is = leavesForPython(messages.map(([, message]) => message))
      let compared = 0
      const other: [string, Leaves | null, Leaves | null][] = []
      for (const [position, [id]] of messages.entries()) {
        if (was[position] === null) continue
        compared++
        if (JSON.stringify(is[position]) !== JSON.stringify(was[position]))
          other.push([id, was[position]!, is[position]!])
      }
      console.log(`signed: ${compared - other.length} of ${compared} decode to the same for Python`)
      expect(other).toEqual([])
      expect(compared).toBeGreaterThan(300)
    })

    /** What is signed, with the fields that stayed outside: the message as a reader sees it. */
    async function readable(): Promise<Map<string, Buffer>> {
      const messages = new Map<string, Buffer>()
      for (const { id } of exhibits) {
        const outer = after.get(id)!
        const { content, signature } = takeApart(outer)
        const type = outer.indexOf('\r\nContent-Type: ') + 2
        messages.set(id, Buffer.concat([outer.subarray(0, type), content ?? eContentOf(signature)]))
      }
      return messages
    }
  })

  test('that are signed or encrypted already pass byte for byte', async () => {
    const files = globSync(['thunderbird/*.eml', 'rfc4134/*.eml'], { cwd: corpora }).sort()
    for (const file of files) {
      const octets = withOneAuthor(withCRLF(readFileSync(join(corpora, file))))
      const { outcome, taken } = await send(octets, FORMS.map(addressOf))
      expect([file, outcome.end?.code]).toEqual([file, 250])
      expect([file, taken.length]).toEqual([file, 1])
      expect([file, belowReceived(taken[0]!).equals(octets)]).toEqual([file, true])
    }
    expect(files.length).toBeGreaterThan(30)
    console.log(`protected already: ${files.length} messages of the corpora, all byte for byte`)
  })
})

test.each(Object.entries(protectedMessages()))('%s passes byte for byte', async (name, octets) => {
  // RFC 3464 §2: a report has the null reverse-path.
  const from = name.endsWith('notification') ? '' : AUTHOR
  const { outcome, taken } = await send(octets, FORMS.map(addressOf), '', from)
  expect(outcome.end?.code).toBe(250)
  expect(taken.length).toBe(1)
  expect(belowReceived(taken[0]!).equals(octets)).toBe(true)
})

describe('B77 a next hop without 8BITMIME', () => {
  beforeAll(() => {
    house.on.outbound = ({ verb }) =>
      verb === 'EHLO' ? '250-seven.test\r\n250-PIPELINING\r\n250 SIZE 0' : undefined
    house.sinks.outbound.drop()
  })
  afterAll(() => {
    delete house.on.outbound
    house.sinks.outbound.drop()
  })

  test.each(Object.entries(eightBitMessages()))('gets %s in 7 bits', async (_, octets) => {
    const { outcome, taken } = await send(octets, ['never@partner.test'], ' BODY=8BITMIME')
    expect(outcome.end?.code).toBe(250)
    const message = belowReceived(taken[0]!)
    expect(isAscii(bodyOf(message))).toBe(true)
    expect(message.equals(octets)).toBe(false)
    expect(await leavesOf(message)).toEqual(await leavesOf(octets))
    expect(forPython(message)).toEqual(forPython(octets))
  })

  test('is not told of BODY', async () => {
    const [octets] = Object.values(eightBitMessages())
    await send(octets!, ['never@partner.test'], ' BODY=8BITMIME')
    expect(house.sinks.outbound.messages.at(-1)!.mail).not.toMatch(/BODY/i)
  })

  test('gets 7-bit mail byte for byte', async () => {
    const octets = Buffer.from(`From: ${AUTHOR}\r\nSubject: x\r\n\r\nplain\r\n`)
    const { taken } = await send(octets, ['never@partner.test'], ' BODY=8BITMIME')
    expect(belowReceived(taken[0]!).equals(octets)).toBe(true)
  })

  test.each(Object.entries(unconvertible()))(
    'does not get %s: 5.6.3, and nothing of it',
    async (_, octets) => {
      const { outcome, taken } = await send(octets, ['never@partner.test'], ' BODY=8BITMIME')
      expect(outcome.end).toEqual({ code: 554, text: expect.stringMatching(/^5\.6\.3 /) as string })
      expect(taken).toEqual([])
    },
  )

  test('gets what we sign, which is 7-bit anyhow', async () => {
    for (const octets of Object.values(eightBitMessages())) {
      const { outcome, taken } = await send(octets, FORMS.map(addressOf), ' BODY=8BITMIME')
      expect(outcome.end?.code).toBe(250)
      expect(taken.map(it => isAscii(bodyOf(it)))).toEqual([true, true])
    }
  })

  test('gets opaque what nobody may make 7-bit, its octets as they were', async () => {
    const octets = unconvertible()['signed mail within a multipart']!
    const { outcome, taken } = await send(octets, FORMS.map(addressOf), ' BODY=8BITMIME')
    expect(outcome.end?.code).toBe(250)
    for (const message of taken) {
      expect(isAscii(bodyOf(message))).toBe(true)
      const { signature, content } = takeApart(belowReceived(message))
      expect(content).toBeUndefined()
      expect(signature.includes(bodyOf(octets))).toBe(true)
    }
    expect(taken.length).toBeGreaterThan(0)
  })
})

/** Sends a message, and says what the next hop has taken of it. */
async function send(
  octets: Buffer,
  to: readonly string[],
  parameters = '',
  from = AUTHOR,
): Promise<{ outcome: Outcome; taken: readonly Buffer[] }> {
  const { messages } = house.sinks.outbound
  const known = messages.length
  const client = await TestClient.open(house.port)
  try {
    const outcome = await client.send(from, to, octets, parameters)
    return { outcome, taken: messages.slice(known).map(message => message.octets) }
  } finally {
    client.close()
  }
}

/** Nothing where there is no Python to ask. */
function forPython(octets: Buffer): unknown {
  return pythonMissing ? undefined : leavesForPython([octets])
}

/** Whether a message is below our Received field what it was. */
function isBelow(octets: Buffer, taken: Buffer): boolean {
  return belowReceived(taken).equals(octets)
}

/** What stands below the one Received field that we have put on top. */
function belowReceived(octets: Buffer): Buffer {
  const top = octets.toString('latin1', 0, 2_000)
  const field = /^Received: .*\r\n(?:[ \t].*\r\n)*/.exec(top)?.[0] ?? ''
  if (!field.includes('by gw.example.test')) throw new Error(`no Received field: ${top}`)
  return octets.subarray(field.length)
}

const bodyOf = (octets: Buffer): Buffer => octets.subarray(octets.indexOf('\r\n\r\n') + 4)

function roundTripMessages(): Message[] {
  const { cases } = JSON.parse(readFileSync(index, 'utf8')) as {
    cases: { id: string; file: string; op: string }[]
  }
  return cases
    .filter(({ op }) => op === 'roundtrip')
    .map(({ id, file }) => ({ id, octets: withCRLF(readFileSync(join(corpora, file))) }))
}

function withCRLF(octets: Buffer): Buffer {
  const text = octets.toString('latin1').replace(/\r?\n/g, '\r\n')
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1')
}

/** The corpora bear neither NUL nor a bare CR: here they get them. */
function forbiddenMessages(): Message[] {
  const [message] = roundTripMessages()
  return FORBIDDEN.map(octet => ({
    id: `with ${JSON.stringify(octet)}`,
    octets: Buffer.from(
      message!.octets.toString('latin1').replace(/(.{300})/s, `$1${octet}`),
      'latin1',
    ),
  }))
}

/** What an mbox has in front of a message is no part of it (RFC 4155): a reader of mail finds a body there. */
function mboxLineOctets(octets: Buffer): number {
  const isThere = /^>?From /.test(octets.toString('latin1', 0, 6))
  return isThere ? octets.indexOf('\r\n') + 2 : 0
}

function isForbidden(octets: Buffer): boolean {
  return /\r(?!\n)|\0/.test(octets.toString('latin1'))
}

/** The message itself where it has one author, else with one: without, nobody may sign. */
function withOneAuthor(octets: Buffer): Buffer {
  const section = parseHeaderSection(octets)
  if (authorOf(section).author.kind === 'one') return octets
  const others = section.fields.filter(({ key }) => key !== 'from').map(field => field.octets)
  return Buffer.concat([
    Buffer.from(`From: ${AUTHOR}\r\n`),
    ...others,
    octets.subarray(section.sizeOctets),
  ])
}

/** Signs for whoever asks. */
function forEverybody(identities: Identities): Identities {
  const author = parseMailbox(AUTHOR)
  const find = (_: unknown, now: Date) => identities.find(author, now)
  return { all: identities.all, find } as unknown as Identities
}

/** The octets inside of a SignedData, told by its lengths alone. */
function eContentOf(signature: Buffer): Buffer {
  const octets: Buffer[] = []
  let at = signature.indexOf(Buffer.from('06092a864886f70d010701', 'hex')) + 11
  const read = (): { tag: number; end: number | undefined } => {
    const tag = signature[at++]!
    const first = signature[at++]!
    if (first === 0x80) return { tag, end: undefined }
    let length = first
    if (first > 0x80) {
      length = signature.readUIntBE(at, first - 0x80)
      at += first - 0x80
    }
    return { tag, end: at + length }
  }
  read() // [0] EXPLICIT
  const outer = read()
  if (outer.tag === 0x04) return signature.subarray(at, outer.end)
  while (at < (outer.end ?? signature.length)) {
    const { tag, end } = read()
    if (tag !== 0x04) break
    octets.push(signature.subarray(at, end))
    at = end!
  }
  return Buffer.concat(octets)
}

/** Messages that are protected in ways that the corpora do not have. */
function protectedMessages(): Readonly<Record<string, Buffer>> {
  const made = (fields: string, body: string) =>
    Buffer.from(`From: ${AUTHOR}\r\nSubject: s\r\nMIME-Version: 1.0\r\n${fields}\r\n${body}`)
  const armour = (what: string) =>
    `-----BEGIN PGP ${what}-----\r\n\r\niQEzBAEBCgAdFiEE  \r\n=abcd\r\n-----END PGP ${what}-----\r\n`
  return {
    'PGP/MIME signed mail, with trailing white space': made(
      'Content-Type: multipart/signed; micalg=pgp-sha256;\r\n\tprotocol="application/pgp-signature"; boundary=p\r\n',
      `--p\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße  \r\n.\r\n--p\r\nContent-Type: application/pgp-signature\r\n\r\n${armour('SIGNATURE')}--p--\r\n`,
    ),
    'PGP/MIME encrypted mail': made(
      'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=p\r\n',
      `--p\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--p\r\nContent-Type: application/octet-stream\r\n\r\n${armour('MESSAGE')}--p--\r\n`,
    ),
    'S/MIME mail named by its file alone': made(
      'Content-Type: application/octet-stream; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n',
      'MIAGCSqGSIb3DQEHA6CA\r\n',
    ),
    'S/MIME enveloped mail of the old name': made(
      'content-type: APPLICATION/X-PKCS7-MIME; SMIME-TYPE="enveloped-data"\r\nContent-Transfer-Encoding: base64\r\n',
      'MIAGCSqGSIb3DQEHA6CA\r\n',
    ),
    'a delivery status notification': made(
      'Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n',
      '--r\r\n\r\nfailed  \r\n--r\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: failed\r\n--r--\r\n',
    ),
  }
}

/** 8-bit mail that may be converted. */
function eightBitMessages(): Readonly<Record<string, Buffer>> {
  const made = (rest: string) => Buffer.from(`From: ${AUTHOR}\r\nTo: x@partner.test\r\n${rest}`)
  return {
    'a UTF-8 text': made(
      'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße \r\n.\r\nFrom Köln\r\n',
    ),
    'a text without MIME header fields': made('Subject: x\r\n\r\nGrüße\r\n'),
    'an attachment': made(
      'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/csv; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nä;ö\r\n--b--\r\n',
    ),
    // RFC 6152 is about bodies: such a field is wrong on any way, and stays as it is.
    'a text with an 8-bit subject': made(
      'Subject: Grüße\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n',
    ),
  }
}

/** 8-bit mail that nobody may alter. */
function unconvertible(): Readonly<Record<string, Buffer>> {
  const signed = (protocol: string) =>
    `Content-Type: multipart/signed; protocol="${protocol}"; micalg=sha-256; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n--b\r\nContent-Type: ${protocol}\r\n\r\nx\r\n--b--\r\n`
  const made = (rest: string) => Buffer.from(`From: ${AUTHOR}\r\nMIME-Version: 1.0\r\n${rest}`)
  return {
    'S/MIME signed mail': made(signed('application/pkcs7-signature')),
    'PGP signed mail': made(signed('application/pgp-signature')),
    'signed mail within a multipart': made(
      `Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n${signed('application/pkcs7-signature')}--o--\r\n`,
    ),
  }
}
