/**
 * What counts as a text. JavaScript strings count UTF-16 units, people count characters: limits here are in Unicode code
 * points, so 5,000 emoji are 5,000 and not 10,000.
 */

const SURROGATE = /[\ud800-\udfff]/;

/** Number of Unicode code points. A surrogate pair is one; so is a lone surrogate. */
export function countCodePoints(text: string): number {
  // Found in native code, and without looking at a text of Latin letters.
  if (!SURROGATE.test(text)) return text.length;
  let pairs = 0;
  for (let i = 0; i < text.length - 1; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      pairs++;
      i++;
    }
  }
  return text.length - pairs;
}

/**
 * Why a string cannot be classified, or undefined when it can.
 *
 * NUL and lone surrogates are refused rather than cleaned: neither survives the way through JSON, Redis and a tokenizer
 * in every language, so the caller would get a score for a text that was not theirs.
 */
export function textProblem(text: string, maxChars: number): string | undefined {
  if (text.length === 0) return 'must not be empty';
  if (!text.isWellFormed())
    return 'contains a lone surrogate (half of a UTF-16 pair), so it is not valid Unicode';
  if (text.includes('\0')) return 'contains a NUL character';
  if (text.trim() === '') return 'must contain something other than white space';
  return tooManyChars(text, maxChars);
}

/** Beyond so many times the limit nobody needs to know how many characters there are. */
const COUNTED_TIMES = 20;

/** Why a text has too many code points, or undefined when it has not. */
export function tooManyChars(text: string, maxChars: number): string | undefined {
  // No code point is more than two units long, so most texts need no counting, and megabytes get none.
  if (text.length <= maxChars) return undefined;
  const counted = text.length <= COUNTED_TIMES * maxChars;
  const chars = counted ? countCodePoints(text) : (COUNTED_TIMES / 2) * maxChars;
  if (chars <= maxChars) return undefined;
  return `has ${counted ? chars : `more than ${chars}`} characters; at most ${maxChars} are allowed`;
}

/**
 * A character that leaves a mark on a page: neither white space, nor a control or format character, nor one that fonts draw
 * as a blank. Some format characters are drawn, such as the Arabic number sign (Prepended_Concatenation_Mark, which
 * JavaScript does not know).
 */
const VISIBLE =
  /[^[\u{16FE4}\s\p{Z}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800\u{1D159}]--[\u0600-\u0605\u06DD\u070F\u0890\u0891\u08E2\u{110BD}\u{110CD}]]/v;

/** Whether a text has nothing that a reader could see, such as two zero-width spaces or a lone variation selector. */
export function isInvisible(text: string): boolean {
  return !VISIBLE.test(text);
}

/** The first `maxChars` UTF-16 units of a text and `…`, or the text when it is no longer; no surrogate pair is cut. */
export function shorten(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars).replace(/[\ud800-\udbff]$/, '')}…`;
}
