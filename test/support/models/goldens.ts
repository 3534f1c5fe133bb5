/** Expected tokens and scores of many texts by Transformers and ONNX Runtime, made by models/prepare/goldens.py; see test/fixtures/README.md. */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

/** Token ids of one text, special tokens included, not cut; of a long one their number and a hash. */
export type GoldenIds = number[] | { count: number; sha256: string };

export interface Golden {
  /** Most tokens that the model reads. */
  max_tokens: number;
  rows: {
    /** Index into `texts`. */
    text: number;
    ids: GoldenIds;
    /** Label and score, best first, at most 10; of the text cut to `max_tokens`. */
    scores: [string, number][];
  }[];
  /** Token ids of the texts that this family or another reads differently. */
  different: number[][];
}

const FIXTURES = new URL('../../fixtures/', import.meta.url);

function readGolden(name: string): unknown {
  const file = new URL(`goldens/${name}.json.gz`, FIXTURES);
  return JSON.parse(gunzipSync(readFileSync(file)).toString('utf8'));
}

export const goldenTexts = readGolden('texts') as { texts: string[]; different: string[] };

/** Texts, and what the table nmt_nfkc of XLM-R makes of them. */
export const goldenNfkc = readGolden('nmt-nfkc') as [string, string][];

export const goldenOf = (model: string): Golden => readGolden(model) as Golden;

/** The tiny models of test/fixtures/models. */
export const tinyModels = (): string[] => readdirSync(new URL('models/', FIXTURES)).sort();

export interface Tolerance {
  /** Largest difference of a score. */
  max: number;
  /** Mean, over the texts, of the largest difference of a text's scores. */
  mean: number;
}

/**
 * How far scores may be from those of the golden files. With int8 graphs it depends on the CPU: its instructions round
 * floats a little differently, and what lies between two of the 255 steps of an activation then falls to the other side.
 * Of the shipped model's 443 texts, most of the 13 that this moves by more than 1e-4 (mean of all 1.4e-4, most 0.021)
 * have 512 tokens; no best label changes. Measured on AVX2 against AVX-512 VNNI.
 */
export function scoreTolerance(model: string): Tolerance {
  return ['int8', 'sst2-minilm'].includes(model) ? { max: 0.05, mean: 1e-3 } : { max: 1e-4, mean: 1e-4 };
}

/** Path of a tiny model, or of the shipped one. */
export function modelFolder(name: string): string {
  const url = name === 'sst2-minilm' ? '../../models/sst2-minilm' : `models/${name}`;
  return fileURLToPath(new URL(url, FIXTURES));
}

/** Token ids in the form that the golden files have them in. */
export function compactIds(ids: Int32Array, like: GoldenIds): GoldenIds {
  if (Array.isArray(like)) return [...ids];
  const bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength);
  return { count: ids.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** A text as a failure shows it: its number, and its beginning with nothing invisible in it. */
export function named(index: number, text: string): string {
  const shown = JSON.stringify(text.slice(0, 60)).replace(
    /[^\x20-\x7e\p{L}\p{N}\p{P}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
  return `text ${index} (${text.length} characters): ${shown}`;
}
