/**
 * What a client learns from replies to cipher texts, and from how long they take: 10,000 of them to a
 * gateway in a process of its own, the kinds in random order, so that no drift favours one.
 *
 *     node test/trials/oracle.ts                                     4 KB each
 *     OCTETS=1000000 CIPHERTEXTS=2000 SEED=1 node test/trials/oracle.ts
 *
 * @module
 */
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem, identityPem, issue } from '../../src/crypto/x509/issue.ts'
import { type Sink, startSink } from '../smtp/sink.ts'
import { gather, once } from '../support/chunks.ts'
import { TestClient } from '../support/client.ts'
import { type GatewayProcess, startGateway, temporaryFolder } from '../support/gateway-process.ts'
import { lifetime } from '../support/identity-folder.ts'
import { messageAround, signerOf } from '../support/inbound.ts'
import { freePort } from '../support/ports.ts'
import { encryptedAs, KINDS, type Kind, makePlain, type Plain } from './ciphertexts.ts'
import { chance, seedOfRun } from './random.ts'
import { kolmogorovSmirnov, medianShift, quantile } from './statistics.ts'

/** What was answered, and when. */
export interface Observations {
  /** Reply to how many. */
  readonly replies: Map<string, number>
  /** Milliseconds from the final dot to the reply. */
  readonly times: Map<Kind, number[]>
}

/** Sends so many cipher texts, the kinds in random order. */
export async function observe(
  { port, recipient, plain, pauseMs }: Target,
  { seed, ciphertexts }: { readonly seed: number; readonly ciphertexts: number },
  kinds: readonly Kind[] = KINDS,
): Promise<Observations> {
  const observations: Observations = {
    replies: new Map(),
    times: new Map(kinds.map(kind => [kind, []])),
  }
  const random = chance(seed, 0)
  let client = await TestClient.open(port)
  for (let nth = 0; nth < ciphertexts; nth++) {
    if (nth % MESSAGES_A_SESSION === MESSAGES_A_SESSION - 1) {
      client.close()
      client = await TestClient.open(port)
    }
    const kind = random.pick(kinds)
    const message = messageAround(encryptedAs(kind, plain, recipient))
    const { said, ms } = await send(client, message, pauseMs)
    observations.replies.set(said, (observations.replies.get(said) ?? 0) + 1)
    // The first ones find code that is not compiled yet.
    if (nth >= WARMING * ciphertexts) observations.times.get(kind)!.push(ms)
  }
  client.close()
  return observations
}

/** Where cipher texts go, and what is in them. */
export interface Target {
  readonly port: number
  readonly recipient: Certificate
  readonly plain: Plain
  /** Between the content and its final dot: all of it has arrived by then. */
  readonly pauseMs: number
}

async function send(
  client: TestClient,
  message: Buffer,
  pauseMs: number,
): Promise<{ said: string; ms: number }> {
  await client.say('MAIL FROM:<ann@partner.test>')
  await client.say('RCPT TO:<bob@example.test>')
  await client.say('DATA')
  client.write(message)
  if (pauseMs > 0) await pause(pauseMs)
  const begun = performance.now()
  client.write('.\r\n')
  const { code, text } = await client.reply()
  return { said: `${code} ${text}`, ms: performance.now() - begun }
}

/** A table: each kind against the one whose padding is wrong. */
export function toldOf({ replies, times }: Observations, seed: number): string {
  const reference = times.get(REFERENCE)!
  const lines = [...times].map(([kind, sample]) => {
    const [low, middle, high] = [0.1, 0.5, 0.9].map(share => quantile(sample, share).toFixed(2))
    const head = `${kind.padEnd(22)} ${String(sample.length).padStart(6)}  ${middle} (${low}–${high})`
    if (kind === REFERENCE) return head
    return `${head}  ${compared(sample, reference, seed)}`
  })
  // What chance does with one kind: every other one of it against the rest.
  const halves = [0, 1].map(half => reference.filter((_, at) => at % 2 === half))
  const known = [...replies].map(([said, count]) => `${count} × ${said}`)
  return [
    'replies',
    ...known,
    `ms from final dot to reply: median (10 %–90 %), against ${REFERENCE}`,
    ...lines,
    `${'half and half'.padEnd(22)} ${compared(halves[0]!, halves[1]!, seed)}`,
  ].join('\n')
}

function compared(sample: readonly number[], reference: readonly number[], seed: number): string {
  const { gap, probability } = kolmogorovSmirnov(sample, reference)
  const shifted = medianShift(sample, reference, chance(seed, 1))
  const shift = `${shifted.shift >= 0 ? '+' : ''}${shifted.shift.toFixed(3)}`
  const [ks, medians] = [probability, shifted.probability].map(it => it.toFixed(4))
  return `median ${shift} (p ${medians}), KS ${gap.toFixed(3)} (p ${ks})`
}

/** The gateway in a process of its own, with one worker, in front of a sink in this one. */
async function startTarget(
  folder: string,
  sink: Sink,
): Promise<Target & Pick<GatewayProcess, 'stop'>> {
  const octets = Number(process.env['OCTETS'] ?? 4_000)
  const root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
  const [bob, ann] = await Promise.all(
    ['bob@example.test', 'ann@partner.test'].map(address =>
      issue({
        ...{ ...lifetime(), commonName: address, addresses: [address] },
        ...{ issuer: root, key: generateKeyPairSync('rsa', { modulusLength: 2048 }) },
      }),
    ),
  )
  for (const name of ['identities', 'trust']) await mkdir(join(folder, name), { mode: 0o700 })
  await writeFile(join(folder, 'identities/bob.pem'), identityPem(bob!), { mode: 0o600 })
  await writeFile(join(folder, 'trust/root.pem'), certificatePem(root.der))
  const gateway = await startGateway(folder, configuration(await freePort(), sink.port))
  const signer = signerOf(ann!)
  const plain = await makePlain(octets, entity =>
    gather(
      clearSign(once(entity), signer, {
        signingTime: new Date(),
      }),
    ),
  )
  return {
    port: gateway.port,
    recipient: parseCertificate(bob!.der),
    plain,
    pauseMs: 2 + octets / 50_000,
    stop: () => gateway.stop(),
  }
}

function configuration(port: number, sinkPort: number): string {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: ${port}, tls: none }]
nextHop:
  inbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
  outbound: { host: 127.0.0.1, port: ${sinkPort}, tls: none }
identities: [{ files: identities/ }]
trust: { anchors: [trust/], revocation: off }
rules:
  - name: inbound
    when: { direction: inbound }
    then: { decrypt: when-possible, verify: stamp }
state: data/
workers: 1
log: { level: warn }
`
}

async function main(): Promise<void> {
  const seed = seedOfRun()
  const ciphertexts = Number(process.env['CIPHERTEXTS'] ?? 10_000)
  const folder = await temporaryFolder('oracle')
  const sink = await startSink()
  const target = await startTarget(folder.path, sink)
  const begun = performance.now()
  try {
    const { entity } = target.plain
    console.log(`SEED=${seed} CIPHERTEXTS=${ciphertexts} OCTETS=${entity.length}`)
    const observations = await observe(target, { seed, ciphertexts })
    console.log(toldOf(observations, seed))
    console.log(`${sink.messages.length} delivered, ${seconds(begun)} s`)
  } finally {
    await target.stop()
    await sink.close()
    await folder.remove()
  }
}

function seconds(begun: number): string {
  return ((performance.now() - begun) / 1000).toFixed(0)
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms)
  })
}

const REFERENCE = 'bad-cbc-padding' satisfies Kind
const MESSAGES_A_SESSION = 50
/** Share of the observations that is left out. */
const WARMING = 0.05

if (import.meta.main) await main()
