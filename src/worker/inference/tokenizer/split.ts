/** Cuts a text at the matches of a pattern, as `NormalizedString::split` of Python's tokenizers does. */
import { BLOCK_UNITS, isHighSurrogate } from './steps.ts';
import { NEWER } from './unicode-tables.ts';

export type SplitBehavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/**
 * Cuts a long text lazily, only as far as pieces are read: the model often needs only its beginning.
 * @param pattern with the flags `g` and `u`
 * @param invert the stretches between the matches count as the matches
 * @returns the pieces in order, without empty ones
 */
export function split(
  text: string,
  pattern: RegExp,
  behavior: SplitBehavior,
  invert = false,
): Iterable<string> {
  const searched = searchable(text, pattern);
  const isPlain = searched === text && text.length <= BLOCK_UNITS;
  const all = isPlain ? allMatches(text, pattern, behavior, invert) : undefined;
  return all ?? piecesOf(text, searched, pattern, behavior, invert);
}

/** A faster way, for pieces that are the matches; undefined when they are not. */
function allMatches(
  text: string,
  pattern: RegExp,
  behavior: SplitBehavior,
  invert: boolean,
): string[] | undefined {
  if (!(behavior === 'Isolated' || (behavior === 'Removed' && invert))) return undefined;
  const matches = text.match(pattern) ?? [];
  let units = 0;
  for (const { length } of matches) {
    if (length === 0) return undefined;
    units += length;
  }
  return behavior === 'Removed' || units === text.length ? matches : undefined;
}

/** Joins stretches of text, each a match or the text between two matches, into pieces. */
function* piecesOf(
  text: string,
  searched: string,
  pattern: RegExp,
  behavior: SplitBehavior,
  invert: boolean,
): Generator<string> {
  let start = 0;
  let end = 0;
  /** Whether the last stretch of the piece, up to `end`, is a match; undefined before the first. */
  let isMatch: boolean | undefined;
  const begins = (nextIsMatch: boolean) => isMatch !== undefined && !joins(isMatch, nextIsMatch, behavior);
  const isPiece = () => end > start && !(isMatch === true && behavior === 'Removed');
  for (const [from, to] of matchesIn(searched, pattern)) {
    if (from > end) {
      if (begins(invert)) {
        if (isPiece()) yield text.slice(start, end);
        start = end;
      }
      [end, isMatch] = [from, invert];
    }
    if (begins(!invert)) {
      if (isPiece()) yield text.slice(start, end);
      start = end;
    }
    [end, isMatch] = [to, !invert];
  }
  if (end < text.length) {
    if (begins(invert)) {
      if (isPiece()) yield text.slice(start, end);
      start = end;
    }
    [end, isMatch] = [text.length, invert];
  }
  if (isPiece()) yield text.slice(start, end);
}

/** Whether two adjacent stretches belong to the same piece. */
function joins(isMatch: boolean, nextIsMatch: boolean, behavior: SplitBehavior): boolean {
  switch (behavior) {
    case 'Contiguous':
      return isMatch === nextIsMatch;
    case 'MergedWithPrevious':
      return nextIsMatch && !isMatch;
    case 'MergedWithNext':
      return isMatch && !nextIsMatch;
    default:
      return false;
  }
}

/**
 * The places where a pattern matches. As in Python, nothing matches in an empty text, and no empty match follows directly after
 * another match.
 */
export function matchesOf(text: string, pattern: RegExp): Iterable<[start: number, end: number]> {
  return matchesIn(searchable(text, pattern), pattern);
}

function* matchesIn(text: string, pattern: RegExp): Generator<[start: number, end: number], undefined> {
  let previous = -1;
  for (let from = text === '' ? 1 : 0; from <= text.length;) {
    // The pattern may be in use for another text at the same time.
    pattern.lastIndex = from;
    const found = pattern.exec(text);
    if (!found) return;
    const { 0: match, index } = found;
    const end = index + match.length;
    from = match === '' ? index + (isHighSurrogate(text.charCodeAt(index)) ? 2 : 1) : end;
    if (match === '' && index === previous) continue;
    previous = end;
    yield [index, end];
  }
}

const NEWER_CHARACTERS = new RegExp(`[${NEWER}]`, 'gu');

/**
 * For patterns with Unicode properties: replaces characters that JavaScript's regular expressions know and Python's do not by
 * unassigned ones of the same length.
 */
function searchable(text: string, { source }: RegExp): string {
  if (!/\\p/i.test(source) || text.search(NEWER_CHARACTERS) === -1) return text;
  return text.replace(NEWER_CHARACTERS, (character) => (character.length === 1 ? '\u0378' : '\u{1FFFF}'));
}
