/**
 * What of the certificates of others must outlive a process: those that signed mail has brought, and
 * what became of them.
 *
 * One small interface, so that another database can stand behind it. Rules stand elsewhere: here it is
 * only kept that nobody writes between another's reading and writing.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { PosternError } from '../errors.ts'

/** A certificate of a mailbox, as it is remembered. Times in milliseconds since 1970. */
export interface StoredCertificate {
  /** SHA-256, lower-case hexadecimal. */
  readonly fingerprint: string
  readonly der: Buffer
  readonly firstSeen: number
  /** Newest signing time that was verified with it. */
  readonly signedAt: number
  /** When it may be used; `null`: when somebody approves it. */
  readonly usableFrom: number | null
  /** When somebody took it out; `null`: nobody did. */
  readonly removedAt: number | null
  /** DER of the SMIMECapabilities that were signed with it last; `null`: none ever were. */
  readonly capabilities: Buffer | null
}

/** Something that was done to a certificate. */
export interface StoreEvent {
  readonly at: number
  readonly fingerprint: string
  /** `stored`, `waiting`, `approved`, `removed`; `undone`: what stood last before it. */
  readonly event: string
}

/** What is remembered of a mailbox. */
export interface StoreRecord {
  readonly certificates: readonly StoredCertificate[]
  /** Oldest first; the last 200. */
  readonly history: readonly StoreEvent[]
}

/** What is to be written. */
export interface StoreChange {
  readonly certificates?: readonly StoredCertificate[]
  readonly history?: readonly StoreEvent[]
}

/** Keeps certificates by mailbox. Every method rejects with `ERR_STORE` (transient) where it cannot. */
export interface Store {
  /** @param key Match key of a mailbox. */
  read(key: string): Promise<StoreRecord>
  /** Match keys of all mailboxes of which something is remembered, sorted by octets. */
  mailboxes(): Promise<readonly string[]>
  /**
   * Reads, lets `decide` look, and writes what it returns, with nobody in between. `decide` is called
   * once, at once, and must not wait for anything.
   */
  update<T>(key: string, decide: (record: StoreRecord) => [StoreChange, T]): Promise<T>
  close(): void
}

/**
 * Opens the embedded store, and makes it where there is none. Several processes may have it open.
 *
 * @param file Path, or `:memory:` for tests.
 * @throws {PosternError} `ERR_STORE`, transient.
 */
export function openSqliteStore(file: string): Store {
  return new SqliteStore(file)
}

class SqliteStore implements Store {
  readonly #file: string
  readonly #database: DatabaseSync
  readonly #statements: Record<
    'certificates' | 'history' | 'mailboxes' | 'put' | 'note',
    StatementSync
  >

  constructor(file: string) {
    this.#file = file
    this.#database = this.#attempt(() => open(file))
    const prepare = (sql: string) => this.#attempt(() => this.#database.prepare(sql))
    this.#statements = {
      certificates: prepare(
        'SELECT fingerprint, der, first_seen, signed_at, usable_from, removed_at, capabilities FROM certificate WHERE mailbox = ? ORDER BY first_seen, fingerprint',
      ),
      history: prepare(
        'SELECT at, fingerprint, event FROM certificate_event WHERE mailbox = ? ORDER BY id DESC LIMIT 200',
      ),
      mailboxes: prepare('SELECT DISTINCT mailbox FROM certificate ORDER BY mailbox'),
      put: prepare(
        'INSERT OR REPLACE INTO certificate (mailbox, fingerprint, der, first_seen, signed_at, usable_from, removed_at, capabilities) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      ),
      note: prepare(
        'INSERT INTO certificate_event (mailbox, at, fingerprint, event) VALUES (?, ?, ?, ?)',
      ),
    }
  }

  async read(key: string): Promise<StoreRecord> {
    return this.#attempt(() => this.#read(key))
  }

  async mailboxes(): Promise<readonly string[]> {
    return this.#attempt(() => this.#statements.mailboxes.all().map(row => String(row['mailbox'])))
  }

  async update<T>(key: string, decide: (record: StoreRecord) => [StoreChange, T]): Promise<T> {
    this.#attempt(() => this.#database.exec('BEGIN IMMEDIATE'))
    try {
      const [change, result] = decide(this.#attempt(() => this.#read(key)))
      this.#attempt(() => this.#write(key, change))
      this.#attempt(() => this.#database.exec('COMMIT'))
      return result
    } finally {
      if (this.#database.isTransaction) this.#attempt(() => this.#database.exec('ROLLBACK'))
    }
  }

  close(): void {
    if (this.#database.isOpen) this.#attempt(() => this.#database.close())
  }

  #read(key: string): StoreRecord {
    const certificates = this.#statements.certificates.all(key).map(row => ({
      fingerprint: String(row['fingerprint']),
      der: Buffer.from(row['der'] as Uint8Array),
      firstSeen: Number(row['first_seen']),
      signedAt: Number(row['signed_at']),
      usableFrom: numberOrNull(row['usable_from']),
      removedAt: numberOrNull(row['removed_at']),
      capabilities: bufferOrNull(row['capabilities']),
    }))
    const history = this.#statements.history.all(key).map(row => ({
      at: Number(row['at']),
      fingerprint: String(row['fingerprint']),
      event: String(row['event']),
    }))
    return { certificates, history: history.reverse() }
  }

  #write(key: string, { certificates = [], history = [] }: StoreChange): void {
    for (const one of certificates)
      this.#statements.put.run(
        ...[key, one.fingerprint, one.der, one.firstSeen, one.signedAt],
        ...[one.usableFrom, one.removedAt, one.capabilities],
      )
    for (const { at, fingerprint, event } of history)
      this.#statements.note.run(key, at, fingerprint, event)
  }

  #attempt<T>(action: () => T): T {
    try {
      return action()
    } catch (cause) {
      throw new PosternError('ERR_STORE', 'transient', 'the certificate store cannot be used', {
        cause: new Error(`certificate store ${this.#file}: ${String(cause)}`, { cause }),
      })
    }
  }
}

function numberOrNull(value: unknown): number | null {
  return value === null ? null : Number(value)
}

function bufferOrNull(value: unknown): Buffer | null {
  return value === null ? null : Buffer.from(value as Uint8Array)
}

/** SQLite lets nobody wait who changes the journal mode of a new file: tried again for a while. */
function open(file: string): DatabaseSync {
  const end = performance.now() + BUSY_MS
  for (;;) {
    const database = new DatabaseSync(file, { timeout: BUSY_MS })
    try {
      database.exec(SCHEMA)
      addCapabilities(database)
      return database
    } catch (error) {
      database.close()
      const { errcode } = error as { errcode?: unknown }
      if (errcode !== SQLITE_BUSY || performance.now() > end) throw error
      Atomics.wait(NEVER, 0, 0, AGAIN_MS)
    }
  }
}

/** An older file has no such column. Somebody else may be adding it at the same time. */
function addCapabilities(database: DatabaseSync): void {
  const isThere = () =>
    database
      .prepare('PRAGMA table_info(certificate)')
      .all()
      .some(row => row['name'] === 'capabilities')
  if (isThere()) return
  database.exec('BEGIN IMMEDIATE')
  if (!isThere()) database.exec('ALTER TABLE certificate ADD COLUMN capabilities BLOB')
  database.exec('COMMIT')
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS certificate (
    mailbox TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    der BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    usable_from INTEGER,
    removed_at INTEGER,
    capabilities BLOB,
    PRIMARY KEY (mailbox, fingerprint)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS certificate_event (
    id INTEGER PRIMARY KEY,
    mailbox TEXT NOT NULL,
    at INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    event TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS certificate_event_of ON certificate_event (mailbox, id);
`
/** How long another process may hold the file. */
const BUSY_MS = 5_000
const SQLITE_BUSY = 5
const AGAIN_MS = 20
/** Never notified: a way to wait without giving way. */
const NEVER = new Int32Array(new SharedArrayBuffer(4))
