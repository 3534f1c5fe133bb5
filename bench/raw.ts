/** The limit of the machine: one single-threaded inference loop per core, without a service around it. */
import { availableParallelism } from 'node:os';
import type { Figures } from './figures.ts';
import { Forks } from './forks.ts';
import { SHIPPED } from './models.ts';
import type { RawAnswer } from './raw-child.ts';
import { median, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;

/** The limit alone, for the shipped model. */
export async function raw(): Promise<Figures> {
  const processes = await startRaw(SHIPPED);
  try {
    const figures: Figures = {};
    for (const [set, texts] of [
      ['sentences', sentences(3000)],
      ['mixed lengths', mixedLengths(800)],
    ] as const) {
      const rounds = [];
      for (let i = 0; i < ROUNDS; i++) rounds.push(await rawRound(processes, texts));
      figures[`${set}: CPU (µs/row)`] = round(
        median(rounds.map(({ cpuMicrosPerRow }) => cpuMicrosPerRow)),
        0,
      );
      figures[`${set}: rows/s, median [95 %]`] = withInterval(
        rounds.map(({ rowsPerSecond }) => rowsPerSecond),
      );
    }
    return figures;
  } finally {
    processes.stop();
  }
}

export interface RawRound {
  rowsPerSecond: number;
  cpuMicrosPerRow: number;
  /** Without the tokenizer. */
  modelMicrosPerRow: number;
}

/** Starts a process per core. */
export const startRaw = (modelDir: string): Promise<Forks> =>
  Forks.start(new URL('./raw-child.ts', import.meta.url), modelDir, availableParallelism());

/** Classifies the texts once, divided among the processes. */
export async function rawRound(raw: Forks, texts: string[]): Promise<RawRound> {
  const { seconds, cpu, answers } = await raw.run(texts);
  const tokenizer = (answers as RawAnswer[]).reduce((sum, { tokenizerMicros }) => sum + tokenizerMicros, 0);
  const cpuMicrosPerRow = (cpu / texts.length) * 1e6;
  return {
    rowsPerSecond: texts.length / seconds,
    cpuMicrosPerRow,
    modelMicrosPerRow: cpuMicrosPerRow - tokenizer / texts.length,
  };
}
