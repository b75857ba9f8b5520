/**
 * How reading hostile octets may end.
 *
 * @module
 */
import { PosternError } from '../../src/errors.ts'

/** `read`, or `refused` with an error of ours; any other error is a bug, and is given by its text. */
export function outcomeOf(read: () => unknown): string {
  try {
    read()
    return 'read'
  } catch (error) {
    return error instanceof PosternError ? 'refused' : String(error)
  }
}

export const ALLOWED: readonly string[] = ['read', 'refused']
