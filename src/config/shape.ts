/**
 * From a tree of plain values to a checked configuration, and to faults where it is none.
 *
 * What is right is kept even where its neighbours are wrong, so that the checks that come later can still
 * be made: an operator hears everything at once.
 *
 * @module
 */
import type * as z from 'zod'
import type { ConfigDocument } from './document.ts'
import { type ConfigPath, type Fault, nearest } from './fault.ts'
import { configSchema, type ParsedConfig } from './schema.ts'

/** A value of which any part may be missing, because it was wrong. */
export type Salvaged<T> = T extends readonly (infer E)[]
  ? readonly (Salvaged<E> | undefined)[]
  : T extends object
    ? { readonly [K in keyof T]?: Salvaged<T[K]> | undefined }
    : T

/** What the schema says of a document. */
export interface Shape {
  /** What is right. */
  readonly salvaged: Salvaged<ParsedConfig>
  /** All of it, where nothing is wrong. */
  readonly parsed: ParsedConfig | undefined
  readonly faults: readonly Fault[]
}

/** Holds a document against the schema. */
export function shapeOf(document: ConfigDocument): Shape {
  const result = configSchema.safeParse(document.value)
  if (result.success) return { salvaged: result.data, parsed: result.data, faults: [] }
  return {
    salvaged: (salvage(configSchema, document.value) ?? {}) as Salvaged<ParsedConfig>,
    parsed: undefined,
    faults: result.error.issues.flatMap(issue => [...faultsOf(issue, [], document)]),
  }
}

/** Whether a value is a map. */
function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

type Issue = z.core.$ZodIssue
type Schema = z.core.$ZodType

function* faultsOf(issue: Issue, above: ConfigPath, document: ConfigDocument): Generator<Fault> {
  const path = [...above, ...(issue.path as (string | number)[])]
  const value = valueAt(document.value, path)
  const branch = issue.code === 'invalid_union' ? branchMeant(issue.errors, value) : undefined
  if (branch) {
    for (const inner of branch) yield* faultsOf(inner, path, document)
  } else if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) yield unknownKey([...path, key], document)
  } else if (issue.code === 'invalid_key') {
    yield document.faultAt(path, 'is no field name', adviceFor(path.slice(0, -1)), 'key')
  } else if (value === undefined) {
    yield document.faultAt(path, 'is missing', adviceFor(path), 'nothing')
  } else {
    yield document.faultAt(path, messageOf(issue), adviceFor(path))
  }
}

/** Which of several forms was meant: the one whose complaints lie deepest within. */
function branchMeant(
  branches: readonly (readonly Issue[])[],
  value: unknown,
): readonly Issue[] | undefined {
  if (!isRecord(value) && !Array.isArray(value)) {
    const fitting = branches.filter(([first]) => first?.code !== 'invalid_type')
    // What says how such a value is written tells more than that it is not some word.
    return fitting.find(([first]) => first?.code === 'custom') ?? fitting[0]
  }
  const within = branches.filter(issues => !issues.some(isAboutTheWhole))
  return within.sort((a, b) => strangeness(a) - strangeness(b))[0]
}

function isAboutTheWhole(issue: Issue): boolean {
  return issue.path.length === 0 && issue.code !== 'unrecognized_keys' && issue.code !== 'custom'
}

function strangeness(issues: readonly Issue[]): number {
  return issues.filter(issue => issue.code === 'unrecognized_keys' && issue.path.length === 0)
    .length
}

function unknownKey(path: ConfigPath, document: ConfigDocument): Fault {
  const names = keysOf(schemaAt(path.slice(0, -1)))
  const meant = nearest(String(path.at(-1)), names)
  const advice =
    meant === undefined ? `options here: ${names.join(', ')}` : `did you mean ${meant}?`
  return document.faultAt(path, 'is no option here', advice, 'key')
}

function messageOf(issue: Issue): string {
  if (issue.code === 'invalid_value') return `is none of ${issue.values.join(', ')}`
  if (issue.code === 'invalid_type') return `is no ${TYPES[issue.expected] ?? issue.expected}`
  if (issue.code === 'too_small') return 'is empty'
  return issue.message === 'Invalid input' ? 'is none of the forms known here' : issue.message
}

/** The description of the option, which is found where it is defined. */
function adviceFor(path: ConfigPath): string {
  for (let length = path.length; length > 0; length--) {
    const description = descriptionOf(schemaAt(path.slice(0, length)))
    if (description)
      return `${String(path[length - 1])} takes: ${description}`.replace(/^\d+ /, 'this ')
  }
  return 'see the example configuration'
}

function schemaAt(path: ConfigPath): Schema | undefined {
  let schema: Schema | undefined = configSchema
  for (const step of path) schema = schema && stepInto(bare(schema), step)
  return schema
}

function stepInto(schema: Schema, step: string | number): Schema | undefined {
  const { def } = schema._zod as { def: Definition }
  switch (def.type) {
    case 'object':
      if (Object.hasOwn(def.shape ?? {}, step)) return def.shape![step]
      return isNever(def.catchall) ? undefined : def.catchall
    case 'array':
      return def.element
    case 'record':
      return def.valueType
    case 'union':
      return def.options?.map(option => stepInto(bare(option), step)).find(found => found)
    default:
      return undefined
  }
}

/** A strict object takes nothing that it does not name. */
function isNever(schema: Schema | undefined): boolean {
  return schema?._zod.def.type === 'never'
}

function descriptionOf(schema: Schema | undefined): string | undefined {
  if (schema === undefined) return undefined
  const own = (schema as { description?: string }).description
  if (own) return own
  const inner = within(schema)
  return inner && descriptionOf(inner)
}

function keysOf(schema: Schema | undefined): readonly string[] {
  if (schema === undefined) return []
  const { def } = bare(schema)._zod as { def: Definition }
  return def.options ? def.options.flatMap(keysOf) : Object.keys(def.shape ?? {})
}

/** A schema without what gives defaults and changes the form of its value. */
function bare(schema: Schema): Schema {
  const inner = within(schema)
  return inner ? bare(inner) : schema
}

function within(schema: Schema): Schema | undefined {
  const { def } = schema._zod as { def: Definition }
  return def.type === 'pipe' ? def.in : def.innerType
}

/** What is right in a value, where the whole is not. */
function salvage(schema: Schema, value: unknown): unknown {
  const result = (schema as z.ZodType).safeParse(value)
  if (result.success) return result.data
  const { def } = bare(schema)._zod as { def: Definition }
  if (Array.isArray(value) && def.element) return value.map(item => salvage(def.element!, item))
  if (!isRecord(value) || !def.shape) return undefined
  const names = new Set([...Object.keys(def.shape), ...(def.catchall ? Object.keys(value) : [])])
  return Object.fromEntries(
    [...names].map(name => {
      const part = Object.hasOwn(def.shape!, name) ? def.shape![name] : def.catchall
      return [name, part && salvage(part, value[name])]
    }),
  )
}

function valueAt(value: unknown, path: ConfigPath): unknown {
  return path.reduce<unknown>(
    (inner, step) =>
      typeof inner === 'object' && inner !== null && Object.hasOwn(inner, step)
        ? (inner as Record<string | number, unknown>)[step]
        : undefined,
    value,
  )
}

/** As much of zod's definitions as is walked through. */
interface Definition {
  readonly type: string
  readonly in?: Schema
  readonly innerType?: Schema
  readonly shape?: Readonly<Record<string, Schema>>
  readonly catchall?: Schema
  readonly element?: Schema
  readonly valueType?: Schema
  readonly options?: readonly Schema[]
}

const TYPES: Readonly<Record<string, string>> = {
  object: 'map',
  record: 'map',
  array: 'list',
  string: 'text',
  number: 'number',
}
