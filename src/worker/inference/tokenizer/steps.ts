/**
 * Work on a text in steps, as generators: whoever runs one may do something else wherever it yields, and go on later. Long
 * texts take many milliseconds, and the event loop has other things to do.
 */

/** UTF-16 units of a text that are worked on in one step: the costliest take a few milliseconds. */
export const BLOCK_UNITS = 2048;

/** Takes all steps at once. */
export function finish<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/**
 * A text normalised block by block.
 * @param cutAt where the text may be cut, at or behind an index
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
