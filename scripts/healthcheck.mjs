// Exit 0 where the gateway greets: node healthcheck.mjs PORT [ADDRESS]. Needs nothing but Node.
import { connect } from 'node:net'

const [port = '2525', address = '127.0.0.1'] = process.argv.slice(2)
const socket = connect(Number(port), address)
let greeting = ''
socket.setTimeout(4_000, () => done(1))
socket.on('error', () => done(1))
socket.on('close', () => done(1))
socket.on('data', chunk => {
  greeting += chunk.toString('latin1')
  if (greeting.includes('\n'))
    socket.end('QUIT\r\n', () => done(greeting.startsWith('220') ? 0 : 1))
})

function done(code) {
  process.exit(code)
}
