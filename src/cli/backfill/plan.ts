/** Decides whether a run starts, resumes or only finishes, and checks everything about the command that needs no server. */
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import type { BatchOptions } from '../../client/batches.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import type { Destination } from './output/destination.ts';
import { UsageError } from '../terminal/exit.ts';
import type { Input } from './input/input.ts';
import { formatOf, isConverted, isTable, PLAIN, type OutputOptions } from './output/output-options.ts';
import { inputToResume, openInputs } from './input/planned-input.ts';
import { flagOf, type ReadingOptions } from './input/reading.ts';
import { restartCommand, restartWith, resumeCommand } from './suggested-commands.ts';
import { protocolOf } from './remote/addresses.ts';
import { workingPath } from './remote/working-path.ts';
import { mayHaveKey } from './server.ts';
import type { BackfillState, StoredSource } from './state.ts';

export type Plan =
  | {
      kind: 'start';
      url: URL;
      options: BatchOptions;
      reading: ReadingOptions;
      output: OutputOptions;
      input: Input;
      /** Several inputs, which have been checked. */
      sources: StoredSource[] | undefined;
      /** Lines for the user about them. */
      notes: readonly string[];
      /** An earlier run that ended before it knew the id of its batch. */
      earlier: BackfillState | undefined;
      /** Batch of an earlier run, to be canceled. */
      replacedBatch: ReplacedBatch | undefined;
    }
  | { kind: 'resume'; url: URL; state: BackfillState; batch: string; input: Input | undefined }
  /** Only renaming the output was missing. */
  | { kind: 'finish'; url: URL; state: BackfillState; finished: NonNullable<BackfillState['finished']> };

export interface ReplacedBatch {
  url: URL;
  batch: string;
  /** Whether this server was sent the user's key before. */
  isKnown: boolean;
}

/** @throws UsageError */
export async function makePlan(
  command: BackfillCommand,
  output: OutputOptions,
  destination: Destination,
  signal: AbortSignal,
): Promise<Plan> {
  const { mode, out } = command;
  const restart = mode === 'restart';
  const earlier = restart ? await destination.load().catch(() => undefined) : await destination.load();
  if (earlier && !restart && (earlier.batch ?? earlier.finished) !== null) {
    if (mode === 'start') throw unfinishedRun(command);
    return planResume(command, output, earlier, signal);
  }
  for (const file of command.files) await refuseSameFile(file, out);
  if (!command.force && (await destination.exists())) {
    throw new UsageError(`${out} already exists; --force replaces it`);
  }
  refuseTerminal(out, output);
  const inputs = await openInputs(command, output, signal);
  const url = command.url ?? DEFAULT_URL;
  const replacedBatch =
    restart && earlier?.batch != null
      ? { url: new URL(earlier.url), batch: earlier.batch, isKnown: mayHaveKey(earlier) }
      : undefined;
  return {
    kind: 'start',
    url,
    ...inputs,
    options: withScores(inputs.options, output),
    output,
    earlier: restart ? undefined : earlier,
    replacedBatch,
  };
}

function unfinishedRun(command: BackfillCommand): UsageError {
  return new UsageError(`${command.out} has an unfinished earlier run`, [
    'To resume it:',
    `  ${resumeCommand(command)}`,
    'To start over:',
    `  ${restartCommand(command)}`,
  ]);
}

async function planResume(
  command: BackfillCommand,
  output: OutputOptions,
  state: BackfillState,
  signal: AbortSignal,
): Promise<Plan> {
  // A new address may be that of the same server.
  const url = command.url ?? new URL(state.url);
  const asksServer = state.finished === null || command.deleteBatch;
  if (asksServer && !command.url && !mayHaveKey(state)) {
    throw new UsageError(
      `${workingPath(command.out)}.resume.json names the server ${url.href}, which has not been sent this AMULET_API_KEY before`,
      ['To send it the key:', `  ${resumeCommand(command, url)}`],
    );
  }
  if (state.finished !== null) return { kind: 'finish', url, state, finished: state.finished };
  const given = Object.fromEntries(
    Object.keys(command.output).map((name) => [name, output[name as keyof OutputOptions]]),
  );
  const restart = [
    'To start over:',
    `  ${restartWith(command, url, {
      options: { ...state.options, ...command.options },
      reading: { ...state.reading, ...command.reading },
      sources: state.sources,
      output: { ...(state.output ?? PLAIN), ...given },
    })}`,
  ];
  const earlier: Record<string, unknown> = { ...state.options, ...state.reading, ...(state.output ?? PLAIN) };
  for (const [name, value] of Object.entries({ ...command.options, ...command.reading, ...given })) {
    const before = earlier[name];
    if (isDeepStrictEqual(value, before)) continue;
    const was = before === undefined || before === false ? 'not given' : shownOption(before);
    throw new UsageError(`${flagOf(name)} was ${was} in the earlier run`, restart);
  }
  const { input, problem } = await inputToResume(command, state, signal);
  if (problem !== undefined) throw new UsageError(problem, restart);
  return { kind: 'resume', url, state, batch: state.batch ?? '', input };
}

/** @throws UsageError for an output that a terminal does not show */
function refuseTerminal(out: string, output: OutputOptions): void {
  if (out !== '-' || !process.stdout.isTTY || !isConverted(output)) return;
  if (formatOf(output) === 'parquet' || output.output_format.includes('.'))
    throw new UsageError(
      `--output-format ${output.output_format} is binary: redirect standard output, or name a file with --out`,
    );
}

/** Columns of scores need all labels. @throws UsageError when the batch is asked for fewer */
function withScores(options: BatchOptions, output: OutputOptions): BatchOptions {
  if (!output.score_columns || !isTable(output)) return options;
  const { top_k: topK = 'all' } = options;
  if (topK !== 'all') throw new UsageError(`--score-columns needs --top-k all, not ${topK}`);
  return { ...options, top_k: topK };
}

async function refuseSameFile(file: string, out: string): Promise<void> {
  if (protocolOf(out) !== undefined && file === out) throw new UsageError(`${out} is the input`);
  const [input, output] = await Promise.all([file, out].map((name) => stat(name).catch(() => undefined)));
  if (input !== undefined && input.ino === output?.ino && input.dev === output.dev) {
    throw new UsageError(`${out} is the input file`);
  }
}

/** The value of an option, in a message. */
const shownOption = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
