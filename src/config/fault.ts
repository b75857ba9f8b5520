/**
 * What is wrong in a configuration: where, what stands there, and what to write instead.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import { visible } from '../log.ts'

/** One fault or one warning. */
export interface Fault {
  /** The configuration, as it was named to us. */
  readonly file: string
  /** Counted from 1. */
  readonly line: number
  readonly column: number
  /** `rules[2].then.encrypt`; empty for the file as a whole. */
  readonly path: string
  /** What stands there, printed as JSON; empty where nothing does. A secret is never printed. */
  readonly value: string
  /** What is wrong with the value: `is none of never, when-possible, always`. */
  readonly message: string
  /** What to do about it. */
  readonly advice: string
}

/** All that is wrong in a configuration, told at once. */
export class ConfigFaults extends PosternError {
  readonly faults: readonly Fault[]
  readonly warnings: readonly Fault[]

  constructor(faults: readonly Fault[], warnings: readonly Fault[]) {
    super('ERR_CONFIG', 'permanent', faults.map(fault => printFault(fault)).join('\n'))
    this.name = 'ConfigFaults'
    this.faults = faults
    this.warnings = warnings
  }
}

/**
 * `config/postern.yaml:41:17 rules[2].then.encrypt: "maybe" is none of never, when-possible, always`.
 *
 * @param severity Named behind the place where it is no fault: `warning`.
 */
export function printFault(fault: Fault, severity = ''): string {
  const place = `${fault.file}:${fault.line}:${fault.column}`
  return [
    place,
    severity && `${severity}:`,
    fault.path && `${fault.path}:`,
    fault.value,
    fault.message,
  ]
    .filter(Boolean)
    .join(' ')
}

/** Where in the tree of the configuration: `['rules', 2, 'then', 'encrypt']`. */
export type ConfigPath = readonly (string | number)[]

/** `rules[2].then.encrypt`. */
export function printPath(path: ConfigPath): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`
      const name = PLAIN_KEY.test(step) ? step : visible(JSON.stringify(step), 80)
      return index === 0 ? name : `.${name}`
    })
    .join('')
}

/** A value as it may be shown: as JSON, short, and without what could disturb a terminal. */
export function printValue(value: unknown): string {
  if (value === undefined) return ''
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'a map'
  return visible(JSON.stringify(value), 120)
}

/** The name that was probably meant: the nearest of `names`, where one is near enough. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  if (word.length > LONGEST_WORD) return undefined
  const lower = word.toLowerCase()
  const [best] = names
    .map(name => ({ name, distance: editDistance(lower, name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(name.length / 3)))
    .sort((a, b) => a.distance - b.distance)
  return best?.name
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other. */
function editDistance(from: string, to: string): number {
  let [before, last] = [[] as number[], Array.from({ length: to.length + 1 }, (_, index) => index)]
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = last[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      const swapped = from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      row[j] = Math.min(
        replaced,
        last[j]! + 1,
        row[j - 1]! + 1,
        swapped ? before[j - 2]! + 1 : Infinity,
      )
    }
    ;[before, last] = [last, row]
  }
  return last[to.length]!
}

const PLAIN_KEY = /^[A-Za-z][\w-]{0,63}$/
const LONGEST_WORD = 40
