// Runs the steps of the Dockerfile without a Docker engine: npm run check:image.
//
// The build stage is carried out in a temporary folder, COPY by COPY and RUN by RUN; then the entry point runs
// from there as the user of the image, with nothing but that folder and its own state to write to, and the
// health check is asked.
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const top = join(dirname(fileURLToPath(import.meta.url)), '..')
const folder = mkdtempSync(join(tmpdir(), 'postern-image-'))
const app = join(folder, 'app')
const steps = parse(readFileSync(join(top, 'Dockerfile'), 'utf8'))
const nobody = process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {}

try {
  chmodSync(folder, 0o755)
  build(steps)
  await run(steps)
  console.log(
    'image: every step of the Dockerfile was carried out; the gateway ran as its user and is healthy',
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** One instruction a line, continued lines joined. */
function parse(text) {
  return text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter(line => /^[A-Z]+ /.test(line))
    .map(line => ({
      verb: line.slice(0, line.indexOf(' ')),
      rest: line.slice(line.indexOf(' ') + 1).trim(),
    }))
}

function build(all) {
  mkdirSync(app)
  const end = all.findIndex((step, index) => index > 0 && step.verb === 'FROM')
  for (const { verb, rest } of all.slice(0, end)) {
    if (verb === 'COPY') copy(rest.split(/\s+/))
    if (verb === 'RUN') shell(rest)
  }
}

function copy(words) {
  const target = join(app, words.at(-1))
  for (const source of words.slice(0, -1)) {
    const into =
      words.length > 2 || words.at(-1).endsWith('/')
        ? join(target, source.split('/').at(-1))
        : target
    cpSync(join(top, source), into, { recursive: true })
  }
}

function shell(command) {
  // Folders outside of the application are made where the image would have them, below the temporary folder.
  const here = command.replaceAll(' /var/', ` ${folder}/var/`)
  const { status } = spawnSync('/bin/sh', ['-c', here], {
    cwd: app,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) fail(`RUN ${command}: exit ${status}`)
}

async function run(all) {
  const state = join(folder, 'var/lib/postern')
  if (nobody.uid) chownSync(state, nobody.uid, nobody.gid)
  const port = await freePort()
  const config = join(folder, 'postern.yaml')
  writeFileSync(config, configuration(port, state))
  const entry = words(all, 'ENTRYPOINT').map(word => word.replace(/^\/app/, app))
  const env = {
    PATH: '/nonexistent',
    NODE_ENV: 'production',
    NODE_COMPILE_CACHE: join(state, 'compiled'),
  }
  const gateway = spawn(entry[0], [...entry.slice(1), 'start', '--config', config], {
    ...nobody,
    env,
    cwd: app,
  })
  try {
    await ready(gateway)
    const health = words(all, 'HEALTHCHECK').map(word => word.replace(/^\/app/, app))
    const { status } = spawnSync(health[0], [...health.slice(1, -1), String(port)], {
      ...nobody,
      env,
    })
    if (status !== 0) fail(`the health check says ${status}`)
  } finally {
    gateway.kill('SIGTERM')
    const code = await new Promise(resolve => gateway.once('exit', resolve))
    if (code !== 0) fail(`the gateway ended with ${code}`)
  }
}

function words(all, verb) {
  const step = all.find(it => it.verb === verb)
  return JSON.parse(step.rest.slice(step.rest.indexOf('[')))
}

function ready(gateway) {
  return new Promise((resolve, reject) => {
    let told = ''
    const hear = chunk => {
      told += chunk
      if (told.includes('"event":"ready"')) resolve()
    }
    gateway.stdout.on('data', hear)
    gateway.stderr.on('data', hear)
    gateway.once('exit', code => reject(new Error(`the gateway ended with ${code}: ${told}`)))
    setTimeout(() => reject(new Error(`not ready: ${told}`)), 30_000).unref()
  })
}

function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function configuration(port, state) {
  return `hostname: gw.example.test
domains: [example.test]
listen: [{ address: 127.0.0.1, port: ${port}, tls: none }]
nextHop:
  inbound: { host: 127.0.0.1, port: 2600, tls: none }
  outbound: { host: 127.0.0.1, port: 2601, tls: none }
rules: []
state: ${state}
`
}

function fail(reason) {
  throw new Error(`image: ${reason}`)
}
