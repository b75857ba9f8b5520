/**
 * OpenSSL's opinion of many signed messages: libcrypto over a pipe where there is Python to load it,
 * else a process for each.
 *
 *     const openssl = await askOpenssl(certificates)
 *     await openssl.verify(message) ──▶ { verdict: 'good', content } · { verdict: what it has against it }
 *
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { opensslVerify } from './openssl.ts'

/** What OpenSSL says of a message. */
export interface Opinion {
  /** `good`, or what it has against the message. */
  readonly verdict: string
  /** What it holds for signed. */
  readonly content: Buffer
}

export interface Openssl {
  /** How it is asked. */
  readonly by: 'libcrypto' | 'command'
  verify(message: Buffer): Promise<Opinion>
  close(): void
}

/** @param rootFile PEM of what is trusted. */
export async function askOpenssl(rootFile: string): Promise<Openssl> {
  const child = spawn('python3', [join(import.meta.dirname, 'openssl-cms.py'), rootFile])
  child.stdin.on('error', () => undefined)
  const failed = new Promise<false>(resolve => {
    child.once('error', () => resolve(false))
    child.once('exit', () => resolve(false))
  })
  const isReady = await Promise.race([once(child.stdout, 'data').then(() => true), failed])
  return isReady ? new Libcrypto(child) : opensslCommand(rootFile)
}

/** The command, a process for each message. */
export function opensslCommand(rootFile: string): Openssl {
  return {
    by: 'command',
    verify: message => opensslVerify(message, rootFile),
    close: () => undefined,
  }
}

class Libcrypto implements Openssl {
  readonly by = 'libcrypto'
  readonly #child: ChildProcessWithoutNullStreams
  readonly #waiting: PromiseWithResolvers<Opinion>[] = []
  #octets: Buffer = Buffer.alloc(0)

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child
    child.stdout.on('data', (chunk: Buffer) => this.#take(chunk))
    child.once('exit', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('OpenSSL is gone'))
    })
  }

  verify(message: Buffer): Promise<Opinion> {
    const answer = Promise.withResolvers<Opinion>()
    this.#waiting.push(answer)
    const size = Buffer.alloc(4)
    size.writeUInt32BE(message.length)
    this.#child.stdin.write(size)
    this.#child.stdin.write(message)
    return answer.promise
  }

  close(): void {
    this.#child.stdin.end()
  }

  #take(chunk: Buffer): void {
    this.#octets = Buffer.concat([this.#octets, chunk])
    while (this.#octets.length >= 5) {
      const end = 5 + this.#octets.readUInt32BE(1)
      if (this.#octets.length < end) return
      const isGood = this.#octets[0] === 0x67
      const said = this.#octets.subarray(5, end)
      this.#octets = this.#octets.subarray(end)
      const opinion = isGood
        ? { verdict: 'good', content: said }
        : { verdict: said.toString(), content: Buffer.alloc(0) }
      this.#waiting.shift()?.resolve(opinion)
    }
  }
}
