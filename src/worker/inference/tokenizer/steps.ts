/**
 * Work on a text in steps, as generators: a caller may do other work wherever one yields, and continue later. Long texts take many
 * milliseconds, during which the event loop must not be blocked.
 */

/** UTF-16 units of a text that are processed in one step: the slowest take a few milliseconds. */
export const BLOCK_UNITS = 2048;

/** Runs all steps at once. */
export function finish<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/**
 * Normalises a text block by block.
 * @param cutAt the first place at or after an index where the text may be cut
 */
export function* inBlocks(
  text: string,
  normalize: (block: string) => string,
  cutAt: (from: number) => number,
): Generator<void, string> {
  let result = '';
  let start = 0;
  while (text.length - start > 2 * BLOCK_UNITS) {
    const end = cutAt(start + BLOCK_UNITS);
    result += normalize(text.slice(start, end));
    start = end;
    yield;
  }
  return result + normalize(text.slice(start));
}

export function isHighSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xd800;
}

export function isLowSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xdc00;
}
