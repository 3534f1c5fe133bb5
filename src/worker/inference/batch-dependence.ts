/** Batch dependence: how much a row's scores change with the other rows of its batch. */
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import type { EnginePool } from './engine-pool.ts';
import type { ModelInput } from './tokenizer.ts';

/** Largest differences between a row run alone and in a batch: of a score, and of a logit relative to the row's largest. */
export interface Dependence {
  score: number;
  logit: number;
}

/** Lengths of the synthetic rows, in tokens: from one word to the length of most texts. */
const SYNTHETIC_TOKENS = [1, 4, 13, 29, 47];
/** Longest row that is measured, in tokens: longer ones would slow down every start. */
const MAX_ROW_TOKENS = 64;
/** Number and length of the rows of equal length. */
const EQUAL_ROWS = 6;
const EQUAL_TOKENS = 16;

/**
 * Rows of different lengths: those of some texts, cut short, and synthetic ones, because a vocabulary of another script may
 * have a single token for a whole text.
 * @param ids synthetic rows use the token ids below this one
 */
export function mixedLengthRows(
  texts: readonly ModelInput[],
  { ids, padId, maxTokens }: { ids: number; padId: number; maxTokens: number },
): ModelInput[] {
  const maxLength = Math.min(maxTokens, MAX_ROW_TOKENS);
  const real = texts.map(({ ids: all, typeIds }) => ({
    ids: all.subarray(0, maxLength),
    typeIds: typeIds?.subarray(0, maxLength),
  }));
  const next = random(ids);
  const synthetic = SYNTHETIC_TOKENS.filter((tokens) => tokens <= maxLength).map((tokens) => ({
    ids: Int32Array.from({ length: tokens }, () => {
      const id = next();
      // Some graphs treat the padding id inside a text differently, which is not what is measured here.
      return id === padId ? (id + 1) % Math.max(ids, 1) : id;
    }),
    typeIds: undefined,
  }));
  return [...real, ...synthetic].filter((row) => row.ids.length > 0);
}

/** The same tokens cut into rows of one length. */
export function equalLengthRows(rows: readonly ModelInput[]): ModelInput[] {
  const all = rows.flatMap((row) => [...row.ids]);
  const tokens = Math.min(EQUAL_TOKENS, Math.floor(all.length / EQUAL_ROWS));
  return Array.from({ length: EQUAL_ROWS }, (_, i) => ({
    ids: Int32Array.from(all.slice(i * tokens, (i + 1) * tokens)),
    typeIds: undefined,
  }));
}

/**
 * Runs each row alone, then in batches with shorter and longer rows.
 * @throws StartupError when a batch fails although each of its rows succeeds alone
 */
export async function measureDependence(
  engines: EnginePool,
  rows: readonly ModelInput[],
  scoresOf: (logits: Float32Array) => number[],
): Promise<Dependence> {
  const tried = await Promise.allSettled(
    rows.map(async (row) => (await engines.run([row], { silent: true }))[0]),
  );
  const alone = rows.flatMap((row, i) => {
    const result = tried[i];
    if (result?.status === 'rejected' && isModelFailure(result.reason)) throw result.reason;
    // The graph may reject a synthetic row that no real text produces.
    return result?.status === 'fulfilled' && result.value ? [{ row, logits: result.value }] : [];
  });
  alone.sort((a, b) => a.row.ids.length - b.row.ids.length);
  const [first, last] = [alone[0], alone.at(-1)];
  const batches = [alone, alone.toReversed(), first && last && first !== last ? [last, first] : []];
  const worst: Dependence = { score: 0, logit: 0 };
  await Promise.all(
    batches.map(async (batch) => {
      if (batch.length < 2) return;
      const together = await runBatch(
        engines,
        batch.map(({ row }) => row),
      );
      batch.forEach(({ logits }, i) => {
        const other = together[i] ?? new Float32Array();
        worst.score = Math.max(worst.score, largest(scoresOf(logits), scoresOf(other)));
        const scale = logits.reduce((most, logit) => Math.max(most, Math.abs(logit)), 1);
        worst.logit = Math.max(worst.logit, largest([...logits], [...other]) / scale);
      });
    }),
  );
  return worst;
}

/** Whether the model process failed, and not a single row. */
const isModelFailure = (error: unknown): boolean =>
  error instanceof EngineStopped || error instanceof ModelCrashed || error instanceof StartupError;

async function runBatch(engines: EnginePool, rows: ModelInput[]): Promise<Float32Array[]> {
  try {
    return await engines.run(rows, { silent: true });
  } catch (error) {
    if (error instanceof EngineStopped) throw error;
    throw new StartupError(
      `the model fails on a batch of ${rows.length} texts, though it runs each of them alone: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** The largest difference; Infinity when a value is missing or not a number. */
function largest(a: readonly number[], b: readonly number[]): number {
  return a.reduce((most, value, i) => {
    const difference = Math.abs(value - (b[i] ?? Number.NaN));
    return Number.isNaN(difference) ? Infinity : Math.max(most, difference);
  }, 0);
}

/** Pseudorandom numbers below `limit`, the same at every start (Lehmer's generator). */
function random(limit: number): () => number {
  let state = 20_240_229;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return limit > 0 ? state % limit : 0;
  };
}
