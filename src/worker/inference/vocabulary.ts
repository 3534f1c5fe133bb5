/** The token ids that the tokenizer of a model folder can produce: the graph must have an embedding for each. */
import type { JsonObject } from './tokenizer/json.ts';

export interface VocabularyRange {
  /** Largest id of the vocabulary itself, which any text may contain. */
  largest: number;
  /** Added tokens by id: a text has one only where it spells the token out. */
  added: ReadonlyMap<number, string>;
}

/** @param definition tokenizer.json */
export function vocabularyRange(definition: JsonObject): VocabularyRange {
  const { model, added_tokens: added } = definition as {
    model?: { vocab?: object };
    added_tokens?: { id?: unknown; content?: unknown }[];
  };
  const byId = new Map<number, string>();
  for (const { id, content } of added ?? [])
    if (typeof id === 'number' && typeof content === 'string') byId.set(id, content);
  const vocab = model?.vocab ?? {};
  // Unigram models list their tokens; the others map tokens to ids, often including added ones.
  if (Array.isArray(vocab)) return { largest: vocab.length - 1, added: byId };
  let largest = -1;
  for (const id of Object.values(vocab) as number[]) if (id > largest && !byId.has(id)) largest = id;
  return { largest, added: byId };
}
