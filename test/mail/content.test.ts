import { execFileSync } from 'node:child_process'
import { fstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test, vi } from 'vitest'
import {
  type ContentStore,
  ContentWriter,
  contentOf,
  contentStore,
} from '../../src/mail/content.ts'
import type { Content } from '../../src/mail/mail-object.ts'

/** What the file system is asked for: how much of a write it takes, what is under way at a close. */
const disk = vi.hoisted(() => ({ takes: 1, underWay: 0, underWayAtClose: [] as number[] }))
vi.mock('node:fs', async importOriginal => {
  const fs = await importOriginal<typeof import('node:fs')>()
  type Done = (error: NodeJS.ErrnoException | null, octets: number) => void
  const watched = (done: Done): Done => {
    disk.underWay++
    return (error, octets) => {
      disk.underWay--
      done(error, octets)
    }
  }
  return {
    ...fs,
    write(fd: number, octets: Buffer, at: number, length: number, position: number, done: Done) {
      fs.write(fd, octets, at, Math.ceil(length * disk.takes), position, watched(done))
    },
    read(fd: number, octets: Buffer, at: number, length: number, position: number, done: Done) {
      fs.read(fd, octets, at, Math.ceil(length * disk.takes), position, watched(done))
    },
    close(fd: number, done: () => void) {
      disk.underWayAtClose.push(disk.underWay)
      fs.close(fd, done)
    },
  }
})

const folder = mkdtempSync(join(tmpdir(), 'postern-content-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const NO_PROC = process.platform === 'linux' ? '' : ' (skipped: needs /proc of Linux)'
const FULL = expect.objectContaining({ code: 'ERR_CONTENT_STORE_FULL', persistence: 'transient' })

describe('ContentWriter', () => {
  test('what was written is read, in any chunks and any range, from memory and from the file', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(octets(40), octets(3000), octets(20_000)), { maxLength: 12 }),
        fc.constantFrom(0, 1, 10, 17, 5000, 40_000, 10 ** 6),
        fc.array(fc.tuple(fc.nat(1000), fc.nat(1000)), { minLength: 1, maxLength: 4 }),
        async (chunks, memoryPerMessageOctets, ranges) => {
          const store = contentStore({ memoryPerMessageOctets, folder })
          const whole = Buffer.concat(chunks)
          const content = await written(
            store,
            chunks.map(chunk => Buffer.from(chunk)),
          )
          expect(store.heldOctets).toBeLessThanOrEqual(memoryPerMessageOctets)
          expect((await allOf(content)).equals(whole)).toBe(true)
          const readings = ranges.map(async ([a, b]) => {
            const start = Math.round((a * whole.length) / 1000)
            const end = Math.round((b * whole.length) / 1000)
            const expected = whole.subarray(start, Math.max(start, end))
            expect((await allOf(content, start, end)).equals(expected)).toBe(true)
          })
          await Promise.all(readings)
          content.dispose()
          expect(store.heldOctets).toBe(0)
        },
      ),
      { numRuns: 150 },
    )
  })

  test('a range beyond the end stops at the end', async () => {
    for (const memoryPerMessageOctets of [100, 4]) {
      const content = await written(contentStore({ memoryPerMessageOctets, folder }), [
        Buffer.from('0123456789'),
      ])
      expect(String(await allOf(content, 8, 99))).toBe('89')
      expect(String(await allOf(content, 10, 99))).toBe('')
      expect(String(await allOf(content, 5, 3))).toBe('')
      content.dispose()
    }
  })

  test('several megabytes go through the file, the writer waits for the disk', async () => {
    const store = contentStore({ folder })
    const writer = new ContentWriter(store)
    const chunk = Buffer.from('0123456789abcdef'.repeat(4096))
    let waited = 0
    for (let n = 0; n < 100; n++) {
      const waiting = writer.write(Buffer.from(chunk))
      if (waiting) waited++
      await waiting
    }
    const content = await writer.finish()
    expect([writer.sizeOctets, content.sizeOctets]).toEqual([6_553_600, 6_553_600])
    expect(waited).toBeGreaterThan(0)
    let at = 0
    for await (const read of content.read()) {
      expect(
        read.equals(Buffer.concat([chunk, chunk]).subarray(at % 16, (at % 16) + read.length)),
      ).toBe(true)
      at += read.length
    }
    expect(at).toBe(6_553_600)
    content.dispose()
  })

  test('slices of a big buffer do not keep it alive, octets one by one cost no more than they are', async () => {
    const store = contentStore()
    const slab = Buffer.alloc(1024 * 1024)
    const chunks = Array.from({ length: 3000 }, (_, n) => slab.subarray(n, n + 1))
    const content = await written(store, [slab.subarray(0, 20_000), ...chunks])
    expect(store.heldOctets).toBeLessThan(128 * 1024)
    let pieces = 0
    for await (const piece of content.read()) {
      expect(piece.buffer).not.toBe(slab.buffer)
      pieces++
    }
    expect(pieces).toBeLessThan(5)
    content.dispose()
  })

  test('the budget of all is kept: beyond it a message goes to the file at once', async () => {
    const store = contentStore({ memoryOctets: 20_000, memoryPerMessageOctets: 16_384, folder })
    const contents = []
    for (let n = 0; n < 5; n++) contents.push(await written(store, [Buffer.alloc(16_384, n)]))
    expect(store.heldOctets).toBeLessThanOrEqual(20_000)
    for (const [n, content] of contents.entries()) {
      expect((await allOf(content)).equals(Buffer.alloc(16_384, n))).toBe(true)
      content.dispose()
    }
    expect(store.heldOctets).toBe(0)
  })

  test('discard frees memory, and does nothing once the content is given away', async () => {
    const store = contentStore()
    const writer = new ContentWriter(store)
    await writer.write(Buffer.alloc(1000))
    expect(store.heldOctets).toBeGreaterThan(0)
    writer.discard()
    writer.discard()
    expect(store.heldOctets).toBe(0)
    expect(() => writer.write(Buffer.alloc(1))).toThrow('after its end')
    expect(() => writer.finish()).toThrow('twice')

    const kept = new ContentWriter(store)
    await kept.write(Buffer.from('kept'))
    const content = await kept.finish()
    kept.discard()
    expect(String(await allOf(content))).toBe('kept')
    content.dispose()
  })

  test('disposing twice is a bug, and so is reading afterwards', async () => {
    for (const memoryPerMessageOctets of [100, 4]) {
      const store = contentStore({ memoryPerMessageOctets, folder })
      const content = await written(store, [Buffer.from('0123456789')])
      content.dispose()
      expect(() => content.dispose()).toThrow('twice')
      await expect(allOf(content)).rejects.toThrow('disposed')
      expect(store.heldOctets).toBe(0)
    }
  })

  test('disposing in mid-reading ends the reading with an error, not with other octets', async () => {
    const content = await written(contentStore({ memoryPerMessageOctets: 0, folder }), [
      Buffer.alloc(300_000, 'x'),
    ])
    const reading = content.read()[Symbol.asyncIterator]()
    expect((await reading.next()).value.length).toBe(32_768)
    const next = reading.next()
    content.dispose()
    await expect(next).rejects.toThrow('disposed')
  })

  test('a disk that takes and gives but a third at a time loses nothing', async () => {
    disk.takes = 1 / 3
    const whole = Buffer.from(Array.from({ length: 50_000 }, (_, n) => `${n},`).join(''))
    const chunks = [whole.subarray(0, 100_000), whole.subarray(100_000)].map(chunk =>
      Buffer.from(chunk),
    )
    const content = await written(contentStore({ memoryPerMessageOctets: 77, folder }), chunks)
    expect((await allOf(content)).equals(whole)).toBe(true)
    expect((await allOf(content, 99, 100_099)).equals(whole.subarray(99, 100_099))).toBe(true)
    content.dispose()
    disk.takes = 1
  })

  test('a descriptor is closed only when nothing uses it: its number may be another file by then', async () => {
    disk.underWayAtClose = []
    const writer = new ContentWriter(contentStore({ memoryPerMessageOctets: 0, folder }))
    await writer.write(Buffer.alloc(100_000))
    await writer.write(Buffer.alloc(100_000))
    writer.discard()
    const content = await written(contentStore({ memoryPerMessageOctets: 0, folder }), [
      Buffer.alloc(100_000),
    ])
    const next = content.read()[Symbol.asyncIterator]().next()
    expect(disk.underWay).toBeGreaterThan(0)
    content.dispose()
    await expect(next).rejects.toThrow('disposed')
    await vi.waitFor(() => expect(disk.underWayAtClose).toEqual([0, 0]))
  })

  test.each([
    ['ENOENT', join(folder, 'missing')],
    ['ENOTDIR', import.meta.filename],
  ])(
    'B72 R4 a file that cannot be made (%s) is transient, and frees everything',
    async (code, folder) => {
      for (const octets of [10, 10 ** 6]) {
        const store = contentStore({ memoryPerMessageOctets: 4, folder })
        const writer = new ContentWriter(store)
        const error = await caught(async () => {
          await writer.write(Buffer.alloc(octets))
          await writer.finish()
        })
        expect(error).toEqual(FULL)
        expect((error as Error).cause).toEqual(expect.objectContaining({ code }))
        expect(store.heldOctets).toBe(0)
      }
    },
  )
})

describe(`on the disk${NO_PROC}`, () => {
  test.skipIf(NO_PROC)(
    'B72 the file has no name, and holds no octet that can be read',
    async () => {
      const canary = 'canary-4711-plaintext'
      const chunk = Buffer.from(`${canary}\r\n`.repeat(3000))
      const content = await written(
        contentStore({ folder }),
        Array.from({ length: 20 }, () => chunk),
      )
      expect(readdirSync(folder)).toEqual([])
      const files = openFiles()
      expect(files).toHaveLength(1)
      expect(fstatSync(Number(files[0])).mode & 0o777).toBe(0o600)
      const stored = readFileSync(`/proc/self/fd/${files[0]!}`)
      expect(stored.length).toBeGreaterThan(10 ** 6)
      for (const word of [canary, 'canary', 'plaintext\r\n']) {
        expect(stored.includes(word)).toBe(false)
      }
      expect((await allOf(content)).includes(canary)).toBe(true)
      content.dispose()
      await vi.waitFor(() => expect(openFiles()).toEqual([]))
    },
  )

  test.skipIf(NO_PROC)('B72 two files of the same octets have nothing in common', async () => {
    const store = contentStore({ memoryPerMessageOctets: 0, folder })
    const chunk = Buffer.alloc(4096, 'same')
    const contents = [await written(store, [chunk]), await written(store, [chunk])]
    const [one, two] = openFiles().map(fd => readFileSync(`/proc/self/fd/${fd}`))
    expect(one!.equals(two!)).toBe(false)
    for (const content of contents) content.dispose()
    await vi.waitFor(() => expect(openFiles()).toEqual([]))
  })

  test.skipIf(NO_PROC)('discard closes the file, also while it is written', async () => {
    for (const octets of [1, 70_000, 10 ** 6]) {
      const writer = new ContentWriter(contentStore({ memoryPerMessageOctets: 0, folder }))
      const waiting = writer.write(Buffer.alloc(octets))
      writer.discard()
      await waiting
      await vi.waitFor(() => expect([openFiles(), readdirSync(folder)]).toEqual([[], []]))
    }
  })

  test.skipIf(NO_PROC)('discard while the end is awaited: no content, no descriptor', async () => {
    const writer = new ContentWriter(contentStore({ memoryPerMessageOctets: 0, folder }))
    await writer.write(Buffer.alloc(10))
    const finishing = writer.finish()
    writer.discard()
    await expect(finishing).rejects.toThrow('discarded')
    await vi.waitFor(() => expect(openFiles()).toEqual([]))
  })
})

describe(`where the system gives no more${NO_PROC}`, () => {
  test.skipIf(NO_PROC)('R4 a file that may not grow: transient, freed, small mail goes on', () => {
    expect(underLimit('-f 200')).toEqual({
      code: 'ERR_CONTENT_STORE_FULL',
      cause: 'EFBIG',
      ...FREED,
    })
  })

  test.skipIf(NO_PROC)('R7 no more descriptors: transient, freed, small mail goes on', () => {
    expect(underLimit('-n 40')).toEqual({
      code: 'ERR_CONTENT_STORE_FULL',
      cause: 'EMFILE',
      ...FREED,
    })
  })
})

describe('shape', () => {
  test.each([
    ['', false, 0],
    ['a', false, 1],
    ['abc\r\n', false, 3],
    ['a\r\nabcd\r\n\r\nab\r\n', false, 4],
    ['abc\nab\n', false, 3],
    ['\nabc\nabcd\n', false, 4],
    ['ab\r\nabcd', false, 4],
    ['\r\n\r\n', false, 0],
    ['ä\r\n', true, 2],
    ['x'.repeat(998).concat('\r\n'), false, 998],
    ['x'.repeat(999).concat('\r\n'), false, 999],
    [`ab\r\n${'x'.repeat(998)}\r\nabc\r\n`, false, 998],
  ])('of %j', (text, eightBit, longestLineOctets) => {
    expect(contentOf(Buffer.from(text)).shape).toEqual({ eightBit, longestLineOctets })
  })

  test('is the same however the octets come in', () => {
    const line = fc
      .tuple(
        fc.oneof(fc.nat(5), fc.nat(90), fc.integer({ min: 990, max: 1002 })),
        fc.constantFrom('\r\n', '\n', '\r\n', '\r\r\n', '\n\r'),
      )
      .map(([octets, end]) => 'x'.repeat(octets) + end)
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(300), { maxLength: 30 }), (lines, sizes) => {
        const text = lines.join('')
        const { longestLineOctets, eightBit } = shapeOf(text, sizes)
        const longest = Math.max(...text.split('\n').map(lengthOf), 0)
        expect(eightBit).toBe(false)
        // Beyond 998 it matters that it is beyond, not how far.
        expect(longest > 998 ? longestLineOctets > 998 : longestLineOctets).toBe(
          longest > 998 || longest,
        )
      }),
      { numRuns: 2000 },
    )
  })

  test('an octet over 127 is seen in the last chunk too', () => {
    expect(shapeOf('a\r\nb\u00e4', [1, 1, 1, 1]).eightBit).toBe(true)
  })

  test('a line without end is long, and is not looked at for ever', () => {
    expect(
      shapeOf(
        'x'.repeat(5000),
        Array.from({ length: 49 }, () => 100),
      ).longestLineOctets,
    ).toBeGreaterThan(998)
  })
})

const FREED = { heldOctets: 0, openFiles: 0, small: 'small' }

/** Writes 1 MiB each into 40 contents in a process of its own that has a limit (bash's `ulimit`). */
function underLimit(limit: string): unknown {
  const content = join(import.meta.dirname, '../../src/mail/content.ts')
  const script = `
    import { readdirSync, readlinkSync } from 'node:fs'
    import { setTimeout } from 'node:timers/promises'
    const { ContentWriter, contentStore } = await import(${JSON.stringify(content)})
    const store = contentStore({ folder: ${JSON.stringify(folder)} })
    const contents = []
    const report = {}
    for (let n = 0; n < 40 && !report.code; n++) {
      const writer = new ContentWriter(store)
      try {
        for (let at = 0; at < 16; at++) await writer.write(Buffer.alloc(65536, n))
        contents.push(await writer.finish())
      } catch (error) {
        Object.assign(report, { code: error.code, cause: error.cause.code })
        writer.discard()
      }
    }
    for (const content of contents) content.dispose()
    report.heldOctets = store.heldOctets
    await setTimeout(50)
    report.openFiles = readdirSync('/proc/self/fd').filter(fd => {
      try { return readlinkSync('/proc/self/fd/' + fd).includes('postern-content-') } catch { return false }
    }).length
    const writer = new ContentWriter(store)
    writer.write(Buffer.from('small'))
    for await (const chunk of writer.finish().read()) report.small = String(chunk)
    console.log(JSON.stringify(report))`
  // Beyond its limit a process gets a signal; ignored, it gets the error.
  const shell = `trap '' XFSZ; ulimit ${limit}; exec "$0" --input-type=module -e "$1"`
  return JSON.parse(
    execFileSync('bash', ['-c', shell, process.execPath, script], { encoding: 'utf8' }),
  )
}

/** A line without its line end; the last one has none, and keeps its CR. */
function lengthOf(line: string, index: number, lines: readonly string[]): number {
  return line.length - (index < lines.length - 1 && line.endsWith('\r') ? 1 : 0)
}

function octets(maxLength: number): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ maxLength, size: 'max' })
}

function shapeOf(text: string, sizes: readonly number[]) {
  const writer = new ContentWriter(contentStore({ memoryPerMessageOctets: 10 ** 7 }))
  const whole = Buffer.from(text, 'latin1')
  let at = 0
  for (const size of sizes) {
    void writer.write(whole.subarray(at, at + size))
    at += size
  }
  void writer.write(whole.subarray(at))
  return (writer.finish() as Content).shape
}

async function written(store: ContentStore, chunks: readonly Buffer[]): Promise<Content> {
  const writer = new ContentWriter(store)
  for (const chunk of chunks) await writer.write(chunk)
  return writer.finish()
}

async function allOf(content: Content, start?: number, end?: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of content.read(start, end)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function caught(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work()
  } catch (error) {
    return error
  }
  return undefined
}

/** Descriptors of files that were made in the folder. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder)
    } catch {
      return false
    }
  })
}
