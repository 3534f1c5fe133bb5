/** Which ids the tokenizer of a model folder can make: the graph must have an embedding for each. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parsePythonJson } from './model-config.ts';

export interface VocabularyRange {
  /** Largest id of the vocabulary itself, which any text may contain. */
  largest: number;
  /** Added tokens, by id: a text contains one only when it is spelt out. */
  added: ReadonlyMap<number, string>;
}

/** @returns undefined when tokenizer.json cannot be read; the tokenizer says what is wrong with it */
export function readVocabularyRange(folder: string): VocabularyRange | undefined {
  try {
    const { model, added_tokens: added } = parsePythonJson(
      readFileSync(path.join(folder, 'tokenizer.json'), 'utf8'),
    ) as { model?: { vocab?: object }; added_tokens?: { id?: unknown; content?: unknown }[] };
    const byId = new Map<number, string>();
    for (const { id, content } of added ?? [])
      if (typeof id === 'number' && typeof content === 'string') byId.set(id, content);
    const vocab = model?.vocab ?? {};
    // Unigram lists its tokens; the others map them to ids, added ones often among them.
    let largest = Array.isArray(vocab) ? vocab.length - 1 : -1;
    if (!Array.isArray(vocab)) {
      for (const id of Object.values(vocab) as number[]) if (id > largest && !byId.has(id)) largest = id;
    }
    return { largest, added: byId };
  } catch {
    return undefined;
  }
}
