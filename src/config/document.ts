/**
 * The text of a configuration as a tree of plain values, each of which knows where it stands.
 *
 *     text ── YAML ──▶ nodes ── walk ──▶ values, with ${NAME} from the environment
 *                                  └───▶ places: path → line and column
 *
 * What a file can cost is bounded: its size, its depth, and the nodes that aliases unfold into.
 *
 * @module
 */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLError,
} from 'yaml'
import { type ConfigPath, type Fault, printPath, printValue } from './fault.ts'

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A configuration as it was read, before anybody has asked whether it makes sense. */
export interface ConfigDocument {
  /** Maps, lists, strings, numbers, booleans and null. */
  readonly value: unknown
  readonly faults: readonly Fault[]
  /** Makes a fault of what is wrong at a path; places it at the nearest node above where there is none. */
  readonly faultAt: (path: ConfigPath, message: string, advice: string, at?: FaultAspect) => Fault
}

/** `key` puts a fault at the key instead of the value, and prints the key; `nothing` prints nothing. */
export type FaultAspect = 'value' | 'key' | 'nothing'

/**
 * Reads the text of a configuration. Never throws: what is wrong with it becomes faults.
 *
 * @param file Its name, as faults are to bear it.
 */
export function readDocument(file: string, text: string, environment: Environment): ConfigDocument {
  const walk = new Walk(file, environment)
  if (text.length > MAX_CHARACTERS) {
    walk.complain(0, [], `has more than ${MAX_CHARACTERS} characters`, 'write less')
    return walk.result(undefined)
  }
  if (opensTooMuch(text)) {
    walk.complain(0, [], 'is nested too deeply', 'write less')
    return walk.result(undefined)
  }
  const document = parse(text, walk)
  if (document === undefined) return walk.result(undefined)
  for (const error of withoutConsequences([...document.errors, ...document.warnings]))
    walk.complainOfSyntax(error, text)
  return walk.result(
    document.errors.length > 0 ? undefined : walk.plain(document.contents, [], document),
  )
}

interface Place {
  readonly value: number
  readonly key: number
  /** As it is written, before the environment was asked. */
  readonly written: unknown
}

/** One walk over the nodes of a document. */
class Walk {
  readonly lines = new LineCounter()
  readonly #file: string
  readonly #environment: Environment
  readonly #faults: Fault[] = []
  readonly #places = new Map<string, Place>()
  #nodes = 0
  #aliases = 0
  #exhausted = false

  constructor(file: string, environment: Environment) {
    this.#file = file
    this.#environment = environment
  }

  result(value: unknown): ConfigDocument {
    return {
      value: this.#exhausted ? undefined : value,
      faults: this.#faults,
      faultAt: (path, message, advice, at = 'value') => this.#faultAt(path, message, advice, at),
    }
  }

  complain(offset: number, path: ConfigPath, message: string, advice: string, value = ''): void {
    const { line, col } = this.lines.linePos(offset)
    this.#faults.push({
      file: this.#file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      path: printPath(path),
      value,
      message,
      advice,
    })
  }

  complainOfSyntax(error: YAMLError, text: string): void {
    const [message, advice] = SYNTAX[error.code] ?? [
      'is not YAML here',
      'see https://yaml.org/spec',
    ]
    const offset = error.pos[0]
    // Of the line only its key is shown: what stands behind it may be a secret.
    const line = text.slice(text.lastIndexOf('\n', offset - 1) + 1).slice(0, 200)
    const [, key] = /^[\s-]{0,80}([A-Za-z]\w{0,63})\s?:/.exec(line) ?? []
    this.complain(offset, [], message, advice, printValue(key))
  }

  /** A node as plain value. `undefined` where it cannot be had; then there is a fault. */
  plain(node: unknown, path: ConfigPath, document: Document, key = 0): unknown {
    const offset = (node as Node | null)?.range?.[0] ?? key
    if (this.#isTooMuch(isAlias(node), path, offset)) return undefined
    if (isAlias(node)) return this.#aliased(node, path, document, offset)
    this.#places.set(printPath(path), {
      value: offset,
      key,
      written: isScalar(node) ? node.value : node,
    })
    if (isMap(node)) return this.#map(node.items, path, document)
    if (isSeq(node)) return node.items.map((item, at) => this.plain(item, [...path, at], document))
    if (!isScalar(node)) return null
    return typeof node.value === 'string'
      ? this.#expanded(node.value, path, offset)
      : plainScalar(node.value)
  }

  #aliased(alias: Alias, path: ConfigPath, document: Document, offset: number): unknown {
    const node = alias.resolve(document)
    if (node !== undefined) return this.plain(node, path, document, offset)
    this.complain(offset, path, ...SYNTAX['BAD_ALIAS']!)
    return undefined
  }

  /** Aliases may repeat what holds aliases: what they unfold into is counted, and complained of once. */
  #isTooMuch(alias: boolean, path: ConfigPath, offset: number): boolean {
    if (this.#exhausted) return true
    if (alias) this.#aliases++
    this.#nodes++
    this.#exhausted =
      this.#nodes > MAX_NODES || this.#aliases > MAX_ALIASES || path.length > MAX_DEPTH
    if (this.#exhausted)
      this.complain(offset, path, 'is nested too deeply or repeated too often', 'write less')
    return this.#exhausted
  }

  #map(pairs: readonly Pair[], path: ConfigPath, document: Document): Record<string, unknown> {
    const seen = new Map<string, unknown>()
    for (const { key, value } of pairs) {
      const name = isScalar(key) ? String(key.value) : undefined
      const offset = (key as Node | null)?.range?.[0] ?? 0
      if (name === undefined)
        this.complain(offset, path, 'has a key that is no word', 'write `name: value`')
      else if (seen.has(name))
        this.complain(offset, [...path, name], 'stands here a second time', 'keep one of the two')
      else seen.set(name, this.plain(value, [...path, name], document, offset))
    }
    return Object.fromEntries(seen)
  }

  /** Puts in what `${NAME}` stands for; `$${` is a `${` that is meant as it is. */
  #expanded(text: string, path: ConfigPath, offset: number): string {
    return text.replace(/\$\$\{|\$\{(\w{1,100}\})?/g, (written, closed?: string) => {
      if (written === '$${') return '${'
      const name = closed?.slice(0, -1)
      const value = name === undefined ? undefined : this.#environment[name]
      if (value !== undefined) return value
      const [message, advice] =
        name === undefined
          ? ['has a $ and { that no name and } follow', 'write $${ for a dollar and a brace']
          : ['is not set in the environment', `set ${name}, or write $\${ for a dollar and a brace`]
      this.complain(offset, path, message, advice, name === undefined ? '' : printValue(written))
      return written
    })
  }

  #faultAt(path: ConfigPath, message: string, advice: string, at: FaultAspect): Fault {
    let known = path
    while (known.length > 0 && !this.#places.has(printPath(known))) known = known.slice(0, -1)
    const place = this.#places.get(printPath(known))
    const here = known.length === path.length
    const { line, col } = this.lines.linePos(
      (at === 'key' && here ? place?.key : place?.value) ?? 0,
    )
    return {
      file: this.#file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      path: printPath(path),
      value: here ? shown(path, place?.written, at) : '',
      message,
      advice,
    }
  }
}

function parse(text: string, walk: Walk): Document | undefined {
  try {
    // Duplicate keys are looked for in the walk: the library compares each with each.
    return parseDocument(text, { lineCounter: walk.lines, prettyErrors: false, uniqueKeys: false })
  } catch {
    walk.complain(0, [], 'cannot be read as YAML', 'write less deeply nested maps and lists')
    return undefined
  }
}

/** The library calls itself for each level, and is slow to find out that it cannot go on. */
function opensTooMuch(text: string): boolean {
  let open = 0
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    open += bracket === '[' || bracket === '{' ? 1 : -1
    if (open > MAX_OPEN) return true
  }
  return false
}

/**
 * A tab shifts everything below it, and where a line stands too far left or right the library finds
 * fault with each word behind it: what follows from the first fault is no fault of its own.
 */
function withoutConsequences(errors: readonly YAMLError[]): readonly YAMLError[] {
  const tabs = errors.filter(error => error.code === 'TAB_AS_INDENT')
  if (tabs.length > 0) return tabs
  const lost = errors.findIndex(error => error.code === 'UNEXPECTED_TOKEN')
  return lost < 0 ? errors : errors.slice(0, lost + 1)
}

function plainScalar(value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value
}

function shown(path: ConfigPath, written: unknown, at: FaultAspect): string {
  if (at === 'nothing') return ''
  if (at === 'key') return printValue(String(path.at(-1)))
  if (isMap(written)) return 'a map'
  if (isSeq(written)) return 'a list'
  if (typeof written !== 'string')
    return isSecret(path) && written !== null ? '***' : printValue(written)
  const reference = /^(?:file:|\$\{\w+\}$)/.test(written)
  return !reference && (isSecret(path) || SECRET_TEXT.test(written)) ? '***' : printValue(written)
}

/** Passwords, whatever stands where a user and his password belong, and the key of stamps. */
function isSecret(path: ConfigPath): boolean {
  const last = String(path.at(-1))
  if (path[0] === 'stamp' && path[1] === 'key') return true
  return /passw|secret|\bpin\b/i.test(last) || (path.includes('auth') && last !== 'user')
}

const SYNTAX: Readonly<Record<string, readonly [message: string, advice: string]>> = {
  TAB_AS_INDENT: ['has a tab where YAML wants spaces', 'indent with two spaces'],
  UNEXPECTED_TOKEN: [
    'cannot be read from here on',
    'look at the indentation of this line and of the one before: keys of one level stand in one column',
  ],
  BAD_INDENT: ['is not indented like its neighbours', 'indent with two spaces a level'],
  MISSING_CHAR: ['lacks a character: a colon, a comma, a bracket or a quote', 'complete the line'],
  MULTIPLE_DOCS: ['has a second document behind ---', 'keep one'],
  TAG_RESOLVE_FAILED: ['has a tag (!…), and tags are not known here', 'take the tag out'],
  BAD_ALIAS: [
    'has an alias (*…) without its anchor (&…)',
    'quote the text if it is meant as it is',
  ],
  BAD_SCALAR_START: ['begins with a character that YAML keeps for itself', 'quote the text'],
}
/** A private key that was pasted in, a password in a URL. */
const SECRET_TEXT = /PRIVATE KEY|:\/\/[^/@]{0,200}@/
const MAX_CHARACTERS = 262_144
const MAX_NODES = 20_000
const MAX_ALIASES = 200
const MAX_DEPTH = 20
/** Brackets in quoted text count too, so this is far more than the depth. */
const MAX_OPEN = 1000
