/** Expected tokens of texts by Python's tokenizers, made by models/prepare/tokenizer_cases.py; see test/fixtures/README.md. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';

export type Json = Record<string, unknown>;

export interface TokenizerGoldens {
  texts: string[];
  tokenizers: {
    name: string;
    /** tokenizer.json. */
    definition: Json;
    /** By text, special tokens included. */
    ids: number[][];
    /** Segment ids by text; missing when all are 0. */
    types?: number[][];
  }[];
  /** Texts that Transformers cut to `limit` tokens. */
  truncated: { tokenizer: string; side: 'left' | 'right'; text: number; limit: number; ids: number[] }[];
  /** Texts that Transformers encodes where tokenizer_config.json says otherwise than tokenizer.json. */
  configured: { tokenizer: string; config: Json; texts: number[]; ids: number[][] }[];
  /** What Python does not load. */
  rejected: { name: string; definition: Json }[];
}

const FIXTURES = new URL('../../fixtures/', import.meta.url);

/** Parses a golden file, which has the table of a certain tokenizer by name. */
export function withCharsmap(text: string): unknown {
  const file = readFileSync(new URL('models/xlm-roberta/tokenizer.json', FIXTURES), 'utf8');
  const { normalizer } = JSON.parse(file) as { normalizer: { precompiled_charsmap: string } };
  return JSON.parse(text, (_, value: unknown) =>
    value === 'CHARSMAP' ? normalizer.precompiled_charsmap : value,
  ) as unknown;
}

/** The golden file has models that several tokenizers share by name. */
function readGoldens(): TokenizerGoldens {
  const text = gunzipSync(readFileSync(new URL('goldens/tokenizers.json.gz', FIXTURES))).toString('utf8');
  const goldens = withCharsmap(text) as TokenizerGoldens & { models: Record<string, Json> };
  for (const { definition } of goldens.tokenizers)
    definition.model = goldens.models[definition.model as string];
  return goldens;
}

export const tokenizerGoldens = readGoldens();

/** @returns a new folder with these files, to be removed by the caller */
export function tokenizerFolder(definition: unknown, config?: unknown): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-tokenizer-'));
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(definition));
  if (config !== undefined) writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  return folder;
}
