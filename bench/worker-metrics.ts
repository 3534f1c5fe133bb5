/** Sums of the workers' metrics about micro-batches, read from their /metrics. */
import type { Stack } from '../test/support/processes/stack.ts';

const NAMES = {
  batches: 'amulet_batch_rows_count',
  rows: 'amulet_batch_rows_sum',
  tokens: 'amulet_batch_tokens_total{kind="real"',
  paddedTokens: 'amulet_batch_tokens_total{kind="padded"',
  /** Inside session.run. */
  seconds: 'amulet_inference_seconds_sum',
  texts: 'amulet_tokenize_seconds_count',
  tokenizeSeconds: 'amulet_tokenize_seconds_sum',
  /** Micro-batches on their way to the model process and back. */
  idleSeconds: 'amulet_model_idle_seconds_total',
} as const;
type Sums = Record<keyof typeof NAMES, number>;

const LONGEST = /^amulet_inference_seconds_bucket\{le="([0-9.]+)"/;

/** Sums since the start of the workers, or between two readings. */
export interface Batches extends Sums {
  /** Upper bound in seconds of each histogram bucket → micro-batches up to it. */
  atMost: Map<number, number>;
}

export async function readBatches(stack: Stack): Promise<Batches> {
  const texts = await Promise.all(
    stack.workers.map(async (worker) => (await fetch(`${await stack.healthUrl(worker)}/metrics`)).text()),
  );
  const lines = texts.flatMap((text) => text.split('\n'));
  const value = (line: string) => Number(line.slice(line.lastIndexOf(' ') + 1));
  const sum = (name: string) =>
    lines.filter((line) => line.startsWith(name)).reduce((total, line) => total + value(line), 0);
  const atMost = new Map<number, number>();
  for (const line of lines) {
    const edge = Number(LONGEST.exec(line)?.[1]);
    if (edge > 0) atMost.set(edge, (atMost.get(edge) ?? 0) + value(line));
  }
  return {
    ...(Object.fromEntries(Object.entries(NAMES).map(([name, metric]) => [name, sum(metric)])) as Sums),
    atMost,
  };
}

/** Difference of two readings. */
export function between(before: Batches, after: Batches): Batches {
  return {
    ...(Object.fromEntries(
      Object.keys(NAMES).map((name) => [name, after[name as keyof Sums] - before[name as keyof Sums]]),
    ) as Sums),
    atMost: new Map([...after.atMost].map(([edge, count]) => [edge, count - (before.atMost.get(edge) ?? 0)])),
  };
}

/** Upper bound of the longest micro-batch, in ms: the edge of a histogram bucket. */
export function longestMs({ batches, atMost }: Batches): number {
  const edges = [...atMost].filter(([, count]) => count === batches).map(([edge]) => edge);
  return Math.min(...edges) * 1000;
}
