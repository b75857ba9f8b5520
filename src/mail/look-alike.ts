/**
 * What a text looks like: two texts with one skeleton are easily taken for each other by people.
 *
 *     "Ｘ‑Роѕtеrn" ── decompose (NFKD), drop what is unseen ──▶ "X‐Роѕtеrn" ── look-alikes, lower case ──▶ "x-postem"
 *
 * The table knows the letters that look like those of ASCII: Greek, Cyrillic, Armenian, Cherokee, Lisu,
 * small capitals, letters with a stroke or a hook, digits in place of letters; what Unicode itself
 * decomposes (full width, mathematical, circled) needs no row. It knows nothing of letters that resemble
 * one another beyond ASCII, of pictures, and of words that only read alike (`goog1e-security`).
 *
 * @module
 */

/**
 * The skeleton of a text: lower-case ASCII where it looks like ASCII. Only good for comparing with
 * another skeleton: `1`, `I` and `l` are one letter in it, and so are `rn` and `m`.
 *
 * Linear in the length of the text.
 */
export function skeleton(text: string): string {
  const plain = ASCII.test(text) ? text : visibleLetters(text)
  return plain
    .toLowerCase()
    .replace(FOLDED, character => ASCII_FOLDS[character]!)
    .replace(PAIRS, pair => (pair === 'vv' ? 'w' : 'm'))
}

/** Without what nobody sees: controls, zero-width and bidirectional characters, marks, fillers. */
function visibleLetters(text: string): string {
  // Marks go first: to put many of them into their order costs the square of their number.
  const letters = text.replace(UNSEEN, '').normalize('NFKD').replace(UNSEEN, '')
  // A capital looks like something else than its small letter, so that either may have a row.
  return withRows(withRows(letters).toLowerCase())
}

function withRows(text: string): string {
  return text.replace(BEYOND_ASCII, letter => LETTERS.get(letter) ?? letter)
}

/** What stands behind each word looks like its first character. */
const ROWS = [
  'aаɑαΑАᴀᗅꓮᎪəǝⱥ@',
  'bьвβВΒЬʙƀɓꓐᏴЪъßᏏϐ',
  'cсϲСϹᴄꓚᏟƈȼ¢ⲥ',
  'dԁԀɗɖđᴅꓓᎠꓒð',
  'eеєЕΕεɛᴇꓰᎬɇ€ҽ℮ⲉ',
  'fƒꓝꜰϝſꞙẝ',
  'gɡցɢԌԍꓖᏀɠǥġ',
  'hһНΗнհʜꓧᎻħɦҺћђ',
  'iіІιΙıɩɪꓲᎥɨӏӀǀⅼ׀|!¡ןᛁ',
  'jјЈϳᴊꓙᎫɟʝ',
  'kкКκΚᴋꓗᏦƙҝϰ',
  'lʟꓡᏞłɫɭ',
  'mмМΜᴍꓟᎷɱⅿϺ',
  'nпΝηոռɴꓠŋɲƞ',
  'oоОοΟσօՕᴏꓳøɵⲟ०০੦૦௦౦೦൦๐໐၀〇◯○●ө',
  'pрРρΡᴘꓑᏢƥϱⲣ',
  'qԛԚզɋʠ',
  'rгɾʀꓣᎡᏒɍɽᴦ',
  'sѕЅʂꜱꓢᏚƽ§$ֆ',
  'tтТτΤᴛꓔᎢŧƭ†',
  'uυսʋᴜꓴμц∪',
  'vνѵѴᴠꓦᏙⅴ∨ט',
  'wѡԝԜᴡꓪᎳωшɯⱳ',
  'xхХχΧꓫ×ⅹ᙮',
  'yуУγΥʏꓬүҮƴɏỿ',
  'zΖᴢꓜᏃʐƶȥʑ',
  '.。·‧∙•٠۰⸱ꓸ᛫',
  '-‐‑‒–—―−⁃﹣ー⸺⸻ᅳ_',
  ':։׃∶꞉ː፡︰',
] as const

const LETTERS: ReadonlyMap<string, string> = letters()

/** Letters in squares and circles, and those that flags are made of, stand in a row of their own. */
function letters(): Map<string, string> {
  const map = new Map<string, string>()
  for (const [first = '', ...alike] of ROWS.map(row => Array.from(row)))
    for (const letter of alike) if (!map.has(letter)) map.set(letter, first)
  for (const start of [0x1f150, 0x1f170, 0x1f1e6])
    for (let at = 0; at < 26; at++)
      map.set(String.fromCodePoint(start + at), String.fromCharCode(0x61 + at))
  map.set('æ', 'ae').set('œ', 'oe')
  return map
}

const ASCII_FOLDS: Readonly<Record<string, string>> = {
  '0': 'o',
  '1': 'l',
  '3': 'e',
  '4': 'a',
  '5': 's',
  '7': 't',
  '8': 'b',
  i: 'l',
  '|': 'l',
  '!': 'l',
  $: 's',
  '@': 'a',
  _: '-',
}
const FOLDED = /[0134578i|!$@_]/g
const PAIRS = /rn|vv/g
const ASCII = /^[ -~]*$/
const BEYOND_ASCII = /[^\0-\x7f]/gu
/** Also the ligatures of whole Arabic phrases: none looks like ASCII, and one becomes 18 letters. */
const UNSEEN = /[\ufdf0-\ufdfd\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\p{Cs}\p{M}\u2800]/gu
