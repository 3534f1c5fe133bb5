/** Byte fallback: tokens for the 256 bytes, which encode the UTF-8 of characters that a vocabulary lacks. */
import type { Vocabulary } from './model.ts';

/** Ids of the byte tokens `<0x00>` … `<0xFF>`; undefined for a missing token. */
export function byteTokens(vocabulary: Vocabulary): (number | undefined)[] {
  return Array.from({ length: 256 }, (_, byte) =>
    vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  );
}

/** @returns undefined when one of the bytes has no token */
export function toBytes(text: string, tokens: readonly (number | undefined)[]): number[] | undefined {
  const ids: number[] = [];
  for (const byte of Buffer.from(text)) {
    const id = tokens[byte];
    if (id === undefined) return undefined;
    ids.push(id);
  }
  return ids;
}
