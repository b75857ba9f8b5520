/**
 * R21: signed messages of many shapes go through the gateway, in and out, and still verify behind it.
 *
 * `MESSAGES=10000 SEED=7 npx vitest run test/trials/fidelity.test.ts` tries longer.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Identities } from '../../src/certstore/identities.ts'
import { rule, startHouse, type TestHouse } from '../gateway/house.ts'
import { TestClient } from '../support/client.ts'
import { temporaryFolder } from '../support/gateway-process.ts'
import { inboundRule, messageAround } from '../support/inbound.ts'
import { askOpenssl, type Openssl } from '../support/openssl-cms.ts'
import { chance, seedOfRun } from './random.ts'
import { shape } from './shapes.ts'
import { makePeople, noOpenssl, type People } from './signatures.ts'

const MESSAGES = Number(process.env['MESSAGES'] ?? 200)
const RECIPIENTS = ['bob@example.test', 'dora@elsewhere.test']
const skipped = noOpenssl ? ` (skipped: ${noOpenssl})` : ''

describe.skipIf(noOpenssl)(`R21 signed messages${skipped}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let people: People
  let openssl: Openssl
  let house: TestHouse

  beforeAll(async () => {
    folder = await temporaryFolder('fidelity')
    people = await makePeople(folder.path)
    openssl = await askOpenssl(people.rootFile)
    house = await startHouse({
      identities: new Identities([]),
      rules: [inboundRule(), rule('outbound', 'when-possible')],
      anchors: [people.root],
    })
  })
  afterAll(async () => {
    openssl?.close()
    people?.close()
    await house?.close()
    await folder?.remove()
  })

  test(`R21 ${MESSAGES} of many shapes verify behind the gateway, octet for octet`, {
    timeout: 60_000 + MESSAGES * 100,
  }, async () => {
    const seed = seedOfRun()
    const begun = performance.now()
    let client = await TestClient.open(house.port)
    const faults: string[] = []
    const verdicts = new Map<string, number>()
    for (let nth = 0; nth < MESSAGES; nth++) {
      if (nth % 50 === 49) {
        client.close()
        client = await TestClient.open(house.port)
      }
      const random = chance(seed, nth)
      const way = random.below(20) === 0 ? random.pick(people.ways) : random.pick(ours(people))
      const entity = shape(random, way.form === 'opaque' && random.below(3) === 0)
      const message = messageAround(await way.sign(entity))
      const outcome = await client.send('ann@partner.test', RECIPIENTS, message)
      const [inbound] = house.sinks.inbound.messages.splice(0)
      const [outbound] = house.sinks.outbound.messages.splice(0)
      for (const copy of [inbound, outbound]) {
        const octets = copy?.octets ?? Buffer.alloc(0)
        const isWhole = octets.subarray(-message.length).equals(message)
        const { verdict } = await openssl.verify(octets)
        if (outcome.end?.code !== 250 || !isWhole || verdict !== 'good')
          faults.push(`${nth} ${way.name}: ${outcome.end?.code} ${isWhole} ${verdict}`)
      }
      const said = /smime=(\w+)/.exec(inbound?.octets.toString('latin1', 0, 400) ?? '')?.[1] ?? ''
      verdicts.set(said, (verdicts.get(said) ?? 0) + 1)
    }
    client.close()
    const seconds = ((performance.now() - begun) / 1000).toFixed(1)
    const told = [...verdicts].map(([said, count]) => `${count} ${said}`).join(', ')
    console.log(
      `SEED=${seed} MESSAGES=${MESSAGES}: ${2 * MESSAGES} copies in ${seconds} s; ${told}`,
    )
    expect({ seed, faults: faults.slice(0, 5) }).toEqual({ seed, faults: [] })
    expect(verdicts.get('pass') ?? 0).toBeGreaterThan(MESSAGES / 2)
  })
})

function ours({ ways }: People): People['ways'] {
  return ways.filter(({ by }) => by === 'us')
}
