import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { cached } from '../../src/certstore/cache.ts'
import { type LdapOptions, openLdap } from '../../src/certstore/ldap.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import type { Issued } from '../../src/crypto/x509/issue.ts'
import { makeAuthority } from '../smtp/certificates.ts'
import { type Directory, type DirectoryEntry, slapd, startDirectory } from '../support/slapd.ts'
import { box, ca, certsOnly, NEVER, NOW, person, temporaryFolder } from './people.ts'

const authority = makeAuthority()
const people: Record<string, Issued> = {}
let directory: Directory

beforeAll(async () => {
  for (const name of ['ann', 'bob', 'cid', 'dora', 'mallory'])
    people[name] = await person(`${name}@partner.test`)
  people['old'] = await person('smith@partner.test', { notAfter: new Date('2026-01-01') })
  people['nobody'] = await person([])
  if (slapd.missing) return
  const tls = { ...authority.issue({ names: ['127.0.0.1', 'ldap.test'] }), ca: authority.ca }
  directory = await startDirectory(await entries(), { tls })
})
afterAll(() => directory?.remove())

const der = (name: string) => people[name]!.der

async function entries(): Promise<DirectoryEntry[]> {
  return [
    { mail: ['Ann@Partner.test'], userCertificate: [der('ann')] },
    { mail: ['bob@partner.test'], userSMIMECertificate: [certsOnly(der('bob'), (await ca()).der)] },
    {
      mail: ['cid@partner.test'],
      userCertificate: [der('cid'), (await person('cid@partner.test')).der],
      userSMIMECertificate: [certsOnly(der('cid'))],
    },
    {
      mail: ['d@partner.test'],
      proxyAddresses: ['SMTP:d@partner.test', 'smtp:dora@partner.test'],
      userCertificate: [der('dora')],
    },
    { mail: ['lied@partner.test'], userCertificate: [der('mallory')] },
    {
      mail: ['half@partner.test'],
      userCertificate: [der('mallory'), (await person('half@partner.test')).der],
    },
    { mail: ['renamed@partner.test'], userCertificate: [der('old')] },
    { mail: ['logon@partner.test'], userCertificate: [der('nobody')] },
    { mail: ['none@partner.test'] },
    { mail: ['damaged@partner.test'], userSMIMECertificate: [Buffer.from('300401020304', 'hex')] },
    ...Array.from({ length: 40 }, () => ({ mail: ['crowd@partner.test'] })),
  ]
}

function open(options: Partial<LdapOptions> = {}) {
  const source = openLdap({
    urls: [directory?.url],
    base: 'dc=partner,dc=test',
    name: 'ldap:test',
    clock: () => NOW.getTime(),
    ...options,
  })
  onTestFinished(() => source.close?.())
  return source
}

type Source = ReturnType<typeof open>

async function find(source: Source, address: string) {
  const found = await source.find(box(address), NEVER)
  return found.map(({ certificate }) => certificate.addresses.join())
}

/** What a source holds that is silent all the same, and why it is. */
async function doubted(source: Source, address: string) {
  const error: unknown = await source.find(box(address), NEVER).catch((thrown: unknown) => thrown)
  if (!(error instanceof CertificateSourceUnavailable)) throw new Error('it has answered')
  return {
    addresses: error.partial.map(({ certificate }) => certificate.addresses.join()),
    reason: String(error.cause),
  }
}

/** Why a source is silent, and how it says so. */
async function silence(source: Source, address: string): Promise<string> {
  const error: unknown = await find(source, address).then(
    found => new Error(`found ${found.length}`),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(CertificateSourceUnavailable)
  expect(error).toMatchObject({ message: 'no answer from ldap:test', persistence: 'transient' })
  return String((error as Error).cause)
}

const withSlapd = slapd.missing ? `, skipped: ${slapd.missing}` : ''

describe.skipIf(slapd.missing)(`a real slapd${withSlapd}`, () => {
  test('userCertificate;binary and userSMIMECertificate, each once', async () => {
    const source = open()
    expect(await find(source, 'ANN@partner.test')).toEqual(['ann@partner.test'])
    expect(await find(source, 'bob@partner.test')).toEqual(['bob@partner.test'])
    expect(await find(source, 'cid@partner.test')).toHaveLength(2)
    const [found] = await source.find(box('ann@partner.test'), NEVER)
    expect(found).toMatchObject({ source: 'ldap:test', via: 'address' })
    expect([...source.intermediates!()].map(({ subjectText }) => subjectText)).toEqual([
      'CN=Test Authority',
    ])
  })

  test('proxyAddresses of Active Directory, and the attribute that is asked for', async () => {
    expect(await find(open(), 'dora@partner.test')).toEqual(['dora@partner.test'])
    expect(await find(open({ match: ['mail'] }), 'dora@partner.test')).toEqual([])
    // The alias is known, and the certificate bears another address of the same person.
    expect(await find(open(), 'd@partner.test')).toEqual([])
  })

  test('none is none: nobody, no certificate, one without address, one that is over', async () => {
    const source = open()
    for (const name of ['stranger', 'none', 'logon', 'renamed'])
      expect(await find(source, `${name}@partner.test`)).toEqual([])
  })

  test("B46 R9 somebody else's certificate is never handed out, and is no none", async () => {
    const source = open()
    expect(await silence(source, 'lied@partner.test')).toContain("somebody else's certificate")
    // Her own among others': of use if it is valid, and no proof that there is no better one.
    const half = await doubted(source, 'half@partner.test')
    expect(half).toMatchObject({ addresses: ['half@partner.test'] })
    expect(half.reason).toContain("somebody else's certificate")
  })

  test('B46 B69 an answer that the server has cut off is no none', async () => {
    const stranger = { mail: ['crowd@partner.test', 'other@partner.test'] }
    const own = {
      mail: ['crowd@partner.test'],
      userCertificate: [(await person('crowd@partner.test')).der],
    }
    const strict = await startDirectory(
      [own, ...Array.from({ length: 7 }, () => stranger), { mail: ['ann@partner.test'] }],
      { sizeLimit: 5 },
    )
    onTestFinished(() => strict.remove())
    const source = open({ urls: [strict.url] })
    expect(await silence(source, 'other@partner.test')).toContain('cut its answer off')
    const crowd = await doubted(source, 'crowd@partner.test')
    expect(crowd).toMatchObject({ addresses: ['crowd@partner.test'] })
    expect(crowd.reason).toContain('cut its answer off')
    // Nobody is looked for in vain because others are many, and the breaker stays closed.
    for (let turn = 0; turn < 6; turn++) await silence(source, 'other@partner.test')
    expect(await find(source, 'ann@partner.test')).toEqual([])
  })

  test('B46 B69 an answer that refers to another server is no none, and nobody is asked there', async () => {
    let asked = 0
    const elsewhere = await server(() => void asked++)
    const forest = await startDirectory(
      [{ mail: ['ann@partner.test'], userCertificate: [der('ann')] }],
      { references: [`${elsewhere.url}/dc=child,dc=partner,dc=test`] },
    )
    onTestFinished(() => forest.remove())
    const source = open({ urls: [forest.url] })
    expect(await silence(source, 'nobody@partner.test')).toContain(`refers to ${elsewhere.url}`)
    expect(await doubted(source, 'ann@partner.test')).toMatchObject({
      addresses: ['ann@partner.test'],
    })
    expect(asked).toBe(0)
  })

  test('the parts of Active Directory that hold no people are not missed', async () => {
    const references = [
      'ldap://ForestDnsZones.partner.test/DC=ForestDnsZones,DC=partner,DC=test',
      'ldap://DomainDnsZones.partner.test/DC=DomainDnsZones,DC=partner,DC=test',
      'ldap://partner.test/CN=Configuration,DC=partner,DC=test',
    ]
    const domain = await startDirectory([{ mail: ['ann@partner.test'] }], { references })
    onTestFinished(() => domain.remove())
    expect(await find(open({ urls: [domain.url] }), 'nobody@partner.test')).toEqual([])
  })

  test('B32 a domain is looked for as A-labels and as U-labels', async () => {
    const address = 'ann@xn--mnchen-3ya.test'
    const own = (await person(address)).der
    const spelt = await startDirectory([
      {
        mail: ['x@partner.test'],
        proxyAddresses: ['smtp:ann@m\u00fcnchen.test'],
        userCertificate: [own],
      },
      {
        mail: ['bob@xn--mnchen-3ya.test'],
        userCertificate: [(await person('bob@xn--mnchen-3ya.test')).der],
      },
    ])
    onTestFinished(() => spelt.remove())
    const source = open({ urls: [spelt.url] })
    expect(await find(source, address)).toEqual([address])
    expect(await find(source, 'bob@xn--mnchen-3ya.test')).toHaveLength(1)
  })

  test('R9 an entry that is too large, and clients that have gone, do not trip the breaker', async () => {
    const huge = Array.from({ length: 5 }, (_, at) => Buffer.alloc(1_000_000, at))
    const own = await startDirectory([
      { mail: ['huge@partner.test'], userSMIMECertificate: huge },
      { mail: ['ann@partner.test'], userCertificate: [der('ann')] },
    ])
    onTestFinished(() => own.remove())
    const source = open({ urls: [own.url] })
    for (let turn = 0; turn < 6; turn++)
      expect(await silence(source, 'huge@partner.test')).toContain('too long an answer')
    const gone = AbortSignal.abort(new Error('gone'))
    for (let turn = 0; turn < 6; turn++)
      await expect(source.find(box('ann@partner.test'), gone)).rejects.toThrow('no answer')
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
  })

  test('R9 what cannot be read, and a crowd for one address, are no none', async () => {
    const source = open()
    expect(await silence(source, 'damaged@partner.test')).toContain('DER is malformed')
    expect(await silence(source, 'crowd@partner.test')).toContain('too many entries')
  })

  test('B46 injection: an address is a value, whatever it is made of', async () => {
    const source = open()
    for (const localPart of [
      '*',
      'a*',
      '*)(mail=*',
      ')(objectClass=*',
      '\\2a',
      'ann)(uid=*',
      '&|!=',
    ])
      for (const address of [`"${localPart.replace(/[\\"]/g, '\\$&')}"@partner.test`])
        expect(await find(source, address)).toEqual([])
  })

  test('bind: with the password, and not without', async () => {
    const closed = await startDirectory(
      [{ mail: ['ann@partner.test'], userCertificate: [der('ann')] }],
      {
        bindOnly: true,
      },
    )
    onTestFinished(() => closed.remove())
    const { user, password } = closed
    const at = { urls: [closed.url] }
    expect(await find(open({ ...at, user, password }), 'ann@partner.test')).toHaveLength(1)
    expect(await silence(open(at), 'ann@partner.test')).toMatch(/authentication required/i)
    expect(await silence(open({ ...at, user, password: 'wrong' }), 'ann@partner.test')).toMatch(
      /credentials/i,
    )
  })

  test('B69 a user without a password is not asked for as nobody: that may be shown less', async () => {
    const user = 'cn=reader,dc=partner,dc=test'
    for (const password of [undefined, ''])
      expect(await silence(open({ user, password }), 'none@partner.test')).toMatch(/password/)
  })

  test('B46 ldaps and StartTLS are verified', async () => {
    const folder = await temporaryFolder()
    const [ours, other] = [join(folder, 'ca.pem'), join(folder, 'other.pem')]
    await writeFile(ours, authority.ca)
    await writeFile(other, makeAuthority().ca)
    for (const access of [{ urls: [directory.secureUrl] }, { startTls: true }]) {
      expect(await find(open({ ...access, ca: ours }), 'ann@partner.test')).toHaveLength(1)
      expect(
        await find(open({ ...access, ca: ours, tlsName: 'ldap.test' }), 'ann@partner.test'),
      ).toHaveLength(1)
      expect(await silence(open(access), 'ann@partner.test')).toMatch(/self.signed|verify|issuer/i)
      expect(await silence(open({ ...access, ca: other }), 'ann@partner.test')).toMatch(
        /signature|verify|self.signed|issuer/i,
      )
      expect(
        await silence(open({ ...access, ca: ours, tlsName: 'evil.test' }), 'ann@partner.test'),
      ).toMatch(/does not match/)
    }
  })

  test('StartTLS is not forgotten when the connection breaks', async () => {
    const folder = await temporaryFolder()
    const ca = join(folder, 'ca.pem')
    await writeFile(ca, authority.ca)
    const tls = { ...authority.issue({ names: ['127.0.0.1'] }), ca: authority.ca }
    const strict = await startDirectory(
      [{ mail: ['ann@partner.test'], userCertificate: [der('ann')] }],
      { tls, requireTls: true },
    )
    onTestFinished(() => strict.remove())
    const source = open({ urls: [strict.url], startTls: true, ca })
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    await strict.stop()
    await strict.start()
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    expect(await silence(open({ urls: [strict.url] }), 'ann@partner.test')).toMatch(
      /confidentiality|TLS/i,
    )
  })

  test('R9 stopped: refused at once, deferred, back when it is back', async () => {
    const own = await startDirectory([
      { mail: ['ann@partner.test'], userCertificate: [der('ann')] },
    ])
    onTestFinished(() => own.remove())
    const source = open({ urls: [own.url], breaker: { pauseMs: 50 } })
    const memory = cached(source, { positiveMs: 1, clock: () => performance.now() })
    expect(await find(memory, 'ann@partner.test')).toHaveLength(1)
    await own.stop()
    await sleep(5)
    const began = performance.now()
    for (let turn = 0; turn < 10; turn++)
      expect(await find(memory, 'ann@partner.test')).toHaveLength(1)
    expect(await silence(source, 'bob@partner.test')).toContain('too many failures')
    expect(performance.now() - began).toBeLessThan(1000)
    expect(memory.counters.stale).toBe(10)
    await own.start()
    await sleep(60)
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
  })

  test('R9 frozen in the middle: 2 s, breaker after 5, then at once', async () => {
    const own = await startDirectory([
      { mail: ['ann@partner.test'], userCertificate: [der('ann')] },
    ])
    onTestFinished(() => own.remove())
    const source = open({ urls: [own.url], breaker: { pauseMs: 100 } })
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    own.pause()
    // All of its threads have to come to rest.
    await sleep(50)
    const began = performance.now()
    const all = await Promise.all(
      Array.from({ length: 5 }, (_, number) => silence(source, `x${number}@partner.test`)),
    )
    const lasted = performance.now() - began
    expect(all.every(reason => /no answer in|closed/.test(reason))).toBe(true)
    expect(lasted).toBeGreaterThan(1900)
    expect(lasted).toBeLessThan(2500)
    const again = performance.now()
    expect(await silence(source, 'ann@partner.test')).toContain('too many failures')
    expect(performance.now() - again).toBeLessThan(50)
    own.resume()
    await sleep(120)
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
  })

  test('several servers: one that is silent costs its share once, then the other is asked', async () => {
    const silent = await server(() => {})
    const source = open({ urls: [silent.url, directory.url], timeoutMs: 600 })
    const began = performance.now()
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    expect(performance.now() - began).toBeLessThan(600)
    const again = performance.now()
    expect(await find(source, 'bob@partner.test')).toHaveLength(1)
    expect(performance.now() - again).toBeLessThan(200)
    expect(silent.connections()).toBe(1)
  })

  test('one connection for all, kept', async () => {
    const { port } = new URL(directory.url)
    const proxy = await server(socket => {
      const onward = connect(Number(port), '127.0.0.1')
      socket.pipe(onward).pipe(socket)
      onward.on('error', () => {})
      socket.on('close', () => onward.destroy())
    })
    const source = open({ urls: [proxy.url] })
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, number) =>
        find(source, `${['ann', 'bob', 'cid'][number % 3]}@partner.test`),
      ),
    )
    expect(answers.every(found => found.length > 0)).toBe(true)
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    expect(proxy.connections()).toBe(1)
    expect(proxy.open()).toBe(1)
    source.close?.()
    await sleep(20)
    expect(proxy.open()).toBe(0)
  })

  test('a kept connection that the server gives up in the middle is no failure yet', async () => {
    const { port } = new URL(directory.url)
    const proxy = await server(socket => {
      const onward = connect(Number(port), '127.0.0.1')
      const first = proxy.connections() === 1
      let questions = 0
      socket.on('data', octets => {
        questions++
        if (first && questions === 2) socket.destroy()
        else onward.write(octets)
      })
      onward.pipe(socket)
      onward.on('error', () => {})
      socket.on('close', () => onward.destroy())
    })
    const source = open({ urls: [proxy.url] })
    expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    expect(await find(source, 'bob@partner.test')).toHaveLength(1)
    expect(proxy.connections()).toBe(2)
  })

  test('R9 10,000 entries', async () => {
    const one = der('ann')
    const many = function* () {
      for (let number = 0; number < 10_000; number++)
        yield { mail: [`u${number}@partner.test`], userCertificate: [one] }
      const proxyAddresses = ['smtp:ann@partner.test']
      yield { mail: ['ann@partner.test'], proxyAddresses, userCertificate: [one] }
    }
    const large = await startDirectory(many())
    onTestFinished(() => large.remove())
    const source = open({ urls: [large.url] })
    await find(source, 'ann@partner.test')
    const began = performance.now()
    for (let turn = 0; turn < 100; turn++)
      expect(await find(source, 'ann@partner.test')).toHaveLength(1)
    const each = (performance.now() - began) / 100
    const flood = performance.now()
    await Promise.all(
      Array.from({ length: 1000 }, (_, number) => find(source, `nobody${number}@partner.test`)),
    )
    const multiplexed = 1000 / ((performance.now() - flood) / 1000)
    console.log(
      `10,000 entries: ${each.toFixed(2)} ms a lookup, ${Math.round(multiplexed)} a second multiplexed`,
    )
    expect(each).toBeLessThan(100)
  })
})

describe('servers that misbehave', () => {
  const timeoutMs = 300

  test('R9 refused, silent, closing, garbage: silence, in time', async () => {
    const misbehaviour: Record<string, (socket: Socket) => void> = {
      silent: () => {},
      closing: socket => socket.destroy(),
      garbage: socket => socket.end('HTTP/1.0 400 Bad Request\r\n\r\n'),
      'endless garbage': socket => {
        const timer = setInterval(() => socket.write(Buffer.alloc(65_536, 0x30)), 1)
        socket.on('close', () => clearInterval(timer))
      },
      'answers that nobody asked for': socket => {
        const answer = Buffer.from('300c020163650a0a0100040004000000', 'hex').subarray(0, 14)
        socket.write(Buffer.concat(Array.from({ length: 20_000 }, () => answer)))
      },
      'a length of a gigabyte': socket => socket.write(Buffer.from('30844000000002', 'hex')),
    }
    for (const behave of Object.values(misbehaviour)) {
      const { url } = await server(behave)
      const source = open({ urls: [url], timeoutMs })
      const began = performance.now()
      expect(await silence(source, 'ann@partner.test')).toContain('Error')
      expect(performance.now() - began).toBeLessThan(timeoutMs + 200)
    }
    const source = open({ urls: ['ldap://127.0.0.1:1'], timeoutMs })
    expect(await silence(source, 'ann@partner.test')).toContain('ECONNREFUSED')
  })

  test('R9 an endless answer is cut off long before its time is over', async () => {
    const { url } = await server(socket => {
      const part = Buffer.alloc(262_144, 0x30)
      part.write('30847fffffff', 'hex')
      const more = () => void socket.write(part, error => void (error ?? more()))
      more()
    })
    const began = performance.now()
    expect(await silence(open({ urls: [url], timeoutMs: 8000 }), 'ann@partner.test')).toContain(
      'closed',
    )
    expect(performance.now() - began).toBeLessThan(4000)
  })

  test('R9 slow: an answer after 5 s is an answer too late', async () => {
    const { url } = await server(socket => {
      const timer = setTimeout(() => socket.write(DONE), 5000)
      socket.on('close', () => clearTimeout(timer))
    })
    const began = performance.now()
    expect(await silence(open({ urls: [url] }), 'ann@partner.test')).toContain(
      'no answer in 2000 ms',
    )
    const lasted = performance.now() - began
    expect(lasted).toBeGreaterThan(1950)
    expect(lasted).toBeLessThan(2400)
  })

  test('B46 referrals are not followed', async () => {
    let asked = 0
    const elsewhere = await server(() => void asked++)
    const { url } = await server(socket => {
      socket.once('data', () => {
        const target = Buffer.from(`${elsewhere.url}/dc=x`)
        // searchResDone with resultCode referral (10) and one URI (RFC 4511 §4.1.10)
        const referral = tlv(0xa3, tlv(0x04, target))
        const result = tlv(0x65, Buffer.from('0a010a04000400', 'hex'), referral)
        socket.write(tlv(0x30, Buffer.from('020102', 'hex'), result))
      })
    })
    expect(await silence(open({ urls: [url], timeoutMs }), 'ann@partner.test')).toContain('Error')
    await sleep(50)
    expect(asked).toBe(0)
  })

  test('a client that is gone does not wait', async () => {
    const { url } = await server(() => {})
    const gone = new AbortController()
    const question = open({ urls: [url], timeoutMs }).find(box('a@b.test'), gone.signal)
    gone.abort()
    await expect(question).rejects.toThrow(CertificateSourceUnavailable)
  })
})

const tlv = (tag: number, ...contents: Buffer[]) => {
  const content = Buffer.concat(contents)
  return Buffer.concat([Buffer.from([tag, content.length]), content])
}
/** searchResDone, success, for the first message. */
const DONE = tlv(
  0x30,
  Buffer.from('020102', 'hex'),
  tlv(0x65, Buffer.from('0a010004000400', 'hex')),
)

async function server(behave: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  let connections = 0
  const listener = createServer(socket => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', () => {})
    behave(socket)
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  const { port } = listener.address() as AddressInfo
  return {
    url: `ldap://127.0.0.1:${port}`,
    connections: () => connections,
    open: () => sockets.size,
  }
}
