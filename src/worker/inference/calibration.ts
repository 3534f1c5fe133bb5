/**
 * Calibration: measures how many padded tokens a batch should have on this machine, once the model is warm.
 *
 * Small batches waste time per run, large ones only add latency: per token the curve falls, is flat, and rises again when a
 * batch outgrows the caches. The budget is the smallest one whose cost per token is within TOLERANCE of the best, so
 * that a row waits for as little as possible, and no batch may take longer than the lane's limit.
 */
import type { Config } from '../../shared/runtime/config.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import type { Lane } from './batcher.ts';
import type { EnginePool } from './engine-pool.ts';
import type { ModelProbe } from './model-probe.ts';

/** Times of batches of `tokens` padded tokens, in ms, one per repetition. */
export interface Sample {
  tokens: number;
  ms: number[];
}

export interface Budgets {
  interactive: number;
  background: number;
  /** Best cost found, in µs per padded token. */
  microsPerToken: number;
  /** Why the measurement was not used; the budgets are then FALLBACK_TOKENS. */
  fallback?: string;
}

/** Budget when the measurement is implausible: near the knee on every CPU tried so far. */
export const FALLBACK_TOKENS = 256;

/** Padded tokens of the batches that are timed. */
export const CANDIDATES = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048];

/** Length of the rows in these batches: about that of most texts. */
export const ROW_TOKENS = 32;

const REPETITIONS = 4;
/**
 * Five calibrations each on the machine it was tuned on: 1.1 chose 128 to 192 tokens for the shipped model and 96 for one of
 * DistilBERT's size, 1.03 chooses 192 to 384 and 128 to 256. With 64 clients that makes 6 rows a batch instead of 3.7, and
 * the model some 10 % cheaper a row. A service that is not full fills neither.
 */
const TOLERANCE = 1.03;

/** Largest ratio between the costs per token of two batches before the measurement counts as noise. */
const MAX_SPREAD = 3;

/**
 * Times batches of every size, in turn, so that a slow moment affects all sizes alike. Larger sizes are left out as soon as they
 * would take longer than any lane allows: they could not be chosen, and the process would keep the memory that they need.
 * @param run runs a batch of `rows` rows of `tokens` tokens; resolves when it is done
 * @param longestMs longest batch that may be chosen
 * @param maxTokens of a row
 * @param rowTokens length of the rows
 */
export async function measure(
  run: (rows: number, tokens: number) => Promise<unknown>,
  longestMs: number,
  maxTokens = Infinity,
  now: () => number = () => performance.now(),
  rowTokens = Math.min(ROW_TOKENS, maxTokens),
): Promise<Sample[]> {
  const time = async (tokens: number): Promise<number> => {
    const start = now();
    await run(Math.max(1, Math.round(tokens / rowTokens)), rowTokens);
    return now() - start;
  };
  const samples: Sample[] = [];
  let msPerToken = Infinity;
  for (const tokens of CANDIDATES) {
    // Not judged by the first sizes alone: a single slow moment would end the measurement.
    if (tokens > FALLBACK_TOKENS && tokens * msPerToken > longestMs) break;
    const ms = await time(tokens);
    samples.push({ tokens, ms: [ms] });
    msPerToken = Math.min(msPerToken, ms / tokens);
  }
  for (let round = 1; round < REPETITIONS; round++)
    for (const { tokens, ms } of samples) ms.push(await time(tokens));
  return samples;
}

/**
 * Chooses the token budgets from the measured times.
 * @param limits longest batch of each lane, in ms
 */
export function chooseBudgets(
  samples: Sample[],
  limits: { interactiveMs: number; backgroundMs: number },
): Budgets {
  // The fastest repetition was disturbed least by other processes.
  const costs = samples.map(({ tokens, ms }) => ({
    tokens,
    ms: Math.min(...ms),
    micros: (Math.min(...ms) / tokens) * 1000,
  }));
  const best = Math.min(...costs.map(({ micros }) => micros));
  const problem = implausibleReason(costs, best);
  if (problem !== undefined) {
    return {
      interactive: FALLBACK_TOKENS,
      background: FALLBACK_TOKENS,
      microsPerToken: best,
      fallback: problem,
    };
  }
  const good = costs.find(({ micros }) => micros <= best * TOLERANCE)?.tokens ?? FALLBACK_TOKENS;
  const within = (limitMs: number) => {
    const fitting = costs.filter(({ ms }) => ms <= limitMs).map(({ tokens }) => tokens);
    const longest = Math.max(...fitting, Math.min(...CANDIDATES));
    return Math.min(good, longest);
  };
  return {
    interactive: within(limits.interactiveMs),
    background: within(limits.backgroundMs),
    microsPerToken: best,
  };
}

/** Why these measurements cannot be right; undefined when they are plausible. */
function implausibleReason(
  costs: { tokens: number; ms: number; micros: number }[],
  best: number,
): string | undefined {
  if (!costs.every(({ ms }) => Number.isFinite(ms) && ms > 0)) return 'a batch took no time';
  const falls = costs.find(({ ms }, i) => i > 0 && ms < (costs[i - 1]?.ms ?? 0) * 0.8);
  if (falls) return `${falls.tokens} tokens were faster than fewer tokens`;
  // Above the smallest sizes, where the fixed cost of a run counts, the curve is nearly flat.
  const settled = costs.filter(({ tokens }) => tokens >= FALLBACK_TOKENS);
  const worst = Math.max(...settled.map(({ micros }) => micros));
  if (worst > best * MAX_SPREAD)
    return `the cost of a token varied from ${best.toFixed(0)} to ${worst.toFixed(0)} µs`;
  return undefined;
}

/** Times batches of synthetic rows on the model itself, up to those that take `longestMs`. */
export function timeBatches(
  engines: EnginePool,
  { maxTokens, batching }: Pick<ModelProbe, 'maxTokens' | 'batching'>,
  longestMs: number,
): Promise<Sample[]> {
  const run = async (count: number, tokens: number): Promise<void> => {
    const row = { ids: new Int32Array(tokens).fill(1), typeIds: undefined };
    const rows = Array.from({ length: count }, () => row);
    if (batching === 'row_by_row') for (const each of rows) await engines.run([each]);
    else await engines.run(rows);
  };
  const tokens = engines.graph?.fixed?.tokens;
  return measure(run, longestMs, tokens ?? maxTokens, undefined, tokens);
}

/** Bytes of bulk input per token, with the syntax around the texts. Used only to estimate how long a chunk takes. */
const BYTES_PER_TOKEN = 6;

export interface Calibrated {
  /** Token budget of each lane: from the settings, else as measured on this machine. */
  budgets: Record<Lane, number>;
  /** Bytes of bulk input that one model process classifies in about a second; undefined when nothing was measured. */
  chunkBytes?: number;
}

/** Chooses the token budgets of a worker: from the settings where they are set, else by timing batches. */
export async function calibrate(
  engines: EnginePool,
  probe: Pick<ModelProbe, 'maxTokens' | 'batching'>,
  config: Config,
  logger: Logger,
): Promise<Calibrated> {
  const { BATCH_TOKENS, BULK_BATCH_TOKENS, MAX_BATCH_MS, MAX_BULK_BATCH_MS } = config;
  if (BATCH_TOKENS !== undefined && BULK_BATCH_TOKENS !== undefined) {
    return { budgets: { interactive: BATCH_TOKENS, low: BULK_BATCH_TOKENS, bulk: BULK_BATCH_TOKENS } };
  }
  const samples = await timeBatches(engines, probe, Math.max(MAX_BATCH_MS, MAX_BULK_BATCH_MS));
  const measured = chooseBudgets(samples, { interactiveMs: MAX_BATCH_MS, backgroundMs: MAX_BULK_BATCH_MS });
  const interactive = BATCH_TOKENS ?? measured.interactive;
  const background = BULK_BATCH_TOKENS ?? measured.background;
  const figures = { interactive, background, us_per_token: Math.round(measured.microsPerToken * 10) / 10 };
  if (measured.fallback !== undefined)
    logger.warn(
      { ...figures, reason: measured.fallback },
      'implausible measurement of batch sizes, perhaps on a busy machine: the default sizes are used',
    );
  else logger.info(figures, 'measured batch sizes, in tokens');
  const chunkBytes = Math.round((1e6 / measured.microsPerToken) * BYTES_PER_TOKEN);
  return { budgets: { interactive, low: background, bulk: background }, chunkBytes };
}
