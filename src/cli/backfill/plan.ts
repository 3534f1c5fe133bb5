/** Decides whether a run starts, resumes or only finishes, and checks everything about the command that needs no server. */
import { stat } from 'node:fs/promises';
import type { BatchOptions } from '../../client/batches.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import type { Destination } from './destination.ts';
import { UsageError } from '../terminal/exit.ts';
import type { Input } from './input.ts';
import { inputToResume, openInputs } from './planned-input.ts';
import { flagOf, type ReadingOptions } from './reading.ts';
import { restartCommand, restartWith, resumeCommand } from './suggested-commands.ts';
import { mayHaveKey } from './server.ts';
import type { BackfillState, StoredSource } from './state.ts';
import { shellWord } from '../terminal/units.ts';

export type Plan =
  | {
      kind: 'start';
      url: URL;
      options: BatchOptions;
      reading: ReadingOptions;
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
  destination: Destination,
  signal: AbortSignal,
): Promise<Plan> {
  const { mode, out } = command;
  const restart = mode === 'restart';
  const earlier = restart ? await destination.load().catch(() => undefined) : await destination.load();
  if (earlier && !restart && (earlier.batch ?? earlier.finished) !== null) {
    if (mode === 'start') throw unfinishedRun(command);
    return planResume(command, earlier);
  }
  // Not checked when resuming: an earlier version accepted any name.
  refuseOtherFormat(out);
  for (const file of command.files) await refuseSameFile(file, out);
  if (!command.force && (await destination.exists())) {
    throw new UsageError(`${out} already exists; --force replaces it`);
  }
  const inputs = await openInputs(command, signal);
  const url = command.url ?? DEFAULT_URL;
  const replacedBatch =
    restart && earlier?.batch != null
      ? { url: new URL(earlier.url), batch: earlier.batch, isKnown: mayHaveKey(earlier) }
      : undefined;
  return {
    kind: 'start',
    url,
    ...inputs,
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

async function planResume(command: BackfillCommand, state: BackfillState): Promise<Plan> {
  // A new address may be that of the same server.
  const url = command.url ?? new URL(state.url);
  const asksServer = state.finished === null || command.deleteBatch;
  if (asksServer && !command.url && !mayHaveKey(state)) {
    throw new UsageError(
      `${command.out}.resume.json names the server ${url.href}, which has not been sent this AMULET_API_KEY before`,
      ['To send it the key:', `  ${resumeCommand(command, url)}`],
    );
  }
  if (state.finished !== null) return { kind: 'finish', url, state, finished: state.finished };
  const restart = [
    'To start over:',
    `  ${restartWith(command, url, {
      options: { ...state.options, ...command.options },
      reading: { ...state.reading, ...command.reading },
      sources: state.sources,
    })}`,
  ];
  const earlier: Record<string, string | number | true | undefined> = { ...state.options, ...state.reading };
  for (const [name, value] of Object.entries({ ...command.options, ...command.reading })) {
    const before = earlier[name];
    if (value === before) continue;
    const was = before === undefined ? 'not given' : String(before);
    throw new UsageError(`${flagOf(name)} was ${was} in the earlier run`, restart);
  }
  const { input, problem } = await inputToResume(command, state);
  if (problem !== undefined) throw new UsageError(problem, restart);
  return { kind: 'resume', url, state, batch: state.batch ?? '', input };
}

/** Extensions of formats that the command does not write. */
const OTHER_FORMATS =
  /\.(?:csv|tsv|tab|psv|xlsx?|xlsm|ods|parquet|pq|arrow|feather|avro|orc|sqlite3?|db|html?|xml|ya?ml|gz|gzip|tgz|zst|zstd|bz2|xz|lz4|lzma|br|7z|zip|rar|tar)$/i;

/** Refuses a name that promises another format. */
function refuseOtherFormat(out: string): void {
  const [extension] = OTHER_FORMATS.exec(out) ?? [];
  if (extension === undefined) return;
  const better = out.replace(/(?:\.(?:jsonl|ndjson|json))?\.[^.]+$/i, '.jsonl');
  throw new UsageError(
    `--out ${out}: the output is uncompressed JSON Lines, not ${extension}; ` +
      `use a name that ends in .jsonl, .ndjson or .json: --out ${shellWord(better)}`,
  );
}

async function refuseSameFile(file: string, out: string): Promise<void> {
  const [input, output] = await Promise.all([file, out].map((name) => stat(name).catch(() => undefined)));
  if (input !== undefined && input.ino === output?.ino && input.dev === output.dev) {
    throw new UsageError(`${out} is the input file`);
  }
}
