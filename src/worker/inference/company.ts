/** Rows alone and in company: how much of a score is due to the other rows of its batch. */
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import type { EnginePool } from './engine-pool.ts';
import type { ModelInput } from './tokenizer.ts';

/** Largest differences between a row alone and in company: of a score, and of a logit relative to the row's largest. */
export interface Difference {
  score: number;
  logit: number;
}

/** Tokens of the made-up rows: as short as a word, and about as long as most texts. */
const MADE_UP_TOKENS = [1, 4, 13, 29, 47];
/** Tokens of a row that takes part: more cost time at every start. */
const MAX_ROW_TOKENS = 64;
/** Rows of equal length, and their length. */
const EQUAL_ROWS = 6;
const EQUAL_TOKENS = 16;

/**
 * The rows of some texts, cut to be short, and made-up ones: a vocabulary of another script has one token for all of a text.
 * @param ids the first of these ids are used
 */
export function companyOf(
  texts: readonly ModelInput[],
  { ids, padId, maxTokens }: { ids: number; padId: number; maxTokens: number },
): ModelInput[] {
  const room = Math.min(maxTokens, MAX_ROW_TOKENS);
  const real = texts.map(({ ids: all, typeIds }) => ({
    ids: all.subarray(0, room),
    typeIds: typeIds?.subarray(0, room),
  }));
  const next = random(ids);
  const madeUp = MADE_UP_TOKENS.filter((tokens) => tokens <= room).map((tokens) => ({
    ids: Int32Array.from({ length: tokens }, () => {
      const id = next();
      // A row that has the padding id as text is another question.
      return id === padId ? (id + 1) % Math.max(ids, 1) : id;
    }),
    typeIds: undefined,
  }));
  return [...real, ...madeUp].filter((row) => row.ids.length > 0);
}

/** Of rows of any length, as many of one length. */
export function equalCompany(rows: readonly ModelInput[]): ModelInput[] {
  const all = rows.flatMap((row) => [...row.ids]);
  const tokens = Math.min(EQUAL_TOKENS, Math.floor(all.length / EQUAL_ROWS));
  return Array.from({ length: EQUAL_ROWS }, (_, i) => ({
    ids: Int32Array.from(all.slice(i * tokens, (i + 1) * tokens)),
    typeIds: undefined,
  }));
}

/**
 * Runs each row alone, then in batches of several sizes, beside shorter and longer ones.
 * @throws StartupError when a batch fails whose rows did not
 */
export async function differenceIn(
  engines: EnginePool,
  rows: readonly ModelInput[],
  scoresOf: (logits: Float32Array) => number[],
): Promise<Difference> {
  const tried = await Promise.allSettled(rows.map(async (row) => (await engines.run([row], true, true))[0]));
  const alone = rows.flatMap((row, i) => {
    const result = tried[i];
    if (result?.status === 'rejected' && isAboutModel(result.reason)) throw result.reason;
    // A made-up row may be one that no text makes, and that the graph refuses.
    return result?.status === 'fulfilled' && result.value ? [{ row, logits: result.value }] : [];
  });
  alone.sort((a, b) => a.row.ids.length - b.row.ids.length);
  const [first, last] = [alone[0], alone.at(-1)];
  const batches = [alone, alone.toReversed(), first && last && first !== last ? [last, first] : []];
  const worst: Difference = { score: 0, logit: 0 };
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

/** Not about a row. */
const isAboutModel = (error: unknown): boolean =>
  error instanceof EngineStopped || error instanceof ModelCrashed || error instanceof StartupError;

async function runBatch(engines: EnginePool, rows: ModelInput[]): Promise<Float32Array[]> {
  try {
    return await engines.run(rows, true, true);
  } catch (error) {
    if (error instanceof EngineStopped) throw error;
    throw new StartupError(
      `a batch of ${rows.length} texts fails, each of which the model takes alone: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** The largest difference; a value that is missing or not a number differs by all there is. */
function largest(a: readonly number[], b: readonly number[]): number {
  return a.reduce((most, value, i) => {
    const difference = Math.abs(value - (b[i] ?? Number.NaN));
    return Number.isNaN(difference) ? Infinity : Math.max(most, difference);
  }, 0);
}

/** The same numbers below `limit` at every start (Lehmer's generator). */
function random(limit: number): () => number {
  let state = 20_240_229;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return limit > 0 ? state % limit : 0;
  };
}
