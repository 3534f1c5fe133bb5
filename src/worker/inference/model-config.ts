/**
 * Reads config.json and tokenizer_config.json as Transformers does. Python writes NaN into JSON, editors add a byte order mark,
 * and a value that one library omits is null, 0 or -1 in the files of another.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';

/** Larger limits mean none: tokenizers without a limit have 1e30. */
const MAX_LIMIT = 1e9;

/** A whole number above 0; undefined for every way to say "unknown": missing, null, NaN, 0, -1, and 1e30. */
const limit = z
  .unknown()
  .nullish()
  .transform((value, context) => {
    const number = numeric(value);
    if (number === undefined) return undefined;
    if (Number.isNaN(number)) {
      context.addIssue(`must be a number, not ${JSON.stringify(value)}`);
      return z.NEVER;
    }
    return number >= 1 && number <= MAX_LIMIT ? Math.floor(number) : undefined;
  });

/** A token id; undefined when it is missing, null or -1. */
const tokenId = z
  .unknown()
  .nullish()
  .transform((value) => {
    const id = numeric(value);
    return id !== undefined && Number.isInteger(id) && id >= 0 ? id : undefined;
  });

/** A number; undefined when the value is missing, NaN when it is not a number. */
function numeric(value: unknown): number | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string' && value.trim() !== '') return Number(value);
  return typeof value === 'number' ? value : Number.NaN;
}

/** Names of labels by index: an object, or a list. A name may be a number, as in Transformers; null means no name. */
const id2label = z
  .unknown()
  .nullish()
  .transform((value, context) => {
    const names = new Map<number, string>();
    if (value === undefined || value === null) return names;
    const entries = typeof value === 'object' ? Object.entries(value) : [];
    if (typeof value !== 'object') context.addIssue('must be an object: {"0": "NEGATIVE", …}');
    for (const [key, name] of entries as [string, unknown][]) {
      if (!/^\s*\d{1,9}\s*$/.test(key)) {
        context.addIssue(`id2label has a key that is not a number: ${JSON.stringify(key.slice(0, 40))}`);
        return z.NEVER;
      }
      if (name === null) continue;
      if (typeof name !== 'string' && typeof name !== 'number' && typeof name !== 'boolean') {
        context.addIssue(`the name of label ${key.trim()} is neither text nor a number`);
        return z.NEVER;
      }
      names.set(Number(key), String(name));
    }
    return names;
  });

/** The inverse of id2label, used when that is missing. Ignored as a whole when an id does not fit. */
const label2id = z
  .unknown()
  .nullish()
  .transform((value) => {
    const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
    const byId = entries.map(([name, id]) => [numeric(id), name] as const);
    const fits = byId.every(([id]) => id !== undefined && Number.isInteger(id) && id >= 0 && id < MAX_LIMIT);
    return new Map(fits ? (byId as [number, string][]) : []);
  });

const configSchema = z.object({
  model_type: z
    .unknown()
    .nullish()
    .transform((type) => (typeof type === 'string' && type !== '' ? type : undefined)),
  id2label,
  label2id,
  problem_type: z
    .enum(['single_label_classification', 'multi_label_classification', 'regression', ''])
    .nullish()
    .transform((type) => (type === null || type === '' ? undefined : type)),
  max_position_embeddings: limit,
  /** max_position_embeddings in GPT-2 and its relatives. */
  n_positions: limit,
  pad_token_id: tokenId,
  num_attention_heads: limit,
  n_head: limit,
  n_heads: limit,
});

const tokenizerConfigSchema = z.object({ model_max_length: limit });

export interface ModelConfig {
  /** `model_type`, such as `bert`. */
  family: string | undefined;
  /** By index; may have holes. */
  id2label: ReadonlyMap<number, string>;
  problemType: 'single_label_classification' | 'multi_label_classification' | 'regression' | undefined;
  padTokenId: number | undefined;
  /** Attention heads per layer: the memory of a long text grows with them. */
  heads: number | undefined;
  /** Most tokens of one text, special tokens included. */
  maxTokens: number;
  /** The source of maxTokens, for messages. */
  limitedBy: string;
  /** Position of a text's first token, for graphs that take positions as an input. */
  firstPosition: number;
}

/** Limit when neither the tokenizer nor the config has one. */
const FALLBACK_MAX_TOKENS = 512;

/** Two special tokens and one of the text. */
const MIN_TOKENS = 3;

/** Architectures that count positions from pad_token_id + 1, so that many position embeddings are never used. */
const OFFSET_POSITIONS = new Set([
  'roberta',
  'xlm-roberta',
  'camembert',
  'xlm-roberta-xl',
  'longformer',
  'mpnet',
  'data2vec-text',
  'ibert',
  'roberta-prelayernorm',
  'xmod',
  'luke',
  'esm',
  'lilt',
  'layoutlmv3',
  'markuplm',
]);

/**
 * Reads both files of a model folder.
 * @throws StartupError that names the file and what is wrong with it
 */
export function readModelConfig(root: string): ModelConfig {
  const config = readJson(root, 'config.json', configSchema);
  // Optional: not every tokenizer is saved with one, and tokenizer.json has everything that a model needs.
  const tokenizer = readJson(root, 'tokenizer_config.json', tokenizerConfigSchema, {});
  const firstPosition = OFFSET_POSITIONS.has(config.model_type ?? '') ? (config.pad_token_id ?? 1) + 1 : 0;
  return {
    family: config.model_type,
    id2label: config.id2label.size > 0 ? config.id2label : config.label2id,
    problemType: config.problem_type,
    padTokenId: config.pad_token_id,
    heads: config.num_attention_heads ?? config.n_head ?? config.n_heads,
    ...tokenLimit(config, tokenizer.model_max_length, firstPosition),
    firstPosition,
  };
}

function tokenLimit(
  config: z.infer<typeof configSchema>,
  maxLength: number | undefined,
  firstPosition: number,
): Pick<ModelConfig, 'maxTokens' | 'limitedBy'> {
  const name = config.max_position_embeddings === undefined ? 'n_positions' : 'max_position_embeddings';
  const positions = config.max_position_embeddings ?? config.n_positions;
  const usable = positions === undefined ? Infinity : positions - firstPosition;
  const smaller = Math.min(usable, maxLength ?? Infinity);
  const maxTokens = smaller === Infinity ? FALLBACK_MAX_TOKENS : smaller;
  if (maxTokens < MIN_TOKENS)
    throw new StartupError(`the model reads ${maxTokens} tokens of a text, which leaves no room for one`);
  const limitedBy =
    smaller === Infinity
      ? 'the default, as neither config.json nor tokenizer_config.json has one'
      : usable <= (maxLength ?? Infinity)
        ? `${name} in config.json`
        : 'model_max_length in tokenizer_config.json';
  return { maxTokens, limitedBy };
}

/** @param missing the content when the file does not exist; undefined: the file must exist */
export function readJson<S extends z.ZodType>(
  root: string,
  name: string,
  schema: S,
  missing?: object,
): z.output<S> {
  const file = path.join(root, name);
  try {
    const content = readFileSync(file, 'utf8');
    return schema.parse(parsePythonJson(content));
  } catch (error) {
    if (missing && (error as NodeJS.ErrnoException).code === 'ENOENT') return schema.parse(missing);
    throw new StartupError(`${file} cannot be used: ${reasonOf(error)}`, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return toError(error).message;
  return error.issues
    .map(({ path: at, message }) => (at.length > 0 ? `${at.join('.')}: ${message}` : message))
    .join('; ');
}

/**
 * Parses JSON as Python's json module writes it: NaN and Infinity are allowed, and become null. A byte order mark is skipped.
 * @throws SyntaxError
 */
export function parsePythonJson(text: string): unknown {
  const content = text.startsWith('\uFEFF') ? text.slice(1) : text;
  try {
    return JSON.parse(content) as unknown;
  } catch (error) {
    const replaced = content.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/gs, (found) =>
      found.startsWith('"') ? found : 'null',
    );
    if (replaced === content) throw error;
    return JSON.parse(replaced) as unknown;
  }
}
