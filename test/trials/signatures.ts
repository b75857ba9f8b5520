/**
 * Ways to sign for trials: ours, OpenSSL's and gpgsm's, clear and opaque, by several kinds of keys.
 *
 *     const people = await makePeople(folder)
 *     const entity = await people.ways[0].sign(Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n'))
 *
 * All of them sign as `AUTHOR`, under one root.
 *
 * @module
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { signatureAlgorithmFor, signOctets } from '../../src/crypto/algorithms.ts'
import type { Signer } from '../../src/crypto/key.ts'
import { clearSign } from '../../src/crypto/smime/clear-sign.ts'
import { opaqueSign } from '../../src/crypto/smime/opaque-sign.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { certificatePem, type Issued, identityPem, issue } from '../../src/crypto/x509/issue.ts'
import { base64Lines } from '../../src/mail/base64.ts'
import { gather, once } from '../support/chunks.ts'
import { lifetime } from '../support/identity-folder.ts'

/** Who signs everything here. */
export const AUTHOR = 'ann@partner.test'

/** One way to sign a MIME entity; what comes back begins with its Content-Type field. */
export interface Way {
  readonly name: string
  readonly by: 'us' | 'openssl' | 'gpgsm'
  readonly form: 'clear' | 'opaque'
  sign(this: void, entity: Buffer): Promise<Buffer>
}

export interface People {
  readonly root: Certificate
  /** Of all who sign. */
  readonly issuing: Certificate
  /** PEM of the root, for OpenSSL. */
  readonly rootFile: string
  readonly ways: readonly Way[]
  /** Why ways are missing, if so. */
  readonly missing: readonly string[]
  close(): void
}

/** @param folder Where keys, and what programs are given, are kept. */
export async function makePeople(folder: string): Promise<People> {
  const root = await issue({ ...lifetime(), commonName: 'Root', authority: true })
  const issuing = await issue({ ...lifetime(), commonName: 'CA', authority: true, issuer: root })
  const rootFile = join(folder, 'root.pem')
  const issuingFile = join(folder, 'issuing.pem')
  await writeFile(rootFile, certificatePem(root.der))
  await writeFile(issuingFile, certificatePem(issuing.der))
  const house: Keys = { folder, rootFile, issuingFile, path: [parseCertificate(issuing.der)] }

  const ways: Way[] = []
  for (const [name, key] of Object.entries(KEYS)) {
    const addresses = [AUTHOR]
    const options = { ...lifetime(), commonName: 'Ann', addresses, issuer: issuing, key: key() }
    const issued = await issue(options)
    await writeFile(join(folder, `${name}.pem`), identityPem(issued), { mode: 0o600 })
    ways.push(...ourWays(name, issued, house))
    if (!noOpenssl) ways.push(...opensslWays(name, house))
  }
  const gpgsm = (noGpgsm ?? noOpenssl) ? undefined : await gpgsmWays(house)
  if (gpgsm) ways.push(...gpgsm.ways)
  return {
    root: parseCertificate(root.der),
    issuing: parseCertificate(issuing.der),
    rootFile,
    ways,
    missing: [noOpenssl, noGpgsm].filter(it => it !== undefined),
    close: () => gpgsm?.close(),
  }
}

/** Why OpenSSL cannot be asked, if so. */
export const noOpenssl: string | undefined = missing('openssl', 'version')
const noGpgsm = missing('gpgsm', '--version') ?? missing('gpg-agent', '--version')

interface Keys {
  readonly folder: string
  readonly rootFile: string
  readonly issuingFile: string
  readonly path: readonly Certificate[]
}

function ourWays(name: string, { der, privateKey }: Issued, { path }: Keys): Way[] {
  const certificate = parseCertificate(der)
  const wishes = name === 'rsa' ? [{}, { pss: true }, { digest: 'sha-512' as const }] : [{}]
  return wishes.flatMap(wish => {
    const algorithm = signatureAlgorithmFor(certificate.publicKey, wish)
    const sign: Signer['sign'] = octets => signOctets(privateKey, algorithm, octets)
    const signer: Signer = { certificate, path, algorithm, sign }
    const all = { clear: clearSign, opaque: opaqueSign }
    return FORMS.map(form => ({
      name: `we, ${algorithm.name}, ${form}`,
      by: 'us' as const,
      form,
      sign: (entity: Buffer) =>
        gather(all[form](once(entity), signer, { signingTime: new Date() })),
    }))
  })
}

function opensslWays(name: string, { folder, issuingFile }: Keys): Way[] {
  const signer = ['-signer', join(folder, `${name}.pem`), '-certfile', issuingFile]
  // OpenSSL 3.0 cannot stream with RSASSA-PSS, and forgets with a key for nothing else that it is one.
  const pss = ['-keyopt', 'rsa_padding_mode:pss']
  const variants = {
    rsa: [[], ['-md', 'sha512'], ['-keyid'], ['-stream'], ['-nosmimecap'], pss],
    pss: [pss],
    ec: [[], ['-md', 'sha384'], ['-stream']],
  }[name]!
  return variants.flatMap(options =>
    FORMS.map(form => ({
      name: `openssl, ${name} ${options.join(' ')}, ${form}`,
      by: 'openssl' as const,
      form,
      async sign(entity: Buffer) {
        const format = form === 'opaque' ? ['-nodetach'] : []
        const args = ['cms', '-sign', '-binary', '-crlfeol', ...signer, ...options, ...format]
        const message = (await run('openssl', args, entity)).toString('latin1')
        const from = message.indexOf('Content-Type:')
        // Some of the lines that it writes itself end in LF, whatever it is told.
        return Buffer.from(message.slice(from).replaceAll(/\r?\n/g, '\r\n'), 'latin1')
      },
    })),
  )
}

/** GnuPG 2.2 cannot import keys on curves. */
async function gpgsmWays(house: Keys): Promise<{ ways: Way[]; close(): void }> {
  const home = join(house.folder, 'gnupg')
  await mkdir(home, { mode: 0o700 })
  const env = { ...process.env, GNUPGHOME: home, LC_ALL: 'C' }
  const base = ['--batch', '-q', '--disable-crl-checks', '--disable-dirmngr']
  const secret = ['--pinentry-mode', 'loopback', '--passphrase', '']
  const p12 = join(house.folder, 'ann.p12')
  const pem = join(house.folder, 'rsa.pem')
  const print = ['x509', '-in', house.rootFile, '-noout', '-fingerprint', '-sha1']
  const said = (await run('openssl', print)).toString()
  await writeFile(join(home, 'trustlist.txt'), `${said.split('=')[1]!.trim()} S relax\n`)
  for (const certificate of [house.rootFile, house.issuingFile])
    await run('gpgsm', [...base, '--import', certificate], undefined, env)
  const exported = ['pkcs12', '-export', '-legacy', '-in', pem, '-out', p12, '-passout', 'pass:']
  // GnuPG 2.2 misreads one such file in ten; the next has another salt.
  await again(async () => {
    await run('openssl', exported)
    await run('gpgsm', [...base, ...secret, '--import', p12], undefined, env)
  })

  const file = join(home, 'entity')
  const signed = async (how: string, entity: Buffer): Promise<Buffer> => {
    // Of its standard input it would take the first line for a passphrase.
    await writeFile(file, entity)
    return run('gpgsm', [...base, ...secret, '-u', AUTHOR, how, file], undefined, env)
  }
  const clear: Way = {
    name: 'gpgsm, clear',
    by: 'gpgsm',
    form: 'clear',
    sign: async entity => clearEntity(entity, await signed('--detach-sign', entity)),
  }
  const opaque: Way = {
    name: 'gpgsm, opaque',
    by: 'gpgsm',
    form: 'opaque',
    sign: async entity => opaqueEntity(await signed('--sign', entity)),
  }
  const close = () => execFileSync('gpgconf', ['--kill', 'all'], { env, stdio: 'ignore' })
  return { ways: [clear, opaque], close }
}

/** Tries five times what fails by chance. */
async function again(action: () => Promise<void>, left = 4): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (left === 0) throw error
    await again(action, left - 1)
  }
}

/** A multipart/signed as mail programs write it, around a signature that is at hand. */
export function clearEntity(entity: Buffer, signature: Buffer): Buffer {
  const type =
    'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n' +
    '\tmicalg=sha-256; boundary="=_signed_"\r\n\r\nThis is a signed message.\r\n--=_signed_\r\n'
  const part =
    '\r\n--=_signed_\r\nContent-Type: application/pkcs7-signature; name="smime.p7s"\r\n' +
    'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n'
  const pieces = [type, entity, part, base64Lines(signature), '\r\n--=_signed_--\r\n']
  return Buffer.concat(pieces.map(piece => Buffer.from(piece)))
}

/** An application/pkcs7-mime around a SignedData that is at hand. */
export function opaqueEntity(signature: Buffer): Buffer {
  const type =
    'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n' +
    'Content-Transfer-Encoding: base64\r\n\r\n'
  return Buffer.concat([Buffer.from(type), base64Lines(signature)])
}

/** What a program writes when it is given something; throws what it says where it fails. */
export function run(
  command: string,
  args: readonly string[],
  input?: Buffer,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = { env, timeout: 30_000, encoding: 'buffer' as const, maxBuffer: 64 * 1024 ** 2 }
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      if (error) reject(new Error(`${command}: ${stderr.toString().trim() || error.message}`))
      else resolve(stdout)
    })
    // It may have its reasons not to read to the end.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input ?? Buffer.alloc(0))
  })
}

function missing(command: string, argument: string): string | undefined {
  return spawnSync(command, [argument]).status === 0 ? undefined : `no ${command} in PATH`
}

const FORMS = ['clear', 'opaque'] as const
const KEYS = {
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  pss: () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }),
  ec: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
}
