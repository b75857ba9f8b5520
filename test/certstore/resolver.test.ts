import { beforeAll, describe, expect, test } from 'vitest'
import {
  askInOrder,
  type CertificateResolver,
  CertificateSourceUnavailable,
  type Found,
} from '../../src/certstore/resolver.ts'
import { type Certificate, parseCertificate } from '../../src/crypto/x509/certificate.ts'
import { box, NEVER, person } from './people.ts'

let certificate: Certificate
beforeAll(async () => {
  certificate = parseCertificate((await person('ann@partner.test')).der)
})

const asked: string[] = []
function source(
  name: string,
  answer: 'none' | 'silent' | 'defect' | Found['via'],
): CertificateResolver {
  return {
    name,
    async find() {
      asked.push(name)
      if (answer === 'silent') throw new CertificateSourceUnavailable(name)
      if (answer === 'defect') throw new TypeError('a defect of ours')
      return answer === 'none' ? [] : [{ certificate, source: name, via: answer }]
    },
  }
}

async function ask(...sources: CertificateResolver[]) {
  asked.length = 0
  try {
    const found = await askInOrder(sources).find(box('ann@partner.test'), NEVER)
    return found.map(({ source }) => source)
  } catch (error) {
    if (error instanceof CertificateSourceUnavailable) return `silence of ${error.source}`
    throw error
  }
}

describe('askInOrder', () => {
  test('stops at the first that knows', async () => {
    expect(await ask(source('a', 'none'), source('b', 'address'), source('c', 'address'))).toEqual([
      'b',
    ])
    expect(asked).toEqual(['a', 'b'])
  })

  test('none is what all have said', async () => {
    expect(await ask(source('a', 'none'), source('b', 'none'))).toEqual([])
    expect(await ask()).toEqual([])
  })

  test('B69 an incomplete answer is of use where one could encrypt to it, and never says none', async () => {
    const partial: Found[] = [{ certificate, source: 'a', via: 'address' }]
    const cut: CertificateResolver = {
      name: 'a',
      find: async () => {
        throw new CertificateSourceUnavailable('a', { partial })
      },
    }
    expect(await ask(cut, source('b', 'address'))).toEqual(['a'])
    expect(asked).toEqual([])
    // It is expired, say: what was cut off may be the renewed one.
    const never = askInOrder([cut, source('b', 'none')], () => false)
    await expect(never.find(box('ann@partner.test'), NEVER)).rejects.toThrow('no answer from a')
    const later = askInOrder([cut, source('b', 'address')], found => found.length === 2)
    expect(await later.find(box('ann@partner.test'), NEVER)).toHaveLength(2)
  })

  test('B69 a silent source is passed over, and thrown where no other knows', async () => {
    expect(await ask(source('a', 'silent'), source('b', 'address'))).toEqual(['b'])
    expect(await ask(source('a', 'silent'), source('b', 'none'))).toBe('silence of a')
    expect(await ask(source('a', 'none'), source('b', 'silent'))).toBe('silence of b')
    const error = new CertificateSourceUnavailable('ldap:x')
    expect(error).toMatchObject({ code: 'ERR_CERTSTORE_UNAVAILABLE', persistence: 'transient' })
  })

  test('a defect is no silence', async () => {
    await expect(ask(source('a', 'defect'), source('b', 'address'))).rejects.toThrow(TypeError)
  })

  test("field 14: a person's own certificate goes before that of his domain", async () => {
    expect(await ask(source('a', 'domain'), source('b', 'address'))).toEqual(['a', 'b'])
    expect(await ask(source('a', 'domain'), source('b', 'none'))).toEqual(['a'])
    // The own one cannot be asked for: to the domain it is encrypted all the same.
    expect(await ask(source('a', 'domain'), source('b', 'silent'))).toEqual(['a'])
  })

  test('complaint 19: what is not enough does not hide what comes later', async () => {
    const resolver = askInOrder(
      [source('old', 'address'), source('new', 'address'), source('c', 'address')],
      found => found.some(({ source }) => source === 'new'),
    )
    const found = await resolver.find(box('ann@partner.test'), NEVER)
    expect(found.map(({ source }) => source)).toEqual(['old', 'new'])
    const silent = askInOrder([source('old', 'address'), source('b', 'silent')], () => false)
    await expect(silent.find(box('ann@partner.test'), NEVER)).rejects.toThrow('no answer from b')
  })

  test('a client whose time is up gets silence, and nobody is asked', async () => {
    asked.length = 0
    const resolver = askInOrder([source('a', 'none')])
    await expect(resolver.find(box('ann@partner.test'), AbortSignal.abort())).rejects.toThrow(
      CertificateSourceUnavailable,
    )
    expect(asked).toEqual([])
  })
})

describe('B45 a source of last resort', () => {
  const last = (answer: Parameters<typeof source>[1]): CertificateResolver => ({
    ...source('last', answer),
    isLastResort: true,
  })

  test('is asked behind all others, wherever it stands', async () => {
    expect(await ask(last('address'), source('a', 'none'), source('b', 'address'))).toEqual(['b'])
    expect(asked).toEqual(['a', 'b'])
    expect(await ask(last('address'), source('a', 'none'))).toEqual(['last'])
    expect(asked).toEqual(['a', 'last'])
  })

  test('does not take the place of what was chosen for a whole domain', async () => {
    expect(await ask(last('address'), source('a', 'domain'))).toEqual(['a'])
    expect(asked).toEqual(['a'])
  })

  test('helps where another is silent, and its own none is not an answer for that one', async () => {
    expect(await ask(last('address'), source('a', 'silent'))).toEqual(['last'])
    expect(await ask(last('none'), source('a', 'silent'))).toBe('silence of a')
  })

  test('counts where nothing else can be used', async () => {
    const own = await person('ann@partner.test')
    const good = parseCertificate(own.der)
    const harvest: CertificateResolver = {
      name: 'last',
      isLastResort: true,
      find: async () => [{ certificate: good, source: 'last', via: 'address' }],
    }
    const inOrder = askInOrder([harvest, source('a', 'address')], found =>
      found.some(it => it.certificate === good),
    )
    const found = await inOrder.find(box('ann@partner.test'), NEVER)
    expect(found.map(it => it.source)).toEqual(['a', 'last'])
  })
})
