/** Cuts a text at the matches of a pattern, as `NormalizedString::split` of Python's tokenizers does. */
import { NEWER } from './unicode-tables.ts';

export type SplitBehavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** A stretch of the text: where it ends, and whether the pattern matched it. Each begins where the one before ends. */
type Stretch = [end: number, isMatch: boolean];

/**
 * @param pattern with the flag `g`
 * @param invert takes what lies between the matches for the matches
 * @returns the pieces that are not empty, in order
 */
export function split(text: string, pattern: RegExp, behavior: SplitBehavior, invert = false): string[] {
  const stretches = stretchesOf(text, pattern, invert);
  const kept = behavior === 'Isolated' || behavior === 'Removed' ? stretches : merge(stretches, behavior);
  const pieces: string[] = [];
  let start = 0;
  for (const [end, isMatch] of kept) {
    if (end > start && !(isMatch && behavior === 'Removed')) pieces.push(text.slice(start, end));
    start = end;
  }
  return pieces;
}

/**
 * Where a pattern matches: as in Python, where nothing matches in an empty text, and no empty match lies right behind
 * another match.
 */
export function* matchesOf(text: string, pattern: RegExp): Generator<[start: number, end: number]> {
  if (text === '') return;
  let previous = -1;
  for (const { 0: match, index } of asUnicode16(text).matchAll(pattern)) {
    if (match === '' && index === previous) continue;
    previous = index + match.length;
    yield [index, previous];
  }
}

const NEWER_CHARACTERS = new RegExp(`[${NEWER}]`, 'gu');

/** Characters that JavaScript's regular expressions know and Python's do not, replaced by unassigned ones of their length. */
function asUnicode16(text: string): string {
  if (text.search(NEWER_CHARACTERS) === -1) return text;
  return text.replace(NEWER_CHARACTERS, (character) => (character.length === 1 ? '\u0378' : '\u{1FFFF}'));
}

function stretchesOf(text: string, pattern: RegExp, invert: boolean): Stretch[] {
  const stretches: Stretch[] = [];
  let previous = 0;
  for (const [start, end] of matchesOf(text, pattern)) {
    if (previous !== start) stretches.push([start, invert]);
    stretches.push([end, !invert]);
    previous = end;
  }
  if (previous !== text.length) stretches.push([text.length, invert]);
  return stretches;
}

function merge(stretches: readonly Stretch[], behavior: SplitBehavior): Stretch[] {
  const merged: Stretch[] = [];
  let previousMatch = false;
  if (behavior === 'MergedWithNext') {
    // From the end, where a match joins what follows it unless that is a match, too.
    for (const [end, isMatch] of stretches.toReversed()) {
      if (!(isMatch && !previousMatch && merged.length > 0)) merged.push([end, false]);
      previousMatch = isMatch;
    }
    return merged.reverse();
  }
  for (const [end, isMatch] of stretches) {
    const joins = behavior === 'Contiguous' ? isMatch === previousMatch : isMatch && !previousMatch;
    const last = merged.at(-1);
    if (joins && last) last[0] = end;
    else merged.push([end, false]);
    previousMatch = isMatch;
  }
  return merged;
}
