/** Expected tokens of Unigram vocabularies by Python's tokenizers, made by models/prepare/unigram_goldens.py; see test/fixtures/README.md. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { withCharsmap, type Json } from './tokenizer-goldens.ts';

export interface UnigramGoldens {
  /** tokenizer.json of 7,851 pieces. */
  definition: Json;
  /** By language. */
  texts: Record<string, string[]>;
  ids: Record<string, number[][]>;
  hard: [text: string, ids: number[]][];
  /** Texts of one part repeated: how many ids, and their hash. */
  long: { unit: string; times: number; count: number; hash: string }[];
  /** Texts around a character, which stands for `{}`. */
  frames: string[];
  /**
   * By block of 256 code points: its first; how many frames its characters are tried in; a hash of the normal forms, one a line;
   * and a hash of the ids in the second frame.
   */
  characters: { starts: number[]; frames: number[]; forms: string[]; ids: string[] };
  /** Small vocabularies. */
  random: { definition: Json; texts: string[]; ids: number[][] }[];
}

const FILE = new URL('../../fixtures/goldens/unigram.json.gz', import.meta.url);

export const unigramGoldens = withCharsmap(gunzipSync(readFileSync(FILE)).toString()) as UnigramGoldens;

/** As the golden file has them: the first 8 digits of the SHA-256 of a text, or of ids as int32. */
export function hashOf(value: string | readonly number[]): string {
  const data = typeof value === 'string' ? value : Buffer.from(Int32Array.from(value).buffer);
  return createHash('sha256').update(data).digest('hex').slice(0, 8);
}
