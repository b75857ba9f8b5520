import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type HttpOptions, openHttp, urlFor } from '../../src/certstore/http.ts'
import { CertificateSourceUnavailable } from '../../src/certstore/resolver.ts'
import { certificatePem, type Issued } from '../../src/crypto/x509/issue.ts'
import { makeAuthority } from '../smtp/certificates.ts'
import { box, certsOnly, NEVER, person, temporaryFolder } from './people.ts'

const authority = makeAuthority()
let ann: Issued
let mallory: Issued
beforeAll(async () => {
  ann = await person('ann@partner.test')
  mallory = await person('mallory@partner.test')
})

async function portal(answer: RequestListener, options: Partial<HttpOptions> = {}) {
  const asked: string[] = []
  const { key, cert } = authority.issue({ names: ['127.0.0.1'] })
  const server = createServer({ key, cert }, (request, response) => {
    asked.push(request.url!)
    answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ca = join(await temporaryFolder(), 'ca.pem')
  await writeFile(ca, authority.ca)
  const { port } = server.address() as AddressInfo
  const url = `https://127.0.0.1:${port}/c/{address}`
  const source = openHttp({ url, ca, timeoutMs: 300, name: 'http:test', ...options })
  onTestFinished(() => {
    source.close?.()
    server.closeAllConnections()
    server.close()
  })
  return { source, asked }
}

const find = async (
  source: Awaited<ReturnType<typeof portal>>['source'],
  address = 'ann@partner.test',
) => (await source.find(box(address), NEVER)).map(({ certificate }) => certificate.addresses.join())

async function silence(
  source: Parameters<typeof find>[0],
  address = 'ann@partner.test',
): Promise<string> {
  const error: unknown = await find(source, address).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(CertificateSourceUnavailable)
  return String((error as Error).cause)
}

describe('a portal', () => {
  test('PEM, DER and PKCS #7; 404 and 410 are none', async () => {
    const bodies: Record<string, [number, Buffer | string]> = {
      pem: [200, certificatePem(ann.der)],
      der: [200, ann.der],
      p7: [200, certsOnly(mallory.der, ann.der)],
      none: [404, 'no'],
      gone: [410, ''],
    }
    for (const [status, body] of Object.values(bodies)) {
      const { source, asked } = await portal((_, response) => response.writeHead(status).end(body))
      expect(await find(source)).toEqual(status === 200 ? ['ann@partner.test'] : [])
      expect(asked).toEqual(['/c/ann%40partner.test'])
    }
  })

  test.each<[string, RequestListener, string]>([
    ['an error', (_, response) => response.writeHead(500).end(), 'answers 500'],
    [
      'a redirect, which is not followed',
      (_, response) => response.writeHead(302, { location: '/' }).end(),
      'answers 302',
    ],
    ["somebody else's certificate", (_, response) => response.end(mallory.der), "somebody else's"],
    ['a web page', (_, response) => response.end('<html>'), 'no known format'],
    ['an empty answer', (_, response) => response.end(), 'no known format'],
    ['an endless answer', (_, response) => void response.end(Buffer.alloc(300_000)), 'too long'],
    ['silence', () => {}, 'abort'],
    ['a closed connection', request => void request.socket.destroy(), 'Error'],
  ])('silence: %s', async (_, answer, reason) => {
    const { source } = await portal(answer)
    const began = performance.now()
    expect(await silence(source)).toContain(reason)
    expect(performance.now() - began).toBeLessThan(600)
  })

  test('its certificate is verified', async () => {
    const other = join(await temporaryFolder(), 'other.pem')
    await writeFile(other, makeAuthority().ca)
    const { source, asked } = await portal((_, response) => response.end(ann.der), { ca: other })
    expect(await silence(source)).toMatch(/signature|verify|self.signed|issuer/i)
    expect(asked).toEqual([])
  })

  test('five failures open the breaker', async () => {
    const { source, asked } = await portal((_, response) => response.writeHead(503).end())
    for (let turn = 0; turn < 8; turn++) await silence(source)
    expect(asked).toHaveLength(5)
  })

  test('what is about one address, and clients that have gone, do not open it', async () => {
    const { source, asked } = await portal((request, response) => {
      if (request.url!.includes('long')) response.end(Buffer.alloc(300_000))
      else if (request.url!.includes('ann')) response.end(ann.der)
      else response.writeHead(403).end()
    })
    for (let turn = 0; turn < 4; turn++) await silence(source, 'bob@partner.test')
    for (let turn = 0; turn < 4; turn++) await silence(source, 'long@partner.test')
    for (let turn = 0; turn < 6; turn++) {
      const soon = AbortSignal.timeout(0)
      await source.find(box('bob@partner.test'), soon).catch(() => {})
    }
    expect(await find(source, 'ann@partner.test')).toEqual(['ann@partner.test'])
    expect(asked.length).toBeGreaterThanOrEqual(9)
  })

  test('an address stays in its place', async () => {
    const at = (template: string, address: string) => urlFor(template, box(address))
    expect(at('https://x.test/{localPart}/{domain}', '"a/../b?c#d"@Partner.test')).toBe(
      'https://x.test/a%2F..%2Fb%3Fc%23d/partner.test',
    )
    expect(at('https://x.test/{hash}', 'ANN@partner.test')).toBe(
      at('https://x.test/{hash}', 'ann@partner.test'),
    )
    const { source, asked } = await portal((_, response) => response.end(ann.der))
    expect(await find(source, '".."@partner.test')).toEqual([])
    expect(asked).toEqual([])
  })
})
