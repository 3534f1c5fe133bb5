/** Names languages for people: the API lists them as codes. */

const NAMES = new Intl.DisplayNames(['en'], { type: 'language' });
const LIST = new Intl.ListFormat('en', { type: 'conjunction' });

/** Languages named before the rest is counted. */
const SHOWN = 3;

/**
 * `English`, `English and Russian`, `English, Russian, German, and 11 more`
 * @param codes such as `en`
 */
export function languageList(codes: readonly string[], shown = SHOWN): string {
  const names = codes.map((code) => NAMES.of(code) ?? code);
  // "and 1 more" is no shorter than the name.
  if (names.length <= shown + 1) return LIST.format(names);
  return LIST.format([...names.slice(0, shown), `${names.length - shown} more`]);
}
