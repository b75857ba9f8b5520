/**
 * Planted defects: what proves that the test of an attack can fail.
 *
 * Each file `*.mutants.ts` beside this one exports
 *
 *     export const MUTANTS: readonly Mutant[]    one defect each, planted alone
 *     export const REASONS: Reasons              rows that no defect of ours could break, and why
 *
 * `run.ts` copies the checkout, plants one defect at a time, runs the tests that bear the row's ID and
 * wants them red. `mutants.test.ts` keeps the list from rotting, quickly: every text to be replaced
 * occurs once, every file of tests has tests of the row, every row has a mutant or a reason.
 *
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** A text in a source file, and what to put in its place. */
export interface Edit {
  /** From the top of the checkout: `src/crypto/smime/decrypt.ts`. */
  readonly file: string
  /** Occurs exactly once in the file, octet for octet. */
  readonly find: string
  readonly replace: string
}

/** A defect, and the tests that have to notice it. */
export interface Mutant extends Edit {
  /** Row of the list of attacks: `B15`. The tests that count bear it in their names. */
  readonly row: string
  /** What is wrong then, in a few words: `tags of any length`. */
  readonly defect: string
  /** Where the defence stands in two places: what else has to go for the defect to show. */
  readonly and?: readonly Edit[]
  /** Files of tests: `test/attacks/decryption.test.ts`. */
  readonly tests: readonly string[]
  /** Which tests have to go red, by full name. Default: those that bear the row's ID. */
  readonly name?: RegExp
}

/** Rows without a mutant, and why there is none. */
export type Reasons = Readonly<Record<string, string>>

export interface Catalogue {
  readonly mutants: readonly Mutant[]
  readonly reasons: Reasons
}

/** All mutants and reasons of the files beside this one. */
export async function catalogue(): Promise<Catalogue> {
  const mutants: Mutant[] = []
  const reasons: Record<string, string> = {}
  for (const file of readdirSync(import.meta.dirname).sort()) {
    if (!file.endsWith('.mutants.ts')) continue
    const url = pathToFileURL(join(import.meta.dirname, file)).href
    const part = (await import(url)) as { MUTANTS?: readonly Mutant[]; REASONS?: Reasons }
    mutants.push(...(part.MUTANTS ?? []))
    Object.assign(reasons, part.REASONS)
  }
  return { mutants, reasons }
}

/** Which tests are to go red. */
export function testsOf({ row, name }: Mutant): RegExp {
  return name ?? new RegExp(String.raw`\b${row}\b`)
}

/** Every place that is edited. */
export function editsOf(mutant: Mutant): readonly Edit[] {
  return [mutant, ...(mutant.and ?? [])]
}

/**
 * The file with the defect in it.
 *
 * @throws {Error} The text does not occur, or more than once: the source has moved on.
 */
export function planted(root: string, { file, find, replace }: Edit): string {
  const source = readFileSync(join(root, file), 'utf8')
  const found = source.split(find).length - 1
  if (found !== 1) throw new Error(`${file} has the text ${found} times: ${find}`)
  return source.replace(find, () => replace)
}
