/** The alphabet of byte-level tokenizers: a printable character for each of the 256 bytes of UTF-8. */

const PRINTABLE = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
] as const;

/** By byte: itself if it is printable in Latin-1, else one from U+0100 on. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let others = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = PRINTABLE.some(([first, last]) => byte >= first && byte <= last);
    return String.fromCharCode(printable ? byte : others++);
  });
})();

/** The bytes of a text's UTF-8, each as its character. */
export function toByteCharacters(text: string): string {
  let result = '';
  for (const byte of Buffer.from(text)) result += BYTE_CHARACTERS[byte] ?? '';
  return result;
}
