/**
 * The patterns of `when`: addresses, wildcards, words.
 *
 * What is compared comes from strangers, so every match is one walk over the text: no regular
 * expression is ever made of a configuration, and nothing tries again from an earlier place.
 *
 * @module
 */
import { PosternError } from '../errors.ts'
import { parseDomain, parseMailbox } from '../mail/address.ts'

/** Whether a text is meant. */
export type TextTest = (text: string) => boolean

/**
 * Compiles `ann@example.test`, `*@example.test` (any local part), `*@*.example.test` (any depth of
 * sub-domain, not the domain itself) or `<>` (the null reverse-path, RFC 5321 §4.5.5).
 *
 * The test compares domains as A-labels and local parts without regard to the case of ASCII letters;
 * other letters have to be the same octets, for what folds together is decided by the mailbox's host.
 *
 * @returns undefined where the text is no such pattern.
 */
export function compileMailboxPattern(pattern: string): TextTest | undefined {
  if (pattern === '<>') return mailbox => mailbox === ''
  if (pattern.startsWith('*@*.')) return endingTest('.', pattern.slice(4))
  if (pattern.startsWith('*@')) return endingTest('@', pattern.slice(2))
  const mailbox = attempt(() => parseMailbox(pattern))
  if (mailbox === undefined || pattern.includes('*')) return undefined
  const wanted = lowerAscii(mailbox.toString())
  return text => lowerAscii(text) === wanted
}

/**
 * Compiles a pattern in which `*` stands for any text, also for none; letters match in either case.
 *
 * The pieces between the stars are looked for from left to right, each behind the one before: the
 * leftmost place of a piece leaves the most room for the rest, so no place is ever tried again.
 */
export function compileWildcard(pattern: string): TextTest {
  const [first = '', ...rest] = pattern.toLowerCase().split('*')
  const last = rest.pop()
  const middle = rest.filter(piece => piece !== '')
  if (last === undefined) return text => text.toLowerCase() === first
  return text => hasPieces(text.toLowerCase(), first, middle, last)
}

/** Finds the first of the words that a text contains, in either case. */
export function compileWords(words: readonly string[]): (text: string) => string | undefined {
  const lower = words.map(word => word.toLowerCase())
  return text => {
    const lowerText = text.toLowerCase()
    return words[lower.findIndex(word => lowerText.includes(word))]
  }
}

/**
 * Remembers the answer to the last question. A message is asked about once for each of its forward-paths, and its
 * header section may be large: the second recipient must not cost what the first did.
 */
export function rememberLast<Q, A>(answer: (question: Q) => A): (question: Q) => A {
  let last: { question: Q; answer: A } | undefined
  return question => {
    if (last === undefined || last.question !== question)
      last = { question, answer: answer(question) }
    return last.answer
  }
}

function hasPieces(text: string, first: string, middle: readonly string[], last: string): boolean {
  if (!text.startsWith(first)) return false
  let from = first.length
  for (const piece of middle) {
    const at = text.indexOf(piece, from)
    if (at === -1) return false
    from = at + piece.length
  }
  return text.length - last.length >= from && text.endsWith(last)
}

/** The domain of a printed mailbox stands behind its last `@`, and is lower case. */
function endingTest(before: '@' | '.', name: string): TextTest | undefined {
  const domain = name.startsWith('[') ? undefined : attempt(() => parseDomain(name))
  if (domain === undefined) return undefined
  const ending = before + domain
  return mailbox => {
    const at = mailbox.lastIndexOf('@')
    return at > 0 && mailbox.endsWith(ending) && mailbox.length - ending.length >= at
  }
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof PosternError) return undefined
    throw error
  }
}

function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}
