/**
 * Throughput of a batch from upload to the last result, against the limit of the machine (raw.ts) in alternating rounds, of an
 * archive without and one with repeated rows; and peak memory for archives of growing size. `ingest` measures the upload alone.
 */
import path from 'node:path';
import { Stack } from '../test/support/processes/stack.ts';
import { archiveSize, archiveTexts, asNdjson } from './archive.ts';
import { deleteBatch, runBatch, submitBatch } from './batch-client.ts';
import { makeDistilbertSized } from './distilbert-sized.ts';
import * as effort from './effort.ts';
import { type Figures, prefixed } from './figures.ts';
import { cpuBy, cpuPerRow, PeakWatch, processesOf } from './processes.ts';
import { startRaw } from './raw.ts';
import { besideRaw } from './rounds.ts';
import { GENERATED, SHIPPED } from './models.ts';
import { median, round } from './statistics.ts';
import { withRepeats } from './texts.ts';

const ROUNDS = 7;
const WARM_UP = 3000;

/** Share of an archive's rows that repeat an earlier row. */
const REPEATS = 0.3;

export async function backfill(redisUrl: string): Promise<Figures> {
  const [rows, fewerRows] = [effort.rows(8000), effort.rows(3000)];
  const repetitive = (round: number) =>
    withRepeats(archiveTexts(Math.round(rows * (1 - REPEATS)), round), rows, round + 1);
  const distilbertSized = makeDistilbertSized(GENERATED);
  return {
    ...prefixed('MiniLM', await compare(redisUrl, SHIPPED, (round) => archiveTexts(rows, round))),
    ...prefixed(`MiniLM, ${100 * REPEATS} % repeats`, await compare(redisUrl, SHIPPED, repetitive)),
    ...prefixed(
      'DistilBERT-sized',
      await compare(redisUrl, distilbertSized, (round) => archiveTexts(fewerRows, round)),
    ),
  };
}

/** One batch each of growing size: does memory grow with it? */
export async function archives(redisUrl: string): Promise<Figures> {
  const figures: Figures = {};
  for (const rows of new Set([10_000, 30_000, 100_000, archiveSize()])) {
    const stack = await start(redisUrl, SHIPPED, 1);
    const pids = await processesOf(stack, redisUrl);
    const watch = new PeakWatch(pids, redisUrl);
    const before = cpuBy(pids);
    const started = performance.now();
    try {
      await runBatch(stack.url, archiveTexts(rows));
      await watch.stop();
      const name = rows.toLocaleString('en-US');
      figures[`${name} rows (rows/s)`] = round((rows * 1000) / (performance.now() - started), 0);
      const cost = cpuPerRow(before, cpuBy(pids), rows);
      figures[`${name} rows: CPU outside the model processes (µs/row)`] = outside(cost);
      for (const kind of ['API', 'workers', 'model processes']) {
        figures[`${name} rows: ${kind}, peak (MB)`] = watch.peakMb[kind] ?? 0;
      }
      figures[`${name} rows: Redis data, peak (KB)`] = watch.redisPeakKb;
    } finally {
      await stack.stop();
    }
  }
  return figures;
}

export async function ingest(redisUrl: string): Promise<Figures> {
  const figures: Figures = {};
  const rates: number[] = [];
  for (const lines of [10_000, 100_000, 309_431, 3_000_000]) {
    const stack = await start(redisUrl, SHIPPED, 0);
    const pids = await processesOf(stack, redisUrl);
    const watch = new PeakWatch(pids, redisUrl);
    try {
      const pieces = [...asNdjson(archiveTexts(lines))];
      // The first request compiles code and opens connections.
      await deleteBatch(stack.url, (await submitBatch(stack.url, pieces.slice(0, 1))).id);
      const before = cpuBy(pids);
      const started = performance.now();
      const { rows } = await submitBatch(stack.url, pieces);
      if (rows.total !== lines) throw new Error(`${rows.total} of ${lines} lines arrived`);
      const rate = (lines * 1000) / (performance.now() - started);
      rates.push(rate);
      await watch.stop();
      const name = lines.toLocaleString('en-US');
      figures[`${name} lines (lines/s)`] = round(rate, 0);
      figures[`${name} lines: CPU of the API (µs/line)`] = round(
        cpuPerRow(before, cpuBy(pids), lines).API!,
        2,
      );
      figures[`${name} lines: API, peak (MB)`] = watch.peakMb.API ?? 0;
      figures[`${name} lines: Redis data, peak (KB)`] = watch.redisPeakKb;
    } finally {
      await stack.stop();
    }
  }
  figures['slowest from 100,000 lines on (lines/s)'] = round(Math.min(...rates.slice(1)), 0);
  return figures;
}

function start(redisUrl: string, model: string, workers: number): Promise<Stack> {
  return Stack.start({
    redisUrl,
    workers,
    env: {
      MODEL_PROCESSES: '',
      BATCH_TOKENS: '',
      BULK_BATCH_TOKENS: '',
      MODEL_DIR: model,
      DEFAULT_MODEL: path.basename(model),
    },
  });
}

/** CPU of API, workers and Redis per row. */
function outside(cost: Record<string, number>): number {
  return round(cost.API! + cost.workers! + cost.Redis!, 0);
}

async function compare(
  redisUrl: string,
  model: string,
  textsOf: (round: number) => string[],
): Promise<Figures> {
  const raw = await startRaw(model);
  const stack = await start(redisUrl, model, 1);
  try {
    // No round has this number.
    await runBatch(stack.url, textsOf(ROUNDS).slice(0, effort.rows(WARM_UP)));
    const measured = await besideRaw({
      raw,
      stack,
      redisUrl,
      rounds: ROUNDS,
      texts: textsOf,
      run: (texts) => runBatch(stack.url, texts),
    });
    const { tokenizeSeconds, texts: tokenized } = measured.ran;
    return {
      ...measured.cpu,
      'CPU outside the model processes (µs/row)': round(median(measured.spent.map(outside)), 0),
      'of that, the tokenizer (µs/row)': round((tokenizeSeconds / tokenized) * 1e6, 0),
      ...measured.rawSpeed,
      ...measured.speed,
      ...measured.batches,
      ...measured.memory,
    };
  } finally {
    raw.stop();
    await stack.stop();
  }
}
