/**
 * Tags of the gateway at the beginning of a subject, `[signed OK]`, which nobody else may write.
 *
 *     "Re: [ѕigned OΚ] plan" ── decode ──▶ without what resembles a tag ──▶ "[not signed] Re: plan" ── encode
 *
 * Fields of the stamp are the better place: programs can read them, and clients show only so much of a
 * subject. Where a house has no tags, its subjects are not touched at all.
 *
 * @module
 */
import { decodeEncodedWords } from './encoded-word.ts'
import { skeleton } from './look-alike.ts'
import { subjectField } from './subject.ts'

/**
 * The Subject field with tags of ours, and without whatever resembles one of ours.
 *
 * @param body Body of the Subject field as it came. A second Subject field wants the same.
 * @param tags All tags that the house knows, each in brackets.
 * @param which Those of them that the message gets, in their order; may be none. Where there are some,
 *   the rest of the text is cut to 200 characters, so that they stay in sight.
 * @returns The field, CRLF included; `undefined` where the one that came may stay as it is.
 */
export function taggedSubject(
  body: string,
  tags: readonly string[],
  which: readonly string[],
): Buffer | undefined {
  const text = decodeEncodedWords(body)
  const plain = withoutLikenesses(text, tags)
  // What we could not decode is decoded by others perhaps: written anew, it is text for everybody.
  if (plain === text && which.length === 0 && !text.includes('=?')) return undefined
  const rest = which.length === 0 ? plain : cut(plain, MAX_BESIDE_TAGS)
  return subjectField([...which, rest].join(' ').trim())
}

/**
 * The text without what resembles one of the tags: words in brackets of any kind whose letters and
 * digits look like those of the tag, or all but one of them; wherever they stand, with anything but
 * letters between them, also where one of the brackets is missing. Nor does anything stay that turns
 * the direction of the text. Cut to 998 characters.
 */
export function withoutLikenesses(text: string, tags: readonly string[]): string {
  const cores = tags.map(tag => coreOf(Array.from(tag))).filter(core => core !== '')
  const whole = cut(text.replaceAll('\t', ' ').replace(TURNING, ''), MAX_CHARACTERS)
  let characters = Array.from(whole, seenCharacter)
  // What comes together by a removal is looked at again. Where that goes on, no bracket stays.
  for (let round = 0; ; round++) {
    const span = likenessIn(characters, cores)
    if (span === undefined) break
    if (round === MAX_ROUNDS) characters = characters.filter(({ bracket }) => bracket === undefined)
    else characters = [...characters.slice(0, span.from), ...characters.slice(span.to)]
  }
  const kept = characters.map(({ text: written }) => written).join('')
  if (kept === whole) return kept === text.replaceAll('\t', ' ') ? text : kept
  return kept.replace(/ {2,}/g, ' ').trim()
}

/** A character of a subject, and what people take it for. */
interface Character {
  readonly text: string
  /** What it looks like, where that is a letter or a digit; else nothing. */
  readonly letter: string
  readonly bracket: 'opening' | 'closing' | undefined
}

function seenCharacter(text: string): Character {
  const closing = CLOSING.test(text) ? 'closing' : undefined
  return { text, letter: letterOf(text), bracket: OPENING.test(text) ? 'opening' : closing }
}

/** Characters of a text, the brackets included. */
interface Span {
  readonly from: number
  /** Behind the last one. */
  readonly to: number
}

/** The first and outermost span that resembles a tag. */
function likenessIn(characters: readonly Character[], cores: readonly string[]): Span | undefined {
  const letters = characters.map(({ letter }) => letter)
  const open: number[] = []
  const spans: Span[] = []
  for (const [at, { bracket }] of characters.entries()) {
    if (bracket === 'opening') open.push(at)
    else if (bracket === 'closing') {
      const from = open.pop()
      if (from !== undefined) spans.push({ from, to: at + 1 })
      else spans.push(...looseEnds(letters, at, cores))
      spans.push(...crossed(characters, letters, at, cores))
    }
  }
  const closed = spans
    .filter(({ from, to }) => isLikeness(letters.slice(from, to), cores))
    .sort((one, other) => one.from - other.from || other.to - one.to)
  return closed[0] ?? open.flatMap(from => looseStarts(letters, from, cores))[0]
}

/** `[OK【) plan]`: the brackets around the words are not a pair, but nobody sees that. */
function crossed(
  characters: readonly Character[],
  letters: readonly string[],
  at: number,
  cores: readonly string[],
): Span[] {
  const most = 1 + Math.max(...cores.map(core => core.length))
  const spans: Span[] = []
  let inside = ''
  let isAlike = false
  for (let from = at - 1; from >= Math.max(0, at - NEAR) && inside.length <= most; from--) {
    if (isAlike && characters[from]!.bracket === 'opening') spans.push({ from, to: at + 1 })
    if (letters[from] === '') continue
    inside = letters[from] + inside
    isAlike = isLikeness([inside], cores)
  }
  return spans
}

function isLikeness(letters: readonly string[], cores: readonly string[]): boolean {
  const inside = letters.join('')
  // Together, two letters may look like one: not more than that can become as short as a tag.
  if (cores.every(core => inside.length > 2 * core.length + 2)) return false
  const seen = skeleton(inside)
  return cores.some(core => resembles(seen, skeleton(core)))
}

/** `[signed OK plan`: from the bracket to the end of the words. */
function looseStarts(letters: readonly string[], from: number, cores: readonly string[]): Span[] {
  return cores.flatMap(core => {
    let seen = ''
    let to = from
    while (to < letters.length && seen.length < core.length) seen += letters[to++]
    return seen === core ? [{ from, to }] : []
  })
}

/** `signed OK] plan`: from the beginning of the words to the bracket. */
function looseEnds(letters: readonly string[], at: number, cores: readonly string[]): Span[] {
  return cores.flatMap(core => {
    let seen = ''
    let from = at
    while (from > 0 && seen.length < core.length) seen = letters[--from] + seen
    return seen === core ? [{ from, to: at + 1 }] : []
  })
}

/** The same, or with one letter more, less or other; short words have to be the same. */
function resembles(one: string, other: string): boolean {
  if (one === other) return true
  if (other.length < SHORT || Math.abs(one.length - other.length) > 1) return false
  let same = 0
  while (one[same] !== undefined && one[same] === other[same]) same++
  const [rest, otherRest] = [one.slice(same), other.slice(same)]
  return (
    rest.slice(1) === otherRest.slice(1) ||
    rest.slice(1) === otherRest ||
    rest === otherRest.slice(1)
  )
}

function coreOf(characters: readonly string[]): string {
  return characters.map(letterOf).join('')
}

/** What a character looks like, where that is a letter or a digit. */
function letterOf(character: string): string {
  return skeleton(character).replace(NO_LETTER, '')
}

function cut(text: string, most: number): string {
  const characters = text.length > most ? Array.from(text) : []
  return characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : text
}

const MAX_CHARACTERS = 998
const MAX_BESIDE_TAGS = 200
/** People write no subject with so many tags of ours, and each costs a look at all of it. */
const MAX_ROUNDS = 50
/** Brackets further apart are not seen as those of a word. */
const NEAR = 100
/** One letter of `[ok]` makes another word of it. */
const SHORT = 6
/** Every opening punctuation, and the signs that serve as such. */
const OPENING = /[\p{Ps}<«‹⌜⎡⎢⎣]/u
const CLOSING = /[\p{Pe}>»›⌝⎤⎥⎦]/u
const NO_LETTER = /[^\p{L}\p{N}]/gu
/** Controls, bidirectional and invisible characters. Joiners stay: there are scripts that need them. */
const TURNING =
  /[\p{Cc}\p{Cs}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu
