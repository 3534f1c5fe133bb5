/**
 * Rules for texts. JavaScript counts UTF-16 units, people count characters: limits are in Unicode code points, so that 5,000 emoji
 * count as 5,000 and not 10,000.
 */

const SURROGATE = /[\ud800-\udfff]/;

/** Number of Unicode code points. A surrogate pair is one; so is a lone surrogate. */
export function countCodePoints(text: string): number {
  // Searched in native code, which skips a text of Latin letters at once.
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
 * NUL and lone surrogates are refused rather than removed: neither survives JSON, Redis and tokenizers of every language, so the
 * caller would get a score for another text.
 */
export function textProblem(text: string, maxChars: number): string | undefined {
  if (text.length === 0) return 'must not be empty';
  if (!text.isWellFormed())
    return 'contains a lone surrogate (half of a UTF-16 pair), so it is not valid Unicode';
  if (text.includes('\0')) return 'contains a NUL character';
  if (text.trim() === '') return 'must contain something other than white space';
  return tooManyChars(text, maxChars);
}

/** Multiple of the limit above which characters are no longer counted. */
const COUNTED_TIMES = 20;

/** Why a text is too long; undefined when it is not. */
export function tooManyChars(text: string, maxChars: number): string | undefined {
  // A code point has at most two units, so most texts need no counting, and texts of megabytes get none.
  if (text.length <= maxChars) return undefined;
  const counted = text.length <= COUNTED_TIMES * maxChars;
  const chars = counted ? countCodePoints(text) : (COUNTED_TIMES / 2) * maxChars;
  if (chars <= maxChars) return undefined;
  return `has ${counted ? chars : `more than ${chars}`} characters; at most ${maxChars} are allowed`;
}

/**
 * A visible character: neither white space, nor a control or format character, nor one that fonts draw as a blank. Some format characters are drawn, such as the Arabic number sign (Prepended_Concatenation_Mark, which
 * JavaScript does not know).
 */
const VISIBLE =
  /[^[\u{16FE4}\s\p{Z}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800\u{1D159}]--[\u0600-\u0605\u06DD\u070F\u0890\u0891\u08E2\u{110BD}\u{110CD}]]/v;

/** Whether a text has no visible character, such as two zero-width spaces or a lone variation selector. */
export function isInvisible(text: string): boolean {
  return !VISIBLE.test(text);
}

/** Names for a message, shortened in number and length: a "header" that is in fact a text must not become a megabyte. */
export function listed(names: readonly string[]): string {
  const some = names.slice(0, 20).map((name) => shorten(name, 40));
  return some.join(', ') + (names.length > some.length ? ', …' : '');
}

/** The first `maxChars` UTF-16 units of a text and `…`, or the text when it is no longer; no surrogate pair is cut. */
export function shorten(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars).replace(/[\ud800-\udbff]$/, '')}…`;
}
