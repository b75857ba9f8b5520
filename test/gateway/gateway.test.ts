/** The trip of a message: groups, dots last, the ledger, refusals, and what strangers try. @module */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Identities, loadIdentities } from '../../src/certstore/identities.ts'
import type { Action, Moment, SinkMessage } from '../smtp/sink.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { type IdentityFolder, makeIdentityFolder } from '../support/identity-folder.ts'
import { openssl, opensslVerdict } from '../support/openssl.ts'
import { type HouseSettings, rule, startHouse, type TestHouse } from './house.ts'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let made: IdentityFolder
let identities: Identities
const open: { close(): unknown }[] = []

beforeAll(async () => {
  folder = await temporaryFolder('gateway')
  made = await makeIdentityFolder(folder.path, { 'alice@example.test': 'p-256' })
  const loaded = await loadIdentities(
    [{ files: made.files, configPath: 'identities[0]' } as never],
    new Date(),
  )
  if (loaded.identities.all.length !== 1) throw new Error(JSON.stringify(loaded.faults))
  identities = loaded.identities
})
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close()
})
afterAll(() => folder.remove())

async function house(settings: Partial<HouseSettings> = {}): Promise<TestHouse> {
  const started = await startHouse({ identities, rules: SIGN_MOST, ...settings })
  open.push(started)
  return started
}

async function client(port: number): Promise<TestClient> {
  const opened = await TestClient.open(port)
  open.push(opened)
  return opened
}

const SIGN_MOST = [
  rule('machines', 'never', { recipient: '*@machines.test' }),
  rule('outbound', 'always'),
]

function message(from = 'alice@example.test', extra = '', body = 'figures\r\n.dot\r\n'): Buffer {
  return Buffer.from(
    `From: ${from}\r\nTo: all@partner.test\r\nMessage-ID: <${Math.random()}@example.test>\r\n` +
      `Date: ${new Date().toUTCString()}\r\nSubject: figures\r\n${extra}\r\n${body}`,
  )
}

/** Where there is no OpenSSL to ask, the rest of a test still counts. */
const GOOD = /^(?:good|no openssl in PATH)$/
const text = (taken: SinkMessage): string => taken.octets.toString('latin1')
const isSigned = (taken: SinkMessage): boolean => text(taken).includes('multipart/signed')
/** What stands below our stamp, where there is one, and our Received field. */
const below = (taken: SinkMessage): string =>
  text(taken).replace(
    /^(?:(?:Authentication-Results|X-Postern-(?!Unmet)[\w-]+):.*\r\n(?:[ \t].*\r\n)*)*Received:.*\r\n(?:[ \t].*\r\n)*/,
    '',
  )
/** An action at one moment only. */
const at =
  (verb: string, action: Action, when: (moment: Moment) => boolean = () => true) =>
  (moment: Moment): Action | undefined =>
    moment.verb === verb && when(moment) ? action : undefined

describe('groups', () => {
  test('signs for one, passes for another, and hands the inbound recipient to its own next hop', async () => {
    const { port, sinks, told } = await house()
    const sent = message()
    const to = ['bob@partner.test', 'robot@machines.test', 'carol@example.test', 'eve@partner.test']
    const { recipients, end } = await (await client(port)).send('alice@example.test', to, sent)
    expect(recipients.map(({ code }) => code)).toEqual([250, 250, 250, 250])
    expect(end?.code).toBe(250)

    expect(sinks.inbound.messages).toHaveLength(1)
    expect(sinks.inbound.messages[0]!.forwardPaths).toEqual(['carol@example.test'])
    expect(below(sinks.inbound.messages[0]!)).toBe(sent.toString())
    expect(sinks.outbound.messages).toHaveLength(2)
    const signed = sinks.outbound.messages.find(isSigned)!
    const passed = sinks.outbound.messages.find(it => !isSigned(it))!
    expect(signed.forwardPaths).toEqual(['bob@partner.test', 'eve@partner.test'])
    expect(passed.forwardPaths).toEqual(['robot@machines.test'])
    expect(below(passed)).toBe(sent.toString())
    expect(openssl.missing ?? (await opensslVerdict(signed.octets, made.rootFile))).toMatch(GOOD)
    const [line] = told('message')
    expect(line).toMatchObject({ reply: 250 })
    expect((line!['recipients'] as { treatment: string }[]).map(it => it.treatment)).toEqual([
      'sign',
      'relay',
      'relay',
      'sign',
    ])
  })

  test('equal octets share one message, whatever the reason; each rule of a route has its own field', async () => {
    const rules = [
      rule('machines', 'never', { recipient: '*@machines.test' }),
      rule('robots', 'never', { recipient: '*@robots.test' }),
      rule('first', 'always', { recipient: '*@first.test', otherwise: { route: 'review' } }),
      rule('outbound', 'always', { otherwise: { route: 'review' } }),
    ]
    const { port, sinks } = await house({ rules })
    const to = ['a@machines.test', 'b@robots.test', 'c@first.test', 'd@partner.test']
    const sent = message('nobody@example.test')
    const { end } = await (await client(port)).send('nobody@example.test', to, sent)
    expect(end?.code).toBe(250)
    expect(sinks.outbound.messages.map(it => it.forwardPaths)).toEqual([to.slice(0, 2)])
    const routed = sinks.review.messages.map(
      it => `${it.forwardPaths.join()} ${/rule=.*/.exec(text(it))?.[0]}`,
    )
    expect(new Set(routed)).toEqual(
      new Set(['c@first.test rule="first"', 'd@partner.test rule="outbound"']),
    )
  })

  test('a refusal at RCPT is handed back where it was said, and the others go on', async () => {
    const { port, sinks, on } = await house()
    on.outbound = at('RCPT', '550 5.1.1 <gone@partner.test>: who?', ({ line }) =>
      line.includes('gone@'),
    )
    const { recipients, end } = await (await client(port)).send(
      'alice@example.test',
      ['bob@partner.test', 'gone@partner.test'],
      message(),
    )
    expect(recipients[1]).toEqual({ code: 550, text: '5.1.1 <gone@partner.test>: who?' })
    expect(end?.code).toBe(250)
    expect(sinks.outbound.messages.map(it => it.forwardPaths)).toEqual([['bob@partner.test']])
  })

  test('mail without a rule passes byte for byte below one Received field', async () => {
    const { port, sinks } = await house({ rules: [] })
    const sent = message('nobody@example.test', 'X-Odd:   spaces \r\n\tand folds\r\n', '\r\n..\r\n')
    const { end } = await (await client(port)).send('', ['bob@partner.test'], sent)
    expect(end?.code).toBe(250)
    expect(below(sinks.outbound.messages[0]!)).toBe(sent.toString())
    expect(text(sinks.outbound.messages[0]!).match(/^Received:/gm)).toHaveLength(1)
    expect(sinks.outbound.messages[0]!.reversePath).toBe('')
  })
})

describe('dots last', () => {
  const BOTH = ['carol@example.test', 'bob@partner.test']
  const failures: readonly [string, (moment: Moment) => Action | undefined, RegExp][] = [
    ['refuses DATA for good', at('DATA', '554 5.7.0 no'), /^554 5\.7\.0 no/],
    ['refuses DATA for now', at('DATA', '451 4.3.0 later'), /^451 4\.3\.0 later/],
    ['drops in the middle of the content', at('DATA', { reply: '354 go on', reset: true }), /^451/],
    ['drops instead of answering DATA', at('DATA', { close: true }), /^451/],
  ]

  test.each(failures)('one next hop %s: nobody gets anything', async (_, action, answer) => {
    const { port, sinks, on, ledger } = await house()
    on.outbound = action
    const body = 'x'.repeat(70).concat('\r\n').repeat(5_000)
    const { end } = await (await client(port)).send(
      'alice@example.test',
      BOTH,
      message(undefined, '', body),
    )
    expect(`${end?.code} ${end?.text}`).toMatch(answer)
    expect(sinks.inbound.messages).toHaveLength(0)
    expect(sinks.outbound.messages).toHaveLength(0)
    expect(ledger.isEmpty()).toBe(true)
  })

  test('one next hop refuses MAIL when it is offered again: nobody gets anything', async () => {
    const { port, sinks, on, ledger } = await house()
    // Two treatments at one next hop: the transaction that was offered live serves neither.
    on.outbound = at('MAIL', '452 4.3.1 full now', ({ connection, nth }) => connection + nth > 0)
    const to = ['carol@example.test', 'bob@partner.test', 'robot@machines.test']
    const { recipients, end } = await (await client(port)).send('alice@example.test', to, message())
    expect(recipients.map(({ code }) => code)).toEqual([250, 250, 250])
    expect(end).toEqual({ code: 452, text: '4.3.1 full now' })
    expect(sinks.inbound.messages).toHaveLength(0)
    expect(sinks.outbound.messages).toHaveLength(0)
    expect(ledger.isEmpty()).toBe(true)
  })

  test('one next hop refuses RCPT when it is offered again: nobody gets anything', async () => {
    const { port, sinks, on } = await house()
    let heard = 0
    on.outbound = moment =>
      moment.verb === 'RCPT' && moment.line.includes('robot@') && heard++ > 0
        ? '550 5.1.1 gone meanwhile'
        : undefined
    const to = ['bob@partner.test', 'robot@machines.test']
    const { end } = await (await client(port)).send('alice@example.test', to, message())
    expect(end).toEqual({ code: 550, text: '5.1.1 gone meanwhile' })
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  const late: readonly [string, Action][] = [
    ['refuses for now', '451 4.3.0 later'],
    ['refuses for good', '554 5.7.1 never'],
    ['drops', { close: true, take: false }],
  ]
  test.each(late)(
    'one takes it and the other %s after its dot: 451, and the retry reaches only the other',
    async (_, action) => {
      const { port, sinks, on, ledger } = await house()
      const sent = message()
      on.outbound = at('DOT', action)
      const first = await (await client(port)).send('alice@example.test', BOTH, sent)
      expect(first.end).toEqual({
        code: 451,
        text: '4.3.0 delivered to some, try again for the others',
      })
      expect(sinks.inbound.messages).toHaveLength(1)
      expect(ledger.isEmpty()).toBe(false)

      delete on.outbound
      const second = await (await client(port)).send('alice@example.test', BOTH, sent)
      expect(second.end?.code).toBe(250)
      expect(sinks.inbound.messages).toHaveLength(1)
      expect(sinks.outbound.messages.map(it => it.forwardPaths)).toEqual([['bob@partner.test']])
      // Another message to the same people is another message.
      const third = await (await client(port)).send('alice@example.test', BOTH, message())
      expect(third.end?.code).toBe(250)
      expect(sinks.inbound.messages).toHaveLength(2)
      expect(sinks.outbound.messages).toHaveLength(2)
    },
  )

  test('both refuse after the dot: the worse reply is handed back, and nothing is noted', async () => {
    const { port, on, ledger } = await house()
    on.inbound = at('DOT', '451 4.3.0 later')
    on.outbound = at('DOT', '554 5.7.1 never')
    const { end } = await (await client(port)).send('alice@example.test', BOTH, message())
    expect(end).toEqual({ code: 554, text: '5.7.1 never' })
    expect(ledger.isEmpty()).toBe(true)
  })

  test('a next hop with two connections still gets two treatments of one message', async () => {
    const { port, sinks } = await house({ nextHop: { connections: 2, waitMs: 500 } })
    const to = ['bob@partner.test', 'robot@machines.test']
    const { end } = await (await client(port)).send('alice@example.test', to, message())
    expect(`${end?.code} ${end?.text}`).toMatch(/^250/)
    expect(sinks.outbound.messages).toHaveLength(2)
  })

  test('many messages of two treatments each do not wait for each other for ever', async () => {
    const { port, sinks } = await house({ nextHop: { connections: 4, waitMs: 3_000 } })
    const to = ['bob@partner.test', 'robot@machines.test']
    const clients = await Promise.all(Array.from({ length: 12 }, () => client(port)))
    const outcomes = await Promise.all(
      clients.map(it => it.send('alice@example.test', to, message())),
    )
    expect(outcomes.map(({ end }) => end?.code)).toEqual(outcomes.map(() => 250))
    expect(sinks.outbound.messages).toHaveLength(24)
  })
})

describe('more groups than connections', () => {
  test('go out one after the other, and each recipient gets his once', async () => {
    const { port, sinks } = await house({ nextHop: { connections: 1, waitMs: 3_000 } })
    const to = ['bob@partner.test', 'robot@machines.test']
    const { end } = await (await client(port)).send('alice@example.test', to, message())
    expect(`${end?.code} ${end?.text}`).toMatch(/^250/)
    expect(sinks.outbound.messages.flatMap(it => it.forwardPaths).toSorted()).toEqual(to)
  })

  test('where the second is refused, the retry reaches only its recipients', async () => {
    const { port, sinks, on } = await house({ nextHop: { connections: 1, waitMs: 3_000 } })
    const to = ['bob@partner.test', 'robot@machines.test']
    const sent = message()
    let dots = 0
    on.outbound = moment => (moment.verb === 'DOT' && ++dots === 2 ? '451 4.0.0 later' : undefined)
    const first = await (await client(port)).send('alice@example.test', to, sent)
    expect(first.end?.code).toBe(451)
    const second = await (await client(port)).send('alice@example.test', to, sent)
    expect(second.end?.code).toBe(250)
    expect(sinks.outbound.messages.flatMap(it => it.forwardPaths).toSorted()).toEqual(to)
  })
})

describe('a client that goes away', () => {
  test('before the dots: nothing is sent', async () => {
    const { port, sinks, on } = await house()
    const gone = await client(port)
    on.outbound = moment => {
      if (moment.verb !== 'DATA') return undefined
      gone.close()
      return { reply: '354 go on', delayMs: 200 }
    }
    await gone
      .send('alice@example.test', ['bob@partner.test', 'carol@example.test'], message())
      .catch(() => undefined)
    await settled(() => sinks.outbound.connections.every(it => !it.open))
    expect(sinks.outbound.messages).toHaveLength(0)
    expect(sinks.inbound.messages).toHaveLength(0)
  })

  test('after the dots: the retry is answered 250 and delivered to nobody', async () => {
    const { port, sinks, on, ledger } = await house()
    const sent = message()
    const gone = await client(port)
    on.outbound = moment => {
      if (moment.verb !== 'DOT') return undefined
      gone.close()
      return { reply: '250 2.0.0 taken', delayMs: 200, take: true }
    }
    await gone.send('alice@example.test', ['bob@partner.test'], sent).catch(() => undefined)
    await settled(() => !ledger.isEmpty())
    expect(sinks.outbound.messages).toHaveLength(1)
    const again = await (await client(port)).send('alice@example.test', ['bob@partner.test'], sent)
    expect(again.end?.code).toBe(250)
    expect(sinks.outbound.messages).toHaveLength(1)
  })

  test('in the middle of the content: nothing is sent', async () => {
    const { port, sinks } = await house()
    const gone = await client(port)
    await gone.say('MAIL FROM:<alice@example.test>')
    await gone.say('RCPT TO:<bob@partner.test>')
    await gone.say('DATA')
    gone.write('From: alice@example.test\r\n\r\nhalf a mess')
    gone.close()
    await settled(() => sinks.outbound.connections[0]!.commands.includes('RSET'))
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test('while it waits for a connection to the next hop: that is no fault of ours', async () => {
    const { port, sinks, told } = await house({ nextHop: { connections: 1, waitMs: 10_000 } })
    const first = await client(port)
    await first.say('MAIL FROM:<alice@example.test>')
    expect((await first.say('RCPT TO:<bob@partner.test>')).code).toBe(250)
    const gone = await client(port)
    gone.write('MAIL FROM:<alice@example.test>\r\nRCPT TO:<eve@partner.test>\r\n')
    await gone.reply()
    gone.close()
    await settled(() => told('session-end').length === 1)
    expect(told('internal-error')).toEqual([])
    expect(sinks.outbound.connections[0]!.commands.join()).not.toMatch(/eve@/)
  })

  test('a slow one does not hold the connection to the next hop', async () => {
    const { port, sinks } = await house({ nextHop: { connections: 1, waitMs: 10_000 } })
    const slow = await client(port)
    await slow.say('MAIL FROM:<alice@example.test>')
    expect((await slow.say('RCPT TO:<bob@partner.test>')).code).toBe(250)
    expect((await slow.say('DATA')).code).toBe(354)
    const quick = await (await client(port)).send(
      'alice@example.test',
      ['eve@partner.test'],
      message(),
    )
    expect(quick.end?.code).toBe(250)
    expect(sinks.outbound.messages.map(it => it.forwardPaths)).toEqual([['eve@partner.test']])
    slow.write('From: alice@example.test\r\n\r\nslow\r\n.\r\n')
    expect((await slow.reply()).code).toBe(250)
    expect(sinks.outbound.messages.map(it => it.forwardPaths)).toEqual([
      ['eve@partner.test'],
      ['bob@partner.test'],
    ])
  })
})

describe('an always that cannot be met', () => {
  const send = async (port: number, to: readonly string[]) =>
    (await client(port)).send('nobody@example.test', to, message('nobody@example.test'))

  test('reject: 550 5.7.5 that names the recipient, and nobody gets anything', async () => {
    const { port, sinks } = await house()
    const { end } = await send(port, ['robot@machines.test', 'bob@partner.test'])
    expect(`${end?.code} ${end?.text}`).toMatch(/^550 5\.7\.5 .*<?bob@partner\.test/)
    expect(end?.text).not.toContain('robot@')
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test.each([
    'alice@example.test, nobody@example.test',
    'alice@example.test\r\nFrom: nobody@example.test',
    'Team: alice@example.test;',
    'Alice\r\n \r\n <alice@example.test>',
    '"Alice" alice@example.test',
  ])('B23 nobody signs where two readers could see two authors: %j', async from => {
    const { port, sinks } = await house()
    const sender = await client(port)
    const { end } = await sender.send('alice@example.test', ['bob@partner.test'], message(from))
    expect(`${end?.code} ${end?.text}`).toMatch(/^550 5\.7\.5 /)
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test('defer: 451 4.7.5', async () => {
    const { port, sinks } = await house({ rules: [rule('o', 'always', { otherwise: 'defer' })] })
    const { end } = await send(port, ['bob@partner.test'])
    expect(`${end?.code} ${end?.text}`).toMatch(/^451 4\.7\.5 .*bob@partner\.test/)
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test('route: the other next hop gets it, with a field that it can act on', async () => {
    const rules = [rule('partners', 'always', { otherwise: { route: 'review' } })]
    const { port, sinks } = await house({ rules })
    const { end } = await send(port, ['bob@partner.test'])
    expect(end?.code).toBe(250)
    expect(sinks.outbound.messages).toHaveLength(0)
    expect(sinks.review.messages).toHaveLength(1)
    expect(sinks.review.messages[0]!.forwardPaths).toEqual(['bob@partner.test'])
    expect(below(sinks.review.messages[0]!)).toMatch(
      /^X-Postern-Unmet: sign; rule="partners"\r\nFrom:/,
    )
  })

  test('route: whatever the rule is called, the field that names it is one of ASCII', async () => {
    const name = 'Verträge "intern" \u{1F512}\u007f'
    const { port, sinks } = await house({
      rules: [rule(name, 'always', { otherwise: { route: 'review' } })],
    })
    await send(port, ['bob@partner.test'])
    const [, written] = /^X-Postern-Unmet: sign; rule=([ -~]+)\r\n/.exec(
      below(sinks.review.messages[0]!),
    )!
    expect(JSON.parse(written!)).toBe(name)
  })

  test.each([
    ['ours first', ['ann@example.test', 'bob@partner.test']],
    ['ours last', ['bob@partner.test', 'ann@example.test']],
  ])('route: by the next hop of others nobody gets what is theirs, %s', async (_, to) => {
    const rules = [rule('partners', 'always', { otherwise: { route: 'inbound' } })]
    const { port, sinks } = await house({ rules })
    const { end } = await send(port, to)
    expect(end?.code).toBe(250)
    expect(sinks.outbound.messages).toHaveLength(0)
    const taken = sinks.inbound.messages.map(
      ({ forwardPaths, octets }) => `${forwardPaths.join()} ${octets.includes('X-Postern-Unmet')}`,
    )
    expect(taken.toSorted()).toEqual(['ann@example.test false', 'bob@partner.test true'])
  })

  test('route: a next hop that refuses the recipient there has the last word', async () => {
    const rules = [rule('partners', 'always', { otherwise: { route: 'review' } })]
    const { port, sinks, on } = await house({ rules })
    on.review = at('RCPT', '550 5.7.1 not even here')
    const { end } = await send(port, ['bob@partner.test'])
    expect(end).toEqual({ code: 550, text: '5.7.1 not even here' })
    expect(sinks.review.messages).toHaveLength(0)
  })

  test('a name of a rule cannot end the field', async () => {
    const rules = [rule('a\r\nBcc: eve@x', 'always', { otherwise: { route: 'review' } })]
    const { port, sinks } = await house({ rules })
    await send(port, ['bob@partner.test'])
    expect(below(sinks.review.messages[0]!)).not.toMatch(/^Bcc:/m)
  })
})

describe('labels under an always', () => {
  const parts = (...types: string[]): string =>
    `${types.map(type => `--b\r\nContent-Type: ${type}\r\n\r\nwords\r\n`).join('')}--b--\r\n`
  const typed = (type: string, body = 'words\r\n'): Buffer =>
    message(undefined, `MIME-Version: 1.0\r\nContent-Type: ${type}\r\n`, body)
  const REPORT = 'multipart/report; report-type=delivery-status; boundary=b'
  const reportBody = parts('text/plain', 'message/delivery-status')

  test.each<[string, Buffer]>([
    ['a signature', typed('multipart/signed; boundary=b', parts('text/plain', 'text/plain'))],
    ['an encryption', typed('application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m')],
    ['S/MIME of some kind', typed('application/octet-stream; name="smime.p7m"')],
    ['OpenPGP', typed('multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b')],
    ['a report', typed(REPORT, reportBody)],
    ['two things', typed('text/plain\r\nContent-Type: application/pkcs7-mime')],
    ['a part of a message', typed('message/partial; id=x; number=1; total=2')],
  ])('a message that says it is %s, and is not, is signed', async (_, octets) => {
    const { port, sinks } = await house()
    const { end } = await (await client(port)).send(
      'alice@example.test',
      ['bob@partner.test'],
      octets,
    )
    expect(end?.code).toBe(250)
    const [taken] = sinks.outbound.messages
    expect(isSigned(taken!)).toBe(true)
    expect(await opensslVerdict(taken!.octets, made.rootFile)).toMatch(GOOD)
  })

  test('and is refused where its author has no key', async () => {
    const { port, sinks } = await house()
    const octets = Buffer.from(
      'From: nobody@example.test\r\nContent-Type: multipart/signed; boundary=b\r\n\r\nwords\r\n',
    )
    const { end } = await (await client(port)).send('', ['bob@partner.test'], octets)
    expect(`${end?.code} ${end?.text}`).toMatch(/^550 5\.7\.5/)
    expect(sinks.outbound.messages).toHaveLength(0)
  })

  test('what is signed passes byte for byte, and so does a report with the null reverse-path', async () => {
    const { port, sinks } = await house()
    const sender = await client(port)
    await sender.send('alice@example.test', ['bob@partner.test'], message())
    const signed = sinks.outbound.messages[0]!.octets
    for (const [from, octets] of [
      ['alice@example.test', signed],
      ['', typed(REPORT, reportBody)],
    ] as const) {
      expect((await sender.send(from, ['bob@partner.test'], octets)).end?.code).toBe(250)
      expect(below(sinks.outbound.messages.at(-1)!)).toBe(octets.toString('latin1'))
    }
  })

  test('where a rule signs when possible, a label is enough to be left alone', async () => {
    const { port, sinks } = await house({ rules: [rule('outbound', 'when-possible')] })
    const octets = typed('multipart/signed; boundary=b', parts('text/plain', 'text/plain'))
    await (await client(port)).send('alice@example.test', ['bob@partner.test'], octets)
    expect(below(sinks.outbound.messages[0]!)).toBe(octets.toString('latin1'))
  })
})

describe('B54 open relay', () => {
  const strangers = { relayFrom: ['192.0.2.1'], rules: [] }
  const targets: readonly [string, number][] = [
    ['<victim@elsewhere.test>', 550],
    ['<@example.test:victim@elsewhere.test>', 550],
    ['<@example.test,@other.test:victim@elsewhere.test>', 550],
    ['<victim@elsewhere.test.>', 550],
    ['<"victim@elsewhere.test"@elsewhere.test>', 550],
    ['<victim@[192.0.2.7]>', 550],
    ['<victim@sub.example.test>', 550],
    ['<victim@notexample.test>', 550],
    ['<postmaster@elsewhere.test>', 550],
    ['<carol@example.test>', 250],
    ['<carol@EXAMPLE.Test>', 250],
    ['<postmaster>', 250],
  ]

  test.each(targets)('B54 a stranger says RCPT TO:%s', async (path, code) => {
    const { port, sinks } = await house(strangers)
    const stranger = await client(port)
    await stranger.say('MAIL FROM:<alice@example.test>')
    const answer = await stranger.say(`RCPT TO:${path}`)
    // A syntax error refuses as well as a policy does.
    expect(answer.code === 250).toBe(code === 250)
    expect(answer.code === 550 ? answer.text : '5.7.1 ').toMatch(/^5\.7\.1 /)
    const heard = sinks.outbound.connections.flatMap(it => it.commands)
    expect(heard.filter(line => line.startsWith('RCPT'))).toEqual([])
  })

  const hacks = [
    '<victim%elsewhere.test@example.test>',
    '<"victim@elsewhere.test"@example.test>',
    '<elsewhere.test!victim@example.test>',
  ]
  test.each(hacks)(
    'B54 the routed local part %s goes inbound as it is, or not at all',
    async path => {
      const { port, sinks } = await house(strangers)
      const stranger = await client(port)
      await stranger.say('MAIL FROM:<alice@example.test>')
      const answer = await stranger.say(`RCPT TO:${path}`)
      const heard = sinks.inbound.connections.flatMap(it => it.commands)
      const asItWas = heard.some(line => line.startsWith(`RCPT TO:${path}`))
      expect(asItWas).toBe(answer.code === 250)
      expect(sinks.outbound.connections).toHaveLength(0)
    },
  )

  test.each(['', 'alice@example.test', 'postmaster@example.test', 'a@elsewhere.test'])(
    'B54 the reverse-path <%s> opens nothing',
    async from => {
      const { port } = await house(strangers)
      const stranger = await client(port)
      await stranger.say(`MAIL FROM:<${from}>`)
      expect((await stranger.say('RCPT TO:<victim@elsewhere.test>')).code).toBe(550)
    },
  )

  test('B54 a client in relayFrom may send outbound; a refusal does not end its transaction', async () => {
    const { port, sinks } = await house({ rules: [] })
    const { end } = await (await client(port)).send(
      'a@example.test',
      ['v@elsewhere.test'],
      message(),
    )
    expect(end?.code).toBe(250)
    expect(sinks.outbound.messages).toHaveLength(1)
  })

  test('B54 a stranger may send to us, and only to us, in one transaction', async () => {
    const { port, sinks } = await house(strangers)
    const { recipients, end } = await (await client(port)).send(
      'eve@elsewhere.test',
      ['victim@elsewhere.test', 'carol@example.test'],
      message('eve@elsewhere.test'),
    )
    expect(recipients.map(({ code }) => code)).toEqual([550, 250])
    expect(end?.code).toBe(250)
    expect(sinks.inbound.messages.map(it => it.forwardPaths)).toEqual([['carol@example.test']])
    expect(sinks.outbound.connections).toHaveLength(0)
  })
})

describe('what strangers try', () => {
  test('B56 a header flood gets 552, in octets and in fields', async () => {
    const { port, sinks } = await house()
    const one = await client(port)
    const large = message(undefined, `X-Flood: ${'y'.repeat(900)}\r\n`.repeat(130))
    expect((await one.send('', ['carol@example.test'], large)).end).toMatchObject({ code: 552 })
    const many = message(undefined, 'X: y\r\n'.repeat(1_100))
    expect((await one.send('', ['carol@example.test'], many)).end).toMatchObject({ code: 552 })
    const endless = Buffer.concat([Buffer.from('X-A: b\r\n'.repeat(200_000)), Buffer.from('\r\n')])
    expect((await one.send('', ['carol@example.test'], endless)).end).toMatchObject({ code: 552 })
    expect(sinks.inbound.messages).toHaveLength(0)
    const honest = await one.send('', ['carol@example.test'], message())
    expect(honest.end?.code).toBe(250)
  })

  test('B60 50 Received fields are a loop, 49 are a long way', async () => {
    const { port, sinks } = await house({ rules: [] })
    const hops = (count: number): Buffer =>
      message(undefined, 'Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n'.repeat(count))
    const one = await client(port)
    const looping = await one.send('', ['carol@example.test'], hops(50))
    expect(looping.end?.code).toBe(554)
    expect(looping.end?.text).toMatch(/^5\.4\.6 /)
    expect(sinks.inbound.messages).toHaveLength(0)
    expect((await one.send('', ['carol@example.test'], hops(49))).end?.code).toBe(250)
  })

  test('B61 nothing that goes wrong makes a message of ours', async () => {
    const { port, sinks, on } = await house()
    on.inbound = at('DOT', '554 5.7.1 never')
    on.outbound = at('RCPT', '550 5.1.1 who?')
    const one = await client(port)
    await one.send('victim@elsewhere.test', ['carol@example.test'], message())
    await one.send('', ['carol@example.test'], message())
    await one.say('RSET')
    await one.send('victim@elsewhere.test', ['gone@partner.test'], message())
    const commands = Object.values(sinks).flatMap(sink =>
      sink.connections.flatMap(it => it.commands),
    )
    expect(Object.values(sinks).flatMap(sink => sink.messages)).toEqual([])
    // Whatever we said as a client, a client of ours has said before.
    expect(commands.filter(line => /^RCPT/i.test(line))).toEqual([
      'RCPT TO:<carol@example.test>',
      'RCPT TO:<carol@example.test>',
      'RCPT TO:<gone@partner.test>',
    ])
  })

  test('B63 a log line is one JSON line, whatever strangers write', async () => {
    const { port, log, on } = await house()
    const hostile = '\u001b[31m\u202egnp.exe\u2028"}\\n{"event":"message"'
    const one = await client(port)
    await one.say(`EHLO evil\u001b[2J`)
    await one.say(`EHLO "}{"event":"ready"`)
    await one.say('EHLO client.test')
    await one.say(`MAIL FROM:<"${hostile}"@example.test> SMTPUTF8`)
    await one.say(`RCPT TO:<"${hostile}"@partner.test>`)
    await one.say('RSET')
    await one.say(`NONSENSE ${hostile}`)
    const from = `"${hostile}" <nobody@example.test>`
    await one.send(
      'm\u200baria@example.test',
      ['gr\u202eete@partner.test', 'carol@example.test'],
      message(from),
      ' SMTPUTF8',
    )
    await one.send(
      'n@example.test',
      ['bob@partner.test'],
      message(`${hostile} <x`, `Received: ${hostile}\r\nContent-Type: ${hostile}\r\n`),
      ' SMTPUTF8',
    )
    on.inbound = at('RCPT', `550 5.1.1 ${hostile} nobody here`)
    await one.send('n@example.test', ['carol@example.test'], message())
    expect(log.join('\n')).toContain('nobody here')
    expect(log.length).toBeGreaterThan(3)
    for (const line of log) {
      expect(JSON.parse(line)).toHaveProperty('event')
      expect(line).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f]/,
      )
      expect(Object.values(flat(JSON.parse(line)))).not.toContainEqual(
        expect.stringMatching(
          /[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e]/,
        ),
      )
    }
    expect(log.join('\n')).not.toContain('figures')
  })

  test('Postmaster without a domain is ours (RFC 5321 §4.5.1)', async () => {
    const { port, sinks } = await house({ relayFrom: [], rules: [] })
    const { recipients, end } = await (await client(port)).send(
      'a@elsewhere.test',
      ['Postmaster'],
      message(),
    )
    expect(recipients[0]?.code).toBe(250)
    expect(end?.code).toBe(250)
    expect(sinks.inbound.messages[0]!.forwardPaths[0]).toMatch(/^postmaster$/i)
  })
})

describe('a next hop that is away', () => {
  test('MAIL is accepted, RCPT says 451 4.4.1, and another direction is not touched', async () => {
    const { port, sinks } = await house({ nextHop: { failFastMs: 50 } })
    await sinks.outbound.close()
    const { recipients, end } = await (await client(port)).send(
      'alice@example.test',
      ['bob@partner.test', 'carol@example.test'],
      message(),
    )
    expect(`${recipients[0]?.code} ${recipients[0]?.text}`).toMatch(/^451 4\.4\.1/)
    expect(recipients[1]?.code).toBe(250)
    expect(end?.code).toBe(250)
    expect(sinks.inbound.messages).toHaveLength(1)
  })
})

/** All strings in a value. */
function flat(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(flat) : []
}

async function settled(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come to that')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
