// Installs the real peers that the tests talk to, where that is possible: root on Debian. Elsewhere it says
// what is missing, and each test that needs it is skipped with that reason. Runs on any Node from 18 on.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const PEERS = [
  { package: 'openssl', command: 'openssl' },
  { package: 'gpgsm', command: 'gpgsm' },
  { package: 'gpg-agent', command: 'gpg-agent' },
  { package: 'libnss3-tools', command: 'cmsutil' },
  { package: 'postfix', command: 'postfix' },
  { package: 'slapd', command: 'slapd' },
  { package: 'ldap-utils', command: 'ldapsearch' },
  { package: 'swaks', command: 'swaks' },
  { package: 'strace', command: 'strace' },
  { package: 'unbound', command: 'unbound' },
  { package: 'bind9-utils', command: 'dnssec-signzone' },
  { package: 'openjdk-17-jdk-headless', command: 'javac' },
  { package: 'libbcmail-java', file: '/usr/share/java/bcmail.jar' },
  { package: 'libbcpkix-java', file: '/usr/share/java/bcpkix.jar' },
  { package: 'libmail-java', file: '/usr/share/java/javax.mail.jar' },
  {
    package: 'python3-cryptography',
    file: '/usr/lib/python3/dist-packages/cryptography/__init__.py',
  },
]
const FOLDERS = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

const missing = PEERS.filter(peer => !present(peer)).map(peer => peer.package)
if (missing.length > 0 && mayInstall()) install(missing)
const left = PEERS.filter(peer => !present(peer)).map(peer => peer.package)
if (left.length > 0)
  console.error(`postern: not installed, tests that need them are skipped: ${left.join(' ')}`)

function present(peer) {
  return peer.file
    ? existsSync(peer.file)
    : FOLDERS.some(folder => executable(join(folder, peer.command)))
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function mayInstall() {
  return (
    process.getuid?.() === 0 &&
    existsSync('/etc/debian_version') &&
    process.env.POSTERN_PEERS !== 'keep'
  )
}

function install(packages) {
  console.error(`postern: installing peers for the tests (once): ${packages.join(' ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  apt('update')
  apt('install', '-y', '--no-install-recommends', ...packages)
}
