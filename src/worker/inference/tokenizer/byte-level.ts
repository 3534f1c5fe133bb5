/** The alphabet of byte-level tokenizers: a printable character for each of the 256 bytes of UTF-8. */

const PRINTABLE = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
] as const;

/** Characters by byte: the byte itself if it is printable in Latin-1, else one from U+0100 on. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let others = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = PRINTABLE.some(([first, last]) => byte >= first && byte <= last);
    return String.fromCharCode(printable ? byte : others++);
  });
})();

const BYTE_UNITS = Uint16Array.from(BYTE_CHARACTERS, (character) => character.charCodeAt(0));
/** Matches most words, with the space before them. */
const PRINTABLE_WORD = /^ ?[!-~]*$/;

/** Replaces the UTF-8 bytes of a text by their characters. */
export function toByteCharacters(text: string): string {
  if (PRINTABLE_WORD.test(text))
    return text.startsWith(' ') ? `${BYTE_CHARACTERS[0x20]}${text.slice(1)}` : text;
  const bytes = Buffer.from(text);
  if (bytes.length <= FEW_BYTES) {
    let result = '';
    for (const byte of bytes) result += BYTE_CHARACTERS[byte] ?? '';
    return result;
  }
  const units = new Uint16Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) units[i] = BYTE_UNITS[bytes[i] ?? 0] ?? 0;
  return Buffer.from(units.buffer).toString('utf16le');
}

/** Up to this many bytes, a string is faster than a buffer. */
const FEW_BYTES = 64;
