/** Finds how many tokens a graph accepts, by trying: config.json is not always right. */
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import type { EnginePool } from './engine-pool.ts';
import type { ModelFolder } from './model-folder.ts';

/** Rows up to this length are always tried: a small part of the tokens that calibration runs. */
const ALWAYS_TOKENS = 1024;
/** Longest time that a row may take, estimated from a shorter one: attention grows with the square. */
const MAX_TRIAL_MS = 2000;
/** Most bytes of the attention of one layer for a row: heads × tokens × tokens × 4. */
const MAX_TRIAL_BYTES = 512 * 2 ** 20;

export interface TokenLimit {
  /** Most tokens of a text that the graph accepts. */
  maxTokens: number;
  /** Longest row that was run; shorter than maxTokens where that would take too long. */
  triedTokens: number;
  /** Set when the limit is not the one of config.json. */
  warning?: string;
}

/**
 * Runs one row at the limit; if that fails, searches for the longest row that succeeds. A limit of thousands of tokens is tried
 * as far as time and memory allow.
 * @param ids tokens of a text, which the rows repeat
 * @param padId left out of the rows: some graphs count no position for it
 * @throws StartupError when the model process crashes
 */
export async function findTokenLimit(
  engines: EnginePool,
  { maxTokens: configured, limitedBy, heads = 1 }: ModelFolder,
  ids: Int32Array,
  padId: number | undefined,
): Promise<TokenLimit> {
  const fixed = engines.graph?.fixed?.tokens;
  const limit = Math.min(configured, fixed ?? Infinity);
  const own = ids.filter((id) => id !== padId);
  const reads = (tokens: number) => tryRow(engines, tokens, own.length > 0 ? own : ids);
  const warning = (maxTokens: number) =>
    `config.json and tokenizer_config.json allow ${configured} tokens (${limitedBy}), but the graph ` +
    `${fixed === undefined ? `fails beyond ${maxTokens}` : `takes ${maxTokens}`}: longer texts are cut there`;

  let good = 0;
  let tokens = Math.min(limit, ALWAYS_TOKENS);
  while (tokens > good) {
    const start = performance.now();
    if (!(await reads(tokens))) {
      const maxTokens = await largestBelow(tokens, good, padId, reads);
      return { maxTokens, triedTokens: maxTokens, warning: warning(maxTokens) };
    }
    const ms = performance.now() - start;
    good = tokens;
    const next = Math.min(limit, 2 * tokens);
    const affordable =
      ms * (next / tokens) ** 2 <= MAX_TRIAL_MS && 4 * heads * next * next <= MAX_TRIAL_BYTES;
    if (affordable) tokens = next;
  }
  return {
    maxTokens: limit,
    triedTokens: good,
    ...(limit < configured && { warning: warning(limit) }),
  };
}

async function tryRow(engines: EnginePool, tokens: number, ids: Int32Array): Promise<boolean> {
  const row = Int32Array.from({ length: tokens }, (_, i) => ids[i % ids.length] ?? 0);
  try {
    const [logits] = await engines.run([{ ids: row, typeIds: undefined }], { silent: true });
    return logits?.every(Number.isFinite) ?? false;
  } catch (error) {
    if (error instanceof EngineStopped) throw error;
    if (!(error instanceof ModelCrashed)) return false;
    throw new StartupError(
      `the model crashes on a text of ${tokens} tokens (${error.message}): set a smaller model_max_length in tokenizer_config.json`,
      { cause: error },
    );
  }
}

/** The longest row that succeeds, by bisection. @param good a length that succeeds, 0 if none was tried */
async function largestBelow(
  bad: number,
  good: number,
  padId: number | undefined,
  reads: (tokens: number) => Promise<boolean>,
): Promise<number> {
  let [low, high] = [good, bad];
  // The likely cause first: positions counted from the padding id + 1, as in RoBERTa.
  const likely = bad - (padId ?? 1) - 1;
  if (likely > low) {
    if (await reads(likely)) {
      low = likely;
      if (low + 1 < high && !(await reads(low + 1))) high = low + 1;
    } else high = likely;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await reads(middle)) low = middle;
    else high = middle;
  }
  if (low === 0) throw new StartupError('the graph fails on rows of any length');
  return low;
}
