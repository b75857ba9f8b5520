/** Every dialog of test/fixtures/dialogs, played against the listener. @module */
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import type { ListenerSettings } from '../../src/smtp/listener.ts'
import { serverCertificate } from './certificate.ts'
import { parseDialog, play, Wire } from './dialog.ts'
import {
  MemorySink,
  RECIPIENT_OK,
  RECIPIENT_UNKNOWN,
  type RecordingHouse,
  receive,
} from './reception.ts'

const folder = resolve(import.meta.dirname, '../fixtures/dialogs')
const tls = serverCertificate()

test.each(readdirSync(folder).filter(name => name.endsWith('.smtp')))('%s', async name => {
  const { settings, steps } = parseDialog(readFileSync(resolve(folder, name), 'utf8'))
  await using reception = await receive({ tls, ...listenerSettings(settings) })
  reception.house.onBegin = (_client, path) =>
    path?.localPart === 'refused'
      ? { code: 550, enhanced: '5.7.1', text: 'message refused by policy' }
      : undefined
  reception.house.onRecipient = path =>
    Promise.resolve(path.mailbox.localPart === 'unknown' ? RECIPIENT_UNKNOWN : RECIPIENT_OK)
  const wire = await Wire.connect(reception.port)
  try {
    await play(wire, steps, count => counted(reception.house, count))
    expect(wire.unread).toBe('')
  } finally {
    wire.destroy()
  }
  await reception.listener.drain(0)
  expect(MemorySink.held, 'every content was given back').toBe(0)
})

function listenerSettings({ auth, ...settings }: Record<string, unknown>) {
  const authenticate = (user: string, password: string) => user === 'user' && password === 'pass'
  return { ...settings, ...(auth ? { authenticate } : {}) } as Partial<ListenerSettings>
}

function counted(house: RecordingHouse, name: string): number {
  switch (name) {
    case 'messages':
      return house.taken.length
    case 'octets':
      return house.taken.reduce((sum, { content }) => sum + content.length, 0)
    case 'transactions':
      return house.begun
    case 'abandoned':
      return house.abandoned
    default:
      throw new Error(`nobody counts ${name}`)
  }
}
