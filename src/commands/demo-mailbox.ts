/**
 * The embedded next hop of the demo: a mail server that keeps what it gets.
 *
 * @module
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

/** A message that arrived. */
export interface Arrival {
  readonly recipients: readonly string[]
  readonly octets: Buffer
}

/** Listens on a free port of the loopback interface. */
export async function startMailbox(
  arrived: (arrival: Arrival) => void,
): Promise<{ port: number; close(): Promise<void> }> {
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    onData(stream, session, callback) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const recipients = session.envelope.rcptTo.map(({ address }) => address)
        arrived({ recipients, octets: Buffer.concat(chunks) })
        callback()
      })
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  const { port } = server.server.address() as AddressInfo
  return { port, close: () => new Promise(resolve => server.close(() => resolve())) }
}
