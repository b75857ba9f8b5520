/**
 * Dates as header fields write them (RFC 5322 §3.3), the obsolete forms of §4.3 too.
 *
 * @module
 */

/**
 * Reads the body of a Date field.
 *
 * A zone that says nothing (`-0000`, a letter, an abbreviation that nobody knows) is UTC, as RFC 5322
 * §4.3 asks. Linear in the length of the text.
 *
 * @param fieldBody Unfolded.
 * @returns `undefined` where there is no such day or time, or anything beside it but a comment.
 */
export function parseDate(fieldBody: string): Date | undefined {
  if (fieldBody.length > MAX_CHARACTERS) return undefined
  const found = DATE.exec(
    withoutComments(fieldBody)
      .replace(/[ \t]+/g, ' ')
      .trim(),
  )
  if (!found) return undefined
  const [, day, monthName, yearDigits, hour, minute, second, sign, zoneHour, zoneMinute, zone] =
    found
  const year = fullYear(yearDigits!)
  const month = MONTHS.indexOf(monthName!.toLowerCase())
  if (month < 0 || year < 1900 || Number(zoneMinute ?? 0) > 59) return undefined
  // A leap second is the first of the next minute to a clock that knows none.
  const time = [Number(hour), Number(minute), Math.min(Number(second ?? 0), 59)] as const
  if (time[0] > 23 || time[1] > 59 || Number(second ?? 0) > 60) return undefined
  const written = new Date(Date.UTC(year, month, Number(day), ...time))
  if (written.getUTCMonth() !== month || written.getUTCDate() !== Number(day)) return undefined
  const offset = sign === undefined ? zoneOf(zone!) : Number(zoneHour) * 60 + Number(zoneMinute)
  const minutes = sign === '-' ? -offset : offset
  return new Date(written.getTime() - minutes * 60_000)
}

/** RFC 5322 §4.3: years of two digits and of three. */
function fullYear(digits: string): number {
  const year = Number(digits)
  if (digits.length === 2) return year < 50 ? 2000 + year : 1900 + year
  return digits.length === 3 ? 1900 + year : year
}

/** Minutes east of Greenwich. */
function zoneOf(name: string): number {
  return ZONES.get(name.toUpperCase()) ?? 0
}

/** Comments nest (RFC 5322 §3.2.2); one without an end stays, and is no date. */
function withoutComments(text: string): string {
  if (!text.includes('(')) return text
  let kept = ''
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!
    if (character === '\\' && depth > 0) at++
    else if (character === '(') depth++
    else if (character === ')' && depth > 0) depth--
    else if (depth === 0) kept += character
  }
  return depth === 0 ? kept : text
}

/** Many times what any date and its comment need. */
const MAX_CHARACTERS = 500

const DATE =
  /^(?:(?:mon|tue|wed|thu|fri|sat|sun) ?, ?)?([0-9]{1,2}) ([a-z]{3}) ([0-9]{2,4}) ([0-9]{1,2}) ?: ?([0-9]{2})(?: ?: ?([0-9]{2}))? (?:([+-])([0-9]{2})([0-9]{2})|([a-z]{1,5}))$/i

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** RFC 5322 §4.3. */
const ZONES: ReadonlyMap<string, number> = new Map([
  ['EDT', -4 * 60],
  ['EST', -5 * 60],
  ['CDT', -5 * 60],
  ['CST', -6 * 60],
  ['MDT', -6 * 60],
  ['MST', -7 * 60],
  ['PDT', -7 * 60],
  ['PST', -8 * 60],
])
