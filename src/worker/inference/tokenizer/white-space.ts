/** White space as Unicode and Rust define it: unlike in JavaScript, with U+0085 and without U+FEFF. */

const WHITE_SPACE = /\p{White_Space}/u;

export function isWhiteSpace(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  // All white space characters are single UTF-16 units.
  return unit === 0x20 || (unit < 0x80 ? unit >= 9 && unit <= 13 : WHITE_SPACE.test(text.charAt(index)));
}

/** Index of the first character at or after `from` that is not white space. */
export function skipWhiteSpace(text: string, from: number): number {
  let index = from;
  while (index < text.length && isWhiteSpace(text, index)) index++;
  return index;
}

/** Index after the last character before `to` that is not white space. */
export function skipWhiteSpaceBack(text: string, to: number): number {
  let index = to;
  while (index > 0 && isWhiteSpace(text, index - 1)) index--;
  return index;
}
