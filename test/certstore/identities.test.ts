import { KeyObject } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Found, type IdentitySource, loadIdentities } from '../../src/certstore/identities.ts'
import { verifyOctets } from '../../src/crypto/algorithms.ts'
import {
  certificatePem,
  type Issued,
  type IssueOptions,
  identityPem,
  issue,
  type KeyPair,
  makeKeyPair,
} from '../../src/crypto/x509/issue.ts'
import { parseMailbox } from '../../src/mail/address.ts'
import { noOpenssl, openssl, temporaryFolder } from '../crypto/openssl.ts'

const corpora =
  process.env['POSTERN_CORPORA'] ?? resolve(import.meta.dirname, '../../../shared/corpora')
const noCorpora = existsSync(corpora) ? undefined : `no corpora at ${corpora}`

const NOW = new Date('2026-06-15T12:00:00Z')
const YEAR = { notBefore: new Date('2026-01-01'), notAfter: new Date('2027-01-01') }
const LAST_YEAR = { notBefore: new Date('2025-01-01'), notAfter: new Date('2026-01-01') }
const NEXT_YEAR = { notBefore: new Date('2027-01-01'), notAfter: new Date('2028-01-01') }
const ANN = parseMailbox('ann@example.test')

let root: Issued
let issuer: Issued
let key: KeyPair
let folder: ReturnType<typeof temporaryFolder>

beforeAll(async () => {
  const long = { notBefore: new Date('2020-01-01'), notAfter: new Date('2040-01-01') }
  root = await issue({ commonName: 'Root', authority: true, ...long })
  issuer = await issue({ commonName: 'Issuer', authority: true, issuer: root, ...long })
  key = await makeKeyPair('p-256')
})
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

describe('who signs', () => {
  test('the mailbox of the certificate, without regard to case (RFC 8550 §3)', async () => {
    await writeIdentity('ann.pem', { addresses: ['Ann@Example.TEST'] })
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    for (const text of ['ann@example.test', 'ANN@EXAMPLE.test', 'aNN@example.Test'])
      expect(identities.find(parseMailbox(text), NOW)).toMatchObject({ kind: 'found' })
    for (const text of ['anne@example.test', 'ann@other.test', 'ann@sub.example.test'])
      expect(identities.find(parseMailbox(text), NOW)).toMatchObject({ kind: 'none' })
  })

  test('every address of a certificate', async () => {
    await writeIdentity('ann.pem', { addresses: ['ann@example.test', 'sales@example.test'] })
    const { identities } = await load()
    const [ann, sales] = ['ann', 'sales'].map(name =>
      identities.find(parseMailbox(`${name}@example.test`), NOW),
    )
    expect(ann).toMatchObject({ kind: 'found' })
    expect(sales).toBe(ann)
  })

  test('the signer is one object, says what signs, and signs', async () => {
    const ann = await writeIdentity('ann.pem', { serialNumber: Buffer.from('2a', 'hex') })
    const { identities } = await load()
    const found = identities.find(ANN, NOW)
    if (found.kind !== 'found') throw new Error(found.reason)
    expect(identities.find(parseMailbox('ANN@example.test'), NOW)).toBe(found)
    expect(found.identity).toBe('CN=Ann, serial 2a (ann.pem)')
    const { signer } = found
    expect(signer.certificate.der).toEqual(ann.der)
    expect(signer.path.map(({ der }) => der)).toEqual([issuer.der])
    const octets = Buffer.from('signed attributes')
    const signature = await signer.sign(octets)
    expect(await verifyOctets(ann.publicKey, signer.algorithm, octets, signature)).toBe(true)
  })

  test('digest and pss as wished', async () => {
    const rsa = await makeKeyPair('rsa-2048')
    await writeIdentity('ann.pem', { key: rsa })
    for (const [wish, name] of [
      [{}, 'rsa-pkcs1-sha-256'],
      [{ digest: 'sha-512' }, 'rsa-pkcs1-sha-512'],
      [{ pss: true, digest: 'sha-384' }, 'rsa-pss-sha-384'],
    ] as const) {
      const { identities } = await load(wish)
      expect(identities.find(ANN, NOW)).toMatchObject({ signer: { algorithm: { name } } })
      expect(identities.list()[0]!.algorithm).toBe(name)
    }
  })

  test('a renewed certificate beside the expired one: the new one signs, the old key is kept', async () => {
    await writeIdentity('2025.pem', { ...LAST_YEAR, key: await makeKeyPair('p-256') })
    const renewed = await writeIdentity('2026.pem')
    const { identities, faults } = await load()
    expect(signerOf(identities.find(ANN, NOW))).toEqual(renewed.der)
    expect(identities.all).toHaveLength(2)
    expect(faults).toMatchObject([
      { severity: 'warning', message: expect.stringContaining('expired on 2026-01-01') },
    ])
  })

  test('the same key renewed, both certificates in one file', async () => {
    const old = await issue({
      commonName: 'Ann',
      issuer,
      key,
      addresses: ['ann@example.test'],
      ...LAST_YEAR,
    })
    const renewed = await issue({
      commonName: 'Ann',
      issuer,
      key,
      addresses: ['ann@example.test'],
      ...YEAR,
    })
    folder.write('ann.pem', identityPem(old) + certificatePem(renewed.der))
    const { identities } = await load()
    expect(signerOf(identities.find(ANN, NOW))).toEqual(renewed.der)
    expect(signerOf(identities.find(ANN, new Date('2025-06-01')))).toEqual(old.der)
  })

  test('of two valid ones the one that became valid last', async () => {
    const newer = { notBefore: new Date('2026-03-01'), notAfter: new Date('2026-12-01') }
    await writeIdentity('b.pem')
    const chosen = await writeIdentity('a.pem', newer)
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(signerOf(identities.find(ANN, NOW))).toEqual(chosen.der)
    // Before its day the other one signs, and after it again.
    expect(signerOf(identities.find(ANN, new Date('2026-02-01')))).not.toEqual(chosen.der)
    expect(signerOf(identities.find(ANN, new Date('2026-12-15')))).not.toEqual(chosen.der)
  })

  test('a tie goes to the lower fingerprint, whatever the files are called', async () => {
    const twins = [await certificate(), await certificate()]
    const chosen = []
    for (const [first, second] of [twins, twins.toReversed()]) {
      folder.write('a.pem', identityPem(first!))
      folder.write('b.pem', identityPem(second!))
      const { identities } = await load()
      chosen.push(signerOf(identities.find(ANN, NOW)))
      const [lower] = identities.all.map(one => one.certificate.fingerprint).sort()
      const winner = identities.find(ANN, NOW)
      expect(winner.kind === 'found' && winner.signer.certificate.fingerprint).toBe(lower)
    }
    expect(chosen[0]).toEqual(chosen[1])
  })

  test('one that may not sign never does, however new', async () => {
    const chosen = await writeIdentity('right.pem')
    const newer = { notBefore: new Date('2026-05-01'), notAfter: new Date('2027-05-01') }
    await writeIdentity('web.pem', { extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'], ...newer })
    await writeIdentity('seal.pem', { keyUsage: ['keyCertSign'], ...newer })
    const { identities, faults } = await load()
    expect(signerOf(identities.find(ANN, NOW))).toEqual(chosen.der)
    expect(faults.map(({ severity }) => severity)).toEqual(['warning', 'warning'])
  })

  test('its own before its domain’s; the domain’s where it has none, or none that is valid', async () => {
    const own = await writeIdentity('ann.pem')
    const domain = await writeIdentity('domain/gateway.pem', { addresses: [] })
    await writeIdentity('old.pem', { addresses: ['bob@example.test'], ...LAST_YEAR })
    const { identities } = await loadIdentities(
      [source(), source({ files: join(folder.path, 'domain'), address: '@Example.test' })],
      NOW,
    )
    const find = (text: string) => identities.find(parseMailbox(text), NOW)
    expect(signerOf(find('ann@example.test'))).toEqual(own.der)
    expect(signerOf(find('carl@EXAMPLE.test'))).toEqual(domain.der)
    expect(signerOf(find('bob@example.test'))).toEqual(domain.der)
    expect(find('carl@sub.example.test').kind).toBe('none')
  })

  test('`address:` instead of the certificate’s own', async () => {
    const ann = await writeIdentity('ann.pem')
    const { identities, faults } = await load({ address: 'Team@example.test' })
    expect(faults).toEqual([])
    expect(signerOf(identities.find(parseMailbox('team@example.test'), NOW))).toEqual(ann.der)
    expect(identities.find(ANN, NOW).kind).toBe('none')
  })

  test('an internationalised domain, in either form', async () => {
    await writeIdentity('ann.pem', { addresses: [] })
    const { identities } = await load({ address: '@münchen.example' })
    for (const text of ['ann@münchen.example', 'ann@xn--mnchen-3ya.example'])
      expect(identities.find(parseMailbox(text), NOW).kind).toBe('found')
  })

  test('to the last second of its time, and from the first', async () => {
    await writeIdentity('ann.pem')
    const { identities } = await load()
    const kindAt = (time: number) => identities.find(ANN, new Date(time)).kind
    expect(kindAt(YEAR.notBefore.getTime())).toBe('found')
    expect(kindAt(YEAR.notAfter.getTime())).toBe('found')
    expect(kindAt(YEAR.notBefore.getTime() - 1)).toBe('unusable')
    expect(kindAt(YEAR.notAfter.getTime() + 1)).toBe('unusable')
  })

  test('B83 a clock before the first day of the certificate signs nothing, and says why', async () => {
    await writeIdentity('ann.pem')
    const { identities } = await load()
    expect(identities.find(ANN, new Date(0))).toEqual({
      kind: 'unusable',
      reason: expect.stringMatching(/^CN=Ann, .*: is not valid before 2026-01-01T00:00:00.000Z$/),
    })
  })

  test('why nobody signs is said', async () => {
    await writeIdentity('ann.pem', LAST_YEAR)
    await writeIdentity('bob.pem', { addresses: ['bob@example.test'], extendedKeyUsage: ['1.2.3'] })
    const { identities } = await load()
    const reasonFor = (text: string) => identities.find(parseMailbox(text), NOW)
    expect(reasonFor('ann@example.test')).toMatchObject({
      kind: 'unusable',
      reason: expect.stringMatching(/^CN=Ann, serial .* \(ann\.pem\): expired on 2026-01-01$/),
    })
    expect(reasonFor('bob@example.test')).toMatchObject({
      kind: 'unusable',
      reason: expect.stringContaining('emailProtection'),
    })
    expect(reasonFor('eve@example.test')).toEqual({
      kind: 'none',
      reason: 'no identity bears the address of its author',
    })
  })

  test('anyExtendedKeyUsage and nonRepudiation are enough', async () => {
    await writeIdentity('ann.pem', {
      ...{ keyUsage: ['nonRepudiation'], extendedKeyUsage: ['2.5.29.37.0'] },
    })
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.find(ANN, NOW).kind).toBe('found')
  })
})

describe('faults', () => {
  test('an identity without fault has none', async () => {
    await writeIdentity('ann.pem')
    expect((await load()).faults).toEqual([])
  })

  test('the key belongs to another certificate', async () => {
    const ann = await certificate()
    const { privateKey } = await makeKeyPair('p-256')
    folder.write('ann.pem', identityPem({ ...ann, privateKey }))
    const { identities, faults } = await load()
    expect(faults).toMatchObject([
      error('ann.pem', 'its private key belongs to none of its certificates'),
    ])
    expect(identities.find(ANN, NOW).kind).toBe('none')
  })

  test('keys of several kinds in a row do not disturb each other', async () => {
    const ann = await certificate()
    const { privateKey } = await makeKeyPair('rsa-2048')
    folder.write('a.pem', identityPem({ ...ann, privateKey }))
    for (const name of ['b', 'c']) folder.write(`${name}.pem`, identityPem(ann))
    for (const _ of ['first', 'reloaded'])
      expect((await load()).faults).toMatchObject([error('a.pem', 'belongs to none')])
  })

  test('no certificate; no key; neither', async () => {
    const ann = await certificate()
    const pem = ann.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    folder.write('1.pem', pem)
    folder.write('2.pem', certificatePem(ann.der))
    folder.write('3.pem', '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n')
    folder.write('4.pem', '')
    expect((await load()).faults).toMatchObject([
      error('1.pem', 'holds no certificate'),
      error('2.pem', 'holds no private key'),
      error('3.pem', 'holds no private key'),
      error('3.pem', 'holds no certificate'),
      error('4.pem', 'not well formed'),
    ])
  })

  test('an encrypted key: password missing, wrong, right; and no certificate besides', async () => {
    const ann = await certificate()
    const secret = { cipher: 'aes-256-cbc', passphrase: 'secret' }
    const pem = ann.privateKey.export({ format: 'pem', type: 'pkcs8', ...secret }).toString()
    folder.write('1.pem', pem + certificatePem(ann.der) + certificatePem(issuer.der))
    folder.write('2.pem', pem)
    expect((await load()).faults).toMatchObject([
      error('1.pem', 'no password is given'),
      error('2.pem', 'no password is given'),
      error('2.pem', 'holds no certificate'),
    ])
    expect((await load({ password: 'wrong' })).faults).toMatchObject([
      {
        ...error('1.pem', 'the password does not open'),
        advice: expect.stringContaining('password:'),
      },
      error('2.pem', 'the password does not open'),
      error('2.pem', 'holds no certificate'),
    ])
    const { identities, faults } = await load({ password: 'secret' })
    expect(faults).toMatchObject([error('2.pem', 'holds no certificate')])
    expect(identities.find(ANN, NOW).kind).toBe('found')
  })

  test('no address in the certificate, and none given', async () => {
    await writeIdentity('ann.pem', { addresses: [] })
    expect((await load()).faults).toMatchObject([error('ann.pem', 'bears no mail address')])
    expect((await load({ address: 'ann@example.test' })).faults).toEqual([])
  })

  test('B31 an address that two readers could read differently is none', async () => {
    for (const address of ['a@b@example.test', '<ann@example.test>', 'mailto:ann@example.test']) {
      await writeIdentity('ann.pem', { addresses: [address] })
      const { identities, faults } = await load()
      expect(faults).toMatchObject([error('ann.pem', 'bears no mail address')])
      expect(identities.find(ANN, NOW).kind).toBe('none')
    }
  })

  test('an `address:` that is none', async () => {
    await writeIdentity('ann.pem')
    for (const address of ['ann', '@', 'example.test', '@a@b', '*@example.test x', '']) {
      const { faults, identities } = await load({ address })
      expect(faults).toMatchObject([
        { severity: 'error', file: folder.path, message: expect.stringContaining('`address:`') },
      ])
      expect(identities.find(ANN, NOW).kind).toBe('none')
    }
  })

  test('B37 key usage without signing; purpose other than mail; both are told', async () => {
    await writeIdentity('ann.pem', {
      ...{ keyUsage: ['dataEncipherment'], extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] },
    })
    expect((await load()).faults).toMatchObject([
      error('ann.pem', 'neither digitalSignature nor nonRepudiation'),
      error('ann.pem', 'not for mail'),
    ])
  })

  test('a key for encryption: an error alone, no fault beside one for signatures', async () => {
    const encryption = { keyUsage: ['keyAgreement'] } as const
    await writeIdentity('encryption.pem', { key: await makeKeyPair('p-256'), ...encryption })
    expect((await load()).faults).toMatchObject([error('encryption.pem', 'key usage')])
    await writeIdentity('signature.pem', { keyUsage: ['digitalSignature'] })
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.all).toHaveLength(2)
    await writeIdentity('encryption.pem', { ...encryption, extendedKeyUsage: ['1.2.3'] })
    expect((await load()).faults).toMatchObject([
      warning('encryption.pem', 'key usage'),
      warning('encryption.pem', 'not for mail'),
    ])
  })

  test('expired, not yet valid: an error where no other signs', async () => {
    await writeIdentity('ann.pem', LAST_YEAR)
    await writeIdentity('bob.pem', { addresses: ['bob@example.test'], ...NEXT_YEAR })
    expect((await load()).faults).toMatchObject([
      error('ann.pem', 'expired on 2026-01-01'),
      error('bob.pem', 'is not valid before 2027-01-01'),
    ])
  })

  test('expired, not yet valid: a warning where another signs for all its addresses', async () => {
    await writeIdentity('1.pem', LAST_YEAR)
    await writeIdentity('2.pem', NEXT_YEAR)
    await writeIdentity('3.pem')
    expect((await load()).faults).toMatchObject([
      warning('1.pem', 'expired on'),
      warning('2.pem', 'is not valid before'),
    ])
    await writeIdentity('1.pem', {
      addresses: ['ann@example.test', 'x@example.test'],
      ...LAST_YEAR,
    })
    expect((await load()).faults).toMatchObject([
      error('1.pem', 'expired on'),
      warning('2.pem', 'is not valid before'),
    ])
  })

  test('expiring within 30 days, unless another signs on', async () => {
    const soon = { ...YEAR, notAfter: new Date('2026-07-15T11:59:59Z') }
    await writeIdentity('ann.pem', soon)
    expect((await load()).faults).toMatchObject([warning('ann.pem', 'expires on 2026-07-15')])
    await writeIdentity('bob.pem', {
      ...{ addresses: ['bob@example.test'], ...YEAR, notAfter: new Date('2026-07-15T12:00:01Z') },
    })
    expect((await load()).faults).toHaveLength(1)
    await writeIdentity('renewed.pem')
    expect((await load()).faults).toEqual([])
  })

  test.skipIf(noOpenssl)('B40 an RSA key under 2048 bits', async () => {
    const pem = openssl(['genrsa', '1024']).toString()
    const file = folder.write('key.txt', pem)
    const days = String(Math.ceil((YEAR.notAfter.getTime() - Date.now()) / 86_400_000) + 3650)
    const self = ['req', '-x509', '-new', '-key', file, '-subj', '/CN=Ann', '-days', days]
    folder.write('ann.pem', pem + openssl(self).toString())
    const later = new Date(Date.now() + 86_400_000)
    const { identities, faults } = await loadIdentities(
      [source({ address: 'ann@example.test' })],
      later,
    )
    expect(faults).toMatchObject([error('ann.pem', '1024 bits')])
    expect(identities.find(ANN, later)).toMatchObject({ kind: 'unusable' })
    expect(identities.all).toHaveLength(1)
  })

  test('the intermediate is missing', async () => {
    const ann = await certificate()
    folder.write('ann.pem', identityPem({ ...ann, issuer: undefined }))
    expect((await load()).faults).toMatchObject([
      warning('ann.pem', 'its issuer is not in the file'),
    ])
    // It may lie in a file of its own in the folder.
    folder.write('chain.pem', certificatePem(issuer.der))
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.all[0]!.path.map(({ der }) => der)).toEqual([issuer.der])
  })

  test('an intermediate of the same name, but another key, is not taken', async () => {
    const ann = await certificate()
    const impostor = await issue({ commonName: 'Issuer', authority: true, issuer: root, ...YEAR })
    folder.write('ann.pem', identityPem({ ...ann, issuer: { ...impostor } }))
    const { identities, faults } = await load()
    expect(faults).toMatchObject([warning('ann.pem', 'its issuer is not in the file')])
    expect(identities.all[0]!.path).toEqual([])
  })

  test('the path is found in any order, and the root left out', async () => {
    const deeper = await issue({ commonName: 'Deeper', authority: true, issuer, ...YEAR })
    const ann = await issue({
      commonName: 'Ann',
      issuer: deeper,
      addresses: ['ann@example.test'],
      ...YEAR,
    })
    const pem = ann.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    const chain = [root, issuer, ann, deeper].map(({ der }) => certificatePem(der)).join('')
    folder.write('ann.pem', chain + pem)
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.all).toHaveLength(1)
    expect(identities.all[0]!.path.map(({ subjectText }) => subjectText)).toEqual([
      'CN=Deeper',
      'CN=Issuer',
    ])
  })

  test('authorities that certify each other end the path', async () => {
    const [one, other] = [await makeKeyPair('p-256'), await makeKeyPair('p-256')]
    const rootOne = await issue({ commonName: 'One', authority: true, key: one, ...YEAR })
    const rootOther = await issue({ commonName: 'Other', authority: true, key: other, ...YEAR })
    const crossOne = await issue({
      commonName: 'One',
      authority: true,
      key: one,
      issuer: rootOther,
      ...YEAR,
    })
    const crossOther = await issue({
      commonName: 'Other',
      authority: true,
      key: other,
      issuer: rootOne,
      ...YEAR,
    })
    const ann = await issue({
      commonName: 'Ann',
      issuer: rootOne,
      addresses: ['ann@example.test'],
      ...YEAR,
    })
    folder.write(
      'ann.pem',
      [identityPem(ann), ...[crossOne, crossOther].map(({ der }) => certificatePem(der))].join(''),
    )
    const { identities } = await load()
    expect(identities.all[0]!.path.map(({ subjectText }) => subjectText)).toEqual([
      'CN=One',
      'CN=Other',
    ])
  })

  test('an intermediate has expired', async () => {
    const old = await issue({ commonName: 'Old', authority: true, issuer: root, ...LAST_YEAR })
    await writeIdentity('ann.pem', { issuer: old })
    expect((await load()).faults).toMatchObject([
      warning('ann.pem', 'its issuer CN=Old expired on 2026-01-01'),
    ])
  })

  test('self-signed needs no issuer', async () => {
    const self = await issue({ commonName: 'Ann', addresses: ['ann@example.test'], ...YEAR })
    folder.write('ann.pem', identityPem(self))
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.all[0]!.path).toEqual([])
  })

  test('B73 a key is a handle: nothing of it stands in an identity as text or octets', async () => {
    const { privateKey } = await writeIdentity('ann.pem')
    const { identities } = await load()
    const ours = identities.all[0]!.privateKey
    expect(ours).toBeInstanceOf(KeyObject)
    expect(ours.equals(privateKey)).toBe(true)
    const secret = Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url')
    const told = [...reached(identities)]
    expect(told.length).toBeGreaterThan(10)
    for (const one of told) {
      const octets = Buffer.from(one)
      expect(octets.includes(secret)).toBe(false)
      expect(octets.includes('PRIVATE KEY')).toBe(false)
    }
  })

  test.skipIf(process.platform === 'win32')('B73 the file can be read by others', async () => {
    await writeIdentity('ann.pem')
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(join(folder.path, 'ann.pem'), mode)
      expect((await load()).faults).toMatchObject([
        warning('ann.pem', `can be read by others (mode ${mode.toString(8)})`),
      ])
    }
    chmodSync(join(folder.path, 'ann.pem'), 0o400)
    expect((await load()).faults).toEqual([])
  })

  test('no such path; an empty folder; a folder named as a file; a huge file', async () => {
    const missing = await load({ files: join(folder.path, 'missing') })
    expect(missing.faults).toMatchObject([error('missing', 'does not exist')])
    const empty = await loadIdentities([source()], NOW)
    expect(empty.faults).toMatchObject([
      { file: folder.path, message: expect.stringContaining('holds no .pem') },
    ])
    mkdirSync(join(folder.path, 'folder.pem'))
    folder.write('huge.pem', Buffer.alloc(1024 * 1024 + 1))
    expect((await load()).faults).toMatchObject([
      error('folder.pem', 'is no file'),
      error('huge.pem', 'larger than 1 MiB'),
    ])
  })

  test('every fault of every file, in the order of configuration and names', async () => {
    await writeIdentity('b.pem', { keyUsage: ['cRLSign'], addresses: [], ...LAST_YEAR })
    folder.write('a.pem', 'nothing')
    chmodSync(join(folder.path, 'b.pem'), 0o644)
    const { faults } = await loadIdentities(
      [
        source({ files: join(folder.path, 'missing'), configPath: 'identities[0]' }),
        source({ configPath: 'identities[1]' }),
      ],
      NOW,
    )
    expect(faults).toMatchObject([
      { ...error('missing', 'does not exist'), configPath: 'identities[0]' },
      { ...error('a.pem', 'not well formed'), configPath: 'identities[1]' },
      warning('b.pem', 'can be read by others'),
      error('b.pem', 'key usage'),
      error('b.pem', 'expired'),
      error('b.pem', 'bears no mail address'),
    ])
    for (const { advice } of faults) expect(advice).not.toBe('')
  })

  test('in a folder .pem, .p12 and .pfx count, sub-folders and the rest do not', async () => {
    await writeIdentity('ann.PEM')
    await writeIdentity('deep/bob.pem', { addresses: ['bob@example.test'] })
    folder.write('readme.txt', 'nothing')
    const { identities, faults } = await load()
    expect(faults).toEqual([])
    expect(identities.list()).toMatchObject([{ names: ['ann@example.test'] }])
  })
})

describe.skipIf(noOpenssl)(
  `PKCS #12 by openssl${noOpenssl ? ` (skipped: ${noOpenssl})` : ''}`,
  () => {
    test.each([
      ['new', []],
      ['old, RC2-40', ['-legacy']],
    ])('%s: signs, with its path; a wrong password is told', async (_, options) => {
      const pem = folder.write('ann.txt', identityPem(await certificate()))
      const file = join(folder.path, 'ann.p12')
      openssl([
        'pkcs12',
        '-export',
        '-in',
        pem,
        '-out',
        file,
        '-passout',
        'pass:secret',
        ...options,
      ])
      const { identities, faults } = await load({ password: 'secret' })
      expect(faults).toEqual([])
      expect(identities.find(ANN, NOW)).toMatchObject({ kind: 'found', signer: { path: [{}] } })
      for (const password of ['wrong', undefined])
        expect((await load({ password })).faults).toMatchObject([error('ann.p12', 'password')])
      folder.write('ann.p12', readFileSync(file).subarray(0, 500))
      expect((await load({ password: 'secret' })).faults).toMatchObject([
        error('ann.p12', 'not well formed'),
      ])
    })
  },
)

test.skipIf(noCorpora)(
  `the identities of RFC 9216${noCorpora ? ` (skipped: ${noCorpora})` : ''}`,
  async () => {
    for (const [name, algorithm] of [
      ['alice', 'rsa-pkcs1-sha-256'],
      ['bob', 'rsa-pkcs1-sha-256'],
      ['carlos', 'ed25519'],
      ['dana', 'ed25519'],
    ]) {
      const files = join(corpora, `rfc9216/${name}.p12`)
      const { identities, faults } = await load({ files, password: name })
      expect(faults.filter(({ message }) => !message.includes('read by others'))).toEqual([])
      const found = identities.find(parseMailbox(`${name}@smime.example`), NOW)
      expect(found).toMatchObject({ kind: 'found', signer: { algorithm: { name: algorithm } } })
      expect(identities.all).toHaveLength(2)
    }
  },
)

function load(options: Partial<IdentitySource> = {}) {
  return loadIdentities([source(options)], NOW)
}

function source(options: Partial<IdentitySource> = {}): IdentitySource {
  return { files: folder.path, configPath: 'identities[0]', ...options }
}

function certificate(options: Partial<IssueOptions> = {}): Promise<Issued> {
  const usual = { commonName: 'Ann', key, issuer, addresses: ['ann@example.test'], ...YEAR }
  return issue({ ...usual, ...options })
}

async function writeIdentity(name: string, options: Partial<IssueOptions> = {}): Promise<Issued> {
  const issued = await certificate(options)
  if (name.includes('/')) mkdirSync(join(folder.path, name, '..'), { recursive: true })
  folder.write(name, identityPem(issued))
  return issued
}

/** All texts and octets that can be reached from a value. */
function* reached(value: unknown, seen = new Set<unknown>()): Generator<string | Uint8Array> {
  if (typeof value === 'string' || value instanceof Uint8Array) yield value
  else if (typeof value === 'object' && value !== null && !seen.has(value)) {
    seen.add(value)
    const inside = value instanceof Map || value instanceof Set ? [...value] : []
    for (const one of [...inside, ...Object.values(value)]) yield* reached(one, seen)
  }
}

function signerOf(found: Found): Buffer {
  if (found.kind !== 'found') throw new Error(found.reason)
  return found.signer.certificate.der
}

function error(name: string, message: string) {
  return fault('error', name, message)
}

function warning(name: string, message: string) {
  return fault('warning', name, message)
}

function fault(severity: string, name: string, message: string) {
  const file = join(folder.path, name)
  return { severity, file, message: expect.stringContaining(message) as string }
}
