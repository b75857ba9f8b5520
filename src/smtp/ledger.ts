/**
 * The delivery ledger: who has had a message already, of which the rest is still to come.
 *
 * Only one case writes it: of several transactions, one was answered 2yz and another was not. The
 * client then hears a transient reply and sends the message again, and the ledger keeps the retry from
 * those who have had it. It holds digests and forward-paths, never content.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { PosternError } from '../errors.ts'

/** Every method throws `ERR_LEDGER` (transient) where the file cannot be read or written. */
export interface Ledger {
  /** Notes who has had the message, and now and then forgets what is old. On disk when it returns. */
  record(messageDigest: Buffer, forwardPaths: readonly string[]): void
  /** Who has had the message, as it was recorded. */
  delivered(messageDigest: Buffer): ReadonlySet<string>
  /** Whether nothing is noted at all, which is nearly always; quick enough for every message. */
  isEmpty(): boolean
  /** Forgets what is older: no client tries for so long. Default 7 days. */
  forget(olderThanMs?: number): void
  /** Forgets one message, which now has reached everybody. */
  forgetMessage(messageDigest: Buffer): void
  close(): void
}

/**
 * Opens a ledger, and makes it where there is none. Several processes may have it open.
 *
 * @param file Path, or `:memory:` for tests.
 * @param clock Milliseconds since 1970.
 * @throws {PosternError} `ERR_LEDGER`, transient.
 */
export function openLedger(file: string, clock: () => number): Ledger {
  return new SqliteLedger(file, clock)
}

class SqliteLedger implements Ledger {
  readonly #file: string
  readonly #clock: () => number
  readonly #database: DatabaseSync
  readonly #insert: StatementSync
  readonly #select: StatementSync
  readonly #any: StatementSync
  readonly #deleteOld: StatementSync
  readonly #deleteMessage: StatementSync
  #forgotAt = 0

  constructor(file: string, clock: () => number) {
    this.#file = file
    this.#clock = clock
    this.#database = this.#attempt(() => open(file))
    const prepare = (sql: string) => this.#attempt(() => this.#database.prepare(sql))
    this.#insert = prepare('INSERT OR IGNORE INTO delivered VALUES (?, ?, ?)')
    this.#select = prepare('SELECT forward_path FROM delivered WHERE digest = ?')
    this.#any = prepare('SELECT 1 FROM delivered LIMIT 1')
    this.#deleteOld = prepare('DELETE FROM delivered WHERE at < ?')
    this.#deleteMessage = prepare('DELETE FROM delivered WHERE digest = ?')
  }

  record(messageDigest: Buffer, forwardPaths: readonly string[]): void {
    const at = this.#clock()
    this.#attempt(() => {
      this.#database.exec('BEGIN IMMEDIATE')
      try {
        for (const forwardPath of forwardPaths) this.#insert.run(messageDigest, forwardPath, at)
        this.#forgetNowAndThen(at)
        this.#database.exec('COMMIT')
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
        throw error
      }
    })
  }

  /** A process may live for months. Not at each record: it looks at every row. */
  #forgetNowAndThen(at: number): void {
    if (at - this.#forgotAt < HOUR_MS) return
    this.#deleteOld.run(at - SEVEN_DAYS_MS)
    this.#forgotAt = at
  }

  delivered(messageDigest: Buffer): ReadonlySet<string> {
    const rows = this.#attempt(() => this.#select.all(messageDigest))
    return new Set(rows.map(row => String(row['forward_path'])))
  }

  isEmpty(): boolean {
    return this.#attempt(() => this.#any.get()) === undefined
  }

  forget(olderThanMs: number = SEVEN_DAYS_MS): void {
    this.#attempt(() => this.#deleteOld.run(this.#clock() - olderThanMs))
  }

  forgetMessage(messageDigest: Buffer): void {
    this.#attempt(() => this.#deleteMessage.run(messageDigest))
  }

  close(): void {
    if (this.#database.isOpen) this.#attempt(() => this.#database.close())
  }

  #attempt<T>(action: () => T): T {
    try {
      return action()
    } catch (cause) {
      throw new PosternError('ERR_LEDGER', 'transient', 'the delivery ledger cannot be used', {
        cause: new Error(`delivery ledger ${this.#file}: ${String(cause)}`, { cause }),
      })
    }
  }
}

/** Workers start together, and SQLite lets nobody wait who changes the journal mode of a new file. */
function open(file: string): DatabaseSync {
  const end = performance.now() + BUSY_MS
  for (;;) {
    try {
      return openOnce(file)
    } catch (error) {
      const { errcode } = error as { errcode?: unknown }
      if (errcode !== SQLITE_BUSY || performance.now() > end) throw error
      Atomics.wait(NEVER, 0, 0, AGAIN_MS)
    }
  }
}

function openOnce(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: BUSY_MS })
  try {
    database.exec(SCHEMA)
    // Better told at the start than after a partial delivery: can it be written?
    database.exec('BEGIN IMMEDIATE; ROLLBACK')
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

// FULL: in WAL mode a commit is on disk only so. What was recorded must survive a power cut.
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS delivered (
    digest BLOB NOT NULL,
    forward_path TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (digest, forward_path)
  ) WITHOUT ROWID;
`
/** How long another process may hold the file. */
const BUSY_MS = 5_000
const SQLITE_BUSY = 5
const AGAIN_MS = 20
/** Never notified: a way to wait without giving way. */
const NEVER = new Int32Array(new SharedArrayBuffer(4))
const HOUR_MS = 3_600_000
const SEVEN_DAYS_MS = 7 * 24 * HOUR_MS
