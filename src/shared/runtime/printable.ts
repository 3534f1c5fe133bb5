/**
 * Escapes text from outside (a server's message, a file name, a model's label) for a terminal or a log: control characters would
 * steer the terminal, others would hide or reorder text.
 */

/**
 * All control characters (C0, DEL, C1), formats (marks and overrides of direction, zero-width spaces, tags), line separators,
 * and halves of surrogate pairs. The two joiners stay: scripts and emoji are written with them.
 */
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const UNSEEN_BUT_LF = /(?![\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** As one line; invisible characters become JSON escapes, so that JSON keeps its meaning. */
export function printable(text: string): string {
  return text.replace(UNSEEN, escape);
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text.replace(UNSEEN_BUT_LF, escape);
}

function escape(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
