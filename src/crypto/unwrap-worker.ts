/**
 * A thread that decrypts with RSA keys, one question at a time. Started by `unwrap-threads.ts` alone.
 *
 * @module
 */
import { parentPort } from 'node:worker_threads'
import { type TransportQuestion, transportedKey } from './unwrap.ts'

parentPort?.on('message', (question: TransportQuestion) => {
  parentPort?.postMessage(transportedKey(question))
})
