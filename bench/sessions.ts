/**
 * Session settings of ONNX Runtime, each changed alone against the defaults of the model process (a process per core, one
 * thread each, no spinning, arena and memory pattern on, all graph optimisations). Speed is a ratio inside one run, in
 * alternating rounds; memory is read after thousands of batches of changing shapes, because an arena that grows for every new
 * shape shows only then.
 *
 * On a shared machine, trust CPU ÷ default: there, rows/s flatters variants with many threads, to which the
 * scheduler gives a larger share. onnxruntime-node has no way to ask for memory.enable_memory_arena_shrinkage: it drops
 * `extra` of run options (1.30.0 takes a device that does not exist without a word).
 */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { readModelFolder } from '../src/worker/inference/model-folder.ts';
import { TextTokenizer } from '../src/worker/inference/tokenizer.ts';
import type { Figures } from './figures.ts';
import { Forks } from './forks.ts';
import { SHIPPED } from './models.ts';
import { residentMb } from './processes.ts';
import type { BatchShape, SessionSetup } from './sessions-child.ts';
import { median, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;
/** Padded tokens of a batch. */
const BUDGET = 256;

/** Batches of changing shape that each session gets before its memory counts as settled. */
const SHAPES = 3000;
/** No shape has more padded tokens, except by a single long row: calibration seldom chooses a larger budget. */
const SHAPE_BUDGET = 512;

interface Variant {
  processes: number;
  options: InferenceSession.SessionOptions;
}

const CORES = availableParallelism();
const DEFAULT = 'default';

function variant(
  processes: number,
  threads: number,
  { spinning = '0', session = {}, ...options }: Record<string, unknown> = {},
): Variant {
  return {
    processes,
    options: {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
      enableMemPattern: false,
      logSeverityLevel: 3,
      extra: { session: { intra_op: { allow_spinning: spinning }, ...(session as object) } },
      ...options,
    },
  };
}

const VARIANTS: Record<string, Variant> = {
  [DEFAULT]: variant(CORES, 1),
  'spinning on': variant(CORES, 1, { spinning: '1' }),
  [`1 process × ${CORES} threads`]: variant(1, CORES),
  [`1 process × ${CORES} threads, spinning on`]: variant(1, CORES, { spinning: '1' }),
  [`${CORES} processes × ${CORES} threads`]: variant(CORES, CORES),
  [`${CORES} processes × ${CORES} threads, spinning on`]: variant(CORES, CORES, { spinning: '1' }),
  'arena off': variant(CORES, 1, { enableCpuMemArena: false }),
  'memory pattern on': variant(CORES, 1, { enableMemPattern: true }),
  'optimisation extended': variant(CORES, 1, { graphOptimizationLevel: 'extended' }),
  'optimisation basic': variant(CORES, 1, { graphOptimizationLevel: 'basic' }),
  'execution parallel': variant(CORES, 1, { executionMode: 'parallel' }),
  'prepacking off': variant(CORES, 1, { session: { disable_prepacking: '1' } }),
};

/**
 * Variants that may change memory. Prepacking and session.use_device_allocator_for_initializers do not: RSS within 5 MB of
 * the default's 168.
 */
const MEMORY = [DEFAULT, 'arena off', 'memory pattern on'];

const startSessions = (setup: SessionSetup, processes: number): Promise<Forks> =>
  Forks.start(new URL('./sessions-child.ts', import.meta.url), JSON.stringify(setup), processes);

/** Resident memory of the first process. */
const megabytesOf = ({ pids }: Forks): number => residentMb(pids[0]!);

export async function sessions(): Promise<Figures> {
  const { folder, onnxFile, maxTokens } = readModelFolder(path.resolve(SHIPPED), undefined);
  const tokenizer = new TextTokenizer(folder, maxTokens);
  const batches = sorted(
    [...sentences(400), ...mixedLengths(80)].map((t) => tokenizer.encodeNow(t).ids.length),
  );
  return { ...(await speeds(onnxFile, batches)), ...(await memories(onnxFile)) };
}

async function speeds(onnxFile: string, batches: BatchShape[]): Promise<Figures> {
  const rows = batches.reduce((sum, [count]) => sum + count, 0);
  const running: [string, Forks][] = [];
  try {
    for (const [name, { processes, options }] of Object.entries(VARIANTS)) {
      running.push([name, await startSessions({ onnxFile, options }, processes)]);
    }
    const results: Record<string, { seconds: number; cpu: number }[]> = {};
    for (let i = 0; i <= ROUNDS; i++) {
      for (const [name, session] of running) {
        const result = await session.run(batches);
        // The first round warms up.
        if (i > 0) (results[name] ??= []).push(result);
      }
      // Each variant goes first in turn, so that short load on the machine hits different ones.
      running.push(running.shift()!);
    }
    const base = results[DEFAULT]!;
    const figures: Figures = {
      [`${DEFAULT} (rows/s)`]: round(rows / median(base.map(({ seconds }) => seconds)), 0),
      [`${DEFAULT}: CPU (µs/row)`]: round((median(base.map(({ cpu }) => cpu)) / rows) * 1e6, 0),
    };
    for (const [name, rounds] of Object.entries(results)) {
      if (name === DEFAULT) continue;
      figures[`${name}: rows/s ÷ default [95 %]`] = withInterval(
        rounds.map(({ seconds }, i) => base[i]!.seconds / seconds),
      );
      figures[`${name}: CPU ÷ default [95 %]`] = withInterval(rounds.map(({ cpu }, i) => cpu / base[i]!.cpu));
      figures[`${name}: CPU (µs/row)`] = round((median(rounds.map(({ cpu }) => cpu)) / rows) * 1e6, 0);
    }
    return figures;
  } finally {
    for (const [, session] of running) session.stop();
  }
}

/** Measures all variants at the same time: CPU load does not affect memory. */
async function memories(onnxFile: string): Promise<Figures> {
  const shapes = changingShapes(SHAPES);
  const rows = await Promise.all(
    MEMORY.map(async (name) => {
      const session = await startSessions({ onnxFile, options: VARIANTS[name]!.options }, 1);
      try {
        const megabytes = [megabytesOf(session)];
        for (const [from, to] of [
          [0, 1 / 4],
          [1 / 4, 1 / 2],
          [1 / 2, 3 / 4],
          [3 / 4, 1],
        ] as const) {
          await session.run(shapes.slice(from * SHAPES, to * SHAPES));
          megabytes.push(megabytesOf(session));
        }
        return [`${name}: RSS at 0, ¼, ½, ¾, 1 of ${SHAPES} batches (MB)`, megabytes.join(', ')] as const;
      } finally {
        session.stop();
      }
    }),
  );
  return Object.fromEntries(rows);
}

/** Batches of at most BUDGET padded tokens from texts sorted by length. */
function sorted(lengths: number[]): BatchShape[] {
  const batches: BatchShape[] = [];
  lengths.sort((a, b) => a - b);
  for (let start = 0; start < lengths.length;) {
    let end = start + 1;
    while (end < lengths.length && (end + 1 - start) * lengths[end]! <= BUDGET) end++;
    batches.push([end - start, lengths[end - 1]!]);
    start = end;
  }
  return batches;
}

/** Shapes of 1 to 64 rows and 3 to 512 tokens, small ones more often, in no order. The same in every run. */
function changingShapes(count: number): BatchShape[] {
  let state = 1;
  const between = (low: number, high: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.round(low * (high / low) ** (state / 2 ** 32));
  };
  return Array.from({ length: count }, () => {
    const tokens = between(3, 512);
    return [between(1, Math.max(1, Math.min(64, Math.floor(SHAPE_BUDGET / tokens)))), tokens];
  });
}
