/** Which example texts the page shows below the field: those in languages that the chosen model reads. */

/** Examples shown at once: three or four rows on a phone. */
const SHOWN = 6;

/**
 * @param languages of the examples, in order
 * @param reads languages of the model; null: not known, so it may read English alone
 * @returns the indices of those to show
 */
export function examplesFor(languages: readonly string[], reads: readonly string[] | null): number[] {
  const readable = reads ?? ['en'];
  return languages.flatMap((language, i) => (readable.includes(language) ? [i] : [])).slice(0, SHOWN);
}
