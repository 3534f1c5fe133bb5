/**
 * Text from outside on its way to a terminal or a log: a server's message, a file's name, a label of a model. Control
 * characters would steer the terminal, others hide or reorder what is shown.
 */

/**
 * All control characters (C0, DEL, C1), formats (marks and overrides of direction, zero-width spaces, tags), line separators,
 * and halves of surrogate pairs. The two joiners stay: scripts and emoji are written with them.
 */
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const UNSEEN_BUT_LF = /(?![\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** In one line, with what cannot be seen as escapes, as JSON has them: JSON stays the same JSON. */
export function printable(text: string): string {
  return text.replace(UNSEEN, escape);
}

/** The same of several lines. */
export function printableLines(text: string): string {
  return text.replace(UNSEEN_BUT_LF, escape);
}

function escape(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
