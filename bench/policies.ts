/**
 * Batching policies compared on one model process: no batching, first in first out in micro-batches of 32 rows (the default of
 * model servers), and ours. The texts are tokenised beforehand; the policies alternate.
 */
import path from 'node:path';
import { pino } from 'pino';
import { Batcher } from '../src/worker/inference/batcher.ts';
import { chooseBudgets, measure } from '../src/worker/inference/calibration.ts';
import type { TextRow } from '../src/worker/inference/classifier.ts';
import { Engine } from '../src/worker/inference/engine.ts';
import { readModelFolder } from '../src/worker/inference/model-folder.ts';
import { TextTokenizer } from '../src/worker/inference/tokenizer.ts';
import type { Figures } from './figures.ts';
import { SHIPPED } from './models.ts';
import { median, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;
const FIFO_ROWS = 32;
/** Rows submitted at a time, as by the consumer of a worker. */
const ROWS_IN_FLIGHT = 512;

type Policy = (rows: TextRow[]) => Promise<void>;

export async function policies(): Promise<Figures> {
  const folder = readModelFolder(path.resolve(SHIPPED), undefined);
  const tokenizer = new TextTokenizer(folder.folder, folder.maxTokens);
  const engine = await Engine.start({
    load: { onnxFile: folder.onnxFile, executionProviders: ['cpu'], intraOpThreads: 1 },
    runTimeoutMs: 60_000,
    logger: pino({ level: 'silent' }),
    onGiveUp: (error) => {
      throw error;
    },
  });
  try {
    const blank = (tokens: number) => ({
      ids: new Int32Array(tokens).fill(1),
      typeIds: undefined,
    });
    const limits = { interactiveMs: 50, backgroundMs: 20 };
    const samples = await measure(
      (rows, tokens) => engine.run(Array.from({ length: rows }, () => blank(tokens))),
      limits.interactiveMs,
    );
    const { interactive } = chooseBudgets(samples, limits);

    let padded = 0;
    let real = 0;
    const run = (rows: TextRow[]) => {
      padded += rows.length * Math.max(...rows.map(({ tokens }) => tokens));
      real += rows.reduce((sum, { tokens }) => sum + tokens, 0);
      return engine.run(rows.map(({ encoded }) => encoded));
    };
    const plans: Record<string, Policy> = {
      'no batching': (rows) => inOrder(rows, 1, run),
      'FIFO of 32 rows': (rows) => inOrder(rows, FIFO_ROWS, run),
      ours: async (rows) => {
        const batcher = new Batcher<TextRow, Float32Array>({
          run,
          budgets: { interactive, low: interactive, bulk: interactive },
        });
        let next = 0;
        await Promise.all(
          Array.from({ length: ROWS_IN_FLIGHT }, async () => {
            for (let i = next++; i < rows.length; i = next++) await batcher.submit(rows[i]!, 'interactive');
          }),
        );
      },
    };
    const figures: Figures = { 'calibrated budget (padded tokens)': interactive };
    for (const [kind, texts] of [
      ['sentences', sentences(1000)],
      ['mixed lengths', mixedLengths(400)],
    ] as const) {
      const rows = texts.map((text): TextRow => {
        const encoded = tokenizer.encodeNow(text);
        return { tokens: encoded.ids.length, encoded, key: undefined };
      });
      const rates: Record<string, number[]> = {};
      const padding: Record<string, number> = {};
      for (let i = 0; i < ROUNDS; i++) {
        for (const [name, policy] of Object.entries(plans)) {
          padded = 0;
          real = 0;
          const start = performance.now();
          await policy(rows);
          (rates[name] ??= []).push(rows.length / ((performance.now() - start) / 1000));
          padding[name] = padded / real;
        }
      }
      for (const [name, values] of Object.entries(rates)) {
        figures[`${kind}: ${name} (rows/s)`] = round(median(values), 0);
        figures[`${kind}: ${name}, padded ÷ real tokens`] = round(padding[name]!);
      }
      for (const name of ['no batching', 'FIFO of 32 rows']) {
        figures[`${kind}: ours ÷ ${name} [95 %]`] = withInterval(
          rates.ours!.map((rate, i) => rate / rates[name]![i]!),
        );
      }
    }
    return figures;
  } finally {
    await engine.stop();
  }
}

async function inOrder(
  rows: TextRow[],
  size: number,
  run: (rows: TextRow[]) => Promise<unknown>,
): Promise<void> {
  for (let i = 0; i < rows.length; i += size) await run(rows.slice(i, i + size));
}
