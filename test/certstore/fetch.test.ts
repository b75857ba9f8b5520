/**
 * Fetching from servers that mean no good, on the loopback alone.
 *
 * @module
 */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FetchMeans, fetcher, isPublicAddress } from '../../src/certstore/fetch.ts'

const LOOPBACK: FetchMeans = {
  resolve: async () => ['127.0.0.1'],
  mayConnectTo: address => address === '127.0.0.1',
}
const WISH = { maximumOctets: 10_000, timeoutMs: 500 }
const asked: string[] = []
let server: Server
let port: number

beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(request.url!)
    PAGES[request.url!.slice(1)]!(request, response)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})

afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const PAGES: Record<string, RequestListener> = {
  small: (_, response) => response.end('list'),
  echo: (request, response) => {
    response.setHeader('X-Type', request.headers['content-type'] ?? '')
    request.pipe(response)
  },
  huge: (_, response) => {
    const more = (): void => {
      while (response.writable && response.write(Buffer.alloc(4096)));
    }
    response.on('drain', more)
    more()
  },
  announced: (_, response) => {
    response.writeHead(200, { 'Content-Length': 10_001 }).flushHeaders()
  },
  silent: () => undefined,
  slow: (_, response) => {
    const timer = setInterval(() => response.write('.'), 50)
    response.once('close', () => clearInterval(timer))
  },
  broken: (_, response) => {
    response.writeHead(200, { 'Content-Length': 100 })
    response.write('part')
    setTimeout(() => response.destroy(), 20)
  },
  missing: (_, response) => response.writeHead(404).end(),
  elsewhere: (_, response) =>
    response.writeHead(302, { Location: `http://127.0.0.1:${port}/secret` }).end(),
  secret: (_, response) => response.end('secret'),
}

describe('what is fetched', () => {
  test('a body, from the address that was resolved', async () => {
    expect((await fetcher(LOOPBACK)(at('small'), WISH)).toString()).toBe('list')
  })

  test('the answer to a body', async () => {
    const body = { mediaType: 'application/ocsp-request', octets: Buffer.from('question') }
    expect((await fetcher(LOOPBACK)(at('echo'), { ...WISH, body })).toString()).toBe('question')
  })
})

describe('B41 R10 what is not', () => {
  test.each([
    ['ERR_FETCH_TOO_LARGE', 'huge'],
    ['ERR_FETCH_TOO_LARGE', 'announced'],
    ['ERR_FETCH_TIMEOUT', 'silent'],
    ['ERR_FETCH_TIMEOUT', 'slow'],
    ['ERR_FETCH_FAILED', 'broken'],
    ['ERR_FETCH_STATUS', 'missing'],
    ['ERR_FETCH_REDIRECT', 'elsewhere'],
  ])('%s: %s', async (code, page) => {
    const started = performance.now()
    await expect(fetcher(LOOPBACK)(at(page), WISH)).rejects.toMatchObject({ code })
    expect(performance.now() - started).toBeLessThan(1500)
    expect(asked).not.toContain('/secret')
  })

  test.each([
    'ftp://crl.example.test/list',
    'file:///etc/passwd',
    'ldap://ldap.example.test/cn=list',
    'gopher://crl.example.test/',
    'http://user:password@crl.example.test/list',
    'crl.example.test/list',
    '',
  ])('B41 %s', async url => {
    const resolve = async (): Promise<string[]> => {
      throw new Error('nobody should have asked')
    }
    await expect(fetcher({ resolve })(url, WISH)).rejects.toMatchObject({
      code: 'ERR_FETCH_FORBIDDEN',
    })
  })

  test.each([
    ...['127.0.0.1', '10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1'],
    ...['0.0.0.0', '255.255.255.255', '224.0.0.1', '::1', '::', 'fe80::1', 'fc00::1', 'ff02::1'],
    ...['::ffff:127.0.0.1', '::ffff:10.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::', '2001:db8::1'],
  ])('B41 nothing is sent to %s', async address => {
    expect(isPublicAddress(address)).toBe(false)
    const before = asked.length
    const byName = fetcher({ resolve: async () => [address] })
    const byAddress = fetcher()
    const literal = address.includes(':') ? `[${address}]` : address
    for (const fetching of [
      byName(at('small'), WISH),
      byAddress(`http://${literal}:${port}/small`, WISH),
    ])
      await expect(fetching).rejects.toMatchObject({ code: 'ERR_FETCH_FORBIDDEN' })
    expect(asked.length).toBe(before)
  })

  test('B41 other spellings of 127.0.0.1', async () => {
    for (const host of ['2130706433', '0x7f.1', '0177.0.0.1', '127.1', '[::ffff:7f00:1]'])
      await expect(fetcher()(`http://${host}:${port}/small`, WISH)).rejects.toMatchObject({
        code: 'ERR_FETCH_FORBIDDEN',
      })
  })

  test('B41 one private address among public ones speaks against all', async () => {
    const resolve = async (): Promise<string[]> => ['93.184.216.34', '10.0.0.1']
    await expect(fetcher({ resolve })(at('small'), WISH)).rejects.toMatchObject({
      code: 'ERR_FETCH_FORBIDDEN',
    })
  })

  test('public addresses are', () => {
    for (const address of ['93.184.216.34', '8.8.8.8', '2606:2800:220:1:248:1893:25c8:1946'])
      expect(isPublicAddress(address)).toBe(true)
  })

  test('R10 a resolver that is down or never answers', async () => {
    const down = fetcher({ resolve: () => Promise.reject(new Error('SERVFAIL')) })
    await expect(down(at('small'), WISH)).rejects.toMatchObject({ code: 'ERR_FETCH_FAILED' })
    const silent = fetcher({ resolve: () => new Promise(() => undefined) })
    await expect(silent(at('small'), WISH)).rejects.toMatchObject({ code: 'ERR_FETCH_TIMEOUT' })
  })

  test('R10 nobody listens', async () => {
    const closed = createServer()
    await new Promise<void>(resolve => closed.listen(0, '127.0.0.1', resolve))
    const { port: free } = closed.address() as AddressInfo
    await new Promise(resolve => closed.close(resolve))
    const fetching = fetcher(LOOPBACK)(`http://crl.example.test:${free}/`, WISH)
    await expect(fetching).rejects.toMatchObject({ code: 'ERR_FETCH_FAILED' })
  })

  test('B41 a third one to the same host at the same time', async () => {
    const fetch = fetcher(LOOPBACK)
    const first = [fetch(at('silent'), WISH), fetch(at('silent'), WISH)]
    await expect(fetch(at('small'), WISH)).rejects.toMatchObject({ code: 'ERR_FETCH_BUSY' })
    await Promise.allSettled(first)
    expect((await fetch(at('small'), WISH)).toString()).toBe('list')
  })

  test('when the caller gives up', async () => {
    const signal = AbortSignal.timeout(50)
    const started = performance.now()
    const fetching = fetcher(LOOPBACK)(at('silent'), { ...WISH, timeoutMs: 5000, signal })
    await expect(fetching).rejects.toMatchObject({ code: 'ERR_FETCH_TIMEOUT' })
    expect(performance.now() - started).toBeLessThan(1000)
    const late = fetcher(LOOPBACK)(at('small'), { ...WISH, signal })
    await expect(late).rejects.toMatchObject({ code: 'ERR_FETCH_TIMEOUT' })
  })
})

function at(page: string): string {
  return `http://crl.example.test:${port}/${page}`
}
