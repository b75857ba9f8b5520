/**
 * The key that seals the stamps of this house.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { PosternError } from '../errors.ts'

/**
 * The key of the seal: the configured secret, or else 32 random octets in `stamp.key` below the state
 * folder, made where they are missing. Of several processes that start at once all get the same ones.
 *
 * @param configured A secret that several nodes share, at least 16 octets.
 * @throws {PosternError} `ERR_STAMP_KEY` where the secret is too short or the file is not ours.
 */
export async function loadStampKey(stateFolder: string, configured?: string): Promise<Buffer> {
  if (configured !== undefined) return secretOf(configured)
  const file = join(stateFolder, FILE)
  const key = (await read(file)) ?? (await make(file, stateFolder))
  if (key.length !== KEY_OCTETS) throw fault(`${FILE} holds ${key.length} octets instead of 32`)
  return key
}

/** The key, where there is one: who only checks makes none. */
export async function findStampKey(
  stateFolder: string,
  configured?: string,
): Promise<Buffer | undefined> {
  if (configured !== undefined) return secretOf(configured)
  const key = await read(join(stateFolder, FILE))
  return key?.length === KEY_OCTETS ? key : undefined
}

function secretOf(configured: string): Buffer {
  const secret = Buffer.from(configured)
  if (secret.length < LEAST_OCTETS) throw fault('the secret of the seal is shorter than 16 octets')
  return secret
}

async function read(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fault(`${FILE} cannot be read`, { cause: error })
  }
}

/** A link comes into being whole or not at all, and never over another one. */
async function make(file: string, folder: string): Promise<Buffer> {
  const draft = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await write(draft)
    await link(draft, file).catch(ifNotThere)
  } catch (error) {
    throw fault(`${FILE} cannot be made`, { cause: error })
  } finally {
    await unlink(draft).catch(() => undefined)
  }
  return (await read(file)) ?? Buffer.alloc(0)
}

async function write(draft: string): Promise<void> {
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(randomBytes(KEY_OCTETS))
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Another process was quicker: its key is the key. */
function ifNotThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

function fault(message: string, options?: ErrorOptions): PosternError {
  return new PosternError('ERR_STAMP_KEY', 'transient', message, options)
}

const FILE = 'stamp.key'
const KEY_OCTETS = 32
const LEAST_OCTETS = 16
