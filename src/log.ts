/**
 * One JSON line for each thing that happened (pino). Never content, never keys, never a subject.
 *
 * @module
 */
import { type DestinationStream, destination, type Level, type Logger, pino } from 'pino'

/** What a log line may hold besides its event: codes, sizes, identifiers, sanitised text. */
export type LogFields = Readonly<Record<string, unknown>>

/** Where happenings are told. `event` is a stable name in kebab-case. */
export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** A log whose every line bears these fields too. */
  with(fields: LogFields): Log
}

/**
 * Makes a log.
 *
 * Lines are written whole and at once, so that the lines of several processes on one pipe never mix.
 *
 * @param level Least severe level that is written, default `info`.
 * @param stream Where lines go, default standard output.
 */
export function createLog(
  level: Level = 'info',
  stream: DestinationStream = destination({ fd: 1, sync: true }),
): Log {
  const root = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
      messageKey: 'event',
      errorKey: 'error',
    },
    stream,
  )
  return wrap(root as unknown as Logger)
}

/** A log that says nothing, for tests and for `explain`. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLog,
}

/**
 * Makes text from a stranger fit for a log line or a terminal: control characters, bidirectional
 * overrides and zero-width characters become `\u{…}`, and what is longer than `maxCharacters` is cut.
 */
export function visible(text: string, maxCharacters = 1024): string {
  const cut = text.length > maxCharacters ? `${text.slice(0, maxCharacters)}…` : text
  return cut.replace(UNPRINTABLE, character => `\\u{${character.codePointAt(0)!.toString(16)}}`)
}

function wrap(logger: Logger): Log {
  return {
    debug: (event, fields) => logger.debug(fields ?? {}, event),
    info: (event, fields) => logger.info(fields ?? {}, event),
    warn: (event, fields) => logger.warn(fields ?? {}, event),
    error: (event, fields) => logger.error(fields ?? {}, event),
    with: fields => wrap(logger.child(fields) as unknown as Logger),
  }
}

// C0, DEL, C1; soft hyphen, zero-width and bidirectional controls, separators, byte order mark; lone surrogates.
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Surrogate}/gu
